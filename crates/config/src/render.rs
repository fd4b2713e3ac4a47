//! Writes new YAML in the style of the file it goes into.

use serde_json::Value;

use crate::outline::{Kind, Node, Outline, ScalarStyle};

/// How a file writes things; new lines follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// Spaces by which a nested mapping is indented.
    pub(crate) step: usize,
    /// Spaces by which the dash of a list stands right of its key.
    pub(crate) dash: usize,
    /// Spaces from a dash to its content.
    pub(crate) gap: usize,
    /// The quotes strings are given even where none are needed.
    pub(crate) quotes: Quotes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quotes {
    WhereNeeded,
    Single,
    Double,
}

impl Style {
    /// The style around `near`, completed from the whole file where `near` shows nothing.
    pub(crate) fn of(text: &str, outline: &Outline, near: &Node) -> Self {
        let step = first_step(text, near)
            .or_else(|| first_step(text, &outline.root))
            .unwrap_or(2);
        let list = first_list(text, near).or_else(|| first_list(text, &outline.root));
        let (dash, gap) = list.unwrap_or((step, 2));
        Self {
            step,
            dash,
            gap,
            quotes: usual_quotes(near),
        }
    }
}

/// The column (from 0, in bytes) of an offset.
pub(crate) fn column(text: &str, at: usize) -> usize {
    let start = text[..at].rfind('\n').map_or(0, |i| i + 1);
    // A byte order mark takes no column.
    at - start
        - if text[start..].starts_with('\u{feff}') && at > start {
            '\u{feff}'.len_utf8()
        } else {
            0
        }
}

fn first_step(text: &str, node: &Node) -> Option<usize> {
    let mut step = None;
    node.walk(&mut |n| {
        for entry in n.entries() {
            if let (Kind::Map { flow: false, .. }, Kind::Map { flow: false, .. }, None) =
                (&n.kind, &entry.value.kind, step)
            {
                let deeper = column(text, entry.value.range.start).checked_sub(column(text, entry.key_range.start));
                step = deeper.filter(|d| (1..=16).contains(d));
            }
        }
    });
    step
}

fn first_list(text: &str, node: &Node) -> Option<(usize, usize)> {
    let mut found = None;
    node.walk(&mut |n| {
        for entry in n.entries() {
            if let (Kind::Seq { items, flow: false }, None) = (&entry.value.kind, found) {
                let Some(item) = items.first() else { continue };
                let dash = column(text, item.start).checked_sub(column(text, entry.key_range.start));
                let content = item.value.range.start.checked_sub(item.start);
                let same_line = !text[item.start..item.value.range.start].contains('\n');
                let gap = content.filter(|g| same_line && (2..=16).contains(g)).unwrap_or(2);
                found = dash.filter(|d| *d <= 16).map(|dash| (dash, gap));
            }
        }
    });
    found
}

/// The quotes that most strings near have, among those that would need none.
fn usual_quotes(node: &Node) -> Quotes {
    let (mut plain, mut single, mut double) = (0, 0, 0);
    node.walk(&mut |n| {
        if let Kind::Scalar { text, style } = &n.kind
            && is_plain_safe(text)
        {
            match style {
                ScalarStyle::Plain => plain += 1,
                ScalarStyle::Single => single += 1,
                ScalarStyle::Double => double += 1,
                ScalarStyle::Block => {}
            }
        }
    });
    if double > plain && double >= single {
        Quotes::Double
    } else if single > plain {
        Quotes::Single
    } else {
        Quotes::WhereNeeded
    }
}

/// `key: value` as lines without line breaks, the key at column `at`.
pub(crate) fn block_entry(key: &str, value: &Value, at: usize, style: Style) -> Vec<String> {
    let mut lines = Vec::new();
    push_entry(&mut lines, key, value, at, style);
    lines
}

