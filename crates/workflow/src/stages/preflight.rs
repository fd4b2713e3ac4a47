//! Preflight: reads, changes nothing; ends in a plan, or in everything that stands in the way.

use crossfade_plan::{
    order::{InspectHost, PrepareTarget},
    plan,
    problem::Problem,
    progress::HostState,
    settings::HostConfig,
};
use futures_util::FutureExt;
use temporalio_workflow::join_all;

use crate::{
    activities::{ClusterWork, HostWork},
    control::{self, Ctx, Halt, change, context, ordered, read},
    options,
};

pub(crate) async fn preflight(ctx: &Ctx) -> Result<(), Halt> {
    control::doing(ctx, "asking the cluster, the hosts and both stores");
    let mut problems = Vec::new();
    let hosts = read(ctx, |progress| progress.spec.cluster.hosts.clone());

    let asked = hosts.iter().map(|host| {
        let order = InspectHost {
            context: context(ctx),
            host: host.clone(),
        };
        let options = options::probe_host(&host.name, &format!("look at the files of {}", host.name));
        ordered(ctx, HostWork::inspect_host, order, options).boxed_local()
    });
    let cluster = ordered(
        ctx,
        ClusterWork::inspect_cluster,
        context(ctx),
        options::probe("ask the cluster"),
    );
    let (cluster, hosts) = futures_util::future::join(cluster, join_all(asked)).await;
    let hosts: Vec<_> = hosts
        .into_iter()
        .filter_map(|facts| noted(facts, &mut problems))
        .collect();
    let cluster = noted(cluster, &mut problems);
    control::checkpoint(ctx).await?;

    let stores = match &cluster {
        Some(cluster) => {
            let order = PrepareTarget {
                context: context(ctx),
                server_version: cluster.version.clone(),
            };
            let options = options::probe("look at both stores");
            noted(
                ordered(ctx, ClusterWork::inspect_stores, order, options).await,
                &mut problems,
            )
        }
        None => None,
    };
    let (Some(cluster), Some(stores)) = (cluster, stores) else {
        return Err(Halt::Problems(problems));
    };
    if !problems.is_empty() {
        return Err(Halt::Problems(problems));
    }
    let plan = read(ctx, |progress| {
        plan::assemble(&progress.spec, &cluster, &hosts, &stores)
    })
    .map_err(Halt::Problems)?;

    control::doing(ctx, "taking the cluster's migration lock");
    ordered(
        ctx,
        ClusterWork::take_lock,
        context(ctx),
        options::probe("take the migration lock"),
    )
    .await
    .map_err(Halt::Problems)?;
    change(ctx, |progress| {
        progress.hosts = plan
            .hosts
            .iter()
            .map(|host| HostState {
                name: host.name.clone(),
                config: HostConfig::Original,
                ordered: HostConfig::Original,
                restart_millis: None,
            })
            .collect();
        progress.plan = Some(plan);
        progress.cuts = stores.cuts;
    });
    Ok(())
}

/// Keeps an answer, or adds its problems to the list: the operator is told all of them at once.
fn noted<T>(answer: Result<T, Vec<Problem>>, problems: &mut Vec<Problem>) -> Option<T> {
    answer.map_err(|more| problems.extend(more)).ok()
}
