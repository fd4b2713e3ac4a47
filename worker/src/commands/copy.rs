//! `crossfade copy`: copy the records that a store lacks, without a workflow.

use std::{num::NonZeroU32, time::Instant};

use crossfade_visibility::{
    copy::{self, Progress, Step},
    pace::{Paced, Rate},
    ports::{Range, Target},
};
use serde_json::json;

use super::stores;
use crate::{
    cli::{Copy, Global},
    exit::{Exit, Outcome},
    render::{self, live::RecordsView},
};

/// Records read and written at a time: large enough that the stores' round trips do not count.
const PAGE: usize = 1_000;

pub(super) async fn run(global: &Global, args: &Copy) -> Outcome {
    let pair = stores::open(&args.stores).await?;
    let (source, held) = (pair.from.read(), pair.to.read());
    let write = Paced::new(
        pair.to.write(),
        Rate::new(args.rate.and_then(|rate| rate.0).and_then(NonZeroU32::new)),
    );
    let expected = source.count(None).await.map_err(|error| stores::failure(&error))?;
    let view = RecordsView::new("copied", expected.values().map(|count| count.total()).sum());
    let mut show = |progress: &Progress| {
        view.show(progress.scanned, format!("{} written", render::count(progress.written)));
        Step::Continue
    };
    let began = Instant::now();
    let target = Target {
        read: held.as_ref(),
        write: &write,
    };
    let options = copy::Options::pages_of(PAGE);
    let copied = copy::copy(
        source.as_ref(),
        target,
        &Range::default(),
        Progress::default(),
        options,
        &mut show,
    )
    .await;
    drop(view);
    let progress = copied.map_err(|error| stores::failure(&error))?.progress;
    let took = began.elapsed();
    if global.json {
        render::json(&json!({
            "scanned": progress.scanned,
            "written": progress.written,
            "withdrawn": progress.withdrawn,
            "seconds": took.as_secs_f64(),
        }));
    } else {
        render::text(format!(
            "{} -> {}\n  {} looked at, {} written, {} withdrawn, in {}",
            pair.from.describe(),
            pair.to.describe(),
            render::counted(progress.scanned, "record"),
            render::count(progress.written),
            render::count(progress.withdrawn),
            render::span(took)
        ));
    }
    Ok(Exit::Done)
}
