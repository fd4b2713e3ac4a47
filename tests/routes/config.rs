//! A server's config file with a pair of stores, and the server started with it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use e2e::servers::binaries::Release;
use e2e::servers::ports::free_ports;
use serde_json::{Value, json};

use super::outcome::Outcome;

/// How long a server may take until it shows what it makes of its config.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);

/// A store by its plugin or section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Cassandra,
    Mysql,
    Postgres,
    Mysql8,
    Postgres12,
    Sqlite,
    Elasticsearch,
    /// Another cluster than the primary's.
    ElasticsearchElsewhere,
}

impl Store {
    /// As people call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cassandra => "cassandra",
            Self::Mysql => "mysql",
            Self::Postgres => "postgres",
            Self::Mysql8 => "mysql8",
            Self::Postgres12 => "postgres12",
            Self::Sqlite => "sqlite",
            Self::Elasticsearch => "elasticsearch",
            Self::ElasticsearchElsewhere => "elasticsearch elsewhere",
        }
    }

    /// Its kind in the table.
    fn kind(self) -> &'static str {
        match self {
            Self::Cassandra => "cassandra",
            Self::Mysql | Self::Postgres => "standard-sql",
            Self::Mysql8 | Self::Postgres12 | Self::Sqlite => "sql",
            Self::Elasticsearch | Self::ElasticsearchElsewhere => "elasticsearch",
        }
    }

    /// Its datastore entry, for a database or index called `name`.
    fn entry(self, folder: &Path, name: &str, nobody: [u16; 2]) -> Value {
        let elasticsearch = |port: u16| {
            json!({"elasticsearch": {
                "version": "v7", "logLevel": "error", "url": {"scheme": "http", "host": format!("127.0.0.1:{port}")},
                "indices": {"visibility": name}, "closeIdleConnectionsInterval": "15s",
            }})
        };
        match self {
            Self::Cassandra => {
                json!({"cassandra": {"hosts": "127.0.0.1", "port": nobody[0], "keyspace": name, "connectTimeout": "1s"}})
            }
            Self::Mysql | Self::Postgres | Self::Mysql8 | Self::Postgres12 => json!({"sql": {
                "pluginName": self.name(), "databaseName": name, "connectAddr": format!("127.0.0.1:{}", nobody[0]),
                "connectProtocol": "tcp", "user": "temporal", "password": "temporal",
            }}),
            Self::Sqlite => sqlite(&folder.join(format!("{name}.db"))),
            Self::Elasticsearch => elasticsearch(nobody[0]),
            Self::ElasticsearchElsewhere => elasticsearch(nobody[1]),
        }
    }
}

/// An entry of a SQLite file that the server makes with its schema.
fn sqlite(file: &Path) -> Value {
    json!({"sql": {
        "pluginName": "sqlite", "databaseName": file, "connectAddr": "localhost", "connectProtocol": "tcp",
        "connectAttributes": {"mode": "rwc", "setup": "true", "cache": "private"},
    }})
}

/// How the server is told of its second store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Store,
    Index,
    /// Both `secondaryVisibilityStore` and `advancedVisibilityStore`.
    StoreAndLegacyKey,
}

impl Form {
    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Store | Self::StoreAndLegacyKey => "secondary-store",
            Self::Index => "secondary-index",
        }
    }

    /// Its key in the config file.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Store | Self::StoreAndLegacyKey => "secondaryVisibilityStore",
            Self::Index => "indices.secondary_visibility",
        }
    }
}

/// A primary and a secondary store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) primary: Store,
    pub(crate) secondary: Store,
    pub(crate) form: Form,
}

impl Pair {
    pub(crate) fn by_store(primary: Store, secondary: Store) -> Self {
        Self {
            primary,
            secondary,
            form: Form::Store,
        }
    }

    /// Two indices in one entry.
    pub(crate) fn by_index() -> Self {
        Self {
            form: Form::Index,
            ..Self::by_store(Store::Elasticsearch, Store::Elasticsearch)
        }
    }

    pub(crate) fn stores(&self) -> String {
        format!("{}, {}", self.primary.name(), self.secondary.name())
    }

    /// Source, target and place as the table names them.
    pub(crate) fn families(&self) -> [&'static str; 3] {
        let place = match (self.primary, self.secondary) {
            (Store::Elasticsearch, Store::Elasticsearch) => "same-cluster",
            _ => "elsewhere",
        };
        [self.primary.kind(), self.secondary.kind(), place]
    }

