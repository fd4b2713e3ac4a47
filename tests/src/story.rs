//! One migration from beginning to end, as every pair of stores has to stand it: under traffic, steered by `tctl`, with
//! the worker and the server killed on the way, and judged at the end.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::migration::{Files, is, stage};
use crate::scene::{Scene, is_clean, judged, knows_attributes, says};
use crate::servers::binaries::{Program, Release, TEMPORAL_1_30_8, find_or_build};
use crate::servers::cache::Cache;
use crate::servers::progress::Lines;
use crate::testbed::{NAMESPACE, Plan, Store};
use crate::traffic::{Going, Traffic};

/// Executions that exist before the migration, at least.
const EXISTING: usize = 130;

/// Orders a second while it runs.
const PER_SECOND: u32 = 3;

/// Records a second that the product may carry over, so that there is a middle in which it can be killed.
const PACE: u32 = 30;

/// A migration on its way.
pub struct Story {
    /// The cluster, the worker and the operator.
    pub scene: Scene,
    /// The migration's workflow id.
    pub id: &'static str,
    before: Files,
    traffic: Traffic,
    going: Going,
}

impl Story {
    /// A cluster as planned with executions in it, traffic that goes on, and a migration that waits at its first gate with
    /// no file touched. `change` changes the usual spec.
    ///
    /// # Errors
    /// When something does not start, or the migration does not get there.
    pub async fn begin(id: &'static str, plan: Plan, change: impl FnOnce(&mut Value)) -> Result<Self> {
        let tools = worker_variables(plan.release)?;
        let tools: Vec<(&str, &str)> = tools.iter().map(|(name, path)| (*name, path.as_str())).collect();
        let scene = Scene::of(plan, &tools).await?;
        let frontend = scene.testbed.frontend();
        let traffic = Traffic::begin(frontend, NAMESPACE).await?;
        if scene.visibility_stores().await? == "elasticsearch" {
            knows_attributes(&scene.testbed).await?;
        }
        traffic.existing(EXISTING).await?;
        let going = traffic.keep_going(PER_SECOND);
        let before = Files::of(&scene.testbed)?;
        let mut spec = scene.testbed.spec();
        spec["records_per_second"] = PACE.into();
        change(&mut spec);
        scene.operator.start(id, &spec).await?;
        scene.operator.at_gate(id, "dual-write").await?;
        before.are_unchanged().context("before the first gate")?;
        Ok(Self {
            scene,
            id,
            before,
            traffic,
            going,
        })
    }

    /// The files as they were before the migration.
    #[must_use]
    pub fn before(&self) -> &Files {
        &self.before
    }

    /// On to the gate before cutover: the worker is killed while it restarts the server, and the server while existing
    /// records are carried over.
    ///
    /// # Errors
    /// When the migration does not get there.
    pub async fn to_cutover(&mut self) -> Result<()> {
        let (id, operator) = (self.id, self.scene.operator.clone());
        operator.approve(id, "dual-write").await?;
        self.scene.killed_while_it_restarts().await.context("in dual-write")?;
        operator
            .until(id, "both stores are written", |status| {
                !["preflight", "prepare-target", "dual-write"].contains(&stage(status))
            })
            .await?;
        let host = self.scene.testbed.temporal().hosts()[0].clone();
        host.kill()?;
        self.scene.worker.kill()?;
        host.start()?;
        self.scene.testbed.temporal().serving().await?;
        self.scene.worker.again(&self.scene.testbed)?;
        operator.at_gate(id, "cutover").await.map(drop)
    }

    /// On to the gate before promote, with the worker killed on the way.
    ///
    /// # Errors
    /// When the migration does not get there.
    pub async fn to_promote(&mut self) -> Result<()> {
        let (id, operator) = (self.id, self.scene.operator.clone());
        operator.approve(id, "cutover").await?;
        operator
            .until(id, "cutover", |status| {
                stage(status) == "cutover" && is(status, "running")
            })
            .await?;
        self.scene.worker.kill()?;
        self.scene.worker.again(&self.scene.testbed)?;
        operator.at_gate(id, "promote").await.map(drop)
    }

