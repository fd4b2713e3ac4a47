//! Copy and compare over stores in memory, while a server's own writes and deletes fall between any two of their calls.

mod cluster;

use std::collections::BTreeMap;
use std::time::Duration;

use crossfade_visibility::compare::{self, compare};
use crossfade_visibility::copy::{self, Step, copy};
use crossfade_visibility::memory::Memory;
use crossfade_visibility::ports::{Precision, Range, Target, Write};
use crossfade_visibility::record::{Key, Record};
use crossfade_visibility::repair::repair;
use crossfade_visibility::sameness::{Class, Yardstick, classify, same};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cluster::{Cluster, Event, Life, Port, cluster, life, record};

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// Copies to the end, stopped and resumed as `stops` says, and gone on after a kill from the last reported cursor.
async fn copy_all(cluster: &Cluster, options: copy::Options, stops: &[bool]) {
    let source = Port {
        cluster,
        store: &cluster.source,
    };
    let port = Port {
        cluster,
        store: &cluster.target,
    };
    let target = Target {
        read: &port,
        write: &port,
    };
    let mut stops = stops.iter().copied();
    let mut last = copy::Progress::default();
    loop {
        let from = last.clone();
        let mut watch = |progress: &copy::Progress| {
            last = progress.clone();
            if stops.next().unwrap_or(false) {
                Step::Stop
            } else {
                Step::Continue
            }
        };
        match copy(&source, target, &Range::default(), from, options, &mut watch).await {
            Ok(outcome) if outcome.finished => break,
            Ok(_) => {}
            Err(error) => {
                assert!(error.is_retryable());
                cluster.revive();
            }
        }
    }
    // A kill after the very last call goes unnoticed.
    cluster.revive();
}

fn options() -> compare::Options {
    compare::Options {
        page: 7,
        pause: Duration::from_secs(3),
        report_every: 10,
        suspects: 5,
        at_once: true,
        cells: Some(20),
        ..Default::default()
    }
}

async fn verify(cluster: &Cluster, repair: bool, stops: &[bool]) -> compare::Outcome {
    let source = Port {
        cluster,
        store: &cluster.source,
    };
    let target = Port {
        cluster,
        store: &cluster.target,
    };
    let write: Option<&dyn Write> = if repair { Some(&target) } else { None };
    let mut stops = stops.iter().copied();
    let mut from = compare::Progress::default();
    loop {
        let mut watch = |_: &compare::Progress| {
            if stops.next().unwrap_or(false) {
                Step::Stop
            } else {
                Step::Continue
            }
        };
        let outcome = compare(&source, &target, write, &Range::default(), from, options(), &mut watch)
            .await
            .expect("compare");
        if outcome.finished {
            return outcome;
        }
        from = outcome.progress;
    }
}

fn assert_same(cluster: &Cluster) {
    let (source, target) = (cluster.source.all(), cluster.target.all());
    assert_eq!(keys(&source), keys(&target));
    for (source, target) in source.iter().zip(&target) {
        assert!(
            same(source, target, Yardstick::whole(Precision::Nanosecond)),
            "{source:?} and {target:?}"
        );
    }
}

