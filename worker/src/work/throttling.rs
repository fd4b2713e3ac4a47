//! Going only as fast as the stores and the cluster can bear.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use async_trait::async_trait;
use crossfade_cluster::task_latency::{MetricsError, TaskLatency};
use crossfade_plan::{
    order::Limit,
    problem::{Code, Problem},
    spec::Spec,
    throttle::Throttle,
};
use crossfade_stores::Store;
use crossfade_visibility::{
    pace::Rate,
    ports::Error,
    pressure::{self, Allowed, Gauge, Governor, Level, Load},
};
use tokio::sync::Mutex;

use super::{beat::Beat, stores::Pair};

/// Visibility tasks take well under a second where there is room.
const SLOW_SECONDS: f64 = 2.0;
/// By then lists are visibly behind, and tasks pile up towards the dead-letter queue.
const TOO_SLOW_SECONDS: f64 = 10.0;

/// How fast each store may be worked on now.
pub(crate) struct Reins {
    /// Of scans of the source.
    pub(crate) source: Rate,
    /// Of writes to the target, or scans of it.
    pub(crate) target: Rate,
    governors: Option<(Governor, Governor)>,
}

impl Reins {
    /// Looks at every gauge before anything is read or written, unless that is switched off. `records_per_second` is what
    /// the operator allows at the target.
    pub(crate) async fn take(
        spec: &Spec,
        throttle: Throttle,
        stores: &Pair,
        records_per_second: Option<u32>,
    ) -> Result<Self, Problem> {
        let source_ceiling = throttle.source_records_per_second.and_then(NonZeroU32::new);
        let target_ceiling = records_per_second.and_then(NonZeroU32::new);
        let (source, target) = (Rate::new(source_ceiling), Rate::new(target_ceiling));
        let governors = if throttle.off {
            None
        } else {
            let mut at_target: Vec<Arc<dyn Gauge>> = stores.target.gauge().into_iter().collect();
            at_target.extend(cluster(&spec.throttle.cluster_metrics)?);
            let at_source = stores.source.gauge().into_iter().collect();
            // Together: of two gauges that do not answer, one is waited for.
            Some(tokio::join!(
                Governor::begin(at_source, source_ceiling, source.clone()),
                Governor::begin(at_target, target_ceiling, target.clone()),
            ))
        };
        Ok(Self {
            source,
            target,
            governors,
        })
    }

    /// Does `work`, whose reads and writes keep to the two rates, and meanwhile sets them to what is allowed.
    pub(crate) async fn held<T>(self, beat: &Beat, work: impl Future<Output = T>) -> T {
        let Some((source, target)) = self.governors else {
            let limit = self.target.get().map(NonZeroU32::get);
            beat.show(|heartbeat| heartbeat.limit = limit.map(of_operator));
            return work.await;
        };
        let seen = std::sync::Mutex::new((source.allowed(), target.allowed()));
        let tell = |change: &dyn Fn(&mut (Allowed, Allowed))| {
            let mut seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            change(&mut seen);
            let limit = told(&seen.0, &seen.1);
            beat.show(|heartbeat| heartbeat.limit = limit);
        };
        let source = source.govern(|allowed| tell(&|seen| seen.0 = allowed.clone()));
        let target = target.govern(|allowed| tell(&|seen| seen.1 = allowed.clone()));
        tokio::select! {
            done = work => done,
            ((), ()) = async { tokio::join!(source, target) } => unreachable!("governors have no end"),
        }
    }
}

/// How long preflight waits for a gauge.
const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// What will not be seen of how hard stores and cluster work, in words for the plan: a store that does not tell, and what
/// cannot be read now. Nothing where nobody is to look.
pub(crate) async fn blind_spots(spec: &Spec, stores: &[&Store]) -> Result<Vec<String>, Problem> {
    if !spec.throttle.automatic {
        return Ok(Vec::new());
    }
    let mut gauges: Vec<Arc<dyn Gauge>> = cluster(&spec.throttle.cluster_metrics)?.into_iter().collect();
    let mut blind = Vec::new();
    for store in stores {
        match store.gauge() {
            Some(gauge) => gauges.push(gauge),
            None => blind.push(format!(
                "{} does not tell how hard it works: copying and comparing do not go slower on its account; give \
                 `records_per_second` or `throttle.source_records_per_second` where that matters",
                store.describe()
            )),
        }
    }
    let looks = gauges
        .iter()
        .map(|gauge| tokio::time::timeout(LOOK_WITHIN, gauge.look()));
    for (gauge, look) in gauges.iter().zip(futures::future::join_all(looks).await) {
        let why = match look {
            Ok(Ok(_)) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", LOOK_WITHIN.as_secs()),
        };
        blind.push(format!(
            "the pressure cannot be seen at {}: {why}. While that is so, copying and comparing go at no more than {} \
             records a second, unless `throttle.automatic` is false",
            gauge.describe(),
            pressure::Throttle::FLOOR
        ));
    }
    Ok(blind)
}

fn of_operator(records_per_second: u32) -> Limit {
    Limit {
        records_per_second: Some(records_per_second),
        because: None,
    }
}

/// What people are told: whatever slows it down more, or else what the operator allows.
fn told(source: &Allowed, target: &Allowed) -> Option<Limit> {
    let slowed = [source, target]
        .into_iter()
        .filter(|allowed| allowed.because.is_some())
        .min_by_key(|allowed| allowed.records_per_second);
    match slowed {
        Some(allowed) => Some(Limit {
            records_per_second: allowed.records_per_second.map(NonZeroU32::get),
            because: allowed.because.clone(),
        }),
        None => target.records_per_second.map(NonZeroU32::get).map(of_operator),
    }
}

/// The gauge of the cluster's visibility tasks, where the spec says how to read it.
fn cluster(addresses: &[String]) -> Result<Option<Arc<dyn Gauge>>, Problem> {
    if addresses.is_empty() {
        return Ok(None);
    }
    let latency = TaskLatency::of(addresses)
        .map_err(|error| Problem::new(Code::SpecInvalid, error.to_string()).at("throttle.cluster_metrics"))?;
    Ok(Some(Arc::new(ClusterGauge {
        latency: Mutex::new(latency),
    })))
}

struct ClusterGauge {
    latency: Mutex<TaskLatency>,
}

#[async_trait]
impl Gauge for ClusterGauge {
    fn describe(&self) -> String {
        "the cluster's visibility tasks".to_owned()
    }

    async fn look(&self) -> Result<Load, Error> {
        let unreadable = |MetricsError { address, reason }| Error::Failed {
            store: format!("reading the metrics at {address}"),
            reason,
        };
        let latency = self.latency.lock().await.look().await.map_err(unreadable)?;
        let seconds = latency.map_or(0.0, |latency| latency.mean.as_secs_f64());
        let level = if seconds > TOO_SLOW_SECONDS {
            Level::Over
        } else if seconds > SLOW_SECONDS {
            Level::Strained
        } else {
            Level::Calm
        };
        let tasks = latency.map_or(0, |latency| latency.tasks);
        Ok(Load {
            level,
            seen: format!("the last {tasks} visibility tasks of the cluster took {seconds:.1} s on average"),
        })
    }
}
