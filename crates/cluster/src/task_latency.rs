//! How long the cluster's own visibility tasks take, from its history hosts' metrics.
//!
//! `task_latency_queue` is the time from a task's making to its end (1.30.8: service/history/queues/executable.go, `Ack`),
//! with the task's type as label `task_type`, up to 1.22 as `operation` alone. Its unit depends on the server's settings:
//! seconds by the tally framework, milliseconds or seconds by OpenTelemetry, with the unit in the name or without
//! (common/metrics/config.go), so that the buckets have to tell where the name does not.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Client, Url};

/// The metric, without the prefix and the unit that a server may be told to add.
const METRIC: &str = "task_latency_queue";

/// What types of visibility tasks begin with (common/metrics/metric_defs.go).
const VISIBILITY: &str = "VisibilityTask";

/// How long a host has to answer.
const WITHIN: Duration = Duration::from_secs(5);

/// Where buckets in milliseconds reach beyond, and buckets in seconds never (the default ends at 1,000 s, 1.30.8:
/// common/metrics/config.go).
const MILLISECONDS_BEYOND: f64 = 5_000.0;

/// Why the metrics of a host cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the metrics at {address} cannot be read: {reason}")]
pub struct MetricsError {
    /// Where.
    pub address: String,
    /// Why.
    pub reason: String,
}

/// What visibility tasks took since the last look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// From a task's making to its end, on average.
    pub mean: Duration,
    /// How many ended.
    pub tasks: u64,
}

/// Watches the visibility tasks of some history hosts.
#[derive(Debug)]
pub struct TaskLatency {
    client: Client,
    hosts: Vec<Host>,
}

#[derive(Debug)]
struct Host {
    address: Url,
    before: Option<Totals>,
}

/// All that ended since a host started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Totals {
    seconds: f64,
    tasks: f64,
}

impl TaskLatency {
    /// Watches the metrics at these addresses, such as `http://127.0.0.1:9090/metrics`: those of the history hosts.
    ///
    /// # Errors
    /// When one is no address, or no client can be made.
    pub fn of(addresses: &[String]) -> Result<Self, MetricsError> {
        let failed = |address: &str, reason: String| MetricsError {
            address: address.to_owned(),
            reason,
        };
        let client = Client::builder().timeout(WITHIN).build();
        let hosts = addresses.iter().map(|address| {
            let parsed = Url::parse(address).map_err(|error| failed(address, error.to_string()))?;
            Ok(Host {
                address: parsed,
                before: None,
            })
        });
        Ok(Self {
            client: client.map_err(|error| failed(&addresses.join(", "), error.to_string()))?,
            hosts: hosts.collect::<Result<_, MetricsError>>()?,
        })
    }

    /// What ended since the last look; `None` when nothing did, and at the first look.
    ///
    /// # Errors
    /// When a host does not answer, or what it answers are no metrics of a Temporal server.
    pub async fn look(&mut self) -> Result<Option<Latency>, MetricsError> {
        let mut since = Totals::default();
        for host in &mut self.hosts {
            let failed = |reason: String| MetricsError {
                address: host.address.to_string(),
                reason,
            };
            let answer = self.client.get(host.address.clone()).send().await;
            let answer = answer.and_then(reqwest::Response::error_for_status);
            let answer = answer.map_err(|error| failed(error.without_url().to_string()))?;
            let text = answer
                .text()
                .await
                .map_err(|error| failed(error.without_url().to_string()))?;
            let now = totals(&text).map_err(failed)?;
            let before = host.before.replace(now);
            // A host that was restarted counts from 0 again.
            if let Some(before) = before.filter(|before| before.tasks <= now.tasks) {
                since.seconds += now.seconds - before.seconds;
                since.tasks += now.tasks - before.tasks;
            }
        }
        Ok((since.tasks >= 1.0).then(|| Latency {
            mean: Duration::try_from_secs_f64(since.seconds / since.tasks).unwrap_or_default(),
            tasks: since.tasks as u64,
        }))
    }
}

