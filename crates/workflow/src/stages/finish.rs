//! Finish: the last check, the lock given back, the report.

use crossfade_plan::{
    order::FinalCheck,
    problem::{Code, Problem},
};

use crate::{
    activities::ClusterWork,
    control::{self, Ctx, Halt, change, context, firm},
    options,
};

pub(crate) async fn finish(ctx: &Ctx) -> Result<(), Halt> {
    control::doing(ctx, "checking that the target has everything that the source had");
    let order = FinalCheck { context: context(ctx) };
    let checked = firm(ctx, ClusterWork::final_check, order, options::scan("the final check")).await?;
    let at = control::now(ctx);
    change(ctx, |progress| {
        progress.final_records = Some(checked.records);
        let entry = format!(
            "the target has {} records; {} of the source's were deleted since, {} are missing",
            checked.records, checked.deleted_since, checked.missing
        );
        progress.note(at, "migration", true, entry);
    });
    if checked.missing > 0 {
        let message = format!(
            "{} records of the source are not in the target though their executions exist",
            checked.missing
        );
        return Err(Problem::new(Code::DriftRemains, message)
            .remedy("copy them with `crossfade copy`, then `resume`")
            .into());
    }
    firm(
        ctx,
        ClusterWork::release_lock,
        context(ctx),
        options::work("give the migration lock back"),
    )
    .await
}
