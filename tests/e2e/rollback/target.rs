//! The target that migrations turn back from: a database on a server of its own.

use anyhow::{Context, Result, bail, ensure};
use e2e::scene::{Scene, says};
use e2e::servers::postgres::{PASSWORD, Postgres, USER, connect};
use e2e::testbed::Store;
use serde_json::Value;

use super::matrix::Fault;

/// The target, and what it was before any migration.
pub(super) struct Target {
    port: u16,
    database: String,
    /// Its schema.
    fresh: String,
}

impl Target {
    pub(super) fn of(scene: &mut Scene) -> Result<Self> {
        let Store::Postgres { port, database } = scene.testbed.target().clone() else {
            bail!("the target is no database of PostgreSQL");
        };
        Ok(Self {
            fresh: server(scene)?.schema_of(&database)?,
            port,
            database,
        })
    }

    /// No way back leaves anything of it changed.
    pub(super) fn is_whole(&self, scene: &mut Scene) -> Result<()> {
        let schema = server(scene)?.schema_of(&self.database)?;
        ensure!(schema == self.fresh, "the target's schema differs:\n{schema}");
        Ok(())
    }

    /// It cannot be used any more.
    pub(super) async fn fails(&self, scene: &mut Scene, fault: Fault) -> Result<()> {
        match fault {
            Fault::TargetDown => server(scene)?.kill(),
            Fault::TargetLocked => self.lets_in(scene, false).await,
            _ => Ok(()),
        }
    }

    /// It can be used again.
    pub(super) async fn is_mended(&self, scene: &mut Scene, fault: Fault) -> Result<()> {
        match fault {
            Fault::TargetDown => {
                let (server, processes) = scene.testbed.target_server().context("no server of its own")?;
                server.resume(processes).await
            }
            Fault::TargetLocked => self.lets_in(scene, true).await,
            _ => Ok(()),
        }
    }

    /// Lets everybody in, or nobody any more.
    async fn lets_in(&self, scene: &mut Scene, all: bool) -> Result<()> {
        let Self { database, .. } = self;
        let allowed = format!("ALTER DATABASE \"{database}\" ALLOW_CONNECTIONS {all}");
        let server = server(scene)?;
        server.execute("postgres", &allowed).await?;
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'");
        server.execute("postgres", &end).await
    }

    /// Has nobody read or write its table until what this gives is dropped.
    pub(super) async fn holds_its_table(&self) -> Result<tokio_postgres::Client> {
        let client = connect(self.port, &self.database).await?;
        client
            .batch_execute("BEGIN; LOCK TABLE executions_visibility IN ACCESS EXCLUSIVE MODE")
            .await?;
        Ok(client)
    }

    /// The way back was finished without it: what it left is told, and done by hand.
    pub(super) async fn gets_its_indexes(&self, scene: &mut Scene, report: &Value) -> Result<()> {
        let address = server(scene)?.address();
        let database = &self.database;
        let command = format!("crossfade indexes --store 'postgres://{USER}@{address}/{database}' --restore");
        says(&report["next_steps"].to_string(), &[&command])?;
        ensure!(self.is_whole(scene).is_err(), "its indexes are back by themselves");
        let store = format!("postgres://{USER}:{PASSWORD}@{address}/{database}");
        let built = scene
            .operator
            .crossfade(&["indexes", "--store", &store, "--restore"])
            .await?;
        ensure!(built["built"].as_u64() > Some(60) && built["set_aside"] == 0, "{built}");
        Ok(())
    }
}

fn server(scene: &mut Scene) -> Result<&mut Postgres> {
    Ok(scene
        .testbed
        .target_server()
        .context("no server of the target's own")?
        .0)
}
