//! What the demo runs: Temporal's programs, and the product's own binary.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use crossfade_plan::report::Report;
use e2e::servers::binaries::{Program, TCTL_1_18_0, TEMPORAL_1_30_8};
use e2e::servers::processes::Running;
use e2e::testbed::{Plan, Testbed};
use serde_json::Value;

use crate::{cargo, servers, terminal};

/// Names another `crossfade` than the one that is built here.
const VARIABLE: &str = "CROSSFADE_BIN";

/// The process name of the worker, and of its log.
pub(super) const WORKER: &str = "crossfade-worker";

/// What makes a young cluster behave like an old one: a restarted history service writes the records since its last
/// checkpoint again, which in a cluster of one minute is all of them, and the copy would find nothing to do. With these
/// it remembers every second where it was.
const AGED: [&str; 2] = [
    "history.visibilityProcessorUpdateAckInterval",
    "history.shardUpdateMinInterval",
];

/// The programs, each found or built.
pub(super) struct Product {
    crossfade: PathBuf,
    tctl: PathBuf,
    /// Temporal's own schema tools, by the variable that tells the worker of each.
    tools: Vec<(&'static str, PathBuf)>,
}

/// What `crossfade status` said.
pub(super) enum Asked {
    /// The status, with what the server adds.
    Answer(Value),
    /// Nobody answers right now: why.
    Silence(String),
}

/// The report, and where it is.
pub(super) struct Reported {
    /// What it says.
    pub(super) report: Report,
    /// The JSON file.
    pub(super) json: PathBuf,
    /// The HTML page beside it.
    pub(super) html: PathBuf,
}

impl Product {
    /// Finds or builds everything, with progress on stderr.
    ///
    /// # Errors
    /// When something is missing: with the choices; or when a build fails: with its words.
    pub(super) fn prepare(plan: &Plan) -> Result<Self> {
        let tools = [
            ("CROSSFADE_TEMPORAL_SQL_TOOL", plan.release, Program::SqlTool),
            // A program of its own from 1.30 on; it serves older servers too.
            (
                "CROSSFADE_TEMPORAL_ELASTICSEARCH_TOOL",
                &TEMPORAL_1_30_8,
                Program::ElasticsearchTool,
            ),
        ];
        let wanted: Vec<_> = [(plan.release, Program::TemporalServer), (&TCTL_1_18_0, Program::Tctl)]
            .into_iter()
            .chain(tools.iter().map(|(_, release, program)| (*release, *program)))
            .collect();
        let mut found = servers::prepare(&wanted)?.into_iter().map(|(_, _, path)| path).skip(1);
        Ok(Self {
            crossfade: crossfade()?,
            tctl: found.next().context("tctl was asked for")?,
            tools: tools.iter().map(|(variable, _, _)| *variable).zip(found).collect(),
        })
    }

    /// The `tctl`.
    pub(super) fn tctl(&self) -> &Path {
        &self.tctl
    }

    /// The `crossfade`.
    pub(super) fn crossfade(&self) -> &Path {
        &self.crossfade
    }

    /// Starts the worker, with every host of `testbed` in its care.
    ///
    /// # Errors
    /// When it cannot be run.
    pub(super) fn worker(&self, testbed: &Testbed) -> Result<Running> {
        let mut command = self.command(testbed);
        command
            .arg("worker")
            .envs(self.tools.iter().map(|(variable, path)| (*variable, path)));
        for host in testbed.temporal().hosts() {
            command.args(["--host", &host.name]);
        }
        testbed.spawn(WORKER, &mut command)
    }

    /// Asks for the status.
    ///
    /// # Errors
    /// When the program cannot be run, or answers in no JSON.
    pub(super) async fn status(&self, testbed: &Testbed) -> Result<Asked> {
        let mut command = tokio::process::Command::from(self.command(testbed));
        let output = command
            .args(["status", "--json"])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        if !output.status.success() {
            return Ok(Asked::Silence(
                String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            ));
        }
        let answer = serde_json::from_slice(&output.stdout).context("`crossfade status --json` answers in no JSON")?;
        Ok(Asked::Answer(answer))
    }

    /// Who did what when, in words, for a migration that did not end well.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub(super) fn audit(&self, testbed: &Testbed) -> Result<String> {
        let output = self.command(testbed).args(["audit"]).stdin(Stdio::null()).output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&said).trim().to_owned())
    }

    /// Writes the report as JSON and as an HTML page, where the testbed's end does not remove them.
    ///
    /// # Errors
    /// When it cannot be had or written.
    pub(super) fn report(&self, testbed: &Testbed) -> Result<Reported> {
        let target = std::env::current_exe().context("cannot tell where this program is")?;
        let target = target
            .ancestors()
            .nth(2)
            .context("this program is in no target folder")?;
        let name = testbed.folder().file_name().context("the testbed has a folder")?;
        let folder = target.join("demo").join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let (json, html) = (folder.join("report.json"), folder.join("report.html"));
        let output = self
            .command(testbed)
            .args(["report", "--json", "--html"])
            .arg(&html)
            .output()?;
        if !output.status.success() {
            bail!(
                "`crossfade report` failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        fs::write(&json, &output.stdout).with_context(|| format!("cannot write {}", json.display()))?;
        let report =
            serde_json::from_slice(&output.stdout).with_context(|| format!("{} is not a report", json.display()))?;
        Ok(Reported { report, json, html })
    }

    /// The product, told where the cluster is and nothing else of the caller's settings.
    fn command(&self, testbed: &Testbed) -> Command {
        let mut command = Command::new(&self.crossfade);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TEMPORAL_") {
                command.env_remove(name);
            }
        }
        command.env("TEMPORAL_ADDRESS", testbed.frontend()).env("NO_COLOR", "1");
        command
    }
}

/// Lets the cluster forget its youth; see [`AGED`].
pub(super) async fn age(testbed: &Testbed) -> Result<()> {
    let file = testbed.temporal().dynamic_config();
    let mut text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    for key in AGED {
        // A key that is there twice is a file that the server does not read.
        if !text.contains(key) {
            text.push_str(&format!("\n{key}:\n  - value: 1s\n    constraints: {{}}\n"));
        }
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    // The first checkpoint's timer was set by the default, minutes ahead.
    testbed.temporal().hosts().iter().try_for_each(|host| host.restart())?;
    testbed.temporal().serving().await
}

/// The `crossfade` binary: given, or built now, with cargo's own progress.
fn crossfade() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os(VARIABLE).filter(|given| !given.is_empty()) {
        let given = std::path::absolute(given)?;
        if !given.is_file() {
            bail!("{VARIABLE} names {}, which is not a file", given.display());
        }
        return Ok(given);
    }
    let mut build = cargo::command()
        .args([
            "build",
            "--package",
            "crossfade",
            "--message-format",
            "json-render-diagnostics",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let mut built = None;
    for line in BufReader::new(build.stdout.take().context("cargo has an output")?).lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line?) else {
            continue;
        };
        if message["target"]["name"] == "crossfade"
            && let Some(path) = message["executable"].as_str()
        {
            built = Some(PathBuf::from(path));
        }
    }
    let status = build.wait().context("cannot wait for cargo")?;
    if !status.success() {
        bail!("`cargo build --package crossfade` failed ({status})");
    }
    let built = built.context("cargo built no `crossfade`")?;
    terminal::note("built crossfade");
    Ok(built)
}
