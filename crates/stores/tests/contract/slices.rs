//! Several slices at the same time, on real stores: with a stop in the middle, and records that go meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use crossfade_stores::Store;
use crossfade_visibility::contract::record;
use crossfade_visibility::copy::{Options, Outcome, Progress, Step};
use crossfade_visibility::division::{between, cuts};
use crossfade_visibility::parallel::copy_slices;
use crossfade_visibility::ports::{Condemned, Error, Range};
use crossfade_visibility::record::{Key, Record};
use serde_json::json;

use crate::clusters::Product;
use crate::fixture::postgres;
use crate::opened;

const NAMESPACES: [&str; 3] = [
    "00000000-0000-4000-8000-00000000000a",
    "00000000-0000-4000-8000-00000000000b",
    "00000000-0000-4000-8000-00000000000c",
];

const RECORDS: u32 = 1_200;

/// Slices worked on at once, of seven.
const AT_ONCE: usize = 3;

async fn slices(source: &Store) -> Vec<Range> {
    let counts = source.read().count(None).await.expect("counts");
    let counts: BTreeMap<String, u64> = counts.into_iter().map(|(id, count)| (id, count.total())).collect();
    let slices = between(cuts(&counts, 7));
    assert_eq!(slices.len(), 7);
    slices
}

async fn copied(
    source: &Store,
    target: &Store,
    mut watch: impl FnMut(&Progress) -> Step + Send,
) -> Result<Outcome, Error> {
    let (slices, options) = (slices(source).await, Options::pages_of(50));
    copy_slices(&*source.read(), target.target(), slices, AT_ONCE, options, &mut watch).await
}

async fn from_postgres_to(name: &str, target: &Store) {
    let source = opened(&postgres().visibility(&format!("slices_{name}"), "v1.13")).await;
    let all: Vec<Record> = (0..RECORDS).map(|n| record(NAMESPACES[n as usize % 3], n)).collect();
    source.write().put(&all).await.expect("put");

    // Stopped half way: what was begun is finished, and the others are not begun.
    let stop = |progress: &Progress| match progress.written < 400 {
        true => Step::Continue,
        false => Step::Stop,
    };
    let stopped = copied(&source, target, stop).await.expect("a copy");
    assert!(!stopped.finished, "{stopped:?}");
    let before = stopped.progress.written;
    assert!((400..u64::from(RECORDS)).contains(&before), "{stopped:?}");

    // Begun anew, with records that go at the source alone while it runs: those that the target got already are for a
    // comparison to find, none of the others comes.
    let keys: Vec<Key> = all.iter().map(|record| record.key.clone()).collect();
    let there = target.read().versions(&keys).await.expect("versions");
    let going: Vec<Condemned> = all
        .iter()
        .filter(|record| !there.contains_key(&record.key))
        .take(60)
        .map(|record| Condemned {
            key: record.key.clone(),
            at_most: None,
        })
        .collect();
    let (sources, runtime) = (source.clone(), tokio::runtime::Handle::current());
    let mut to_delete = Some(going.clone());
    let watch = |_: &Progress| {
        if let Some(going) = to_delete.take() {
            tokio::task::block_in_place(|| runtime.block_on(sources.write().delete(&going)).expect("delete"));
        }
        Step::Continue
    };
    let outcome = copied(&source, target, watch).await.expect("a copy");
    assert!(outcome.finished);
    let again = copied(&source, target, |_| Step::Continue).await.expect("a copy");
    assert_eq!(
        (again.progress.scanned, again.progress.written),
        (u64::from(RECORDS) - 60, 0)
    );
    let mut left = target.read().versions(&keys).await.expect("versions");
    // Those that were carried before they went; what was read before and written after is taken back.
    let gone: BTreeSet<Key> = going.into_iter().map(|condemned| condemned.key).collect();
    left.retain(|key, _| !gone.contains(key));
    assert!(left == source.read().versions(&keys).await.expect("versions"));
    assert_eq!(left.len(), RECORDS as usize - 60);
}

/// What one at a time carries, three at a time carry, too, and nothing that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn slices_are_carried_at_once_from_postgres_to_postgres() {
    let target = opened(&postgres().visibility("slices_target", "v1.13")).await;
    from_postgres_to("to_postgres", &target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_are_carried_at_once_from_postgres_to_elasticsearch() {
    let entry = Product::Elasticsearch
        .shared()
        .await
        .index("slices_target", "v13", json!({}))
        .await;
    from_postgres_to("to_elasticsearch", &opened(&entry).await).await;
}
