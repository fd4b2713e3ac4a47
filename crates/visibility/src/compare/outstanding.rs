//! The signs that have been seen in one store and not yet, or not alike, in the other.
//!
//! Each sign goes into a *cell*, that of its Namespace and the first digits of its run id: the source's is added, the
//! target's taken away. A cell that comes to nothing is forgotten, so that stores whose own orders are alike leave next to
//! nothing here however large they are. At first a cell is that of eight digits, which few records share, and knows which
//! record it is of. When there are too many cells, those of the fullest Namespaces are made coarser: memory has a bound at
//! any size, and what is lost is only how closely what differs can be told.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use crate::digest::bounds;
use crate::ports::Range;
use crate::record::Key;
use crate::sign::{Page, Run, key};

/// The most cells that are kept: 6 MB of them, which a table of this size just holds.
pub(super) const MOST_CELLS: usize = (1 << 17) / 8 * 7 - 1;

/// Digits of a run id that make the finest cell.
const FINEST: u32 = 8;

/// Digits of a run id that are counted apart.
const DIGITS: usize = 16;

/// Which store a sign is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Target,
}

/// The records of one Namespace whose run ids begin with one digit, or all of a Namespace; and where they seem to differ.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) namespace_id: String,
    /// At the source, and at the target.
    pub(super) records: [u64; 2],
    /// A key after all of them, and before those of the next bucket.
    pub(super) until: Key,
    /// Records that differ.
    pub(super) keys: Vec<Key>,
    /// Where others do. None of `keys` is within.
    pub(super) ranges: Vec<Range>,
}

/// What is outstanding.
pub(super) struct Outstanding {
    namespaces: Vec<Namespace>,
    by_id: BTreeMap<String, u32>,
    cells: HashMap<u64, Cell, BuildHasherDefault<Scatter>>,
    most: usize,
}

/// Of one Namespace.
struct Namespace {
    id: String,
    /// How many digits make a cell.
    digits: u32,
    /// How many cells there are.
    cells: usize,
    /// Records at source and target by the first digit of their run ids.
    records: [[u64; 2]; DIGITS],
    /// Those whose run ids are no UUIDs.
    others: Others,
}

#[derive(Default)]
struct Others {
    records: [u64; 2],
    sum: u128,
    last: Option<Box<str>>,
}

/// The records of one Namespace whose run ids begin alike. Numbers of 16 bytes are halved, for the sake of its size.
#[derive(Clone, Copy)]
struct Cell {
    sum: [u64; 2],
    run: [u64; 2],
    /// Records at the source more than at the target.
    surplus: i32,
    /// Whether it is of more than that one run.
    several: bool,
}

fn halves(whole: u128) -> [u64; 2] {
    [(whole >> 64) as u64, whole as u64]
}

fn whole([high, low]: [u64; 2]) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// Cells' numbers begin with few Namespaces and are even further on: a hash table needs them scattered.
#[derive(Default)]
struct Scatter(u64);

impl Hasher for Scatter {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        // The finaliser of MurmurHash3.
        let mut mixed = self.0 ^ number;
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        self.0 = mixed ^ (mixed >> 33);
    }
}

/// A cell's number: its Namespace and the first digits of its run ids, zeros after them.
fn cell_of(namespace: u32, run: u128, digits: u32) -> u64 {
    let first = (run >> 96) as u32;
    let kept = u32::MAX.checked_shl(4 * (FINEST - digits)).unwrap_or(0);
    u64::from(namespace) << 32 | u64::from(first & kept)
}

impl Outstanding {
    /// With at most so many cells, or one for each Namespace.
    pub(super) fn new(most: usize) -> Self {
        Self {
            namespaces: Vec::new(),
            by_id: BTreeMap::new(),
            cells: HashMap::default(),
            most,
        }
    }

    /// Takes a page of signs.
    pub(super) fn take(&mut self, page: &Page, side: Side) {
        let known: Vec<u32> = page.namespaces.iter().map(|id| self.namespace(id)).collect();
        for record in &page.records {
            let Some(number) = known.get(record.namespace).copied() else {
                continue;
            };
            let namespace = &mut self.namespaces[number as usize];
            let sign = match side {
                Side::Source => record.sign,
                Side::Target => record.sign.wrapping_neg(),
            };
            match &record.run {
                Run::Uuid(run) => {
                    namespace.records[(run >> 124) as usize][side as usize] += 1;
                    let cell = cell_of(number, *run, namespace.digits);
                    self.add(number, cell, *run, sign, side);
                }
                Run::Other(run) => {
                    let others = &mut namespace.others;
                    others.records[side as usize] += 1;
                    others.sum = others.sum.wrapping_add(sign);
                    if others.last.as_ref().is_none_or(|last| last < run) {
                        others.last = Some(run.clone());
                    }
                }
            }
        }
    }

