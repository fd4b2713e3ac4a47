//! The facts that the server reads: which stores it has, where it writes, where it reads.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What a host's static config says about Visibility.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostConfig {
    /// As it was before the migration, byte for byte.
    Original,
    /// The source is primary, the target secondary.
    Dual,
    /// The target is primary, the source secondary: going back needs no copy.
    Warm,
    /// The target is primary, alone.
    Promoted,
}

/// `system.secondaryVisibilityWritingMode` (server 1.21 and later, common/dynamicconfig/constants.go).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WritingMode {
    /// The primary alone is written.
    Off,
    /// Both stores are written.
    Dual,
}

impl WritingMode {
    /// The value in the dynamic config file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Dual => "dual",
        }
    }
}

/// `system.enableReadFromSecondaryVisibility`, a setting per Namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reads {
    /// Every Namespace reads the source.
    Source,
    /// These Namespaces read the target, the others the source.
    Some(BTreeSet<String>),
    /// Every Namespace reads the target.
    Target,
}

/// What the dynamic config file says about Visibility.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DynamicConfig {
    /// Both keys as given.
    Set {
        /// Where the server writes.
        writing_mode: WritingMode,
        /// Where the server reads.
        reads: Reads,
    },
    /// Neither key is there.
    Removed,
    /// As it was before the migration, byte for byte.
    Original,
}
