//! What this worker does, for Prometheus: on loopback, when asked for.
//!
//! The SDK's own exporter serves both its metrics (`temporal_...`: pollers, slots, latencies) and ours. Ours are what
//! activities tell by their heartbeats, so that whatever a heartbeat can show, a dashboard can.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
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
                "The most records a second that a running activity may write; 0 is no limit",
            ),
            throttled: gauge(
                "crossfade_throttled",
                "1 while the pressure on a store or on the cluster slows a running activity down",
            ),
            meter,
        }
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
    before: Heartbeat,
}

impl Counted {
    /// What an earlier attempt did was counted by whoever did it.
    pub(crate) fn from(activity: &str, before: Heartbeat) -> Self {
        let served = SERVED.get().map(|meters| {
            let labels = NewAttributes::new(vec![MetricKeyValue::new("activity", activity.to_owned())]);
            (meters, meters.meter.new_attributes(labels))
        });
        Self { served, before }
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
        let per_second = limit.and_then(|limit| limit.records_per_second).unwrap_or(0);
        meters.limit.record(u64::from(per_second), labels);
        let throttled = limit.is_some_and(|limit| limit.because.is_some());
        meters.throttled.record(u64::from(throttled), labels);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // An activity that has ended holds nothing back.
        if let Some((meters, labels)) = &self.served {
            meters.limit.record(0, labels);
            meters.throttled.record(0, labels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::loopback;

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
