//! The commands, one file each.

mod audit;
mod copy;
mod diff;
mod indexes;
mod message;
mod plan;
mod report;
mod rollback;
mod routes;
mod spec;
mod start;
mod status;
mod store_url;
mod stores;
mod watch;
mod worker;

use crossfade_workflow::names::message as name;

use crate::{
    cli::{Cli, Command},
    exit::Outcome,
};

/// Runs the command that was typed.
pub(crate) async fn run(cli: Cli) -> Outcome {
    let global = &cli.global;
    match cli.command {
        Command::Worker(args) => worker::run(global, args).await,
        Command::Spec(args) => spec::run(global, &args),
        Command::Plan(args) => plan::run(global, &args).await,
        Command::Routes(args) => routes::run(global, &args),
        Command::Start(args) => start::run(global, &args).await,
        Command::Status(args) => status::run(global, &args).await,
        Command::Watch(args) => watch::run(global, &args).await,
        Command::Approve(args) => message::approve(global, &args).await,
        Command::Pause(args) => message::remark(global, name::PAUSE, &args).await,
        Command::Resume(args) => message::remark(global, name::RESUME, &args).await,
        Command::Finish(args) => message::remark(global, name::FINISH, &args).await,
        Command::SkipWait(args) => message::remark(global, name::SKIP_WAIT, &args).await,
        Command::Rollback(args) => rollback::run(global, &args).await,
        Command::Abort(args) => message::remark(global, name::ABORT, &args).await,
        Command::SetRate(args) => message::set_rate(global, &args).await,
        Command::Report(args) => report::run(global, &args).await,
        Command::Audit(args) => audit::run(global, &args).await,
        Command::Copy(args) => copy::run(global, &args).await,
        Command::Indexes(args) => indexes::run(global, &args).await,
        Command::Diff(args) => diff::run(global, &args).await,
    }
}
