//! How orders are given: between two of them the operator's wishes, the workflow's cancellation and the
//! length of the history are looked at, so that no stage has to.

use std::time::Duration;

use crossfade_plan::{
    message::Remark,
    order::Context,
    problem::Problem,
    progress::{BackOrder, Condition, Outcome, Progress},
};
use futures_util::{FutureExt, future};
use jiff::Timestamp;
use temporalio_common::{
    ActivityDefinition,
    data_converters::{RawValue, TemporalDeserializable},
};
use temporalio_workflow::{
    ActivityOptions, ContinueAsNewOptions, TimerOptions, WaitConditionOptions, WorkflowCancellationToken,
    WorkflowContext, WorkflowTermination, select,
};

use crate::{VisibilityMigration, failure, input, names::patch};

/// The workflow's context.
pub(crate) type Ctx = WorkflowContext<VisibilityMigration>;

/// A history of this many events is continued as new at the next safe place. The server suggests it at some
/// thousands; this keeps every query and replay quick.
pub(crate) const HISTORY_LIMIT: u32 = 1_000;

/// Why a stage stops before it is done.
pub(crate) enum Halt {
    /// The way back was ordered.
    Back,
    /// Something needs a person.
    Problems(Vec<Problem>),
    /// The history has grown long: this run ends and is continued as new.
    Long,
    /// The target is not written any more: what the stage was at has to begin again when it is.
    Gap,
}

impl From<Problem> for Halt {
    fn from(problem: Problem) -> Self {
        Self::Problems(vec![problem])
    }
}

/// The workflow's own time; the same on every replay.
pub(crate) fn now(ctx: &Ctx) -> Timestamp {
    timestamp(ctx.workflow_time())
}

/// A workflow time as a timestamp; the epoch before the first workflow task has one.
pub(crate) fn timestamp(time: Option<std::time::SystemTime>) -> Timestamp {
    time.and_then(|time| Timestamp::try_from(time).ok()).unwrap_or_default()
}

/// Reads the progress.
pub(crate) fn read<R>(ctx: &Ctx, look: impl FnOnce(&Progress) -> R) -> R {
    ctx.state(|state| look(&state.progress))
}

/// Changes the progress.
pub(crate) fn change<R>(ctx: &Ctx, act: impl FnOnce(&mut Progress) -> R) -> R {
    ctx.state_mut(|state| act(&mut state.progress))
}

/// Says what the migration does now, in the status and on the workflow's page in Temporal UI.
pub(crate) fn doing(ctx: &Ctx, words: impl Into<String>) {
    let words = words.into();
    details(ctx, &words);
    change(ctx, |progress| {
        progress.condition = if matches!(progress.condition, Condition::RollingBack { .. }) {
            Condition::RollingBack { doing: words }
        } else {
            Condition::Running { doing: words }
        };
    });
}

/// Says it on the workflow's page in Temporal UI alone, with what the guard knows.
pub(crate) fn details(ctx: &Ctx, words: &str) {
    let stage = read(ctx, |progress| progress.stage);
    let guard = read(ctx, |progress| progress.guard.words());
    let guard = guard.map(|words| format!("\n\n{words}")).unwrap_or_default();
    ctx.set_current_details(format!("**{stage}**: {words}{guard}"));
}

/// What every order carries.
pub(crate) fn context(ctx: &Ctx) -> Context {
    let control_namespace = ctx.namespace().to_owned();
    read(ctx, |progress| Context {
        migration: progress.migration.clone(),
        key: progress.key.clone(),
        control_namespace,
        source: progress.plan.as_ref().map(|plan| plan.source_name.clone()),
        indices: progress.plan.as_ref().and_then(|plan| plan.indices.clone()),
        spec: progress.spec.clone(),
    })
}