fn push_entry(lines: &mut Vec<String>, key: &str, value: &Value, at: usize, style: Style) {
    let head = format!("{}{}:", " ".repeat(at), scalar_text(key, Quotes::WhereNeeded));
    match value {
        Value::Object(map) if !map.is_empty() => {
            lines.push(head);
            for (key, value) in map {
                push_entry(lines, key, value, at + style.step, style);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            lines.push(head);
            for item in items {
                lines.extend(block_item(item, at + style.dash, style));
            }
        }
        leaf => lines.push(format!("{head} {}", flow(leaf, style.quotes))),
    }
}

/// `- value` as lines without line breaks, the dash at column `at`.
pub(crate) fn block_item(value: &Value, at: usize, style: Style) -> Vec<String> {
    let inner = at + style.gap;
    let mut lines = match value {
        Value::Object(map) if !map.is_empty() => map
            .iter()
            .flat_map(|(key, value)| block_entry(key, value, inner, style))
            .collect(),
        leaf => vec![format!("{}{}", " ".repeat(inner), flow(leaf, style.quotes))],
    };
    if let Some(first) = lines.first_mut() {
        *first = format!("{}-{}", " ".repeat(at), &first[at + 1..]);
    }
    lines
}

/// A value on one line, as it may stand anywhere.
pub(crate) fn flow(value: &Value, quotes: Quotes) -> String {
    match value {
        Value::String(text) => scalar_text(text, quotes),
        Value::Object(map) => {
            let entries: Vec<String> = map.iter().map(|(key, value)| flow_entry(key, value, quotes)).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| flow(item, quotes)).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// `key: value` on one line.
pub(crate) fn flow_entry(key: &str, value: &Value, quotes: Quotes) -> String {
    let key_quotes = if quotes == Quotes::Double {
        Quotes::Double
    } else {
        Quotes::WhereNeeded
    };
    format!("{}: {}", scalar_text(key, key_quotes), flow(value, quotes))
}

/// A string as a scalar that every YAML parser reads back as that very string.
pub(crate) fn scalar_text(text: &str, quotes: Quotes) -> String {
    match quotes {
        Quotes::WhereNeeded if is_plain_safe(text) => text.to_owned(),
        Quotes::Single if text.chars().all(is_printable) && !text.contains("{{") => {
            format!("'{}'", text.replace('\'', "''"))
        }
        _ => double_quoted(text),
    }
}

fn double_quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    let mut previous = None;
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            // Two braces in a row would make the file look like a template, and be one to tools that render any file.
            '{' if previous == Some('{') => quoted.push_str("\\u007b"),
            c if is_printable(c) => quoted.push(c),
            c if (c as u32) <= 0xffff => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            c => quoted.push_str(&format!("\\U{:08x}", c as u32)),
        }
        previous = Some(c);
    }
    quoted.push('"');
    quoted
}

/// Whether every YAML parser takes the character as it is.
fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a1}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}')
}

/// Whether a string stands for itself without quotes, in block and in flow style, in YAML 1.1 and 1.2 alike.
fn is_plain_safe(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '/'));
    let resolves = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "null" | "nan" | "inf"
    );
    starts_well && text.chars().all(word) && !resolves && text.len() < 256
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_string_reads_back_as_itself() {
        let odd = [
            "",
            " ",
            "off",
            "Off",
            "~",
            "null",
            "1",
            "0x1f",
            "1e3",
            "2020-01-01",
            "a: b",
            "a #b",
            "#x",
            "- x",
            "*a",
            "&a",
            "!t",
            "{a",
            "[",
            "]",
            ",",
            "a'b",
            "a\"b",
            "back\\slash",
            "tab\t",
            "line\nbreak",
            "\r",
            "é",
            "日本",
            "😀",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "\u{7f}",
            "%x",
            "@x",
            "`x",
            "?",
            ": ",
            "---",
            "...",
            "<<",
            "=",
            "12:30:45",
            "0o17",
            ".5",
            "1_000",
            "trailing ",
            "\u{0}",
            "{{ x }}",
            "{{{",
        ];
        for text in odd {
            for quotes in [Quotes::WhereNeeded, Quotes::Single, Quotes::Double] {
                for document in [
                    format!("k: {}\n", scalar_text(text, quotes)),
                    format!("{{k: {}, z: 1}}\n", scalar_text(text, quotes)),
                ] {
                    let value: yaml_serde::Value = yaml_serde::from_str(&document).expect(&document);
                    assert_eq!(value["k"].as_str(), Some(text), "{document}");
                    assert!(!document.contains("{{"), "{document}");
                }
            }
        }
    }
}
