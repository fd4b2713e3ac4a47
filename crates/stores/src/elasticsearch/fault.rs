//! What a cluster's refusals mean, and how they are told without a record's content.

use std::error::Error as StdError;

use crossfade_visibility::ports::Error;
use serde_json::Value;

use crate::error::OpenError;

/// What an answer that is no success means.
pub(super) fn of(store: &str, status: u16, body: &Value) -> Error {
    let (store, reason) = (store.to_owned(), told(status, body));
    match status {
        _ if is_block(body) => Error::ReadOnly { store, reason },
        401 | 403 => Error::Denied { store, reason },
        404 | 400 => Error::Schema { store, reason },
        429 | 502..=504 => Error::Busy { store, reason },
        _ => Error::Failed { store, reason },
    }
}

/// What it means that there is no answer.
pub(super) fn network(store: &str, error: &reqwest::Error) -> Error {
    let (store, reason) = (store.to_owned(), words(error));
    if error.is_timeout() && !error.is_connect() {
        Error::Busy { store, reason }
    } else {
        Error::Unreachable { store, reason }
    }
}

/// What a failure to open means, by its remedy.
pub(super) fn opening(login: Option<&(String, String)>, error: Error) -> OpenError {
    match error {
        Error::Denied { store, reason } if reason.contains("401") => OpenError::Rejected {
            store,
            user: login.map_or_else(|| "(none given)".to_owned(), |(user, _)| user.clone()),
            reason,
        },
        Error::Unreachable { store, reason } if is_about_tls(&reason) => OpenError::Tls { store, reason },
        other => other.into(),
    }
}

fn is_about_tls(reason: &str) -> bool {
    [
        "certificate",
        "fatal alert",
        "TLS",
        "tls",
        "Handshake",
        "InvalidContentType",
        "corrupt message",
    ]
    .iter()
    .any(|word| reason.contains(word))
}

/// Whether the cluster may well answer otherwise in a moment: too many requests, no shard or node to serve.
pub(super) fn is_passing(status: u16, body: &Value) -> bool {
    matches!(status, 429 | 502..=504) && !is_block(body)
}

/// Whether an error, of a whole answer or of one item, is a block: an index, or the cluster, that takes no writes. A
/// disk that is too full makes one, with status 403 up to 7.9 and 429 since.
pub(super) fn is_block(body: &Value) -> bool {
    let error = body.get("error").unwrap_or(body);
    kind(error) == "cluster_block_exception" && {
        let reason = error.get("reason").and_then(Value::as_str).unwrap_or_default();
        // "no master" and "state not recovered" are blocks, too, and pass.
        !reason.contains("SERVICE_UNAVAILABLE")
    }
}

/// The kind of an error, as `mapper_parsing_exception`.
pub(super) fn kind(error: &Value) -> &str {
    error.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// An error in words, of a whole answer or of one item.
fn told(status: u16, body: &Value) -> String {
    let error = body.get("error").unwrap_or(body);
    let cause = error.pointer("/root_cause/0").unwrap_or(error);
    let reason = match cause.get("reason").and_then(Value::as_str) {
        Some(reason) => reason,
        None => error.as_str().unwrap_or("no reason given"),
    };
    format!("HTTP {status}: {reason}")
}

/// Why a document was refused, without its content, which the cluster's own words quote: the kind of the error, and the
/// field and type that it names.
pub(super) fn about_content(error: &Value) -> String {
    let reason = error.get("reason").and_then(Value::as_str).unwrap_or_default();
    let kind = kind(error);
    match (bracketed(reason, "field"), bracketed(reason, "of type")) {
        (Some(field), Some(mapped)) => {
            format!("{kind}: the field {field}, mapped to {mapped}, does not take its value")
        }
        (Some(field), None) => format!("{kind}: the field {field} does not take its value"),
        _ if kind.is_empty() => "no reason given".to_owned(),
        _ => kind.to_owned(),
    }
}

/// The name after `before`, in `[brackets]` or as `="quoted"`. Names of fields are no content.
fn bracketed<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    let name = |open: &str, close: char| {
        let (_, rest) = text.split_once(&format!("{before}{open}"))?;
        rest.split_once(close).map(|(name, _)| name)
    };
    name(" [", ']').or_else(|| name("=\"", '"'))
}

/// An error of the client in words, with its causes. Its URL is that of the store, which is named anyway.
pub(super) fn words(error: &reqwest::Error) -> String {
    let mut words = if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        "no answer".to_owned()
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.contains(&more) {
            words.push_str(": ");
            words.push_str(&more);
        }
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reasons_hold_no_content() {
        let parsing = json!({
            "type": "mapper_parsing_exception",
            "reason": "failed to parse field [CustomIntField] of type [long] in document with id 'sensitive~r'. Preview of field's value: 'sensitive'",
            "caused_by": {"type": "illegal_argument_exception", "reason": "For input string: \"sensitive\""},
        });
        let immense = json!({
            "type": "illegal_argument_exception",
            "reason": "Document contains at least one immense term in field=\"CustomKeywordField\" (whose UTF8 encoding ...) '[115, 101]...'",
        });
        let told = about_content(&parsing);
        assert!(
            told.contains("CustomIntField") && told.contains("long") && !told.contains("sensitive"),
            "{told}"
        );
        let told = about_content(&immense);
        assert!(told.contains("CustomKeywordField") && !told.contains("115"), "{told}");
        assert_eq!(about_content(&json!({"type": "x", "reason": "sensitive"})), "x");
    }

    #[test]
    fn a_full_disk_is_told_from_a_busy_cluster() {
        let block =
            |reason: &str| json!({"error": {"type": "cluster_block_exception", "reason": reason}, "status": 429});
        let full = block(
            "index [v] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has read-only-allow-delete block];",
        );
        assert!(matches!(of("s", 429, &full), Error::ReadOnly { .. }) && !is_passing(429, &full));
        let starting = block("blocked by: [SERVICE_UNAVAILABLE/1/state not recovered / initialized];");
        assert!(matches!(of("s", 503, &starting), Error::Busy { .. }) && is_passing(503, &starting));
        let many = json!({"error": {"type": "es_rejected_execution_exception", "reason": "rejected"}});
        assert!(matches!(of("s", 429, &many), Error::Busy { .. }) && is_passing(429, &many));
        assert!(matches!(of("s", 403, &Value::Null), Error::Denied { .. }));
    }
}
