//! Why a store could not be opened, each reason with its own remedy.

use std::path::PathBuf;

/// Why a datastore entry gave no store. No message holds a password; what to do about it is told apart
/// ([`OpenError::remedy`]).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The entry is of a kind, or names a plugin, that there is no driver for.
    #[error("a datastore of kind '{found}' is not supported; supported are {supported}")]
    Unsupported {
        /// The plugin or kind found.
        found: String,
        /// Those that would do.
        supported: String,
    },
    /// A field of the entry is missing or wrong.
    #[error("datastore entry, field '{field}': {reason}")]
    Malformed {
        /// The field's path within the entry.
        field: String,
        /// What was seen and what was expected.
        reason: String,
    },
    /// The host does not answer, or refuses the connection.
    #[error("{store} cannot be reached: {reason}")]
    Unreachable {
        /// The store for people.
        store: String,
        /// What the network said.
        reason: String,
    },
    /// The server refuses this user or this password.
    #[error("{store} refuses user '{user}': {reason}")]
    Rejected {
        /// The store for people.
        store: String,
        /// The user's name.
        user: String,
        /// What the server said.
        reason: String,
    },
    /// The server has no database of this name.
    #[error("{store}: there is no database '{database}'")]
    UnknownDatabase {
        /// The store for people.
        store: String,
        /// The name in the entry.
        database: String,
    },
    /// The Cassandra cluster has no keyspace of this name.
    #[error("{store}: there is no keyspace '{keyspace}'")]
    UnknownKeyspace {
        /// The store for people.
        store: String,
        /// The name in the entry.
        keyspace: String,
    },
    /// There is no visibility table, or no index.
    #[error("{store} has no visibility schema (no such tables, or no such index)")]
    NoSchema {
        /// The store for people.
        store: String,
    },
    /// The table lacks columns that every supported server has.
    #[error(
        "{store} has a visibility schema that is too old or not whole (that of server 1.21 is the oldest supported): it lacks {missing}"
    )]
    SchemaTooOld {
        /// The store for people.
        store: String,
        /// The columns that are missing.
        missing: String,
    },
    /// There is a schema, and it is none that a server could work with.
    #[error("{store} has a wrong schema: {reason}")]
    WrongSchema {
        /// The store for people.
        store: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A right is lacking.
    #[error("{store} does not allow it: {reason}")]
    Denied {
        /// The store for people.
        store: String,
        /// What the server said.
        reason: String,
    },
    /// SQLite in memory lives inside the server's process, where nothing else can read it.
    #[error("an in-memory SQLite store exists only within the server's own process and cannot be migrated")]
    InMemory,
    /// A relative path means another file in every process.
    #[error("databaseName '{path}' is a relative path, which depends on where the server was started")]
    RelativePath {
        /// The path in the entry.
        path: String,
    },
    /// There is no such file.
    #[error("there is no file {path}")]
    MissingFile {
        /// The path in the entry.
        path: PathBuf,
    },
    /// There is a file, and it is no SQLite database.
    #[error("{path} is not a SQLite database")]
    NotADatabase {
        /// The path in the entry.
        path: PathBuf,
    },
    /// The TLS settings cannot be used, or the handshake fails.
    #[error("{store}, TLS: {reason}")]
    Tls {
        /// The store for people.
        store: String,
        /// What is wrong, with the file if one is to blame.
        reason: String,
    },
    /// The store is there and not ready (starting up, out of connections, locked). Worth trying again.
    #[error("{store} is busy: {reason}")]
    Busy {
        /// The store for people.
        store: String,
        /// What the driver said.
        reason: String,
    },
    /// Anything else that the driver reports.
    #[error("{store} failed: {reason}")]
    Failed {
        /// The store for people.
        store: String,
        /// What the driver said.
        reason: String,
    },
}

impl OpenError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        let fixed = match self {
            Self::Unsupported { .. } => {
                "name a datastore of a kind that can be moved; `crossfade routes` prints them by server version"
            }
            Self::Malformed { field, .. } => {
                return format!(
                    "correct `{field}` in the datastore's entry as the message says; where the server's config has the \
                     same entry, correct it there too"
                );
            }
            Self::Unreachable { .. } => {
                "check its address in the entry, that it runs, and that this machine may connect to it"
            }
            Self::Rejected { .. } => "check user and password of this datastore (the password is not shown)",
            Self::UnknownDatabase { .. } => "create the database, or correct `databaseName`",
            Self::UnknownKeyspace { .. } => {
                "correct `keyspace` to the one that the server uses, or create it with temporal-cassandra-tool \
                 create-keyspace"
            }
            Self::NoSchema { .. } => {
                "check that the entry names the store that the server uses; a new one is set up with Temporal's schema tool"
            }
            Self::SchemaTooOld { .. } => "update it with Temporal's own schema tool",
            Self::WrongSchema { .. } => {
                "put the schema right as the message says, or name a store that has Temporal's schema"
            }
            Self::Denied { .. } => "grant the user of this datastore the rights that the server needs",
            Self::InMemory => "use a file: `databaseName: /absolute/path`, without `mode: memory`",
            Self::RelativePath { .. } => "make `databaseName` an absolute path, in the server's config too",
            Self::MissingFile { .. } => "create it with temporal-sql-tool setup-schema, or correct `databaseName`",
            Self::NotADatabase { .. } => "correct `databaseName`",
            Self::Tls { .. } => "correct the `tls` section of the entry, or the certificates that it names",
            Self::Busy { .. } => "try again once it is ready",
            Self::Failed { .. } => "read what the store says and look into its log; then try again",
        };
        fixed.to_owned()
    }

    /// Whether opening may well succeed later with nothing changed by anyone.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Busy { .. } | Self::Failed { .. })
    }
}

impl From<crossfade_visibility::ports::Error> for OpenError {
    /// What looking into an open store can report.
    fn from(error: crossfade_visibility::ports::Error) -> Self {
        use crossfade_visibility::ports::Error;
        match error {
            Error::Unreachable { store, reason } => Self::Unreachable { store, reason },
            Error::Busy { store, reason } => Self::Busy { store, reason },
            Error::Denied { store, reason } => Self::Denied { store, reason },
            Error::Schema { store, reason } => Self::WrongSchema { store, reason },
            Error::Failed { store, reason } => Self::Failed { store, reason },
            other => Self::Failed {
                store: "the store".to_owned(),
                reason: other.to_string(),
            },
        }
    }
}
