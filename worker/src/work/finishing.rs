//! After promote: does the target have everything that the source had?

use crossfade_cluster::{Frontend, frontend::Namespace};
use crossfade_plan::{
    order::{FinalCheck, FinallyChecked},
    problem::Problem,
};
use crossfade_visibility::{
    ports::Range,
    record::{Key, Record},
};

use super::{beat::Beat, frontend, problems::call, stores};

/// Records looked at in one step.
const PAGE: usize = 1000;

/// Looks every record of the source up in the target; what is not there must be an execution that was deleted since.
pub(crate) async fn check(order: &FinalCheck, beat: &Beat) -> Result<FinallyChecked, Problem> {
    beat.doing("looking every record of the source up in the target");
    let frontend = frontend::open(&order.context.spec).await?;
    let namespaces = frontend.namespaces().await.map_err(|error| call(&error))?;
    let stores = stores::open(&order.context).await?;
    let (source, target) = (stores.source.read(), stores.target.read());
    let mut checked = FinallyChecked::default();
    let mut range = Range::default();
    loop {
        let page = source
            .scan(&range, PAGE)
            .await
            .map_err(|error| stores::trouble(&error))?;
        let Some(last) = page.last() else { break };
        range.after = Some(last.key.clone());
        let keys: Vec<Key> = page.iter().map(|record| record.key.clone()).collect();
        let held = target.versions(&keys).await.map_err(|error| stores::trouble(&error))?;
        for record in page.iter().filter(|record| !held.contains_key(&record.key)) {
            if exists(&frontend, &namespaces, record).await? {
                checked.missing += 1;
            } else {
                checked.deleted_since += 1;
            }
        }
        beat.show(|heartbeat| heartbeat.scanned += page.len() as u64);
    }
    let counts = target.count(None).await.map_err(|error| stores::trouble(&error))?;
    checked.records = counts.values().map(|count| count.total()).sum();
    Ok(checked)
}

/// Whether the execution is still in the cluster's main store. One of a deleted Namespace is not.
async fn exists(frontend: &Frontend, namespaces: &[Namespace], record: &Record) -> Result<bool, Problem> {
    let Some(namespace) = namespaces
        .iter()
        .find(|namespace| namespace.id == record.key.namespace_id)
    else {
        return Ok(false);
    };
    let found = frontend
        .describe(&namespace.name, &record.workflow_id, Some(&record.key.run_id))
        .await
        .map_err(|error| call(&error))?;
    Ok(found.is_some())
}
