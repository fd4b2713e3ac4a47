//! Dual-write: the keys first, then the secondary host by host, then the mode, then the proof.

use crossfade_plan::{
    order::{ProveWrites, WritesProven},
    settings::{DynamicConfig, HostConfig, Reads, WritingMode},
};

use super::{configure, everywhere_read};
use crate::{
    activities::ClusterWork,
    control::{self, Ctx, Halt, change, checkpoint, context, firm, read},
    options,
};

pub(crate) async fn dual_write(ctx: &Ctx) -> Result<(), Halt> {
    if read(ctx, |progress| progress.dual_since.is_some()) {
        return Ok(());
    }
    // Up to server 1.23 the keys' presence is read once, at start (common/persistence/visibility/defs.go), so
    // they are in the file, saying what is the default, before the first host is restarted.
    let off = DynamicConfig::Set {
        writing_mode: WritingMode::Off,
        reads: Reads::Source,
    };
    everywhere_read(ctx, &off, "both keys, off").await?;

    let hosts: Vec<_> = read(ctx, |progress| {
        progress.spec.hosts_in_order().into_iter().cloned().collect()
    });
    for host in &hosts {
        checkpoint(ctx).await?;
        configure(ctx, host, HostConfig::Dual).await.map_err(Halt::Problems)?;
    }

    let dual = DynamicConfig::Set {
        writing_mode: WritingMode::Dual,
        reads: Reads::Source,
    };
    everywhere_read(ctx, &dual, "writing mode dual").await?;

    let proven = prove(ctx, "dual", true, true).await?;
    change(ctx, |progress| {
        progress.dual_since = Some(proven.at);
        progress.note(
            proven.at,
            "migration",
            true,
            format!(
                "both stores are written: {} canaries, one for each history shard, seen in both",
                proven.canaries
            ),
        );
    });
    Ok(())
}

/// Proves where the server writes.
pub(super) async fn prove(ctx: &Ctx, proof: &str, source: bool, target: bool) -> Result<WritesProven, Halt> {
    control::doing(
        ctx,
        "proving by canaries on every history shard where the server writes",
    );
    let shards = read(ctx, |progress| progress.plan.as_ref().map_or(0, |plan| plan.shards));
    let order = ProveWrites {
        context: context(ctx),
        proof: proof.to_owned(),
        shards,
        source,
        target,
    };
    firm(
        ctx,
        ClusterWork::prove_writes,
        order,
        options::work("canaries on every history shard"),
    )
    .await
}
