//! Copying what the target lacks, a bounded time at once.

use std::time::Duration;

use crossfade_plan::{
    order::{Copied, CopyRecords, Heartbeat},
    problem::Problem,
};
use crossfade_visibility::{
    copy::{self, Options, Progress, Step},
    pace::{Paced, PacedRead},
    ports::Target,
};
use tokio::time::Instant;

use super::{beat::Beat, cursor, filling::filled, stores, throttling::Reins};

/// Records read and written at once: enough that round trips do not count, few enough that a page is a moment.
const PAGE: usize = 500;

/// Copies from the order's cursor, or from where an earlier attempt of it was.
pub(crate) async fn run(order: &CopyRecords, beat: &Beat) -> Result<Copied, Problem> {
    let began = Instant::now();
    let until = began + Duration::from_secs(order.budget_seconds);
    let stores = stores::open(&order.context).await?;
    let writes = stores.target.write();
    // What is wrong with it is said when something is written.
    tokio::spawn(async move { writes.make_ready().await });
    let reins = Reins::take(&order.context.spec, order.throttle, &stores, order.records_per_second).await?;
    let source = PacedRead::new(stores.source.read(), reins.source.clone());
    let target = stores.target.read();
    let write = filled(
        Paced::new(stores.target.write(), reins.target.clone()),
        &source,
        &order.context.spec,
    );
    let slice = cursor::up_to(order.until.as_deref());
    let earlier = beat.now();
    let from = Progress {
        cursor: cursor::resumed(earlier.cursor.as_deref(), order.cursor.as_deref()),
        scanned: earlier.scanned,
        written: earlier.written,
        withdrawn: earlier.withdrawn,
        bytes: earlier.bytes,
    };
    let page = order
        .records_per_second
        .map_or(PAGE, |rate| PAGE.min(usize::try_from(rate).unwrap_or(PAGE)).max(1));
    let mut watch = |progress: &Progress| {
        beat.show(|heartbeat| show(heartbeat, progress));
        if beat.should_stop() || Instant::now() >= until {
            Step::Stop
        } else {
            Step::Continue
        }
    };
    let target = Target {
        read: &*target,
        write: &*write,
    };
    let work = copy::copy(&source, target, &slice, from, Options::pages_of(page), &mut watch);
    let outcome = reins.held(beat, work).await.map_err(|error| stores::trouble(&error))?;
    let reached = outcome.progress.cursor.as_ref();
    Ok(Copied {
        cursor: reached.map(cursor::write),
        done: outcome.finished,
        middle: (!outcome.finished).then(|| cursor::middle(&slice, reached)).flatten(),
        scanned: outcome.progress.scanned,
        written: outcome.progress.written,
        withdrawn: outcome.progress.withdrawn,
        bytes: outcome.progress.bytes,
        millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

fn show(heartbeat: &mut Heartbeat, progress: &Progress) {
    heartbeat.cursor = progress.cursor.as_ref().map(cursor::write);
    heartbeat.scanned = progress.scanned;
    heartbeat.written = progress.written;
    heartbeat.withdrawn = progress.withdrawn;
    heartbeat.bytes = progress.bytes;
    heartbeat.doing = "copying".to_owned();
}
