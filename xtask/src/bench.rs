//! `cargo xtask bench`: real stores are started, and the benchmarks run on them, optimised.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use e2e::bare::BareStores;

use crate::{cargo, peers, scale, terminal};

/// Elasticsearch's heap: enough not to be what is measured.
const HEAP_MEGABYTES: u32 = 1_024;

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Which benchmark.
    #[arg(value_enum)]
    name: Name,

    /// What is passed on: --records N, --rounds N, --without-peers, --instructions; for scale --records N, --workers 1,2,4,1x4
    /// and --distance-ms N.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    /// Copies into an empty store, against what the stores alone take.
    Copy,
    /// Comparisons of equal stores, against reading both.
    Compare,
    /// The copy of a migration by one, two and four worker processes, with far stores.
    Scale,
    /// Copies in two, four and eight slices at once, against one slice at a time.
    Slices,
    /// The memory of a short copy and of a long one (--records 2000000).
    Memory,
}

/// Runs one benchmark; its table goes to stdout, its numbers to `target/bench`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if matches!(arguments.name, Name::Scale) {
        return scale::run(&arguments.options);
    }
    let name = arguments
        .name
        .to_possible_value()
        .context("each benchmark has a name")?;
    let bench = |more: &[&str]| {
        let mut command = cargo::command();
        command.args(more).args(["--release", "--package", "crossfade-bench"]);
        command
    };
    // Before the servers are there: what is measured must not meet a compiler.
    succeed(&mut bench(&["build"]))?;
    let mut others = Vec::new();
    let measures_others = !arguments.options.iter().any(|option| option == "--without-peers");
    if matches!(arguments.name, Name::Copy) && measures_others {
        others = peers::arguments(terminal::progress().as_ref())?;
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let stores = runtime.block_on(BareStores::start(HEAP_MEGABYTES, terminal::progress().as_ref()))?;
    let output = Path::new("target/bench");
    let measured = succeed(
        bench(&["run", "--quiet"])
            .args(["--", name.get_name(), "--stores"])
            .arg(stores.entries())
            .arg("--output")
            .arg(output)
            .args(others)
            .args(&arguments.options),
    );
    let stopped = stores.finish();
    measured?;
    stopped
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("the benchmark failed ({status})");
    }
    Ok(())
}
