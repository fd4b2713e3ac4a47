//! A real cluster on SQLite, the orders for it, and a look into its two stores by SQL of the tests' own.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, bail};
use crossfade_plan::{
    order::{ConfigureHost, Context, SetDynamicConfig},
    problem::{Problem, listing},
    settings::{DynamicConfig, HostConfig, Reads, WritingMode},
    spec::Spec,
};
use e2e::testbed::{Store, Testbed};
use rusqlite::Connection;
use serde_json::Value;

/// The cluster that runs the workflow, in these tests: another one, of which the migrated cluster knows nothing.
pub(super) const CONTROL: &str = "5b0d7f0e-the-cluster-that-runs-the-workflow";

/// A cluster, and the spec of its migration.
pub(super) struct Scene {
    pub(super) testbed: Testbed,
    pub(super) spec: Value,
}

impl Scene {
    pub(super) async fn begin() -> Result<Self> {
        let testbed = Testbed::sqlite().await?;
        Ok(Self {
            spec: testbed.spec(),
            testbed,
        })
    }

    /// What every order of the migration `id` carries.
    pub(super) fn context(&self, id: &str) -> Result<Context> {
        Ok(Context {
            migration: id.to_owned(),
            key: format!("{id}.0123abcd"),
            control_namespace: "default".to_owned(),
            source: Some("visibility".to_owned()),
            indices: None,
            spec: Spec::from_json(&self.spec).map_err(several)?,
        })
    }

    pub(super) fn configure(&self, id: &str, to: HostConfig) -> Result<ConfigureHost> {
        let context = self.context(id)?;
        let host = context.spec.cluster.hosts.first().context("no host")?.clone();
        Ok(ConfigureHost {
            context,
            host,
            to,
            back: false,
            together_with: Vec::new(),
        })
    }

    pub(super) fn dynamic(&self, id: &str, to: DynamicConfig) -> Result<SetDynamicConfig> {
        let ConfigureHost { context, host, .. } = self.configure(id, HostConfig::Original)?;
        Ok(SetDynamicConfig {
            context,
            host,
            to,
            attributes: None,
        })
    }

    /// What tells whether anything was done on the host: its process, and each file's content and last write.
    pub(super) fn host(&self) -> Result<HostLook> {
        let temporal = self.testbed.temporal();
        let host = temporal.hosts().first().context("no host")?;
        let look = |path: &Path| Ok::<_, std::io::Error>((fs::read(path)?, fs::metadata(path)?.modified()?));
        Ok(HostLook {
            pid: host.pid(),
            config: look(&host.config)?,
            dynamic_config: look(temporal.dynamic_config())?,
        })
    }

    pub(super) fn config_file(&self) -> Result<PathBuf> {
        Ok(self
            .testbed
            .temporal()
            .hosts()
            .first()
            .context("no host")?
            .config
            .clone())
    }

    pub(super) fn source(&self) -> Result<Table> {
        Table::open(self.testbed.source())
    }

    pub(super) fn target(&self) -> Result<Table> {
        Table::open(self.testbed.target())
    }
}

/// A host at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostLook {
    pub(super) pid: Option<u32>,
    pub(super) config: (Vec<u8>, SystemTime),
    pub(super) dynamic_config: (Vec<u8>, SystemTime),
}

/// Both keys of the dynamic config.
pub(super) fn keys(writing_mode: WritingMode, reads: Reads) -> DynamicConfig {
    DynamicConfig::Set { writing_mode, reads }
}

/// Several problems as one error.
pub(super) fn several(problems: Vec<Problem>) -> anyhow::Error {
    anyhow::anyhow!(listing(&problems))
}

/// Waits, for at most half a minute, until `seen` holds.
pub(super) async fn until(what: &str, mut seen: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !seen()? {
        if Instant::now() > deadline {
            bail!("not within 30 s: {what}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// A store's `executions_visibility`.
pub(super) struct Table(Connection);

/// What is compared of a row; a memo's bytes differ between the stores of one cluster.
pub(super) type Row = (i64, i64, Option<String>, String, Option<String>);

impl Table {
    fn open(store: &Store) -> Result<Self> {
        let Store::Sqlite { file } = store else {
            bail!("not a SQLite file: {store:?}")
        };
        let connection = Connection::open(file)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        Ok(Self(connection))
    }

    /// Every row by Namespace id and run id.
    pub(super) fn rows(&self) -> Result<BTreeMap<(String, String), Row>> {
        let mut statement = self.0.prepare(
            "SELECT namespace_id, run_id, _version, status, close_time, workflow_type_name, search_attributes \
             FROM executions_visibility",
        )?;
        let rows = statement.query_map([], |row| {
            Ok((
                (row.get(0)?, row.get(1)?),
                (row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?),
            ))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// How many rows have a workflow id that begins with `prefix`.
    pub(super) fn count(&self, prefix: &str) -> Result<i64> {
        let sql = "SELECT count(*) FROM executions_visibility WHERE workflow_id LIKE ?1 || '%'";
        Ok(self.0.query_row(sql, [prefix], |row| row.get(0))?)
    }

    /// The run ids of up to `limit` closed executions whose workflow id begins with `prefix`.
    pub(super) fn closed(&self, prefix: &str, limit: u32) -> Result<Vec<String>> {
        let mut statement = self.0.prepare(
            "SELECT run_id FROM executions_visibility WHERE workflow_id LIKE ?1 || '%' AND close_time IS NOT NULL \
             ORDER BY run_id LIMIT ?2",
        )?;
        let found = statement.query_map((prefix, limit), |row| row.get(0))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Runs a statement with one parameter; says how many rows it changed.
    pub(super) fn change(&self, sql: &str, parameter: &str) -> Result<usize> {
        let parameters: &[&str] = if sql.contains("?1") { &[parameter] } else { &[] };
        Ok(self.0.execute(sql, rusqlite::params_from_iter(parameters))?)
    }

    /// Adds a copy of the row `run_id` under another Namespace id or run id.
    pub(super) fn forge(&self, run_id: &str, column: &str, value: &str) -> Result<()> {
        let mut statement = self
            .0
            .prepare("SELECT name FROM pragma_table_xinfo('executions_visibility') WHERE hidden = 0")?;
        let columns: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let values: Vec<&str> = columns
            .iter()
            .map(|name| if name == column { "?2" } else { name.as_str() })
            .collect();
        let sql = format!(
            "INSERT INTO executions_visibility ({}) SELECT {} FROM executions_visibility WHERE run_id = ?1",
            columns.join(", "),
            values.join(", ")
        );
        let added = self.0.execute(&sql, [run_id, value])?;
        anyhow::ensure!(added == 1, "{added} rows added");
        Ok(())
    }
}
