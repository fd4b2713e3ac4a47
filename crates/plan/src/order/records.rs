//! Work on all records, a bounded time at once: refreshing, copying and comparing them.

use serde::{Deserialize, Serialize};

use crate::{
    attributes::Attributes, drift::Drift, existing::Refreshables, report::is_zero, slices::Step, throttle::Throttle,
};

use super::Context;

/// Order: have the server write anew what the target lacks, for a bounded time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RefreshRecords {
    /// The migration.
    pub context: Context,
    /// Where to go on; from the start when absent.
    pub cursor: Option<String>,
    /// The most refreshes a second; [`crate::existing::REFRESHED_A_SECOND`] when absent.
    pub records_per_second: Option<u32>,
    /// Return after about this many seconds, done or not.
    pub budget_seconds: u64,
    /// Which executions may be refreshed.
    pub refresh: Refreshables,
}

/// How far refreshing came.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Refreshed {
    /// Where to go on.
    pub cursor: Option<String>,
    /// Whether everything was looked at.
    pub done: bool,
    /// Records read from the source.
    pub scanned: u64,
    /// Executions refreshed.
    pub refreshed: u64,
    /// Executions that the target lacks and that are left to the copy: gone from the main store, or not to be refreshed.
    pub left: u64,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// Order: copy what the target lacks, for a bounded time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CopyRecords {
    /// The migration.
    pub context: Context,
    /// Where to go on; from the start when absent.
    pub cursor: Option<String>,
    /// Where to end; after the last record when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The most records a second; unlimited when absent.
    pub records_per_second: Option<u32>,
    /// What else slows it down.
    #[serde(default, skip_serializing_if = "Throttle::is_default")]
    pub throttle: Throttle,
    /// Return after about this many seconds, done or not.
    pub budget_seconds: u64,
}

/// How far a copy came.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Copied {
    /// Where to go on.
    pub cursor: Option<String>,
    /// Whether everything was looked at.
    pub done: bool,
    /// Records read from the source.
    pub scanned: u64,
    /// Records written to the target.
    pub written: u64,
    /// Records removed from the target again, since the source dropped them meanwhile.
    pub withdrawn: u64,
    /// What was written, in bytes: about as much as the records' own content, without what a store adds to it.
    #[serde(default)]
    pub bytes: u64,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// Where what is left can be cut in two, if anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub middle: Option<String>,
}

impl Copied {
    /// What it means to the slice that it was a part of.
    pub fn step(&self) -> Step {
        Step {
            cursor: self.cursor.clone(),
            done: self.done,
            middle: self.middle.clone(),
            scanned: self.scanned,
            millis: self.millis,
        }
    }
}

/// Order: compare every record, for a bounded time, and repair what differs if asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompareRecords {
    /// The migration.
    pub context: Context,
    /// Where to go on; from the start when absent.
    pub cursor: Option<String>,
    /// Where to end; after the last record when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Whether to repair what differs.
    pub repair: bool,
    /// Which executions may be refreshed to repair their records; the others are copied.
    #[serde(default, skip_serializing_if = "Refreshables::is_empty")]
    pub refresh: Refreshables,
    /// The search attributes as preflight found them; a change is a problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Attributes>,
    /// What slows it down.
    #[serde(default, skip_serializing_if = "Throttle::is_default")]
    pub throttle: Throttle,
    /// Which round this is, from 1: the later, the longer a record may take to reach the slower store. Orders of an earlier
    /// release say nothing, 0.
    #[serde(default)]
    pub round: u32,
    /// Return after about this many seconds, done or not.
    pub budget_seconds: u64,
}

/// How far a comparison came and what it found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Compared {
    /// Where to go on.
    pub cursor: Option<String>,
    /// Whether everything was compared.
    pub done: bool,
    /// Records compared.
    pub compared: u64,
    /// Of these, records that were the same by digests of both stores and not read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub by_digest: u64,
    /// The drift found, after suspects were read again.
    pub drift: Drift,
    /// Records repaired.
    pub repaired: u64,
    /// A few of the records that differ, as `class namespace-id/run-id`.
    pub samples: Vec<String>,
    /// How long it took, in milliseconds.
    #[serde(default)]
    pub millis: u64,
    /// Where what is left can be cut in two, if anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub middle: Option<String>,
}

impl Compared {
    /// What it means to the slice that it was a part of.
    pub fn step(&self) -> Step {
        Step {
            cursor: self.cursor.clone(),
            done: self.done,
            middle: self.middle.clone(),
            scanned: self.compared,
            millis: self.millis,
        }
    }
}
