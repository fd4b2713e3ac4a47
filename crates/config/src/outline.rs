//! Where everything stands in a file: the nodes of its one YAML document with their byte ranges.
//!
//! Built from `yaml-edit`'s lossless syntax tree. A range covers content only: comments, blank lines and line breaks
//! around a node are outside of it, so a text can be spliced between nodes without touching them.

use std::ops::Range;
use std::path::Path;

use rowan::NodeOrToken;
use rowan::ast::AstNode;
use yaml_edit::{Lang, SyntaxKind, YamlFile};

use crate::meaning::{ParseFault, meaning};
use crate::refusal::{Reason, Refusal};

type Syntax = rowan::SyntaxNode<Lang>;

/// A node with its place; `range` is its content without properties (anchor, tag).
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) range: Range<usize>,
    pub(crate) anchor: Option<String>,
    pub(crate) tag: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Map {
        entries: Vec<Entry>,
        flow: bool,
    },
    Seq {
        items: Vec<Item>,
        flow: bool,
    },
    Scalar {
        text: String,
        style: ScalarStyle,
    },
    Alias(String),
    /// Nothing at all after the colon or dash.
    Empty,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScalarStyle {
    Plain,
    Single,
    Double,
    Block,
}

/// One `key: value` of a mapping.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The decoded key; `None` for a key that is no scalar.
    pub(crate) key: Option<String>,
    pub(crate) key_range: Range<usize>,
    /// Just after the colon.
    pub(crate) after_colon: usize,
    pub(crate) value: Node,
}

/// One item of a sequence.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// Of the dash (or of the content, in flow style).
    pub(crate) start: usize,
    pub(crate) value: Node,
}

impl Entry {
    pub(crate) fn end(&self) -> usize {
        self.value.range.end.max(self.after_colon)
    }
}

impl Item {
    pub(crate) fn end(&self) -> usize {
        self.value.range.end.max(self.start + 1)
    }
}

impl Node {
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map { entries, .. } => entries,
            _ => &[],
        }
    }

    /// The entry of this very mapping (no merge keys followed) with this key.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|e| e.key.as_deref() == Some(key))
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self.kind, Kind::Map { .. })
    }

    /// What a person would call it, without its value.
    pub(crate) fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Map { .. } => "a mapping",
            Kind::Seq { .. } => "a list",
            Kind::Scalar { .. } => "a single value",
            Kind::Alias(_) => "an alias",
            Kind::Empty => "empty",
        }
    }

    fn children(&self) -> Vec<&Node> {
        match &self.kind {
            Kind::Map { entries, .. } => entries.iter().map(|e| &e.value).collect(),
            Kind::Seq { items, .. } => items.iter().map(|i| &i.value).collect(),
            _ => Vec::new(),
        }
    }

    /// This node and all below it, in the order of the text.
    pub(crate) fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Node)) {
        visit(self);
        for child in self.children() {
            child.walk(visit);
        }
    }
}

/// A checked file: one YAML document that the server can read, and where everything stands in it.
#[derive(Clone)]
pub(crate) struct Outline {
    pub(crate) root: Node,
    /// Comments, in the order of the text.
    pub(crate) comments: Vec<Range<usize>>,
    line_starts: Vec<usize>,
}

