//! The operator: starts, asks, approves and steers through the real `tctl`.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::process::Command;

use super::{End, crossfade_command};
use crate::servers::binaries::{Program, TCTL_1_18_0, find_or_build};
use crate::servers::cache::Cache;
use crate::servers::processes::tail;
use crate::servers::progress::Lines;
use crate::testbed::{NAMESPACE, Testbed};

/// How long a migration may take from one awaited point to the next; restarts and polls included.
const WITHIN: Duration = Duration::from_secs(480);

/// Between two questions; each runs a program.
const PAUSE: Duration = Duration::from_millis(250);

/// An operator of one testbed.
#[derive(Debug, Clone)]
pub struct Operator {
    tctl: PathBuf,
    frontend: String,
    worker_log: PathBuf,
    variables: Vec<(String, String)>,
}

impl Operator {
    /// An operator of `testbed`, with a `tctl` that is found or built.
    ///
    /// # Errors
    /// When there is no `tctl` to be had.
    pub fn of(testbed: &Testbed) -> Result<Self> {
        let tctl = find_or_build(
            &Cache::from_environment()?,
            &TCTL_1_18_0,
            Program::Tctl,
            &Lines::default(),
        )?;
        Ok(Self {
            tctl,
            frontend: testbed.frontend().to_owned(),
            worker_log: testbed.log("worker"),
            variables: Vec::new(),
        })
    }

    /// The same operator at another cluster, which runs the workflow.
    #[must_use]
    pub fn at(mut self, control: &Testbed) -> Self {
        control.frontend().clone_into(&mut self.frontend);
        self
    }

    /// The same with these environment variables for whatever is run.
    #[must_use]
    pub fn with(mut self, variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.variables.extend(variables.iter().map(owned));
        self
    }

