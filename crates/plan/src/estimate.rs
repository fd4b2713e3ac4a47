//! How long a migration takes, roughly: what an operator wants to know before asking for a window.

use serde::{Deserialize, Serialize};

use crate::{
    existing::{COPIED_A_SECOND, Means, REFRESHED_A_SECOND},
    period::Period,
    plan::NamespacePlan,
    spec::{Host, Spec},
};

/// Records a second that a comparison is taken to read from both stores, in the same way.
const COMPARED_A_SECOND: u64 = 5_000;
/// What a host's restart is taken to last until it is proven healthy, in seconds.
const RESTART_SECONDS: u64 = 20;

/// How long each part takes, in seconds, without the time that gates wait for approvals.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Estimate {
    /// Waiting until changes of the dynamic config are read everywhere.
    pub dynamic_config: u64,
    /// How often a host is restarted, all hosts together.
    pub restarts: u64,
    /// Those restarts.
    pub restarting: u64,
    /// The longest that those restarts may take, by the hosts' `restart_within`.
    pub restarting_at_most: u64,
    /// Refreshing existing records from the cluster's own state.
    #[serde(default)]
    pub refreshing: u64,
    /// Copying the existing records.
    pub copying: u64,
    /// Comparing every record, once for verify and once for promote.
    pub comparing: u64,
    /// The longest Retention Period, where it is waited for; open executions may make it longer.
    pub retention_wait: u64,
    /// Soaking.
    pub soaking: u64,
}

impl Estimate {
    /// The estimate for `records` records in these Namespaces.
    pub fn of(spec: &Spec, records: u64, namespaces: &[NamespacePlan], poll_seconds: u64) -> Self {
        let in_turn = !spec.cutover.namespaces_first.is_empty();
        // off and false, dual, reads, and the keys' removal.
        let changes = 4 + u64::from(in_turn);
        // Once to add the target, once to promote it.
        let restarts = 2 * spec.cluster.hosts.len() as u64;
        let waves = spec.waves();
        let longest_of = |wave: &[&Host]| wave.iter().map(|host| host.restart_within.0.as_secs()).max();
        let within: u64 = waves.iter().filter_map(|wave| longest_of(wave)).sum();
        let rate = spec
            .records_per_second
            .map_or(COPIED_A_SECOND, |rate| COPIED_A_SECOND.min(rate.max(1).into()));
        let refreshed_a_second = u64::from(spec.records_per_second.unwrap_or(REFRESHED_A_SECOND)).max(1);
        let longest = namespaces
            .iter()
            .map(|namespace| namespace.retention_seconds)
            .max()
            .unwrap_or_default();
        let backfill = spec.existing_records.backfills();
        let wait = spec.existing_records.waits();
        Self {
            dynamic_config: changes * poll_seconds,
            restarts,
            restarting: 2 * waves.len() as u64 * RESTART_SECONDS,
            restarting_at_most: 2 * within,
            refreshing: refreshed(namespaces).div_ceil(refreshed_a_second),
            copying: if backfill { records.div_ceil(rate) } else { 0 },
            comparing: 2 * records.div_ceil(COMPARED_A_SECOND),
            retention_wait: if wait { longest } else { 0 },
            soaking: spec.cutover.soak.0.as_secs() * (1 + u64::from(in_turn)),
        }
    }

    /// All parts together, in seconds.
    pub fn total(&self) -> u64 {
        self.dynamic_config
            + self.restarting
            + self.refreshing
            + self.copying
            + self.comparing
            + self.retention_wait
            + self.soaking
    }

    /// In words, a line for each part that takes any time, the sum first.
    pub fn lines(&self) -> Vec<String> {
        let part = |seconds: u64, what: String| (seconds > 0).then(|| format!("{} {what}", Period::from_secs(seconds)));
        let at_most = Period::from_secs(self.restarting_at_most);
        let parts = [
            part(
                self.dynamic_config,
                "until changes of the dynamic config are read everywhere".to_owned(),
            ),
            part(
                self.restarting,
                format!(
                    "for {} restarts (at most {at_most}, then they count as failed)",
                    self.restarts
                ),
            ),
            part(
                self.refreshing,
                "for refreshing existing records from the cluster's own state".to_owned(),
            ),
            part(self.copying, "for copying existing records".to_owned()),
            part(self.comparing, "for comparing every record twice".to_owned()),
            part(
                self.retention_wait,
                "for the longest Retention Period, longer while executions stay open".to_owned(),
            ),
            part(self.soaking, "for soaking".to_owned()),
        ];
        let total = format!(
            "about {}, without the time that gates wait",
            Period::from_secs(self.total())
        );
        std::iter::once(total).chain(parts.into_iter().flatten()).collect()
    }
}

/// The executions that are refreshed if the target lacks all of them.
fn refreshed(namespaces: &[NamespacePlan]) -> u64 {
    namespaces
        .iter()
        .flat_map(|namespace| {
            let existing = &namespace.existing;
            [(existing.open, namespace.open), (existing.closed, namespace.closed)]
        })
        .filter(|(means, _)| *means == Means::Refresh)
        .map(|(_, records)| records)
        .sum()
}
