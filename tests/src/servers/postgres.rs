//! A real PostgreSQL of the machine's own programs, in a folder of the testbed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio_postgres::NoTls;

use super::ports::free_ports;
use super::processes::{Processes, Running, Signal, family};
use super::progress::Progress;

/// The role that owns everything; also the name Temporal logs in with.
pub const USER: &str = "temporal";

/// The role's password: long and odd enough that a test can search logs, diffs and histories for it.
pub const PASSWORD: &str = "tK7-postgres-secret-Qx93";

/// The plugin for everything but standard Visibility.
const PLUGIN: &str = "postgres12";

/// The plugin for standard Visibility, which knows no search attributes.
const STANDARD_PLUGIN: &str = "postgres";

const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    folder: PathBuf,
    programs: PathBuf,
    port: u16,
    identity: Option<(u32, u32)>,
    running: Option<Running>,
}

impl Postgres {
    /// Makes a database cluster in `folder` and starts it on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is no PostgreSQL and none can be installed: with the choices; or when it does not start: with its log.
    pub async fn start(folder: &Path, processes: &Processes, progress: &dyn Progress) -> Result<Self> {
        let programs = find_or_install(progress)?;
        fs::create_dir_all(folder)?;
        // PostgreSQL refuses to run as root; the folder then belongs to an ordinary user.
        let identity = (fs::metadata(folder)?.uid() == 0).then(unprivileged_user).transpose()?;
        if let Some((uid, gid)) = identity {
            std::os::unix::fs::chown(folder, Some(uid), Some(gid))?;
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        let port = free_ports(1)?[0];
        let mut postgres = Self {
            folder: folder.to_owned(),
            programs,
            port,
            identity,
            running: None,
        };
        postgres.initdb()?;
        postgres.resume(processes).await?;
        Ok(postgres)
    }

    /// Starts the server again after [`Postgres::stop`] or [`Postgres::kill`], on the same port.
    ///
    /// # Errors
    /// When it does not answer within a minute: with the end of its log.
    pub async fn resume(&mut self, processes: &Processes) -> Result<()> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
        // fsync off: tests kill the process, never the machine.
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=300",
            "fsync=off",
        ] {
            command.args(["-c", setting]);
        }
        self.running = Some(processes.spawn("postgres", &mut command, &self.log())?);
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let refused = match self.connect("postgres").await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            if Instant::now() > deadline || !self.running.as_mut().is_some_and(Running::is_running) {
                bail!(
                    "PostgreSQL did not start: {refused:#}\n{}",
                    super::processes::tail(&self.log())
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops the server as an administrator would for a restart (fast shutdown).
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn stop(&mut self) -> Result<()> {
        self.running
            .take()
            .map_or(Ok(()), |mut running| running.stop(Signal::Int))
    }

    /// Kills the server: its next start recovers from the log.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn kill(&mut self) -> Result<()> {
        self.running
            .take()
            .map_or(Ok(()), |mut running| running.stop(Signal::Kill))
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.running.as_mut().is_some_and(Running::is_running)
    }

    /// The pids of the server and of every process that it has at this moment.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.running
            .as_ref()
            .map(|running| family(running.pid()))
            .unwrap_or_default()
    }

    /// Leaves the server running when this value is dropped.
    pub fn keep(&mut self) {
        if let Some(running) = &mut self.running {
            running.keep();
        }
    }

