//! The `tls` section of a datastore entry as the server's own code reads it for stores other than SQL
//! (1.30.8: common/auth/tls.go and tls_config_helper.go), and the connections made of it; those to PostgreSQL, too.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Map, Value};

use crate::error::OpenError;
use crate::verifier::{Names, Verifier};

/// What a `tls` section that is enabled asks for.
#[derive(Clone, Default)]
pub(crate) struct TlsSection {
    ca: Option<Artifact>,
    certificate: Option<Artifact>,
    key: Option<Artifact>,
    /// The name that the certificate must be for, and that is sent, in place of the host's.
    pub(crate) server_name: Option<String>,
    /// Without it nothing at all is verified, even when a CA is given.
    pub(crate) verify: bool,
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

    /// What an encrypted connection with these files is: authorities, and a certificate of the client's with its key.
    pub(crate) fn of_files(ca: Option<&str>, certificate: Option<&str>, key: Option<&str>, verify: bool) -> Self {
        let file = |path: Option<&str>| path.map(|path| Artifact::File(path.to_owned()));
        Self {
            ca: file(ca),
            certificate: file(certificate),
            key: file(key),
            server_name: None,
            verify,
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
                    &format!("is given and so is {name}File: the server takes only one of them"),
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

    /// What makes TLS connections of this section, as verified as it says, to hosts with these names; the reason if its
    /// files cannot be used.
    pub(crate) fn client_config(&self, names: Names) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let verifier = match self.verify {
            true => Verifier::of_chain(self.roots()?, names, provider.clone())?,
            false => Verifier::of_nothing(provider.clone()),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let (certificate, key) = match (&self.certificate, &self.key) {
            (None, None) => return Ok(builder.with_no_client_auth()),
            (Some(certificate), Some(key)) => (certificate, key),
            _ => return Err("a client certificate needs both certFile and keyFile".to_owned()),
        };
        let chain = certificates(certificate, "cert")?;
        let key = PrivateKeyDer::from_pem_slice(&key.read("key")?)
            .map_err(|_| format!("{} holds no private key in PEM", key.place("key")))?;
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
                    roots
                        .add(certificate)
                        .map_err(|error| format!("{}: {error}", ca.place("ca")))?;
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
            Self::File(path) => {
                std::fs::read(Path::new(path)).map_err(|error| format!("{}: {error}", self.place(name)))
            }
            Self::Data(data) => BASE64_STANDARD
                .decode(data.trim())
                .map_err(|_| format!("{} is no base64", self.place(name))),
        }
    }

    /// Where it is, for messages.
    fn place(&self, name: &str) -> String {
        match self {
            Self::File(path) => format!("{name}File {path}"),
            Self::Data(_) => format!("{name}Data"),
        }
    }
}

fn certificates(artifact: &Artifact, name: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = artifact.read(name)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(format!("{} holds no certificate in PEM", artifact.place(name))),
    }
}

fn given(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, ()> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(_) => Err(()),
    }
}
