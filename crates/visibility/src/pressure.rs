//! How hard the stores and the cluster work, and how fast a copy may go because of it.
//!
//! A copy competes with the cluster's own writes. So while it runs, *gauges* are looked at every few seconds: what a
//! store says of its own queues and rejections, how late its replicas are, how long the cluster's own visibility tasks
//! take. [`Throttle`] makes a rate of what they say, by one rule: halve on trouble, hold on strain, grow slowly while all
//! is calm, and never above what the operator allows. A gauge that cannot be read counts as trouble: who cannot see does
//! not hurry.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::pace::Rate;
use crate::ports::Error;

/// How hard something works, as one look says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// There is room.
    Calm,
    /// It keeps up, and should not be asked for more.
    Strained,
    /// It does not keep up.
    Over,
}

/// What one look at a gauge gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// How hard it works.
    pub level: Level,
    /// What was seen, for people: the gauge, the value and what it is measured by.
    pub seen: String,
}

/// Something that tells of pressure.
#[async_trait]
pub trait Gauge: Send + Sync {
    /// What is looked at, for people.
    fn describe(&self) -> String;

    /// Looks once. What is counted since the last look (rejections) is kept inside.
    ///
    /// # Errors
    ///
    /// When it cannot be read, for whatever reason.
    async fn look(&self) -> Result<Load, Error>;
}

/// The rate that pressure leaves, and why it is not more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Records a second; `None` is as fast as the stores go.
    pub records_per_second: Option<NonZeroU32>,
    /// What slows it down; `None` while nothing but the operator does.
    pub because: Option<String>,
}

/// What else can be done about a gauge that cannot be read.
const OR_SWITCH_OFF: &str = "or set a rate of your own and switch the throttle off";

/// Makes a rate of what gauges say. Knows nothing of time: one call of [`decide`](Self::decide) is one look.
#[derive(Clone, Debug)]
pub struct Throttle {
    ceiling: Option<NonZeroU32>,
    /// The rate that pressure allows, while it allows less than everything.
    limit: Option<f64>,
    because: Option<String>,
}

impl Throttle {
    /// Records a second that are always allowed (if the operator allows as many): a copy under lasting pressure still
    /// ends, and what it asks of a store is no more than a handful of executions that start.
    pub const FLOOR: f64 = 50.0;

    /// What is left of the rate after a look that found trouble.
    const BACK_OFF: f64 = 0.5;

    /// What a calm look adds to the rate.
    const GROWTH: f64 = 1.15;

    /// A limit this much above what really goes through holds nothing back any more.
    const SLACK: f64 = 4.0;

    /// Begins without a limit but the operator's.
    pub fn new(ceiling: Option<NonZeroU32>) -> Self {
        Self {
            ceiling,
            limit: None,
            because: None,
        }
    }

    /// Takes in one look at every gauge, with the rate at which records went through since the last one, and says how
    /// fast to go until the next.
    pub fn decide(&mut self, looks: &[Result<Load, Error>], passed_per_second: f64) -> Allowed {
        let trouble = looks.iter().find_map(|look| match look {
            Ok(load) if load.level == Level::Over => Some(load.seen.clone()),
            Err(error) => Some(format!("the pressure cannot be seen: {error}; {OR_SWITCH_OFF}")),
            Ok(_) => None,
        });
        let strain = || {
            let strained = |look: &Result<Load, Error>| match look {
                Ok(load) if load.level == Level::Strained => Some(load.seen.clone()),
                _ => None,
            };
            looks.iter().find_map(strained)
        };
        let now = passed_per_second.max(Self::FLOOR);
        if let Some(seen) = trouble {
            let from = self
                .limit
                .map_or(now, |limit| limit.min(now.max(limit * Self::BACK_OFF)));
            self.limit = Some((from * Self::BACK_OFF).max(Self::FLOOR));
            self.because = Some(seen);
        } else if let Some(seen) = strain() {
            self.limit = Some(self.limit.map_or(now, |limit| limit.min(now)));
            self.because = Some(seen);
        } else if let Some(limit) = self.limit {
            let limit = limit * Self::GROWTH;
            let enough = self.ceiling.is_some_and(|ceiling| limit >= f64::from(ceiling.get()));
            if enough || limit > now * Self::SLACK {
                (self.limit, self.because) = (None, None);
            } else {
                self.limit = Some(limit);
            }
        }
        self.allowed()
    }