    /// Runs `tctl workflow ARGUMENTS`.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn tctl(&self, arguments: &[&str]) -> Result<Output> {
        Command::new(&self.tctl)
            .args([
                "--address",
                &self.frontend,
                "--namespace",
                NAMESPACE,
                "--context_timeout",
                "10",
                "workflow",
            ])
            .args(arguments)
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot run tctl")
    }

    /// As [`Operator::tctl`], and what it said on success.
    ///
    /// # Errors
    /// When it fails: with what it said.
    pub async fn told(&self, arguments: &[&str]) -> Result<String> {
        let output = self.tctl(arguments).await?;
        if !output.status.success() {
            bail!("tctl workflow {}: {}", arguments.join(" "), said(&output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts the migration `id` with `spec`.
    ///
    /// # Errors
    /// When tctl or the server refuses.
    pub async fn start(&self, id: &str, spec: &Value) -> Result<()> {
        self.start_with(id, Some(&spec.to_string())).await
    }

    /// Starts the migration `id` with any text for its input, or none.
    ///
    /// # Errors
    /// When tctl or the server refuses.
    pub async fn start_with(&self, id: &str, input: Option<&str>) -> Result<()> {
        let mut arguments = vec![
            "start",
            "--tq",
            "visibility-migration",
            "--wt",
            "VisibilityMigration",
            "-w",
            id,
        ];
        arguments.extend(input.iter().flat_map(|input| ["--input", input]));
        self.told(&arguments).await.map(drop)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When tctl or the server refuses.
    pub async fn signal(&self, id: &str, name: &str, input: Option<&str>) -> Result<()> {
        let mut arguments = vec!["signal", "-w", id, "-n", name];
        arguments.extend(input.iter().flat_map(|input| ["-i", input]));
        self.told(&arguments).await.map(drop)
    }

    /// Approves a gate.
    ///
    /// # Errors
    /// When tctl or the server refuses.
    pub async fn approve(&self, id: &str, gate: &str) -> Result<()> {
        self.signal(id, "approve", Some(&format!("\"{gate}\""))).await
    }

    /// Asks a query.
    ///
    /// # Errors
    /// When nobody answers, or not in JSON.
    pub async fn query(&self, id: &str, name: &str, input: Option<&str>) -> Result<Value> {
        let mut arguments = vec!["query", "-w", id, "--qt", name];
        arguments.extend(input.iter().flat_map(|input| ["-i", input]));
        let answer = self.told(&arguments).await?;
        let (_, list) = answer
            .split_once('[')
            .with_context(|| format!("no answer to {name}: {answer}"))?;
        let answers: Vec<Value> = serde_json::from_str(&format!("[{list}"))
            .with_context(|| format!("the answer to {name} is not JSON: {answer}"))?;
        answers
            .into_iter()
            .next()
            .with_context(|| format!("{name} has no answer"))
    }

    /// The status.
    ///
    /// # Errors
    /// As [`Operator::query`].
    pub async fn status(&self, id: &str) -> Result<Value> {
        self.query(id, "status", None).await
    }

    /// The audit log as text, a line for each entry: what, taken or refused, in words.
    ///
    /// # Errors
    /// As [`Operator::query`].
    pub async fn audit(&self, id: &str) -> Result<String> {
        let audit = self.query(id, "audit", None).await?;
        let entries = audit.as_array().context("the audit log is a list")?;
        Ok(entries
            .iter()
            .map(|entry| {
                let word = if entry["taken"] == true { "taken" } else { "refused" };
                format!("{} {word}: {}\n", text(&entry["what"]), text(&entry["entry"]))
            })
            .collect())
    }

    /// Asks for the status until `there`. While the cluster restarts nobody answers; that is waited out.
    ///
    /// # Errors
    /// When it is not there in time, or the migration stops for the operator or ends before: with the status and the
    /// end of the worker's log.
    pub async fn until(&self, id: &str, what: &str, there: impl Fn(&Value) -> bool) -> Result<Value> {
        self.until_within(WITHIN, id, what, there).await
    }

    /// As [`Operator::until`], for what takes longer.
    ///
    /// # Errors
    /// The same.
    pub async fn until_within(
        &self,
        within: Duration,
        id: &str,
        what: &str,
        there: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let deadline = Instant::now() + within;
        loop {
            let status = self.status(id).await;
            let stopped = match &status {
                Ok(status) if there(status) => return Ok(status.clone()),
                Ok(status) => is(status, "needs-operator") || is(status, "ended"),
                Err(_) => false,
            };
            if stopped || Instant::now() > deadline {
                let shown = match status {
                    Ok(status) => format!("{status:#}"),
                    Err(error) => format!("{error:#}"),
                };
                let audit = self.audit(id).await.unwrap_or_default();
                bail!(
                    "`{id}` did not get to this: {what}\nstatus: {shown}\naudit:\n{audit}\nworker:\n{}",
                    tail(&self.worker_log)
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until a gate asks for its approval.
    ///
    /// # Errors
    /// As [`Operator::until`].
    pub async fn at_gate(&self, id: &str, gate: &str) -> Result<Value> {
        self.until(id, &format!("waiting at gate {gate}"), |status| awaits(status, gate))
            .await
    }

    /// Waits until the migration has ended.
    ///
    /// # Errors
    /// When it does not in time: with the status and the end of the worker's log.
    pub async fn end(&self, testbed: &Testbed, id: &str) -> Result<End> {
        // The status tells early what would else only be a deadline that passes.
        self.until(id, "its end", |status| is(status, "ended")).await?;
        End::of(
            &testbed.client(NAMESPACE).await?,
            NAMESPACE,
            id,
            Duration::from_secs(30),
        )
        .await
    }

    /// How many events the workflow's history has, by `tctl workflow describe`.
    ///
    /// # Errors
    /// When tctl does not say.
    pub async fn history_length(&self, id: &str) -> Result<u64> {
        let described = self.told(&["describe", "-w", id]).await?;
        let described: Value =
            serde_json::from_str(&described).with_context(|| format!("describe answers {described}"))?;
        let length = &described["workflowExecutionInfo"]["historyLength"];
        length
            .as_u64()
            .or_else(|| length.as_str()?.parse().ok())
            .with_context(|| format!("no history length in {described:#}"))
    }

    /// The whole history as tctl prints it.
    ///
    /// # Errors
    /// When tctl does not print it.
    pub async fn history(&self, id: &str) -> Result<String> {
        self.told(&["show", "-w", id, "--print_full", "--max_field_length", "1000000"])
            .await
    }

    /// Runs a command of the product's own CLI, and returns what it printed under `--json`.
    ///
    /// # Errors
    /// When it fails: with what it said.
    pub async fn crossfade(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = Command::from(crossfade_command(&self.frontend)?);
        let output = command
            .args(arguments)
            .arg("--json")
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .output()
            .await?;
        if !output.status.success() {
            bail!("crossfade {}: {}", arguments.join(" "), said(&output));
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("not JSON: {}", said(&output)))
    }
}

/// Whether a status says this condition.
#[must_use]
pub fn is(status: &Value, condition: &str) -> bool {
    status["condition"]["is"] == condition
}

/// Whether a status waits for the approval of `gate`.
#[must_use]
pub fn awaits(status: &Value, gate: &str) -> bool {
    is(status, "awaiting-approval") && status["condition"]["gate"] == gate
}

/// The stage that a status names.
#[must_use]
pub fn stage(status: &Value) -> &str {
    text(&status["stage"])
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn said(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
