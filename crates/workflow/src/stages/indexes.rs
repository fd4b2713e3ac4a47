//! The target's indexes: set aside before records are copied into it, built again after, and on the way back.

use crossfade_plan::{
    indexes::{self, ParkIndexes, RestoreIndexes},
    problem::{Problem, listing},
};

use crate::{
    activities::ClusterWork,
    control::{self, Ctx, Halt, change, checkpoint, context, ordered, read, yielding},
    options,
};

/// Sets the target's indexes aside where the plan says so, once. What stands in the way is noted and no problem: the copy
/// is only slower.
pub(super) async fn set_aside(ctx: &Ctx) -> Result<(), Halt> {
    let wanted = read(ctx, |progress| {
        let deferral = progress.plan.as_ref().and_then(|plan| plan.deferral.as_ref());
        let wanted = deferral.is_some_and(|deferral| deferral.set_aside);
        wanted && !progress.indexes.state.ordered && !progress.copy.copied.done
    });
    if !wanted {
        return Ok(());
    }
    checkpoint(ctx).await?;
    control::doing(ctx, "setting the target's indexes aside");
    // From here on they are brought back, whether an answer comes or not.
    change(ctx, |progress| progress.indexes.state.ordered = true);
    let order = ParkIndexes { context: context(ctx) };
    let options = options::aside("set the target's indexes aside");
    let answer = ordered(ctx, ClusterWork::park_indexes, order, options).await;
    let at = control::now(ctx);
    change(ctx, |progress| {
        let entry = match answer {
            Ok(answer) => {
                let entry = match &answer.kept {
                    Some(why) => format!("the target keeps its indexes while it is filled: {why}"),
                    None => format!("{} of the target's indexes set aside", answer.parked.count()),
                };
                progress.indexes.parked(answer);
                entry
            }
            Err(problems) => {
                let why = in_a_line(&problems);
                progress.indexes.state.kept = Some(why.clone());
                format!("the target's indexes could not be set aside and are built where they are: {why}")
            }
        };
        progress.note(at, "migration", true, entry);
    });
    Ok(())
}

/// Builds again what is set aside; the operator may pause it or turn back meanwhile.
pub(super) async fn build_again(ctx: &Ctx) -> Result<(), Halt> {
    while read(ctx, |progress| progress.indexes.state.owed()) {
        begin(ctx);
        let options = options::rebuild("build the target's indexes again");
        let step = yielding(ctx, ClusterWork::restore_indexes, order(ctx), options).await?;
        if let Some(step) = step {
            let at = control::now(ctx);
            change(ctx, |progress| progress.indexes.add(&step, at));
            note_end(ctx);
        }
    }
    Ok(())
}

/// The same on the way back, as its last step. The target may be the very reason to go back, so this is tried for a
/// bounded time; what is left then is told, with what does it by hand.
pub(crate) async fn build_again_going_back(ctx: &Ctx) {
    if !read(ctx, |progress| {
        let state = &progress.indexes.state;
        state.owed() && state.left.is_none()
    }) {
        return;
    }
    begin(ctx);
    let options = options::rebuild_going_back("build the target's indexes again");
    let answer = ordered(ctx, ClusterWork::restore_indexes, order(ctx), options).await;
    let at = control::now(ctx);
    match answer {
        Ok(step) => {
            change(ctx, |progress| progress.indexes.add(&step, at));
            note_end(ctx);
        }
        Err(problems) => change(ctx, |progress| {
            let what = match progress.indexes.state.set_aside {
                0 => "indexes of the target may be set aside still".to_owned(),
                count => format!("{count} of the target's indexes are set aside still"),
            };
            let left = format!(
                "{what}, since they could not be built again ({}); {}",
                in_a_line(&problems),
                indexes::restore_command(&progress.spec)
            );
            progress.note(at, "migration", true, left.clone());
            progress.indexes.state.left = Some(left);
        }),
    }
}

fn begin(ctx: &Ctx) {
    control::doing(ctx, "building the target's indexes again");
    let at = control::now(ctx);
    change(ctx, |progress| {
        progress.indexes.state.building_since.get_or_insert(at);
    });
}

fn order(ctx: &Ctx) -> RestoreIndexes {
    RestoreIndexes {
        context: context(ctx),
        parked: read(ctx, |progress| progress.indexes.parked.clone()),
    }
}

/// Tells that all are back, if they are.
fn note_end(ctx: &Ctx) {
    let at = control::now(ctx);
    change(ctx, |progress| {
        let state = &progress.indexes.state;
        if !state.owed() && state.set_aside > 0 {
            let slowly = match state.slowly {
                0 => String::new(),
                slowly => format!(", {slowly} of them the slow way, which keeps no writer waiting"),
            };
            let entry = format!("indexes: {}{slowly}", state.words().unwrap_or_default());
            progress.note(at, "migration", true, entry);
        }
    });
}

fn in_a_line(problems: &[Problem]) -> String {
    listing(problems).replace('\n', "; ")
}
