//! Carries the records that a target lacks, while the cluster goes on writing and deleting.
//!
//! # Why it is right while others write
//!
//! The server writes to both stores (dual mode) while this runs. A page is: read it in the source (1), ask the target
//! which of it is absent or older (2), put those (3), ask the source which of those are gone (4), delete them at the
//! target (5), and only then advance the cursor.
//!
//! (2) decides nothing: (3) does, inside the store, and (2) only spares it what it would refuse. So it is left out for as
//! long as the target lacks every record of the pages before; what (3) then leaves alone goes through (4) and (5), too.
//!
//! - **A newer record is never overwritten.** (3) replaces only a lower version, decided inside the store. In a store
//!   without versions (3) only inserts, and the server's writes there replace whole rows, last one wins: whether our
//!   older reading goes in before or after the server's write, the server's is what stays.
//! - **A record that changes after (1)** is written to the target by the server too, before (3): then (3) loses, or
//!   after: then the server's version is higher and wins. (1) reading the state before and (3) writing it in between
//!   is therefore harmless.
//! - **A record that appears behind the cursor** is written to the target by the server itself.
//! - **A record deleted after (1)** is the one danger: deletes leave no trace, so (3) would bring it back for ever. The
//!   server deletes at the source and at the target. If the target's delete comes after (3), it removes what we put.
//!   If it comes before (3), then up to 1.28 the source's delete came earlier still (the primary is first), so that
//!   (4), which is later than (3), sees it gone and (5) removes it. From 1.29 both run at once, and the source's
//!   may come after (4) by as much as the two stores differ in speed: such a record is left as *extra* and found by
//!   [`compare`](crate::compare), whose pause is longer than a delete takes; so is one whose copy was killed between
//!   (3) and (5). A delete that fails in one store is tried again in both.
//! - **(5) never deletes what is alive**: run ids are never used twice, and a record that the source had at (1) and
//!   lacks at (4) was deleted. It is deleted only up to the version that was put, so that whatever the server wrote
//!   since is left to the server's own delete. Whether it is gone is asked by where the server would have put it, and
//!   what is not there by its key alone.
//!
//! Up to [`Options::in_flight`] pages are between (2) and (5) while the next one is read, so that neither store waits for
//! the other. Pages share no key and each goes through its steps in order, so that nothing above changes; the cursor
//! passes them in the order of their keys.
//!
//! Where the target can take the records over inside the cluster that holds both, (3) is left to it: see `copy/inside.rs`.
//!
//! Killed anywhere, it starts again from the last cursor and repeats at most those pages, with the same effect.

mod inside;
mod whole;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::sync::Mutex;

use crate::ports::{Condemned, Error, Place, Range, Read, Target};
use crate::record::{Key, Record};

pub use self::whole::{copy_in_list_order, copy_whole};

/// How a copy goes about it.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Records read, and at most written, at a time (at least 1).
    pub page: usize,
    /// Pages that are written at once (at least 1). Memory is bounded by these and the one that is read meanwhile.
    pub in_flight: usize,
}

impl Options {
    /// Pages written at once unless said otherwise: one that is looked up, one that is written, one that is asked for
    /// again. More of them only queue inside a store.
    pub const IN_FLIGHT: usize = 3;

    /// Pages of this many records.
    pub fn pages_of(records: usize) -> Self {
        Self {
            page: records,
            in_flight: Self::IN_FLIGHT,
        }
    }
}

/// Where a copy stands: what it reports after each page, and from where it goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last key that is done; `None` before the first page.
    pub cursor: Option<Key>,
    /// Records read in the source.
    pub scanned: u64,
    /// Records put into the target.
    pub written: u64,
    /// Records removed from the target again, because the source lost them meanwhile.
    pub withdrawn: u64,
    /// Bytes of content in the records that were given to the target, see [`Record::bytes`]. Of those that a cluster took
    /// over by itself only the names passed through us, and nothing is counted.
    pub bytes: u64,
}

/// Whether to go on after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read the next page.
    Continue,
    /// Return now, with the cursor.
    Stop,
}

/// Whoever watches a job: told of its progress `P` after each page (to heartbeat, to show), may stop it.
pub trait Watch<P>: Send {
    /// Everything up to `progress`'s cursor is done.
    fn page(&mut self, progress: &P) -> Step;
}

impl<P, F: FnMut(&P) -> Step + Send> Watch<P> for F {
    fn page(&mut self, progress: &P) -> Step {
        self(progress)
    }
}

/// How a copy ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Where it stands.
    pub progress: Progress,
    /// Whether the range is done (and not only stopped).
    pub finished: bool,
}

