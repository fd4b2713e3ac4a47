//! The guard: what runs beside the stages while both stores are written.
//!
//! One activity watches, and answers when there is something to tell. When the target was lost the guard itself, whatever
//! the stage is at, has every host write the source alone and read it: waiting for a safe place might take until the
//! server gives records up. That opens a gap, which every wait and every safe place of a stage notices. The walk then
//! waits for the target, goes back to dual writes, and enters its stage again; what was compared before counts no more.
//!
//! While the source is kept written after promote the guard watches both stores and leaves neither: what was lost there is
//! the operator's to decide, and [`both_kept`] asks them.

use std::time::Duration;

use crossfade_plan::{
    guard::{Sight, WatchWrites, Watched},
    order::ProveWrites,
    problem::{Problem, listing},
    progress::{Condition, CutoverProgress, Progress, VerifyProgress},
    settings::{DynamicConfig, HostConfig, Reads, WritingMode},
    stage::Stage,
};
use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use temporalio_workflow::{WaitConditionOptions, WorkflowCancellationToken, select};

use crate::{
    activities::ClusterWork,
    control::{self, Ctx, Halt, change, context, ordered, pass, read, rest, yielding},
    names::patch,
    options, stages,
};

/// How long before the last proof a gap begins: a proof is of some shards, and the others' writes are as old as this.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);

/// Between two tries at what went wrong, at first and at most: dual writes that fail again and again are tried less often.
const PAUSES: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(1800));

/// Who notes what the guard does in the audit log.
const GUARD: &str = "guard";

/// What stages and guard tell each other; nothing of it outlives a run.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// The stages are over for this run.
    over: bool,
    /// Somebody is at the hosts' dynamic config.
    editing: bool,
}

/// Goes the way with the guard beside it. When the way is over, nothing of the guard's is under way either.
pub(crate) async fn beside<T>(ctx: &Ctx, way: impl Future<Output = T>) -> T {
    let way = async {
        let end = way.await;
        ctx.state_mut(|state| state.beside.over = true);
        end
    };
    let (end, ()) = futures_util::future::join(way.boxed_local(), watch(ctx).boxed_local()).await;
    end
}

/// Waits until nobody else is at the hosts' dynamic config, and is at it then.
pub(crate) async fn take_turn(ctx: &Ctx) {
    until(ctx, |_, beside| !beside.editing).await;
    ctx.state_mut(|state| state.beside.editing = true);
}

/// Leaves the hosts' dynamic config to others.
pub(crate) fn end_turn(ctx: &Ctx) {
    ctx.state_mut(|state| state.beside.editing = false);
}

/// Waits for a condition, whether the workflow is cancelled or not.
async fn until(ctx: &Ctx, mut condition: impl FnMut(&Progress, &Beside) -> bool) {
    let options = WaitConditionOptions::builder()
        .cancellation_token(WorkflowCancellationToken::new())
        .build();
    // The token is ours alone and never cancelled, so the wait cannot end otherwise.
    let _never_cancelled = ctx
        .wait_condition_with_options(move |state| condition(&state.progress, &state.beside), options)
        .await;
}

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// The target, which can be left: the source alone is written then.
    Target,
    /// Both stores, of which neither is left by itself.
    Both,
}

/// What is to be watched, if anything. Once a host is promoted, leaving the target would lose what that host writes; and a
/// host whose roles are swapped, told to write its primary alone, would leave the source: so nothing is watched while they
/// are being swapped, and afterwards nothing is left without the operator. Who was asked is not asked again meanwhile.
/// A plan of an earlier release knows of no guard, and its history has none.
fn watches(progress: &Progress) -> Option<Watch> {
    let guard = &progress.guard;
    let is_on = progress.plan.as_ref().is_some_and(|plan| plan.dead_letters.is_some());
    let has_way_back = progress.back.is_none() && progress.can_roll_back();
    if !is_on || guard.since.is_none() || guard.gap.is_some() || !has_way_back {
        return None;
    }
    if progress.hosts.iter().any(|host| host.ordered == HostConfig::Warm) {
        let kept = guard.kept && progress.warm.since.is_some() && !guard.lost;
        return kept.then_some(Watch::Both);
    }
    Some(Watch::Target)
}

