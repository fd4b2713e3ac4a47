//! Memory: what is held at a time must not grow with what there is to copy.

use anyhow::Result;

use super::{SOURCE, Scope, Spent};
use crate::job::{Job, Kind};
use crate::measure::{Case, Round, case, note};
use crate::stand::Stand;

const TARGET: &str = "bench_target";

/// What the memory of a long copy is measured by: so many records, or half of them all where there are fewer.
const FEW: u64 = 100_000;

/// Copies few records, then all, from Postgres to Postgres, and gives the peak memory of each. The long copy's bound is
/// the time that it would take at the short one's pace.
///
/// Neither database has an index but that of the key: building them would take most of the time and says nothing of ours.
///
/// # Errors
/// When a store refuses anything, or a copy is not whole.
pub(crate) async fn run(stand: &Stand, scope: Scope<'_>) -> Result<(Vec<Case>, Spent)> {
    let postgres = &stand.postgres;
    let few = FEW.min(scope.records / 2);
    let mut cases = Vec::new();
    let mut spent = Spent::new();
    let mut pace = None;
    for (name, records) in [("few records", few), ("all records", scope.records)] {
        note(&format!("{name}: making {records}"));
        postgres.fresh(SOURCE).await?;
        postgres.drop_indexes(SOURCE).await?;
        postgres.fill(SOURCE, records).await?;
        let mut rounds = Vec::new();
        for number in 1..=scope.rounds {
            note(&format!("{name}, round {number} of {}", scope.rounds));
            postgres.fresh_unindexed(TARGET).await?;
            let job = Job::whole(Kind::Copy, &postgres.entry(SOURCE), &postgres.entry(TARGET));
            let done = job.spawn(&[]).await?.0;
            let pace = *pace.get_or_insert(done.seconds / records as f64);
            rounds.push(Round::of(done, pace * records as f64));
        }
        if let Some(last) = rounds.last() {
            spent.insert(name.to_owned(), last.done.clone());
        }
        cases.push(case(name, records, &rounds));
    }
    postgres.drop(TARGET).await?;
    Ok((cases, spent))
}
