//! A real server of MySQL 8's protocol, in a folder of the testbed: TiDB, with its storage in the process.
//!
//! MySQL itself is in no package registry and no longer in Debian. TiDB is what comes nearest: it has JSON, generated
//! columns, multi-valued indexes and indexes on expressions, so that Temporal's own schema works on it but for its
//! full-text indexes, and so does Temporal's own server. It is built with Go like Temporal's programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};

use super::binaries::{self, Program, TIDB};
use super::cache::Cache;
use super::ports::free_ports;
use super::postgres::SchemaTool;
use super::processes::{Processes, Running, Signal};
use super::progress::Progress;

/// The user that owns everything; also the name Temporal logs in with.
pub const USER: &str = "temporal";

/// The user's password: long and odd enough that a test can search logs, diffs and histories for it.
pub const PASSWORD: &str = "tK7-mysql-secret-Vb41";

/// On a machine that is busy with builds it takes most of this; else two seconds.
const READY_WITHIN: Duration = Duration::from_secs(180);

/// A running server.
#[derive(Debug)]
pub struct Mysql {
    folder: PathBuf,
    program: PathBuf,
    port: u16,
    running: Option<Running>,
}

/// A certificate for the server, by files in PEM.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate, with its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Mysql {
    /// Starts a server with an empty storage in `folder`, on a free port of 127.0.0.1 and on the socket
    /// [`Mysql::socket`]; with TLS if there is a certificate.
    ///
    /// # Errors
    /// When there is no TiDB and none can be built: with the choices; or when it does not start: with its log.
    pub async fn start(
        folder: &Path,
        processes: &Processes,
        certificate: Option<&Certificate>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let program = binaries::find_or_build(&Cache::from_environment()?, &TIDB, Program::Tidb, progress)?;
        fs::create_dir_all(folder)?;
        let mut mysql = Self {
            folder: folder.to_owned(),
            program,
            port: free_ports(1)?[0],
            running: None,
        };
        fs::write(mysql.config(), config(folder, certificate)?)?;
        mysql.resume(processes).await?;
        let mut root = mysql.login("root", None).await?;
        for statement in [
            format!("CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'"),
            format!("GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'%' WITH GRANT OPTION"),
            // Of one server with one session that makes tables nobody needs to be told.
            "SET GLOBAL tidb_enable_metadata_lock = OFF".to_owned(),
            "SET GLOBAL tidb_enable_dist_task = OFF".to_owned(),
            "SET GLOBAL tidb_ddl_enable_fast_reorg = OFF".to_owned(),
        ] {
            root.query_drop(statement.as_str())
                .await
                .with_context(|| format!("cannot run {statement}"))?;
        }
        root.disconnect().await?;
        Ok(mysql)
    }

    /// Starts the server again after [`Mysql::stop`] or [`Mysql::kill`], on the same port.
    ///
    /// # Errors
    /// When it does not answer within three minutes: with the end of its log.
    pub async fn resume(&mut self, processes: &Processes) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["-store", "unistore", "-host", "127.0.0.1"]);
        command.arg("-P").arg(self.port.to_string());
        command.arg("-path").arg(self.folder.join("data"));
        command.arg("-temp-dir").arg(self.folder.join("temporary"));
        command.arg("-socket").arg(self.socket());
        command.arg("-config").arg(self.config());
        // It takes what the machine has otherwise.
        command.env("GOMEMLIMIT", "1500MiB");
        self.running = Some(processes.spawn("mysql", &mut command, &self.log())?);
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let refused = match self.login("root", None).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            if Instant::now() > deadline || !self.running.as_mut().is_some_and(Running::is_running) {
                bail!(
                    "TiDB did not start: {refused:#}\n{}",
                    super::processes::tail(&self.log())
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops the server as an administrator would.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn stop(&mut self) -> Result<()> {
        self.running
            .take()
            .map_or(Ok(()), |mut running| running.stop(Signal::Term))
    }

    /// Kills the server.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn kill(&mut self) -> Result<()> {
        self.running
            .take()
            .map_or(Ok(()), |mut running| running.stop(Signal::Kill))
    }

    /// Leaves the server running when this value is dropped.
    pub fn keep(&mut self) {
        if let Some(running) = &mut self.running {
            running.keep();
        }
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, as the server's config writes it in `connectAddr`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The socket that it listens on too.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("mysql.sock")
    }

    /// The server's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("mysql.log")
    }

    /// Opens a connection as the owner, to `database` if one is named.
    ///
    /// # Errors
    /// When the server does not answer or there is no such database.
    pub async fn connect(&self, database: Option<&str>) -> Result<Conn> {
        let mut conn = self.login(USER, Some(PASSWORD)).await?;
        if let Some(database) = database {
            conn.query_drop(format!("USE `{database}`")).await?;
        }
        Ok(conn)
    }

    /// Runs statements, one after another, in `database` if one is named.
    ///
    /// # Errors
    /// When the server refuses one of them.
    pub async fn execute(&self, database: Option<&str>, statements: &[&str]) -> Result<()> {
        let mut conn = self.connect(database).await?;
        for statement in statements {
            conn.query_drop(*statement)
                .await
                .with_context(|| format!("cannot run {statement}"))?;
        }
        conn.disconnect().await?;
        Ok(())
    }

    /// Creates `database` and sets up a visibility schema in it, by Temporal's own tool and from the source's own file,
    /// which is that of the newest version that the source has. Full-text indexes are left out: TiDB has none.
    ///
    /// # Errors
    /// When the tool fails: with what it said.
    pub fn create_visibility(&self, tool: &SchemaTool, database: &str, schema: Schema) -> Result<()> {
        let folder = tool
            .source
            .join("schema/mysql")
            .join(schema.folder())
            .join("visibility");
        let file = folder.join("schema.sql");
        let statements = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let kept: Vec<&str> = statements
            .lines()
            .filter(|line| !line.starts_with("CREATE FULLTEXT INDEX"))
            .collect();
        let adapted = self.folder.join(format!("{database}.sql"));
        fs::write(&adapted, kept.join("\n"))?;
        let adapted = adapted.to_str().context("the schema's path is not UTF-8")?;
        let version = newest_version(&folder.join("versioned"))?;
        for arguments in [
            &["create-database"][..],
            &["setup-schema", "-v", &version, "-f", adapted],
        ] {
            let output = Command::new(&tool.program)
                .args(["--plugin", schema.plugin(), "--endpoint", "127.0.0.1"])
                .args(["--port", &self.port.to_string(), "--user", USER, "--database", database])
                .args(arguments)
                .env("SQL_PASSWORD", PASSWORD)
                .output()
                .with_context(|| format!("cannot run {}", tool.program.display()))?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                let told = String::from_utf8_lossy(&output.stdout);
                bail!(
                    "temporal-sql-tool {} for {database} failed: {said}{told}",
                    arguments.join(" ")
                );
            }
        }
        Ok(())
    }

    /// Creates `database` with the same tables as `like`, all of them empty but the one of the schema's version.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn clone_schema(&self, like: &str, database: &str) -> Result<()> {
        let mut conn = self.connect(None).await?;
        conn.query_drop(format!("CREATE DATABASE `{database}`")).await?;
        let tables: Vec<String> = conn.query(format!("SHOW TABLES FROM `{like}`")).await?;
        for table in tables {
            conn.query_drop(format!("CREATE TABLE `{database}`.`{table}` LIKE `{like}`.`{table}`"))
                .await?;
        }
        conn.query_drop(format!(
            "INSERT INTO `{database}`.schema_version SELECT version_partition, '{database}', creation_time, curr_version, \
             min_compatible_version FROM `{like}`.schema_version"
        ))
        .await?;
        conn.disconnect().await?;
        Ok(())
    }

    /// The server's own datastore entry for `database`.
    #[must_use]
    pub fn datastore(&self, database: &str, schema: Schema) -> serde_json::Value {
        serde_json::json!({"sql": {
            "pluginName": schema.plugin(), "databaseName": database, "connectAddr": self.address(),
            "connectProtocol": "tcp", "user": USER, "password": PASSWORD,
            "maxConns": 10, "maxIdleConns": 10, "maxConnLifetime": "1h",
        }})
    }

    fn config(&self) -> PathBuf {
        self.folder.join("tidb.toml")
    }

    async fn login(&self, user: &str, password: Option<&str>) -> Result<Conn> {
        let options = OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .prefer_socket(false)
            .user(Some(user))
            .pass(password);
        tokio::time::timeout(Duration::from_secs(5), Conn::new(options))
            .await
            .context("no answer within 5 s")?
            .with_context(|| format!("cannot connect as {user}"))
    }
}

