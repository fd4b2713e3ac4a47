//! More processes: each has its part of the keys, and the stores are far away, so that waiting is what takes the time.

use std::time::Duration;

use anyhow::{Result, bail};

use super::{SOURCE, Scope, Spent, by_way_of};
use crate::distance::Distance;
use crate::job::{Done, Job, Kind};
use crate::measure::{Case, Round, case, note};
use crate::stand::Stand;

const TARGET: &str = "bench_target";

/// Measures one, two and four processes, each against one process's time divided by their number.
///
/// The target has no index but that of the key: the time must go into the distance, not into this machine's processors,
/// which all processes and both stores share.
///
/// # Errors
/// When a store refuses anything, or a copy is not whole.
pub(crate) async fn run(stand: &Stand, scope: Scope, one_way: Duration) -> Result<(Vec<Case>, Spent)> {
    let postgres = &stand.postgres;
    note(&format!("making {} records", scope.records));
    postgres.fresh(SOURCE).await?;
    postgres.fill(SOURCE, scope.records).await?;
    let far = Distance::to(postgres.address(), one_way).await?;
    let entry = |database| by_way_of(postgres.entry(database), far.address());
    let whole = Job::whole(Kind::Copy, &entry(SOURCE), &entry(TARGET));
    let mut alone = Vec::new();
    let mut cases = Vec::new();
    let mut spent = Spent::new();
    for processes in [1_u32, 2, 4] {
        let name = format!("{processes} process{}", if processes == 1 { "" } else { "es" });
        let jobs = parts(stand, &whole, scope.records, processes).await?;
        let mut rounds = Vec::new();
        for number in 1..=scope.rounds {
            note(&format!("{name}, round {number} of {}", scope.rounds));
            postgres.fresh_unindexed(TARGET).await?;
            let done = futures::future::try_join_all(jobs.iter().map(|job| job.spawn(&[]))).await?;
            // From open stores on: a worker keeps its stores open from slice to slice.
            let all = together(done.into_iter().map(|(done, _)| done));
            let seconds = all.seconds;
            if all.records != scope.records {
                bail!("{} records of {} were copied", all.records, scope.records);
            }
            if processes == 1 {
                alone.push(seconds);
            }
            let alone = alone.get(number as usize - 1).copied().unwrap_or(seconds);
            rounds.push(Round {
                seconds,
                done: all,
                bound_seconds: alone / f64::from(processes),
                ..Round::default()
            });
        }
        if let Some(last) = rounds.last() {
            spent.insert(name.clone(), last.done.clone());
        }
        cases.push(case(&name, scope.records, &rounds));
    }
    postgres.drop(TARGET).await?;
    Ok((cases, spent))
}

/// A job for each process, with as many records as any other has.
async fn parts(stand: &Stand, whole: &Job, records: u64, processes: u32) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    let mut after = None;
    for number in 1..=processes {
        let until = if number == processes {
            None
        } else {
            let place = records * u64::from(number) / u64::from(processes);
            Some(stand.postgres.key_at(SOURCE, place.cast_signed()).await?)
        };
        jobs.push(Job {
            after: after.take(),
            until: until.clone(),
            ..whole.clone()
        });
        after = until;
    }
    Ok(jobs)
}

/// What several processes spent, as one; of the memory and the time the most of any.
fn together(all: impl Iterator<Item = Done>) -> Done {
    all.reduce(|mut sum, one| {
        sum.records += one.records;
        sum.cpu_seconds += one.cpu_seconds;
        sum.alone_seconds = sum.alone_seconds.max(one.alone_seconds);
        sum.seconds = sum.seconds.max(one.seconds);
        sum.peak_rss_mb = sum.peak_rss_mb.max(one.peak_rss_mb);
        for phase in one.phases {
            match sum.phases.iter_mut().find(|known| known.name == phase.name) {
                Some(known) => {
                    known.calls += phase.calls;
                    known.seconds += phase.seconds;
                }
                None => sum.phases.push(phase),
            }
        }
        sum
    })
    .unwrap_or_default()
}
