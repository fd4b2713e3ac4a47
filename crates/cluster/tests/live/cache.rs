//! Where Temporal's programs and sources are found.

use std::path::{Path, PathBuf};

/// A release of Temporal's server that the tests run against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Release {
    /// Its version.
    pub(crate) version: &'static str,
    /// Its minor version.
    pub(crate) minor: u32,
}

/// The newest that the usual Go builds.
pub(crate) const V1_30_8: Release = Release {
    version: "1.30.8",
    minor: 30,
};

/// The last minor version with standard Visibility.
pub(crate) const V1_23_1: Release = Release {
    version: "1.23.1",
    minor: 23,
};

/// The oldest minor version that knows a secondary store.
pub(crate) const V1_21_6: Release = Release {
    version: "1.21.6",
    minor: 21,
};

/// The command line of the documentation of old servers.
pub(crate) const TCTL: Release = Release {
    version: "tctl-1.18.0",
    minor: 18,
};

impl Release {
    /// A program of this release: from its variable (of 1.30.8 only), from the cache of `cargo xtask servers`, or from
    /// the PATH (of 1.30.8 only). A test that does not find it fails and says how to get it.
    pub(crate) fn program(self, name: &str) -> PathBuf {
        let variable = format!("CROSSFADE_{}", name.to_uppercase().replace('-', "_"));
        let newest = self == V1_30_8;
        if let Some(path) = std::env::var_os(&variable).filter(|_| newest) {
            return path.into();
        }
        let cached = self.folder().join("bin").join(name);
        if cached.is_file() {
            return cached;
        }
        let path = std::env::var_os("PATH").filter(|_| newest).unwrap_or_default();
        std::env::split_paths(&path)
            .map(|folder| folder.join(name))
            .find(|path| path.is_file())
            .unwrap_or_else(|| {
                panic!(
                    "this test needs {name} {version}: run `cargo xtask servers {version}`",
                    version = self.version
                )
            })
    }

    /// A folder or file of the release's sources, which hold its schemas.
    pub(crate) fn source(self, part: &str) -> PathBuf {
        let noted = std::fs::read_to_string(self.folder().join("module-dir")).unwrap_or_else(|error| {
            panic!(
                "this test needs the sources of temporal-server {version} ({error}): run `cargo xtask servers {version}`",
                version = self.version
            )
        });
        Path::new(noted.trim()).join(part)
    }

    fn folder(self) -> PathBuf {
        let cache = std::env::var_os("CROSSFADE_CACHE")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("XDG_CACHE_HOME").map(|cache| Path::new(&cache).join("crossfade")))
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/crossfade")));
        cache.unwrap_or_default().join("servers").join(self.version)
    }
}
