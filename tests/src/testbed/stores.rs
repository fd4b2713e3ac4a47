//! The stores of a testbed: their servers, their schemas, and their entries in the cluster's config.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{Engine, Plan, Store, TARGET_NAME};
use crate::servers::binaries::{Program, TEMPORAL_1_30_8, find_or_build, module_dir};
use crate::servers::cache::Cache;
use crate::servers::cassandra::Cassandra;
use crate::servers::elasticsearch::Elasticsearch;
use crate::servers::opensearch;
use crate::servers::postgres::{PASSWORD, Postgres, SchemaKind, SchemaTool};
use crate::servers::processes::Processes;
use crate::servers::progress::Progress;
use crate::servers::shared::{self, Node};

/// The index that Temporal's documentation and samples use.
const INDEX: &str = "temporal_visibility_v1_dev";

/// A second index of the same node: its name falls under Temporal's template (`temporal_visibility_v1*`) too.
const NEXT_INDEX: &str = "temporal_visibility_v1_next";

/// The database servers of a testbed.
#[derive(Debug, Default)]
pub(super) struct Servers {
    pub(super) postgres: Option<Postgres>,
    /// The one that has the target alone.
    pub(super) target: Option<Postgres>,
    pub(super) cassandra: Option<Node<Cassandra>>,
    pub(super) elasticsearch: Option<Node<Elasticsearch>>,
    /// The second Elasticsearch, or OpenSearch.
    pub(super) other_search: Option<Node<Elasticsearch>>,
}

impl Servers {
    /// Stops what is the testbed's own.
    pub(super) fn stop(&mut self) -> Result<()> {
        for postgres in [&mut self.postgres, &mut self.target].into_iter().flatten() {
            postgres.stop()?;
        }
        if let Some(cassandra) = self.cassandra.as_mut().and_then(Node::own) {
            // Nobody reads its data again, and it would spend seconds on writing it out.
            cassandra.kill()?;
        }
        for search in [&mut self.elasticsearch, &mut self.other_search] {
            if let Some(search) = search.as_mut().and_then(Node::own) {
                search.kill()?;
            }
        }
        Ok(())
    }

    /// Leaves what is the testbed's own running.
    pub(super) fn keep(&mut self) {
        for postgres in [&mut self.postgres, &mut self.target].into_iter().flatten() {
            postgres.keep();
        }
        if let Some(cassandra) = self.cassandra.as_mut().and_then(Node::own) {
            cassandra.keep();
        }
        for search in [&mut self.elasticsearch, &mut self.other_search] {
            if let Some(search) = search.as_mut().and_then(Node::own) {
                search.keep();
            }
        }
    }
}

/// The stores as the server's config names them and as the judge finds them.
pub(super) struct Databases {
    pub(super) main: (&'static str, Value),
    pub(super) visibility: (&'static str, Value),
    pub(super) source: Store,
    pub(super) target: Store,
    pub(super) target_name: &'static str,
    pub(super) target_entry: Value,
}

/// Makes the stores of one testbed, and starts each server that they need once.
pub(super) struct Stores<'a> {
    pub(super) cache: &'a Cache,
    pub(super) plan: &'a Plan,
    pub(super) folder: &'a Path,
    pub(super) processes: &'a Processes,
    pub(super) progress: &'a dyn Progress,
    /// Tells this testbed's keyspaces and indices on shared nodes from those of others.
    pub(super) suffix: String,
    pub(super) servers: Servers,
}

/// What a store is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Main,
    Source,
    Target,
}

impl Role {
    /// The SQL database or Cassandra keyspace.
    fn database(self) -> &'static str {
        match self {
            Self::Main => "temporal",
            Self::Source => "temporal_visibility",
            Self::Target => "temporal_visibility_next",
        }
    }

    fn schema(self) -> SchemaKind {
        match self {
            Self::Main => SchemaKind::Main,
            Self::Source | Self::Target => SchemaKind::Visibility,
        }
    }
}

