//! Real workflows in one Namespace, before and during a migration, and a ledger of what became of each.

mod attributes;
mod calls;
mod ledger;
#[allow(
    missing_docs,
    reason = "the SDK's macro makes constants of a workflow's methods, without their documentation"
)]
mod order;
pub(crate) mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tokio::task::JoinHandle;

pub use attributes::{ATTRIBUTES, Values};
pub use ledger::{Entry, Ledger, Status};
pub use order::{Life, Order, OrderInput, WORKFLOW_TYPE};

use crate::namespaces;
use crate::servers::temporal::connect;
use calls::Calls;
use worker::TestWorker;

/// How many orders are in the making at once.
const LANES: usize = 48;

/// How long the last executions may take to come to their ends once traffic stops.
const SETTLED_WITHIN: Duration = Duration::from_secs(600);

/// The run timeout of orders that are to time out: short, and long enough to be seen open.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Quantities from here on are those of touched orders: more than any order starts with.
const TOUCHED: i64 = 10_000_000_000_000_000;

/// How often orders of [`Life::Cron`] are run.
const SCHEDULE: &str = "@every 2s";

/// How often such an order runs to its end before it is terminated, at least.
const TURNS: usize = 2;

/// The lives of consecutive orders: mostly the usual ones, each of the others at least once.
const MIX: [Life; 22] = [
    Life::Completed,
    Life::Shipped,
    Life::Failed,
    Life::Completed,
    Life::Cancelled,
    Life::ContinuedAsNew,
    Life::Completed,
    Life::Terminated,
    Life::Open,
    Life::Shipped,
    Life::Completed,
    Life::Deleted,
    Life::Parent,
    Life::TimedOut,
    Life::Cron,
    Life::Completed,
    Life::Shipped,
    Life::Failed,
    Life::Completed,
    Life::Cancelled,
    Life::Completed,
    Life::Shipped,
];

/// Traffic in one Namespace: a worker, and whoever starts, signals, cancels, terminates and deletes its orders.
pub struct Traffic {
    crew: Arc<Crew>,
    worker: TestWorker,
}

/// Traffic that goes on by itself.
#[must_use = "traffic ends only when it is stopped"]
pub struct Going {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<u64>>,
}

/// What the lanes share.
struct Crew {
    calls: Calls,
    ledger: Ledger,
    next: AtomicU64,
}

impl Traffic {
    /// Registers the search attributes in `namespace` (which must exist) and starts a worker for it.
    ///
    /// # Errors
    /// When the frontend does not answer or refuses.
    pub async fn begin(frontend: &str, namespace: &str) -> Result<Self> {
        let client = connect(frontend, namespace).await?;
        namespaces::add_search_attributes(&client, frontend, namespace, &ATTRIBUTES).await?;
        let task_queue = "orders".to_owned();
        let worker = TestWorker::start::<Order>(frontend, namespace, &task_queue)?;
        let prefix = format!("order-{}-", &uuid::Uuid::new_v4().simple().to_string()[..6]);
        Ok(Self {
            crew: Arc::new(Crew {
                calls: Calls {
                    client,
                    namespace: namespace.to_owned(),
                    task_queue,
                },
                ledger: Ledger::new(namespace, &prefix),
                next: AtomicU64::new(0),
            }),
            worker,
        })
    }

    /// The ledger of everything that was done.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.crew.ledger
    }

    /// Makes at least `count` executions as fast as the cluster takes them, and waits until each is where it is to be.
    ///
    /// # Errors
    /// When the cluster refuses, or is away for minutes.
    pub async fn existing(&self, count: usize) -> Result<()> {
        let crew = &self.crew;
        stream::iter(0..)
            .take_while(|_| futures::future::ready(crew.ledger.kept() < count))
            .map(|_: u64| crew.one_order())
            .buffer_unordered(LANES)
            .try_collect::<()>()
            .await?;
        self.settle().await
    }

    /// Goes on making about `per_second` orders a second, and touching open ones, until it is stopped.
    pub fn keep_going(&self, per_second: u32) -> Going {
        let stop = Arc::new(AtomicBool::new(false));
        let crew = Arc::clone(&self.crew);
        let told = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut beat = tokio::time::interval(Duration::from_secs(1) / per_second.max(1));
            // What a restart held up is not made up for in a burst.
            beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut orders = tokio::task::JoinSet::new();
            let mut made = 0;
            while !told.load(Ordering::Relaxed) {
                beat.tick().await;
                while orders.len() >= LANES {
                    orders.join_next().await.context("there are orders")???;
                }
                made += 1;
                let crew = Arc::clone(&crew);
                orders.spawn(async move {
                    crew.one_order().await?;
                    if made % 5 == 0 { crew.touch_one().await } else { Ok(()) }
                });
            }
            while let Some(ended) = orders.join_next().await {
                ended??;
            }
            Ok(made)
        });
        Going { stop, task }
    }

    /// Waits until every execution has come to the end that its life has, by the cluster's main store.
    ///
    /// # Errors
    /// When one has not, minutes later: names it.
    pub async fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + SETTLED_WITHIN;
        stream::iter(self.crew.ledger.entries())
            .map(|entry| self.crew.settle_one(entry, deadline))
            .buffer_unordered(LANES)
            .try_collect::<()>()
            .await
    }

    /// Waits until the ledger has `count` executions that were not deleted, for some minutes at most: traffic that was
    /// refused makes no more, and says why when it is stopped.
    pub async fn reaches(&self, count: usize) {
        let deadline = Instant::now() + SETTLED_WITHIN;
        while self.crew.ledger.kept() < count && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops the worker, and returns the ledger.
    #[must_use]
    pub fn end(self) -> Ledger {
        let ledger = self.crew.ledger.clone();
        drop(self.worker);
        ledger
    }
}

