//! Heartbeats: an activity's sign of life, its progress for people who watch, and how it learns to stop.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crossfade_plan::order::Heartbeat;
use temporalio_sdk::activities::ActivityContext;

use crate::metrics::Counted;

/// How often an activity shows a sign of life. The SDK sends at most one in 0.8 of the heartbeat timeout.
const INTERVAL: Duration = Duration::from_secs(2);

/// The progress of one piece of work, shared between the work and whoever reports it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Beat {
    shown: Arc<Mutex<Heartbeat>>,
    stop: Arc<AtomicBool>,
}

impl Beat {
    /// Begins with what an earlier attempt had reached.
    pub(crate) fn resuming(heartbeat: Heartbeat) -> Self {
        Self {
            shown: Arc::new(Mutex::new(heartbeat)),
            stop: Arc::default(),
        }
    }

    /// Changes what is shown.
    pub(crate) fn show(&self, change: impl FnOnce(&mut Heartbeat)) {
        change(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Says what the work does now.
    pub(crate) fn doing(&self, words: impl Into<String>) {
        let words = words.into();
        self.show(|heartbeat| heartbeat.doing = words);
    }

    /// What is shown now.
    pub(crate) fn now(&self) -> Heartbeat {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether somebody wants the work to stop early.
    pub(crate) fn should_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// What an earlier attempt of this activity had reached, if it left a heartbeat.
pub(crate) fn earlier(ctx: &ActivityContext) -> Heartbeat {
    ctx.heartbeat_details().deserialize().ok().flatten().unwrap_or_default()
}

/// Runs `work` with a sign of life every few seconds; when the activity is cancelled, the work is told to stop.
pub(crate) async fn beating<T>(ctx: &ActivityContext, beat: &Beat, work: impl Future<Output = T>) -> T {
    let counted = Mutex::new(Counted::from(&ctx.info().activity_type, beat.now()));
    let count = || counted.lock().unwrap_or_else(PoisonError::into_inner).add(&beat.now());
    let life = async {
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = ctx.cancelled(), if !beat.should_stop() => beat.stop.store(true, Ordering::Relaxed),
            }
            count();
            if let Err(error) = ctx.record_heartbeat(beat.now()).await {
                tracing::warn!(%error, "a heartbeat could not be recorded");
            }
        }
    };
    tokio::select! {
        done = work => {
            count();
            done
        }
        () = life => unreachable!("signs of life have no end"),
    }
}
