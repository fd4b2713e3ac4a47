//! What of a record a store cannot hold: counted before a migration, so that nothing is cut in silence.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::attribute::{is_datetime, is_keyword_list};
use crate::limits::Limits;
use crate::record::{Key, Record};

/// Something that a store cannot hold as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Misfit {
    /// A Workflow Id, Workflow Type or Task Queue that is too long.
    LongName,
    /// A Keyword that is too long.
    LongKeyword,
    /// A Text that is too long, or not of the form that the store needs.
    Text,
    /// A text with the character NUL.
    Nul,
    /// Several values where the store has room for one.
    Several,
    /// A time before or after those that the store can index.
    Time,
    /// A number that is too large.
    Number,
    /// A record that is too large as a whole.
    Document,
    /// Times finer than the store keeps.
    FineTime,
}

impl Misfit {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::LongName => "Workflow Ids, Workflow Types or Task Queues of this length",
            Self::LongKeyword => "Keywords of this length",
            Self::Text => "Texts of this length or with quotes, colons or backslashes",
            Self::Nul => "texts with the character NUL",
            Self::Several => "several values of an attribute that is no list",
            Self::Time => "times outside of its range",
            Self::Number => "numbers of this size",
            Self::Document => "records of this size",
            Self::FineTime => "times as fine as these",
        }
    }

    /// Whether the store refuses such a record (else it keeps it with less detail).
    pub fn is_refused(self) -> bool {
        self != Self::FineTime
    }
}

/// What was found in the records looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Misfits {
    /// Records looked at.
    pub records: u64,
    /// In how many of them, and one of these.
    pub found: BTreeMap<Misfit, (u64, Key)>,
}

impl Misfits {
    /// Looks at a record for a store of these limits.
    pub fn look(&mut self, record: &Record, limits: &Limits) {
        self.records += 1;
        for misfit in misfits(record, limits) {
            let (count, _) = self.found.entry(misfit).or_insert_with(|| (0, record.key.clone()));
            *count += 1;
        }
    }
}

/// What of `record` a store of these limits cannot hold, each once.
pub fn misfits(record: &Record, limits: &Limits) -> Vec<Misfit> {
    let mut found = Vec::new();
    let names = [&record.workflow_id, &record.workflow_type, &record.task_queue];
    let relatives = [&record.parent_workflow_id, &record.root_workflow_id];
    for name in names.into_iter().chain(relatives.into_iter().flatten()) {
        if !limits.name.holds(name) {
            found.push(Misfit::LongName);
        }
        found.extend(nul(name, limits));
    }
    let fine = |at: Timestamp| limits.precision.truncate(at) != at;
    if fine(record.start_time) || fine(record.execution_time) || record.close_time.is_some_and(fine) {
        found.push(Misfit::FineTime);
    }
    for (field, value) in &record.search_attributes {
        of_attribute(field, value, limits, &mut found);
    }
    if limits.document.is_some_and(|limit| size(record) > limit) {
        found.push(Misfit::Document);
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn nul(text: &str, limits: &Limits) -> Option<Misfit> {
    (!limits.nul && text.contains('\0')).then_some(Misfit::Nul)
}

fn of_attribute(field: &str, value: &Value, limits: &Limits, found: &mut Vec<Misfit>) {
    match value {
        Value::Array(values) => {
            if values.len() > 1 && !limits.lists && !is_keyword_list(field) {
                found.push(Misfit::Several);
            }
            for value in values {
                of_attribute(field, value, limits, found);
            }
        }
        Value::String(text) => {
            found.extend(nul(text, limits));
            if is_datetime(field) {
                let at = text.parse::<Timestamp>();
                if at.is_ok_and(|at| at < limits.times.0 || at > limits.times.1) {
                    found.push(Misfit::Time);
                }
            } else if field.starts_with("Text") {
                if !limits.text.holds(text) {
                    found.push(Misfit::Text);
                }
            } else if !limits.keyword.holds(text) {
                found.push(Misfit::LongKeyword);
            }
        }
        Value::Number(number) => {
            let beyond = |limit: f64| number.as_f64().is_some_and(|number| number.abs() >= limit);
            if number.is_f64() && limits.double_below.is_some_and(beyond) {
                found.push(Misfit::Number);
            }
        }
        Value::Null | Value::Bool(_) | Value::Object(_) => {}
    }
}

/// About the bytes of a record as JSON: its memo in base64, its attributes, and its names.
fn size(record: &Record) -> u64 {
    let memo = record.memo.as_ref().map_or(0, |memo| memo.len().div_ceil(3) * 4);
    let attributes: usize = record
        .search_attributes
        .iter()
        .map(|(field, value)| field.len() + value.to_string().len() + 4)
        .sum();
    let names = record.workflow_id.len() + record.workflow_type.len() + record.task_queue.len();
    (memo + attributes + names + 1024) as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::limits::{Length, Text, times_in_nanoseconds};
    use crate::ports::Precision;
    use crate::record::marker_record;

    fn narrow() -> Limits {
        Limits {
            precision: Precision::Microsecond,
            times: times_in_nanoseconds(),
            name: Length::Characters(255),
            keyword: Length::Characters(255),
            text: Text::Tsvector,
            nul: false,
            lists: false,
            double_below: Some(1e15),
            document: Some(10_000),
        }
    }

    fn plain() -> Record {
        marker_record("n", "w", "r", "2024-05-06T07:08:09.123456Z".parse().unwrap_or_default())
    }

    #[test]
    fn each_thing_that_does_not_fit_is_named_once() {
        let attribute = |field: &str, value: Value| {
            let mut record = plain();
            record.search_attributes.insert(field.to_owned(), value);
            record
        };
        assert_eq!(misfits(&plain(), &narrow()), []);
        let long = "x".repeat(256);
        let mut named = plain();
        (named.workflow_id, named.task_queue) = (long.clone(), long.clone());
        let mut fine = plain();
        fine.start_time += jiff::SignedDuration::from_nanos(1);
        let mut large = plain();
        large.memo = Some(vec![0; 9_000]);
        let mut relative = plain();
        relative.parent_workflow_id = Some("a\0b".to_owned());
        for (record, misfit) in [
            (named, Misfit::LongName),
            (fine, Misfit::FineTime),
            (large, Misfit::Document),
            (relative, Misfit::Nul),
            (attribute("Keyword01", json!(long)), Misfit::LongKeyword),
            (attribute("KeywordList01", json!(["a", long])), Misfit::LongKeyword),
            (attribute("Text01", json!("it's")), Misfit::Text),
            (attribute("Keyword01", json!("a\0")), Misfit::Nul),
            (attribute("Keyword01", json!(["a", "b"])), Misfit::Several),
            (attribute("Datetime01", json!("1969-12-31T00:00:00Z")), Misfit::Time),
            (attribute("Double01", json!(1e16)), Misfit::Number),
        ] {
            assert_eq!(misfits(&record, &narrow()), [misfit]);
        }
        assert_eq!(misfits(&attribute("KeywordList01", json!(["a", "b"])), &narrow()), []);
    }

    #[test]
    fn records_are_counted_with_an_example() {
        let mut long = plain();
        long.workflow_id = "x".repeat(300);
        let mut misfits = Misfits::default();
        for record in [&plain(), &long, &long] {
            misfits.look(record, &narrow());
        }
        assert_eq!(misfits.records, 3);
        assert_eq!(misfits.found, BTreeMap::from([(Misfit::LongName, (2, plain().key))]));
    }
}