impl Outline {
    /// Parses and checks what every server file must satisfy.
    pub(crate) fn parse(file: &Path, bytes: &[u8]) -> Result<(String, yaml_serde::Value, Self), Refusal> {
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let offset = e.valid_up_to();
            let line = bytes.iter().take(offset).filter(|b| **b == b'\n').count() + 1;
            Refusal::new(file, line, Reason::NotUtf8 { offset })
        })?;
        let line_starts = line_starts(text);
        let line_of = |at: usize| line_starts.partition_point(|start| *start <= at);
        let refuse = |at: usize, reason| Refusal::new(file, line_of(at), reason);
        if let Some(at) = lone_carriage_return(text) {
            return Err(refuse(at, Reason::LoneCarriageReturn));
        }
        let parsed = YamlFile::parse(text);
        let tree = parsed.tree();
        let documents: Vec<Syntax> = tree
            .syntax()
            .children()
            .filter(|n| n.kind() == SyntaxKind::DOCUMENT)
            .collect();
        if let Some(second) = documents.get(1) {
            return Err(refuse(second.text_range().start().into(), Reason::SeveralDocuments));
        }
        let value = meaning(text).map_err(|fault| parse_fault(file, text, &line_starts, fault))?;
        if let Some(fault) = parsed.positioned_errors().first() {
            let at = fault.start_position(text);
            let fault = ParseFault {
                line: at.line,
                column: at.column,
                message: fault.message.clone(),
            };
            return Err(parse_fault(file, text, &line_starts, fault));
        }
        let mut comments = Vec::new();
        for token in tree
            .syntax()
            .descendants_with_tokens()
            .filter_map(NodeOrToken::into_token)
        {
            if token.kind() == SyntaxKind::COMMENT {
                comments.push(range(token.text_range()));
            }
        }
        let root = documents.first().map_or_else(|| empty(0), |d| node_of(d, 0));
        if let Some(at) = tab_in_indentation(text, &line_starts, &root) {
            return Err(refuse(at, Reason::Tab));
        }
        let outline = Self {
            root,
            comments,
            line_starts,
        };
        outline.refuse_duplicate_keys(file)?;
        Ok((text.to_owned(), value, outline))
    }

    /// The line (from 1) of a byte offset.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at)
    }

    fn refuse_duplicate_keys(&self, file: &Path) -> Result<(), Refusal> {
        let mut found = None;
        self.root.walk(&mut |node| {
            let entries = node.entries();
            for (i, entry) in entries.iter().enumerate() {
                let first = entries.iter().take(i).find(|e| e.key.is_some() && e.key == entry.key);
                if let (Some(first), None) = (first, &found) {
                    found = Some((entry.clone(), self.line(first.key_range.start)));
                }
            }
        });
        match found {
            None => Ok(()),
            Some((second, first)) => {
                let reason = Reason::DuplicateKey {
                    key: second.key.unwrap_or_default(),
                    first,
                };
                Err(Refusal::new(file, self.line(second.key_range.start), reason))
            }
        }
    }
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0)
        .chain(text.match_indices('\n').map(|(at, _)| at + 1))
        .collect()
}

fn lone_carriage_return(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (0..bytes.len()).find(|i| bytes[*i] == b'\r' && bytes.get(i + 1) != Some(&b'\n'))
}

/// A parse error, said as what it most often is: a tab, or a key given twice.
fn parse_fault(file: &Path, text: &str, line_starts: &[usize], fault: ParseFault) -> Refusal {
    let line_text = |n: usize| text.lines().nth(n.saturating_sub(1)).unwrap_or_default();
    let indented_by_tab = |line: &str| line.len() > line.trim_start().len() && indent(line).contains('\t');
    for n in [fault.line, fault.line + 1] {
        if indented_by_tab(line_text(n)) {
            return Refusal::new(file, n, Reason::Tab);
        }
    }
    if let Some(key) = fault.message.split("duplicate entry with key ").nth(1) {
        let key = key.trim_matches('"').to_owned();
        // The parser points at the mapping; the outline of the tolerant parser knows both lines.
        if let Some((first, second)) = duplicate_lines(text, line_starts, &key) {
            return Refusal::new(file, second, Reason::DuplicateKey { key, first });
        }
    }
    Refusal::new(
        file,
        fault.line,
        Reason::Unparseable {
            column: fault.column,
            message: fault.message,
        },
    )
}

fn duplicate_lines(text: &str, line_starts: &[usize], key: &str) -> Option<(usize, usize)> {
    let tree = YamlFile::parse(text).tree();
    let document = tree.syntax().children().find(|n| n.kind() == SyntaxKind::DOCUMENT)?;
    let line_of = |at: usize| line_starts.partition_point(|start| *start <= at);
    let mut found = None;
    node_of(&document, 0).walk(&mut |node| {
        let mut same = node.entries().iter().filter(|e| e.key.as_deref() == Some(key));
        if let (Some(first), Some(second), None) = (same.next(), same.next(), found) {
            found = Some((line_of(first.key_range.start), line_of(second.key_range.start)));
        }
    });
    found
}

