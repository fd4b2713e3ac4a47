//! Who may depend on whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

use crate::tree::{assert_none, files, lines_where, root};

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
