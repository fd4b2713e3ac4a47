//! The Java that this machine has, and what every server that runs on it is started with.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

/// The one Java that all of the servers run on: Cassandra 5.0 refuses newer ones, OpenSearch's runner older ones.
const MAJOR: u32 = 17;

/// What a machine needs, as its owner types it.
const INSTALL: &str = "install Java 17 and Maven (Debian: `apt-get install openjdk-17-jdk-headless maven`)";

/// An installed Java.
#[derive(Debug, Clone)]
pub(super) struct Java {
    programs: PathBuf,
}

impl Java {
    /// Java 17: that of `CROSSFADE_JAVA_HOME`, else of `JAVA_HOME`, of PATH, or of a folder in `/usr/lib/jvm`.
    ///
    /// # Errors
    /// When there is none: with what to install.
    pub(super) fn find() -> Result<Self> {
        let named = |variable: &str| {
            std::env::var_os(variable)
                .filter(|value| !value.is_empty())
                .map(|home| PathBuf::from(home).join("bin"))
        };
        if let Some(programs) = named("CROSSFADE_JAVA_HOME") {
            return match major(&programs) {
                Some(MAJOR) => Ok(Self { programs }),
                Some(other) => bail!("CROSSFADE_JAVA_HOME has Java {other} in it, Java {MAJOR} is needed: {INSTALL}"),
                None => bail!(
                    "CROSSFADE_JAVA_HOME is set and {} is no Java that runs: {INSTALL}, or name another",
                    programs.join("java").display()
                ),
            };
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let installed = fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten();
        let places: Vec<PathBuf> = named("JAVA_HOME")
            .into_iter()
            .chain(std::env::split_paths(&path).filter(|folder| folder.join("java").is_file()))
            .chain(installed.map(|entry| entry.path().join("bin")))
            .collect();
        places
            .into_iter()
            .find(|programs| major(programs) == Some(MAJOR))
            .map(|programs| Self { programs })
            .with_context(|| format!("there is no Java {MAJOR} on this machine: {INSTALL}, or set CROSSFADE_JAVA_HOME"))
    }

    /// The program that runs classes.
    pub(super) fn program(&self) -> PathBuf {
        self.programs.join("java")
    }

    /// Compiles the one file `source` against the jars of `library` into the folder `classes`.
    ///
    /// # Errors
    /// When there is no compiler (a runtime without the development kit) or it refuses the source.
    pub(super) fn compile(&self, source: &Path, library: &Path, classes: &Path) -> Result<()> {
        let compiler = self.programs.join("javac");
        let output = Command::new(&compiler)
            .arg("-cp")
            .arg(library.join("*"))
            .arg("-d")
            .arg(classes)
            .arg(source)
            .output()
            .with_context(|| format!("cannot run {}: {INSTALL}", compiler.display()))?;
        succeeded("javac", &output)
    }
}

/// The Maven that `CROSSFADE_MVN` names, else that of PATH.
pub(super) fn maven(folder: &Path, arguments: &[&str]) -> Result<()> {
    let program = std::env::var_os("CROSSFADE_MVN")
        .filter(|value| !value.is_empty())
        .unwrap_or_else(|| "mvn".into());
    let output = Command::new(&program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .with_context(|| format!("cannot run {}: {INSTALL}", PathBuf::from(&program).display()))?;
    succeeded(&format!("mvn {}", arguments.join(" ")), &output)
}

fn succeeded(what: &str, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    // Maven complains on its standard output, the compiler on its standard error.
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    let tail = lines[lines.len().saturating_sub(20)..].join("\n    ");
    bail!("`{what}` failed ({}):\n    {tail}", output.status)
}

/// The major version of the Java in `programs`, when there is one and it runs.
fn major(programs: &Path) -> Option<u32> {
    let output = Command::new(programs.join("java")).arg("-version").output().ok()?;
    read_major(&String::from_utf8_lossy(&output.stderr))
}

/// Reads what `java -version` says: `openjdk version "17.0.15" 2025-04-15`, or `"1.8.0_402"` before Java 9.
fn read_major(said: &str) -> Option<u32> {
    let version = said.split('"').nth(1)?;
    let version = version.strip_prefix("1.").unwrap_or(version);
    version.split(['.', '-', '_', '+']).next()?.parse().ok()
}

/// The options that every one of these servers gets: a bounded heap, and a start that does not wait for the best code.
pub(super) fn options(heap_megabytes: u32) -> Vec<OsString> {
    [
        format!("-Xms{}m", heap_megabytes.min(256)),
        format!("-Xmx{heap_megabytes}m"),
        // Two cores are shared by every server: one collector thread, and no second compiler behind the first.
        "-XX:+UseSerialGC".to_owned(),
        "-XX:TieredStopAtLevel=1".to_owned(),
        "-XX:-UsePerfData".to_owned(),
        "-XX:+ExitOnOutOfMemoryError".to_owned(),
        "-Dfile.encoding=UTF-8".to_owned(),
    ]
    .map(OsString::from)
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::read_major;

    #[test]
    fn the_version_is_read_as_each_java_says_it() {
        assert_eq!(read_major("openjdk version \"17.0.15\" 2025-04-15"), Some(17));
        assert_eq!(read_major("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(read_major("java version \"1.8.0_402\""), Some(8));
        assert_eq!(read_major("openjdk version \"25-ea\" 2025-09-16"), Some(25));
        assert_eq!(read_major("no such thing"), None);
    }
}
