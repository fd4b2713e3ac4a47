//! Comparing: pairs without any drift, which is what is compared every day.

use anyhow::{Result, bail};

use super::copy::{INDEX, sources};
use super::{SOURCE, Scope, Spent};
use crate::job::{Job, Kind};
use crate::measure::{Case, Round, case, note};
use crate::stand::{Stand, timed};

/// A database that is as the source is.
const TWIN: &str = "bench_twin";

const WITH_ELASTICSEARCH: &str = "postgres-with-elasticsearch";

/// Measures all pairs.
///
/// # Errors
/// When a store refuses anything, or drift is found.
pub(crate) async fn run(stand: &Stand, scope: Scope<'_>) -> Result<(Vec<Case>, Spent)> {
    let (postgres, elasticsearch) = (&stand.postgres, &stand.elasticsearch);
    sources(stand, scope.records).await?;
    postgres.twin(TWIN, SOURCE).await?;
    postgres.settle().await?;
    let mut cases = Vec::new();
    let mut spent = Spent::new();
    for (name, kind, target) in [
        ("postgres-with-postgres", Kind::Compare, postgres.entry(TWIN)),
        ("postgres-with-postgres-by-digest", Kind::Digest, postgres.entry(TWIN)),
        (WITH_ELASTICSEARCH, Kind::Compare, elasticsearch.entry(INDEX)),
    ]
    .into_iter()
    .filter(|(name, ..)| scope.has(name))
    {
        let job = Job::whole(kind, &postgres.entry(SOURCE), &target);
        let mut rounds = Vec::new();
        for number in 1..=scope.rounds {
            note(&format!("{name}, round {number} of {}", scope.rounds));
            let bound = timed(async {
                let other = async {
                    match name {
                        WITH_ELASTICSEARCH => elasticsearch.read_all(INDEX).await,
                        _ => postgres.read_all(TWIN).await,
                    }
                };
                let read = futures::future::try_join(postgres.read_all(SOURCE), other).await?;
                if read != (scope.records, scope.records) {
                    bail!("{read:?} records were read");
                }
                Ok(())
            });
            let bound = bound.await?;
            rounds.push(Round::of(job.spawn(&[]).await?.0, bound));
        }
        if let Some(last) = rounds.last() {
            spent.insert(name.to_owned(), last.done.clone());
        }
        cases.push(case(name, scope.records, &rounds));
    }
    postgres.drop(TWIN).await?;
    Ok((cases, spent))
}
