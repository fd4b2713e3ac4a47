//! The server's own datastore entry, as JSON, secrets resolved
//! (1.30.8: common/config/config.go, `DataStore` and `SQL`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::cassandra::CassandraEntry;
use crate::elasticsearch::ElasticsearchEntry;
use crate::error::OpenError;
use crate::mysql::MysqlEntry;
use crate::schema::Family;

/// The SQL plugins and other kinds of store that [`open`](crate::open) has a driver for.
pub const SUPPORTED_PLUGINS: &[&str] = &[
    "sqlite",
    "postgres12",
    "postgres12_pgx",
    "postgres",
    "postgres_pgx",
    "mysql8",
    "mysql",
    "elasticsearch",
    "cassandra",
];

/// What kind of store a datastore entry describes: its SQL plugin's name (`postgres12`), or the kind of another store
/// (`elasticsearch`, `cassandra`, `customDatastore`), supported or not.
///
/// # Errors
///
/// [`OpenError::Malformed`] when it describes none.
pub fn plugin_name(entry: &Value) -> Result<String, OpenError> {
    let kinds = ["sql", "elasticsearch", "cassandra", "customDatastore"];
    let present = kinds
        .iter()
        .find(|kind| entry.get(**kind).is_some_and(|value| !value.is_null()));
    match present {
        Some(&"sql") => text(fields(entry, "sql")?, "pluginName")?.ok_or_else(|| missing("pluginName")),
        Some(kind) => Ok((*kind).to_owned()),
        None => Err(OpenError::Malformed {
            field: "(the entry)".to_owned(),
            reason: format!("describes no store; expected one of {}", kinds.join(", ")),
        }),
    }
}

/// An entry that there is a driver for.
#[derive(Debug)]
pub(crate) enum Entry {
    Sqlite(SqliteEntry),
    Postgres(PostgresEntry),
    Elasticsearch(ElasticsearchEntry),
    Cassandra(CassandraEntry),
    Mysql(MysqlEntry),
}

/// A SQLite file.
#[derive(Debug)]
pub(crate) struct SqliteEntry {
    pub(crate) path: PathBuf,
    /// `mode: ro` in the server's connect attributes.
    pub(crate) read_only: bool,
    /// Whether the server waits for another writer's lock.
    pub(crate) busy_timeout: bool,
}

/// A PostgreSQL database.
pub(crate) struct PostgresEntry {
    /// With search attributes (`postgres12`) or without (`postgres`, of servers up to 1.23).
    pub(crate) family: Family,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) database: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) tls: Option<Tls>,
}

/// The `tls` section; the server's PostgreSQL plugin reads no more of it than this
/// (1.30.8: sqlplugin/postgresql/session/session.go), `serverName` apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    pub(crate) ca_file: Option<String>,
    pub(crate) cert_file: Option<String>,
    pub(crate) key_file: Option<String>,
    pub(crate) server_name: Option<String>,
    pub(crate) verify_host: bool,
}

impl PostgresEntry {
    /// The store for people.
    pub(crate) fn describe(&self) -> String {
        format!("PostgreSQL database '{}' at {}:{}", self.database, self.host, self.port)
    }
}

impl fmt::Debug for PostgresEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresEntry({})", self.describe())
    }
}

impl Entry {
    pub(crate) fn parse(entry: &Value) -> Result<Self, OpenError> {
        let plugin = plugin_name(entry)?;
        match plugin.as_str() {
            "sqlite" => sqlite(fields(entry, "sql")?).map(Self::Sqlite),
            "elasticsearch" => ElasticsearchEntry::parse(fields(entry, "elasticsearch")?).map(Self::Elasticsearch),
            "postgres12" | "postgres12_pgx" => postgres(Family::Sql, fields(entry, "sql")?).map(Self::Postgres),
            "postgres" | "postgres_pgx" => postgres(Family::StandardSql, fields(entry, "sql")?).map(Self::Postgres),
            "cassandra" => CassandraEntry::parse(fields(entry, "cassandra")?).map(Self::Cassandra),
            "mysql8" => MysqlEntry::parse(fields(entry, "sql")?, Family::Sql).map(Self::Mysql),
            "mysql" => MysqlEntry::parse(fields(entry, "sql")?, Family::StandardSql).map(Self::Mysql),
            _ => Err(OpenError::Unsupported {
                found: plugin,
                supported: SUPPORTED_PLUGINS.join(", "),
            }),
        }
    }
}

