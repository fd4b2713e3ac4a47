//! The containers of a Docker Compose project, asked for and restarted through the Docker Engine's own API.
//!
//! Compose marks its containers by labels (compose/pkg/api/labels.go, the same since 1.6): the project, the service, the
//! number within the service, and whether it is one of `docker compose run`. They are all that is needed: no compose file
//! is read, and what `docker compose up` would change meanwhile is not changed.
//!
//! A mounted *folder* shows a file's new content at once. A mounted *file* goes on showing the old one until the
//! container is restarted, because an atomic edit puts a new file in its place and the mount holds the old one. So a
//! config file may be mounted alone, and a dynamic config file, which a running server has to read again, may not.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::errors::Error as EngineError;
use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerSummary, HealthStatusEnum,
};
use bollard::query_parameters::{
    InspectContainerOptions, ListContainersOptionsBuilder, RestartContainerOptionsBuilder,
};

use crate::incarnation::Incarnation;

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const NUMBER: &str = "com.docker.compose.container-number";
const ONE_OFF: &str = "com.docker.compose.oneoff";

/// Pause between two looks at a container that comes up.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a container without a health check must stay up to count as up: one that ends at once, for a config that it
/// does not like, is started again by its restart policy and looks up in between.
const STAYS_UP: Duration = Duration::from_secs(2);

/// The bound of one call that answers at once.
const CALL: Duration = Duration::from_secs(10);

/// Services of a Compose project on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compose {
    /// The project's name, as `docker compose ls` shows it.
    pub project: String,
    /// Its services, in the order in which their containers are restarted.
    pub services: Vec<String>,
    /// Where the engine is, as DOCKER_HOST says it (`unix:///run/user/1000/docker.sock`). When absent the worker's
    /// DOCKER_HOST, or else `unix:///var/run/docker.sock`.
    pub engine: Option<String>,
}

/// A container of them.
#[derive(Debug, Clone)]
pub struct Container {
    id: String,
    /// Its name, such as `temporal-history-1`.
    pub name: String,
    service: String,
    number: u32,
    life: Option<Incarnation>,
    trouble: Option<String>,
    without_health_check: bool,
    mounts: Vec<Mount>,
    /// Where its ports answer from this machine: loopback where it uses the machine's own network, else its addresses in
    /// the project's networks.
    pub addresses: Vec<IpAddr>,
}

/// What of this machine's files a container has.
#[derive(Debug, Clone)]
struct Mount {
    source: PathBuf,
    destination: PathBuf,
}

/// How a container sees a file of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its path in the container.
    pub at: PathBuf,
    /// Whether the file alone is mounted, so that a new file in its place is seen only after a restart.
    pub alone: bool,
}

/// A project that cannot be asked or restarted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComposeError {
    /// No engine answers.
    #[error(
        "the Docker Engine does not answer: {0}; the worker of this host needs its socket: `docker ps` must work as the same user with the same DOCKER_HOST"
    )]
    Engine(EngineError),
    /// The engine said no.
    #[error("the Docker Engine refused to {what}: {message} (status {status})")]
    Refused {
        /// What was asked.
        what: String,
        /// Its words.
        message: String,
        /// HTTP status.
        status: u16,
    },
    /// No such container.
    #[error(
        "no container of service `{service}` in Compose project `{project}` on this machine; there are: {}; write both as `docker compose ls` and `docker compose ps` show them, and start the service",
        if .there.is_empty() { "none".to_owned() } else { .there.join(", ") }
    )]
    NoContainer {
        /// The project.
        project: String,
        /// The service.
        service: String,
        /// What runs, as `project/service`.
        there: Vec<String>,
    },
    /// It does not come up.
    #[error("container {name} did not come up within {within:?}: {state}; see `docker logs {name}`")]
    NotUp {
        /// The container.
        name: String,
        /// How long it was waited for.
        within: Duration,
        /// What it is instead.
        state: String,
    },
}

impl ComposeError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Engine(_) | Self::NotUp { .. } => true,
            Self::Refused { status, .. } => *status >= 500,
            Self::NoContainer { .. } => false,
        }
    }
}

impl Compose {
    /// The containers, in the order in which they are restarted.
    ///
    /// # Errors
    /// No engine answers, or a service has no container.
    pub async fn containers(&self) -> Result<Vec<Container>, ComposeError> {
        let engine = self.engine().await?;
        let mut containers = Vec::new();
        for service in &self.services {
            let mut of_service = self.of_service(&engine, service).await?;
            if of_service.is_empty() {
                return Err(ComposeError::NoContainer {
                    project: self.project.clone(),
                    service: service.clone(),
                    there: every_service(&engine).await?,
                });
            }
            of_service.sort_by_key(|container| container.number);
            containers.append(&mut of_service);
        }
        Ok(containers)
    }

