//! How long the next bulk request may be.
//!
//! Longer requests save round trips until a request is long enough that they do not count; from there on they only take
//! more of a node's memory, and are the first that a node without room turns away. So the length begins moderate, grows
//! while a byte takes less time than before, and is halved when the cluster was overrun.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Where it begins: a thousand ordinary documents.
const FIRST: usize = 2 << 20;

/// The shortest: what is turned away at this length is turned away for another reason.
const LEAST: usize = 64 << 10;

/// The longest: far below what a node takes (`http.max_content_length`, 100 MB), with some of them under way.
const MOST: usize = 16 << 20;

/// By how much a longer request must be quicker, per byte, to be worth its memory.
const BETTER: f64 = 0.9;

/// What was learned of one cluster.
pub(super) struct Sizing(Mutex<Learned>);

struct Learned {
    bytes: usize,
    /// Seconds that a byte took at the last length that was better than the one before.
    cost: Option<f64>,
}

impl Default for Sizing {
    fn default() -> Self {
        Self(Mutex::new(Learned {
            bytes: FIRST,
            cost: None,
        }))
    }
}

impl Sizing {
    /// The most bytes of a request, if no single document is longer.
    pub(super) fn bytes(&self) -> usize {
        self.learned(|learned| learned.bytes)
    }

    /// A request of so many bytes was carried out in full.
    pub(super) fn went_well(&self, bytes: usize, took: Duration) {
        self.learned(|learned| {
            // One that was short for want of records says nothing of the length.
            if bytes < learned.bytes / 4 * 3 {
                return;
            }
            let cost = took.as_secs_f64() / bytes as f64;
            if learned.cost.is_none_or(|before| cost < before * BETTER) {
                learned.cost = Some(cost);
                learned.bytes = (learned.bytes * 2).min(MOST);
            }
        });
    }

    /// The cluster had no room, or did not answer in time. What was quick before may not be now.
    pub(super) fn was_overrun(&self) {
        self.learned(|learned| {
            learned.bytes = (learned.bytes / 2).max(LEAST);
            learned.cost = None;
        });
    }

    fn learned<T>(&self, with: impl FnOnce(&mut Learned) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_while_that_helps_and_gives_way_when_overrun() {
        let sizing = Sizing::default();
        let second = Duration::from_secs(1);
        sizing.went_well(1000, second);
        assert_eq!(sizing.bytes(), FIRST, "a short request says nothing");
        sizing.went_well(FIRST, second);
        assert_eq!(sizing.bytes(), 2 * FIRST);
        sizing.went_well(2 * FIRST, second);
        assert_eq!(sizing.bytes(), 4 * FIRST, "twice as much in the same time");
        sizing.went_well(4 * FIRST, 2 * second);
        assert_eq!(sizing.bytes(), 4 * FIRST, "no quicker per byte");
        for _ in 0..20 {
            sizing.was_overrun();
        }
        assert_eq!(sizing.bytes(), LEAST);
        sizing.went_well(LEAST, second);
        assert_eq!(sizing.bytes(), 2 * LEAST, "it finds its way back");
        for _ in 0..20 {
            sizing.went_well(sizing.bytes(), Duration::from_millis(1));
        }
        assert_eq!(sizing.bytes(), MOST);
    }
}
