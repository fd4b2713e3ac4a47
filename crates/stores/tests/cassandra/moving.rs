//! Rows that move, appear and go while they are read: absence is concluded only from absence.

use std::time::Duration;

use crossfade_visibility::contract::record;
use crossfade_visibility::ports::Range;
use crossfade_visibility::record::{Key, Record};
use jiff::{SignedDuration, Timestamp};

use crate::fixture::{Server, kept, open_record};
use crate::{namespace, scanned, store, within};

/// Open records of one workflow each, started just now.
fn started(namespace_id: &str, runs: std::ops::Range<u32>) -> Vec<Record> {
    let now = Timestamp::now();
    let open = |n: u32| Record {
        start_time: now + SignedDuration::from_millis(i64::from(n)),
        ..open_record(namespace_id, n)
    };
    runs.map(open).collect()
}

/// The record as it closes, a little after it started.
fn ended(open: &Record) -> Record {
    Record {
        status: 2,
        close_time: Some(open.start_time + SignedDuration::from_millis(1500)),
        history_length: Some(5),
        ..open.clone()
    }
}

fn keys(records: &[Record]) -> Vec<Key> {
    let mut keys: Vec<Key> = records.iter().map(|record| record.key.clone()).collect();
    keys.sort();
    keys
}

#[tokio::test]
async fn a_record_that_closes_while_it_is_scanned_is_found_closed() {
    let (server, store, namespace) = (Server::shared().await, store().await, namespace(0x10));
    let open = started(&namespace, 0..200);
    server.write(&open).await;
    let mut range = within(&namespace);
    let first = store.scan(&range, 20).await.expect("a page");
    assert_eq!(first.len(), 20);
    let closed: Vec<Record> = open.iter().map(ended).collect();
    server.write(&closed).await;

    range.after = first.last().map(|record| record.key.clone());
    let rest = scanned(&*store, range, 20).await;
    assert_eq!(keys(&first).len() + rest.len(), 200);
    let expected: Vec<Record> = closed.iter().map(kept).collect();
    assert!(rest.iter().all(|record| expected.contains(record)), "each as it closed");
    // Those that were read open are asked for again, as a copy does.
    assert_eq!(store.versions(&keys(&first)).await.expect("versions").len(), 20);
}