    /// Restarts the containers one after another, each proven up before the next, and leaves out those that no longer
    /// live the life they had `before`.
    pub(crate) async fn restart(&self, before: Option<&Incarnation>, within: Duration) -> Result<(), ComposeError> {
        let begun = Instant::now();
        let engine = self.engine().await?.with_timeout(within);
        for container in self.containers().await? {
            let left = within.saturating_sub(begun.elapsed());
            if !is_over(before, container.life.as_ref()) {
                let options = RestartContainerOptionsBuilder::default().build();
                // Without a time of ours the engine waits as long as the container's own `stop_grace_period` says.
                engine
                    .restart_container(&container.id, Some(options))
                    .await
                    .map_err(|error| failed(error, format!("restart container {}", container.name)))?;
            }
            come_up(&engine, &container, within, left).await?;
        }
        Ok(())
    }

    /// The lives of all containers together; `None` while none runs or they cannot be asked for.
    pub(crate) async fn life(&self) -> Option<Incarnation> {
        let containers = self.containers().await.ok()?;
        Incarnation::of_several(containers.into_iter().filter_map(|container| container.life))
    }

    async fn engine(&self) -> Result<Docker, ComposeError> {
        let engine = match &self.engine {
            Some(host) => Docker::connect_with_host(host),
            None => Docker::connect_with_defaults(),
        };
        engine
            .map_err(ComposeError::Engine)?
            .with_timeout(CALL)
            .negotiate_version()
            .await
            .map_err(ComposeError::Engine)
    }

    async fn of_service(&self, engine: &Docker, service: &str) -> Result<Vec<Container>, ComposeError> {
        let labels = vec![
            format!("{PROJECT}={}", self.project),
            format!("{SERVICE}={service}"),
            format!("{ONE_OFF}=False"),
        ];
        let listed = list(engine, labels).await?;
        let mut containers = Vec::new();
        for id in listed.into_iter().filter_map(|container| container.id) {
            containers.push(look(engine, &id, service).await?);
        }
        Ok(containers)
    }
}

impl Container {
    /// Whether and how it sees a file of this machine.
    pub fn sees(&self, file: &Path) -> Option<Seen> {
        let real = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        self.mounts
            .iter()
            .filter_map(|mount| {
                let source = mount.source.canonicalize().unwrap_or_else(|_| mount.source.clone());
                let rest = real.strip_prefix(&source).ok()?;
                let alone = rest.as_os_str().is_empty();
                let at = if alone {
                    mount.destination.clone()
                } else {
                    mount.destination.join(rest)
                };
                Some(Seen { at, alone })
            })
            // What is mounted inside another mount hides what was there.
            .find(|seen| self.behind(&seen.at).as_deref() == Some(&real))
    }

    /// The file of this machine behind a path in the container; `None` for one that is the image's own.
    pub fn behind(&self, path: &Path) -> Option<PathBuf> {
        let mount = self
            .mounts
            .iter()
            .filter(|mount| path.starts_with(&mount.destination))
            .max_by_key(|mount| mount.destination.components().count())?;
        let rest = path.strip_prefix(&mount.destination).ok()?;
        let file = if rest.as_os_str().is_empty() {
            mount.source.clone()
        } else {
            mount.source.join(rest)
        };
        Some(file.canonicalize().unwrap_or(file))
    }
}

/// The containers with all of these labels, running or not.
async fn list(engine: &Docker, labels: Vec<String>) -> Result<Vec<ContainerSummary>, ComposeError> {
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&HashMap::from([("label", labels)]))
        .build();
    engine
        .list_containers(Some(options))
        .await
        .map_err(|error| failed(error, "list containers".to_owned()))
}

/// What runs on this machine, as `project/service`.
async fn every_service(engine: &Docker) -> Result<Vec<String>, ComposeError> {
    let listed = list(engine, vec![PROJECT.to_owned()]).await?;
    let mut services: Vec<String> = listed
        .into_iter()
        .filter_map(|container| {
            let labels = container.labels?;
            Some(format!("{}/{}", labels.get(PROJECT)?, labels.get(SERVICE)?))
        })
        .collect();
    services.sort();
    services.dedup();
    Ok(services)
}

async fn look(engine: &Docker, id: &str, service: &str) -> Result<Container, ComposeError> {
    let said = engine
        .inspect_container(id, None::<InspectContainerOptions>)
        .await
        .map_err(|error| failed(error, format!("inspect container {id}")))?;
    Ok(container(id, service, said))
}

