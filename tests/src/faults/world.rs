//! The cluster that faults strike, with everything that is between the product and what it works on.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::disk::SmallDisk;
use super::fault::Fault;
use super::proxy::{Proxy, Way};
use super::schedule::{Schedule, Strike};
use super::sites::{Sites, signal_all};
use crate::migration::{Operator, Worker};
use crate::scene::Scene;
use crate::servers::faketime::Faketime;
use crate::servers::processes::{Signal, send};
use crate::servers::progress::Lines;
use crate::servers::temporal::Host;
use crate::story::worker_variables;
use crate::testbed::{Engine, NAMESPACE, Plan, Testbed};
use crate::traffic::Traffic;

/// Executions before the first migration.
const EXISTING: usize = 60;

/// Room for the configuration files.
const CONFIG: &str = "512k";

/// How late each packet is on a slow connection.
const LATE: Duration = Duration::from_millis(150);

/// How wrong the worker's clock is, when it is.
const AHEAD: &str = "+75s";
const BEHIND: &str = "-75s";

/// How long a copy is to last, in seconds, so that it can be struck.
const COPY_LASTS: usize = 6;

/// One cluster, for one migration after another.
pub(super) struct World {
    // The worker goes before the cluster that it polls, the traffic before both.
    pub(super) traffic: Traffic,
    pub(super) worker: Worker,
    pub(super) operator: Operator,
    pub(super) sites: Sites,
    pub(super) testbed: Testbed,
    frontend: Proxy,
    clock: Faketime,
    disks: Vec<SmallDisk>,
    /// The clock's file and nothing else.
    _folder: tempfile::TempDir,
}

/// A fault that is under way.
struct Begun {
    fault: Fault,
    /// What is frozen.
    pids: Vec<u32>,
}

impl World {
    pub(super) async fn on(engine: Engine) -> Result<Self> {
        let mut plan = Plan::new(engine);
        if engine == Engine::Postgres {
            plan = plan.on_two_hosts();
        }
        let folder = tempfile::tempdir()?;
        let clock = Faketime::of(&folder.path().join("clock"), &Lines::default())?;
        // Where it leads to is known when the cluster is there.
        let frontend = Proxy::to("127.0.0.1:1").await?;
        let mut variables = worker_variables(plan.release)?;
        variables.push(("TEMPORAL_ADDRESS", frontend.address()));
        variables.extend(clock.variables());
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let Scene {
            worker,
            operator,
            mut testbed,
        } = Scene::of(plan, &variables).await?;
        frontend.lead_to(testbed.frontend());
        let sites = Sites::beside(&mut testbed).await?;
        let temporal = testbed.temporal();
        let configs = temporal.hosts().iter().map(|host| host.config.as_path());
        let disks = configs
            .chain([temporal.dynamic_config()])
            .map(|file| Ok(SmallDisk::over(file.parent().context("a file has a folder")?, CONFIG)?.kept()))
            .collect::<Result<_>>()?;
        let traffic = Traffic::begin(testbed.frontend(), NAMESPACE).await?;
        traffic.existing(EXISTING).await?;
        Ok(Self {
            traffic,
            worker,
            operator,
            sites,
            testbed,
            frontend,
            clock,
            disks,
            _folder: folder,
        })
    }

    /// What the migration of `schedule` is asked to do: every gate asks, and copying takes its time.
    pub(super) async fn spec(&mut self, schedule: &Schedule) -> Result<Value> {
        let folder = self.testbed.folder().to_owned();
        let target = self.sites.next_target(&folder).await?;
        let mut spec = self.testbed.spec();
        spec["cluster"]["frontend"] = json!(self.frontend.address());
        spec["target"]["name"] = json!(target.name);
        spec["target"]["datastore"] = target.entry;
        spec["source"] = json!({"datastore": self.sites.source().entry});
        spec["gates"] = json!([
            "prepare-target",
            "dual-write",
            "existing-records",
            "verify",
            "cutover",
            "promote",
            "finish"
        ]);
        spec["cutover"] = json!({"soak": "4s"});
        spec["keep_source_datastore"] = json!(schedule.keep_source);
        spec["copy"] = json!({"defer_indexes": if schedule.defer_indexes { "always" } else { "never" }});
        spec["slices"] = json!({"at_once": 2, "records": 40});
        spec["records_per_second"] = json!(self.traffic.ledger().kept() / COPY_LASTS + 1);
        Ok(spec)
    }

    /// Strikes, and lets it be over after its time.
    pub(super) async fn strike(&mut self, strike: &Strike) -> Result<()> {
        let mut begun = Vec::new();
        for fault in &strike.faults {
            begun.push(self.begin(*fault).with_context(|| fault.to_string())?);
        }
        tokio::time::sleep(strike.lasts).await;
        for begun in begun.into_iter().rev() {
            let fault = begun.fault;
            self.end(begun).await.with_context(|| format!("{fault}, over"))?;
        }
        Ok(())
    }

