//! Refreshing done again: what the target has by then is left alone.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use crossfade_plan::{
    existing::Refreshable,
    order::{Heartbeat, RefreshRecords, RegisterAttributes},
};
use e2e::testbed::NAMESPACE;

use super::{
    super::{attributes, beat::Beat, frontend, refreshing},
    scene::Scene,
};

/// The server writes anew what the target lacks, of closed executions what is allowed; the second time there is nothing
/// to do. What may not be refreshed is left to the copy, and attributes that are registered stay as they are.
pub(super) async fn what_the_target_lacks_is_refreshed_once(scene: &Scene, id: &str) -> Result<()> {
    let (source, target) = (scene.source()?, scene.target()?);
    let cluster = frontend::inspect(&scene.context(id)?).await?;
    let namespace = cluster
        .namespaces
        .iter()
        .find(|namespace| namespace.name == NAMESPACE)
        .context("no Namespace")?;
    target.change("DELETE FROM executions_visibility", "")?;
    let closed = source.closed("order-", 10)?;
    let order = |open, closed| -> Result<RefreshRecords> {
        Ok(RefreshRecords {
            context: scene.context(id)?,
            cursor: None,
            records_per_second: Some(200),
            budget_seconds: 60,
            refresh: BTreeMap::from([(namespace.id.clone(), Refreshable { open, closed })]),
        })
    };
    let open_only = refreshing::run(&order(true, false)?, &Beat::default()).await?;
    ensure!(open_only.done && open_only.left >= closed.len() as u64, "{open_only:?}");
    ensure!(
        target.closed("order-", 10)?.is_empty(),
        "a closed execution was refreshed"
    );
    let first = refreshing::run(&order(true, true)?, &Beat::default()).await?;
    ensure!(first.done && first.refreshed >= closed.len() as u64, "{first:?}");
    let refreshed = target.closed("order-", 10)?;
    ensure!(refreshed.len() == closed.len(), "{refreshed:?} of {closed:?}");
    for heartbeat in [
        Heartbeat::default(),
        Heartbeat {
            cursor: Some("nonsense".to_owned()),
            ..Heartbeat::default()
        },
    ] {
        let again = refreshing::run(&order(true, true)?, &Beat::resuming(heartbeat)).await?;
        ensure!(again.done && again.refreshed == 0, "{again:?}");
    }
    let register = RegisterAttributes {
        context: scene.context(id)?,
        attributes: cluster.attributes.clone(),
    };
    for _ in 0..2 {
        let registered = attributes::register(&register, &Beat::default()).await?;
        ensure!(registered.added.is_empty(), "{registered:?}");
    }
    Ok(())
}
