//! Rows and records, in the texts that the server's driver writes.

use crossfade_visibility::attribute::is_keyword_list;
use crossfade_visibility::ports::{Error, OpenExecution, Precision};
use crossfade_visibility::record::{Key, PROTO3, Record};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::types::{FromSql, Value as SqlValue};
use rusqlite::{Row, ToSql};
use serde_json::{Map, Value};

/// Joins a list's elements into one text (1.30.8: sqlplugin/sqlite/visibility.go, `keywordListSeparator`).
const LIST_SEPARATOR: &str = "♡";

/// A row's key.
pub(super) fn key(store: &str, row: &Row<'_>) -> Result<Key, Error> {
    let unknown = Key::new("?", "?");
    Ok(Key::new(
        value::<String>(store, row, &unknown, 0, "namespace_id")?,
        value::<String>(store, row, &unknown, 1, "run_id")?,
    ))
}

/// A row of all columns ([`crate::columns::ALL`]) as a record.
pub(super) fn record(store: &str, row: &Row<'_>) -> Result<Record, Error> {
    let key = key(store, row)?;
    let close_time: Option<String> = value(store, row, &key, 8, "close_time")?;
    let attributes: Option<String> = value(store, row, &key, 16, "search_attributes")?;
    Ok(Record {
        version: value(store, row, &key, 2, "_version")?,
        start_time: time(store, row, &key, 3, "start_time")?,
        execution_time: time(store, row, &key, 4, "execution_time")?,
        workflow_id: value(store, row, &key, 5, "workflow_id")?,
        workflow_type: value(store, row, &key, 6, "workflow_type_name")?,
        status: value(store, row, &key, 7, "status")?,
        close_time: close_time
            .map(|at| parsed(store, &key, "close_time", &at))
            .transpose()?,
        history_length: value(store, row, &key, 9, "history_length")?,
        history_size_bytes: value(store, row, &key, 10, "history_size_bytes")?,
        execution_duration: value(store, row, &key, 11, "execution_duration")?,
        state_transition_count: value(store, row, &key, 12, "state_transition_count")?,
        memo: value(store, row, &key, 13, "memo")?,
        memo_encoding: value(store, row, &key, 14, "encoding")?,
        task_queue: value(store, row, &key, 15, "task_queue")?,
        search_attributes: attributes_of(store, &key, attributes.as_deref())?,
        parent_workflow_id: value(store, row, &key, 17, "parent_workflow_id")?,
        parent_run_id: value(store, row, &key, 18, "parent_run_id")?,
        root_workflow_id: value(store, row, &key, 19, "root_workflow_id")?,
        root_run_id: value(store, row, &key, 20, "root_run_id")?,
        task_key: None,
        key,
    })
}

/// A row of key, Workflow Id, type and start.
pub(super) fn open_execution(store: &str, row: &Row<'_>) -> Result<OpenExecution, Error> {
    let key = key(store, row)?;
    Ok(OpenExecution {
        workflow_id: value(store, row, &key, 2, "workflow_id")?,
        workflow_type: value(store, row, &key, 3, "workflow_type_name")?,
        start_time: time(store, row, &key, 4, "start_time")?,
        key,
    })
}

fn value<T: FromSql>(store: &str, row: &Row<'_>, key: &Key, index: usize, column: &'static str) -> Result<T, Error> {
    row.get(index)
        .map_err(|error| unreadable(store, key, column, error.to_string()))
}

fn time(store: &str, row: &Row<'_>, key: &Key, index: usize, column: &'static str) -> Result<Timestamp, Error> {
    parsed(store, key, column, &value::<String>(store, row, key, index, column)?)
}

fn parsed(store: &str, key: &Key, column: &'static str, text: &str) -> Result<Timestamp, Error> {
    parse_time(text).ok_or_else(|| {
        unreadable(
            store,
            key,
            column,
            format!("'{text}' is no time; expected one like 2024-01-31 12:34:56.789+00:00"),
        )
    })
}

fn unreadable(store: &str, key: &Key, column: &'static str, reason: String) -> Error {
    Error::Unreadable {
        store: store.to_owned(),
        key: key.clone(),
        column,
        reason,
    }
}

/// Reads the server's text of a time. Its driver's other text, Go's own (`... +0000 UTC`), is read too: it was written
/// by drivers that were not told a format.
fn parse_time(text: &str) -> Option<Timestamp> {
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    let text = text
        .split(" m=")
        .next()?
        .trim_end_matches(" UTC")
        .replacen(" +", "+", 1)
        .replacen(" -", "-", 1);
    text.parse().ok()
}

/// The server's text of a time, cut to microseconds (1.30.8: sqlplugin/sqlite/{plugin,typeconv}.go and the driver's
/// `_time_format=sqlite`): `2006-01-02 15:04:05.999999-07:00`, the fraction without trailing zeros. Its own queries
/// compare these texts, so that another form would be sorted wrongly.
fn time_text(at: Timestamp) -> String {
    let at = Precision::Microsecond.truncate(at).to_zoned(TimeZone::UTC).datetime();
    format!("{} {}+00:00", at.date(), at.time())
}

