//! What every driver must pass, as plain functions over a store that is empty at first.
//!
//! Each takes the two ports of one store and panics, saying what was expected, when the driver breaks the contract.
//! A driver's tests call [`all`] against a real store.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::memo::encode;
use crate::ports::{Condemned, Error, Range, Rewrite, Target};
use crate::record::{Key, Record, marker_record};
use crate::sameness::{Yardstick, differing};

/// Every clause of the contract, one after another on one store.
///
/// # Errors
///
/// What the store reports.
///
/// # Panics
///
/// When the driver breaks the contract.
pub async fn all(store: Target<'_>) -> Result<(), Error> {
    keeps_every_column(store).await?;
    scans_in_order_from_any_key(store).await?;
    a_lower_or_equal_version_never_wins(store).await?;
    a_batch_with_one_key_twice_keeps_the_later(store).await?;
    rewrites_only_what_was_seen(store).await?;
    deletes_up_to_a_version(store).await?;
    counts_and_lists_open(store).await
}

/// A Namespace id that is this clause's alone, in the form of those of real ones.
fn namespace(clause: u32) -> String {
    format!("{clause:08x}-0000-4000-8000-000000000000")
}

/// A closed record with every column filled; `n` makes the run.
pub fn record(namespace_id: &str, n: u32) -> Record {
    let start: Timestamp = Timestamp::UNIX_EPOCH + SignedDuration::from_micros(1_700_000_000_123_456 + i64::from(n));
    let mut record = marker_record(
        namespace_id,
        &format!("workflow {n} ü'\"%"),
        &run(namespace_id, n),
        start,
    );
    record.version = Some(i64::from(n) + 10);
    record.workflow_type = "Order".to_owned();
    record.status = 3;
    record.execution_time = start + SignedDuration::from_secs(60);
    record.close_time = Some(start + SignedDuration::from_micros(90_000_001));
    record.history_length = Some(11);
    record.history_size_bytes = Some(i64::MAX);
    record.execution_duration = Some(30_000_001_234);
    record.state_transition_count = Some(7);
    record.memo = Some(encode(&[("note", "\"ü\""), ("count", "1")]));
    record.task_queue = "orders".to_owned();
    record.parent_workflow_id = Some("parent".to_owned());
    record.parent_run_id = Some(run(namespace_id, 9999));
    record.root_workflow_id = Some("root".to_owned());
    record.root_run_id = Some(run(namespace_id, 9998));
    if let Value::Object(attributes) = json!({
        "Bool01": true, "Datetime01": "2024-02-29T12:34:56.123456789Z", "Double01": 0.1, "Double02": 3.0, "Int01": 9_007_199_254_740_993_i64,
        "Keyword01": "it's \"ü\" 50% \\ ", "KeywordList01": ["one"], "KeywordList02": ["a b", "c"], "Text01": "some words",
        "BuildIds": ["unversioned"], "TemporalScheduledStartTime": "2024-02-29T12:34:56Z",
    }) {
        record.search_attributes = attributes;
    }
    record
}

/// A run id, spread over all of them as real ones are, and no other Namespace's: real ones are never used twice, and
/// Elasticsearch's ids are made of them without the Namespace.
fn run(namespace_id: &str, n: u32) -> String {
    let tag = namespace_id
        .bytes()
        .fold(0_u16, |tag, byte| tag.rotate_left(5) ^ u16::from(byte));
    format!("{:08x}-{tag:04x}-4111-8111-{n:012x}", n.wrapping_mul(2_654_435_761))
}

fn key(namespace_id: &str, n: u32) -> Key {
    Key::new(namespace_id, run(namespace_id, n))
}

fn within(namespace_id: &str) -> Range {
    Range {
        namespace_id: Some(namespace_id.to_owned()),
        ..Range::default()
    }
}

async fn one(store: Target<'_>, key: &Key) -> Result<Option<Record>, Error> {
    Ok(store.read.get(std::slice::from_ref(key)).await?.pop())
}

