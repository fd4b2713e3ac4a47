//! Signs of documents, read in the order in which they lie in the index; why, and by what, [`super::scroll`] says.
//!
//! The cluster works on a page while the one before is signed here. A document is taken from the bytes of the answer as it
//! stands there, and nothing is made of it but what goes into its sign. A page in which anything is not as servers write it
//! today is read as every other one, by [`super::document`].

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use crossfade_visibility::ports::{Error, Range};
use crossfade_visibility::sign::{Content, Moment, Page, Signer, Terms, Wanted};
use futures::future;
use futures::stream::{self, BoxStream, StreamExt as _};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, json};

use super::document::{STATUS, UNSET};
use super::scroll::Scroll;
use super::{Elasticsearch, document};

/// A reading under way.
struct Reading<'a> {
    scroll: Scroll<'a>,
    /// The answer after the page that was given last; `None` before the first.
    next: Option<Bytes>,
    terms: Terms,
}

impl Elasticsearch {
    pub(super) fn signed(&self, wanted: &Wanted) -> BoxStream<'_, Result<Page, Error>> {
        let reading = Reading {
            scroll: Scroll::new(self, wanted.page, query(&wanted.range)),
            next: None,
            terms: wanted.terms,
        };
        stream::try_unfold(reading, move |mut reading| async move {
            let answer = match reading.next.take() {
                Some(answer) => answer,
                None => reading.scroll.fetch().await?,
            };
            reading.scroll.id = scroll_id(&answer);
            let (name, terms) = (self.cluster.name.clone(), reading.terms);
            let signed = tokio::task::spawn_blocking(move || sign(&name, &answer, terms));
            let (signed, next) = future::join(signed, reading.scroll.fetch()).await;
            let page = signed.map_err(|error| Error::Failed {
                store: self.cluster.name.clone(),
                reason: error.to_string(),
            })??;
            if page.records.is_empty() {
                reading.scroll.end().await;
                return Ok(None);
            }
            reading.next = Some(next?);
            Ok(Some((page, reading)))
        })
        .boxed()
    }
}

/// The documents of a range. Both ids are keywords, which are in the order of their bytes.
fn query(range: &Range) -> Value {
    let mut filter = Vec::new();
    if let Some(namespace_id) = &range.namespace_id {
        filter.push(json!({"term": {"NamespaceId": namespace_id}}));
    }
    for (compared, of_run, end) in [("gt", "gt", &range.after), ("lt", "lte", &range.until)] {
        if let Some(key) = end {
            let within = [
                json!({"term": {"NamespaceId": key.namespace_id}}),
                json!({"range": {"RunId": {of_run: key.run_id}}}),
            ];
            filter.push(json!({"bool": {"should": [
                {"range": {"NamespaceId": {compared: key.namespace_id}}},
                {"bool": {"filter": within}},
            ]}}));
        }
    }
    match filter.is_empty() {
        true => json!({"match_all": {}}),
        false => json!({"bool": {"filter": filter}}),
    }
}

/// Where the next page is to be had: what an answer begins with.
fn scroll_id(answer: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Id {
        #[serde(rename = "_scroll_id")]
        id: String,
    }
    let first = answer.strip_prefix(b"{\"_scroll_id\":\"").and_then(|rest| {
        let end = rest
            .iter()
            .position(|byte| !byte.is_ascii_alphanumeric() && !b"+/=-_".contains(byte))?;
        (rest[end] == b'"').then(|| String::from_utf8_lossy(&rest[..end]).into_owned())
    });
    first.or_else(|| serde_json::from_slice::<Id>(answer).ok().map(|found| found.id))
}

