//! The programs that our copies are measured against: kept in the cache as servers are, each by its own package manager.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use e2e::servers::cache::Cache;
use e2e::servers::progress::Progress;

const ELASTICDUMP: &str = "elasticdump@6.125.1";

/// The newest elasticsearch-py that speaks with Elasticsearch 7.10.
const PYTHON: [&str; 2] = ["psycopg[binary]==3.2.3", "elasticsearch==7.13.4"];

/// What is left when an installation came to its end.
const WHOLE: &str = "whole";

/// Where the peers are, as arguments of the benchmark: those that are not there yet are installed. One that cannot be had
/// is told, and left out.
pub(crate) fn arguments(progress: &dyn Progress) -> Result<Vec<String>> {
    let cache = Cache::from_environment()?;
    let peers: [(&str, Install); 2] = [("elasticdump", elasticdump), ("python", python)];
    let mut arguments = Vec::new();
    for (name, install) in peers {
        let folder = format!("peers-{name}");
        let lock = cache.lock(&folder, progress)?;
        progress.started(&format!("{name}, to compare with"));
        match install(&cache.release(&folder)) {
            Ok(program) => {
                progress.finished("there");
                arguments.extend([format!("--{name}"), program.display().to_string()]);
            }
            Err(error) => progress.finished(&format!("left out: {error:#}")),
        }
        drop(lock);
    }
    Ok(arguments)
}

/// Gives the program in a folder, installing it when it is not there.
type Install = fn(&Path) -> Result<PathBuf>;

fn elasticdump(folder: &Path) -> Result<PathBuf> {
    once(folder, ELASTICDUMP, || {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]);
        succeed(
            npm.arg(folder).arg(ELASTICDUMP),
            "it is installed by npm (Debian: `apt-get install npm`)",
        )
    })?;
    Ok(folder.join("node_modules/.bin/elasticdump"))
}

fn python(folder: &Path) -> Result<PathBuf> {
    let program = folder.join("bin/python");
    once(folder, &PYTHON.join(" "), || {
        let hint = "it takes Python 3 with venv (Debian: `apt-get install python3-venv`)";
        succeed(Command::new("python3").args(["-m", "venv"]).arg(folder), hint)?;
        let mut pip = Command::new(&program);
        succeed(
            pip.args(["-m", "pip", "install", "--quiet"]).args(PYTHON),
            "pip fetches them from its index",
        )
    })?;
    Ok(program)
}

/// Does `install` unless it was done for these versions before.
fn once(folder: &Path, versions: &str, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let whole = folder.join(WHOLE);
    if std::fs::read_to_string(&whole).is_ok_and(|installed| installed == versions) {
        return Ok(());
    }
    install()?;
    std::fs::write(&whole, versions).with_context(|| format!("cannot write {}", whole.display()))
}

fn succeed(command: &mut Command, hint: &str) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}: {hint}", command.get_program().to_string_lossy()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{}; {hint}",
            said.lines().last().unwrap_or("it failed and said nothing")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_installed_again_and_another_version_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut times = 0;
        for versions in ["1", "1", "2"] {
            once(folder.path(), versions, || {
                times += 1;
                Ok(())
            })
            .expect("installed");
        }
        assert_eq!(times, 2);
        let failed = once(folder.path(), "3", || bail!("no network"));
        assert!(failed.is_err());
        once(folder.path(), "3", || Ok(())).expect("tried again");
    }

    #[test]
    fn a_program_that_is_not_there_is_told_with_what_to_do() {
        let error = succeed(&mut Command::new("/nowhere/npm"), "install npm").expect_err("there is none");
        assert!(
            error.to_string().contains("/nowhere/npm") && error.to_string().contains("install npm"),
            "{error}"
        );
    }
}
