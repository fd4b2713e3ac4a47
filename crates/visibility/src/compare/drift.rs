//! What a comparison found: drift by class, and how far it came.

use std::collections::BTreeMap;

use crate::record::{Key, Record};
use crate::repair::Repaired;
use crate::sameness::{Class, Yardstick, differing};

/// One record that is wrong at the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drifted {
    /// Which.
    pub key: Key,
    /// In what way.
    pub class: Class,
    /// The columns that differ, by name; empty when it is missing or extra.
    pub columns: Vec<String>,
    /// The version at the source, if it is there and has one.
    pub source_version: Option<i64>,
    /// The version at the target, if it is there and has one.
    pub target_version: Option<i64>,
}

impl Drifted {
    /// As the two readings of the key have it.
    pub(super) fn of(key: Key, class: Class, source: Option<&Record>, target: Option<&Record>, by: Yardstick) -> Self {
        let columns = match (source, target) {
            (Some(source), Some(target)) => differing(source, target, by),
            _ => Vec::new(),
        };
        Self {
            key,
            class,
            columns,
            source_version: source.and_then(|record| record.version),
            target_version: target.and_then(|record| record.version),
        }
    }
}

/// The drift of one class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub count: u64,
    /// The first of them, at most [`Options::sample`](super::Options::sample).
    pub sample: Vec<Drifted>,
}

/// What is wrong at the target, as it was before any repair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// At the source, not at the target.
    pub missing: Tally,
    /// Of a lower version at the target.
    pub stale: Tally,
    /// Of the same or a later version, with other content.
    pub different: Tally,
    /// At the target, not at the source.
    pub extra: Tally,
}

impl Drift {
    /// All classes together.
    pub fn total(&self) -> u64 {
        self.missing.count + self.stale.count + self.different.count + self.extra.count
    }

    /// The tally of one class.
    pub fn of(&self, class: Class) -> &Tally {
        match class {
            Class::Missing => &self.missing,
            Class::Stale => &self.stale,
            Class::Different => &self.different,
            Class::Extra => &self.extra,
        }
    }

    pub(super) fn add(&mut self, drifted: Drifted, sample: usize) {
        let tally = match drifted.class {
            Class::Missing => &mut self.missing,
            Class::Stale => &mut self.stale,
            Class::Different => &mut self.different,
            Class::Extra => &mut self.extra,
        };
        tally.count += 1;
        if tally.sample.len() < sample {
            tally.sample.push(drifted);
        }
    }
}

/// What was seen of one Namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceTally {
    /// Records scanned at the source.
    pub source: u64,
    /// Records scanned at the target.
    pub target: u64,
    /// Drifted ones, of any class, before repair.
    pub drift: u64,
}

/// Where a comparison stands: what it reports, and from where it goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last key that is settled in both stores; `None` at the beginning.
    pub cursor: Option<Key>,
    /// Records scanned at the source.
    pub source_records: u64,
    /// Records scanned at the target.
    pub target_records: u64,
    /// Of these, records that were found the same by digests and not read.
    pub by_digest: u64,
    /// Records that looked wrong at first and were right when read again.
    pub settled: u64,
    /// What is, or before repair was, wrong.
    pub drift: Drift,
    /// What was repaired on the way.
    pub repaired: Repaired,
    /// The same per Namespace id.
    pub namespaces: BTreeMap<String, NamespaceTally>,
    /// Records of the source that were read since, and of which nothing can be told before all are: of no use to whoever
    /// goes on from here.
    pub ahead: u64,
}