fn sign(store: &str, answer: &[u8], terms: Terms) -> Result<Page, Error> {
    let mut signer = Signer::new(terms);
    if let Some(page) = sign_as_they_stand(answer, &mut signer) {
        return Ok(page);
    }
    let whole = serde_json::from_slice::<document::Page>(answer).ok();
    let Some(whole) = whole.filter(document::Page::is_whole) else {
        return Err(Error::Busy {
            store: store.to_owned(),
            reason: "not every shard of the index answered in time".to_owned(),
        });
    };
    let records = whole.records(store)?;
    let mut page = Page::with_capacity(records.len());
    for record in records {
        let sign = signer.sign_record(&record);
        page.push(&record.key.namespace_id, &record.key.run_id, sign);
    }
    Ok(page)
}

#[derive(Deserialize)]
struct Answer<'a> {
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Shards,
    #[serde(borrow)]
    hits: Hits<'a>,
}

#[derive(Deserialize)]
struct Shards {
    failed: u32,
}

#[derive(Deserialize)]
struct Hits<'a> {
    #[serde(borrow)]
    hits: Vec<Hit<'a>>,
}

#[derive(Deserialize)]
struct Hit<'a> {
    #[serde(rename = "_version")]
    version: i64,
    #[serde(rename = "_source", borrow)]
    document: Document<'a>,
}

/// `None` where something is not as it usually is.
fn sign_as_they_stand(answer: &[u8], signer: &mut Signer) -> Option<Page> {
    let answer: Answer<'_> = serde_json::from_slice(answer).ok()?;
    if answer.timed_out || answer.shards.failed > 0 {
        return None;
    }
    let unset = Moment::from(UNSET);
    let mut page = Page::with_capacity(answer.hits.hits.len());
    for hit in &answer.hits.hits {
        let document = &hit.document;
        let text = |which: Field| document.text(which);
        let mut attributes = signer.attributes();
        for (field, value) in &document.attributes {
            attributes.take_value(&field.0, value);
        }
        let memo = match text(Field::Memo)? {
            "" => Vec::new(),
            memo => BASE64_STANDARD.decode(memo).ok()?,
        };
        let run_id = text(Field::RunId).filter(|id| !id.is_empty())?;
        let sign = signer.sign(&Content {
            run_id: run_id.as_bytes(),
            version: Some(hit.version),
            workflow_id: text(Field::WorkflowId)?.as_bytes(),
            workflow_type: text(Field::WorkflowType)?.as_bytes(),
            status: document.status()?,
            start_time: document.time(Field::StartTime)?.unwrap_or(unset),
            execution_time: document.time(Field::ExecutionTime)?.unwrap_or(unset),
            close_time: document.time(Field::CloseTime)?,
            numbers: [
                document.number(Field::HistoryLength)?,
                document.number(Field::HistorySizeBytes)?,
                document.number(Field::ExecutionDuration)?,
                document.number(Field::StateTransitionCount)?,
            ],
            memo: &memo,
            memo_encoding: text(Field::MemoEncoding)?.as_bytes(),
            task_queue: text(Field::TaskQueue)?.as_bytes(),
            attributes: attributes.sum(),
            parent: [text(Field::ParentWorkflowId)?, text(Field::ParentRunId)?].map(str::as_bytes),
            root: [text(Field::RootWorkflowId)?, text(Field::RootRunId)?].map(str::as_bytes),
        });
        let namespace_id = text(Field::NamespaceId).filter(|id| !id.is_empty())?;
        page.push(namespace_id, run_id, sign);
    }
    Some(page)
}

/// The fields of a document that are no search attributes and count, as [`NAMES`] has them.
#[derive(Clone, Copy)]
enum Field {
    NamespaceId,
    RunId,
    WorkflowId,
    WorkflowType,
    StartTime,
    ExecutionTime,
    CloseTime,
    ExecutionStatus,
    HistoryLength,
    HistorySizeBytes,
    ExecutionDuration,
    StateTransitionCount,
    Memo,
    MemoEncoding,
    TaskQueue,
    ParentWorkflowId,
    ParentRunId,
    RootWorkflowId,
    RootRunId,
}

