//! `cargo verify`: every proof that the tree holds, in order, the cheap ones first.

use std::ffi::OsString;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use e2e::servers::binaries::{KUBERNETES, Program, RELEASES, Release, TCTL_1_18_0, TEMPORAL_1_23_1, TEMPORAL_1_30_8};

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
    /// The real servers of the usual tests, found or built; the parts after it are told where they are.
    Servers,
    /// Those of every release.
    AllServers,
}

/// What stands without any server.
const ALONE: [Part; 3] = [
    Part::Cargo("format", &["fmt", "--all", "--check"]),
    Part::Cargo(
        "lints",
        &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
    ),
    Part::Cargo("documentation", &["doc", "--workspace", "--no-deps"]),
];

/// What needs them.
const ON_SERVERS: [Part; 8] = [
    Part::Servers,
    Part::Cargo("tests", &["test", "--workspace", "--exclude", "e2e"]),
    // The end-to-end tests start the product's own binary, and cargo builds that only for the tests of its own package.
    Part::Cargo("product", &["build", "--package", "crossfade"]),
    // As newcomers run it. Through cargo: the tests may have built this very program anew, and its old file is gone.
    Part::Cargo("demo", &["demo", "--check"]),
    Part::Cargo("demo, postgres", &["demo", "--check", "--postgres"]),
    // Two stories at once: most of a story's time is waiting for polls and restarts, and two cores carry no more.
    Part::Cargo(
        "end to end",
        &[
            "test",
            "--package",
            "e2e",
            "--lib",
            "--test",
            "e2e",
            "--test",
            "routes",
            "--",
            "--test-threads=2",
        ],
    ),
    // One fleet at a time: five servers each, and a client that counts the seconds.
    Part::Cargo(
        "fleet",
        &["test", "--package", "e2e", "--test", "fleet", "--", "--test-threads=1"],
    ),
    Part::Cargo("chaos", &["test", "--package", "e2e", "--test", "chaos"]),
];

/// What takes long besides.
const SLOW: [Part; 7] = [
    Part::AllServers,
    Part::Cargo(
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
    ),
    Part::Cargo(
        "engines",
        &[
            "test",
            "--package",
            "e2e",
            "--test",
            "servers",
            "--",
            "--test-threads=2",
        ],
    ),
    Part::Cargo(
        "routes",
        &[
            "test",
            "--package",
            "e2e",
            "--test",
            "routes",
            "--",
            "--include-ignored",
            "--test-threads=2",
        ],
    ),
    Part::Cargo(
        "pairs",
        &["test", "--package", "e2e", "--test", "pairs", "--", "--test-threads=2"],
    ),
    Part::Cargo(
        "way back",
        &[
            "test",
            "--package",
            "e2e",
            "--test",
            "e2e",
            "--",
            "--ignored",
            "rollback::",
        ],
    ),
    Part::Cargo("mysql", &["test", "--package", "crossfade-stores", "--test", "mysql"]),
];

impl Part {
    fn name(&self) -> &'static str {
        match self {
            Self::Cargo(name, _) => name,
            Self::Servers => "servers",
            Self::AllServers => "all servers",
        }
    }

    /// Carries the part out and adds to the environment what it found.
    fn run(&self, environment: &mut Environment) -> Result<()> {
        match self {
            Self::Cargo(_, arguments) => cargo(arguments, environment),
            Self::Servers => {
                environment.extend(servers::environment(&PROGRAMS, &SOURCES)?);
                Ok(())
            }
            Self::AllServers => {
                let programs: Vec<(&Release, Program)> = RELEASES
                    .into_iter()
                    .flat_map(|release| release.programs().map(move |program| (release, program)))
                    .collect();
                environment.extend(servers::environment(&programs, &SOURCES)?);
                Ok(())
            }
        }
    }
}

/// Runs each part, stops at the first that fails, and ends with what ran and how long it took.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut parts: Vec<&Part> = ALONE.iter().collect();
    if !arguments.without_servers {
        parts.extend(ON_SERVERS.iter());
    }
    if arguments.all {
        parts.extend(SLOW.iter());
    }
    let mut environment: Environment = vec![("RUSTDOCFLAGS".to_owned(), "-D warnings".into())];
    let mut done: Vec<(&str, Duration)> = Vec::new();
    let begun = Instant::now();
    for part in parts {
        terminal::note(&format!("==> {}", part.name()));
        let started = Instant::now();
        let outcome = part.run(&mut environment);
        let took = started.elapsed();
        if let Err(error) = outcome {
            summary(&done);
            terminal::note(&format!("  failed  {:>14}  {:>6.1} s", part.name(), took.as_secs_f64()));
            return Err(error.context(format!("verify stopped at `{}`", part.name())));
        }
        done.push((part.name(), took));
    }
    summary(&done);
    terminal::fact(&format!(
        "verified: {} parts in {:.1} s",
        done.len(),
        begun.elapsed().as_secs_f64()
    ));
    Ok(())
}

fn summary(done: &[(&str, Duration)]) {
    terminal::note("==> summary");
    for (name, took) in done {
        terminal::note(&format!("      ok  {name:>14}  {:>6.1} s", took.as_secs_f64()));
    }
}

/// Runs cargo with its own output going where ours goes.
fn cargo(arguments: &[&str], environment: &Environment) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let status = Command::new(cargo)
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed ({status})", arguments.join(" "));
    }
    Ok(())
}
