//! What holds for the tree as a whole: its layout, its dependencies, its documents and the names on the wire.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crossfade_plan::{message, problem::Code};
use crossfade_workflow::names;
use serde_json::Value;

/// The most lines that a source file may have: one that is longer does two things.
const LONGEST_FILE: usize = 500;

/// The root of the checkout.
fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask is in the workspace").to_owned()
}

/// Every file of the tree below `folder`, without what is built and what git keeps.
fn files(folder: &Path) -> Vec<PathBuf> {
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

fn with_extension(extension: &str) -> Vec<PathBuf> {
    let mut files = files(&root());
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files
}

/// A path as it is written in documents.
fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn document(name: &str) -> String {
    text(&root().join(name))
}

/// The lines of these files that are wrong, each with its place.
fn lines_where(paths: &[PathBuf], wrong: impl Fn(&Path, &str) -> bool) -> Vec<String> {
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
fn assert_none(what: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{what}:\n  {}", offenders.join("\n  "));
}

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
    const KNOWN: [&str; 7] = [
        "github.com",
        "temporal.io",
        "docs.temporal.io",
        "go.dev",
        "www.postgresql.org",
        "json-schema.org",
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

/// What each package of the workspace depends on to do its work: not for tests, not at build time.
struct Dependencies {
    /// By package: what its own Cargo.toml names.
    direct: BTreeMap<String, BTreeSet<String>>,
    /// By package: all that it reaches.
    reached: BTreeMap<String, BTreeSet<String>>,
}

impl Dependencies {
    fn read() -> Self {
        let rustc = Command::new("rustc").arg("-vV").output().expect("rustc runs");
        let about = String::from_utf8(rustc.stdout).expect("UTF-8");
        let host = about
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .expect("a host");
        let output = Command::new(env!("CARGO"))
            .args([
                "metadata",
                "--format-version",
                "1",
                "--locked",
                "--filter-platform",
                host,
            ])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cargo metadata: {said}");
        Self::of(&serde_json::from_slice(&output.stdout).expect("JSON"))
    }

    fn of(metadata: &Value) -> Self {
        let name_of: BTreeMap<&str, &str> = list(&metadata["packages"])
            .map(|package| (word(&package["id"]), word(&package["name"])))
            .collect();
        let edges: BTreeMap<&str, BTreeSet<&str>> = list(&metadata["resolve"]["nodes"])
            .map(|node| {
                (
                    word(&node["id"]),
                    list(&node["deps"])
                        .filter(is_normal)
                        .map(|dep| word(&dep["pkg"]))
                        .collect(),
                )
            })
            .collect();
        let names = |ids: &BTreeSet<&str>| ids.iter().map(|id| name_of[id].to_owned()).collect();
        let (mut direct, mut reached) = (BTreeMap::new(), BTreeMap::new());
        for member in list(&metadata["workspace_members"]).map(word) {
            let mut seen: BTreeSet<&str> = BTreeSet::new();
            let mut ahead = vec![member];
            while let Some(id) = ahead.pop() {
                ahead.extend(edges[id].iter().filter(|next| seen.insert(next)));
            }
            direct.insert(name_of[member].to_owned(), names(&edges[member]));
            reached.insert(name_of[member].to_owned(), names(&seen));
        }
        Self { direct, reached }
    }

    /// What of `forbidden` the package reaches, by whatever way.
    fn reaching(&self, package: &str, forbidden: &[&str]) -> Vec<String> {
        within(package, "reaches", &self.reached[package], forbidden)
    }

    /// What of `forbidden` the package itself names; what it does not name, its code cannot use.
    fn naming(&self, package: &str, forbidden: &[&str]) -> Vec<String> {
        within(package, "depends on", &self.direct[package], forbidden)
    }
}

fn within(package: &str, verb: &str, has: &BTreeSet<String>, forbidden: &[&str]) -> Vec<String> {
    let found = forbidden.iter().filter(|name| has.contains(**name));
    found.map(|name| format!("{package} {verb} {name}")).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().expect("a list").iter()
}

fn word(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn is_normal(dep: &&Value) -> bool {
    list(&dep["dep_kinds"]).any(|kind| kind["kind"].is_null())
}

const DRIVERS: [&str; 2] = ["rusqlite", "tokio-postgres"];
const YAML: [&str; 3] = ["yaml-edit", "yaml_serde", "saphyr-parser"];
const CLIENTS: [&str; 3] = ["temporalio-client", "temporalio-sdk", "temporalio-sdk-core"];
const LIBRARIES: [&str; 6] = [
    "crossfade-plan",
    "crossfade-visibility",
    "crossfade-stores",
    "crossfade-config",
    "crossfade-cluster",
    "crossfade-workflow",
];

#[test]
fn the_workflow_reaches_no_client_no_driver_and_no_runtime() {
    let all = Dependencies::read();
    let mut wrong: Vec<String> = [&DRIVERS[..], &CLIENTS, &YAML]
        .iter()
        .flat_map(|forbidden| all.reaching("crossfade-workflow", forbidden))
        .collect();
    // The generated messages bring tonic, and that tokio's channels; the crate itself can name neither.
    wrong.extend(all.naming("crossfade-workflow", &["tokio", "tonic", "futures", "rand", "uuid"]));
    assert_none("the workflow's dependencies", &wrong);
}

#[test]
fn the_plan_never_waits_and_never_looks_outside() {
    let waiting = [
        "tokio",
        "futures",
        "futures-util",
        "futures-core",
        "async-trait",
        "tonic",
        "mio",
    ];
    assert_none(
        "the plan's dependencies",
        &Dependencies::read().reaching("crossfade-plan", &waiting),
    );
    let outside = [
        "async ",
        ".await;",
        ".await?",
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "Timestamp::now",
        "SystemTime::now",
        "Instant::now",
    ];
    let words = lines_where(&files(&root().join("crates/plan/src")), |_, line| {
        let code = line.split("//").next().unwrap_or_default();
        outside.iter().any(|word| code.contains(word))
    });
    assert_none("what the plan does", &words);
}

#[test]
fn dependencies_point_down_only() {
    let all = Dependencies::read();
    let mut wrong = Vec::new();
    for package in LIBRARIES {
        let below: &[&str] = match package {
            "crossfade-stores" => &["crossfade-visibility"],
            "crossfade-workflow" => &["crossfade-plan"],
            _ => &[],
        };
        let others: Vec<&str> = LIBRARIES.into_iter().filter(|other| !below.contains(other)).collect();
        wrong.extend(all.reaching(package, &others));
        wrong.extend(all.reaching(package, &["crossfade", "e2e", "xtask"]));
    }
    // The judge of a migration must not share a line with what it judges.
    wrong.extend(all.reaching("e2e", &LIBRARIES));
    assert_none("dependencies that point up or aside", &wrong);
}

#[test]
fn one_library_knows_yaml_and_one_knows_dialects() {
    let all = Dependencies::read();
    let mut wrong = all.naming("crossfade", &DRIVERS);
    for package in LIBRARIES {
        if package != "crossfade-config" {
            wrong.extend(all.reaching(package, &YAML));
        }
        if package != "crossfade-stores" {
            wrong.extend(all.reaching(package, &DRIVERS));
        }
    }
    assert_none("dependencies", &wrong);
}

#[test]
fn each_crate_has_its_section() {
    let architecture = document("ARCHITECTURE.md");
    let crates = fs::read_dir(root().join("crates")).expect("crates");
    let missing: Vec<String> = crates
        .map(|entry| format!("crates/{}", entry.expect("an entry").file_name().display()))
        .chain(["worker", "tests", "xtask"].map(ToOwned::to_owned))
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
         test (`xtask/tests/tidy.rs`) from `crates/plan/src/problem.rs`.\n\n| Code | Tried again by itself | What to do |\n|---|---|---|\n",
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

/// Running workflows and recorded histories depend on these: a name here is never changed, only added.
#[test]
fn names_on_the_wire_stay() {
    let activities = [
        (names::activity::TAKE_LOCK, "take-lock"),
        (names::activity::RELEASE_LOCK, "release-lock"),
        (names::activity::INSPECT_CLUSTER, "inspect-cluster"),
        (names::activity::INSPECT_HOST, "inspect-host"),
        (names::activity::INSPECT_STORES, "inspect-stores"),
        (names::activity::PREPARE_TARGET, "prepare-target"),
        (names::activity::CONFIGURE_HOST, "configure-host"),
        (names::activity::SET_DYNAMIC_CONFIG, "set-dynamic-config"),
        (names::activity::PROVE_WRITES, "prove-writes"),
        (names::activity::COPY_RECORDS, "copy-records"),
        (names::activity::READ_WAIT, "read-wait"),
        (names::activity::COMPARE_RECORDS, "compare-records"),
        (names::activity::PROVE_READS, "prove-reads"),
        (names::activity::FINAL_CHECK, "final-check"),
    ];
    let others = [
        (names::WORKFLOW_TYPE, "VisibilityMigration"),
        (names::TASK_QUEUE, "visibility-migration"),
        (names::failure::INVALID_INPUT, "InvalidInput"),
        (names::failure::REFUSED, "Refused"),
        (names::failure::ABORTED, "Aborted"),
    ];
    for (name, pinned) in activities.iter().chain(&others) {
        assert_eq!(name, pinned);
    }
    assert_eq!(names::host_task_queue("node-a"), "visibility-migration/host/node-a");
    assert_eq!(names::query::ALL, ["status", "plan", "audit", "report"]);
    assert_eq!(
        message::names::ALL,
        [
            "approve",
            "pause",
            "resume",
            "skip-wait",
            "rollback",
            "abort",
            "set-rate"
        ]
    );
    // Every constant that is declared is in one of the lists above; the list of queries is itself one.
    let declared = document("crates/workflow/src/names.rs").matches("pub const ").count();
    let pinned = activities.len() + others.len() + names::query::ALL.len() + 1;
    assert_eq!(declared, pinned, "a new name on the wire belongs into this test");
}
