//! Where the rows of a Namespace lie, by run: what Cassandra's tables do not tell.
//!
//! A window covers the runs after one and up to another, in the order of their bytes; a Namespace that is not too large
//! is one window. A closed execution takes 24 bytes, an open one 40 and its Workflow Id (some 100 in all).

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use uuid::Uuid;

/// What a window holds at most, in closed executions; an open one counts as [`OPEN_WEIGHT`]. Twice as much is held while
/// a window is being built: 200 MB, however large the Namespace. One that holds more is read again for each further
/// window.
pub(super) const CAPACITY: usize = 4_000_000;

/// How many closed executions an open one counts as.
const OPEN_WEIGHT: usize = 4;

/// Where the row of one run lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// In `open_executions`.
    Open {
        /// Start time, milliseconds.
        at: i64,
        /// The Workflow Id, by which it can be found when it has closed.
        workflow_id: &'a str,
    },
    /// In `closed_executions`.
    Closed {
        /// Close time, milliseconds.
        at: i64,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Closed {
    run: [u8; 16],
    at: i64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Open {
    run: [u8; 16],
    at: i64,
    workflow_id: Box<str>,
}

/// The places of a Namespace's runs between two of them.
pub(super) struct Window {
    after: Option<Uuid>,
    until: Option<Uuid>,
    /// When reading it began: what was written since may be missing.
    pub(super) since: Instant,
    /// How long reading it took.
    pub(super) took: Duration,
    open: Vec<Open>,
    closed: Vec<Closed>,
}

impl Window {
    /// The last run covered; `None` when all later ones are.
    pub(super) fn until(&self) -> Option<Uuid> {
        self.until
    }

    /// Whether `run` lies within what was looked at.
    pub(super) fn covers(&self, run: Uuid) -> bool {
        self.after.is_none_or(|after| run > after) && self.until.is_none_or(|until| run <= until)
    }

    /// Whether the runs that come after `after` begin within what was looked at.
    pub(super) fn goes_on_after(&self, after: Option<Uuid>) -> bool {
        self.after.is_none_or(|from| after.is_some_and(|after| after >= from))
            && self.until.is_none_or(|until| after.is_none_or(|after| after < until))
    }

    /// How many runs it has.
    pub(super) fn len(&self) -> usize {
        self.open.len() + self.closed.len()
    }

    /// How many of them are open.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// What it takes of [`CAPACITY`].
    pub(super) fn weight(&self) -> usize {
        self.closed.len() + OPEN_WEIGHT * self.open.len()
    }

    /// Where the row of a run lies.
    pub(super) fn place(&self, run: Uuid) -> Option<Place<'_>> {
        let run = run.into_bytes();
        if let Ok(found) = self.closed.binary_search_by(|closed| closed.run.cmp(&run)) {
            return self.closed.get(found).map(|closed| Place::Closed { at: closed.at });
        }
        let found = self.open.binary_search_by(|open| open.run.cmp(&run)).ok()?;
        self.open.get(found).map(|open| Place::Open {
            at: open.at,
            workflow_id: &open.workflow_id,
        })
    }

    /// Up to `limit` runs after `after` and up to `until`, in order.
    pub(super) fn runs(&self, after: Option<Uuid>, until: Option<Uuid>, limit: usize) -> Vec<Uuid> {
        let is_past = |run: &[u8; 16]| after.is_none_or(|after| run > after.as_bytes());
        let open = &self.open[self.open.partition_point(|open| !is_past(&open.run))..];
        let closed = &self.closed[self.closed.partition_point(|closed| !is_past(&closed.run))..];
        let (mut open, mut closed) = (
            open.iter().map(|open| open.run).peekable(),
            closed.iter().map(|closed| closed.run).peekable(),
        );
        let merged = std::iter::from_fn(move || match (open.peek(), closed.peek()) {
            (Some(first), Some(second)) if first < second => open.next(),
            (Some(_), None) => open.next(),
            _ => closed.next(),
        });
        merged
            .map(Uuid::from_bytes)
            .take_while(|run| until.is_none_or(|until| *run <= until))
            .take(limit)
            .collect()
    }

    /// Up to `limit` open runs after `after` and up to `until` that started before `before` (milliseconds), in order.
    pub(super) fn open_before(&self, before: i64, after: Option<Uuid>, until: Option<Uuid>, limit: usize) -> Vec<Uuid> {
        let from = self
            .open
            .partition_point(|open| after.is_some_and(|after| open.run <= after.into_bytes()));
        self.open[from..]
            .iter()
            .filter(|open| open.at < before)
            .map(|open| Uuid::from_bytes(open.run))
            .take_while(|run| until.is_none_or(|until| *run <= until))
            .take(limit)
            .collect()
    }
}

/// A window that is being read: first all open executions, then all closed ones, so that none which closes meanwhile is
/// in neither.
pub(super) struct Builder {
    window: Window,
    capacity: usize,
}

impl Builder {
    /// Of the runs after `after`, as many as fit into `capacity`.
    pub(super) fn new(after: Option<Uuid>, capacity: usize) -> Self {
        Self {
            window: Window {
                after,
                until: None,
                since: Instant::now(),
                took: Duration::ZERO,
                open: Vec::new(),
                closed: Vec::new(),
            },
            capacity: capacity.max(OPEN_WEIGHT),
        }
    }

    /// Takes note of an open execution.
    pub(super) fn open(&mut self, run: Uuid, at: i64, workflow_id: String) {
        if self.window.covers(run) {
            let (run, workflow_id) = (run.into_bytes(), workflow_id.into_boxed_str());
            self.window.open.push(Open { run, at, workflow_id });
            self.trim_at(2 * self.capacity);
        }
    }

    /// Takes note of a closed execution.
    pub(super) fn closed(&mut self, run: Uuid, at: i64) {
        if self.window.covers(run) {
            let run = run.into_bytes();
            self.window.closed.push(Closed { run, at });
            self.trim_at(2 * self.capacity);
        }
    }

    /// The window. Of a run that is in both tables (its close is under way) the closed row counts; of several closed rows
    /// the latest.
    pub(super) fn finish(mut self) -> Window {
        self.tidy();
        self.trim_at(self.capacity);
        self.window.took = self.window.since.elapsed();
        self.window.open.shrink_to_fit();
        self.window.closed.shrink_to_fit();
        self.window
    }

    fn tidy(&mut self) {
        let Window { open, closed, .. } = &mut self.window;
        closed.sort_unstable_by_key(|closed| (closed.run, Reverse(closed.at)));
        closed.dedup_by_key(|closed| closed.run);
        open.sort_unstable_by_key(|open| (open.run, Reverse(open.at)));
        open.dedup_by(|later, first| later.run == first.run);
        open.retain(|open| closed.binary_search_by(|closed| closed.run.cmp(&open.run)).is_err());
    }

    /// Gives the last runs up when there are too many, so that the window ends before them.
    fn trim_at(&mut self, weight: usize) {
        if self.window.weight() <= weight {
            return;
        }
        self.tidy();
        let Window { open, closed, .. } = &self.window;
        let (mut opens, mut closes, mut room) = (0, 0, self.capacity);
        let mut until = None;
        loop {
            let next = match (open.get(opens), closed.get(closes)) {
                (Some(open), Some(closed)) if open.run < closed.run => (open.run, OPEN_WEIGHT),
                (Some(open), None) => (open.run, OPEN_WEIGHT),
                (_, Some(closed)) => (closed.run, 1),
                (None, None) => return,
            };
            let Some(left) = room.checked_sub(next.1) else { break };
            (room, until) = (left, Some(next.0));
            if next.1 == 1 {
                closes += 1;
            } else {
                opens += 1;
            }
        }
        self.window.open.truncate(opens);
        self.window.closed.truncate(closes);
        self.window.until = until.map(Uuid::from_bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn run(n: u128) -> Uuid {
        // Scattered, so that the order in which they are read is not that of their bytes.
        Uuid::from_u128(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
    }

    /// Everything that windows of one capacity give, one after another.
    fn walked(records: &[(u128, i64, bool)], capacity: usize) -> BTreeMap<Uuid, (i64, bool)> {
        let mut all = BTreeMap::new();
        let mut after = None;
        loop {
            let mut builder = Builder::new(after, capacity);
            for (n, at, _) in records.iter().filter(|(_, _, open)| *open) {
                builder.open(run(*n), *at, format!("workflow {n}"));
            }
            for (n, at, _) in records.iter().filter(|(_, _, open)| !*open) {
                builder.closed(run(*n), *at);
            }
            let window = builder.finish();
            assert!(window.weight() <= capacity.max(OPEN_WEIGHT), "{}", window.weight());
            let mut last = after;
            loop {
                let page = window.runs(last, None, 3);
                let Some(end) = page.last() else { break };
                assert!(page.is_sorted() && page.iter().all(|run| window.covers(*run)));
                last = Some(*end);
                for run in page {
                    let place = match window.place(run) {
                        Some(Place::Open { at, .. }) => (at, true),
                        Some(Place::Closed { at }) => (at, false),
                        None => panic!("{run} is listed and has no place"),
                    };
                    assert!(all.insert(run, place).is_none(), "{run} twice");
                }
            }
            match window.until() {
                Some(until) => after = Some(until),
                None => return all,
            }
        }
    }

    #[test]
    fn windows_of_any_size_give_every_run_once_and_closed_rows_win() {
        let mut records: Vec<(u128, i64, bool)> = (0..500).map(|n| (n, i64::from(n as i32) * 10, n % 3 == 0)).collect();
        // In both tables, and closed twice.
        records.extend((0..30).map(|n| (n, 7_000 + n as i64, false)));
        records.extend((100..120).map(|n| (n, 9_000, false)));
        let mut expected = BTreeMap::new();
        for (n, at, open) in &records {
            let known = expected.entry(run(*n)).or_insert((*at, *open));
            if !*open && (known.1 || *at > known.0) {
                *known = (*at, false);
            }
        }
        for capacity in [1, 7, 50, 499, 5_000] {
            assert_eq!(walked(&records, capacity), expected, "capacity {capacity}");
        }
    }

    #[test]
    fn a_window_knows_what_it_covers() {
        let mut builder = Builder::new(Some(Uuid::from_u128(5)), 4);
        (0..20).for_each(|n| builder.closed(Uuid::from_u128(n), 1));
        let window = builder.finish();
        let run = |n: u128| Some(Uuid::from_u128(n));
        assert_eq!(window.until(), run(9));
        assert!(window.goes_on_after(run(5)) && window.goes_on_after(run(8)));
        assert!(!window.goes_on_after(run(9)) && !window.goes_on_after(run(4)) && !window.goes_on_after(None));
        assert!(
            window.covers(Uuid::from_u128(6))
                && !window.covers(Uuid::from_u128(5))
                && !window.covers(Uuid::from_u128(10))
        );
    }

    #[test]
    fn only_open_runs_from_before_are_listed() {
        let mut builder = Builder::new(None, 100);
        (0..10).for_each(|n| builder.open(Uuid::from_u128(n), n as i64, String::new()));
        builder.closed(Uuid::from_u128(3), 8);
        let window = builder.finish();
        let listed = window.open_before(6, Some(Uuid::from_u128(1)), Some(Uuid::from_u128(9)), 10);
        assert_eq!(listed, [2, 4, 5].map(Uuid::from_u128));
        assert_eq!((window.len(), window.open()), (10, 9));
    }
}
