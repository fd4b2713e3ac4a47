//! One migration from its start to its end: what the operator does, and what they see meanwhile.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use crossfade_plan::problem::Problem;
use crossfade_plan::progress::{Condition, Outcome, Status};
use crossfade_plan::stage::{Gate, Stage};
use e2e::servers::processes::Running;
use e2e::testbed::Testbed;
use serde_json::Value;

use super::narration::Narrator;
use super::product::{Asked, Product, WORKER};
use super::screen::Screen;
use super::tctl::Tctl;
use super::verdict::outcome;
use super::words;

/// The workflow id: the one that `crossfade status` and its like take when none is given.
pub(super) const ID: &str = "visibility-migration";

/// Between two looks.
const EVERY: Duration = Duration::from_millis(300);

/// The longest that nothing may change: a restart of the server may take minutes on a busy machine.
const STALLED_AFTER: Duration = Duration::from_secs(600);

/// How much of the worker's log a failure shows.
const LOG_LINES: usize = 15;

/// A migration of the testbed.
pub(super) struct Migration<'a> {
    pub(super) testbed: &'a Testbed,
    pub(super) product: &'a Product,
    pub(super) screen: &'a Screen,
    pub(super) tctl: &'a Tctl<'a>,
    pub(super) by_hand: bool,
    /// Who tells each step of the documentation as it happens, where that is asked for.
    pub(super) narrator: Option<RefCell<Narrator<'a>>>,
}

/// How a migration ended.
pub(super) struct End {
    /// On which store the cluster is.
    pub(super) outcome: Outcome,
    /// How many events its history has, all runs together.
    pub(super) events: u64,
}

/// What was shown and done so far.
#[derive(Default)]
struct Seen {
    ended: BTreeSet<Stage>,
    gates: BTreeSet<Gate>,
    problems: Vec<Problem>,
    last: Value,
    changed: Option<Instant>,
}