/// Which task wrote a document: it says nothing of the execution.
const OF_THE_WRITER: &str = "VisibilityTaskKey";

const NAMES: [&str; 19] = [
    "NamespaceId",
    "RunId",
    "WorkflowId",
    "WorkflowType",
    "StartTime",
    "ExecutionTime",
    "CloseTime",
    "ExecutionStatus",
    "HistoryLength",
    "HistorySizeBytes",
    "ExecutionDuration",
    "StateTransitionCount",
    "Memo",
    "MemoEncoding",
    "TaskQueue",
    "ParentWorkflowId",
    "ParentRunId",
    "RootWorkflowId",
    "RootRunId",
];

/// A text in place, where it has nothing escaped.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A value of a field.
enum Scalar<'a> {
    Absent,
    Text(Cow<'a, str>),
    Whole(i64),
}

/// What counts of a document.
struct Document<'a> {
    fields: [Scalar<'a>; NAMES.len()],
    attributes: Vec<(Text<'a>, Value)>,
}

impl Document<'_> {
    /// Empty where there is none.
    fn text(&self, field: Field) -> Option<&str> {
        match &self.fields[field as usize] {
            Scalar::Absent => Some(""),
            Scalar::Text(text) => Some(text),
            Scalar::Whole(_) => None,
        }
    }

    #[expect(clippy::option_option, reason = "not as usual, and absent")]
    fn number(&self, field: Field) -> Option<Option<i64>> {
        match &self.fields[field as usize] {
            Scalar::Absent => Some(None),
            Scalar::Whole(number) => Some(Some(*number)),
            Scalar::Text(_) => None,
        }
    }

    #[expect(clippy::option_option, reason = "not as usual, and absent")]
    fn time(&self, field: Field) -> Option<Option<Moment>> {
        match &self.fields[field as usize] {
            Scalar::Absent => Some(None),
            Scalar::Text(text) => Some(Some(Moment::from(text.parse::<Timestamp>().ok()?))),
            Scalar::Whole(_) => None,
        }
    }

    fn status(&self) -> Option<i32> {
        let name = self.text(Field::ExecutionStatus)?;
        let status = STATUS.iter().position(|status| *status == name)?;
        i32::try_from(status).ok()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Document<'a> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Document<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut document = Document {
            fields: std::array::from_fn(|_| Scalar::Absent),
            attributes: Vec::with_capacity(16),
        };
        while let Some(name) = map.next_key::<Text<'de>>()? {
            match NAMES.iter().position(|known| *known == name.0) {
                Some(at) => document.fields[at] = map.next_value()?,
                None if name.0 == OF_THE_WRITER => drop(map.next_value::<IgnoredAny>()?),
                None => document.attributes.push((name, map.next_value()?)),
            }
        }
        Ok(document)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_any(OfScalar)
    }
}

struct OfScalar;

