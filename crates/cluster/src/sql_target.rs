//! A SQL store as Temporal's schema tool wants to hear of it.

use std::fmt;

use crate::schema::SchemaError;

/// A SQL store as the server's config describes it, its secrets resolved.
#[derive(Clone)]
pub struct SqlTarget {
    /// `postgres12`, `postgres12_pgx`, `mysql8` or `sqlite`.
    pub plugin: String,
    /// Name of the database, or path of the SQLite file.
    pub database: String,
    /// Host name or address; empty for SQLite.
    pub host: String,
    /// Port; 0 for SQLite.
    pub port: u16,
    /// User.
    pub user: String,
    pub(crate) password: String,
    attributes: Vec<(String, String)>,
    tls: Option<SqlTls>,
}

#[derive(Clone)]
struct SqlTls {
    ca_file: Option<String>,
    cert_file: Option<String>,
    key_file: Option<String>,
    server_name: Option<String>,
    verify: bool,
}

impl fmt::Debug for SqlTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SqlTarget({} {} at {}:{})",
            self.plugin, self.database, self.host, self.port
        )
    }
}

impl SqlTarget {
    /// Reads an entry of `persistence.datastores`: `{"sql": {"pluginName": ..., "databaseName": ..., ...}}`.
    ///
    /// # Errors
    /// [`SchemaError::Datastore`] names the field that is missing or that the tool has no word for.
    pub fn from_datastore(datastore: &serde_json::Value) -> Result<Self, SchemaError> {
        let wrong = |field, value: &str, reason: &str| SchemaError::Datastore {
            field,
            value: value.to_owned(),
            reason: reason.to_owned(),
        };
        let sql = datastore.get("sql").ok_or_else(|| {
            wrong(
                "sql.pluginName",
                "",
                "is missing: this is not the entry of a SQL datastore",
            )
        })?;
        let text = |name: &str| sql.get(name).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
        let plugin = text("pluginName");
        let sqlite = plugin == "sqlite";
        if !matches!(plugin.as_str(), "postgres12" | "postgres12_pgx" | "mysql8" | "sqlite") {
            return Err(wrong(
                "sql.pluginName",
                &plugin,
                "is not one of postgres12, postgres12_pgx, mysql8, sqlite",
            ));
        }
        let database = text("databaseName");
        if database.is_empty() {
            return Err(wrong("sql.databaseName", "", "is missing"));
        }
        let address = text("connectAddr");
        let (host, port) = match address.rsplit_once(':') {
            _ if sqlite => (String::new(), 0),
            Some((host, port)) if !host.is_empty() => {
                let port = port
                    .parse()
                    .map_err(|_| wrong("sql.connectAddr", &address, "has no port; write host:port"))?;
                (host.trim_matches(['[', ']']).to_owned(), port)
            }
            _ => return Err(wrong("sql.connectAddr", &address, "is not host:port")),
        };
        let attributes = match sql.get("connectAttributes") {
            Some(serde_json::Value::Object(map)) => map
                .iter()
                .map(|(k, v)| (k.clone(), v.as_str().map_or_else(|| v.to_string(), str::to_owned)))
                .collect(),
            _ => Vec::new(),
        };
        let tls = match sql
            .get("tls")
            .filter(|tls| tls.get("enabled").and_then(|e| e.as_bool()) == Some(true))
        {
            None => None,
            Some(tls) => {
                let file = |name: &str| tls.get(name).and_then(|v| v.as_str()).filter(|v| !v.is_empty());
                if file("caData").or(file("certData")).or(file("keyData")).is_some() {
                    return Err(wrong(
                        "sql.tls",
                        "caData, certData or keyData",
                        "is nothing temporal-sql-tool can take; write files",
                    ));
                }
                Some(SqlTls {
                    ca_file: file("caFile").map(str::to_owned),
                    cert_file: file("certFile").map(str::to_owned),
                    key_file: file("keyFile").map(str::to_owned),
                    server_name: file("serverName").map(str::to_owned),
                    verify: tls
                        .get("enableHostVerification")
                        .and_then(|v| v.as_bool())
                        .unwrap_or(false),
                })
            }
        };
        Ok(Self {
            plugin,
            database,
            host,
            port,
            user: text("user"),
            password: text("password"),
            attributes,
            tls,
        })
    }

    pub(crate) fn named(&self) -> String {
        if self.plugin == "sqlite" {
            self.database.clone()
        } else {
            format!("{} at {}:{} as {}", self.database, self.host, self.port, self.user)
        }
    }

    pub(crate) fn embedded_name(&self) -> &'static str {
        if self.plugin == "mysql8" {
            "mysql/v8/visibility"
        } else {
            "postgresql/v12/visibility"
        }
    }

    /// The options that say which store, none of them secret.
    pub(crate) fn options(&self) -> Vec<String> {
        let mut options = vec![
            "--plugin".to_owned(),
            self.plugin.clone(),
            "--database".to_owned(),
            self.database.clone(),
        ];
        if self.plugin == "sqlite" {
            // The tool wants an endpoint for every plugin.
            options.extend(["--endpoint".to_owned(), "127.0.0.1".to_owned()]);
            return options;
        }
        let ipv6 = self.host.contains(':');
        let endpoint = if ipv6 {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        let port = self.port.to_string();
        options.extend(["--endpoint", &endpoint, "--port", &port, "--user", &self.user].map(str::to_owned));
        if let Some(tls) = &self.tls {
            options.push("--tls".to_owned());
            for (name, value) in [
                ("--tls-ca-file", &tls.ca_file),
                ("--tls-cert-file", &tls.cert_file),
                ("--tls-key-file", &tls.key_file),
                ("--tls-server-name", &tls.server_name),
            ] {
                if let Some(value) = value {
                    options.extend([name.to_owned(), value.clone()]);
                }
            }
            if !tls.verify {
                options.push("--tls-disable-host-verification".to_owned());
            }
        }
        options
    }

    /// The connect attributes as the tool reads them: a URL query.
    pub(crate) fn attributes_as_query(&self) -> Option<String> {
        let pairs: Vec<String> = self
            .attributes
            .iter()
            .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
            .collect();
        (!pairs.is_empty() && self.plugin != "sqlite").then(|| pairs.join("&"))
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.trim())
    }
}

/// A part of a URL query.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}
