//! Where a migration is, as its status says: the places at which faults strike.

use std::fmt;

use serde_json::Value;

use crate::migration::{is, stage};

/// A place on the way, in the order in which it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// In preflight.
    Preflight,
    /// At the gate of prepare-target.
    GatePrepareTarget,
    /// In prepare-target.
    PrepareTarget,
    /// At the gate of dual-write.
    GateDualWrite,
    /// Both keys are written as off, no host was touched.
    KeysOff,
    /// Hosts get the target as secondary.
    HostsDual,
    /// Every host has it; the mode becomes dual and is proven.
    ModeDual,
    /// At the gate of existing-records.
    GateExistingRecords,
    /// Records are copied.
    Copying,
    /// At the gate of verify.
    GateVerify,
    /// Records are compared.
    Verifying,
    /// At the gate of cutover.
    GateCutover,
    /// Reads move to the target.
    ReadsMove,
    /// Reads come from the target and are watched.
    Soaking,
    /// At the gate of promote.
    GatePromote,
    /// The last comparison before promote.
    LastLook,
    /// Hosts get the target as primary: the point of no return.
    HostsPromoted,
    /// Every host has it; the keys go and the target is proven.
    KeysRemoved,
    /// At the gate of finish.
    GateFinish,
    /// The last check.
    Finishing,
    /// On the way back: reads return to the source.
    BackReads,
    /// On the way back: writing to the target ends.
    BackOff,
    /// On the way back: hosts get their former config.
    BackHosts,
    /// On the way back: the keys are gone, the source is proven to be written.
    BackProof,
}

impl Point {
    /// Points before the point of no return.
    pub const EARLY: [Self; 16] = [
        Self::Preflight,
        Self::GatePrepareTarget,
        Self::PrepareTarget,
        Self::GateDualWrite,
        Self::KeysOff,
        Self::HostsDual,
        Self::ModeDual,
        Self::GateExistingRecords,
        Self::Copying,
        Self::GateVerify,
        Self::Verifying,
        Self::GateCutover,
        Self::ReadsMove,
        Self::Soaking,
        Self::GatePromote,
        Self::LastLook,
    ];

    /// Points behind it.
    pub const LATE: [Self; 4] = [
        Self::HostsPromoted,
        Self::KeysRemoved,
        Self::GateFinish,
        Self::Finishing,
    ];

    /// Points of the way back from a place where reads had moved.
    pub const BACK: [Self; 4] = [Self::BackReads, Self::BackOff, Self::BackHosts, Self::BackProof];

    /// Where a migration of this status is; `None` between two points, when it needs its operator, and when it is over.
    #[must_use]
    pub fn of(status: &Value) -> Option<Self> {
        if is(status, "awaiting-approval") {
            return match status["condition"]["gate"].as_str()? {
                "prepare-target" => Some(Self::GatePrepareTarget),
                "dual-write" => Some(Self::GateDualWrite),
                "existing-records" => Some(Self::GateExistingRecords),
                "verify" => Some(Self::GateVerify),
                "cutover" => Some(Self::GateCutover),
                "promote" => Some(Self::GatePromote),
                "finish" => Some(Self::GateFinish),
                _ => None,
            };
        }
        if is(status, "rolling-back") {
            return Self::on_the_way_back(status["condition"]["doing"].as_str()?);
        }
        if !is(status, "running") && !is(status, "waiting") {
            return None;
        }
        match stage(status) {
            "preflight" => Some(Self::Preflight),
            "prepare-target" => Some(Self::PrepareTarget),
            "dual-write" if !status["dual_since"].is_null() => None,
            "dual-write" if every_host(status, "ordered", "original") => Some(Self::KeysOff),
            "dual-write" if every_host(status, "config", "dual") => Some(Self::ModeDual),
            "dual-write" => Some(Self::HostsDual),
            "existing-records" if status["copy"]["expected"] != 0 => Some(Self::Copying),
            "verify" => Some(Self::Verifying),
            "cutover" if status["cutover"] == "not-begun" => Some(Self::ReadsMove),
            "cutover" if is(status, "waiting") => Some(Self::Soaking),
            "promote" if every_host(status, "ordered", "dual") => Some(Self::LastLook),
            "promote" if every_host(status, "config", "promoted") => Some(Self::KeysRemoved),
            "promote" => Some(Self::HostsPromoted),
            "finish" => Some(Self::Finishing),
            _ => None,
        }
    }

    fn on_the_way_back(doing: &str) -> Option<Self> {
        if doing.contains("reads from the source") {
            Some(Self::BackReads)
        } else if doing.contains("writing mode off") {
            Some(Self::BackOff)
        } else if doing.contains("restarting with") {
            Some(Self::BackHosts)
        } else if doing.contains("canaries") {
            Some(Self::BackProof)
        } else {
            None
        }
    }

    /// Whether it lies on the way back.
    #[must_use]
    pub fn is_back(self) -> bool {
        self >= Self::BackReads
    }
}

fn every_host(status: &Value, field: &str, state: &str) -> bool {
    let hosts = status["hosts"].as_array().map_or(&[][..], Vec::as_slice);
    hosts.iter().all(|host| host[field] == state)
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preflight => "preflight",
            Self::GatePrepareTarget => "gate prepare-target",
            Self::PrepareTarget => "prepare-target",
            Self::GateDualWrite => "gate dual-write",
            Self::KeysOff => "dual-write/keys",
            Self::HostsDual => "dual-write/hosts",
            Self::ModeDual => "dual-write/mode",
            Self::GateExistingRecords => "gate existing-records",
            Self::Copying => "existing-records/copy",
            Self::GateVerify => "gate verify",
            Self::Verifying => "verify",
            Self::GateCutover => "gate cutover",
            Self::ReadsMove => "cutover/reads",
            Self::Soaking => "cutover/soak",
            Self::GatePromote => "gate promote",
            Self::LastLook => "promote/compare",
            Self::HostsPromoted => "promote/hosts",
            Self::KeysRemoved => "promote/keys",
            Self::GateFinish => "gate finish",
            Self::Finishing => "finish",
            Self::BackReads => "rollback/reads",
            Self::BackOff => "rollback/mode",
            Self::BackHosts => "rollback/hosts",
            Self::BackProof => "rollback/proof",
        })
    }
}
