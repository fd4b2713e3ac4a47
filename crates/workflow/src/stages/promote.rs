//! Promote: the target becomes the primary, host by host; the keys go only after the last host.

use std::time::Duration;

use crossfade_plan::{
    progress::Condition,
    settings::{DynamicConfig, HostConfig, Reads, WritingMode},
    spec::Host,
    stage::Stage,
};
use jiff::SignedDuration;

use super::{configure, cutover, dual_write, everywhere, everywhere_read, verify, waves, without_dead_letters};
use crate::{
    control::{self, Ctx, Halt, change, checkpoint, read, rest_until},
    guard,
};

pub(crate) async fn promote(ctx: &Ctx) -> Result<(), Halt> {
    // The last moment at which a rollback costs nothing is the last moment to look. Once a host is promoted
    // the source falls behind, so a second entry into this stage must not compare again; and while the roles are
    // swapped the source is no measure of the target.
    let begun = read(ctx, |progress| {
        progress
            .hosts
            .iter()
            .any(|host| matches!(host.ordered, HostConfig::Warm | HostConfig::Promoted))
    });
    if !begun {
        verify::until_clean(ctx).await?;
    }
    let waves = waves(ctx);
    if let Some(keep_warm) = read(ctx, |progress| progress.spec.promote.keep_warm)
        && !read(ctx, |progress| progress.warm.over)
    {
        stay_warm(ctx, &waves, keep_warm.0).await?;
    }
    if read(ctx, |progress| progress.warm.over) {
        leave_source(ctx).await?;
    }
    for wave in &waves {
        checkpoint(ctx).await?;
        configure(ctx, wave, HostConfig::Promoted)
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

/// Swaps the roles host by host, and goes on writing both stores until the time is over or the operator says `finish`.
async fn stay_warm(ctx: &Ctx, waves: &[Vec<Host>], keep_warm: Duration) -> Result<(), Halt> {
    if read(ctx, |progress| progress.warm.since.is_none()) {
        // From here on each host reads its primary: the source before its turn, the target after it. Both are written by
        // every host all the time, so whoever is asked has every record.
        let primaries = DynamicConfig::Set {
            writing_mode: WritingMode::Dual,
            reads: Reads::Source,
        };
        everywhere_read(ctx, &primaries, "reads from each host's primary").await?;
        for wave in waves {
            checkpoint(ctx).await?;
            change(ctx, |progress| progress.warm.begun = true);
            configure(ctx, wave, HostConfig::Warm).await.map_err(Halt::Problems)?;
        }
        dual_write::prove(ctx, "warm", true, true).await?;
        cutover::prove_target_answers(ctx, None).await?;
        let since = control::now(ctx);
        let until = SignedDuration::try_from(keep_warm)
            .ok()
            .and_then(|length| since.checked_add(length).ok())
            .unwrap_or(since);
        change(ctx, |progress| {
            progress.warm.since = Some(since);
            progress.warm.until = Some(until);
            progress.guard.proven = Some(since);
            progress.guard.failing_since = None;
            let entry = format!("the target is the primary on every host; the source stays written until {until}");
            progress.note(since, "migration", true, entry);
        });
    }
    guard::watch_both(ctx);
    let until = read(ctx, |progress| progress.warm.until);
    let reason = "the source stays written, so that going back needs no copy; `finish` ends this";
    change(ctx, |progress| {
        progress.condition = Condition::Waiting {
            reason: reason.to_owned(),
            until,
            next_wake_up: until,
        };
    });
    control::details(ctx, reason);
    let why = "the source stays written";
    rest_until(ctx, until, why, |progress| progress.warm.finish || progress.guard.lost).await?;
    guard::both_kept(ctx).await?;
    let at = control::now(ctx);
    change(ctx, |progress| {
        progress.warm.over = true;
        progress.guard.failing_since = None;
        let entry = "the source is left: it is not written any more from here on";
        progress.note(at, "migration", true, entry);
    });
    Ok(())
}

/// Has every host write the target alone while it is its primary. What the server gave up on meanwhile can be done again
/// then, also when it is the source that failed; and nothing is promoted before that.
async fn leave_source(ctx: &Ctx) -> Result<(), Halt> {
    let target_alone = DynamicConfig::Set {
        writing_mode: WritingMode::Off,
        reads: Reads::Source,
    };
    everywhere_read(ctx, &target_alone, "each host's primary alone").await?;
    without_dead_letters(ctx, Stage::Promote).await
}
