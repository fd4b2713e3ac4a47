//! Files on disk: read with what identifies them, replaced only when unchanged, restored only when the change was ours.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::kept::{Kept, sync_folder_of, write_new};

/// No server file is near this size (bytes); a larger one was named by mistake.
const LARGEST: u64 = 16 * 1024 * 1024;

/// The template that `file` is rendered from at each start of its container, so that an edit of it would be lost: the
/// images of servers up to 1.29 keep `config_template.yaml` beside the `docker.yaml` that they write (1.29.1: docker/).
pub fn rendered_from(file: &Path) -> Option<PathBuf> {
    if file.file_name()? != "docker.yaml" {
        return None;
    }
    let template = file.with_file_name("config_template.yaml");
    template.is_file().then_some(template)
}

/// A file that cannot be read, replaced or restored. Unless the message says otherwise nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// No such file.
    #[error(
        "{path}: no such file; check the path, and that this is the host it is on. A server from 1.30 on that is given no \
         config file makes its config from environment variables: print it with `temporal-server render-config`, keep it as \
         a file and start the server with `--config-file`"
    )]
    NotFound {
        /// As the caller named it.
        path: PathBuf,
    },
    /// A folder, device or pipe.
    #[error("{path}: not a regular file; name the file itself")]
    NotAFile {
        /// As the caller named it.
        path: PathBuf,
    },
    /// Something stands where a folder of ours should be.
    #[error("{path}: not a folder, though Crossfade keeps its copies there; move it away and try again")]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// Larger than any server file.
    #[error("{path}: {bytes} bytes, more than any server file has (at most {LARGEST}); check the path")]
    TooLarge {
        /// As the caller named it.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
    },
    /// The file has a second name, which replacing it would cut off.
    #[error(
        "{path}: has {links} hard links, and replacing it would leave the others behind; make it a file of its own"
    )]
    HardLinked {
        /// The real file.
        path: PathBuf,
        /// How many names it has.
        links: u64,
    },
    /// The file, its folder or the file system is read-only for this process.
    #[error(
        "{path}: {what} is read-only for this process; run the worker of this host as a user who may write it, or edit \
         what the file is made from (a ConfigMap, a package, a configuration manager)"
    )]
    ReadOnly {
        /// The real file.
        path: PathBuf,
        /// The file, or its folder.
        what: &'static str,
    },
    /// A new file could not be given the owner of the old one.
    #[error(
        "{path}: belongs to user {uid}, group {gid}, which this process cannot give to a new file; run the worker of this \
         host as that user or as root"
    )]
    Owner {
        /// The real file.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// The file is itself a mount point, so it cannot be replaced.
    #[error(
        "{path}: is mounted as a single file, so it cannot be replaced in one step; mount the folder that holds it instead"
    )]
    Mounted {
        /// The real file.
        path: PathBuf,
    },
    /// Compare-and-swap: the file is not what the edit was made from.
    #[error("{path}: changed meanwhile (sha256 {found}, expected {expected}); read it again and make the edit anew")]
    Changed {
        /// The real file.
        path: PathBuf,
        /// Hash that the caller expected.
        expected: String,
        /// Hash found.
        found: String,
    },
    /// Restoring would throw away someone else's change.
    #[error(
        "{path}: was changed by someone else since the migration edited it, so it is left as it is; compare it with \
         {kept} (as it was before) and take over what is needed by hand"
    )]
    Conflict {
        /// The real file.
        path: PathBuf,
        /// The kept copy.
        kept: PathBuf,
    },
    /// The kept copy or its journal is damaged.
    #[error("{path}: {fault}; it is damaged, so the original cannot be restored from it: use your own backup")]
    KeptDamaged {
        /// The kept copy or journal.
        path: PathBuf,
        /// What is wrong.
        fault: String,
    },
    /// A migration id that cannot name a folder.
    #[error(
        "migration id {id:?} cannot name a folder; use letters, digits, '-', '_' and '.', at most 128, no leading '.'"
    )]
    MigrationId {
        /// The id.
        id: String,
    },
    /// Anything else the system says.
    #[error("{path}: {doing} it failed: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

