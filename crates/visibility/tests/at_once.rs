//! Comparing two stores each in its own order finds what comparing them in the order of keys finds.

use std::time::Duration;

use crossfade_visibility::compare::{self, Outcome, Progress, compare};
use crossfade_visibility::contract::record;
use crossfade_visibility::copy::Step;
use crossfade_visibility::memo;
use crossfade_visibility::memory::Memory;
use crossfade_visibility::ports::{Range, Read};
use crossfade_visibility::record::{Key, PROTO3};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

/// What is wrong with one record at the target.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Missing,
    Stale,
    Ahead,
    Memo,
    Attribute,
    Extra,
    /// Nothing: the memo's bytes alone differ.
    Shuffled,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        1 => Just(Fault::Missing),
        1 => Just(Fault::Stale),
        1 => Just(Fault::Ahead),
        1 => Just(Fault::Memo),
        1 => Just(Fault::Attribute),
        1 => Just(Fault::Extra),
        60 => Just(Fault::Shuffled),
    ]
}

/// Four Namespaces: two usual ones, one whose run ids begin alike, and one where some are no UUIDs.
fn place(dice: u32) -> Key {
    let namespace = |last: char| format!("00000000-0000-4000-8000-00000000000{last}");
    let uuid = |first: u32| format!("{first:08x}-0000-4000-8000-{dice:012x}");
    let first = dice.wrapping_mul(2_654_435_761);
    match dice % 8 {
        0 => Key::new(namespace('c'), uuid(first & 0x0000_ff0f)),
        1 if dice.is_multiple_of(3) => Key::new(namespace('d'), format!("Odd {dice}")),
        1 => Key::new(namespace('d'), uuid(first)),
        2 => Key::new(namespace('b'), uuid(first)),
        _ => Key::new(namespace('a'), uuid(first)),
    }
}

fn stores(faults: &[(u32, Fault)]) -> (Memory, Memory) {
    let (source, target) = (Memory::versioned("source"), Memory::versioned("target"));
    for (dice, fault) in faults {
        let mut whole = record("n", *dice);
        whole.key = place(*dice);
        whole.version = Some(5);
        whole.memo = Some(memo::encode(&[("a", "1"), ("b", "2")]));
        whole.memo_encoding = PROTO3.to_owned();
        let mut held = whole.clone();
        held.memo = Some(memo::encode(&[("b", "2"), ("a", "1")]));
        match fault {
            Fault::Stale => held.version = Some(4),
            Fault::Ahead => held.version = Some(6),
            Fault::Memo => held.memo = Some(memo::encode(&[("a", "2"), ("b", "1")])),
            Fault::Attribute => {
                held.search_attributes.insert("Int03".to_owned(), json!(dice));
            }
            Fault::Missing | Fault::Extra | Fault::Shuffled => {}
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

/// Compares what lies in `slices`, each from where `stops` let it get to.
fn run(source: &dyn Read, target: &dyn Read, slices: &[Range], cells: Option<usize>, stops: &[bool]) -> Outcome {
    let options = compare::Options {
        page: 5,
        pause: Duration::ZERO,
        report_every: 10,
        suspects: 7,
        sample: usize::MAX,
        at_once: cells.is_some(),
        cells,
        ..Default::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let mut stops = stops.iter().copied();
    let mut from = Progress::default();
    for slice in slices {
        loop {
            let mut watch = |_: &Progress| match stops.next() {
                Some(true) => Step::Stop,
                _ => Step::Continue,
            };
            let compared = compare(source, target, None, slice, from, options, &mut watch);
            let outcome = runtime
                .as_ref()
                .expect("a runtime")
                .block_on(compared)
                .expect("an outcome");
            from = outcome.progress;
            if outcome.finished {
                break;
            }
        }
    }
    Outcome {
        progress: from,
        finished: true,
    }
}

/// The whole, cut at these places in the order of keys.
fn cut(mut at: Vec<Key>) -> Vec<Range> {
    at.sort();
    crossfade_visibility::division::between(at)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reading_at_once_finds_exactly_what_reading_by_keys_finds(
        faults in vec((0..100_000_u32, fault()), 0..300), cells in 1..400_usize,
        cuts in vec(0..100_000_u32, 0..4), stops in vec(prop::bool::weighted(0.2), 0..40),
    ) {
        let (source, target) = stores(&faults);
        let by_keys = run(&source, &target, &[Range::default()], None, &[]);
        let slices = cut(cuts.into_iter().map(place).collect());
        let at_once = run(&source, &target, &slices, Some(cells), &stops);
        let sorted = |outcome: &Outcome| {
            let drift = &outcome.progress.drift;
            let all = [&drift.missing, &drift.stale, &drift.different, &drift.extra];
            all.map(|tally| {
                let mut sample = tally.sample.clone();
                sample.sort_by(|a, b| a.key.cmp(&b.key));
                (tally.count, sample)
            })
        };
        prop_assert_eq!(sorted(&at_once), sorted(&by_keys));
        prop_assert_eq!(at_once.progress.source_records, by_keys.progress.source_records);
        prop_assert_eq!(at_once.progress.target_records, by_keys.progress.target_records);
        prop_assert_eq!(&at_once.progress.namespaces, &by_keys.progress.namespaces);
        prop_assert_eq!(at_once.progress.ahead, 0);
    }
}
