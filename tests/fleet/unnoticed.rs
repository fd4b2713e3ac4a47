//! A whole migration of a fleet with two frontends and two history hosts, and a client that is to notice nothing of it.

use std::io::Write as _;

use anyhow::{Context, Result, ensure};
use e2e::migration::{Files, Worker};
use e2e::prober::Prober;
use e2e::scene::{Scene, is_clean, judged, says};
use e2e::servers::binaries::TEMPORAL_1_30_8;
use e2e::story::worker_variables;
use e2e::testbed::{Engine, NAMESPACE, Plan, TARGET_NAME};
use e2e::traffic::Traffic;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_moves_and_no_client_notices() -> Result<()> {
    let tools = worker_variables(&TEMPORAL_1_30_8)?;
    let tools: Vec<(&str, &str)> = tools.iter().map(|(name, path)| (*name, path.as_str())).collect();
    let mut scene = Scene::of(Plan::new(Engine::Postgres).on_a_fleet(), &tools).await?;
    let operator = scene.operator.clone();
    let id = "move-the-fleet";
    scene.testbed.temporal().all_serving().await?;
    // One worker for one host, one for two, and what is left for the first.
    scene.worker.kill()?;
    scene.worker.serves(&["matching-a", "matching-b", "history-a"]);
    scene.worker.again(&scene.testbed)?;
    let mut others = [
        Worker::of_hosts("worker-history-b", &scene.testbed, &["history-b"], &tools)?,
        Worker::of_hosts("worker-fronts", &scene.testbed, &["front-a", "front-b"], &tools)?,
    ];

    let hosts = scene.testbed.temporal().hosts().to_vec();
    let pids = || hosts.iter().map(|host| host.pid()).collect::<Vec<_>>();
    let before = pids();

    let traffic = Traffic::begin(scene.testbed.frontend(), NAMESPACE).await?;
    traffic.existing(100).await?;
    let going = traffic.keep_going(3);
    let prober = Prober::begin(scene.testbed.frontend(), NAMESPACE).await?;
    operator.start(id, &scene.spec_with(&json!({"gates": []}))).await?;
    let end = operator.end(&scene.testbed, id).await;
    let tally = prober.stop().await?;
    let _ = writeln!(std::io::stderr(), "the prober: {tally}");
    let report = end?.completed()?;
    going.stop().await?;
    traffic.settle().await?;
    is_clean(&report)?;
    tally.demand_clean()?;
    ensure!(
        pids()
            .iter()
            .zip(&before)
            .all(|(now, then)| now.is_some() && now != then),
        "a host was not restarted"
    );
    let frontends = scene.testbed.temporal().balancer().context("no balancer")?.taken();
    ensure!(
        frontends.len() == 2 && frontends.iter().all(|(_, connections)| *connections > 0),
        "only one frontend was asked: {frontends:?}"
    );
    let files = Files::of(&scene.testbed)?.text();
    ensure!(
        files.matches(&format!("visibilityStore: {TARGET_NAME}")).count() == 6,
        "{files}"
    );
    ensure!(!files.contains("secondaryVisibility"), "{files}");
    says(&scene.visibility_stores().await?, &["postgres12"])?;
    judged(&scene.testbed, scene.testbed.target(), [traffic.end()]).await?;
    for other in &mut others {
        other.kill()?;
    }
    scene.finish()
}