/// What is put is got back whole: every column, empty ones as empty, times as fine as the store says.
///
/// # Errors
///
/// What the store reports.
pub async fn keeps_every_column(store: Target<'_>) -> Result<(), Error> {
    let namespace = namespace(1);
    let full = record(&namespace, 1);
    let mut bare = marker_record(&namespace, "", &run(&namespace, 2), full.start_time);
    (bare.close_time, bare.history_length, bare.status, bare.version) = (None, None, 1, Some(4));
    (
        bare.history_size_bytes,
        bare.execution_duration,
        bare.state_transition_count,
    ) = (None, None, None);
    let mut old = record(&namespace, 3);
    // What the server stores for an unset time (1.30.8: sqlplugin/*/typeconv.go).
    old.execution_time = "1000-01-01T00:00:00Z".parse().unwrap_or_default();
    let written = [full, bare, old];
    assert_eq!(store.write.put(&written).await?, 3);
    for expected in written {
        let got = one(store, &expected.key).await?;
        assert!(got.is_some(), "{} was put and is not there", expected.key);
        let Some(got) = got else { continue };
        assert_eq!(
            differing(&expected, &got, Yardstick::between(store.read, store.read)),
            Vec::<String>::new(),
            "{}",
            expected.key
        );
        assert_eq!(
            got.version,
            store.read.versioned().then_some(expected.version).flatten()
        );
        assert_eq!(
            as_one_number(&Value::Object(got.search_attributes)),
            as_one_number(&Value::Object(expected.search_attributes)),
            "attributes must come back as they were put"
        );
    }
    Ok(())
}

/// The value with whole numbers written in one way: JSON does not tell 3.0 from 3, and neither do all stores.
fn as_one_number(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(field, value)| (field.clone(), as_one_number(value)))
            .collect(),
        Value::Number(number) => {
            let whole = number
                .as_f64()
                .filter(|n| number.is_f64() && n.fract() == 0.0 && n.abs() < 1e15);
            whole.map_or_else(|| value.clone(), |whole| json!(whole as i64))
        }
        other => other.clone(),
    }
}

/// Scans give every record once, in order, from any key on, of one Namespace or all, up to a key; look-ups agree.
///
/// # Errors
///
/// What the store reports.
pub async fn scans_in_order_from_any_key(store: Target<'_>) -> Result<(), Error> {
    let namespaces = [namespace(0x20), namespace(0x21)];
    let records: Vec<Record> = namespaces
        .iter()
        .flat_map(|id| (0..60).map(|n| record(id, n)))
        .collect();
    store.write.put(&records).await?;
    let mut expected: Vec<Key> = records.iter().map(|record| record.key.clone()).collect();
    expected.sort();

    let bounds = Range {
        after: Some(Key::new(&namespaces[0], "")),
        until: expected.last().cloned(),
        namespace_id: None,
    };
    for limit in [1, 7, 500] {
        assert_eq!(
            scanned(store, bounds.clone(), limit).await?,
            expected,
            "pages of {limit}"
        );
    }
    assert_eq!(scanned(store, within(&namespaces[1]), 9).await?, expected[60..]);
    let middle = Range {
        after: Some(expected[20].clone()),
        until: Some(expected[30].clone()),
        ..within(&namespaces[0])
    };
    assert_eq!(scanned(store, middle, 4).await?, expected[21..=30]);

    let mut asked = expected[..50].to_vec();
    asked.push(key(&namespaces[0], 777));
    asked.push(expected[0].clone());
    let versions = store.read.versions(&asked).await?;
    assert_eq!(versions.keys().cloned().collect::<Vec<_>>(), expected[..50]);
    let held = store.read.get(&asked).await?;
    assert_eq!(held.len(), 50, "each once, and only those there");
    assert_eq!(store.read.versions_of(&held).await?, versions);
    assert!(store.read.get(&[]).await?.is_empty() && store.read.versions(&[]).await?.is_empty());
    assert!(store.read.versions_of(&[]).await?.is_empty());
    assert!(store.read.gone(&held).await?.is_empty() && store.read.gone(&[]).await?.is_empty());
    let mut there_and_not = held.clone();
    let strangers = [key(&namespaces[0], 778), key(&namespaces[1], 779)];
    for (place, stranger) in [0, 30].into_iter().zip(&strangers) {
        there_and_not[place].key = stranger.clone();
    }
    let mut gone = store.read.gone(&there_and_not).await?;
    gone.sort();
    let mut expected = strangers.to_vec();
    expected.sort();
    assert_eq!(gone, expected, "those that are nowhere, and none else");
    Ok(())
}