    /// `host:port`, as the server's config writes it in `connectAddr`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("postgres.log")
    }

    /// Opens a connection to `database` as the owner.
    ///
    /// # Errors
    /// When the server does not answer or there is no such database.
    pub async fn connect(&self, database: &str) -> Result<tokio_postgres::Client> {
        connect(self.port, database).await
    }

    /// Runs one or more statements in `database`.
    ///
    /// # Errors
    /// When the server refuses them.
    pub async fn execute(&self, database: &str, statements: &str) -> Result<()> {
        let client = self.connect(database).await?;
        client
            .batch_execute(statements)
            .await
            .with_context(|| format!("cannot run in {database}: {statements}"))
    }

    /// The schema of `database` as `pg_dump` writes it, to be compared with another: without what differs from dump to dump.
    ///
    /// # Errors
    /// When `pg_dump` fails: with what it said.
    pub fn schema_of(&self, database: &str) -> Result<String> {
        // What is found first may be links to the servers' programs alone.
        let programs = self.programs.join("postgres").canonicalize()?;
        let output = Command::new(programs.with_file_name("pg_dump"))
            .args([
                "--schema-only",
                "-h",
                "127.0.0.1",
                "-U",
                USER,
                "-p",
                &self.port.to_string(),
                database,
            ])
            .env("PGPASSWORD", PASSWORD)
            .output()
            .context("cannot run pg_dump")?;
        if !output.status.success() {
            bail!(
                "pg_dump of {database} failed: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        // Newer releases write a random key around it.
        let text = String::from_utf8(output.stdout)?;
        let lines = text.lines().filter(|line| !line.contains("restrict "));
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }

    /// Creates an empty database.
    ///
    /// # Errors
    /// When it is there already.
    pub async fn create_database(&self, name: &str) -> Result<()> {
        self.execute("postgres", &format!("CREATE DATABASE \"{name}\"")).await
    }

    /// Creates `database` and sets up Temporal's schema `kind` in it with Temporal's own tool.
    ///
    /// # Errors
    /// When the tool fails: with what it said.
    pub fn create_temporal_database(&self, tool: &SchemaTool, database: &str, kind: SchemaKind) -> Result<()> {
        self.create_with_plugin(tool, PLUGIN, database, kind)
    }

    /// The same with the older schema of the plugin `postgres`, which Visibility without search attributes has (up to
    /// 1.23).
    ///
    /// # Errors
    /// When the tool fails: with what it said.
    pub fn create_standard_database(&self, tool: &SchemaTool, database: &str) -> Result<()> {
        self.create_with_plugin(tool, STANDARD_PLUGIN, database, SchemaKind::Visibility)
    }

    fn create_with_plugin(&self, tool: &SchemaTool, plugin: &str, database: &str, kind: SchemaKind) -> Result<()> {
        let schema = if plugin == STANDARD_PLUGIN { "v96" } else { "v12" };
        let versioned = tool
            .source
            .join("schema/postgresql")
            .join(schema)
            .join(kind.folder())
            .join("versioned");
        let versioned = versioned.to_str().context("the schema's path is not UTF-8")?;
        for arguments in [
            &["create-database"][..],
            &["setup-schema", "-v", "0.0"],
            &["update-schema", "-d", versioned],
        ] {
            let output = Command::new(&tool.program)
                .args([
                    "--plugin",
                    plugin,
                    "--endpoint",
                    "127.0.0.1",
                    "--port",
                    &self.port.to_string(),
                ])
                .args(["--user", USER, "--database", database])
                .args(arguments)
                .env("SQL_PASSWORD", PASSWORD)
                .output()
                .with_context(|| format!("cannot run {}", tool.program.display()))?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                bail!(
                    "temporal-sql-tool {} for {database} failed: {said}",
                    arguments.join(" ")
                );
            }
        }
        Ok(())
    }

    /// The server's own datastore entry for `database`.
    #[must_use]
    pub fn datastore(&self, database: &str) -> serde_json::Value {
        self.datastore_of(PLUGIN, database)
    }

    /// The same for a database with the schema of [`Postgres::create_standard_database`].
    #[must_use]
    pub fn standard_datastore(&self, database: &str) -> serde_json::Value {
        self.datastore_of(STANDARD_PLUGIN, database)
    }

    fn datastore_of(&self, plugin: &str, database: &str) -> serde_json::Value {
        serde_json::json!({"sql": {
            "pluginName": plugin, "databaseName": database, "connectAddr": self.address(),
            "connectProtocol": "tcp", "user": USER, "password": PASSWORD,
            "maxConns": 10, "maxIdleConns": 10, "maxConnLifetime": "1h",
        }})
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        // The caller's folder may be closed to the user that PostgreSQL runs as.
        command.current_dir(&self.folder);
        if let Some((uid, gid)) = self.identity {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn initdb(&self) -> Result<()> {
        let password = self.folder.join("password");
        fs::write(&password, PASSWORD)?;
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
        if let Some((uid, gid)) = self.identity {
            std::os::unix::fs::chown(&password, Some(uid), Some(gid))?;
        }
        let output = self
            .command("initdb")
            .arg("-D")
            .arg(self.data())
            .args([
                "--username",
                USER,
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ])
            .arg(format!("--pwfile={}", password.display()))
            .output()
            .context("cannot run initdb")?;
        if !output.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

/// Temporal's schema tool and where the schema files are.
#[derive(Debug, Clone)]
pub struct SchemaTool {
    /// `temporal-sql-tool`.
    pub program: PathBuf,
    /// The source folder of the same server version.
    pub source: PathBuf,
}

/// Which of Temporal's two schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaKind {
    /// Mutable state, histories and tasks.
    Main,
    /// Visibility.
    Visibility,
}

impl SchemaKind {
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Main => "temporal",
            Self::Visibility => "visibility",
        }
    }
}

/// Opens a connection as the owner to `database` of the testbed's server on `port`.
///
/// # Errors
/// When the server does not answer or there is no such database.
pub async fn connect(port: u16, database: &str) -> Result<tokio_postgres::Client> {
    let mut config = tokio_postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(port)
        .user(USER)
        .password(PASSWORD)
        .dbname(database);
    config.connect_timeout(Duration::from_secs(5));
    let (client, connection) = config
        .connect(NoTls)
        .await
        .with_context(|| format!("cannot connect to {database}"))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to PostgreSQL ended");
        }
    });
    Ok(client)
}

