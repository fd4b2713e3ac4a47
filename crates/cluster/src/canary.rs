//! Canaries: one tiny workflow for each history shard, to prove where the writes of every history host go.
//!
//! A shard is owned by one history host, and only history writes Visibility, so a record from each shard in a store
//! is a proof that every history host writes to it. Whether the records are there is for the caller to look up in the
//! stores by the keys that [`start`] gives.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use crate::error::CallError;
use crate::execution::ExecutionKey;
use crate::frontend::Frontend;
use crate::parked::{Parked, Parking};

/// Workflow type of every canary.
pub const WORKFLOW_TYPE: &str = "CrossfadeCanary";

/// The shard of a workflow id: 1 to `shards`. 0 shards count as 1.
///
/// The server's own rule (1.30.8: common/util.go, `ShardingKeyToShard`; the same since before 1.21).
pub fn shard_of(namespace_id: &str, workflow_id: &str, shards: u32) -> u32 {
    let hash = farmhash::fingerprint32(format!("{namespace_id}_{workflow_id}").as_bytes());
    hash % shards.max(1) + 1
}

/// One workflow id for each shard, in the order of the shards; the same for the same `seed`.
///
/// # Errors
/// [`CanaryError::Search`] when the bounded search leaves a shard without an id, which chance makes once in far more
/// than all the migrations there will ever be.
pub fn canary_ids(seed: &str, namespace_id: &str, shards: u32) -> Result<Vec<String>, CanaryError> {
    let shards = shards.max(1);
    let mut ids: Vec<Option<String>> = vec![None; shards as usize];
    let mut missing = shards;
    // Drawing until every shard was hit takes about n (ln n + c) draws, all but exp(-c) of the time.
    let bound = (f64::from(shards) * (f64::from(shards).ln() + 60.0)) as u64;
    for number in 0..bound {
        let id = format!("{seed}-{number}");
        let slot = &mut ids[(shard_of(namespace_id, &id, shards) - 1) as usize];
        if slot.is_none() {
            *slot = Some(id);
            missing -= 1;
            if missing == 0 {
                return Ok(ids.into_iter().flatten().collect());
            }
        }
    }
    Err(CanaryError::Search {
        seed: seed.to_owned(),
        shards,
        missing,
    })
}

/// Which canaries to start.
#[derive(Debug, Clone)]
pub struct Flock {
    /// Name of the Namespace that they live in. Choose one without archival: a closed canary would be archived.
    pub namespace: String,
    /// Its id, from [`Frontend::namespace`].
    pub namespace_id: String,
    /// First part of each workflow id. Starting the same flock again finds the same runs, so a new proof needs a new
    /// seed, for instance the migration's id and a count.
    pub seed: String,
    /// Number of history shards, from [`Frontend::cluster`].
    pub shards: u32,
    /// Memo of each canary.
    pub memo: BTreeMap<String, serde_json::Value>,
    /// Search attributes of each canary, by name; they must be registered.
    pub search_attributes: BTreeMap<String, serde_json::Value>,
    /// When the server closes those that were never removed; at least 1 s.
    pub lifetime: Duration,
    /// How many are started or removed at the same time; at least 1.
    pub at_once: usize,
}

/// Canaries that could not be placed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CanaryError {
    /// No id was found for some shards.
    #[error("{missing} of {shards} shards got no canary id from the seed {seed:?}; try another seed")]
    Search {
        /// The seed.
        seed: String,
        /// How many shards there are.
        shards: u32,
        /// How many are without an id.
        missing: u32,
    },
    /// A canary was not started or removed.
    #[error("canary {workflow_id} in Namespace {namespace}: {source}")]
    Call {
        /// Name of the Namespace.
        namespace: String,
        /// Which canary.
        workflow_id: String,
        /// The server's answer.
        source: Box<CallError>,
    },
}

impl CanaryError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Call { source, .. } if source.is_transient())
    }
}

