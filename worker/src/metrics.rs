//! What this worker does, for Prometheus: on loopback, when asked for.
//!
//! The SDK's own exporter serves both its metrics (`temporal_...`: pollers, slots, latencies) and ours. Ours are what
//! activities tell by their heartbeats, so that whatever a heartbeat can show, a dashboard can.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use crossfade_plan::order::Heartbeat;
use temporalio_common::telemetry::{
    PrometheusExporterOptions, TelemetryOptions,
    metrics::{CoreMeter, Counter, Gauge, MetricAttributes, MetricKeyValue, MetricParameters, NewAttributes},
    start_prometheus_metric_exporter,
};
use temporalio_sdk::runtime::RuntimeOptions;

/// The instruments, once they are served.
static SERVED: OnceLock<Meters> = OnceLock::new();

struct Meters {
    meter: Arc<dyn CoreMeter>,
    read: Counter,
    written: Counter,
    withdrawn: Counter,
    repaired: Counter,
    refreshed: Counter,
    drift: Counter,
    limit: Gauge,
    throttled: Gauge,
    under_way: Mutex<UnderWay>,
}

/// What holds each activity back that is under way: several slices of one kind share a gauge.
#[derive(Default)]
struct UnderWay {
    begun: u64,
    held: BTreeMap<u64, Held>,
}

/// What holds one activity back.
#[derive(Default)]
struct Held {
    activity: String,
    /// The most records a second; unlimited when absent.
    limit: Option<u32>,
    /// Whether pressure is why.
    throttled: bool,
}

impl UnderWay {
    fn begin(&mut self, activity: &str) -> u64 {
        self.begun += 1;
        let held = Held {
            activity: activity.to_owned(),
            ..Held::default()
        };
        self.held.insert(self.begun, held);
        self.begun
    }

    /// What all activities of a kind may do together, 0 where one of them is not limited or none is under way; and how
    /// many of them are slowed down.
    fn together(&self, activity: &str) -> (u64, u64) {
        let of_kind = || self.held.values().filter(|held| held.activity == activity);
        let limits: Option<Vec<u64>> = of_kind().map(|held| held.limit.map(u64::from)).collect();
        let throttled = of_kind().filter(|held| held.throttled).count();
        (limits.unwrap_or_default().into_iter().sum(), throttled as u64)
    }
}

impl Meters {
    fn new(meter: Arc<dyn CoreMeter>) -> Self {
        let named = |name: &'static str, description: &'static str| {
            MetricParameters::builder().name(name).description(description).build()
        };
        let counter = |name, description| meter.counter(named(name, description));
        let gauge = |name, description| meter.gauge(named(name, description));
        Self {
            read: counter("crossfade_records_read", "Records looked at"),
            written: counter("crossfade_records_written", "Records written to the target by a copy"),
            withdrawn: counter(
                "crossfade_records_withdrawn",
                "Copied records removed again because the source lost them meanwhile",
            ),
            repaired: counter("crossfade_records_repaired", "Records put right by a comparison"),
            refreshed: counter(
                "crossfade_executions_refreshed",
                "Executions whose records the server wrote anew",
            ),
            drift: counter(
                "crossfade_records_drifted",
                "Records that differed when they were read again",
            ),
            limit: gauge(
                "crossfade_records_per_second_limit",
                "The most records a second that the running activities may write together; 0 is no limit",
            ),
            throttled: gauge(
                "crossfade_throttled",
                "How many running activities the pressure on a store or on the cluster slows down",
            ),
            under_way: Mutex::default(),
            meter,
        }
    }

    /// Has the gauges show what `change` makes of the activities under way.
    fn hold(&self, activity: &str, labels: &MetricAttributes, change: impl FnOnce(&mut UnderWay)) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut under_way);
        let (limit, throttled) = under_way.together(activity);
        self.limit.record(limit, labels);
        self.throttled.record(throttled, labels);
    }
}

/// An address that only this machine reaches.
///
/// # Errors
/// What was expected, for anything else.
pub(crate) fn loopback(text: &str) -> Result<SocketAddr, String> {
    let expected = "expected an address of this machine alone and a port, such as 127.0.0.1:9464";
    let port_alone = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let address = match text.parse::<u16>() {
        Ok(port) => port_alone(port),
        Err(_) => text
            .parse()
            .map_err(|_| format!("`{text}` is not an address; {expected}"))?,
    };
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(format!(
            "{address} can be reached from other machines; {expected}, and fetch it from this machine"
        ))
    }
}

