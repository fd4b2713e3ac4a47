//! `crossfade copy`: copy the records that a store lacks, without a workflow.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Instant};

use crossfade_visibility::{
    copy::{self, Progress, Step},
    division,
    indexing::{Indexing, Parked},
    pace::{Paced, Rate},
    parallel::copy_slices,
    ports::Target,
};
use futures::TryFutureExt as _;
use serde_json::json;

use super::{
    indexes::{self, Interrupts},
    stores,
};
use crate::{
    cli::{Copy, Global},
    exit::{Exit, Failure, Outcome},
    render::{self, live::RecordsView},
};

/// Records read and written at a time: large enough that the stores' round trips do not count.
const PAGE: usize = 1_000;

/// Slices copied at the same time unless said otherwise.
const SLICES: u16 = 4;

pub(super) async fn run(global: &Global, args: &Copy) -> Outcome {
    let pair = stores::open(&args.stores).await?;
    let (source, held) = (pair.from.read(), pair.to.read());
    let write = Paced::new(
        pair.to.write(),
        Rate::new(args.rate.and_then(|rate| rate.0).and_then(NonZeroU32::new)),
    );
    let expected: BTreeMap<String, u64> = source
        .count(None)
        .await
        .map_err(|error| stores::failure(&error))?
        .into_iter()
        .map(|(namespace_id, count)| (namespace_id, count.total()))
        .collect();
    let records = expected.values().sum();
    let mut aside = match args.defer_indexes {
        true => Some(Aside::set(&pair, &args.stores.to).await?),
        false => None,
    };
    let view = RecordsView::new("copied", records);
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
    let sorts_later = aside.as_ref().is_some_and(|aside| aside.parked.sorts_later());
    let copy = async {
        let source = source.as_ref();
        let at_once = args.parallel.unwrap_or(SLICES);
        if sorts_later
            && args.parallel.is_none()
            && let Some(copied) = copy::copy_in_list_order(source, target, None, options, &mut show).await?
        {
            return Ok(copied);
        }
        // Cutting up an order that is many times as quick would only slow it down.
        if source.in_own_order(PAGE).is_some() {
            return copy::copy_whole(source, target, options, &mut show).await;
        }
        let slices = division::between(division::cuts(
            &expected,
            division::slices(records, at_once.into(), None),
        ));
        copy_slices(source, target, slices, at_once.into(), options, &mut show).await
    };
    let copy = copy.map_err(|error| stores::failure(&error));
    let copied = match &mut aside {
        Some(aside) => aside.unless_interrupted(copy).await,
        None => copy.await,
    };
    drop(view);
    let copying = began.elapsed();
    // Whatever became of the copy.
    let (copied, rebuilt) = match aside {
        Some(aside) => aside.put_back(copied).await?,
        None => (copied?, None),
    };
    let progress = copied.progress;
    let took = began.elapsed();
    if global.json {
        render::json(&json!({
            "scanned": progress.scanned,
            "written": progress.written,
            "withdrawn": progress.withdrawn,
            "bytes": progress.bytes,
            "seconds": took.as_secs_f64(),
            "copy_seconds": copying.as_secs_f64(),
            "indexes_rebuilt": rebuilt,
        }));
    } else {
        render::text(format!(
            "{} -> {}\n  {} looked at, {} written ({}), {} withdrawn, in {}{}",
            pair.from.describe(),
            pair.to.describe(),
            render::counted(progress.scanned, "record"),
            render::count(progress.written),
            match progress.bytes {
                0 if progress.written > 0 => "by the cluster itself".to_owned(),
                bytes => render::size(bytes),
            },
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

/// The target's secondary indexes, set aside.
struct Aside<'a> {
    indexing: Arc<dyn Indexing>,
    parked: Parked,
    /// The target as it was named.
    store: &'a str,
    interrupts: Interrupts,
}

impl<'a> Aside<'a> {
    /// Sets them aside, those that an earlier run left so among them.
    async fn set(pair: &stores::Pair, store: &'a str) -> Result<Self, Failure> {
        let Some(indexing) = pair.to.indexing() else {
            return Err(Failure::refused(format!(
                "--defer-indexes: {} cannot be filled without its indexes. Next step: leave it out",
                pair.to.describe()
            )));
        };
        // Before anything is gone.
        let interrupts = Interrupts::listen()?;
        let parked = indexing.park().await.map_err(|error| stores::failure(&error))?;
        Ok(Self {
            indexing,
            parked,
            store,
            interrupts,
        })
    }

    /// The copy, unless it is ended before: what it wrote stays and is found done by the next one.
    async fn unless_interrupted<T>(&mut self, copy: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            copied = copy => copied,
            () = self.interrupts.next() => {
                render::note("interrupted: the indexes are built again; another interrupt leaves them set aside");
                Err(Failure::failed(
                    "the copy was interrupted. Next step: run it again, and it goes on with what is lacking",
                ))
            }
        }
    }

    /// Builds them again, whatever became of the copy, and gives their number. What went wrong is all told.
    async fn put_back<T>(mut self, copied: Result<T, Failure>) -> Result<(T, Option<u64>), Failure> {
        let rebuilt = indexes::restore(&*self.indexing, &self.parked, self.store, &mut self.interrupts).await;
        match (copied, rebuilt) {
            (Ok(copied), Ok(rebuilt)) => Ok((copied, Some(rebuilt.built))),
            (Ok(_), Err(failure)) => Err(failure.context("the records are copied")),
            (Err(mut failure), Err(left)) => {
                failure.message = format!("{}\n{}", failure.message, left.message);
                failure.problems.extend(left.problems);
                Err(failure)
            }
            (Err(failure), Ok(_)) => Err(failure),
        }
    }
}
