//! The activities' bodies: a sign of life around the work, and its problems as the failure.

#![allow(
    dead_code,
    reason = "the macro makes a constant for each activity, which only a workflow would name"
)]

use std::sync::Arc;

use crossfade_cluster::Frontend;
use crossfade_plan::{
    dead_letters::DeadLetters,
    guard::{WatchWrites, Watched},
    indexes::{IndexesParked, IndexesRestored, ParkIndexes, RestoreIndexes},
    order::{
        AttributesRegistered, ClusterFacts, CompareRecords, Compared, ConfigureHost, Context, Copied, CopyRecords,
        DynamicConfigSet, FinalCheck, FinallyChecked, Heartbeat, HostConfigured, HostFacts, InspectHost, PrepareTarget,
        ProveReads, ProveWrites, ReadWait, ReadsProven, RefreshRecords, Refreshed, RegisterAttributes,
        SetDynamicConfig, StoreFacts, TargetReady, WaitFacts, WritesProven,
    },
    problem::Problem,
};
use crossfade_workflow::activities as contract;
use jiff::{SignedDuration, Timestamp};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::work::{
    attributes,
    beat::{Beat, beating, earlier},
    clock, comparing, copying, finishing, frontend, guarding, host_files,
    hosts::{self, Turns},
    indexing,
    problems::{self, failure},
    reads, refreshing, stores, target,
    told::{self, Told},
    waiting, writes,
};

/// Bodies of the work that any worker can do.
pub(crate) struct ClusterActivities;

/// Bodies of the work on one or several hosts' files and services.
#[derive(Clone, Default)]
pub(crate) struct HostActivities {
    turns: Arc<Turns>,
    told: Arc<Told>,
}

/// How long an order may take from the server to the work: what a clock may seem to be ahead for that reason alone.
const DELIVERED_WITHIN: SignedDuration = SignedDuration::from_secs(10);

/// One piece of work with signs of life; its problem is the activity's failure.
async fn one<T>(
    ctx: &ActivityContext,
    beat: &Beat,
    work: impl Future<Output = Result<T, Problem>>,
) -> Result<T, ActivityError> {
    beating(ctx, beat, work).await.map_err(|problem| failure(vec![problem]))
}

/// As [`one`] for work that tells several problems at once.
async fn several<T>(
    ctx: &ActivityContext,
    work: impl Future<Output = Result<T, Vec<Problem>>>,
) -> Result<T, ActivityError> {
    beating(ctx, &Beat::default(), work).await.map_err(failure)
}

/// The cluster that runs the workflow, which may be another one than the migrated, and its id.
async fn control_cluster(ctx: &ActivityContext) -> Result<(Frontend, String), Problem> {
    let control = Frontend::over(ctx.client().connection().clone(), "the cluster that runs the workflow");
    let id = control.cluster().await.map_err(|error| problems::call(&error))?.id;
    Ok((control, id))
}

#[activities]
impl ClusterActivities {
    #[activity(definition = contract::TakeLockMarker)]
    async fn take_lock(ctx: ActivityContext, context: Context) -> Result<(), ActivityError> {
        let work = async {
            let (control, id) = control_cluster(&ctx).await?;
            frontend::take_lock(&context, id, Some(&control)).await
        };
        one(&ctx, &Beat::default(), work).await
    }

    #[activity(definition = contract::ReleaseLockMarker)]
    async fn release_lock(ctx: ActivityContext, context: Context) -> Result<(), ActivityError> {
        let work = async { frontend::release_lock(&context, control_cluster(&ctx).await?.1).await };
        one(&ctx, &Beat::default(), work).await
    }

    #[activity(definition = contract::InspectClusterMarker)]
    async fn inspect_cluster(ctx: ActivityContext, context: Context) -> Result<ClusterFacts, ActivityError> {
        one(&ctx, &Beat::default(), frontend::inspect(&context)).await
    }

    #[activity(definition = contract::InspectStoresMarker)]
    async fn inspect_stores(ctx: ActivityContext, order: PrepareTarget) -> Result<StoreFacts, ActivityError> {
        several(&ctx, stores::inspect(&order.context, &order.server_version)).await
    }

    #[activity(definition = contract::PrepareTargetMarker)]
    async fn prepare_target(ctx: ActivityContext, order: PrepareTarget) -> Result<TargetReady, ActivityError> {
        several(&ctx, target::prepare(&order)).await
    }

    #[activity(definition = contract::ProveWritesMarker)]
    async fn prove_writes(ctx: ActivityContext, order: ProveWrites) -> Result<WritesProven, ActivityError> {
        let beat = Beat::default();
        one(&ctx, &beat, writes::prove(&order, &beat)).await
    }

    #[activity(definition = contract::RegisterAttributesMarker)]
    async fn register_attributes(
        ctx: ActivityContext,
        order: RegisterAttributes,
    ) -> Result<AttributesRegistered, ActivityError> {
        let beat = Beat::default();
        one(&ctx, &beat, attributes::register(&order, &beat)).await
    }