impl<'de> Visitor<'de> for OfScalar {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a whole number or nothing")
    }

    fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Absent)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Whole(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Scalar<'de>, E> {
        i64::try_from(number).map(Scalar::Whole).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use crossfade_visibility::ports::Precision;
    use crossfade_visibility::record::Key;
    use crossfade_visibility::sameness::Yardstick;

    use super::*;

    fn answer(documents: &[Value]) -> Value {
        let hits: Vec<Value> = documents
            .iter()
            .map(|source| json!({"_index": "i", "_id": "x", "_version": 7, "_source": source, "sort": [1]}))
            .collect();
        json!({"_scroll_id": "DXF1+/=-_", "took": 1, "timed_out": false, "_shards": {"failed": 0}, "hits": {"hits": hits}})
    }

    fn usual() -> Value {
        json!({
            "BuildIds": ["a"], "CustomInt": 9_007_199_254_740_993_i64, "CustomDouble": 3.0, "Nothing": null,
            "VisibilityTaskKey": "3~42", "NamespaceId": "n", "WorkflowId": "w \"ü\"\n", "RunId": "r", "WorkflowType": "T",
            "StartTime": "2024-01-01T00:00:00.123456789Z", "ExecutionTime": "2024-01-01T00:00:01Z",
            "CloseTime": "2024-01-01T00:00:02.5Z", "ExecutionStatus": "ContinuedAsNew", "TaskQueue": "q",
            "HistoryLength": 3, "HistorySizeBytes": i64::MAX, "ExecutionDuration": 1_500_000_000,
            "ParentWorkflowId": "p", "ParentRunId": null, "RootWorkflowId": "rw", "RootRunId": "rr",
            "Memo": "CgA=", "MemoEncoding": "Proto3",
        })
    }

    #[test]
    fn what_is_signed_as_it_stands_has_the_sign_of_its_record() {
        let terms = Terms::new(Yardstick::whole(Precision::Nanosecond), true, false);
        let lacking = json!({"NamespaceId": "n", "RunId": "r", "ExecutionStatus": "Running"});
        for document in [usual(), lacking] {
            let mut signer = Signer::new(terms);
            let whole = answer(&[document]).to_string();
            let page = sign_as_they_stand(whole.as_bytes(), &mut signer).expect("a page");
            let records = serde_json::from_str::<document::Page>(&whole)
                .expect("a page")
                .records("s");
            let record = records.expect("records").remove(0);
            assert_eq!(page.namespaces, ["n"]);
            assert_eq!(page.records[0].sign, signer.sign_record(&record));
        }
    }

    #[test]
    fn what_is_unusual_is_read_and_what_is_broken_is_named() {
        let terms = Terms::new(Yardstick::whole(Precision::Nanosecond), true, false);
        for (field, value) in [
            ("StartTime", json!(1_704_067_200_123_456_789_i64)),
            ("ExecutionStatus", json!(9)),
        ] {
            let mut document = usual();
            document[field] = value;
            let text = answer(&[usual(), document]).to_string();
            assert!(sign_as_they_stand(text.as_bytes(), &mut Signer::new(terms)).is_none());
            assert_eq!(sign("s", text.as_bytes(), terms).expect("a page").records.len(), 2);
        }
        let mut broken = usual();
        broken["HistoryLength"] = json!("sensitive");
        let error = sign("s", answer(&[broken]).to_string().as_bytes(), terms).expect_err("broken");
        assert!(error.to_string().contains("HistoryLength") && !error.to_string().contains("sensitive"));
        let mut partial = answer(&[usual()]);
        partial["_shards"]["failed"] = json!(1);
        assert!(sign("s", partial.to_string().as_bytes(), terms).is_err());
        assert!(sign("s", b"<html>", terms).is_err());
    }

    #[test]
    fn the_next_page_is_found() {
        assert_eq!(
            scroll_id(answer(&[]).to_string().as_bytes()).as_deref(),
            Some("DXF1+/=-_")
        );
        assert_eq!(scroll_id(b"{\"took\": 1, \"_scroll_id\": \"x\"}").as_deref(), Some("x"));
        assert_eq!(scroll_id(b"{}"), None);
    }

    #[test]
    fn a_range_is_asked_for_by_both_of_its_ends() {
        assert_eq!(query(&Range::default()), json!({"match_all": {}}));
        let range = Range {
            namespace_id: Some("n".to_owned()),
            after: Some(Key::new("a", "1")),
            until: Some(Key::new("b", "2")),
        };
        let filter = &query(&range)["bool"]["filter"];
        assert_eq!(filter[0], json!({"term": {"NamespaceId": "n"}}));
        assert_eq!(
            filter[1]["bool"]["should"][0],
            json!({"range": {"NamespaceId": {"gt": "a"}}})
        );
        assert_eq!(
            filter[2]["bool"]["should"][1]["bool"]["filter"][1],
            json!({"range": {"RunId": {"lte": "2"}}})
        );
    }
}
