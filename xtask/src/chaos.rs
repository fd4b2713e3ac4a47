//! `cargo xtask chaos`: migrations of real clusters under traffic, with faults on purpose, and the judge's word on each.

use anyhow::{Context, Result, bail};
use clap::Args;
use e2e::faults::chaos;

use crate::{cargo, terminal};

/// Which runs.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How many runs, each with a few faults. The default ones bring more than sixty, at every point of a migration.
    #[arg(long, default_value_t = 21, value_name = "N")]
    seeds: u64,

    /// The first one's seed: the same seed brings the same migration and the same faults.
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    from: u64,
}

/// Runs them; the last line says what came of them all.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    built()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let seeds = arguments.from..arguments.from.saturating_add(arguments.seeds);
    let tally = runtime.block_on(chaos(seeds, &|line| terminal::note(line)))?;
    for (point, times) in &tally.points {
        terminal::note(&format!("{times:>4} faults at {point}"));
    }
    for (kind, times) in &tally.kinds {
        terminal::note(&format!("{times:>4} times {kind}"));
    }
    if tally.too_late > 0 {
        terminal::note(&format!("{} faults came too late and are not counted", tally.too_late));
    }
    terminal::fact(&tally.to_string());
    if !tally.is_clean() {
        let seeds: Vec<String> = tally.failing.iter().map(ToString::to_string).collect();
        bail!("something is wrong after seed {}", seeds.join(", "));
    }
    Ok(())
}

/// The product itself, unless another one is given: cargo builds this program without it.
fn built() -> Result<()> {
    if std::env::var_os("CROSSFADE_BIN").is_some_and(|given| !given.is_empty()) {
        return Ok(());
    }
    let status = cargo::command()
        .args(["build", "--package", "crossfade"])
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("`cargo build --package crossfade` failed ({status})");
    }
    Ok(())
}
