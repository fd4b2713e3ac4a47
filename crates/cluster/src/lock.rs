//! One migration for each cluster.
//!
//! The lock is a parked workflow with a fixed id on the migrated cluster, whose memo names the migration that holds it.
//! It needs no store of its own, every tool shows it, and it outlives every process of ours.
//! It never runs out: a migration may wait for months. A lock whose owner is no longer running is stale and is retaken.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::CallError;
use crate::execution::Execution;
use crate::frontend::Frontend;
use crate::parked::{Parked, Parking};

/// Workflow id of the lock.
pub const WORKFLOW_ID: &str = "crossfade-migration-lock";

/// Workflow type of the lock.
pub const WORKFLOW_TYPE: &str = "CrossfadeMigrationLock";

/// Where the lock lives: the one Namespace that every cluster has.
pub const NAMESPACE: &str = "temporal-system";

/// Memo field that names the owner.
const OWNER: &str = "crossfadeOwner";

/// How often a race for the lock is run before we say that it goes on.
const RACES: usize = 5;

/// Ten years.
const FAR: std::time::Duration = std::time::Duration::from_secs(10 * 365 * 24 * 3600);

/// The migration that holds, or asks for, the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Id of the cluster that runs the migration's workflow ([`crate::frontend::ClusterInfo::id`]).
    pub cluster_id: String,
    /// Namespace of that workflow.
    pub namespace: String,
    /// Its workflow id; continued runs are the same owner.
    pub workflow_id: String,
}

/// Who holds the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The migration.
    pub owner: Owner,
    /// When it took the lock.
    pub since: Option<Timestamp>,
    /// Whether that migration is still there.
    pub state: HolderState,
}

/// Whether the migration that holds the lock is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HolderState {
    /// It runs.
    Running,
    /// It does not run any more: the lock is stale, the next [`acquire`] takes it.
    Gone,
    /// It runs, or not, on a cluster that we cannot ask. Somebody has to look there, and then [`break_open`] the lock.
    Elsewhere,
}

/// What came of asking for the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquire {
    /// The lock is ours. Asking again is harmless.
    Acquired {
        /// The migration that is gone and left the lock behind.
        taken_from: Option<Owner>,
    },
    /// Another migration has it.
    HeldBy(Holder),
}

/// The lock could not be handled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// A call failed.
    #[error("migration lock {WORKFLOW_ID} in Namespace {NAMESPACE}: {0}")]
    Call(#[from] CallError),
    /// A running workflow has the id of the lock and is none.
    #[error(
        "workflow {WORKFLOW_ID} in Namespace {NAMESPACE} (run {run_id}) does not say which migration holds it; \
         if it is a leftover, terminate it"
    )]
    NotALock {
        /// Run id of that workflow.
        run_id: String,
    },
    /// Only the owner may release it.
    #[error("the migration lock is held by {}, not by this migration", .0.owner.workflow_id)]
    NotOwner(
        /// Who holds it.
        Box<Holder>,
    ),
    /// It changed hands while we looked, several times.
    #[error("the migration lock changed hands {RACES} times while we asked for it; try again")]
    Contended,
}

impl LockError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Call(error) => error.is_transient(),
            Self::Contended => true,
            Self::NotALock { .. } | Self::NotOwner(_) => false,
        }
    }
}

