//! What the configuration files must say after a migration that went to its end, worked out from what they said before.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::servers::postgres::PASSWORD;
use crate::testbed::Testbed;

/// The configuration files before a migration.
pub(super) struct Former(Vec<(String, String)>);

impl Former {
    pub(super) fn of(testbed: &Testbed) -> Result<Self> {
        let hosts = testbed.temporal().hosts().iter();
        hosts
            .map(|host| Ok((host.config.display().to_string(), read(&host.config)?)))
            .collect::<Result<_>>()
            .map(Self)
    }

    /// What is wrong with the static files, the cluster having moved to the store `name` with this entry of the spec: they
    /// mean what they meant with another Visibility store and nothing else, and every line that has nothing to do with that
    /// is where it was.
    pub(super) fn complaints(&self, source: &str, name: &str, entry: &Value, keep_source: bool) -> Result<Vec<String>> {
        let mut complaints = Vec::new();
        for (path, before) in &self.0 {
            let after = read(Path::new(path))?;
            let mut expected: Value = yaml_serde::from_str(before).with_context(|| path.clone())?;
            let found: Value = yaml_serde::from_str(&after).with_context(|| path.clone())?;
            let persistence = &mut expected["persistence"];
            persistence["visibilityStore"] = json!(name);
            persistence["datastores"][name] = resolved(entry.clone());
            if !keep_source && let Some(stores) = persistence["datastores"].as_object_mut() {
                stores.remove(source);
            }
            if expected != found {
                complaints.push(format!("{path} means {found:#}, expected {expected:#}"));
            }
            let mut lines = after.lines();
            let others = before.lines().filter(|line| {
                let line = line.trim_start();
                line.starts_with('#') || line.starts_with("services") || line.starts_with("clusterMetadata")
            });
            for line in others {
                if !lines.any(|there| there == line) {
                    complaints.push(format!("{path} lost the line `{line}`, or has it elsewhere"));
                    break;
                }
            }
        }
        Ok(complaints)
    }
}

/// The entry as the server reads it: a spec names a password by its file.
fn resolved(mut entry: Value) -> Value {
    if entry["sql"]["password"].is_object() {
        entry["sql"]["password"] = json!(PASSWORD);
    }
    entry
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