/// A condition to wait for that a cancelled workflow still waits for.
pub(crate) async fn until(ctx: &Ctx, mut condition: impl FnMut(&Progress) -> bool) {
    let options = WaitConditionOptions::builder()
        .cancellation_token(WorkflowCancellationToken::new())
        .build();
    // The token is ours alone and never cancelled, so the wait cannot end otherwise.
    let _never_cancelled = ctx
        .wait_condition_with_options(move |state| condition(&state.progress), options)
        .await;
}

/// Waits for `condition`, or for the workflow's cancellation, which is taken as an `abort`.
pub(crate) async fn until_or_cancelled(ctx: &Ctx, condition: impl FnMut(&Progress) -> bool) {
    let mut waiting = Box::pin(until(ctx, condition)).fuse();
    if read(ctx, |progress| progress.cancel_seen) {
        waiting.await;
        return;
    }
    let reason = select! {
        () = waiting => return,
        reason = ctx.cancelled() => reason,
    };
    note_cancellation(ctx, reason);
    waiting.await;
}

/// Takes the workflow's cancellation as an `abort`; past the point of no return it is noted and changes nothing.
fn note_cancellation(ctx: &Ctx, reason: Option<String>) {
    let at = now(ctx);
    change(ctx, |progress| {
        progress.cancel_seen = true;
        if progress.back.is_some() {
            return;
        }
        if progress.can_roll_back() {
            let note = reason.unwrap_or_else(|| "the workflow was cancelled".to_owned());
            progress.note(at, "cancel", true, format!("abort ordered ({note})"));
            progress.back = Some(BackOrder {
                ends: Outcome::Aborted,
                remark: Remark {
                    by: None,
                    note: Some(note),
                },
            });
        } else {
            progress.note(
                at,
                "cancel",
                false,
                "the point of no return has passed: the migration goes on to its end",
            );
        }
    });
}

/// Whether this run must end at the next safe place, and be continued as new.
pub(crate) fn is_long(ctx: &Ctx) -> bool {
    ctx.history_length() > HISTORY_LIMIT || ctx.continue_as_new_suggested()
}

/// A safe place between two orders: continues as new when the history is long, waits while paused, and
/// turns back when that was ordered.
pub(crate) async fn checkpoint(ctx: &Ctx) -> Result<(), Halt> {
    if !read(ctx, |progress| progress.cancel_seen)
        && let Some(reason) = ctx.cancelled().now_or_never()
    {
        note_cancellation(ctx, reason);
    }
    if is_long(ctx) {
        return Err(Halt::Long);
    }
    if read(ctx, |progress| progress.paused.is_some() && progress.back.is_none()) {
        let before = read(ctx, |progress| progress.condition.clone());
        change(ctx, |progress| progress.condition = Condition::Paused);
        until_or_cancelled(ctx, |progress| progress.paused.is_none() || progress.back.is_some()).await;
        change(ctx, |progress| progress.condition = before);
    }
    if read(ctx, |progress| progress.back.is_some()) {
        Err(Halt::Back)
    } else if read(ctx, |progress| progress.guard.interrupts()) {
        Err(Halt::Gap)
    } else {
        Ok(())
    }
}

/// Ends this run: the next one goes on where it stands now.
pub(crate) fn continue_as_new(ctx: &Ctx) -> WorkflowTermination {
    let events = u64::from(ctx.history_length());
    let mut progress = read(ctx, Clone::clone);
    progress.runs += 1;
    progress.earlier_events += events;
    let raw = RawValue::from_value(&input::continuation(progress), ctx.payload_converter());
    match ctx.continue_as_new(raw, ContinueAsNewOptions::default()) {
        Err(termination) => termination,
        Ok(never) => match never {},
    }
}

