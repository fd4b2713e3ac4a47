//! Preflight without a workflow: the same questions and the same plan, for `crossfade plan`.

use crossfade_plan::{
    order::{Context, InspectHost},
    plan::{self, Plan},
    problem::Problem,
    spec::Spec,
};

use super::{frontend, host_files, stores};

/// Makes the plan, reading everything from this machine.
///
/// # Errors
/// Everything that stands in the way, not only the first thing.
pub(crate) async fn plan(spec: &Spec) -> Result<Plan, Vec<Problem>> {
    let context = Context {
        migration: "plan".to_owned(),
        key: "plan".to_owned(),
        control_namespace: String::new(),
        source: None,
        indices: None,
        spec: spec.clone(),
    };
    let mut problems = Vec::new();
    let cluster = frontend::inspect(&context)
        .await
        .map_err(|problem| problems.push(problem));
    let mut hosts = Vec::new();
    for host in &spec.cluster.hosts {
        match host_files::inspect(&InspectHost {
            context: context.clone(),
            host: host.clone(),
        })
        .await
        {
            Ok(facts) => hosts.push(facts),
            Err(more) => problems.extend(more),
        }
    }
    let Ok(cluster) = cluster else { return Err(problems) };
    match stores::inspect(&context, &cluster.version).await {
        Ok(stores) if problems.is_empty() => plan::assemble(spec, &cluster, &hosts, &stores),
        Ok(_) => Err(problems),
        Err(more) => {
            problems.extend(more);
            Err(problems)
        }
    }
}
