//! One worker at a host: who edits its files and restarts its services holds a lock on the host's own disk.
//!
//! The lock is the kernel's (`flock(2)`): it ends with the process that holds it, however that ends, so a stale lock is no
//! lock, and nobody has to judge whether the owner that stands in the file still lives. The owner is there for people.
//! On a shared volume the file server gives it to one machine at a time, and takes it from one that died when its lease
//! is over (NFS: about a minute and a half).

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::incarnation::Incarnation;

/// Between two tries for a lock that somebody holds.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest name of a host that goes into a file's name.
const LONGEST: usize = 80;

/// Who holds a lock, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The process.
    pub pid: u32,
    /// Its life, which tells it from an earlier process of that id, also across boots of the machine.
    pub life: Option<Incarnation>,
    /// Since when.
    pub since: Timestamp,
}

impl Owner {
    fn here() -> Self {
        let pid = std::process::id();
        Self {
            pid,
            life: Incarnation::of_pid(pid),
            since: Timestamp::now(),
        }
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {}", self.pid)?;
        if let Some(life) = &self.life {
            write!(f, " ({life})")?;
        }
        write!(f, " since {}", self.since)
    }
}

/// A lock could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostLockError {
    /// Another process holds it.
    #[error(
        "another worker is at this host: {owner} holds {}; it was waited for {waited:?}. Run one worker for each host",
        lock.display()
    )]
    Held {
        /// The file.
        lock: PathBuf,
        /// Who holds it, as the file says.
        owner: String,
        /// For how long it was waited for.
        waited: Duration,
    },
    /// The file cannot be made.
    #[error("the lock {} cannot be made: {source}", path.display())]
    File {
        /// The file, or its folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Held as long as this value lives, and no longer than this process.
#[derive(Debug)]
pub struct HostLock {
    _file: File,
}

/// Waits until no other process, and nobody else in this one, is at `host`, whose lock lies in `dir`, for at most `within`.
/// `waiting` is told once who is waited for.
///
/// # Errors
/// When somebody still holds it then, or it cannot be made.
pub async fn hold(
    dir: &Path,
    host: &str,
    within: Duration,
    waiting: impl FnOnce(&str),
) -> Result<HostLock, HostLockError> {
    let failed = |path: &Path, source| HostLockError::File {
        path: path.to_owned(),
        source,
    };
    let mut folder = DirBuilder::new();
    let made = folder.recursive(true).mode(0o700).create(dir);
    made.map_err(|source| failed(dir, source))?;
    let lock = dir.join(file_name(host));
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(0o600);
    let mut file = options.open(&lock).map_err(|source| failed(&lock, source))?;
    let asked = Instant::now();
    let mut waiting = Some(waiting);
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(source)) => return Err(failed(&lock, source)),
            Err(TryLockError::WouldBlock) => {}
        }
        let owner = owner_in(&mut file);
        if asked.elapsed() >= within {
            let waited = asked.elapsed();
            return Err(HostLockError::Held { lock, owner, waited });
        }
        if let Some(waiting) = waiting.take() {
            waiting(&owner);
        }
        tokio::time::sleep(PAUSE).await;
    }
    // On a full disk the lock holds without its owner's name.
    if let Err(error) = sign(&mut file) {
        tracing::warn!(%error, lock = %lock.display(), "a host's lock does not name its owner");
    }
    Ok(HostLock { _file: file })
}

/// Each host has a file of its own; what cannot be in a file's name is replaced, and a digest keeps names apart.
fn file_name(host: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = host
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .take(LONGEST)
        .collect();
    format!("host-{name}-{:08x}.lock", farmhash::fingerprint32(host.as_bytes()))
}

fn sign(file: &mut File) -> std::io::Result<()> {
    let text = serde_json::to_vec(&Owner::here())?;
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&text)
}

/// Who holds it, as far as the file tells.
fn owner_in(file: &mut File) -> String {
    let mut text = String::new();
    let read = file
        .seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_string(&mut text));
    let owner: Option<Owner> = read.ok().and_then(|_| serde_json::from_str(&text).ok());
    owner.map_or_else(
        || "a process that does not name itself".to_owned(),
        |owner| owner.to_string(),
    )
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    const SOON: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_secs(60);

    /// Names the folder to the process that this test starts of itself.
    const FOLDER: &str = "CROSSFADE_TEST_HOST_LOCK";

    async fn held(dir: &Path, host: &str) -> String {
        let refused = hold(dir, host, SOON, |_| ()).await.expect_err("two hold it");
        assert!(matches!(refused, HostLockError::Held { .. }), "{refused}");
        refused.to_string()
    }

    /// Another process of this very program, which holds the lock of `node/a` until it is killed.
    fn other_process(dir: &Path) -> Child {
        let this = std::env::current_exe().expect("this program");
        let name = "host_lock::tests::one_worker_is_at_a_host_and_a_killed_one_is_not";
        let mut other = Command::new(this);
        other.args(["--exact", name, "--nocapture"]).env(FOLDER, dir);
        other.stdout(Stdio::null()).spawn().expect("it starts")
    }

    #[tokio::test]
    async fn one_worker_is_at_a_host_and_a_killed_one_is_not() {
        if let Some(dir) = std::env::var_os(FOLDER) {
            let _held = hold(Path::new(&dir), "node/a", LONG, |_| ()).await.expect("held");
            return std::future::pending().await;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join(".crossfade");
        let first = hold(&dir, "node/a", SOON, |_| ()).await.expect("nobody holds it");
        let refused = held(&dir, "node/a").await;
        let life = Incarnation::of_pid(std::process::id()).expect("we live").to_string();
        for part in [format!("process {} ", std::process::id()), life, "node-a".to_owned()] {
            assert!(refused.contains(&part), "{part}: {refused}");
        }
        // Other hosts have locks of their own, however alike their names are.
        for other in ["node-a", "node/b"] {
            hold(&dir, other, SOON, |_| ()).await.expect("another host");
        }

        // The other process gets it when we let go, and names itself.
        let mut other = other_process(&dir);
        drop(first);
        let named = format!("process {} ", other.id());
        let mut file = File::open(dir.join(file_name("node/a"))).expect("the lock");
        let began = Instant::now();
        while !owner_in(&mut file).contains(&named) {
            assert!(began.elapsed() < LONG, "the other process never had it");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let refused = held(&dir, "node/a").await;
        assert!(refused.contains(&named), "{refused}");

        // It is killed while it is waited for, and its lock goes with it, whatever the file still says.
        let mut told = Vec::new();
        let ours = hold(&dir, "node/a", LONG, |owner| {
            told.push(owner.to_owned());
            other.kill().expect("killed");
        });
        let ours = ours.await.expect("a dead process holds nothing");
        assert!(matches!(told.as_slice(), [owner] if owner.contains(&named)), "{told:?}");
        other.wait().expect("ended");
        assert!(owner_in(&mut file).contains(&format!("process {} ", std::process::id())));
        drop(ours);
    }
}
