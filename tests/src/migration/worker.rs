//! A worker of the product, which tests may kill at any moment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::crossfade_command;
use crate::servers::ports::free_ports;
use crate::servers::processes::{Running, Signal};
use crate::testbed::Testbed;

/// `crossfade worker --host ...` for every host of a testbed, as a process. Its log goes on over restarts.
#[derive(Debug)]
pub struct Worker {
    name: String,
    /// The frontend of the cluster that runs the workflow.
    frontend: String,
    hosts: Vec<String>,
    variables: Vec<(String, String)>,
    /// What its command begins with.
    under: Vec<String>,
    log: PathBuf,
    /// Where it serves its metrics.
    port: u16,
    running: Option<Running>,
}

impl Worker {
    /// Starts one that serves every host of `testbed`, with these environment variables.
    ///
    /// # Errors
    /// When the program is not there or cannot be run.
    pub fn start(testbed: &Testbed, variables: &[(&str, &str)]) -> Result<Self> {
        Self::named("worker", testbed, variables)
    }

    /// Starts one more, with a name and a log of its own.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub fn named(name: &str, testbed: &Testbed, variables: &[(&str, &str)]) -> Result<Self> {
        let hosts = testbed.temporal().hosts().iter().map(|host| host.name.as_str());
        Self::of_hosts(name, testbed, &hosts.collect::<Vec<_>>(), variables)
    }

    /// Starts one that serves some of the hosts.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub fn of_hosts(name: &str, testbed: &Testbed, hosts: &[&str], variables: &[(&str, &str)]) -> Result<Self> {
        let mut worker = Self {
            name: name.to_owned(),
            frontend: testbed.frontend().to_owned(),
            hosts: hosts.iter().map(ToString::to_string).collect(),
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            under: Vec::new(),
            log: testbed.log(name),
            port: free_ports(1)?[0],
            running: None,
        };
        worker.again(testbed)?;
        Ok(worker)
    }

    /// Has it serve these hosts from its next start on.
    pub fn serves(&mut self, hosts: &[&str]) {
        self.hosts = hosts.iter().map(ToString::to_string).collect();
    }

    /// Has it poll another cluster, which runs the workflow, from its next start on.
    pub fn polls(&mut self, control: &Testbed) {
        control.frontend().clone_into(&mut self.frontend);
    }

    /// Has it know these environment variables as well from its next start on.
    pub fn knows(&mut self, variables: &[(&str, &str)]) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.variables.extend(variables.iter().map(owned));
    }

    /// Has it run by another program from its next start on, which takes its command for arguments.
    pub fn runs_under(&mut self, program: Vec<String>) {
        self.under = program;
    }

    /// Starts it again after it was killed.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub fn again(&mut self, testbed: &Testbed) -> Result<()> {
        let mut command = crossfade_command(&self.frontend)?;
        command.arg("worker").envs(self.variables.iter().cloned());
        for host in &self.hosts {
            command.args(["--host", host]);
        }
        command.args(["--metrics", &self.port.to_string()]);
        let mut command = under(&self.under, command);
        self.running = Some(testbed.spawn(&self.name, &mut command)?);
        Ok(())
    }

    /// Ends it by SIGKILL, in the middle of whatever it does.
    ///
    /// # Errors
    /// When it was not running any more: it must not end by itself.
    pub fn kill(&mut self) -> Result<()> {
        let mut running = self.running.take().context("the worker was killed before")?;
        anyhow::ensure!(
            running.is_running(),
            "the worker had ended by itself; see {}",
            self.log.display()
        );
        running.stop(Signal::Kill)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.running.as_ref().context("the worker does not run")?.signal(signal)
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.running.as_mut().is_some_and(Running::is_running)
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Running::pid)
    }

    /// What it tells Prometheus.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<String> {
        let address = format!("http://127.0.0.1:{}/metrics", self.port);
        let answer = reqwest::get(&address).await?.error_for_status()?;
        Ok(answer.text().await?)
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// All of its output.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn output(&self) -> Result<String> {
        let bytes = fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// `command`, run by the program that `under` begins with; itself where there is none.
fn under(under: &[String], command: Command) -> Command {
    let Some((program, arguments)) = under.split_first() else {
        return command;
    };
    let mut wrapped = Command::new(program);
    wrapped
        .args(arguments)
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    wrapped
}
