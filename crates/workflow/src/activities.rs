//! The activities' contracts: name, input and output of each. The bodies are in the worker.

// The markers live in private modules that the macro makes; these are their ways out.
#![allow(
    clippy::unimplemented,
    reason = "a definition's body is exactly this; it is never called"
)]
#![allow(
    missing_docs,
    reason = "the macro's marker structs carry no documentation of their own"
)]

use crossfade_plan::{
    dead_letters::DeadLetters,
    guard::{WatchWrites, Watched},
    indexes::{IndexesParked, IndexesRestored, ParkIndexes, RestoreIndexes},
    order::{
        AttributesRegistered, ClusterFacts, CompareRecords, Compared, ConfigureHost, Context, Copied, CopyRecords,
        DynamicConfigSet, FinalCheck, FinallyChecked, HostConfigured, HostFacts, InspectHost, PrepareTarget,
        ProveReads, ProveWrites, ReadWait, ReadsProven, RefreshRecords, Refreshed, RegisterAttributes,
        SetDynamicConfig, StoreFacts, TargetReady, WaitFacts, WritesProven,
    },
    problem::Problem,
};
use temporalio_macros::activity_definitions;

use crate::names::activity as name;

/// Work that talks to the cluster's frontend and to the stores; any worker on the task queue can do it.
#[derive(Debug)]
pub struct ClusterWork;

/// Work bound to one host: its files and its services.
#[derive(Debug)]
pub struct HostWork;

#[activity_definitions]
impl ClusterWork {
    /// Takes the cluster's migration lock; taking it again for the same migration is nothing new.
    #[activity(name = name::TAKE_LOCK)]
    pub fn take_lock(context: Context) -> Result<(), Problem> {
        unimplemented!()
    }

    /// Gives the lock back; giving it back again is nothing new.
    #[activity(name = name::RELEASE_LOCK)]
    pub fn release_lock(context: Context) -> Result<(), Problem> {
        unimplemented!()
    }

    /// Asks the cluster about itself.
    #[activity(name = name::INSPECT_CLUSTER)]
    pub fn inspect_cluster(context: Context) -> Result<ClusterFacts, Problem> {
        unimplemented!()
    }

    /// Looks at both stores; writes nothing that stays.
    #[activity(name = name::INSPECT_STORES)]
    pub fn inspect_stores(order: PrepareTarget) -> Result<StoreFacts, Problem> {
        unimplemented!()
    }

    /// Sets the target's schema up where that is asked for, and checks it.
    #[activity(name = name::PREPARE_TARGET)]
    pub fn prepare_target(order: PrepareTarget) -> Result<TargetReady, Problem> {
        unimplemented!()
    }

    /// Proves by canaries on every history shard where the server writes.
    #[activity(name = name::PROVE_WRITES)]
    pub fn prove_writes(order: ProveWrites) -> Result<WritesProven, Problem> {
        unimplemented!()
    }

    /// Has the server know the source's custom search attributes for the target, too, and reads them back.
    #[activity(name = name::REGISTER_ATTRIBUTES)]
    pub fn register_attributes(order: RegisterAttributes) -> Result<AttributesRegistered, Problem> {
        unimplemented!()
    }

    /// Has the server write anew what the target lacks, for a bounded time; when cancelled, answers how far it came.
    #[activity(name = name::REFRESH_RECORDS)]
    pub fn refresh_records(order: RefreshRecords) -> Result<Refreshed, Problem> {
        unimplemented!()
    }

    /// Sets the target's indexes aside, where that still pays; a second time finds it done.
    #[activity(name = name::PARK_INDEXES)]
    pub fn park_indexes(order: ParkIndexes) -> Result<IndexesParked, Problem> {
        unimplemented!()
    }

    /// Builds again what is set aside; when cancelled, answers how far it came.
    #[activity(name = name::RESTORE_INDEXES)]
    pub fn restore_indexes(order: RestoreIndexes) -> Result<IndexesRestored, Problem> {
        unimplemented!()
    }

    /// Copies what the target lacks, for a bounded time; when cancelled, answers how far it came.
    #[activity(name = name::COPY_RECORDS)]
    pub fn copy_records(order: CopyRecords) -> Result<Copied, Problem> {
        unimplemented!()
    }

    /// Says what the Retention wait still waits for.
    #[activity(name = name::READ_WAIT)]
    pub fn read_wait(order: ReadWait) -> Result<WaitFacts, Problem> {
        unimplemented!()
    }

    /// Compares, and repairs if asked, for a bounded time; when cancelled, answers how far it came.
    #[activity(name = name::COMPARE_RECORDS)]
    pub fn compare_records(order: CompareRecords) -> Result<Compared, Problem> {
        unimplemented!()
    }

    /// Watches whether the server's writes reach the target until there is something to tell.
    #[activity(name = name::WATCH_WRITES)]
    pub fn watch_writes(order: WatchWrites) -> Result<Watched, Problem> {
        unimplemented!()
    }

    /// Counts the visibility tasks that the server gave up on.
    #[activity(name = name::COUNT_DEAD_LETTERS)]
    pub fn count_dead_letters(context: Context) -> Result<DeadLetters, Problem> {
        unimplemented!()
    }

    /// Proves through the frontend which store answers.
    #[activity(name = name::PROVE_READS)]
    pub fn prove_reads(order: ProveReads) -> Result<ReadsProven, Problem> {
        unimplemented!()
    }

    /// After promote: checks that the target has everything that the source had.
    #[activity(name = name::FINAL_CHECK)]
    pub fn final_check(order: FinalCheck) -> Result<FinallyChecked, Problem> {
        unimplemented!()
    }
}

#[activity_definitions]
impl HostWork {
    /// Looks at a host's files; changes nothing.
    #[activity(name = name::INSPECT_HOST)]
    pub fn inspect_host(order: InspectHost) -> Result<HostFacts, Problem> {
        unimplemented!()
    }

    /// Brings a host's static config to a state, its services restarted and proven healthy.
    #[activity(name = name::CONFIGURE_HOST)]
    pub fn configure_host(order: ConfigureHost) -> Result<HostConfigured, Problem> {
        unimplemented!()
    }

    /// Brings a host's dynamic config file to a state.
    #[activity(name = name::SET_DYNAMIC_CONFIG)]
    pub fn set_dynamic_config(order: SetDynamicConfig) -> Result<DynamicConfigSet, Problem> {
        unimplemented!()
    }
}

pub use cluster_work::{
    CompareRecords as CompareRecordsMarker, CopyRecords as CopyRecordsMarker,
    CountDeadLetters as CountDeadLettersMarker, FinalCheck as FinalCheckMarker, InspectCluster as InspectClusterMarker,
    InspectStores as InspectStoresMarker, ParkIndexes as ParkIndexesMarker, PrepareTarget as PrepareTargetMarker,
    ProveReads as ProveReadsMarker, ProveWrites as ProveWritesMarker, ReadWait as ReadWaitMarker,
    RefreshRecords as RefreshRecordsMarker, RegisterAttributes as RegisterAttributesMarker,
    ReleaseLock as ReleaseLockMarker, RestoreIndexes as RestoreIndexesMarker, TakeLock as TakeLockMarker,
    WatchWrites as WatchWritesMarker,
};
pub use host_work::{
    ConfigureHost as ConfigureHostMarker, InspectHost as InspectHostMarker, SetDynamicConfig as SetDynamicConfigMarker,
};
