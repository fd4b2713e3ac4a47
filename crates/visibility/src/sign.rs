//! Signs: all that counts of a record in sixteen bytes, so that two stores can be compared in any order.
//!
//! A store reads its records many times as quick in an order of its own as by their keys. Records of two stores that come in
//! two orders cannot be laid side by side, but their signs can wait for each other: a sign is a hash of what counts of a
//! record ([`Yardstick`]), and small. Two records of one key that have the same sign are the same by
//! [`same`](crate::sameness::same); where signs differ the records themselves are read and compared, so that a sign never
//! says what is wrong, only where to look.
//!
//! What a sign is made of is what a record *means*: times as both stores keep them, an absent text as an empty one, memos
//! by their entries and search attributes by their values, in no order. Signs are stricter than equality: a few kinds of
//! the same value written in two ways (a number beyond 2^53, a list of one blank element) have two signs, which costs a
//! look and never an answer. Between stores of one dialect ([`Read::dialect`](crate::ports::Read::dialect)) search
//! attributes go in as the text that the store itself makes of them, unread.
//!
//! A hash has 128 bits and begins with a number that nobody knows before the comparison, so that no content can be made
//! up that passes for another.

mod attributes;

use serde_json::Value;
use twox_hash::XxHash3_128;
use uuid::Uuid;

pub use self::attributes::{Attribute, Attributes};
use crate::keeps::Column;
use crate::ports::Precision;
use crate::record::{Key, Record};
use crate::sameness::Yardstick;
use crate::{memo, ports::Range};

/// What the signs of two stores have in common, without which they say nothing of each other.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// What counts.
    pub by: Yardstick,
    /// Whether the version counts: where both stores keep it.
    pub versions: bool,
    /// Whether search attributes are taken as the text that the store makes of them: where both speak one dialect.
    pub as_text: bool,
    seed: u64,
}

impl Terms {
    /// Terms of one comparison, unlike those of any other.
    pub fn new(by: Yardstick, versions: bool, as_text: bool) -> Self {
        let (seed, _) = Uuid::new_v4().as_u64_pair();
        Self {
            by,
            versions,
            as_text,
            seed,
        }
    }
}

/// What a store is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Of which records.
    pub range: Range,
    /// About how many records at a time.
    pub page: usize,
    /// How they are signed.
    pub terms: Terms,
}

/// A run's id, as small as it can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// A UUID in lower case with dashes, as the server makes them.
    Uuid(u128),
    /// Any other text.
    Other(Box<str>),
}

impl Run {
    /// The run of this id.
    pub fn of(run_id: &str) -> Self {
        uuid_of(run_id.as_bytes()).map_or_else(|| Self::Other(run_id.into()), Self::Uuid)
    }
}

/// The text of a UUID.
pub(crate) fn uuid_text(uuid: u128) -> String {
    Uuid::from_u128(uuid).to_string()
}

/// A lower-case UUID with dashes as a number.
fn uuid_of(text: &[u8]) -> Option<u128> {
    let text: &[u8; 36] = text.try_into().ok()?;
    let mut number: u128 = 0;
    for (at, byte) in text.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        number = number << 4 | u128::from(digit);
    }
    Some(number)
}

/// One record's sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Which of [`Page::namespaces`].
    pub namespace: usize,
    /// The run.
    pub run: Run,
    /// Its sign.
    pub sign: u128,
}

/// Some of a store's records. No record is in two pages, nor in one twice.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The ids of the Namespaces that its records are of.
    pub namespaces: Vec<String>,
    /// Their signs.
    pub records: Vec<Signed>,
}

impl Page {
    /// An empty page with room for so many records.
    pub fn with_capacity(records: usize) -> Self {
        Self {
            namespaces: Vec::new(),
            records: Vec::with_capacity(records),
        }
    }