fn indent(line: &str) -> &str {
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// The first line whose indentation has a tab, unless it is blank, a comment, or inside a scalar or flow collection.
fn tab_in_indentation(text: &str, line_starts: &[usize], root: &Node) -> Option<usize> {
    let mut sheltered = Vec::new();
    root.walk(&mut |node| match &node.kind {
        Kind::Scalar { .. } | Kind::Map { flow: true, .. } | Kind::Seq { flow: true, .. } => {
            sheltered.push(node.range.clone());
        }
        _ => {}
    });
    line_starts.iter().copied().find(|start| {
        let line = text[*start..].lines().next().unwrap_or_default();
        let rest = line.trim_start_matches([' ', '\t']);
        let blank = rest.is_empty() || rest.starts_with('#');
        indent(line).contains('\t') && !blank && !sheltered.iter().any(|r| r.start < *start && *start < r.end)
    })
}

fn range(range: rowan::TextRange) -> Range<usize> {
    range.start().into()..range.end().into()
}

fn empty(at: usize) -> Node {
    Node {
        kind: Kind::Empty,
        range: at..at,
        anchor: None,
        tag: None,
    }
}

/// The node held by a container (document, key, value, sequence entry, tagged node), with its properties.
fn node_of(container: &Syntax, at: usize) -> Node {
    let (mut anchor, mut tag) = (None, None);
    for child in container.children_with_tokens() {
        match child {
            NodeOrToken::Token(token) => match token.kind() {
                SyntaxKind::ANCHOR => anchor = Some(token.text().trim_start_matches('&').to_owned()),
                SyntaxKind::TAG => tag = Some(token.text().to_owned()),
                _ => {}
            },
            NodeOrToken::Node(node) => {
                let mut inner = match node.kind() {
                    SyntaxKind::MAPPING => mapping(&node),
                    SyntaxKind::SEQUENCE => sequence(&node),
                    SyntaxKind::SCALAR => scalar(&node),
                    SyntaxKind::ALIAS => alias(&node),
                    SyntaxKind::TAGGED_NODE => node_of(&node, at),
                    _ => continue,
                };
                inner.anchor = inner.anchor.or(anchor);
                inner.tag = inner.tag.or(tag);
                return inner;
            }
        }
    }
    Node {
        anchor,
        tag,
        ..empty(at)
    }
}

fn mapping(node: &Syntax) -> Node {
    let flow = node.children_with_tokens().any(|c| c.kind() == SyntaxKind::LEFT_BRACE);
    let entries: Vec<Entry> = node
        .children()
        .filter(|c| c.kind() == SyntaxKind::MAPPING_ENTRY)
        .filter_map(|e| entry(&e))
        .collect();
    let range = if flow {
        range(node.text_range())
    } else {
        let whole = range(node.text_range());
        entries.first().map_or(whole.start, |e| e.key_range.start)..entries.last().map_or(whole.end, Entry::end)
    };
    Node {
        kind: Kind::Map { entries, flow },
        range,
        anchor: None,
        tag: None,
    }
}

fn entry(node: &Syntax) -> Option<Entry> {
    let key = node.children().find(|c| c.kind() == SyntaxKind::KEY)?;
    let key_range = range(key.text_range());
    let colon = node.children_with_tokens().find(|c| c.kind() == SyntaxKind::COLON);
    let after_colon = colon.map_or(key_range.end, |c| c.text_range().end().into());
    let value = node.children().find(|c| c.kind() == SyntaxKind::VALUE);
    let value = value.map_or_else(|| empty(after_colon), |v| node_of(&v, after_colon));
    let key = match node_of(&key, key_range.start).kind {
        Kind::Scalar { text, .. } => Some(text),
        _ => None,
    };
    Some(Entry {
        key,
        key_range,
        after_colon,
        value,
    })
}

fn sequence(node: &Syntax) -> Node {
    let flow = node
        .children_with_tokens()
        .any(|c| c.kind() == SyntaxKind::LEFT_BRACKET);
    let items: Vec<Item> = node
        .children()
        .filter(|c| c.kind() == SyntaxKind::SEQUENCE_ENTRY)
        .map(|e| {
            let start: usize = e.text_range().start().into();
            Item {
                start,
                value: node_of(&e, if flow { start } else { start + 1 }),
            }
        })
        .collect();
    let range = if flow {
        range(node.text_range())
    } else {
        let whole = range(node.text_range());
        items.first().map_or(whole.start, |i| i.start)..items.last().map_or(whole.end, Item::end)
    };
    Node {
        kind: Kind::Seq { items, flow },
        range,
        anchor: None,
        tag: None,
    }
}

fn scalar(node: &Syntax) -> Node {
    let whole = range(node.text_range());
    let source = node.text().to_string();
    if source.is_empty() {
        return empty(whole.start);
    }
    let style = match source.as_bytes().first() {
        Some(b'|' | b'>') => ScalarStyle::Block,
        Some(b'"') => ScalarStyle::Double,
        Some(b'\'') => ScalarStyle::Single,
        _ => ScalarStyle::Plain,
    };
    // With `+` the blank lines that follow belong to the scalar; otherwise they are just blank lines.
    let keeps_blank_lines =
        style == ScalarStyle::Block && source.lines().next().is_some_and(|header| header.contains('+'));
    let end = if keeps_blank_lines {
        whole.end
    } else {
        whole.start + source.trim_end().len()
    };
    let text = yaml_edit::Scalar::cast(node.clone())
        .map(|s| s.as_string())
        .unwrap_or_default();
    Node {
        kind: Kind::Scalar { text, style },
        range: whole.start..end,
        anchor: None,
        tag: None,
    }
}

fn alias(node: &Syntax) -> Node {
    let whole = range(node.text_range());
    let name = node.text().to_string().trim_start_matches('*').trim_end().to_owned();
    Node {
        range: whole.start..whole.start + 1 + name.len(),
        kind: Kind::Alias(name),
        anchor: None,
        tag: None,
    }
}