    /// The rate now.
    pub fn allowed(&self) -> Allowed {
        let limit = self.limit.and_then(|limit| NonZeroU32::new(limit as u32));
        let records_per_second = match (limit, self.ceiling) {
            (Some(limit), Some(ceiling)) => Some(limit.min(ceiling)),
            (limit, ceiling) => limit.or(ceiling),
        };
        Allowed {
            records_per_second,
            because: self.because.clone(),
        }
    }
}

/// How often gauges are looked at. A store's queue fills in seconds.
const LOOK: Duration = Duration::from_secs(2);

/// How long a look may take: a gauge that does not answer is one that cannot be read.
const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// Keeps a [`Rate`] at what the gauges allow.
pub struct Governor {
    gauges: Vec<Arc<dyn Gauge>>,
    throttle: Throttle,
    rate: Rate,
    looked: Instant,
    passed: u64,
}

impl Governor {
    /// Looks for the first time and sets the rate: before the first record is written.
    pub async fn begin(gauges: Vec<Arc<dyn Gauge>>, ceiling: Option<NonZeroU32>, rate: Rate) -> Self {
        let mut governor = Self {
            gauges,
            throttle: Throttle::new(ceiling),
            rate,
            looked: Instant::now(),
            passed: 0,
        };
        governor.look().await;
        governor
    }

    /// The rate now.
    pub fn allowed(&self) -> Allowed {
        self.throttle.allowed()
    }

