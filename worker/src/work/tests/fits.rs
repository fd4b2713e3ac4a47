//! What the target cannot hold, looked for in the records that a real server wrote.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{testbed::NAMESPACE, traffic::Traffic};
use serde_json::json;

use super::{
    super::{fitting, stores},
    scene::Scene,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_looked_at_is_said() -> Result<()> {
    let scene = Scene::begin().await?;
    let traffic = Traffic::begin(scene.testbed.frontend(), NAMESPACE).await?;
    traffic.existing(20).await?;
    drop(traffic.end());
    let table = scene.source()?;
    let run = table.closed("order-", 1)?.pop().context("no closed execution")?;
    let long = format!(
        "UPDATE executions_visibility SET workflow_type_name = '{}' WHERE run_id = ?1",
        "x".repeat(300)
    );
    ensure!(table.change(&long, &run)? == 1);
    let records = table.rows()?.len() as u64;

    let context = scene.context("fits")?;
    let of_source = crossfade_stores::inspect(&stores::source_entry(&context).await?)
        .await?
        .limits;
    // A database that nobody has made yet.
    let yet_to_be = json!({"sql": {
        "pluginName": "postgres12", "databaseName": "next", "connectAddr": "127.0.0.1:1", "user": "temporal",
    }});
    let of_target = crossfade_stores::limits(&yet_to_be)?.context("a target")?;
    let source = stores::open_source(&context).await?.read();
    let all = fitting::look(&*source, &of_source, &of_target, fitting::WITHIN).await?;
    let long = all.unfit.iter().find(|unfit| unfit.what.contains("255 characters"));
    let long = long.with_context(|| format!("{all:?}"))?;
    ensure!(
        long.records == 1 && long.of == records && long.example.contains(&run),
        "{long:?} of {records}"
    );
    ensure!(all.only.is_none() && all.caveat(records).is_none(), "{all:?}");

    let none = fitting::look(&*source, &of_source, &of_target, Duration::ZERO).await?;
    let caveat = none.caveat(records).context("nothing was looked at")?;
    ensure!(
        caveat.contains(&format!("the first 0 of about {records} records")),
        "{caveat}"
    );
    scene.testbed.finish()
}
