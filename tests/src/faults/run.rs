//! One migration that meets its faults, and what came of it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use temporalio_client::Client;
use temporalio_common::protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_common::protos::temporal::api::query::v1::WorkflowQuery;
use temporalio_common::protos::temporal::api::workflowservice::v1::QueryWorkflowRequest;
use tonic::IntoRequest;

use super::fault::Fault;
use super::point::Point;
use super::promoted::Former;
use super::schedule::{Back, Schedule, Strike};
use super::world::World;
use crate::judge::Judge;
use crate::migration::{End, Files, is};
use crate::servers::processes::tail;
use crate::testbed::{NAMESPACE, Store};

/// Orders a second while faults strike.
const PER_SECOND: u32 = 3;

/// How long a migration may take without getting anywhere: longer than any retry that it may be waiting for.
const STUCK_AFTER: Duration = Duration::from_secs(240);

/// How long a query may take before it is asked again.
const ASKED_WITHIN: Duration = Duration::from_secs(3);

/// Between two questions: the shortest of a migration's points last for some tenths of a second.
const PAUSE: Duration = Duration::from_millis(15);

/// How often an operator says `resume` in one run before it counts as stuck.
const RESUMES: u32 = 12;

/// How often a migration that was refused is started again.
const STARTS: u32 = 4;

/// How long records may take to reach the store after the last fault: the server tries again after up to minutes.
const JUDGED_WITHIN: Duration = Duration::from_secs(150);

/// What came of a run.
#[derive(Debug, Default)]
pub(super) struct Ran {
    /// What was struck, and where.
    pub(super) struck: Vec<(Point, Fault)>,
    /// Strikes that came too late: the migration was past their point.
    pub(super) missed: Vec<Strike>,
    /// It went to the end; else it went back.
    pub(super) finished: bool,
    /// What the judge has to say.
    pub(super) lost: Vec<String>,
    /// What is wrong with files.
    pub(super) wrong_files: Vec<String>,
    /// How often the operator had to say `resume`.
    pub(super) resumed: u32,
}

/// Runs one migration with everything that its schedule says.
pub(super) async fn run(world: &mut World, schedule: &Schedule) -> Result<Ran> {
    let files = Files::of(&world.testbed)?;
    let former = Former::of(&world.testbed)?;
    let spec = world.spec(schedule).await?;
    let going = world.traffic.keep_going(PER_SECOND);
    let mut way = OnTheWay {
        id: String::new(),
        client: world.testbed.client(NAMESPACE).await?,
        spec,
        ran: Ran::default(),
        strikes: schedule.strikes.iter().cloned().collect(),
        back: schedule.back,
        starts: 0,
    };
    way.start(world, schedule).await?;
    way.walk(world, schedule).await?;
    let mut ran = way.ran;
    ran.missed.extend(way.strikes);

    world.revive()?;
    world.testbed.temporal().serving().await?;
    let Some(target) = way.spec["target"]["name"].as_str().map(ToOwned::to_owned) else {
        bail!("the spec names no target");
    };
    let left = world.leftovers()?;
    ran.wrong_files
        .extend(left.into_iter().map(|left| format!("left behind: {left}")));
    if ran.finished {
        let source = world.sites.source().name.clone();
        let entry = &way.spec["target"]["datastore"];
        let complaints = former.complaints(&source, &target, entry, schedule.keep_source)?;
        ran.wrong_files.extend(complaints);
    } else if let Err(error) = files.are_unchanged() {
        ran.wrong_files.push(format!("{error:#}"));
    }
    world.sites.settled(ran.finished).await?;
    going.stop().await.context("traffic")?;
    // What is written from now on is where the cluster reads, as what was written before is.
    world.traffic.existing(world.traffic.ledger().kept() + 3).await?;
    ran.lost = judged(world, &world.sites.source().store).await?;
    Ok(ran)
}

async fn judged(world: &World, store: &Store) -> Result<Vec<String>> {
    let judge = Judge::new(world.testbed.frontend(), world.traffic.ledger().clone()).await?;
    let mut complaints = judge.until_clean(store, JUDGED_WITHIN).await?.complaints;
    complaints.extend(judge.judge_listed().await?.complaints);
    Ok(complaints)
}

/// A migration that is under way.
struct OnTheWay {
    id: String,
    client: Client,
    spec: Value,
    ran: Ran,
    strikes: VecDeque<Strike>,
    /// Where it is still to be turned back.
    back: Option<(Point, Back)>,
    starts: u32,
}

impl OnTheWay {
    async fn start(&mut self, world: &World, schedule: &Schedule) -> Result<()> {
        self.starts += 1;
        self.id = format!("chaos-{}-{}-{}", schedule.seed, self.starts, std::process::id());
        patiently(async || world.operator.start(&self.id, &self.spec).await).await
    }

