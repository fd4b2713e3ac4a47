//! Rows and records.

use crossfade_visibility::ports::{Error, OpenExecution, Precision};
use crossfade_visibility::record::{Key, PROTO3, Record};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use mysql_async::prelude::FromValue;
use mysql_async::{Row, Value, from_value_opt};
use serde_json::{Map, Value as Json};

use super::statements::{AttributeTable, Tables};
use crate::columns::ALL;

/// A row's key.
pub(super) fn key(store: &str, row: &Row) -> Result<Key, Error> {
    let unknown = Key::new("?", "?");
    let column = |index, name| {
        Cell {
            store,
            key: &unknown,
            row,
        }
        .get::<String>(index, name)
    };
    Ok(Key::new(column(0, "namespace_id")?, column(1, "run_id")?))
}

/// A row of all columns ([`crate::columns::ALL`]), and of the attribute tables' own, as a record.
pub(super) fn record(store: &str, tables: &Tables, row: &Row) -> Result<Record, Error> {
    let key = key(store, row)?;
    let cell = Cell { store, key: &key, row };
    let mut search_attributes = cell.attributes(16)?;
    for (at, table) in tables.attributes.iter().enumerate() {
        let indexed = cell.attributes(ALL.len() + at)?;
        take_indexed(&mut search_attributes, indexed, table);
    }
    let start_time = cell.time(3, "start_time")?;
    let mut execution_time = cell.time(4, "execution_time")?;
    if !tables.has_attributes() && execution_time == Timestamp::UNIX_EPOCH {
        // As the server reads it there (1.23.1: common/persistence/visibility/store/standard/sql/visibility_store.go).
        execution_time = start_time;
    }
    Ok(Record {
        version: cell.get(2, "_version")?,
        start_time,
        execution_time,
        workflow_id: cell.get(5, "workflow_id")?,
        workflow_type: cell.get(6, "workflow_type_name")?,
        status: cell.get(7, "status")?,
        close_time: cell
            .get::<Option<Value>>(8, "close_time")?
            .filter(|value| *value != Value::NULL)
            .map(|value| cell.timestamp("close_time", &value))
            .transpose()?,
        history_length: cell.get(9, "history_length")?,
        history_size_bytes: cell.get(10, "history_size_bytes")?,
        execution_duration: cell.get(11, "execution_duration")?,
        state_transition_count: cell.get(12, "state_transition_count")?,
        memo: cell.get(13, "memo")?,
        memo_encoding: cell.get(14, "encoding")?,
        task_queue: cell.get(15, "task_queue")?,
        search_attributes,
        parent_workflow_id: cell.get(17, "parent_workflow_id")?,
        parent_run_id: cell.get(18, "parent_run_id")?,
        root_workflow_id: cell.get(19, "root_workflow_id")?,
        root_run_id: cell.get(20, "root_run_id")?,
        task_key: None,
        key,
    })
}

/// Lets an attribute be what the table that indexes it says: that is what queries find. The tables say the same as a
/// rule; they differ when an upsert older than a start came after it, which the record refuses and the attributes, at
/// version 0 since the start, take.
fn take_indexed(attributes: &mut Map<String, Json>, mut indexed: Map<String, Json>, table: &AttributeTable) {
    if *attributes == indexed {
        return;
    }
    for field in &table.fields {
        match indexed.remove(field) {
            Some(value) => attributes.insert(field.clone(), value),
            None => attributes.remove(field),
        };
    }
}

/// A row of key, Workflow Id, type and start.
pub(super) fn open_execution(store: &str, row: &Row) -> Result<OpenExecution, Error> {
    let key = key(store, row)?;
    let cell = Cell { store, key: &key, row };
    Ok(OpenExecution {
        workflow_id: cell.get(2, "workflow_id")?,
        workflow_type: cell.get(3, "workflow_type_name")?,
        start_time: cell.time(4, "start_time")?,
        key: key.clone(),
    })
}

