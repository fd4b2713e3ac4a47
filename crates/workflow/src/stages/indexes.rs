//! The target's indexes: set aside before records are copied into it, built again after, and on the way back.

use crossfade_plan::{
    indexes::{self, ParkIndexes, RestoreIndexes},
    problem::Problem,
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
        let state = match answer {
            Ok(answer) => {
                progress.indexes.parked(answer);
                &progress.indexes.state
            }
            Err(problems) => {
                progress.indexes.state.kept = Some(in_a_line(&problems));
                &progress.indexes.state
            }
        };
        let entry = match &state.kept {
            Some(why) => format!("the target is filled as it is: {why}"),
            None => format!("{} of the target's {} set aside", state.set_aside, state.what.name()),
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
            let state = &progress.indexes.state;
            let what = match state.set_aside {
                0 => "indexes of the target may be set aside still".to_owned(),
                count => format!("{count} of the target's {} are set aside still", state.what.name()),
            };
            let left = format!(
                "{what}, since they could not be brought back ({}); {}",
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
            let entry = format!("{}: {}{slowly}", state.what.name(), state.words().unwrap_or_default());
            progress.note(at, "migration", true, entry);
        }
    });
}

/// What went wrong; nobody has to do anything about it now.
fn in_a_line(problems: &[Problem]) -> String {
    let told = |problem: &Problem| format!("[{}] {}", problem.code, problem.message.replace('\n', " "));
    problems.iter().map(told).collect::<Vec<_>>().join("; ")
}