    #[activity(definition = contract::RefreshRecordsMarker)]
    async fn refresh_records(ctx: ActivityContext, order: RefreshRecords) -> Result<Refreshed, ActivityError> {
        let beat = Beat::resuming(earlier(&ctx));
        one(&ctx, &beat, refreshing::run(&order, &beat)).await
    }

    #[activity(definition = contract::ParkIndexesMarker)]
    async fn park_indexes(ctx: ActivityContext, order: ParkIndexes) -> Result<IndexesParked, ActivityError> {
        let beat = Beat::default();
        one(&ctx, &beat, indexing::park(&order, &beat)).await
    }

    #[activity(definition = contract::RestoreIndexesMarker)]
    async fn restore_indexes(ctx: ActivityContext, order: RestoreIndexes) -> Result<IndexesRestored, ActivityError> {
        let beat = Beat::resuming(earlier(&ctx));
        one(&ctx, &beat, indexing::restore(&order, &beat)).await
    }

    #[activity(definition = contract::CopyRecordsMarker)]
    async fn copy_records(ctx: ActivityContext, order: CopyRecords) -> Result<Copied, ActivityError> {
        let beat = Beat::resuming(earlier(&ctx));
        one(&ctx, &beat, copying::run(&order, &beat)).await
    }

    #[activity(definition = contract::ReadWaitMarker)]
    async fn read_wait(ctx: ActivityContext, order: ReadWait) -> Result<WaitFacts, ActivityError> {
        let beat = Beat::default();
        one(&ctx, &beat, waiting::read(&order, &beat)).await
    }

    #[activity(definition = contract::CompareRecordsMarker)]
    async fn compare_records(ctx: ActivityContext, order: CompareRecords) -> Result<Compared, ActivityError> {
        let beat = Beat::resuming(earlier(&ctx));
        one(&ctx, &beat, comparing::run(&order, &beat)).await
    }

    #[activity(definition = contract::WatchWritesMarker)]
    async fn watch_writes(ctx: ActivityContext, order: WatchWrites) -> Result<Watched, ActivityError> {
        let beat = Beat::resuming(earlier(&ctx));
        one(&ctx, &beat, guarding::watch(&order, &beat)).await
    }

    #[activity(definition = contract::CountDeadLettersMarker)]
    async fn count_dead_letters(ctx: ActivityContext, context: Context) -> Result<DeadLetters, ActivityError> {
        one(&ctx, &Beat::default(), frontend::count_dead_letters(&context)).await
    }

    #[activity(definition = contract::ProveReadsMarker)]
    async fn prove_reads(ctx: ActivityContext, order: ProveReads) -> Result<ReadsProven, ActivityError> {
        let beat = Beat::default();
        one(&ctx, &beat, reads::prove(&order, &beat)).await
    }

    #[activity(definition = contract::FinalCheckMarker)]
    async fn final_check(ctx: ActivityContext, order: FinalCheck) -> Result<FinallyChecked, ActivityError> {
        let beat = Beat::default();
        one(&ctx, &beat, finishing::check(&order, &beat)).await
    }
}

#[activities]
impl HostActivities {
    #[activity(definition = contract::InspectHostMarker)]
    async fn inspect_host(ctx: ActivityContext, order: InspectHost) -> Result<HostFacts, ActivityError> {
        let now = Timestamp::now();
        let server = ctx.info().started_time.and_then(|time| Timestamp::try_from(time).ok());
        several(&ctx, async {
            let facts = host_files::inspect(&order).await?;
            let off = server.map_or(SignedDuration::ZERO, |server| {
                clock::off_by(now, server, server + DELIVERED_WITHIN)
            });
            let whose = format!("the clock of host `{}`", order.host.name);
            match clock::skewed(off, &whose, "that of the server which runs the migration") {
                Some(problem) => Err(vec![problem.at(format!("host {}", order.host.name))]),
                None => Ok(facts),
            }
        })
        .await
    }

    #[activity(definition = contract::ConfigureHostMarker)]
    async fn configure_host(
        self: Arc<Self>,
        ctx: ActivityContext,
        order: ConfigureHost,
    ) -> Result<HostConfigured, ActivityError> {
        let beat = Beat::resuming(Heartbeat::default());
        let work = hosts::configure(&order, &self.turns, &beat);
        let activity = told::name_of(&ctx);
        let work = self.told.or_do(&activity, &order.host.name, work);
        one(&ctx, &beat, work).await
    }

    #[activity(definition = contract::SetDynamicConfigMarker)]
    async fn set_dynamic_config(
        ctx: ActivityContext,
        order: SetDynamicConfig,
    ) -> Result<DynamicConfigSet, ActivityError> {
        one(&ctx, &Beat::default(), host_files::set_dynamic(&order)).await
    }
}