fn sqlite(sql: &Map<String, Value>) -> Result<SqliteEntry, OpenError> {
    let name = required(sql, "databaseName")?;
    let attributes = attributes(sql)?;
    let mode = attributes.get("mode").map_or("", String::as_str);
    if mode == "memory" || name.contains(":memory:") {
        return Err(OpenError::InMemory);
    }
    if name.contains(['?', '#', '%']) {
        // The server puts the name into a file: URI, where these do not stand for themselves.
        return Err(OpenError::Malformed {
            field: "sql.databaseName".to_owned(),
            reason: format!("'{name}' contains one of ? # %, which the server reads as part of a URI; rename the file"),
        });
    }
    let path = PathBuf::from(&name);
    if !path.is_absolute() {
        return Err(OpenError::RelativePath { path: name });
    }
    let busy_timeout = attributes.get("busy_timeout").is_some_and(|timeout| timeout != "0");
    Ok(SqliteEntry {
        path,
        read_only: mode == "ro",
        busy_timeout,
    })
}

fn postgres(family: Family, sql: &Map<String, Value>) -> Result<PostgresEntry, OpenError> {
    let (host, port) = address(&required(sql, "connectAddr")?, 5432)?;
    Ok(PostgresEntry {
        family,
        host,
        port,
        user: required(sql, "user")?,
        password: text(sql, "password")?.unwrap_or_default(),
        database: required(sql, "databaseName")?,
        attributes: attributes(sql)?,
        tls: tls(sql)?,
    })
}

/// Splits `host:port`, `[::1]:port` or `host`.
pub(crate) fn address(address: &str, default_port: u16) -> Result<(String, u16), OpenError> {
    let malformed = |reason: &str| OpenError::Malformed {
        field: "sql.connectAddr".to_owned(),
        reason: format!("'{address}' {reason}; expected host:port"),
    };
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (address, None),
    };
    let port = match port {
        Some(port) => port.parse().map_err(|_| malformed("has no valid port"))?,
        None => default_port,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(malformed("names no host"));
    }
    Ok((host.to_owned(), port))
}

pub(crate) fn tls(sql: &Map<String, Value>) -> Result<Option<Tls>, OpenError> {
    let Some(Value::Object(tls)) = sql.get("tls") else {
        return Ok(None);
    };
    let flag = |name: &str| match tls.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(Value::String(text)) if text == "true" || text == "false" => Ok(text == "true"),
        Some(other) => Err(wrong_type(&format!("tls.{name}"), "true or false", other)),
    };
    if !flag("enabled")? {
        return Ok(None);
    }
    let file = |name: &str| Ok::<_, OpenError>(text(tls, name)?.filter(|text| !text.is_empty()));
    Ok(Some(Tls {
        ca_file: file("caFile")?,
        cert_file: file("certFile")?,
        key_file: file("keyFile")?,
        server_name: file("serverName")?,
        verify_host: flag("enableHostVerification")?,
    }))
}

pub(crate) fn attributes(sql: &Map<String, Value>) -> Result<BTreeMap<String, String>, OpenError> {
    let attributes = match sql.get("connectAttributes") {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(attributes)) => attributes,
        Some(other) => return Err(wrong_type("connectAttributes", "a mapping", other)),
    };
    attributes
        .keys()
        .filter_map(|name| {
            let value = text(attributes, name).transpose()?;
            Some(value.map(|value| (name.trim().to_owned(), value.trim().to_owned())))
        })
        .collect()
}

fn fields<'a>(entry: &'a Value, name: &str) -> Result<&'a Map<String, Value>, OpenError> {
    match entry.get(name) {
        Some(Value::Object(fields)) => Ok(fields),
        other => Err(OpenError::Malformed {
            field: name.to_owned(),
            reason: format!("is {}; expected a mapping", kind(other.unwrap_or(&Value::Null))),
        }),
    }
}

pub(crate) fn required(sql: &Map<String, Value>, name: &str) -> Result<String, OpenError> {
    text(sql, name)?
        .filter(|text| !text.is_empty())
        .ok_or_else(|| missing(name))
}

