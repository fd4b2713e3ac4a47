//! Divides all records into slices that can be worked on at the same time.
//!
//! What is cut is the order of all keys, not a list of Namespaces: the first slice begins before every key, the last one
//! ends after every key, and each begins where the one before ends. So whatever key there is or will be, of a Namespace
//! that was counted or of one that nobody knew, lies in exactly one slice. Estimates decide only how large each is.
//!
//! Within a Namespace the cuts rely on run ids being random UUIDs, which the server makes them
//! (1.30.8: service/history/api/startworkflow/api.go, `primitives.NewUUID`). Where they are not, slices differ in size and
//! nothing else does; what is left of a large one is cut in two again.

use std::collections::BTreeMap;

use crate::ports::Range;
use crate::record::Key;

/// The most slices that a division makes: enough that the largest store's are minutes of work, few enough to be kept in
/// mind at once.
pub const MOST: u64 = 256;

/// Records that a slice has where nothing says otherwise.
const RECORDS: u64 = 50_000;

/// Fewer records than this are not worth a slice of their own, unless somebody says so.
const FEWEST: u64 = 1_000;

/// Slices for each that is worked on at once, if there are records for them: one that turns out large must not be what
/// all others wait for in the end.
const FOR_EACH: u64 = 4;

/// How many slices to make of `records`, of which `at_once` are worked on at the same time; of about `size` records each
/// if that is given. At least one, at most [`MOST`].
pub fn slices(records: u64, at_once: u64, size: Option<u64>) -> u64 {
    let slices = match size {
        Some(size) => records.div_ceil(size.max(1)),
        None => {
            let worth = at_once.saturating_mul(FOR_EACH).min(records / FEWEST);
            records.div_ceil(RECORDS).max(worth)
        }
    };
    slices.clamp(1, MOST)
}

/// The keys at which to cut, in order, so that `slices` slices hold about as many records each, by the number of records
/// of each Namespace id. Fewer than `slices - 1` where there are not so many records.
pub fn cuts(records: &BTreeMap<String, u64>, slices: u64) -> Vec<Key> {
    let all: u128 = records.values().copied().map(u128::from).sum();
    let slices = u128::from(slices.max(1)).min(all);
    let mut cuts = Vec::new();
    let mut before: u128 = 0;
    let mut next: u128 = 1;
    for (namespace_id, count) in records {
        let count = u128::from(*count);
        // No overflow: both factors are far below 2^64.
        while next < slices && all * next / slices < before + count {
            let offset = all * next / slices - before;
            let run_id = if offset == 0 {
                String::new()
            } else {
                run_id_at(u128::MAX / count * offset)
            };
            cuts.push(Key::new(namespace_id.clone(), run_id));
            next += 1;
        }
        before += count;
    }
    cuts
}

/// The slices between `cuts`, which are in order: one more than there are cuts.
pub fn between(cuts: Vec<Key>) -> Vec<Range> {
    let mut after = None;
    let mut ranges: Vec<Range> = cuts
        .into_iter()
        .map(|cut| Range {
            namespace_id: None,
            after: after.replace(cut.clone()),
            until: Some(cut),
        })
        .collect();
    ranges.push(Range {
        after,
        ..Range::default()
    });
    ranges
}

/// A key at which to cut `range` in two: strictly between its ends, in the middle of the run ids where it lies in one
/// Namespace, else where its last Namespace begins. `None` where nothing is known to lie between.
pub fn middle(range: &Range) -> Option<Key> {
    let begins = |namespace_id: &str| Key::new(namespace_id, "");
    let within = |after: &Key, until: u128| {
        let from = position(&after.run_id);
        let middle = from + (until.checked_sub(from)?) / 2;
        (from < middle && middle < until).then(|| Key::new(after.namespace_id.clone(), run_id_at(middle)))
    };
    match (&range.after, &range.until) {
        (Some(after), Some(until)) if after.namespace_id == until.namespace_id => {
            within(after, position(&until.run_id))
        }
        (Some(after), Some(until)) if until.run_id.is_empty() => within(after, u128::MAX),
        (_, Some(until)) if !until.run_id.is_empty() => Some(begins(&until.namespace_id)),
        (Some(after), None) => within(after, u128::MAX),
        _ => None,
    }
}

