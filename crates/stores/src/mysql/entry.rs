//! A MySQL datastore entry, as the server's plugins `mysql8` and `mysql` read it
//! (1.30.8: common/persistence/sql/sqlplugin/mysql/session/session.go).

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::entry::{self, Tls};
use crate::error::OpenError;
use crate::schema::Family;

/// A MySQL database.
pub(crate) struct MysqlEntry {
    /// With search attributes (`mysql8`) or without (`mysql`).
    pub(crate) family: Family,
    pub(crate) place: Place,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) database: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) tls: Option<Tls>,
}

/// Where the server listens, by `connectProtocol`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp { host: String, port: u16 },
    Unix { path: String },
}

impl MysqlEntry {
    pub(crate) fn parse(sql: &Map<String, Value>, family: Family) -> Result<Self, OpenError> {
        let address = entry::required(sql, "connectAddr")?;
        let place = match entry::text(sql, "connectProtocol")?.as_deref() {
            None | Some("" | "tcp" | "tcp4" | "tcp6") => {
                let (host, port) = entry::address(&address, 3306)?;
                Place::Tcp { host, port }
            }
            Some("unix") => Place::Unix { path: address },
            Some(other) => {
                return Err(OpenError::Malformed {
                    field: "sql.connectProtocol".to_owned(),
                    reason: format!("is '{other}'; expected tcp or unix"),
                });
            }
        };
        Ok(Self {
            family,
            place,
            user: entry::required(sql, "user")?,
            password: entry::text(sql, "password")?.unwrap_or_default(),
            database: entry::required(sql, "databaseName")?,
            attributes: entry::attributes(sql)?,
            tls: entry::tls(sql)?,
        })
    }

    /// The store for people.
    pub(crate) fn describe(&self) -> String {
        match &self.place {
            Place::Tcp { host, port } => format!("MySQL database '{}' at {host}:{port}", self.database),
            Place::Unix { path } => format!("MySQL database '{}' at {path}", self.database),
        }
    }
}

impl fmt::Debug for MysqlEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MysqlEntry({})", self.describe())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::entry::Entry;

    fn parsed(changes: Value) -> Result<MysqlEntry, String> {
        let mut entry = json!({"sql": {
            "pluginName": "mysql8", "databaseName": "v", "connectAddr": "db.internal", "user": "temporal", "password": "s3cret",
        }});
        for (field, value) in changes.as_object().into_iter().flatten() {
            entry["sql"][field] = value.clone();
        }
        match Entry::parse(&entry) {
            Ok(Entry::Mysql(parsed)) => Ok(parsed),
            Ok(other) => Err(format!("{other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn entries_are_read_as_the_server_reads_them() {
        let entry = parsed(json!({"tls": {"enabled": true, "serverName": "db"}})).expect("an entry");
        assert_eq!(entry.family, Family::Sql);
        assert_eq!(
            entry.place,
            Place::Tcp {
                host: "db.internal".to_owned(),
                port: 3306
            }
        );
        assert!(entry.tls.is_some() && !format!("{entry:?}").contains("s3cret"));
        let socket =
            parsed(json!({"connectProtocol": "unix", "connectAddr": "/run/mysqld.sock", "pluginName": "mysql"}));
        let socket = socket.expect("an entry");
        assert_eq!(
            (socket.family, socket.describe().as_str()),
            (Family::StandardSql, "MySQL database 'v' at /run/mysqld.sock")
        );
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (changes, words) in [
            (json!({"connectProtocol": "pipe"}), "connectProtocol"),
            (json!({"connectAddr": "h:x"}), "port"),
            (json!({"connectAddr": ""}), "connectAddr"),
            (json!({"user": null}), "sql.user"),
            (json!({"databaseName": ""}), "databaseName"),
            (json!({"connectAttributes": ["s3cret"]}), "connectAttributes"),
        ] {
            let message = parsed(changes).expect_err("it must be refused");
            assert!(message.contains(words) && !message.contains("s3cret"), "{message}");
        }
    }
}
