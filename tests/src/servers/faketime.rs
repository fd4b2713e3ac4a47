//! A wrong clock for a process of this machine, by libfaketime: what it asks the time of is ahead or behind by as much as
//! a file says, which may change while the process runs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::progress::Progress;

/// Where Debian and others put it, below a folder of libraries.
const PLACES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime",
    "/usr/lib/aarch64-linux-gnu/faketime",
    "/usr/lib64/faketime",
    "/usr/lib/faketime",
];

/// The library for processes with many threads.
const LIBRARY: &str = "libfaketimeMT.so.1";

/// A clock that can be set.
#[derive(Debug)]
pub struct Faketime {
    library: PathBuf,
    file: PathBuf,
}

impl Faketime {
    /// A right clock, that `file` sets.
    ///
    /// # Errors
    /// When there is no libfaketime: how to get it. When the file cannot be written.
    pub fn of(file: &Path, progress: &dyn Progress) -> Result<Self> {
        let clock = Self {
            library: find_or_install(progress)?,
            file: file.to_owned(),
        };
        clock.set("+0s")?;
        Ok(clock)
    }

    /// Sets it: `-60s` is a minute behind.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set(&self, offset: &str) -> Result<()> {
        // Replaced in one step: the process may read it at any moment.
        let fresh = self.file.with_extension("fresh");
        fs::write(&fresh, format!("{offset}\n")).with_context(|| format!("cannot write {}", fresh.display()))?;
        fs::rename(&fresh, &self.file).with_context(|| format!("cannot write {}", self.file.display()))
    }

    /// The environment of a process that goes by this clock. What measures durations goes on as before, and so do the times of
    /// files.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
    }
}

fn find() -> Option<PathBuf> {
    PLACES
        .iter()
        .map(|folder| Path::new(folder).join(LIBRARY))
        .find(|library| library.is_file())
}

fn find_or_install(progress: &dyn Progress) -> Result<PathBuf> {
    if let Some(library) = find() {
        return Ok(library);
    }
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if is_root && Path::new("/usr/bin/apt-get").exists() {
        progress.started("installing libfaketime with apt-get");
        let output = Command::new("apt-get")
            .args(["install", "-y", "--no-install-recommends", "libfaketime"])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output()
            .context("cannot run apt-get")?;
        if let Some(library) = find() {
            progress.finished("installed libfaketime");
            return Ok(library);
        }
        bail!(
            "apt-get install libfaketime failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    bail!(
        "libfaketime is needed and was not found in {}. Install it (Debian: `apt-get install libfaketime`)",
        PLACES.join(", ")
    )
}
