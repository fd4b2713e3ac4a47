//! How work on all records is handed out in slices: which of them wait, which are under way, and how far each came.
//!
//! Where to cut is decided by whoever can read the stores; here a cut is a text that only activities understand. A slice
//! goes from its cursor to its end. Those that were not begun yet are known by their number alone, so that what is
//! carried on stays small however many there are.

use serde::{Deserialize, Serialize};

/// A slice that was begun and is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// Which one, from 1 in the order in which they were begun.
    pub number: u32,
    /// Where it goes on; at the first record of all when absent.
    pub cursor: Option<String>,
    /// Where it ends; after the last record of all when absent.
    pub until: Option<String>,
    /// Where what is left can be cut in two, as its last worker told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub middle: Option<String>,
    /// Records read in it so far.
    pub scanned: u64,
    /// How long that took, in milliseconds.
    pub millis: u64,
    /// Whether it is being worked on.
    pub under_way: bool,
    /// Its share of the operator's rate while it is under way, in records a second; unlimited when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records_per_second: Option<u32>,
    /// Its share of what may be read from the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_records_per_second: Option<u32>,
}

/// What all slices under way may do together, in records a second; unlimited where absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// At the target.
    pub target: Option<u32>,
    /// Read from the source.
    pub source: Option<u32>,
}

impl Slice {
    /// Records a second while it was worked on; `None` before there is a pace.
    pub fn pace(&self) -> Option<u64> {
        self.scanned.saturating_mul(1_000).checked_div(self.millis)
    }
}

/// How far one activity came in its slice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// Where to go on.
    pub cursor: Option<String>,
    /// Whether the slice is done.
    pub done: bool,
    /// Where what is left can be cut in two.
    pub middle: Option<String>,
    /// Records read.
    pub scanned: u64,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// All slices of one pass over the records.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Slices {
    /// How many there are, counting those that were cut off others; 0 before the pass begins.
    pub total: u32,
    /// How many are done.
    pub done: u32,
    /// How many of those between the first cuts were begun.
    pub begun: u32,
    /// Those that were begun and are not done: under way, or waiting to go on.
    pub open: Vec<Slice>,
}

impl Slices {
    /// Whether the pass has not begun.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Begins a pass in slices between `cuts`; where `cursor` says how far it came before there were slices, with one
    /// slice of all that is left. A pass that has begun stays as it is.
    pub fn begin(&mut self, cuts: &[String], cursor: Option<String>) {
        if self.total > 0 {
            return;
        }
        let first = count(cuts.len()).saturating_add(1);
        match cursor {
            None => self.total = first,
            Some(cursor) => {
                self.total = 1;
                // None of those between the cuts is left to begin.
                self.begun = first;
                self.open = vec![slice(1, Some(cursor), None)];
            }
        }
    }

    /// Whether every slice is done.
    pub fn is_over(&self) -> bool {
        self.total > 0 && self.done == self.total
    }

    /// How many are being worked on.
    pub fn under_way(&self) -> u32 {
        count(self.open.iter().filter(|slice| slice.under_way).count())
    }

    /// The one under way or waiting with the lowest pace.
    pub fn slowest(&self) -> Option<&Slice> {
        let paces = self.open.iter().filter_map(|slice| Some((slice.pace()?, slice)));
        paces.min_by_key(|(pace, _)| *pace).map(|(_, slice)| slice)
    }

    /// Whether fewer are under way than could be, for want of slices.
    pub fn is_short(&self, at_once: u32, rate: Option<u32>) -> bool {
        self.under_way() < rate.map_or(at_once, |rate| at_once.min(rate))
    }

