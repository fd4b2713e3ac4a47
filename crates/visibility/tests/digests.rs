//! Comparing by digests finds what comparing everything finds.

use std::time::Duration;

use crossfade_visibility::compare::{self, Outcome, Progress, compare};
use crossfade_visibility::contract::record;
use crossfade_visibility::copy::Step;
use crossfade_visibility::memo;
use crossfade_visibility::memory::Memory;
use crossfade_visibility::ports::{Range, Read};
use crossfade_visibility::record::{PROTO3, Record};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

/// What is wrong with one record at the target.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Missing,
    Stale,
    Memo,
    Attribute,
    Extra,
    /// Nothing: the memo's bytes alone differ.
    Shuffled,
    None,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        1 => Just(Fault::Missing),
        1 => Just(Fault::Stale),
        1 => Just(Fault::Memo),
        1 => Just(Fault::Attribute),
        1 => Just(Fault::Extra),
        20 => Just(Fault::Shuffled),
        60 => Just(Fault::None),
    ]
}

/// A pair of stores, each record at a place in the order of run ids that its number scatters it to.
fn stores(faults: &[(u32, Fault)]) -> (Memory, Memory) {
    let (source, target) = (Memory::versioned("source"), Memory::versioned("target"));
    for (dice, fault) in faults {
        let whole = Record {
            version: Some(5),
            memo: Some(memo::encode(&[("a", "1"), ("b", "2")])),
            memo_encoding: PROTO3.to_owned(),
            ..scattered(*dice)
        };
        let mut held = whole.clone();
        match fault {
            Fault::Stale => held.version = Some(4),
            Fault::Memo => held.memo = Some(memo::encode(&[("a", "2"), ("b", "1")])),
            Fault::Attribute => {
                held.search_attributes.insert("Int03".to_owned(), json!(dice));
            }
            Fault::Shuffled => held.memo = Some(memo::encode(&[("b", "2"), ("a", "1")])),
            Fault::Missing | Fault::Extra | Fault::None => {}
        }
        if !matches!(fault, Fault::Extra) {
            source.server_upsert(&whole);
        }
        if !matches!(fault, Fault::Missing) {
            target.server_upsert(&held);
        }
    }
    (source, target)
}

fn scattered(dice: u32) -> Record {
    let namespace = [
        "00000000-0000-4000-8000-00000000000a",
        "00000000-0000-4000-8000-00000000000b",
    ];
    let mut record = record(namespace[(dice % 2) as usize], dice);
    record.key.run_id = format!("{:08x}-0000-4000-8000-000000000000", dice.wrapping_mul(2_654_435_761));
    record
}

fn run(source: &dyn Read, target: &dyn Read, digests: bool, stops: &[bool]) -> Outcome {
    let options = compare::Options {
        page: 5,
        pause: Duration::ZERO,
        report_every: 10,
        sample: usize::MAX,
        digests,
        ..Default::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let (mut stops, everything) = (stops.iter().copied(), Range::default());
    let mut from = Progress::default();
    loop {
        let mut watch = |_: &Progress| match stops.next() {
            Some(true) => Step::Stop,
            _ => Step::Continue,
        };
        let compared = compare(source, target, None, &everything, from, options, &mut watch);
        let outcome = runtime
            .as_ref()
            .expect("a runtime")
            .block_on(compared)
            .expect("an outcome");
        if outcome.finished {
            return outcome;
        }
        from = outcome.progress;
    }
}

proptest! {
    #[test]
    fn digests_find_exactly_what_reading_finds(
        faults in vec((any::<u32>(), fault()), 0..300), stops in vec(any::<bool>(), 0..20),
    ) {
        let (source, target) = stores(&faults);
        let (read, asked) = (run(&source, &target, false, &[]), run(&source, &target, true, &stops));
        prop_assert_eq!(&asked.progress.drift, &read.progress.drift);
        prop_assert_eq!(asked.progress.source_records, read.progress.source_records);
        prop_assert_eq!(asked.progress.target_records, read.progress.target_records);
        prop_assert_eq!(&asked.progress.namespaces, &read.progress.namespaces);
        prop_assert_eq!(read.progress.by_digest, 0);
    }

    #[test]
    fn what_does_not_differ_is_not_read(dice in vec(any::<u32>(), 0..300)) {
        let records: Vec<(u32, Fault)> = dice.into_iter().map(|dice| (dice, Fault::Shuffled)).collect();
        let (source, target) = stores(&records);
        let asked = run(&source, &target, true, &[]);
        prop_assert!(asked.is_clean());
        prop_assert_eq!(asked.progress.by_digest, source.all().len() as u64);
    }
}

/// Records that began and ended before are passed over, whichever store has another opinion of them counts.
#[test]
fn since_looks_at_what_is_recent_in_either_store() {
    let (source, target) = (Memory::versioned("source"), Memory::versioned("target"));
    let at = |text: &str| text.parse::<jiff::Timestamp>().expect("a time");
    let closed = |dice: u32, start: &str, close: Option<&str>| {
        let mut record = scattered(dice);
        record.status = if close.is_some() { 2 } else { 1 };
        record.start_time = at(start);
        record.close_time = close.map(at);
        record.version = Some(5);
        record
    };
    let old = closed(1, "2024-01-01T00:00:00Z", Some("2024-01-02T00:00:00Z"));
    let late = closed(2, "2024-01-01T00:00:00Z", Some("2024-03-01T00:00:00Z"));
    let open = closed(3, "2024-01-01T00:00:00Z", None);
    let was_open = closed(4, "2024-01-01T00:00:00Z", Some("2024-01-02T00:00:00Z"));
    for record in [&old, &late, &open, &was_open] {
        source.server_upsert(record);
    }
    let stale = Record {
        version: Some(1),
        ..closed(4, "2024-01-01T00:00:00Z", None)
    };
    target.server_upsert(&stale);
    let options = compare::Options {
        pause: Duration::ZERO,
        since: Some(at("2024-02-01T00:00:00Z")),
        ..Default::default()
    };
    let (mut watch, everything) = (|_: &Progress| Step::Continue, Range::default());
    let compared = compare(
        &source,
        &target,
        None,
        &everything,
        Progress::default(),
        options,
        &mut watch,
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let progress = runtime
        .expect("a runtime")
        .block_on(compared)
        .expect("an outcome")
        .progress;
    assert_eq!((progress.drift.missing.count, progress.drift.stale.count), (2, 1));
    assert_eq!((progress.source_records, progress.target_records), (3, 1));
}
