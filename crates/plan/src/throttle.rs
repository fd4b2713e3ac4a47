//! How a migration keeps out of the cluster's way, beside the rate of its copy.

use serde::{Deserialize, Serialize};

use crate::spec;

/// What the operator wants of it now; `set-rate` changes it at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Throttle {
    /// The most records a second that are read from the source; unlimited when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_records_per_second: Option<u32>,
    /// Whether the pressure on the stores and the cluster is left out of account.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub off: bool,
}

impl Throttle {
    /// As a spec asks for it.
    pub fn of(spec: &spec::Throttle) -> Self {
        Self {
            source_records_per_second: spec.source_records_per_second,
            off: !spec.automatic,
        }
    }

    /// Whether it says nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
