//! A server on Java, of one node, as a process of a testbed: what every one of them can be made to suffer.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::java::Java;
use super::processes::{Processes, Running, Signal};

/// How long one question whether it is ready may take.
const ASKED_WITHIN: Duration = Duration::from_secs(5);

/// A node: what starts it, and its process while it runs. It is stopped when dropped.
#[derive(Debug)]
pub struct Node {
    name: String,
    folder: PathBuf,
    port: u16,
    java: Java,
    arguments: Vec<OsString>,
    ready_within: Duration,
    running: Option<Running>,
}

impl Node {
    /// A node that is not started yet, by the `name` of its process, with its data and its log in `folder`; `arguments`
    /// are those of `java`, and `port` is the one for clients.
    pub(super) fn new(
        name: &str,
        folder: &Path,
        port: u16,
        arguments: Vec<OsString>,
        ready_within: Duration,
    ) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
            port,
            java: Java::find()?,
            arguments,
            ready_within,
            running: None,
        })
    }

    /// Starts the process, and waits until it is `ready`; one that runs is stopped before.
    ///
    /// # Errors
    /// When it is not ready in time: with why, and the end of its log.
    pub(super) async fn start(
        &mut self,
        processes: &Processes,
        ready: impl AsyncFn(&Self) -> Result<()>,
    ) -> Result<()> {
        self.stop()?;
        let mut command = Command::new(self.java.program());
        command.args(&self.arguments).current_dir(&self.folder);
        // Options from outside would lift the bound on the heap.
        command.env_remove("JAVA_TOOL_OPTIONS").env_remove("JDK_JAVA_OPTIONS");
        self.running = Some(processes.spawn(&self.name, &mut command, &self.log())?);
        let deadline = Instant::now() + self.ready_within;
        loop {
            let refused = match tokio::time::timeout(ASKED_WITHIN, ready(self)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => format!("no answer within {ASKED_WITHIN:?}"),
            };
            if Instant::now() > deadline || !self.running.as_mut().is_some_and(Running::is_running) {
                bail!(
                    "{} did not start: {refused}\n{}",
                    self.name,
                    super::processes::tail(&self.log())
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops the node as an administrator would.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn stop(&mut self) -> Result<()> {
        self.end(Signal::Term)
    }

    /// Kills the node: its next start recovers from its log.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn kill(&mut self) -> Result<()> {
        self.end(Signal::Kill)
    }

    /// Freezes the node: connections are still taken, nothing is answered.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::Stop)
    }

    /// Lets a frozen node go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::Continue)
    }

    /// Leaves the node running when this value is dropped.
    pub fn keep(&mut self) {
        if let Some(running) = &mut self.running {
            running.keep();
        }
    }

    /// The port for clients on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The node's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.running
            .as_ref()
            .with_context(|| format!("{} does not run", self.name))?
            .signal(signal)
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        self.running.take().map_or(Ok(()), |mut running| running.stop(signal))
    }
}
