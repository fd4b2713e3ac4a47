//! The kept copy of an edited file and the journal of what was written over it.
//!
//! `<dir of file>/.crossfade/<migration id>/<file name>.original` and `<file name>.journal.json`. The journal is on disk
//! before the file changes, so after a crash at any point it is known whether the file is as it was, as we wrote it, or
//! as someone else did.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::file::{FileError, FileState, io_error, sha256};

/// What is remembered of a file for one migration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Journal {
    pub(crate) original: Original,
    pub(crate) writes: Vec<Step>,
}

/// The file as it was before the migration's first write.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Original {
    pub(crate) sha256: String,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// One write, by the hashes of the contents it leads from and to; recorded before it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    pub(crate) from: String,
    pub(crate) to: String,
}

impl Journal {
    /// Whether the content with this hash came from the original by our writes alone.
    pub(crate) fn is_ours(&self, hash: &str) -> bool {
        let mut ours = BTreeSet::from([self.original.sha256.as_str()]);
        // Each pass follows the writes at least one step further.
        for _ in &self.writes {
            ours.extend(
                self.writes
                    .iter()
                    .filter(|w| ours.contains(w.from.as_str()))
                    .map(|w| w.to.as_str())
                    .collect::<Vec<_>>(),
            );
        }
        ours.contains(hash)
    }
}

/// The folder of one migration beside one file.
pub(crate) struct Kept {
    base: PathBuf,
    dir: PathBuf,
    original: PathBuf,
    journal: PathBuf,
}

impl Kept {
    /// # Errors
    /// When the migration id cannot be a folder name.
    pub(crate) fn of(file: &Path, migration_id: &str) -> Result<Self, FileError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let good = !migration_id.is_empty() && migration_id.len() <= 128 && migration_id.chars().all(fits);
        if !good || migration_id.starts_with('.') {
            return Err(FileError::MigrationId {
                id: migration_id.to_owned(),
            });
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let base = file.parent().unwrap_or(Path::new("/")).join(".crossfade");
        let dir = base.join(migration_id);
        Ok(Self {
            original: dir.join(format!("{name}.original")),
            journal: dir.join(format!("{name}.journal.json")),
            base,
            dir,
        })
    }

    /// Where the kept copy is.
    pub(crate) fn original(&self) -> &Path {
        &self.original
    }

