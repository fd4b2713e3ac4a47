//! Comparing and repairing between stores of different families: a source that keeps less than the target, and loses
//! records before the cluster does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use crossfade_visibility::compare::{Means, Options, Outcome, Progress, compare_with};
use crossfade_visibility::copy::Step;
use crossfade_visibility::keeps::{Column, Keeps};
use crossfade_visibility::memory::Memory;
use crossfade_visibility::origin::Origin;
use crossfade_visibility::ports::{Error, Precision, Range, Write};
use crossfade_visibility::record::{Key, Record, marker_record};
use crossfade_visibility::sameness::{Yardstick, differing};
use jiff::Timestamp;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::json;

/// What a Cassandra table has no column for.
const BARE: [Column; 6] = [
    Column::HistorySizeBytes,
    Column::ExecutionDuration,
    Column::StateTransitionCount,
    Column::SearchAttributes,
    Column::Parent,
    Column::Root,
];

fn source() -> Memory {
    Memory::unversioned("source").keeping(Keeps::all_but(&BARE), Precision::Millisecond)
}

/// A whole record as the cluster knows it; `status` tells apart what both families keep.
fn whole(n: u16, status: i32, version: i64) -> Record {
    let at = Timestamp::from_nanosecond(1_700_000_000_123_456_789 + i128::from(n)).expect("a time");
    let mut record = marker_record("namespace", &format!("workflow {n}"), &format!("{n:05}"), at);
    record.status = status;
    record.version = Some(version);
    record.history_size_bytes = Some(i64::from(n));
    record.parent_workflow_id = Some(format!("parent of {n}"));
    record
        .search_attributes
        .insert("CustomerId".to_owned(), json!(format!("customer {n}")));
    record
}

/// The cluster, with the state of each execution that it still has.
struct Cluster<'a> {
    states: BTreeMap<Key, Record>,
    target: &'a Memory,
    restored: Mutex<BTreeSet<Key>>,
}

#[async_trait]
impl Origin for Cluster<'_> {
    async fn existing(&self, records: &[Record]) -> Result<BTreeSet<Key>, Error> {
        let keys = records.iter().map(|record| record.key.clone());
        Ok(keys.filter(|key| self.states.contains_key(key)).collect())
    }

    async fn restore(&self, records: &[Record]) -> Result<(), Error> {
        for state in records.iter().filter_map(|record| self.states.get(&record.key)) {
            self.target.server_upsert(state);
            self.restored.lock().expect("no panic").insert(state.key.clone());
        }
        Ok(())
    }
}

fn compare(source: &Memory, target: &Memory, repair: bool, origin: Option<&dyn Origin>) -> Outcome {
    let means = Means {
        repair_with: repair.then_some(target as &dyn Write),
        origin,
    };
    let options = Options {
        page: 7,
        pause: Duration::from_secs(1),
        ..Options::default()
    };
    let mut watch = |_: &Progress| Step::Continue;
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(compare_with(
            source,
            target,
            means,
            &Range::default(),
            Progress::default(),
            options,
            &mut watch,
        ))
        .expect("compare")
}

/// Where one execution is, by number: its status at the source and at the target.
type Seen = (Option<i32>, Option<i32>);

fn seen() -> impl Strategy<Value = BTreeMap<u16, Seen>> {
    btree_map(
        0..200_u16,
        (prop::option::of(1..4_i32), prop::option::of(1..4_i32)),
        0..60,
    )
}

fn fill(seen: &BTreeMap<u16, Seen>) -> (Memory, Memory) {
    let (source, target) = (source(), Memory::versioned("target"));
    for (n, (at_source, at_target)) in seen {
        if let Some(status) = at_source {
            source.server_upsert(&whole(*n, *status, 0));
        }
        if let Some(status) = at_target {
            target.server_upsert(&whole(*n, *status, 50));
        }
    }
    (source, target)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// A repair from a source that keeps less makes the stores agree in what both keep, and takes nothing from the target
    /// that only the target can hold: no attribute, no parent, no finer time of a record that was right.
    #[test]
    fn a_repair_from_a_source_that_keeps_less_empties_nothing(seen in seen()) {
        let (source, target) = fill(&seen);
        let before: BTreeMap<Key, Record> = target.all().into_iter().map(|record| (record.key.clone(), record)).collect();
        compare(&source, &target, true, None);
        prop_assert!(compare(&source, &target, false, None).is_clean());
        for record in target.all() {
            if let Some(before) = before.get(&record.key) {
                prop_assert_eq!(&record.search_attributes, &before.search_attributes);
                prop_assert_eq!(&record.parent_workflow_id, &before.parent_workflow_id);
                prop_assert_eq!(record.history_size_bytes, before.history_size_bytes);
                prop_assert!(record.version >= before.version);
            }
        }
    }

    /// With the cluster as a witness: what the source only lost stays at the target and is no drift, what is missing
    /// comes whole, and what the cluster does not have either is put right from the source, or deleted.
    #[test]
    fn what_the_source_only_lost_is_no_drift_and_what_is_missing_comes_whole(
        seen in seen(), gone in vec(any::<bool>(), 200),
    ) {
        let (source, target) = fill(&seen);
        let lives = |n: &u16| !gone[usize::from(*n)];
        let states = seen.iter().filter(|(n, _)| lives(n)).filter_map(|(n, (at_source, at_target))| {
            let state = whole(*n, at_source.or(*at_target)?, 90);
            Some((state.key.clone(), state))
        });
        let cluster = Cluster { states: states.collect(), target: &target, restored: Mutex::default() };
        let first = compare(&source, &target, true, Some(&cluster)).progress.drift;
        let drift = |of: fn(&Seen) -> bool| seen.iter().filter(|(n, seen)| of(seen) && !lives(n)).count() as u64;
        prop_assert_eq!(first.extra.count, drift(|seen| seen.0.is_none() && seen.1.is_some()));
        prop_assert!(compare(&source, &target, false, Some(&cluster)).is_clean());
        let held: BTreeMap<Key, Record> = target.all().into_iter().map(|record| (record.key.clone(), record)).collect();
        for (n, (at_source, at_target)) in &seen {
            let record = held.get(&whole(*n, 1, 0).key);
            match (at_source, at_target) {
                (None, Some(_)) => prop_assert_eq!(record.is_some(), lives(n), "{}", n),
                (Some(status), None) if lives(n) => {
                    let by = Yardstick::whole(Precision::Nanosecond);
                    let wanted = whole(*n, *status, 90);
                    prop_assert!(record.is_some_and(|record| differing(record, &wanted, by).is_empty()), "{}", n);
                }
                (Some(status), _) => prop_assert!(record.is_some_and(|record| record.status == *status), "{}", n),
                (None, None) => prop_assert!(record.is_none(), "{}", n),
            }
        }
        // Only what was wrong is asked for: a refresh is work for the cluster.
        let wrong: BTreeSet<Key> = seen
            .iter()
            .filter(|(_, (at_source, at_target))| at_source.is_some() && at_source != at_target)
            .map(|(n, _)| whole(*n, 1, 0).key)
            .collect();
        prop_assert!(cluster.restored.lock().expect("no panic").is_subset(&wrong));
    }
}