/// Starts a flock and gives its keys in the order of the shards. A canary that is there already keeps its run.
///
/// # Errors
/// The first canary that could not be started; those before it stay until [`remove`] or their lifetime's end.
pub async fn start(frontend: &Frontend, flock: &Flock) -> Result<Vec<ExecutionKey>, CanaryError> {
    let ids = canary_ids(&flock.seed, &flock.namespace_id, flock.shards)?;
    start_these(frontend, flock, ids).await
}

/// As [`start`] on some of the shards only: `count` of them, spread evenly, another set for each `turn`, so that after
/// `shards / count` turns all had one.
///
/// # Errors
/// As [`start`].
pub async fn start_some(
    frontend: &Frontend,
    flock: &Flock,
    count: u32,
    turn: u64,
) -> Result<Vec<ExecutionKey>, CanaryError> {
    let mut ids = canary_ids(&flock.seed, &flock.namespace_id, flock.shards)?;
    let step = ids.len().div_ceil(count.max(1) as usize).max(1);
    let first = usize::try_from(turn % step as u64).unwrap_or_default();
    let ids = ids.drain(..).skip(first).step_by(step).collect();
    start_these(frontend, flock, ids).await
}

async fn start_these(frontend: &Frontend, flock: &Flock, ids: Vec<String>) -> Result<Vec<ExecutionKey>, CanaryError> {
    let lifetime = flock.lifetime.max(Duration::from_secs(1));
    stream::iter(ids)
        .map(|workflow_id| async move {
            let parked = Parked {
                namespace: &flock.namespace,
                workflow_id: &workflow_id,
                workflow_type: WORKFLOW_TYPE,
                memo: &flock.memo,
                search_attributes: &flock.search_attributes,
                lifetime: Some(lifetime),
                delay: lifetime,
                again: false,
            };
            let name = format!("{}/{workflow_id}", flock.namespace_id);
            let request_id = Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string();
            match frontend.park(parked, request_id).await {
                Ok(Parking::Started(run_id) | Parking::There(run_id)) => Ok(ExecutionKey {
                    namespace_id: flock.namespace_id.clone(),
                    workflow_id,
                    run_id,
                }),
                Err(source) => Err(CanaryError::Call {
                    namespace: flock.namespace.clone(),
                    workflow_id,
                    source: Box::new(source),
                }),
            }
        })
        .buffered(flock.at_once.max(1))
        .try_collect()
        .await
}

/// Deletes canaries with their histories and records; those that are gone are left so.
/// The server removes the records in the background and from the stores that its writing mode names.
///
/// # Errors
/// The first one that could not be deleted; calling again goes on with the rest.
pub async fn remove(
    frontend: &Frontend,
    namespace: &str,
    keys: &[ExecutionKey],
    at_once: usize,
) -> Result<(), CanaryError> {
    stream::iter(keys.to_vec())
        .map(|key| async move {
            frontend
                .delete(namespace, &key.workflow_id, &key.run_id)
                .await
                .map_err(|source| CanaryError::Call {
                    namespace: namespace.to_owned(),
                    workflow_id: key.workflow_id,
                    source: Box::new(source),
                })
        })
        .buffer_unordered(at_once.max(1))
        .try_collect()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMESPACE: &str = "32049b68-7872-4094-8e63-d0dd59896a83";

    #[test]
    fn one_id_for_each_shard_in_order() {
        for shards in [1, 4, 512, 4096] {
            let ids = canary_ids("crossfade-canary-m1", NAMESPACE, shards).expect("ids");
            assert_eq!(ids.len(), shards as usize);
            for (at, id) in ids.iter().enumerate() {
                assert_eq!(shard_of(NAMESPACE, id, shards), at as u32 + 1);
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        let ids = canary_ids("a", NAMESPACE, 64).expect("ids");
        assert_eq!(ids, canary_ids("a", NAMESPACE, 64).expect("ids"));
        assert_ne!(ids, canary_ids("b", NAMESPACE, 64).expect("ids"));
        assert_eq!(shard_of(NAMESPACE, "x", 0), 1);
    }
}
