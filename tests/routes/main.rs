//! The table of routes (`crossfade routes`) against the servers themselves: each release is started with a config of each
//! pair, and what it does has to be what the table says.
//!
//! Every pair is asked for with a SQLite main store. A store that is only named (Cassandra, MySQL, Postgres,
//! Elasticsearch) has an address where nobody listens: whether the server refuses the pair, or goes on and looks for the
//! store, is told without it. What was seen is kept in `checked.tsv`, from which `docs/routes.md` has its marks.

mod config;
mod outcome;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, bail, ensure};
use e2e::migration::crossfade;
use e2e::servers::binaries::{self, Program, RELEASES, Release, TEMPORAL_1_23_1, TEMPORAL_1_30_8};
use e2e::servers::cache::Cache;
use e2e::servers::progress::Lines;
use serde_json::Value;

use config::{Form, Host, Pair, Store};
use outcome::Outcome;

/// The releases that the other tests run as well.
const EVERYDAY: [&str; 2] = [TEMPORAL_1_23_1.name, TEMPORAL_1_30_8.name];

/// Every pair that is tried: each store as the primary with each family as the secondary.
fn pairs() -> Vec<Pair> {
    use Store::{Cassandra, Elasticsearch, ElasticsearchElsewhere, Mysql, Mysql8, Postgres, Postgres12, Sqlite};
    let secondaries = |primary: Store, secondaries: &[Store]| {
        secondaries
            .iter()
            .map(|secondary| Pair::by_store(primary, *secondary))
            .collect::<Vec<_>>()
    };
    let mut pairs = Vec::new();
    pairs.extend(secondaries(
        Cassandra,
        &[Elasticsearch, Postgres12, Mysql8, Sqlite, Cassandra, Postgres],
    ));
    pairs.extend(secondaries(Mysql, &[Elasticsearch, Mysql8, Sqlite]));
    pairs.extend(secondaries(
        Postgres,
        &[Elasticsearch, Postgres12, Sqlite, Cassandra, Mysql],
    ));
    pairs.extend(secondaries(
        Sqlite,
        &[Sqlite, Postgres12, Mysql8, Elasticsearch, Cassandra, Postgres],
    ));
    pairs.extend(secondaries(Postgres12, &[Mysql8, Elasticsearch]));
    pairs.extend(secondaries(Mysql8, &[Postgres12, Elasticsearch]));
    pairs.extend(secondaries(
        Elasticsearch,
        &[
            Sqlite,
            Postgres12,
            Mysql8,
            Elasticsearch,
            ElasticsearchElsewhere,
            Cassandra,
            Postgres,
        ],
    ));
    pairs.push(Pair::by_index());
    pairs
}

#[test]
fn the_everyday_servers_do_what_the_table_says() -> Result<()> {
    check(EVERYDAY.into_iter().filter_map(Release::named))
}

/// Builds servers that no other test runs: `cargo verify --all`.
#[test]
#[ignore = "starts five more releases of the server: cargo verify --all, or cargo test -p e2e --test routes -- --ignored"]
fn every_other_server_does_what_the_table_says() -> Result<()> {
    let others = RELEASES.into_iter().filter(|release| {
        !EVERYDAY.contains(&release.name) && release.programs().any(|program| program == Program::TemporalServer)
    });
    check(others)
}

/// The key that servers up to 1.24 read besides: it excludes a secondary store, and such a file is left alone by us.
#[test]
fn the_legacy_key_excludes_a_secondary_store() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (release, expected) in [
        (&TEMPORAL_1_23_1, Outcome::RefusesConfig),
        (&TEMPORAL_1_30_8, Outcome::Accepts),
    ] {
        let pair = Pair {
            form: Form::StoreAndLegacyKey,
            ..Pair::by_store(Store::Sqlite, Store::Sqlite)
        };
        let seen = Host::new(folder.path(), release, &pair)?.start(&server(release)?)?;
        ensure!(seen == expected, "{}: {seen:?}, expected {expected:?}", release.name);
    }
    Ok(())
}

