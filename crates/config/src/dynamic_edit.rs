//! Edits of a server's dynamic config file, as data.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::dynamic_config::{DynamicConfig, READ_FROM_SECONDARY, ReadsFromSecondary, Scope, WRITING_MODE, WritingMode};
use crate::edited::Edited;
use crate::outline::{Entry, Item, Kind, Node};
use crate::refusal::{Reason, Refusal};
use crate::render::{Quotes, Style, block_entry, block_item, column, flow, flow_entry, scalar_text};
use crate::splice::{Change, end_with_comments, insert_flow, insert_lines, remove_flow, remove_lines};
use crate::static_config::quotes_of;

/// An edit of the two keys that steer a migration. Each is idempotent: what already holds is left as it is.
///
/// Entries with constraints that the server never matches for these keys are left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DynamicEdit {
    /// Sets both keys at once, so that one reload of the server's takes them together.
    Set {
        /// The writing mode, for the whole cluster.
        writing_mode: WritingMode,
        /// Who reads from the secondary store. Exactly this holds afterwards: a Namespace that the file names and this
        /// does not gets the value for everywhere, so that no earlier entry keeps reads at the wrong store.
        reads: ReadsFromSecondary,
    },
    /// Sets the writing mode only.
    SetWritingMode(WritingMode),
    /// Sets the reads only; exact, as in [`DynamicEdit::Set`].
    SetReads(ReadsFromSecondary),
    /// Removes both keys with all their entries.
    Remove,
}

impl DynamicEdit {
    /// The edit as lines for a person to add.
    pub fn by_hand(&self) -> String {
        let style = Style {
            step: 2,
            dash: 2,
            gap: 2,
            quotes: Quotes::Double,
        };
        let key = |key: &str, items: Vec<Value>| block_entry(key, &Value::Array(items), 0, style).join("\n");
        let mode = |mode: WritingMode| key(WRITING_MODE, vec![item(json!(mode.as_str()), &Scope::Everywhere)]);
        let reads = |reads: &ReadsFromSecondary| key(READ_FROM_SECONDARY, wanted_items(reads));
        match self {
            Self::Set {
                writing_mode,
                reads: wanted,
            } => format!("{}\n{}", mode(*writing_mode), reads(wanted)),
            Self::SetWritingMode(writing_mode) => mode(*writing_mode),
            Self::SetReads(wanted) => reads(wanted),
            Self::Remove => format!("# remove the keys {WRITING_MODE} and {READ_FROM_SECONDARY}"),
        }
    }
}

/// Parses a dynamic config file and edits it; a refusal carries the lines to add by hand where that is a way out.
///
/// # Errors
/// As [`DynamicConfig::parse`] and [`DynamicConfig::edit`].
pub fn edit_dynamic(file: impl Into<PathBuf>, bytes: &[u8], edit: &DynamicEdit) -> Result<Edited, Refusal> {
    DynamicConfig::parse(file, bytes)
        .and_then(|config| config.edit(edit))
        .map_err(|refusal| refusal.with_by_hand(edit.by_hand()))
}

impl DynamicConfig {
    /// The file's text after the edit, which means exactly what it meant before but for the intended values.
    ///
    /// Comments, order, quoting, anchors, indentation, line endings and a missing final line break stay; new lines
    /// follow the file's own style.
    ///
    /// # Errors
    /// When a key's place is shared with other places by an anchor, alias or merge key, or when the result would mean
    /// anything else.
    pub fn edit(&self, edit: &DynamicEdit) -> Result<Edited, Refusal> {
        self.draft(edit).map_err(|refusal| refusal.with_by_hand(edit.by_hand()))
    }

    fn draft(&self, edit: &DynamicEdit) -> Result<Edited, Refusal> {
        let mut draft = Draft {
            config: self,
            changes: Vec::new(),
            new_lines: Vec::new(),
            expected: self.meaning.clone(),
        };
        match edit {
            DynamicEdit::Set { writing_mode, reads } => {
                draft.set_writing_mode(*writing_mode)?;
                draft.set_reads(reads)?;
            }
            DynamicEdit::SetWritingMode(writing_mode) => draft.set_writing_mode(*writing_mode)?,
            DynamicEdit::SetReads(reads) => draft.set_reads(reads)?,
            DynamicEdit::Remove => {
                draft.remove(&[WRITING_MODE, READ_FROM_SECONDARY])?;
            }
        }
        draft.add_new_keys();
        Edited::checked(&self.file, &self.text, draft.changes, &draft.expected)
    }
}

