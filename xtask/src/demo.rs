//! `cargo demo`: a whole migration on this machine, from an empty folder to the judge's verdict.
//!
//! Everything is real: the server, the workflows, the worker, and the operator, who types `tctl` commands. The stores
//! are judged by [`e2e::judge`], which knows what traffic did and nothing of what the product says.

mod interrupt;
mod kept;
mod migration;
mod narration;
mod product;
mod screen;
mod smoke;
mod tctl;
mod verdict;
mod words;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use crossfade_plan::progress::Outcome;
use e2e::judge::Judge;
use e2e::servers::processes::{Running, Signal};
use e2e::testbed::{Engine, NAMESPACE, Plan, Testbed};
use e2e::traffic::{Ledger, Traffic, WORKFLOW_TYPE};

use crate::terminal;
use interrupt::Interrupt;
use migration::Migration;
use narration::Narrator;
use product::Product;
use screen::Screen;
use smoke::smoke;
use tctl::Tctl;
use verdict::Verdict;
use words::count;

/// The Namespace that traffic runs in; the migration's own workflow runs in `default`.
const SHOP: &str = "shop";

/// Orders that traffic starts each second while the cluster is migrated.
const ORDERS_PER_SECOND: u32 = 10;

/// How long records may take to reach the store once the last execution has come to its end.
const WRITTEN_WITHIN: Duration = Duration::from_secs(90);

/// What to show.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Executions that exist before the migration begins, at least.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    records: u32,

    /// From one PostgreSQL database to another, in place of SQLite files.
    #[arg(long)]
    postgres: bool,

    /// The migration that Temporal's documentation describes, step by step: from Cassandra to Elasticsearch on 1.23.1.
    #[arg(long, conflicts_with = "postgres")]
    reference: bool,

    /// Leave the cluster and the worker running afterwards, to play with.
    #[arg(long)]
    keep: bool,

    /// Wait for approvals that you type yourself.
    #[arg(long)]
    by_hand: bool,

    /// Print one line of JSON on stdout, and nothing else there.
    #[arg(long)]
    json: bool,

    /// Run a small demo under --json and check its last line.
    #[arg(long, hide = true, conflicts_with_all = ["records", "keep", "by_hand", "json"])]
    check: bool,
}

impl Arguments {
    /// The cluster, and where it moves to.
    fn plan(&self) -> Plan {
        let mut plan = if self.reference {
            // Of its own: it is to have the documentation's names, and to stay with `--keep`.
            Plan::reference().with_own_nodes()
        } else if self.postgres {
            Plan::new(Engine::Postgres)
        } else {
            Plan::new(Engine::Sqlite)
        };
        plan.namespaces = vec![(SHOP.to_owned(), Duration::from_secs(7 * 24 * 3600))];
        plan
    }

    /// The option that chose it.
    fn flag(&self) -> Option<&'static str> {
        match (self.reference, self.postgres) {
            (true, _) => Some("--reference"),
            (_, true) => Some("--postgres"),
            _ => None,
        }
    }
}

/// Plays the whole story, or says what is short.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.check {
        return smoke(arguments.flag());
    }
    let begun = Instant::now();
    let product = Product::prepare(&arguments.plan())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot make a runtime")?;
    let played = runtime.block_on(play(arguments, &product, begun));
    // Traffic may still be at work after a failure; nobody waits for it.
    runtime.shutdown_background();
    played
}

async fn play(arguments: &Arguments, product: &Product, begun: Instant) -> Result<()> {
    let mut interrupt = Interrupt::listen()?;
    let screen = Screen::new();
    let plan = arguments.plan();
    let version = plan.release.version;
    let started = Instant::now();
    let testbed = Testbed::start(plan, terminal::progress().as_ref()).await?;
    screen.done(
        "cluster",
        &format!(
            "Temporal {version} serves at {} with its Visibility in {}, and Namespaces `{NAMESPACE}` and `{SHOP}`",
            testbed.frontend(),
            words::store(testbed.source())
        ),
        started.elapsed(),
    );
    let mut stage = Stage { testbed, worker: None };
    let story = Story {
        arguments,
        product,
        screen: &screen,
        begun,
    };
    let played = tokio::select! {
        biased;
        () = interrupt.asked() => None,
        played = story.tell(&mut stage) => Some(played),
    };
    screen.clear();
    match played {
        None => {
            terminal::note("stopping and removing everything (Ctrl-C again: at once)");
            stage.strike(Signal::Kill)?;
            bail!("interrupted: the demo did not get to its end");
        }
        Some(played) if arguments.keep => {
            let stop = stage.leave(product)?;
            terminal::note(&stop);
            played
        }
        Some(Ok(())) => stage.strike(Signal::Term),
        Some(Err(error)) => {
            drop(stage);
            Err(error)
        }
    }
}

/// What runs while the story is told.
struct Stage {
    // The worker goes before the cluster that it polls.
    worker: Option<Running>,
    testbed: Testbed,
}

