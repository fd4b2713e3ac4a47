//! `cargo xtask servers`: the real servers, found, fetched or built.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use e2e::servers::binaries::{
    self, KUBERNETES, Program, RELEASES, Release, TCTL_1_18_0, TEMPORAL_1_23_1, TEMPORAL_1_30_8,
};
use e2e::servers::cache::Cache;
use e2e::servers::jvm::{self, JVM_RELEASES, JvmRelease};

use crate::terminal;

/// The folders of server sources: schema files and sample configs, for the tests that read them.
const SOURCES_VARIABLE: &str = "CROSSFADE_SERVER_SOURCES";

/// What the usual proof of the tree and the demo run. The JVM's servers belong to it, all of them.
const USUAL: [&Release; 4] = [&TEMPORAL_1_30_8, &TEMPORAL_1_23_1, &TCTL_1_18_0, &KUBERNETES];

/// What to prepare.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only these releases (such as 1.30.8 or elasticsearch-7.10.2); what `cargo verify` needs by default.
    #[arg(long, value_name = "VERSION", value_parser = chosen, value_delimiter = ',')]
    only: Vec<Chosen>,

    /// Every release, as `cargo verify --all` needs them.
    #[arg(long, conflicts_with = "only")]
    all: bool,

    /// Print one JSON object with the path of each program.
    #[arg(long)]
    json: bool,
}

/// A release of either kind.
#[derive(Debug, Clone, Copy)]
enum Chosen {
    /// Built with Go: each program has a path.
    Go(&'static Release),
    /// Fetched with Maven: a folder.
    Jvm(&'static JvmRelease),
}

fn chosen(name: &str) -> Result<Chosen, String> {
    let found = Release::named(name).map(Chosen::Go);
    found
        .or_else(|| JvmRelease::named(name).map(Chosen::Jvm))
        .ok_or_else(|| {
            let known: Vec<&str> = RELEASES
                .into_iter()
                .map(|release| release.name)
                .chain(JVM_RELEASES.into_iter().map(|release| release.name))
                .collect();
            format!("no such release: the known ones are {}", known.join(", "))
        })
}

/// Finds, fetches or builds what `arguments` ask for and prints where each program is.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let releases = if arguments.only.is_empty() {
        let go = if arguments.all {
            RELEASES.to_vec()
        } else {
            USUAL.to_vec()
        };
        let jvm = JVM_RELEASES.into_iter().map(Chosen::Jvm);
        go.into_iter().map(Chosen::Go).chain(jvm).collect()
    } else {
        arguments.only.clone()
    };
    let mut object = serde_json::Map::new();
    for release in releases {
        match release {
            Chosen::Go(release) => {
                let wanted: Vec<(&Release, Program)> = release.programs().map(|program| (release, program)).collect();
                for (release, program, path) in prepare(&wanted)? {
                    let entry = object.entry(release.name).or_insert_with(|| serde_json::json!({}));
                    entry[program.name()] = serde_json::json!(path);
                    if !arguments.json {
                        terminal::fact(&format!("{program} {}\t{}", release.version, path.display()));
                    }
                }
            }
            Chosen::Jvm(release) => {
                let folder = prepare_jvm(release)?;
                if !arguments.json {
                    terminal::fact(&format!("{release}\t{}", folder.display()));
                }
                object.insert(release.name.to_owned(), serde_json::json!({"folder": folder}));
            }
        }
    }
    if arguments.json {
        terminal::fact(&serde_json::Value::Object(object).to_string());
    }
    Ok(())
}

/// Finds or builds each of `wanted`, with progress on stderr.
pub(crate) fn prepare<'a>(wanted: &[(&'a Release, Program)]) -> Result<Vec<(&'a Release, Program, PathBuf)>> {
    let cache = Cache::from_environment()?;
    let progress = terminal::progress();
    wanted
        .iter()
        .map(|(release, program)| {
            let path = binaries::find_or_build(&cache, release, *program, progress.as_ref())
                .with_context(|| format!("{program} {} is not to be had", release.version))?;
            Ok((*release, *program, path))
        })
        .collect()
}

/// Finds or fetches one server of the JVM, with progress on stderr.
fn prepare_jvm(release: &JvmRelease) -> Result<PathBuf> {
    jvm::find_or_fetch(&Cache::from_environment()?, release, terminal::progress().as_ref())
        .with_context(|| format!("{release} is not to be had"))
}

/// Prepares `programs`, the JVM's servers and `sources`, and returns the variables that tell others where they are.
pub(crate) fn environment(programs: &[(&Release, Program)], sources: &[&Release]) -> Result<Vec<(String, OsString)>> {
    let mut variables: Vec<(String, OsString)> = prepare(programs)?
        .into_iter()
        .map(|(release, program, path)| (release.variable(program), path.into_os_string()))
        .collect();
    for release in JVM_RELEASES {
        variables.push((release.variable.to_owned(), prepare_jvm(release)?.into_os_string()));
    }
    let given = std::env::var_os(SOURCES_VARIABLE).is_some_and(|value| !value.is_empty());
    if !given {
        let cache = Cache::from_environment()?;
        let progress = terminal::progress();
        let folders = sources
            .iter()
            .map(|release| {
                binaries::module_dir(&cache, release, progress.as_ref())
                    .with_context(|| format!("set {SOURCES_VARIABLE} where there is no Go"))
            })
            .collect::<Result<Vec<_>>>()?;
        variables.push((SOURCES_VARIABLE.to_owned(), std::env::join_paths(folders)?));
    }
    Ok(variables)
}
