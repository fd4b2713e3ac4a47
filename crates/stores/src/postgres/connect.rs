//! Connections: from a datastore entry to a session, and why there is none.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossfade_visibility::ports;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, NoTls, Statement};

use super::fault;
use super::tls::{self, Mode};
use crate::entry::PostgresEntry;
use crate::error::OpenError;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connect attributes that are meant for the server's own driver (lib/pq, pgx) and change nothing about the session.
const DRIVER_ONLY: [&str; 19] = [
    "application_name",
    "binary_parameters",
    "channel_binding",
    "connect_timeout",
    "default_query_exec_mode",
    "description_cache_capacity",
    "disable_prepared_binary_result",
    "fallback_application_name",
    "gssencmode",
    "min_read_buffer_size",
    "passfile",
    "service",
    "servicefile",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement_cache_capacity",
    "target_session_attrs",
];

/// What every session of ours is set to, unless the entry says otherwise: a forgotten transaction must not hold the
/// server up, and rows are found by an index. Left to itself the planner goes through a table that it has no statistics
/// of (a target that fills up has none), and keeps to that plan when the table has grown.
const SESSION: [(&str, &str); 6] = [
    ("lock_timeout", "20s"),
    ("idle_in_transaction_session_timeout", "60s"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
];

/// How long one statement may take: a count of a large table is slow, a write that is slow hangs.
const READ_TIMEOUT: (&str, &str) = ("statement_timeout", "30min");
const WRITE_TIMEOUT: (&str, &str) = ("statement_timeout", "5min");

/// One session, with its prepared statements.
pub(super) struct Session {
    pub(super) client: Client,
    statements: HashMap<String, Statement>,
}

impl Session {
    /// A statement, prepared once per session.
    pub(super) async fn prepare(&mut self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

/// The most connections of a kind: four slices at once, each of which reads a page while another one of it is looked up, or
/// written, have one for each call. More only queue inside a store, which has others to serve.
const MOST: usize = 8;

/// Connections of one kind. One is made when all that there are have something to do, and again when one was lost: of a store
/// that is far away nearly all of a call is waiting, and calls that waited for each other besides would add up.
pub(super) struct Lane {
    entry: Arc<PostgresEntry>,
    read_only: bool,
    /// One for each connection that there may be.
    calls: Semaphore,
    /// Those that have nothing to do.
    idle: Mutex<Vec<Session>>,
}

impl Lane {
    pub(super) fn new(entry: Arc<PostgresEntry>, read_only: bool) -> Self {
        Self {
            entry,
            read_only,
            calls: Semaphore::new(MOST),
            idle: Mutex::default(),
        }
    }

    /// Another lane of the same kind, which shares nothing with this one.
    pub(super) fn alike(&self) -> Self {
        Self::new(self.entry.clone(), self.read_only)
    }

    /// A session for the caller alone, connected now if none is idle, so that what is wrong is said by its kind.
    pub(super) async fn open(&self) -> Result<SessionGuard<'_>, OpenError> {
        let call = self.calls.acquire().await.map_err(|_| OpenError::Unreachable {
            store: self.entry.describe(),
            reason: "it is being closed".to_owned(),
        })?;
        let idle = self.take();
        let session = match idle {
            Some(session) => session,
            None => connect(&self.entry, self.read_only).await?,
        };
        Ok(SessionGuard {
            lane: self,
            session: Some(session),
            _call: call,
        })
    }

    /// One that has nothing to do, and is not lost.
    fn take(&self) -> Option<Session> {
        let mut idle = self.idle();
        idle.retain(|session| !session.client.is_closed());
        idle.pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, for calls of a port.
    pub(super) async fn session(&self) -> Result<SessionGuard<'_>, ports::Error> {
        self.open().await.map_err(|error| self.unopened(error))
    }

    /// One more connection of the same kind, for the caller alone.
    pub(super) async fn another(&self) -> Result<Client, ports::Error> {
        let session = connect(&self.entry, self.read_only).await;
        session
            .map(|session| session.client)
            .map_err(|error| self.unopened(error))
    }

    fn unopened(&self, error: OpenError) -> ports::Error {
        let (store, reason) = (self.entry.describe(), error.to_string());
        match error {
            OpenError::Busy { .. } => ports::Error::Busy { store, reason },
            OpenError::Rejected { .. } | OpenError::Denied { .. } => ports::Error::Denied { store, reason },
            OpenError::Unreachable { reason, .. } => ports::Error::Unreachable { store, reason },
            _ => ports::Error::Failed { store, reason },
        }
    }
}

/// A session of a lane, for one call. It is there for as long as the guard lives, and for the next call afterwards.
pub(super) struct SessionGuard<'a> {
    lane: &'a Lane,
    session: Option<Session>,
    _call: SemaphorePermit<'a>,
}

impl SessionGuard<'_> {
    pub(super) fn get(&mut self) -> Result<&mut Session, ports::Error> {
        self.session.as_mut().ok_or_else(|| ports::Error::Unreachable {
            store: "PostgreSQL".to_owned(),
            reason: "the connection is gone".to_owned(),
        })
    }

    /// Ends the session; no other call gets it.
    pub(super) fn discard(&mut self) {
        self.session = None;
    }
}

