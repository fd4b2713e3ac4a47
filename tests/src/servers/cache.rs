//! The folder that keeps built programs between runs and between checkouts.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::progress::Progress;

/// Where built servers are kept: outside any checkout, so that a clean one finds them.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// Held while one process changes a part of the cache; the lock ends with the value, or with the process.
#[derive(Debug)]
pub struct CacheLock {
    _file: File,
}

impl Cache {
    /// The cache that the environment names: `CROSSFADE_CACHE`, else `XDG_CACHE_HOME/crossfade`, else `~/.cache/crossfade`.
    ///
    /// # Errors
    /// When none of the three variables says where, or one of them is not an absolute path.
    pub fn from_environment() -> Result<Self> {
        let named = |variable: &str| {
            std::env::var_os(variable)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let (variable, root) = if let Some(path) = named("CROSSFADE_CACHE") {
            ("CROSSFADE_CACHE", path)
        } else if let Some(path) = named("XDG_CACHE_HOME") {
            ("XDG_CACHE_HOME", path.join("crossfade"))
        } else if let Some(path) = named("HOME") {
            ("HOME", path.join(".cache/crossfade"))
        } else {
            bail!("no place for the cache of built servers: set CROSSFADE_CACHE to a folder");
        };
        if root.is_relative() {
            bail!(
                "{variable} gives the cache folder {}, which is relative: an absolute path is needed",
                root.display()
            );
        }
        Ok(Self { root })
    }

    /// A cache in the folder `root`, for tests of the cache itself.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The cache's own folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of one release, such as `1.30.8` or `tctl-1.18.0`. It need not exist.
    #[must_use]
    pub fn release(&self, name: &str) -> PathBuf {
        self.root.join("servers").join(name)
    }

    /// Waits until no other process builds `release`, and keeps others out until the lock is dropped.
    ///
    /// # Errors
    /// When the folder or the lock file cannot be made.
    pub fn lock(&self, release: &str, progress: &dyn Progress) -> Result<CacheLock> {
        let folder = self.release(release);
        fs::create_dir_all(&folder).with_context(|| {
            format!(
                "cannot make the cache folder {}: set CROSSFADE_CACHE to one that can be written",
                folder.display()
            )
        })?;
        let path = folder.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open the lock file {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                progress.detail(&format!("waiting for another build of {release}"));
                file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        Ok(CacheLock { _file: file })
    }
}