/// Where a run id stands among all: the number that a UUID is. Of any other text, that of a UUID beside which it is
/// sorted; never falling where the order of bytes rises.
fn position(run_id: &str) -> u128 {
    let mut position: u128 = 0;
    let mut digits = 0_u32;
    let mut bytes = run_id.bytes();
    while digits < DIGITS {
        // All that begin as this one does lie between `position` followed by zeros, and by ones.
        let rest = 4 * (DIGITS - digits);
        let lowest = position.checked_shl(rest).unwrap_or(0);
        let highest = lowest | ones(rest);
        let Some(mut byte) = bytes.next() else {
            return lowest;
        };
        if DASH_BEFORE.contains(&digits) {
            match byte.cmp(&b'-') {
                std::cmp::Ordering::Less => return lowest,
                std::cmp::Ordering::Greater => return highest,
                std::cmp::Ordering::Equal => match bytes.next() {
                    Some(next) => byte = next,
                    None => return lowest,
                },
            }
        }
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            ..b'0' => return lowest,
            b'g'.. => return highest,
            // Between the digits and the letters.
            _ => return lowest | 9 << (rest - 4) | ones(rest - 4),
        };
        position = position << 4 | u128::from(digit);
        digits += 1;
    }
    position
}

/// As many ones, at most 128.
fn ones(bits: u32) -> u128 {
    u128::MAX.checked_shr(128 - bits).unwrap_or(0)
}

/// Digits of a UUID.
const DIGITS: u32 = 32;

/// The digits of a UUID that a dash stands before.
const DASH_BEFORE: [u32; 4] = [8, 12, 16, 20];

