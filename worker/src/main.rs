//! The `crossfade` command: the worker that carries a migration out, and everything its operators type.

mod activities;
mod cli;
mod codec;
mod commands;
mod connection;
mod exit;
mod metrics;
mod migration;
mod render;
mod serve;
mod spec_file;
mod work;

use std::io::IsTerminal;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::{cli::Cli, exit::Exit};

#[tokio::main]
async fn main() -> Exit {
    let cli = Cli::parse();
    log_to_stderr(cli.command.default_log_filter());
    let json = cli.global.json;
    match commands::run(cli).await {
        Ok(exit) => exit,
        Err(failure) => {
            render::failure(&failure, json);
            failure.exit
        }
    }
}

/// Logs go to stderr, so that stdout carries data alone. `RUST_LOG` overrides `default_filter`.
fn log_to_stderr(default_filter: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
