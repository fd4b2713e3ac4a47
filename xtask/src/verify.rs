//! `cargo verify`: every proof that the tree holds, in order, the cheap ones first.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::Seek as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use e2e::servers::binaries::{KUBERNETES, Program, RELEASES, Release, TCTL_1_18_0, TEMPORAL_1_23_1, TEMPORAL_1_30_8};
use serde_json::{Value, json};

use crate::{servers, terminal};

/// How much to prove.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Leave out what needs real servers.
    #[arg(long)]
    without_servers: bool,

    /// Besides, every pair of stores and every server version: the slow ones.
    #[arg(long, conflicts_with = "without_servers")]
    all: bool,
}

/// The programs that the usual tests run, so that building them is a part of its own and not inside a test's time limit.
const PROGRAMS: [(&Release, Program); 11] = [
    (&TEMPORAL_1_30_8, Program::TemporalServer),
    (&TEMPORAL_1_30_8, Program::SqlTool),
    (&TEMPORAL_1_30_8, Program::ElasticsearchTool),
    (&TEMPORAL_1_30_8, Program::Tdbg),
    (&TEMPORAL_1_23_1, Program::TemporalServer),
    (&TEMPORAL_1_23_1, Program::SqlTool),
    (&TEMPORAL_1_23_1, Program::CassandraTool),
    (&TEMPORAL_1_23_1, Program::Tdbg),
    (&TCTL_1_18_0, Program::Tctl),
    (&KUBERNETES, Program::KubeApiserver),
    (&KUBERNETES, Program::KubeControllerManager),
];

/// The releases whose schema files and sample configs the tests read.
const SOURCES: [&Release; 2] = [&TEMPORAL_1_30_8, &TEMPORAL_1_23_1];

/// Variables for the commands of a part.
type Environment = Vec<(String, OsString)>;