async fn scanned(store: Target<'_>, mut range: Range, limit: usize) -> Result<Vec<Key>, Error> {
    let mut keys = Vec::new();
    loop {
        let page = store.read.scan(&range, limit).await?;
        assert!(page.len() <= limit);
        let Some(last) = page.last() else { return Ok(keys) };
        range.after = Some(last.key.clone());
        keys.extend(page.into_iter().map(|record| record.key));
    }
}

/// A put of a lower or equal version changes nothing, one of a later version replaces; without versions, none does.
///
/// # Errors
///
/// What the store reports.
pub async fn a_lower_or_equal_version_never_wins(store: Target<'_>) -> Result<(), Error> {
    let namespace = namespace(3);
    let first = record(&namespace, 1);
    let with = |version: i64, status: i32| Record {
        version: Some(version),
        status,
        ..first.clone()
    };
    assert_eq!(store.write.put(&[with(5, 1)]).await?, 1);
    assert_eq!(store.write.put(&[with(5, 2)]).await?, 0);
    assert_eq!(store.write.put(&[with(4, 3)]).await?, 0);
    assert_eq!(
        store
            .write
            .put(&[Record {
                version: None,
                ..with(0, 4)
            }])
            .await?,
        0
    );
    let wins = u64::from(store.read.versioned());
    assert_eq!(store.write.put(&[with(6, 5), record(&namespace, 2)]).await?, 1 + wins);
    let status = one(store, &first.key).await?.map(|record| record.status);
    assert_eq!(status, Some(if store.read.versioned() { 5 } else { 1 }));
    assert_eq!(store.write.put(&[]).await?, 0);
    Ok(())
}

/// A batch may name a key twice; the later version is what counts.
///
/// # Errors
///
/// What the store reports.
pub async fn a_batch_with_one_key_twice_keeps_the_later(store: Target<'_>) -> Result<(), Error> {
    let first = record(&namespace(4), 1);
    let with = |version: i64, status: i32| Record {
        version: Some(version),
        status,
        ..first.clone()
    };
    assert_eq!(store.write.put(&[with(7, 7), with(8, 2), with(6, 6)]).await?, 1);
    let status = one(store, &first.key).await?.map(|record| record.status);
    assert_eq!(status, Some(2));
    Ok(())
}

/// A rewrite replaces at any version, only while the record is exactly the one seen.
///
/// # Errors
///
/// What the store reports.
pub async fn rewrites_only_what_was_seen(store: Target<'_>) -> Result<(), Error> {
    let namespace = namespace(5);
    store.write.put(&[record(&namespace, 1), record(&namespace, 2)]).await?;
    let key = key(&namespace, 1);
    let Some(seen) = one(store, &key).await? else {
        panic!("{key} was put and is not there")
    };
    let to = Record {
        task_queue: "mended".to_owned(),
        ..seen.clone()
    };
    let absent = record(&namespace, 99);
    let change = Rewrite {
        seen: seen.clone(),
        to: to.clone(),
    };
    let changes = [
        change.clone(),
        Rewrite {
            seen: absent.clone(),
            to: absent.clone(),
        },
    ];
    assert_eq!(store.write.rewrite(&changes).await?, 1);
    assert_eq!(one(store, &key).await?.as_ref(), Some(&to));
    assert_eq!(
        store.write.rewrite(&[change]).await?,
        0,
        "it is not what was seen any more"
    );
    assert_eq!(one(store, &absent.key).await?, None, "a rewrite never inserts");
    Ok(())
}

