//! Watching whether the server's writes reach the target, and while the source is kept written after promote, both stores.
//!
//! Each look asks the target whether it can be written, has the server write canaries on some shards and looks for them in
//! both stores, and counts the dead letters. A canary that is in the source and not in the target says that the target
//! fails. One that is in neither says so only when the target itself cannot be written: tasks that hang at the target hold
//! up the source's. Whatever cannot be asked (the cluster restarts, the source is away) says nothing.
//!
//! While the source is kept written, a canary that the target has and the source has not says that the source fails, and so
//! does a source that cannot be read. It is not asked whether it can be written: the server's user may, where ours may only
//! read it.

use std::{cmp::Ordering, collections::BTreeMap, time::Duration};

use crossfade_cluster::{
    ExecutionKey, Frontend,
    canary::{self, Flock},
};
use crossfade_plan::{
    guard::{Sight, WatchWrites, Watched},
    message::Side,
    problem::{Code, Problem},
    settings::WritingMode,
};
use crossfade_visibility::{
    ports::Read,
    record::{Key, marker_record},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::{beat::Beat, frontend, stores};

/// Canaries of one look, on as many shards: at 15 s a look, 16 a minute on a cluster of any size.
const CANARIES: u32 = 4;
/// How long canaries are given to be seen, if the interval does not leave less; a record takes well under a second.
const SEEN_WITHIN: Duration = Duration::from_secs(10);
/// How long the target is given to say whether it can be written: one that hangs fails like one that is down.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// When the server closes canaries that were never removed.
const LIFETIME: Duration = Duration::from_secs(900);
/// How often it is looked whether somebody wants the watch to end.
const WAKE: Duration = Duration::from_millis(250);
/// How soon a growing dead-letter queue is told again while the target takes writes.
const TOLD_AGAIN: Duration = Duration::from_secs(600);
/// Looks in a row at which a target that was left must be writable: one that comes up may go down again at once.
const WRITABLE_TWICE: u32 = 2;

/// What one look says.
enum Look {
    /// Written, as far as canaries can tell, when the look began.
    Proven,
    /// A store fails.
    Failing(Side, String),
    /// Nothing can be said.
    Unknown(String),
}

/// Looks at the order's interval until there is something to tell.
pub(crate) async fn watch(order: &WatchWrites, beat: &Beat) -> Result<Watched, Problem> {
    let end = Instant::now() + Duration::from_secs(order.budget_seconds);
    match order.mode {
        WritingMode::Dual => watch_both(order, beat, end).await,
        WritingMode::Off => await_target(order, beat, end).await,
    }
}

async fn watch_both(order: &WatchWrites, beat: &Beat, end: Instant) -> Result<Watched, Problem> {
    let begun = Instant::now();
    let guard = order.context.spec.guard;
    let budget = SignedDuration::try_from(guard.budget.0).unwrap_or(SignedDuration::MAX);
    // An earlier attempt, whose worker was killed, may have seen it fail already.
    let earlier: Option<Timestamp> = beat.now().cursor.and_then(|since| since.parse().ok());
    let mut seen = Watched {
        sight: Sight::Fine,
        at: Timestamp::now(),
        proven: order.proven,
        failing_since: order.failing_since.or(earlier),
        fails: order.fails,
        why: None,
        dead_letters: order.dead_letters,
    };
    loop {
        let next = Instant::now() + guard.interval.0;
        let began = Timestamp::now();
        let look = look(order).await;
        seen.at = Timestamp::now();
        match look {
            Look::Proven => {
                seen.proven = Some(began);
                seen.failing_since = None;
                beat.doing(format!("both stores were written at {began}"));
            }
            Look::Failing(store, why) => {
                // Where it is the other store now, that one's time begins.
                seen.failing_since = seen.failing_since.filter(|_| seen.fails == store);
                let since = *seen.failing_since.get_or_insert(began);
                beat.doing(format!("the {store} fails since {since}: {why}"));
                seen.fails = store;
                seen.why = Some(why);
            }
            Look::Unknown(why) => beat.doing(format!("nobody can tell whether the stores are written: {why}")),
        }
        beat.show(|heartbeat| heartbeat.cursor = seen.failing_since.map(|since| since.to_string()));
        seen.dead_letters = dead_letters(order).await.unwrap_or(seen.dead_letters);
        let given_up = seen.dead_letters > order.dead_letters;
        seen.sight = match seen.failing_since {
            _ if order.kept && seen.dead_letters > 0 => Sight::Lost,
            None => Sight::Fine,
            Some(since) if given_up || seen.at.duration_since(since) >= budget => Sight::Lost,
            Some(_) => Sight::Failing,
        };
        // A queue that keeps growing for another reason is told now and then.
        let told_before = begun.elapsed() < TOLD_AGAIN && seen.failing_since.is_none();
        let told = (
            order.failing_since.map(|_| order.fails),
            seen.failing_since.map(|_| seen.fails),
        );
        let news = told.0 != told.1 || (given_up && !told_before);
        if news || seen.sight == Sight::Lost || wait(beat, next, end).await {
            return Ok(seen);
        }
    }
}

/// Looks at a target that is not written until it can be.
async fn await_target(order: &WatchWrites, beat: &Beat, end: Instant) -> Result<Watched, Problem> {
    let mut writable = 0;
    let mut seen = Watched {
        sight: Sight::Failing,
        at: Timestamp::now(),
        proven: order.proven,
        failing_since: order.failing_since,
        fails: order.fails,
        why: None,
        dead_letters: order.dead_letters,
    };
    loop {
        let next = Instant::now() + order.context.spec.guard.interval.0;
        seen.why = unwritable(order).await?;
        seen.at = Timestamp::now();
        match &seen.why {
            Some(why) => {
                writable = 0;
                beat.doing(format!("waiting for the target: {why}"));
            }
            None => {
                writable += 1;
                beat.doing("the target can be written");
            }
        }
        if writable >= WRITABLE_TWICE {
            seen.sight = Sight::Fine;
            return Ok(seen);
        }
        if wait(beat, next, end).await {
            return Ok(seen);
        }
    }
}

/// Waits until `next`; whether the watch is to end instead.
async fn wait(beat: &Beat, next: Instant, end: Instant) -> bool {
    while !beat.should_stop() && Instant::now() < end {
        let left = next.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        tokio::time::sleep(left.min(WAKE)).await;
    }
    true
}

/// Why the target cannot be written now, if it says so or does not answer.
async fn unwritable(order: &WatchWrites) -> Result<Option<String>, Problem> {
    match timeout(ANSWERS_WITHIN, stores::unwritable(&order.context)).await {
        Ok(asked) => asked,
        Err(_) => Ok(Some(format!("the target does not answer within {ANSWERS_WITHIN:?}"))),
    }
}

async fn look(order: &WatchWrites) -> Look {
    let asked = match unwritable(order).await {
        Ok(asked) => asked,
        Err(problem) => return Look::Unknown(problem.message),
    };
    if let Some(why) = asked {
        return Look::Failing(Side::Target, why);
    }
    match canaries(order).await {
        Ok(look) => look,
        Err(problem) => Look::Unknown(problem.message),
    }
}

async fn dead_letters(order: &WatchWrites) -> Option<u64> {
    let counted = frontend::count_dead_letters(&order.context).await.ok()?;
    counted.can_be_asked().then(|| counted.visibility())
}

/// Starts canaries on some shards and looks for them in both stores.
async fn canaries(order: &WatchWrites) -> Result<Look, Problem> {
    let spec = &order.context.spec;
    let frontend = frontend::open(spec).await?;
    let name = &spec.cluster.canary_namespace;
    let namespace = frontend
        .namespace(name)
        .await
        .map_err(|error| super::problems::call(&error))?;
    let Some(namespace) = namespace else {
        return Ok(Look::Unknown(format!("Namespace `{name}` for canaries does not exist")));
    };
    let source = match stores::open_source(&order.context).await {
        Ok(source) => source.read(),
        Err(problem) => return source_fails(order, problem),
    };
    let target = match stores::open_target(&order.context).await {
        Ok(target) => target.read(),
        Err(problem) => return Ok(Look::Failing(Side::Target, problem.message)),
    };
    let now = Timestamp::now();
    let flock = Flock {
        namespace: name.clone(),
        namespace_id: namespace.id,
        seed: format!("crossfade-guard-{}-{}", order.context.key, now.as_millisecond()),
        shards: order.shards,
        memo: BTreeMap::from([("crossfade".to_owned(), Value::from("canary"))]),
        search_attributes: BTreeMap::new(),
        lifetime: LIFETIME,
        at_once: CANARIES as usize,
    };
    let turn = now.as_second().unsigned_abs() / spec.guard.interval.0.as_secs().max(1);
    let started = canary::start_some(&frontend, &flock, CANARIES, turn).await;
    let keys = started.map_err(|error| super::problems::canary(&error))?;
    let look = await_canaries(order, &keys, &*source, &*target).await;
    remove(&frontend, name, &keys).await;
    look
}

/// What a source means that cannot be opened or read: it fails where it is kept written, unless it is this worker that does
/// not find it.
fn source_fails(order: &WatchWrites, problem: Problem) -> Result<Look, Problem> {
    let unknown = matches!(problem.code, Code::ConfigUnreadable | Code::SecretMissing);
    match order.kept && !unknown {
        true => Ok(Look::Failing(Side::Source, problem.message)),
        false => Err(problem),
    }
}

/// What is left over is closed by the server in a while.
async fn remove(frontend: &Frontend, namespace: &str, keys: &[ExecutionKey]) {
    if let Err(error) = canary::remove(frontend, namespace, keys, keys.len()).await {
        tracing::warn!(%error, "a canary of the guard stays until its lifetime ends");
    }
}

async fn await_canaries(
    order: &WatchWrites,
    canaries: &[ExecutionKey],
    source: &dyn Read,
    target: &dyn Read,
) -> Result<Look, Problem> {
    let started = Timestamp::now();
    for key in canaries {
        let mut record = marker_record(&key.namespace_id, &key.workflow_id, &key.run_id, started);
        record.close_time = None;
        source.hint(&record);
        target.hint(&record);
    }
    let keys: Vec<Key> = canaries
        .iter()
        .map(|key| Key::new(&key.namespace_id, &key.run_id))
        .collect();
    let until = Instant::now() + SEEN_WITHIN;
    loop {
        let at_target = match seen_in(target, &keys).await {
            Ok(found) => found,
            Err(problem) => return Ok(Look::Failing(Side::Target, problem.message)),
        };
        let is_over = Instant::now() >= until;
        // Before promote the target alone is asked as long as it may be well.
        if at_target == keys.len() && !order.kept {
            return Ok(Look::Proven);
        }
        if order.kept || is_over {
            let at_source = match seen_in(source, &keys).await {
                Ok(found) => found,
                Err(problem) => return source_fails(order, problem),
            };
            if at_target == keys.len() && at_source == keys.len() {
                return Ok(Look::Proven);
            }
            if is_over {
                return Ok(lacking(order, keys.len(), (source, at_source), (target, at_target)));
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// How many of the canaries a store has.
async fn seen_in(store: &dyn Read, keys: &[Key]) -> Result<usize, Problem> {
    match timeout(ANSWERS_WITHIN, store.versions(keys)).await {
        Ok(Ok(found)) => Ok(found.len()),
        Ok(Err(error)) => Err(stores::trouble(&error)),
        Err(_) => Err(Problem::new(
            Code::StoreUnreachable,
            format!("{} does not answer", store.describe()),
        )),
    }
}

/// What it says that not every canary is in both stores.
fn lacking(order: &WatchWrites, all: usize, source: (&dyn Read, usize), target: (&dyn Read, usize)) -> Look {
    let words = |(store, found): (&dyn Read, usize)| format!("{} has {found} of {all} canaries", store.describe());
    match target.1.cmp(&source.1) {
        Ordering::Less => Look::Failing(
            Side::Target,
            format!("{}, and the source has {}", words(target), source.1),
        ),
        Ordering::Greater if order.kept => Look::Failing(
            Side::Source,
            format!("{}, and the target has {}", words(source), target.1),
        ),
        _ => Look::Unknown(format!("{}, and the source has no more", words(target))),
    }
}