impl Going {
    /// Stops, and returns how many orders were made meanwhile.
    ///
    /// # Errors
    /// When an order could not be made: the cluster refused it or was away for minutes.
    pub async fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.context("traffic panicked")?
    }
}

impl Crew {
    /// Makes one order and does to it what its life asks for.
    async fn one_order(&self) -> Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let life = MIX[usize::try_from(number % MIX.len() as u64)?];
        let workflow_id = format!("{}{number}", self.ledger.prefix());
        let input = OrderInput {
            number,
            life,
            generation: 0,
        };
        let timeout = (life == Life::TimedOut).then_some(TIMEOUT);
        let schedule = if life == Life::Cron { SCHEDULE } else { "" };
        let run_id = self.calls.start(&workflow_id, &input, timeout, schedule).await?;
        let id = (workflow_id.as_str(), run_id.as_str());
        if life == Life::Cron {
            return self.turns(id, number).await;
        }
        self.ledger.write(entry(id, number, life, 0));
        match life {
            Life::Shipped => self.calls.signal(id.0, id.1, "ship", None).await?,
            Life::Cancelled => self.calls.cancel(id.0, id.1).await?,
            Life::Terminated => self.calls.terminate(id.0, id.1).await?,
            Life::Deleted => {
                self.until(
                    id,
                    |status| status == Status::Completed as i32,
                    Instant::now() + SETTLED_WITHIN,
                )
                .await?;
                self.calls.delete(id.0, id.1).await?;
            }
            Life::ContinuedAsNew => {
                let mut run_id = run_id.clone();
                for generation in 1..=order::GENERATIONS {
                    run_id = self
                        .calls
                        .next_run(&workflow_id, &self.ended(&workflow_id, &run_id).await?)
                        .await?;
                    self.ledger
                        .write(entry((&workflow_id, &run_id), number, life, generation));
                }
            }
            Life::Parent => self.part(id, number).await?,
            Life::Completed | Life::Failed | Life::TimedOut | Life::Open | Life::Cron => {}
        }
        Ok(())
    }

    /// Writes down the child that an order has run.
    async fn part(&self, id: (&str, &str), number: u64) -> Result<()> {
        let completed = |status| status == Status::Completed as i32;
        self.until(id, completed, Instant::now() + SETTLED_WITHIN).await?;
        let child = order::child_of(id.0);
        let described = self.calls.describe(&child, "").await?;
        let run_id = described
            .and_then(|info| info.execution)
            .map(|execution| execution.run_id)
            .with_context(|| format!("{child} is not there"))?;
        let mut part = entry((&child, &run_id), number, Life::Completed, 0);
        // A child gets no memo from its parent.
        part.memo = attributes::memo_after_work(number, 0);
        self.ledger.write(part);
        Ok(())
    }

    /// Lets a scheduled order take its turns, and terminates it; writes down every run.
    async fn turns(&self, (workflow_id, first): (&str, &str), number: u64) -> Result<()> {
        let ended = |status| status != Status::Running as i32;
        let mut run_id = first.to_owned();
        for turn in 0.. {
            let id = (workflow_id, run_id.as_str());
            if turn >= TURNS {
                // It may come to the end of this turn first; then there is one more.
                self.calls.terminate(id.0, id.1).await?;
            }
            self.until(id, ended, Instant::now() + SETTLED_WITHIN).await?;
            let described = self.calls.describe(id.0, id.1).await?;
            let mut run = entry(id, number, Life::Cron, 0);
            if described.is_some_and(|info| info.status == Status::Terminated as i32) {
                run.status = Status::Terminated;
                self.ledger.write(run);
                return Ok(());
            }
            self.ledger.write(run);
            run_id = self.calls.next_run(id.0, id.1).await?;
        }
        Ok(())
    }

    /// Changes the quantity of one open order: of the oldest ones first, so that records from before the migration change during it.
    async fn touch_one(&self) -> Result<()> {
        let open: Vec<Entry> = self
            .ledger
            .entries()
            .into_iter()
            .filter(|entry| entry.status == Status::Running)
            .collect();
        let turn = self.next.load(Ordering::Relaxed);
        let Some(entry) = open.get(usize::try_from(turn)? % open.len().max(1)) else {
            return Ok(());
        };
        let quantity = i64::try_from(turn)? + TOUCHED;
        self.calls
            .signal(&entry.workflow_id, &entry.run_id, "touch", Some(json!(quantity)))
            .await?;
        self.ledger.amend(&entry.run_id, |entry| {
            // Two touches may overtake each other on their way: the order keeps the larger one, and so does the ledger.
            let former = entry.attributes.get("Quantity").and_then(serde_json::Value::as_i64);
            entry.attributes.insert(
                "Quantity".to_owned(),
                json!(former.map_or(quantity, |former| former.max(quantity))),
            );
        });
        Ok(())
    }

    async fn ended(&self, workflow_id: &str, run_id: &str) -> Result<String> {
        let continued = |status| status == Status::ContinuedAsNew as i32;
        self.until((workflow_id, run_id), continued, Instant::now() + SETTLED_WITHIN)
            .await?;
        Ok(run_id.to_owned())
    }

    async fn settle_one(&self, entry: Entry, deadline: Instant) -> Result<()> {
        let id = (entry.workflow_id.as_str(), entry.run_id.as_str());
        if entry.deleted {
            while self.calls.describe(id.0, id.1).await?.is_some() {
                if Instant::now() > deadline {
                    bail!("{} run {} was deleted and is still there", id.0, id.1);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            return Ok(());
        }
        self.until(id, |status| status == entry.status as i32, deadline).await?;
        if entry.status == Status::Running {
            self.applied(&entry, deadline).await?;
        }
        Ok(())
    }

    /// Waits until an open order carries what it was last touched with. Where traffic goes on that may be touched meanwhile.
    async fn applied(&self, entry: &Entry, deadline: Instant) -> Result<()> {
        loop {
            let Some(quantity) = self.ledger.attribute(&entry.run_id, "Quantity") else {
                return Ok(());
            };
            let described = self.calls.describe(&entry.workflow_id, &entry.run_id).await?;
            let found = described
                .and_then(|info| info.search_attributes)
                .and_then(|attributes| attributes.indexed_fields.get("Quantity").cloned())
                .map(|payload| String::from_utf8_lossy(&payload.data).into_owned());
            if found.as_deref() == Some(quantity.as_str()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{} was touched with quantity {quantity} and has {found:?}",
                    entry.workflow_id
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until an execution's status in the main store is one of those wanted.
    async fn until(
        &self,
        (workflow_id, run_id): (&str, &str),
        wanted: impl Fn(i32) -> bool,
        deadline: Instant,
    ) -> Result<()> {
        loop {
            let Some(info) = self.calls.describe(workflow_id, run_id).await? else {
                bail!("{workflow_id} run {run_id} is gone from the cluster")
            };
            if wanted(info.status) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{workflow_id} run {run_id} has status {} and does not come to its end",
                    info.status
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// What the ledger says of one generation of an order.
fn entry((workflow_id, run_id): (&str, &str), number: u64, life: Life, generation: u32) -> Entry {
    let status = match life {
        Life::Completed | Life::Shipped | Life::Deleted | Life::Parent | Life::Cron => Status::Completed,
        Life::Failed => Status::Failed,
        Life::Cancelled => Status::Canceled,
        Life::ContinuedAsNew if generation < order::GENERATIONS => Status::ContinuedAsNew,
        Life::ContinuedAsNew => Status::Completed,
        Life::Terminated => Status::Terminated,
        Life::TimedOut => Status::TimedOut,
        Life::Open => Status::Running,
    };
    let mut attributes = attributes::at_start(number);
    let mut memo = attributes::memo_at_start(number);
    if !matches!(life, Life::Terminated | Life::TimedOut | Life::Open | Life::Cron) {
        attributes.extend(attributes::after_work(number, generation));
        memo.extend(attributes::memo_after_work(number, generation));
    }
    Entry {
        workflow_id: workflow_id.to_owned(),
        run_id: run_id.to_owned(),
        status,
        attributes,
        memo,
        deleted: life == Life::Deleted,
    }
}
