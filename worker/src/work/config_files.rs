//! Where a host's files are: on its disk, or in Kubernetes as keys of ConfigMaps and Secrets. Either way they are read with what
//! identifies them, replaced only while unchanged, kept as they were, and given back.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crossfade_cluster::kubernetes::{ConfigKey, GivenBack, Helm, KeyStanding, Kubernetes, KubernetesError};
use crossfade_config::{FileError, Restored, Standing, Written};
use crossfade_plan::{
    problem::Problem,
    spec::{Host, Restart},
};

use super::{
    pods,
    problems::{file_problem, kubernetes as kubernetes_problem},
};

/// One of a host's files.
pub(crate) enum ConfigFile {
    /// On the disk of this machine.
    OnDisk(PathBuf),
    /// A key of a ConfigMap or Secret.
    InKubernetes(Kubernetes, ConfigKey),
}

/// A file's content and what identifies it.
pub(crate) struct Content {
    /// The content.
    pub(crate) bytes: Vec<u8>,
    /// Its hash.
    pub(crate) sha256: String,
    /// The Helm release that would change it back.
    pub(crate) helm: Option<Helm>,
}

/// A file that is not given back.
pub(crate) enum NotGivenBack {
    /// Somebody else changed it meanwhile.
    Others(Problem),
    /// Anything else.
    Failed(Problem),
}

impl ConfigFile {
    /// The host's static config.
    ///
    /// # Errors
    /// [`ConfigFile::named`].
    pub(crate) fn of(host: &Host) -> Result<Self, Problem> {
        Self::named(host, &host.config)
    }

    /// The file that the spec names `name` for this host.
    ///
    /// # Errors
    /// The name does not fit how the host is restarted.
    pub(crate) fn named(host: &Host, name: &str) -> Result<Self, Problem> {
        match &host.restart {
            Restart::Kubernetes(workloads) => Ok(Self::InKubernetes(
                pods::kubernetes(workloads, host)?,
                pods::config_key(name, host)?,
            )),
            Restart::Command(_) | Restart::Systemd(_) | Restart::Compose(_) => Ok(Self::OnDisk(name.into())),
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is not there, or may not be read.
    pub(crate) async fn read(&self) -> Result<Content, Problem> {
        match self {
            Self::OnDisk(path) => {
                let state = crossfade_config::read(path).map_err(|error| file_problem(&error))?;
                Ok(Content {
                    bytes: state.bytes,
                    sha256: state.sha256,
                    helm: None,
                })
            }
            Self::InKubernetes(cluster, key) => {
                let content = cluster.read(key).await.map_err(|error| kubernetes_problem(&error))?;
                Ok(Content {
                    bytes: content.bytes,
                    sha256: content.sha256,
                    helm: content.helm,
                })
            }
        }
    }

    /// Whether it can be replaced, as far as that can be known before.
    ///
    /// # Errors
    /// The reason why not.
    pub(crate) async fn check_writable(&self) -> Result<(), Problem> {
        match self {
            Self::OnDisk(path) => crossfade_config::check_writable(path).map_err(|error| file_problem(&error)),
            Self::InKubernetes(cluster, key) => {
                let checked = cluster.check_writable(key).await;
                checked.map_err(|error| kubernetes_problem(&error))
            }
        }
    }

    /// Replaces its content if it still is the one with hash `expected`, keeping the original first. Whether it was changed.
    ///
    /// # Errors
    /// It has other content, or cannot be written.
    pub(crate) async fn write_if_unchanged(&self, expected: &str, new: &[u8], key: &str) -> Result<bool, Problem> {
        match self {
            Self::OnDisk(path) => crossfade_config::write_if_unchanged(path, expected, new, key)
                .map(|written| written == Written::Written)
                .map_err(|error| file_problem(&error)),
            Self::InKubernetes(cluster, file) => {
                let written = cluster.write_if_unchanged(file, expected, new, key).await;
                written.map_err(|error| kubernetes_problem(&error))
            }
        }
    }

    /// What it held before this migration first wrote it; `None` when it never did.
    ///
    /// # Errors
    /// What is kept cannot be read.
    pub(crate) async fn kept_copy(&self, key: &str) -> Result<Option<Vec<u8>>, Problem> {
        match self {
            Self::OnDisk(path) => crossfade_config::kept_copy(path, key).map_err(|error| file_problem(&error)),
            Self::InKubernetes(cluster, file) => {
                let kept = cluster.kept_copy(file, key).await;
                kept.map_err(|error| kubernetes_problem(&error))
            }
        }
    }

    /// How it stands to what a migration keeps of it.
    ///
    /// # Errors
    /// It, or what is kept of it, cannot be read.
    pub(crate) async fn standing(&self, key: &str) -> Result<Standing, Problem> {
        match self {
            Self::OnDisk(path) => crossfade_config::standing(path, key).map_err(|error| file_problem(&error)),
            Self::InKubernetes(cluster, file) => {
                let standing = cluster.standing(file, key).await;
                Ok(match standing.map_err(|error| kubernetes_problem(&error))? {
                    KeyStanding::NeverWritten => Standing::NeverWritten,
                    KeyStanding::Original => Standing::Original,
                    KeyStanding::Ours => Standing::Ours,
                    KeyStanding::Others => Standing::Others,
                })
            }
        }
    }

    /// Whether it is the file that somebody names `name`.
    pub(crate) fn is(&self, name: &str) -> bool {
        match self {
            Self::OnDisk(path) => real(path) == real(Path::new(name)),
            Self::InKubernetes(_, key) => key.to_string() == name,
        }
    }

    /// Gives it its original content back. Whether it was changed.
    ///
    /// # Errors
    /// Somebody else changed it meanwhile, or it cannot be written.
    pub(crate) async fn restore(&self, key: &str) -> Result<bool, NotGivenBack> {
        match self {
            Self::OnDisk(path) => match crossfade_config::restore(path, key) {
                Ok(restored) => Ok(restored == Restored::Restored),
                Err(error @ FileError::Conflict { .. }) => Err(NotGivenBack::Others(file_problem(&error))),
                Err(error) => Err(NotGivenBack::Failed(file_problem(&error))),
            },
            Self::InKubernetes(cluster, file) => match cluster.restore(file, key).await {
                Ok(restored) => Ok(restored == GivenBack::Restored),
                Err(error @ KubernetesError::Conflict { .. }) => Err(NotGivenBack::Others(kubernetes_problem(&error))),
                Err(error) => Err(NotGivenBack::Failed(kubernetes_problem(&error))),
            },
        }
    }
}

impl fmt::Display for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnDisk(path) => real(path).display().fmt(f),
            Self::InKubernetes(_, key) => key.fmt(f),
        }
    }
}

/// The file with its links followed, where it is there.
pub(crate) fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
