//! TLS to Cassandra, as the server's client understands the `tls` section
//! (1.23.1: nosqlplugin/cassandra/gocql/client.go, common/auth/tls_config_helper.go): nothing of the certificate is
//! verified unless `enableHostVerification` is set, and then chain and name are.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};

use super::entry::{CassandraEntry, CassandraTls, Pem};
use crate::error::OpenError;

/// What makes TLS connections to the nodes of an entry; none if the entry does not ask for TLS.
pub(super) fn config(entry: &CassandraEntry) -> Result<Option<Arc<ClientConfig>>, OpenError> {
    let Some(tls) = &entry.tls else { return Ok(None) };
    let failed = |reason: String| OpenError::Tls {
        store: entry.describe(),
        reason,
    };
    let provider = Arc::new(ring::default_provider());
    let names = entry.hosts.iter().map(|(host, _)| host.clone()).collect();
    let verifier = Verifier::new(tls, names, provider.clone()).map_err(failed)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match (&tls.certificate, &tls.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate, "certFile/certData").map_err(failed)?;
            let key = private_key(key).map_err(failed)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| failed(error.to_string()))?
        }
        _ => {
            let reason = "a client certificate needs both certFile (or certData) and keyFile (or keyData)";
            return Err(failed(reason.to_owned()));
        }
    };
    Ok(Some(Arc::new(config)))
}

/// The PEM text, and what to call it.
fn read(pem: &Pem, field: &str) -> Result<(Vec<u8>, String), String> {
    match pem {
        Pem::File(path) => std::fs::read(path)
            .map(|text| (text, path.clone()))
            .map_err(|error| format!("{path} cannot be read: {error}")),
        Pem::Data(data) => BASE64_STANDARD
            .decode(data.trim())
            .map(|text| (text, field.to_owned()))
            .map_err(|_| format!("{field} is not base64")),
    }
}

fn certificates(pem: &Pem, field: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let (text, place) = read(pem, field)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|error| format!("{place} holds no usable certificate: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("{place} holds no certificate"));
    }
    Ok(certificates)
}

fn private_key(pem: &Pem) -> Result<PrivateKeyDer<'static>, String> {
    let (text, place) = read(pem, "keyData")?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| format!("{place} holds no usable private key: {error}"))
}

/// Verifies chain and name, or nothing. Handshake signatures are always verified.
///
/// The client names each node by its address. A certificate is good if it is for `serverName`; where that is not set,
/// if it is for the address or for one of the hosts that the entry names, by which the server's client knows them.
#[derive(Debug)]
struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    names: Vec<ServerName<'static>>,
    /// Whether the node's address will do, too.
    or_address: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(tls: &CassandraTls, hosts: Vec<String>, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let names = tls.server_name.clone().map_or(hosts, |name| vec![name]);
        let names: Result<Vec<_>, String> = names
            .into_iter()
            .map(|name| {
                ServerName::try_from(name.clone()).map_err(|_| format!("'{name}' is no name to verify; set serverName"))
            })
            .collect();
        let chain = match tls.verify {
            true => Some(chain(tls, provider.clone())?),
            false => None,
        };
        Ok(Self {
            chain,
            names: names?,
            or_address: tls.server_name.is_none(),
            provider,
        })
    }
}

fn chain(tls: &CassandraTls, provider: Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(ca) => {
            for certificate in certificates(ca, "caFile/caData")? {
                roots
                    .add(certificate)
                    .map_err(|error| format!("caFile/caData: {error}"))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| format!("no root certificates to verify with: {error}; set caFile"))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        let address = self.or_address.then_some(server_name);
        let mut verdict = Err(TlsError::InvalidCertificate(CertificateError::NotValidForName));
        for name in self.names.iter().chain(address) {
            verdict = chain.verify_server_cert(end_entity, intermediates, name, ocsp_response, now);
            if verdict.is_ok() {
                break;
            }
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
