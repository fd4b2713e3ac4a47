//! Signs of real stores: those of what was written, whichever store is asked, and of a range those within it.

use std::collections::BTreeMap;

use crossfade_stores::Store;
use crossfade_visibility::compare::{self, Outcome};
use crossfade_visibility::contract::record;
use crossfade_visibility::division;
use crossfade_visibility::memo;
use crossfade_visibility::memory::Memory;
use crossfade_visibility::ports::{Precision, Range, Read, Write as _};
use crossfade_visibility::record::{Key, PROTO3, Record};
use crossfade_visibility::sameness::Yardstick;
use crossfade_visibility::sign::{Run, Terms, Wanted};
use futures::TryStreamExt as _;
use serde_json::json;

use crate::clusters::Product;
use crate::comparing;
use crate::fixture::postgres;
use crate::opened;

const NAMESPACES: [&str; 2] = [
    "00000000-0000-4000-8000-00000000000a",
    "00000000-0000-4000-8000-00000000000b",
];

/// Records of every shape: open and closed, with and without memo, attributes and parents.
fn shaped(number: u32, swapped: bool) -> Record {
    let mut record = record(NAMESPACES[(number % 2) as usize], number);
    record.key.run_id = format!("{:08x}-0000-4000-8000-000000000000", number.wrapping_mul(2_654_435_761));
    record.version = Some(5);
    let mut entries = vec![("a", "1"), ("b", "\"it's\"")];
    if swapped {
        entries.reverse();
    }
    record.memo = (!number.is_multiple_of(5)).then(|| memo::encode(&entries));
    record.memo_encoding = PROTO3.to_owned();
    if number.is_multiple_of(7) {
        record.search_attributes.clear();
    } else {
        record
            .search_attributes
            .insert("Double01".to_owned(), json!(f64::from(number) / 4.0));
        record
            .search_attributes
            .insert("KeywordList01".to_owned(), json!(["one"]));
    }
    record.parent_run_id = number.is_multiple_of(3).then(|| "p".to_owned());
    record
}

type Signs = BTreeMap<(String, String), u128>;

/// The signs of a range, page by page.
async fn signs(store: &dyn Read, range: &Range, terms: Terms) -> Signs {
    let wanted = Wanted {
        range: range.clone(),
        page: 7,
        terms,
    };
    let pages = store.signs(wanted).expect("an order of its own");
    let pages: Vec<_> = pages.try_collect().await.expect("signs");
    let mut signs = Signs::new();
    for page in pages {
        for record in page.records {
            let Run::Uuid(run) = record.run else {
                panic!("{:?} is no UUID", record.run)
            };
            let key = (page.namespaces[record.namespace].clone(), format!("{run:032x}"));
            assert_eq!(signs.insert(key, record.sign), None, "a record came twice");
        }
    }
    signs
}

fn terms(as_text: bool) -> Terms {
    Terms::new(Yardstick::whole(Precision::Microsecond), true, as_text)
}

async fn compared(source: &dyn Read, target: &dyn Read, at_once: bool) -> Outcome {
    let options = compare::Options {
        at_once,
        cells: Some(200),
        ..comparing::options()
    };
    comparing::compared(source, target, options).await
}

/// What is wrong at the target after [`fill_wrongly`], of each class.
const WRONG: [u64; 4] = [1, 1, 2, 1];

/// Fills a source with `count` records, and a target with the same, of which some are wrong.
async fn fill_wrongly(source: &Store, target: &Store, count: u32) {
    let records: Vec<Record> = (0..count).map(|number| shaped(number, false)).collect();
    source.write().put(&records).await.expect("put");
    let held = (0..count).filter(|number| *number != 11).map(|number| {
        let mut record = shaped(number, true);
        match number {
            503 => record.version = Some(4),
            504 => record.memo = None,
            1_505 => record.task_queue.push('x'),
            1_506 => record.version = Some(6),
            _ => {}
        }
        record
    });
    let mut held: Vec<Record> = held.collect();
    held.push(shaped(4_000, true));
    target.write().put(&held).await.expect("put");
}

/// That comparing at once finds in these stores what comparing by keys does.
async fn both_ways_agree(source: &Store, target: &Store) {
    let (source, target) = (source.read(), target.read());
    let by_keys = compared(&*source, &*target, false).await;
    let at_once = compared(&*source, &*target, true).await;
    let drift = &at_once.progress.drift;
    let counts = [&drift.missing, &drift.stale, &drift.different, &drift.extra].map(|tally| tally.count);
    assert_eq!(counts, WRONG);
    let sorted = |outcome: &Outcome| {
        let drift = &outcome.progress.drift;
        let mut all: Vec<_> = [&drift.missing, &drift.stale, &drift.different, &drift.extra]
            .into_iter()
            .flat_map(|tally| tally.sample.clone())
            .collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    };
    assert_eq!(sorted(&at_once), sorted(&by_keys));
    assert_eq!(at_once.progress.namespaces, by_keys.progress.namespaces);
    assert_eq!(at_once.progress.target_records, by_keys.progress.target_records);
}

