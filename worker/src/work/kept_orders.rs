//! What is kept beside a host's files for a way back without the workflow: whose they are, how that host is restarted, and
//! how its cluster is reached. It is what every order carries: references where secrets are meant, and no secret.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use crossfade_plan::{
    order::Context,
    problem::{Code, Problem},
    spec::Host,
};
use serde::{Deserialize, Serialize};

use super::pods;

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
    /// When it was kept: at the migration's first change of a file of this host.
    #[serde(skip)]
    pub(crate) since: Option<SystemTime>,
}

/// Keeps an order beside the host's static config, before any of the host's files is changed. What is in Kubernetes has
/// nothing beside it on this machine: there the objects that keep the originals are all there is for a way back by hand.
pub(crate) fn keep(context: &Context, host: &Host) -> Result<(), Problem> {
    if pods::of(host).is_some() {
        return Ok(());
    }
    let folder = folder_of(Path::new(&host.config)).join(&context.key);
    let path = folder.join(file_name(&host.name));
    let kept = KeptOrder {
        context: context.clone(),
        host: host.clone(),
        since: None,
    };
    let bytes = serde_json::to_vec_pretty(&kept).map_err(|error| {
        Problem::new(
            Code::Unexpected,
            format!("the order of {} has no form: {error}", host.name),
        )
    })?;
    write_beside(&path, &bytes)
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

/// Every order that is kept beside the static config `config`, of all migrations.
pub(crate) fn beside(config: &Path) -> Result<Vec<KeptOrder>, Problem> {
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

/// The file with its links followed, where it is there.
pub(crate) fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
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
