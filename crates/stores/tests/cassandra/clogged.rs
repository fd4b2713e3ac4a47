//! Many deleted rows in the way.

use crossfade_stores::open;
use crossfade_visibility::contract::record;
use crossfade_visibility::ports::Error;
use crossfade_visibility::record::Record;
use jiff::{SignedDuration, Timestamp};

use crate::fixture::{Server, TOMBSTONES, open_record, shared};
use crate::{namespace, scanned, store, within};

#[tokio::test]
async fn many_times_the_tombstones_that_one_request_may_meet_are_read_around() {
    let (server, store, namespace) = (Server::shared().await, store().await, namespace(0x20));
    // Every workflow that closes leaves a tombstone in open_executions; here each hundredth stays, and none of the latest.
    let now = Timestamp::now();
    let open = |n: u32| Record {
        start_time: now - SignedDuration::from_secs(i64::from(n)),
        ..open_record(&namespace, n)
    };
    let records: Vec<Record> = (0..6 * TOMBSTONES as u32).map(open).collect();
    server.write(&records).await;
    for gone in records.chunks(64) {
        let deleted = gone
            .iter()
            .filter(|record| !stays(&records, record))
            .map(|record| server.delete(record));
        futures::future::join_all(deleted).await;
    }
    let left = records.iter().filter(|record| stays(&records, record)).count();
    assert_eq!(scanned(&*store, within(&namespace), 7).await.len(), left);
    assert!(store.namespaces().await.expect("Namespaces").contains(&namespace));
    let counts = store.count(Some(&namespace)).await.expect("a count");
    assert_eq!(counts.get(&namespace).map(|count| count.open), Some(left as u64));
}

fn stays(records: &[Record], record: &Record) -> bool {
    records
        .iter()
        .skip(2 * TOMBSTONES)
        .step_by(100)
        .any(|other| other.key == record.key)
}

#[tokio::test]
async fn more_tombstones_in_one_millisecond_than_can_be_read_are_named_with_the_remedy() {
    shared().keyspace("clogged");
    let server = Server::new(shared().cassandra.port(), "clogged").await;
    let opened = open(&shared().cassandra.datastore("clogged")).await;
    let (store, namespace) = (opened.unwrap_or_else(|error| panic!("{error}")).read(), namespace(0x21));
    let at = Timestamp::now();
    let same = |n: u32| Record {
        close_time: Some(at),
        ..record(&namespace, n)
    };
    let records: Vec<Record> = (0..2 * TOMBSTONES as u32).map(same).collect();
    server.write(&records).await;
    for gone in records.chunks(64) {
        futures::future::join_all(gone.iter().map(|record| server.delete(record))).await;
    }
    let error = store
        .scan(&within(&namespace), 10)
        .await
        .expect_err("it cannot be read");
    assert!(
        matches!(error, Error::Clogged { .. }) && !error.is_retryable(),
        "{error:?}"
    );
    let message = error.to_string();
    for word in ["tombstone", "gc_grace_seconds", "nodetool compact"] {
        assert!(message.contains(word), "'{word}' expected in: {message}");
    }
}
