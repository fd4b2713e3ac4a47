//! One real cluster with traffic's Namespaces in it, the store it has, and the store it is to move to.

mod stores;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use temporalio_client::Client;

use self::stores::{Servers, Stores};
use crate::namespaces;
use crate::servers::binaries::{Program, Release, TEMPORAL_1_23_1, TEMPORAL_1_30_8, find_or_build};
use crate::servers::cache::Cache;
use crate::servers::cassandra::{self, Cassandra};
use crate::servers::elasticsearch::{self, Elasticsearch};
use crate::servers::postgres::Postgres;
use crate::servers::processes::{Processes, Running};
use crate::servers::progress::{Lines, Progress};
use crate::servers::temporal::{ClusterPlan, HostPlan, SERVICES, Temporal};

/// The Namespace in which canaries run, and where traffic runs unless told otherwise.
pub const NAMESPACE: &str = "default";

/// The key of a target under the config's `persistence.datastores`, where documentation gives it none.
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

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Files, embedded in the server.
    Sqlite,
    /// A PostgreSQL server of the testbed's own.
    Postgres,
    /// The same, with the schema without search attributes (plugin `postgres`): Visibility only, servers up to 1.23.
    StandardPostgres,
    /// Cassandra: Visibility in it is for servers up to 1.23.
    Cassandra,
    /// Elasticsearch: Visibility only.
    Elasticsearch,
    /// Another Elasticsearch than that one.
    OtherElasticsearch,
    /// OpenSearch: Visibility only.
    OpenSearch,
}

/// What a testbed is made of.
#[derive(Debug)]
pub struct Plan {
    /// What holds the cluster itself: SQLite, PostgreSQL or Cassandra.
    pub main: Engine,
    /// What holds its Visibility at first.
    pub source: Engine,
    /// Where its Visibility is to move to.
    pub target: Engine,
    /// The server's version.
    pub release: &'static Release,
    /// The hosts; more than one needs another main store than SQLite.
    pub hosts: Vec<HostPlan>,
    /// The Namespaces to register, with their Retention Periods, besides [`NAMESPACE`] (72 h).
    pub namespaces: Vec<(String, Duration)>,
    /// Keys of the dynamic config besides the usual ones, as they are written in the file.
    pub dynamic_config: String,
    /// Whether the target has Temporal's schema already. A SQLite target never has: the server itself makes it.
    pub target_schema: bool,
    /// Whether a target in PostgreSQL has a server of its own: to be killed while the cluster goes on.
    pub target_apart: bool,
    /// Whether nodes of Elasticsearch, OpenSearch and Cassandra are this testbed's own: to be killed and frozen, with the
    /// names that Temporal's documentation uses. Else they are shared within this process, under names of this testbed's.
    pub own_nodes: bool,
    /// How own nodes of Elasticsearch and OpenSearch are started (but for the name).
    pub search_options: elasticsearch::Options,
    /// How an own node of Cassandra is started.
    pub cassandra_options: cassandra::Options,
}

impl Plan {
    /// One host with everything, all of it on one engine, an empty target.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self {
            main: engine,
            ..Self::pair(&TEMPORAL_1_30_8, engine, engine)
        }
    }

    /// The migration that Temporal's documentation describes: Cassandra to Elasticsearch.
    #[must_use]
    pub fn reference() -> Self {
        Self::pair(&TEMPORAL_1_23_1, Engine::Cassandra, Engine::Elasticsearch)
    }

    /// One host of `release` with everything, to move from `source` to `target`, which is empty. The cluster itself is on
    /// the source's database where it can be, else on SQLite, which is quickest.
    #[must_use]
    pub fn pair(release: &'static Release, source: Engine, target: Engine) -> Self {
        Self {
            main: match source {
                Engine::Postgres | Engine::StandardPostgres => Engine::Postgres,
                Engine::Cassandra => Engine::Cassandra,
                _ => Engine::Sqlite,
            },
            source,
            target,
            release,
            hosts: vec![HostPlan::whole("node-a")],
            namespaces: Vec::new(),
            dynamic_config: String::new(),
            target_schema: false,
            target_apart: false,
            own_nodes: false,
            search_options: elasticsearch::Options::default(),
            cassandra_options: cassandra::Options::default(),
        }
    }

    /// The cluster itself on `main`.
    #[must_use]
    pub fn with_main(mut self, main: Engine) -> Self {
        self.main = main;
        self
    }

    /// With keys in the dynamic config, as they are written in the file.
    #[must_use]
    pub fn with_dynamic_config(mut self, keys: &str) -> Self {
        self.dynamic_config.push_str(keys);
        self
    }

    /// With nodes that nobody else uses.
    #[must_use]
    pub fn with_own_nodes(mut self) -> Self {
        self.own_nodes = true;
        self
    }

    /// Two hosts: one answers, the other writes history; the files are indented differently.
    #[must_use]
    pub fn on_two_hosts(mut self) -> Self {
        let (back, front) = SERVICES.split_at(2);
        let mut other = HostPlan::with("node-back", back);
        other.indent = 4;
        self.hosts = vec![HostPlan::with("node-front", front), other];
        self
    }

    /// As clusters in production are: each service on machines of its own, two for each. A query is lost to its client with
    /// a lone matching host that takes longer to restart than the SDK tries again (10 s).
    #[must_use]
    pub fn on_a_fleet(mut self) -> Self {
        self.hosts = vec![
            HostPlan::with("front-a", &["frontend"]),
            HostPlan::with("front-b", &["frontend"]),
            HostPlan::with("history-a", &["history"]),
            HostPlan::with("history-b", &["history"]),
            HostPlan::with("matching-a", &["matching", "worker"]),
            HostPlan::with("matching-b", &["matching", "worker"]),
        ];
        self
    }
}

