//! Records that the server gave up on: nothing is read from a target that may lack them, and the operator is told how to
//! have them written.

use anyhow::{Context, Result, ensure};
use e2e::migration::{awaits, is, stage};
use e2e::scene::{Scene, is_clean, judged, says};
use e2e::servers::binaries::{Program, TEMPORAL_1_30_8, find_or_build};
use e2e::servers::cache::Cache;
use e2e::servers::progress::Lines;
use e2e::story::worker_variables;
use e2e::testbed::{Engine, NAMESPACE, Plan, Store};
use e2e::traffic::Traffic;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A task that fails for want of the table is a dead letter at once, else after its seventieth failure, about an hour
/// later. (1.30.8: service/history/queues/executable.go, `matchDLQErrorPattern`; the count of failures is for all tasks:
/// with a low one those that hand work to a matching service which has just begun to start would never be done.)
const SOON: &str = "history.TaskDLQErrorPattern:\n  - value: 'relation .* does not exist'\n    constraints: {}\n";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_moves_while_the_server_has_given_up_on_records() -> Result<()> {
    let plan = Plan::pair(&TEMPORAL_1_30_8, Engine::Sqlite, Engine::Postgres);
    let tools = worker_variables(&TEMPORAL_1_30_8)?;
    let tools: Vec<(&str, &str)> = tools.iter().map(|(name, path)| (*name, path.as_str())).collect();
    let mut scene = Scene::of(plan, &tools).await?;
    let id = "dead-letters";
    let traffic = Traffic::begin(scene.testbed.frontend(), NAMESPACE).await?;
    traffic.existing(40).await?;
    let operator = scene.operator.clone();
    operator
        .start(id, &scene.spec_with(&json!({"gates": ["cutover"]})))
        .await?;
    operator.at_gate(id, "cutover").await?;

    // The target loses its table for a moment, and the server gives up on the records of that moment.
    let Store::Postgres { database, .. } = scene.testbed.target().clone() else {
        anyhow::bail!("this target is a database of PostgreSQL")
    };
    let dynamic_config = scene.testbed.temporal().dynamic_config().to_owned();
    let usual = std::fs::read_to_string(&dynamic_config)?;
    std::fs::write(&dynamic_config, format!("{usual}{SOON}"))?;
    let (postgres, _) = scene.testbed.postgres_server().context("this testbed has PostgreSQL")?;
    postgres
        .execute(&database, "ALTER TABLE executions_visibility RENAME TO taken_away")
        .await?;
    traffic.existing(traffic.ledger().kept() + 50).await?;
    let frontend = scene.testbed.frontend().to_owned();
    let deadline = Instant::now() + Duration::from_secs(180);
    while counted(&frontend).await? == 0 {
        ensure!(Instant::now() < deadline, "the server gave up on nothing");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (postgres, _) = scene.testbed.postgres_server().context("this testbed has PostgreSQL")?;
    postgres
        .execute(&database, "ALTER TABLE taken_away RENAME TO executions_visibility")
        .await?;
    std::fs::write(&dynamic_config, &usual)?;

    operator.approve(id, "cutover").await?;
    let stuck = operator
        .until(id, "stopped by dead letters", |status| is(status, "needs-operator"))
        .await?;
    ensure!(stage(&stuck) == "cutover" && !awaits(&stuck, "cutover"), "{stuck:#}");
    let problems = stuck["condition"]["problems"].to_string();
    let merge = format!("tdbg --address {frontend} dlq --dlq-version v2 merge --dlq-type 4");
    says(&problems, &["dead-letters", "read --dlq-type 4", &merge, "resume"])?;
    ensure!(scene.visibility_stores().await? == "sqlite,postgres12");

    // It says so again as long as that is so.
    operator.signal(id, "resume", None).await?;
    let entries = |audit: &str| audit.matches("stopped: [dead-letters]").count();
    let deadline = Instant::now() + Duration::from_secs(60);
    while entries(&operator.audit(id).await?) < 2 {
        ensure!(Instant::now() < deadline, "{}", operator.audit(id).await?);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    // What it names is what helps; and a record that the server gave up on while it did stops the migration once more.
    let merge = merge.strip_prefix("tdbg ").unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(240);
    loop {
        // While the cluster restarts nobody answers.
        let status = operator.status(id).await.unwrap_or_default();
        if is(&status, "ended") {
            break;
        }
        ensure!(Instant::now() < deadline, "{status:#}");
        if is(&status, "needs-operator") {
            says(&status["condition"]["problems"].to_string(), &["dead-letters"])?;
            // A merge takes what lies there when it begins; the last of that moment may be given up a little later.
            while counted(&frontend).await? > 0 {
                ensure!(Instant::now() < deadline, "the dead letters were not merged back");
                tdbg(merge).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let stopped = entries(&operator.audit(id).await?);
            operator.signal(id, "resume", None).await?;
            while is(&operator.status(id).await?, "needs-operator") && entries(&operator.audit(id).await?) == stopped {
                ensure!(Instant::now() < deadline, "it does not go on");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let report = operator.end(&scene.testbed, id).await?.completed()?;
    is_clean(&report)?;
    traffic.settle().await?;
    judged(&scene.testbed, scene.testbed.target(), [traffic.end()]).await?;
    scene.finish()
}

/// Runs Temporal's own tool for administrators, as an operator does; gives what it printed.
async fn tdbg(arguments: &str) -> Result<String> {
    let program = find_or_build(
        &Cache::from_environment()?,
        &TEMPORAL_1_30_8,
        Program::Tdbg,
        &Lines::default(),
    )?;
    let output = tokio::process::Command::new(program)
        .args(arguments.split(' '))
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let cause = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "tdbg {arguments}: {said}{cause}");
    Ok(said)
}

/// How many visibility tasks lie in the dead-letter queue, by that tool.
async fn counted(frontend: &str) -> Result<u64> {
    let listed = tdbg(&format!("--address {frontend} dlq --dlq-version v2 list --print-json")).await?;
    let queues: Value = serde_json::from_str(&listed).with_context(|| format!("not JSON: {listed}"))?;
    let queues = queues.as_array().cloned().unwrap_or_default();
    let ours = queues.iter().filter(|queue| {
        let name = queue["QueueName"].as_str().or(queue["queue_name"].as_str());
        name.is_some_and(|name| name.starts_with("4_"))
    });
    let count = |queue: &Value| {
        let count = [&queue["MessageCount"], &queue["message_count"]]
            .into_iter()
            .find(|count| !count.is_null());
        count.and_then(|count| count.as_u64().or_else(|| count.as_str()?.parse().ok()))
    };
    Ok(ours.filter_map(count).sum())
}
