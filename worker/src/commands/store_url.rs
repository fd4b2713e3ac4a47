//! Stores by URL, for `copy` and `diff`: the datastore entry in the server's own form that a URL stands for.
//!
//! A URL may hold a password or a key, so no message repeats it.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use temporalio_client::Url;

/// What can be written in place of `CONFIG.yaml#DATASTORE`.
pub(super) const FORMS: &str = "postgres://USER:PASSWORD@HOST/DATABASE, mysql://USER:PASSWORD@HOST/DATABASE, \
                                sqlite:///PATH, http(s)://[USER:PASSWORD@]HOST:9200/INDEX or \
                                cassandra://[USER:PASSWORD@]HOST[,HOST]/KEYSPACE";

/// The entry of a URL; `None` when `text` is none.
pub(super) fn entry(text: &str) -> Option<Result<Value, String>> {
    // Several hosts are more than a URL can name, so these are read before it is taken for one.
    if let Some(rest) = text.strip_prefix("cassandra://") {
        return Some(cassandra(rest));
    }
    match Url::parse(text) {
        Ok(url) if !text.contains("://") => {
            // `C:\x` and `a:b#c` parse as URLs, too.
            drop(url);
            None
        }
        Ok(url) => Some(match url.scheme() {
            "sqlite" => sqlite(&url),
            "postgres" | "postgresql" => sql(&url, "postgres12", 5432, "PGPASSWORD"),
            "mysql" => sql(&url, "mysql8", 3306, "MYSQL_PWD"),
            "http" | "https" => elasticsearch(&url),
            other => Err(format!("`{other}://` is no store that can be opened")),
        }),
        Err(_) => None,
    }
}

/// `text` for a message: a URL without its password.
pub(super) fn without_password(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) if text.contains("://") => match url.set_password(None) {
            Ok(()) => url.to_string(),
            // One that cannot have any.
            Err(()) => text.to_owned(),
        },
        _ => text.to_owned(),
    }
}

fn sqlite(url: &Url) -> Result<Value, String> {
    if url.host_str().is_some_and(|host| !host.is_empty()) || url.path().len() < 2 {
        return Err("write a SQLite store as sqlite:///absolute/path (three slashes)".to_owned());
    }
    Ok(json!({ "sql": { "pluginName": "sqlite", "databaseName": decoded(url.path(), "path")? } }))
}

fn sql(url: &Url, plugin: &str, port: u16, password_variable: &str) -> Result<Value, String> {
    let scheme = url.scheme();
    let host = host_of(url)?;
    let database = decoded(url.path().trim_start_matches('/'), "database")?;
    if database.is_empty() || url.username().is_empty() {
        return Err(format!(
            "the URL needs a user and a database: {scheme}://USER:PASSWORD@HOST/DATABASE"
        ));
    }
    let password = match url.password() {
        Some(password) => decoded(password, "password")?,
        None => std::env::var(password_variable).unwrap_or_default(),
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
        "pluginName": plugin,
        "databaseName": database,
        "connectAddr": format!("{host}:{}", url.port().unwrap_or(port)),
        "connectProtocol": "tcp",
        "user": decoded(url.username(), "user")?,
        "password": password,
        "connectAttributes": attributes,
        "tls": tls,
    }}))
}

fn elasticsearch(url: &Url) -> Result<Value, String> {
    let host = host_of(url)?;
    let index = decoded(url.path().trim_matches('/'), "index")?;
    if index.is_empty() || index.contains('/') {
        return Err(format!(
            "the URL names no index: write {}://HOST:9200/INDEX",
            url.scheme()
        ));
    }
    if url.query().is_some() {
        return Err(
            "an Elasticsearch store is written without a query; for API keys, TLS files and AWS use \
                    CONFIG.yaml#DATASTORE"
                .to_owned(),
        );
    }
    let mut entry = json!({
        "version": "v7",
        "url": {
            "scheme": url.scheme(),
            "host": format!("{host}:{}", url.port_or_known_default().filter(|_| url.port().is_some()).unwrap_or(9200)),
        },
        "indices": { "visibility": index },
    });
    if let Some(fields) = entry.as_object_mut().filter(|_| !url.username().is_empty()) {
        fields.insert("username".to_owned(), decoded(url.username(), "user")?.into());
        let password = url
            .password()
            .map_or(Ok(String::new()), |text| decoded(text, "password"))?;
        fields.insert("password".to_owned(), password.into());
    }
    Ok(json!({ "elasticsearch": entry }))
}

