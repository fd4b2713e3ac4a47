//! The way back from every place before promote, with every fault, one migration after the other on a cluster.

mod cell;
mod matrix;
mod target;

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::migration::record;
use e2e::scene::{is_clean, judged, says};
use serde_json::{Value, json};

use cell::Ground;
use matrix::{Fault, Row, Table, rows};

/// The cells of every day: each stage, each fault, and a cancelled workflow in every stage. These are of the stages until
/// records are copied.
const EARLY: [(&str, Fault); 9] = [
    ("preflight: having asked", Fault::Cancel),
    ("prepare-target: at its gate", Fault::Cancel),
    ("prepare-target: in the schema tool", Fault::TargetDown),
    ("dual-write: at its gate", Fault::Abort),
    ("dual-write: at its gate", Fault::None),
    ("dual-write: in the first restart", Fault::HostFails),
    ("dual-write: proving the writes", Fault::Cancel),
    ("existing-records: copying, indexes set aside", Fault::Cancel),
    ("existing-records: copying, indexes set aside", Fault::TargetLocked),
];

/// Those of the stages after.
const LATE: [(&str, Fault); 5] = [
    ("verify: comparing", Fault::Cancel),
    ("cutover: proving the reads", Fault::TargetDown),
    ("cutover: the first Namespaces soak", Fault::Cancel),
    ("promote: at its gate", Fault::WorkerKilled),
    ("promote: roles swapped", Fault::Cancel),
];

/// Histories to be kept: the cell and the name.
const RECORDED: [(&str, Fault, &str); 2] = [
    (
        "dual-write: proving the writes",
        Fault::Cancel,
        "rolled-back-in-dual-write",
    ),
    (
        "cutover: proving the reads",
        Fault::TargetDown,
        "rolled-back-from-a-step-that-fails",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_turns_back_from_every_stage_until_records_are_copied() -> Result<()> {
    let rows = rows();
    turned_back(&rows, chosen(&rows, &EARLY)?).await?.scene.finish()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_turns_back_from_every_stage_before_promote_and_not_after_it() -> Result<()> {
    let rows = rows();
    no_way_back_after_promote(turned_back(&rows, chosen(&rows, &LATE)?).await?).await
}

/// `CROSSFADE_CELLS` may name some of them, as their lines do (`cutover: at its gate, abort`), with a `;` between two.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "every place with every fault takes most of an hour; `cargo verify --all` runs it"]
async fn a_migration_turns_back_from_every_place_with_every_fault() -> Result<()> {
    let rows = rows();
    let named = std::env::var("CROSSFADE_CELLS").unwrap_or_default();
    let is_wanted = |cell: &String| named.is_empty() || named.split(';').any(|one| cell.contains(one));
    let cells = rows.iter().flat_map(|row| {
        let makes_sense = |fault: &Fault| row.is_senseless(*fault).is_none();
        Fault::ALL
            .into_iter()
            .filter(makes_sense)
            .map(move |fault| (row, fault))
    });
    let cells = cells.filter(|(row, fault)| is_wanted(&named_so(row, *fault)));
    no_way_back_after_promote(turned_back(&rows, cells.collect()).await?).await
}

/// The rows of cells that are named.
fn chosen<'a>(rows: &'a [Row], named: &[(&str, Fault)]) -> Result<Vec<(&'a Row, Fault)>> {
    let cells = named.iter().map(|(name, fault)| {
        let row = rows.iter().find(|row| row.name() == *name);
        Ok((row.with_context(|| format!("no row {name}"))?, *fault))
    });
    cells.collect()
}

/// Has one migration after the other turn back; gives the cluster that they were on.
async fn turned_back(rows: &[Row], cells: Vec<(&Row, Fault)>) -> Result<Ground> {
    let mut ground = Ground::new().await?;
    let mut table = Table::of(rows);
    for (number, (row, fault)) in cells.into_iter().enumerate() {
        let (id, began) = (format!("back-{number}-from-{}", row.stage), Instant::now());
        let named = named_so(row, fault);
        if let Err(error) = ground.turned_back(&id, row, fault).await {
            say(&table.text());
            return Err(error.context(format!("in {named} ({id})")));
        }
        let recorded = RECORDED
            .iter()
            .filter(|(name, with, _)| *name == row.name() && *with == fault);
        for (_, _, name) in recorded {
            record(&ground.scene.testbed, &id, name).await?;
        }
        table.is_well(row, fault);
        say(&format!("ok  {named}  {:.0} s", began.elapsed().as_secs_f64()));
    }
    say(&table.text());
    let senseless = rows
        .iter()
        .filter_map(|row| Some((row.name(), row.is_senseless(Fault::HostFails)?)));
    for (row, why) in senseless {
        say(&format!("-   {row}, {}: {why}", Fault::HostFails.name()));
    }
    Ok(ground)
}

/// A cell's name.
fn named_so(row: &Row, fault: Fault) -> String {
    format!("{}, {}", row.name(), fault.name())
}

/// A line on stderr, shown by a test that passes, too.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

async fn no_way_back_after_promote(ground: Ground) -> Result<()> {
    let Ground { scene, traffic, .. } = ground;
    let operator = &scene.operator;
    let id = "past-the-point-of-no-return";
    let going = traffic.keep_going(3);
    operator
        .start(id, &scene.spec_with(&json!({"gates": ["finish"]})))
        .await?;
    let status = operator.at_gate(id, "finish").await?;
    ensure!(status["can_roll_back"] == false, "{status:#}");
    operator.signal(id, "rollback", None).await?;
    operator.signal(id, "abort", None).await?;
    operator.told(&["cancel", "-w", id]).await?;
    let refused = operator
        .crossfade(&["rollback", "--id", id])
        .await
        .expect_err("too late");
    says(&format!("{refused:#}"), &["point of no return"])?;
    let cancelled = |status: &Value| {
        let rejected = status["rejected"].as_array().map_or(&[][..], Vec::as_slice);
        ["rollback", "abort", "cancel"].iter().all(|what| {
            rejected
                .iter()
                .any(|entry| entry["what"] == *what && entry["entry"].to_string().contains("point of no return"))
        })
    };
    operator.until(id, "all three refused and recorded", cancelled).await?;
    operator.approve(id, "finish").await?;
    let report = operator.end(&scene.testbed, id).await?.completed()?;
    is_clean(&report)?;
    going.stop().await?;
    tokio::time::timeout(Duration::from_secs(120), traffic.settle()).await??;
    judged(&scene.testbed, scene.testbed.target(), [traffic.end()]).await?;
    scene.finish()
}