impl Drop for SessionGuard<'_> {
    fn drop(&mut self) {
        // Before the call is over: whoever waits for it finds the session.
        self.lane.idle().extend(self.session.take());
    }
}

async fn connect(entry: &PostgresEntry, read_only: bool) -> Result<Session, OpenError> {
    let tls_mode = tls::mode(entry)?;
    let config = config(entry, &tls_mode).await?;
    let client = match &tls_mode {
        Mode::Disabled => spawn(config.connect(NoTls).await.map_err(|error| refused(entry, &error))?),
        Mode::Enabled { .. } => {
            let connector = tls::connector(entry, &tls_mode)?;
            spawn(
                config
                    .connect(connector)
                    .await
                    .map_err(|error| refused(entry, &error))?,
            )
        }
    };
    let session = Session {
        client,
        statements: HashMap::new(),
    };
    configure(&session.client, entry, read_only)
        .await
        .map_err(|error| refused(entry, &error))?;
    Ok(session)
}

async fn config(entry: &PostgresEntry, tls_mode: &Mode) -> Result<Config, OpenError> {
    let mut config = Config::new();
    config
        .user(&entry.user)
        .dbname(&entry.database)
        .port(entry.port)
        .application_name("crossfade")
        .connect_timeout(CONNECT_TIMEOUT)
        .keepalives_idle(Duration::from_secs(15))
        .keepalives_interval(Duration::from_secs(5))
        .tcp_user_timeout(Duration::from_secs(30))
        .ssl_mode(tls_mode.negotiation());
    if !entry.password.is_empty() {
        config.password(&entry.password);
    }
    // Another name to verify goes in as the host, its address beside it.
    match entry.tls.as_ref().and_then(|tls| tls.server_name.as_ref()) {
        Some(name) => {
            let unreachable = |reason: String| OpenError::Unreachable {
                store: entry.describe(),
                reason,
            };
            let mut addresses = tokio::net::lookup_host((entry.host.as_str(), entry.port))
                .await
                .map_err(|error| unreachable(error.to_string()))?;
            let address = addresses
                .next()
                .ok_or_else(|| unreachable("the name has no address".to_owned()))?;
            config.host(name).hostaddr(address.ip());
        }
        None => {
            config.host(&entry.host);
        }
    }
    Ok(config)
}

fn spawn<S, T>((client, connection): (Client, tokio_postgres::Connection<S, T>)) -> Client
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a PostgreSQL connection ended");
        }
    });
    client
}

/// Applies the entry's run-time parameters, as the server's drivers do with attributes that they do not know. All at once, and
/// without preparing it: to a store that is far away each journey counts.
async fn configure(client: &Client, entry: &PostgresEntry, read_only: bool) -> Result<(), tokio_postgres::Error> {
    let timeout = if read_only { READ_TIMEOUT } else { WRITE_TIMEOUT };
    let theirs = entry.attributes.iter().map(|(name, value)| (&**name, &**value));
    let theirs = theirs.filter(|(name, _)| !DRIVER_ONLY.contains(name));
    let reads = read_only.then_some(("default_transaction_read_only", "on"));
    let settings = SESSION.into_iter().chain([timeout]).chain(theirs).chain(reads);
    let (names, values): (Vec<&str>, Vec<&str>) = settings.unzip();
    let set = include_str!("../../sql/postgres/session.sql");
    let texts = Type::TEXT_ARRAY;
    client
        .query_typed(set, &[(&names, texts.clone()), (&values, texts)])
        .await
        .map(drop)
}

/// Why a connection did not come about, by its remedy.
fn refused(entry: &PostgresEntry, error: &tokio_postgres::Error) -> OpenError {
    let store = entry.describe();
    let reason = fault::reason(error);
    let Some(db) = error.as_db_error() else {
        let tls = error.source().is_some_and(fault::is_tls);
        return match tls || reason.contains("TLS") {
            true => OpenError::Tls { store, reason },
            false if reason.contains("password missing") => OpenError::Rejected {
                store,
                user: entry.user.clone(),
                reason: "it asks for a password".to_owned(),
            },
            false => OpenError::Unreachable { store, reason },
        };
    };
    let code = db.code();
    if *code == SqlState::INVALID_CATALOG_NAME {
        return OpenError::UnknownDatabase {
            store,
            database: entry.database.clone(),
        };
    }
    if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        return OpenError::Denied { store, reason };
    }
    match &code.code()[..2] {
        "28" => OpenError::Rejected {
            store,
            user: entry.user.clone(),
            reason,
        },
        "53" | "57" => OpenError::Busy { store, reason },
        _ => OpenError::Failed { store, reason },
    }
}
