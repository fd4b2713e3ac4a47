//! Where Temporal's programs and sources are found.

use std::path::{Path, PathBuf};

/// A program of Temporal 1.30.8: from its variable, from the cache of `cargo xtask servers`, or from the PATH.
/// A test that does not find it fails and says how to get it.
pub(crate) fn program(name: &str, variable: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let cached = folder().join("bin").join(name);
    if cached.is_file() {
        return cached;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!("this test needs {name} 1.30.8: run `cargo xtask servers`, or set {variable} to its path")
        })
}

/// A folder or file of the sources of Temporal 1.30.8, which hold its schemas.
pub(crate) fn source(part: &str) -> PathBuf {
    let noted = std::fs::read_to_string(folder().join("module-dir")).unwrap_or_else(|error| {
        panic!("this test needs the sources of temporal-server 1.30.8 ({error}): run `cargo xtask servers`")
    });
    Path::new(noted.trim()).join(part)
}

fn folder() -> PathBuf {
    let cache = std::env::var_os("CROSSFADE_CACHE")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("XDG_CACHE_HOME").map(|cache| Path::new(&cache).join("crossfade")))
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/crossfade")));
    cache.unwrap_or_default().join("servers/1.30.8")
}