/// The value at an index of a row that is no record.
pub(super) fn plain<T: FromValue>(store: &str, row: &Row, index: usize) -> Result<T, Error> {
    let value = row.as_ref(index).cloned().unwrap_or(Value::NULL);
    from_value_opt(value).map_err(|_| Error::Failed {
        store: store.to_owned(),
        reason: format!("column {index} of an answer is of another type than expected"),
    })
}

/// One record's columns.
struct Cell<'a> {
    store: &'a str,
    key: &'a Key,
    row: &'a Row,
}

impl Cell<'_> {
    fn get<T: FromValue>(&self, index: usize, column: &'static str) -> Result<T, Error> {
        let value = self.row.as_ref(index).cloned().unwrap_or(Value::NULL);
        let kind = kind(&value);
        from_value_opt(value).map_err(|_| self.unreadable(column, format!("{kind} is not what is expected there")))
    }

    fn time(&self, index: usize, column: &'static str) -> Result<Timestamp, Error> {
        self.timestamp(column, self.row.as_ref(index).unwrap_or(&Value::NULL))
    }

    fn timestamp(&self, column: &'static str, value: &Value) -> Result<Timestamp, Error> {
        timestamp(value).ok_or_else(|| self.unreadable(column, format!("{} is no date and time", kind(value))))
    }

    fn attributes(&self, index: usize) -> Result<Map<String, Json>, Error> {
        let column = "search_attributes";
        let Some(text) = self.get::<Option<Vec<u8>>>(index, column)? else {
            return Ok(Map::new());
        };
        match serde_json::from_slice(&text) {
            Ok(Json::Object(attributes)) => Ok(attributes),
            Ok(Json::Null) => Ok(Map::new()),
            Ok(_) => Err(self.unreadable(column, "expected a JSON object".to_owned())),
            // serde_json's message names a place and no content.
            Err(error) => Err(self.unreadable(column, error.to_string())),
        }
    }

    fn unreadable(&self, column: &'static str, reason: String) -> Error {
        Error::Unreadable {
            store: self.store.to_owned(),
            key: self.key.clone(),
            column,
            reason,
        }
    }
}

/// What a value is, without the value.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::NULL => "nothing",
        Value::Bytes(_) => "a text",
        Value::Int(_) | Value::UInt(_) => "a whole number",
        Value::Float(_) | Value::Double(_) => "a number",
        Value::Date(..) => "a date that does not exist",
        Value::Time(..) => "a span of time",
    }
}

fn timestamp(value: &Value) -> Option<Timestamp> {
    let Value::Date(year, month, day, hour, minute, second, micros) = *value else {
        return None;
    };
    let [month, day, hour, minute, second] = [month, day, hour, minute, second].map(u8::cast_signed);
    let at = DateTime::new(
        i16::try_from(year).ok()?,
        month,
        day,
        hour,
        minute,
        second,
        i32::try_from(micros.checked_mul(1_000)?).ok()?,
    );
    Offset::UTC.to_timestamp(at.ok()?).ok()
}

/// How a time is written: in UTC, cut to microseconds, as the server does (1.30.8: sqlplugin/mysql/typeconv.go).
pub(super) fn civil(at: Timestamp) -> Value {
    let at = Offset::UTC.to_datetime(Precision::Microsecond.truncate(at));
    let [month, day, hour, minute, second] =
        [at.month(), at.day(), at.hour(), at.minute(), at.second()].map(i8::unsigned_abs);
    let micros = at.subsec_nanosecond().unsigned_abs() / 1_000;
    Value::Date(at.year().unsigned_abs(), month, day, hour, minute, second, micros)
}

/// Search attributes as text; NULL for none.
fn attributes_value(record: &Record) -> Value {
    if record.search_attributes.is_empty() {
        return Value::NULL;
    }
    Value::from(Json::Object(record.search_attributes.clone()).to_string())
}