    /// Takes a record's sign.
    pub fn push(&mut self, namespace_id: &str, run_id: &str, sign: u128) {
        // Neighbours are often of one Namespace, and there are few.
        let last = self.records.last().map(|record| record.namespace);
        let last = last.filter(|at| self.namespaces[*at] == namespace_id);
        let namespace = last.or_else(|| self.namespaces.iter().position(|known| known == namespace_id));
        let namespace = namespace.unwrap_or_else(|| {
            self.namespaces.push(namespace_id.to_owned());
            self.namespaces.len() - 1
        });
        self.records.push(Signed {
            namespace,
            run: Run::of(run_id),
            sign,
        });
    }
}

/// A point in time: seconds since 1970, and nanoseconds after that second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

impl Moment {
    /// From microseconds since 1970.
    pub fn from_microseconds(microseconds: i64) -> Self {
        Self {
            seconds: microseconds.div_euclid(1_000_000),
            nanoseconds: u32::try_from(microseconds.rem_euclid(1_000_000) * 1_000).unwrap_or(0),
        }
    }

    fn cut(self, precision: Precision) -> Self {
        let step = match precision {
            Precision::Nanosecond => 1,
            Precision::Microsecond => 1_000,
            Precision::Millisecond => 1_000_000,
        };
        Self {
            nanoseconds: self.nanoseconds - self.nanoseconds % step,
            ..self
        }
    }
}

impl From<jiff::Timestamp> for Moment {
    fn from(at: jiff::Timestamp) -> Self {
        // Both parts have one sign.
        let (seconds, nanoseconds) = (at.as_second(), at.subsec_nanosecond());
        let borrowed = i64::from(nanoseconds < 0);
        Self {
            seconds: seconds - borrowed,
            nanoseconds: u32::try_from(i64::from(nanoseconds) + borrowed * 1_000_000_000).unwrap_or(0),
        }
    }
}

