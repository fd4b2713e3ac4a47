//! Documents and records (1.30.8: common/persistence/visibility/store/elasticsearch/visibility_store.go,
//! `GenerateESDoc`, `ParseESDoc` and `GetDocID`).

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use crossfade_visibility::ports::{Error, OpenExecution};
use crossfade_visibility::record::{Key, Record};
use jiff::Timestamp;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// A time that was never set, 1000-01-01T00:00:00Z, as the SQL stores keep it (1.30.8: sqlplugin/*/typeconv.go); here the
/// field is absent.
pub(super) const UNSET: Timestamp = Timestamp::constant(-30_610_224_000, 0);

/// The names of `WorkflowExecutionStatus` by number (api: enums/v1/workflow.proto, as Go's helpers shorten them).
pub(super) const STATUS: [&str; 9] = [
    "Unspecified",
    "Running",
    "Completed",
    "Failed",
    "Canceled",
    "Terminated",
    "ContinuedAsNew",
    "TimedOut",
    "Paused",
];

/// The fields that are no search attributes.
const FIELDS: [&str; 20] = [
    "VisibilityTaskKey",
    "NamespaceId",
    "WorkflowId",
    "RunId",
    "WorkflowType",
    "StartTime",
    "ExecutionTime",
    "CloseTime",
    "ExecutionStatus",
    "TaskQueue",
    "HistoryLength",
    "HistorySizeBytes",
    "ExecutionDuration",
    "StateTransitionCount",
    "ParentWorkflowId",
    "ParentRunId",
    "RootWorkflowId",
    "RootRunId",
    "Memo",
    "MemoEncoding",
];

/// The most bytes that a document's id can have.
const LONGEST_ID: usize = 512;

/// A search hit: a record, and what conditions on it are made of.
#[derive(Clone, Debug)]
pub(super) struct Hit {
    pub(super) id: String,
    pub(super) record: Record,
}

/// The id that the server gives an execution's document. Its Workflow Id is cut when the whole would be too long, at a
/// character (1.30; servers up to 1.23 cut within one, so that an id may not be the one here).
pub(super) fn id(record: &Record) -> String {
    let run = record.key.run_id.as_str();
    if run.len() + 1 >= LONGEST_ID {
        return run[..run.floor_char_boundary(LONGEST_ID)].to_owned();
    }
    let room = LONGEST_ID - run.len() - 1;
    let workflow = &record.workflow_id[..record.workflow_id.floor_char_boundary(room)];
    format!("{workflow}~{run}")
}

/// Whether the Workflow Id had to be cut for the document's id.
pub(super) fn has_cut_id(record: &Record) -> bool {
    record.workflow_id.len() + record.key.run_id.len() + 1 > LONGEST_ID
}

/// The document that the server would write of a record. It is written as it is gone through: a copy spends most of its
/// own time here.
pub(super) struct Source<'a>(pub(super) &'a Record);

impl Serialize for Source<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = self.0;
        let mut document = serializer.serialize_map(None)?;
        for (name, value) in &record.search_attributes {
            // A name of a field of its own can be none of theirs.
            if !value.is_null() && !FIELDS.contains(&name.as_str()) {
                document.serialize_entry(name, value)?;
            }
        }
        let mut text = |name: &str, text: Option<&str>| match text {
            Some(text) => document.serialize_entry(name, text),
            None => Ok(()),
        };
        text("VisibilityTaskKey", record.task_key.as_deref())?;
        text("NamespaceId", Some(&record.key.namespace_id))?;
        text("WorkflowId", Some(&record.workflow_id))?;
        text("RunId", Some(&record.key.run_id))?;
        text("WorkflowType", Some(&record.workflow_type))?;
        text("TaskQueue", Some(&record.task_queue))?;
        text("ParentWorkflowId", record.parent_workflow_id.as_deref())?;
        text("ParentRunId", record.parent_run_id.as_deref())?;
        text("RootWorkflowId", record.root_workflow_id.as_deref())?;
        text("RootRunId", record.root_run_id.as_deref())?;
        if let Some(memo) = record.memo.as_ref().filter(|memo| !memo.is_empty()) {
            text("Memo", Some(&BASE64_STANDARD.encode(memo)))?;
            text("MemoEncoding", Some(&record.memo_encoding))?;
        }
        for (name, at) in [
            ("StartTime", Some(record.start_time)),
            ("ExecutionTime", Some(record.execution_time)),
            ("CloseTime", record.close_time),
        ] {
            if let Some(at) = at.filter(|at| *at != UNSET) {
                document.serialize_entry(name, &at)?;
            }
        }
        for (name, number) in [
            ("HistoryLength", record.history_length),
            ("HistorySizeBytes", record.history_size_bytes),
            ("ExecutionDuration", record.execution_duration),
            ("StateTransitionCount", record.state_transition_count),
        ] {
            if let Some(number) = number {
                document.serialize_entry(name, &number)?;
            }
        }
        match status_name(record.status) {
            Some(name) => document.serialize_entry("ExecutionStatus", name)?,
            None => document.serialize_entry("ExecutionStatus", &record.status)?,
        }
        document.end()
    }
}

