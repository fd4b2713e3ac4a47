//! A codec server: a small program of our own around Temporal's own handler, built with Go.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::cache::Cache;
use super::go::Go;
use super::ports::free_ports;
use super::processes::{Running, Signal};
use super::progress::Progress;
use crate::testbed::Testbed;

/// The cache's folder of the program, with the version of the SDK whose handler it is.
const RELEASE: &str = "codec-server-1.38.0";

const SOURCE: &str = include_str!("codec/main.go");

const MODULE: &str = "module codec-server\n\ngo 1.24\n\nrequire go.temporal.io/sdk v1.38.0\n";

/// A codec server that a test may stop and start again at its address.
#[derive(Debug)]
pub struct CodecServer {
    program: PathBuf,
    port: u16,
    /// What it lets in.
    auth: String,
    running: Option<Running>,
}

impl CodecServer {
    /// Starts one that lets in whoever sends `auth`.
    ///
    /// # Errors
    /// When it cannot be built, or does not start.
    pub async fn start(testbed: &Testbed, auth: &str, progress: &dyn Progress) -> Result<Self> {
        let mut server = Self {
            program: built(progress)?,
            port: free_ports(1)?[0],
            auth: auth.to_owned(),
            running: None,
        };
        server.again(testbed).await?;
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self) -> Result<()> {
        self.running
            .take()
            .map_or(Ok(()), |mut running| running.stop(Signal::Kill))
    }

    /// Starts it again, with the same key.
    ///
    /// # Errors
    /// When it does not answer within 30 s.
    pub async fn again(&mut self, testbed: &Testbed) -> Result<()> {
        let mut command = Command::new(&self.program);
        command
            .arg(format!("127.0.0.1:{}", self.port))
            .envs([("CODEC_KEY", "a key of the test's"), ("CODEC_AUTH", &self.auth)]);
        self.running = Some(testbed.spawn("codec-server", &mut command)?);
        let deadline = Instant::now() + Duration::from_secs(30);
        while reqwest::get(self.endpoint()).await.is_err() {
            ensure!(Instant::now() < deadline, "the codec server does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// The program, built unless the cache has it in this very form.
fn built(progress: &dyn Progress) -> Result<PathBuf> {
    let cache = Cache::from_environment()?;
    let folder = cache.release(RELEASE);
    let (program, source) = (folder.join("codec-server"), folder.join("main.go"));
    let _lock = cache.lock(RELEASE, progress)?;
    if program.is_file() && fs::read_to_string(&source).is_ok_and(|there| there == SOURCE) {
        return Ok(program);
    }
    let go = Go::find()
        .map_err(anyhow::Error::msg)
        .context("the codec server is built with Go")?;
    progress.started("building a codec server");
    if program.exists() {
        fs::remove_file(&program)?;
    }
    fs::write(folder.join("go.mod"), MODULE)?;
    fs::write(folder.join("main.go.partial"), SOURCE)?;
    fs::rename(folder.join("main.go.partial"), &source)?;
    go.run(&folder, &["mod", "tidy"], progress)?;
    go.run(&folder, &["build", "-o", "codec-server.partial", "."], progress)?;
    fs::rename(folder.join("codec-server.partial"), &program)?;
    progress.finished("built a codec server");
    Ok(program)
}
