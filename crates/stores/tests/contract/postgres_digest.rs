//! Digests that a PostgreSQL server computes: the same for the same records, another for any other.

use crossfade_stores::Store;
use crossfade_visibility::compare::{self, Outcome};
use crossfade_visibility::contract::record;
use crossfade_visibility::digest::{Digests, Question};
use crossfade_visibility::memo;
use crossfade_visibility::ports::{Precision, Range, Rewrite};
use crossfade_visibility::record::{PROTO3, Record};
use crossfade_visibility::sameness::Yardstick;
use serde_json::json;

use crate::comparing;
use crate::fixture::postgres;
use crate::opened;

const NAMESPACE: &str = "00000000-0000-4000-8000-00000000000a";

/// Entries of every length that is written otherwise: up to 127 bytes, up to 16,383, and more.
fn memo(swapped: bool, number: u32) -> Vec<u8> {
    let long = |length: usize| format!("\"{}\"", "x".repeat(length));
    let (short, middle, long) = (number.to_string(), long(200), long(20_000));
    let mut entries = vec![("a", short.as_str()), ("b", "\"y\"")];
    match number % 4 {
        0 => entries.truncate(1),
        1 => {}
        2 => entries.push(("c", &middle)),
        _ => entries.extend([("c", middle.as_str()), ("d", long.as_str())]),
    }
    if swapped {
        entries.reverse();
    }
    memo::encode(&entries)
}

fn whole(number: u32, swapped: bool) -> Record {
    let mut record = record(NAMESPACE, number);
    record.key.run_id = format!("{:08x}-0000-4000-8000-000000000000", number.wrapping_mul(2_654_435_761));
    record.version = Some(5);
    record.memo = Some(memo(swapped, number));
    record.memo_encoding = PROTO3.to_owned();
    record
}

async fn digests(store: &Store, digits: u32) -> Digests {
    let everything = Range::default();
    let question = Question {
        range: &everything,
        digits,
        by: Yardstick::whole(Precision::Microsecond),
        versions: true,
        within: None,
    };
    let digests = store.read().digests(question).await.expect("digests");
    digests.expect("a server that can")
}

/// One change to a record.
type Change = fn(&mut Record);

