//! What must never be shown: which keys hold secrets, and masks for values and texts.

use serde_json::Value;

/// Stands where a secret stood.
pub const MASK: &str = "********";

/// Whether a key holds a secret: passwords, secrets, tokens, API keys, key and certificate data, credentials.
///
/// Letter case and `-`, `_`, `.` do not count. Keys that name a file or a path are not secrets.
pub fn is_secret_key(key: &str) -> bool {
    let key: String = key
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let names_a_place = [
        "file", "files", "path", "uri", "uris", "url", "provider", "name", "command",
    ];
    let secret = [
        "password",
        "passwd",
        "passphrase",
        "passcode",
        "secret",
        "token",
        "apikey",
        "keydata",
        "certdata",
        "cadata",
        "credential",
        "privatekey",
        "accesskey",
        "signingkey",
        "authorization",
        "bearer",
    ];
    let found = secret.iter().any(|s| key.contains(s)) || key.ends_with("pwd") || key == "pass";
    // The command that prints a password may hold it among its arguments.
    found && (key.contains("passwordcommand") || !names_a_place.iter().any(|end| key.ends_with(end)))
}

/// The value with every secret masked: all that stands under a secret key, and passwords inside URLs.
///
/// Empty strings stay: an empty password is no secret and is worth seeing.
pub fn redact(value: &Value) -> Value {
    redact_under(value, false)
}

fn redact_under(value: &Value, secret: bool) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), redact_under(value, secret || is_secret_key(key))))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(|item| redact_under(item, secret)).collect(),
        Value::String(text) if text.is_empty() => value.clone(),
        Value::Null => Value::Null,
        _ if secret => Value::String(MASK.to_owned()),
        Value::String(text) => Value::String(mask_urls(text)),
        other => other.clone(),
    }
}

/// The text with the password of each `scheme://user:password@host` masked.
pub(crate) fn mask_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let authority = after
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\''))
            .unwrap_or(after.len());
        // A password may itself hold an @: the last one ends it.
        let user_end = after[..authority].rfind('@');
        match user_end.and_then(|end| after[..end].find(':').map(|colon| (colon, end))) {
            Some((colon, end)) if colon + 1 < end => {
                out.push_str(&after[..=colon]);
                out.push_str(MASK);
                rest = &after[end..];
            }
            _ => rest = after,
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let datastore = json!({
            "sql": { "user": "temporal", "password": "hunter2", "connectAddr": "db:5432", "maxConns": 20,
                "tls": { "keyData": "-----BEGIN", "keyFile": "/k", "caData": "x" } },
            "elasticsearch": { "url": { "host": "h" }, "urls": ["https://u:p%40ss@h:1/x"],
                "aws-request-signing": { "static": { "accessKeyID": "AK", "secretAccessKey": 12345, "token": ["a", "b"] } } },
            "empty": { "password": "" },
        });
        let shown = redact(&datastore);
        assert_eq!(
            shown,
            json!({
                "sql": { "user": "temporal", "password": MASK, "connectAddr": "db:5432", "maxConns": 20,
                    "tls": { "keyData": MASK, "keyFile": "/k", "caData": MASK } },
                "elasticsearch": { "url": { "host": "h" }, "urls": ["https://u:********@h:1/x"],
                    "aws-request-signing": { "static": { "accessKeyID": MASK, "secretAccessKey": MASK, "token": [MASK, MASK] } } },
                "empty": { "password": "" },
            })
        );
    }

    #[test]
    fn keys_that_hold_secrets_are_known_by_any_spelling() {
        for key in [
            "password",
            "PASSWORD",
            "db_password",
            "api-key",
            "apiKey",
            "api_key",
            "client.secret",
            "authToken",
            "keyData",
            "certData",
            "passwordCommand",
            "pwd",
            "dbPwd",
        ] {
            assert!(is_secret_key(key), "{key}");
        }
        for key in [
            "user",
            "keyFile",
            "certFile",
            "caFile",
            "connectAddr",
            "pluginName",
            "keyspace",
            "credentialsPath",
            "tokenKeyName",
            "visibilityStore",
        ] {
            assert!(!is_secret_key(key), "{key}");
        }
    }
}
