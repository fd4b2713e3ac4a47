//! Exact unified diffs with the secrets masked.

use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

use similar::{ChangeTag, TextDiff};

use crate::outline::{Kind, Node, Outline, ScalarStyle};
use crate::secrets::{MASK, is_secret_key, mask_urls};

/// The unified diff from `before` to `after`, three lines of context, under the name `path`; empty when they are equal.
///
/// Lines are exact, line endings and a missing final line break included, except that secrets are masked in changed and
/// context lines alike: values under keys such as `password`, `token` or `keyData` (in comments too), passwords in
/// URLs, and every other mention of such a value.
pub fn unified_diff(path: impl AsRef<Path>, before: &str, after: &str) -> String {
    if before == after {
        return String::new();
    }
    let old: Vec<&str> = before.split_inclusive('\n').collect();
    let new: Vec<&str> = after.split_inclusive('\n').collect();
    let (places_old, places_new) = (secret_places(before), secret_places(after));
    // A secret of one side may be mentioned in the other.
    let secrets: Vec<&str> = values(before, &places_old)
        .into_iter()
        .chain(values(after, &places_new))
        .collect();
    let (shown_old, shown_new) = (mask(before, places_old, &secrets), mask(after, places_new, &secrets));
    let shown_old: Vec<&str> = shown_old.split_inclusive('\n').collect();
    let shown_new: Vec<&str> = shown_new.split_inclusive('\n').collect();
    let path = path.as_ref().display();
    let mut out = format!("--- {path}\n+++ {path}\n");
    let diff = TextDiff::from_slices(&old, &new);
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}", hunk.header());
        for change in hunk.iter_changes() {
            let (sign, line) = match change.tag() {
                ChangeTag::Delete => ('-', change.old_index().and_then(|i| shown_old.get(i))),
                ChangeTag::Insert => ('+', change.new_index().and_then(|i| shown_new.get(i))),
                ChangeTag::Equal => (' ', change.new_index().and_then(|i| shown_new.get(i))),
            };
            let line = line.copied().unwrap_or_default();
            out.push(sign);
            out.push_str(line);
            if !line.ends_with('\n') {
                out.push_str("\n\\ No newline at end of file\n");
            }
        }
    }
    out
}

/// Where the secrets stand.
fn secret_places(text: &str) -> Vec<Range<usize>> {
    match Outline::parse(Path::new(""), text.as_bytes()) {
        Ok((_, _, outline)) => {
            let mut ranges = Vec::new();
            secret_values(text, &outline, &outline.root, false, &mut ranges);
            ranges.extend(outline.comments.iter().filter_map(|c| secret_in_line(text, c.clone())));
            ranges
        }
        Err(_) => secret_lines(text),
    }
}

/// The text with its secrets masked, line for line.
fn mask(text: &str, mut secret: Vec<Range<usize>>, values: &[&str]) -> String {
    secret.extend(
        values
            .iter()
            .flat_map(|value| text.match_indices(value).map(|(at, v)| at..at + v.len())),
    );
    secret.sort_by_key(|r| r.start);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for range in secret {
        let range = range.start.max(done)..range.end;
        if range.is_empty() {
            continue;
        }
        out.push_str(&text[done..range.start]);
        for line in text[range.clone()].split_inclusive('\n') {
            let content = line.trim();
            let indent = &line[..line.len() - line.trim_start().len()];
            let ending = &line[line.trim_end().len()..];
            if content.is_empty() {
                out.push_str(line);
            } else {
                out.push_str(indent);
                out.push_str(MASK);
                out.push_str(ending);
            }
        }
        done = range.end;
    }
    out.push_str(&text[done..]);
    mask_urls(&out)
}

/// The places of all values under secret keys.
fn secret_values(text: &str, outline: &Outline, node: &Node, secret: bool, ranges: &mut Vec<Range<usize>>) {
    match &node.kind {
        Kind::Map { entries, .. } => {
            for entry in entries {
                let secret = secret || entry.key.as_deref().is_some_and(is_secret_key);
                secret_values(text, outline, &entry.value, secret, ranges);
            }
        }
        Kind::Seq { items, .. } => {
            for item in items {
                secret_values(text, outline, &item.value, secret, ranges);
            }
        }
        Kind::Alias(_) if secret => {
            let target = outline.follow(node);
            if !matches!(target.kind, Kind::Alias(_)) {
                secret_values(text, outline, target, true, ranges);
            }
        }
        Kind::Scalar { text: value, style } if secret && !value.is_empty() => {
            let range = node.range.clone();
            ranges.push(match style {
                // The header of a block scalar says nothing.
                ScalarStyle::Block => {
                    text[range.clone()]
                        .find('\n')
                        .map_or(range.end, |i| range.start + i + 1)..range.end
                }
                ScalarStyle::Single | ScalarStyle::Double => range.start + 1..range.end - 1,
                ScalarStyle::Plain => range,
            });
        }
        _ => {}
    }
}

/// What follows a secret key in a comment or in a line of a file that does not parse, to the end of the line.
fn secret_in_line(text: &str, line: Range<usize>) -> Option<Range<usize>> {
    let content = &text[line.clone()];
    let key_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | '\'');
    for (at, _) in content.match_indices([':', '=']) {
        let before = content[..at].trim_end();
        let key_start = before.rfind(|c| !key_char(c)).map_or(0, |i| i + 1);
        let value = content[at + 1..].trim_start();
        if is_secret_key(before.get(key_start..).unwrap_or_default()) && !value.is_empty() {
            let end = line.start + content.trim_end().len();
            return Some(line.start + content.len() - value.len()..end);
        }
    }
    None
}

/// For a file that does not parse: what follows secret keys, and the deeper lines below them.
fn secret_lines(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    let mut below = None;
    for line in text.split_inclusive('\n') {
        let range = at..at + line.trim_end_matches(['\n', '\r']).len();
        at += line.len();
        let indent = line.len() - line.trim_start().len();
        let blank = line.trim().is_empty();
        if below.is_some_and(|depth| indent > depth) && !blank {
            ranges.push(range);
            continue;
        }
        if blank {
            continue;
        }
        let key = line
            .trim_start_matches(['-', ' ', '#'])
            .split([':', '='])
            .next()
            .unwrap_or_default();
        below = is_secret_key(key).then_some(indent);
        ranges.extend(secret_in_line(text, range));
    }
    ranges
}

/// The secret values, to be found where else they stand, as in a connect string. Short ones and mere words (`temporal`)
/// are left out: they stand anywhere, and masking them would make the diff unreadable.
fn values<'a>(text: &'a str, places: &[Range<usize>]) -> Vec<&'a str> {
    let lines = places.iter().flat_map(|range| text[range.clone()].lines());
    lines
        .map(|line| line.trim().trim_matches(['"', '\'', ',']))
        .filter(|value| value.len() >= 6)
        .collect()
}