/// A list item: the value, and what it is for.
fn item(value: Value, scope: &Scope) -> Value {
    match scope {
        Scope::Namespace(name) => json!({ "value": value, "constraints": { "namespace": name } }),
        _ => json!({ "value": value, "constraints": {} }),
    }
}

fn wanted_items(reads: &ReadsFromSecondary) -> Vec<Value> {
    let own = reads
        .namespaces
        .iter()
        .map(|(name, on)| item(json!(on), &Scope::Namespace(name.clone())));
    own.chain([item(json!(reads.everywhere), &Scope::Everywhere)]).collect()
}

struct Draft<'a> {
    config: &'a DynamicConfig,
    changes: Vec<Change>,
    /// Keys that the file lacks, with their items.
    new_lines: Vec<(&'static str, Value)>,
    expected: yaml_serde::Value,
}

impl<'a> Draft<'a> {
    fn set_writing_mode(&mut self, mode: WritingMode) -> Result<(), Refusal> {
        self.set(WRITING_MODE, vec![(Scope::Everywhere, json!(mode.as_str()))])
    }

    fn set_reads(&mut self, reads: &ReadsFromSecondary) -> Result<(), Refusal> {
        let mut wanted: Vec<(Scope, Value)> = reads
            .namespaces
            .iter()
            .map(|(name, on)| (Scope::Namespace(name.clone()), json!(on)))
            .collect();
        for (scope, _) in self.config.scopes(READ_FROM_SECONDARY) {
            if matches!(&scope, Scope::Namespace(_)) && !wanted.iter().any(|(s, _)| *s == scope) {
                wanted.push((scope, json!(reads.everywhere)));
            }
        }
        wanted.push((Scope::Everywhere, json!(reads.everywhere)));
        self.set(READ_FROM_SECONDARY, wanted)
    }

    /// Makes these values hold for these scopes.
    fn set(&mut self, key: &'static str, wanted: Vec<(Scope, Value)>) -> Result<(), Refusal> {
        let Some(entry) = self.config.entry(key) else {
            let items: Vec<Value> = wanted.into_iter().map(|(scope, value)| item(value, &scope)).collect();
            self.new_lines.push((key, Value::Array(items)));
            return Ok(());
        };
        let existing = self.config.scopes(key);
        let mut added = Vec::new();
        for (scope, value) in wanted {
            match existing.iter().position(|(s, _)| *s == scope) {
                Some(index) => {
                    if let Some((_, present)) = existing.get(index) {
                        self.set_item(key, entry, present, index, value)?;
                    }
                }
                None => added.push(item(value, &scope)),
            }
        }
        if added.is_empty() {
            Ok(())
        } else {
            self.append(key, entry, added)
        }
    }

