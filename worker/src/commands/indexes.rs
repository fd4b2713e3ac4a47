//! `crossfade indexes`: what a copy set aside in a store and never brought back; and bringing it back.

use std::{io, time::Duration};

use crossfade_visibility::{
    copy::Step,
    indexing::{Indexing, Pace, Parked, Rebuilding, Rebuilt},
};
use serde_json::json;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

use super::{store_url, stores};
use crate::{
    cli::{Global, Indexes},
    exit::{Exit, Failure, Outcome},
    render::{self, live::RecordsView},
    work::indexing::words,
};

/// For how long a store that does not answer is tried again before what is left is given to the operator.
const TRY_FOR: Duration = Duration::from_secs(30);

/// Between two tries.
const TRY_AGAIN: Duration = Duration::from_secs(1);

pub(super) async fn run(global: &Global, args: &Indexes) -> Outcome {
    let store = stores::open_one(&args.store, "--store").await?;
    let Some(indexing) = store.indexing() else {
        return Err(Failure::refused(format!(
            "--store: {} keeps its indexes always, so none can be set aside",
            store.describe()
        )));
    };
    let before = indexing.survey().await.map_err(|error| stores::failure(&error))?;
    let rebuilt = match args.restore {
        true => {
            let mut interrupts = Interrupts::listen()?;
            Some(restore(&*indexing, &Parked::default(), &args.store, &mut interrupts).await?)
        }
        false => None,
    };
    let after = match rebuilt {
        Some(_) => indexing.survey().await.map_err(|error| stores::failure(&error))?,
        None => before,
    };
    if global.json {
        render::json(&json!({
            "store": store.describe(),
            "present": after.present,
            "set_aside": after.parked,
            "refusal": after.refusal,
            "built": rebuilt.map(|rebuilt| rebuilt.built),
        }));
    } else {
        let built = rebuilt.map_or_else(String::new, |rebuilt| {
            format!(", {} of them built just now", render::count(rebuilt.built))
        });
        let mut text = format!(
            "{}\n  {} that only serve reading are there{built}, {} set aside",
            store.describe(),
            render::count(after.present),
            render::count(after.parked)
        );
        if after.parked > 0 {
            text.push_str(&format!("\n  Next step: {}", command(&args.store)));
        }
        render::text(text);
    }
    Ok(if after.parked == 0 { Exit::Done } else { Exit::Failed })
}

/// What brings everything back by hand.
pub(super) fn command(store: &str) -> String {
    format!(
        "`crossfade indexes --store '{}' --restore`",
        store_url::without_password(store)
    )
}

/// Brings back what is set aside. A store that is away is tried again for a while; an interrupt ends it at once. What is
/// left then is told, with what brings it back.
pub(super) async fn restore(
    indexing: &dyn Indexing,
    parked: &Parked,
    store: &str,
    interrupts: &mut Interrupts,
) -> Result<Rebuilt, Failure> {
    let left = |why: String| {
        Failure::failed(format!(
            "{why}. What was set aside and is not there yet is noted in the store. Next step: {}",
            command(store)
        ))
    };
    tokio::select! {
        rebuilt = try_for_a_while(indexing, parked) => rebuilt.map_err(|error| Failure {
            problems: stores::failure(&error).problems,
            ..left(format!("the indexes could not be built again: {error}"))
        }),
        () = interrupts.next() => Err(left("interrupted while the indexes are built again".to_owned())),
    }
}

async fn try_for_a_while(
    indexing: &dyn Indexing,
    parked: &Parked,
) -> Result<Rebuilt, crossfade_visibility::ports::Error> {
    let until = Instant::now() + TRY_FOR;
    let view = RecordsView::new("rebuilt", parked.count());
    let mut show = |progress: &Rebuilding| {
        view.show(progress.built, words(progress));
        Step::Continue
    };
    loop {
        match indexing.restore(parked, Pace::default(), &mut show).await {
            Err(error) if error.is_retryable() && Instant::now() < until => tokio::time::sleep(TRY_AGAIN).await,
            rebuilt => return rebuilt,
        }
    }
}

/// The signals by which people and supervisors end a command. Each counts once, also while nobody waits for it.
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// From here on these signals end nothing by themselves.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = || -> io::Result<Self> {
            Ok(Self {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
            })
        };
        listen().map_err(|error| Failure::failed(format!("signals cannot be handled: {error}")))
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
