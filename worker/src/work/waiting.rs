//! What the Retention wait still waits for: records from before dual writes that are still in the source.

use std::collections::BTreeMap;

use crossfade_cluster::{canary, lock};
use crossfade_plan::{
    order::{NamespaceWait, ReadWait, WaitFacts},
    problem::Problem,
};
use crossfade_visibility::{
    ports::{Count, Range},
    record::Record,
};
use jiff::Timestamp;

use super::{beat::Beat, frontend, problems::call, stores};

/// Records looked at in one step.
const PAGE: usize = 1000;

/// The server's own Namespace. Its few long-running workflows are carried over by verify, not waited for.
const SYSTEM_NAMESPACE: &str = "temporal-system";

/// Reads the source and the Namespaces' present Retention Periods.
///
/// Everything that started or closed since dual writes began is in both stores. Before that: closed records go with
/// their Retention Period, open executions reach the target when they close.
pub(crate) async fn read(order: &ReadWait, beat: &Beat) -> Result<WaitFacts, Problem> {
    beat.doing("looking for records from before dual writes");
    let frontend = frontend::open(&order.context.spec).await?;
    let namespaces = frontend.namespaces().await.map_err(|error| call(&error))?;
    let source = stores::open_source(&order.context).await?.read();
    let mut left: BTreeMap<String, Count> = BTreeMap::new();
    let mut range = Range::default();
    loop {
        let page = source
            .scan(&range, PAGE)
            .await
            .map_err(|error| stores::trouble(&error))?;
        let Some(last) = page.last() else { break };
        range.after = Some(last.key.clone());
        for record in page.iter().filter(|record| is_from_before(record, order)) {
            let count = left.entry(record.key.namespace_id.clone()).or_default();
            if record.close_time.is_some() {
                count.closed += 1
            } else {
                count.open += 1
            }
        }
        beat.show(|heartbeat| heartbeat.scanned += page.len() as u64);
    }
    let namespaces = left
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
        .filter(|wait| wait.namespace != SYSTEM_NAMESPACE)
        .collect();
    Ok(WaitFacts {
        at: Timestamp::now(),
        namespaces,
    })
}

fn is_from_before(record: &Record, order: &ReadWait) -> bool {
    if record.workflow_type == canary::WORKFLOW_TYPE {
        return false;
    }
    match record.close_time {
        Some(closed) => closed < order.dual_since,
        None => record.start_time < order.dual_since && !stays_open(record, &order.context.migration),
    }
}

/// The migration and its lock stay open until the end: waiting for them would be waiting for ourselves. Verify
/// carries them over. So it would be for canaries, open or closed: the guard's own may be from just before dual writes
/// began, and each is deleted by who started it.
fn stays_open(record: &Record, migration: &str) -> bool {
    record.workflow_id == migration || record.workflow_id == lock::WORKFLOW_ID
}
