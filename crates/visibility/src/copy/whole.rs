//! A copy of everything at once, in whatever order the source reads it quickest, or the target can build its indexes from.

use std::future::ready;
use std::sync::atomic::Ordering;

use futures::stream::{StreamExt as _, TryStreamExt as _};
use tokio::sync::Mutex;

use super::{Course, Options, Outcome, Page, Progress, Step, Watch, carry, copy, inside};
use crate::ports::{Error, Pages, Range, Read, Target};
use crate::record::Record;

/// Copies all records that `target` lacks or has in a lower version. In the order of keys most stores read each record
/// from another place; some have an order of their own that is many times as quick ([`Read::in_own_order`]). Such a copy
/// has no cursor: one that was stopped begins anew, and finds what it put. Every page goes through the steps of
/// [`copy`](super::copy), which ask nothing of the order of pages, nor how long ago a page was read.
///
/// # Errors
///
/// What either store reports; what was done stays done. What may be due to that order is tried in the order of keys first.
pub async fn copy_whole(
    source: &dyn Read,
    target: Target<'_>,
    options: Options,
    watch: &mut dyn Watch<Progress>,
) -> Result<Outcome, Error> {
    let course = Course::of(inside::place(source, target).await?);
    let page = options.page.max(1);
    let pages = match course.place {
        Some(_) => source.names_in_own_order(page),
        None => source.in_own_order(page),
    };
    match pages {
        Some(pages) => carry_or_copy(source, target, &Range::default(), pages, options, course, watch).await,
        None => copy(source, target, &Range::default(), Progress::default(), options, watch).await,
    }
}

/// As [`copy_whole`], of one Namespace or of all, for a target that keeps records in the order in which they are
/// put and builds its indexes from that afterwards: nearly all of them end in the order of lists, behind a column that most
/// records hold nothing in, so that there is little left to sort. Pages are therefore put one after another. `None` where the
/// source has no such order; then nothing was done.
///
/// # Errors
///
/// As [`copy_whole`].
pub async fn copy_in_list_order(
    source: &dyn Read,
    target: Target<'_>,
    namespace_id: Option<&str>,
    options: Options,
    watch: &mut dyn Watch<Progress>,
) -> Result<Option<Outcome>, Error> {
    let Some(pages) = source.in_list_order(namespace_id, options.page.max(1)).await? else {
        return Ok(None);
    };
    let course = Course {
        turn: Some(Mutex::default()),
        ..Course::default()
    };
    let slice = Range {
        namespace_id: namespace_id.map(str::to_owned),
        ..Range::default()
    };
    carry_or_copy(source, target, &slice, pages, options, course, watch)
        .await
        .map(Some)
}

/// Carries all of `pages`; what may be due to their order is tried in the order of keys.
async fn carry_or_copy(
    source: &dyn Read,
    target: Target<'_>,
    slice: &Range,
    pages: Pages<'_>,
    options: Options,
    course: Course,
    watch: &mut dyn Watch<Progress>,
) -> Result<Outcome, Error> {
    let mut progress = Progress::default();
    match carry_all(source, target, pages, options, course, &mut progress, watch).await {
        Ok(finished) => return Ok(Outcome { progress, finished }),
        // A view that was lost, or that this user may not have.
        Err(error) if error.is_retryable() || progress.scanned == 0 => {
            tracing::debug!(%error, "the copy goes on in the order of keys");
            progress.scanned = 0;
        }
        Err(error) => return Err(error),
    }
    copy(source, target, slice, progress, options, watch).await
}

/// Carries all of `pages`; gives whether it came to their end.
async fn carry_all(
    source: &dyn Read,
    target: Target<'_>,
    pages: Pages<'_>,
    options: Options,
    course: Course,
    progress: &mut Progress,
    watch: &mut dyn Watch<Progress>,
) -> Result<bool, Error> {
    let goes_on = || !course.stopped.load(Ordering::Relaxed);
    let mut carried = pages
        .try_take_while(|_| ready(Ok(goes_on())))
        .try_filter_map(|records| ready(Ok(page(records))))
        .map_ok(|page| carry(source, target, page, &course))
        .try_buffered(options.in_flight.max(1))
        .boxed();
    while let Some(done) = carried.try_next().await? {
        progress.scanned += done.scanned;
        progress.written += done.written;
        progress.withdrawn += done.withdrawn;
        progress.bytes += done.bytes;
        if watch.page(progress) == Step::Stop {
            // What is being written is finished, so that no page is left between its steps.
            course.stopped.store(true, Ordering::Relaxed);
        }
    }
    Ok(goes_on())
}

fn page(records: Vec<Record>) -> Option<Page> {
    let last = records.last()?.key.clone();
    Some(Page { records, last })
}
