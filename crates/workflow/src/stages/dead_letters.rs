//! Before reads move, before the point of no return and at the end: nothing that the server gave up on.

use crossfade_plan::{dead_letters::DeadLetters, problem::Problem, stage::Stage};

use crate::{
    activities::ClusterWork,
    control::{self, Ctx, Halt, context, firm, ordered, read},
    options,
};

/// Lets `stage` begin only when no visibility task lies in the dead-letter queue: each may be a record that a store lacks,
/// and merging them back writes what the stores lack.
pub(crate) async fn without_dead_letters(ctx: &Ctx, stage: Stage) -> Result<(), Halt> {
    if !can_be_asked(ctx) {
        return Ok(());
    }
    control::doing(ctx, "looking whether the server gave up on any record");
    let queue = firm(
        ctx,
        ClusterWork::count_dead_letters,
        context(ctx),
        options::work("count what lies in the dead-letter queue"),
    )
    .await?;
    let problem = read(ctx, |progress| {
        queue.in_the_way_of(stage, &progress.spec.cluster.frontend)
    });
    problem.map_or(Ok(()), |problem| Err(problem.into()))
}

/// Lets a way back from swapped roles end only then, too: a record that was given up on meanwhile may be in the target alone.
pub(crate) async fn without_dead_letters_going_back(ctx: &Ctx) -> Result<(), Vec<Problem>> {
    if !can_be_asked(ctx) {
        return Ok(());
    }
    control::doing(ctx, "looking whether the server gave up on any record");
    let options = options::work("count what lies in the dead-letter queue");
    let queue = ordered(ctx, ClusterWork::count_dead_letters, context(ctx), options).await?;
    let problem = read(ctx, |progress| queue.in_the_way_back(&progress.spec.cluster.frontend));
    problem.map_or(Ok(()), |problem| Err(vec![problem]))
}

fn can_be_asked(ctx: &Ctx) -> bool {
    read(ctx, |progress| {
        let queue = progress.plan.as_ref().and_then(|plan| plan.dead_letters.as_ref());
        queue.is_some_and(DeadLetters::can_be_asked)
    })
}
