//! Reading a spec so that one look tells the operator everything that is wrong with it.

use std::{collections::BTreeSet, sync::LazyLock};

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use serde_json::{Value, json};

use super::{Spec, places};
use crate::{
    period::Period,
    problem::{Code, Problem},
    secret,
};

/// The published JSON Schema of the spec.
pub fn schema() -> Value {
    schemars::schema_for!(Spec).to_value()
}

/// A spec that works after the addresses and paths are replaced by one's own.
pub fn example() -> Value {
    json!({
        "cluster": {
            "frontend": "127.0.0.1:7233",
            "hosts": [{
                "name": "node-a",
                "config": "/etc/temporal/config/production.yaml",
                "services": ["frontend", "history", "matching", "worker"],
                "restart": { "systemd": "temporal.service" },
            }],
            "dynamic_config": "/etc/temporal/dynamicconfig/production.yaml",
        },
        "target": {
            "name": "postgres-visibility-new",
            "datastore": { "sql": {
                "pluginName": "postgres12",
                "databaseName": "temporal_visibility_new",
                "connectAddr": "127.0.0.1:5432",
                "connectProtocol": "tcp",
                "user": "temporal",
                "password": { "env": "TEMPORAL_VISIBILITY_PASSWORD" },
            }},
            "setup_schema": true,
        },
        "existing_records": "backfill",
        "gates": ["dual-write", "cutover", "promote"],
        "cutover": { "namespaces_first": ["staging"], "soak": "30m" },
        "keep_source_datastore": true,
    })
}

/// The largest spec, in bytes of JSON: it travels with every order of the migration, and the server takes no payload
/// of more than 2 MiB (1.30.8: common/dynamicconfig/constants.go, `BlobSizeLimitError`).
const LARGEST: usize = 256 << 10;

/// The compiled schema; `None` only if the schema that we generate were itself invalid, which a test excludes.
static VALIDATOR: LazyLock<Option<Validator>> = LazyLock::new(|| jsonschema::validator_for(&schema()).ok());

pub(super) fn parse(value: &Value) -> Result<Spec, Vec<Problem>> {
    if !value.is_object() {
        let seen = kind_of(value);
        return Err(vec![Problem::new(
            Code::SpecInvalid,
            format!("expected one JSON object, the spec, and got {seen}"),
        )]);
    }
    let size = value.to_string().len();
    if size > LARGEST {
        return Err(vec![Problem::new(
            Code::SpecInvalid,
            format!(
                "the spec takes {} KiB; a workflow can carry {} KiB of it",
                size >> 10,
                LARGEST >> 10
            ),
        )]);
    }
    let mut problems: Vec<Problem> = VALIDATOR
        .iter()
        .flat_map(|validator| validator.iter_errors(value))
        .flat_map(|error| explain(&error))
        .collect();
    for (field, entry) in [
        ("target", value.pointer("/target/datastore")),
        ("source", value.pointer("/source/datastore")),
    ] {
        problems.extend(
            entry
                .iter()
                .flat_map(|entry| secret::literals(entry, &format!("{field}.datastore"))),
        );
    }
    if problems.is_empty() {
        match serde_path_to_error::deserialize::<_, Spec>(value) {
            Ok(spec) => {
                problems = disagreements(&spec);
                if problems.is_empty() {
                    return Ok(spec);
                }
            }
            Err(error) => {
                problems.push(Problem::new(Code::SpecInvalid, error.inner().to_string()).at(error.path().to_string()))
            }
        }
    }
    problems.sort_by(|a, b| (&a.place, &a.message).cmp(&(&b.place, &b.message)));
    problems.dedup();
    Err(problems)
}