/// The UUID of that number.
fn run_id_at(position: u128) -> String {
    let digits = format!("{position:032x}");
    let mut text = String::with_capacity(36);
    for (place, digit) in (0_u32..).zip(digits.chars()) {
        if DASH_BEFORE.contains(&place) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted<const N: usize>(records: [(&str, u64); N]) -> BTreeMap<String, u64> {
        records.map(|(id, records)| (id.to_owned(), records)).into()
    }

    fn shown(cuts: &[Key]) -> Vec<String> {
        cuts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn as_many_slices_as_are_worth_it() {
        for (records, at_once, size, expected) in [
            (0, 4, None, 1),
            (999, 4, None, 1),
            (2_500, 4, None, 2),
            (100_000, 4, None, 16),
            (100_000, 1, None, 4),
            (5_000_000, 4, None, 100),
            (1_000_000_000, 4, None, MOST),
            (u64::MAX, u64::MAX, None, MOST),
            (200, 4, Some(50), 4),
            (200, 4, Some(0), 200),
            (u64::MAX, 4, Some(1), MOST),
        ] {
            assert_eq!(slices(records, at_once, size), expected, "{records} {at_once} {size:?}");
        }
    }

    #[test]
    fn cuts_are_where_the_records_are() {
        assert_eq!(shown(&cuts(&counted([]), 4)), Vec::<String>::new());
        assert_eq!(shown(&cuts(&counted([("a", 1)]), 4)), Vec::<String>::new());
        assert_eq!(
            shown(&cuts(&counted([("a", 1_000)]), 4)),
            [
                "a/3fffffff-ffff-ffff-ffff-ffffffffff8e",
                "a/7fffffff-ffff-ffff-ffff-ffffffffff1c",
                "a/bfffffff-ffff-ffff-ffff-fffffffffeaa"
            ]
        );
        // Two Namespaces as large as the others together; the small ones share a slice.
        assert_eq!(
            shown(&cuts(&counted([("a", 2), ("b", 1), ("c", 1), ("d", 4), ("e", 0)]), 4)),
            ["b/", "d/", "d/7fffffff-ffff-ffff-ffff-fffffffffffe"]
        );
    }

    #[test]
    fn slices_lie_between_the_cuts_and_are_open_at_both_ends() {
        assert_eq!(between(Vec::new()), [Range::default()]);
        let (a, b) = (Key::new("a", ""), Key::new("b", "7"));
        let [first, second, last] = &between(vec![a.clone(), b.clone()])[..] else {
            panic!("three slices of two cuts")
        };
        assert_eq!((&first.after, &first.until), (&None, &Some(a.clone())));
        assert_eq!((&second.after, &second.until), (&Some(a), &Some(b.clone())));
        assert_eq!((&last.after, &last.until), (&Some(b), &None));
    }

    #[test]
    fn what_is_left_is_cut_in_the_middle() {
        let key = |text: &str| {
            let (namespace_id, run_id) = text.split_once('/').expect("a key");
            Key::new(namespace_id, run_id)
        };
        for (after, until, middle_at) in [
            (None, None, None),
            (None, Some("b/"), None),
            // Only that the last Namespace begins there is known.
            (None, Some("b/8"), Some("b/")),
            (Some("a/8"), Some("b/8"), Some("b/")),
            (Some("a/"), Some("b/"), Some("a/7fffffff-ffff-ffff-ffff-ffffffffffff")),
            (Some("a/8"), None, Some("a/bfffffff-ffff-ffff-ffff-ffffffffffff")),
            (Some("a/4"), Some("a/8"), Some("a/60000000-0000-0000-0000-000000000000")),
            (
                Some("a/00000000-0000-0000-0000-000000000002"),
                Some("a/00000000-0000-0000-0000-000000000003"),
                None,
            ),
            (Some("a/x"), None, None),
            (Some("a/x"), Some("b/"), None),
            // Nothing lies between ends in the wrong order.
            (Some("a/8"), Some("a/4"), None),
        ] {
            let range = Range {
                namespace_id: None,
                after: after.map(key),
                until: until.map(key),
            };
            assert_eq!(middle(&range), middle_at.map(key), "{after:?} {until:?}");
        }
    }

    /// Run ids, and what may stand where one is expected.
    fn run_id() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<u128>().prop_map(run_id_at),
            "[0-9a-f-]{0,40}",
            "[0-9a-fA-Gx:~ -]{0,40}",
            ".{0,8}",
        ]
    }

    fn key() -> impl Strategy<Value = Key> {
        ("[a-e]{0,2}", run_id()).prop_map(|(namespace_id, run_id)| Key::new(namespace_id, run_id))
    }

    proptest! {
        #[test]
        fn positions_never_fall_where_bytes_rise(a in run_id(), b in run_id()) {
            let (low, high) = if a <= b { (a, b) } else { (b, a) };
            prop_assert!(position(&low) <= position(&high), "{low} {high}");
        }

        #[test]
        fn a_position_is_that_of_its_run_id(at in any::<u128>()) {
            prop_assert_eq!(position(&run_id_at(at)), at);
        }

        #[test]
        fn every_key_lies_in_exactly_one_slice(
            records in prop::collection::btree_map("[a-e]{0,2}", 0_u64..5_000, 0..6),
            number in 1_u64..40,
            keys in prop::collection::vec(key(), 1..30),
        ) {
            let cuts = cuts(&records, number);
            prop_assert!(cuts.is_sorted_by(|a, b| a < b), "{cuts:?}");
            let all: u64 = records.values().sum();
            prop_assert_eq!(cuts.len() as u64, number.min(all).saturating_sub(1));
            let slices = between(cuts);
            for key in keys {
                let holders = slices.iter().filter(|slice| slice.contains(&key)).count();
                prop_assert_eq!(holders, 1, "{}", key);
            }
        }

        #[test]
        fn no_slice_is_much_larger_than_another(
            sizes in prop::collection::vec(0_usize..400, 1..5),
            number in 1_u64..9,
            seed in any::<u64>(),
        ) {
            // Evenly spread run ids, shuffled by an odd factor: as good as random ones.
            let keys: Vec<Key> = sizes.iter().enumerate().flat_map(|(namespace, size)| {
                (0..*size).map(move |run| {
                    let step = u128::MAX / *size as u128;
                    let jitter = u128::from(seed.wrapping_mul(2 * run as u64 + 1)) % step.max(1);
                    Key::new(format!("{namespace}"), run_id_at(step * run as u128 + jitter))
                })
            }).collect();
            let mut records = BTreeMap::new();
            for key in &keys {
                *records.entry(key.namespace_id.clone()).or_insert(0) += 1;
            }
            let slices = between(cuts(&records, number));
            let most = keys.len().div_ceil(slices.len());
            for slice in &slices {
                let holds = keys.iter().filter(|key| slice.contains(key)).count();
                prop_assert!(holds <= most + sizes.len() + 1, "{holds} of {}, at most {most}", keys.len());
            }
        }

        #[test]
        fn both_halves_are_the_whole(a in key(), b in key(), open in any::<(bool, bool)>(), keys in prop::collection::vec(key(), 1..30)) {
            let (low, high) = if a <= b { (a, b) } else { (b, a) };
            let whole = Range {
                namespace_id: None,
                after: (!open.0).then_some(low),
                until: (!open.1).then_some(high),
            };
            let Some(cut) = middle(&whole) else { return Ok(()) };
            prop_assert!(whole.after.as_ref().is_none_or(|after| *after < cut));
            prop_assert!(whole.until.as_ref().is_none_or(|until| cut < *until));
            let first = Range { until: Some(cut.clone()), ..whole.clone() };
            let second = Range { after: Some(cut), ..whole.clone() };
            for key in keys {
                let halves = [&first, &second].iter().filter(|half| half.contains(&key)).count();
                prop_assert_eq!(halves, usize::from(whole.contains(&key)), "{}", key);
            }
        }

        #[test]
        fn halving_comes_to_an_end(at in any::<u128>()) {
            let mut range = Range { namespace_id: None, after: Some(Key::new("n", run_id_at(at))), until: None };
            let mut halvings = 0;
            while let Some(cut) = middle(&range) {
                range.after = Some(cut);
                halvings += 1;
            }
            prop_assert!(halvings <= 128);
        }
    }
}
