//! What cannot be opened, and what is said of it.

use crossfade_stores::{OpenError, inspect, open};
use serde_json::{Value, json};

use crate::fixture::{self, PASSWORD, postgres};

/// Both ways in must fail in the same way, and never show the password.
async fn error(entry: &Value) -> OpenError {
    let opened = open(entry).await.expect_err("it must not open");
    for message in [opened.to_string(), format!("{opened:?}")] {
        assert!(
            !message.contains(PASSWORD) && !message.contains("wrong-password"),
            "{message}"
        );
    }
    opened
}

#[tokio::test]
async fn postgres_says_what_is_wrong() {
    let good = postgres().database("opening");
    let with = |field: &str, value: Value| {
        let mut entry = good.clone();
        entry["sql"][field] = value;
        entry
    };
    let unreachable = error(&with("connectAddr", json!("127.0.0.1:1"))).await;
    assert!(
        matches!(unreachable, OpenError::Unreachable { .. }) && unreachable.is_retryable(),
        "{unreachable:?}"
    );
    assert!(unreachable.to_string().contains("127.0.0.1:1"), "{unreachable}");
    let unknown_host = error(&with("connectAddr", json!("no-such-host.invalid:5432"))).await;
    assert!(
        matches!(unknown_host, OpenError::Unreachable { .. }),
        "{unknown_host:?}"
    );
    let rejected = error(&with("password", json!("wrong-password"))).await;
    assert!(
        matches!(&rejected, OpenError::Rejected { user, .. } if user == "temporal"),
        "{rejected:?}"
    );
    assert!(!rejected.is_retryable());
    let rejected = error(&with("password", json!(null))).await;
    assert!(matches!(rejected, OpenError::Rejected { .. }), "{rejected:?}");
    let unknown = error(&with("databaseName", json!("nowhere"))).await;
    assert!(
        matches!(&unknown, OpenError::UnknownDatabase { database, .. } if database == "nowhere"),
        "{unknown:?}"
    );
    assert!(matches!(error(&good).await, OpenError::NoSchema { .. }));
    assert!(
        inspect(&good).await.is_ok(),
        "a database without a schema can be looked at"
    );
    let no_file = error(&with(
        "connectAttributes",
        json!({"sslmode": "verify-full", "sslrootcert": "/no/ca.pem"}),
    ))
    .await;
    assert!(
        matches!(&no_file, OpenError::Tls { reason, .. } if reason.contains("/no/ca.pem")),
        "{no_file:?}"
    );

    let old = postgres().visibility("opening_old", "v1.2");
    assert!(
        matches!(error(&old).await, OpenError::SchemaTooOld { missing, .. } if missing.contains("history_size_bytes"))
    );
}

/// `sslmode` and the `tls` section mean what they mean to the server: what is encrypted, and what is verified.
#[tokio::test]
async fn postgres_over_tls() {
    let plain = postgres().visibility("over_tls", "v1.13");
    let file = |name: &str| postgres().certificate(name);
    let with = |attributes: Value, tls: Value| {
        let mut entry = plain.clone();
        entry["sql"]["connectAttributes"] = attributes;
        entry["sql"]["tls"] = tls;
        entry
    };
    let verified = |ca: &str, name: Value| json!({"enabled": true, "enableHostVerification": true, "caFile": file(ca), "serverName": name});
    let accepted = [
        with(json!({"sslmode": "disable"}), json!(null)),
        with(json!({"sslmode": "prefer"}), json!(null)),
        with(json!({"sslmode": "require"}), json!(null)),
        with(
            json!({"sslmode": "verify-ca", "sslrootcert": file("ca.pem")}),
            json!(null),
        ),
        with(json!({}), json!({"enabled": true})),
        with(json!({}), verified("ca.pem", json!("postgres.test"))),
    ];
    for entry in accepted {
        open(&entry).await.unwrap_or_else(|error| panic!("{entry}: {error}"));
    }
    let refused = [
        with(
            json!({"sslmode": "verify-full", "sslrootcert": file("ca.pem")}),
            json!(null),
        ),
        with(
            json!({"sslmode": "verify-ca", "sslrootcert": file("other.pem")}),
            json!(null),
        ),
        with(
            json!({"sslmode": "require", "sslrootcert": file("other.pem")}),
            json!(null),
        ),
        with(json!({}), verified("ca.pem", json!("another.test"))),
        with(json!({}), verified("other.pem", json!("postgres.test"))),
        with(json!({}), json!({"enabled": true, "certFile": file("server.pem")})),
    ];
    for entry in refused {
        let refused = error(&entry).await;
        assert!(matches!(refused, OpenError::Tls { .. }), "{entry}: {refused:?}");
    }
    let unknown_mode = error(&with(json!({"sslmode": "maybe"}), json!(null))).await;
    assert!(matches!(unknown_mode, OpenError::Malformed { .. }), "{unknown_mode:?}");
}

#[tokio::test]
async fn sqlite_says_what_is_wrong() {
    let directory = tempfile::tempdir().expect("a directory");
    let entry = |name: &str| fixture::sqlite_entry(&directory.path().join(name));
    assert!(matches!(
        error(&entry("missing.db")).await,
        OpenError::MissingFile { .. }
    ));
    std::fs::write(
        directory.path().join("text.db"),
        "not a database, and long enough to be told apart",
    )
    .expect("a file");
    assert!(matches!(error(&entry("text.db")).await, OpenError::NotADatabase { .. }));
    assert!(matches!(
        error(&fixture::sqlite_entry(directory.path())).await,
        OpenError::NotADatabase { .. }
    ));
    std::fs::write(directory.path().join("empty.db"), "").expect("a file");
    assert!(matches!(error(&entry("empty.db")).await, OpenError::NoSchema { .. }));
    assert!(
        inspect(&entry("empty.db")).await.is_ok(),
        "a file without a schema can be looked at"
    );
    assert!(
        !directory.path().join("missing.db").exists(),
        "looking must not make a file"
    );
}