/// A schema error in the operator's words. A secret's value never appears: only types and names are told.
fn explain(error: &ValidationError<'_>) -> Vec<Problem> {
    let place = field_path(error.instance_path().as_str());
    let at = |place: String, message: String| {
        let problem = Problem::new(Code::SpecInvalid, message);
        if place.is_empty() { problem } else { problem.at(place) }
    };
    let join = |name: &str| {
        if place.is_empty() {
            name.to_owned()
        } else {
            format!("{place}.{name}")
        }
    };
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .map(|name| at(join(name), format!("unknown field `{name}`")))
            .collect(),
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![at(join(name), format!("missing field `{name}`"))]
        }
        ValidationErrorKind::Type { kind } => {
            vec![at(
                place,
                format!(
                    "expected {}, got {}",
                    type_name(&format!("{kind:?}")),
                    kind_of(error.instance())
                ),
            )]
        }
        // An optional object is `an object, or null`: what is wrong is told by the form that was meant.
        ValidationErrorKind::AnyOf { context } if error.instance().is_object() => {
            let another_type = |inner: &ValidationError<'_>| {
                matches!(inner.kind(), ValidationErrorKind::Type { .. })
                    && inner.instance_path().as_str() == error.instance_path().as_str()
            };
            context
                .iter()
                .filter(|form| !form.iter().any(another_type))
                .flatten()
                .flat_map(explain)
                .collect()
        }
        ValidationErrorKind::OneOfNotValid { .. }
        | ValidationErrorKind::OneOfMultipleValid { .. }
        | ValidationErrorKind::AnyOf { .. } => {
            let field = place.rsplit('.').next().unwrap_or_default();
            if secret::is_secret_field(field) && !error.instance().is_object() {
                return vec![secret::literal_at(place)];
            }
            let forms = forms_at(&place);
            vec![at(place, format!("got {}, expected {forms}", shown(error.instance())))]
        }
        ValidationErrorKind::Pattern { .. } => {
            vec![at(
                place,
                format!(
                    "{} is not a length of time like 30s, 30m or 7d",
                    shown(error.instance())
                ),
            )]
        }
        ValidationErrorKind::MinLength { .. } | ValidationErrorKind::MinItems { .. } => {
            vec![at(place, "must not be empty".to_owned())]
        }
        _ => vec![at(place, error.to_string())],
    }
}

/// `/cluster/hosts/0/config` as people write it: `cluster.hosts[0].config`.
fn field_path(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').filter(|part| !part.is_empty()) {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            path.push_str(&format!("[{part}]"));
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(part);
        }
    }
    path
}

fn forms_at(place: &str) -> &'static str {
    if place.ends_with(".restart") {
        "{\"command\": [\"PROGRAM\", \"ARGUMENT\"]} or {\"systemd\": \"UNIT.service\"} \
         or {\"compose\": {\"project\": \"NAME\", \"services\": [\"SERVICE\"]}} \
         or {\"kubernetes\": {\"namespace\": \"NAME\", \"workloads\": [\"deployment/NAME\"]}}"
    } else if place.ends_with("api_key") {
        "{\"env\": \"NAME\"} or {\"file\": \"/path\"}"
    } else if place.starts_with("gates") {
        "one of \"prepare-target\", \"dual-write\", \"existing-records\", \"verify\", \"cutover\", \"promote\", \"finish\""
    } else if place.contains(".services") {
        "one of \"frontend\", \"history\", \"matching\", \"worker\", \"internal-frontend\""
    } else if place == "existing_records" {
        "one of \"backfill\", \"wait\", \"both\", \"refresh\""
    } else {
        "a value of the published schema (`crossfade spec schema`)"
    }
}

