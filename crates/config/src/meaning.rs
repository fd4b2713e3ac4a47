//! What a file means to the server: parsed, aliases followed, merge keys applied.
//!
//! This view is made by another parser than the positions are (`outline`), on purpose: an edit is accepted only when
//! the text before and after mean the same here but for the intended keys.

use yaml_serde::{Mapping, Value};

/// Where and why a text is not YAML.
pub(crate) struct ParseFault {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) message: String,
}

/// The meaning of `text`; an empty file means an empty mapping, as it does for the server.
pub(crate) fn meaning(text: &str) -> Result<Value, ParseFault> {
    // The server's parser skips a byte order mark, this one stumbles over it.
    let marked = text.strip_prefix('\u{feff}').unwrap_or(text);
    let parsed = yaml_serde::from_str::<Value>(marked).map_err(|e| {
        let (line, column) = e.location().map_or((1, 1), |at| (at.line(), at.column()));
        // The parser appends its own position, which is ours to say.
        let message = e.to_string();
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        ParseFault { line, column, message }
    })?;
    let merged = apply_merge_keys(parsed).map_err(|message| ParseFault {
        line: 1,
        column: 1,
        message,
    })?;
    Ok(if merged.is_null() {
        Value::Mapping(Mapping::new())
    } else {
        merged
    })
}

/// Applies `<<` as the server's parser does (go-yaml v3 `decode.go: merge`): own keys win, then the earlier of several
/// merged mappings, and a merged mapping has had its own merge keys applied first.
fn apply_merge_keys(value: Value) -> Result<Value, String> {
    match value {
        Value::Mapping(mapping) => {
            let mut own = Mapping::with_capacity(mapping.len());
            let mut merged = None;
            for (key, value) in mapping {
                let value = apply_merge_keys(value)?;
                if key.as_str() == Some("<<") {
                    merged = Some(value);
                } else {
                    own.insert(key, value);
                }
            }
            let sources = match merged {
                None => Vec::new(),
                Some(Value::Sequence(several)) => several,
                Some(one) => vec![one],
            };
            for source in sources {
                let Value::Mapping(source) = source else {
                    return Err("the merge key << takes a mapping or a list of mappings".to_owned());
                };
                for (key, value) in source {
                    own.entry(key).or_insert(value);
                }
            }
            Ok(Value::Mapping(own))
        }
        Value::Sequence(items) => Ok(Value::Sequence(
            items.into_iter().map(apply_merge_keys).collect::<Result<_, _>>()?,
        )),
        Value::Tagged(mut tagged) => {
            tagged.value = apply_merge_keys(tagged.value)?;
            Ok(Value::Tagged(tagged))
        }
        plain => Ok(plain),
    }
}

/// The dotted path of the first place where two meanings differ, without any value (it may be a secret).
pub(crate) fn first_difference(expected: &Value, seen: &Value) -> Option<String> {
    fn walk(expected: &Value, seen: &Value, path: &str) -> Option<String> {
        let below = |key: &Value| {
            let key = key.as_str().map_or_else(|| "?".to_owned(), str::to_owned);
            if path.is_empty() { key } else { format!("{path}.{key}") }
        };
        match (expected, seen) {
            (Value::Mapping(a), Value::Mapping(b)) => {
                let absent = a
                    .keys()
                    .find(|k| !b.contains_key(*k))
                    .map(|k| format!("{} would be missing", below(k)));
                let added = b
                    .keys()
                    .find(|k| !a.contains_key(*k))
                    .map(|k| format!("{} would appear", below(k)));
                let changed = || a.iter().find_map(|(k, v)| b.get(k).and_then(|w| walk(v, w, &below(k))));
                absent.or(added).or_else(changed)
            }
            (Value::Sequence(a), Value::Sequence(b)) if a.len() == b.len() => a
                .iter()
                .zip(b)
                .enumerate()
                .find_map(|(i, (v, w))| walk(v, w, &format!("{path}[{i}]"))),
            _ if expected == seen => None,
            _ if path.is_empty() => Some("the file as a whole would differ".to_owned()),
            _ => Some(format!("{path} would differ")),
        }
    }
    walk(expected, seen, "")
}
