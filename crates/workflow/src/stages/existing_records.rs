//! Existing-records: what was written before dual writes began reaches the target, by copy or by time.

use std::time::Duration;

use crossfade_plan::{
    order::{CopyRecords, NamespaceWait, ReadWait},
    period::Period,
    progress::Condition,
    spec::ExistingRecords,
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    activities::ClusterWork,
    control::{self, Ctx, Halt, Rested, change, context, firm, read, rest, yielding},
    options,
};

/// The shortest time between two looks at what is waited for.
const SHORTEST_LOOK: Duration = Duration::from_secs(5);

pub(crate) async fn existing_records(ctx: &Ctx) -> Result<(), Halt> {
    let how = read(ctx, |progress| progress.spec.existing_records);
    if how != ExistingRecords::Wait {
        backfill(ctx).await?;
    }
    if how != ExistingRecords::Backfill {
        retention_wait(ctx).await?;
    }
    Ok(())
}

async fn backfill(ctx: &Ctx) -> Result<(), Halt> {
    change(ctx, |progress| {
        if progress.copy.expected == 0 {
            progress.copy.expected = progress.plan.as_ref().map_or(0, |plan| plan.records);
        }
    });
    while !read(ctx, |progress| progress.copy.copied.done) {
        control::doing(ctx, "copying what the target lacks");
        let order = read(ctx, |progress| CopyRecords {
            context: context(ctx),
            cursor: progress.copy.copied.cursor.clone(),
            records_per_second: progress.records_per_second,
            budget_seconds: options::SLICE.as_secs(),
        });
        let step = yielding(
            ctx,
            ClusterWork::copy_records,
            order,
            options::slice("copy what the target lacks"),
        )
        .await?;
        if let Some(step) = step {
            change(ctx, |progress| progress.copy.add(&step));
        }
    }
    Ok(())
}

/// Waits until nothing from before dual writes is left in the source alone: closed records go with their
/// Namespace's Retention Period, open executions are written to both stores when they close. What is waited
/// for is read again at each wake-up, since a Namespace may be added or its retention changed.
async fn retention_wait(ctx: &Ctx) -> Result<(), Halt> {
    let Some(dual_since) = read(ctx, |progress| progress.dual_since) else {
        return Ok(());
    };
    while !read(ctx, |progress| progress.wait_over || progress.skip_wait) {
        let order = ReadWait {
            context: context(ctx),
            dual_since,
        };
        let facts = firm(
            ctx,
            ClusterWork::read_wait,
            order,
            options::scan("what the Retention wait waits for"),
        )
        .await?;
        let until = deadline(dual_since, &facts.namespaces);
        let over = facts.namespaces.is_empty();
        change(ctx, |progress| {
            progress.wait = facts.namespaces;
            progress.wait_over = over;
        });
        if over {
            break;
        }
        let now = control::now(ctx);
        let length = next_look(now, until);
        let next_wake_up = SignedDuration::try_from(length)
            .ok()
            .and_then(|length| now.checked_add(length).ok());
        change(ctx, |progress| {
            let reason = waited_for(&progress.wait);
            progress.condition = Condition::Waiting {
                reason,
                until,
                next_wake_up,
            };
        });
        if rest(ctx, length, "the Retention wait", |progress| progress.skip_wait).await? == Rested::Woken {
            break;
        }
    }
    change(ctx, |progress| progress.wait_over = true);
    Ok(())
}

/// When the last closed record from before dual writes is due to go: `dual_since` and the longest Retention
/// Period of the Namespaces that still have one. `None` while only open executions are waited for.
fn deadline(dual_since: Timestamp, namespaces: &[NamespaceWait]) -> Option<Timestamp> {
    let longest = namespaces
        .iter()
        .filter(|wait| wait.closed > 0)
        .map(|wait| wait.retention_seconds)
        .max()?;
    dual_since
        .checked_add(SignedDuration::from_secs(i64::try_from(longest).ok()?))
        .ok()
}

/// Until the deadline, but looking again now and then.
fn next_look(now: Timestamp, until: Option<Timestamp>) -> Duration {
    until
        .and_then(|until| Duration::try_from(until.duration_since(now)).ok())
        .unwrap_or_default()
        .clamp(SHORTEST_LOOK, options::WAIT_LOOK)
}

fn waited_for(namespaces: &[NamespaceWait]) -> String {
    namespaces
        .iter()
        .map(|wait| {
            format!(
                "{}: {} closed records (Retention Period {}), {} open executions",
                wait.namespace,
                wait.closed,
                Period::from_secs(wait.retention_seconds),
                wait.open
            )
        })
        .collect::<Vec<_>>()
        .join("; ")
}
