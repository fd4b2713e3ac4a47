//! Finish: the last check, the lock given back, the report.

use crossfade_plan::{
    drift::DriftClass,
    order::{FinalCheck, FinallyChecked},
    problem::{Code, Problem, listing},
    progress::Progress,
    stage::Gate,
};

use crate::{
    activities::ClusterWork,
    control::{self, Ctx, Halt, change, context, firm, read},
    options,
};

pub(crate) async fn finish(ctx: &Ctx) -> Result<(), Halt> {
    control::doing(ctx, "checking that the target has everything that the source had");
    let order = FinalCheck { context: context(ctx) };
    match firm(
        ctx,
        ClusterWork::final_check,
        order,
        options::last_scan("the final check", read(ctx, finishes_without)),
    )
    .await
    {
        Ok(checked) => judge(ctx, &checked)?,
        Err(Halt::Problems(problems)) => go_on_without(ctx, problems)?,
        Err(halt) => return Err(halt),
    }
    firm(
        ctx,
        ClusterWork::release_lock,
        context(ctx),
        options::work("give the migration lock back"),
    )
    .await
}

/// Whether the operator said at this very gate that records may be missing: then the source is known to be gone.
fn finishes_without(progress: &Progress) -> bool {
    let approval = progress.approvals.get(&Gate::Finish);
    approval.is_some_and(|approval| approval.accept_drift.contains(&DriftClass::Missing))
}

fn judge(ctx: &Ctx, checked: &FinallyChecked) -> Result<(), Halt> {
    let at = control::now(ctx);
    let accepted = change(ctx, |progress| {
        progress.final_records = Some(checked.records);
        let entry = format!(
            "the target has {} records; {} of the source's were deleted since, {} are missing",
            checked.records, checked.deleted_since, checked.missing
        );
        progress.note(at, "migration", true, entry);
        progress.accepted_drift.contains(&DriftClass::Missing)
    });
    if checked.missing == 0 || accepted {
        return Ok(());
    }
    let message = format!(
        "{} records of the source are not in the target though their executions exist",
        checked.missing
    );
    Err(Problem::new(Code::DriftRemains, message)
        .remedy(
            "copy them with `crossfade copy`, then `resume`; or accept it with approve \
             {\"gate\":\"finish\",\"accept_drift\":[\"missing\"]}",
        )
        .into())
}

/// The check could not be made, the source being gone, say. The cluster runs on the target since promote, so only the
/// operator can be asked; who has accepted what is missing goes on, and the report says so for ever.
fn go_on_without(ctx: &Ctx, problems: Vec<Problem>) -> Result<(), Halt> {
    if !read(ctx, |progress| progress.accepted_drift.contains(&DriftClass::Missing)) {
        let remedy = "bring the source back, then `resume`; or, when it is gone for good, finish without this check: approve \
                      {\"gate\":\"finish\",\"accept_drift\":[\"missing\"]}";
        return Err(Halt::Problems(
            problems.into_iter().map(|problem| problem.remedy(remedy)).collect(),
        ));
    }
    let at = control::now(ctx);
    let why = listing(&problems);
    change(ctx, |progress| {
        progress.note(
            at,
            "migration",
            true,
            format!("finished without the last check, as the operator accepted: {why}"),
        );
        progress.unchecked = Some(why);
    });
    Ok(())
}