    /// Follows it to its end.
    async fn walk(&mut self, world: &mut World, schedule: &Schedule) -> Result<()> {
        let (mut last, mut since) = (Value::Null, Instant::now());
        loop {
            ensure!(
                world.worker.is_running(),
                "the worker has ended by itself:\n{}",
                tail(world.worker.log())
            );
            let status = ask(&self.client, &self.id).await;
            if status.as_ref().is_some_and(|status| *status != last) {
                (last, since) = (status.clone().unwrap_or_default(), Instant::now());
            }
            if since.elapsed() > STUCK_AFTER {
                let audit = world.operator.audit(&self.id).await.unwrap_or_default();
                bail!(
                    "`{}` gets nowhere\nstatus: {last:#}\naudit:\n{audit}\nworker:\n{}",
                    self.id,
                    tail(world.worker.log())
                );
            }
            let Some(status) = status else {
                world.revive()?;
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            if is(&status, "ended") {
                if self.ended(world, schedule).await? {
                    return Ok(());
                }
                continue;
            }
            if self.struck(world, &status).await? {
                since = Instant::now();
                continue;
            }
            self.act(world, &status).await?;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Strikes, if this is the place, and lets go of what is past.
    async fn struck(&mut self, world: &mut World, status: &Value) -> Result<bool> {
        let (Some(here), Some(next)) = (Point::of(status), self.strikes.front()) else {
            return Ok(false);
        };
        if here < next.point {
            return Ok(false);
        }
        let Some(next) = self.strikes.pop_front() else {
            return Ok(false);
        };
        if here > next.point {
            self.ran.missed.push(next);
        } else {
            world.strike(&next).await?;
            self.ran
                .struck
                .extend(next.faults.iter().map(|fault| (next.point, *fault)));
        }
        Ok(true)
    }

    /// What the operator does now, if anything.
    async fn act(&mut self, world: &World, status: &Value) -> Result<()> {
        let (operator, id) = (&world.operator, self.id.clone());
        let here = Point::of(status);
        if let Some((point, back)) = self.back.filter(|(point, _)| here.is_some_and(|here| here >= *point)) {
            self.back = None;
            ensure!(
                status["can_roll_back"] == true,
                "too late to turn back at {point}: {status:#}"
            );
            patiently(async || match back {
                Back::Rollback => operator.signal(&id, "rollback", None).await,
                Back::Abort => operator.signal(&id, "abort", None).await,
                Back::Cancel => operator.told(&["cancel", "-w", &id]).await.map(drop),
            })
            .await?;
            // Until it is taken, the gate still asks.
            tokio::time::sleep(Duration::from_millis(300)).await;
        } else if is(status, "awaiting-approval") {
            let gate = status["condition"]["gate"].as_str().unwrap_or_default();
            patiently(async || operator.approve(&id, gate).await).await?;
        } else if is(status, "needs-operator") {
            let problems = status["condition"]["problems"].to_string();
            ensure!(
                problems.contains("resume"),
                "it needs a person, and does not say that `resume` is what to do: {problems}"
            );
            self.ran.resumed += 1;
            ensure!(self.ran.resumed <= RESUMES, "`resume` does not help: {problems}");
            // A person is slower than this; what was struck has a moment to come back.
            tokio::time::sleep(Duration::from_secs(2)).await;
            patiently(async || operator.signal(&id, "resume", None).await).await?;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Ok(())
    }

    /// Takes the end down; `false` when it was refused before anything was changed, and is started again.
    async fn ended(&mut self, world: &World, schedule: &Schedule) -> Result<bool> {
        match End::of(&self.client, NAMESPACE, &self.id, Duration::from_secs(60)).await? {
            End::Completed(report) if report["result"] == "migrated" => {
                self.ran.finished = true;
                Ok(true)
            }
            End::Completed(report) if report["result"] == "rolled-back" => Ok(true),
            End::Failed(failure) if failure.kind == "Aborted" => Ok(true),
            End::Failed(failure) if failure.kind == "Refused" => {
                ensure!(self.starts < STARTS, "refused again and again: {}", failure.message);
                tokio::time::sleep(Duration::from_secs(2)).await;
                self.start(world, schedule).await?;
                Ok(false)
            }
            other => bail!("`{}` ended so: {other:?}", self.id),
        }
    }
}

/// The status, unless nobody answers just now.
async fn ask(client: &Client, id: &str) -> Option<Value> {
    let request = QueryWorkflowRequest {
        namespace: NAMESPACE.to_owned(),
        execution: Some(WorkflowExecution {
            workflow_id: id.to_owned(),
            run_id: String::new(),
        }),
        query: Some(WorkflowQuery {
            query_type: "status".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut service = client.connection().workflow_service();
    let answer = tokio::time::timeout(ASKED_WITHIN, service.query_workflow(request.into_request())).await;
    let payload = answer
        .ok()?
        .ok()?
        .into_inner()
        .query_result?
        .payloads
        .into_iter()
        .next()?;
    serde_json::from_slice(&payload.data).ok()
}

/// Says something until it is heard: the cluster may be on its way up.
async fn patiently(say: impl AsyncFn() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        match say().await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(200)).await,
            outcome => return outcome,
        }
    }
}
