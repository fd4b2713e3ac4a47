//! What an activity tells while it works.

use serde::{Deserialize, Serialize};

use crate::{drift::Drift, indexes::IndexesBuilt, report::is_zero};

/// What a long activity's heartbeat carries, for live progress on `crossfade watch` and for resuming.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Where to go on.
    pub cursor: Option<String>,
    /// Records looked at in this activity so far.
    pub scanned: u64,
    /// Records written in this activity so far.
    pub written: u64,
    /// Executions refreshed in this activity so far.
    #[serde(default)]
    pub refreshed: u64,
    /// Executions left to the copy in this activity so far.
    #[serde(default)]
    pub left: u64,
    /// Records withdrawn in this activity so far.
    #[serde(default)]
    pub withdrawn: u64,
    /// Bytes written in this activity so far.
    #[serde(default)]
    pub bytes: u64,
    /// Of the records looked at, those that were the same by digests and not read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub by_digest: u64,
    /// Drift found in this activity so far.
    #[serde(default)]
    pub drift: Drift,
    /// Records repaired in this activity so far.
    #[serde(default)]
    pub repaired: u64,
    /// Indexes built again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indexes: Option<IndexesBuilt>,
    /// How fast it may go; absent where nothing is written at a rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// What it is doing, in words.
    #[serde(default)]
    pub doing: String,
}

/// How fast a copy or a comparison may go, and why not faster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limit {
    /// The most records a second of this activity; absent is as fast as the stores go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records_per_second: Option<u32>,
    /// The pressure that slows it down below what the operator allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}