/// `[USER:PASSWORD@]HOST[:PORT][,HOST...]/KEYSPACE`.
fn cassandra(rest: &str) -> Result<Value, String> {
    const FORM: &str = "write a Cassandra store as cassandra://[USER:PASSWORD@]HOST[:PORT][,HOST]/KEYSPACE";
    let (place, keyspace) = rest.split_once('/').ok_or(FORM)?;
    let (login, hosts) = match place.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, place),
    };
    let mut names = Vec::new();
    let mut port = None;
    for host in hosts.split(',').filter(|host| !host.is_empty()) {
        match host.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
            Some((name, number)) => {
                let number: u16 = number.parse().map_err(|_| format!("`{number}` is no port; {FORM}"))?;
                if port.is_some_and(|port| port != number) {
                    return Err("all hosts of a Cassandra store have one port".to_owned());
                }
                port = Some(number);
                names.push(name);
            }
            None => names.push(host),
        }
    }
    if names.is_empty() || keyspace.is_empty() || keyspace.contains(['/', '?']) {
        return Err(FORM.to_owned());
    }
    let mut entry = json!({
        "hosts": names.join(","),
        "port": port.unwrap_or(9042),
        "keyspace": decoded(keyspace, "keyspace")?,
    });
    if let Some((fields, login)) = entry.as_object_mut().zip(login) {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        fields.insert("user".to_owned(), decoded(user, "user")?.into());
        fields.insert("password".to_owned(), decoded(password, "password")?.into());
    }
    Ok(json!({ "cassandra": entry }))
}

fn host_of(url: &Url) -> Result<&str, String> {
    url.host_str()
        .filter(|host| !host.is_empty())
        .ok_or_else(|| "the URL names no host".to_owned())
}

fn decoded(text: &str, part: &str) -> Result<String, String> {
    percent_decode_str(text)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| format!("the URL's {part} is not UTF-8 after its % escapes are read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(text: &str) -> Value {
        entry(text).expect("a URL").expect("good")
    }

    #[test]
    fn urls_become_entries_of_the_servers_form() {
        assert_eq!(
            good("sqlite:///var/lib/a%20b.db"),
            json!({"sql": {"pluginName": "sqlite", "databaseName": "/var/lib/a b.db"}})
        );
        let sql = good("postgres://temporal:p%40ss@[::1]:5433/vis?sslmode=verify-full");
        assert_eq!(sql["sql"]["connectAddr"], "[::1]:5433");
        assert_eq!(sql["sql"]["password"], "p@ss");
        assert_eq!(sql["sql"]["tls"]["enableHostVerification"], true);
        let mysql = good("mysql://temporal:x@db/vis");
        assert_eq!(
            (&mysql["sql"]["pluginName"], &mysql["sql"]["connectAddr"]),
            (&json!("mysql8"), &json!("db:3306"))
        );
        assert_eq!(
            good("http://127.0.0.1:9201/temporal_visibility_v1_dev"),
            json!({"elasticsearch": {
                "version": "v7", "url": {"scheme": "http", "host": "127.0.0.1:9201"},
                "indices": {"visibility": "temporal_visibility_v1_dev"},
            }})
        );
        let secured = good("https://elastic:s%3Acret@es.example/visibility/");
        assert_eq!(
            (
                &secured["elasticsearch"]["url"]["host"],
                &secured["elasticsearch"]["password"]
            ),
            (&json!("es.example:9200"), &json!("s:cret"))
        );
        assert_eq!(
            good("cassandra://u:p@a,b:9043/temporal_visibility"),
            json!({"cassandra": {"hosts": "a,b", "port": 9043, "keyspace": "temporal_visibility", "user": "u", "password": "p"}})
        );
        assert_eq!(good("cassandra://127.0.0.1/vis")["cassandra"]["port"], 9042);
    }

    #[test]
    fn what_is_no_url_is_somebody_elses_to_read() {
        for text in ["nothing", "/etc/x.yaml#a", "x.yaml#a:b", "C:#x"] {
            assert!(entry(text).is_none(), "{text}");
        }
    }

    #[test]
    fn what_is_no_store_is_refused_without_its_password() {
        for (text, told) in [
            ("redis://u:s3cret@h/d", "`redis://`"),
            ("mysql://u:s3cret@h", "and a database"),
            ("http://u:s3cret@h:9200/", "names no index"),
            ("http://u:s3cret@h:9200/a/b", "names no index"),
            ("https://h/a?apiKey=s3cret", "without a query"),
            ("cassandra://u:s3cret@/k", "cassandra://[USER"),
            ("cassandra://u:s3cret@h", "cassandra://[USER"),
            ("cassandra://u:s3cret@h:x/k", "no port"),
            ("cassandra://u:s3cret@a:1,b:2/k", "one port"),
        ] {
            let told_instead = entry(text).expect("a URL").expect_err("refused");
            assert!(
                told_instead.contains(told) && !told_instead.contains("s3cret"),
                "{told_instead}"
            );
        }
    }
}