/// A delete takes a record up to the version given, any without one, and does not mind one that is absent.
///
/// # Errors
///
/// What the store reports.
pub async fn deletes_up_to_a_version(store: Target<'_>) -> Result<(), Error> {
    let namespace = namespace(6);
    let records: Vec<Record> = (1..=4).map(|n| record(&namespace, n)).collect();
    store.write.put(&records).await?;
    let condemned = |n: u32, at_most: Option<i64>| Condemned {
        key: key(&namespace, n),
        at_most,
    };
    let orders = [
        condemned(1, Some(11)),
        condemned(2, Some(11)),
        condemned(3, None),
        condemned(99, None),
    ];
    let spared = u64::from(store.read.versioned());
    assert_eq!(store.write.delete(&orders).await?, 3 - spared);
    assert_eq!(store.write.delete(&orders).await?, 0, "repeated");
    let mut left = vec![key(&namespace, 4)];
    if store.read.versioned() {
        left.push(key(&namespace, 2));
    }
    left.sort();
    assert_eq!(scanned(store, within(&namespace), 10).await?, left);
    assert_eq!(store.write.delete(&[]).await?, 0);
    Ok(())
}

/// Counts per Namespace, and the open executions from before a time, are what was put.
///
/// # Errors
///
/// What the store reports.
pub async fn counts_and_lists_open(store: Target<'_>) -> Result<(), Error> {
    let namespaces = [namespace(0x70), namespace(0x71)];
    let mut records: Vec<Record> = namespaces
        .iter()
        .flat_map(|id| (0..10).map(|n| record(id, n)))
        .collect();
    let open = |record: &mut Record| (record.status, record.close_time) = (1, None);
    // Starts a millisecond apart, so that every store can tell them from each other.
    let started =
        |n: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_700_000_000) + SignedDuration::from_millis(n);
    for (record, n) in records.iter_mut().zip((0..10).cycle()) {
        record.start_time = started(n);
    }
    records
        .iter_mut()
        .filter(|record| record.key.namespace_id == namespaces[0])
        .take(4)
        .for_each(open);
    store.write.put(&records).await?;

    let counts = store.read.count(Some(&namespaces[0])).await?;
    assert_eq!(counts.len(), 1);
    assert_eq!(
        counts.get(&namespaces[0]).map(|count| (count.open, count.closed)),
        Some((4, 6))
    );
    let counts = store.read.count(None).await?;
    assert_eq!(
        counts.get(&namespaces[1]).map(|count| (count.open, count.closed)),
        Some((0, 10))
    );
    assert!(store.read.count(Some(&namespace(0x79))).await?.is_empty());
    let ids = store.read.namespaces().await?;
    assert!(ids.is_sorted() && namespaces.iter().all(|id| ids.contains(id)) && ids.len() == counts.len());

    // `before` itself is excluded.
    let before = started(2);
    let mut expected = vec![key(&namespaces[0], 0), key(&namespaces[0], 1)];
    expected.sort();
    let listed = store
        .read
        .open_started_before(before, &within(&namespaces[0]), 10)
        .await?;
    assert_eq!(listed.iter().map(|open| open.key.clone()).collect::<Vec<_>>(), expected);
    assert!(
        listed
            .iter()
            .all(|open| open.workflow_type == "Order" && open.start_time < before)
    );
    let first = store
        .read
        .open_started_before(before, &within(&namespaces[0]), 1)
        .await?;
    let rest = Range {
        after: first.last().map(|open| open.key.clone()),
        ..within(&namespaces[0])
    };
    assert_eq!(store.read.open_started_before(before, &rest, 10).await?.len(), 1);
    Ok(())
}