    fn set_item(
        &mut self,
        key: &str,
        entry: &Entry,
        item: &'a Item,
        index: usize,
        value: Value,
    ) -> Result<(), Refusal> {
        let outline = &self.config.outline;
        let found = outline.find(&item.value, "value");
        if found.as_ref().is_some_and(|f| outline.json(&f.entry.value) == value) {
            return Ok(());
        }
        let path = format!("{key}[{index}].value");
        let line = outline.line(item.start);
        let Some(found) = found else {
            let reason = Reason::Missing {
                key: path,
                next: "an entry without a value means nothing: remove it",
            };
            return Err(self.refuse(line, reason));
        };
        if !found.own {
            return Err(self.refuse(
                line,
                Reason::Shared {
                    key: path,
                    how: "it comes in through a merge key <<".to_owned(),
                },
            ));
        }
        let node = &found.entry.value;
        for (place, node) in [(key, &entry.value), (key, &item.value), (path.as_str(), node)] {
            self.refuse_shared(place, line, node, !std::ptr::eq(node, &found.entry.value))?;
        }
        if matches!(node.kind, Kind::Map { .. } | Kind::Seq { .. }) {
            let (seen, expected) = (node.describe().to_owned(), "a single value");
            return Err(self.refuse(
                line,
                Reason::WrongShape {
                    key: path,
                    seen,
                    expected,
                },
            ));
        }
        let text = match &value {
            // "off" and "on" mean true and false to older YAML parsers, so strings always stand in quotes.
            Value::String(text) => {
                let single = quotes_of(node) == Some(Quotes::Single);
                scalar_text(text, if single { Quotes::Single } else { Quotes::Double })
            }
            other => flow(other, Quotes::WhereNeeded),
        };
        self.changes.push(match node.kind {
            Kind::Empty => Change {
                at: found.entry.after_colon..found.entry.after_colon,
                with: format!(" {text}"),
            },
            _ => Change {
                at: node.range.clone(),
                with: text,
            },
        });
        if let Some(items) = self.expected_items(key)
            && let Some(expected) = items.get_mut(index).and_then(yaml_serde::Value::as_mapping_mut)
        {
            expected.insert("value".into(), yaml_serde::to_value(&value).unwrap_or_default());
        }
        Ok(())
    }

    fn append(&mut self, key: &str, entry: &Entry, added: Vec<Value>) -> Result<(), Refusal> {
        let (text, outline) = (&self.config.text, &self.config.outline);
        self.refuse_shared(key, outline.line(entry.key_range.start), &entry.value, true)?;
        let style = Style {
            quotes: Quotes::Double,
            ..Style::of(text, outline, &entry.value)
        };
        let style = if matches!(entry.value.kind, Kind::Seq { flow: false, .. }) {
            style
        } else {
            self.style()
        };
        match &entry.value.kind {
            Kind::Seq { items, flow: false } => {
                let at = items.first().map_or(0, |first| column(text, first.start));
                let end = items.last().map_or(entry.after_colon, Item::end);
                let lines: Vec<String> = added.iter().flat_map(|item| block_item(item, at, style)).collect();
                self.changes.push(insert_lines(text, end, &lines));
            }
            Kind::Seq { flow: true, .. } => {
                let items: Vec<String> = added.iter().map(|item| flow(item, Quotes::Double)).collect();
                self.changes.push(insert_flow(text, &entry.value, &items.join(", ")));
            }
            // `key:` or `key: null`.
            _ => {
                let at = entry.key_range.start;
                let in_flow = matches!(outline.root.kind, Kind::Map { flow: true, .. });
                let change = if in_flow {
                    Change {
                        at: entry.after_colon..entry.end(),
                        with: format!(" {}", flow(&json!(added), Quotes::Double)),
                    }
                } else {
                    let lines: Vec<String> = added
                        .iter()
                        .flat_map(|item| block_item(item, column(text, at) + style.dash, style))
                        .collect();
                    let newline = crate::splice::newline_near(text, entry.end());
                    let with = lines.iter().map(|line| format!("{newline}{line}")).collect();
                    let rest_is_comment = text[entry.end()..]
                        .lines()
                        .next()
                        .is_some_and(|rest| rest.contains('#'));
                    if rest_is_comment {
                        self.changes.push(insert_lines(text, entry.end(), &lines));
                        Change {
                            at: entry.after_colon..entry.end(),
                            with: String::new(),
                        }
                    } else {
                        Change {
                            at: entry.after_colon..entry.end(),
                            with,
                        }
                    }
                };
                self.changes.push(change);
            }
        }
        let added: Vec<yaml_serde::Value> = added
            .iter()
            .filter_map(|item| yaml_serde::to_value(item).ok())
            .collect();
        match self.expected_items(key) {
            Some(items) => items.extend(added),
            None => {
                let name = entry.key.clone().unwrap_or_default();
                if let Some(root) = self.expected.as_mapping_mut() {
                    root.insert(name.into(), yaml_serde::Value::Sequence(added));
                }
            }
        }
        Ok(())
    }