/// Whether a gap was opened, in this run or an earlier one, and the hosts were not all told yet.
fn is_to_be_left(progress: &Progress) -> bool {
    let gap = progress.guard.gap.as_ref();
    progress.back.is_none() && gap.is_some_and(|gap| gap.off.is_none())
}

async fn watch(ctx: &Ctx) {
    let mut pause = PAUSES.0;
    loop {
        until(ctx, |progress, beside| {
            beside.over || watches(progress).is_some() || is_to_be_left(progress)
        })
        .await;
        if ctx.state(|state| state.beside.over) {
            return;
        }
        if read(ctx, is_to_be_left) {
            leave(ctx).await;
            continue;
        }
        let Some(watched) = read(ctx, watches) else {
            continue;
        };
        let token = WorkflowCancellationToken::new();
        let mut options = options::watch(match watched {
            Watch::Target => "watch whether the target takes the server's writes",
            Watch::Both => "watch whether both stores take the server's writes",
        });
        options.cancellation_token = Some(token.clone());
        let order = WatchWrites {
            kept: watched == Watch::Both,
            ..order(ctx, WritingMode::Dual)
        };
        let mut work = Box::pin(ctx.execute_activity(ClusterWork::watch_writes, order, options)).fuse();
        let seen = select! {
            seen = work => seen,
            () = Box::pin(until(ctx, |progress, beside| beside.over || watches(progress) != Some(watched))).fuse() => {
                token.cancel_with_reason("nothing is to be watched now");
                continue;
            }
        };
        match seen {
            Ok(seen) => {
                pause = PAUSES.0;
                match (saw(ctx, &seen, watched), watched) {
                    (Sight::Lost, Watch::Target) => open_gap(ctx, &seen),
                    (Sight::Lost, Watch::Both) => change(ctx, |progress| progress.guard.lost = true),
                    _ => {}
                }
            }
            Err(error) => {
                let problems = crate::failure::problems_of(&error, None);
                note(ctx, format!("nobody watches the stores: {}", listing(&problems)));
                pause = rest_beside(ctx, pause, "until the stores can be watched").await;
            }
        }
    }
}

fn order(ctx: &Ctx, mode: WritingMode) -> WatchWrites {
    read(ctx, |progress| WatchWrites {
        context: context(ctx),
        shards: progress.plan.as_ref().map_or(0, |plan| plan.shards),
        mode,
        kept: false,
        proven: progress.guard.proven,
        failing_since: progress.guard.failing_since,
        fails: progress.guard.fails,
        dead_letters: progress.guard.dead_letters,
        budget_seconds: options::WATCHED.as_secs(),
    })
}

/// Takes what was seen; the rest of it is nobody's business once something else is watched, or nothing.
fn saw(ctx: &Ctx, seen: &Watched, watched: Watch) -> Sight {
    let still = read(ctx, watches) == Some(watched);
    if let Some(told) = change(ctx, |progress| progress.guard.saw(seen)) {
        note(ctx, told);
        match read(ctx, |progress| progress.condition.clone()) {
            Condition::Running { doing: words } | Condition::Waiting { reason: words, .. } => {
                control::details(ctx, &words)
            }
            _ => {}
        }
    }
    if still { seen.sight } else { Sight::Fine }
}

/// Has both stores watched from now on, which the source is kept written for; or anew, after the operator was asked. A run of
/// an earlier release goes on without.
pub(crate) fn watch_both(ctx: &Ctx) {
    if ctx.patched(patch::WATCHED_WHILE_WARM) {
        change(ctx, |progress| progress.guard.look_again());
    }
}

