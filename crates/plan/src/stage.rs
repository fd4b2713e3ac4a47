//! The way: the stages in order, the gates between them, and which step back is open from where.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A step of the migration. The order of the variants is the order of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Reads, changes nothing; ends in a plan.
    Preflight,
    /// The target gets its schema.
    PrepareTarget,
    /// The server writes both stores, proven on every history shard.
    DualWrite,
    /// Records from before dual writes reach the target.
    ExistingRecords,
    /// Every record compared, drift repaired until there is none.
    Verify,
    /// Reads come from the target.
    Cutover,
    /// The target is the primary; the point of no return is its first host.
    Promote,
    /// Final check, and the report.
    Finish,
}

impl Stage {
    /// Every stage in order.
    pub const ALL: [Self; 8] = [
        Self::Preflight,
        Self::PrepareTarget,
        Self::DualWrite,
        Self::ExistingRecords,
        Self::Verify,
        Self::Cutover,
        Self::Promote,
        Self::Finish,
    ];

    /// The stage after this one; `None` after the last.
    pub fn next(self) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| *stage > self)
    }

    /// The gate in front of this stage; preflight has none, since it changes nothing.
    pub fn gate(self) -> Option<Gate> {
        match self {
            Self::Preflight => None,
            Self::PrepareTarget => Some(Gate::PrepareTarget),
            Self::DualWrite => Some(Gate::DualWrite),
            Self::ExistingRecords => Some(Gate::ExistingRecords),
            Self::Verify => Some(Gate::Verify),
            Self::Cutover => Some(Gate::Cutover),
            Self::Promote => Some(Gate::Promote),
            Self::Finish => Some(Gate::Finish),
        }
    }

    /// Whether a rollback is still open when this stage has begun. Promote's first host is the point of no
    /// return: from then on that host writes to the target alone.
    pub fn can_roll_back(self) -> bool {
        self < Self::Promote
    }

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::PrepareTarget => "prepare-target",
            Self::DualWrite => "dual-write",
            Self::ExistingRecords => "existing-records",
            Self::Verify => "verify",
            Self::Cutover => "cutover",
            Self::Promote => "promote",
            Self::Finish => "finish",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A stage boundary that can wait for an approval; named after the stage that it opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// Before the target's schema is touched.
    PrepareTarget,
    /// Before the first file of the cluster is edited.
    DualWrite,
    /// Before records are copied.
    ExistingRecords,
    /// Before the comparison.
    Verify,
    /// Before reads move.
    Cutover,
    /// Before the point of no return.
    Promote,
    /// Before the last check and the report.
    Finish,
}

impl Gate {
    /// Every gate in order.
    pub const ALL: [Self; 7] = [
        Self::PrepareTarget,
        Self::DualWrite,
        Self::ExistingRecords,
        Self::Verify,
        Self::Cutover,
        Self::Promote,
        Self::Finish,
    ];

    /// The stage that this gate opens.
    pub fn opens(self) -> Stage {
        match self {
            Self::PrepareTarget => Stage::PrepareTarget,
            Self::DualWrite => Stage::DualWrite,
            Self::ExistingRecords => Stage::ExistingRecords,
            Self::Verify => Stage::Verify,
            Self::Cutover => Stage::Cutover,
            Self::Promote => Stage::Promote,
            Self::Finish => Stage::Finish,
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.opens().fmt(f)
    }
}

/// A name that is no gate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown gate `{0}`; the gates are prepare-target, dual-write, existing-records, verify, cutover, promote, finish"
)]
pub struct UnknownGate(pub String);

impl FromStr for Gate {
    type Err = UnknownGate;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|gate| gate.opens().name() == name)
            .ok_or_else(|| UnknownGate(name.chars().take(80).collect()))
    }
}
