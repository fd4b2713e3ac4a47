//! The durable memory of one restart: a small file, written before it and after it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::incarnation::Incarnation;
use crate::restart::RestartError;

/// Where a restart stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It was begun, and whether it came to its end is not known.
    Restarting,
    /// It is done.
    Done,
}

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    pub(crate) state: State,
    /// When it was begun, or done.
    pub(crate) at: Timestamp,
    /// How often it was begun.
    pub(crate) attempts: u32,
    /// The life of the service before the first attempt.
    pub(crate) before: Option<Incarnation>,
    /// The program of the last attempt.
    pub(crate) program: Option<Program>,
}

/// A program that we started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Program {
    pub(crate) pid: u32,
    pub(crate) life: Incarnation,
}

/// The files of one restart.
pub(crate) struct Files {
    marker: PathBuf,
    lock: PathBuf,
    /// What the program printed.
    pub(crate) log: PathBuf,
    dir: PathBuf,
}

impl Files {
    /// Names the files and makes their folder, for its owner only.
    pub(crate) fn new(dir: &Path, key: &str) -> Result<Self, RestartError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if key.is_empty() || key.len() > 128 || key.starts_with('.') || !key.chars().all(fits) {
            return Err(RestartError::Key { key: key.to_owned() });
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|source| RestartError::File {
                path: dir.to_owned(),
                source,
            })?;
        let file = |kind: &str| dir.join(format!("{key}.restart.{kind}"));
        Ok(Self {
            marker: file("json"),
            lock: file("lock"),
            log: file("log"),
            dir: dir.to_owned(),
        })
    }

    /// Waits until no other attempt, of this or another process, is at work. The lock ends with the process.
    pub(crate) async fn lock(&self, within: Duration) -> Result<File, RestartError> {
        let failed = |source| RestartError::File {
            path: self.lock.clone(),
            source,
        };
        let file = private()
            .create(true)
            .truncate(false)
            .open(&self.lock)
            .map_err(failed)?;
        let asked = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
                Err(TryLockError::WouldBlock) if asked.elapsed() >= within => {
                    return Err(RestartError::Busy {
                        lock: self.lock.clone(),
                        waited: asked.elapsed(),
                    });
                }
                Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// A fresh file for the program's output.
    pub(crate) fn open_log(&self) -> Result<File, RestartError> {
        private()
            .create(true)
            .truncate(true)
            .read(true)
            .open(&self.log)
            .map_err(|source| RestartError::File {
                path: self.log.clone(),
                source,
            })
    }

    pub(crate) fn read(&self) -> Result<Option<Marker>, RestartError> {
        match fs::read(&self.marker) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RestartError::File {
                path: self.marker.clone(),
                source,
            }),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| RestartError::Marker {
                    path: self.marker.clone(),
                    reason: error.to_string(),
                }),
        }
    }

    /// Writes the whole marker or nothing, and not before it is on the disk.
    pub(crate) fn write(&self, marker: &Marker) -> std::io::Result<()> {
        let fresh = self.marker.with_extension("json.new");
        let mut file = private().create(true).truncate(true).open(&fresh)?;
        serde_json::to_writer(&mut file, marker)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&fresh, &self.marker)?;
        File::open(&self.dir)?.sync_all()
    }

    pub(crate) fn note(&self, marker: &Marker) -> Result<(), RestartError> {
        self.write(marker).map_err(|source| RestartError::File {
            path: self.marker.clone(),
            source,
        })
    }

    /// Removes what there is.
    pub(crate) fn remove(&self) -> Result<(), RestartError> {
        for path in [&self.marker, &self.log, &self.lock] {
            match fs::remove_file(path) {
                Err(source) if source.kind() != ErrorKind::NotFound => {
                    return Err(RestartError::File {
                        path: path.clone(),
                        source,
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}
