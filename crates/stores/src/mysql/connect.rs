//! Connections: from a datastore entry to a session, and why there is none.

use std::sync::Arc;
use std::time::Duration;

use crossfade_visibility::ports;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, OptsBuilder, Params, Row, Value};
use tokio::sync::{Mutex, MutexGuard};

use super::entry::{MysqlEntry, Place};
use super::fault;
use super::tls::{self, Mode};
use crate::error::OpenError;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connect attributes that are meant for the server's own driver (go-sql-driver/mysql: dsn.go) and are no variables of
/// the session.
const DRIVER_ONLY: [&str; 22] = [
    "allowallfiles",
    "allowcleartextpasswords",
    "allowfallbacktoplaintext",
    "allownativepasswords",
    "allowoldpasswords",
    "charset",
    "checkconnliveness",
    "clientfoundrows",
    "collation",
    "columnswithalias",
    "compress",
    "connectionattributes",
    "interpolateparams",
    "loc",
    "maxallowedpacket",
    "multistatements",
    "parsetime",
    "readtimeout",
    "rejectreadonly",
    "timeout",
    "tls",
    "writetimeout",
];

/// What every session of ours is set to, unless the entry says otherwise. The isolation is the server's
/// (1.30.8: sqlplugin/mysql/session/session.go). Strict, so that a value which does not fit is refused and never cut.
const SESSION: [&str; 3] = [
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION time_zone = '+00:00'",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
];

/// The same, where the engine has it: engines that speak the protocol of MySQL differ in these.
const SESSION_WHERE_KNOWN: [&str; 3] = [
    "SET SESSION innodb_lock_wait_timeout = 20",
    "SET SESSION lock_wait_timeout = 20",
    // What the tables say of their own size is else a day old.
    "SET SESSION information_schema_stats_expiry = 0",
];

/// A count of a large table is slow; no query is slower than this, in milliseconds.
const READING_WHERE_KNOWN: [&str; 2] = [
    "SET SESSION TRANSACTION READ ONLY",
    "SET SESSION max_execution_time = 1800000",
];

/// A connection that is made when first needed and again when it was lost. One call at a time.
pub(super) struct Lane {
    entry: Arc<MysqlEntry>,
    name: Arc<str>,
    read_only: bool,
    idle: Mutex<Option<Conn>>,
}

impl Lane {
    pub(super) fn new(entry: Arc<MysqlEntry>, read_only: bool) -> Self {
        Self {
            name: entry.describe().into(),
            entry,
            read_only,
            idle: Mutex::new(None),
        }
    }

    /// Connects now if there is no connection, so that what is wrong is said by its kind.
    pub(super) async fn open(&self) -> Result<Session<'_>, OpenError> {
        let mut idle = self.idle.lock().await;
        let conn = match idle.take().filter(|conn| !conn.is_disconnected()) {
            Some(conn) => conn,
            None => connect(&self.entry, self.read_only).await?,
        };
        Ok(Session {
            idle,
            conn,
            store: self.name.clone(),
        })
    }

    /// The same, for calls of a port.
    pub(super) async fn session(&self) -> Result<Session<'_>, ports::Error> {
        self.open().await.map_err(|error| {
            let (store, reason) = (self.name.to_string(), error.to_string());
            match error {
                OpenError::Busy { .. } => ports::Error::Busy { store, reason },
                OpenError::Rejected { .. } | OpenError::Denied { .. } => ports::Error::Denied { store, reason },
                OpenError::Unreachable { reason, .. } => ports::Error::Unreachable { store, reason },
                _ => ports::Error::Failed { store, reason },
            }
        })
    }
}

/// The connection of a lane, for one call. Unless it is given back by [`Session::keep`] it is closed, and with it ends a
/// transaction that is under way: a call that failed or was abandoned leaves nothing half said on the wire.
pub(super) struct Session<'a> {
    idle: MutexGuard<'a, Option<Conn>>,
    conn: Conn,
    store: Arc<str>,
}

impl Session<'_> {
    /// The rows that a statement answers.
    pub(super) async fn rows(&mut self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, ports::Error> {
        let answered = self.conn.exec(statement, positional(parameters)).await;
        answered.map_err(|error| fault::of(&self.store, &error))
    }

    /// How many rows a statement changed, as MySQL counts: one for an inserted row, two for a row that was changed
    /// because its key was there, none for one that was there and is as it was.
    pub(super) async fn change(&mut self, statement: &str, parameters: Vec<Value>) -> Result<u64, mysql_async::Error> {
        self.conn.exec_drop(statement, positional(parameters)).await?;
        Ok(self.conn.affected_rows())
    }

    /// Runs a statement that is part of no protocol of preparing, such as those of a transaction.
    pub(super) async fn command(&mut self, statement: &str) -> Result<(), ports::Error> {
        let done = self.conn.query_drop(statement).await;
        done.map_err(|error| fault::of(&self.store, &error))
    }

    /// Takes back what the transaction did, when the server is still there to do so; else it ends with the connection.
    pub(super) async fn roll_back(mut self) {
        if self.command("ROLLBACK").await.is_ok() {
            self.keep();
        }
    }

    /// Gives the connection back for the next call.
    pub(super) fn keep(mut self) {
        *self.idle = Some(self.conn);
    }
}

