//! A client that is never to notice anything: it starts, signals, queries, lists and counts, several times a second, with
//! the retries that clients of the SDK have anyway, and counts every request that fails all the same.

#![allow(
    missing_docs,
    reason = "the SDK's macro makes constants of a workflow's methods, without their documentation"
)]

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use temporalio_client::{
    Client, WorkflowCountOptions, WorkflowListOptions, WorkflowQueryOptions, WorkflowSignalOptions,
    WorkflowStartOptions,
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult};
use tokio::task::JoinHandle;

use crate::servers::temporal::connect;
use crate::traffic::worker::TestWorker;

/// The workflow type of probes.
const PROBE: &str = "Probe";

/// How many connections ask in turn. Each is held by one frontend, until that one goes.
const CLIENTS: usize = 4;

/// Between two probes: each makes six requests.
const PAUSE: Duration = Duration::from_millis(250);

/// How long a record may be on its way to where it is counted: a shard that moves takes its writes along.
const COUNTED_WITHIN: Duration = Duration::from_secs(20);

/// A request that took longer than this was held up, and made again by the SDK as a rule.
const SLOW: Duration = Duration::from_secs(1);

/// A workflow that is started, signalled, asked and ended.
#[workflow]
#[derive(Default)]
pub struct Probe {
    beats: u64,
    over: bool,
}

#[workflow_methods]
impl Probe {
    /// Waits for its end.
    #[run(name = PROBE)]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<u64> {
        ctx.wait_condition(|probe| probe.over).await?;
        Ok(ctx.state(|probe| probe.beats))
    }

    /// A sign of life.
    #[signal(name = "beat")]
    pub fn beat(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
        self.beats += 1;
    }

    /// The end.
    #[signal(name = "end")]
    pub fn end(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
        self.over = true;
    }

    /// How many signs of life there were.
    #[query(name = "beats")]
    pub fn beats(&self, _ctx: &WorkflowContextView) -> u64 {
        self.beats
    }
}

/// A running prober.
#[must_use = "it says what it saw only when it is stopped"]
pub struct Prober {
    told: Arc<AtomicBool>,
    task: JoinHandle<Result<()>>,
    tally: Arc<Mutex<Tally>>,
    worker: TestWorker,
}

/// What a prober saw.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// The requests, by their kind.
    pub requests: BTreeMap<&'static str, Requests>,
    /// What went wrong, with the second of the run.
    pub failures: Vec<String>,
    /// When each execution's start was answered.
    started: Vec<Instant>,
}

/// The requests of one kind.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    /// How many were answered, or failed.
    pub made: u64,
    /// How many failed for good.
    pub failed: u64,
    /// How many took more than a second.
    pub slow: u64,
    /// The longest.
    pub longest: Duration,
}

/// What all requests need.
struct Asker {
    clients: Vec<Client>,
    begun: Instant,
    prefix: String,
    task_queue: String,
    next: AtomicU64,
    tally: Arc<Mutex<Tally>>,
}

impl Prober {
    /// Begins to ask at `frontend`, in `namespace`.
    ///
    /// # Errors
    /// When nobody answers at first.
    pub async fn begin(frontend: &str, namespace: &str) -> Result<Self> {
        let task_queue = "probes".to_owned();
        let worker = TestWorker::start::<Probe>(frontend, namespace, &task_queue)?;
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(connect(frontend, namespace).await?);
        }
        let tally = Arc::new(Mutex::new(Tally::default()));
        let asker = Arc::new(Asker {
            clients,
            begun: Instant::now(),
            prefix: format!("probe-{}", &uuid::Uuid::new_v4().simple().to_string()[..6]),
            task_queue,
            next: AtomicU64::new(0),
            tally: Arc::clone(&tally),
        });
        let told = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&told);
        let task = tokio::spawn(async move {
            let mut beat = tokio::time::interval(PAUSE);
            let mut probes = tokio::task::JoinSet::new();
            while !stop.load(Ordering::Relaxed) {
                beat.tick().await;
                let asker = Arc::clone(&asker);
                probes.spawn(async move { asker.probe().await });
            }
            while let Some(ended) = probes.join_next().await {
                ended.context("a probe panicked")?;
            }
            Ok(())
        });
        Ok(Self {
            told,
            task,
            tally,
            worker,
        })
    }

    /// What it has seen so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        locked(&self.tally).clone()
    }

    /// Stops once every request under way is answered, and says what it saw.
    ///
    /// # Errors
    /// When a probe panicked.
    pub async fn stop(self) -> Result<Tally> {
        self.told.store(true, Ordering::Relaxed);
        self.task.await.context("the prober panicked")??;
        drop(self.worker);
        Ok(locked(&self.tally).clone())
    }
}

