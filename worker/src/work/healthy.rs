//! What proves that a host is healthy, by that host's own word, and that the cluster can do without it for a restart.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use crossfade_cluster::{
    ConnectSettings, Frontend, TlsSettings,
    admin::Members,
    frontend::VisibilityStores,
    health::{Health, NotServing, Service, ServiceHealth},
    shards::{Shards, ask_history_host},
};
use crossfade_config::StaticConfig;
use crossfade_plan::{
    order::ConfigureHost,
    problem::{Code, Problem},
    settings::HostConfig,
    spec::{self, Host, Spec},
};
use futures::future::{join_all, select_ok};

use super::{beat::Beat, containers, frontend, host_files::read_static, pods};

/// Pause between two looks at what the cluster says of itself.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long a host's own frontend is tried by an address that its certificate need not name.
const BY_ADDRESS: Duration = Duration::from_secs(15);

/// How long a history host has to be in the ring without a shard to be taken for one that the ring gives none, as it may
/// where shards are few. Such a host never says that it serves (1.30.8: service/history/shard/controller_impl.go,
/// acquireShards: readiness takes a shard of its own).
const WITHOUT_SHARDS: Duration = Duration::from_secs(10);

/// The services that have a ring of their own and answer others.
const SERVICES: [(spec::Service, Service); 3] = [
    (spec::Service::Frontend, Service::Frontend),
    (spec::Service::History, Service::History),
    (spec::Service::Matching, Service::Matching),
];

/// Where one of a host's services listens on this machine, by the static config: the first that can be told.
pub(crate) fn listener(host: &Host, config: &StaticConfig) -> Option<SocketAddr> {
    addresses(host, config).into_values().flatten().next()
}

/// Where a host's services answer from this machine: what listens in containers and pods does so at their addresses. Of a host
/// in Kubernetes those services are left out that this machine does not reach.
async fn reached_at(host: &Host, config: &StaticConfig) -> Result<BTreeMap<Service, Vec<SocketAddr>>, Problem> {
    let mut addresses = addresses(host, config);
    let ips = if let Some(workloads) = pods::of(host) {
        pods::addresses(workloads, host).await?
    } else if containers::run(host) {
        let ips = containers::addresses(host).await;
        ips.map_err(|error| Problem::new(Code::RestartFailed, error.to_string()))?
    } else {
        return Ok(addresses);
    };
    for places in addresses.values_mut() {
        let ports: BTreeSet<u16> = places.iter().map(SocketAddr::port).collect();
        *places = ports
            .iter()
            .flat_map(|port| ips.iter().map(|ip| SocketAddr::new(*ip, *port)))
            .collect();
    }
    if pods::of(host).is_some() {
        for (service, places) in &mut addresses {
            let looks = places
                .iter()
                .map(|place| async { pods::is_reached(*place).await.then_some(*place) });
            *places = join_all(looks).await.into_iter().flatten().collect();
            if places.is_empty() {
                tracing::warn!(host = host.name, %service, "no pod is reached from here; that Kubernetes calls them ready has to do");
            }
        }
        addresses.retain(|_, places| !places.is_empty());
    }
    Ok(addresses)
}

/// Where a host's services listen on this machine, by the static config. A service that is told no address chooses one of the
/// machine's own (1.30.8: common/config/localip.go), so there may be more than one place to look at.
fn addresses(host: &Host, config: &StaticConfig) -> BTreeMap<Service, Vec<SocketAddr>> {
    let mut found = BTreeMap::new();
    for service in config.services() {
        let known = SERVICES
            .iter()
            .find(|(planned, known)| known.name() == service.name && host.services.contains(planned));
        let (Some((_, known)), Some(port)) = (known, service.grpc_port) else {
            continue;
        };
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let told = service.bind_on_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok());
        let ips = match told {
            Some(ip) if !ip.is_unspecified() => vec![ip],
            Some(_) => vec![local],
            None if service.bind_on_local_host => vec![local],
            None => own_address().into_iter().chain([local]).collect(),
        };
        found.insert(*known, ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect());
    }
    found
}

