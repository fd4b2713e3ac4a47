//! Connections to one SQLite file, beside the server that writes to it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossfade_visibility::ports::Error;
use rusqlite::{Connection, ErrorCode, OpenFlags};

/// How long to wait for the server's lock, or another writer's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that is made when first needed; its calls run on threads that may block, one at a time.
pub(super) struct Lane {
    store: String,
    path: PathBuf,
    read_only: bool,
    connection: Arc<Mutex<Option<Connection>>>,
}

impl Lane {
    pub(super) fn new(store: String, path: PathBuf, read_only: bool) -> Self {
        Self {
            store,
            path,
            read_only,
            connection: Arc::default(),
        }
    }

    /// Runs `call` on the connection.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Connection, &str) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (store, path, read_only) = (self.store.clone(), self.path.clone(), self.read_only);
        let connection = self.connection.clone();
        let task = tokio::task::spawn_blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let connection = match connection.as_mut() {
                Some(connection) => connection,
                None => connection.insert(connect(&path, read_only).map_err(|error| of(&store, &error))?),
            };
            call(connection, &store)
        });
        task.await.map_err(|error| Error::Failed {
            store: self.store.clone(),
            reason: error.to_string(),
        })?
    }
}

/// Opens the file, which must exist. The journal mode is the server's to choose and not touched.
fn connect(path: &std::path::Path, read_only: bool) -> rusqlite::Result<Connection> {
    let access = if read_only {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    } else {
        OpenFlags::SQLITE_OPEN_READ_WRITE
    };
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // A record touches many pages; the default of 2 MiB has each written more than once per transaction.
    connection.pragma_update(None, "cache_size", -32 * 1024)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// What an error of the engine means to a port.
pub(super) fn of(store: &str, error: &rusqlite::Error) -> Error {
    let (store, reason) = (store.to_owned(), error.to_string());
    let Some(code) = error.sqlite_error_code() else {
        return Error::Failed { store, reason };
    };
    match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull => Error::Busy { store, reason },
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied => {
            Error::Denied { store, reason }
        }
        ErrorCode::CannotOpen | ErrorCode::SystemIoFailure => Error::Unreachable { store, reason },
        ErrorCode::NotADatabase | ErrorCode::SchemaChanged => Error::Schema { store, reason },
        ErrorCode::Unknown if reason.contains("no such ") => Error::Schema { store, reason },
        _ => Error::Failed { store, reason },
    }
}

/// Whether the engine refused a value rather than the statement.
pub(super) fn is_about_content(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
    ) || error.to_string().contains("malformed JSON")
}