/// Gives an order that is finished once it is begun, whatever the operator wants meanwhile; but when the way back is
/// ordered, one that fails is not tried again. It may fail of what the operator turns back from, a target that is gone,
/// and then it would never end.
pub(crate) async fn firm<A>(
    ctx: &Ctx,
    activity: A,
    order: A::Input,
    mut options: ActivityOptions,
) -> Result<A::Output, Halt>
where
    A: ActivityDefinition,
    A::Output: TemporalDeserializable,
{
    checkpoint(ctx).await?;
    let token = WorkflowCancellationToken::new();
    options.cancellation_token = Some(token.clone());
    let mut work = Box::pin(ordered(ctx, activity, order, options)).fuse();
    select! {
        done = work => return done.map_err(Halt::Problems),
        () = Box::pin(until_turned_back(ctx)).fuse() => {}
    }
    // An attempt that is under way hears of it and ends as it would; the server begins no other one
    // (service/history/workflow/mutable_state_impl.go, `RetryActivity`, 1.30.8).
    token.cancel_with_reason("the way back was ordered");
    work.await.map_err(|_of_what_is_left| Halt::Back)
}

/// Waits until the way back is ordered, by a message or by cancelling the workflow. A run of an earlier release whose
/// order was finished first is replayed so.
async fn until_turned_back(ctx: &Ctx) {
    let mut ordered = Box::pin(until(ctx, |progress| progress.back.is_some())).fuse();
    let seen = read(ctx, |progress| progress.cancel_seen);
    let cancelled = async {
        match seen {
            true => future::pending().await,
            false => ctx.cancelled().await,
        }
    };
    let reason = select! {
        () = ordered => None,
        reason = Box::pin(cancelled).fuse() => Some(reason),
    };
    if !ctx.patched(patch::FAILING_ORDERS_END) {
        return future::pending().await;
    }
    if let Some(reason) = reason {
        note_cancellation(ctx, reason);
        ordered.await;
    }
}

/// Gives an order without looking at the operator's wishes: the way back's own.
pub(crate) async fn ordered<A>(
    ctx: &Ctx,
    activity: A,
    order: A::Input,
    options: ActivityOptions,
) -> Result<A::Output, Vec<Problem>>
where
    A: ActivityDefinition,
    A::Output: TemporalDeserializable,
{
    let host = options.task_queue.as_deref().and_then(|queue| {
        queue
            .strip_prefix(&crate::names::host_task_queue(""))
            .map(ToOwned::to_owned)
    });
    ctx.execute_activity(activity, order, options)
        .await
        .map_err(|error| failure::problems_of(&error, host.as_deref()))
}

/// Gives an order that stops early, with what it has done so far, when the operator pauses, turns back or
/// changes the rate. `None` when it was stopped and could not say how far it came, its worker being gone or its
/// store away: a stopped activity is not tried again. What it did is done and is found done by the next one.
pub(crate) async fn yielding<A>(
    ctx: &Ctx,
    activity: A,
    order: A::Input,
    mut options: ActivityOptions,
) -> Result<Option<A::Output>, Halt>
where
    A: ActivityDefinition,
    A::Output: TemporalDeserializable,
{
    checkpoint(ctx).await?;
    let rate = read(ctx, |progress| progress.records_per_second);
    let token = WorkflowCancellationToken::new();
    options.cancellation_token = Some(token.clone());
    let mut work = Box::pin(ctx.execute_activity(activity, order, options)).fuse();
    select! {
        done = work => return done.map(Some).map_err(|error| Halt::Problems(failure::problems_of(&error, None))),
        () = Box::pin(until_or_cancelled(ctx, move |progress| {
            progress.back.is_some()
                || progress.paused.is_some()
                || progress.guard.interrupts()
                || progress.records_per_second != rate
        })).fuse() => {}
    }
    token.cancel_with_reason("the operator wants something else");
    match work.await {
        Ok(done) => Ok(Some(done)),
        Err(error) if failure::was_stopped(&error) => Ok(None),
        Err(error) => Err(Halt::Problems(failure::problems_of(&error, None))),
    }
}

/// How a rest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rested {
    /// The time has passed.
    Over,
    /// The condition came true before.
    Woken,
}

