//! Slices are handed out, come back and are cut in two: nothing is lost, nothing twice, and never beyond the rate.

use std::collections::BTreeMap;

use crossfade_plan::slices::{Rates, Slice, Slices, Step};
use proptest::prelude::*;

fn begun(cuts: &[&str]) -> (Slices, Vec<String>) {
    let cuts: Vec<String> = cuts.iter().map(ToString::to_string).collect();
    let mut slices = Slices::default();
    slices.begin(&cuts, None);
    (slices, cuts)
}

fn stopped_at(cursor: &str, middle: Option<&str>) -> Step {
    Step {
        cursor: Some(cursor.to_owned()),
        middle: middle.map(ToOwned::to_owned),
        scanned: 100,
        millis: 1_000,
        ..Step::default()
    }
}

fn done() -> Step {
    Step {
        done: true,
        scanned: 10,
        ..Step::default()
    }
}

fn ends(slice: &Slice) -> (Option<&str>, Option<&str>) {
    (slice.cursor.as_deref(), slice.until.as_deref())
}

#[test]
fn slices_are_begun_in_order_and_only_as_many_as_may_be() {
    let (mut slices, cuts) = begun(&["b", "d"]);
    let first = slices.hand_out(&cuts, 2, Rates::default());
    assert_eq!(
        first.iter().map(ends).collect::<Vec<_>>(),
        [(None, Some("b")), (Some("b"), Some("d"))]
    );
    assert_eq!(slices.hand_out(&cuts, 2, Rates::default()), []);
    assert_eq!((slices.total, slices.done, slices.under_way()), (3, 0, 2));
    slices.settle(1, Some(&done()));
    let next = slices.hand_out(&cuts, 2, Rates::default());
    assert_eq!(next.iter().map(ends).collect::<Vec<_>>(), [(Some("d"), None)]);
    slices.settle(2, Some(&done()));
    assert!(slices.is_short(2, None) && !slices.is_short(1, None) && !slices.is_short(2, Some(1)));
    slices.settle(3, Some(&done()));
    assert!(slices.is_over() && slices.open.is_empty());
}

#[test]
fn both_rates_are_shared_by_those_under_way_and_the_last_one_has_all() {
    let (mut slices, cuts) = begun(&["b", "d"]);
    let rates = Rates {
        target: Some(100),
        source: Some(900),
    };
    let shares = |slices: &[Slice]| -> Vec<(Option<u32>, Option<u32>)> {
        let share = |slice: &Slice| (slice.records_per_second, slice.source_records_per_second);
        slices.iter().map(share).collect()
    };
    let both = shares(&slices.hand_out(&cuts, 2, rates));
    assert_eq!(both, [(Some(50), Some(450)), (Some(50), Some(450))]);
    slices.settle(1, Some(&done()));
    slices.settle(2, Some(&done()));
    assert_eq!(shares(&slices.hand_out(&cuts, 2, rates)), [(Some(100), Some(900))]);
    slices.settle(3, None);
    let none_left = Rates {
        source: Some(0),
        ..rates
    };
    assert_eq!(
        shares(&slices.hand_out(&cuts, 2, none_left)),
        [(Some(100), Some(1))],
        "never none"
    );
    assert_eq!(shares(&slices.open), [(Some(100), Some(1))]);
    slices.settle(3, Some(&stopped_at("e", None)));
    assert_eq!(shares(&slices.open), [(None, None)], "only while it is under way");
}

#[test]
fn what_is_left_is_cut_in_two_only_where_there_are_too_few() {
    let (mut slices, cuts) = begun(&["m"]);
    slices.hand_out(&cuts, 2, Rates::default());
    // Both are slow; there is one for each that works, so that neither is cut.
    slices.settle(1, Some(&stopped_at("c", Some("h"))));
    let again = slices.hand_out(&cuts, 2, Rates::default());
    assert_eq!(again.iter().map(ends).collect::<Vec<_>>(), [(Some("c"), Some("m"))]);
    assert_eq!(
        slices.slowest().map(|slice| (slice.number, slice.pace())),
        Some((1, Some(100)))
    );
    slices.settle(1, Some(&stopped_at("e", Some("i"))));
    slices.settle(2, Some(&done()));
    let halves = slices.hand_out(&cuts, 2, Rates::default());
    assert_eq!(
        halves.iter().map(ends).collect::<Vec<_>>(),
        [(Some("e"), Some("i")), (Some("i"), Some("m"))]
    );
    assert_eq!((slices.total, slices.done), (3, 1));
}

