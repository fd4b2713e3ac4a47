//! Temporal's own description of a migration ("How to migrate Visibility database"), told step by step as it happens.
//!
//! What is shown of files is read from the files themselves, and not from what the product says that it did.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use crossfade_plan::progress::{Condition, Status};
use crossfade_plan::stage::Stage;
use e2e::testbed::Testbed;
use similar::TextDiff;

use super::screen::Screen;

/// Lines around a change.
const CONTEXT: usize = 2;

/// A part of the documentation: its heading, and what becomes of it here.
struct Part {
    /// The stages that carry it out.
    stages: &'static [Stage],
    heading: &'static str,
    words: &'static [&'static str],
}

/// The documentation's parts in its own order.
const PARTS: [Part; 4] = [
    Part {
        stages: &[Stage::Preflight],
        heading: "Before you begin: supported databases and versions",
        words: &[
            "The server's version, both stores, their schemas and every host's files are looked at; nothing is changed.",
            "Cassandra to Elasticsearch is open on servers from 1.21 to 1.23.",
        ],
    },
    Part {
        stages: &[Stage::PrepareTarget, Stage::DualWrite],
        heading: "Set up secondary Visibility store",
        words: &[
            "1. Elasticsearch becomes the secondary store in the cluster's configuration, and gets its index by Temporal's own tool.",
            "2. The dynamic config keys come first, as off: this server looks only once, at its start, whether they are there.",
            "   Each host is restarted and proven to serve. Then writing is set to dual, and reading stays with the primary.",
        ],
    },
    Part {
        stages: &[Stage::ExistingRecords, Stage::Verify],
        heading: "Run in dual mode",
        words: &[
            "Everything new is written to both stores. What was there before is in Cassandra alone, and nobody waits here for",
            "the Retention Period or for open executions to close: each is brought over now, and every record is compared.",
        ],
    },
    Part {
        stages: &[Stage::Cutover, Stage::Promote, Stage::Finish],
        heading: "Deprecate primary Visibility store",
        words: &[
            "1. Reading moves to the secondary store by dynamic config, and what it answers is verified.",
            "2. The secondary becomes the primary in the configuration, and the dynamic config keys are removed, once the last",
            "   host runs with the new one.",
        ],
    },
];

/// Who tells it.
pub(super) struct Narrator<'a> {
    screen: &'a Screen,
    files: Vec<Watched>,
    told: BTreeSet<&'static str>,
    waited_for: String,
}

/// A file, and what was in it when it was last looked at.
struct Watched {
    what: String,
    path: PathBuf,
    text: String,
}

impl<'a> Narrator<'a> {
    /// A narrator of `testbed`, who has read every configuration file as it is now.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(super) fn of(testbed: &Testbed, screen: &'a Screen) -> Result<Self> {
        let temporal = testbed.temporal();
        let hosts = temporal.hosts().iter().map(|host| {
            (
                format!("host {}, Cluster configuration", host.name),
                host.config.as_path(),
            )
        });
        let dynamic = ("dynamic configuration".to_owned(), temporal.dynamic_config());
        let files = hosts
            .chain([dynamic])
            .map(|(what, path)| {
                Ok(Watched {
                    what,
                    path: path.to_owned(),
                    text: read(path)?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            screen,
            files,
            told: BTreeSet::new(),
            waited_for: String::new(),
        })
    }

    /// Tells what has come since the last look: a new part, a changed file, something that is waited for.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn look(&mut self, status: &Status) -> Result<()> {
        for part in PARTS {
            if part.stages.contains(&status.stage) && self.told.insert(part.heading) {
                self.screen.heading(part.heading);
                for line in part.words {
                    self.screen.line(&format!("  {line}"));
                }
            }
        }
        for file in &mut self.files {
            let now = read(&file.path)?;
            if now == file.text {
                continue;
            }
            self.screen
                .step("changed", &format!("{}: {}", file.what, file.path.display()));
            let diff = TextDiff::from_lines(&file.text, &now);
            for hunk in diff.unified_diff().context_radius(CONTEXT).iter_hunks() {
                for line in hunk.to_string().lines() {
                    self.screen.line(&format!("      {line}"));
                }
            }
            file.text = now;
        }
        let waited_for = match &status.condition {
            Condition::Waiting { reason, .. } => reason.as_str(),
            Condition::Running { doing } | Condition::RollingBack { doing } => doing.as_str(),
            _ => "",
        };
        if waited_for != self.waited_for {
            waited_for.clone_into(&mut self.waited_for);
            if !waited_for.is_empty() {
                self.screen.step("doing", waited_for);
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
