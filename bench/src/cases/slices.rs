//! Slices at once: what the default of `--parallel` and of `slices.at_once` rests on.

use anyhow::Result;

use super::{SOURCE, Scope, Spent};
use crate::job::{Job, Kind};
use crate::measure::{Case, Round, case, note};
use crate::stand::{Stand, timed};

const TARGET: &str = "bench_target";

/// Measures two, four and eight slices at once in one process, with both stores beside it, into a database without indexes
/// but that of the key and into an index. The bound is what one slice at a time takes.
///
/// # Errors
/// When a store refuses anything, or a copy is not whole.
pub(crate) async fn run(stand: &Stand, scope: Scope<'_>) -> Result<(Vec<Case>, Spent)> {
    let postgres = &stand.postgres;
    note(&format!("making {} records", scope.records));
    postgres.fresh(SOURCE).await?;
    postgres.fill(SOURCE, scope.records).await?;
    let mut cases = Vec::new();
    let mut spent = Spent::new();
    for family in ["Postgres", "Elasticsearch"] {
        let mut alone = Vec::new();
        for at_once in [1_usize, 2, 4, 8] {
            let name = format!("into {family}, {at_once} at once");
            let mut rounds = Vec::new();
            for number in 1..=scope.rounds {
                note(&format!("{name}, round {number} of {}", scope.rounds));
                let mut round = one(stand, scope, family, at_once).await?;
                if at_once == 1 {
                    alone.push(round.seconds);
                }
                round.bound_seconds = alone.get(number as usize - 1).copied().unwrap_or(round.seconds);
                rounds.push(round);
            }
            if let Some(last) = rounds.last() {
                spent.insert(name.clone(), last.done.clone());
            }
            cases.push(case(&name, scope.records, &rounds));
        }
    }
    postgres.drop(TARGET).await?;
    stand.elasticsearch.drop("target").await?;
    Ok((cases, spent))
}

async fn one(stand: &Stand, scope: Scope<'_>, family: &str, at_once: usize) -> Result<Round> {
    let (postgres, elasticsearch) = (&stand.postgres, &stand.elasticsearch);
    let is_index = family == "Elasticsearch";
    let target = if is_index {
        elasticsearch.fresh("target").await?;
        elasticsearch.set_refreshing_aside("target").await?;
        elasticsearch.entry("target")
    } else {
        postgres.fresh_unindexed(TARGET).await?;
        postgres.entry(TARGET)
    };
    let job = Job {
        at_once: Some(at_once),
        ..Job::whole(Kind::Copy, &postgres.entry(SOURCE), &target)
    };
    let mut round = Round::of(job.spawn(&[]).await?.0, 0.0);
    if is_index {
        round.seconds += timed(elasticsearch.refresh("target")).await?;
        elasticsearch.expect("target", scope.records).await?;
    }
    Ok(round)
}