/// A running cluster. What it started is stopped when it is dropped; its folder goes only with [`Testbed::finish`].
#[derive(Debug)]
pub struct Testbed {
    // Dropped in this order: the server before its database, both before the watch over them.
    temporal: Temporal,
    servers: Servers,
    processes: Processes,
    source: Store,
    target: Store,
    target_name: &'static str,
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
        let mut stores = Stores {
            cache: &cache,
            plan: &plan,
            folder: &folder,
            processes: &processes,
            progress,
            suffix: uuid::Uuid::new_v4().simple().to_string()[..8].to_owned(),
            servers: Servers::default(),
        };
        let databases = stores.make().await?;
        let servers = stores.servers;
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
            servers,
            processes,
            source: databases.source,
            target: databases.target,
            target_name: databases.target_name,
            target_entry: databases.target_entry,
            folder,
            finished: false,
        };
        let client = testbed.client(NAMESPACE).await?;
        namespaces::register(client.connection(), NAMESPACE, Duration::from_secs(72 * 3600)).await?;
        for (name, retention) in &plan.namespaces {
            namespaces::register(client.connection(), name, *retention).await?;
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
        self.servers
            .postgres
            .as_mut()
            .map(|postgres| (postgres, &self.processes))
    }

    /// The database server that has the target alone ([`Plan::target_apart`]), where there is one.
    pub fn target_server(&mut self) -> Option<(&mut Postgres, &Processes)> {
        let server = self.servers.target.as_mut();
        server.map(|postgres| (postgres, &self.processes))
    }

    /// The Cassandra node, where there is one.
    #[must_use]
    pub fn cassandra(&self) -> Option<&Cassandra> {
        self.servers.cassandra.as_deref()
    }

    /// The Elasticsearch node, where there is one.
    #[must_use]
    pub fn elasticsearch(&self) -> Option<&Elasticsearch> {
        self.servers.elasticsearch.as_deref()
    }

    /// The other Elasticsearch node, or the OpenSearch node, where there is one.
    #[must_use]
    pub fn other_search(&self) -> Option<&Elasticsearch> {
        self.servers.other_search.as_deref()
    }

    /// The Cassandra node to kill, stop or freeze: one that is this testbed's own ([`Plan::own_nodes`]).
    pub fn own_cassandra(&mut self) -> Option<(&mut Cassandra, &Processes)> {
        let node = self.servers.cassandra.as_mut()?.own()?;
        Some((node, &self.processes))
    }

    /// The same for the Elasticsearch node.
    pub fn own_elasticsearch(&mut self) -> Option<(&mut Elasticsearch, &Processes)> {
        let node = self.servers.elasticsearch.as_mut()?.own()?;
        Some((node, &self.processes))
    }

    /// The same for the node of [`Testbed::other_search`].
    pub fn own_other_search(&mut self) -> Option<(&mut Elasticsearch, &Processes)> {
        let node = self.servers.other_search.as_mut()?.own()?;
        Some((node, &self.processes))
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

    /// The key of the target under the config's `persistence.datastores`.
    #[must_use]
    pub fn target_name(&self) -> &'static str {
        self.target_name
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
            "target": {"name": self.target_name, "datastore": self.target_entry, "setup_schema": true},
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
        self.servers.stop()?;
        fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))
    }

    /// Leaves everything of its own running and on disk; returns the folder. Only the pids in its `pids` stop it then.
    /// Nodes that it shares end with this process all the same ([`Plan::own_nodes`]).
    #[must_use]
    pub fn leave_running(mut self) -> PathBuf {
        self.finished = true;
        self.temporal.keep();
        self.servers.keep();
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