/// Adds up what a host tells of visibility tasks. None at all is right for a host that has just started, or has no shard.
fn totals(text: &str) -> Result<Totals, String> {
    let mut totals = Totals::default();
    let mut longest: BTreeMap<&str, f64> = BTreeMap::new();
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    let mut lines = 0_u64;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, labels, value)) = sample(line) else {
            continue;
        };
        lines += 1;
        let Some((metric, of)) = name.rsplit_once('_').filter(|(metric, _)| metric.contains(METRIC)) else {
            continue;
        };
        if !label(labels, "task_type")
            .or_else(|| label(labels, "operation"))
            .is_some_and(|of| of.starts_with(VISIBILITY))
        {
            continue;
        }
        match of {
            "sum" => *sums.entry(metric).or_default() += value,
            "count" => totals.tasks += value,
            "bucket" => {
                let bound = label(labels, "le").and_then(|bound| bound.parse::<f64>().ok());
                let bound = bound.filter(|bound| bound.is_finite()).unwrap_or_default();
                let longest = longest.entry(metric).or_default();
                *longest = longest.max(bound);
            }
            _ => {}
        }
    }
    if lines == 0 {
        return Err("there is no metric in the answer; name the address of a history host's metrics".to_owned());
    }
    for (metric, sum) in sums {
        let in_milliseconds = metric.ends_with("_milliseconds")
            || (!metric.ends_with("_seconds") && longest.get(metric).is_some_and(|bound| *bound > MILLISECONDS_BEYOND));
        totals.seconds += if in_milliseconds { sum / 1_000.0 } else { sum };
    }
    Ok(totals)
}

/// A line's name, labels and value.
fn sample(line: &str) -> Option<(&str, &str, f64)> {
    let (named, value) = match line.rfind('}') {
        Some(end) => line.split_at(end + 1),
        None => line.split_once(' ')?,
    };
    // A time stamp may follow.
    let value = value.split_whitespace().next()?.parse().ok()?;
    let (name, labels) = named.split_once('{').unwrap_or((named, ""));
    Some((name, labels.trim_end_matches('}'), value))
}

/// The value of a label. No value that is looked for has a quote in it.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let start = labels.match_indices(name).find_map(|(at, _)| {
        let begins = at == 0 || labels[..at].ends_with([',', ' ']);
        let rest = labels[at + name.len()..].strip_prefix("=\"")?;
        begins.then_some(rest)
    })?;
    start.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_visibility_tasks_count_whatever_the_unit() {
        let line = |name: &str, labels: &str, value: &str| format!("{name}{{{labels}}} {value}\n");
        let task =
            r#"namespace="a,b",operation="VisibilityTaskStartExecution",task_type="VisibilityTaskStartExecution""#;
        let old = r#"operation="VisibilityTaskCloseExecution",namespace="x""#;
        let other = r#"task_type="TransferActiveTaskActivity",operation="VisibilityTask""#;
        let seconds = [
            "# HELP task_latency_queue it\n".to_owned(),
            line("task_latency_queue_bucket", &format!("{task},le=\"1000\""), "4"),
            line("task_latency_queue_bucket", &format!("{task},le=\"+Inf\""), "4"),
            line("task_latency_queue_sum", task, "6.5"),
            line("task_latency_queue_count", task, "4"),
            line("task_latency_queue_sum", old, "1.5 1700000000000"),
            line("task_latency_queue_count", old, "1 1700000000000"),
            line("task_latency_queue_sum", other, "1000"),
            line("task_latency_queue_count", other, "1"),
            "restarts 1\n".to_owned(),
        ];
        let expected = Totals {
            seconds: 8.0,
            tasks: 5.0,
        };
        assert_eq!(totals(&seconds.concat()), Ok(expected));
        let named = [
            line("temporal_task_latency_queue_milliseconds_sum", task, "8000"),
            line("temporal_task_latency_queue_milliseconds_count", task, "5"),
        ];
        assert_eq!(totals(&named.concat()), Ok(expected));
        let by_buckets = [
            line("task_latency_queue_bucket", &format!("{task},le=\"1e+06\""), "5"),
            line("task_latency_queue_sum", task, "8000"),
            line("task_latency_queue_count", task, "5"),
        ];
        assert_eq!(totals(&by_buckets.concat()), Ok(expected));
        assert_eq!(totals("restarts 1\n"), Ok(Totals::default()));
        for no_metrics in ["", "<html>no</html>", "# HELP nothing\n"] {
            assert!(totals(no_metrics).is_err(), "{no_metrics}");
        }
    }
}
