//! Changes of a text at given places, whole lines where the file is in block style.

use std::ops::Range;

use crate::outline::{Entry, Kind, Node};
use crate::render::column;

/// Replaces `at` by `with`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) at: Range<usize>,
    pub(crate) with: String,
}

/// Applies changes that do not overlap; those at one place keep their order.
pub(crate) fn apply(text: &str, mut changes: Vec<Change>) -> String {
    changes.sort_by_key(|c| c.at.start);
    let mut out = String::with_capacity(text.len() + 256);
    let mut done = 0;
    for change in changes {
        if let Some(kept) = text.get(done..change.at.start) {
            out.push_str(kept);
        }
        out.push_str(&change.with);
        done = change.at.end.max(done);
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

/// Adds whole lines after the line that `end` stands on, with that line's ending; where the file's last line has none,
/// the new last line has none either.
pub(crate) fn insert_lines(text: &str, end: usize, lines: &[String]) -> Change {
    // Content that ends with its own line break (a block scalar) leaves `end` at the start of the next line.
    let end = if end > 0 && text[..end].ends_with('\n') {
        end - 1
    } else {
        end
    };
    let newline = newline_near(text, end);
    let block = lines.join(newline);
    match text[end..].find('\n') {
        Some(to_break) => {
            let at = end + to_break + 1;
            Change {
                at: at..at,
                with: format!("{block}{newline}"),
            }
        }
        None if text.is_empty() => Change {
            at: 0..0,
            with: format!("{block}{newline}"),
        },
        None => Change {
            at: text.len()..text.len(),
            with: format!("{newline}{block}"),
        },
    }
}

/// The end of the last line that belongs with the entries of a block mapping at `column`: its content, or comment lines
/// right after it that are indented as its entries are (often entries commented out).
pub(crate) fn end_with_comments(text: &str, end: usize, key_column: usize) -> usize {
    let mut at = end;
    while let Some(to_break) = text[at..].find('\n') {
        let next = at + to_break + 1;
        let line = text[next..].lines().next().unwrap_or_default();
        let indent = line.len() - line.trim_start_matches(' ').len();
        if !line.trim_start().starts_with('#') || indent < key_column {
            break;
        }
        at = next + line.len();
    }
    at
}

/// Removes the lines of block entries, in the order of the text, comments on and between those lines included; `None`
/// when one shares its first line with something else.
pub(crate) fn remove_lines(text: &str, entries: &[&Entry]) -> Option<Vec<Change>> {
    let mut removed: Vec<Range<usize>> = Vec::new();
    for entry in entries {
        let lines = lines_of(text, entry)?;
        match removed.last_mut() {
            Some(last) if last.end == lines.start => last.end = lines.end,
            _ => removed.push(lines),
        }
    }
    if let Some(last) = removed
        .last_mut()
        .filter(|last| last.end == text.len() && !text.ends_with('\n'))
    {
        // The last line had no line break, so the line before it now has none.
        let before = text[..last.start].strip_suffix('\n').unwrap_or(&text[..last.start]);
        last.start = before.strip_suffix('\r').unwrap_or(before).len();
    }
    Some(
        removed
            .into_iter()
            .map(|at| Change {
                at,
                with: String::new(),
            })
            .collect(),
    )
}

/// The whole lines of a block entry, with their line breaks.
fn lines_of(text: &str, entry: &Entry) -> Option<Range<usize>> {
    let line = text[..entry.key_range.start].rfind('\n').map_or(0, |i| i + 1);
    let before_key = &text[line..entry.key_range.start];
    let indent = before_key.strip_prefix('\u{feff}').unwrap_or(before_key);
    if !indent.trim_matches(' ').is_empty() {
        return None;
    }
    let end = entry.end();
    let end = if text[..end].ends_with('\n') { end - 1 } else { end };
    let end = text[end..].find('\n').map_or(text.len(), |to_break| end + to_break + 1);
    Some(entry.key_range.start - indent.len()..end)
}

/// Adds `entry` (already rendered) at the end of a flow collection.
pub(crate) fn insert_flow(text: &str, node: &Node, entry: &str) -> Change {
    let last = match &node.kind {
        Kind::Map { entries, .. } => entries.last().map(|e| (e.key_range.start, e.end())),
        Kind::Seq { items, .. } => items.last().map(|i| (i.start, i.value.range.end)),
        _ => None,
    };
    match last {
        None => {
            let at = node.range.start + 1;
            Change {
                at: at..at,
                with: entry.to_owned(),
            }
        }
        Some((start, end)) => {
            let line = text[..start].rfind('\n').map_or(0, |i| i + 1);
            let own_line = line > node.range.start && text[line..start].trim().is_empty();
            let rest = text[end..].lines().next().unwrap_or_default();
            let with = if own_line && !rest.contains('#') {
                format!(",{}{}{entry}", newline_near(text, end), " ".repeat(column(text, start)))
            } else {
                format!(", {entry}")
            };
            Change { at: end..end, with }
        }
    }
}

/// Removes entries of a flow mapping, by ascending index, with their commas.
pub(crate) fn remove_flow(node: &Node, indexes: &[usize]) -> Vec<Change> {
    let removed = |i: &usize| indexes.contains(i);
    let entries = node.entries();
    let first_kept = (0..entries.len()).find(|i| !removed(i));
    let mut changes = Vec::new();
    for (i, entry) in entries.iter().enumerate().filter(|(i, _)| removed(i)) {
        // What stands before the first entry that stays goes with the comma after it, the rest with the one before.
        let start = match i.checked_sub(1).and_then(|before| entries.get(before)) {
            Some(before) if first_kept.is_some_and(|kept| kept < i) => before.end(),
            _ => entry.key_range.start,
        };
        let next = entries.get(i + 1).filter(|_| first_kept.is_none_or(|kept| kept > i));
        let end = next.map_or(entry.end(), |next| next.key_range.start);
        changes.push(Change {
            at: start..end,
            with: String::new(),
        });
    }
    changes
}

/// The line ending of the line at `at`, or of the one before it, or a line feed.
pub(crate) fn newline_near(text: &str, at: usize) -> &'static str {
    let here = text[at..].find('\n').map(|i| at + i);
    match here.or_else(|| text[..at].rfind('\n')) {
        Some(i) if text[..i].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}
