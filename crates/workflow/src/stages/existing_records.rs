//! Existing-records: what was written before dual writes began reaches the target, by copy or by time.

use std::time::Duration;

use crossfade_plan::{
    existing::refreshables,
    order::{NamespaceWait, ReadWait, RefreshRecords},
    period::Period,
    progress::Condition,
};
use jiff::{SignedDuration, Timestamp};

use super::{indexes, slices};
use crate::{
    activities::ClusterWork,
    control::{self, Ctx, Halt, Rested, change, context, firm, read, rest, yielding},
    options,
};

/// The shortest time between two looks at what is waited for.
const SHORTEST_LOOK: Duration = Duration::from_secs(5);

pub(crate) async fn existing_records(ctx: &Ctx) -> Result<(), Halt> {
    let how = read(ctx, |progress| progress.spec.existing_records);
    if how.backfills() {
        refresh(ctx).await?;
        indexes::set_aside(ctx).await?;
        slices::copy(ctx).await?;
        indexes::build_again(ctx).await?;
    }
    if how.waits() {
        retention_wait(ctx).await?;
    }
    Ok(())
}

/// Has the server write anew what the target lacks, where the plan says so: before the copy, which then carries only
/// what has no state left. The other way round every record would be written twice.
async fn refresh(ctx: &Ctx) -> Result<(), Halt> {
    let refresh = read(ctx, |progress| {
        progress
            .plan
            .as_ref()
            .map(|plan| refreshables(&plan.namespaces))
            .unwrap_or_default()
    });
    if refresh.is_empty() {
        return Ok(());
    }
    change(ctx, |progress| {
        if progress.refresh.expected == 0 {
            progress.refresh.expected = progress.plan.as_ref().map_or(0, |plan| plan.records);
        }
    });
    while !read(ctx, |progress| progress.refresh.refreshed.done) {
        control::doing(ctx, "refreshing what the target lacks from the cluster's own state");
        let order = read(ctx, |progress| RefreshRecords {
            context: context(ctx),
            cursor: progress.refresh.refreshed.cursor.clone(),
            records_per_second: progress.records_per_second,
            budget_seconds: options::SLICE.as_secs(),
            refresh: refresh.clone(),
        });
        let options = options::slice("refresh what the target lacks");
        let step = yielding(ctx, ClusterWork::refresh_records, order, options).await?;
        if let Some(step) = step {
            change(ctx, |progress| progress.refresh.add(&step));
        }
    }
    let at = control::now(ctx);
    change(ctx, |progress| {
        let all = &progress.refresh.refreshed;
        let entry = format!(
            "{} executions refreshed of {} looked at, {} left to the copy",
            all.refreshed, all.scanned, all.left
        );
        progress.note(at, "migration", true, entry);
    });
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
        let length = next_look(now, until.unwrap_or(dual_since));
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

/// Until what is waited for is `due`, but looking again now and then. What is overdue (deletions lag behind, and nobody
/// knows when an open execution closes) is looked for after a tenth of the time that it has been due: soon at first, and
/// hardly ever when it takes weeks, since each look reads the source.
fn next_look(now: Timestamp, due: Timestamp) -> Duration {
    let length = Duration::try_from(due.duration_since(now))
        .or_else(|_| Duration::try_from(now.duration_since(due)).map(|overdue| overdue / 10));
    length.unwrap_or_default().clamp(SHORTEST_LOOK, options::WAIT_LOOK)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str, retention_seconds: u64, closed: u64, open: u64) -> NamespaceWait {
        NamespaceWait {
            namespace: name.to_owned(),
            retention_seconds,
            closed,
            open,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a time")
    }

    #[test]
    fn the_wait_ends_with_the_longest_retention_of_those_that_have_closed_records() {
        let dual_since = at(1_000);
        for (namespaces, until) in [
            (vec![], None),
            (vec![namespace("a", 60, 0, 5)], None),
            (vec![namespace("a", 60, 1, 5)], Some(1_060)),
            (vec![namespace("a", 60, 1, 0), namespace("b", 300, 1, 0)], Some(1_300)),
            // Only open executions: its Retention Period does not matter.
            (vec![namespace("a", 60, 1, 0), namespace("b", 300, 0, 9)], Some(1_060)),
            // No clock holds it: looked at again and again instead.
            (vec![namespace("a", u64::MAX, 1, 0)], None),
        ] {
            assert_eq!(deadline(dual_since, &namespaces), until.map(at), "{namespaces:?}");
        }
    }

    #[test]
    fn it_looks_again_at_the_end_and_every_hour_before() {
        let now = at(1_000_000);
        for (due, seconds) in [
            (1_000_000, 5),
            (1_000_002, 5),
            (1_000_090, 90),
            (1_003_600, 3_600),
            (99_000_000, 3_600),
            // Overdue: less and less often.
            (999_999, 5),
            (999_950, 5),
            (999_000, 100),
            (964_000, 3_600),
            (0, 3_600),
        ] {
            assert_eq!(next_look(now, at(due)), Duration::from_secs(seconds), "{due}");
        }
    }

    #[test]
    fn people_are_told_what_is_waited_for() {
        let namespaces = [
            namespace("default", 3 * 24 * 3600, 12, 1),
            namespace("orders", 90, 0, 7),
        ];
        assert_eq!(
            waited_for(&namespaces),
            "default: 12 closed records (Retention Period 3days), 1 open executions; orders: 0 closed records \
             (Retention Period 1m 30s), 7 open executions"
        );
    }
}