    /// New keys go to the end of the file, after everything that stands there.
    fn add_new_keys(&mut self) {
        if self.new_lines.is_empty() {
            return;
        }
        let (text, outline) = (&self.config.text, &self.config.outline);
        let style = self.style();
        let new = std::mem::take(&mut self.new_lines);
        match (&outline.root.kind, outline.root.entries().last()) {
            (Kind::Map { flow: true, .. }, _) => {
                let entries: Vec<String> = new
                    .iter()
                    .map(|(k, items)| flow_entry(k, items, Quotes::Double))
                    .collect();
                self.changes.push(insert_flow(text, &outline.root, &entries.join(", ")));
            }
            (_, last) => {
                let at = outline
                    .root
                    .entries()
                    .first()
                    .map_or(0, |first| column(text, first.key_range.start));
                let lines: Vec<String> = new
                    .iter()
                    .flat_map(|(k, items)| block_entry(k, items, at, style))
                    .collect();
                let end = last.map_or(text.len(), |last| end_with_comments(text, last.end(), at));
                self.changes.push(insert_lines(text, end, &lines));
            }
        }
        for (key, items) in new {
            if let Some(root) = self.expected.as_mapping_mut() {
                root.insert(key.into(), yaml_serde::to_value(&items).unwrap_or_default());
            }
        }
    }

    fn remove(&mut self, keys: &[&str]) -> Result<(), Refusal> {
        let outline = &self.config.outline;
        let mut indexes = Vec::new();
        for key in keys {
            let Some(entry) = self.config.entry(key) else { continue };
            let line = outline.line(entry.key_range.start);
            let shared = |how| {
                self.refuse(
                    line,
                    Reason::Shared {
                        key: (*key).to_owned(),
                        how,
                    },
                )
            };
            let index = outline
                .root
                .entries()
                .iter()
                .position(|e| e.key_range == entry.key_range);
            indexes.push(index.ok_or_else(|| shared("it comes in through a merge key <<".to_owned()))?);
            if let Some(how) = outline.shared_below(&entry.value) {
                return Err(shared(how));
            }
            let name = entry.key.clone().unwrap_or_default();
            if let Some(root) = self.expected.as_mapping_mut() {
                root.remove(name.as_str());
            }
        }
        indexes.sort_unstable();
        if matches!(outline.root.kind, Kind::Map { flow: true, .. }) {
            self.changes.extend(remove_flow(&outline.root, &indexes));
            return Ok(());
        }
        let entries: Vec<&Entry> = indexes.iter().filter_map(|i| outline.root.entries().get(*i)).collect();
        let changes = remove_lines(&self.config.text, &entries).ok_or_else(|| {
            let seen = "a key does not stand on lines of its own".to_owned();
            self.refuse(
                entries.first().map_or(1, |e| outline.line(e.key_range.start)),
                Reason::NotExact { seen },
            )
        })?;
        self.changes.extend(changes);
        Ok(())
    }

    fn refuse(&self, line: usize, reason: Reason) -> Refusal {
        Refusal::new(&self.config.file, line, reason)
    }

    /// Refuses a node that stands in other places too; an alias is refused where something inside of it would change.
    fn refuse_shared(&self, key: &str, line: usize, node: &Node, inside: bool) -> Result<(), Refusal> {
        let alias = match &node.kind {
            Kind::Alias(name) if inside => Some(format!("it is the alias *{name}")),
            _ => None,
        };
        match alias.or_else(|| self.config.outline.shared(node)) {
            None => Ok(()),
            Some(how) => Err(self.refuse(
                line,
                Reason::Shared {
                    key: key.to_owned(),
                    how,
                },
            )),
        }
    }

    fn style(&self) -> Style {
        let outline = &self.config.outline;
        Style {
            quotes: Quotes::Double,
            ..Style::of(&self.config.text, outline, &outline.root)
        }
    }

    fn expected_items(&mut self, key: &str) -> Option<&mut Vec<yaml_serde::Value>> {
        let name = self.config.entry(key)?.key.as_deref()?;
        self.expected.get_mut(name)?.as_sequence_mut()
    }
}
