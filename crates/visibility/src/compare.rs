//! Compares two stores record by record, in both directions, while the cluster goes on writing.
//!
//! Both stores are scanned in the one order of [`Key`] and merged. The scans happen at two moments, so that a record
//! written in between looks like drift; such *suspects* are therefore collected, and read again in both stores (the
//! source first) after a pause. What is still wrong is drift if the source's record did not change over the pause; if
//! it did, the record is in motion and looked at again, up to [`Options::rechecks`] times. One that is wrong every time
//! is counted as drift, however lively: a target that never catches up must not hide behind its own traffic. The price
//! is that a record written without end may be counted wrongly; the next comparison tells.
//!
//! Where both stores can be read in an order of their own, which is many times as quick, what does not differ is told by that
//! instead ([`Options::at_once`], and `at_once.rs` for how); suspects are looked at the same way.
//!
//! A missing record is not hidden by scanning page by page: a key is passed only when both scans are beyond it. Each scan
//! reads a page ahead while this side looks at the one before.

mod at_once;
mod cells;
mod drift;
mod outstanding;
mod scan;
mod suspects;

use std::time::Duration;

use jiff::Timestamp;

use self::cells::{Part, parts};
pub use self::drift::{Drift, Drifted, NamespaceTally, Progress, Tally};
use self::scan::Scan;
use self::suspects::{Pair, Run};
use crate::copy::{Step, Watch};
use crate::origin::Origin;
use crate::ports::{Error, Range, Read, Write};
use crate::record::Key;
use crate::sameness::Yardstick;

/// Records looked at before the pages that are being read ahead are looked after again.
const NUDGED_EVERY: u64 = 64;

/// How a comparison goes about it.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Records read from each store at a time (at least 1).
    pub page: usize,
    /// How long after the first look suspects are read again. Longer than a write takes to reach the slower store:
    /// seconds.
    pub pause: Duration,
    /// How often suspects that keep changing are read again before they count as drift (at least 1).
    pub rechecks: u32,
    /// Suspects kept before they are read again: this many records, and one page more, are held in memory.
    pub suspects: usize,
    /// After this many records without a suspect, progress is reported.
    pub report_every: u64,
    /// How many records per class are named in the result.
    pub sample: usize,
    /// Ask both stores for digests first, and read only what differs by them; see [`crate::digest`]. Where a store has
    /// none, everything is read.
    pub digests: bool,
    /// How long a store may take for one answer of digests; where it takes longer everything is read. `None` is as long
    /// as it likes.
    pub digests_within: Option<Duration>,
    /// Read both stores to their ends, each in an order of its own, before anything is settled; see [`crate::sign`]. Where
    /// a store has no such order, both are read in the order of keys, and so they are for [`since`](Self::since).
    pub at_once: bool,
    /// How much is remembered of what one store has shown and the other not yet, in places of 50 bytes; `None` is about a
    /// hundred thousand. Fewer cost reading more.
    pub cells: Option<usize>,
    /// Only records that were started or closed at this time or later, or are open, in either store. A record that is
    /// so in one store and not in the other is among them.
    pub since: Option<Timestamp>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            page: 1000,
            pause: Duration::from_secs(3),
            rechecks: 3,
            suspects: 2000,
            report_every: 20_000,
            sample: 20,
            digests: false,
            digests_within: None,
            at_once: false,
            cells: None,
            since: None,
        }
    }
}

/// How a comparison ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What was found.
    pub progress: Progress,
    /// Whether the range is done (and not only stopped).
    pub finished: bool,
}

impl Outcome {
    /// Whether all was compared and nothing was wrong to begin with (what was wrong and is repaired needs another run
    /// to be believed).
    pub fn is_clean(&self) -> bool {
        self.finished && self.progress.drift.total() == 0
    }
}

/// What a comparison may use beside the two stores.
#[derive(Clone, Copy, Default)]
pub struct Means<'a> {
    /// Puts right what is wrong at once.
    pub repair_with: Option<&'a dyn Write>,
    /// Asked about what only the target has, and for what the target lacks.
    pub origin: Option<&'a dyn Origin>,
}

/// As [`compare_with`], with nothing but a way to write.
///
/// # Errors
///
/// Those of [`compare_with`].
pub async fn compare(
    source: &dyn Read,
    target: &dyn Read,
    repair_with: Option<&dyn Write>,
    slice: &Range,
    from: Progress,
    options: Options,
    watch: &mut dyn Watch<Progress>,
) -> Result<Outcome, Error> {
    let means = Means {
        repair_with,
        origin: None,
    };
    compare_with(source, target, means, slice, from, options, watch).await
}

