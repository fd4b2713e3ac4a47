//! What the Retention wait still waits for: the records that the source has and the target lacks.

use std::collections::BTreeMap;

use crossfade_cluster::lock;
use crossfade_plan::{
    order::{NamespaceWait, ReadWait, WaitFacts},
    problem::Problem,
};
use crossfade_visibility::{
    ports::{Count, Range},
    record::{Key, Record},
};
use jiff::Timestamp;

use super::{
    beat::Beat,
    frontend,
    problems::{call, store as store_problem},
    stores,
};

/// Records looked at in one step.
const PAGE: usize = 1000;

/// Reads both stores and the Namespaces' present Retention Periods.
///
/// Everything written since dual writes began is in both stores, so what the target lacks is exactly what is
/// waited for: closed records go with their Retention Period, open executions arrive when they change or close.
pub(crate) async fn read(order: &ReadWait, beat: &Beat) -> Result<WaitFacts, Problem> {
    beat.doing("looking for records that only the source has");
    let frontend = frontend::open(&order.context.spec).await?;
    let namespaces = frontend.namespaces().await.map_err(|error| call(&error))?;
    let stores = stores::open(&order.context).await?;
    let (source, target) = (stores.source.read(), stores.target.read());
    let mut lacking: BTreeMap<String, Count> = BTreeMap::new();
    let mut range = Range::default();
    loop {
        let page = source.scan(&range, PAGE).await.map_err(|error| store_problem(&error))?;
        let Some(last) = page.last() else { break };
        range.after = Some(last.key.clone());
        let keys: Vec<Key> = page.iter().map(|record| record.key.clone()).collect();
        let held = target.versions(&keys).await.map_err(|error| store_problem(&error))?;
        for record in page.iter().filter(|record| !held.contains_key(&record.key)) {
            if is_ours(record, &order.context.migration) {
                continue;
            }
            let count = lacking.entry(record.key.namespace_id.clone()).or_default();
            if record.close_time.is_some() { count.closed += 1 } else { count.open += 1 }
        }
        beat.show(|heartbeat| heartbeat.scanned += page.len() as u64);
    }
    let namespaces = lacking
        .into_iter()
        .map(|(id, count)| {
            let namespace = namespaces.iter().find(|namespace| namespace.id == id);
            NamespaceWait {
                namespace: namespace.map_or(id, |namespace| namespace.name.clone()),
                retention_seconds: namespace
                    .and_then(|namespace| namespace.retention)
                    .map_or(0, |retention| retention.as_secs()),
                closed: count.closed,
                open: count.open,
            }
        })
        .collect();
    Ok(WaitFacts { at: Timestamp::now(), namespaces })
}

/// The migration and its lock were started before dual writes and stay open until the end: waiting for them would
/// be waiting for ourselves. Verify carries them over.
fn is_ours(record: &Record, migration: &str) -> bool {
    record.close_time.is_none() && (record.workflow_id == migration || record.workflow_id == lock::WORKFLOW_ID)
}
