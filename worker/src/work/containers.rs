//! Hosts whose server runs in containers: whether those read the files that are edited on the machine.

use std::{collections::BTreeSet, net::IpAddr, path::Path};

use crossfade_cluster::compose::{Compose, ComposeError, Container};
use crossfade_plan::{
    problem::{Code, Problem},
    spec::{ComposeProject, Host, Restart},
};

/// Whether this host's server runs in containers.
pub(crate) fn run(host: &Host) -> bool {
    matches!(host.restart, Restart::Compose(_))
}

/// The project as it is asked for.
pub(crate) fn compose(project: &ComposeProject) -> Compose {
    Compose {
        project: project.project.clone(),
        services: project.services.clone(),
        engine: project.engine.clone(),
    }
}

/// The containers of a host; none where its server runs on the machine itself.
///
/// # Errors
/// The engine does not answer, or a service has no container.
async fn of(host: &Host) -> Result<Vec<Container>, ComposeError> {
    match &host.restart {
        Restart::Compose(project) => compose(project).containers().await,
        Restart::Command(_) | Restart::Systemd(_) | Restart::Kubernetes(_) => Ok(Vec::new()),
    }
}

/// The addresses of a host's containers, as they are reached from this machine.
///
/// # Errors
/// As [`of`].
pub(crate) async fn addresses(host: &Host) -> Result<BTreeSet<IpAddr>, ComposeError> {
    let containers = of(host).await?;
    Ok(containers
        .into_iter()
        .flat_map(|container| container.addresses)
        .collect())
}

/// Each of a host's containers that does not read its config file, or would not see an edit of its dynamic config.
/// `dynamic` is that file on the machine, `named_by_server` what the config calls it.
pub(crate) async fn unread(host: &Host, dynamic: &Path, named_by_server: &Path) -> Vec<Problem> {
    let at = format!("host {}", host.name);
    match of(host).await {
        Ok(containers) => containers
            .iter()
            .flat_map(|container| {
                [
                    config_unread(container, host),
                    dynamic_config_unread(container, dynamic, named_by_server),
                ]
            })
            .flatten()
            .map(|problem| problem.at(&at))
            .collect(),
        Err(error) => vec![Problem::new(Code::RestartFailed, error.to_string()).at(at)],
    }
}

fn config_unread(container: &Container, host: &Host) -> Option<Problem> {
    if container.sees(Path::new(&host.config)).is_some() {
        return None;
    }
    let message = format!(
        "container {} has no mount of `{}`, so that it would not read what is written there",
        container.name, host.config
    );
    let remedy = "name in `config` the file on this machine that the container reads (`docker inspect`: Mounts), or mount \
                  its folder into the container";
    Some(Problem::new(Code::ConfigRefused, message).remedy(remedy))
}

fn dynamic_config_unread(container: &Container, dynamic: &Path, named_by_server: &Path) -> Option<Problem> {
    let refused = |message: String, remedy: &str| Some(Problem::new(Code::ConfigRefused, message).remedy(remedy));
    let (name, file) = (&container.name, dynamic.display());
    match container.sees(dynamic) {
        None => refused(
            format!("container {name} has no mount of the dynamic config file `{file}`"),
            "name in `dynamic_config` the file on this machine that the container reads, or mount its folder into the \
             container",
        ),
        Some(seen) if seen.alone => refused(
            format!(
                "container {name} has the dynamic config file `{file}` mounted alone: it would go on reading the old file \
                 after each edit, until it is restarted"
            ),
            "mount the folder instead of the file in the compose file, `docker compose up -d`, and start again",
        ),
        Some(seen) if named_by_server.is_absolute() && seen.at != named_by_server => {
            let behind = container.behind(named_by_server).map_or_else(
                || "a file of its image".to_owned(),
                |file| format!("`{}` on this machine", file.display()),
            );
            refused(
                format!(
                    "the server in container {name} reads its dynamic config from `{}`, which is {behind}; the spec names \
                     `{file}`",
                    named_by_server.display()
                ),
                "name in `dynamic_config` the file on this machine that the server reads",
            )
        }
        Some(_) => None,
    }
}