/// Serves at `address`, and gives the options of a runtime that counts there.
///
/// # Errors
/// When nothing can listen there.
pub(crate) fn serve(address: SocketAddr) -> anyhow::Result<RuntimeOptions> {
    let options = PrometheusExporterOptions::builder()
        .socket_addr(address)
        .counters_total_suffix(true)
        .unit_suffix(true)
        .use_seconds_for_durations(true)
        .build();
    let served = start_prometheus_metric_exporter(options)
        .map_err(|error| anyhow::anyhow!("metrics cannot be served at {address}: {error}; name another port"))?;
    tracing::info!(address = %format!("http://{}/metrics", served.bound_addr), "serving metrics");
    let meter: Arc<dyn CoreMeter> = served.meter;
    SERVED.get_or_init(|| Meters::new(meter.clone()));
    let telemetry = TelemetryOptions::builder().metrics(meter).build();
    RuntimeOptions::builder()
        .telemetry_options(telemetry)
        .build()
        .map_err(|why| anyhow::anyhow!("metrics: {why}"))
}

/// Counts one activity's work, from the heartbeat that it began with.
pub(crate) struct Counted {
    served: Option<(&'static Meters, MetricAttributes)>,
    activity: String,
    /// Among those under way.
    number: u64,
    before: Heartbeat,
}

impl Counted {
    /// What an earlier attempt did was counted by whoever did it.
    pub(crate) fn from(activity: &str, before: Heartbeat) -> Self {
        let served = SERVED.get().map(|meters| {
            let labels = NewAttributes::new(vec![MetricKeyValue::new("activity", activity.to_owned())]);
            (meters, meters.meter.new_attributes(labels))
        });
        let mut number = 0;
        if let Some((meters, labels)) = &served {
            meters.hold(activity, labels, |under_way| number = under_way.begin(activity));
        }
        Self {
            served,
            activity: activity.to_owned(),
            number,
            before,
        }
    }

    /// Adds what was done since.
    pub(crate) fn add(&mut self, now: &Heartbeat) {
        let Some((meters, labels)) = &self.served else { return };
        let before = std::mem::replace(&mut self.before, now.clone());
        let drift = |heartbeat: &Heartbeat| {
            let drift = heartbeat.drift;
            drift.missing + drift.stale + drift.different + drift.extra
        };
        for (counter, before, now) in [
            (&meters.read, before.scanned, now.scanned),
            (&meters.written, before.written, now.written),
            (&meters.withdrawn, before.withdrawn, now.withdrawn),
            (&meters.repaired, before.repaired, now.repaired),
            (&meters.refreshed, before.refreshed, now.refreshed),
            (&meters.drift, drift(&before), drift(now)),
        ] {
            counter.add(now.saturating_sub(before), labels);
        }
        let limit = now.limit.as_ref();
        meters.hold(&self.activity, labels, |under_way| {
            if let Some(held) = under_way.held.get_mut(&self.number) {
                held.limit = limit.and_then(|limit| limit.records_per_second);
                held.throttled = limit.is_some_and(|limit| limit.because.is_some());
            }
        });
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // An activity that has ended holds nothing back.
        if let Some((meters, labels)) = &self.served {
            meters.hold(&self.activity, labels, |under_way| {
                drop(under_way.held.remove(&self.number))
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{UnderWay, loopback};

    #[test]
    fn slices_of_one_process_are_told_together() {
        let mut under_way = UnderWay::default();
        assert_eq!(under_way.together("copy"), (0, 0), "none under way");
        let (first, second) = (under_way.begin("copy"), under_way.begin("copy"));
        let other = under_way.begin("compare");
        let hold = |under_way: &mut UnderWay, number, limit, throttled| {
            let held = under_way.held.get_mut(&number).expect("one under way");
            (held.limit, held.throttled) = (limit, throttled);
        };
        hold(&mut under_way, first, Some(300), true);
        assert_eq!(under_way.together("copy"), (0, 1), "the second one is not limited");
        hold(&mut under_way, second, Some(200), true);
        hold(&mut under_way, other, Some(7), false);
        assert_eq!(under_way.together("copy"), (500, 2));
        assert_eq!(under_way.together("compare"), (7, 0));
        under_way.held.remove(&first);
        assert_eq!(
            under_way.together("copy"),
            (200, 1),
            "what has ended holds nothing back"
        );
    }

    #[test]
    fn only_this_machine_is_served() {
        for (text, address) in [
            ("127.0.0.1:9464", Some("127.0.0.1:9464")),
            ("[::1]:9464", Some("[::1]:9464")),
            ("9464", Some("127.0.0.1:9464")),
            ("0.0.0.0:9464", None),
            ("192.168.0.7:9464", None),
            ("localhost", None),
            ("", None),
            ("127.0.0.1", None),
        ] {
            let read = loopback(text).map(|address| address.to_string());
            assert_eq!(read.as_deref().ok(), address, "{read:?}");
            if let Err(why) = read {
                assert!(why.contains("such as 127.0.0.1:9464"), "{why}");
            }
        }
    }
}
