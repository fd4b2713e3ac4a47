//! On which line each field of a YAML or JSON text stands.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser};

/// The lines of a text's fields, by path (`cluster.hosts[0].config`).
#[derive(Debug, Default)]
pub(super) struct Lines {
    by_field: BTreeMap<String, usize>,
    /// The line where the content begins.
    pub(super) first: Option<usize>,
    /// Fields that one mapping has twice.
    pub(super) twice: Vec<Twice>,
}

/// A field that one mapping has twice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Twice {
    /// Its path.
    pub(super) field: String,
    /// The line of the first.
    pub(super) first: usize,
    /// The line of the second.
    pub(super) second: usize,
}

/// A collection that is being read.
enum Open {
    Mapping { path: String, key: Option<String> },
    Sequence { path: String, items: usize },
}

impl Lines {
    /// Reads as far as the text can be read; never fails, since lines only ever decorate another message.
    pub(super) fn of(text: &str) -> Self {
        let mut lines = Self::default();
        // A stack of our own, so that no depth of nesting exhausts the thread's.
        let mut open: Vec<Open> = Vec::new();
        for next in Parser::new_from_str(text) {
            let Ok((event, span)) = next else { break };
            let line = span.start.line();
            match event {
                Event::MappingEnd | Event::SequenceEnd => {
                    open.pop();
                }
                Event::DocumentEnd => break,
                Event::Scalar(text, ..) => {
                    lines.enter(&mut open, line, Some(&text));
                }
                Event::Alias(_) => {
                    lines.enter(&mut open, line, None);
                }
                Event::MappingStart(..) => {
                    let Some(path) = lines.enter(&mut open, line, None) else {
                        break;
                    };
                    open.push(Open::Mapping { path, key: None });
                }
                Event::SequenceStart(..) => {
                    let Some(path) = lines.enter(&mut open, line, None) else {
                        break;
                    };
                    open.push(Open::Sequence { path, items: 0 });
                }
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {}
            }
        }
        lines
    }

    /// The line of `field`, else of the nearest field around it that is there, else where the content begins.
    pub(super) fn find(&self, field: &str) -> Option<usize> {
        let mut path = field;
        loop {
            if let Some(line) = self.by_field.get(path) {
                return Some(*line);
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return self.first,
            }
        }
    }

    /// Notes that a node begins here. Gives its path if it is a value, `None` if it is a key.
    fn enter(&mut self, open: &mut [Open], line: usize, scalar: Option<&str>) -> Option<String> {
        self.first.get_or_insert(line);
        match open.last_mut() {
            None => Some(String::new()),
            Some(Open::Sequence { path, items }) => {
                let item = format!("{path}[{items}]");
                *items += 1;
                self.by_field.insert(item.clone(), line);
                Some(item)
            }
            Some(Open::Mapping { path, key }) => match key.take() {
                Some(name) => Some(join(path, &name)),
                None => {
                    let name = scalar?.to_owned();
                    self.note_key(&join(path, &name), line);
                    *key = Some(name);
                    None
                }
            },
        }
    }

    fn note_key(&mut self, field: &str, line: usize) {
        if let Some(first) = self.by_field.get(field) {
            self.twice.push(Twice {
                field: field.to_owned(),
                first: *first,
                second: line,
            });
        } else {
            self.by_field.insert(field.to_owned(), line);
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_yaml_and_json_are_found() {
        let yaml = "# a comment\na:\n  b: [1, {c: 2}]\n  list:\n  - x: 1\n    y: &here\n      z: 2\n  - *here\n";
        let lines = Lines::of(yaml);
        for (field, line) in [
            ("a", 2),
            ("a.b", 3),
            ("a.b[1].c", 3),
            ("a.list[0].x", 5),
            ("a.list[0].y.z", 7),
            ("a.list[1]", 8),
            ("a.list[1].z", 8),
            ("a.list[0].missing", 5),
            ("missing", 2),
        ] {
            assert_eq!(lines.find(field), Some(line), "{field}");
        }
        let json = "{\n \"a\": {\n  \"b\": [\n   1\n  ]\n }\n}";
        assert_eq!(Lines::of(json).find("a.b[0]"), Some(4));
        assert_eq!(Lines::of("").find("a"), None);
    }

    #[test]
    fn a_field_given_twice_is_told_with_both_lines() {
        let lines = Lines::of("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n");
        let twice: Vec<_> = lines
            .twice
            .iter()
            .map(|twice| (twice.field.as_str(), twice.first, twice.second))
            .collect();
        assert_eq!(twice, [("b.c", 3, 4), ("a", 1, 5)]);
        assert_eq!(Lines::of("- a: 1\n- a: 1\n").twice, []);
    }

    #[test]
    fn deep_and_broken_texts_do_no_harm() {
        Lines::of(&"[".repeat(200_000));
        Lines::of(&"{a: ".repeat(50_000));
        Lines::of("? {a: b}\n: c\n");
        Lines::of("a: b: c: [\n");
    }
}
