//! What can go wrong when a cluster is asked something.

use std::path::PathBuf;
use std::time::Duration;

use tonic::{Code, Status};

use crate::{canary::CanaryError, health::NotServing, lock::LockError, restart::RestartError, schema::SchemaError};

/// Why no connection to a frontend could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A setting is wrong; nothing was sent.
    #[error("{field}: {value:?} {reason}")]
    Setting {
        /// Name of the setting, as in [`crate::ConnectSettings`].
        field: &'static str,
        /// The value seen; never a secret.
        value: String,
        /// What is wrong with it and what to write instead.
        reason: String,
    },
    /// A certificate or key file cannot be read.
    #[error("{field}: cannot read {}: {source}; check the path and that this user may read it", path.display())]
    File {
        /// Name of the setting.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Nobody answered, in the time allowed.
    #[error(
        "no Temporal frontend answers at {address} ({attempts} attempts in {waited:?}); last answer: {reason}; \
         check that the server runs, the address and port, and whether it expects TLS"
    )]
    Unreachable {
        /// The address as given.
        address: String,
        /// How often it was tried.
        attempts: u32,
        /// For how long it was tried.
        waited: Duration,
        /// The last failure.
        reason: String,
    },
    /// The frontend answered and refuses us.
    #[error(
        "the Temporal frontend at {address} refuses this client: {reason}; check api_key and the client certificate"
    )]
    Refused {
        /// The address as given.
        address: String,
        /// The server's words.
        reason: String,
    },
}

/// A call that the cluster did not answer as asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The server answered with an error.
    #[error("{call} at {address} failed with {code:?}: {message}")]
    Status {
        /// gRPC method.
        call: &'static str,
        /// Whom we asked.
        address: String,
        /// gRPC code.
        code: Code,
        /// The server's words.
        message: String,
        /// The server's typed details (a serialized `google.rpc.Status`), empty when it gave none.
        details: Vec<u8>,
    },
    /// The server answered with something that cannot be used.
    #[error("{call} at {address} gave an answer that cannot be used: {reason}")]
    Answer {
        /// gRPC method.
        call: &'static str,
        /// Whom we asked.
        address: String,
        /// What is missing or wrong.
        reason: String,
    },
}

impl CallError {
    pub(crate) fn from_status(call: &'static str, address: &str, status: &Status) -> Self {
        Self::Status {
            call,
            address: address.to_owned(),
            code: status.code(),
            message: status.message().to_owned(),
            details: status.details().to_vec(),
        }
    }

    pub(crate) fn answer(call: &'static str, address: &str, reason: impl Into<String>) -> Self {
        Self::Answer {
            call,
            address: address.to_owned(),
            reason: reason.into(),
        }
    }

    /// The gRPC code, where the server gave one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Status { code, .. } => Some(*code),
            Self::Answer { .. } => None,
        }
    }

    /// Whether what was asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(Code::NotFound)
    }

    /// Whether the same call may well succeed later: the server is away, busy or was too slow.
    pub fn is_transient(&self) -> bool {
        self.code().is_some_and(transient)
    }
}

/// Codes that say nothing against the request itself.
/// `Unknown` and `Internal` are among them: a server that shuts down answers open calls with them.
pub(crate) fn transient(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::Unknown
            | Code::Cancelled
    )
}

/// Any error of this crate, for callers that only pass it on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A service does not serve.
    #[error(transparent)]
    NotServing(#[from] NotServing),
    /// Canaries could not be started or removed.
    #[error(transparent)]
    Canary(#[from] CanaryError),
    /// The lock of the cluster.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A service could not be restarted.
    #[error(transparent)]
    Restart(#[from] RestartError),
    /// A schema tool failed.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

impl Error {
    /// Whether trying the same again later may succeed without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect(e) => matches!(e, ConnectError::Unreachable { .. }),
            Self::Call(e) => e.is_transient(),
            Self::NotServing(_) => true,
            Self::Canary(e) => e.is_transient(),
            Self::Lock(e) => e.is_transient(),
            Self::Restart(e) => e.is_transient(),
            Self::Schema(e) => e.is_transient(),
        }
    }
}

/// An error with all its causes on one line; transports hide the telling part in the innermost.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = inner.source();
    }
    text
}
