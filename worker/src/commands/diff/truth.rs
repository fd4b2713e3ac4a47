//! The cluster as a third witness: which of two stores is right about an execution.

use std::collections::BTreeMap;

use crossfade_cluster::{ExecutionKey, Frontend, mutable_state::MutableState};
use crossfade_visibility::{
    attribute,
    ports::{Precision, Read},
    record::{Key, Record},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::stores;
use crate::{connection, exit::Failure, work::problems::call};

/// Executions that are asked for at a time.
const AT_ONCE: usize = 8;
/// Records that are read at a time.
const PAGE: usize = 500;

/// Who is right about one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The source agrees with the cluster, the target does not.
    Source,
    /// The target does, the source does not.
    Target,
    /// Neither does.
    Neither,
    /// Both do, as far as the cluster tells.
    Undecided,
}

impl Verdict {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
            Self::Neither => "neither",
            Self::Undecided => "undecided",
        }
    }
}

/// A frontend of the cluster.
pub(super) struct Witness {
    frontend: Frontend,
    /// Names by id.
    namespaces: BTreeMap<String, String>,
}

impl Witness {
    /// Connects to `address`, or else where the settings say; `flag` is what asked for it.
    pub(super) async fn connect(
        settings: &connection::Settings,
        address: Option<&str>,
        flag: &str,
    ) -> Result<Self, Failure> {
        let settings = settings
            .cluster(address)
            .map_err(|error| Failure::from(error).context(flag))?;
        let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("{flag}: {error}"));
        let frontend = Frontend::connect(&settings).await.map_err(|error| failed(&error))?;
        let namespaces = frontend.namespaces().await.map_err(|error| failed(&error))?;
        Ok(Self {
            frontend,
            namespaces: namespaces
                .into_iter()
                .map(|namespace| (namespace.id, namespace.name))
                .collect(),
        })
    }

    /// The id of a Namespace by its name.
    pub(super) fn id_of(&self, name: &str) -> Option<&str> {
        let found = self.namespaces.iter().find(|(_, known)| *known == name);
        found.map(|(id, _)| id.as_str())
    }

    /// Who is right about each of `keys`, as both stores have them now.
    pub(super) async fn judge(
        &self,
        source: &dyn Read,
        target: &dyn Read,
        keys: &[Key],
    ) -> Result<BTreeMap<Key, Verdict>, Failure> {
        let failure = |error| stores::failure(&error);
        let precision = source.precision().coarser(target.precision());
        let mut verdicts = BTreeMap::new();
        for keys in keys.chunks(PAGE) {
            let by_key = |records: Vec<Record>| -> BTreeMap<Key, Record> {
                records.into_iter().map(|record| (record.key.clone(), record)).collect()
            };
            let in_target = by_key(target.get(keys).await.map_err(failure)?);
            in_target.values().for_each(|held| source.hint(held));
            let in_source = by_key(source.get(keys).await.map_err(failure)?);
            let mut asked: BTreeMap<&str, Vec<ExecutionKey>> = BTreeMap::new();
            for key in keys {
                let known = in_source.get(key).or_else(|| in_target.get(key));
                // Of a Namespace that is gone there is no state any more.
                if let (Some(record), Some(name)) = (known, self.namespaces.get(&key.namespace_id)) {
                    asked.entry(name).or_default().push(ExecutionKey {
                        namespace_id: key.namespace_id.clone(),
                        workflow_id: record.workflow_id.clone(),
                        run_id: key.run_id.clone(),
                    });
                }
            }
            let mut states: BTreeMap<Key, MutableState> = BTreeMap::new();
            for (name, executions) in asked {
                let found = self.frontend.mutable_states(name, &executions, AT_ONCE).await;
                let found = found.map_err(|error| Failure::from(vec![call(&error)]).context("--truth"))?;
                let found = executions.into_iter().zip(found);
                states.extend(found.filter_map(|(execution, state)| {
                    Some((Key::new(execution.namespace_id, execution.run_id), state?))
                }));
            }
            for key in keys {
                let state = states.get(key).filter(|state| !state.zombie);
                let verdict = verdict(state, in_source.get(key), in_target.get(key), precision);
                verdicts.insert(key.clone(), verdict);
            }
        }
        Ok(verdicts)
    }
}

fn verdict(
    state: Option<&MutableState>,
    source: Option<&Record>,
    target: Option<&Record>,
    precision: Precision,
) -> Verdict {
    let agrees = |record: Option<&Record>| match (state, record) {
        (None, None) => true,
        (Some(state), Some(record)) => fits(state, record, precision),
        _ => false,
    };
    match (agrees(source), agrees(target)) {
        (true, false) => Verdict::Source,
        (false, true) => Verdict::Target,
        (false, false) => Verdict::Neither,
        (true, true) => Verdict::Undecided,
    }
}

/// Whether a record says what the cluster says, in all that the cluster tells.
fn fits(state: &MutableState, record: &Record, precision: Precision) -> bool {
    let time = |at: Timestamp| precision.truncate(at);
    let closed = state.status.is_open() || state.close_time.map(time) == record.close_time.map(time);
    let attributes = state.attributes_removed || {
        // What the server keeps of an attribute that was unset is null; what it derives itself is not here.
        let told: Map<String, Value> = state
            .search_attributes
            .iter()
            .map(|(name, payload)| {
                (
                    name.clone(),
                    serde_json::from_slice(&payload.data).unwrap_or(json!(null)),
                )
            })
            .collect();
        let held: Map<String, Value> = record
            .search_attributes
            .iter()
            .filter(|(name, _)| told.contains_key(*name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        attribute::differing(&told, &held).is_empty()
    };
    let queue = record.task_queue.is_empty() || state.task_queue == record.task_queue;
    crossfade_cluster::ExecutionStatus::from_number(record.status) == state.status && closed && attributes && queue
}
