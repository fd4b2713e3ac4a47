//! The driver's errors, by what they mean to a port.

use std::error::Error as StdError;

use crossfade_visibility::ports::Error;
use tokio_postgres::error::SqlState;

/// What an error of the driver means.
pub(super) fn of(store: &str, error: &tokio_postgres::Error) -> Error {
    let (store, reason) = (store.to_owned(), reason(error));
    let Some(code) = error.code() else {
        let network = error.is_closed() || source::<std::io::Error>(error);
        return if network {
            Error::Unreachable { store, reason }
        } else {
            Error::Failed { store, reason }
        };
    };
    if *code == SqlState::INSUFFICIENT_PRIVILEGE || *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        return Error::Denied { store, reason };
    }
    if [
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_COLUMN,
        SqlState::UNDEFINED_FUNCTION,
    ]
    .contains(code)
    {
        return Error::Schema { store, reason };
    }
    if [SqlState::QUERY_CANCELED, SqlState::LOCK_NOT_AVAILABLE].contains(code) {
        return Error::Busy { store, reason };
    }
    match &code.code()[..2] {
        "08" | "57" => Error::Unreachable { store, reason },
        "40" | "53" => Error::Busy { store, reason },
        "28" => Error::Denied { store, reason },
        _ => Error::Failed { store, reason },
    }
}

/// Whether the server refused a record's content: a value that does not fit (classes 22 and 23), or a text that its
/// generated column cannot take apart (a cast to `tsvector` fails as a syntax error).
pub(super) fn is_about_content(error: &tokio_postgres::Error) -> bool {
    error
        .code()
        .is_some_and(|code| matches!(&code.code()[..2], "22" | "23") || *code == SqlState::SYNTAX_ERROR)
}

/// The error in words, with its causes, without a record's content: PostgreSQL quotes that.
pub(super) fn reason(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        let message = db.message();
        let message = if is_about_content(error) {
            before_quote(message)
        } else {
            message
        };
        return format!("{message} ({})", db.code().code());
    }
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.contains(&more) {
            words.push_str(": ");
            words.push_str(&more);
        }
        cause = error.source();
    }
    words
}

/// Whether an error came of TLS.
pub(super) fn is_tls(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return true;
        }
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn source<E: StdError + 'static>(error: &tokio_postgres::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<E>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn before_quote(message: &str) -> &str {
    message
        .split('"')
        .next()
        .unwrap_or(message)
        .trim_end_matches([' ', ':'])
}
