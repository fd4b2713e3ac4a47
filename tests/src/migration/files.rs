//! The cluster's configuration files as they were at one moment.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::testbed::Testbed;

/// Content, mode and owner of every configuration file of a cluster.
#[derive(Debug, Clone)]
pub struct Files(Vec<File>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    path: PathBuf,
    content: String,
    mode: u32,
    owner: (u32, u32),
}

impl Files {
    /// The files as they are now.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn of(testbed: &Testbed) -> Result<Self> {
        let temporal = testbed.temporal();
        let configs = temporal.hosts().iter().map(|host| host.config.as_path());
        configs
            .chain([temporal.dynamic_config()])
            .map(File::read)
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Fails unless every file is byte for byte, with its mode and owner, what it was.
    ///
    /// # Errors
    /// Each file that differs, with the lines that do.
    pub fn are_unchanged(&self) -> Result<()> {
        let mut differences = String::new();
        for before in &self.0 {
            let now = File::read(&before.path)?;
            if now != *before {
                differences.push_str(&before.difference(&now));
            }
        }
        if !differences.is_empty() {
            bail!("files are not as they were:\n{differences}");
        }
        Ok(())
    }

    /// The content of every file, for what must or must not be in any of them.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.iter().map(|file| file.content.as_str()).collect()
    }
}

impl File {
    fn read(path: &Path) -> Result<Self> {
        let seen = || format!("cannot read {}", path.display());
        let metadata = fs::metadata(path).with_context(seen)?;
        Ok(Self {
            path: path.to_owned(),
            content: fs::read_to_string(path).with_context(seen)?,
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
        })
    }

    fn difference(&self, now: &Self) -> String {
        let mut text = format!("{}: mode {:o}, was {:o}\n", self.path.display(), now.mode, self.mode);
        let lines = |from: &str, other: &str, sign: char| -> String {
            from.lines()
                .filter(|line| !other.lines().any(|there| there == *line))
                .map(|line| format!("{sign} {line}\n"))
                .collect()
        };
        text.push_str(&lines(&self.content, &now.content, '-'));
        text.push_str(&lines(&now.content, &self.content, '+'));
        text
    }
}
