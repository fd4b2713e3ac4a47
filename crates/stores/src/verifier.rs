//! What is verified of a server's certificate: by one type for every store and every setting.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme};

/// Whose certificate is taken, once its chain is good.
#[derive(Clone, Debug)]
pub(crate) enum Names {
    /// That of the host that is connected to.
    Host,
    /// That of one of these, or of none of them but the host, where that will do, too.
    OneOf {
        names: Vec<ServerName<'static>>,
        or_host: bool,
    },
    /// Anybody's.
    Any,
}

/// Verifies a certificate's chain and name, or nothing of it. Handshake signatures are always verified.
#[derive(Debug)]
pub(crate) struct Verifier {
    chain: Option<(Arc<WebPkiServerVerifier>, Names)>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// Takes any certificate, as the server does where nothing is to be verified.
    pub(crate) fn of_nothing(provider: Arc<CryptoProvider>) -> Self {
        Self { chain: None, provider }
    }

    /// Takes a certificate that one of `roots` vouches for, with the right name; the reason if these are no roots.
    pub(crate) fn of_chain(roots: RootCertStore, names: Names, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|error| format!("no root certificates to verify with: {error}; set caFile"))?;
        Ok(Self {
            chain: Some((chain, names)),
            provider,
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let Some((chain, names)) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        let verify =
            |name: &ServerName<'_>| chain.verify_server_cert(end_entity, intermediates, name, ocsp_response, now);
        match names {
            Names::Host => verify(host),
            Names::OneOf { names, or_host } => {
                let mut verdict = Err(TlsError::InvalidCertificate(CertificateError::NotValidForName));
                for name in names.iter().chain(or_host.then_some(host)) {
                    verdict = verify(name);
                    if verdict.is_ok() {
                        break;
                    }
                }
                verdict
            }
            Names::Any => match verify(host) {
                // The chain is verified before the name, so that this says the chain is good.
                Err(TlsError::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                )) => Ok(ServerCertVerified::assertion()),
                verdict => verdict,
            },
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
