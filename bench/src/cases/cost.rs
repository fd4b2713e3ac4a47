//! What a record costs our side in instructions: a number that a busy machine does not change.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::SOURCE;
use super::copy::INDEX;
use crate::job::{Job, Kind};
use crate::measure::note;
use crate::stand::Stand;

/// The records of a short and of a long run: what the long one takes more has nothing of start and end in it.
const SHORT: i64 = 1_000;
const LONG: i64 = 3_000;

/// What a record costs.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    /// Which pair and job.
    pub(crate) case: &'static str,
    /// Instructions of user code for one record.
    pub(crate) instructions_per_record: u64,
}

/// Counts by valgrind's callgrind on what [`super::copy`] or [`super::compare`] left.
///
/// # Errors
/// When valgrind is not there, or a job fails under it.
pub(crate) async fn run(stand: &Stand, kind: Kind) -> Result<Vec<Cost>> {
    let (postgres, elasticsearch) = (&stand.postgres, &stand.elasticsearch);
    let (database, index) = (postgres.entry(SOURCE), elasticsearch.entry(INDEX));
    let cases: [(&'static str, &Value, Value); 3] = match kind {
        Kind::Copy | Kind::Fill => [
            ("postgres-to-postgres", &database, postgres.entry("bench_target")),
            ("postgres-to-elasticsearch", &database, elasticsearch.entry("target")),
            ("elasticsearch-to-elasticsearch", &index, elasticsearch.entry("target")),
        ],
        Kind::Compare | Kind::Digest => [
            ("postgres-with-postgres", &database, database.clone()),
            ("postgres-with-elasticsearch", &database, index.clone()),
            ("elasticsearch-with-elasticsearch", &index, index.clone()),
        ],
    };
    let mut costs = Vec::new();
    for (case, from, to) in cases {
        note(&format!("{case} under callgrind"));
        let mut counted = [0, 0];
        for (records, count) in [SHORT, LONG].into_iter().zip(&mut counted) {
            if kind == Kind::Copy {
                postgres.fresh("bench_target").await?;
                elasticsearch.fresh("target").await?;
            }
            let job = Job {
                until: Some(postgres.key_at(SOURCE, records).await?),
                ..Job::whole(kind, from, &to)
            };
            *count = instructions(&job, stand.folder.path()).await?;
        }
        let more = counted[1].saturating_sub(counted[0]);
        costs.push(Cost {
            case,
            instructions_per_record: more / (LONG - SHORT).unsigned_abs(),
        });
    }
    if kind == Kind::Copy {
        postgres.drop("bench_target").await?;
        elasticsearch.drop("target").await?;
    }
    Ok(costs)
}

async fn instructions(job: &Job, folder: &Path) -> Result<u64> {
    let profile = format!("--callgrind-out-file={}", folder.join("callgrind").display());
    let (_, said) = job
        .spawn(&["valgrind", "--tool=callgrind", &profile])
        .await
        .context("counting instructions needs valgrind (Debian: `apt-get install valgrind`)")?;
    let collected = said.lines().find_map(|line| line.split("Collected :").nth(1));
    let collected = collected.and_then(|number| number.trim().parse().ok());
    collected.context("callgrind told no number of instructions")
}
