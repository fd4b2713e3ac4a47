//! `crossfade copy`: copy the records that a store lacks, without a workflow.

use std::{num::NonZeroU32, sync::Arc, time::Instant};

use crossfade_visibility::{
    copy::{self, Progress, Step},
    indexing::{Indexing, Pace, Parked, Rebuilding},
    pace::{Paced, Rate},
    ports::{Range, Target},
};
use serde_json::json;

use super::stores;
use crate::{
    cli::{Copy, Global},
    exit::{Exit, Failure, Outcome},
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
    let parked = match args.defer_indexes {
        true => Some(set_aside(&pair).await?),
        false => None,
    };
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
    let copying = began.elapsed();
    // Whatever became of the copy.
    let rebuilt = match &parked {
        Some((indexing, parked)) => Some(build_again(indexing.as_ref(), parked).await?),
        None => None,
    };
    let progress = copied.map_err(|error| stores::failure(&error))?.progress;
    let took = began.elapsed();
    if global.json {
        render::json(&json!({
            "scanned": progress.scanned,
            "written": progress.written,
            "withdrawn": progress.withdrawn,
            "seconds": took.as_secs_f64(),
            "copy_seconds": copying.as_secs_f64(),
            "indexes_rebuilt": rebuilt,
        }));
    } else {
        render::text(format!(
            "{} -> {}\n  {} looked at, {} written, {} withdrawn, in {}{}",
            pair.from.describe(),
            pair.to.describe(),
            render::counted(progress.scanned, "record"),
            render::count(progress.written),
            render::count(progress.withdrawn),
            render::span(took),
            rebuilt.map_or_else(String::new, |indexes| {
                format!(
                    ", {} indexes built again in {} of it",
                    render::count(indexes),
                    render::span(took.saturating_sub(copying))
                )
            })
        ));
    }
    Ok(Exit::Done)
}

/// Sets the target's secondary indexes aside, those that an earlier run left so among them.
async fn set_aside(pair: &stores::Pair) -> Result<(Arc<dyn Indexing>, Parked), Failure> {
    let Some(indexing) = pair.to.indexing() else {
        return Err(Failure::refused(format!(
            "--defer-indexes: {} cannot be filled without its indexes; only Postgres can. Next step: leave it out",
            pair.to.describe()
        )));
    };
    let parked = indexing.park().await.map_err(|error| stores::failure(&error))?;
    Ok((indexing, parked))
}

/// Builds them again, and gives their number.
async fn build_again(indexing: &dyn Indexing, parked: &Parked) -> Result<u64, Failure> {
    let view = RecordsView::new("rebuilt", parked.count());
    let mut show = |progress: &Rebuilding| {
        let names = progress.under_way.iter().map(|index| index.name.as_str());
        let doing = progress.waiting_for.clone();
        view.show(
            progress.built,
            doing.unwrap_or_else(|| names.collect::<Vec<_>>().join(", ")),
        );
        Step::Continue
    };
    let rebuilt = indexing.restore(parked, Pace::default(), &mut show).await;
    drop(view);
    Ok(rebuilt.map_err(|error| stores::failure(&error))?.built)
}
