//! A host of a fleet that does not come up with the new config, while another one goes down at the same time.

use anyhow::{Context, Result, ensure};
use e2e::migration::{Files, is, ordered_at_once};
use e2e::prober::Prober;
use e2e::scene::{Scene, says};
use e2e::servers::binaries::TEMPORAL_1_30_8;
use e2e::story::worker_variables;
use e2e::testbed::{Engine, NAMESPACE, Plan};
use serde_json::json;

/// Where a host's worker listens.
fn queue(host: &str) -> String {
    format!("visibility-migration/host/{host}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_fails_is_put_back_and_tried_again_when_it_is_cured() -> Result<()> {
    let tools = worker_variables(&TEMPORAL_1_30_8)?;
    let tools: Vec<(&str, &str)> = tools.iter().map(|(name, path)| (*name, path.as_str())).collect();
    let scene = Scene::of(Plan::new(Engine::Postgres).on_a_fleet(), &tools).await?;
    let (operator, id) = (scene.operator.clone(), "one-host-fails");
    scene.testbed.temporal().all_serving().await?;
    let (before, hosts) = (Files::of(&scene.testbed)?, scene.testbed.temporal().hosts().to_vec());
    let config = |name: &str| -> Result<String> {
        let host = hosts.iter().find(|host| host.name == name).context("no such host")?;
        Ok(std::fs::read_to_string(&host.config)?)
    };
    let history_b = config("history-b")?;

    let mut spec = scene.spec_with(&json!({"gates": ["cutover"]}));
    spec["cluster"]["restart"] = json!({"max_unavailable": 2});
    // On this host whatever starts the server finds that it cannot reach the new store, and leaves it down.
    let cut_off = scene.testbed.folder().join("history-b-is-cut-off");
    std::fs::write(&cut_off, "")?;
    let host = hosts
        .iter()
        .find(|host| host.name == "history-b")
        .context("no such host")?;
    let (script, file) = (host.script.display(), host.config.display());
    let start = format!(
        "if [ -e {} ] && grep -q secondaryVisibilityStore {file}; then\n\
         {script} stop\necho 'the new store: connection refused' >&2\nexit 1\nfi\nexec {script} restart",
        cut_off.display()
    );
    for host in spec["cluster"]["hosts"].as_array_mut().context("no hosts")? {
        if host["name"] == "history-b" {
            host["restart"] = json!({"command": ["sh", "-c", start]});
        }
    }
    let prober = Prober::begin(scene.testbed.frontend(), NAMESPACE).await?;
    operator.start(id, &spec).await?;
    let status = operator
        .until(id, "needing the operator", |status| is(status, "needs-operator"))
        .await?;
    says(
        &status["condition"].to_string(),
        &[
            "restart-failed",
            "host history-b",
            "the new store: connection refused",
            "The former config is back and the host is healthy with it",
            "`resume`",
        ],
    )?;
    ensure!(config("history-b")? == history_b, "its file is not as it was");
    let plan = operator.query(id, "plan", None).await?.to_string();
    says(
        &plan,
        &[
            "matching-a, history-a at the same time",
            "matching-b, history-b at the same time",
        ],
    )?;
    let client = scene.testbed.client(NAMESPACE).await?;
    let restarts = ordered_at_once(&client, NAMESPACE, id, "configure-host").await?;
    ensure!(
        restarts
            == [
                [queue("matching-a"), queue("history-a")],
                [queue("matching-b"), queue("history-b")]
            ],
        "not restarted at the same time: {restarts:?}"
    );
    let state = |name: &str| {
        let hosts = status["hosts"].as_array().map_or(&[][..], Vec::as_slice);
        hosts
            .iter()
            .find(|host| host["name"] == name)
            .map(|host| host["config"].clone())
    };
    for before_it_or_with_it in ["matching-a", "history-a", "matching-b"] {
        ensure!(state(before_it_or_with_it) == Some(json!("dual")), "{status:#}");
    }
    ensure!(state("history-b") == Some(json!("original")), "{status:#}");
    ensure!(state("front-a") == Some(json!("original")), "{status:#}");

    std::fs::remove_file(&cut_off)?;
    operator.signal(id, "resume", None).await?;
    let status = operator.at_gate(id, "cutover").await?;
    let hosts = status["hosts"].as_array().context("no hosts")?;
    ensure!(hosts.iter().all(|host| host["config"] == "dual"), "{status:#}");
    operator.signal(id, "rollback", None).await?;
    let report = operator.end(&scene.testbed, id).await?.completed()?;
    ensure!(report["result"] == "rolled-back", "{report:#}");
    before.are_unchanged()?;
    let tally = prober.stop().await?;
    tally.demand_clean()?;
    scene.finish()
}