    /// Makes the folders (0700) and holds the lock of all migrations in this directory until dropped.
    pub(crate) fn lock(&self) -> Result<File, FileError> {
        for dir in [&self.base, &self.dir] {
            match DirBuilder::new().mode(0o700).create(dir) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    let is_dir = fs::symlink_metadata(dir)
                        .map_err(|e| io_error(dir, "looking at", e))?
                        .is_dir();
                    if !is_dir {
                        return Err(FileError::NotAFolder { path: dir.clone() });
                    }
                }
                Err(e) => return Err(io_error(dir, "creating", e)),
            }
        }
        let path = self.base.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path);
        let lock = lock.map_err(|e| io_error(&path, "opening", e))?;
        lock.lock().map_err(|e| io_error(&path, "locking", e))?;
        Ok(lock)
    }

    /// Whether this migration keeps anything of the file.
    pub(crate) fn exists(&self) -> bool {
        self.journal.exists()
    }

    /// The journal, if there is one.
    pub(crate) fn load(&self) -> Result<Option<Journal>, FileError> {
        match fs::read(&self.journal) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io_error(&self.journal, "reading", e)),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|e| FileError::KeptDamaged {
                    path: self.journal.clone(),
                    fault: e.to_string(),
                }),
        }
    }

    /// The original's content, proven to be it.
    pub(crate) fn load_original(&self, journal: &Journal) -> Result<Vec<u8>, FileError> {
        let bytes = fs::read(&self.original).map_err(|e| io_error(&self.original, "reading", e))?;
        if sha256(&bytes) == journal.original.sha256 {
            Ok(bytes)
        } else {
            let fault = "its content is not what the journal says".to_owned();
            Err(FileError::KeptDamaged {
                path: self.original.clone(),
                fault,
            })
        }
    }

    /// Keeps the file as it is now, unless this migration keeps it already, and returns the journal.
    pub(crate) fn keep(&self, state: &FileState) -> Result<Journal, FileError> {
        if let Some(journal) = self.load()? {
            self.load_original(&journal)?;
            return Ok(journal);
        }
        // A copy without a journal is from a crash before the first write: nothing was built on it.
        let owner = (state.uid, state.gid);
        replace(&self.original, &state.bytes, state.mode, Some(owner))
            .map_err(|e| io_error(&self.original, "writing", e))?;
        let original = Original {
            sha256: state.sha256.clone(),
            mode: state.mode,
            uid: state.uid,
            gid: state.gid,
        };
        let journal = Journal {
            original,
            writes: Vec::new(),
        };
        self.store(&journal)?;
        Ok(journal)
    }

    /// Records a write that is about to be done.
    pub(crate) fn record(&self, journal: &mut Journal, from: &str, to: &str) -> Result<(), FileError> {
        let write = Step {
            from: from.to_owned(),
            to: to.to_owned(),
        };
        if journal.writes.contains(&write) {
            return Ok(());
        }
        journal.writes.push(write);
        self.store(journal)
    }

    fn store(&self, journal: &Journal) -> Result<(), FileError> {
        let bytes = serde_json::to_vec_pretty(journal).map_err(|e| io_error(&self.journal, "writing", e.into()))?;
        replace(&self.journal, &bytes, 0o600, None).map_err(|e| io_error(&self.journal, "writing", e))
    }

    /// Removes what is kept, and the folders when nothing else is in them.
    pub(crate) fn forget(&self) -> Result<(), FileError> {
        for path in [&self.journal, &self.original] {
            match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_error(path, "removing", e)),
                _ => {}
            }
        }
        if fs::remove_dir(&self.dir).is_ok() && fs::read_dir(&self.base).is_ok_and(|mut left| left.all(is_lock)) {
            // Left behind, they harm nobody.
            let _ = fs::remove_file(self.base.join("lock"));
            let _ = fs::remove_dir(&self.base);
        }
        Ok(())
    }
}

fn is_lock(entry: io::Result<fs::DirEntry>) -> bool {
    entry.is_ok_and(|e| e.file_name() == "lock")
}

/// How a file stands to what one migration keeps of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The migration never wrote it.
    NeverWritten,
    /// It has its original bytes.
    Original,
    /// It is as the migration wrote it.
    Ours,
    /// Somebody else changed it since.
    Others,
}

/// How the file stands to what the migration `migration_id` keeps of it. Changes nothing.
///
/// # Errors
/// When the file or its journal cannot be read.
pub fn standing(path: impl AsRef<Path>, migration_id: &str) -> Result<Standing, FileError> {
    let state = crate::file::read(path)?;
    let journal = Kept::of(&state.real_path, migration_id)?.load()?;
    Ok(match journal {
        None => Standing::NeverWritten,
        Some(journal) if journal.original.sha256 == state.sha256 => Standing::Original,
        Some(journal) if journal.is_ours(&state.sha256) => Standing::Ours,
        Some(_) => Standing::Others,
    })
}

/// Replaces a file of ours as a whole: temporary file beside it, synced, renamed, folder synced.
fn replace(path: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    let temp = path.with_file_name(format!(
        "{}.tmp",
        path.file_name().unwrap_or_default().to_string_lossy()
    ));
    write_new(&temp, bytes, mode, owner)?.sync_all()?;
    fs::rename(&temp, path)?;
    sync_folder_of(path)
}

/// Writes a file that nobody else can read until it has its mode and owner; one left by a crash is replaced.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    if let Some((uid, gid)) = owner {
        let now = file.metadata()?;
        if (now.uid(), now.gid()) != (uid, gid) {
            fchown(&file, Some(uid), Some(gid))?;
        }
    }
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

/// Makes a rename in the folder of `path` survive a power cut.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}
