//! Comparing all of a range at once: each store read in its own order, what does not differ told by signs.
//!
//! Both stores are gone through once, at the same time ([`crate::sign`]). What differs by the signs, or stands in one store
//! alone, is suspected: those records are read by their keys, and from then on everything is as for suspects found in the
//! order of keys. A store's signs are those of one moment, so that what the cluster writes meanwhile is hardly ever seen.
//!
//! Nothing is settled before both stores are read to their ends; whoever is stopped before that begins the range anew.

use std::pin::pin;
use std::task::Poll;

use futures::stream::{BoxStream, StreamExt as _};

use super::outstanding::{Bucket, MOST_CELLS, Outstanding, Side};
use super::suspects::{Pair, Run};
use super::{Options, read, within};
use crate::copy::{Step, Watch};
use crate::ports::{Error, Range};
use crate::sign::{Page, Terms, Wanted};

/// Records that one store may be ahead of the other: orders that are alike keep near to each other.
const LEAD: u64 = 10_000;

/// Records after which a watcher is told how far the reading is.
const TOLD_EVERY: u64 = 20_000;

/// One store's signs.
struct Signs<'a> {
    pages: BoxStream<'a, Result<Page, Error>>,
    seen: u64,
    ended: bool,
}

impl<'a> Signs<'a> {
    fn new(pages: BoxStream<'a, Result<Page, Error>>) -> Self {
        Self {
            pages,
            seen: 0,
            ended: false,
        }
    }
}

/// Both stores' signs of `range`; `None` where one of them has none.
fn signs<'a>(pair: &Pair<'a>, range: &Range, options: Options) -> Option<[Signs<'a>; 2]> {
    let versions = pair.source.versioned() && pair.target.versioned();
    let dialect = pair.source.dialect();
    let wanted = Wanted {
        range: range.clone(),
        page: options.page.max(1),
        terms: Terms::new(pair.by, versions, dialect.is_some() && dialect == pair.target.dialect()),
    };
    let source = pair.source.signs(wanted.clone())?;
    let target = pair.target.signs(wanted)?;
    Some([Signs::new(source), Signs::new(target)])
}

/// Compares `range`; `None` where one of the stores has no signs, and then nothing was done.
pub(super) async fn at_once(
    run: &mut Run<'_>,
    range: &Range,
    watch: &mut dyn Watch<super::Progress>,
) -> Result<Option<Step>, Error> {
    let Some(mut both) = signs(&run.pair, range, run.options) else {
        return Ok(None);
    };
    let mut outstanding = Outstanding::new(run.options.cells.unwrap_or(MOST_CELLS));
    let mut told = 0;
    while let Some((side, page)) = next(&mut both).await? {
        outstanding.take(&page, side);
        let seen = both[Side::Source as usize].seen;
        if seen >= told + TOLD_EVERY {
            told = seen;
            if run.tell(seen, watch) == Step::Stop {
                return Ok(Some(Step::Stop));
            }
        }
    }
    drop(both);
    for mut bucket in outstanding.buckets(range) {
        bucket.until = within(bucket.until, range);
        if look_at(run, bucket, watch).await? == Step::Stop {
            return Ok(Some(Step::Stop));
        }
    }
    Ok(Some(Step::Continue))
}

/// The next page of either store: of the one that is behind, if there is a choice.
async fn next(both: &mut [Signs<'_>; 2]) -> Result<Option<(Side, Page)>, Error> {
    let [source, target] = both;
    let mut turn = pin!(std::future::poll_fn(|context| {
        let mut sides = [(Side::Source, &mut *source, 0), (Side::Target, &mut *target, 0)];
        let seen = [sides[0].1.seen, sides[1].1.seen];
        let ended = [sides[0].1.ended, sides[1].1.ended];
        (sides[0].2, sides[1].2) = (seen[1], seen[0]);
        if seen[1] < seen[0] {
            sides.reverse();
        }
        for (side, signs, other) in sides {
            let waits = signs.seen >= other + LEAD && !ended[1 - side as usize];
            if signs.ended || waits {
                continue;
            }
            match signs.pages.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(page))) => {
                    signs.seen += page.records.len() as u64;
                    return Poll::Ready(Ok(Some((side, page))));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => {
                    signs.ended = true;
                    // The other one may have waited for this.
                    context.waker().wake_by_ref();
                }
                Poll::Pending => {}
            }
        }
        match source.ended && target.ended {
            true => Poll::Ready(Ok(None)),
            false => Poll::Pending,
        }
    }));
    turn.as_mut().await
}

/// Reads what is suspected in a bucket, and takes note of the rest.
async fn look_at(run: &mut Run<'_>, bucket: Bucket, watch: &mut dyn Watch<super::Progress>) -> Result<Step, Error> {
    run.count(&bucket.namespace_id, bucket.records);
    for keys in bucket.keys.chunks(run.options.page.max(1)) {
        run.suspect(keys).await?;
        if run.is_full() {
            run.settle().await?;
        }
    }
    for range in &bucket.ranges {
        read(run, range, watch).await?;
    }
    run.reach(bucket.until, watch).await
}
