//! Drift: records that differ between the stores.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

/// How a record differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriftClass {
    /// In the source, not in the target.
    Missing,
    /// The target has an older version.
    Stale,
    /// The same version with other content.
    Different,
    /// In the target, not in the source.
    Extra,
}

impl fmt::Display for DriftClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Stale => "stale",
            Self::Different => "different",
            Self::Extra => "extra",
        })
    }
}

/// How many records differ, by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Drift {
    /// In the source, not in the target.
    pub missing: u64,
    /// The target has an older version.
    pub stale: u64,
    /// The same version with other content.
    pub different: u64,
    /// In the target, not in the source.
    pub extra: u64,
}

impl Drift {
    /// The records that differ in any way.
    pub fn total(&self) -> u64 {
        self.missing + self.stale + self.different + self.extra
    }

    /// Whether nothing differs.
    pub fn is_clean(&self) -> bool {
        self.total() == 0
    }

    /// The classes that have any record.
    pub fn classes(&self) -> BTreeSet<DriftClass> {
        [
            (DriftClass::Missing, self.missing),
            (DriftClass::Stale, self.stale),
            (DriftClass::Different, self.different),
            (DriftClass::Extra, self.extra),
        ]
        .into_iter()
        .filter_map(|(class, count)| (count > 0).then_some(class))
        .collect()
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} missing, {} stale, {} different, {} extra",
            self.missing, self.stale, self.different, self.extra
        )
    }
}
