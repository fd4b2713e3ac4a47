//! The workflow on a cluster of its own: the one that is migrated knows nothing of it but the lock.

use anyhow::{Result, ensure};
use e2e::migration::{End, Worker};
use e2e::scene::{Scene, is_clean, judged, says};
use e2e::testbed::{Engine, NAMESPACE, Testbed};
use e2e::traffic::Traffic;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_migrated_by_a_workflow_on_another_one() -> Result<()> {
    let control = Testbed::sqlite().await?;
    let mut scene = Scene::on(Engine::Sqlite).await?;
    let operator = scene.operator.clone().at(&control);
    scene.worker.kill()?;
    scene.worker.polls(&control);
    scene.worker.again(&scene.testbed)?;
    let traffic = Traffic::begin(scene.testbed.frontend(), NAMESPACE).await?;
    traffic.existing(60).await?;
    let going = traffic.keep_going(4);
    let spec = scene.spec_with(&json!({"gates": ["dual-write", "cutover"]}));

    // One that is terminated leaves its lock behind; whether it still runs is asked where it ran.
    let (gone, id) = ("terminated-from-afar", "from-afar");
    operator.start(gone, &spec).await?;
    operator.at_gate(gone, "dual-write").await?;
    operator.told(&["terminate", "-w", gone]).await?;
    operator.start(id, &spec).await?;
    operator.at_gate(id, "dual-write").await?;

    // One on the migrated cluster itself is refused while that one runs, where nobody here can ask.
    let mut near = Worker::named("worker-near", &scene.testbed, &[])?;
    scene.operator.start("from-here", &spec).await?;
    let End::Failed(refused) = scene.operator.end(&scene.testbed, "from-here").await? else {
        anyhow::bail!("two migrations of one cluster")
    };
    says(
        &refused.message,
        &[
            "[migration-running]",
            "`from-afar`",
            "on the cluster with id",
            "--namespace temporal-system workflow terminate -w crossfade-migration-lock",
        ],
    )?;
    near.kill()?;

    operator.approve(id, "dual-write").await?;
    operator.at_gate(id, "cutover").await?;
    // The cluster that runs the workflow is not above a restart either.
    control.temporal().hosts().iter().try_for_each(|host| host.restart())?;
    control.temporal().serving().await?;
    operator.approve(id, "cutover").await?;
    let report = operator.end(&control, id).await?.completed()?;
    is_clean(&report)?;
    ensure!(
        !scene.operator.tctl(&["describe", "-w", id]).await?.status.success(),
        "the migrated cluster has the workflow"
    );
    going.stop().await?;
    traffic.settle().await?;
    judged(&scene.testbed, scene.testbed.target(), [traffic.end()]).await?;
    scene.finish()?;
    control.finish()
}
