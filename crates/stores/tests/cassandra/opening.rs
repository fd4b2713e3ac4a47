//! What cannot be opened, what goes away, and what is said of it.

use crossfade_stores::{OpenError, inspect, open};
use crossfade_visibility::contract::record;
use crossfade_visibility::ports::Error;
use e2e::servers::cassandra::Options;
use serde_json::{Value, json};

use crate::fixture::{KEYSPACE, Node, Server, entry_with};
use crate::{namespace, scanned, within};

/// A password that no message may show.
const WRONG: &str = "s3cret-wrong";

async fn error(entry: &Value) -> OpenError {
    let opened = open(entry).await.expect_err("it must not open");
    let inspected = inspect(entry).await.expect_err("nor be looked into");
    for message in [opened.to_string(), format!("{opened:?}"), inspected.to_string()] {
        assert!(!message.contains(WRONG), "{message}");
    }
    opened
}

#[tokio::test]
async fn what_is_wrong_with_the_entry_is_said() {
    let keyspace = error(&entry_with("keyspace", json!("no_such_keyspace"))).await;
    assert!(
        matches!(&keyspace, OpenError::UnknownKeyspace { keyspace, .. } if keyspace == "no_such_keyspace"),
        "{keyspace:?}"
    );
    let port = error(&entry_with("port", json!(1))).await;
    assert!(
        matches!(port, OpenError::Unreachable { .. }) && port.is_retryable(),
        "{port:?}"
    );
    let host = error(&entry_with("hosts", json!("no-such-host.invalid"))).await;
    assert!(matches!(host, OpenError::Unreachable { .. }), "{host:?}");
    let datacenter = error(&entry_with("datacenter", json!("nowhere"))).await;
    assert!(datacenter.to_string().contains("datacenter"), "{datacenter}");
    // The node has only one, and takes anybody.
    for (field, value) in [
        ("datacenter", json!("datacenter1")),
        ("disableInitialHostLookup", json!(true)),
        ("user", json!("anybody")),
    ] {
        let opened = open(&entry_with(field, value)).await;
        assert!(opened.is_ok(), "{field}: {opened:?}");
    }
    let clear = error(&entry_with("tls", json!({"enabled": true}))).await;
    assert!(
        matches!(clear, OpenError::Unreachable { .. } | OpenError::Tls { .. }),
        "{clear:?}"
    );
}

#[tokio::test]
async fn logins_and_certificates_are_checked() {
    let node = Node::start(|folder| {
        certificates(folder);
        let file = |name: &str| folder.join(name).display().to_string();
        Options::default()
            .with("authenticator", "PasswordAuthenticator")
            .with("authorizer", "CassandraAuthorizer")
            .with(
                "client_encryption_options",
                &format!(
                    "{{enabled: true, optional: true, require_client_auth: true, keystore: \"{}\", truststore: \"{}\", \
                     ssl_context_factory: {{class_name: org.apache.cassandra.security.PEMBasedSslContextFactory}}}}",
                    file("server.pem"),
                    file("ca.pem"),
                ),
            )
    })
    .await;
    let file = |name: &str| node.folder.path().join(name).display().to_string();
    let entry = |login: Value, tls: Value| {
        let mut entry = node.cassandra.datastore("none");
        entry["cassandra"]["user"] = login[0].clone();
        entry["cassandra"]["password"] = login[1].clone();
        entry["cassandra"]["tls"] = tls;
        entry
    };
    let tls = |change: Value| {
        let mut tls = json!({
            "enabled": true, "caFile": file("ca.pem"), "certFile": file("client.pem"), "keyFile": file("client.key"),
            "serverName": "cassandra.test", "enableHostVerification": true,
        });
        for (field, value) in change.as_object().cloned().unwrap_or_default() {
            tls[field] = value;
        }
        tls
    };
    let (login, good) = (json!(["cassandra", "cassandra"]), tls(json!({})));
    // The first login is made some seconds after the node takes clients.
    let mut opened = error(&entry(login.clone(), good.clone())).await;
    while matches!(opened, OpenError::Rejected { .. }) {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        opened = error(&entry(login.clone(), good.clone())).await;
    }
    assert!(
        matches!(opened, OpenError::UnknownKeyspace { .. }),
        "the way in: {opened:?}"
    );

    let wrong = error(&entry(json!(["cassandra", WRONG]), good.clone())).await;
    assert!(
        matches!(&wrong, OpenError::Rejected { user, .. } if user == "cassandra"),
        "{wrong:?}"
    );
    let nobody = error(&entry(json!([null, null]), good.clone())).await;
    assert!(matches!(nobody, OpenError::Rejected { .. }), "{nobody:?}");

    let unverified = error(&entry(
        login.clone(),
        tls(json!({"caFile": null, "serverName": null, "enableHostVerification": false})),
    ))
    .await;
    assert!(
        matches!(unverified, OpenError::UnknownKeyspace { .. }),
        "{unverified:?}"
    );
    for bad in [
        json!({"caFile": file("other.pem")}),
        json!({"serverName": "other.test"}),
        json!({"serverName": null}),
        json!({"certFile": "/no/such/file"}),
    ] {
        let refused = error(&entry(login.clone(), tls(bad.clone()))).await;
        assert!(matches!(refused, OpenError::Tls { .. }), "{bad}: {refused:?}");
    }
    let half = error(&entry(login.clone(), tls(json!({"keyFile": null})))).await;
    assert!(
        matches!(&half, OpenError::Malformed { field, .. } if field == "cassandra.tls.certFile"),
        "{half:?}"
    );
    // It is for the node to refuse a client without a certificate.
    let stranger = error(&entry(login, tls(json!({"certFile": null, "keyFile": null})))).await;
    assert!(
        stranger.is_retryable() || matches!(stranger, OpenError::Tls { .. }),
        "{stranger:?}"
    );
}

