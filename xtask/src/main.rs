//! The project's own commands.

mod bench;
mod cargo;
mod chaos;
mod demo;
mod peers;
mod scale;
mod servers;
mod terminal;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find or build the real servers and tools that the demo and the tests run.
    Servers(servers::Arguments),
    /// Migrate a real cluster under traffic on this machine, from nothing to the judge's verdict.
    Demo(demo::Arguments),
    /// Measure copying and comparing against what the stores alone take, on real stores.
    Bench(bench::Arguments),
    /// Migrate real clusters under traffic while their processes are killed, their connections cut and their disks filled.
    Chaos(chaos::Arguments),
    /// Prove the whole tree: format, lints, tests, documentation, end to end.
    Verify(verify::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Servers(arguments) => servers::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Chaos(arguments) => chaos::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::error(&error);
            ExitCode::FAILURE
        }
    }
}
