//! The built `crossfade` program.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Names another binary than the one beside the tests.
const VARIABLE: &str = "CROSSFADE_BIN";

/// The `crossfade` binary: the one that `CROSSFADE_BIN` names, else the one that cargo built beside these tests.
///
/// # Errors
/// When it is not there: with the command that builds it.
pub fn crossfade() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os(VARIABLE).filter(|given| !given.is_empty()) {
        let given = PathBuf::from(given);
        if !given.is_file() {
            bail!("{VARIABLE} names {}, which is not a file", given.display());
        }
        return Ok(given);
    }
    // A test is target/PROFILE/deps/e2e-HASH, other programs are target/PROFILE/NAME.
    let this = std::env::current_exe().context("cannot tell where this test is")?;
    let folder = this.parent().context("this test is in no target folder")?;
    let folder = folder.parent().filter(|_| folder.ends_with("deps")).unwrap_or(folder);
    let program = folder.join("crossfade");
    if !program.is_file() {
        bail!(
            "there is no {}: run `cargo build -p crossfade` first, or set {VARIABLE} to a binary",
            program.display()
        );
    }
    Ok(program)
}

/// A command of the product, told where the migration's workflow runs and nothing else of the caller's settings.
///
/// # Errors
/// When the program is not there.
pub fn crossfade_command(frontend: &str) -> Result<Command> {
    let mut command = Command::new(crossfade()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TEMPORAL_") {
            command.env_remove(name);
        }
    }
    command.env("TEMPORAL_ADDRESS", frontend).env("NO_COLOR", "1");
    Ok(command)
}
