//! All that a migration tells, and to whom it tells it: the history, logs, metrics, answers and what it keeps. No secret is in it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::migration::{Planted, raw_history};
use crate::scene::Scene;
use crate::testbed::{NAMESPACE, Testbed};

/// Fails when one of `secrets` is anywhere in what migration `id` told, or in `more`, in any form.
///
/// # Errors
/// Where it is and in which form, or what cannot be asked.
pub async fn tells_no_secret(
    scene: &Scene,
    id: &str,
    secrets: &[&str],
    more: Vec<(&'static str, Vec<u8>)>,
) -> Result<()> {
    let operator = &scene.operator;
    let query = async |name| anyhow::Ok(operator.query(id, name, None).await?.to_string().into_bytes());
    let program = async |command| {
        let told = operator.crossfade(&[command, "--id", id]).await?;
        anyhow::Ok(told.to_string().into_bytes())
    };
    let mut told = vec![
        (
            "the history",
            raw_history(&scene.testbed.client(NAMESPACE).await?, NAMESPACE, id).await?,
        ),
        (
            "the history as tctl prints it",
            operator.history(id).await?.into_bytes(),
        ),
        ("the worker's log", fs::read(scene.worker.log())?),
        ("the worker's metrics", scene.worker.metrics().await?.into_bytes()),
        ("the plan with its diffs", query("plan").await?),
        ("the report", query("report").await?),
        ("the status", query("status").await?),
        ("the audit log", operator.audit(id).await?.into_bytes()),
        ("crossfade status", program("status").await?),
        ("crossfade report", program("report").await?),
    ];
    told.extend(more);
    for secret in secrets {
        let planted = Planted::new(secret);
        for (what, text) in &told {
            ensure!(!text.is_empty(), "{what} says nothing");
            planted.is_not_in(what, text)?;
        }
    }
    Ok(())
}

/// What is kept beside the configuration files: every name, and every content but those of the files' own copies, which
/// are the server's files as they were. Only their owner may look at any of it.
///
/// # Errors
/// When others may, or nothing is kept.
pub fn kept_beside_the_files(testbed: &Testbed) -> Result<String> {
    let mut text = String::new();
    let mut copies = 0;
    for host in testbed.temporal().hosts() {
        let beside = host.config.parent().context("a file is in a folder")?;
        let mut folders = vec![beside.join(".crossfade")];
        while let Some(folder) = folders.pop() {
            private(&folder, 0o700)?;
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                text.push_str(&format!("{}\n", path.display()));
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if let Some(name) = name.strip_suffix(".original") {
                    copies += 1;
                    let (was, is) = (fs::metadata(beside.join(name))?, fs::metadata(&path)?);
                    ensure!((was.mode(), was.uid()) == (is.mode(), is.uid()), "{}", path.display());
                } else {
                    private(&path, 0o600)?;
                    text.push_str(&fs::read_to_string(&path)?);
                }
            }
        }
    }
    ensure!(copies > 0, "no file was kept:\n{text}");
    Ok(text)
}

fn private(path: &Path, mode: u32) -> Result<()> {
    let is = fs::metadata(path)?.mode() & 0o7777;
    ensure!(is == mode, "{} has mode {is:o}", path.display());
    Ok(())
}