fn container(id: &str, service: &str, said: ContainerInspectResponse) -> Container {
    let state = said.state.unwrap_or_default();
    let is_up = state.status == Some(ContainerStateStatusEnum::RUNNING);
    let started = state.started_at.clone().unwrap_or_default();
    let number = said
        .config
        .and_then(|config| config.labels?.get(NUMBER)?.parse().ok())
        .unwrap_or(0);
    let shares_the_machines_network = said
        .host_config
        .and_then(|config| config.network_mode)
        .is_some_and(|mode| mode == "host");
    let addresses = if shares_the_machines_network {
        vec![IpAddr::from([127, 0, 0, 1])]
    } else {
        said.network_settings
            .and_then(|network| network.networks)
            .unwrap_or_default()
            .into_values()
            .filter_map(|endpoint| endpoint.ip_address?.parse().ok())
            .collect()
    };
    Container {
        id: id.to_owned(),
        name: said.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        service: service.to_owned(),
        number,
        life: is_up.then(|| Incarnation::of_container(id, &started)),
        without_health_check: health_of(&state).is_none(),
        trouble: trouble(&state),
        mounts: said
            .mounts
            .unwrap_or_default()
            .into_iter()
            .filter_map(|mount| {
                Some(Mount {
                    source: mount.source?.into(),
                    destination: mount.destination?.into(),
                })
            })
            .collect(),
        addresses,
    }
}

fn health_of(state: &ContainerState) -> Option<HealthStatusEnum> {
    state
        .health
        .as_ref()
        .and_then(|health| health.status)
        .filter(|status| !matches!(status, HealthStatusEnum::NONE | HealthStatusEnum::EMPTY))
}

/// Why a container is not up.
fn trouble(state: &ContainerState) -> Option<String> {
    match (state.status, health_of(state)) {
        (Some(ContainerStateStatusEnum::RUNNING), None | Some(HealthStatusEnum::HEALTHY)) => None,
        (Some(ContainerStateStatusEnum::RUNNING), Some(health)) => Some(format!("its health check says {health}")),
        (status, _) => {
            let status = status.map_or_else(|| "unknown".to_owned(), |status| status.to_string());
            let exit = state.exit_code.unwrap_or_default();
            Some(format!("it is {status}, its last exit status {exit}"))
        }
    }
}

/// Waits until the container runs and is healthy.
async fn come_up(engine: &Docker, restarted: &Container, within: Duration, left: Duration) -> Result<(), ComposeError> {
    let begun = Instant::now();
    let mut up_since: Option<(Incarnation, Instant)> = None;
    loop {
        let now = look(engine, &restarted.id, &restarted.service).await?;
        match (&now.trouble, now.life) {
            (None, Some(life)) => {
                let since = match up_since.take() {
                    Some((earlier, since)) if earlier == life => since,
                    _ => Instant::now(),
                };
                if !now.without_health_check || since.elapsed() >= STAYS_UP {
                    return Ok(());
                }
                up_since = Some((life, since));
            }
            _ => up_since = None,
        }
        if begun.elapsed() + PAUSE >= left {
            return Err(ComposeError::NotUp {
                name: now.name,
                within,
                state: now.trouble.unwrap_or_else(|| "it does not stay up".to_owned()),
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a container, as it lives now, has been restarted since.
fn is_over(before: Option<&Incarnation>, now: Option<&Incarnation>) -> bool {
    matches!((before, now), (Some(before), Some(now)) if before.is_over(now))
}

fn failed(error: EngineError, what: String) -> ComposeError {
    match error {
        EngineError::DockerResponseServerError { status_code, message } => ComposeError::Refused {
            what,
            message,
            status: status_code,
        },
        error => ComposeError::Engine(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(mounts: &[(&str, &str)]) -> Container {
        Container {
            id: "i".to_owned(),
            name: "n".to_owned(),
            service: "s".to_owned(),
            number: 1,
            life: None,
            trouble: None,
            without_health_check: true,
            mounts: mounts
                .iter()
                .map(|(source, destination)| Mount {
                    source: source.into(),
                    destination: destination.into(),
                })
                .collect(),
            addresses: Vec::new(),
        }
    }

    #[test]
    fn a_file_is_seen_through_the_mount_that_is_nearest() {
        let container = with(&[("/no/config", "/etc/temporal"), ("/no/other", "/etc/temporal/dynamic")]);
        let seen = |at: &str| {
            Some(Seen {
                at: at.into(),
                alone: false,
            })
        };
        assert_eq!(
            container.sees(Path::new("/no/config/a.yaml")),
            seen("/etc/temporal/a.yaml")
        );
        assert_eq!(
            container.sees(Path::new("/no/other/d.yaml")),
            seen("/etc/temporal/dynamic/d.yaml")
        );
        assert_eq!(
            container.sees(Path::new("/no/config/dynamic/d.yaml")),
            None,
            "it is hidden by the other mount"
        );
        assert_eq!(container.sees(Path::new("/no/configuration/a.yaml")), None);
        assert_eq!(
            container.behind(Path::new("/etc/temporal/dynamic/d.yaml")),
            Some("/no/other/d.yaml".into())
        );
        assert_eq!(container.behind(Path::new("/etc/passwd")), None);
    }

    #[test]
    fn a_file_mounted_alone_is_told() {
        let container = with(&[("/no/config/a.yaml", "/etc/a.yaml")]);
        let alone = Seen {
            at: "/etc/a.yaml".into(),
            alone: true,
        };
        assert_eq!(container.sees(Path::new("/no/config/a.yaml")), Some(alone));
    }
}