fn keys(records: &[Record]) -> Vec<&Key> {
    records.iter().map(|record| &record.key).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Up to 1.28 the source is written first: then copying alone makes the stores equal, whatever happens meanwhile.
    #[test]
    fn a_copy_under_sequential_dual_writes_ends_equal(
        lives in vec(life(), 0..60), gusts in vec(0..6_usize, 1..20),
        page in 1..20_usize, in_flight in 1..5_usize,
        stops in vec(any::<bool>(), 0..20), versioned in any::<bool>(),
    ) {
        run(async {
            let cluster = cluster(&lives, &gusts, versioned, false);
            copy_all(&cluster, copy::Options { page, in_flight }, &stops).await;
            cluster.drain();
            assert_same(&cluster);
        });
    }

    /// From 1.29 both stores are written at once, and the copier may be killed anywhere: then nothing is missing or
    /// old after the copy, what is left over is found and removed by comparing, and a second comparison is clean.
    #[test]
    fn a_copy_under_parallel_dual_writes_misses_nothing_and_comparing_removes_what_is_left_over(
        lives in vec(life(), 0..60), gusts in vec(0..6_usize, 1..20),
        page in 1..20_usize, in_flight in 1..5_usize,
        stops in vec(any::<bool>(), 0..20), versioned in any::<bool>(), killed in prop::option::of(0..6_u32),
        has_signs in any::<bool>(),
    ) {
        run(async {
            let cluster = Cluster { has_signs, ..cluster(&lives, &gusts, versioned, true) };
            *cluster.killed_after_put.lock().expect("no test panics with a lock held") = killed;
            copy_all(&cluster, copy::Options { page, in_flight }, &stops).await;
            cluster.drain();
            let target: BTreeMap<Key, Record> =
                cluster.target.all().into_iter().map(|record| (record.key.clone(), record)).collect();
            for record in cluster.source.all() {
                let held = target.get(&record.key);
                prop_assert_eq!(classify(Some(&record), held, Yardstick::whole(Precision::Nanosecond)), None);
            }
            let first = verify(&cluster, true, &stops).await;
            prop_assert_eq!(first.progress.drift.total(), first.progress.drift.extra.count);
            prop_assert!(verify(&cluster, false, &[]).await.is_clean());
            assert_same(&cluster);
            Ok(())
        })?;
    }

    /// Comparing and repairing while the server writes never takes a record back to an older version, and once the
    /// server is quiet, one more pass makes the stores equal.
    #[test]
    fn repairing_under_traffic_ends_equal(
        lives in vec(life(), 0..60), gusts in vec(0..4_usize, 1..20), versioned in any::<bool>(),
        stops in vec(any::<bool>(), 0..20), has_signs in any::<bool>(),
    ) {
        run(async {
            let cluster = Cluster { has_signs, ..cluster(&lives, &gusts, versioned, true) };
            verify(&cluster, true, &stops).await;
            cluster.drain();
            verify(&cluster, true, &stops).await;
            prop_assert!(verify(&cluster, false, &[]).await.is_clean());
            assert_same(&cluster);
            Ok(())
        })?;
    }

    /// On quiet stores the drift reported is exactly the drift there is, however often the comparison is stopped.
    #[test]
    fn drift_is_counted_exactly(
        lives in vec((0..3_u8, 0..100_u16, 0..6_u8), 0..80), stops in vec(any::<bool>(), 0..30),
        has_signs in any::<bool>(),
    ) {
        run(async {
            let cluster = Cluster { has_signs, ..cluster(&[], &[0], true, false) };
            let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
            let lives: BTreeMap<(u8, u16), u8> = lives.into_iter().map(|(n, r, kind)| ((n, r), kind)).collect();
            for ((namespace, run), kind) in &lives {
                let life = Life { namespace: *namespace, run: *run, at_source: None, at_target: None, events: vec![] };
                let (old, new) = (record(&life, 1), record(&life, 2));
                let other = Record { task_queue: "other".to_owned(), ..new.clone() };
                let ahead = Record { version: Some(9), ..new.clone() };
                let (source, target, class) = match kind {
                    0 => (Some(new), None, Some(Class::Missing)),
                    1 => (Some(new), Some(old), Some(Class::Stale)),
                    2 => (Some(new), Some(other), Some(Class::Different)),
                    3 => (None, Some(new), Some(Class::Extra)),
                    4 => (Some(new), Some(ahead), None),
                    _ => (Some(new.clone()), Some(new), None),
                };
                source.iter().for_each(|record| cluster.source.server_upsert(record));
                target.iter().for_each(|record| cluster.target.server_upsert(record));
                if let Some(class) = class {
                    *expected.entry(class.label()).or_default() += 1;
                }
            }
            let outcome = verify(&cluster, false, &stops).await;
            for class in [Class::Missing, Class::Stale, Class::Different, Class::Extra] {
                let tally = outcome.progress.drift.of(class);
                prop_assert_eq!(tally.count, expected.get(class.label()).copied().unwrap_or(0));
                prop_assert_eq!(tally.sample.len() as u64, tally.count.min(20));
            }
            prop_assert_eq!(outcome.progress.source_records, cluster.source.all().len() as u64);
            prop_assert_eq!(outcome.progress.target_records, cluster.target.all().len() as u64);
            let drift: u64 = outcome.progress.namespaces.values().map(|tally| tally.drift).sum();
            prop_assert_eq!(drift, outcome.progress.drift.total());
            let repaired = verify(&cluster, true, &stops).await.progress.repaired;
            prop_assert_eq!(repaired.written + repaired.deleted, drift);
            prop_assert!(verify(&cluster, false, &[]).await.is_clean());
            Ok(())
        })?;
    }
}

