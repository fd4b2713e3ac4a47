//! Work on all records in slices: several at once, each an activity that any worker may take.
//!
//! A slice comes back when it is done or when its time is over; what is left of it waits to go on, and is cut in two where
//! workers would have nothing to do otherwise. What the operator says, a problem in any slice and a history that has grown
//! long stop all that are under way: each tells how far it came, and nothing is under way at a safe place.

use std::{pin::Pin, task::Poll};

use crossfade_plan::{
    existing::refreshables,
    order::{CompareRecords, Compared, Copied, CopyRecords},
    problem::Problem,
    progress::Progress,
    slices::{Rates, Slice, Slices},
    throttle::Throttle,
};
use futures_util::{FutureExt, future::poll_fn};
use temporalio_common::{ActivityDefinition, data_converters::TemporalDeserializable};
use temporalio_workflow::{WorkflowCancellationToken, select};

use super::{dual_write, verify};
use crate::{
    activities::ClusterWork,
    control::{self, Ctx, Halt, change, context, read},
    failure, options,
};

/// Copies what the target lacks.
pub(super) async fn copy(ctx: &Ctx) -> Result<(), Halt> {
    change(ctx, |progress| {
        let copy = &mut progress.copy;
        if copy.expected == 0 {
            copy.expected = progress.plan.as_ref().map_or(0, |plan| plan.records);
        }
        if !copy.copied.done {
            copy.slices.begin(&progress.cuts, copy.copied.cursor.take());
        }
    });
    while !read(ctx, |progress| progress.copy.copied.done) {
        control::checkpoint(ctx).await?;
        control::doing(ctx, "copying what the target lacks");
        let pass = Pass {
            activity: || ClusterWork::copy_records,
            summary: "copy what the target lacks",
            slices: |progress| &mut progress.copy.slices,
            order: |slice: &Slice, budget_seconds| CopyRecords {
                context: context(ctx),
                cursor: slice.cursor.clone(),
                until: slice.until.clone(),
                records_per_second: slice.records_per_second,
                throttle: throttle(ctx, slice),
                budget_seconds,
            },
            add: |progress: &mut Progress, number, step: Option<&Copied>| progress.copy.add(number, step),
        };
        pass.stretch(ctx).await?;
    }
    Ok(())
}

/// Compares every record once, and repairs what differs.
pub(super) async fn compare(ctx: &Ctx) -> Result<(), Halt> {
    let attributes = dual_write::attributes(ctx);
    // What the operator wanted to wait for is not refreshed either.
    let (refresh, round) = read(ctx, |progress| {
        let plan = progress.plan.as_ref();
        let refresh = plan.map(|plan| refreshables(&plan.namespaces)).unwrap_or_default();
        (refresh, progress.verify.round)
    });
    while !read(ctx, |progress| progress.verify.slices.is_over()) {
        control::checkpoint(ctx).await?;
        control::doing(ctx, format!("comparing every record, round {round}"));
        let pass = Pass {
            activity: || ClusterWork::compare_records,
            summary: &format!("compare every record, round {round}"),
            slices: |progress| &mut progress.verify.slices,
            order: |slice: &Slice, budget_seconds| CompareRecords {
                context: context(ctx),
                cursor: slice.cursor.clone(),
                until: slice.until.clone(),
                repair: true,
                refresh: refresh.clone(),
                attributes: attributes.clone(),
                throttle: throttle(ctx, slice),
                round,
                budget_seconds,
            },
            add: |progress: &mut Progress, number, step: Option<&Compared>| {
                verify::add(&mut progress.verify, number, step);
            },
        };
        pass.stretch(ctx).await?;
    }
    Ok(())
}

/// What the operator wants, with the slice's share of what may be read.
fn throttle(ctx: &Ctx, slice: &Slice) -> Throttle {
    Throttle {
        source_records_per_second: slice.source_records_per_second,
        ..read(ctx, |progress| progress.throttle)
    }
}

/// One pass over all records: what is done in each slice, and where that is noted.
struct Pass<'a, A, Order, Add> {
    activity: fn() -> A,
    /// What an activity does, in words.
    summary: &'a str,
    slices: fn(&mut Progress) -> &mut Slices,
    /// The order for a slice, with its time in seconds.
    order: Order,
    /// Notes what became of the slice of that number; nothing where its activity was stopped and could not tell.
    add: Add,
}

/// An activity under way in the slice of that number.
type Work<'a, T> = (u32, Pin<Box<dyn Future<Output = Result<Option<T>, Vec<Problem>>> + 'a>>);

