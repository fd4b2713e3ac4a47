//! The testbed itself: what the other tests stand on must hold.

use anyhow::{Context, Result};
use e2e::namespaces;
use e2e::testbed::{Engine, NAMESPACE, Plan, Testbed};

async fn restarts_and_keeps_its_state(testbed: Testbed) -> Result<()> {
    let id = namespaces::id(&testbed.client(NAMESPACE).await?, NAMESPACE).await?;
    for host in testbed.temporal().hosts() {
        let before = host.pid().context("a running host has a pid")?;
        let command = host.restart_command();
        let status = std::process::Command::new(&command[0]).args(&command[1..]).status()?;
        assert!(status.success());
        assert_ne!(host.pid(), Some(before));
    }
    testbed.temporal().serving().await?;
    for host in testbed.temporal().hosts() {
        host.kill()?;
        assert!(!host.is_running());
        host.start()?;
    }
    testbed.temporal().serving().await?;
    assert_eq!(namespaces::id(&testbed.client(NAMESPACE).await?, NAMESPACE).await?, id);
    let folder = testbed.folder().to_owned();
    let pids: Vec<u32> = testbed
        .temporal()
        .hosts()
        .iter()
        .filter_map(|host| host.pid())
        .collect();
    assert!(!pids.is_empty());
    testbed.finish()?;
    assert!(!folder.exists());
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{pid} still runs: {stat}");
    }
    Ok(())
}

#[tokio::test]
async fn a_cluster_on_sqlite_restarts_and_keeps_its_state() -> Result<()> {
    restarts_and_keeps_its_state(Testbed::sqlite().await?).await
}

#[tokio::test]
async fn a_cluster_on_postgres_restarts_and_keeps_its_state() -> Result<()> {
    restarts_and_keeps_its_state(Testbed::postgres().await?).await
}

#[tokio::test]
async fn a_cluster_of_two_hosts_restarts_and_keeps_its_state() -> Result<()> {
    let plan = Plan::new(Engine::Postgres).on_two_hosts();
    let progress = e2e::servers::progress::Lines::default();
    restarts_and_keeps_its_state(Testbed::start(plan, &progress).await?).await
}