/// A scalar as text: YAML leaves `setup: true` and `port: 5432` without quotes, and the server takes them as text.
pub(crate) fn text(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, OpenError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(scalar @ (Value::Bool(_) | Value::Number(_))) => Ok(Some(scalar.to_string())),
        Some(other) => Err(wrong_type(name, "text", other)),
    }
}

fn missing(name: &str) -> OpenError {
    OpenError::Malformed {
        field: format!("sql.{name}"),
        reason: "is missing or empty; the server needs it".to_owned(),
    }
}

/// Says the type that was found and never the value, which may be a secret.
fn wrong_type(name: &str, expected: &str, found: &Value) -> OpenError {
    OpenError::Malformed {
        field: format!("sql.{name}"),
        reason: format!("is {}; expected {expected}", kind(found)),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "absent",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(entry: Value) -> String {
        match Entry::parse(&entry) {
            Ok(parsed) => format!("accepted: {parsed:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[track_caller]
    fn check_refused(entry: Value, words: &[&str]) {
        let message = refused(entry);
        for word in words {
            assert!(message.contains(word), "'{word}' expected in: {message}");
        }
        assert!(!message.contains("s3cret"), "{message}");
    }

    #[test]
    fn what_is_no_store_of_ours_is_refused_with_what_is() {
        check_refused(
            json!({"customDatastore": {"name": "x"}}),
            &["'customDatastore'", "postgres12_pgx", "sqlite", "elasticsearch"],
        );
        check_refused(
            json!({"sql": {"pluginName": "mysql9", "password": "s3cret"}}),
            &["'mysql9'"],
        );
        check_refused(json!({"sql": {"password": "s3cret"}}), &["pluginName"]);
        check_refused(json!({"sql": "s3cret"}), &["sql"]);
        check_refused(json!({}), &["describes no store"]);
        check_refused(json!(null), &["describes no store"]);
    }

    #[test]
    fn sqlite_must_be_an_absolute_file() {
        let sqlite = |name: &str, mode: &str| json!({"sql": {"pluginName": "sqlite", "databaseName": name, "connectAttributes": {"mode": mode, "setup": true}}});
        check_refused(sqlite("default", "rwc"), &["relative path", "'default'"]);
        check_refused(sqlite("/x/default", "memory"), &["in-memory"]);
        check_refused(sqlite(":memory:", ""), &["in-memory"]);
        check_refused(sqlite("/x/a?b", ""), &["databaseName", "URI"]);
        check_refused(sqlite("", ""), &["databaseName"]);
        assert!(matches!(Entry::parse(&sqlite("/x/y.db", "ro")), Ok(Entry::Sqlite(entry)) if entry.read_only));
    }

    #[test]
    fn postgres_entries_are_read_as_the_server_reads_them() {
        let entry = json!({"sql": {
            "pluginName": "postgres12", "databaseName": "v", "connectAddr": "[::1]:5433", "connectProtocol": "tcp",
            "user": "temporal", "password": "s3cret", "connectAttributes": {"sslmode": " require ", "statement_timeout": 5},
            "tls": {"enabled": true, "caFile": "/ca.pem", "enableHostVerification": "true", "keyFile": ""},
        }});
        let Ok(Entry::Postgres(parsed)) = Entry::parse(&entry) else {
            panic!("{}", refused(entry))
        };
        assert_eq!((parsed.host.as_str(), parsed.port), ("::1", 5433));
        assert_eq!(parsed.attributes.get("sslmode").map(String::as_str), Some("require"));
        assert_eq!(
            parsed.attributes.get("statement_timeout").map(String::as_str),
            Some("5")
        );
        assert!(
            parsed
                .tls
                .as_ref()
                .is_some_and(|tls| tls.verify_host && tls.key_file.is_none())
        );
        assert!(!format!("{parsed:?}").contains("s3cret"));
        for (address, words) in [
            ("h:x", "port"),
            (":5432", "host"),
            ("", "connectAddr"),
            ("h:99999", "port"),
        ] {
            let mut entry = entry.clone();
            entry["sql"]["connectAddr"] = json!(address);
            check_refused(entry, &[words]);
        }
        let mut number = entry.clone();
        number["sql"]["password"] = json!(["s3cret"]);
        check_refused(number, &["sql.password", "a list"]);
    }
}
