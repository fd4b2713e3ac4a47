//! Twenty faults on migrations of real clusters under traffic: the same as `cargo xtask chaos`, the beginning of it.

use std::io::Write as _;

use anyhow::{Result, ensure};
use e2e::faults::{Schedule, chaos};

/// These strike at most points, and turn back twice.
const SEEDS: u64 = 7;

/// How many faults they bring, at least.
const FAULTS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_faults_lose_nothing() -> Result<()> {
    let planned: usize = (0..SEEDS).map(|seed| Schedule::of(seed).faults()).sum();
    ensure!(planned >= FAULTS, "{planned} faults are planned");
    let say = |line: &str| {
        let _ = writeln!(std::io::stderr(), "{line}");
    };
    let tally = chaos(0..SEEDS, &say).await?;
    say(&tally.to_string());
    ensure!(tally.is_clean(), "{tally}: {:?} {:?}", tally.failing, tally.stuck);
    ensure!(tally.faults >= FAULTS, "{tally}, too late for {}", tally.too_late);
    Ok(())
}