    fn namespace(&mut self, id: &str) -> u32 {
        if let Some(known) = self.by_id.get(id) {
            return *known;
        }
        // Nobody has four billion Namespaces.
        let number = self.namespaces.len() as u32;
        self.namespaces.push(Namespace {
            id: id.to_owned(),
            digits: FINEST,
            cells: 0,
            records: [[0; 2]; DIGITS],
            others: Others::default(),
        });
        self.by_id.insert(id.to_owned(), number);
        number
    }

    fn add(&mut self, namespace: u32, number: u64, run: u128, sign: u128, side: Side) {
        let one = if side == Side::Source { 1 } else { -1 };
        let of_namespace = &mut self.namespaces[namespace as usize];
        match self.cells.entry(number) {
            std::collections::hash_map::Entry::Occupied(mut there) => {
                let cell = there.get_mut();
                let sum = whole(cell.sum).wrapping_add(sign);
                cell.surplus += one;
                if sum == 0 && cell.surplus == 0 {
                    there.remove();
                    of_namespace.cells -= 1;
                } else {
                    cell.sum = halves(sum);
                    cell.several |= whole(cell.run) != run;
                }
            }
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(Cell {
                    sum: halves(sign),
                    run: halves(run),
                    surplus: one,
                    several: false,
                });
                of_namespace.cells += 1;
                if self.cells.len() > self.most {
                    self.coarsen();
                }
            }
        }
    }

    /// Makes the cells of the fullest Namespaces coarser until half of the table is free.
    fn coarsen(&mut self) {
        while self.cells.len() > self.most / 2 {
            let divisible = |namespace: &&Namespace| namespace.digits > 0;
            let fullest = self
                .namespaces
                .iter()
                .filter(divisible)
                .map(|namespace| namespace.cells);
            let Some(fullest) = fullest.max().filter(|cells| *cells > 1) else {
                return;
            };
            // Several at once: each time takes a walk through the table.
            for namespace in &mut self.namespaces {
                if namespace.digits > 0 && namespace.cells * 2 >= fullest {
                    // Fewer digits than tell so many cells apart, so that many become one.
                    namespace.digits = (namespace.digits - 1).min(namespace.cells.ilog2() / 4);
                }
                namespace.cells = 0;
            }
            let finer = std::mem::take(&mut self.cells);
            for cell in finer.into_iter() {
                self.merge(cell);
            }
        }
    }

    fn merge(&mut self, (number, cell): (u64, Cell)) {
        let namespace = (number >> 32) as u32;
        let of_namespace = &mut self.namespaces[namespace as usize];
        let number = cell_of(namespace, whole(cell.run), of_namespace.digits);
        match self.cells.entry(number) {
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(cell);
                of_namespace.cells += 1;
            }
            std::collections::hash_map::Entry::Occupied(mut there) => {
                let merged = there.get_mut();
                merged.sum = halves(whole(merged.sum).wrapping_add(whole(cell.sum)));
                merged.surplus += cell.surplus;
                merged.several = true;
                if whole(merged.sum) == 0 && merged.surplus == 0 {
                    there.remove();
                    of_namespace.cells -= 1;
                }
            }
        }
    }

    /// What there is to do: all buckets of `range` that have records, in the order of keys.
    pub(super) fn buckets(self, range: &Range) -> Vec<Bucket> {
        let mut suspected: BTreeMap<u32, Vec<(u32, Cell)>> = BTreeMap::new();
        for (number, cell) in self.cells {
            suspected
                .entry((number >> 32) as u32)
                .or_default()
                .push((number as u32, cell));
        }
        let mut buckets = Vec::new();
        for number in self.by_id.into_values() {
            let mut cells = suspected.remove(&number).unwrap_or_default();
            cells.sort_unstable_by_key(|(first, _)| *first);
            self.namespaces[number as usize].buckets(&cells, range, &mut buckets);
        }
        buckets
    }
}

impl Namespace {
    fn buckets(&self, cells: &[(u32, Cell)], range: &Range, buckets: &mut Vec<Bucket>) {
        let all = Range {
            namespace_id: Some(self.id.clone()),
            ..range.clone()
        };
        // Where some run ids are no UUIDs, or cells are of no digit, the first digit divides nothing.
        if let Some(last) = &self.others.last {
            let differ = self.others.sum != 0 || self.others.records[0] != self.others.records[1] || !cells.is_empty();
            let mut records = self.others.records;
            for digit in self.records {
                records = [records[0] + digit[0], records[1] + digit[1]];
            }
            // Run ids that are UUIDs are before `g`.
            let end = last.as_ref().max("g");
            buckets.push(Bucket {
                namespace_id: self.id.clone(),
                records,
                until: Key::new(self.id.clone(), end),
                keys: Vec::new(),
                ranges: if differ { vec![all] } else { Vec::new() },
            });
            return;
        }
        for (digit, records) in self.records.iter().enumerate() {
            // A cell of no digit is of them all, unless it is of one record.
            let within = |(_, cell): &&(u32, Cell)| {
                (self.digits == 0 && cell.several) || (whole(cell.run) >> 124) as usize == digit
            };
            let cells: Vec<(u32, Cell)> = cells.iter().filter(within).copied().collect();
            if records == &[0, 0] {
                continue;
            }
            let digit = format!("{digit:x}");
            let (keys, ranges) = self.suspected(&cells, records[0].max(records[1]), &all, &digit);
            buckets.push(Bucket {
                namespace_id: self.id.clone(),
                records: *records,
                // After every digit that can stand there.
                until: Key::new(self.id.clone(), format!("{digit}z")),
                keys,
                ranges,
            });
        }
    }

