//! The `tls` section of a datastore entry as the server's own code reads it for stores other than PostgreSQL
//! (1.30.8: common/auth/tls.go and tls_config_helper.go).

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme};
use serde_json::{Map, Value};

use crate::error::OpenError;

/// What a `tls` section that is enabled asks for.
#[derive(Clone, Default)]
pub(crate) struct TlsSection {
    ca: Option<Artifact>,
    certificate: Option<Artifact>,
    key: Option<Artifact>,
    /// The name that the certificate must be for, and that is sent, in place of the host's.
    pub(crate) server_name: Option<String>,
    /// Without it nothing at all is verified, even when a CA is given.
    verify: bool,
}

/// A file in PEM, or the same as base64 in the entry itself.
#[derive(Clone)]
enum Artifact {
    File(String),
    Data(String),
}

impl fmt::Debug for TlsSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsSection(verify: {})", self.verify)
    }
}

impl TlsSection {
    /// What an encrypted connection without a section is: verified against what this machine trusts.
    pub(crate) fn verified() -> Self {
        Self {
            verify: true,
            ..Self::default()
        }
    }

    /// Reads the section at `path` (for messages, as `elasticsearch.tls`); `None` when it is absent or not enabled.
    pub(crate) fn parse(section: Option<&Value>, path: &str) -> Result<Option<Self>, OpenError> {
        let malformed = |field: &str, reason: &str| OpenError::Malformed {
            field: format!("{path}.{field}"),
            reason: reason.to_owned(),
        };
        let fields = match section {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(fields)) => fields,
            Some(_) => return Err(malformed("(the section)", "is no mapping")),
        };
        let flag = |name: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if text == "true" || text == "false" => Ok(text == "true"),
            Some(_) => Err(malformed(name, "is neither true nor false")),
        };
        if !flag("enabled")? {
            return Ok(None);
        }
        let text = |name: &str| given(fields, name).map_err(|()| malformed(name, "is no text"));
        let artifact = |name: &str| {
            let (file, data) = (text(&format!("{name}File"))?, text(&format!("{name}Data"))?);
            match (file, data) {
                (Some(_), Some(_)) => Err(malformed(
                    &format!("{name}Data"),
                    "is given and so is the file: the server takes only one of them",
                )),
                (Some(file), None) => Ok(Some(Artifact::File(file))),
                (None, data) => Ok(data.map(Artifact::Data)),
            }
        };
        let section = Self {
            ca: artifact("ca")?,
            certificate: artifact("cert")?,
            key: artifact("key")?,
            server_name: text("serverName")?,
            verify: flag("enableHostVerification")?,
        };
        if section.certificate.is_some() != section.key.is_some() {
            return Err(malformed(
                "certFile",
                "and keyFile go together: one of certificate and key is missing",
            ));
        }
        Ok(Some(section))
    }

    /// What makes TLS connections of this section, as verified as it says; the reason if its files cannot be used.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = if self.verify {
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots()?), provider)
                .build()
                .map_err(|error| error.to_string())?;
            builder.with_webpki_verifier(verifier)
        } else {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anything(provider)))
        };
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = certificates(certificate, "cert")?;
        let key = PrivateKeyDer::from_pem_slice(&key.read("key")?)
            .map_err(|_| "keyFile or keyData holds no private key in PEM".to_owned())?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| format!("certificate and key: {error}"))
    }

    /// The CA given, and nothing else; without one, those that this machine trusts.
    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(ca) => {
                for certificate in certificates(ca, "ca")? {
                    roots.add(certificate).map_err(|error| format!("caFile: {error}"))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        Ok(roots)
    }
}

impl Artifact {
    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        match self {
            Self::File(path) => std::fs::read(Path::new(path)).map_err(|error| format!("{name}File {path}: {error}")),
            Self::Data(data) => BASE64_STANDARD
                .decode(data.trim())
                .map_err(|_| format!("{name}Data is no base64")),
        }
    }
}

fn certificates(artifact: &Artifact, name: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = artifact.read(name)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(match artifact {
            Artifact::File(path) => format!("{name}File {path} holds no certificate in PEM"),
            Artifact::Data(_) => format!("{name}Data holds no certificate in PEM"),
        }),
    }
}

fn given(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, ()> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(_) => Err(()),
    }
}

/// Takes any certificate, as the server does without `enableHostVerification`.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
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
            &self.0.signature_verification_algorithms,
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
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
