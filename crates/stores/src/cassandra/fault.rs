//! The client's errors, by what they mean to a port.

use crossfade_visibility::ports::Error;
use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError};

/// What an error means.
pub(super) fn of(store: &str, error: &ExecutionError) -> Error {
    let (store, reason) = (store.to_owned(), reason(error));
    match error {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(db, _))
        | ExecutionError::PrepareError(PrepareError::AllAttemptsFailed {
            first_attempt: RequestAttemptError::DbError(db, _),
        }) => of_database(db, store, reason),
        ExecutionError::RequestTimeout(_) => Error::Busy { store, reason },
        ExecutionError::ConnectionPoolError(_)
        | ExecutionError::EmptyPlan
        | ExecutionError::PrepareError(PrepareError::ConnectionPoolError(_))
        | ExecutionError::LastAttemptError(
            RequestAttemptError::BrokenConnectionError(_) | RequestAttemptError::UnableToAllocStreamId,
        ) => Error::Unreachable { store, reason },
        _ => Error::Failed { store, reason },
    }
}

fn of_database(error: &DbError, store: String, reason: String) -> Error {
    match error {
        DbError::Unavailable { .. } => Error::Unreachable { store, reason },
        DbError::Overloaded | DbError::IsBootstrapping | DbError::TruncateError | DbError::ReadTimeout { .. } => {
            Error::Busy { store, reason }
        }
        DbError::Unauthorized | DbError::AuthenticationError => Error::Denied { store, reason },
        DbError::SyntaxError | DbError::Invalid | DbError::ConfigError => Error::Schema { store, reason },
        DbError::ReadFailure { .. } => Error::Clogged {
            store,
            reason: format!(
                "{reason}. Too many deleted rows (tombstones) lie in one place, or a replica cannot read its data. \
                 Look into the logs of the nodes; once gc_grace_seconds of the table have passed, have them compacted \
                 away (nodetool compact), or raise tombstone_failure_threshold for the time of the migration"
            ),
        },
        _ => Error::Failed { store, reason },
    }
}

/// Whether the same may succeed if less is asked for at a time: too many tombstones or too much work for one request.
pub(super) fn asks_too_much(error: &ExecutionError) -> bool {
    matches!(
        error,
        ExecutionError::RequestTimeout(_)
            | ExecutionError::LastAttemptError(RequestAttemptError::DbError(
                DbError::ReadFailure { .. } | DbError::ReadTimeout { .. },
                _
            ))
    )
}

/// How often in a row less is asked for after this error. A request that met too many tombstones is refused at once: until
/// a span of all time has been halved to a millisecond. A timeout takes its time, and a node that hangs answers nothing.
pub(super) fn patience(error: &ExecutionError) -> usize {
    let refused = matches!(
        error,
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::ReadFailure { .. }, _))
    );
    if refused { 70 } else { 3 }
}

/// The error in words; what the database said itself where it did.
fn reason(error: &ExecutionError) -> String {
    match error {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(db, said))
        | ExecutionError::PrepareError(PrepareError::AllAttemptsFailed {
            first_attempt: RequestAttemptError::DbError(db, said),
        }) if said.is_empty() => db.to_string(),
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(_, said))
        | ExecutionError::PrepareError(PrepareError::AllAttemptsFailed {
            first_attempt: RequestAttemptError::DbError(_, said),
        }) => said.clone(),
        ExecutionError::EmptyPlan => {
            "no node to ask; a datacenter that the cluster does not have, or none of its nodes is up".to_owned()
        }
        other => other.to_string(),
    }
}