    /// Which records the differing cells of a bucket are of, and where those are that are of several.
    fn suspected(&self, cells: &[(u32, Cell)], records: u64, range: &Range, digit: &str) -> (Vec<Key>, Vec<Range>) {
        let (several, single): (Vec<_>, Vec<_>) = cells.iter().partition(|(_, cell)| cell.several);
        let of_bucket = 1_u64.checked_shl(4 * self.digits).unwrap_or(u64::MAX) / DIGITS as u64;
        // Of what differs nearly everywhere, reading all is quicker than asking for it piece by piece.
        if !several.is_empty() && several.len() as u64 * 2 > of_bucket.min(records) {
            return (Vec::new(), within(range, digit).into_iter().collect());
        }
        let keys = single.iter().map(|(_, cell)| key(&self.id, whole(cell.run)));
        let ranges = several.iter().filter_map(|(first, _)| {
            let prefix = format!("{first:08x}");
            within(range, &prefix[..(self.digits as usize).min(prefix.len())])
        });
        (keys.collect(), ranges.collect())
    }
}

/// That part of `range` in which run ids begin so.
fn within(range: &Range, prefix: &str) -> Option<Range> {
    let namespace_id = range.namespace_id.clone()?;
    let (before, after) = bounds(prefix)?;
    let key = |run_id: String| Key::new(namespace_id.clone(), run_id);
    let end = after.map(key);
    Some(Range {
        after: range.after.clone().max(before.map(key)),
        until: match (range.until.clone(), end) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        },
        namespace_id: range.namespace_id.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of records that are scattered evenly over some Namespaces.
    fn page(from: u64, records: u64, namespaces: u64) -> Page {
        let mut page = Page::default();
        for number in from..from + records {
            let mut scattered = Scatter::default();
            scattered.write_u64(number);
            let run = u128::from(scattered.finish()) << 64 | u128::from(number);
            let namespace = format!("n{}", number % namespaces);
            page.push(&namespace, &crate::sign::uuid_text(run), u128::from(number) << 64 | 1);
        }
        page
    }

    #[test]
    fn memory_has_a_bound_and_what_differs_is_found_within_it() {
        for (most, namespaces) in [(1_000, 1), (1_000, 7), (1_000, 300)] {
            let mut outstanding = Outstanding::new(most);
            for from in (0..20_000).step_by(500) {
                outstanding.take(&page(from, 500, namespaces), Side::Source);
                assert!(outstanding.cells.len() <= most, "{}", outstanding.cells.len());
            }
            // All but one of them, in another order.
            let mut rest = page(0, 20_000, namespaces);
            let lost = rest.records.swap_remove(12_345);
            rest.records.reverse();
            outstanding.take(&rest, Side::Target);
            assert_eq!(outstanding.cells.len(), 1);
            let Run::Uuid(lost) = lost.run else {
                panic!("not a UUID")
            };
            let buckets = outstanding.buckets(&Range::default());
            let suspected = |bucket: &&Bucket| !bucket.keys.is_empty() || !bucket.ranges.is_empty();
            let suspected: Vec<&Bucket> = buckets.iter().filter(suspected).collect();
            let key = key(&format!("n{}", 12_345 % namespaces), lost);
            assert!(suspected.iter().any(|bucket| {
                bucket.keys.contains(&key) || bucket.ranges.iter().any(|range| range.contains(&key))
            }));
            assert!(suspected.len() <= DIGITS);
            assert!(buckets.is_sorted_by(|a, b| a.until < b.until));
            let counted = buckets.iter().map(|bucket| bucket.records);
            let counted = counted.fold([0, 0], |sum, of| [sum[0] + of[0], sum[1] + of[1]]);
            assert_eq!(counted, [20_000, 19_999]);
        }
    }

    #[test]
    fn orders_that_are_alike_leave_nothing() {
        let mut outstanding = Outstanding::new(MOST_CELLS);
        for from in (0..50_000).step_by(1_000) {
            outstanding.take(&page(from, 1_000, 4), Side::Target);
            outstanding.take(&page(from, 1_000, 4), Side::Source);
            assert!(outstanding.cells.is_empty());
        }
        // Of few records, each is known by itself.
        outstanding.take(&page(60_000, 3, 1), Side::Target);
        let buckets = outstanding.buckets(&Range::default());
        let suspected = buckets.iter().map(|bucket| (bucket.keys.len(), bucket.ranges.len()));
        assert_eq!(suspected.fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1)), (3, 0));
    }
}
