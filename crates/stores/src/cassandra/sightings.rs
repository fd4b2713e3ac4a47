//! What was lately seen of records, here or in the other store: enough to find them again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crossfade_visibility::record::Record;
use uuid::Uuid;

/// How many records are remembered at least; twice as many at most, of some 200 bytes each. More than a comparison
/// collects before it asks for them again, or a copy writes before it asks what is gone.
const REMEMBERED: usize = 20_000;

/// Where a record was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    /// The Workflow Id.
    pub(super) workflow_id: Box<str>,
    /// Start time, milliseconds.
    pub(super) start: i64,
    /// Close time, milliseconds; none if it was open.
    pub(super) close: Option<i64>,
    /// Whether it was seen here, so that a closed one that is gone from its place is gone.
    pub(super) here: bool,
}

/// The latest sightings. The older half is forgotten when the younger is full.
#[derive(Default)]
pub(super) struct Sightings(Mutex<[HashMap<(Uuid, Uuid), Sighting>; 2]>);

impl Sightings {
    /// Takes note of a record with a key of UUIDs; any other cannot be in Cassandra.
    pub(super) fn note(&self, record: &Record, here: bool) {
        let (Ok(namespace), Ok(run)) = (record.key.namespace_id.parse(), record.key.run_id.parse()) else {
            return;
        };
        let sighting = Sighting {
            workflow_id: record.workflow_id.as_str().into(),
            start: record.start_time.as_millisecond(),
            close: record.close_time.map(|at| at.as_millisecond()),
            here,
        };
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *halves;
        if young.len() >= REMEMBERED {
            std::mem::swap(young, old);
            young.clear();
        }
        young.insert((namespace, run), sighting);
    }

    /// The last sighting of a run, if it is still remembered.
    pub(super) fn of(&self, namespace: Uuid, run: Uuid) -> Option<Sighting> {
        let halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        halves.iter().find_map(|half| half.get(&(namespace, run)).cloned())
    }
}

#[cfg(test)]
mod tests {
    use crossfade_visibility::record::marker_record;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn the_latest_are_remembered_and_the_last_sighting_counts() {
        let sightings = Sightings::default();
        let namespace = Uuid::from_u128(1);
        let note = |n: u128, workflow: &str| {
            let run = Uuid::from_u128(n).to_string();
            sightings.note(
                &marker_record(&namespace.to_string(), workflow, &run, Timestamp::UNIX_EPOCH),
                true,
            );
        };
        (0..60_000).for_each(|n| note(n, "first"));
        note(59_999, "last");
        let workflow = |n: u128| {
            sightings
                .of(namespace, Uuid::from_u128(n))
                .map(|seen| seen.workflow_id.to_string())
        };
        assert_eq!(workflow(59_999).as_deref(), Some("last"));
        assert_eq!(workflow(40_000).as_deref(), Some("first"));
        assert_eq!(workflow(5), None);
        sightings.note(&marker_record("odd", "w", "odd", Timestamp::UNIX_EPOCH), true);
    }
}