    /// To the end, with the worker killed while it restarts the server once more; then the judge says whether everything
    /// that traffic made is in the target and listed for its users.
    ///
    /// # Errors
    /// When the migration does not end well, or the judge has a complaint.
    pub async fn to_the_end(&mut self) -> Result<Value> {
        let (id, operator) = (self.id, self.scene.operator.clone());
        operator.approve(id, "promote").await?;
        self.scene.killed_while_it_restarts().await.context("in promote")?;
        operator.end(&self.scene.testbed, id).await?.completed()
    }

    /// Back to where it came from, as the operator orders: every file is as it was before, and the judge finds everything
    /// that traffic made in the source, as it is to be, and listed for its users. Everything is stopped and removed.
    ///
    /// # Errors
    /// When the migration does not turn back, or what is wrong then.
    pub async fn turns_back(self) -> Result<()> {
        let (id, testbed, operator) = (self.id, &self.scene.testbed, &self.scene.operator);
        operator.signal(id, "rollback", Some(r#"{"by": "alice"}"#)).await?;
        let report = operator.end(testbed, id).await?.completed()?;
        ensure!(report["result"] == "rolled-back", "{report:#}");
        self.before.are_unchanged()?;
        self.going.stop().await?;
        self.traffic.settle().await?;
        judged(testbed, testbed.source(), [self.traffic.end()]).await?;
        self.scene.finish()
    }

    /// What the judge says, once traffic has come to its end: everything that it made is in the target, as it is to be, and
    /// listed for its users; and the files name the target alone. Everything is stopped and removed.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn is_whole(self, report: &Value) -> Result<()> {
        let testbed = &self.scene.testbed;
        self.going.stop().await?;
        self.traffic.settle().await?;
        is_clean(report)?;
        ensure!(report["gates_approved"] == 3, "{report:#}");
        let events = self.scene.operator.history_length(self.id).await?;
        ensure!(events < 2_000, "{events} events");
        let files = Files::of(testbed)?.text();
        says(&files, &[&format!("visibilityStore: {}", testbed.target_name())])?;
        ensure!(
            !files.contains("secondaryVisibility") && !files.contains("secondary_visibility"),
            "{files}"
        );
        if let Store::Elasticsearch { index, .. } = testbed.target() {
            says(&files, &[index])?;
        }
        judged(testbed, testbed.target(), [self.traffic.end()]).await?;
        self.scene.finish()
    }
}

/// The whole story of one pair.
///
/// # Errors
/// What goes wrong in it.
pub async fn migrates(id: &'static str, plan: Plan, stores: [&str; 2]) -> Result<()> {
    let mut story = Story::begin(id, plan, |_| {}).await?;
    story.to_cutover().await?;
    let both = story.scene.visibility_stores().await?;
    ensure!(both == stores.join(","), "while both are written: {both}");
    story.to_promote().await?;
    let report = story.to_the_end().await?;
    let target = story.scene.visibility_stores().await?;
    ensure!(target == stores[1], "at the end: {target}");
    story.is_whole(&report).await
}

/// The variables that tell the product's worker where Temporal's own tools are: those of the cluster's version, where it
/// has them.
///
/// # Errors
/// When one is neither found nor built.
pub fn worker_variables(release: &'static Release) -> Result<Vec<(&'static str, String)>> {
    let cache = Cache::from_environment()?;
    [
        ("CROSSFADE_TEMPORAL_SQL_TOOL", release, Program::SqlTool),
        // A program of its own from 1.30 on; it serves older servers too.
        (
            "CROSSFADE_TEMPORAL_ELASTICSEARCH_TOOL",
            &TEMPORAL_1_30_8,
            Program::ElasticsearchTool,
        ),
    ]
    .into_iter()
    .map(|(variable, release, program)| {
        let path = find_or_build(&cache, release, program, &Lines::default())?;
        Ok((variable, path.to_string_lossy().into_owned()))
    })
    .collect()
}
