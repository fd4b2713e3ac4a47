//! The tree: its files, as tests look at them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask is in the workspace").to_owned()
}

/// Every file of the tree below `folder`, without what is built and what git keeps.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", ".git", "proptest-regressions"].contains(&name.as_str()) {
                found.extend(files(&path));
            }
        } else if !name.ends_with(".snap.new") && !name.ends_with(".pending-snap") {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub(crate) fn with_extension(extension: &str) -> Vec<PathBuf> {
    let mut files = files(&root());
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files
}

/// A path as it is written in documents.
pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

pub(crate) fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn document(name: &str) -> String {
    text(&root().join(name))
}

/// The lines of these files that are wrong, each with its place.
pub(crate) fn lines_where(paths: &[PathBuf], wrong: impl Fn(&Path, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for path in paths {
        // What is no text has no lines.
        let text = fs::read_to_string(path).unwrap_or_default();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| wrong(path, line)) {
            found.push(format!("{}:{}: {}", shown(path), number + 1, line.trim()));
        }
    }
    found
}

#[track_caller]
pub(crate) fn assert_none(what: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{what}:\n  {}", offenders.join("\n  "));
}