/// Lets time pass, durably. Ends early when `wake` holds; turns back when that was ordered.
pub(crate) async fn rest(
    ctx: &Ctx,
    length: Duration,
    why: &str,
    mut wake: impl FnMut(&Progress) -> bool,
) -> Result<Rested, Halt> {
    checkpoint(ctx).await?;
    if length.is_zero() {
        return Ok(Rested::Over);
    }
    let rested = select! {
        () = Box::pin(until_or_cancelled(ctx, move |progress| {
            progress.back.is_some() || progress.guard.interrupts() || wake(progress)
        })).fuse() => Rested::Woken,
        _ = ctx.timer(timer(length, why)) => Rested::Over,
    };
    checkpoint(ctx).await?;
    Ok(rested)
}

/// As [`rest`] until a moment, however often it is gone back to: after a pause, or in another run.
pub(crate) async fn rest_until(
    ctx: &Ctx,
    until: Option<Timestamp>,
    why: &str,
    wake: impl FnMut(&Progress) -> bool,
) -> Result<Rested, Halt> {
    checkpoint(ctx).await?;
    let mut wake = wake;
    if read(ctx, &mut wake) {
        return Ok(Rested::Woken);
    }
    let left = until.map(|until| until.duration_since(now(ctx)));
    let left = left.and_then(|left| Duration::try_from(left).ok()).unwrap_or_default();
    rest(ctx, left, why, wake).await
}

/// Lets time pass on the way back, whatever is said meanwhile.
pub(crate) async fn pass(ctx: &Ctx, length: Duration, why: &str) {
    ctx.timer(timer(length, why)).await;
}

fn timer(length: Duration, why: &str) -> TimerOptions {
    TimerOptions::builder(length)
        .cancellation_token(WorkflowCancellationToken::new())
        .summary(why.to_owned())
        .build()
}

/// Waits at the gate in front of the current stage, if the spec has it.
pub(crate) async fn gate(ctx: &Ctx) -> Result<(), Halt> {
    let Some(gate) = read(ctx, |progress| {
        progress
            .stage
            .gate()
            .filter(|gate| progress.spec.gates.contains(gate) && !progress.opened.contains(gate))
    }) else {
        return Ok(());
    };
    if !read(ctx, |progress| progress.approvals.contains_key(&gate)) {
        change(ctx, |progress| {
            progress.condition = Condition::AwaitingApproval { gate }
        });
        if let Some(command) = read(ctx, Progress::awaited_command) {
            ctx.set_current_details(format!("**gate {gate}**: waiting for an approval\n\n`{command}`"));
        }
        until_or_cancelled(ctx, move |progress| {
            progress.approvals.contains_key(&gate) || progress.back.is_some() || progress.guard.interrupts()
        })
        .await;
    }
    checkpoint(ctx).await?;
    change(ctx, |progress| {
        progress.opened.insert(gate);
    });
    Ok(())
}

/// Tells the operator what is wrong and waits until they say `resume`, or turn back.
pub(crate) async fn ask_operator(ctx: &Ctx, problems: Vec<Problem>) -> Result<(), Halt> {
    report_problems(ctx, problems);
    until_or_cancelled(ctx, |progress| {
        progress.try_again || progress.back.is_some() || progress.guard.interrupts()
    })
    .await;
    change(ctx, |progress| progress.try_again = false);
    checkpoint(ctx).await
}

/// As [`ask_operator`] on the way back, where there is only trying again.
pub(crate) async fn ask_operator_going_back(ctx: &Ctx, problems: Vec<Problem>) {
    report_problems(ctx, problems);
    until(ctx, |progress| progress.try_again).await;
    change(ctx, |progress| progress.try_again = false);
}

fn report_problems(ctx: &Ctx, problems: Vec<Problem>) {
    let at = now(ctx);
    ctx.set_current_details(format!(
        "**needs the operator**\n\n{}",
        crossfade_plan::problem::listing(&problems)
    ));
    change(ctx, |progress| {
        for problem in &problems {
            progress.note(at, "migration", true, format!("stopped: {problem}"));
        }
        progress.condition = Condition::NeedsOperator { problems };
    });
}