/// `None` for a status that has no name yet: it is kept as its number.
fn status_name(status: i32) -> Option<&'static str> {
    usize::try_from(status)
        .ok()
        .and_then(|status| STATUS.get(status))
        .copied()
}

/// The fields of a document as they come: those of its own each in its place, and its search attributes.
#[derive(Debug, Default)]
pub(super) struct Fields {
    own: [Value; FIELDS.len()],
    attributes: Map<String, Value>,
}

/// The name of a field: its place, if it is none of a search attribute.
enum Name {
    Own(usize),
    Attribute(String),
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl Visitor<'_> for Names {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field")
            }

            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                let own = FIELDS.iter().position(|field| *field == name);
                Ok(own.map_or_else(|| Name::Attribute(name.to_owned()), Name::Own))
            }
        }
        deserializer.deserialize_str(Names)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Document;
        impl<'de> Visitor<'de> for Document {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a document")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut document: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some(name) = document.next_key()? {
                    match name {
                        Name::Own(place) => fields.own[place] = document.next_value()?,
                        Name::Attribute(name) => drop(fields.attributes.insert(name, document.next_value()?)),
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Document)
    }
}

/// A page of hits as a search or a scroll answers it: read into its fields at once, since a copy reads every record.
#[derive(Deserialize)]
pub(super) struct Page {
    /// What the next page of a scroll is asked for by.
    #[serde(rename = "_scroll_id")]
    pub(super) scroll: Option<String>,
    #[serde(default)]
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Shards,
    hits: Hits,
}

#[derive(Deserialize)]
struct Shards {
    failed: u64,
}

#[derive(Deserialize)]
struct Hits {
    hits: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    #[serde(rename = "_version")]
    version: Option<i64>,
    #[serde(rename = "_source", default)]
    source: Fields,
}

impl Page {
    /// Whether every shard answered in full.
    pub(super) fn is_whole(&self) -> bool {
        self.shards.failed == 0 && !self.timed_out
    }

    /// The records of the page.
    pub(super) fn records(self, store: &str) -> Result<Vec<Record>, Error> {
        let found = self.hits.hits.into_iter();
        found
            .map(|found| Parser::new(store, found.source)?.record(found.version))
            .collect()
    }
}

/// A hit of a search with `_source` and `version`, as a record.
pub(super) fn hit(store: &str, hit: &mut Value) -> Result<Hit, Error> {
    let id = hit["_id"].as_str().unwrap_or_default().to_owned();
    let version = hit["_version"].as_i64();
    let record = Parser::new(store, fields(hit))?.record(version)?;
    Ok(Hit { id, record })
}

/// A hit as an open execution.
pub(super) fn open_execution(store: &str, hit: &mut Value) -> Result<OpenExecution, Error> {
    let mut parser = Parser::new(store, fields(hit))?;
    Ok(OpenExecution {
        workflow_id: parser.text("WorkflowId")?.unwrap_or_default(),
        workflow_type: parser.text("WorkflowType")?.unwrap_or_default(),
        start_time: parser.time("StartTime")?.unwrap_or_default(),
        key: parser.key,
    })
}

