//! The way back: every file byte for byte as it was, in an order in which no write is lost.

use crossfade_plan::{
    message::Side,
    order::{Answers, ProveReads, ProveWrites},
    problem::Problem,
    progress::{Condition, CutoverProgress, HostState},
    settings::{DynamicConfig, HostConfig, Reads, WritingMode},
    spec::Host,
};

use crate::{
    activities::ClusterWork,
    control::{self, Ctx, change, context, ordered, pass, read},
    options,
    stages::{
        build_again_going_back, configure, configure_back, everywhere, propagation, waves,
        without_dead_letters_going_back,
    },
};

/// Goes back. There is no giving up here: what fails is shown to the operator, who corrects it and says `resume`.
pub(crate) async fn roll_back(ctx: &Ctx) {
    loop {
        change(ctx, |progress| {
            progress.condition = Condition::RollingBack {
                doing: "beginning".to_owned(),
            }
        });
        match try_back(ctx).await {
            Ok(()) => return,
            Err(problems) => control::ask_operator_going_back(ctx, problems).await,
        }
    }
}

async fn try_back(ctx: &Ctx) -> Result<(), Vec<Problem>> {
    let touched = read(ctx, |progress| progress.dynamic_config_touched);
    if touched {
        roles_as_before(ctx).await?;
        reads_from_source(ctx).await?;
        let off = DynamicConfig::Set {
            writing_mode: WritingMode::Off,
            reads: Reads::Source,
        };
        everywhere(ctx, &off, "writing mode off").await?;
        pass(ctx, propagation(ctx), "until every host has read the dynamic config").await;
        hosts_as_they_were(ctx).await?;
        // The keys stay until no host has a secondary: without them a host's mode would be its default.
        everywhere(ctx, &DynamicConfig::Original, "as it was").await?;
        source_is_written(ctx).await?;
        if read(ctx, |progress| progress.warm.begun) {
            without_dead_letters_going_back(ctx).await?;
        }
    }
    // The cluster is as it was; nothing but the target waits for this.
    build_again_going_back(ctx).await;
    if read(ctx, |progress| progress.plan.is_some()) {
        ordered(
            ctx,
            ClusterWork::release_lock,
            context(ctx),
            options::work("give the migration lock back"),
        )
        .await?;
    }
    Ok(())
}

/// Hosts whose roles were swapped get them back first: while they have them, writing less than both stores would leave the
/// source behind. Every host reads its primary meanwhile, and both stores have everything.
async fn roles_as_before(ctx: &Ctx) -> Result<(), Vec<Problem>> {
    let swapped = |state: &HostState| state.ordered == HostConfig::Warm || state.config == HostConfig::Warm;
    for wave in waves_back(ctx, swapped) {
        configure_back(ctx, &wave, HostConfig::Dual).await?;
    }
    Ok(())
}

/// Those hosts that are to be brought back, in the order of the way back: those that were restarted last are first.
fn waves_back(ctx: &Ctx, wanted: impl Fn(&HostState) -> bool) -> Vec<Vec<Host>> {
    let is_wanted = |host: &Host| {
        read(ctx, |progress| {
            let states = progress.hosts.iter().filter(|state| state.name == host.name);
            states.into_iter().any(&wanted)
        })
    };
    let mut waves = waves(ctx);
    waves.reverse();
    for wave in &mut waves {
        wave.retain(&is_wanted);
    }
    waves.retain(|wave| !wave.is_empty());
    waves
}

/// Reads come back first, while both stores are still written.
async fn reads_from_source(ctx: &Ctx) -> Result<(), Vec<Problem>> {
    let moved = read(ctx, |progress| {
        // With a gap in the target reads come back together with the writing mode, which is off.
        progress.guard.gap.is_none()
            && (progress.stage >= crossfade_plan::stage::Stage::Cutover || progress.cutover > CutoverProgress::NotBegun)
    });
    if !moved {
        return Ok(());
    }
    let to = DynamicConfig::Set {
        writing_mode: WritingMode::Dual,
        reads: Reads::Source,
    };
    everywhere(ctx, &to, "reads from the source").await?;
    pass(ctx, propagation(ctx), "until every host has read the dynamic config").await;
    control::doing(ctx, "proving through the frontend that the source answers");
    let order = ProveReads {
        context: context(ctx),
        namespaces: None,
        from: Answers::Source,
    };
    ordered(
        ctx,
        ClusterWork::prove_reads,
        order,
        options::work("prove which store answers"),
    )
    .await?;
    change(ctx, |progress| progress.cutover = CutoverProgress::NotBegun);
    Ok(())
}

async fn hosts_as_they_were(ctx: &Ctx) -> Result<(), Vec<Problem>> {
    let changed = |state: &HostState| state.ordered != HostConfig::Original || state.config != HostConfig::Original;
    for wave in waves_back(ctx, changed) {
        configure(ctx, &wave, HostConfig::Original).await?;
    }
    Ok(())
}

async fn source_is_written(ctx: &Ctx) -> Result<(), Vec<Problem>> {
    control::doing(ctx, "proving by canaries that the source is written");
    let shards = read(ctx, |progress| progress.plan.as_ref().map_or(0, |plan| plan.shards));
    let order = ProveWrites {
        context: context(ctx),
        proof: "back".to_owned(),
        shards,
        source: true,
        target: false,
        attributes: None,
    };
    ordered(
        ctx,
        ClusterWork::prove_writes,
        order,
        options::work("canaries on every history shard"),
    )
    .await?;
    change(ctx, |progress| {
        if progress.guard.failing() == Some(Side::Source) {
            progress.guard.failing_since = None;
        }
    });
    Ok(())
}
