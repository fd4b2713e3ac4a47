//! A front that ends TLS before a plain node, wants a client's certificate and a login, and remembers which names it was
//! asked for: plain builds of Elasticsearch know none of this.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The front, with the certificates that it goes by.
pub(crate) struct Front {
    pub(crate) address: String,
    folder: TempDir,
    names: Arc<Mutex<Vec<Option<String>>>>,
}

impl Front {
    /// Starts the front before `node` (`host:port`).
    pub(crate) async fn start(node: &str, user: &str, password: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = certificates(&folder);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address: SocketAddr = listener.local_addr().expect("an address");
        let names = Arc::new(Mutex::new(Vec::new()));
        let (seen, node) = (names.clone(), node.to_owned());
        let login = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("{user}:{password}"));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen, node, login) = (acceptor.clone(), seen.clone(), node.clone(), login.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let name = stream.get_ref().1.server_name().map(str::to_owned);
                    if let Ok(mut seen) = seen.lock()
                        && !seen.contains(&name)
                    {
                        seen.push(name);
                    }
                    // All requests of a connection have the login of the first.
                    let mut head = vec![0; 64 << 10];
                    let Ok(read) = stream.read(&mut head).await else { return };
                    let head = &head[..read];
                    if !String::from_utf8_lossy(head).contains(&format!("Basic {login}")) {
                        let _ = stream
                            .write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                            .await;
                        let _ = stream.shutdown().await;
                        return;
                    }
                    let Ok(mut plain) = TcpStream::connect(node).await else {
                        return;
                    };
                    if plain.write_all(head).await.is_ok() {
                        let _ = copy_bidirectional(&mut stream, &mut plain).await;
                    }
                });
            }
        });
        Self {
            address: address.to_string(),
            folder,
            names,
        }
    }

    /// The path of one of `ca.pem`, `other.pem`, `client.pem` and `client.key`.
    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The same as base64.
    pub(crate) fn data(&self, name: &str) -> String {
        let bytes = std::fs::read(self.folder.path().join(name)).expect("a file");
        base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes)
    }

    /// The names that it was asked for so far, each once.
    pub(crate) fn names(&self) -> Vec<Option<String>> {
        self.names.lock().expect("no panic").clone()
    }
}

fn certificates(folder: &TempDir) -> ServerConfig {
    let authority = || {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        (certificate.pem(), rcgen::Issuer::new(parameters, key))
    };
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    let (ca, issuer) = authority();
    let issue = |name: &str| {
        let key = rcgen::KeyPair::generate().expect("a key");
        let parameters = rcgen::CertificateParams::new([name.to_owned()]).expect("parameters");
        let certificate = parameters.signed_by(&key, &issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    };
    let (certificate, key) = issue("elasticsearch.test");
    let (client, client_key) = issue("client.test");
    write("ca.pem", &ca);
    write("other.pem", &authority().0);
    write("client.pem", &client);
    write("client.key", &client_key);

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("the CA"))
        .expect("a root");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .expect("a verifier");
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("the certificate")],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("the key"),
        )
        .expect("a configuration")
}