impl Stores<'_> {
    pub(super) async fn make(&mut self) -> Result<Databases> {
        let plan = self.plan;
        let (_, main) = self.store(plan.main, Role::Main).await?;
        let (source, visibility) = self.store(plan.source, Role::Source).await?;
        let (target, target_entry) = self.store(plan.target, Role::Target).await?;
        let (Some(source), Some(target)) = (source, target) else {
            bail!("Visibility is to be in a store that the judge knows");
        };
        let is_search = |engine| {
            matches!(
                engine,
                Engine::Elasticsearch | Engine::OtherElasticsearch | Engine::OpenSearch
            )
        };
        let target_entry = self.with_secret_by_reference(target_entry)?;
        // Up to 1.24 the second index of a cluster is told by the first one's own datastore.
        let by_index = is_search(plan.source) && plan.source == plan.target && plan.release.minor() < 25;
        Ok(Databases {
            main: (
                if plan.main == Engine::Cassandra {
                    "cass-default"
                } else {
                    "default"
                },
                main,
            ),
            visibility: (
                match plan.source {
                    Engine::Cassandra => "cass-visibility",
                    engine if is_search(engine) => "es-visibility",
                    _ => "visibility",
                },
                visibility,
            ),
            source,
            target,
            target_name: if is_search(plan.target) && !is_search(plan.source) || by_index {
                "es-visibility"
            } else {
                TARGET_NAME
            },
            target_entry,
        })
    }

    /// Makes the store of `role` on `engine`: where the judge finds it (not for the main store) and its config entry.
    async fn store(&mut self, engine: Engine, role: Role) -> Result<(Option<Store>, Value)> {
        let with_schema = role != Role::Target || self.plan.target_schema;
        match (engine, role) {
            (Engine::Sqlite, _) => {
                let (file, entry) = sqlite(self.folder, role)?;
                Ok((Some(Store::Sqlite { file }), entry))
            }
            (Engine::Postgres, _) | (Engine::StandardPostgres, Role::Source) => {
                self.postgres(engine, role, with_schema).await
            }
            (Engine::Cassandra, Role::Main | Role::Source) => self.cassandra(role).await,
            (Engine::Elasticsearch | Engine::OtherElasticsearch | Engine::OpenSearch, Role::Source | Role::Target) => {
                self.search(engine, role, with_schema).await
            }
            (Engine::StandardPostgres | Engine::Cassandra, Role::Target) => {
                bail!("{engine:?} is a store to leave, not one to move to")
            }
            (_, Role::Main) => {
                bail!("{engine:?} holds Visibility only: choose SQLite, PostgreSQL or Cassandra as main store")
            }
        }
    }

    async fn postgres(&mut self, engine: Engine, role: Role, with_schema: bool) -> Result<(Option<Store>, Value)> {
        let (slot, folder) = if role == Role::Target && self.plan.target_apart {
            (&mut self.servers.target, "postgres-target")
        } else {
            (&mut self.servers.postgres, "postgres")
        };
        let server = match slot.take() {
            Some(server) => server,
            None => Postgres::start(&self.folder.join(folder), self.processes, self.progress).await?,
        };
        let server = slot.insert(server);
        let database = role.database();
        let standard = engine == Engine::StandardPostgres;
        if with_schema {
            let tool = SchemaTool {
                program: find_or_build(self.cache, self.plan.release, Program::SqlTool, self.progress)?,
                source: module_dir(self.cache, self.plan.release, self.progress)?,
            };
            if standard {
                server.create_standard_database(&tool, database)?;
            } else {
                server.create_temporal_database(&tool, database, role.schema())?;
            }
        } else {
            server.create_database(database).await?;
        }
        let entry = if standard {
            server.standard_datastore(database)
        } else {
            server.datastore(database)
        };
        let store = Store::Postgres {
            port: server.port(),
            database: database.to_owned(),
        };
        Ok((Some(store), entry))
    }

    async fn cassandra(&mut self, role: Role) -> Result<(Option<Store>, Value)> {
        let keyspace = self.named(role.database());
        let node = match self.servers.cassandra.take() {
            Some(node) => node,
            None if self.plan.own_nodes => {
                let folder = self.folder.join("cassandra");
                let options = &self.plan.cassandra_options;
                Node::Own(Cassandra::start(&folder, options, self.processes, self.progress).await?)
            }
            None => Node::Shared(shared::cassandra(self.progress).await?),
        };
        let node = self.servers.cassandra.insert(node);
        let tool = SchemaTool {
            program: find_or_build(self.cache, self.plan.release, Program::CassandraTool, self.progress)?,
            source: module_dir(self.cache, self.plan.release, self.progress)?,
        };
        node.create_temporal_keyspace(&tool, &keyspace, role.schema())?;
        let (port, entry) = (node.port(), node.datastore(&keyspace));
        Ok((Some(Store::Cassandra { port, keyspace }), entry))
    }

    async fn search(&mut self, engine: Engine, role: Role, with_schema: bool) -> Result<(Option<Store>, Value)> {
        let is_second_index = role == Role::Target && self.plan.source == engine;
        let index = self.named(if is_second_index { NEXT_INDEX } else { INDEX });
        let node = match self.search_slot(engine).take() {
            Some(node) => node,
            None => self.start_search(engine).await?,
        };
        let node = self.search_slot(engine).insert(node);
        let (url, entry) = (node.url(), node.datastore(&index));
        if with_schema {
            let tool = find_or_build(self.cache, &TEMPORAL_1_30_8, Program::ElasticsearchTool, self.progress)?;
            if let Some(node) = self.search_slot(engine) {
                node.create_temporal_index(&tool, &index)?;
            }
        }
        Ok((Some(Store::Elasticsearch { url, index }), entry))
    }

    fn search_slot(&mut self, engine: Engine) -> &mut Option<Node<Elasticsearch>> {
        match engine {
            Engine::Elasticsearch => &mut self.servers.elasticsearch,
            _ => &mut self.servers.other_search,
        }
    }

    async fn start_search(&self, engine: Engine) -> Result<Node<Elasticsearch>> {
        let name = match engine {
            Engine::Elasticsearch => "elasticsearch",
            Engine::OpenSearch => "opensearch",
            _ => "elasticsearch-b",
        };
        if !self.plan.own_nodes {
            let node = match engine {
                Engine::Elasticsearch => shared::elasticsearch(self.progress).await?,
                Engine::OpenSearch => shared::opensearch(self.progress).await?,
                _ => shared::other_elasticsearch(self.progress).await?,
            };
            return Ok(Node::Shared(node));
        }
        let options = self.plan.search_options.clone().named(name);
        let folder = self.folder.join(name);
        let node = if engine == Engine::OpenSearch {
            opensearch::start(&folder, &options, self.processes, self.progress).await?
        } else {
            Elasticsearch::start(&folder, &options, self.processes, self.progress).await?
        };
        Ok(Node::Own(node))
    }

    /// `name` on a node of the testbed's own; on a shared one, with what tells it from those of others.
    fn named(&self, name: &str) -> String {
        if self.plan.own_nodes {
            name.to_owned()
        } else {
            format!("{name}_{}", self.suffix)
        }
    }

    /// The entry as a spec has it: a password is named by the file that it is in.
    fn with_secret_by_reference(&self, mut entry: Value) -> Result<Value> {
        if !entry["sql"]["password"].is_null() {
            let password = self.folder.join("target-password");
            fs::write(&password, PASSWORD)?;
            fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
            entry["sql"]["password"] = json!({"file": password});
        }
        Ok(entry)
    }
}

fn sqlite(folder: &Path, role: Role) -> Result<(PathBuf, Value)> {
    let data = folder.join("data");
    fs::create_dir_all(&data)?;
    let file = data.join(match role {
        Role::Main => "temporal.db",
        Role::Source => "visibility.db",
        Role::Target => "visibility_next.db",
    });
    let entry = json!({"sql": {
        "pluginName": "sqlite", "databaseName": file, "connectAddr": "localhost", "connectProtocol": "tcp",
        "connectAttributes": {
            "cache": "private", "setup": "true", "journal_mode": "wal", "synchronous": "1",
            // Others write to this file too; without waiting, one of two writers fails at once.
            "busy_timeout": "10000",
        },
        "maxConns": 1, "maxIdleConns": 1, "maxConnLifetime": "1h",
    }});
    Ok((file, entry))
}