    fn config(&self, folder: &Path, ports: &[u16], nobody: [u16; 2]) -> Value {
        let mut primary = self.primary.entry(folder, "primary", nobody);
        let mut persistence = json!({
            "defaultStore": "main", "visibilityStore": "first", "numHistoryShards": 1,
            "datastores": {"main": sqlite(&folder.join("main.db"))},
        });
        if self.form == Form::Index {
            primary["elasticsearch"]["indices"]["secondary_visibility"] = json!("secondary");
        } else {
            persistence["secondaryVisibilityStore"] = json!("second");
            persistence["datastores"]["second"] = self.secondary.entry(folder, "secondary", nobody);
        }
        if self.form == Form::StoreAndLegacyKey {
            persistence["advancedVisibilityStore"] = json!("third");
            persistence["datastores"]["third"] = Store::Elasticsearch.entry(folder, "third", nobody);
        }
        persistence["datastores"]["first"] = primary;
        let service = |grpc: u16, membership: u16| json!({"rpc": {"grpcPort": grpc, "membershipPort": membership, "bindOnLocalHost": true}});
        json!({
            "log": {"stdout": true, "level": "info"},
            "persistence": persistence,
            "global": {"membership": {"maxJoinDuration": "30s", "broadcastAddress": "127.0.0.1"}},
            "services": {
                "frontend": service(ports[0], ports[1]), "history": service(ports[2], ports[3]),
                "matching": service(ports[4], ports[5]), "worker": service(ports[6], ports[7]),
            },
            "clusterMetadata": {
                "enableGlobalNamespace": false, "failoverVersionIncrement": 10, "masterClusterName": "active",
                "currentClusterName": "active", "clusterInformation": {"active": {
                    "enabled": true, "initialFailoverVersion": 1, "rpcName": "frontend",
                    "rpcAddress": format!("127.0.0.1:{}", ports[0]),
                }},
            },
        })
    }
}

/// A folder with a config file for one start.
pub(crate) struct Host {
    folder: PathBuf,
    minor: u32,
    /// Where nobody listens.
    nobody: [u16; 2],
}

impl Host {
    pub(crate) fn new(below: &Path, release: &Release, pair: &Pair) -> Result<Self> {
        let name = format!("{} {} {:?}", release.name, pair.stores(), pair.form);
        let folder = below.join(name.replace([' ', ','], "-"));
        fs::create_dir_all(&folder)?;
        // The last two are only looked for, so that nobody listens there.
        let ports = free_ports(10)?;
        let nobody = [ports[8], ports[9]];
        let config = pair.config(&folder, &ports[..8], nobody);
        fs::write(folder.join("host.yaml"), format!("{config:#}"))?;
        let minor = release.version.split('.').nth(1).and_then(|minor| minor.parse().ok());
        Ok(Self {
            folder,
            minor: minor.context("a release without a minor version")?,
            nobody,
        })
    }

    /// Starts the history service, which makes both stores, and looks until it shows what it makes of the pair.
    pub(crate) fn start(&self, server: &Path) -> Result<Outcome> {
        let log = self.folder.join("log");
        let output = File::create(&log)?;
        let mut command = Command::new(server);
        // `--config-file` exists from 1.30 on (1.30.8: cmd/server/main.go).
        if self.minor < 30 {
            command
                .args(["--root", "/", "--config"])
                .arg(&self.folder)
                .args(["--env", "host"]);
        } else {
            command.arg("--config-file").arg(self.folder.join("host.yaml"));
        }
        let mut child = command
            .args(["start", "--service", "history"])
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output)
            .spawn()
            .with_context(|| format!("cannot run {}", server.display()))?;
        let deadline = Instant::now() + ANSWER_WITHIN;
        let outcome = loop {
            let ended = child.try_wait()?.is_some();
            if let Some(outcome) = Outcome::of(&fs::read_to_string(&log)?, ended, self.minor, self.nobody) {
                break Some(outcome);
            }
            if ended || Instant::now() > deadline {
                break None;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        // It may have ended by itself; either way nothing of it stays.
        let _ = child.kill();
        child.wait()?;
        let Some(outcome) = outcome else {
            let said = fs::read_to_string(&log)?;
            let lines: Vec<&str> = said.lines().collect();
            bail!(
                "{} does not show what it makes of {}: {}",
                server.display(),
                self.folder.display(),
                lines[lines.len().saturating_sub(8)..].join("\n")
            );
        };
        Ok(outcome)
    }
}