impl Asker {
    /// One execution from its start to its end, with lists and counts on the way. One that cannot be started is not
    /// signalled.
    async fn probe(&self) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number}", self.prefix);
        let client = &self.clients[usize::try_from(number).unwrap_or_default() % self.clients.len()];
        let options = WorkflowStartOptions::new(self.task_queue.clone(), id.clone()).build();
        let started = self
            .ask("start", async {
                Ok(client.start_workflow(Probe::run, (), options).await?)
            })
            .await;
        let Some(probe) = started else { return };
        locked(&self.tally).started.push(Instant::now());
        self.ask("signal", async {
            Ok(probe.signal(Probe::beat, (), WorkflowSignalOptions::default()).await?)
        })
        .await;
        self.ask("query", async {
            let beats = probe.query(Probe::beats, (), WorkflowQueryOptions::default()).await?;
            ensure!(beats > 0, "{id} was signalled and has {beats} beats");
            Ok(())
        })
        .await;
        let all = format!("WorkflowType = '{PROBE}' AND WorkflowId STARTS_WITH '{}'", self.prefix);
        self.ask("list", async {
            let wanted = self.due().min(5);
            let listed = client.list_workflows(all.clone(), WorkflowListOptions::builder().limit(5).build());
            let listed: Vec<_> = listed.collect().await;
            let found = listed.into_iter().collect::<Result<Vec<_>, _>>()?.len();
            ensure!(found >= wanted, "{found} executions are listed, of {wanted} at least");
            Ok(())
        })
        .await;
        self.ask("count", async {
            let wanted = self.due();
            let counted = client
                .count_workflows(all.clone(), WorkflowCountOptions::default())
                .await?;
            let counted = counted.count();
            ensure!(
                counted >= wanted,
                "{counted} executions are counted, and {wanted} were started {} s before",
                COUNTED_WITHIN.as_secs()
            );
            Ok(())
        })
        .await;
        self.ask("signal", async {
            Ok(probe.signal(Probe::end, (), WorkflowSignalOptions::default()).await?)
        })
        .await;
    }

    /// How many executions have been there long enough to be counted.
    fn due(&self) -> usize {
        let tally = locked(&self.tally);
        tally
            .started
            .iter()
            .filter(|started| started.elapsed() >= COUNTED_WITHIN)
            .count()
    }

    /// Makes one request and writes down how it went.
    async fn ask<T>(&self, kind: &'static str, request: impl Future<Output = Result<T>>) -> Option<T> {
        let asked = Instant::now();
        let answer = request.await;
        let took = asked.elapsed();
        let mut tally = locked(&self.tally);
        let requests = tally.requests.entry(kind).or_default();
        requests.made += 1;
        requests.slow += u64::from(took > SLOW);
        requests.longest = requests.longest.max(took);
        match answer {
            Ok(answer) => Some(answer),
            Err(error) => {
                requests.failed += 1;
                let second = asked.duration_since(self.begun).as_secs();
                tally.failures.push(format!(
                    "at {second} s, after {:.1} s: {kind}: {error:#}",
                    took.as_secs_f64()
                ));
                None
            }
        }
    }
}

impl Tally {
    /// How many requests were made.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.requests.values().map(|requests| requests.made).sum()
    }

    /// How many of them failed for good.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.requests.values().map(|requests| requests.failed).sum()
    }

    /// Fails unless every request was answered, and there were requests of each kind.
    ///
    /// # Errors
    /// What went wrong, request by request.
    pub fn demand_clean(&self) -> Result<()> {
        for kind in ["start", "signal", "query", "list", "count"] {
            let made = self.requests.get(kind).map_or(0, |requests| requests.made);
            ensure!(made > 0, "no {kind} was asked");
        }
        ensure!(
            self.failed() == 0 && self.failures.is_empty(),
            "{self}\n{}",
            self.failures.join("\n")
        );
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests, {} failed", self.made(), self.failed())?;
        for (kind, requests) in &self.requests {
            write!(
                f,
                "; {kind}: {}, {} failed, {} over 1 s, longest {:.1} s",
                requests.made,
                requests.failed,
                requests.slow,
                requests.longest.as_secs_f64()
            )?;
        }
        Ok(())
    }
}

fn locked(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