fn attributes_of(store: &str, key: &Key, json: Option<&str>) -> Result<Map<String, Value>, Error> {
    let wrong = |reason: String| unreadable(store, key, "search_attributes", reason);
    let mut attributes = match json.map(serde_json::from_str).transpose() {
        Ok(None | Some(Value::Null)) => return Ok(Map::new()),
        Ok(Some(Value::Object(attributes))) => attributes,
        Ok(Some(_)) => return Err(wrong("expected a JSON object".to_owned())),
        // serde_json's message names a place and no content.
        Err(error) => return Err(wrong(error.to_string())),
    };
    for (field, value) in &mut attributes {
        if let (true, Value::String(joined)) = (is_keyword_list(field), &*value) {
            let elements = joined.split(LIST_SEPARATOR).filter(|_| !joined.is_empty());
            *value = elements.map(|element| Value::String(element.to_owned())).collect();
        }
    }
    Ok(attributes)
}

/// Search attributes as the server's driver writes them: lists as one text; `None` for none.
fn attributes_text(attributes: &Map<String, Value>) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let joined = attributes.iter().map(|(field, value)| {
        let elements = value
            .as_array()
            .map(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        match elements.flatten() {
            Some(elements) => (field.clone(), Value::String(elements.join(LIST_SEPARATOR))),
            None => (field.clone(), value.clone()),
        }
    });
    Some(Value::Object(joined.collect()).to_string())
}

/// A record's columns by parameter name; those that the table lacks are left out by `has`.
pub(super) fn parameters(record: &Record, has: impl Fn(&str) -> bool) -> Vec<(String, SqlValue)> {
    let text = |text: &Option<String>| text.clone().map_or(SqlValue::Null, SqlValue::Text);
    let number = |number: Option<i64>| number.map_or(SqlValue::Null, SqlValue::Integer);
    let or_empty = |text: &Option<String>| SqlValue::Text(text.clone().unwrap_or_default());
    let no_encoding = record.memo_encoding.is_empty() && record.memo.is_none();
    let columns = [
        ("namespace_id", SqlValue::Text(record.key.namespace_id.clone())),
        ("run_id", SqlValue::Text(record.key.run_id.clone())),
        ("_version", SqlValue::Integer(record.version.unwrap_or(0))),
        ("start_time", SqlValue::Text(time_text(record.start_time))),
        ("execution_time", SqlValue::Text(time_text(record.execution_time))),
        ("workflow_id", SqlValue::Text(record.workflow_id.clone())),
        ("workflow_type_name", SqlValue::Text(record.workflow_type.clone())),
        ("status", SqlValue::Integer(record.status.into())),
        (
            "close_time",
            record
                .close_time
                .map_or(SqlValue::Null, |at| SqlValue::Text(time_text(at))),
        ),
        ("history_length", number(record.history_length)),
        ("history_size_bytes", number(record.history_size_bytes)),
        ("execution_duration", number(record.execution_duration)),
        ("state_transition_count", number(record.state_transition_count)),
        ("memo", record.memo.clone().map_or(SqlValue::Null, SqlValue::Blob)),
        // The column takes no NULL; a record without a memo from a store that keeps no encoding has none.
        (
            "encoding",
            SqlValue::Text(if no_encoding {
                PROTO3.to_owned()
            } else {
                record.memo_encoding.clone()
            }),
        ),
        ("task_queue", SqlValue::Text(record.task_queue.clone())),
        (
            "search_attributes",
            attributes_text(&record.search_attributes).map_or(SqlValue::Null, SqlValue::Text),
        ),
        ("parent_workflow_id", text(&record.parent_workflow_id)),
        ("parent_run_id", text(&record.parent_run_id)),
        ("root_workflow_id", or_empty(&record.root_workflow_id)),
        ("root_run_id", or_empty(&record.root_run_id)),
    ];
    columns
        .into_iter()
        .filter(|(name, _)| has(name))
        .map(|(name, value)| (format!(":{name}"), value))
        .collect()
}

/// Parameters in the form that a statement takes.
pub(super) fn bound(parameters: &[(String, SqlValue)]) -> Vec<(&str, &dyn ToSql)> {
    parameters
        .iter()
        .map(|(name, value)| (name.as_str(), value as &dyn ToSql))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_server_writes_them() {
        for (at, expected) in [
            ("2024-01-31T12:34:56Z", "2024-01-31 12:34:56+00:00"),
            ("2024-01-31T12:34:56.5Z", "2024-01-31 12:34:56.5+00:00"),
            ("2024-01-31T12:34:56.123456789Z", "2024-01-31 12:34:56.123456+00:00"),
            ("1000-01-01T00:00:00Z", "1000-01-01 00:00:00+00:00"),
        ] {
            let at: Timestamp = at.parse().unwrap_or_default();
            assert_eq!(time_text(at), expected);
            assert_eq!(parse_time(expected), Some(Precision::Microsecond.truncate(at)));
        }
    }

    #[test]
    fn texts_of_other_drivers_are_read() {
        let at = "2024-01-31T12:34:56.5Z".parse().ok();
        for text in [
            "2024-01-31T12:34:56.5Z",
            "2024-01-31 14:34:56.5+02:00",
            "2024-01-31 12:34:56.5 +0000 UTC",
            "2024-01-31 12:34:56.5 +0000 UTC m=+0.123",
        ] {
            assert_eq!(parse_time(text), at, "{text}");
        }
        assert_eq!(parse_time("yesterday"), None);
    }
}
