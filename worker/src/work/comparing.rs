//! Comparing every record of both stores, and repairing what differs, a bounded time at once.

use std::time::Duration;

use crossfade_plan::{
    drift,
    existing::REFRESHED_A_SECOND,
    order::{CompareRecords, Compared},
    problem::Problem,
    spec::VerifyBy,
};
use crossfade_visibility::{
    compare::{self, Means, Options, Progress},
    copy::Step,
    keeps::Column,
    origin::Origin,
    pace::PacedRead,
};
use tokio::time::Instant;

use super::{
    attributes,
    beat::Beat,
    cursor,
    filling::filled,
    frontend,
    refreshing::{ClusterState, Refresher},
    stores,
    throttling::Reins,
};

/// The part of a slice's time that one answer of digests may take, of which there are a few: where stores are slower than
/// that, most of the time is left for reading.
const DIGESTS_SHARE: u32 = 10;

/// How often the pause before suspects are read again is doubled at most, once a round.
const DOUBLED: u32 = 3;

/// Keys of differing records that are named.
const SAMPLES: usize = 3;

/// Compares from the order's cursor, or from where an earlier attempt of it was.
pub(crate) async fn run(order: &CompareRecords, beat: &Beat) -> Result<Compared, Problem> {
    let began = Instant::now();
    let until = began + Duration::from_secs(order.budget_seconds);
    let stores = stores::open(&order.context).await?;
    let (source, target) = (stores.source.read(), stores.target.read());
    let write = filled(stores.target.write(), &*source, &order.context.spec);
    if order.attributes.is_some() {
        let frontend = frontend::open(&order.context.spec).await?;
        attributes::agree(&order.context, &frontend, order.attributes.as_ref()).await?;
    }
    // A whole source of the target's family needs no other witness.
    let origin = if source.keeps().has(Column::SearchAttributes) {
        None
    } else {
        let spec = &order.context.spec;
        Some(ClusterState {
            refresher: Refresher::new(spec, order.refresh.clone(), REFRESHED_A_SECOND).await?,
            target: target.clone(),
        })
    };
    let slice = cursor::up_to(order.until.as_deref());
    let earlier = beat.now();
    let from = Progress {
        cursor: cursor::resumed(earlier.cursor.as_deref(), order.cursor.as_deref()),
        source_records: earlier.scanned,
        by_digest: earlier.by_digest,
        ..Progress::default()
    };
    let mut watch = |progress: &Progress| {
        let (drift, repaired) = found(progress);
        beat.show(|heartbeat| {
            heartbeat.cursor = progress.cursor.as_ref().map(cursor::write);
            heartbeat.scanned = progress.source_records;
            heartbeat.by_digest = progress.by_digest;
            heartbeat.drift = add(earlier.drift, drift);
            heartbeat.repaired = earlier.repaired + repaired;
            heartbeat.doing = "comparing".to_owned();
        });
        if beat.should_stop() || Instant::now() >= until {
            Step::Stop
        } else {
            Step::Continue
        }
    };
    let means = Means {
        repair_with: order.repair.then_some(&*write),
        origin: origin.as_ref().map(|origin| origin as &dyn Origin),
    };
    let spec = &order.context.spec;
    // The operator's rate is one of writes, and a comparison writes next to nothing.
    let reins = Reins::take(spec, order.throttle, &stores, None).await?;
    let options = Options {
        // A store that computes digests reads as fast as it can.
        digests: spec.verify.by == VerifyBy::Digests && reins.source.get().is_none() && reins.target.get().is_none(),
        digests_within: Some(Duration::from_secs(order.budget_seconds) / DIGESTS_SHARE),
        pause: pause(order.round),
        ..Options::default()
    };
    let source = PacedRead::new(source, reins.source.clone());
    let target = PacedRead::new(target, reins.target.clone());
    let work = compare::compare_with(&source, &target, means, &slice, from, options, &mut watch);
    let outcome = reins.held(beat, work).await.map_err(|error| stores::trouble(&error))?;
    let (drift, repaired) = found(&outcome.progress);
    let reached = outcome.progress.cursor.as_ref();
    Ok(Compared {
        cursor: reached.map(cursor::write),
        done: outcome.finished,
        middle: (!outcome.finished).then(|| cursor::middle(&slice, reached)).flatten(),
        millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        compared: outcome.progress.source_records,
        by_digest: outcome.progress.by_digest,
        drift: add(earlier.drift, drift),
        repaired: earlier.repaired + repaired,
        samples: samples(&outcome.progress),
    })
}

/// How long after the first look suspects are read again in that round. A busy server that fails to write one of the two
/// stores tries again after seconds, so what is found again and again is given more of them: only what is still wrong then
/// is the operator's.
fn pause(round: u32) -> Duration {
    let doubled = round.saturating_sub(1).min(DOUBLED);
    Options::default().pause * 2_u32.pow(doubled)
}

fn found(progress: &Progress) -> (drift::Drift, u64) {
    let drift = &progress.drift;
    let counts = drift::Drift {
        missing: drift.missing.count,
        stale: drift.stale.count,
        different: drift.different.count,
        extra: drift.extra.count,
    };
    (counts, progress.repaired.written + progress.repaired.deleted)
}

fn add(a: drift::Drift, b: drift::Drift) -> drift::Drift {
    drift::Drift {
        missing: a.missing + b.missing,
        stale: a.stale + b.stale,
        different: a.different + b.different,
        extra: a.extra + b.extra,
    }
}

fn samples(progress: &Progress) -> Vec<String> {
    let drift = &progress.drift;
    [&drift.missing, &drift.stale, &drift.different, &drift.extra]
        .into_iter()
        .flat_map(|tally| tally.sample.iter().take(SAMPLES))
        .map(|drifted| {
            let columns = if drifted.columns.is_empty() {
                String::new()
            } else {
                format!(" ({})", drifted.columns.join(", "))
            };
            format!("{} {}{columns}", drifted.class.label(), drifted.key)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_rounds_give_records_more_time_to_arrive() {
        let first = Options::default().pause;
        // Orders of an earlier release tell no round.
        let pauses: Vec<Duration> = (0..=6).map(pause).collect();
        assert_eq!(
            pauses,
            [first, first, first * 2, first * 4, first * 8, first * 8, first * 8]
        );
    }
}
