//! What every story begins with: a cluster with traffic on it, a worker of the product, and an operator.

use std::fs;
use std::time::{Duration, Instant};

use crate::judge::Judge;
use crate::migration::{Operator, Worker};
use crate::namespaces;
use crate::servers::progress::Lines;
use crate::testbed::{Engine, NAMESPACE, Plan, Store, Testbed};
use crate::traffic::Ledger;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// A Namespace besides the default one, with traffic of its own.
pub const ORDERS: &str = "orders";

/// What makes a young cluster behave like an old one. A restarted history service writes the records since its last
/// checkpoint again, and would bring a target up to date that nobody has copied anything to; here it remembers every
/// second where it was, which also makes deletions quick: they wait for that. And records go when their Retention
/// Period is over, not up to half an hour later.
const AGED: [&str; 4] = [
    "history.visibilityProcessorUpdateAckInterval",
    "history.transferProcessorUpdateAckInterval",
    "history.shardUpdateMinInterval",
    "history.retentionTimerJitterDuration",
];

/// The server's own housekeeping: workflows that stay open for half a day, and that a Retention wait would wait for.
const SCANNERS: [&str; 3] = [
    "worker.taskQueueScannerEnabled",
    "worker.historyScannerEnabled",
    "worker.executionsScannerEnabled",
];

/// A cluster, the product's worker for it, and its operator.
pub struct Scene {
    // The worker goes before the cluster that it polls.
    /// The product's worker.
    pub worker: Worker,
    /// Who types `tctl`.
    pub operator: Operator,
    /// The cluster.
    pub testbed: Testbed,
}

impl Scene {
    /// On an engine, with the Namespace [`ORDERS`].
    ///
    /// # Errors
    /// When a server does not start.
    pub async fn on(engine: Engine) -> Result<Self> {
        let mut plan = Plan::new(engine);
        plan.namespaces = vec![(ORDERS.to_owned(), Duration::from_secs(72 * 3600))];
        Self::of(plan, &[]).await
    }

    /// As planned, with the worker's environment.
    ///
    /// # Errors
    /// When a server does not start, or there is no `tctl` or product.
    pub async fn of(plan: Plan, variables: &[(&str, &str)]) -> Result<Self> {
        let more = plan.dynamic_config.clone();
        let testbed = Testbed::start(plan, &Lines::default()).await?;
        let dynamic_config = testbed.temporal().dynamic_config();
        let mut text = fs::read_to_string(dynamic_config)?;
        text.push_str(&more);
        for key in SCANNERS {
            text.push_str(&format!("{key}:\n  - value: false\n    constraints: {{}}\n"));
        }
        for key in AGED {
            // A key that is there twice keeps the server from starting.
            if !text.contains(key) {
                text.push_str(&format!("{key}:\n  - value: 1s\n    constraints: {{}}\n"));
            }
        }
        fs::write(dynamic_config, text)?;
        testbed.temporal().hosts().iter().try_for_each(|host| host.restart())?;
        testbed.temporal().serving().await?;
        Ok(Self {
            worker: Worker::start(&testbed, variables)?,
            operator: Operator::of(&testbed)?,
            testbed,
        })
    }

    /// The usual spec with some of its fields replaced.
    #[must_use]
    pub fn spec_with(&self, fields: &Value) -> Value {
        let mut spec = self.testbed.spec();
        for (name, value) in fields.as_object().into_iter().flatten() {
            spec[name] = value.clone();
        }
        spec
    }

    /// What the cluster says of itself: the kinds of its Visibility stores, the primary first.
    ///
    /// # Errors
    /// When the frontend does not answer.
    pub async fn visibility_stores(&self) -> Result<String> {
        let client = self.testbed.client(NAMESPACE).await?;
        Ok(namespaces::visibility_stores(&client).await?.join(","))
    }

    /// Waits until the cluster serves, whoever runs it: the testbed knows of its own processes alone.
    ///
    /// # Errors
    /// When it does not within two minutes.
    pub async fn answers(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            match self.visibility_stores().await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Kills the worker as soon as the first host, which it restarts, is down, and starts another one when that host is
    /// up again.
    ///
    /// # Errors
    /// When the host does not go down and come up in time.
    pub async fn killed_while_it_restarts(&mut self) -> Result<()> {
        let host = self.testbed.temporal().hosts()[0].clone();
        let before = host.pid();
        until("the server goes down", || host.pid() != before).await?;
        self.worker.kill()?;
        until("the server is started again, without the worker", || host.is_running()).await?;
        self.worker.again(&self.testbed)
    }

    /// The end: everything stopped and removed.
    ///
    /// # Errors
    /// When the worker had ended by itself, or something does not stop.
    pub fn finish(mut self) -> Result<()> {
        ensure!(
            self.worker.is_running(),
            "the worker has ended by itself; see {}",
            self.worker.log().display()
        );
        self.worker.kill()?;
        self.testbed.finish()
    }
}

/// Checks a report of a migration that went well.
///
/// # Errors
/// What is short in it.
pub fn is_clean(report: &Value) -> Result<()> {
    let none = json!({"missing": 0, "stale": 0, "different": 0, "extra": 0});
    ensure!(report["result"] == "migrated", "{report:#}");
    ensure!(report["drift"] == none, "drift: {}", report["drift"]);
    ensure!(report["records"].as_u64().context("no records")? > 0, "{report:#}");
    Ok(())
}

/// Fails with the text itself unless every part is in it.
///
/// # Errors
/// The text, when a part is not in it.
pub fn says(text: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(text.contains(part), "expected `{part}` in this:\n{text}");
    }
    Ok(())
}

/// How long records may take to reach the store: a server that failed to write one tries again after up to minutes.
const JUDGED_WITHIN: Duration = Duration::from_secs(150);

/// The judge's verdict over everything that traffic made: all of it is in `store`, as it is to be, and listed so.
///
/// # Errors
/// What the judge has to complain about.
pub async fn judged(testbed: &Testbed, store: &Store, ledgers: impl IntoIterator<Item = Ledger>) -> Result<()> {
    for ledger in ledgers {
        let judge = Judge::new(testbed.frontend(), ledger).await?;
        judge.until_clean(store, JUDGED_WITHIN).await?.demand_clean()?;
        judge.judge_listed().await?.demand_clean()?;
    }
    Ok(())
}

/// Restarts every host: a server that runs learns of new search attributes within a minute, and until then leaves them out of
/// its records (1.30.8: common/searchattribute/manager.go); one that starts knows them.
///
/// # Errors
/// When a host does not come up again.
pub async fn knows_attributes(testbed: &Testbed) -> Result<()> {
    testbed.temporal().hosts().iter().try_for_each(|host| host.restart())?;
    testbed.temporal().serving().await
}

/// Waits until `there`, for at most two minutes.
///
/// # Errors
/// When it is not by then.
pub async fn until(what: &str, mut there: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !there() {
        ensure!(
            Instant::now() < deadline,
            "in two minutes it did not come to this: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
