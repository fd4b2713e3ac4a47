//! The stores of `copy` and `diff`: named by the server's own config file, or by a URL.

use std::path::Path;

use crossfade_config::StaticConfig;
use crossfade_stores::{OpenError, Store};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use temporalio_client::Url;

use crate::{
    cli::Stores,
    exit::{Exit, Failure},
    work::problems,
};

const FORMS: &str = "expected CONFIG.yaml#DATASTORE, postgres://USER:PASSWORD@HOST/DATABASE or sqlite:///PATH";

/// Both stores, open.
pub(super) struct Pair {
    pub(super) from: Store,
    pub(super) to: Store,
}

/// Opens both stores, and refuses one that is given twice.
pub(super) async fn open(stores: &Stores) -> Result<Pair, Failure> {
    let (from, to) = (entry(&stores.from, "--from")?, entry(&stores.to, "--to")?);
    let pair = Pair {
        from: crossfade_stores::open(&from)
            .await
            .map_err(|error| not_open(&error, "--from"))?,
        to: crossfade_stores::open(&to)
            .await
            .map_err(|error| not_open(&error, "--to"))?,
    };
    let from = crossfade_stores::inspect(&from)
        .await
        .map_err(|error| not_open(&error, "--from"))?;
    let to = crossfade_stores::inspect(&to)
        .await
        .map_err(|error| not_open(&error, "--to"))?;
    if from.identity.is_some() && from.identity == to.identity {
        return Err(Failure::refused(
            "--from and --to are one and the same store. Next step: give two",
        ));
    }
    Ok(pair)
}

/// Why a store could not be opened; the error itself says what to do.
fn not_open(error: &OpenError, option: &str) -> Failure {
    Failure {
        exit: if error.is_retryable() {
            Exit::Failed
        } else {
            Exit::Refused
        },
        message: format!("{option}: {error}"),
        problems: vec![json!(problems::open(error, option))],
    }
}

/// The datastore entry that `text` stands for, in the form of the server's own config.
fn entry(text: &str, option: &str) -> Result<Value, Failure> {
    let refused = |why: String| Failure::refused(format!("{option}: {why}"));
    // A URL may hold a password, so no message repeats it.
    let entry = match Url::parse(text) {
        Ok(url) if url.scheme() == "sqlite" => sqlite(&url),
        Ok(url) if matches!(url.scheme(), "postgres" | "postgresql") => postgres(&url),
        Ok(url) if text.contains("://") => {
            Err(format!("`{}://` is no store that can be opened; {FORMS}", url.scheme()))
        }
        _ => in_config(text),
    };
    entry.map_err(refused)
}

fn in_config(text: &str) -> Result<Value, String> {
    let Some((path, name)) = text.rsplit_once('#') else {
        return Err(format!("no datastore is named; {FORMS}"));
    };
    let bytes = std::fs::read(Path::new(path)).map_err(|error| format!("{path} cannot be read: {error}"))?;
    let config = StaticConfig::parse(path, &bytes).map_err(|refusal| refusal.to_string())?;
    match config.datastore(name) {
        Some(entry) => Ok(entry.value.clone()),
        None => {
            let names: Vec<&str> = config.datastores().map(|(name, _)| name).collect();
            Err(format!("{path} has no datastore `{name}`; it has {}", names.join(", ")))
        }
    }
}

fn sqlite(url: &Url) -> Result<Value, String> {
    if url.host_str().is_some_and(|host| !host.is_empty()) || url.path().len() < 2 {
        return Err("write a SQLite store as sqlite:///absolute/path (three slashes)".to_owned());
    }
    Ok(json!({ "sql": { "pluginName": "sqlite", "databaseName": decoded(url.path(), "path")? } }))
}

fn postgres(url: &Url) -> Result<Value, String> {
    let host = url
        .host_str()
        .filter(|host| !host.is_empty())
        .ok_or("the URL names no host")?;
    let database = decoded(url.path().trim_start_matches('/'), "database")?;
    if database.is_empty() || url.username().is_empty() {
        return Err("the URL needs a user and a database: postgres://USER:PASSWORD@HOST/DATABASE".to_owned());
    }
    let password = match url.password() {
        Some(password) => decoded(password, "password")?,
        None => std::env::var("PGPASSWORD").unwrap_or_default(),
    };
    let mut tls = Value::Null;
    let mut attributes = Map::new();
    for (name, value) in url.query_pairs() {
        match (name.as_ref(), value.as_ref()) {
            ("sslmode", "disable" | "prefer" | "allow") => {}
            ("sslmode", "require") => tls = json!({ "enabled": true }),
            ("sslmode", "verify-full") => tls = json!({ "enabled": true, "enableHostVerification": true }),
            ("sslmode", other) => return Err(format!("sslmode={other} is none of disable, require, verify-full")),
            _ => {
                attributes.insert(name.into_owned(), value.into_owned().into());
            }
        }
    }
    Ok(json!({ "sql": {
        "pluginName": "postgres12",
        "databaseName": database,
        "connectAddr": format!("{host}:{}", url.port().unwrap_or(5432)),
        "connectProtocol": "tcp",
        "user": decoded(url.username(), "user")?,
        "password": password,
        "connectAttributes": attributes,
        "tls": tls,
    }}))
}

fn decoded(text: &str, part: &str) -> Result<String, String> {
    percent_decode_str(text)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| format!("the URL's {part} is not UTF-8 after its % escapes are read"))
}

/// What a store reported while it was read or written; the error itself says what to do.
pub(super) fn failure(error: &crossfade_visibility::ports::Error) -> Failure {
    Failure {
        problems: vec![json!(problems::store(error))],
        ..Failure::failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_entries_of_the_servers_form() {
        assert_eq!(
            entry("sqlite:///var/lib/a%20b.db", "--to").expect("good"),
            json!({"sql": {"pluginName": "sqlite", "databaseName": "/var/lib/a b.db"}})
        );
        let sql = entry("postgres://temporal:p%40ss@[::1]:5433/vis?sslmode=verify-full", "--to").expect("good");
        assert_eq!(sql["sql"]["connectAddr"], "[::1]:5433");
        assert_eq!(sql["sql"]["password"], "p@ss");
        assert_eq!(sql["sql"]["tls"]["enableHostVerification"], true);
    }

    #[test]
    fn what_is_no_store_is_refused_without_its_password() {
        for (text, told) in [
            ("nothing", "no datastore is named"),
            ("/nowhere/x.yaml#a", "cannot be read"),
            ("mysql://u:s3cret@h/d", "`mysql://`"),
            ("postgres://h/d", "needs a user"),
            ("postgres://u:s3cret@h", "and a database"),
            ("postgres://u:s3cret@h/d?sslmode=maybe", "sslmode=maybe"),
            ("sqlite://relative/path", "three slashes"),
            ("sqlite:///", "three slashes"),
        ] {
            let failure = entry(text, "--from").expect_err("refused");
            assert!(
                failure.message.contains(told) && !failure.message.contains("s3cret"),
                "{}",
                failure.message
            );
            assert_eq!(failure.exit, Exit::Refused);
        }
    }
}
