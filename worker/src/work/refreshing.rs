//! Refreshing: the server writes anew, from its own state, what the target lacks.
//!
//! A source that holds no search attributes cannot give them back; the execution's mutable state can. The server is asked
//! to make the execution's tasks anew, its Visibility task among them, and writes the record to both stores. That is work
//! for the main store, so it is paced, and only done for what the target lacks.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use crossfade_cluster::{
    ExecutionKey, Frontend,
    mutable_state::{self, MutableState},
};
use crossfade_plan::{
    existing::{REFRESHED_A_SECOND, Refreshables},
    order::{RefreshRecords, Refreshed},
    problem::{Code, Problem},
    spec::Spec,
};
use crossfade_visibility::{
    origin::Origin,
    ports::{Error, Range, Read},
    record::{Key, Record},
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{beat::Beat, cursor, frontend, problems::call, stores};

/// Records read from the source at once.
const PAGE: usize = 1000;
/// Calls under way at the same time: enough for the rate on a slow network, few enough for a small cluster.
const AT_ONCE: usize = 8;
/// How long refreshed records are given to reach the target. It takes well under a second; a busy queue takes longer, and
/// what comes later still is written over the copy.
const SEEN_WITHIN: Duration = Duration::from_secs(20);
/// Pause between two looks at the target, and after the server had no time.
const PAUSE: Duration = Duration::from_millis(250);
/// How often a call that the server had no time for is made again before the activity fails, and is tried again itself.
const TRIES: u32 = 5;

/// Has the server write anew what the target lacks, from the order's cursor on, or from where an earlier attempt was.
pub(crate) async fn run(order: &RefreshRecords, beat: &Beat) -> Result<Refreshed, Problem> {
    let began = Instant::now();
    let until = began + Duration::from_secs(order.budget_seconds);
    let pair = stores::open(&order.context).await?;
    let (source, target) = (pair.source.read(), pair.target.read());
    let rate = order.records_per_second.unwrap_or(REFRESHED_A_SECOND).max(1);
    let refresher = Refresher::new(&order.context.spec, order.refresh.clone(), rate).await?;
    let earlier = beat.now();
    let mut done = Refreshed {
        cursor: earlier.cursor.or_else(|| order.cursor.clone()),
        scanned: earlier.scanned,
        refreshed: earlier.refreshed,
        left: earlier.left,
        ..Refreshed::default()
    };
    'pages: loop {
        let range = Range {
            after: cursor::read(done.cursor.as_deref()),
            ..Range::default()
        };
        let page = source
            .scan(&range, PAGE)
            .await
            .map_err(|error| stores::trouble(&error))?;
        if page.is_empty() {
            done.done = true;
            break;
        }
        let keys: Vec<Key> = page.iter().map(|record| record.key.clone()).collect();
        let held = target.versions(&keys).await.map_err(|error| stores::trouble(&error))?;
        for records in page.chunks(refresher.step()) {
            let lacking: Vec<&Record> = records
                .iter()
                .filter(|record| !held.contains_key(&record.key))
                .collect();
            let refreshed = refresher.refresh(&lacking).await?;
            let seen = await_seen(&*target, &refreshed).await?;
            done.scanned += records.len() as u64;
            done.refreshed += seen;
            done.left += lacking.len() as u64 - seen;
            done.cursor = records.last().map(|record| cursor::write(&record.key));
            beat.show(|heartbeat| {
                heartbeat.cursor.clone_from(&done.cursor);
                heartbeat.scanned = done.scanned;
                heartbeat.refreshed = done.refreshed;
                heartbeat.left = done.left;
                heartbeat.doing = format!("refreshing, {} so far", done.refreshed);
            });
            if beat.should_stop() || Instant::now() >= until {
                break 'pages;
            }
        }
    }
    done.millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(done)
}

/// Waits until the target has these, and gives how many it has in the end. What does not come is left to the copy.
async fn await_seen(target: &dyn Read, keys: &[Key]) -> Result<u64, Problem> {
    if keys.is_empty() {
        return Ok(0);
    }
    let until = Instant::now() + SEEN_WITHIN;
    loop {
        let seen = target
            .versions(keys)
            .await
            .map_err(|error| stores::trouble(&error))?
            .len();
        if seen >= keys.len() || Instant::now() >= until {
            return Ok(seen as u64);
        }
        sleep(PAUSE).await;
    }
}