fn type_name(kind: &str) -> String {
    let kind = kind.to_lowercase();
    ["object", "array", "string", "boolean", "integer", "number", "null"]
        .into_iter()
        .filter(|name| kind.contains(name))
        .map(|name| {
            if name == "array" {
                "a list"
            } else if name == "object" {
                "an object"
            } else if name == "integer" {
                "an integer"
            } else if name == "null" {
                "nothing"
            } else if name == "string" {
                "a string"
            } else if name == "boolean" {
                "true or false"
            } else {
                "a number"
            }
        })
        .collect::<Vec<_>>()
        .join(" or ")
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A short value as it was written; long and structured ones by kind only.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.len() <= 60 => format!("`{text}`"),
        Value::Number(_) | Value::Bool(_) => format!("`{value}`"),
        Value::Object(fields) => {
            format!(
                "an object with {}",
                fields
                    .keys()
                    .map(|name| format!("`{name}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        }
        other => kind_of(other).to_owned(),
    }
}

/// The longest `restart_within`: a server that takes longer is down.
const LONGEST_RESTART: Period = Period::from_secs(24 * 3600);

/// The longest `soak` and `keep_warm`. The server refuses timers beyond what its clock can hold, and would do so at every try.
const LONGEST_SOAK: Period = Period::from_secs(365 * 24 * 3600);

/// The longest `guard.budget`: half of what the server takes to give a record up, the time until every host has read its
/// dynamic config included.
const LONGEST_BUDGET: Period = Period::from_secs(30 * 60);

/// What the schema cannot say: values that do not fit together.
fn disagreements(spec: &Spec) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut invalid =
        |place: String, message: String| problems.push(Problem::new(Code::SpecInvalid, message).at(place));
    for (place, message) in places::mistakes(spec) {
        invalid(place, message);
    }
    let mut names = BTreeSet::new();
    for (index, host) in spec.cluster.hosts.iter().enumerate() {
        let place = format!("cluster.hosts[{index}]");
        if !names.insert(&host.name) {
            invalid(
                format!("{place}.name"),
                format!("two hosts are named `{}`; each needs a name of its own", host.name),
            );
        }
        if host.restart_within.0.as_secs() < 1 {
            invalid(
                format!("{place}.restart_within"),
                format!("`{}` leaves no time to restart; give at least 1s", host.restart_within),
            );
        }
        if host.restart_within > LONGEST_RESTART {
            invalid(
                format!("{place}.restart_within"),
                format!(
                    "`{}` is too long; give at most {LONGEST_RESTART}, after which a host counts as down",
                    host.restart_within
                ),
            );
        }
    }
    let guard = &spec.guard;
    if guard.interval.0.as_secs() < 1 {
        invalid(
            "guard.interval".to_owned(),
            format!("`{}` is too short; give at least 1s", guard.interval),
        );
    }
    if guard.budget < guard.interval || guard.budget > LONGEST_BUDGET {
        invalid(
            "guard.budget".to_owned(),
            format!(
                "`{}` does not fit; give at least the interval ({}) and at most {LONGEST_BUDGET}, since the server gives \
                 records up after about an hour",
                guard.budget, guard.interval
            ),
        );
    }
    if spec.cutover.soak > LONGEST_SOAK {
        invalid(
            "cutover.soak".to_owned(),
            format!("`{}` is too long; give at most {LONGEST_SOAK}", spec.cutover.soak),
        );
    }
    if let Some(keep_warm) = spec.promote.keep_warm {
        if keep_warm.0.is_zero() {
            invalid(
                "promote.keep_warm".to_owned(),
                format!("`{keep_warm}` is no time at all; leave the field out to leave the source at once"),
            );
        }
        if keep_warm > LONGEST_SOAK {
            invalid(
                "promote.keep_warm".to_owned(),
                format!("`{keep_warm}` is too long; give at most {LONGEST_SOAK}"),
            );
        }
    }
    if spec.cluster.api_key.is_some() && spec.cluster.tls.is_none() {
        invalid(
            "cluster.api_key".to_owned(),
            "an API key without `cluster.tls` would go over the network in clear; add `tls: {}`".to_owned(),
        );
    }
    let kinds: Vec<&str> = spec
        .target
        .datastore
        .keys()
        .map(String::as_str)
        .filter(|key| ["sql", "elasticsearch", "cassandra", "customDatastore"].contains(key))
        .collect();
    if kinds.len() != 1 {
        invalid(
            "target.datastore".to_owned(),
            format!(
                "expected the server's own datastore entry with one of `sql`, `elasticsearch`, `cassandra`; got {} of them",
                kinds.len()
            ),
        );
    }
    problems
}
