//! Where the stores of one migration after another are: two places that take turns, each with a disk of its own.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::disk::SmallDisk;
use super::proxy::{Proxy, Way};
use crate::servers::postgres::Postgres;
use crate::servers::processes::{Processes, Signal, send};
use crate::servers::progress::Lines;
use crate::testbed::{Store, Testbed};

/// Room for some SQLite files, and for a database server with its logs.
const FILES: &str = "160m";
const SERVER: &str = "600m";

/// How long a server may take to come up again: it recovers first.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// A store, as the spec and as the judge need it.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    /// Its key under the config's datastores.
    pub(super) name: String,
    /// For the judge.
    pub(super) store: Store,
    /// Its datastore entry as a spec has it.
    pub(super) entry: Value,
    /// Which of the two places it is in; the cluster's own database server, at first.
    place: Option<usize>,
}

struct Place {
    // The server goes before its disk.
    server: Option<Server>,
    disk: SmallDisk,
}

/// A database server and the proxy in front of it.
pub(super) struct Server {
    pub(super) postgres: Postgres,
    pub(super) proxy: Proxy,
    processes: Processes,
}

/// The two places, and the stores in them.
pub(super) struct Sites {
    places: Vec<Place>,
    /// Between the worker and the cluster's own database server.
    own: Option<Proxy>,
    /// The entry of a target as the testbed has it.
    template: Value,
    source: Placed,
    target: Option<Placed>,
    made: u32,
}

impl Sites {
    pub(super) async fn beside(testbed: &mut Testbed) -> Result<Self> {
        let folder = testbed.folder().to_owned();
        let spec = testbed.spec();
        let template = spec["target"]["datastore"].clone();
        let source = testbed.source().clone();
        let own = match testbed.postgres_server() {
            Some((server, _)) => Some(Proxy::to(&server.address()).await?),
            None => None,
        };
        let mut entry = template.clone();
        match &source {
            Store::Sqlite { file } => entry["sql"]["databaseName"] = json!(file),
            Store::Postgres { database, .. } => {
                entry["sql"]["databaseName"] = json!(database);
                entry["sql"]["connectAddr"] = json!(own.as_ref().map(Proxy::address));
            }
            other => anyhow::bail!("no faults are known for {other:?}"),
        }
        let mut places = Vec::new();
        for name in ["store-a", "store-b"] {
            places.push(Place::make(&folder.join(name), own.is_some()).await?);
        }
        Ok(Self {
            places,
            own,
            template,
            source: Placed {
                name: "visibility".to_owned(),
                store: source,
                entry,
                place: None,
            },
            target: None,
            made: 0,
        })
    }

    /// The store that the cluster has.
    pub(super) fn source(&self) -> &Placed {
        &self.source
    }

    /// An empty store for the next migration to move to, in the place where the source is not.
    pub(super) async fn next_target(&mut self, folder: &Path) -> Result<Placed> {
        self.made += 1;
        let index = usize::from(self.source.place == Some(0));
        let name = format!("visibility-{}", self.made);
        let mut entry = self.template.clone();
        let store = match &self.places[index].server {
            None => {
                let file = folder.join(["store-a", "store-b"][index]).join(format!("{name}.db"));
                entry["sql"]["databaseName"] = json!(file);
                Store::Sqlite { file }
            }
            Some(server) => {
                let database = format!("visibility_{}", self.made);
                server.postgres.create_database(&database).await?;
                entry["sql"]["databaseName"] = json!(database);
                entry["sql"]["connectAddr"] = json!(server.proxy.address());
                Store::Postgres {
                    port: server.postgres.port(),
                    database,
                }
            }
        };
        let target = Placed {
            name,
            store,
            entry,
            place: Some(index),
        };
        self.target = Some(target.clone());
        Ok(target)
    }

    /// The migration is over: the cluster has the target now, or it has the source still. The other one is of no use any
    /// more, and disks are small.
    pub(super) async fn settled(&mut self, finished: bool) -> Result<()> {
        let Some(target) = self.target.take() else {
            return Ok(());
        };
        let left = if finished {
            std::mem::replace(&mut self.source, target)
        } else {
            target
        };
        let Some(place) = left.place else { return Ok(()) };
        match (&left.store, &self.places[place].server) {
            (Store::Sqlite { file }, _) => {
                for ending in ["", "-wal", "-shm"] {
                    let _ = fs::remove_file(format!("{}{ending}", file.display()));
                }
                Ok(())
            }
            (Store::Postgres { database, .. }, Some(server)) => {
                let drop = format!("DROP DATABASE IF EXISTS \"{database}\" WITH (FORCE)");
                server.postgres.execute("postgres", &drop).await
            }
            _ => Ok(()),
        }
    }