/// A target that is ahead with other content is for a person to decide: it is never overwritten.
#[test]
fn a_newer_record_at_the_target_is_left_and_named() {
    run(async {
        let cluster = cluster(&[], &[0], true, false);
        let life = Life {
            namespace: 0,
            run: 1,
            at_source: None,
            at_target: None,
            events: vec![],
        };
        cluster.source.server_upsert(&record(&life, 3));
        cluster.target.server_upsert(&record(&life, 4));
        let outcome = verify(&cluster, true, &[]).await;
        assert_eq!(outcome.progress.drift.different.count, 1);
        assert_eq!(outcome.progress.drift.different.sample[0].columns, ["task_queue"]);
        assert_eq!(outcome.progress.repaired.left, [record(&life, 3).key]);
        assert_eq!(cluster.target.all(), [record(&life, 4)]);
    });
}

/// A record that looked extra and has arrived at the source by the time it would be deleted stays.
#[test]
fn a_record_that_arrives_late_at_the_source_is_not_deleted() {
    run(async {
        let life = Life {
            namespace: 0,
            run: 1,
            at_source: None,
            at_target: None,
            events: vec![],
        };
        // One moment each: before the source is read, before the target is, and before the source is asked once more.
        let cluster = cluster(&[], &[0, 0, 1, 0], true, true);
        cluster
            .events
            .lock()
            .expect("no test panics with a lock held")
            .push_back((true, Event::Start(record(&life, 2))));
        cluster.target.server_start(&record(&life, 2));
        let source = Port {
            cluster: &cluster,
            store: &cluster.source,
        };
        let port = Port {
            cluster: &cluster,
            store: &cluster.target,
        };
        let target = Target {
            read: &port,
            write: &port,
        };
        let repaired = repair(&source, target, &[record(&life, 2).key], 10)
            .await
            .expect("repair");
        assert_eq!((repaired.deleted, repaired.moved_on), (0, 1));
        assert_eq!(cluster.target.all(), [record(&life, 2)]);
    });
}

/// One store can be of an older schema than the other: records without a version go in as version 0.
#[test]
fn between_a_store_without_versions_and_one_with() {
    run(async {
        for to_versioned in [true, false] {
            let mut cluster = cluster(&[], &[0], true, false);
            let unversioned = Memory::unversioned("old schema");
            if to_versioned {
                cluster.source = unversioned;
            } else {
                cluster.target = unversioned;
            }
            for run in 0..30 {
                let life = Life {
                    namespace: 0,
                    run,
                    at_source: None,
                    at_target: None,
                    events: vec![],
                };
                cluster.source.server_upsert(&record(&life, 5));
                let other = Record {
                    task_queue: "other".to_owned(),
                    ..record(&life, 0)
                };
                if run % 3 == 0 {
                    cluster.target.server_upsert(&other);
                }
            }
            copy_all(&cluster, copy::Options::pages_of(7), &[]).await;
            let outcome = verify(&cluster, true, &[]).await;
            assert_eq!(outcome.progress.drift.different.count, 10);
            assert_eq!(outcome.progress.repaired.written, 10);
            assert!(verify(&cluster, false, &[]).await.is_clean());
        }
    });
}

/// The contract that drivers must pass holds for the store that these tests stand on.
#[test]
fn memory_passes_the_contract() {
    run(async {
        for memory in [Memory::versioned("versioned"), Memory::unversioned("unversioned")] {
            let target = Target {
                read: &memory,
                write: &memory,
            };
            crossfade_visibility::contract::all(target).await.expect("contract");
        }
    });
}
