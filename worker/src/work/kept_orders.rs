//! What is kept beside a host's files for a way back without the workflow: whose they are, how that host is restarted, and
//! how its cluster is reached. It is what every order carries: references where secrets are meant, and no secret. On a disk it is
//! a file in the folder of what is kept, in Kubernetes a key of the object that keeps the originals.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use crossfade_cluster::kubernetes::{ConfigKey, Kubernetes};
use crossfade_plan::{
    order::Context,
    problem::{Code, Problem},
    spec::{Host, Restart},
};
use serde::{Deserialize, Serialize};

use super::{
    config_files::{ConfigFile, real},
    problems::kubernetes as kubernetes_problem,
};

/// The folder that all that is kept is in, beside a file.
const FOLDER: &str = ".crossfade";

/// How the names of these files end.
const ENDING: &str = ".order.json";

/// One host of one migration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeptOrder {
    /// The migration.
    pub(crate) context: Context,
    /// The host.
    pub(crate) host: Host,
    /// When it was kept: at the migration's first change of a file of this host. A file's own time tells on a disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<SystemTime>,
}

impl KeptOrder {
    fn bytes(&self) -> Result<Vec<u8>, Problem> {
        serde_json::to_vec_pretty(self).map_err(|error| {
            Problem::new(
                Code::Unexpected,
                format!("the order of {} has no form: {error}", self.host.name),
            )
        })
    }
}

/// Keeps an order beside the host's static config, before any of the host's files is changed.
pub(crate) async fn keep(context: &Context, host: &Host) -> Result<(), Problem> {
    let mut kept = KeptOrder {
        context: context.clone(),
        host: host.clone(),
        since: None,
    };
    let name = file_name(&host.name);
    match ConfigFile::of(host)? {
        ConfigFile::OnDisk(path) => {
            let folder = folder_of(&path).join(&context.key);
            write_beside(&folder.join(name), &kept.bytes()?)
        }
        ConfigFile::InKubernetes(cluster, key) => {
            let notes = cluster.notes(&key, &name).await;
            let notes = notes.map_err(|error| kubernetes_problem(&error))?;
            let earlier = notes
                .iter()
                .filter_map(|(_, bytes)| serde_json::from_slice::<KeptOrder>(bytes).ok())
                .find(|earlier| earlier.context.key == context.key && earlier.host.name == host.name);
            kept.since = earlier
                .as_ref()
                .and_then(|earlier| earlier.since)
                .or_else(|| Some(SystemTime::now()));
            if earlier.as_ref() == Some(&kept) {
                return Ok(());
            }
            note_beside(&cluster, &key, &context.key, &name, &kept.bytes()?)
                .await
                .map(drop)
        }
    }
}

/// Keeps something in the object that keeps the originals, and says where.
pub(crate) async fn note_beside(
    cluster: &Kubernetes,
    key: &ConfigKey,
    migration: &str,
    name: &str,
    bytes: &[u8],
) -> Result<ConfigKey, Problem> {
    let noted = cluster.keep_note(key, migration, name, bytes).await;
    noted.map_err(|error| kubernetes_problem(&error))
}

/// Writes a file that only its owner reads into the folder of what is kept.
pub(crate) fn write_beside(path: &Path, bytes: &[u8]) -> Result<(), Problem> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    replace(folder, path, bytes).map_err(|error| {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let problem = Problem::new(
            Code::ConfigUnwritable,
            format!("{}: writing it failed: {error}", path.display()),
        );
        if full {
            problem.remedy("make room on the disk that the file is on, then `resume`; nothing was changed")
        } else {
            problem
        }
    })
}

fn replace(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    for folder in [folder.parent().unwrap_or(folder), folder] {
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let fresh = path.with_extension("fresh");
    let _ = fs::remove_file(&fresh);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(folder)?.sync_all()
}

/// Every order that is kept beside a static config, of all migrations.
pub(crate) async fn beside(config: &ConfigFile) -> Result<Vec<KeptOrder>, Problem> {
    match config {
        ConfigFile::OnDisk(path) => beside_file(path),
        ConfigFile::InKubernetes(cluster, key) => beside_key(cluster, key).await,
    }
}

/// The hosts are reached as this one is now: the worker had a kubeconfig of its own.
async fn beside_key(cluster: &Kubernetes, key: &ConfigKey) -> Result<Vec<KeptOrder>, Problem> {
    let notes = cluster.notes(key, ENDING).await;
    let mut found = Vec::new();
    for (at, bytes) in notes.map_err(|error| kubernetes_problem(&error))? {
        let mut kept: KeptOrder = serde_json::from_slice(&bytes)
            .map_err(|error| Problem::new(Code::ConfigUnreadable, format!("{at}: reading it failed: {error}")))?;
        if let Restart::Kubernetes(workloads) = &mut kept.host.restart {
            workloads.context.clone_from(&cluster.context);
            workloads.kubeconfig = cluster.kubeconfig.as_ref().map(|path| path.display().to_string());
        }
        // Other keys of the same object have what is theirs kept there, too.
        if kept.host.config == key.to_string() {
            found.push(kept);
        }
    }
    Ok(found)
}

fn beside_file(config: &Path) -> Result<Vec<KeptOrder>, Problem> {
    let folder = folder_of(config);
    let unreadable = |path: &Path, error: &dyn std::fmt::Display| {
        Problem::new(
            Code::ConfigUnreadable,
            format!("{}: reading it failed: {error}", path.display()),
        )
    };
    let migrations = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| unreadable(&folder, &error))?,
    };
    let mut found = Vec::new();
    for migration in migrations
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
    {
        for path in fs::read_dir(&migration)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
        {
            if !path.to_string_lossy().ends_with(ENDING) {
                continue;
            }
            let bytes = fs::read(&path).map_err(|error| unreadable(&path, &error))?;
            let mut kept: KeptOrder = serde_json::from_slice(&bytes).map_err(|error| unreadable(&path, &error))?;
            kept.since = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
            let is_this = real(Path::new(&kept.host.config)) == real(config);
            if is_this {
                found.push(kept);
            }
        }
    }
    Ok(found)
}

/// The folder of what is kept beside a file.
pub(crate) fn folder_of(file: &Path) -> PathBuf {
    real(file).parent().unwrap_or(Path::new("/")).join(FOLDER)
}

fn file_name(host: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = host.chars().map(|c| if fits(c) { c } else { '-' }).take(80).collect();
    format!("host-{name}{ENDING}")
}