/// Refreshes executions at a rate, as far as the plan allows.
pub(crate) struct Refresher {
    frontend: Frontend,
    /// Names by id: the main store is asked by name.
    namespaces: BTreeMap<String, String>,
    allowed: Refreshables,
    rate: u32,
}

impl Refresher {
    /// For one cluster; `rate` is in executions a second.
    pub(crate) async fn new(spec: &Spec, allowed: Refreshables, rate: u32) -> Result<Self, Problem> {
        let frontend = frontend::open(spec).await?;
        let namespaces = frontend.namespaces().await.map_err(|error| call(&error))?;
        Ok(Self {
            frontend,
            namespaces: namespaces
                .into_iter()
                .map(|namespace| (namespace.id, namespace.name))
                .collect(),
            allowed,
            rate: rate.max(1),
        })
    }

    /// Records that are worked on together: what the rate allows in a second or two.
    fn step(&self) -> usize {
        usize::try_from(self.rate).unwrap_or(PAGE).clamp(1, PAGE)
    }

    /// Refreshes those of `records` that may be, and gives the keys of those that the server took.
    async fn refresh(&self, records: &[&Record]) -> Result<Vec<Key>, Problem> {
        let mut taken = Vec::new();
        let allowed = |record: &&&Record| {
            let of_namespace = self.allowed.get(&record.key.namespace_id);
            of_namespace.is_some_and(|allowed| if record.is_open() { allowed.open } else { allowed.closed })
        };
        let mut wanted: Vec<&Record> = records.iter().filter(allowed).copied().collect();
        let cleaned = self.cleaned_up(&wanted).await?;
        wanted.retain(|record| !cleaned.contains(&record.key));
        let began = Instant::now();
        let mut made: u32 = 0;
        for batch in wanted.chunks(AT_ONCE) {
            let keys: Vec<ExecutionKey> = batch.iter().map(|record| execution(record)).collect();
            for key in self.refresh_batch(keys).await? {
                taken.push(Key::new(key.namespace_id, key.run_id));
            }
            made += u32::try_from(batch.len()).unwrap_or(u32::MAX);
            let due = Duration::from_secs(1) * made / self.rate;
            sleep(due.saturating_sub(began.elapsed())).await;
        }
        Ok(taken)
    }

    /// Those closed ones whose memo and search attributes were removed from the main store when they closed: a refresh
    /// would empty their records in both stores.
    async fn cleaned_up(&self, records: &[&Record]) -> Result<BTreeSet<Key>, Problem> {
        let mut cleaned = BTreeSet::new();
        for (name, records) in self.by_namespace(records.iter().copied().filter(|record| !record.is_open())) {
            let keys: Vec<ExecutionKey> = records.iter().map(|record| execution(record)).collect();
            let states = self
                .frontend
                .mutable_states(name, &keys, AT_ONCE)
                .await
                .map_err(|error| call(&error))?;
            cleaned.extend(
                records
                    .iter()
                    .zip(states)
                    .filter(|(_, state)| state.as_ref().is_some_and(|state| state.attributes_removed))
                    .map(|(record, _)| record.key.clone()),
            );
        }
        Ok(cleaned)
    }

    /// Gives these records what only the main store has of their executions: search attributes, by the names that it has
    /// them by, parent and Task Queue. What a record has itself stays.
    pub(crate) async fn fill_in(&self, records: &mut [Record]) -> Result<(), Problem> {
        let mut found: BTreeMap<Key, MutableState> = BTreeMap::new();
        for (name, records) in self.by_namespace(records.iter()) {
            let keys: Vec<ExecutionKey> = records.iter().map(|record| execution(record)).collect();
            let states = self.frontend.mutable_states(name, &keys, AT_ONCE).await;
            let states = states.map_err(|error| call(&error))?;
            let of_each = records.into_iter().zip(states);
            found.extend(of_each.filter_map(|(record, state)| Some((record.key.clone(), state?))));
        }
        for record in records {
            if let Some(state) = found.remove(&record.key) {
                fill(record, state);
            }
        }
        Ok(())
    }