/// Lets the time in which the source is kept written end, or asks the operator first. A source that fails is left then, which
/// ends what it fails at. A target that fails is not left alone: it is waited for what the guard says of it.
pub(crate) async fn both_kept(ctx: &Ctx) -> Result<(), Halt> {
    control::until_or_cancelled(ctx, |progress| {
        progress.back.is_some() || !progress.guard.is_undecided()
    })
    .await;
    control::checkpoint(ctx).await?;
    let asked = read(ctx, |progress| {
        progress.warm.asks(&progress.guard, &progress.spec.cluster.frontend)
    });
    asked.map_or(Ok(()), |problem| Err(problem.into()))
}

fn note(ctx: &Ctx, entry: String) {
    let at = control::now(ctx);
    change(ctx, |progress| progress.note(at, GUARD, true, entry));
}

/// From here on the target counts as not written, whatever the hosts know of it.
fn open_gap(ctx: &Ctx, seen: &Watched) {
    let now = control::now(ctx);
    let told = change(ctx, |progress| {
        let guard = &mut progress.guard;
        let since = begins(guard.proven, guard.since, now);
        guard.repaired_before = progress.verify.repaired;
        progress.verify.clean_at = None;
        progress.guard.leave(since, now)
    });
    note(ctx, format!("{told}; {} dead letters", seen.dead_letters));
}

/// Has every host write and read the source alone.
async fn leave(ctx: &Ctx) {
    let mut pause = PAUSES.0;
    while let Err(problems) = stages::everywhere(ctx, &source_alone(), "the source alone, since the target fails").await
    {
        note(
            ctx,
            format!("the source alone could not be ordered yet: {}", listing(&problems)),
        );
        if ctx.state(|state| state.beside.over) {
            return;
        }
        pause = rest_beside(ctx, pause, "until the hosts can be told to write the source alone").await;
    }
    let at = control::now(ctx);
    change(ctx, |progress| {
        progress.cutover = CutoverProgress::NotBegun;
        if let Some(gap) = &mut progress.guard.gap {
            gap.off = Some(at);
        }
    });
    note(ctx, "every host was told to write and read the source alone".to_owned());
}

/// When a gap begins that is noticed `now`.
fn begins(proven: Option<Timestamp>, since: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let proven = proven.unwrap_or(now).min(now);
    let early = proven.checked_sub(MARGIN).unwrap_or(proven);
    // Nothing was to be in the target before both stores were written.
    since.map_or(early, |since| early.max(since).min(now))
}

fn source_alone() -> DynamicConfig {
    DynamicConfig::Set {
        writing_mode: WritingMode::Off,
        reads: Reads::Source,
    }
}

/// Rests unless the stages are over; gives the next rest's length.
async fn rest_beside(ctx: &Ctx, length: Duration, why: &str) -> Duration {
    select! {
        () = Box::pin(pass(ctx, length, why)).fuse() => {}
        () = Box::pin(until(ctx, |_, beside| beside.over)).fuse() => {}
    }
    (length * 2).min(PAUSES.1)
}

/// Waits until the target takes writes again and both stores are written, proven. Then the walk goes on where the gap
/// leaves it: a target that lacked records is compared again before it is read.
pub(crate) async fn mend(ctx: &Ctx) -> Result<(), Halt> {
    change(ctx, |progress| progress.guard.mending = true);
    let mended = loop {
        match mended(ctx).await {
            Err(Halt::Problems(problems)) => {
                if let Err(halt) = control::ask_operator(ctx, problems).await {
                    break Err(halt);
                }
            }
            ended => break ended,
        }
    };
    change(ctx, |progress| progress.guard.mending = false);
    mended
}