impl<A, Order, Add> Pass<'_, A, Order, Add>
where
    A: ActivityDefinition + 'static,
    A::Output: TemporalDeserializable,
    Order: Fn(&Slice, u64) -> A::Input,
    Add: Fn(&mut Progress, u32, Option<&A::Output>),
{
    /// Hands slices out until all are done, or until something stops them all; then none is under way.
    async fn stretch(&self, ctx: &Ctx) -> Result<(), Halt> {
        let pace = |progress: &Progress| (progress.records_per_second, progress.throttle);
        let begun_with = read(ctx, pace);
        let stop = WorkflowCancellationToken::new();
        let mut wish = Box::pin(control::until_or_cancelled(ctx, move |progress| {
            progress.back.is_some()
                || progress.paused.is_some()
                || progress.guard.interrupts()
                || pace(progress) != begun_with
        }))
        .fuse();
        let mut problems = Vec::new();
        let mut under_way: Vec<Work<'_, A::Output>> = Vec::new();
        loop {
            if !stop.is_cancelled() {
                under_way.extend(self.hand_out(ctx, &stop));
            }
            if under_way.is_empty() {
                break;
            }
            let (number, ended) = if stop.is_cancelled() {
                first(&mut under_way).await
            } else {
                let mut ended = Box::pin(first(&mut under_way)).fuse();
                select! {
                    ended = ended => ended,
                    () = wish => {
                        stop.cancel_with_reason("the operator wants something else");
                        continue;
                    }
                }
            };
            let step = ended.unwrap_or_else(|more| {
                problems.extend(more);
                None
            });
            change(ctx, |progress| (self.add)(progress, number, step.as_ref()));
            if !stop.is_cancelled() && (!problems.is_empty() || control::is_long(ctx)) {
                stop.cancel_with_reason("all slices are stopped");
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Halt::Problems(problems))
        }
    }

    /// Begins work in as many slices as may be under way.
    fn hand_out<'a>(&self, ctx: &'a Ctx, stop: &WorkflowCancellationToken) -> Vec<Work<'a, A::Output>> {
        let (slices, short) = change(ctx, |progress| {
            let (at_once, rate) = (progress.spec.slices.at_once, progress.records_per_second);
            let rates = Rates {
                target: rate,
                source: progress.throttle.source_records_per_second,
            };
            let cuts = std::mem::take(&mut progress.cuts);
            let slices = (self.slices)(progress);
            let handed_out = slices.hand_out(&cuts, at_once, rates);
            let short = slices.is_short(at_once, rate);
            progress.cuts = cuts;
            (handed_out, short)
        });
        let begin = |slice: Slice| {
            // One that could not be cut in two before never can.
            let budget = if short && (slice.scanned == 0 || slice.middle.is_some()) {
                options::SHORT_SLICE
            } else {
                options::SLICE
            };
            let mut options = options::slice(self.summary);
            options.cancellation_token = Some(stop.clone());
            let stopped = stop.clone();
            let work = ctx.execute_activity((self.activity)(), (self.order)(&slice, budget.as_secs()), options);
            let work = work.map(move |ended| match ended {
                Ok(done) => Ok(Some(done)),
                // A stopped activity is not tried again; what it did is done and is found done by the next one.
                Err(error) if stopped.is_cancelled() && failure::was_stopped(&error) => Ok(None),
                Err(error) => Err(failure::problems_of(&error, None)),
            });
            (slice.number, work.boxed_local())
        };
        slices.into_iter().map(begin).collect()
    }
}

/// The first that ends, in the order in which they were begun.
async fn first<T>(under_way: &mut Vec<Work<'_, T>>) -> (u32, Result<Option<T>, Vec<Problem>>) {
    poll_fn(|task| {
        let mut works = under_way.iter_mut().enumerate();
        let ended = works.find_map(|(place, (number, work))| match work.as_mut().poll(task) {
            Poll::Ready(ended) => Some((place, *number, ended)),
            Poll::Pending => None,
        });
        match ended {
            Some((place, number, ended)) => {
                drop(under_way.remove(place));
                Poll::Ready((number, ended))
            }
            None => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use crossfade_plan::slices::{Rates, Slices, Step};

    use crate::control::HISTORY_LIMIT;

    /// Events of one slice that comes back: scheduled, started, asked to stop, done; and a workflow task for it.
    const EACH: u32 = 4 + 3;

    /// Events of a run that is continued, before the first slice.
    const BEFORE: u32 = 10;

    /// The most slices that there are, the most that may be under way, and none of them in time: however often each comes
    /// back, no run has 2,000 events.
    #[test]
    fn no_run_of_a_migration_has_many_events() {
        let cuts: Vec<String> = (1..256).map(|number| format!("{number:03}")).collect();
        for at_once in [1, 4, 64] {
            let mut slices = Slices::default();
            slices.begin(&cuts, None);
            let (mut runs, mut most) = (0_u32, 0);
            while !slices.is_over() {
                runs += 1;
                let mut events = BEFORE;
                loop {
                    let is_long = events > HISTORY_LIMIT;
                    if !is_long {
                        slices.hand_out(&cuts, at_once, Rates::default());
                    }
                    let Some(slice) = slices.open.iter().find(|slice| slice.under_way).cloned() else {
                        break;
                    };
                    let step = Step {
                        // Not done before it came back ten times.
                        done: slice.scanned >= 10,
                        scanned: 1,
                        ..Step::default()
                    };
                    slices.settle(slice.number, Some(&step));
                    events += EACH;
                }
                most = most.max(events);
            }
            assert!(runs > 10, "continued as new {runs} times");
            assert!(most < 2_000, "{most} events with {at_once} at once");
        }
    }
}
