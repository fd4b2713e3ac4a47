//! Every timeout and retry policy, named, with its reason.

use std::time::Duration;

use temporalio_workflow::{ActivityCancellationType, ActivityOptions, RetryPolicy, WorkflowCancellationToken};

use crate::names;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Without a heartbeat for this long a worker counts as dead. The server counts its own downtime too, so a
/// restart longer than this makes a second attempt begin; every activity is idempotent and the ones bound to
/// a host take turns, so the second attempt finds the work done. Shorter means a killed worker is noticed sooner.
pub const HEARTBEAT: Duration = seconds(20);

/// How long work bound to a host waits for that host's worker before the operator is told that none polls.
/// Preflight asks soon, since an operator is waiting for the answer.
pub const HOST_WORKER_PREFLIGHT: Duration = seconds(20);

/// As above for later stages: a worker that is being restarted or redeployed is given time.
pub const HOST_WORKER: Duration = seconds(600);

/// How long a copy or comparison works before it reports to the workflow: long enough that a day of copying
/// is a few hundred events, short enough that the status is never stale for long.
pub const SLICE: Duration = seconds(300);

/// The same where workers have nothing to do for want of slices: what is left of this one can then be cut in two.
pub const SHORT_SLICE: Duration = seconds(60);

/// How often the Retention wait looks again: a Namespace may be added or its retention changed meanwhile.
/// At this pace a month of waiting is some 700 wake-ups.
pub const WAIT_LOOK: Duration = seconds(3600);

/// The longest that a watch goes on before it answers that all is well.
pub const WATCHED: Duration = seconds(12 * 3600);

/// Reading facts: quick, and an operator waits for the answer, so a fault is reported after three tries.
fn probe_retries() -> RetryPolicy {
    RetryPolicy::builder()
        .initial_interval(seconds(1))
        .backoff_coefficient(2.0)
        .maximum_interval(seconds(10))
        .maximum_attempts(3)
        .build()
}

/// Work under way: what can pass by itself (a store restarting, a network cut) is tried for ever, at most a
/// minute apart. What cannot is failed as non-retryable by the activity and goes to the operator.
fn work_retries() -> RetryPolicy {
    RetryPolicy::builder()
        .initial_interval(seconds(1))
        .backoff_coefficient(2.0)
        .maximum_interval(seconds(60))
        .build()
}

/// As [`work_retries`], so often and no more.
fn limited(attempts: u32) -> RetryPolicy {
    RetryPolicy::builder()
        .initial_interval(seconds(1))
        .backoff_coefficient(2.0)
        .maximum_interval(seconds(60))
        .maximum_attempts(attempts)
        .build()
}

fn options(start_to_close: Duration, retries: RetryPolicy, summary: &str) -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(start_to_close)
        .heartbeat_timeout(HEARTBEAT)
        .retry_policy(retries)
        // Detached: cancelling the workflow means going back, never dropping an order half way.
        .cancellation_token(WorkflowCancellationToken::new())
        .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
        .summary(summary.to_owned())
        .do_not_eagerly_execute(true)
        .build()
}

fn on_host(host: &str, start_within: Duration, mut options: ActivityOptions) -> ActivityOptions {
    options.task_queue = Some(names::host_task_queue(host));
    options.schedule_to_start_timeout = Some(start_within);
    options
}

/// Preflight's questions to the cluster and the stores.
#[must_use]
pub fn probe(summary: &str) -> ActivityOptions {
    options(seconds(120), probe_retries(), summary)
}

/// Preflight's questions to a host.
#[must_use]
pub fn probe_host(host: &str, summary: &str) -> ActivityOptions {
    on_host(
        host,
        HOST_WORKER_PREFLIGHT,
        options(seconds(60), probe_retries(), summary),
    )
}

/// Work on the cluster or the stores that takes minutes at most.
#[must_use]
pub fn work(summary: &str) -> ActivityOptions {
    options(seconds(1800), work_retries(), summary)
}

/// Work that reads a whole store in one go. Heartbeats tell of a dead worker; the bound is for a scan that is stuck, and
/// one that is merely long must not begin again for ever.
#[must_use]
pub fn scan(summary: &str) -> ActivityOptions {
    options(seconds(24 * 3600), work_retries(), summary)
}

/// As [`scan`], tried for some minutes only: the final check, whose source may have been decommissioned early. What it
/// cannot reach then is told to the operator, who can bring it back or go on without. Who is `content` to go on without
/// does not wait for those minutes again.
#[must_use]
pub fn last_scan(summary: &str, content: bool) -> ActivityOptions {
    options(seconds(24 * 3600), limited(if content { 3 } else { 10 }), summary)
}

/// Setting indexes aside: a moment's work that a busy table may put off. It only makes the copy quicker, so it is tried a
/// few times and then done without.
#[must_use]
pub fn aside(summary: &str) -> ActivityOptions {
    options(seconds(120), limited(6), summary)
}

/// Building indexes again, over as many records as there are. Heartbeats tell of a dead worker.
#[must_use]
pub fn rebuild(summary: &str) -> ActivityOptions {
    options(seconds(7 * 24 * 3600), work_retries(), summary)
}

/// As [`rebuild`] on the way back, which must not wait for ever for a store that is gone.
#[must_use]
pub fn rebuild_going_back(summary: &str) -> ActivityOptions {
    options(seconds(7 * 24 * 3600), limited(5), summary)
}

/// Watching, which answers when there is something to tell, and at least twice a day, so that a month of it is some hundred
/// events. Dropped at once when it is not wanted any more: it only looks.
#[must_use]
pub fn watch(summary: &str) -> ActivityOptions {
    let mut options = options(WATCHED * 2, work_retries(), summary);
    options.cancellation_type = ActivityCancellationType::TryCancel;
    options
}

/// Proving again that both stores are written after the target failed: it may fail again, so this is not tried for ever.
#[must_use]
pub fn proof_again(summary: &str) -> ActivityOptions {
    options(seconds(600), limited(3), summary)
}

/// A slice of copying or comparing: its own time and as much again, since a page is never cut short.
#[must_use]
pub fn slice(summary: &str) -> ActivityOptions {
    options(SLICE * 2, work_retries(), summary)
}

/// Work on a host's files and services; `within` is the longest that its restart may take.
#[must_use]
pub fn host_work(host: &str, within: Duration, summary: &str) -> ActivityOptions {
    // Waiting for the other hosts, a restart and its proof have `within` each, and so have those with the old file when
    // they fail; the sixth is for an earlier attempt that still has its turn. A time-out would begin all of it again, for
    // ever.
    let start_to_close = within.saturating_mul(6).saturating_add(seconds(120));
    on_host(host, HOST_WORKER, options(start_to_close, work_retries(), summary))
}