/// A record's columns in the order of [`Tables::for_writing`].
pub(super) fn parameters(record: &Record, tables: &Tables) -> Vec<Value> {
    let text = |text: &Option<String>| Value::from(text.as_deref());
    let or_empty = |text: &Option<String>| Value::from(text.as_deref().unwrap_or(""));
    // The column takes no NULL; a record without a memo from a store that keeps no encoding has none.
    let no_encoding = record.memo_encoding.is_empty() && record.memo.is_none();
    let columns = [
        ("namespace_id", Value::from(record.key.namespace_id.as_str())),
        ("run_id", Value::from(record.key.run_id.as_str())),
        ("start_time", civil(record.start_time)),
        ("execution_time", civil(record.execution_time)),
        ("workflow_id", Value::from(record.workflow_id.as_str())),
        ("workflow_type_name", Value::from(record.workflow_type.as_str())),
        ("status", Value::from(record.status)),
        ("close_time", record.close_time.map_or(Value::NULL, civil)),
        ("history_length", Value::from(record.history_length)),
        ("history_size_bytes", Value::from(record.history_size_bytes)),
        ("execution_duration", Value::from(record.execution_duration)),
        ("state_transition_count", Value::from(record.state_transition_count)),
        ("memo", Value::from(record.memo.as_deref())),
        (
            "encoding",
            Value::from(if no_encoding {
                PROTO3
            } else {
                record.memo_encoding.as_str()
            }),
        ),
        ("task_queue", Value::from(record.task_queue.as_str())),
        ("search_attributes", attributes_value(record)),
        ("parent_workflow_id", text(&record.parent_workflow_id)),
        ("parent_run_id", text(&record.parent_run_id)),
        ("root_workflow_id", or_empty(&record.root_workflow_id)),
        ("root_run_id", or_empty(&record.root_run_id)),
        ("_version", Value::from(record.version.unwrap_or(0))),
    ];
    let present = columns.into_iter().filter(|(column, _)| tables.records.has(column));
    present.map(|(_, value)| value).collect()
}

/// A record's row in one of the attribute tables, in the order of [`AttributeTable::for_writing`].
pub(super) fn attribute_parameters(record: &Record, table: &AttributeTable) -> Vec<Value> {
    let mut parameters = vec![
        Value::from(record.key.namespace_id.as_str()),
        Value::from(record.key.run_id.as_str()),
        attributes_value(record),
    ];
    if table.versioned() {
        parameters.push(Value::from(record.version.unwrap_or(0)));
    }
    parameters
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_cut_to_microseconds_and_come_back() {
        for text in [
            "2024-02-29T12:34:56.123456789Z",
            "1000-01-01T00:00:00Z",
            "9999-12-30T22:00:00.9999999Z",
        ] {
            let at: Timestamp = text.parse().expect("a time");
            assert_eq!(timestamp(&civil(at)), Some(Precision::Microsecond.truncate(at)));
        }
        assert_eq!(timestamp(&Value::Date(2024, 2, 30, 0, 0, 0, 0)), None);
        assert_eq!(timestamp(&Value::Date(0, 0, 0, 0, 0, 0, 0)), None);
    }

    #[test]
    fn an_attribute_is_what_the_table_that_indexes_it_says() {
        let columns = ["run_id", "search_attributes", "Keyword01", "Keyword02"];
        let pairs: Vec<_> = columns
            .map(|column| ("custom_search_attributes".to_owned(), column.to_owned()))
            .into();
        let tables = Tables::new(&pairs);
        let (Json::Object(mut of_record), Json::Object(indexed)) = (
            json!({"BuildIds": ["a"], "Keyword01": "new", "Keyword02": "gone"}),
            json!({"BuildIds": ["b"], "Keyword01": "old"}),
        ) else {
            panic!("objects")
        };
        take_indexed(&mut of_record, indexed, &tables.attributes[0]);
        assert_eq!(Json::Object(of_record), json!({"BuildIds": ["a"], "Keyword01": "old"}));
    }
}