    /// Looks every few seconds, for ever; `tell` is told after each look. To be raced against the work itself.
    pub async fn govern(mut self, mut tell: impl FnMut(&Allowed)) {
        tell(&self.allowed());
        if self.gauges.is_empty() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK).await;
            self.look().await;
            tell(&self.allowed());
        }
    }

    async fn look(&mut self) {
        let looks = self.gauges.iter().map(|gauge| async {
            match tokio::time::timeout(LOOK_WITHIN, gauge.look()).await {
                Ok(look) => look,
                Err(_) => Err(Error::Busy {
                    store: gauge.describe(),
                    reason: format!("no answer within {} s", LOOK_WITHIN.as_secs()),
                }),
            }
        });
        let looks = futures::future::join_all(looks).await;
        let elapsed = self.looked.elapsed().as_secs_f64().max(0.001);
        let passed = self.rate.passed();
        let passed_per_second = passed.saturating_sub(self.passed) as f64 / elapsed;
        (self.looked, self.passed) = (Instant::now(), passed);
        let before = self.allowed();
        let allowed = self.throttle.decide(&looks, passed_per_second);
        if allowed.because != before.because {
            match &allowed.because {
                Some(because) => {
                    let rate = allowed.records_per_second.map(NonZeroU32::get);
                    tracing::info!(because, records_per_second = rate, "going slower");
                }
                None => tracing::info!("going at full speed again"),
            }
        }
        self.rate.set(allowed.records_per_second);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn seen(level: Level) -> Result<Load, Error> {
        let seen = format!("{level:?}");
        Ok(Load { level, seen })
    }

    fn unreadable() -> Result<Load, Error> {
        Err(Error::Busy {
            store: "the store".to_owned(),
            reason: "no answer".to_owned(),
        })
    }

    fn per_second(allowed: &Allowed) -> Option<u32> {
        allowed.records_per_second.map(NonZeroU32::get)
    }

    #[test]
    fn trouble_halves_strain_holds_and_calm_lifts_again() {
        let mut throttle = Throttle::new(None);
        assert_eq!(per_second(&throttle.decide(&[seen(Level::Calm)], 8_000.0)), None);
        let slower = throttle.decide(&[seen(Level::Calm), seen(Level::Over)], 8_000.0);
        assert_eq!(per_second(&slower), Some(4_000));
        assert_eq!(slower.because.as_deref(), Some("Over"));
        assert_eq!(per_second(&throttle.decide(&[seen(Level::Over)], 4_000.0)), Some(2_000));
        let held = throttle.decide(&[seen(Level::Strained)], 1_900.0);
        assert_eq!(
            (per_second(&held), held.because.as_deref()),
            (Some(1_900), Some("Strained"))
        );
        let mut looks = 0;
        while throttle.allowed().because.is_some() {
            // Nothing holds it back but the limit itself, up to what the stores do.
            let written = throttle.limit.unwrap_or_default().min(8_000.0);
            throttle.decide(&[seen(Level::Calm)], written);
            looks += 1;
            assert!(looks < 40, "{throttle:?}");
        }
        assert_eq!(per_second(&throttle.allowed()), None);
    }

    #[test]
    fn what_cannot_be_seen_slows_down_to_the_floor_and_no_further() {
        let mut throttle = Throttle::new(NonZeroU32::new(10_000));
        for _ in 0..20 {
            throttle.decide(&[seen(Level::Calm), unreadable()], 9_000.0);
        }
        assert_eq!(per_second(&throttle.allowed()), Some(50));
        let because = throttle.allowed().because.unwrap_or_default();
        assert!(
            because.starts_with("the pressure cannot be seen: the store is busy"),
            "{because}"
        );
    }

    proptest! {
        /// Whatever is seen: never faster than the operator allows, never so slow that it would not end, slower after
        /// trouble, and no reason without a limit.
        #[test]
        fn the_rate_stays_between_the_floor_and_the_ceiling(
            ceiling in prop::option::of(1..100_000_u32),
            looks in vec((0..4_u8, 0.0..50_000.0_f64), 1..60),
        ) {
            let mut throttle = Throttle::new(ceiling.and_then(NonZeroU32::new));
            for (what, written) in looks {
                let before = per_second(&throttle.allowed());
                let look = match what {
                    0 => seen(Level::Calm),
                    1 => seen(Level::Strained),
                    2 => seen(Level::Over),
                    _ => unreadable(),
                };
                let bad = what >= 2;
                let written = before.map_or(written, |before| written.min(f64::from(before)));
                let allowed = throttle.decide(&[look], written);
                let after = per_second(&allowed);
                if let (Some(ceiling), Some(after)) = (ceiling, after) {
                    prop_assert!(after <= ceiling);
                }
                prop_assert!(after.is_none_or(|after| after >= 50.min(ceiling.unwrap_or(50))));
                if bad {
                    prop_assert!(allowed.because.is_some() && after.is_some());
                    if let (Some(before), Some(after)) = (before, after) {
                        prop_assert!(after < before || after <= 50, "{} {}", before, after);
                    }
                }
                prop_assert_eq!(throttle.limit.is_some(), allowed.because.is_some());
            }
        }
    }

    /// Answers what it is given, then never again.
    struct Script(Mutex<Vec<Level>>);

    #[async_trait]
    impl Gauge for Script {
        fn describe(&self) -> String {
            "script".to_owned()
        }

        async fn look(&self) -> Result<Load, Error> {
            let next = self.0.lock().expect("no panic").pop();
            match next {
                Some(level) => seen(level),
                None => std::future::pending().await,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_set_before_the_first_record_and_follows_each_look() {
        let rate = Rate::new(None);
        let script = Arc::new(Script(Mutex::new(vec![Level::Calm, Level::Over, Level::Over])));
        let governor = Governor::begin(vec![script], NonZeroU32::new(1_000), rate.clone()).await;
        assert_eq!(rate.get(), NonZeroU32::new(50), "nothing was written yet");
        let told = Mutex::new(Vec::new());
        let watched = governor.govern(|allowed| {
            let rate = per_second(allowed);
            told.lock().expect("no panic").push((rate, allowed.because.clone()));
        });
        let ended = tokio::time::timeout(Duration::from_secs(20), watched).await;
        assert!(ended.is_err(), "it has no end");
        let told = told.into_inner().expect("no panic");
        let reasons: Vec<&str> = told.iter().filter_map(|(_, because)| because.as_deref()).collect();
        assert_eq!(reasons[..3], ["Over", "Over", "Over"], "{told:?}");
        assert!(
            reasons
                .last()
                .is_some_and(|because| because.contains("no answer within 10 s")),
            "{told:?}"
        );
    }
}
