//! Waves: which hosts go down at the same time.
//!
//! With `max_unavailable: 1` each host is a wave of its own. With more a wave has up to that many hosts, unless a rule stops it
//! short. The rules look at the hosts of the spec alone, so that the plan can show what the workflow will do.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Host, Service, Spec};

/// How the hosts are restarted, one after another or some at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollingRestart {
    /// How many hosts may be down for a restart at the same time. Fewer are where a service would be left without a host that
    /// serves; of the history hosts never more than one, or a third of them, are; and hosts with a frontend go down only with
    /// others that have one, after all the rest. The plan shows which hosts go down together.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000))]
    pub max_unavailable: u32,
}

impl RollingRestart {
    /// Whether nothing else was asked for.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for RollingRestart {
    fn default() -> Self {
        Self { max_unavailable: one() }
    }
}

const fn one() -> u32 {
    1
}

/// The most of a service's hosts that may be down at the same time. One always may, or nothing could ever be restarted.
///
/// The history hosts that stay take the shards of those that go, each shard loaded anew: with at most a third gone every other
/// one has at most half as much again to bear, and two moves of the ring (there, and back) instead of many. Any other service
/// keeps nothing that would have to move, so that one host that serves will do.
fn most(service: Service, hosts: usize) -> usize {
    let most = match service {
        Service::History => hosts / 3,
        Service::Worker | Service::Matching | Service::Frontend | Service::InternalFrontend => hosts.saturating_sub(1),
    };
    most.max(1)
}

/// Whether clients are connected to a host: it goes down after all the rest.
fn serves_clients(host: &Host) -> bool {
    host.services.contains(&Service::Frontend) || host.services.contains(&Service::InternalFrontend)
}

impl Spec {
    /// The hosts in the order in which they are restarted, those together that are down at the same time: as many as
    /// `cluster.restart.max_unavailable` allows, but
    ///
    /// - never all hosts of a service; and one that has a service alone goes down alone, since clients wait for it;
    /// - of the history hosts never more than one, or a third of them;
    /// - a host with a frontend only with others that have one, after all the rest: the clients of a frontend that goes connect
    ///   to another one, which then is to find history and matching at rest.
    pub fn waves(&self) -> Vec<Vec<&Host>> {
        let at_once = usize::try_from(self.cluster.restart.max_unavailable).unwrap_or(usize::MAX);
        let mut of_service: BTreeMap<Service, usize> = BTreeMap::new();
        for service in self.cluster.hosts.iter().flat_map(|host| &host.services) {
            *of_service.entry(*service).or_default() += 1;
        }
        let hosts_of = |service: &Service| of_service.get(service).copied().unwrap_or_default();
        let is_alone = |host: &Host| host.services.iter().any(|service| hosts_of(service) == 1);
        let fits = |wave: &[&Host], host: &Host| {
            let keeps_a_host = host.services.iter().all(|service| {
                let down = wave.iter().filter(|other| other.services.contains(service)).count();
                down < most(*service, hosts_of(service))
            });
            let are_alike = wave
                .iter()
                .all(|other| serves_clients(other) == serves_clients(host) && !is_alone(other));
            wave.is_empty() || (wave.len() < at_once && keeps_a_host && are_alike && !is_alone(host))
        };
        let mut left = self.hosts_in_order();
        let mut waves = Vec::new();
        while !left.is_empty() {
            let mut wave: Vec<&Host> = Vec::new();
            left.retain(|host| {
                let goes = fits(&wave, host);
                if goes {
                    wave.push(host);
                }
                !goes
            });
            waves.push(wave);
        }
        waves
    }

    /// What the operator asked for and does not get of `max_unavailable`, with why.
    pub(crate) fn lowered(&self) -> Option<String> {
        let asked = self.cluster.restart.max_unavailable;
        let largest = self.waves().iter().map(Vec::len).max().unwrap_or_default();
        if asked == 1 || u32::try_from(largest).is_ok_and(|largest| largest >= asked) {
            return None;
        }
        let together = match largest {
            0 | 1 => "each host goes down by itself".to_owned(),
            _ => format!("at most {largest} hosts go down together"),
        };
        Some(format!(
            "cluster.restart.max_unavailable is {asked}, and {together}: each service keeps a host that serves, of the history \
             hosts one is down at a time, or a third of them, a host that has a service alone goes by itself, and hosts with a \
             frontend go after all others and only with each other"
        ))
    }
}