    fn by_namespace<'a>(&self, records: impl Iterator<Item = &'a Record>) -> BTreeMap<&str, Vec<&'a Record>> {
        let mut by_name: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
        for record in records {
            // One of a deleted Namespace has no state any more.
            if let Some(name) = self.namespaces.get(&record.key.namespace_id) {
                by_name.entry(name).or_default().push(record);
            }
        }
        by_name
    }

    /// Asks until the server has answered for each; gives those that it took.
    async fn refresh_batch(&self, mut keys: Vec<ExecutionKey>) -> Result<Vec<ExecutionKey>, Problem> {
        let mut taken = Vec::new();
        let mut wait = PAUSE;
        for attempt in 1..=TRIES {
            let answers = self.frontend.refresh_all(&keys, AT_ONCE).await;
            let mut again = Vec::new();
            let mut last = None;
            for (key, answer) in keys.into_iter().zip(answers) {
                match answer {
                    mutable_state::Refreshed::Refreshed => taken.push(key),
                    mutable_state::Refreshed::NotFound => {}
                    mutable_state::Refreshed::Failed(error) => {
                        last = Some(call(&error));
                        again.push(key);
                    }
                }
            }
            match last {
                None => return Ok(taken),
                Some(problem) if attempt == TRIES || problem.code == Code::ClusterRefused => return Err(problem),
                Some(_) => {}
            }
            keys = again;
            sleep(wait).await;
            wait *= 2;
        }
        Ok(taken)
    }
}

fn fill(record: &mut Record, state: MutableState) {
    if record.search_attributes.is_empty() {
        // The server writes them as JSON (1.23.1: common/searchattribute/encode.go); one that is null was unset.
        let values = state.search_attributes.into_iter().filter_map(|(name, payload)| {
            let value: Value = serde_json::from_slice(&payload.data).ok()?;
            (!value.is_null()).then_some((name, value))
        });
        record.search_attributes = values.collect();
    }
    if let (None, Some((workflow_id, run_id))) = (&record.parent_workflow_id, state.parent) {
        record.parent_workflow_id = Some(workflow_id);
        record.parent_run_id = Some(run_id);
    }
    if record.task_queue.is_empty() {
        record.task_queue = state.task_queue;
    }
}

fn execution(record: &Record) -> ExecutionKey {
    ExecutionKey {
        namespace_id: record.key.namespace_id.clone(),
        workflow_id: record.workflow_id.clone(),
        run_id: record.key.run_id.clone(),
    }
}

/// The cluster as a witness of what a source that keeps less, and lets records expire, does not tell.
pub(crate) struct ClusterState {
    pub(crate) refresher: Refresher,
    pub(crate) target: std::sync::Arc<dyn Read>,
}

/// What a port says when the cluster could not be asked.
pub(crate) fn witness_failed(frontend: &str, problem: &Problem) -> Error {
    let (store, reason) = (format!("the cluster at {frontend}"), problem.message.clone());
    if problem.code.retryable() {
        Error::Unreachable { store, reason }
    } else {
        Error::Failed { store, reason }
    }
}

#[async_trait]
impl Origin for ClusterState {
    async fn existing(&self, records: &[Record]) -> Result<BTreeSet<Key>, Error> {
        let mut existing = BTreeSet::new();
        for (name, records) in self.refresher.by_namespace(records.iter()) {
            let keys: Vec<ExecutionKey> = records.iter().map(|record| execution(record)).collect();
            let states = self
                .refresher
                .frontend
                .mutable_states(name, &keys, AT_ONCE)
                .await
                .map_err(|error| witness_failed(self.refresher.frontend.address(), &call(&error)))?;
            existing.extend(
                records
                    .iter()
                    .zip(states)
                    .filter(|(_, state)| state.is_some())
                    .map(|(record, _)| record.key.clone()),
            );
        }
        Ok(existing)
    }

    async fn restore(&self, records: &[Record]) -> Result<(), Error> {
        let records: Vec<&Record> = records.iter().collect();
        for records in records.chunks(self.refresher.step()) {
            let taken = self
                .refresher
                .refresh(records)
                .await
                .map_err(|problem| witness_failed(self.refresher.frontend.address(), &problem))?;
            await_seen(&*self.target, &taken)
                .await
                .map_err(|problem| witness_failed(self.refresher.frontend.address(), &problem))?;
        }
        Ok(())
    }
}
