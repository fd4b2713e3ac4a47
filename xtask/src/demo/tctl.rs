//! The operator's hands: real `tctl`, each command shown as it is typed.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::screen::Screen;

/// How long a command is typed again while the frontend restarts.
const TRIED_FOR: Duration = Duration::from_secs(60);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// A `tctl` that talks to one cluster.
pub(super) struct Tctl<'a> {
    program: &'a Path,
    frontend: &'a str,
    screen: &'a Screen,
}

impl<'a> Tctl<'a> {
    pub(super) fn new(program: &'a Path, frontend: &'a str, screen: &'a Screen) -> Self {
        Self {
            program,
            frontend,
            screen,
        }
    }

    /// Types `tctl ARGUMENTS` and returns what it said.
    ///
    /// # Errors
    /// When it fails for a minute: with what it said.
    pub(super) async fn type_in(&self, arguments: &[&str]) -> Result<String> {
        self.screen.command(&shown("tctl", arguments));
        let deadline = Instant::now() + TRIED_FOR;
        loop {
            let output = self.run(arguments).await?;
            if output.status.success() {
                return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
            }
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).trim().to_owned();
            // The one thing that passes by itself: the cluster that is migrated is the one that answers.
            let away = [
                "Unavailable",
                "connection refused",
                "DeadlineExceeded",
                "context deadline exceeded",
            ];
            if Instant::now() > deadline || !away.iter().any(|word| said.contains(word)) {
                bail!("`{}` failed: {said}", shown("tctl", arguments));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// How many executions of `namespace` the cluster itself finds for a List Filter.
    ///
    /// # Errors
    /// When it does not answer with a number.
    pub(super) async fn count(&self, namespace: &str, filter: &str) -> Result<u64> {
        let said = self
            .type_in(&["--namespace", namespace, "workflow", "count", "--query", filter])
            .await?;
        said.split_whitespace()
            .rev()
            .find_map(|word| word.parse().ok())
            .with_context(|| format!("tctl counts so: {said}"))
    }

    /// The same command for somebody who types it in a terminal of their own.
    pub(super) fn for_people(&self, arguments: &[&str]) -> String {
        let address = ["--address", self.frontend];
        shown(&self.program.to_string_lossy(), &[&address, arguments].concat())
    }

    async fn run(&self, arguments: &[&str]) -> Result<Output> {
        Command::new(self.program)
            .args(arguments)
            // As the environment of whoever plays with it: no `--address` in every command.
            .env("TEMPORAL_CLI_ADDRESS", self.frontend)
            .env("TEMPORAL_CONTEXT_TIMEOUT", "15")
            .env_remove("TEMPORAL_CLI_NAMESPACE")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("cannot run {}", self.program.display()))
    }
}

/// A command as a shell takes it.
pub(super) fn shown(program: &str, arguments: &[&str]) -> String {
    let plain = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_./:=".contains(c));
    let word = |word: &str| {
        if plain(word) {
            word.to_owned()
        } else if word.contains('\'') && !word.contains(['"', '$', '`', '\\', '!']) {
            format!("\"{word}\"")
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    std::iter::once(program)
        .chain(arguments.iter().copied())
        .map(word)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_command_is_shown_as_a_shell_takes_it() {
        let arguments = ["signal", "-w", "id", "-i", "\"dual-write\"", "it's", "it's $5"];
        assert_eq!(
            shown("tctl", &arguments),
            r#"tctl signal -w id -i '"dual-write"' "it's" 'it'\''s $5'"#
        );
    }
}
