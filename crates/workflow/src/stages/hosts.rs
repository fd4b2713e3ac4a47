//! What several stages do on hosts: their config, their dynamic config, and the time until it is read.

use std::time::Duration;

use crossfade_plan::{
    order::{ConfigureHost, SetDynamicConfig},
    problem::Problem,
    settings::{DynamicConfig, HostConfig, Reads},
    spec::Host,
};
use futures_util::future::join_all;

use super::dual_write;
use crate::{
    activities::HostWork,
    control::{Ctx, Halt, change, checkpoint, context, doing, ordered, read, rest},
    guard, options,
};

/// How much longer than its poll interval a host may take to act on a dynamic config file: reading it and
/// handing the values to its services.
const READ_MARGIN: Duration = Duration::from_secs(2);

/// The hosts in the order of their restarts, those together that are down at the same time.
pub(crate) fn waves(ctx: &Ctx) -> Vec<Vec<Host>> {
    read(ctx, |progress| {
        let waves = progress.spec.waves();
        waves
            .into_iter()
            .map(|wave| wave.into_iter().cloned().collect())
            .collect()
    })
}

/// Brings the static configs of hosts that may be down at the same time to a state; when it answers, their services run with it.
/// Of several each finishes what it began, whatever becomes of the others.
///
/// # Errors
/// What became of each that does not run with it.
pub(crate) async fn configure(ctx: &Ctx, wave: &[Host], to: HostConfig) -> Result<(), Vec<Problem>> {
    brought(ctx, wave, to, false).await
}

/// The same as a step of the way back, on which nothing is put back that fails.
pub(crate) async fn configure_back(ctx: &Ctx, wave: &[Host], to: HostConfig) -> Result<(), Vec<Problem>> {
    brought(ctx, wave, to, true).await
}

async fn brought(ctx: &Ctx, wave: &[Host], to: HostConfig, back: bool) -> Result<(), Vec<Problem>> {
    let names: Vec<&str> = wave.iter().map(|host| host.name.as_str()).collect();
    change(ctx, |progress| {
        for state in &mut progress.hosts {
            if names.contains(&state.name.as_str()) {
                state.ordered = to;
            }
        }
    });
    let words = match to {
        HostConfig::Original => "its former config",
        HostConfig::Dual => "the target as secondary",
        HostConfig::Warm => "the target as primary, the source as secondary",
        HostConfig::Promoted if read(ctx, |progress| progress.warm.over) => "the target alone",
        HostConfig::Promoted => "the target as primary",
    };
    doing(ctx, format!("{}: restarting with {words}", names.join(", ")));
    let orders = wave.iter().map(|host| {
        let order = ConfigureHost {
            context: context(ctx),
            host: host.clone(),
            to,
            back,
            together_with: names
                .iter()
                .filter(|name| **name != host.name)
                .map(|name| (*name).to_owned())
                .collect(),
        };
        one_brought(ctx, order, words)
    });
    let problems: Vec<Problem> = join_all(orders)
        .await
        .into_iter()
        .filter_map(Result::err)
        .flatten()
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

async fn one_brought(ctx: &Ctx, order: ConfigureHost, words: &str) -> Result<(), Vec<Problem>> {
    let (name, to) = (order.host.name.clone(), order.to);
    let options = options::host_work(&name, order.host.restart_within.0, &format!("{name}: {words}"));
    let configured = ordered(ctx, HostWork::configure_host, order, options).await?;
    change(ctx, |progress| {
        for state in progress.hosts.iter_mut().filter(|state| state.name == name) {
            state.config = to;
            if configured.restarted {
                state.restart_millis = Some(configured.restart_millis);
            }
        }
    });
    Ok(())
}

/// Brings every host's dynamic config file to a state; nobody else does meanwhile.
pub(crate) async fn everywhere(ctx: &Ctx, to: &DynamicConfig, words: &str) -> Result<(), Vec<Problem>> {
    guard::take_turn(ctx).await;
    let told = one_by_one(ctx, to, words).await;
    guard::end_turn(ctx);
    told
}

async fn one_by_one(ctx: &Ctx, to: &DynamicConfig, words: &str) -> Result<(), Vec<Problem>> {
    change(ctx, |progress| progress.dynamic_config_touched = true);
    let attributes = dual_write::attributes(ctx).filter(|_| reads_move(to));
    for host in read(ctx, |progress| progress.spec.cluster.hosts.clone()) {
        doing(ctx, format!("{}: dynamic config: {words}", host.name));
        let order = SetDynamicConfig {
            context: context(ctx),
            host: host.clone(),
            to: to.clone(),
            attributes: attributes.clone(),
        };
        let options = options::host_work(
            &host.name,
            Duration::ZERO,
            &format!("{}: dynamic config: {words}", host.name),
        );
        ordered(ctx, HostWork::set_dynamic_config, order, options).await?;
    }
    Ok(())
}

/// Whether reads move to the target: the last moment to see that it decodes as the source does.
fn reads_move(to: &DynamicConfig) -> bool {
    matches!(to, DynamicConfig::Set { reads, .. } if *reads != Reads::Source)
}

/// Brings every host's dynamic config file to a state and lets the time pass until every host has read it.
pub(crate) async fn everywhere_read(ctx: &Ctx, to: &DynamicConfig, words: &str) -> Result<(), Halt> {
    checkpoint(ctx).await?;
    everywhere(ctx, to, words).await.map_err(Halt::Problems)?;
    doing(ctx, "waiting until every host has read the dynamic config");
    let why = "until every host has read the dynamic config";
    rest(ctx, propagation(ctx), why, |_| false).await.map(|_| ())
}

/// How long it takes until every host acts on a changed dynamic config file. The server's file client polls
/// (common/dynamicconfig/file_based_client.go, 1.21 to 1.32); no API tells what it has read.
pub(crate) fn propagation(ctx: &Ctx) -> Duration {
    let poll = read(ctx, |progress| {
        progress.plan.as_ref().map_or(0, |plan| plan.poll_seconds)
    });
    Duration::from_secs(poll) + READ_MARGIN
}