#[tokio::test]
async fn a_postgres_signs_what_was_written_and_of_a_range_what_is_within() {
    let store = opened(&postgres().visibility("signs_a", "v1.13")).await;
    let twin = opened(&postgres().visibility("signs_b", "v1.13")).await;
    let memory = Memory::versioned("memory");
    let records: Vec<Record> = (0..60).map(|number| shaped(number, false)).collect();
    let swapped: Vec<Record> = (0..60).rev().map(|number| shaped(number, true)).collect();
    store.write().put(&records).await.expect("put");
    twin.write().put(&swapped).await.expect("put");
    memory.put(&records).await.expect("put");
    let (store, twin) = (store.read(), twin.read());
    let mut ranges = division::between(vec![
        Key::new(NAMESPACES[0], "80000000-0000-4000-8000-000000000000"),
        Key::new(NAMESPACES[1], ""),
        Key::new(NAMESPACES[1], "it's"),
    ]);
    ranges.push(Range::default());
    ranges.push(Range {
        namespace_id: Some(NAMESPACES[1].to_owned()),
        ..Range::default()
    });
    for range in ranges {
        let by_meaning = terms(false);
        let expected = signs(&memory, &range, by_meaning).await;
        assert_eq!(signs(&*store, &range, by_meaning).await, expected, "{range:?}");
        assert_eq!(signs(&*twin, &range, by_meaning).await, expected, "{range:?}");
        let by_text = terms(true);
        let text = signs(&*store, &range, by_text).await;
        assert_eq!(signs(&*twin, &range, by_text).await, text, "{range:?}");
        assert!(text.keys().eq(expected.keys()));
        assert!(range == Range::default() || text.len() < 60);
    }
}

#[tokio::test]
async fn two_postgres_read_at_once_differ_as_they_do_by_keys() {
    let source = opened(&postgres().visibility("signs_source", "v1.13")).await;
    let target = opened(&postgres().visibility("signs_target", "v1.13")).await;
    fill_wrongly(&source, &target, 2_000).await;
    both_ways_agree(&source, &target).await;
}

/// Without versions, and where one schema lacks what the other has.
#[tokio::test]
async fn schemas_of_different_age_are_signed_by_what_both_have() {
    let source = opened(&postgres().visibility("signs_old", "v1.4")).await;
    let target = opened(&postgres().visibility("signs_new", "v1.13")).await;
    let records: Vec<Record> = (0..20).map(|number| shaped(number, false)).collect();
    source.write().put(&records).await.expect("put");
    target.write().put(&records).await.expect("put");
    let (source, target) = (source.read(), target.read());
    let outcome = compared(&*source, &*target, true).await;
    assert!(outcome.is_clean());
    assert_eq!((outcome.progress.target_records, outcome.progress.settled), (20, 0));
}

#[tokio::test]
async fn an_index_read_at_once_differs_from_a_postgres_and_another_index_as_it_does_by_keys() {
    let fields = json!({
        "Bool01": {"type": "boolean"}, "Int01": {"type": "long"}, "Keyword01": {"type": "keyword"},
        "KeywordList01": {"type": "keyword"}, "KeywordList02": {"type": "keyword"}, "Text01": {"type": "text"},
        "Datetime01": {"type": "date_nanos"},
        "Double01": {"type": "scaled_float", "scaling_factor": 10_000},
        "Double02": {"type": "scaled_float", "scaling_factor": 10_000},
    });
    let node = Product::Elasticsearch.shared().await;
    let source = opened(&postgres().visibility("signs_to_index", "v1.13")).await;
    let index = opened(&node.index("signs", "v13", fields.clone()).await).await;
    fill_wrongly(&source, &index, 1_600).await;
    both_ways_agree(&source, &index).await;
    let twin = opened(&node.index("signs_twin", "v13", fields).await).await;
    let records: Vec<Record> = (0..1_600).map(|number| shaped(number, false)).collect();
    twin.write().put(&records).await.expect("put");
    both_ways_agree(&twin, &index).await;
    let (source, twin) = (source.read(), twin.read());
    let mut ranges = division::between(vec![Key::new(NAMESPACES[0], "80"), Key::new(NAMESPACES[1], "")]);
    ranges.push(Range {
        namespace_id: Some(NAMESPACES[1].to_owned()),
        ..Range::default()
    });
    for range in ranges {
        let terms = terms(false);
        let there = signs(&*twin, &range, terms).await;
        assert_eq!(there, signs(&*source, &range, terms).await, "{range:?}");
        assert!((100..1_000).contains(&there.len()));
    }
}
