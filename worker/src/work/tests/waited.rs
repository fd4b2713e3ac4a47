//! What the Retention wait waits for.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use crossfade_cluster::canary::{self, Flock};
use crossfade_plan::order::ReadWait;
use crossfade_visibility::record::Key;
use e2e::testbed::NAMESPACE;
use jiff::Timestamp;

use super::{
    super::{beat::Beat, frontend, stores, waiting},
    scene::Scene,
};

/// Records from before `dual_since` are waited for, those from later are not, and nor is what we put there ourselves.
pub(super) async fn the_wait_is_read(scene: &Scene, id: &str, dual_since: Timestamp) -> Result<()> {
    let order = ReadWait {
        context: scene.context(id)?,
        dual_since,
    };
    let first = waiting::read(&order, &Beat::default()).await?.namespaces;
    let again = waiting::read(&order, &Beat::default()).await?.namespaces;
    ensure!(first == again, "first {first:?}, then {again:?}");
    let [waited] = first.as_slice() else {
        bail!("one Namespace is waited for, not {first:?}")
    };
    ensure!(
        waited.namespace == NAMESPACE && waited.retention_seconds == 72 * 3600,
        "{waited:?}"
    );
    ensure!(waited.closed > 0 && waited.open > 0, "{waited:?}");
    canaries_are_not_waited_for(scene, id).await?;
    // Nothing is from before the beginning of time.
    let order = ReadWait {
        dual_since: Timestamp::UNIX_EPOCH,
        ..order
    };
    ensure!(waiting::read(&order, &Beat::default()).await?.namespaces.is_empty());
    Ok(())
}

/// The guard puts them there before it is known that dual writes have begun, and a look at the wait may meet one.
async fn canaries_are_not_waited_for(scene: &Scene, id: &str) -> Result<()> {
    let order = |dual_since| -> Result<ReadWait> {
        Ok(ReadWait {
            context: scene.context(id)?,
            dual_since,
        })
    };
    let before = waiting::read(&order(Timestamp::now())?, &Beat::default()).await?;
    let context = scene.context(id)?;
    let frontend = frontend::open(&context.spec).await?;
    let namespace = frontend.namespace(NAMESPACE).await?.context("no Namespace")?;
    let flock = Flock {
        namespace: NAMESPACE.to_owned(),
        namespace_id: namespace.id,
        seed: "canary-from-before".to_owned(),
        shards: 1,
        memo: BTreeMap::new(),
        search_attributes: BTreeMap::new(),
        lifetime: Duration::from_secs(600),
        at_once: 1,
    };
    let canaries = canary::start(&frontend, &flock).await?;
    let keys: Vec<Key> = canaries
        .iter()
        .map(|canary| Key::new(&canary.namespace_id, &canary.run_id))
        .collect();
    let source = stores::open_source(&context).await?.read();
    while source.versions(&keys).await?.len() < keys.len() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let with_canaries = waiting::read(&order(Timestamp::now())?, &Beat::default()).await?;
    ensure!(
        before.namespaces == with_canaries.namespaces,
        "first {before:?}, with a canary {with_canaries:?}"
    );
    canary::remove(&frontend, NAMESPACE, &canaries, 1).await?;
    Ok(())
}
