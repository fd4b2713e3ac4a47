//! One real cluster with traffic's Namespaces in it, the store it has, and the store it is to move to.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use temporalio_client::Client;

use crate::namespaces;
use crate::servers::binaries::{Program, Release, TEMPORAL_1_30_8, find_or_build, module_dir};
use crate::servers::cache::Cache;
use crate::servers::postgres::{PASSWORD, Postgres, SchemaKind, SchemaTool};
use crate::servers::processes::{Processes, Running};
use crate::servers::progress::{Lines, Progress};
use crate::servers::temporal::{ClusterPlan, HostPlan, SERVICES, Temporal};

/// The Namespace in which canaries run, and where traffic runs unless told otherwise.
pub const NAMESPACE: &str = "default";

/// The key of the target under the config's `persistence.datastores`.
pub const TARGET_NAME: &str = "visibility-next";

/// A Visibility store, as the judge finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// A SQLite file.
    Sqlite {
        /// Its absolute path.
        file: PathBuf,
    },
    /// A database of the testbed's PostgreSQL.
    Postgres {
        /// The port on 127.0.0.1.
        port: u16,
        /// The database's name.
        database: String,
    },
    /// An index of an Elasticsearch or OpenSearch.
    Elasticsearch {
        /// `http://127.0.0.1:PORT`.
        url: String,
        /// The index.
        index: String,
    },
    /// A keyspace of a Cassandra.
    Cassandra {
        /// The port of the native protocol on 127.0.0.1.
        port: u16,
        /// The keyspace.
        keyspace: String,
    },
}

/// Which database holds the cluster and its Visibility.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Files, embedded in the server.
    Sqlite,
    /// A PostgreSQL server of the testbed's own.
    Postgres,
}

/// What a testbed is made of.
pub struct Plan {
    /// The database.
    pub engine: Engine,
    /// The server's version.
    pub release: &'static Release,
    /// The hosts; more than one needs PostgreSQL.
    pub hosts: Vec<HostPlan>,
    /// The Namespaces to register, with their Retention Periods, besides [`NAMESPACE`] (72 h).
    pub namespaces: Vec<(String, Duration)>,
    /// Whether the target database has Temporal's schema already. A SQLite target never has: the server itself makes it.
    pub target_schema: bool,
}

impl Plan {
    /// One host with everything, an empty target.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            release: &TEMPORAL_1_30_8,
            hosts: vec![HostPlan::whole("node-a")],
            namespaces: Vec::new(),
            target_schema: false,
        }
    }

    /// Two hosts: one answers, the other writes history; each with its own indentation.
    #[must_use]
    pub fn on_two_hosts(mut self) -> Self {
        let host = |name: &str, services: &[&'static str], indent| HostPlan {
            name: name.to_owned(),
            services: services.to_vec(),
            indent,
        };
        let (back, front) = SERVICES.split_at(2);
        self.hosts = vec![host("node-front", front, 2), host("node-back", back, 4)];
        self
    }
}

/// A running cluster. What it started is stopped when it is dropped; its folder goes only with [`Testbed::finish`].
#[derive(Debug)]
pub struct Testbed {
    // Dropped in this order: the server before its database, both before the watch over them.
    temporal: Temporal,
    postgres: Option<Postgres>,
    processes: Processes,
    source: Store,
    target: Store,
    target_entry: Value,
    folder: PathBuf,
    finished: bool,
}

impl Testbed {
    /// A cluster on SQLite files, with another file as the target.
    ///
    /// # Errors
    /// When a program is missing or a server does not start: with what to do, or its log.
    pub async fn sqlite() -> Result<Self> {
        Self::start(Plan::new(Engine::Sqlite), &Lines::default()).await
    }

    /// A cluster on PostgreSQL, with another database as the target.
    ///
    /// # Errors
    /// When a program is missing or a server does not start: with what to do, or its log.
    pub async fn postgres() -> Result<Self> {
        Self::start(Plan::new(Engine::Postgres), &Lines::default()).await
    }

    /// A cluster as planned.
    ///
    /// # Errors
    /// When a program is missing or a server does not start: with what to do, or its log.
    pub async fn start(plan: Plan, progress: &dyn Progress) -> Result<Self> {
        let cache = Cache::from_environment()?;
        let program = find_or_build(&cache, plan.release, Program::TemporalServer, progress)?;
        let folder = tempfile::Builder::new().prefix("crossfade-").tempdir()?.keep();
        // PostgreSQL runs as another user and has to get through.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o711))?;
        let processes = Processes::watch(&folder.join("pids"))?;
        let (postgres, databases) = match plan.engine {
            Engine::Sqlite => (None, sqlite_databases(&folder)?),
            Engine::Postgres => {
                let tool = SchemaTool {
                    program: find_or_build(&cache, plan.release, Program::SqlTool, progress)?,
                    source: module_dir(&cache, plan.release, progress)?,
                };
                let postgres = Postgres::start(&folder.join("postgres"), &processes, progress).await?;
                let databases = postgres_databases(&postgres, &tool, plan.target_schema, &folder).await?;
                (Some(postgres), databases)
            }
        };
        let temporal = Temporal::start(
            ClusterPlan {
                folder: &folder,
                release: plan.release,
                program: &program,
                hosts: plan.hosts,
                main: databases.main,
                visibility: databases.visibility,
            },
            &processes,
        )
        .await
        .with_context(|| format!("the logs are in {}", folder.display()))?;
        let testbed = Self {
            temporal,
            postgres,
            processes,
            source: databases.source,
            target: databases.target,
            target_entry: databases.target_entry,
            folder,
            finished: false,
        };
        let client = testbed.client(NAMESPACE).await?;
        namespaces::register(&client, NAMESPACE, Duration::from_secs(72 * 3600)).await?;
        for (name, retention) in &plan.namespaces {
            namespaces::register(&client, name, *retention).await?;
        }
        Ok(testbed)
    }

