//! Copy and compare against the bounds of the stores: what `cargo xtask bench` builds optimised and runs.
//!
//! Nothing starts a server here: a file says where they are. Each copy and each comparison that is measured is a process
//! of its own (`job`), so that its memory and its time on a processor are known.

mod cases;
mod job;
mod measure;
mod records;
mod stand;
mod timed;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::cases::{Scope, Spent};
use crate::job::Kind;
use crate::measure::{Case, note, say};
use crate::stand::{Peers, Stand};

#[derive(Debug, Parser)]
#[command(about = "Copy and compare against the bounds of the stores, on real servers")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// To an empty target, for each pair of families.
    Copy(Options),
    /// Pairs without any drift.
    Compare(Options),
    /// Two, four and eight slices at once in one process, with near stores.
    Slices(Options),
    /// The memory of a copy of 100,000 records, and of one of all.
    Memory(Options),
    /// Do the job that standard input describes.
    #[command(hide = true)]
    Job,
}

#[derive(Debug, Args)]
struct Options {
    /// A JSON file with two datastore entries: `postgres` and `elasticsearch`.
    #[arg(long, value_name = "FILE")]
    stores: PathBuf,
    /// How many records.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(100..))]
    records: u64,
    /// How often each case is measured; its times are the medians.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measure only the case of this name (more than once for several).
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Leave out what others take, which is most of the time.
    #[arg(long)]
    without_peers: bool,
    /// The program `elasticdump`, to be measured as well.
    #[arg(long, value_name = "FILE")]
    elasticdump: Option<PathBuf>,
    /// A Python with psycopg 3 and elasticsearch-py 7, to be measured as well.
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Count instructions per record as well, by valgrind (needs 3,000 records).
    #[arg(long)]
    instructions: bool,
    /// The folder for the results.
    #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
    output: PathBuf,
}

impl Options {
    fn scope(&self) -> Scope<'_> {
        Scope {
            records: self.records,
            rounds: self.rounds,
            peers: !self.without_peers,
            cases: &self.cases,
        }
    }

    fn peers(&self) -> Peers {
        Peers {
            elasticdump: self.elasticdump.clone(),
            python: self.python.clone(),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Copy(options) => {
            let stand = Stand::read(&options.stores, options.peers())?;
            let results = cases::copy::run(&stand, options.scope()).await?;
            tell("copy", &options, &stand, Some(Kind::Copy), results).await
        }
        Command::Compare(options) => {
            let stand = Stand::read(&options.stores, options.peers())?;
            let results = cases::compare::run(&stand, options.scope()).await?;
            tell("compare", &options, &stand, Some(Kind::Compare), results).await
        }
        Command::Slices(options) => {
            let stand = Stand::read(&options.stores, options.peers())?;
            let results = cases::slices::run(&stand, options.scope()).await?;
            tell("slices", &options, &stand, None, results).await
        }
        Command::Memory(options) => {
            let stand = Stand::read(&options.stores, options.peers())?;
            let results = cases::memory::run(&stand, options.scope()).await?;
            tell("memory", &options, &stand, None, results).await
        }
        Command::Job => job::run().await,
    }
}

/// Prints what was measured and writes it down.
async fn tell(
    name: &str,
    options: &Options,
    stand: &Stand,
    counted: Option<Kind>,
    (cases, spent): (Vec<Case>, Spent),
) -> Result<()> {
    if cases.is_empty() {
        bail!("there is no case {}; see the README's table", options.cases.join(", "));
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let (postgres, elasticsearch) = (stand.postgres.version().await?, stand.elasticsearch.version().await?);
    say(&format!(
        "{postgres}, {elasticsearch}, {processors} processors for everything, {} round(s)\n",
        options.rounds
    ));
    say(&measure::table(&cases));
    for (case, done) in &spent {
        say(&measure::phases(case, done));
    }
    measure::write(&options.output, name, &cases)?;
    measure::write(&options.output, &format!("{name}-spent"), &spent)?;
    if let Some(kind) = counted.filter(|_| options.instructions) {
        let costs = cases::cost::run(stand, kind).await?;
        for cost in &costs {
            say(&format!(
                "{}: {} instructions a record",
                cost.case, cost.instructions_per_record
            ));
        }
        measure::write(&options.output, &format!("{name}-instructions"), &costs)?;
    }
    Ok(())
}
