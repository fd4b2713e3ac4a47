//! What the documents say is so.

use std::{fmt::Write as _, fs};

use crossfade_plan::{
    message,
    problem::{self, Code},
    spec::Spec,
};
use crossfade_workflow::names;

use crate::tree::{assert_none, document, root, shown, text, with_extension};

#[test]
fn each_crate_has_its_section() {
    let architecture = document("ARCHITECTURE.md");
    let crates = fs::read_dir(root().join("crates")).expect("crates");
    let missing: Vec<String> = crates
        .map(|entry| format!("crates/{}", entry.expect("an entry").file_name().display()))
        .chain(["worker", "tests", "xtask", "bench"].map(ToOwned::to_owned))
        .map(|member| format!("### `{member}`"))
        .filter(|heading| !architecture.lines().any(|line| line.starts_with(heading.as_str())))
        .collect();
    assert_none("sections missing in ARCHITECTURE.md", &missing);
}

/// A guard is written as `path/of/file.rs: name_of_the_test`.
#[test]
fn each_guard_that_is_named_exists() {
    let architecture = document("ARCHITECTURE.md");
    let guards: Vec<(&str, &str)> = architecture
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|quoted| quoted.split_once(".rs: "))
        .collect();
    assert!(guards.len() >= 20, "only {} guards are named", guards.len());
    let gone: Vec<String> = guards
        .iter()
        .filter(|(path, test)| {
            let source = fs::read_to_string(root().join(format!("{path}.rs"))).unwrap_or_default();
            !source.contains(&format!("fn {test}("))
        })
        .map(|(path, test)| format!("{path}.rs: {test}"))
        .collect();
    assert_none("guards that ARCHITECTURE.md names and that are not there", &gone);
}

#[test]
fn documents_link_to_what_is_there() {
    let mut broken = Vec::new();
    for path in with_extension("md") {
        let text = text(&path);
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next());
        for link in links.filter(|link| !link.is_empty() && !link.contains("://")) {
            if !path.with_file_name(link).exists() {
                broken.push(format!("{}: {link}", shown(&path)));
            }
        }
    }
    assert_none("links to nothing", &broken);
}

/// What an operator finds under the code of a problem.
fn problems_page() -> String {
    let mut page = String::from(
        "# Problems\n\nEvery problem that Crossfade tells, by its code, and what to do about it.\nThe message itself names the \
         place and what was seen; where it knows a more exact next step than this table, it says that one.\nThis page is written by a \
         test (`xtask/tests/tidy/documents.rs`) from `crates/plan/src/problem.rs`.\n\n| Code | Tried again by itself | What to do |\n|---|---|---|\n",
    );
    for code in Code::ALL {
        let again = if code.retryable() { "yes" } else { "no" };
        let _ = writeln!(page, "| `{code}` | {again} | {} |", code.remedy().replace('|', "\\|"));
    }
    page
}

#[test]
fn the_page_of_problems_is_the_table_in_the_code() {
    let path = root().join("docs/problems.md");
    let wanted = problems_page();
    if fs::read_to_string(&path).is_ok_and(|page| page == wanted) {
        return;
    }
    fs::write(&path, wanted).expect("docs/problems.md can be written");
    panic!("docs/problems.md was not what the code says; it has been written anew: look at the change and keep it");
}

#[test]
fn the_runbook_knows_each_problem() {
    let runbook = document("docs/runbook.md");
    let mut unknown: Vec<String> = Code::ALL.iter().map(|code| format!("`{code}`")).collect();
    unknown.retain(|code| !runbook.contains(code.as_str()));
    assert_none("problems that docs/runbook.md does not mention", &unknown);
}

/// The first block of YAML in the README: the spec that newcomers begin with.
#[test]
fn the_spec_in_the_readme_is_good() {
    let readme = document("README.md");
    let yaml = readme
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("a spec");
    let value: serde_json::Value = yaml_serde::from_str(yaml).expect("YAML");
    if let Err(problems) = Spec::from_json(&value) {
        panic!("the spec in README.md is refused:\n{}", problem::listing(&problems));
    }
}

/// What the README says of messages and queries, operators type.
#[test]
fn the_readme_tells_every_message_and_every_query() {
    let readme = document("README.md");
    let names = message::names::ALL.iter().chain(&names::query::ALL);
    let untold: Vec<String> = names
        .filter(|name| !readme.contains(&format!("| `{name}` |")))
        .map(ToString::to_string)
        .collect();
    assert_none("names that README.md has no row for", &untold);
}
