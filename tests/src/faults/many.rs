//! Many runs, and what came of them all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Instant;

use anyhow::Result;

use super::fault::Fault;
use super::point::Point;
use super::run::{Ran, run};
use super::schedule::Schedule;
use super::world::World;
use crate::testbed::Engine;

/// What came of some runs. As text it is the last line of a chaos run.
#[derive(Debug, Default)]
pub struct Tally {
    /// Runs that came to their end.
    pub runs: usize,
    /// Faults that struck.
    pub faults: usize,
    /// Migrations that went to the end.
    pub finished: usize,
    /// Migrations that went back.
    pub rolled_back: usize,
    /// What the judge missed or found wrong.
    pub lost: usize,
    /// Files that are not what they must be.
    pub wrong_files: usize,
    /// Runs that got nowhere, by seed: why.
    pub stuck: BTreeMap<u64, String>,
    /// Faults that came too late: the migration was past their point already.
    pub too_late: usize,
    /// How often each point was struck.
    pub points: BTreeMap<Point, usize>,
    /// How often each fault struck.
    pub kinds: BTreeMap<Fault, usize>,
    /// The seeds of runs in which something is wrong.
    pub failing: BTreeSet<u64>,
}

impl Tally {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failing.is_empty()
    }

    fn add(&mut self, seed: u64, ran: &Ran) {
        self.runs += 1;
        self.faults += ran.struck.len();
        *(if ran.finished {
            &mut self.finished
        } else {
            &mut self.rolled_back
        }) += 1;
        self.lost += ran.lost.len();
        self.wrong_files += ran.wrong_files.len();
        self.too_late += ran.missed.iter().map(|strike| strike.faults.len()).sum::<usize>();
        for (point, fault) in &ran.struck {
            *self.points.entry(*point).or_default() += 1;
            *self.kinds.entry(*fault).or_default() += 1;
        }
        if !ran.lost.is_empty() || !ran.wrong_files.is_empty() {
            self.failing.insert(seed);
        }
    }

    fn merge(&mut self, other: Self) {
        self.runs += other.runs;
        self.faults += other.faults;
        self.finished += other.finished;
        self.rolled_back += other.rolled_back;
        self.lost += other.lost;
        self.wrong_files += other.wrong_files;
        self.too_late += other.too_late;
        self.stuck.extend(other.stuck);
        self.failing.extend(other.failing);
        for (point, times) in other.points {
            *self.points.entry(point).or_default() += times;
        }
        for (kind, times) in other.kinds {
            *self.kinds.entry(kind).or_default() += times;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "chaos: runs {}, faults {}, finished {}, rolled back {}, lost {}, wrong files {}",
            self.runs, self.faults, self.finished, self.rolled_back, self.lost, self.wrong_files
        )?;
        if !self.stuck.is_empty() {
            write!(f, ", stuck {}", self.stuck.len())?;
        }
        Ok(())
    }
}

/// Runs the migrations of `seeds`, those on SQLite beside those on PostgreSQL, each after the one before on its cluster. What
/// happens is told to `say`, a line at a time.
///
/// # Errors
/// When a cluster cannot be started: what is missing. What goes wrong in a run is in the tally.
pub async fn chaos(seeds: impl IntoIterator<Item = u64>, say: &(dyn Fn(&str) + Sync)) -> Result<Tally> {
    let (small, large): (Vec<_>, Vec<_>) = seeds
        .into_iter()
        .map(Schedule::of)
        .partition(|schedule| schedule.engine == Engine::Sqlite);
    let (mut tally, other) = tokio::try_join!(lane(small, say), lane(large, say))?;
    tally.merge(other);
    Ok(tally)
}

async fn lane(schedules: Vec<Schedule>, say: &(dyn Fn(&str) + Sync)) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut world: Option<World> = None;
    for schedule in schedules {
        let mut here = match world.take() {
            Some(world) => world,
            None => World::on(schedule.engine).await?,
        };
        say(&schedule.to_string());
        let (seed, began) = (schedule.seed, Instant::now());
        match run(&mut here, &schedule).await {
            Ok(ran) => {
                tell(seed, &ran, began, say);
                tally.add(seed, &ran);
                // Its faults are not over for the next one.
                if ran.lost.is_empty() && ran.wrong_files.is_empty() {
                    world = Some(here);
                }
            }
            Err(error) => {
                say(&format!("seed {seed}: {error:#}"));
                tally.stuck.insert(seed, format!("{error:#}"));
                tally.failing.insert(seed);
            }
        }
        if tally.failing.contains(&seed) {
            say(&format!("to run it alone: cargo xtask chaos --seeds 1 --from {seed}"));
        }
    }
    world.map_or(Ok(()), World::finish)?;
    Ok(tally)
}

fn tell(seed: u64, ran: &Ran, began: Instant, say: &(dyn Fn(&str) + Sync)) {
    let end = if ran.finished { "finished" } else { "rolled back" };
    say(&format!(
        "seed {seed}: {} faults, {end} after {:.0} s, resumed {} times",
        ran.struck.len(),
        began.elapsed().as_secs_f64(),
        ran.resumed
    ));
    for strike in &ran.missed {
        say(&format!(
            "seed {seed}: too late for {:?} at {}",
            strike.faults, strike.point
        ));
    }
    for what in ran.lost.iter().chain(&ran.wrong_files).take(20) {
        say(&format!("seed {seed}: {what}"));
    }
}
