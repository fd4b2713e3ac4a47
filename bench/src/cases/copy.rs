//! Copying: to an empty target, for each pair of families.

use std::path::PathBuf;

use anyhow::Result;

use super::{SOURCE, Scope, Spent};
use crate::job::{Job, Kind};
use crate::measure::{Case, Round, case, note};
use crate::stand::{Stand, timed};

/// The targets of what is measured; each is gone before the next.
const TARGET: &str = "bench_target";

/// The index that others are copied from; its documents are what [`Job`] makes of the database's records.
pub(super) const INDEX: &str = "source";

/// Measures all pairs.
///
/// # Errors
/// When a store refuses anything, or a copy is not whole.
pub(crate) async fn run(stand: &Stand, scope: Scope<'_>) -> Result<(Vec<Case>, Spent)> {
    let source = prepare(stand, scope.records).await?;
    let mut cases = Vec::new();
    let mut spent = Spent::new();
    for name in [
        "postgres-to-postgres",
        "postgres-to-indexed-postgres",
        "postgres-to-elasticsearch",
        "elasticsearch-to-elasticsearch",
    ]
    .into_iter()
    .filter(|name| scope.has(name))
    {
        let mut rounds = Vec::new();
        for number in 1..=scope.rounds {
            note(&format!("{name}, round {number} of {}", scope.rounds));
            rounds.push(match name {
                "postgres-to-postgres" => to_postgres(stand, scope, &source).await?,
                "postgres-to-indexed-postgres" => to_indexed_postgres(stand, &source).await?,
                _ => to_elasticsearch(stand, scope, &source, name).await?,
            });
        }
        if let Some(last) = rounds.last() {
            spent.insert(name.to_owned(), last.done.clone());
        }
        cases.push(case(name, scope.records, &rounds));
    }
    Ok((cases, spent))
}

/// What bounds and peers are fed with.
struct Prepared {
    /// The records as binary `COPY` takes them.
    rows: PathBuf,
    /// The documents as bulk requests.
    bodies: Vec<PathBuf>,
}

async fn prepare(stand: &Stand, records: u64) -> Result<Prepared> {
    sources(stand, records).await?;
    let rows = stand.folder.path().join("rows");
    stand.postgres.dump(SOURCE, &rows).await?;
    let bodies = stand.elasticsearch.bodies(INDEX, stand.folder.path()).await?;
    Ok(Prepared { rows, bodies })
}

/// Makes the source database, and the source index as a copy of it, which also warms the node up.
pub(super) async fn sources(stand: &Stand, records: u64) -> Result<()> {
    note(&format!("making {records} records"));
    let (postgres, elasticsearch) = (&stand.postgres, &stand.elasticsearch);
    postgres.fresh(SOURCE).await?;
    postgres.fill(SOURCE, records).await?;
    elasticsearch.fresh(INDEX).await?;
    let job = Job::whole(Kind::Copy, &postgres.entry(SOURCE), &elasticsearch.entry(INDEX));
    job.spawn(&[]).await?;
    elasticsearch.refresh(INDEX).await?;
    elasticsearch.expect(INDEX, records).await
}

async fn to_postgres(stand: &Stand, scope: Scope<'_>, source: &Prepared) -> Result<Round> {
    let postgres = &stand.postgres;
    let rows = &source.rows;

    postgres.fresh(TARGET).await?;
    postgres.settle().await?;
    let bound = stand.taken(async {
        let indexes = postgres.drop_indexes(TARGET).await?;
        postgres.load(TARGET, rows).await?;
        postgres.build_indexes(TARGET, indexes).await
    });
    let ((), bound) = bound.await?;

    postgres.fresh(TARGET).await?;
    postgres.settle().await?;
    let job = Job::whole(Kind::Fill, &postgres.entry(SOURCE), &postgres.entry(TARGET));
    let ((done, _), ours) = stand.taken(job.spawn(&[])).await?;
    let mut round = Round::with_stores(done, bound, ours);

    if scope.peers {
        postgres.fresh(TARGET).await?;
        postgres.settle().await?;
        let peer = timed(postgres.load(TARGET, rows)).await?;
        round.peers.insert("copy_into_indexed_table".to_owned(), peer);
    }
    postgres.drop(TARGET).await?;
    Ok(round)
}

/// With all indexes in place, as a target that is read has to be filled.
async fn to_indexed_postgres(stand: &Stand, source: &Prepared) -> Result<Round> {
    let postgres = &stand.postgres;
    postgres.fresh(TARGET).await?;
    postgres.settle().await?;
    let ((), bound) = stand.taken(postgres.load(TARGET, &source.rows)).await?;

    postgres.fresh(TARGET).await?;
    postgres.settle().await?;
    let job = Job::whole(Kind::Copy, &postgres.entry(SOURCE), &postgres.entry(TARGET));
    let ((done, _), ours) = stand.taken(job.spawn(&[])).await?;
    let round = Round::with_stores(done, bound, ours);
    postgres.drop(TARGET).await?;
    Ok(round)
}

/// With refreshes set aside meanwhile, by the bound and by us.
async fn to_elasticsearch(stand: &Stand, scope: Scope<'_>, source: &Prepared, name: &str) -> Result<Round> {
    let elasticsearch = &stand.elasticsearch;
    elasticsearch.fresh("target").await?;
    elasticsearch.set_refreshing_aside("target").await?;
    let ((), bound) = stand.taken(elasticsearch.load("target", &source.bodies)).await?;
    elasticsearch.expect("target", scope.records).await?;

    elasticsearch.fresh("target").await?;
    let is_from_index = name == "elasticsearch-to-elasticsearch";
    let from = if is_from_index {
        elasticsearch.entry(INDEX)
    } else {
        stand.postgres.entry(SOURCE)
    };
    let job = Job::whole(Kind::Fill, &from, &elasticsearch.entry("target"));
    let mut refreshing = 0.0;
    let all = stand.taken(async {
        let done = job.spawn(&[]).await?.0;
        refreshing = timed(elasticsearch.refresh("target")).await?;
        Ok(done)
    });
    let (done, ours) = all.await?;
    let mut round = Round::with_stores(done, bound, ours);
    round.seconds += refreshing;
    elasticsearch.expect("target", scope.records).await?;
    if scope.peers {
        peers(stand, scope, is_from_index, &mut round).await?;
    }
    elasticsearch.drop("target").await?;
    Ok(round)
}

/// What others take to fill the index, each as its users run it.
async fn peers(stand: &Stand, scope: Scope<'_>, is_from_index: bool, round: &mut Round) -> Result<()> {
    let elasticsearch = &stand.elasticsearch;
    let names: &[&str] = match is_from_index {
        true => &["reindex", "reindex_2_slices", "elasticdump"],
        false => &["psycopg_parallel_bulk"],
    };
    for peer in names {
        elasticsearch.fresh("target").await?;
        let mut is_there = true;
        let seconds = timed(async {
            match *peer {
                "reindex" => elasticsearch.reindex(INDEX, "target", 1).await?,
                "reindex_2_slices" => elasticsearch.reindex(INDEX, "target", 2).await?,
                "elasticdump" => is_there = elasticsearch.elasticdump(&stand.peers, INDEX, "target").await?,
                _ => {
                    let database = stand.postgres.entry(SOURCE);
                    is_there = elasticsearch.parallel_bulk(&stand.peers, &database, "target").await?;
                }
            }
            Ok(())
        });
        let seconds = seconds.await?;
        if is_there {
            elasticsearch.expect("target", scope.records).await?;
            round.peers.insert((*peer).to_owned(), seconds);
        }
    }
    Ok(())
}
