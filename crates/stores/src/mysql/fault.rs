//! The driver's errors, by what they mean to a port.

use std::error::Error as StdError;

use crossfade_visibility::ports::Error;
use mysql_async::{DriverError, IoError, ServerError};

use super::entry::MysqlEntry;
use crate::error::OpenError;

/// Access denied, to the server, a database, a table or a column, or by a lack of a privilege.
const DENIED: [u16; 9] = [1044, 1045, 1095, 1142, 1143, 1227, 1370, 1410, 1698];

/// The server, or this transaction, does not write: read-only, or a replica.
const READ_ONLY: [u16; 3] = [1290, 1792, 1836];

/// No such table, column, database or function.
const SCHEMA: [u16; 5] = [1049, 1054, 1146, 1176, 1305];

/// Locks and deadlocks (1205, 1213, 3572), a limit on time (1317, 3024, 1969 of MariaDB) or connections (1040, 1203,
/// 1226); and TiDB's: conflicts, and parts of its cluster that do not answer.
const BUSY: [u16; 21] = [
    1040, 1203, 1205, 1213, 1226, 1317, 1969, 3024, 3572, 8002, 8022, 8028, 9001, 9002, 9003, 9004, 9005, 9006, 9007,
    9010, 9012,
];

/// The server goes down, or has ended this connection.
const GONE: [u16; 8] = [1053, 1152, 1158, 1159, 1160, 1161, 1927, 3169];

/// A value that does not fit its column, generated columns among them: beside SQLSTATE classes 22 and 23.
const CONTENT: [u16; 16] = [
    1264, 1265, 1292, 1366, 1406, 1411, 3140, 3141, 3143, 3144, 3146, 3156, 3157, 3903, 3905, 3907,
];

/// What an error of the driver means.
pub(super) fn of(store: &str, error: &mysql_async::Error) -> Error {
    let (store, reason) = (store.to_owned(), reason(error));
    match error {
        mysql_async::Error::Server(server) => of_code(server.code)(store, reason),
        mysql_async::Error::Io(_) | mysql_async::Error::Driver(DriverError::ConnectionClosed) => {
            Error::Unreachable { store, reason }
        }
        _ => Error::Failed { store, reason },
    }
}

fn of_code(code: u16) -> fn(String, String) -> Error {
    if DENIED.contains(&code) || READ_ONLY.contains(&code) {
        |store, reason| Error::Denied { store, reason }
    } else if SCHEMA.contains(&code) {
        |store, reason| Error::Schema { store, reason }
    } else if BUSY.contains(&code) {
        |store, reason| Error::Busy { store, reason }
    } else if GONE.contains(&code) {
        |store, reason| Error::Unreachable { store, reason }
    } else {
        |store, reason| Error::Failed { store, reason }
    }
}

/// Why a connection did not come about, by its remedy.
pub(super) fn of_connecting(entry: &MysqlEntry, error: &mysql_async::Error) -> OpenError {
    let (store, reason) = (entry.describe(), reason(error));
    match error {
        mysql_async::Error::Server(server) => match server.code {
            1045 | 1698 | 1862 | 3118 => OpenError::Rejected {
                store,
                user: entry.user.clone(),
                reason,
            },
            1049 => OpenError::UnknownDatabase {
                store,
                database: entry.database.clone(),
            },
            1129 | 1130 => OpenError::Denied { store, reason },
            code => match of_code(code)(store, reason) {
                Error::Denied { store, reason } => OpenError::Denied { store, reason },
                Error::Busy { store, reason } => OpenError::Busy { store, reason },
                Error::Unreachable { store, reason } => OpenError::Unreachable { store, reason },
                Error::Schema { store, reason } | Error::Failed { store, reason } => {
                    OpenError::Failed { store, reason }
                }
                other => OpenError::from(other),
            },
        },
        mysql_async::Error::Io(IoError::Tls(_)) => OpenError::Tls { store, reason },
        mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer) => OpenError::Tls {
            store,
            reason: "the server does not encrypt connections".to_owned(),
        },
        mysql_async::Error::Driver(DriverError::CleartextPluginDisabled | DriverError::UnknownAuthPlugin { .. }) => {
            OpenError::Rejected {
                store,
                user: entry.user.clone(),
                reason,
            }
        }
        mysql_async::Error::Io(_) if is_tls(error) => OpenError::Tls { store, reason },
        mysql_async::Error::Io(_) | mysql_async::Error::Driver(DriverError::ConnectionClosed) => {
            OpenError::Unreachable { store, reason }
        }
        _ => OpenError::Failed { store, reason },
    }
}

