//! Prepare-target: the target gets its schema from Temporal's own tools.

use crossfade_plan::order::PrepareTarget;

use crate::{
    activities::ClusterWork,
    control::{self, Ctx, Halt, change, context, firm, read},
    options,
};

pub(crate) async fn prepare_target(ctx: &Ctx) -> Result<(), Halt> {
    control::doing(ctx, "preparing the target's schema");
    let server_version = read(ctx, |progress| {
        progress.plan.as_ref().map(|plan| plan.server_version.clone())
    })
    .unwrap_or_default();
    let order = PrepareTarget {
        context: context(ctx),
        server_version,
    };
    let ready = firm(
        ctx,
        ClusterWork::prepare_target,
        order,
        options::work("prepare the target's schema"),
    )
    .await?;
    let at = control::now(ctx);
    change(ctx, |progress| {
        progress.note(at, "migration", true, format!("target ready: {}", ready.done));
        if let Some(plan) = &mut progress.plan {
            plan.target.description = ready.description.unwrap_or_else(|| plan.target.description.clone());
            plan.target.schema_version = ready.schema_version;
        }
    });
    Ok(())
}
