//! The time after promote in which the source stays written, so that going back needs no copy.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How far keeping the source written is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Warm {
    /// Whether a host was ordered to have its roles swapped.
    #[serde(default)]
    pub begun: bool,
    /// When every host had its roles swapped, proven; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When the source is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Whether the operator said `finish`.
    #[serde(default)]
    pub finish: bool,
    /// Whether the time is over: the source is left, and there is no way back.
    #[serde(default)]
    pub over: bool,
}

impl Warm {
    /// Whether there is nothing to tell.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}
