//! Cutover: reads come from the target, first for some Namespaces if asked, then for all; reversible in seconds.

use std::collections::BTreeSet;

use crossfade_plan::{
    order::{Answers, ProveReads, ReadsProven},
    progress::{Condition, CutoverProgress},
    settings::{DynamicConfig, Reads, WritingMode},
};
use jiff::SignedDuration;

use super::everywhere_read;
use crate::{
    activities::ClusterWork,
    control::{self, Ctx, Halt, change, context, firm, read, rest_until},
    options,
};

pub(crate) async fn cutover(ctx: &Ctx) -> Result<(), Halt> {
    let first: BTreeSet<String> = read(ctx, |progress| {
        progress.spec.cutover.namespaces_first.iter().cloned().collect()
    });
    if !first.is_empty() {
        if reached(ctx) < CutoverProgress::FirstNamespaces {
            move_reads(ctx, Reads::Some(first.clone()), Some(first)).await?;
            reach(ctx, CutoverProgress::FirstNamespaces);
        }
        if reached(ctx) < CutoverProgress::FirstSoaked {
            soak(ctx, "the first Namespaces read the target").await?;
            reach(ctx, CutoverProgress::FirstSoaked);
        }
    }
    if reached(ctx) < CutoverProgress::Everyone {
        move_reads(ctx, Reads::Target, None).await?;
        reach(ctx, CutoverProgress::Everyone);
    }
    if reached(ctx) < CutoverProgress::Soaked {
        soak(ctx, "every Namespace reads the target").await?;
        reach(ctx, CutoverProgress::Soaked);
    }
    Ok(())
}

fn reached(ctx: &Ctx) -> CutoverProgress {
    read(ctx, |progress| progress.cutover)
}

fn reach(ctx: &Ctx, step: CutoverProgress) {
    change(ctx, |progress| progress.cutover = step);
}

async fn move_reads(ctx: &Ctx, reads: Reads, namespaces: Option<BTreeSet<String>>) -> Result<(), Halt> {
    let to = DynamicConfig::Set {
        writing_mode: WritingMode::Dual,
        reads,
    };
    everywhere_read(ctx, &to, "reads from the target").await?;
    let proven = prove_target_answers(ctx, namespaces).await?;
    let at = control::now(ctx);
    change(ctx, |progress| {
        let entry = format!(
            "the target answers for {} Namespaces, {} records counted",
            proven.namespaces, proven.counted
        );
        progress.note(at, "migration", true, entry);
    });
    Ok(())
}

/// Proves through the frontend that the target answers for these Namespaces, or for all.
pub(super) async fn prove_target_answers(ctx: &Ctx, namespaces: Option<BTreeSet<String>>) -> Result<ReadsProven, Halt> {
    control::doing(ctx, "proving through the frontend that the target answers");
    let order = ProveReads {
        context: context(ctx),
        namespaces,
        from: Answers::Target,
    };
    firm(
        ctx,
        ClusterWork::prove_reads,
        order,
        options::work("prove which store answers"),
    )
    .await
}

async fn soak(ctx: &Ctx, what: &str) -> Result<(), Halt> {
    let length = read(ctx, |progress| progress.spec.cutover.soak.0);
    let begun = read(ctx, |progress| progress.soak_until);
    let until = begun.or_else(|| {
        let length = SignedDuration::try_from(length).ok()?;
        control::now(ctx).checked_add(length).ok()
    });
    change(ctx, |progress| {
        progress.soak_until = until;
        progress.condition = Condition::Waiting {
            reason: format!("soak: {what}"),
            until,
            next_wake_up: until,
        };
    });
    rest_until(ctx, until, "soak", |_| false).await?;
    change(ctx, |progress| progress.soak_until = None);
    Ok(())
}
