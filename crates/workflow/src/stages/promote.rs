//! Promote: the target becomes the primary, host by host; the keys go only after the last host.

use crossfade_plan::settings::{DynamicConfig, HostConfig};

use super::{configure, cutover, dual_write, everywhere, verify};
use crate::control::{Ctx, Halt, checkpoint, read};

pub(crate) async fn promote(ctx: &Ctx) -> Result<(), Halt> {
    // The last moment at which a rollback costs nothing is the last moment to look. Once a host is promoted
    // the source falls behind, so a second entry into this stage must not compare again.
    let begun = read(ctx, |progress| {
        progress.hosts.iter().any(|host| host.ordered == HostConfig::Promoted)
    });
    if !begun {
        verify::until_clean(ctx).await?;
    }
    let hosts: Vec<_> = read(ctx, |progress| {
        progress.spec.hosts_in_order().into_iter().cloned().collect()
    });
    for host in &hosts {
        checkpoint(ctx).await?;
        configure(ctx, host, HostConfig::Promoted)
            .await
            .map_err(Halt::Problems)?;
    }
    // A host still on the old config with the keys gone would write to the source alone, which is no longer
    // read. Only now does no host have a secondary, and nothing reads the keys.
    checkpoint(ctx).await?;
    everywhere(ctx, &DynamicConfig::Removed, "both keys removed")
        .await
        .map_err(Halt::Problems)?;
    dual_write::prove(ctx, "promoted", false, true).await?;
    cutover::prove_target_answers(ctx, None).await.map(|_| ())
}
