//! What holds for the tree as a whole: its layout, its dependencies, its documents and the names on the wire.

mod dependencies;
mod documents;
mod tree;
mod wire;

use tree::{assert_none, files, lines_where, root, shown, text, with_extension};

/// The most lines that a source file may have: one that is longer does two things.
const LONGEST_FILE: usize = 500;

#[test]
fn each_source_file_says_what_it_is_for() {
    let mut silent = with_extension("rs");
    silent.retain(|path| !text(path).starts_with("//! "));
    let silent: Vec<String> = silent.iter().map(|path| shown(path)).collect();
    assert_none("files that do not begin with a `//!` line", &silent);
}

#[test]
fn no_source_file_is_too_long() {
    let long: Vec<String> = with_extension("rs")
        .iter()
        .map(|path| (shown(path), text(path).lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert_none(&format!("files of more than {LONGEST_FILE} lines"), &long);
}

#[test]
fn each_name_says_what_is_inside() {
    const EMPTY_WORDS: [&str; 7] = ["util", "utils", "common", "helper", "helpers", "manager", "misc"];
    let mut names: Vec<String> = with_extension("rs").iter().map(|path| shown(path)).collect();
    names.retain(|path| path.split(['/', '_', '.', '-']).any(|word| EMPTY_WORDS.contains(&word)));
    assert_none("files named after nothing", &names);
}

#[test]
fn nothing_is_left_to_be_done() {
    // Written in two parts, so that this file is not among the finds.
    let definition = concat!("unimplemented", "!()");
    let marks = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
    ];
    let left = lines_where(&with_extension("rs"), |path, line| {
        // The body of an activity's definition is exactly this, by the macro's rule.
        let is_definition = path.ends_with("workflow/src/activities.rs") && line.trim() == definition;
        marks.iter().any(|mark| line.contains(mark)) && !is_definition
    });
    assert_none("work left for later", &left);
}

/// The hosts of the addresses in a line.
fn hosts_in(line: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    ["http://", "https://"]
        .iter()
        .flat_map(|scheme| line.split(scheme).skip(1))
        .map(|rest| {
            rest.split(|c| !is_part(c))
                .next()
                .unwrap_or_default()
                .trim_end_matches('.')
        })
        .filter(|host| !host.is_empty())
        .collect()
}

/// Whether an absolute path in `line` begins with `folder`, which may also stand inside of a relative one.
fn begins_a_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '.'))
}

/// The tree is the product alone: nobody else has the folders of the machine it was written on, or its mirrors.
#[test]
fn nothing_names_the_machine_it_was_written_on() {
    const FOLDERS: [&str; 4] = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
    ];
    const KNOWN: [&str; 8] = [
        "github.com",
        "temporal.io",
        "docs.temporal.io",
        "go.dev",
        "www.postgresql.org",
        "json-schema.org",
        // The name of an XML language, not a place that anything is fetched from.
        "maven.apache.org",
        "127.0.0.1",
    ];
    // Names without a dot are of no network; `.example` is for examples (RFC 2606).
    let is_foreign = |host: &&str| host.contains('.') && !host.ends_with(".example") && !KNOWN.contains(host);
    let found = lines_where(&files(&root()), |_, line| {
        FOLDERS.iter().any(|folder| begins_a_path(line, folder)) || hosts_in(line).iter().any(is_foreign)
    });
    assert_none("places of one machine, or addresses that nobody vouches for", &found);
}

#[test]
fn cargo_fetches_from_crates_io_alone() {
    const CRATES_IO: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let lock = [root().join("Cargo.lock")];
    let others = lines_where(&lock, |_, line| line.starts_with("source = ") && line != CRATES_IO);
    assert_none("sources of Cargo.lock", &others);
}
