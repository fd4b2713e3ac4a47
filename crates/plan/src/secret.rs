//! References to secrets: what a spec may carry in place of a password.

use serde_json::Value;

use crate::problem::{Code, Problem};

/// The names under which server configurations keep secrets; compared without regard to case or `_`/`-`.
const SECRET_FIELDS: &[&str] = &[
    "password",
    "secret",
    "secretkey",
    "secretaccesskey",
    "token",
    "sessiontoken",
    "apikey",
    "keydata",
];

/// Whether a field of a datastore entry holds a secret by its name.
pub fn is_secret_field(name: &str) -> bool {
    let plain: String = name
        .chars()
        .filter(|c| *c != '_' && *c != '-')
        .collect::<String>()
        .to_lowercase();
    SECRET_FIELDS
        .iter()
        .any(|field| plain == *field || plain.ends_with("password"))
}

/// Where a secret's value is found on the machine that needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// The value of an environment variable.
    Env(String),
    /// The first line of a file.
    File(String),
}

impl Reference {
    /// Reads `{"env": "NAME"}` or `{"file": "/path"}`; anything else is not a reference.
    pub fn from_json(value: &Value) -> Option<Self> {
        let object = value.as_object().filter(|object| object.len() == 1)?;
        let (kind, name) = object.iter().next()?;
        let name = name.as_str()?.to_owned();
        match kind.as_str() {
            "env" => Some(Self::Env(name)),
            "file" => Some(Self::File(name)),
            _ => None,
        }
    }

    /// The JSON form of this reference.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Env(name) => serde_json::json!({ "env": name }),
            Self::File(path) => serde_json::json!({ "file": path }),
        }
    }
}

/// The problem of a secret that stands at `place` as plain text.
pub(crate) fn literal_at(place: String) -> Problem {
    Problem::new(Code::SecretInSpec, "a secret stands here as plain text (not shown)").at(place)
}

/// Every place below `value` where a secret stands as plain text.
pub fn literals(value: &Value, place: &str) -> Vec<Problem> {
    let mut found = Vec::new();
    walk(value, place, &mut found);
    found
}

fn walk(value: &Value, place: &str, found: &mut Vec<Problem>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let here = format!("{place}.{name}");
                let literal = is_secret_field(name)
                    && match inner {
                        Value::String(text) => !text.is_empty(),
                        Value::Number(_) | Value::Bool(_) => true,
                        _ => false,
                    };
                if literal {
                    found.push(literal_at(here));
                } else if Reference::from_json(inner).is_none() {
                    walk(inner, &here, found);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, &format!("{place}[{index}]"), found);
            }
        }
        _ => {}
    }
}

/// Replaces every reference below `value` by what `resolve` finds for it.
///
/// # Errors
/// The problem that `resolve` reports, with the place of the reference.
pub fn resolve(
    value: &Value,
    place: &str,
    find: &mut dyn FnMut(&Reference) -> Result<String, Problem>,
) -> Result<Value, Problem> {
    if let Some(reference) = Reference::from_json(value) {
        return find(&reference).map(Value::String).map_err(|problem| problem.at(place));
    }
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, inner)| Ok((name.clone(), resolve(inner, &format!("{place}.{name}"), find)?)))
            .collect::<Result<serde_json::Map<_, _>, Problem>>()
            .map(Value::Object),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| resolve(item, &format!("{place}[{index}]"), find))
            .collect::<Result<Vec<_>, Problem>>()
            .map(Value::Array),
        other => Ok(other.clone()),
    }
}
