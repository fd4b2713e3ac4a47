//! What can be done to a migration and to what it stands on.

use std::fmt;

/// A fault. Each is begun and, some time later, ended: what was killed is started again, what was filled is emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// SIGKILL to the product's worker.
    WorkerKilled,
    /// SIGSTOP to the product's worker.
    WorkerFrozen,
    /// The worker's clock runs ahead.
    ClockAhead,
    /// The worker's clock falls behind.
    ClockBehind,
    /// SIGKILL to Temporal: to the whole server, or to the host that has history and matching.
    ServerKilled,
    /// SIGSTOP to the same.
    ServerFrozen,
    /// SIGKILL to the host that has the frontend, where it is one of its own.
    FrontendKilled,
    /// No connection between the worker and the frontend.
    FrontendCut,
    /// Each packet between the worker and the frontend late.
    FrontendSlow,
    /// No room left where the configuration files are.
    ConfigDiskFull,
    /// No room left where the target is.
    TargetDiskFull,
    /// SIGKILL to the target's server.
    TargetKilled,
    /// SIGSTOP to every process of the target's server.
    TargetFrozen,
    /// No connection to the target.
    TargetCut,
    /// Each packet to and from the target late.
    TargetSlow,
    /// SIGKILL to the source's server, which at first has the cluster's main store too.
    SourceKilled,
    /// No connection between the worker and the source.
    SourceCut,
}

impl Fault {
    /// What can happen to a cluster of one process on SQLite files.
    pub const ON_SQLITE: [Self; 10] = [
        Self::WorkerKilled,
        Self::WorkerFrozen,
        Self::ClockAhead,
        Self::ClockBehind,
        Self::ServerKilled,
        Self::ServerFrozen,
        Self::FrontendCut,
        Self::FrontendSlow,
        Self::ConfigDiskFull,
        Self::TargetDiskFull,
    ];

    /// What can happen to a cluster of two hosts with a PostgreSQL server for each store.
    pub const ON_POSTGRES: [Self; 16] = [
        Self::WorkerKilled,
        Self::TargetKilled,
        Self::ServerKilled,
        Self::TargetCut,
        Self::ClockAhead,
        Self::SourceKilled,
        Self::WorkerFrozen,
        Self::TargetSlow,
        Self::FrontendKilled,
        Self::TargetFrozen,
        Self::ConfigDiskFull,
        Self::SourceCut,
        Self::ServerFrozen,
        Self::TargetDiskFull,
        Self::ClockBehind,
        Self::FrontendCut,
    ];

    /// Whether both happen to one thing, so that the end of one would be the end of the other.
    pub(super) fn collides_with(self, other: Self) -> bool {
        let thing = |fault| match fault {
            Self::WorkerKilled | Self::WorkerFrozen => 0,
            Self::ClockAhead | Self::ClockBehind => 1,
            Self::ServerKilled | Self::ServerFrozen => 2,
            Self::FrontendKilled => 3,
            Self::FrontendCut | Self::FrontendSlow => 4,
            Self::ConfigDiskFull => 5,
            Self::TargetDiskFull | Self::TargetKilled | Self::TargetFrozen => 6,
            Self::TargetCut | Self::TargetSlow => 7,
            Self::SourceKilled => 8,
            Self::SourceCut => 9,
        };
        thing(self) == thing(other)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WorkerKilled => "worker killed",
            Self::WorkerFrozen => "worker frozen",
            Self::ClockAhead => "clock ahead",
            Self::ClockBehind => "clock behind",
            Self::ServerKilled => "server killed",
            Self::ServerFrozen => "server frozen",
            Self::FrontendKilled => "frontend killed",
            Self::FrontendCut => "frontend cut off",
            Self::FrontendSlow => "frontend slow",
            Self::ConfigDiskFull => "config disk full",
            Self::TargetDiskFull => "target disk full",
            Self::TargetKilled => "target killed",
            Self::TargetFrozen => "target frozen",
            Self::TargetCut => "target cut off",
            Self::TargetSlow => "target slow",
            Self::SourceKilled => "source killed",
            Self::SourceCut => "source cut off",
        })
    }
}
