//! Facts in words.

use std::collections::BTreeMap;
use std::time::Duration;

use crossfade_plan::progress::Status;
use crossfade_plan::stage::{Gate, Stage};
use e2e::testbed::Store;
use indicatif::HumanCount;

/// `1234567` as `1,234,567`.
pub(super) fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

/// A length of time: `4.2 s`, `1 min 12 s`.
pub(super) fn span(length: Duration) -> String {
    match length.as_secs() {
        0..60 => format!("{:.1} s", length.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// A store as people call it.
pub(super) fn store(store: &Store) -> String {
    match store {
        Store::Sqlite { file } => format!("SQLite ({})", file.display()),
        Store::Postgres { port, database } => format!("PostgreSQL (127.0.0.1:{port}/{database})"),
        Store::Elasticsearch { url, index } => format!("Elasticsearch ({url}/{index})"),
        Store::Cassandra { port, keyspace } => format!("Cassandra (127.0.0.1:{port}/{keyspace})"),
    }
}

/// `400 completed, 100 failed, ...`, the most frequent first.
pub(super) fn statuses(summary: &BTreeMap<String, usize>) -> String {
    let mut counts: Vec<(&String, &usize)> = summary.iter().collect();
    counts.sort_by(|one, other| other.1.cmp(one.1));
    let parts: Vec<String> = counts
        .into_iter()
        .map(|(status, number)| {
            let status = match status.as_str() {
                "Running" => "open",
                "ContinuedAsNew" => "continued as new",
                "TimedOut" => "timed out",
                "Canceled" => "cancelled",
                other => &other.to_lowercase(),
            };
            format!("{} {status}", count(*number as u64))
        })
        .collect();
    parts.join(", ")
}

/// What a gate keeps closed.
pub(super) fn gate(gate: Gate) -> &'static str {
    match gate {
        Gate::PrepareTarget => "before the target's schema is touched",
        Gate::DualWrite => "before the first file of the cluster is edited",
        Gate::ExistingRecords => "before records are copied",
        Gate::Verify => "before the comparison",
        Gate::Cutover => "before reads move to the new store",
        Gate::Promote => "before the point of no return",
        Gate::Finish => "before the last check",
    }
}

/// What a finished stage achieved.
pub(super) fn achieved(stage: Stage, status: &Status) -> String {
    let copied = &status.copy.copied;
    match stage {
        Stage::Preflight => "looked at everything, changed nothing; the plan is made".to_owned(),
        Stage::PrepareTarget => "the new store is ready".to_owned(),
        Stage::DualWrite => "the server writes both stores, proven on every history shard".to_owned(),
        Stage::ExistingRecords => {
            let refreshed = match status.refresh.refreshed.refreshed {
                0 => String::new(),
                refreshed => format!(" {} refreshed from the cluster's own state,", count(refreshed)),
            };
            format!(
                "{} records looked at,{refreshed} {} copied",
                count(copied.scanned),
                count(copied.written)
            )
        }
        Stage::Verify => format!(
            "{} records compared, {} repaired: {}",
            count(status.verify.compared),
            count(status.verify.repaired),
            status.verify.drift
        ),
        Stage::Cutover => "the frontend reads the new store, proven".to_owned(),
        Stage::Promote => "the new store is the only one".to_owned(),
        Stage::Finish => "checked once more".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_well() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(span(Duration::from_millis(4_249)), "4.2 s");
        assert_eq!(span(Duration::from_secs(72)), "1 min 12 s");
        let summary = BTreeMap::from([("Running".to_owned(), 50), ("Completed".to_owned(), 1_400)]);
        assert_eq!(statuses(&summary), "1,400 completed, 50 open");
    }
}