/// One part of the proof.
enum Part {
    /// A cargo command, as a developer would type it.
    Cargo(&'static str, &'static [&'static str]),
    /// Every test target but those that are parts of their own. All packages are chosen in each part: a choice of packages has
    /// features of its own, and with them most of the tree would be built once more.
    Tests,
    /// The real servers of the usual tests, found or built; the parts after it are told where they are.
    Servers,
    /// Those of every release.
    AllServers,
}

/// Parts that run at the same time. The first one's output is shown as it comes, the others' when they are over.
type Step = &'static [Part];

/// What stands without any server.
const ALONE: [Step; 3] = [
    &[Part::Cargo("format", &["fmt", "--all", "--check"])],
    &[Part::Cargo(
        "lints",
        &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
    )],
    &[Part::Cargo("documentation", &["doc", "--workspace", "--no-deps"])],
];

/// Test targets that are parts of their own.
const APART: [&str; 6] = ["e2e", "routes", "fleet", "chaos", "engines", "pairs"];

/// Two stories at once: most of a story's time is waiting for polls and restarts.
const STORIES: Part = Part::Cargo(
    "end to end",
    &[
        "test",
        "--workspace",
        "--test",
        "e2e",
        "--test",
        "routes",
        "--",
        "--test-threads=2",
    ],
);

/// What needs them.
const ON_SERVERS: [Step; 8] = [
    &[Part::Servers],
    // Everything at once, the product's own binary with it, which the end-to-end tests start.
    &[Part::Cargo("build", &["test", "--workspace", "--no-run"])],
    &[Part::Tests, STORIES],
    &[Part::Cargo("examples", &["test", "--workspace", "--doc"])],
    // One fleet at a time: five servers each, and a client that counts the seconds.
    &[Part::Cargo(
        "fleet",
        &["test", "--workspace", "--test", "fleet", "--", "--test-threads=1"],
    )],
    &[Part::Cargo("chaos", &["test", "--workspace", "--test", "chaos"])],
    // As newcomers run it: it builds the product by itself.
    &[Part::Cargo("demo", &["demo", "--check"])],
    &[Part::Cargo("demo, postgres", &["demo", "--check", "--postgres"])],
];

/// What takes long besides.
const SLOW: [Step; 7] = [
    &[Part::AllServers],
    &[Part::Cargo(
        "oldest server",
        &[
            "test",
            "--package",
            "crossfade-cluster",
            "--test",
            "live",
            "--",
            "--ignored",
            "1_21_6",
        ],
    )],
    &[Part::Cargo(
        "engines",
        &["test", "--workspace", "--test", "engines", "--", "--test-threads=2"],
    )],
    &[Part::Cargo(
        "routes",
        &[
            "test",
            "--workspace",
            "--test",
            "routes",
            "--",
            "--include-ignored",
            "--test-threads=2",
        ],
    )],
    &[Part::Cargo(
        "pairs",
        &["test", "--workspace", "--test", "pairs", "--", "--test-threads=2"],
    )],
    &[Part::Cargo(
        "way back",
        &["test", "--workspace", "--test", "e2e", "--", "--ignored", "rollback::"],
    )],
    &[Part::Cargo(
        "mysql",
        &["test", "--package", "crossfade-stores", "--test", "mysql"],
    )],
];

impl Part {
    fn name(&self) -> &'static str {
        match self {
            Self::Cargo(name, _) => name,
            Self::Tests => "tests",
            Self::Servers => "servers",
            Self::AllServers => "all servers",
        }
    }

    /// Carries the part out, and returns what others are to be told of what it found.
    fn run(&self, environment: &Environment, output: Output) -> Result<Environment> {
        match self {
            Self::Cargo(_, arguments) => cargo(arguments, environment, output).map(|()| Vec::new()),
            Self::Tests => {
                let targets = test_targets()?;
                let mut arguments = vec!["test", "--workspace", "--lib", "--bins"];
                arguments.extend(targets.iter().flat_map(|target| ["--test", target]));
                cargo(&arguments, environment, output).map(|()| Vec::new())
            }
            Self::Servers => servers::environment(&PROGRAMS, &SOURCES),
            Self::AllServers => {
                let programs: Vec<(&Release, Program)> = RELEASES
                    .into_iter()
                    .flat_map(|release| release.programs().map(move |program| (release, program)))
                    .collect();
                servers::environment(&programs, &SOURCES)
            }
        }
    }

    /// Carries it out, and says how long it took.
    fn timed(&self, environment: &Environment, output: Output) -> (Result<Environment>, Duration) {
        let started = Instant::now();
        let outcome = self.run(environment, output);
        (outcome, started.elapsed())
    }
}

/// Runs each step, stops at the first that fails, and ends with what ran and how long it took.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut steps: Vec<Step> = ALONE.to_vec();
    if !arguments.without_servers {
        steps.extend(ON_SERVERS);
    }
    if arguments.all {
        steps.extend(SLOW);
    }
    let mut environment: Environment = vec![("RUSTDOCFLAGS".to_owned(), "-D warnings".into())];
    let mut done: Vec<(&str, Duration)> = Vec::new();
    let begun = Instant::now();
    for step in steps {
        let names: Vec<&str> = step.iter().map(Part::name).collect();
        terminal::note(&format!("==> {}", names.join(", beside it ")));
        let mut failed = Vec::new();
        for (name, (outcome, took)) in names.into_iter().zip(at_once(step, &environment)?) {
            match outcome {
                Ok(found) => {
                    environment.extend(found);
                    done.push((name, took));
                }
                Err(error) => failed.push((name, took, error)),
            }
        }
        if failed.is_empty() {
            continue;
        }
        summary(&done);
        for (name, took, error) in &failed {
            terminal::note(&format!(
                "  failed  {name:>14}  {:>6.1} s: {error:#}",
                took.as_secs_f64()
            ));
        }
        let names: Vec<&str> = failed.iter().map(|(name, ..)| *name).collect();
        bail!("verify stopped at `{}`", names.join("` and `"));
    }
    summary(&done);
    terminal::fact(&format!(
        "verified: {} parts in {:.1} s",
        done.len(),
        begun.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Carries all parts of a step out at the same time.
fn at_once(step: Step, environment: &Environment) -> Result<Vec<(Result<Environment>, Duration)>> {
    let Some((first, others)) = step.split_first() else {
        return Ok(Vec::new());
    };
    std::thread::scope(|scope| {
        let mut under_way = Vec::new();
        for part in others {
            let said = tempfile::tempfile().context("cannot make a file for what a part says")?;
            let output = Output::Kept(said.try_clone().context("cannot share a file")?);
            under_way.push((part, said, scope.spawn(move || part.timed(environment, output))));
        }
        let mut outcomes = vec![first.timed(environment, Output::Shown)];
        for (part, mut said, thread) in under_way {
            let Ok(outcome) = thread.join() else {
                bail!("`{}` ended without a result", part.name());
            };
            terminal::note(&format!("==> {}, which is over", part.name()));
            said.rewind().context("cannot read what a part said")?;
            std::io::copy(&mut said, &mut std::io::stdout()).context("cannot show what a part said")?;
            outcomes.push(outcome);
        }
        Ok(outcomes)
    })
}

fn summary(done: &[(&str, Duration)]) {
    terminal::note("==> summary");
    for (name, took) in done {
        terminal::note(&format!("      ok  {name:>14}  {:>6.1} s", took.as_secs_f64()));
    }
}

/// Where the output of a part goes.
enum Output {
    /// To where ours goes.
    Shown,
    /// Into a file.
    Kept(File),
}

fn cargo(arguments: &[&str], environment: &Environment, output: Output) -> Result<()> {
    let mut command = crate::cargo::command();
    command
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)));
    if let Output::Kept(file) = output {
        let errors = file.try_clone().context("cannot share a file")?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
    }
    let status = command.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed ({status})", arguments.join(" "));
    }
    Ok(())
}

/// The names of the workspace's test targets, without those that are parts of their own.
fn test_targets() -> Result<BTreeSet<String>> {
    let told = crate::cargo::command()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    let told: Value = serde_json::from_slice(&told.stdout).context("`cargo metadata` told no JSON")?;
    let packages = told["packages"]
        .as_array()
        .context("`cargo metadata` told no packages")?;
    let targets = packages
        .iter()
        .filter_map(|package| package["targets"].as_array())
        .flatten();
    // Those that are off by default are for whoever asks for them.
    let tests = targets.filter(|target| target["kind"] == json!(["test"]) && target["test"] == true);
    let names: BTreeSet<String> = tests
        .filter_map(|target| target["name"].as_str())
        .map(str::to_owned)
        .collect();
    // One that was renamed must not run twice, nor not at all.
    if let Some(gone) = APART.iter().find(|name| !names.contains(**name)) {
        bail!("no package has a test target `{gone}`, which is to be a part of its own");
    }
    Ok(names
        .into_iter()
        .filter(|name| !APART.contains(&name.as_str()))
        .collect())
}
