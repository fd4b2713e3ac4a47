//! Which host of a cluster listens where.

use anyhow::{Context, Result};

use super::balancer::Balancer;
use super::ports::free_ports;
use super::temporal::{HostPlan, SERVICES};

/// The ports of one host's services on 127.0.0.1, and the one at which the cluster's clients ask.
#[derive(Debug, Clone)]
pub(super) struct Ports {
    /// Where clients ask: the only frontend, or what spreads them over several.
    pub(super) clients: u16,
    pub(super) frontend: u16,
    pub(super) http: u16,
    pub(super) history: u16,
    pub(super) matching: u16,
    pub(super) worker: u16,
    pub(super) membership: [u16; 4],
}

/// Each host's ports and where its metrics are. Hosts that run the same service have ports of their own for everything,
/// else all files name the same ones, as files do that come out of one template.
pub(super) async fn ports(hosts: &[HostPlan]) -> Result<(Vec<(Ports, u16)>, Option<Balancer>)> {
    let runs = |service: &str| hosts.iter().filter(|host| host.services.contains(&service)).count();
    let is_fleet = SERVICES.iter().any(|service| runs(service) > 1);
    let free = free_ports(1 + 10 * hosts.len())?;
    let mut each: Vec<(Ports, u16)> = free[1..]
        .chunks_exact(10)
        .map(|own| {
            let ports = if is_fleet { own } else { &free[1..] };
            let named = Ports {
                clients: ports[0],
                frontend: ports[0],
                http: ports[1],
                history: ports[2],
                matching: ports[3],
                worker: ports[4],
                membership: [ports[5], ports[6], ports[7], ports[8]],
            };
            (named, own[9])
        })
        .collect();
    let frontends: Vec<u16> = hosts
        .iter()
        .zip(&each)
        .filter(|(host, _)| host.services.contains(&"frontend"))
        .map(|(_, (ports, _))| ports.frontend)
        .collect();
    let balancer = match frontends.len() {
        0 | 1 => None,
        _ => Some(Balancer::listen(free[0], frontends.clone()).await?),
    };
    let clients = balancer.as_ref().map_or(frontends.first().copied(), |_| Some(free[0]));
    for (ports, _) in &mut each {
        ports.clients = clients.context("a cluster has a frontend")?;
    }
    Ok((each, balancer))
}