impl Stage {
    /// Stops everything and removes every file.
    fn strike(mut self, signal: Signal) -> Result<()> {
        if let Some(worker) = &mut self.worker {
            worker.stop(signal)?;
        }
        self.testbed.finish()
    }

    /// Leaves everything running; returns how to play with it and how to stop it.
    fn leave(mut self, product: &Product) -> Result<String> {
        let text = kept::instructions(&self.testbed, product)?;
        if let Some(worker) = &mut self.worker {
            worker.keep();
        }
        let _folder = self.testbed.leave_running();
        Ok(text)
    }
}

/// The story, and who listens.
struct Story<'a> {
    arguments: &'a Arguments,
    product: &'a Product,
    screen: &'a Screen,
    begun: Instant,
}

impl Story<'_> {
    async fn tell(&self, stage: &mut Stage) -> Result<()> {
        let Self {
            arguments,
            product,
            screen,
            begun,
        } = self;
        product::age(&stage.testbed).await?;
        let traffic = self.existing(&stage.testbed).await?;
        let going = traffic.keep_going(ORDERS_PER_SECOND);
        screen.step(
            "traffic",
            &format!("about {ORDERS_PER_SECOND} more orders each second, from now to the end"),
        );

        let worker = stage.worker.insert(product.worker(&stage.testbed)?);
        screen.step("worker", "crossfade worker --host node-a");
        let tctl = Tctl::new(product.tctl(), stage.testbed.frontend(), screen);
        let migration = Migration {
            testbed: &stage.testbed,
            product,
            screen,
            tctl: &tctl,
            by_hand: arguments.by_hand,
            narrator: arguments
                .reference
                .then(|| Narrator::of(&stage.testbed, screen).map(RefCell::new))
                .transpose()?,
        };
        let end = migration.run(worker).await?;
        let report = product.report(&stage.testbed)?;

        screen.now("letting the last orders come to their ends");
        let made = going.stop().await.context("traffic did not outlive the migration")?;
        traffic.settle().await?;
        let ledger = traffic.end();
        screen.step(
            "traffic",
            &format!("{} orders were made during the migration", count(made)),
        );
        screen.step(
            "history",
            &format!("{} events in the migration's workflow", count(end.events)),
        );
        let verdict = self.judge(&stage.testbed, &tctl, &ledger, end.outcome).await?;

        screen.clear();
        if arguments.json {
            terminal::fact(&verdict.line(&report).to_string());
        } else {
            terminal::fact(&verdict.summary(&report, end.events, begun.elapsed()));
        }
        verdict.demand_whole(&report)
    }

    /// Makes the executions that exist before anything is migrated.
    async fn existing(&self, testbed: &Testbed) -> Result<Traffic> {
        let started = Instant::now();
        let wanted = usize::try_from(self.arguments.records)?;
        self.screen.now("registering search attributes");
        let traffic = Traffic::begin(testbed.frontend(), SHOP).await?;
        let show = async {
            let mut look = tokio::time::interval(Duration::from_millis(100));
            loop {
                look.tick().await;
                let kept = traffic.ledger().kept();
                self.screen.now(match kept < wanted {
                    true => "making executions",
                    false => "waiting until each is where it is to be",
                });
                self.screen
                    .bar("existing", kept.min(wanted) as u64, wanted as u64, "executions");
            }
        };
        tokio::select! {
            made = traffic.existing(wanted) => made?,
            () = show => {}
        }
        let ledger = traffic.ledger();
        self.screen.no_bar();
        self.screen.done(
            "existing",
            &format!(
                "{} executions: {}",
                count(ledger.kept() as u64),
                words::statuses(&ledger.summary())
            ),
            started.elapsed(),
        );
        Ok(traffic)
    }

    /// Holds the store that the cluster is on now against what traffic did, and what users see against both.
    async fn judge(&self, testbed: &Testbed, tctl: &Tctl<'_>, ledger: &Ledger, outcome: Outcome) -> Result<Verdict> {
        let started = Instant::now();
        let (name, store) = match outcome {
            Outcome::Migrated => ("new", testbed.target()),
            Outcome::RolledBack | Outcome::Aborted | Outcome::Refused => ("old", testbed.source()),
        };
        self.screen.now(&format!("the judge reads the {name} store"));
        let judge = Judge::new(testbed.frontend(), ledger.clone()).await?;
        let found = judge.until_clean(store, WRITTEN_WITHIN).await?;
        let filter = format!("WorkflowType = '{WORKFLOW_TYPE}'");
        let counted = tctl.count(SHOP, &filter).await?;
        let listed = judge.judge_listed().await?;
        let found = e2e::judge::Verdict {
            complaints: found.complaints.into_iter().chain(listed.complaints).collect(),
            ..found
        };
        let verdict = Verdict::new(name, ledger.kept() as u64, found, counted);
        self.screen.done("judge", &verdict.words(), started.elapsed());
        Ok(verdict)
    }
}