/// Copies the records of `slice` (a Namespace or all; its `after` is ignored) that come after `from`'s cursor and that
/// `target` lacks or has in a lower version. `from` is [`Progress::default`] or that of an earlier run.
///
/// # Errors
///
/// What either store reports; what was done stays done, and the last progress reported is where to go on.
pub async fn copy(
    source: &dyn Read,
    target: Target<'_>,
    slice: &Range,
    from: Progress,
    options: Options,
    watch: &mut dyn Watch<Progress>,
) -> Result<Outcome, Error> {
    let mut progress = from;
    let course = Course::of(inside::place(source, target).await?);
    let range = Range {
        after: progress.cursor.clone(),
        ..slice.clone()
    };
    let mut pages = carried(source, target, range, options, &course);
    while let Some(carried) = pages.try_next().await? {
        progress.scanned += carried.scanned;
        progress.written += carried.written;
        progress.withdrawn += carried.withdrawn;
        progress.bytes += carried.bytes;
        progress.cursor = Some(carried.last);
        if watch.page(&progress) == Step::Stop {
            // What is being written is finished, so that no page is left between its steps.
            course.stopped.store(true, Ordering::Relaxed);
        }
    }
    Ok(Outcome {
        progress,
        finished: course.ended.load(Ordering::Relaxed),
    })
}

/// What the pages of a copy tell each other.
#[derive(Default)]
struct Course {
    /// Where the target takes the records from by itself; pages then hold their names alone.
    place: Option<Place>,
    /// No more pages are to be read.
    stopped: AtomicBool,
    /// There are no more.
    ended: AtomicBool,
    /// The target lacked all of the page that was done last.
    lacks_all: AtomicBool,
    /// Held while a page is put, where pages are to lie in the target in the order in which they were read.
    turn: Option<Mutex<()>>,
}

impl Course {
    fn of(place: Option<Place>) -> Self {
        Self {
            place,
            ..Self::default()
        }
    }

    /// Puts a page; in its turn, where pages take turns. Turns go by when they were asked for, which is the order of reading.
    async fn put(&self, target: Target<'_>, records: &[Record]) -> Result<u64, Error> {
        let _turn = match &self.turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        target.write.put(records).await
    }
}

/// The pages of `range` in their order, each carried to the target, up to the end or until stopped.
/// Boxed: of nested nameless futures the compiler cannot tell that they may be sent.
fn carried<'a>(
    source: &'a dyn Read,
    target: Target<'a>,
    range: Range,
    options: Options,
    course: &'a Course,
) -> BoxStream<'a, Result<Carried, Error>> {
    stream::try_unfold(range, move |range| async move {
        if course.stopped.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let page = options.page.max(1);
        let records = match course.place {
            Some(_) => source.scan_names(&range, page).await?,
            None => source.scan(&range, page).await?,
        };
        let Some(last) = records.last().map(|record| record.key.clone()) else {
            course.ended.store(true, Ordering::Relaxed);
            return Ok(None);
        };
        let after = Some(last.clone());
        Ok(Some((Page { records, last }, Range { after, ..range })))
    })
    .map_ok(move |page| carry(source, target, page, course))
    .try_buffered(options.in_flight.max(1))
    .boxed()
}

/// One page as it was read.
struct Page {
    records: Vec<Record>,
    last: Key,
}

/// One page that is done.
struct Carried {
    last: Key,
    scanned: u64,
    written: u64,
    withdrawn: u64,
    bytes: u64,
}

/// Takes one page through its steps, from (2) to (5).
async fn carry(source: &dyn Read, target: Target<'_>, page: Page, course: &Course) -> Result<Carried, Error> {
    let scanned = page.records.len() as u64;
    let chosen = if course.lacks_all.load(Ordering::Relaxed) {
        page.records
    } else {
        lacking(page.records, target).await?
    };
    let (written, withdrawn, bytes) = match &course.place {
        Some(place) => inside::take(source, target, place, &chosen).await?,
        None => {
            let written = course.put(target, &chosen).await?;
            let bytes = chosen.iter().map(Record::bytes).sum();
            (written, withdraw_gone(source, target, &chosen).await?, bytes)
        }
    };
    course.lacks_all.store(written == scanned, Ordering::Relaxed);
    Ok(Carried {
        last: page.last,
        scanned,
        written,
        withdrawn,
        bytes,
    })
}

/// Those of `page` that the target lacks, or has in a lower version.
async fn lacking(page: Vec<Record>, target: Target<'_>) -> Result<Vec<Record>, Error> {
    let held = target.read.versions_of(&page).await?;
    let lacks = |record: &Record| match held.get(&record.key) {
        None => true,
        Some(held) => held.is_some_and(|held| held < record.version.unwrap_or(0)),
    };
    Ok(page.into_iter().filter(lacks).collect())
}

/// Deletes at the target those of the records just written that the source has no longer; gives their number.
pub(crate) async fn withdraw_gone(source: &dyn Read, target: Target<'_>, written: &[Record]) -> Result<u64, Error> {
    if written.is_empty() {
        return Ok(0);
    }
    let gone: BTreeSet<Key> = source.gone(written).await?.into_iter().collect();
    if gone.is_empty() {
        return Ok(0);
    }
    let put = written.iter().filter(|record| gone.contains(&record.key));
    let condemned: Vec<Condemned> = put
        .map(|record| Condemned {
            key: record.key.clone(),
            at_most: Some(record.version.unwrap_or(0)),
        })
        .collect();
    target.write.delete(&condemned).await
}