/// The fields of a hit; none of one without a document.
fn fields(hit: &mut Value) -> Fields {
    let source = hit.get_mut("_source").map(Value::take).unwrap_or_default();
    Fields::deserialize(source).unwrap_or_default()
}

/// Takes a document apart, field by field.
struct Parser<'a> {
    store: &'a str,
    key: Key,
    fields: Fields,
}

impl<'a> Parser<'a> {
    fn new(store: &'a str, fields: Fields) -> Result<Self, Error> {
        let mut parser = Self {
            store,
            key: Key::new("?", "?"),
            fields,
        };
        let lacking = |parser: &Self, column| parser.unreadable(column, "is missing");
        let namespace = parser.text("NamespaceId")?;
        parser.key.namespace_id = namespace.ok_or_else(|| lacking(&parser, "NamespaceId"))?;
        let run = parser.text("RunId")?;
        parser.key.run_id = run.ok_or_else(|| lacking(&parser, "RunId"))?;
        Ok(parser)
    }

    fn record(mut self, version: Option<i64>) -> Result<Record, Error> {
        Ok(Record {
            version,
            workflow_id: self.text("WorkflowId")?.unwrap_or_default(),
            workflow_type: self.text("WorkflowType")?.unwrap_or_default(),
            status: self.status()?,
            start_time: self.time("StartTime")?.unwrap_or(UNSET),
            execution_time: self.time("ExecutionTime")?.unwrap_or(UNSET),
            close_time: self.time("CloseTime")?,
            history_length: self.number("HistoryLength")?,
            history_size_bytes: self.number("HistorySizeBytes")?,
            execution_duration: self.number("ExecutionDuration")?,
            state_transition_count: self.number("StateTransitionCount")?,
            memo: self.memo()?,
            memo_encoding: self.text("MemoEncoding")?.unwrap_or_default(),
            task_queue: self.text("TaskQueue")?.unwrap_or_default(),
            parent_workflow_id: self.text("ParentWorkflowId")?,
            parent_run_id: self.text("ParentRunId")?,
            root_workflow_id: self.text("RootWorkflowId")?,
            root_run_id: self.text("RootRunId")?,
            task_key: self.text("VisibilityTaskKey")?,
            search_attributes: self.fields.attributes,
            key: self.key,
        })
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let place = FIELDS.iter().position(|field| *field == name)?;
        Some(self.fields.own[place].take()).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &'static str) -> Result<Option<String>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.unreadable(name, "expected text")),
        }
    }

    fn number(&mut self, name: &'static str) -> Result<Option<i64>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => value
                .as_i64()
                .map(Some)
                .ok_or_else(|| self.unreadable(name, "expected a whole number")),
        }
    }

    /// RFC 3339, or a number as documents from before template v1 hold it: nanoseconds since 1970
    /// (schema/elasticsearch/visibility/versioned/v1/reindex.painless).
    fn time(&mut self, name: &'static str) -> Result<Option<Timestamp>, Error> {
        let time = match self.take(name) {
            None => return Ok(None),
            Some(Value::String(text)) => text.parse().ok(),
            Some(value) => value
                .as_i64()
                .and_then(|nanoseconds| Timestamp::from_nanosecond(i128::from(nanoseconds)).ok()),
        };
        time.map(Some)
            .ok_or_else(|| self.unreadable(name, "expected a time as in RFC 3339"))
    }

    fn status(&mut self) -> Result<i32, Error> {
        let status = match self.take("ExecutionStatus") {
            None => Some(0),
            Some(Value::String(name)) => STATUS
                .iter()
                .position(|status| *status == name)
                .and_then(|status| i32::try_from(status).ok()),
            Some(value) => value.as_i64().and_then(|status| i32::try_from(status).ok()),
        };
        status.ok_or_else(|| self.unreadable("ExecutionStatus", "expected the name of a status"))
    }

    fn memo(&mut self) -> Result<Option<Vec<u8>>, Error> {
        match self.text("Memo")? {
            None => Ok(None),
            Some(memo) => BASE64_STANDARD
                .decode(memo)
                .map(Some)
                .map_err(|_| self.unreadable("Memo", "expected base64")),
        }
    }

    fn unreadable(&self, column: &'static str, reason: &str) -> Error {
        Error::Unreadable {
            store: self.store.to_owned(),
            key: self.key.clone(),
            column,
            reason: reason.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(record: &Record) -> Value {
        serde_json::to_value(Source(record)).expect("a document")
    }

    fn parse(source: Value) -> Result<Record, Error> {
        hit("s", &mut json!({"_id": "w~r", "_version": 7, "_source": source})).map(|hit| hit.record)
    }

    #[test]
    fn a_document_of_the_server_comes_back_as_it_was() {
        let source = json!({
            "BuildIds": ["a"], "CustomIntField": 9_007_199_254_740_993_i64, "CustomDoubleField": 3.0,
            "CustomDatetimeField": "2024-01-01T00:00:00.123456789Z",
            "VisibilityTaskKey": "3~42", "NamespaceId": "n", "WorkflowId": "w", "RunId": "r", "WorkflowType": "T",
            "StartTime": "2024-01-01T00:00:00.123456789Z", "ExecutionTime": "2024-01-01T00:00:01Z",
            "CloseTime": "2024-01-01T00:00:02.5Z", "ExecutionStatus": "ContinuedAsNew", "TaskQueue": "q",
            "HistoryLength": 3, "HistorySizeBytes": i64::MAX, "ExecutionDuration": 1_500_000_000, "StateTransitionCount": 2,
            "ParentWorkflowId": "p", "ParentRunId": "pr", "RootWorkflowId": "rw", "RootRunId": "rr",
            "Memo": "CgA=", "MemoEncoding": "Proto3",
        });
        let record = parse(source.clone()).expect("a record");
        assert_eq!((record.version, record.status), (Some(7), 6));
        assert_eq!(record.search_attributes.len(), 4);
        assert_eq!(record.memo.as_deref(), Some(&[10, 0][..]));
        assert_eq!(record.start_time.subsec_nanosecond(), 123_456_789);
        assert_eq!(of(&record), source);
    }

    #[test]
    fn older_documents_are_read_and_broken_ones_named() {
        let record = parse(
            json!({"NamespaceId": "n", "RunId": "r", "StartTime": 1_704_067_200_123_456_789_i64, "ExecutionStatus": 2}),
        )
        .expect("a record");
        assert_eq!(record.start_time.to_string(), "2024-01-01T00:00:00.123456789Z");
        assert_eq!(
            (record.status, record.execution_time.to_string().as_str()),
            (2, "1000-01-01T00:00:00Z")
        );
        assert_eq!(of(&record).get("ExecutionTime"), None);
        for (field, value) in [
            ("StartTime", json!("sensitive")),
            ("ExecutionStatus", json!("Sensitive")),
            ("Memo", json!("sensitive!")),
            ("HistoryLength", json!("sensitive")),
        ] {
            let mut source = json!({"NamespaceId": "n", "RunId": "r"});
            source[field] = value;
            let message = parse(source).expect_err(field).to_string();
            assert!(message.contains("n/r") && message.contains(field), "{message}");
            assert!(!message.contains("ensitive"), "{message}");
        }
        assert!(
            parse(json!({"NamespaceId": "n"}))
                .expect_err("no run")
                .to_string()
                .contains("RunId")
        );
    }

    #[test]
    fn ids_are_cut_as_the_server_cuts_them() {
        let mut record =
            parse(json!({"NamespaceId": "n", "RunId": "r".repeat(36), "WorkflowId": "w"})).expect("a record");
        assert_eq!(id(&record), format!("w~{}", "r".repeat(36)));
        assert!(!has_cut_id(&record));
        // 475 bytes are left for the Workflow Id: 237 characters of two bytes and one byte too few for another.
        record.workflow_id = "ü".repeat(300);
        assert_eq!(id(&record), format!("{}~{}", "ü".repeat(237), "r".repeat(36)));
        assert!(has_cut_id(&record));
        record.key.run_id = "r".repeat(600);
        assert_eq!(id(&record), "r".repeat(512));
    }
}
