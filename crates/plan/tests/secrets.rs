//! Secrets: found where they stand as plain text, and put in only where they are needed.

use crossfade_plan::{
    problem::{Code, Problem},
    secret::{Reference, is_secret_field, literals, resolve},
};
use serde_json::{Value, json};

fn find(reference: &Reference) -> Result<String, Problem> {
    match reference {
        Reference::Env(name) if name == "PASSWORD" => Ok("s3cret".into()),
        Reference::File(path) if path == "/run/key" => Ok("k3y".into()),
        other => Err(Problem::new(Code::SecretMissing, format!("{other:?} is not there"))),
    }
}

fn places(value: &Value) -> Vec<String> {
    literals(value, "target.datastore")
        .into_iter()
        .filter_map(|problem| problem.place)
        .collect()
}

#[test]
fn fields_that_hold_secrets() {
    for name in [
        "password",
        "Password",
        "userPassword",
        "keyData",
        "secret_key",
        "api-key",
        "apiKey",
        "secretAccessKey",
        "sessionToken",
        "token",
    ] {
        assert!(is_secret_field(name), "{name}");
    }
    for name in ["user", "passwordless", "keyFile", "databaseName", "tokenizer"] {
        assert!(!is_secret_field(name), "{name}");
    }
}

#[test]
fn plain_text_is_found_at_any_depth_and_never_shown() {
    let entry = json!({
        "sql": {"user": "temporal", "password": "hunter2", "tls": {"keyData": "-----BEGIN", "enabled": true}},
        "hosts": [{"password": 12345}, {"password": {"env": "PASSWORD"}}],
        "password": "",
    });
    let found = literals(&entry, "target.datastore");
    assert_eq!(
        places(&entry),
        [
            "target.datastore.sql.password",
            "target.datastore.sql.tls.keyData",
            "target.datastore.hosts[0].password"
        ]
    );
    for problem in found {
        assert_eq!(problem.code, Code::SecretInSpec);
        let shown = format!("{problem} {problem:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("BEGIN") && !shown.contains("12345"),
            "{shown}"
        );
    }
}

#[test]
fn what_looks_like_a_reference_and_is_none_is_looked_into() {
    // More than one field, another name, or no text: no reference, so a plain secret inside is still found.
    for inner in [
        json!({"env": "A", "password": "x"}),
        json!({"vault": {"password": "x"}}),
        json!({"env": {"password": "x"}}),
    ] {
        assert_eq!(places(&json!({"password": inner})).len(), 1, "{inner}");
    }
}

#[test]
fn references_are_replaced_wherever_they_stand() {
    let entry = json!({
        "sql": {"password": {"env": "PASSWORD"}, "tls": {"keyData": {"file": "/run/key"}}, "maxConns": 20},
        "list": [{"file": "/run/key"}, "as it is", null],
    });
    assert_eq!(
        resolve(&entry, "target.datastore", &mut |reference| find(reference)).unwrap(),
        json!({
            "sql": {"password": "s3cret", "tls": {"keyData": "k3y"}, "maxConns": 20},
            "list": ["k3y", "as it is", null],
        })
    );
}

#[test]
fn a_missing_secret_is_told_with_its_place() {
    for (entry, place) in [
        (
            json!({"sql": {"password": {"env": "NOWHERE"}}}),
            "source.datastore.sql.password",
        ),
        (json!({"list": [1, {"file": "/no/such"}]}), "source.datastore.list[1]"),
    ] {
        let problem = resolve(&entry, "source.datastore", &mut |reference| find(reference)).unwrap_err();
        assert_eq!(
            (problem.code, problem.place.as_deref()),
            (Code::SecretMissing, Some(place))
        );
    }
}

#[test]
fn references_in_json_and_back() {
    for (json, reference) in [
        (json!({"env": "PASSWORD"}), Some(Reference::Env("PASSWORD".into()))),
        (json!({"file": "/run/key"}), Some(Reference::File("/run/key".into()))),
        (json!({"env": 7}), None),
        (json!({"ENV": "PASSWORD"}), None),
        (json!({"env": "A", "file": "B"}), None),
        (json!({}), None),
        (json!("env"), None),
        (json!(null), None),
    ] {
        assert_eq!(Reference::from_json(&json), reference, "{json}");
        if let Some(reference) = reference {
            assert_eq!(reference.to_json(), json);
        }
    }
}