/// Asks for the lock of `cluster` in the name of `owner`.
///
/// `control` is the cluster that runs the asking migration, where it is another one: the present holder may run there.
pub async fn acquire(cluster: &Frontend, owner: &Owner, control: Option<&Frontend>) -> Result<Acquire, LockError> {
    let memo = BTreeMap::from([(OWNER.to_owned(), serde_json::json!(owner))]);
    let mut taken_from = None;
    for _ in 0..RACES {
        let parked = Parked {
            namespace: NAMESPACE,
            workflow_id: WORKFLOW_ID,
            workflow_type: WORKFLOW_TYPE,
            memo: &memo,
            search_attributes: &BTreeMap::new(),
            lifetime: None,
            delay: FAR,
            again: true,
        };
        match cluster.park(parked, Uuid::new_v4().to_string()).await? {
            Parking::Started(_) => return Ok(Acquire::Acquired { taken_from }),
            Parking::There(_) => {}
        }
        let Some((run_id, holder)) = find(cluster, control).await? else {
            continue;
        };
        if holder.owner == *owner {
            return Ok(Acquire::Acquired { taken_from });
        }
        if holder.state != HolderState::Gone {
            return Ok(Acquire::HeldBy(holder));
        }
        // By its run id, so that a lock that somebody else took meanwhile stays.
        remove(
            cluster,
            &run_id,
            &format!("its migration {} does not run any more", holder.owner.workflow_id),
        )
        .await?;
        taken_from = Some(holder.owner);
    }
    Err(LockError::Contended)
}

/// Who holds the lock of `cluster`; `None` when nobody does. `control` as for [`acquire`].
pub async fn holder(cluster: &Frontend, control: Option<&Frontend>) -> Result<Option<Holder>, LockError> {
    Ok(find(cluster, control).await?.map(|(_, holder)| holder))
}

/// Gives the lock back. Without a lock there is nothing to do.
///
/// # Errors
/// [`LockError::NotOwner`] when another migration holds it.
pub async fn release(cluster: &Frontend, owner: &Owner) -> Result<(), LockError> {
    match find(cluster, None).await? {
        None => Ok(()),
        Some((run_id, holder)) if holder.owner == *owner => remove(cluster, &run_id, "the migration ended").await,
        Some((_, holder)) => Err(LockError::NotOwner(Box::new(holder))),
    }
}

/// Removes the lock whoever holds it, and says who that was. For an operator who has looked.
pub async fn break_open(cluster: &Frontend) -> Result<Option<Owner>, LockError> {
    match find(cluster, None).await? {
        None => Ok(None),
        Some((run_id, holder)) => {
            remove(cluster, &run_id, "broken open by an operator").await?;
            Ok(Some(holder.owner))
        }
    }
}

/// The open lock, its run id and its holder.
async fn find(cluster: &Frontend, control: Option<&Frontend>) -> Result<Option<(String, Holder)>, LockError> {
    let Some(lock) = cluster
        .describe(NAMESPACE, WORKFLOW_ID, None)
        .await?
        .filter(|e| e.status.is_open())
    else {
        return Ok(None);
    };
    let Some(owner) = owner_of(&lock) else {
        return Err(LockError::NotALock { run_id: lock.run_id });
    };
    let state = state_of(&owner, cluster, control).await?;
    Ok(Some((
        lock.run_id,
        Holder {
            owner,
            since: lock.start_time,
            state,
        },
    )))
}

fn owner_of(lock: &Execution) -> Option<Owner> {
    serde_json::from_value(lock.memo_json(OWNER)?).ok()
}

async fn state_of(owner: &Owner, cluster: &Frontend, control: Option<&Frontend>) -> Result<HolderState, LockError> {
    for frontend in [Some(cluster), control].into_iter().flatten() {
        if frontend.cluster().await?.id == owner.cluster_id {
            let found = frontend.describe(&owner.namespace, &owner.workflow_id, None).await?;
            let running = found.is_some_and(|e| e.status.is_open());
            return Ok(if running {
                HolderState::Running
            } else {
                HolderState::Gone
            });
        }
    }
    Ok(HolderState::Elsewhere)
}

async fn remove(cluster: &Frontend, run_id: &str, reason: &str) -> Result<(), LockError> {
    // Terminating is done when the call returns, deleting some time later: the next one need not wait for it.
    cluster.terminate(NAMESPACE, WORKFLOW_ID, run_id, reason).await?;
    cluster.delete(NAMESPACE, WORKFLOW_ID, run_id).await?;
    Ok(())
}