async fn mended(ctx: &Ctx) -> Result<(), Halt> {
    let mut pause = PAUSES.0;
    loop {
        control::checkpoint(ctx).await?;
        control::doing(
            ctx,
            "the target takes no writes: telling every host to write the source alone",
        );
        control::until_or_cancelled(ctx, |progress| {
            let gap = progress.guard.gap.as_ref();
            progress.back.is_some() || gap.is_none_or(|gap| gap.off.is_some())
        })
        .await;
        control::checkpoint(ctx).await?;
        control::doing(
            ctx,
            "waiting until the target takes writes again; the source alone is written",
        );
        let options = options::watch("wait until the target takes writes again");
        let seen = yielding(ctx, ClusterWork::watch_writes, order(ctx, WritingMode::Off), options).await?;
        if seen.is_none_or(|seen| seen.sight != Sight::Fine) {
            continue;
        }
        match both_again(ctx).await? {
            Ok(until) => {
                come_back(ctx, until);
                return Ok(());
            }
            Err(problems) => {
                note(
                    ctx,
                    format!("both stores cannot be written yet: {}", listing(&problems)),
                );
                let off =
                    stages::everywhere(ctx, &source_alone(), "the source alone, since the target still fails").await;
                off.map_err(Halt::Problems)?;
                rest(ctx, pause, "until dual writes are tried again", |_| false).await?;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

/// Has both stores written again and proves it; inside, why not. Where dual writes had never been proven, that is for their
/// stage to do.
async fn both_again(ctx: &Ctx) -> Result<Result<Timestamp, Vec<Problem>>, Halt> {
    if read(ctx, |progress| progress.dual_since.is_none()) {
        return Ok(Ok(control::now(ctx)));
    }
    let dual = DynamicConfig::Set {
        writing_mode: WritingMode::Dual,
        reads: Reads::Source,
    };
    stages::everywhere_read(ctx, &dual, "writing mode dual again").await?;
    let order = change(ctx, |progress| {
        progress.guard.tries += 1;
        (
            progress.guard.tries,
            progress.plan.as_ref().map_or(0, |plan| plan.shards),
        )
    });
    let order = ProveWrites {
        context: context(ctx),
        proof: format!("again-{}", order.0),
        shards: order.1,
        source: true,
        target: true,
        attributes: stages::attributes(ctx),
    };
    control::doing(ctx, "proving by canaries that both stores are written again");
    let options = options::proof_again("canaries on every history shard");
    let proven = ordered(ctx, ClusterWork::prove_writes, order, options).await;
    Ok(proven.map(|proven| proven.at))
}

/// Both stores are written again: nothing that was compared before counts, and what came after it begins again.
fn come_back(ctx: &Ctx, until: Timestamp) {
    let now = control::now(ctx);
    let told = change(ctx, |progress| {
        let repaired = progress.verify.repaired;
        progress.verify = VerifyProgress {
            repaired,
            ..VerifyProgress::default()
        };
        progress.soak_until = None;
        if progress.stage > Stage::Verify {
            if let Some(timing) = progress.timings.last_mut() {
                timing.ended.get_or_insert(now);
            }
            progress.stage = Stage::Verify;
        }
        let never_dual = progress.dual_since.is_none();
        let told = progress.guard.come_back(until);
        if never_dual {
            progress.guard.since = None;
        }
        told
    });
    if let Some(told) = told {
        note(ctx, told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_begins_before_the_last_proof_and_not_before_dual_writes() {
        let at = |seconds| Timestamp::from_second(seconds).expect("a time");
        let margin = MARGIN.as_secs();
        for (proven, since, begins_at) in [
            (Some(5_000), Some(1_000), 5_000 - margin),
            (Some(1_100), Some(1_000), 1_000),
            (None, Some(1_000), 9_000 - margin),
            (None, None, 9_000 - margin),
            // A proof by a clock that is ahead.
            (Some(10_000), Some(1_000), 9_000 - margin),
        ] {
            assert_eq!(
                begins(proven.map(at), since.map(at), at(9_000)),
                at(begins_at),
                "{proven:?} {since:?}"
            );
        }
    }
}