    /// The cluster.
    #[must_use]
    pub fn temporal(&self) -> &Temporal {
        &self.temporal
    }

    /// The database server, where there is one.
    pub fn postgres_server(&mut self) -> Option<(&mut Postgres, &Processes)> {
        self.postgres.as_mut().map(|postgres| (postgres, &self.processes))
    }

    /// The frontend's `host:port`.
    #[must_use]
    pub fn frontend(&self) -> &str {
        self.temporal.frontend()
    }

    /// The folder with every file and log of this testbed.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The store that the cluster starts with.
    #[must_use]
    pub fn source(&self) -> &Store {
        &self.source
    }

    /// The store that it is to move to.
    #[must_use]
    pub fn target(&self) -> &Store {
        &self.target
    }

    /// A client of `namespace`.
    ///
    /// # Errors
    /// When the frontend does not answer.
    pub async fn client(&self, namespace: &str) -> Result<Client> {
        self.temporal.client(namespace).await
    }

    /// The spec of the migration from source to target: every gate asks, no soak. A test changes what it is about.
    #[must_use]
    pub fn spec(&self) -> Value {
        let hosts: Vec<Value> = self
            .temporal
            .hosts()
            .iter()
            .map(|host| {
                json!({
                    "name": host.name,
                    "config": host.config,
                    "services": host.services,
                    "restart": {"command": host.restart_command()},
                })
            })
            .collect();
        json!({
            "cluster": {
                "frontend": self.frontend(),
                "hosts": hosts,
                "dynamic_config": self.temporal.dynamic_config(),
            },
            "target": {"name": TARGET_NAME, "datastore": self.target_entry, "setup_schema": true},
            "existing_records": "backfill",
            "gates": ["dual-write", "cutover", "promote"],
        })
    }

    /// Starts a program of the product, such as a worker, as `name`; its output goes to `NAME.log` in the folder.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn spawn(&self, name: &str, command: &mut std::process::Command) -> Result<Running> {
        self.processes.spawn(name, command, &self.log(name))
    }

    /// The log of the program `name`.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// The end of a well-behaved test: stops everything and removes the folder.
    ///
    /// # Errors
    /// When a server does not stop or the folder cannot be removed.
    pub fn finish(mut self) -> Result<()> {
        self.finished = true;
        self.temporal.stop()?;
        if let Some(postgres) = &mut self.postgres {
            postgres.stop()?;
        }
        fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))
    }

    /// Leaves everything running and on disk; returns the folder. Only the pids in its `pids` stop it then.
    #[must_use]
    pub fn leave_running(mut self) -> PathBuf {
        self.finished = true;
        self.temporal.keep();
        if let Some(postgres) = &mut self.postgres {
            postgres.keep();
        }
        self.processes.release();
        self.folder.clone()
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        if !self.finished {
            let _ = writeln!(
                std::io::stderr(),
                "the testbed's files and logs are kept in {}",
                self.folder.display()
            );
        }
    }
}

/// The stores of a testbed, as the server's config names them and as the judge finds them.
struct Databases {
    main: Value,
    visibility: Value,
    source: Store,
    target: Store,
    target_entry: Value,
}

fn sqlite_databases(folder: &Path) -> Result<Databases> {
    let data = folder.join("data");
    fs::create_dir_all(&data)?;
    let entry = |file: &Path| {
        json!({"sql": {
            "pluginName": "sqlite", "databaseName": file, "connectAddr": "localhost", "connectProtocol": "tcp",
            "connectAttributes": {
                "cache": "private", "setup": "true", "journal_mode": "wal", "synchronous": "1",
                // Others write to this file too; without waiting, one of two writers fails at once.
                "busy_timeout": "10000",
            },
            "maxConns": 1, "maxIdleConns": 1, "maxConnLifetime": "1h",
        }})
    };
    let [main, visibility, target] = ["temporal.db", "visibility.db", "visibility_next.db"].map(|name| data.join(name));
    Ok(Databases {
        main: entry(&main),
        visibility: entry(&visibility),
        target_entry: entry(&target),
        source: Store::Sqlite { file: visibility },
        target: Store::Sqlite { file: target },
    })
}

async fn postgres_databases(
    postgres: &Postgres,
    tool: &SchemaTool,
    target_schema: bool,
    folder: &Path,
) -> Result<Databases> {
    let [main, visibility, target] = ["temporal", "temporal_visibility", "temporal_visibility_next"];
    postgres.create_temporal_database(tool, main, SchemaKind::Main)?;
    postgres.create_temporal_database(tool, visibility, SchemaKind::Visibility)?;
    if target_schema {
        postgres.create_temporal_database(tool, target, SchemaKind::Visibility)?;
    } else {
        postgres.create_database(target).await?;
    }
    let password = folder.join("target-password");
    fs::write(&password, PASSWORD)?;
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
    let mut target_entry = postgres.datastore(target);
    target_entry["sql"]["password"] = json!({"file": password});
    let store = |database: &str| Store::Postgres {
        port: postgres.port(),
        database: database.to_owned(),
    };
    Ok(Databases {
        main: postgres.datastore(main),
        visibility: postgres.datastore(visibility),
        target_entry,
        source: store(visibility),
        target: store(target),
    })
}
