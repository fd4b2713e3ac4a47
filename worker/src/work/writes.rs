//! Where the server writes, proven by canaries on every history shard.

use std::{collections::BTreeMap, time::Duration};

use crossfade_cluster::{
    ExecutionKey,
    canary::{self, Flock},
};
use crossfade_plan::{
    order::{ProveWrites, WritesProven},
    problem::{Code, Problem},
};
use crossfade_visibility::{
    ports::Read,
    record::{Key, marker_record},
};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    attributes,
    beat::Beat,
    clock, frontend,
    problems::{call, canary as canary_problem},
    stores,
};

/// How long a restarted cluster is given to serve before canaries are started.
const SERVING_WITHIN: Duration = Duration::from_secs(120);
/// How long one flock is given to be seen. A record takes well under a second; a busy queue takes longer.
const SEEN_WITHIN: Duration = Duration::from_secs(20);
/// Flocks before it counts as lost: a host may have read its dynamic config later than expected.
const FLOCKS: u32 = 4;
/// When the server closes canaries that were never removed.
const LIFETIME: Duration = Duration::from_secs(900);
/// Canaries started or removed at the same time: gentle on a busy frontend, and 4,096 shards take a minute.
const AT_ONCE: usize = 16;

/// Starts canaries until a whole flock is seen where it should be.
pub(crate) async fn prove(order: &ProveWrites, beat: &Beat) -> Result<WritesProven, Problem> {
    let spec = &order.context.spec;
    let frontend = frontend::await_open(spec, SERVING_WITHIN).await?;
    // Only what is asked about: on the way back, the target may be the very thing that is broken.
    let mut opened = Vec::new();
    if order.source {
        opened.push(stores::open_source(&order.context).await?.read());
    }
    if order.target {
        opened.push(stores::open_target(&order.context).await?.read());
    }
    let wanted: Vec<&dyn Read> = opened.iter().map(|store| &**store).collect();
    if order.source && order.target {
        attributes::agree(&order.context, &frontend, order.attributes.as_ref()).await?;
    }
    let name = &spec.cluster.canary_namespace;
    let namespace = frontend
        .namespace(name)
        .await
        .map_err(|error| call(&error))?
        .ok_or_else(|| {
            Problem::new(
                Code::CanaryLost,
                format!("Namespace `{name}` for canaries does not exist"),
            )
            .at("cluster.canary_namespace")
        })?;
    let mut lost = String::new();
    for number in 1..=FLOCKS {
        beat.doing(format!("canaries on {} shards, flock {number}", order.shards));
        let flock = Flock {
            namespace: name.clone(),
            namespace_id: namespace.id.clone(),
            seed: format!("crossfade-canary-{}-{}-{number}", order.context.key, order.proof),
            shards: order.shards,
            memo: BTreeMap::from([("crossfade".to_owned(), Value::from("canary"))]),
            search_attributes: BTreeMap::new(),
            lifetime: LIFETIME,
            at_once: AT_ONCE,
        };
        let began = Timestamp::now();
        let keys = canary::start(&frontend, &flock)
            .await
            .map_err(|error| canary_problem(&error))?;
        let started = Timestamp::now();
        hint(&keys, &wanted, started);
        let seen = await_seen(&keys, &wanted, beat).await;
        let at = Timestamp::now();
        let skewed = match &seen {
            Ok(Ok(())) => clocks_agree(&wanted, &keys, began, started).await,
            _ => Ok(()),
        };
        // Whatever was seen, and also where a store cannot be asked: this proof may not be tried again.
        canary::remove(&frontend, name, &keys, AT_ONCE)
            .await
            .map_err(|error| canary_problem(&error))?;
        match seen? {
            Ok(()) => {
                skewed?;
                return Ok(WritesProven {
                    canaries: u32::try_from(keys.len()).unwrap_or(u32::MAX),
                    at,
                });
            }
            Err(missing) => lost = missing,
        }
        if beat.should_stop() {
            break;
        }
    }
    Err(Problem::new(Code::CanaryLost, format!("after {FLOCKS} flocks: {lost}")).at("cluster.frontend"))
}

/// Tells the stores of which workflows the canaries are: one that cannot look a run up by its id would look through all
/// that started lately, and for a canary that is not there yet through everything.
fn hint(keys: &[ExecutionKey], stores: &[&dyn Read], started: Timestamp) {
    for key in keys {
        let mut record = marker_record(&key.namespace_id, &key.workflow_id, &key.run_id, started);
        record.close_time = None;
        stores.iter().for_each(|store| store.hint(&record));
    }
}

/// Waits until every store has every canary, or nobody wants to know any more; inside, what a store still lacks.
async fn await_seen(keys: &[ExecutionKey], stores: &[&dyn Read], beat: &Beat) -> Result<Result<(), String>, Problem> {
    let keys: Vec<Key> = keys
        .iter()
        .map(|key| Key::new(&key.namespace_id, &key.run_id))
        .collect();
    let until = Instant::now() + SEEN_WITHIN;
    loop {
        let mut lacking = Vec::new();
        for store in stores {
            let seen = store
                .versions(&keys)
                .await
                .map_err(|error| stores::trouble(&error))?
                .len();
            if seen < keys.len() {
                lacking.push(format!("{} has {seen} of {} canaries", store.describe(), keys.len()));
            }
        }
        if lacking.is_empty() {
            return Ok(Ok(()));
        }
        if Instant::now() >= until || beat.should_stop() {
            return Ok(Err(lacking.join("; ")));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The hosts of every shard go by the time of this machine, as far as the canaries tell: each was started between `began`
/// and `started`. The Retention wait and the report reason with times of both.
async fn clocks_agree(
    stores: &[&dyn Read],
    keys: &[ExecutionKey],
    began: Timestamp,
    started: Timestamp,
) -> Result<(), Problem> {
    let Some(store) = stores.first() else { return Ok(()) };
    let keys: Vec<Key> = keys
        .iter()
        .map(|key| Key::new(&key.namespace_id, &key.run_id))
        .collect();
    let records = store.get(&keys).await.map_err(|error| stores::trouble(&error))?;
    let off = records
        .iter()
        .map(|record| clock::off_by(record.start_time, began, started))
        .max_by_key(|off| off.abs())
        .unwrap_or_default();
    match clock::skewed(off, "the clock of a history host", "that of this worker's machine") {
        Some(problem) => Err(problem.at("cluster.hosts")),
        None => Ok(()),
    }
}