/// The folder with `initdb` and `postgres`, installed when this machine is a Debian and we are its root.
fn find_or_install(progress: &dyn Progress) -> Result<PathBuf> {
    if let Some(folder) = find()? {
        return Ok(folder);
    }
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if is_root && Path::new("/usr/bin/apt-get").exists() {
        progress.started("installing PostgreSQL with apt-get");
        // The package would start a server of its own; what is wanted here are the programs.
        let output = Command::new("apt-get")
            .args(["install", "-y", "--no-install-recommends", "postgresql"])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output()
            .context("cannot run apt-get")?;
        if let Some(folder) = find()? {
            progress.finished("installed PostgreSQL");
            return Ok(folder);
        }
        bail!(
            "apt-get install postgresql failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    bail!(
        "PostgreSQL is needed and was not found. Choose one:\n\
         - install it (Debian: `apt-get install postgresql`; macOS: `brew install postgresql`)\n\
         - put the folder with `initdb` and `postgres` on PATH\n\
         - set CROSSFADE_POSTGRES_BIN to that folder"
    )
}

fn find() -> Result<Option<PathBuf>> {
    let complete = |folder: &Path| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    if let Some(given) = std::env::var_os("CROSSFADE_POSTGRES_BIN").filter(|value| !value.is_empty()) {
        let folder = PathBuf::from(given);
        if !complete(&folder) {
            bail!(
                "CROSSFADE_POSTGRES_BIN is {}, which has no `initdb` and `postgres`",
                folder.display()
            );
        }
        return Ok(Some(folder));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(folder) = std::env::split_paths(&path).find(|folder| complete(folder)) {
        return Ok(Some(folder));
    }
    // Debian keeps them off PATH, one folder for each major version: the newest is taken.
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| complete(folder))
        .collect();
    versions.sort();
    Ok(versions.pop().map(|(_, folder)| folder))
}

/// The user and group to run PostgreSQL as when we are root: its own user, else nobody.
fn unprivileged_user() -> Result<(u32, u32)> {
    let id = |flag: &str, user: &str| -> Option<u32> {
        let output = Command::new("id").args([flag, user]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    ["postgres", "nobody"]
        .into_iter()
        .find_map(|user| Some((id("-u", user)?, id("-g", user)?)))
        .context("PostgreSQL must not run as root, and there is neither a user `postgres` nor `nobody`")
}
