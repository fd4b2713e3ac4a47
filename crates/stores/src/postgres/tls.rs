//! TLS to PostgreSQL, as the server's own drivers understand `sslmode` and the `tls` section
//! (1.30.8: sqlplugin/postgresql/session/session.go).

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::entry::PostgresEntry;
use crate::error::OpenError;

/// Whether a connection is encrypted, and what is verified.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Disabled,
    Enabled { required: bool, verify: Verify },
}

/// What of the server's certificate is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verify {
    Nothing,
    Chain,
    ChainAndHost,
}

impl Mode {
    pub(super) fn negotiation(&self) -> SslMode {
        match self {
            Self::Disabled => SslMode::Disable,
            Self::Enabled { required: false, .. } => SslMode::Prefer,
            Self::Enabled { required: true, .. } => SslMode::Require,
        }
    }
}

/// The mode that an entry asks for: `sslmode` first, else the `tls` section, else none.
pub(super) fn mode(entry: &PostgresEntry) -> Result<Mode, OpenError> {
    let enabled = |required, verify| Ok(Mode::Enabled { required, verify });
    let has_ca = ca_file(entry).is_some();
    match (entry.attributes.get("sslmode").map(String::as_str), &entry.tls) {
        (None | Some(""), None) | (Some("disable"), _) => Ok(Mode::Disabled),
        (None | Some(""), Some(tls)) if tls.verify_host => enabled(true, Verify::ChainAndHost),
        // With a root certificate, "require" verifies the chain, as libpq and both of the server's drivers do.
        (None | Some("" | "require"), _) => enabled(true, if has_ca { Verify::Chain } else { Verify::Nothing }),
        (Some("allow" | "prefer"), _) => enabled(false, Verify::Nothing),
        (Some("verify-ca"), _) => enabled(true, Verify::Chain),
        (Some("verify-full"), _) => enabled(true, Verify::ChainAndHost),
        (Some(other), _) => Err(OpenError::Malformed {
            field: "sql.connectAttributes.sslmode".to_owned(),
            reason: format!("is '{other}'; expected disable, allow, prefer, require, verify-ca or verify-full"),
        }),
    }
}

fn ca_file(entry: &PostgresEntry) -> Option<&str> {
    file(entry, "sslrootcert", |tls| tls.ca_file.as_deref())
}

fn file<'a>(
    entry: &'a PostgresEntry,
    attribute: &str,
    from_tls: impl Fn(&'a crate::entry::Tls) -> Option<&'a str>,
) -> Option<&'a str> {
    let attribute = entry
        .attributes
        .get(attribute)
        .map(String::as_str)
        .filter(|path| !path.is_empty());
    attribute.or_else(|| entry.tls.as_ref().and_then(from_tls))
}

/// What makes TLS connections of this mode.
pub(super) fn connector(entry: &PostgresEntry, mode: &Mode) -> Result<MakeRustlsConnect, OpenError> {
    let failed = |reason: String| OpenError::Tls {
        store: entry.describe(),
        reason,
    };
    let provider = Arc::new(ring::default_provider());
    let verify = match mode {
        Mode::Enabled { verify, .. } => *verify,
        Mode::Disabled => Verify::Nothing,
    };
    let verifier = Verifier::new(entry, verify, provider.clone()).map_err(failed)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let certificate = file(entry, "sslcert", |tls| tls.cert_file.as_deref());
    let key = file(entry, "sslkey", |tls| tls.key_file.as_deref());
    let config = match (certificate, key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate).map_err(failed)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| failed(format!("{key} holds no usable private key: {error}")))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| failed(error.to_string()))?
        }
        _ => {
            return Err(failed(
                "a client certificate needs both certFile and keyFile".to_owned(),
            ));
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: rustls::pki_types::pem::Error| format!("{path} holds no usable certificate: {error}");
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(Path::new(path)).map_err(wrong)?.collect();
    let certificates = certificates.map_err(wrong)?;
    if certificates.is_empty() {
        Err(format!("{path} holds no certificate"))
    } else {
        Ok(certificates)
    }
}

/// Verifies as much as was asked for. Handshake signatures are always verified.
#[derive(Debug)]
struct Verifier {
    verify: Verify,
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(entry: &PostgresEntry, verify: Verify, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        if verify == Verify::Nothing {
            return Ok(Self {
                verify,
                chain: None,
                provider,
            });
        }
        let mut roots = RootCertStore::empty();
        match ca_file(entry) {
            Some(path) => {
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| format!("{path}: {error}"))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|error| format!("no root certificates to verify with: {error}; set caFile"))?;
        Ok(Self {
            verify,
            chain: Some(chain),
            provider,
        })
    }
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
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The chain is verified before the name, so that this says the chain is good.
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.verify == Verify::Chain => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::entry::Entry;

    fn check(attributes: Value, tls: Value, expected: Mode) {
        let entry = json!({"sql": {
            "pluginName": "postgres12", "databaseName": "v", "connectAddr": "h:1", "user": "u",
            "connectAttributes": attributes, "tls": tls,
        }});
        let Ok(Entry::Postgres(entry)) = Entry::parse(&entry) else {
            panic!("{entry}")
        };
        assert_eq!(mode(&entry).ok(), Some(expected));
    }

    #[test]
    fn modes_are_the_servers() {
        let on = |required, verify| Mode::Enabled { required, verify };
        check(json!({}), json!(null), Mode::Disabled);
        check(
            json!({}),
            json!({"enabled": false, "enableHostVerification": true}),
            Mode::Disabled,
        );
        check(json!({"sslmode": "disable"}), json!({"enabled": true}), Mode::Disabled);
        check(json!({}), json!({"enabled": true}), on(true, Verify::Nothing));
        check(
            json!({}),
            json!({"enabled": true, "caFile": "/ca"}),
            on(true, Verify::Chain),
        );
        check(
            json!({}),
            json!({"enabled": true, "enableHostVerification": true}),
            on(true, Verify::ChainAndHost),
        );
        check(
            json!({"sslmode": "require", "sslrootcert": "/ca"}),
            json!(null),
            on(true, Verify::Chain),
        );
        check(
            json!({"sslmode": "verify-full"}),
            json!(null),
            on(true, Verify::ChainAndHost),
        );
        check(json!({"sslmode": "prefer"}), json!(null), on(false, Verify::Nothing));
    }
}
