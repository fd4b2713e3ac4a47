//! `cargo xtask servers`: the real servers, found or built.

use std::ffi::OsString;

use anyhow::{Context, Result};
use clap::Args;
use e2e::servers::binaries::{self, Program, RELEASES, Release};
use e2e::servers::cache::Cache;

use crate::terminal;

/// The folders of server sources: schema files and sample configs, for the tests that read them.
const SOURCES_VARIABLE: &str = "CROSSFADE_SERVER_SOURCES";

/// What to prepare.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only these releases (1.30.8, 1.23.1, tctl-1.18.0); all of them by default.
    #[arg(long, value_name = "VERSION", value_parser = release, value_delimiter = ',')]
    only: Vec<&'static Release>,

    /// Print one JSON object with the path of each program.
    #[arg(long)]
    json: bool,
}

fn release(name: &str) -> Result<&'static Release, String> {
    Release::named(name).ok_or_else(|| {
        let known: Vec<&str> = RELEASES.iter().map(|release| release.name).collect();
        format!("no such release: the known ones are {}", known.join(", "))
    })
}

/// Finds or builds what `arguments` ask for and prints where each program is.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let releases = if arguments.only.is_empty() {
        RELEASES.to_vec()
    } else {
        arguments.only.clone()
    };
    let wanted: Vec<(&Release, Program)> = releases
        .iter()
        .flat_map(|release| release.programs().map(move |program| (*release, program)))
        .collect();
    let found = prepare(&wanted)?;
    if arguments.json {
        let mut object = serde_json::Map::new();
        for (release, program, path) in found {
            let entry = object.entry(release.name).or_insert_with(|| serde_json::json!({}));
            entry[program.name()] = serde_json::json!(path);
        }
        terminal::fact(&serde_json::Value::Object(object).to_string());
    } else {
        for (release, program, path) in found {
            terminal::fact(&format!("{program} {}\t{}", release.version, path.display()));
        }
    }
    Ok(())
}

/// Finds or builds each of `wanted`, with progress on stderr.
pub(crate) fn prepare<'a>(
    wanted: &[(&'a Release, Program)],
) -> Result<Vec<(&'a Release, Program, std::path::PathBuf)>> {
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

/// Prepares `programs` and `sources`, and returns the variables that tell others where they are.
pub(crate) fn environment(programs: &[(&Release, Program)], sources: &[&Release]) -> Result<Vec<(String, OsString)>> {
    let mut variables: Vec<(String, OsString)> = prepare(programs)?
        .into_iter()
        .map(|(release, program, path)| (release.variable(program), path.into_os_string()))
        .collect();
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