/// Compares the records of `slice` that come after `from`'s cursor, and puts right what is wrong at once when given a way to write. `from` is [`Progress::default`] or that of an earlier,
/// stopped run of the same slice.
///
/// # Errors
///
/// What either store reports; the last progress reported is where to go on.
pub async fn compare_with(
    source: &dyn Read,
    target: &dyn Read,
    means: Means<'_>,
    slice: &Range,
    from: Progress,
    options: Options,
    watch: &mut dyn Watch<Progress>,
) -> Result<Outcome, Error> {
    let pair = Pair {
        source,
        target,
        by: Yardstick::between(source, target),
    };
    let mut run = Run::new(pair, means, options, from);
    let after = slice.after.clone().max(run.progress.cursor.clone());
    let rest = Range { after, ..slice.clone() };
    let parts = match options.digests && options.since.is_none() {
        true => parts(&run.pair, &rest, options.page, options.digests_within).await?,
        false => None,
    };
    let at_once = parts.is_none() && options.at_once && options.since.is_none();
    for part in parts.unwrap_or_else(|| vec![Part::Read(rest)]) {
        let step = match part {
            Part::Read(range) if at_once => match at_once::at_once(&mut run, &range, watch).await? {
                Some(step) => step,
                None => read(&mut run, &range, watch).await?,
            },
            Part::Same {
                namespace_id,
                records,
                until,
            } => run.pass(namespace_id, records, within(until, slice), watch).await?,
            Part::Read(range) => read(&mut run, &range, watch).await?,
        };
        if step == Step::Stop {
            return Ok(Outcome {
                progress: run.progress,
                finished: false,
            });
        }
    }
    run.settle().await?;
    // The last report is made whatever the watcher says to it: there is nothing left to stop.
    let _ = watch.page(&run.progress);
    Ok(Outcome {
        progress: run.progress,
        finished: true,
    })
}

/// Compares these records alone, as if a comparison suspected all of them: what is wrong is put right when there is a way
/// to write. Progress has no cursor.
///
/// # Errors
///
/// What either store reports.
pub async fn look_at(
    source: &dyn Read,
    target: &dyn Read,
    means: Means<'_>,
    keys: &[Key],
    options: Options,
) -> Result<Progress, Error> {
    let pair = Pair {
        source,
        target,
        by: Yardstick::between(source, target),
    };
    let mut run = Run::new(pair, means, options, Progress::default());
    for keys in keys.chunks(options.page.max(1)) {
        let [in_source, in_target] = run.suspect(keys).await?;
        run.found(in_source, in_target);
        run.settle().await?;
    }
    Ok(run.progress)
}

/// A cursor no further than the end of `slice`: what comes after it has not been looked at.
fn within(cursor: Key, slice: &Range) -> Key {
    match &slice.until {
        Some(until) if *until < cursor => until.clone(),
        _ => cursor,
    }
}

/// Compares the records of `range` one by one.
async fn read(run: &mut Run<'_>, range: &Range, watch: &mut dyn Watch<Progress>) -> Result<Step, Error> {
    let page = run.options.page.max(1);
    let mut in_source = Scan::new(run.pair.source, range, page);
    let mut in_target = Scan::new(run.pair.target, range, page);
    let mut looked_at: u64 = 0;
    loop {
        if in_source.must_turn() || in_target.must_turn() {
            futures::future::try_join(in_source.turn(), in_target.turn()).await?;
        }
        let (from_source, from_target) = match (in_source.peek(), in_target.peek()) {
            (None, None) => break,
            (Some(_), None) => (true, false),
            (None, Some(_)) => (false, true),
            (Some(a), Some(b)) => (a <= b, b <= a),
        };
        run.look(
            if from_source { in_source.next() } else { None },
            if from_target { in_target.next() } else { None },
        );
        looked_at += 1;
        if looked_at.is_multiple_of(NUDGED_EVERY) {
            in_source.nudge();
            in_target.nudge();
        }
        if run.is_due() {
            futures::future::join(in_source.rest(), in_target.rest()).await;
            if run.report(watch).await? == Step::Stop {
                return Ok(Step::Stop);
            }
        }
    }
    Ok(Step::Continue)
}