/// Which of Temporal's visibility schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// With search attributes: plugin `mysql8`.
    Advanced,
    /// Without: plugin `mysql`, of servers up to 1.23.
    Standard,
}

impl Schema {
    fn plugin(self) -> &'static str {
        match self {
            Self::Advanced => "mysql8",
            Self::Standard => "mysql",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Advanced => "v8",
            Self::Standard => "v57",
        }
    }
}

/// Temporal's schema has indexes on expressions, for which TiDB asks to be told.
fn config(folder: &Path, certificate: Option<&Certificate>) -> Result<String> {
    let path = |path: &Path| path.to_str().map(str::to_owned).context("a path is not UTF-8");
    let mut config = format!(
        "[log]\nlevel = \"warn\"\nslow-query-file = '{}'\n\n[status]\nreport-status = false\n\n\
         [experimental]\nallow-expression-index = true\n",
        path(&folder.join("slow.log"))?
    );
    if let Some(Certificate { certificate, key }) = certificate {
        config.push_str(&format!(
            "\n[security]\nssl-cert = '{}'\nssl-key = '{}'\n",
            path(certificate)?,
            path(key)?
        ));
    }
    Ok(config)
}

/// The newest of the folders `v1.0`, `v1.1` and so on, without its `v`.
fn newest_version(folder: &Path) -> Result<String> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let minor = |name: &str| name.strip_prefix("v1.")?.parse::<u32>().ok();
    let newest = entries
        .flatten()
        .filter_map(|entry| minor(entry.file_name().to_str()?))
        .max();
    let newest = newest.with_context(|| format!("{} has no schema versions", folder.display()))?;
    Ok(format!("1.{newest}"))
}
