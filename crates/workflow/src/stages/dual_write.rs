//! Dual-write: the keys first, then the secondary host by host, then the mode, then the proof.

use crossfade_plan::{
    attributes::Attributes,
    order::{ProveWrites, RegisterAttributes, WritesProven},
    settings::{DynamicConfig, HostConfig, Reads, WritingMode},
};

use super::{configure, everywhere_read, waves};
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

    for wave in waves(ctx) {
        checkpoint(ctx).await?;
        configure(ctx, &wave, HostConfig::Dual).await.map_err(Halt::Problems)?;
    }

    if read(ctx, |progress| {
        progress.plan.as_ref().is_some_and(|plan| plan.registers_attributes)
    }) {
        register_attributes(ctx).await?;
    }

    let dual = DynamicConfig::Set {
        writing_mode: WritingMode::Dual,
        reads: Reads::Source,
    };
    everywhere_read(ctx, &dual, "writing mode dual").await?;
    // From here on writes that fail at the target are watched: before, a host might not have been told yet.
    let at = control::now(ctx);
    change(ctx, |progress| progress.guard.since = Some(at));

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

/// Has the server know the source's custom search attributes for the target. It knows no index but those of its stores
/// (service/frontend/operator_handler.go, admin_handler.go), so this can only be done once every host has the target,
/// and must be done before the first write to it: a record with an attribute that is not known there is refused or cut.
async fn register_attributes(ctx: &Ctx) -> Result<(), Halt> {
    control::doing(ctx, "registering the custom search attributes for the target");
    let order = RegisterAttributes {
        context: context(ctx),
        attributes: attributes(ctx),
    };
    let registered = firm(
        ctx,
        ClusterWork::register_attributes,
        order,
        options::work("register the search attributes for the target"),
    )
    .await?;
    let at = control::now(ctx);
    let added = match registered.added.as_slice() {
        [] => "none had to be added".to_owned(),
        names => format!("added {}", names.join(", ")),
    };
    change(ctx, |progress| {
        let mut entry = format!(
            "{} custom search attributes are registered for the target; {added}",
            registered.agreed
        );
        if let Some(names) = registered.renamed {
            entry.push_str(&format!(
                "; a trigger in the target (crossfade_attribute_names) moves {names} names of executions from before into \
                 the columns that their Namespaces have for them"
            ));
        }
        progress.note(at, "migration", true, entry);
    });
    Ok(())
}

/// The custom search attributes as preflight found them: what depends on them refuses to go on when they changed.
pub(crate) fn attributes(ctx: &Ctx) -> Option<Attributes> {
    read(ctx, |progress| {
        progress.plan.as_ref().and_then(|plan| plan.attributes.clone())
    })
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
        attributes: attributes(ctx).filter(|_| source && target),
    };
    firm(
        ctx,
        ClusterWork::prove_writes,
        order,
        options::work("canaries on every history shard"),
    )
    .await
}