#[tokio::test]
async fn each_column_changes_a_digest_and_the_order_of_a_memo_does_not() {
    let records = |swapped| (0..40).map(|number| whole(number, swapped)).collect::<Vec<_>>();
    let source = opened(&postgres().visibility("digest_a", "v1.13")).await;
    let target = opened(&postgres().visibility("digest_b", "v1.13")).await;
    source.write().put(&records(false)).await.expect("put");
    target.write().put(&records(true)).await.expect("put");
    for digits in [0, 1, 5] {
        let (a, b) = (digests(&source, digits).await, digests(&target, digits).await);
        assert_eq!(a, b, "{digits}");
        assert_eq!(a.cells.values().map(|digest| digest.records).sum::<u64>(), 40);
    }
    let changes: [(&str, Change); 20] = [
        ("version", |r| r.version = Some(6)),
        ("workflow_id", |r| r.workflow_id.push('x')),
        ("workflow_type", |r| r.workflow_type.push('x')),
        ("status", |r| r.status = 4),
        ("start_time", |r| r.start_time += jiff::SignedDuration::from_micros(1)),
        ("execution_time", |r| {
            r.execution_time += jiff::SignedDuration::from_micros(1);
        }),
        ("close_time", |r| {
            r.close_time = match r.close_time {
                Some(_) => None,
                None => Some(r.start_time),
            };
        }),
        ("history_length", |r| r.history_length = Some(77_777)),
        ("history_size_bytes", |r| r.history_size_bytes = Some(77_777)),
        // A number that PostgreSQL's own hash of eight bytes does not tell from the one before.
        ("execution_duration", |r| {
            r.execution_duration = r.execution_duration.map(|took| (took >> 32) ^ (took & 0xffff_ffff));
        }),
        ("state_transition_count", |r| r.state_transition_count = Some(77_777)),
        ("memo", |r| r.memo = Some(memo::encode(&[("b", "0"), ("a", "\"y\"")]))),
        ("no memo", |r| r.memo = None),
        ("task_queue", |r| r.task_queue.push('x')),
        ("parent_workflow_id", |r| r.parent_workflow_id = Some("p".to_owned())),
        ("parent_run_id", |r| r.parent_run_id = Some("p".to_owned())),
        ("root_workflow_id", |r| r.root_workflow_id = Some("other".to_owned())),
        ("root_run_id", |r| r.root_run_id = Some("other".to_owned())),
        ("a search attribute", |r| {
            r.search_attributes.insert("Keyword01".to_owned(), json!("elsewhere"));
        }),
        ("no search attributes", |r| r.search_attributes.clear()),
    ];
    let before = digests(&target, 1).await;
    for (what, change) in changes {
        let seen = target.read().get(&[whole(1, true).key]).await.expect("get").remove(0);
        let mut to = seen.clone();
        change(&mut to);
        let there = Rewrite {
            seen: seen.clone(),
            to: to.clone(),
        };
        assert_eq!(target.write().rewrite(&[there]).await.expect("rewrite"), 1, "{what}");
        assert_ne!(digests(&target, 1).await, before, "{what}");
        let back = Rewrite { seen: to, to: seen };
        assert_eq!(target.write().rewrite(&[back]).await.expect("rewrite"), 1, "{what}");
        assert_eq!(digests(&target, 1).await, before, "{what}");
    }
    // What two records have exchanged.
    let pair = target
        .read()
        .get(&[whole(1, true).key, whole(2, true).key])
        .await
        .expect("get");
    let exchanged = |to: &Record, from: &Record| Rewrite {
        seen: to.clone(),
        to: Record {
            task_queue: from.task_queue.clone(),
            workflow_id: from.workflow_id.clone(),
            memo: from.memo.clone(),
            ..to.clone()
        },
    };
    let swap = [exchanged(&pair[0], &pair[1]), exchanged(&pair[1], &pair[0])];
    assert_eq!(target.write().rewrite(&swap).await.expect("rewrite"), 2);
    assert_ne!(digests(&target, 0).await, digests(&source, 0).await);
}

/// Without versions, and where one schema lacks what the other has.
#[tokio::test]
async fn schemas_of_different_age_are_compared_by_what_both_have() {
    let source = opened(&postgres().visibility("digest_old", "v1.4")).await;
    let target = opened(&postgres().visibility("digest_new", "v1.13")).await;
    let records: Vec<Record> = (0..20).map(|number| whole(number, false)).collect();
    source.write().put(&records).await.expect("put");
    target.write().put(&records).await.expect("put");
    let outcome = compared(&source, &target, true).await;
    assert!(outcome.is_clean());
    assert_eq!(outcome.progress.by_digest, 20);
}

async fn compared(source: &Store, target: &Store, digests: bool) -> Outcome {
    let options = compare::Options {
        digests,
        ..comparing::options()
    };
    comparing::compared(&*source.read(), &*target.read(), options).await
}

#[tokio::test]
async fn digests_find_exactly_what_reading_finds() {
    let source = opened(&postgres().visibility("digest_all", "v1.13")).await;
    let target = opened(&postgres().visibility("digest_drift", "v1.13")).await;
    let small = |number: u32, swapped: bool| Record {
        memo: Some(memo(swapped, number % 3)),
        ..whole(number, swapped)
    };
    let records: Vec<Record> = (0..3_000).map(|number| small(number, false)).collect();
    source.write().put(&records).await.expect("put");
    let held = (0..3_000).filter(|number| *number != 11).map(|number| {
        let mut record = small(number, true);
        match number {
            503 => record.version = Some(4),
            504 => record.memo = None,
            1_505 => record.task_queue.push('x'),
            _ => {}
        }
        record
    });
    let mut held: Vec<Record> = held.collect();
    held.push(small(4_000, true));
    target.write().put(&held).await.expect("put");
    let (read, asked) = (
        compared(&source, &target, false).await,
        compared(&source, &target, true).await,
    );
    assert_eq!(asked.progress.drift, read.progress.drift);
    assert_eq!(asked.progress.drift.total(), 5);
    assert_eq!(asked.progress.namespaces, read.progress.namespaces);
    assert!(asked.progress.by_digest > 0, "cells that do not differ");
}