/// The files of two tests are one.
static KEPT: Mutex<()> = Mutex::new(());

fn check(releases: impl Iterator<Item = &'static Release>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut wrong = String::new();
    let mut kept: Vec<(String, Vec<String>)> = Vec::new();
    for release in releases {
        let server = server(release)?;
        let table = table(release)?;
        let mut lines = Vec::new();
        for pair in pairs() {
            let says = says(&table, &pair)?;
            let seen = Host::new(folder.path(), release, &pair)?.start(&server)?;
            match seen.agrees_with(&says.server) {
                Some(true) => lines.push(format!(
                    "{}\t{}\t{}\t{}\t{}",
                    release.version,
                    says.pair,
                    pair.stores(),
                    pair.form.key(),
                    seen.words()
                )),
                // Nothing listens at the primary's address, so the server did not come as far as the question.
                None => {}
                Some(false) => {
                    let _ = writeln!(
                        wrong,
                        "{} {} by {}: the server {}, the table says {}",
                        release.name,
                        pair.stores(),
                        pair.form.key(),
                        seen.words(),
                        says.server
                    );
                }
            }
        }
        kept.push((release.version.to_owned(), lines));
    }
    ensure!(wrong.is_empty(), "the table is not what the servers do:\n{wrong}");
    keep(&kept)
}

fn server(release: &'static Release) -> Result<PathBuf> {
    binaries::find_or_build(
        &Cache::from_environment()?,
        release,
        Program::TemporalServer,
        &Lines::default(),
    )
}

/// What the product says of every pair on a release.
fn table(release: &Release) -> Result<Value> {
    let output = std::process::Command::new(crossfade()?)
        .args(["routes", "--server", release.version, "--json"])
        .output()
        .context("cannot run crossfade")?;
    ensure!(
        output.status.success(),
        "crossfade routes: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What the table says that the server does with a pair in its form.
struct Says {
    pair: String,
    server: String,
}

fn says(table: &Value, pair: &Pair) -> Result<Says> {
    let [source, target, place] = pair.families();
    let entry = table["pairs"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|entry| entry["source"] == source && entry["target"] == target && entry["place"] == place)
        .with_context(|| format!("the table has no pair {source} {target} {place}"))?;
    let either = entry["either_form"] == Value::Bool(true);
    let other_form = entry.get("form").is_some_and(|form| *form != pair.form.name()) && !either;
    Ok(Says {
        pair: entry["pair"].as_str().unwrap_or_default().to_owned(),
        // A form that this server does not know for the pair is refused.
        server: if other_form {
            "refuses-config".to_owned()
        } else {
            entry["server"].as_str().unwrap_or_default().to_owned()
        },
    })
}

/// Writes what was seen down, and fails when that is not what was written before.
fn keep(seen: &[(String, Vec<String>)]) -> Result<()> {
    let _one_at_a_time = KEPT.lock();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("routes/checked.tsv");
    let before = fs::read_to_string(&path)?;
    let release_of = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
    let (head, lines): (Vec<&str>, Vec<&str>) = before.lines().partition(|line| line.starts_with('#'));
    let mut lines: Vec<String> = lines
        .into_iter()
        .filter(|line| !seen.iter().any(|(release, _)| *release == release_of(line)))
        .map(ToOwned::to_owned)
        .collect();
    lines.extend(seen.iter().flat_map(|(_, lines)| lines.clone()));
    // Stable: the pairs of a release stay in their order.
    lines.sort_by_key(|line| {
        let numbers: Vec<u32> = release_of(line)
            .split('.')
            .filter_map(|part| part.parse().ok())
            .collect();
        numbers
    });
    let after = format!("{}\n{}\n", head.join("\n"), lines.join("\n"));
    if after == before {
        return Ok(());
    }
    fs::write(&path, after)?;
    bail!("tests/routes/checked.tsv was not what the servers do; it is written anew: look at the change and keep it")
}