/// Whether the server refused a record's content.
pub(super) fn is_about_content(error: &mysql_async::Error) -> bool {
    matches!(error, mysql_async::Error::Server(error) if is_content(error))
}

fn is_content(error: &ServerError) -> bool {
    CONTENT.contains(&error.code) || ["22", "23"].iter().any(|class| error.state.starts_with(class))
}

/// The error in words, with its causes, without a record's content: the server quotes that.
pub(super) fn reason(error: &mysql_async::Error) -> String {
    match error {
        mysql_async::Error::Server(error) => {
            let message = if is_content(error) {
                without_content(&error.message)
            } else {
                error.message.clone()
            };
            format!("{message} ({})", error.code)
        }
        // These show the value that they are about.
        mysql_async::Error::Driver(DriverError::FromValue { .. } | DriverError::FromRow { .. }) => {
            "an answer is of another type than expected".to_owned()
        }
        mysql_async::Error::Driver(DriverError::UnexpectedPacket { .. }) => "an answer is not understood".to_owned(),
        other => with_causes(other),
    }
}

fn with_causes(error: &(dyn StdError + 'static)) -> String {
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

/// The message up to what it quotes, and the column that it names at its end.
fn without_content(message: &str) -> String {
    let start = message
        .split('\'')
        .next()
        .unwrap_or(message)
        .trim_end_matches([' ', ':']);
    let column = message.rfind("column '").and_then(|at| {
        let name = message[at + "column '".len()..].split('\'').next()?;
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        (plain && !name.is_empty()).then_some(name)
    });
    match column {
        Some(column) if start.ends_with("column") => format!("{start} {column}"),
        Some(column) => format!("{start}, column {column}"),
        None => start.to_owned(),
    }
}

/// Whether an error came of TLS.
fn is_tls(error: &(dyn StdError + 'static)) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16, state: &str, message: &str) -> mysql_async::Error {
        mysql_async::Error::Server(ServerError {
            code,
            message: message.to_owned(),
            state: state.to_owned(),
        })
    }

    #[test]
    fn codes_are_told_apart_by_what_helps() {
        for (code, retryable) in [
            (1213, true),
            (1205, true),
            (1040, true),
            (9007, true),
            (1053, true),
            (1146, false),
            (1142, false),
            (1290, false),
        ] {
            assert_eq!(of("s", &server(code, "HY000", "m")).is_retryable(), retryable, "{code}");
        }
        assert!(matches!(
            of("s", &server(1213, "40001", "Deadlock found")),
            Error::Busy { .. }
        ));
        assert!(matches!(
            of("s", &server(1836, "HY000", "read-only mode")),
            Error::Denied { .. }
        ));
    }

    #[test]
    fn a_records_content_is_never_repeated() {
        for (code, message, expected) in [
            (
                1406,
                "Data too long for column 'memo' at row 1",
                "Data too long for column memo (1406)",
            ),
            (
                1292,
                "Incorrect datetime value: 'it's sensitive' for column 'close_time' at row 1",
                "Incorrect datetime value, column close_time (1292)",
            ),
            (
                1366,
                "Incorrect string value: 'a column 'sensitive value' b' for column 'Text01' at row 1",
                "Incorrect string value, column Text01 (1366)",
            ),
            (
                3156,
                "Invalid JSON value for CAST to INTEGER from column json_extract at row 1",
                "Invalid JSON value for CAST to INTEGER from column json_extract at row 1 (3156)",
            ),
        ] {
            let error = server(code, "22001", message);
            assert!(is_about_content(&error));
            assert_eq!(reason(&error), expected);
        }
        assert!(!is_about_content(&server(1213, "40001", "Deadlock found")));
    }
}
