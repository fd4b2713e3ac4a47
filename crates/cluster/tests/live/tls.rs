//! A frontend that wants TLS and a client certificate.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crossfade_cluster::health::{Service, ServiceHealth};
use crossfade_cluster::{ApiKey, ConnectError, ConnectSettings, Frontend, TlsSettings, Version};

use crate::cache::V1_30_8;
use crate::server::{Plan, Server};

/// Makes an authority, a server certificate for the name `frontend.test` and a client certificate.
fn certificates(dir: &Path) {
    let script = r#"
        set -e
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem 2>/dev/null
        for name in frontend.test client; do
          openssl req -newkey rsa:2048 -nodes -subj "/CN=$name" -keyout "$name.key" -out "$name.csr" 2>/dev/null
          printf 'subjectAltName=DNS:%s\n' "$name" >"$name.ext"
          openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile "$name.ext" \
            -out "$name.pem" 2>/dev/null
        done
    "#;
    let done = Command::new("sh")
        .args(["-c", script])
        .current_dir(dir)
        .status()
        .expect("openssl is needed");
    assert!(done.success(), "openssl failed: {done}");
}

/// The server runs in its own folder, so its files need no path.
const GLOBAL: &str = r#"  tls:
    frontend:
      server: { certFile: frontend.test.pem, keyFile: frontend.test.key, requireClientAuth: true, clientCaFiles: [ca.pem] }
      client: { serverName: frontend.test, rootCaFiles: [ca.pem] }
    systemWorker:
      certFile: client.pem
      keyFile: client.key
      client: { serverName: frontend.test, rootCaFiles: [ca.pem] }
"#;

#[tokio::test]
async fn a_frontend_with_mutual_tls_is_reached_by_every_way_and_only_with_a_certificate() {
    let server = Server::start_with(
        Plan {
            global: GLOBAL,
            ..Plan::new(V1_30_8)
        },
        certificates,
    );
    let file = |name: &str| Some(server.dir.join(name));
    let whole = TlsSettings {
        ca_file: file("ca.pem"),
        cert_file: file("client.pem"),
        key_file: file("client.key"),
        server_name: Some("frontend.test".into()),
    };
    let settings = ConnectSettings {
        tls: Some(whole.clone()),
        api_key: Some(ApiKey::new("k3y")),
        ..server.settings()
    };
    let frontend = Frontend::connect(&settings).await.expect("connected");
    frontend.await_serving(Duration::from_secs(60)).await.expect("serves");
    assert_eq!(
        frontend.cluster().await.expect("public API").version,
        Version::new(1, 30, 8)
    );
    // A frontend serves before it has seen who is in the rings.
    let deadline = Instant::now() + Duration::from_secs(60);
    while frontend.members().await.expect("admin API").by_service["history"].len() != 1 {
        assert!(Instant::now() < deadline, "no history host in its ring");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let health = ServiceHealth::new(Service::Frontend, &settings).expect("settings");
    health.await_serving(Duration::from_secs(60)).await.expect("serves");

    for (tls, why) in [
        (None, "plaintext"),
        (
            Some(TlsSettings {
                cert_file: None,
                key_file: None,
                ..whole.clone()
            }),
            "no client certificate",
        ),
        (
            Some(TlsSettings {
                ca_file: None,
                ..whole.clone()
            }),
            "an authority that the system does not know",
        ),
        (
            Some(TlsSettings {
                server_name: Some("other.test".into()),
                ..whole
            }),
            "another name",
        ),
    ] {
        let settings = ConnectSettings {
            tls,
            connect_within: Duration::from_secs(1),
            ..server.settings()
        };
        let error = Frontend::connect(&settings).await.expect_err(why);
        assert!(matches!(error, ConnectError::Unreachable { .. }), "{why}: {error:?}");
    }
}