fn positional(parameters: Vec<Value>) -> Params {
    if parameters.is_empty() {
        Params::Empty
    } else {
        Params::Positional(parameters)
    }
}

async fn connect(entry: &MysqlEntry, read_only: bool) -> Result<Conn, OpenError> {
    let connecting = async {
        let options = options(entry);
        match tls::mode(entry)? {
            Mode::Disabled => made(entry, Conn::new(options).await),
            Mode::Required(tls) => made(entry, Conn::new(options.ssl_opts(Some(tls))).await),
            Mode::Preferred(tls) => match Conn::new(options.clone().ssl_opts(Some(tls))).await {
                Err(mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer)) => {
                    made(entry, Conn::new(options).await)
                }
                conn => made(entry, conn),
            },
        }
    };
    let mut conn = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| OpenError::Unreachable {
            store: entry.describe(),
            reason: format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()),
        })??;
    configure(&mut conn, entry, read_only).await?;
    Ok(conn)
}

fn made(entry: &MysqlEntry, conn: Result<Conn, mysql_async::Error>) -> Result<Conn, OpenError> {
    conn.map_err(|error| fault::of_connecting(entry, &error))
}

fn options(entry: &MysqlEntry) -> OptsBuilder {
    let options = OptsBuilder::default()
        .user(Some(entry.user.clone()))
        .pass(Some(entry.password.clone()).filter(|password| !password.is_empty()))
        .db_name(Some(entry.database.clone()))
        .tcp_keepalive(Some(Duration::from_secs(15)))
        // The entry says where; a socket that the server offers may be another machine's.
        .prefer_socket(false)
        .enable_cleartext_plugin(
            entry
                .attributes
                .get("allowCleartextPasswords")
                .is_some_and(|allowed| allowed == "true"),
        );
    match &entry.place {
        Place::Tcp { host, port } => options.ip_or_hostname(host.clone()).tcp_port(*port),
        Place::Unix { path } => options.socket(Some(path.clone())),
    }
}

/// Sets the session up: as every one of ours, then by the entry's variables, as the server's driver does with attributes
/// that it does not know.
async fn configure(conn: &mut Conn, entry: &MysqlEntry, read_only: bool) -> Result<(), OpenError> {
    for statement in SESSION {
        let done = conn.query_drop(statement).await;
        done.map_err(|error| fault::of_connecting(entry, &error))?;
    }
    let reading: &[&str] = if read_only { &READING_WHERE_KNOWN } else { &[] };
    for statement in SESSION_WHERE_KNOWN.iter().chain(reading) {
        match conn.query_drop(*statement).await {
            Ok(()) => {}
            Err(mysql_async::Error::Server(error)) => {
                tracing::debug!(%error, statement, "this engine does not have a setting");
            }
            Err(error) => return Err(fault::of_connecting(entry, &error)),
        }
    }
    for (name, value) in &entry.attributes {
        if DRIVER_ONLY.contains(&name.to_lowercase().as_str()) || name.to_lowercase() == "serverpubkey" {
            continue;
        }
        let wrong = |reason: String| OpenError::Malformed {
            field: format!("sql.connectAttributes.{name}"),
            reason,
        };
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(wrong("is no name of a session variable".to_owned()));
        }
        match conn
            .query_drop(format!("SET SESSION {name} = {}", literal(name, value)))
            .await
        {
            Ok(()) => {}
            Err(mysql_async::Error::Server(error)) => {
                return Err(wrong(format!(
                    "is refused by the server: {} ({})",
                    error.message, error.code
                )));
            }
            Err(error) => return Err(fault::of_connecting(entry, &error)),
        }
    }
    Ok(())
}

/// A variable's value as the server's driver sends it: as written, but for the isolation, which may lack its quotes.
fn literal(name: &str, value: &str) -> String {
    let isolation = ["transaction_isolation", "tx_isolation"].contains(&name.to_lowercase().as_str());
    if isolation && !value.starts_with('\'') {
        format!("'{value}'")
    } else {
        value.to_owned()
    }
}