pub(crate) fn io_error(path: &Path, doing: &'static str, source: io::Error) -> FileError {
    let path = path.to_path_buf();
    match source.kind() {
        io::ErrorKind::NotFound => FileError::NotFound { path },
        io::ErrorKind::ResourceBusy => FileError::Mounted { path },
        _ => FileError::Io { path, doing, source },
    }
}

/// A file's content and what identifies it. `Debug` does not show the content.
#[derive(Clone, PartialEq, Eq)]
pub struct FileState {
    /// As the caller named it.
    pub path: PathBuf,
    /// The file behind it, every symbolic link followed.
    pub real_path: PathBuf,
    /// The content.
    pub bytes: Vec<u8>,
    /// Hash of the content, lower-case hex.
    pub sha256: String,
    /// Permission bits, e.g. `0o640`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification.
    pub modified: SystemTime,
}

impl fmt::Debug for FileState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileState")
            .field("path", &self.path)
            .field("real_path", &self.real_path)
            .field("sha256", &self.sha256)
            .field("mode", &format_args!("{:o}", self.mode))
            .field("uid", &self.uid)
            .field("gid", &self.gid)
            .field("modified", &self.modified)
            .finish_non_exhaustive()
    }
}

/// What a write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The file was replaced.
    Written,
    /// The file had this content already; nothing was touched.
    AlreadyThere,
}

/// What restoring came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    /// The file has its original bytes, mode and owner again.
    Restored,
    /// The file has its original bytes; nothing was touched.
    AlreadyOriginal,
    /// This migration never wrote the file; nothing was touched.
    NeverWritten,
}

/// Lower-case hex SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Reads a file with what identifies it.
///
/// # Errors
/// When it is missing, not a regular file, too large for a server file, or unreadable.
pub fn read(path: impl AsRef<Path>) -> Result<FileState, FileError> {
    let path = path.as_ref();
    let real_path = fs::canonicalize(path).map_err(|e| io_error(path, "finding", e))?;
    // Opening a pipe would wait for its other end.
    if !fs::metadata(&real_path)
        .map_err(|e| io_error(path, "looking at", e))?
        .is_file()
    {
        return Err(FileError::NotAFile {
            path: path.to_path_buf(),
        });
    }
    let mut file = File::open(&real_path).map_err(|e| io_error(path, "opening", e))?;
    let metadata = file.metadata().map_err(|e| io_error(path, "looking at", e))?;
    if metadata.len() > LARGEST {
        return Err(FileError::TooLarge {
            path: path.to_path_buf(),
            bytes: metadata.len(),
        });
    }
    let mut bytes = Vec::new();
    file.by_ref()
        .take(LARGEST)
        .read_to_end(&mut bytes)
        .map_err(|e| io_error(path, "reading", e))?;
    Ok(FileState {
        path: path.to_path_buf(),
        real_path,
        sha256: sha256(&bytes),
        bytes,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        modified: metadata.modified().map_err(|e| io_error(path, "looking at", e))?,
    })
}

/// Whether the file can be replaced in one step, keeping mode and owner; leaves nothing behind.
///
/// A file or folder without any write permission is refused for root too: someone meant it.
///
/// # Errors
/// The reason why not.
pub fn check_writable(path: impl AsRef<Path>) -> Result<(), FileError> {
    writable(&read(path)?)
}

