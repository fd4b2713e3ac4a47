//! What cannot be opened, and what is said of it; and every way in.

use crossfade_stores::{OpenError, inspect, open};
use e2e::servers::mysql::PASSWORD;
use serde_json::{Value, json};

use crate::fixture::server;

/// It must not open, and the error must not show the password.
async fn error(entry: &Value) -> OpenError {
    let error = open(entry).await.expect_err("it must not open");
    for message in [error.to_string(), format!("{error:?}")] {
        assert!(
            !message.contains(PASSWORD) && !message.contains("wrong-password"),
            "{message}"
        );
    }
    error
}

fn with(entry: &Value, field: &str, value: Value) -> Value {
    let mut entry = entry.clone();
    entry["sql"][field] = value;
    entry
}

#[tokio::test]
async fn says_what_is_wrong() {
    let good = server().database("opening");
    let unreachable = error(&with(&good, "connectAddr", json!("127.0.0.1:1"))).await;
    assert!(
        matches!(unreachable, OpenError::Unreachable { .. }) && unreachable.is_retryable(),
        "{unreachable:?}"
    );
    assert!(unreachable.to_string().contains("127.0.0.1:1"), "{unreachable}");
    let unknown_host = error(&with(&good, "connectAddr", json!("no-such-host.invalid:3306"))).await;
    assert!(
        matches!(unknown_host, OpenError::Unreachable { .. }),
        "{unknown_host:?}"
    );
    for password in [json!("wrong-password"), json!(null)] {
        let rejected = error(&with(&good, "password", password)).await;
        assert!(
            matches!(&rejected, OpenError::Rejected { user, .. } if user == "temporal"),
            "{rejected:?}"
        );
        assert!(!rejected.is_retryable());
    }
    let unknown = error(&with(&good, "databaseName", json!("nowhere"))).await;
    assert!(
        matches!(&unknown, OpenError::UnknownDatabase { database, .. } if database == "nowhere"),
        "{unknown:?}"
    );
    assert!(matches!(error(&good).await, OpenError::NoSchema { .. }));
    assert!(
        inspect(&good).await.is_ok(),
        "a database without a schema can be looked at"
    );
    let no_variable = error(&with(&good, "connectAttributes", json!({"no_such_variable": "1"}))).await;
    assert!(
        matches!(&no_variable, OpenError::Malformed { field, .. } if field.ends_with("no_such_variable")),
        "{no_variable:?}"
    );
    let no_name = error(&with(&good, "connectAttributes", json!({"a = 1, b": "1"}))).await;
    assert!(matches!(no_name, OpenError::Malformed { .. }), "{no_name:?}");

    // A standard schema is not one with search attributes.
    let standard = server().standard("opening_standard");
    let old = error(&with(&standard, "pluginName", json!("mysql8"))).await;
    assert!(
        matches!(&old, OpenError::SchemaTooOld { missing, .. } if missing.contains("search_attributes")),
        "{old:?}"
    );
}

/// The attributes that the server's documentation and charts give, and a socket.
#[tokio::test]
async fn opens_by_every_way_that_the_server_has() {
    let good = server().newest("ways");
    let usual = json!({"transaction_isolation": "READ-COMMITTED", "collation": "utf8mb4_general_ci", "parseTime": true, "sql_mode": "''"});
    open(&with(&good, "connectAttributes", usual))
        .await
        .expect("the usual attributes");
    let socket = with(
        &with(&good, "connectProtocol", json!("unix")),
        "connectAddr",
        json!(server().socket()),
    );
    let store = open(&socket).await.expect("the socket");
    assert!(store.describe().contains("mysql.sock"), "{}", store.describe());
    let over_socket = inspect(&socket).await.expect("facts");
    assert_eq!(over_socket.identity, inspect(&good).await.expect("facts").identity);
}

/// The attribute `tls` and the `tls` section mean what they mean to the server: what is encrypted, and what is verified.
#[tokio::test]
async fn over_tls() {
    let plain = server().newest("over_tls");
    let file = |name: &str| server().certificate(name);
    let as_set = |attributes: Value, tls: Value| with(&with(&plain, "connectAttributes", attributes), "tls", tls);
    let verified = |ca: &str, name: Value| json!({"enabled": true, "enableHostVerification": true, "caFile": file(ca), "serverName": name});
    let accepted = [
        as_set(json!({"tls": "false"}), json!({"enabled": true})),
        as_set(json!({"tls": "preferred"}), json!(null)),
        as_set(json!({"tls": "skip-verify"}), json!(null)),
        as_set(json!({}), json!({"enabled": true})),
        as_set(json!({}), json!({"enabled": true, "caFile": file("other.pem")})),
        as_set(json!({}), verified("ca.pem", json!("mysql.test"))),
        as_set(json!({"tls": "tls-custom"}), verified("ca.pem", json!("mysql.test"))),
    ];
    for entry in accepted {
        open(&entry).await.unwrap_or_else(|error| panic!("{entry}: {error}"));
    }
    let refused = [
        as_set(json!({"tls": "true"}), json!(null)),
        as_set(json!({}), verified("ca.pem", json!(null))),
        as_set(json!({}), verified("ca.pem", json!("another.test"))),
        as_set(json!({}), verified("other.pem", json!("mysql.test"))),
        as_set(
            json!({}),
            json!({"enabled": true, "enableHostVerification": true, "caFile": "/no/ca.pem"}),
        ),
    ];
    for entry in refused {
        let refused = error(&entry).await;
        assert!(matches!(refused, OpenError::Tls { .. }), "{entry}: {refused:?}");
    }
}