/// What counts of a record, borrowed from wherever it is. Texts as bytes; an absent one is empty.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// The run's id: what two records have exchanged changes the signs of both.
    pub run_id: &'a [u8],
    /// See [`Record::version`].
    pub version: Option<i64>,
    /// See [`Record::workflow_id`].
    pub workflow_id: &'a [u8],
    /// See [`Record::workflow_type`].
    pub workflow_type: &'a [u8],
    /// See [`Record::status`].
    pub status: i32,
    /// See [`Record::start_time`].
    pub start_time: Moment,
    /// See [`Record::execution_time`].
    pub execution_time: Moment,
    /// See [`Record::close_time`].
    pub close_time: Option<Moment>,
    /// History length, history size in bytes, execution duration and state transitions.
    pub numbers: [Option<i64>; 4],
    /// See [`Record::memo`].
    pub memo: &'a [u8],
    /// See [`Record::memo_encoding`].
    pub memo_encoding: &'a [u8],
    /// See [`Record::task_queue`].
    pub task_queue: &'a [u8],
    /// What [`Attributes`] came to.
    pub attributes: u128,
    /// Workflow Id and run id.
    pub parent: [&'a [u8]; 2],
    /// Workflow Id and run id.
    pub root: [&'a [u8]; 2],
}

/// Makes signs, one after another.
#[derive(Debug)]
pub struct Signer {
    terms: Terms,
    bytes: Vec<u8>,
}

impl Signer {
    /// One that keeps to `terms`.
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            bytes: Vec::with_capacity(1024),
        }
    }

    /// For the search attributes of one record.
    pub fn attributes(&self) -> Attributes {
        Attributes::new(self.terms.seed)
    }

    /// The sign of a record with this content.
    pub fn sign(&mut self, content: &Content<'_>) -> u128 {
        let Terms { by, versions, seed, .. } = self.terms;
        let mut bytes = Bytes(&mut self.bytes);
        bytes.0.clear();
        bytes.text(content.run_id);
        bytes.text(content.workflow_id);
        bytes.text(content.workflow_type);
        bytes.0.extend(content.status.to_le_bytes());
        bytes.time(content.start_time.cut(by.precision));
        if by.keeps.has(Column::ExecutionTime) {
            bytes.time(content.execution_time.cut(by.precision));
        }
        match content.close_time {
            Some(at) => bytes.time(at.cut(by.precision)),
            None => bytes.number(None),
        }
        let columns = [
            Column::HistoryLength,
            Column::HistorySizeBytes,
            Column::ExecutionDuration,
            Column::StateTransitionCount,
        ];
        for (column, number) in columns.into_iter().zip(content.numbers) {
            if by.keeps.has(column) {
                bytes.number(number);
            }
        }
        if by.keeps.has(Column::TaskQueue) {
            bytes.text(content.task_queue);
        }
        for (column, texts) in [(Column::Parent, content.parent), (Column::Root, content.root)] {
            if by.keeps.has(column) {
                texts.iter().for_each(|text| bytes.text(text));
            }
        }
        if by.keeps.has(Column::SearchAttributes) {
            bytes.0.extend(content.attributes.to_le_bytes());
        }
        let memo = memo::sum(content.memo, content.memo_encoding, seed);
        bytes.0.extend(memo.to_le_bytes());
        if versions {
            bytes.number(content.version);
        }
        XxHash3_128::oneshot_with_seed(seed, bytes.0)
    }

    /// The sign of a record.
    pub fn sign_record(&mut self, record: &Record) -> u128 {
        let text = |text: &'_ Option<String>| text.as_deref().unwrap_or_default().as_bytes().to_vec();
        let mut attributes = self.attributes();
        match self.terms.as_text {
            true => attributes.take_text(text_of(record).as_bytes()),
            false => record
                .search_attributes
                .iter()
                .for_each(|(field, value)| attributes.take_value(field, value)),
        }
        let others = [
            text(&record.parent_workflow_id),
            text(&record.parent_run_id),
            text(&record.root_workflow_id),
            text(&record.root_run_id),
        ];
        self.sign(&Content {
            run_id: record.key.run_id.as_bytes(),
            version: record.version,
            workflow_id: record.workflow_id.as_bytes(),
            workflow_type: record.workflow_type.as_bytes(),
            status: record.status,
            start_time: record.start_time.into(),
            execution_time: record.execution_time.into(),
            close_time: record.close_time.map(Moment::from),
            numbers: [
                record.history_length,
                record.history_size_bytes,
                record.execution_duration,
                record.state_transition_count,
            ],
            memo: record.memo.as_deref().unwrap_or_default(),
            memo_encoding: record.memo_encoding.as_bytes(),
            task_queue: record.task_queue.as_bytes(),
            attributes: attributes.sum(),
            parent: [&others[0], &others[1]],
            root: [&others[2], &others[3]],
        })
    }
}

/// A record's search attributes as a text.
fn text_of(record: &Record) -> String {
    match record.search_attributes.is_empty() {
        true => String::new(),
        false => Value::Object(record.search_attributes.clone()).to_string(),
    }
}

/// Writes down what is hashed so that no two contents have the same bytes.
struct Bytes<'a>(&'a mut Vec<u8>);

impl Bytes<'_> {
    fn text(&mut self, text: &[u8]) {
        self.0.extend((text.len() as u64).to_le_bytes());
        self.0.extend(text);
    }

    fn number(&mut self, number: Option<i64>) {
        self.0.push(u8::from(number.is_some()));
        self.0.extend(number.unwrap_or(0).to_le_bytes());
    }

    fn time(&mut self, at: Moment) {
        self.0.push(2);
        self.0.extend(at.seconds.to_le_bytes());
        self.0.extend(at.nanoseconds.to_le_bytes());
    }
}

/// A key from a Namespace's id and a UUID.
pub(crate) fn key(namespace_id: &str, uuid: u128) -> Key {
    Key::new(namespace_id, uuid_text(uuid))
}

#[cfg(test)]
mod tests;