fn writable(state: &FileState) -> Result<(), FileError> {
    let path = &state.real_path;
    let read_only = |what| FileError::ReadOnly {
        path: path.clone(),
        what,
    };
    let metadata = fs::metadata(path).map_err(|e| io_error(path, "looking at", e))?;
    if metadata.nlink() > 1 {
        return Err(FileError::HardLinked {
            path: path.clone(),
            links: metadata.nlink(),
        });
    }
    if is_mount_point(path) {
        return Err(FileError::Mounted { path: path.clone() });
    }
    let denied = |e: &io::Error| {
        matches!(
            e.kind(),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
        )
    };
    if state.mode & 0o222 == 0 {
        return Err(read_only("the file"));
    }
    match OpenOptions::new().write(true).open(path) {
        Err(e) if denied(&e) => return Err(read_only("the file")),
        Err(e) => return Err(io_error(path, "opening", e)),
        Ok(_) => {}
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let folder_mode = fs::metadata(folder)
        .map_err(|e| io_error(folder, "looking at", e))?
        .mode();
    if folder_mode & 0o222 == 0 {
        return Err(read_only("its folder"));
    }
    let probe = folder.join(format!(".{}.crossfade-probe", uuid_like()));
    let outcome = write_new(&probe, b"", state.mode, None);
    match outcome {
        Err(e) if denied(&e) => return Err(read_only("its folder")),
        Err(e) => return Err(io_error(folder, "writing to", e)),
        Ok(_) => {}
    }
    let owned = write_new(&probe, b"", state.mode, Some((state.uid, state.gid)));
    let _ = fs::remove_file(&probe);
    match owned {
        Err(e) if denied(&e) => Err(FileError::Owner {
            path: path.clone(),
            uid: state.uid,
            gid: state.gid,
        }),
        Err(e) => Err(io_error(folder, "writing to", e)),
        Ok(_) => Ok(()),
    }
}

/// Whether the file itself is mounted, as containers do with single files; not known where there is no `/proc`.
fn is_mount_point(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // The fifth field is the mount point, with blanks and backslashes as octal escapes (proc_pid_mountinfo(5)).
    let escaped = path
        .to_string_lossy()
        .replace('\\', "\\134")
        .replace(' ', "\\040")
        .replace('\t', "\\011");
    mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .any(|mount| mount == escaped)
}

/// A name that no other process uses.
fn uuid_like() -> String {
    let nanos = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_nanos());
    format!("{}-{nanos:x}", std::process::id())
}

/// Replaces the file's content, if it still is the one with hash `expected_sha256`.
///
/// Symbolic links stay links; the file behind them is replaced, with the same mode and owner, by a temporary file in its
/// folder that is synced and renamed. The original is kept first (see [`restore`]). The new modification time is strictly
/// later than the old one, even when that lies in the future, because the server reloads its dynamic config only then
/// (1.30.8:common/dynamicconfig/file_based_client.go). May be repeated, also after a crash at any point.
///
/// # Errors
/// [`FileError::Changed`] when the file has other content; otherwise why it cannot be replaced, before anything is
/// written.
pub fn write_if_unchanged(
    path: impl AsRef<Path>,
    expected_sha256: &str,
    new: &[u8],
    migration_id: &str,
) -> Result<Written, FileError> {
    let state = read(path.as_ref())?;
    let kept = Kept::of(&state.real_path, migration_id)?;
    let new_sha256 = sha256(new);
    if state.sha256 == new_sha256 {
        return Ok(Written::AlreadyThere);
    }
    refuse_changed(&state, expected_sha256)?;
    writable(&state)?;
    let _lock = kept.lock()?;
    // Another worker may have written between our look and the lock.
    let state = read(path.as_ref())?;
    if state.sha256 == new_sha256 {
        return Ok(Written::AlreadyThere);
    }
    refuse_changed(&state, expected_sha256)?;
    let mut journal = kept.keep(&state)?;
    kept.record(&mut journal, &state.sha256, &new_sha256)?;
    replace(&state, new, state.mode, (state.uid, state.gid))?;
    Ok(Written::Written)
}

fn refuse_changed(state: &FileState, expected: &str) -> Result<(), FileError> {
    if state.sha256 == expected {
        return Ok(());
    }
    let (expected, found) = (expected.to_owned(), state.sha256.clone());
    Err(FileError::Changed {
        path: state.real_path.clone(),
        expected,
        found,
    })
}

