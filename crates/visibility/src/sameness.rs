//! When two stores' records of one execution say the same.

use jiff::Timestamp;

use crate::keeps::{Column, Keeps};
use crate::ports::{Precision, Read};
use crate::record::Record;
use crate::{attribute, memo};

/// How finely two stores can be compared: by what both of them keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Yardstick {
    /// The coarser of the two precisions.
    pub precision: Precision,
    /// The columns that both keep.
    pub keeps: Keeps,
}

impl Yardstick {
    /// For stores that keep everything, times at `precision`.
    pub fn whole(precision: Precision) -> Self {
        Self {
            precision,
            keeps: Keeps::EVERYTHING,
        }
    }

    /// For these two stores.
    pub fn between(a: &dyn Read, b: &dyn Read) -> Self {
        Self {
            precision: a.precision().coarser(b.precision()),
            keeps: a.keeps().and(b.keeps()),
        }
    }
}

/// The columns in which two records of one key differ in content, by the names that the SQL schema gives them; search
/// attributes by field name. Empty when they say the same. Versions are no content and not compared.
///
/// Only what both stores keep counts, and times as finely as both do. An absent text and an empty one are the same:
/// older schemas lack columns that newer ones default to `''`, and the server reads both as empty.
pub fn differing(a: &Record, b: &Record, by: Yardstick) -> Vec<String> {
    let time = |a: Timestamp, b: Timestamp| by.precision.truncate(a) == by.precision.truncate(b);
    let kept = |column: Column, same: bool| same || !by.keeps.has(column);
    let text = |a: &Option<String>, b: &Option<String>| a.as_deref().unwrap_or("") == b.as_deref().unwrap_or("");
    let close_time = match (a.close_time, b.close_time) {
        (Some(a), Some(b)) => time(a, b),
        (a, b) => a == b,
    };
    let columns = [
        ("workflow_id", a.workflow_id == b.workflow_id),
        ("workflow_type_name", a.workflow_type == b.workflow_type),
        ("status", a.status == b.status),
        ("start_time", time(a.start_time, b.start_time)),
        (
            "execution_time",
            kept(Column::ExecutionTime, time(a.execution_time, b.execution_time)),
        ),
        ("close_time", close_time),
        (
            "history_length",
            kept(Column::HistoryLength, a.history_length == b.history_length),
        ),
        (
            "history_size_bytes",
            kept(Column::HistorySizeBytes, a.history_size_bytes == b.history_size_bytes),
        ),
        (
            "execution_duration",
            kept(Column::ExecutionDuration, a.execution_duration == b.execution_duration),
        ),
        (
            "state_transition_count",
            kept(
                Column::StateTransitionCount,
                a.state_transition_count == b.state_transition_count,
            ),
        ),
        (
            "memo",
            memo::same(a.memo.as_deref(), &a.memo_encoding, b.memo.as_deref(), &b.memo_encoding),
        ),
        ("task_queue", kept(Column::TaskQueue, a.task_queue == b.task_queue)),
        (
            "parent_workflow_id",
            kept(Column::Parent, text(&a.parent_workflow_id, &b.parent_workflow_id)),
        ),
        (
            "parent_run_id",
            kept(Column::Parent, text(&a.parent_run_id, &b.parent_run_id)),
        ),
        (
            "root_workflow_id",
            kept(Column::Root, text(&a.root_workflow_id, &b.root_workflow_id)),
        ),
        ("root_run_id", kept(Column::Root, text(&a.root_run_id, &b.root_run_id))),
    ];
    let mut differing: Vec<String> = columns
        .iter()
        .filter(|(_, same)| !same)
        .map(|(column, _)| (*column).to_owned())
        .collect();
    if by.keeps.has(Column::SearchAttributes) {
        differing.extend(
            attribute::differing(&a.search_attributes, &b.search_attributes)
                .into_iter()
                .map(|field| format!("search_attributes.{field}")),
        );
    }
    differing
}

/// Whether two records of one key say the same; see [`differing`].
pub fn same(a: &Record, b: &Record, by: Yardstick) -> bool {
    differing(a, b, by).is_empty()
}

/// How a target's record stands to the source's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The source has it, the target lacks it.
    Missing,
    /// The target's version is lower than the source's.
    Stale,
    /// The same or a later version (or no versions), and other content.
    Different,
    /// The target has it, the source lacks it.
    Extra,
}

impl Class {
    /// The word for it in reports and on the wire.
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Stale => "stale",
            Self::Different => "different",
            Self::Extra => "extra",
        }
    }
}