    fn target(&mut self) -> Result<&mut Place> {
        let index = self.target.as_ref().and_then(|target| target.place);
        index.map(|index| &mut self.places[index]).context("there is no target")
    }

    pub(super) fn fill_target(&mut self) -> Result<()> {
        self.target()?.disk.fill()
    }

    /// Gives the room back; a server that gave up meanwhile is started again, as its administrator would.
    pub(super) async fn empty_target(&mut self) -> Result<()> {
        let place = self.target()?;
        place.disk.empty()?;
        let Some(server) = &mut place.server else { return Ok(()) };
        let deadline = Instant::now() + Duration::from_secs(5);
        while server.postgres.connect("postgres").await.is_err() {
            if Instant::now() > deadline || !server.postgres.is_running() {
                server.postgres.kill()?;
                return server.up().await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// The target's server.
    pub(super) fn target_server(&mut self) -> Result<&mut Server> {
        self.target()?.server.as_mut().context("the target has no server")
    }

    /// How connections to the source fare: at first only those of the worker.
    pub(super) fn source_way(&self, way: Way) {
        let proxy = match self.source.place {
            Some(index) => self.places[index].server.as_ref().map(|server| &server.proxy),
            None => self.own.as_ref(),
        };
        if let Some(proxy) = proxy {
            proxy.set(way);
        }
    }

    /// Kills the source's server: at first the one that has the cluster's main store too.
    pub(super) fn kill_source(&mut self, testbed: &mut Testbed) -> Result<()> {
        match self.source.place {
            Some(index) => match &mut self.places[index].server {
                Some(server) => server.postgres.kill(),
                None => Ok(()),
            },
            None => testbed.postgres_server().context("no PostgreSQL")?.0.kill(),
        }
    }

    pub(super) async fn start_source(&mut self, testbed: &mut Testbed) -> Result<()> {
        match self.source.place {
            Some(index) => match &mut self.places[index].server {
                Some(server) => server.up().await,
                None => Ok(()),
            },
            None => {
                let (postgres, processes) = testbed.postgres_server().context("no PostgreSQL")?;
                up(postgres, processes).await
            }
        }
    }

    /// Stops the servers.
    pub(super) fn stop(&mut self) -> Result<()> {
        for server in self.places.iter_mut().filter_map(|place| place.server.as_mut()) {
            server.postgres.kill()?;
        }
        Ok(())
    }
}

impl Place {
    async fn make(folder: &Path, with_server: bool) -> Result<Self> {
        let disk = SmallDisk::over(folder, if with_server { SERVER } else { FILES })?;
        if !with_server {
            return Ok(Self { server: None, disk });
        }
        // Off the disk that is to be full.
        let processes = Processes::watch(&folder.with_extension("pids"))?;
        let postgres = Postgres::start(&folder.join("server"), &processes, &Lines::default()).await?;
        for setting in ["max_wal_size = '64MB'", "min_wal_size = '32MB'"] {
            postgres
                .execute("postgres", &format!("ALTER SYSTEM SET {setting}"))
                .await?;
        }
        postgres.execute("postgres", "SELECT pg_reload_conf()").await?;
        let proxy = Proxy::to(&postgres.address()).await?;
        Ok(Self {
            server: Some(Server {
                postgres,
                processes,
                proxy,
            }),
            disk,
        })
    }
}

impl Server {
    pub(super) async fn up(&mut self) -> Result<()> {
        up(&mut self.postgres, &self.processes).await
    }
}

/// Starts a database server until it is up: what is left of a killed one may hold its memory for a moment.
async fn up(server: &mut Postgres, processes: &Processes) -> Result<()> {
    let deadline = Instant::now() + UP_WITHIN;
    loop {
        match server.resume(processes).await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(300)).await,
            outcome => return outcome,
        }
    }
}

/// Sends a signal to each process that is still there.
pub(super) fn signal_all(pids: &[u32], signal: Signal) {
    for pid in pids {
        let _ = send(*pid, signal);
    }
}