/// Gives the file its original bytes, mode and owner back, if all that changed it since is this migration.
///
/// May be repeated, also after a crash at any point.
///
/// # Errors
/// [`FileError::Conflict`] when someone else changed the file, before or between our writes; [`FileError::KeptDamaged`]
/// when the kept copy is not what the journal says.
pub fn restore(path: impl AsRef<Path>, migration_id: &str) -> Result<Restored, FileError> {
    let state = read(path.as_ref())?;
    let kept = Kept::of(&state.real_path, migration_id)?;
    if !kept.exists() {
        return Ok(Restored::NeverWritten);
    }
    let _lock = kept.lock()?;
    let state = read(path.as_ref())?;
    let Some(mut journal) = kept.load()? else {
        return Ok(Restored::NeverWritten);
    };
    if state.sha256 == journal.original.sha256 {
        // A write that was killed on its way may have left its temporary file.
        let _ = fs::remove_file(temporary(&state.real_path));
        return Ok(Restored::AlreadyOriginal);
    }
    if !journal.is_ours(&state.sha256) {
        return Err(FileError::Conflict {
            path: state.real_path,
            kept: kept.original().to_path_buf(),
        });
    }
    let bytes = kept.load_original(&journal)?;
    writable(&state)?;
    let original = journal.original.clone();
    kept.record(&mut journal, &state.sha256, &original.sha256)?;
    replace(&state, &bytes, original.mode, (original.uid, original.gid))?;
    Ok(Restored::Restored)
}

/// The content that the file had before this migration first wrote it; `None` when it never did.
///
/// # Errors
/// When the kept copy cannot be read, or is not what the journal says.
pub fn kept_copy(path: impl AsRef<Path>, migration_id: &str) -> Result<Option<Vec<u8>>, FileError> {
    let state = read(path.as_ref())?;
    let kept = Kept::of(&state.real_path, migration_id)?;
    kept.load()?.map(|journal| kept.load_original(&journal)).transpose()
}

/// Removes what this migration keeps of the file; after that it can no longer be restored.
///
/// # Errors
/// When the kept copy cannot be removed.
pub fn forget(path: impl AsRef<Path>, migration_id: &str) -> Result<(), FileError> {
    let path = path.as_ref();
    let real_path = fs::canonicalize(path).map_err(|e| io_error(path, "finding", e))?;
    Kept::of(&real_path, migration_id)?.forget()
}

fn replace(state: &FileState, bytes: &[u8], mode: u32, owner: (u32, u32)) -> Result<(), FileError> {
    let temp = temporary(&state.real_path);
    let outcome = replace_by(&temp, state, bytes, mode, owner);
    if outcome.is_err() {
        let _ = fs::remove_file(&temp);
    }
    outcome
}

/// The temporary file beside a file: one name, so that one left by a crash is found; the lock keeps others off it.
fn temporary(path: &Path) -> PathBuf {
    path.with_file_name(format!(
        ".{}.crossfade.tmp",
        path.file_name().unwrap_or_default().to_string_lossy()
    ))
}

fn replace_by(temp: &Path, state: &FileState, bytes: &[u8], mode: u32, owner: (u32, u32)) -> Result<(), FileError> {
    let path = &state.real_path;
    let file = write_new(temp, bytes, mode, Some(owner)).map_err(|e| io_error(temp, "writing", e))?;
    set_later(&file, state.modified).map_err(|e| io_error(temp, "dating", e))?;
    file.sync_all().map_err(|e| io_error(temp, "syncing", e))?;
    // The last look before the point of no return; what happens between here and the rename cannot be seen.
    refuse_changed(&read(path)?, &state.sha256)?;
    fs::rename(temp, path).map_err(|e| io_error(path, "replacing", e))?;
    sync_folder_of(path).map_err(|e| io_error(path, "syncing", e))
}

/// Dates the file now, or just after `old` where that is later; coarse clocks of file systems are allowed for.
fn set_later(file: &File, old: SystemTime) -> io::Result<()> {
    let now = SystemTime::now();
    for later in [Duration::from_millis(1), Duration::from_secs(1), Duration::from_secs(3)] {
        file.set_modified(now.max(old + later))?;
        if file.metadata()?.modified()? > old {
            return Ok(());
        }
    }
    Err(io::Error::other(
        "the file system does not keep a modification time later than the file's",
    ))
}