    fn begin(&mut self, fault: Fault) -> Result<Begun> {
        let mut pids = Vec::new();
        match fault {
            Fault::WorkerKilled => self.worker.kill()?,
            Fault::WorkerFrozen => self.worker.signal(Signal::Stop)?,
            Fault::ClockAhead => self.clock.set(AHEAD)?,
            Fault::ClockBehind => self.clock.set(BEHIND)?,
            Fault::ServerKilled => kill(self.back()?),
            Fault::FrontendKilled => kill(self.front()?),
            Fault::ServerFrozen => {
                pids.extend(self.back()?.pid());
                signal_all(&pids, Signal::Stop);
            }
            Fault::FrontendCut => self.frontend.set(Way::Cut),
            Fault::FrontendSlow => self.frontend.set(Way::Slow(LATE)),
            Fault::ConfigDiskFull => self.disks.iter().try_for_each(SmallDisk::fill)?,
            Fault::TargetDiskFull => self.sites.fill_target()?,
            Fault::TargetKilled => self.sites.target_server()?.postgres.kill()?,
            Fault::TargetFrozen => {
                pids = self.sites.target_server()?.postgres.pids();
                signal_all(&pids, Signal::Stop);
            }
            Fault::TargetCut => self.sites.target_server()?.proxy.set(Way::Cut),
            Fault::TargetSlow => self.sites.target_server()?.proxy.set(Way::Slow(LATE)),
            Fault::SourceKilled => self.sites.kill_source(&mut self.testbed)?,
            Fault::SourceCut => self.sites.source_way(Way::Cut),
        }
        Ok(Begun { fault, pids })
    }

    async fn end(&mut self, begun: Begun) -> Result<()> {
        match begun.fault {
            Fault::WorkerKilled => self.worker.again(&self.testbed)?,
            Fault::WorkerFrozen => self.worker.signal(Signal::Continue)?,
            Fault::ClockAhead | Fault::ClockBehind => self.clock.set("+0s")?,
            Fault::ServerKilled => self.back()?.start()?,
            Fault::FrontendKilled => self.front()?.start()?,
            Fault::ServerFrozen | Fault::TargetFrozen => signal_all(&begun.pids, Signal::Continue),
            Fault::FrontendCut | Fault::FrontendSlow => self.frontend.set(Way::Open),
            Fault::ConfigDiskFull => self.disks.iter().try_for_each(SmallDisk::empty)?,
            Fault::TargetDiskFull => self.sites.empty_target().await?,
            Fault::TargetKilled => self.sites.target_server()?.up().await?,
            Fault::TargetCut | Fault::TargetSlow => self.sites.target_server()?.proxy.set(Way::Open),
            Fault::SourceKilled => self.sites.start_source(&mut self.testbed).await?,
            Fault::SourceCut => self.sites.source_way(Way::Open),
        }
        Ok(())
    }

    /// Starts hosts that have ended: a server that loses its database for long gives up, and a service manager starts it
    /// again.
    pub(super) fn revive(&self) -> Result<()> {
        for host in self.testbed.temporal().hosts() {
            if !host.is_running() {
                host.start()?;
            }
        }
        Ok(())
    }

    /// The host that has history and matching.
    fn back(&self) -> Result<&Host> {
        self.testbed.temporal().hosts().last().context("there are hosts")
    }

    /// The host that has the frontend.
    fn front(&self) -> Result<&Host> {
        self.testbed.temporal().hosts().first().context("there are hosts")
    }

    /// What a fault may have left in the folders of the configuration files.
    pub(super) fn leftovers(&self) -> Result<Vec<String>> {
        let temporal = self.testbed.temporal();
        let configs = temporal.hosts().iter().map(|host| host.config.as_path());
        let mut left = Vec::new();
        for file in configs.chain([temporal.dynamic_config()]) {
            for entry in fs::read_dir(file.parent().context("a file has a folder")?)? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                if name.ends_with(".tmp") {
                    left.push(format!("{name} beside {}", file.display()));
                }
            }
        }
        Ok(left)
    }

    /// The end: everything stopped and removed.
    pub(super) fn finish(mut self) -> Result<()> {
        ensure!(
            self.worker.is_running(),
            "the worker has ended by itself; see {}",
            self.worker.log().display()
        );
        self.worker.kill()?;
        drop(self.traffic.end());
        for host in self.testbed.temporal().hosts() {
            host.kill()?;
        }
        self.sites.stop()?;
        drop(self.sites);
        self.disks.clear();
        self.testbed.finish()
    }
}

/// Kills a host at once: its own script would wait for a restart that is under way.
fn kill(host: &Host) {
    if let Some(pid) = host.pid() {
        // It may just have been stopped by a restart.
        let _ = send(pid, Signal::Kill);
    }
}