    /// Hands slices out, so that up to `at_once` are under way: first those that wait to go on, then new ones, then what
    /// is left of those that wait, cut in two. Each gets a share of what the others leave of both rates, at least 1 of
    /// the target's, so that no more are handed out than there are shares.
    pub fn hand_out(&mut self, cuts: &[String], at_once: u32, rates: Rates) -> Vec<Slice> {
        let free = at_once.max(1).saturating_sub(self.under_way());
        let left = |rate: Option<u32>, share: fn(&Slice) -> Option<u32>| {
            let spent = self.open.iter().filter(|slice| slice.under_way);
            let spent = spent.filter_map(share).fold(0, u32::saturating_add);
            rate.map(|rate| rate.max(1).saturating_sub(spent))
        };
        let mut left_at_target = left(rates.target, |slice| slice.records_per_second);
        let mut left_at_source = left(rates.source, |slice| slice.source_records_per_second);
        let most = left_at_target.map_or(free, |left| free.min(left));
        self.gather(cuts, most);
        let mut next = most.min(count(self.open.iter().filter(|slice| !slice.under_way).count()));
        let mut handed_out = Vec::new();
        for slice in self.open.iter_mut().filter(|slice| !slice.under_way) {
            if next == 0 {
                break;
            }
            slice.records_per_second = share(&mut left_at_target, next);
            // Where the source's rate has no share left, a slice still moves.
            slice.source_records_per_second = share(&mut left_at_source, next).map(|share| share.max(1));
            next -= 1;
            slice.under_way = true;
            handed_out.push(slice.clone());
        }
        handed_out
    }

    /// Has `wanted` slices wait, if there are so many to be had.
    fn gather(&mut self, cuts: &[String], wanted: u32) {
        let waiting = |slices: &Self| count(slices.open.iter().filter(|slice| !slice.under_way).count());
        while waiting(self) < wanted && self.begun <= count(cuts.len()) {
            let place = self.begun as usize;
            let from = place.checked_sub(1).and_then(|before| cuts.get(before)).cloned();
            self.begun += 1;
            self.open
                .push(slice(self.next_number(), from, cuts.get(place).cloned()));
        }
        while waiting(self) < wanted {
            let halved = self.open.iter_mut().filter(|slice| !slice.under_way);
            let Some((whole, middle)) = halved
                .filter_map(|slice| slice.middle.take().map(|middle| (slice, middle)))
                .next()
            else {
                return;
            };
            let until = whole.until.replace(middle.clone());
            self.total = self.total.saturating_add(1);
            let rest = slice(self.next_number(), Some(middle), until);
            self.open.push(rest);
        }
    }

    fn next_number(&self) -> u32 {
        // Every one that was given a number is open or done.
        self.done.saturating_add(count(self.open.len())).saturating_add(1)
    }

    /// Takes note of what an activity did in the slice of that number; of nothing where it was stopped and could not tell.
    pub fn settle(&mut self, number: u32, step: Option<&Step>) {
        let Some(slice) = self.open.iter_mut().find(|slice| slice.number == number) else {
            return;
        };
        slice.under_way = false;
        (slice.records_per_second, slice.source_records_per_second) = (None, None);
        let Some(step) = step else { return };
        slice.scanned = slice.scanned.saturating_add(step.scanned);
        slice.millis = slice.millis.saturating_add(step.millis);
        slice.middle.clone_from(&step.middle);
        // An activity that came nowhere has no cursor to tell.
        if step.cursor.is_some() {
            slice.cursor.clone_from(&step.cursor);
        }
        if step.done {
            self.open.retain(|slice| slice.number != number);
            self.done = self.done.saturating_add(1);
        }
    }
}

fn slice(number: u32, cursor: Option<String>, until: Option<String>) -> Slice {
    Slice {
        number,
        cursor,
        until,
        middle: None,
        scanned: 0,
        millis: 0,
        under_way: false,
        records_per_second: None,
        source_records_per_second: None,
    }
}

/// One of `shares` equal shares of what is left of a rate, which becomes less by it.
fn share(left: &mut Option<u32>, shares: u32) -> Option<u32> {
    let share = (*left)? / shares;
    *left = left.map(|left| left - share);
    Some(share)
}

/// As many as can be told.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
