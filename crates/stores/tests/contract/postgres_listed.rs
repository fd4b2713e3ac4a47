//! Records read in the order in which the server lists them, and put into a table in that order.

use std::collections::BTreeSet;

use crossfade_stores::Store;
use crossfade_visibility::contract::record;
use crossfade_visibility::copy::{Options, Progress, Step, copy_in_list_order};
use crossfade_visibility::indexing::{Pace, Rebuilding};
use crossfade_visibility::record::{Key, RUNNING, Record};
use futures::TryStreamExt as _;
use jiff::SignedDuration;

use crate::fixture::postgres;
use crate::opened;

const NAMESPACES: [&str; 2] = [
    "00000000-0000-4000-8000-00000000000a",
    "00000000-0000-4000-8000-00000000000b",
];

/// The order of lists, by statements of our own.
const LISTED: &str = "namespace_id, COALESCE(close_time, '9999-12-31 23:59:59') DESC, start_time DESC, run_id";

/// Open ones, ones that closed at different times, and many that started and closed at the same time.
fn records(count: u32) -> Vec<Record> {
    let one = |n: u32| {
        let mut record = record(NAMESPACES[n as usize % 2], n);
        match n % 7 {
            0 => (record.status, record.close_time) = (RUNNING, None),
            1..=3 => {
                record.start_time -= SignedDuration::from_micros(n.into());
                record.close_time = Some(record.start_time + SignedDuration::from_secs(60));
            }
            _ => {
                let later = SignedDuration::from_secs(i64::from(n * 31 % 97));
                record.close_time = record.close_time.map(|at| at + later);
            }
        }
        record
    };
    (0..count).map(one).collect()
}

async fn filled(database: &str) -> Store {
    let store = opened(&postgres().visibility(database, "v1.13")).await;
    store.write().put(&records(1_200)).await.expect("put");
    store
}

async fn listed(store: &Store, namespace_id: Option<&str>, limit: usize) -> Option<Vec<Key>> {
    let read = store.read();
    let pages = read.in_list_order(namespace_id, limit).await.expect("an answer")?;
    let pages: Vec<Vec<Record>> = pages.try_collect().await.expect("pages");
    assert!(pages.iter().all(|page| (1..=limit).contains(&page.len())));
    Some(pages.into_iter().flatten().map(|record| record.key).collect())
}

fn keys(database: &str, order: &str) -> Vec<Key> {
    let all = format!("SELECT RTRIM(namespace_id) || ' ' || RTRIM(run_id) FROM executions_visibility ORDER BY {order}");
    let rows = postgres().ask(database, &all);
    let key = |row: &String| {
        let (namespace_id, run_id) = row.split_once(' ').expect("two columns");
        Key::new(namespace_id, run_id)
    };
    rows.iter().map(key).collect()
}

/// Every record once, whatever the page, in the order that the database sorts them in.
#[tokio::test]
async fn everything_is_listed_once_and_in_order() {
    let store = filled("listed").await;
    let sorted = keys("listed", LISTED);
    assert_eq!(sorted.len(), 1_200);
    for limit in [7, 100, 5_000] {
        assert_eq!(
            listed(&store, None, limit).await.as_deref(),
            Some(&sorted[..]),
            "pages of {limit}"
        );
    }
    let second: Vec<Key> = sorted
        .iter()
        .filter(|key| key.namespace_id == NAMESPACES[1])
        .cloned()
        .collect();
    assert_eq!(listed(&store, Some(NAMESPACES[1]), 100).await, Some(second));
    // As many with the same times as fill several pages.
    postgres().execute(
        "listed",
        "UPDATE executions_visibility SET start_time = '2024-01-01', close_time = '2024-01-02'",
    );
    assert_eq!(listed(&store, None, 100).await, Some(keys("listed", LISTED)));
}

/// Without its index that order would have to be sorted for each page.
#[tokio::test]
async fn without_its_index_there_is_no_such_order() {
    let store = filled("listed_without").await;
    postgres().execute("listed_without", "DROP INDEX default_idx");
    assert_eq!(listed(&store, None, 100).await, None);
}

/// Records lie in the table as they were listed, however many pages are under way, and are all there are.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_in_list_order_lies_in_list_order() {
    let source = filled("lying_from").await;
    let target = opened(&postgres().visibility("lying_to", "v1.13")).await;
    let indexing = target.indexing().expect("indexing");
    let parked = indexing.park().await.expect("park");
    assert!(parked.sorts_later());
    let mut on = |_: &Progress| Step::Continue;
    let options = Options {
        page: 100,
        in_flight: 4,
    };
    let from = source.read();
    let copied = copy_in_list_order(&*from, target.target(), None, options, &mut on).await;
    let progress = copied.expect("a copy").expect("the order of lists").progress;
    assert_eq!((progress.scanned, progress.written), (1_200, 1_200));
    assert_eq!(keys("lying_to", "ctid"), keys("lying_from", LISTED));
    let mut on = |_: &Rebuilding| Step::Continue;
    let built = indexing
        .restore(&parked, Pace::default(), &mut on)
        .await
        .expect("indexes");
    assert!(built.finished);
    let all: BTreeSet<Key> = records(1_200).into_iter().map(|record| record.key).collect();
    assert_eq!(keys("lying_to", LISTED).into_iter().collect::<BTreeSet<Key>>(), all);
}