#[tokio::test]
async fn a_record_that_is_deleted_is_gone_and_one_that_only_closed_is_not() {
    let (server, store, namespace) = (Server::shared().await, store().await, namespace(0x11));
    let open = started(&namespace, 0..4);
    let closed: Vec<Record> = (10..13).map(|n| record(&namespace, n)).collect();
    server.write(&open).await;
    server.write(&closed).await;
    let all = scanned(&*store, within(&namespace), 100).await;
    assert_eq!(all.len(), 7);

    server.delete(&open[0]).await;
    server.delete(&closed[0]).await;
    server.close(&ended(&open[1])).await;
    // Its close is under way: out of one table, not yet in the other.
    server
        .delete(&Record {
            close_time: None,
            ..open[2].clone()
        })
        .await;
    let asked = keys(&all);
    let alive = tokio::join!(store.versions(&asked), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let late = Record {
            close_time: Some(Timestamp::now() + SignedDuration::from_secs(5)),
            ..ended(&open[2])
        };
        server.close_half(&late, None).await;
    })
    .0
    .expect("versions");
    let mut expected = keys(&[
        open[1].clone(),
        open[2].clone(),
        open[3].clone(),
        closed[1].clone(),
        closed[2].clone(),
    ]);
    expected.sort();
    assert_eq!(alive.into_keys().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_run_in_both_tables_counts_once_and_as_closed() {
    let (server, store, namespace) = (Server::shared().await, store().await, namespace(0x12));
    let open = started(&namespace, 0..3);
    server.write(&open).await;
    let closed = ended(&open[0]);
    server.close_half(&closed, None).await;
    let records = scanned(&*store, within(&namespace), 2).await;
    assert_eq!(keys(&records), keys(&open));
    assert!(records.contains(&kept(&closed)));
    assert_eq!(
        store.get(std::slice::from_ref(&closed.key)).await.expect("a record"),
        [kept(&closed)]
    );
    let counts = store.count(Some(&namespace)).await.expect("a count");
    assert_eq!(
        counts.get(&namespace).map(|count| (count.open, count.closed)),
        Some((2, 1))
    );
    let soon = Timestamp::now() + SignedDuration::from_secs(60);
    let listed = store
        .open_started_before(soon, &within(&namespace), 10)
        .await
        .expect("open ones");
    assert_eq!(
        listed.into_iter().map(|open| open.key).collect::<Vec<_>>(),
        keys(&open[1..])
    );
}

#[tokio::test]
async fn a_record_that_is_newer_than_the_scan_is_found_when_it_is_asked_for() {
    let (server, store, namespace) = (Server::shared().await, store().await, namespace(0x13));
    server.write(&started(&namespace, 0..3)).await;
    assert_eq!(scanned(&*store, within(&namespace), 100).await.len(), 3);

    // Just now: open, and closed.
    let new = started(&namespace, 20..22);
    server.write(&new).await;
    server.close(&ended(&new[1])).await;
    assert_eq!(store.get(&keys(&new)).await.expect("records").len(), 2);
    // From long ago, written late: whoever knows it from the other store says so.
    let late = record(&namespace, 30);
    server.write(std::slice::from_ref(&late)).await;
    store.hint(&Record {
        close_time: late.close_time.map(|at| at + SignedDuration::from_secs(99)),
        ..late.clone()
    });
    assert_eq!(
        store.get(std::slice::from_ref(&late.key)).await.expect("a record"),
        [kept(&late)]
    );
    let deleted = record(&namespace, 31);
    store.hint(&deleted);
    assert!(store.get(&[deleted.key]).await.expect("no record").is_empty());
}

#[tokio::test]
async fn a_record_of_which_nothing_is_known_is_found_in_a_new_store() {
    let (server, store, namespace) = (Server::shared().await, store().await, namespace(0x14));
    let old = record(&namespace, 1);
    server.write(std::slice::from_ref(&old)).await;
    let asked = [old.key.clone(), record(&namespace, 2).key];
    assert_eq!(store.get(&asked).await.expect("a record"), [kept(&old)]);
}

#[tokio::test]
async fn rows_with_a_time_to_live_are_there_until_it_ends() {
    let (server, store, namespace) = (Server::shared().await, store().await, namespace(0x15));
    let records: Vec<Record> = (0..6).map(|n| record(&namespace, n)).collect();
    for (n, record) in records.iter().enumerate() {
        server.close_half(record, Some(if n % 2 == 0 { 4 } else { 3600 })).await;
    }
    let read = scanned(&*store, within(&namespace), 100).await;
    assert_eq!(read.len(), 6, "their time is not over");
    let mut left = read;
    while left.len() > 3 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        left = store.get(&keys(&records)).await.expect("records");
    }
    assert_eq!(scanned(&*store, within(&namespace), 100).await.len(), 3);
    let counts = store.count(Some(&namespace)).await.expect("a count");
    assert_eq!(counts.get(&namespace).map(|count| count.closed), Some(3));
}

#[tokio::test]
async fn a_scan_of_everything_goes_from_namespace_to_namespace() {
    let (server, store) = (Server::shared().await, store().await);
    let namespaces = [namespace(0x16), namespace(0x17)];
    let mut records: Vec<Record> = namespaces.iter().flat_map(|id| started(id, 0..5)).collect();
    records.push(record(&namespaces[1], 9));
    server.write(&records).await;
    let range = Range {
        after: Some(Key::new(&namespaces[0], "")),
        until: Some(Key::new(&namespaces[1], "g")),
        ..Range::default()
    };
    assert_eq!(keys(&scanned(&*store, range, 4).await), keys(&records));
    let ids = store.namespaces().await.expect("Namespaces");
    assert!(ids.is_sorted() && namespaces.iter().all(|id| ids.contains(id)));
}