/// The address by which this machine reaches others; nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // RFC 5737: an address that is nobody's.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
}

/// Waits until the services that this host shares with others are served by all of those others, so that its restart takes
/// nothing away from clients: never the last frontend, nor a history host while another one is down. The way back is not held
/// up: it may be the cure.
///
/// # Errors
/// [`Code::OthersDown`] when they are not within the time that a restart has.
pub(crate) async fn others_serve(order: &ConfigureHost, beat: &Beat) -> Result<(), Problem> {
    let (spec, host) = (&order.context.spec, &order.host);
    let wanted = shared(order);
    if order.to == HostConfig::Original || wanted.is_empty() {
        return Ok(());
    }
    beat.doing(format!("{}: looking whether the other hosts serve", host.name));
    let until = Instant::now() + host.restart_within.0;
    let frontend = frontend::await_open(spec, host.restart_within.0).await?;
    let addresses = reached_at(host, &read_static(host).await?.config)
        .await
        .map_err(|problem| problem.at(format!("host {}", host.name)))?;
    loop {
        let lacking = match frontend.members().await {
            Ok(members) => {
                let mut lacking = None;
                for (service, others) in &wanted {
                    let itself = serves(spec, *service, &addresses).await;
                    lacking = lacking.or(short(&members, *service, others.len() + usize::from(itself)));
                }
                lacking
            }
            Err(error) if error.is_transient() => Some(error.to_string()),
            Err(error) => {
                tracing::warn!(%error, "the membership rings cannot be asked for; the other hosts are taken to serve");
                None
            }
        };
        let Some(lacking) = lacking else { return Ok(()) };
        if Instant::now() + LOOK_AGAIN >= until {
            let others: Vec<&str> = wanted.values().flatten().map(String::as_str).collect();
            return Err(Problem::new(
                Code::OthersDown,
                format!(
                    "{} is not restarted while another host does not serve ({lacking}; look at {})",
                    host.name,
                    others.join(", ")
                ),
            )
            .at(format!("host {}", host.name)));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The services that this host shares with others, and with which; without those that go down at the same time, of whom nothing
/// is known meanwhile.
fn shared(order: &ConfigureHost) -> BTreeMap<Service, Vec<String>> {
    let (spec, host) = (&order.context.spec, &order.host);
    let stays = |other: &&Host| other.name != host.name && !order.together_with.contains(&other.name);
    SERVICES
        .iter()
        .filter(|(planned, _)| host.services.contains(planned))
        .map(|(planned, known)| {
            let others = spec.cluster.hosts.iter().filter(stays);
            let with_it = others.filter(|other| other.services.contains(planned));
            (*known, with_it.map(|other| other.name.clone()).collect::<Vec<_>>())
        })
        .filter(|(_, others)| !others.is_empty())
        .collect()
}

/// What a ring is short of, if it has fewer than `wanted` members.
fn short(members: &Members, service: Service, wanted: usize) -> Option<String> {
    let there = members.by_service.get(service.name()).map_or(0, Vec::len);
    (there < wanted).then(|| format!("{there} of {wanted} hosts are in the ring of {service}"))
}

/// Whether this host's own service serves now. One that cannot be asked counts as serving: the ring then has to have it.
async fn serves(spec: &Spec, service: Service, addresses: &BTreeMap<Service, Vec<SocketAddr>>) -> bool {
    let can_be_asked = |addresses: &&Vec<SocketAddr>| spec.cluster.tls.is_none() && !addresses.is_empty();
    let Some(addresses) = addresses.get(&service).filter(can_be_asked) else {
        return true;
    };
    let asked = addresses
        .iter()
        .map(|address| Box::pin(await_service(service, *address, Duration::ZERO)));
    select_ok(asked).await.is_ok()
}

async fn await_service(service: Service, address: SocketAddr, within: Duration) -> Result<(), String> {
    let health = ServiceHealth::new(service, &ConnectSettings::plaintext(address.to_string()))
        .map_err(|error| error.to_string())?;
    health
        .await_serving(within)
        .await
        .map(drop)
        .map_err(|error| error.to_string())
}

/// As [`await_service`], but for a history host that is given no shard.
async fn await_service_or_ring(
    service: Service,
    address: SocketAddr,
    frontend: &Frontend,
    within: Duration,
) -> Result<(), String> {
    let settings = ConnectSettings::plaintext(address.to_string());
    let health = ServiceHealth::new(service, &settings).map_err(|error| error.to_string())?;
    let begun = Instant::now();
    let mut without = None;
    loop {
        let last = health.health().await;
        if last == Health::Serving {
            return Ok(());
        }
        let idle =
            service == Service::History && last == Health::NotServing && is_without_shards(&settings, frontend).await;
        without = without.filter(|_| idle).or_else(|| idle.then(Instant::now));
        if without.is_some_and(|since: Instant| since.elapsed() >= WITHOUT_SHARDS) {
            tracing::info!(%address, "the ring gives this history host no shard; it is not waited for any longer");
            return Ok(());
        }
        if begun.elapsed() + LOOK_AGAIN >= within {
            let waited = begun.elapsed();
            let address = address.to_string();
            let not_serving = NotServing {
                service,
                address,
                waited,
                last,
            };
            return Err(not_serving.to_string());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Whether a history host is one of several in the ring, and has no shard.
async fn is_without_shards(settings: &ConnectSettings, frontend: &Frontend) -> bool {
    let (Ok(host), Ok(members)) = (ask_history_host(settings).await, frontend.members().await) else {
        return false;
    };
    let ring = members.by_service.get(Service::History.name());
    host.shards.is_empty() && ring.is_some_and(|ring| ring.len() > 1 && ring.contains(&host.address))
}

/// Every service of the host itself serves, it is in its rings again, the cluster serves, the history shards have settled,
/// and the host's own frontend has the stores of the new config.
pub(crate) async fn prove(order: &ConfigureHost, to: HostConfig) -> Result<(), Problem> {
    let (spec, host) = (&order.context.spec, &order.host);
    let until = Instant::now() + host.restart_within.0;
    let left = || until.saturating_duration_since(Instant::now());
    let down = |message: String| Problem::new(Code::HostDown, message).at(format!("host {}", host.name));
    let addresses = reached_at(host, &read_static(host).await?.config)
        .await
        .map_err(|problem| down(problem.message))?;
    let frontend = frontend::await_open(spec, left())
        .await
        .map_err(|problem| down(problem.message))?;
    let mut own = None;
    for (service, addresses) in &addresses {
        if addresses.is_empty() {
            return Err(down(format!(
                "none of its containers has an address at which {service} could be asked"
            )));
        }
        if *service == Service::Frontend {
            own = own_frontend(spec, addresses, left()).await.map_err(down)?;
        } else if spec.cluster.tls.is_none() {
            // Between services the server speaks its internode TLS, which is not the spec's; there the ring tells.
            let asked = addresses
                .iter()
                .map(|address| Box::pin(await_service_or_ring(*service, *address, &frontend, left())));
            select_ok(asked).await.map_err(|error| down(error.clone()))?;
        }
    }
    // With several hosts another one's frontend may answer behind the spec's address, so only its own is believed.
    let believed = own.or_else(|| (spec.cluster.hosts.len() == 1).then(|| frontend.clone()));
    loop {
        let wrong = match amiss(order, to, &frontend, believed.as_ref()).await {
            Ok(None) => break,
            Ok(Some(wrong)) => wrong,
            // A frontend that has just come up may refuse a call yet.
            Err(error) if error.is_transient() => error.to_string(),
            Err(error) => return Err(down(error.to_string())),
        };
        if left() <= LOOK_AGAIN {
            return Err(down(wrong));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    if host.services.contains(&spec::Service::History) {
        let shards = frontend
            .cluster()
            .await
            .map_err(|error| down(error.to_string()))?
            .history_shards;
        match frontend.await_shards(shards, left()).await {
            Ok(Shards::Settled { by_host }) => {
                tracing::info!(host = host.name, ?by_host, "the history shards have settled")
            }
            Ok(Shards::Unknown { reason }) => {
                tracing::warn!(%reason, "it cannot be seen whether the history shards settle")
            }
            Err(error) => return Err(down(error.to_string())),
        }
    }
    Ok(())
}

/// This host's own frontend, once it serves. `None` where its certificate is not for an address of its own, so that it cannot
/// be asked by itself.
async fn own_frontend(spec: &Spec, addresses: &[SocketAddr], within: Duration) -> Result<Option<Frontend>, String> {
    let mut settings = frontend::settings(spec).map_err(|problem| problem.message)?;
    settings.connect_within = within;
    if let Some(tls) = &mut settings.tls {
        settings.connect_within = within.min(BY_ADDRESS);
        named_as(tls, &spec.cluster.frontend);
    }
    let asked = addresses.iter().map(|address| {
        let settings = settings.to_address(address.to_string());
        Box::pin(async move {
            let frontend = Frontend::connect(&settings).await.map_err(|error| error.to_string())?;
            let serving = frontend.await_serving(settings.connect_within).await;
            serving.map(|_| frontend).map_err(|error| error.to_string())
        })
    });
    match select_ok(asked).await {
        Ok((frontend, _)) => Ok(Some(frontend)),
        Err(error) if spec.cluster.tls.is_some() => {
            tracing::warn!(%error, "this host's own frontend cannot be asked by its address");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Expects of a certificate what the spec's own address has it say, where it does not say otherwise.
fn named_as(tls: &mut TlsSettings, frontend: &str) {
    let address = frontend.split_once("://").map_or(frontend, |(_, address)| address);
    let name = address.rsplit_once(':').map_or(address, |(name, _)| name);
    tls.server_name.get_or_insert_with(|| name.to_owned());
}

/// What is not yet as it is to be, in the rings or in the stores that the host's own frontend has.
async fn amiss(
    order: &ConfigureHost,
    to: HostConfig,
    frontend: &Frontend,
    believed: Option<&Frontend>,
) -> Result<Option<String>, crossfade_cluster::CallError> {
    if let Some(believed) = believed {
        let stores = believed.cluster().await?.visibility;
        if let Some(wrong) = wrong_stores(to, &stores) {
            return Ok(Some(wrong));
        }
    }
    let wanted = shared(order);
    if to == HostConfig::Original || wanted.is_empty() {
        return Ok(None);
    }
    let members = match frontend.members().await {
        Err(error) if !error.is_transient() => return Ok(None),
        members => members?,
    };
    Ok(wanted
        .iter()
        .find_map(|(service, others)| short(&members, *service, others.len() + 1)))
}

/// What is wrong with the stores that a frontend has, for a host that is to have config `to`.
fn wrong_stores(to: HostConfig, stores: &VisibilityStores) -> Option<String> {
    let wrong = match (to, &stores.secondary) {
        (HostConfig::Dual | HostConfig::Warm, None) => "no secondary Visibility store",
        (HostConfig::Original | HostConfig::Promoted, Some(_)) => "still a secondary Visibility store",
        _ => return None,
    };
    let stores = std::iter::once(&stores.primary).chain(&stores.secondary);
    let stores: Vec<&str> = stores.map(String::as_str).collect();
    Some(format!(
        "the frontend reports {wrong} after the restart ({})",
        stores.join(", ")
    ))
}
