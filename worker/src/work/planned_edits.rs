//! Every edit of a host's files that a migration makes, worked out before the first: what the plan shows.

use std::path::Path;

use crossfade_config::{Edited, edit_dynamic, edit_static, unified_diff};
use crossfade_plan::{
    order::Context,
    plan::FilePlan,
    problem::Problem,
    settings::{self, DynamicConfig, HostConfig, Reads},
    spec::{Host, Spec},
    stage::Stage,
};

use super::{
    host_files::{dynamic_edit, static_edit},
    problems::refused,
};

/// Every edit in order, each diff against the file as the edit before leaves it.
pub(crate) fn planned_edits(
    context: &Context,
    host: &Host,
    original: &[u8],
    dynamic: &Path,
    dynamic_original: &[u8],
) -> Result<Vec<FilePlan>, Problem> {
    let mut plans = Vec::new();
    let mut add = |stage: Stage, path: &str, before: &[u8], edited: &Edited| {
        let before = String::from_utf8_lossy(before);
        plans.push(FilePlan {
            stage,
            path: path.to_owned(),
            diff: unified_diff(path, &before, edited.text()),
        });
    };
    let dynamic_path = dynamic.display().to_string();
    let mut dynamic_bytes = dynamic_original.to_owned();
    let mut static_bytes = original.to_owned();
    for step in steps(&context.spec) {
        match step {
            Step::Static(stage, to) => {
                let Some(edit) = static_edit(context, to)? else {
                    continue;
                };
                let edited = edit_static(&host.config, &static_bytes, &edit).map_err(|refusal| refused(&refusal))?;
                add(stage, &host.config, &static_bytes, &edited);
                static_bytes = edited.into_bytes();
            }
            Step::Dynamic(stage, to) => {
                let Some(edit) = dynamic_edit(&to) else { continue };
                let edited = edit_dynamic(dynamic, &dynamic_bytes, &edit).map_err(|refusal| refused(&refusal))?;
                add(stage, &dynamic_path, &dynamic_bytes, &edited);
                dynamic_bytes = edited.into_bytes();
            }
        }
    }
    plans.retain(|plan| !plan.diff.is_empty());
    Ok(plans)
}

enum Step {
    Static(Stage, HostConfig),
    Dynamic(Stage, DynamicConfig),
}

fn steps(spec: &Spec) -> Vec<Step> {
    let set = |writing_mode, reads| DynamicConfig::Set { writing_mode, reads };
    let mut steps = vec![
        Step::Dynamic(Stage::DualWrite, set(settings::WritingMode::Off, Reads::Source)),
        Step::Static(Stage::DualWrite, HostConfig::Dual),
        Step::Dynamic(Stage::DualWrite, set(settings::WritingMode::Dual, Reads::Source)),
    ];
    if !spec.cutover.namespaces_first.is_empty() {
        let first = Reads::Some(spec.cutover.namespaces_first.iter().cloned().collect());
        steps.push(Step::Dynamic(Stage::Cutover, set(settings::WritingMode::Dual, first)));
    }
    steps.push(Step::Dynamic(
        Stage::Cutover,
        set(settings::WritingMode::Dual, Reads::Target),
    ));
    if spec.promote.keep_warm.is_some() {
        steps.extend([
            Step::Dynamic(Stage::Promote, set(settings::WritingMode::Dual, Reads::Source)),
            Step::Static(Stage::Promote, HostConfig::Warm),
            Step::Dynamic(Stage::Promote, set(settings::WritingMode::Off, Reads::Source)),
        ]);
    }
    steps.extend([
        Step::Static(Stage::Promote, HostConfig::Promoted),
        Step::Dynamic(Stage::Promote, DynamicConfig::Removed),
    ]);
    steps
}
