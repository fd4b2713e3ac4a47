//! The real server, asked how it reads a file: `temporal-server` 1.30 can validate a dynamic config and print the static
//! config that it loaded.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use yaml_serde::Value;

/// The cache of built servers (`cargo xtask servers`).
pub(crate) fn cache() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("CROSSFADE_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("crossfade")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/crossfade")))
        .unwrap_or_default()
        .join("servers")
}

fn server() -> Command {
    let named = std::env::var_os("CROSSFADE_TEMPORAL_SERVER")
        .filter(|v| !v.is_empty())
        .map(PathBuf::from);
    let binary = named.unwrap_or_else(|| cache().join("1.30.8/bin/temporal-server"));
    assert!(
        binary.is_file(),
        "{} is not there: run `cargo xtask servers`, or set CROSSFADE_TEMPORAL_SERVER to a temporal-server 1.30",
        binary.display()
    );
    Command::new(binary)
}

/// The static config as the server loads it from this text, or what it says against it.
pub(crate) fn load_static(text: &[u8]) -> Result<Value, String> {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("edited.yaml"), text).expect("written");
    let output = server()
        .args(["--root", "/", "--env", "edited", "--config"])
        .arg(dir.path())
        .arg("render-config")
        .output()
        .expect("the server runs");
    if output.status.success() {
        Ok(yaml_serde::from_slice(&output.stdout).expect("the server prints YAML"))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Whether the server would load this dynamic config, and all that it says about it, in a fixed order.
pub(crate) fn validate_dynamic(text: &[u8]) -> (bool, Vec<String>) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("dynamic.yaml");
    fs::write(&path, text).expect("written");
    let output = server()
        .arg("validate-dynamic-config")
        .arg(&path)
        .output()
        .expect("the server runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // The first line is the path; the server reports keys in random order.
    let mut lines: Vec<String> = said.lines().skip(1).map(str::to_owned).collect();
    lines.sort();
    // It exits with 0 whatever it found.
    let fine = output.status.success() && !lines.iter().any(|line| line.trim_start().starts_with("error:"));
    (fine, lines)
}