/// What the two stores' readings of one key say of the target, `None` when nothing is wrong.
///
/// A target that is *ahead* with the same content is in order: refreshing an execution's tasks gives a record that is
/// new to the target a later task id than the source keeps, because a start never overwrites
/// (1.30.8: common/persistence/sql/sqlplugin/postgresql/visibility.go, `ON CONFLICT DO NOTHING`).
pub fn classify(source: Option<&Record>, target: Option<&Record>, by: Yardstick) -> Option<Class> {
    match (source, target) {
        (None, None) => None,
        (Some(_), None) => Some(Class::Missing),
        (None, Some(_)) => Some(Class::Extra),
        (Some(source), Some(target)) => match (source.version, target.version) {
            (Some(of_source), Some(of_target)) if of_target < of_source => Some(Class::Stale),
            _ => (!same(source, target, by)).then_some(Class::Different),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::{PROTO3, marker_record};

    fn record() -> Record {
        let at: Timestamp = "2024-05-06T07:08:09.123456789Z".parse().unwrap_or_default();
        let mut record = marker_record("n", "w", "r", at);
        record.version = Some(5);
        record.memo = Some(crate::memo::encode(&[("a", "1"), ("b", "2")]));
        record.memo_encoding = PROTO3.to_owned();
        record.search_attributes.insert("Keyword01".to_owned(), json!("x"));
        record
    }

    /// One change to a record.
    type Change = fn(&mut Record);

    #[test]
    fn each_column_counts() {
        let changes: [(&str, Change); 17] = [
            ("workflow_id", |r| r.workflow_id.push('x')),
            ("workflow_type_name", |r| r.workflow_type.push('x')),
            ("status", |r| r.status = 3),
            ("start_time", |r| r.start_time += jiff::SignedDuration::from_micros(1)),
            ("execution_time", |r| {
                r.execution_time += jiff::SignedDuration::from_micros(1)
            }),
            ("close_time", |r| r.close_time = None),
            ("history_length", |r| r.history_length = Some(1)),
            ("history_size_bytes", |r| r.history_size_bytes = None),
            ("execution_duration", |r| r.execution_duration = Some(1)),
            ("state_transition_count", |r| r.state_transition_count = Some(1)),
            ("memo", |r| {
                r.memo = Some(crate::memo::encode(&[("a", "1"), ("b", "3")]))
            }),
            ("task_queue", |r| r.task_queue.push('x')),
            ("parent_workflow_id", |r| r.parent_workflow_id = Some("p".to_owned())),
            ("parent_run_id", |r| r.parent_run_id = Some("p".to_owned())),
            ("root_workflow_id", |r| r.root_workflow_id = None),
            ("root_run_id", |r| r.root_run_id = Some("other".to_owned())),
            ("search_attributes.Keyword01", |r| {
                r.search_attributes.remove("Keyword01");
            }),
        ];
        for (column, change) in changes {
            let mut other = record();
            change(&mut other);
            assert_eq!(
                differing(&record(), &other, Yardstick::whole(Precision::Microsecond)),
                [column]
            );
            assert_eq!(
                differing(&other, &record(), Yardstick::whole(Precision::Microsecond)),
                [column]
            );
        }
    }

    #[test]
    fn times_differ_only_within_the_precision_that_both_keep() {
        let mut other = record();
        other.start_time = Precision::Microsecond.truncate(other.start_time);
        assert!(same(&record(), &other, Yardstick::whole(Precision::Microsecond)));
        assert!(!same(&record(), &other, Yardstick::whole(Precision::Nanosecond)));
    }

    #[test]
    fn what_one_store_does_not_keep_is_not_held_against_the_other() {
        let mut other = record();
        other.search_attributes.clear();
        other.root_run_id = None;
        let columns = [Column::SearchAttributes, Column::Root];
        let by = |columns: &[Column]| Yardstick {
            precision: Precision::Microsecond,
            keeps: Keeps::all_but(columns),
        };
        assert!(same(&record(), &other, by(&columns)));
        assert_eq!(differing(&record(), &other, by(&columns[..1])), ["root_run_id"]);
        assert_eq!(
            differing(&record(), &other, by(&columns[1..])),
            ["search_attributes.Keyword01"]
        );
        // Filled from the fuller one, nothing is lost and what is kept is the other's.
        other.status = 7;
        let whole = other.filled_from(&record(), by(&columns).keeps);
        assert_eq!(differing(&whole, &record(), by(&[])), ["status"]);
        assert_eq!(whole.version, record().version);
    }

    #[test]
    fn a_target_ahead_with_the_same_content_is_in_order() {
        let (source, mut target) = (record(), record());
        let class = |s: &Record, t: &Record| classify(Some(s), Some(t), Yardstick::whole(Precision::Microsecond));
        target.version = Some(9);
        assert_eq!(class(&source, &target), None);
        target.status = 7;
        assert_eq!(class(&source, &target), Some(Class::Different));
        target.version = Some(4);
        assert_eq!(class(&source, &target), Some(Class::Stale));
        target.version = None;
        assert_eq!(class(&source, &target), Some(Class::Different));
        assert_eq!(
            classify(Some(&source), None, Yardstick::whole(Precision::Microsecond)),
            Some(Class::Missing)
        );
        assert_eq!(
            classify(None, Some(&target), Yardstick::whole(Precision::Microsecond)),
            Some(Class::Extra)
        );
    }
}