#[test]
fn a_copy_without_slices_goes_on_as_one() {
    let mut slices = Slices::default();
    slices.begin(&["b".to_owned()], Some("a".to_owned()));
    let handed_out = slices.hand_out(&["b".to_owned()], 4, Rates::default());
    assert_eq!(handed_out.iter().map(ends).collect::<Vec<_>>(), [(Some("a"), None)]);
    slices.begin(&["b".to_owned()], None);
    slices.settle(1, Some(&done()));
    assert!(slices.is_over());
}

/// What may happen to the slices that are under way.
#[derive(Debug, Clone)]
enum Event {
    /// One comes to its end.
    Done(usize),
    /// The time of one is over after so many records.
    Stopped(usize, u64),
    /// One could not tell how far it came.
    Lost(usize),
    /// The operator wants another rate, and all are stopped.
    Rate(Option<u32>),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => any::<usize>().prop_map(Event::Done),
        3 => (any::<usize>(), 1_u64..40).prop_map(|(which, records)| Event::Stopped(which, records)),
        1 => any::<usize>().prop_map(Event::Lost),
        1 => prop::option::of(1_u32..30).prop_map(Event::Rate),
    ]
}

/// A place as a cursor: records are numbered from 1, and `LAST` is the last.
const LAST: u64 = 500;

fn place(text: Option<&String>, otherwise: u64) -> u64 {
    text.map_or(otherwise, |text| text.parse().expect("a place"))
}

proptest! {
    #[test]
    fn every_record_is_worked_on_and_none_beyond_the_rate(
        cuts in prop::collection::btree_set(1..LAST, 0..12),
        events in prop::collection::vec(event(), 0..200),
        at_once in 1_u32..6,
        first_rate in prop::option::of(1_u32..30),
    ) {
        let cuts: Vec<String> = cuts.iter().map(ToString::to_string).collect();
        let mut slices = Slices::default();
        slices.begin(&cuts, None);
        let mut rate = first_rate;
        // What is certain to be done, how often.
        let mut worked: BTreeMap<u64, u32> = BTreeMap::new();
        let mut events = events.into_iter();
        while !slices.is_over() {
            let source = rate.map(|rate| 2 * rate);
            slices.hand_out(&cuts, at_once, Rates { target: rate, source });
            let under_way: Vec<Slice> = slices.open.iter().filter(|slice| slice.under_way).cloned().collect();
            prop_assert!(!under_way.is_empty() && under_way.len() <= at_once as usize);
            if let Some(rate) = rate {
                let shares: u32 = under_way.iter().filter_map(|slice| slice.records_per_second).sum();
                prop_assert!(shares <= rate, "{shares} of {rate}");
                let shares: u32 = under_way.iter().filter_map(|slice| slice.source_records_per_second).sum();
                prop_assert!(shares <= 2 * rate, "{shares} of {} at the source", 2 * rate);
            }
            let of = |which: usize| under_way[which % under_way.len()].clone();
            let mut work = |slice: &Slice, most: u64| {
                let (from, to) = (place(slice.cursor.as_ref(), 0), place(slice.until.as_ref(), LAST));
                let reached = to.min(from + most);
                for record in from + 1..=reached {
                    *worked.entry(record).or_default() += 1;
                }
                let middle = reached + (to - reached) / 2;
                Step {
                    cursor: (reached > 0).then(|| reached.to_string()),
                    done: reached == to && most == u64::MAX / 2,
                    middle: (reached < middle).then(|| middle.to_string()),
                    scanned: reached - from,
                    millis: 1,
                }
            };
            match events.next().unwrap_or(Event::Done(0)) {
                Event::Done(which) => {
                    let slice = of(which);
                    let step = work(&slice, u64::MAX / 2);
                    slices.settle(slice.number, Some(&step));
                }
                Event::Stopped(which, records) => {
                    let slice = of(which);
                    let step = work(&slice, records);
                    slices.settle(slice.number, Some(&step));
                }
                Event::Lost(which) => slices.settle(of(which).number, None),
                Event::Rate(other) => {
                    rate = other;
                    for slice in &under_way {
                        let step = work(slice, 1);
                        slices.settle(slice.number, Some(&step));
                    }
                }
            }
            // Carried on by a continued run, it is the same.
            let carried = serde_json::to_string(&slices).expect("JSON");
            prop_assert_eq!(&serde_json::from_str::<Slices>(&carried).expect("slices"), &slices);
        }
        let each_once: BTreeMap<u64, u32> = (1..=LAST).map(|record| (record, 1)).collect();
        prop_assert_eq!(worked, each_once);
        prop_assert_eq!(slices.done, slices.total);
    }
}
