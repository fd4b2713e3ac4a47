//! Verify: every record compared, what differs repaired, again until a whole round is clean.

use crossfade_plan::{
    order::Compared,
    problem::{Code, Problem},
    progress::VerifyProgress,
    slices::Slices,
};

use super::slices;
use crate::control::{self, Ctx, Halt, change, read};

/// Rounds without a clean one before the operator is asked. Live traffic makes some drift in every round
/// look like drift only until it is read again, so a repaired round is normally followed by a clean one.
const ROUNDS: u32 = 5;

pub(crate) async fn verify(ctx: &Ctx) -> Result<(), Halt> {
    until_clean(ctx).await
}

/// Compares until a whole round finds nothing that the operator has not accepted.
pub(super) async fn until_clean(ctx: &Ctx) -> Result<(), Halt> {
    change(ctx, |progress| {
        let repaired = progress.verify.repaired;
        if progress.verify.clean_at.is_some() || progress.verify.round >= ROUNDS {
            progress.verify = VerifyProgress {
                repaired,
                ..VerifyProgress::default()
            };
        }
    });
    loop {
        let found = round(ctx).await?;
        let at = control::now(ctx);
        let (clean, round) = change(ctx, |progress| {
            let verify = &mut progress.verify;
            let clean = verify.drift.classes().is_subset(&progress.accepted_drift);
            verify.clean_at = clean.then_some(at);
            verify.slices = Slices::default();
            let round = verify.round;
            progress.note(at, "migration", true, format!("round {round}: {found}"));
            let repaired = progress.verify.repaired.saturating_sub(progress.guard.repaired_before);
            if let Some(told) = clean.then(|| progress.guard.filled(at, repaired)).flatten() {
                progress.note(at, "guard", true, told);
            }
            (clean, round)
        });
        if clean {
            return Ok(());
        }
        if round >= ROUNDS {
            let (drift, samples) = read(ctx, |progress| {
                (progress.verify.drift, progress.verify.samples.join(", "))
            });
            return Err(Problem::new(
                Code::DriftRemains,
                format!("after {round} rounds: {drift}; for example {samples}"),
            )
            .into());
        }
    }
}

/// One whole round, or the rest of one that was interrupted. It is over when all of its slices are.
async fn round(ctx: &Ctx) -> Result<String, Halt> {
    change(ctx, |progress| {
        if progress.verify.cursor.is_none() && progress.verify.slices.is_none() {
            let VerifyProgress { round, repaired, .. } = progress.verify;
            progress.verify = VerifyProgress {
                round: round + 1,
                repaired,
                ..VerifyProgress::default()
            };
        }
        let cursor = progress.verify.cursor.take();
        progress.verify.slices.begin(&progress.cuts, cursor);
    });
    slices::compare(ctx).await?;
    Ok(read(ctx, |progress| {
        let verify = &progress.verify;
        let by_digest = match verify.by_digest {
            0 => String::new(),
            by_digest => format!(" ({by_digest} of them by digests, not read)"),
        };
        format!(
            "{} records compared{by_digest}, {}, {} repaired so far",
            verify.compared, verify.drift, verify.repaired
        )
    }))
}

/// Adds what an activity found in the slice of that number.
pub(super) fn add(verify: &mut VerifyProgress, number: u32, step: Option<&Compared>) {
    verify.slices.settle(number, step.map(Compared::step).as_ref());
    let Some(step) = step else { return };
    verify.compared += step.compared;
    verify.by_digest += step.by_digest;
    verify.drift.missing += step.drift.missing;
    verify.drift.stale += step.drift.stale;
    verify.drift.different += step.drift.different;
    verify.drift.extra += step.drift.extra;
    verify.repaired += step.repaired;
    verify.samples.extend(
        step.samples
            .iter()
            .take(10_usize.saturating_sub(verify.samples.len()))
            .cloned(),
    );
}
