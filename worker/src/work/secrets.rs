//! Secrets: resolved on the machine that needs them, inside an activity, and never handed on.

use crossfade_plan::{
    problem::{Code, Problem},
    secret::{self, Reference},
    spec::SecretReference,
};
use serde_json::{Map, Value};

/// A datastore entry with its references replaced by the secrets of this machine.
pub(crate) fn resolve_entry(entry: &Map<String, Value>, place: &str) -> Result<Value, Problem> {
    secret::resolve(&Value::Object(entry.clone()), place, &mut find)
}

/// A single secret.
pub(crate) fn resolve(reference: &SecretReference, place: &str) -> Result<String, Problem> {
    let reference = match reference {
        SecretReference::Env(name) => Reference::Env(name.clone()),
        SecretReference::File(path) => Reference::File(path.clone()),
    };
    find(&reference).map_err(|problem| problem.at(place))
}

fn find(reference: &Reference) -> Result<String, Problem> {
    match reference {
        Reference::Env(name) => std::env::var(name).map_err(|_| {
            Problem::new(
                Code::SecretMissing,
                format!("the environment variable `{name}` is not set here"),
            )
        }),
        Reference::File(path) => std::fs::read_to_string(path)
            .map(|text| text.lines().next().unwrap_or_default().to_owned())
            .map_err(|error| Problem::new(Code::SecretMissing, format!("`{path}` cannot be read: {error}"))),
    }
}