impl Migration<'_> {
    /// Starts it, opens its gates, and watches until it has ended.
    ///
    /// # Errors
    /// When it is refused, goes back with nobody asking for that, stops for the operator, or does not move: with why.
    pub(super) async fn run(&self, worker: &mut Running) -> Result<End> {
        let spec = self.testbed.folder().join("spec.json");
        let text = serde_json::to_string_pretty(&self.testbed.spec())?;
        fs::write(&spec, text + "\n").with_context(|| format!("cannot write {}", spec.display()))?;
        let file = spec.to_str().context("the spec's path is no text")?;
        self.screen
            .command(&format!("export TEMPORAL_CLI_ADDRESS={}", self.testbed.frontend()));
        let start = [
            "workflow",
            "start",
            "--tq",
            "visibility-migration",
            "--wt",
            "VisibilityMigration",
            "-w",
            ID,
        ];
        self.tctl
            .type_in(&[&start[..], &["--input_file", file]].concat())
            .await?;
        let mut seen = Seen::default();
        loop {
            if !worker.is_running() {
                bail!("the worker has ended by itself:\n{}", self.log());
            }
            match self.product.status(self.testbed).await? {
                Asked::Answer(answer) => {
                    if let Some(end) = self.look(&answer, &mut seen).await? {
                        return Ok(end);
                    }
                }
                Asked::Silence(why) => {
                    self.screen.now("the cluster restarts; waiting for its answer");
                    seen.demand_motion(&why, || self.log())?;
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Shows one answer and does what it asks for; `Some` when it has ended well.
    async fn look(&self, answer: &Value, seen: &mut Seen) -> Result<Option<End>> {
        let status: Status = serde_json::from_value(answer.clone()).context("the status is of another version")?;
        self.show(&status, answer, seen);
        if let Some(narrator) = &self.narrator {
            narrator.borrow_mut().look(&status)?;
        }
        if *answer != seen.last {
            seen.last = answer.clone();
            seen.changed = None;
        }
        match &status.condition {
            Condition::AwaitingApproval { gate } => {
                self.at_gate(*gate, seen).await?;
                if self.by_hand {
                    seen.changed = None;
                }
            }
            Condition::NeedsOperator { problems } => self.needs_operator(problems, seen)?,
            Condition::Ended { result } if self.is_wanted(*result) => {
                let events = answer["server"]["history_events"].as_u64().unwrap_or_default();
                return Ok(Some(End {
                    outcome: *result,
                    events: status.earlier_events + events,
                }));
            }
            Condition::Ended { result } => {
                let why = self.product.audit(self.testbed)?;
                bail!("the migration ended as {}:\n{why}", outcome(*result));
            }
            _ => {}
        }
        if answer["server"]["closed"].is_string() {
            bail!(
                "the migration's workflow is closed as {}",
                answer["server"]["workflow_status"]
            );
        }
        seen.demand_motion(&format!("{:?}", status.condition), || self.log())?;
        Ok(None)
    }

    /// Whether the operator may have meant it so: whoever approves by hand may also go back by hand.
    fn is_wanted(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Migrated => true,
            Outcome::RolledBack | Outcome::Aborted => self.by_hand,
            Outcome::Refused => false,
        }
    }

    fn show(&self, status: &Status, answer: &Value, seen: &mut Seen) {
        for timing in &status.timings {
            if let Some(ended) = timing.ended
                && seen.ended.insert(timing.stage)
            {
                let took = ended.duration_since(timing.began).unsigned_abs();
                self.screen
                    .done(timing.stage.name(), &words::achieved(timing.stage, status), took);
            }
        }
        let doing = match &status.condition {
            Condition::Running { doing } | Condition::RollingBack { doing } => doing.clone(),
            Condition::AwaitingApproval { gate } => format!("waiting for the approval of gate {gate}"),
            Condition::Waiting { reason, .. } => reason.clone(),
            Condition::Paused => "paused; `resume` goes on".to_owned(),
            Condition::NeedsOperator { .. } => "stopped; `resume` tries again".to_owned(),
            Condition::Ended { result } => outcome(*result).to_owned(),
        };
        self.screen.now(&format!("{}: {doing}", status.stage));
        // What the activity under way has done since its last result.
        let under_way: u64 = answer["server"]["activities"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|activity| activity["heartbeat"]["scanned"].as_u64())
            .sum();
        let expected = status.copy.expected;
        match status.stage {
            Stage::ExistingRecords if expected > 0 => {
                let written = words::count(status.copy.copied.written);
                let done = status.copy.copied.scanned + under_way;
                self.screen
                    .bar("copy", done, expected, &format!("records, {written} written"));
            }
            Stage::Verify => {
                let drift = format!("compared: {}", status.verify.drift);
                self.screen
                    .bar("verify", status.verify.compared + under_way, expected, &drift);
            }
            _ => {}
        }
    }

    async fn at_gate(&self, gate: Gate, seen: &mut Seen) -> Result<()> {
        if !seen.gates.insert(gate) {
            return Ok(());
        }
        self.screen.call(&format!("gate {gate}"), words::gate(gate));
        let approval = serde_json::json!({"gate": gate, "by": "demo"}).to_string();
        let signal = ["workflow", "signal", "-w", ID, "-n", "approve", "-i"];
        if self.by_hand {
            let typed = |arguments: &[&str]| self.screen.command(&self.tctl.for_people(arguments));
            self.screen.line("  To go on, type in another terminal:");
            typed(&[&signal[..], &[&format!("\"{gate}\"")]].concat());
            self.screen.line("  To go back:");
            typed(&["workflow", "signal", "-w", ID, "-n", "rollback"]);
            return Ok(());
        }
        self.tctl
            .type_in(&[&signal[..], &[approval.as_str()]].concat())
            .await
            .map(drop)
    }

    fn needs_operator(&self, problems: &[Problem], seen: &mut Seen) -> Result<()> {
        let listing = problems
            .iter()
            .map(|problem| format!("- {problem}"))
            .collect::<Vec<_>>()
            .join("\n");
        if !self.by_hand {
            bail!("the migration needs its operator:\n{listing}\nworker:\n{}", self.log());
        }
        if seen.problems != problems {
            self.screen.call("stopped", &format!("\n{listing}\n  To try again:"));
            self.screen
                .command(&self.tctl.for_people(&["workflow", "signal", "-w", ID, "-n", "resume"]));
            seen.problems = problems.to_vec();
        }
        seen.changed = None;
        Ok(())
    }

    /// The end of the worker's log.
    fn log(&self) -> String {
        let file = self.testbed.log(WORKER);
        last_lines(&file).unwrap_or_else(|| format!("(no log in {})", file.display()))
    }
}

impl Seen {
    /// Fails when nothing has changed for too long.
    fn demand_motion(&mut self, state: &str, log: impl FnOnce() -> String) -> Result<()> {
        let since = *self.changed.get_or_insert_with(Instant::now);
        if since.elapsed() > STALLED_AFTER {
            bail!(
                "nothing has changed for {}: {state}\nworker:\n{}",
                words::span(STALLED_AFTER),
                log()
            );
        }
        Ok(())
    }
}

fn last_lines(file: &Path) -> Option<String> {
    let text = String::from_utf8_lossy(&fs::read(file).ok()?).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    Some(lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"))
}