#[tokio::test]
async fn a_node_that_hangs_or_dies_is_an_error_worth_trying_again() {
    let mut node = Node::start(|_| Options::default()).await;
    node.keyspace(KEYSPACE);
    let namespace = namespace(0x30);
    let server = Server::new(node.cassandra.port(), KEYSPACE).await;
    server
        .write(&(0..50).map(|n| record(&namespace, n)).collect::<Vec<_>>())
        .await;
    let store = open(&node.cassandra.datastore(KEYSPACE))
        .await
        .unwrap_or_else(|error| panic!("{error}"))
        .read();
    assert_eq!(scanned(&*store, within(&namespace), 20).await.len(), 50);

    node.cassandra.freeze().expect("a frozen node");
    // The last answers may be on their way.
    let frozen = loop {
        if let Err(error) = store.get(&[record(&namespace, 1).key]).await {
            break error;
        }
    };
    node.cassandra.thaw().expect("a node that goes on");
    assert!(
        matches!(frozen, Error::Busy { .. } | Error::Unreachable { .. }),
        "{frozen:?}"
    );
    assert_eq!(again(&*store, &namespace).await, 50);

    node.cassandra.kill().expect("a dead node");
    let dead = store.scan(&within(&namespace), 10).await.expect_err("no answer");
    assert!(
        matches!(dead, Error::Unreachable { .. }) && dead.is_retryable(),
        "{dead:?}"
    );
    node.cassandra.resume(&node.processes).await.expect("the node");
    assert_eq!(again(&*store, &namespace).await, 50);
}

/// How many records a store that comes back gives, once it does.
async fn again(store: &dyn crossfade_visibility::ports::Read, namespace: &str) -> usize {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(90);
    loop {
        match store.scan(&within(namespace), 100).await {
            Ok(records) => return records.len(),
            Err(error) => assert!(error.is_retryable() && std::time::Instant::now() < deadline, "{error}"),
        }
    }
}

/// An authority (`ca.pem`), the node's key and certificate for `cassandra.test` in one file (`server.pem`), a client's
/// (`client.pem`, `client.key`), and another authority (`other.pem`).
fn certificates(folder: &std::path::Path) {
    let authority = || {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        (certificate.pem(), rcgen::Issuer::new(parameters, key))
    };
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a file");
    let (ca, issuer) = authority();
    let signed = |name: &str| {
        let key = rcgen::KeyPair::generate().expect("a key");
        let parameters = rcgen::CertificateParams::new([name.to_owned()]).expect("parameters");
        let certificate = parameters.signed_by(&key, &issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    };
    let (certificate, key) = signed("cassandra.test");
    write("server.pem", &format!("{key}{certificate}{ca}"));
    let (certificate, key) = signed("client.test");
    write("client.pem", &certificate);
    write("client.key", &key);
    write("ca.pem", &ca);
    write("other.pem", &authority().0);
}
