//! Setting a target's indexes aside and building them again: done twice, with one of the two notes lost, and where it does
//! not pay.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use crossfade_plan::{
    indexes::{IndexesParked, IndexesRestored, ParkIndexes, Parked, RestoreIndexes},
    order::Context,
    spec::{Spec, example},
};
use e2e::servers::{
    binaries::{Program, TEMPORAL_1_30_8, find_or_build, module_dir},
    cache::Cache,
    postgres::{PASSWORD, Postgres, SchemaKind, SchemaTool},
    processes::Processes,
    progress::Lines,
};
use serde_json::json;

use super::{
    super::{beat::Beat, indexing},
    scene::several,
};

pub(super) const SOURCE: &str = "source";
pub(super) const TARGET: &str = "target";

/// Two databases of one server.
pub(super) struct Pair {
    pub(super) server: Postgres,
    password: String,
}

impl Pair {
    pub(super) async fn begin(folder: &std::path::Path, processes: &Processes) -> Result<Self> {
        let (cache, lines) = (Cache::from_environment()?, Lines::default());
        let tool = SchemaTool {
            program: find_or_build(&cache, &TEMPORAL_1_30_8, Program::SqlTool, &lines)?,
            source: module_dir(&cache, &TEMPORAL_1_30_8, &lines)?,
        };
        let server = Postgres::start(&folder.join("postgres"), processes, &lines).await?;
        for database in [SOURCE, TARGET] {
            server.create_temporal_database(&tool, database, SchemaKind::Visibility)?;
        }
        let password = folder.join("password");
        fs::write(&password, PASSWORD)?;
        Ok(Self {
            server,
            password: password.to_str().context("a path")?.to_owned(),
        })
    }

    async fn fill(&self, database: &str, records: u32) -> Result<()> {
        let fill = format!(
            "TRUNCATE executions_visibility; \
             INSERT INTO executions_visibility (namespace_id, run_id, start_time, execution_time, workflow_id, \
               workflow_type_name, status, encoding) \
             SELECT '32049b68-7872-4094-8e63-d0dd59896a83', md5(n::text)::uuid, now(), now(), 'w' || n, 'type', 1, '' \
             FROM generate_series(1, {records}) AS n"
        );
        self.server.execute(database, &fill).await
    }

    pub(super) fn context(&self, defer_indexes: &str) -> Result<Context> {
        let entry = |database: &str| {
            let mut entry = self.server.datastore(database);
            entry["sql"]["password"] = json!({"file": self.password});
            entry
        };
        let mut spec = example();
        spec["source"] = json!({"datastore": entry(SOURCE)});
        spec["target"]["datastore"] = entry(TARGET);
        spec["copy"] = json!({"defer_indexes": defer_indexes});
        Ok(Context {
            migration: "aside".to_owned(),
            key: "aside.0123abcd".to_owned(),
            control_namespace: "default".to_owned(),
            source: None,
            indices: None,
            spec: Spec::from_json(&spec).map_err(several)?,
        })
    }

    async fn park(&self, defer_indexes: &str) -> Result<IndexesParked> {
        let context = self.context(defer_indexes)?;
        Ok(indexing::park(&ParkIndexes { context }, &Beat::default()).await?)
    }

    /// Why nothing is set aside.
    async fn kept(&self, defer_indexes: &str) -> Result<String> {
        let answer = self.park(defer_indexes).await?;
        ensure!(answer.parked == Parked::default(), "{answer:?}");
        answer.kept.context("set aside")
    }

    async fn restore(&self, parked: Parked) -> Result<(IndexesRestored, Beat)> {
        let (context, beat) = (self.context("auto")?, Beat::default());
        let answer = indexing::restore(&RestoreIndexes { context, parked }, &beat).await?;
        Ok((answer, beat))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_are_set_aside_and_brought_back_once_by_either_note() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // PostgreSQL runs as another user and has to get through.
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
    let processes = Processes::watch(&folder.path().join("processes"))?;
    let pair = Pair::begin(folder.path(), &processes).await?;
    let fresh = pair.server.schema_of(TARGET)?;
    pair.fill(SOURCE, 25_000).await?;

    let first = pair.park("auto").await?;
    ensure!(first.kept.is_none() && first.parked.count() > 60, "{first:?}");
    ensure!(pair.park("auto").await? == first, "a second time sets the same aside");
    // Also when it would not pay any more: what is set aside is to be known.
    pair.fill(TARGET, 5_000).await?;
    ensure!(pair.park("auto").await? == first);
    let (answer, beat) = pair.restore(first.parked.clone()).await?;
    let all = first.parked.count();
    ensure!(answer.finished && answer.built == all, "{answer:?}");
    let shown = beat.now().indexes.context("nothing was shown")?;
    ensure!((shown.built, shown.total) == (all, all), "{shown:?}");
    ensure!(pair.server.schema_of(TARGET)? == fresh);
    let (again, _) = pair.restore(first.parked.clone()).await?;
    ensure!(again.finished && again.built == 0, "{again:?}");

    let told = pair.kept("auto").await?;
    ensure!(told.contains("holds 5000 records already"), "{told}");
    let always = pair.park("always").await?;
    ensure!(always == first, "{always:?}");
    pair.server
        .execute(TARGET, "DROP TABLE crossfade_parked_indexes")
        .await?;
    ensure!(pair.restore(always.parked).await?.0.finished);
    ensure!(
        pair.server.schema_of(TARGET)? == fresh,
        "the workflow's own note is enough"
    );
    pair.park("always").await?;
    ensure!(pair.restore(Parked::default()).await?.0.finished);
    ensure!(
        pair.server.schema_of(TARGET)? == fresh,
        "the store's own note is enough"
    );

    pair.fill(TARGET, 0).await?;
    pair.fill(SOURCE, 100).await?;
    let told = pair.kept("auto").await?;
    ensure!(told.contains("it pays from"), "{told}");
    Ok(())
}
