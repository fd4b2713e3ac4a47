//! How a frontend or a service is reached, and what is refused before a byte is sent.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use temporalio_client::errors::ClientConnectError;
use temporalio_client::{ClientTlsOptions, Connection, ConnectionOptions, TlsOptions, Url};
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::error::{ConnectError, with_causes};

/// Bound of a single attempt to connect.
const ATTEMPT: Duration = Duration::from_secs(5);

/// How to reach one gRPC address of the cluster.
#[derive(Debug, Clone)]
pub struct ConnectSettings {
    /// `host:port`, or with `http://` (plaintext) or `https://` (TLS) before it.
    pub address: String,
    /// TLS, with or without a client certificate; `None` is plaintext unless the address says `https://`.
    pub tls: Option<TlsSettings>,
    /// Sent as `authorization: Bearer ...`; needs TLS.
    pub api_key: Option<ApiKey>,
    /// Who we say we are; it shows in histories.
    pub identity: String,
    /// For how long [`crate::Frontend::connect`] keeps trying.
    pub connect_within: Duration,
    /// Bound of each call, its retries included.
    pub call_within: Duration,
}

impl ConnectSettings {
    /// Plaintext to `address`, 15 s to connect and 15 s for a call.
    pub fn plaintext(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            tls: None,
            api_key: None,
            identity: "crossfade".to_owned(),
            connect_within: Duration::from_secs(15),
            call_within: Duration::from_secs(15),
        }
    }

    /// The same way of connecting, to another address.
    pub fn to_address(&self, address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            ..self.clone()
        }
    }
}

/// The TLS side of a connection. All of it may be left out: then the system's roots decide.
#[derive(Debug, Clone, Default)]
pub struct TlsSettings {
    /// PEM file with the certificates to trust instead of the system's roots.
    pub ca_file: Option<PathBuf>,
    /// PEM file with this client's certificate; needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM file with this client's key; needs `cert_file`.
    pub key_file: Option<PathBuf>,
    /// Name to expect in the server's certificate, where it is not the host of the address.
    pub server_name: Option<String>,
}

/// An API key. It is never printed.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// Takes the key.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

/// Settings found to be sound, with the files read.
#[derive(Clone)]
pub(crate) struct Checked {
    pub(crate) url: Url,
    tls: Option<CheckedTls>,
}

#[derive(Clone)]
struct CheckedTls {
    ca: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    server_name: Option<String>,
}

impl Checked {
    pub(crate) fn read(settings: &ConnectSettings) -> Result<Self, ConnectError> {
        let address = settings.address.trim();
        let wrong = |reason: &str| ConnectError::Setting {
            field: "address",
            value: address.to_owned(),
            reason: reason.into(),
        };
        let tls = settings.tls.is_some() || address.starts_with("https://");
        let text = match address.split_once("://") {
            // The client of the SDK would talk plaintext here without a word, API key and all.
            Some(("http", _)) if tls => {
                return Err(wrong(
                    "is plaintext by its http:// while tls is set; write https:// or only host:port",
                ));
            }
            Some(("http" | "https", _)) => address.to_owned(),
            Some((scheme, _)) => {
                return Err(wrong(&format!(
                    "has the scheme {scheme}://; write host:port, http:// or https://"
                )));
            }
            None => format!("{}://{address}", if tls { "https" } else { "http" }),
        };
        let url = Url::parse(&text).map_err(|e| wrong(&format!("is not an address ({e}); write host:port")))?;
        if url.host_str().is_none_or(str::is_empty) {
            return Err(wrong("names no host; write host:port, such as 127.0.0.1:7233"));
        }
        if url.path() != "/" || url.query().is_some() {
            return Err(wrong("has a path; write host:port only"));
        }
        // A URL parser drops the port that is usual for a scheme, so the text decides.
        if !text
            .trim_end_matches('/')
            .rsplit(':')
            .next()
            .is_some_and(|p| p.parse::<u16>().is_ok_and(|p| p > 0))
        {
            return Err(wrong("names no port; write host:port, such as 127.0.0.1:7233"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ConnectError::Setting {
                field: "address",
                value: "(hidden)".into(),
                reason: "carries a user or password; Temporal takes an api_key or a client certificate".into(),
            });
        }
        if settings.api_key.is_some() && !tls {
            return Err(wrong("is plaintext, and api_key would go over it in clear; set tls"));
        }
        let tls = match &settings.tls {
            Some(tls) => Some(CheckedTls::read(tls)?),
            None => tls.then_some(CheckedTls {
                ca: None,
                identity: None,
                server_name: None,
            }),
        };
        Ok(Self { url, tls })
    }

    /// A channel that connects when it is first used and again after each loss.
    pub(crate) fn channel(&self, field: &'static str) -> Result<Channel, ConnectError> {
        let wrong = |reason: String| ConnectError::Setting {
            field,
            value: self.url.to_string(),
            reason,
        };
        let mut endpoint = Endpoint::from_shared(self.url.to_string())
            .map_err(|e| wrong(format!("is not an address: {}", with_causes(&e))))?
            .connect_timeout(ATTEMPT);
        if let Some(tls) = &self.tls {
            let mut config = ClientTlsConfig::new();
            config = match &tls.ca {
                Some(ca) => config.ca_certificate(Certificate::from_pem(ca)),
                None => config.with_native_roots(),
            };
            if let Some((cert, key)) = &tls.identity {
                config = config.identity(Identity::from_pem(cert, key));
            }
            if let Some(name) = &tls.server_name {
                config = config.domain_name(name);
            }
            endpoint = endpoint
                .tls_config(config)
                .map_err(|e| wrong(format!("TLS: {}", with_causes(&e))))?;
        }
        Ok(endpoint.connect_lazy())
    }

    fn options(&self, settings: &ConnectSettings) -> ConnectionOptions {
        let tls = self.tls.as_ref().map(|tls| {
            let client = tls.identity.clone().map(|(certificate, key)| {
                ClientTlsOptions::builder()
                    .client_cert(certificate)
                    .client_private_key(key)
                    .build()
            });
            TlsOptions::builder()
                .maybe_server_root_ca_cert(tls.ca.clone())
                .maybe_domain(tls.server_name.clone())
                .maybe_client_tls_options(client)
                .build()
        });
        ConnectionOptions::new(self.url.clone())
            .identity(settings.identity.clone())
            .connect_timeout(ATTEMPT)
            .maybe_tls_options(tls)
            .maybe_api_key(settings.api_key.as_ref().map(|k| k.expose().to_owned()))
            .build()
    }

    /// Connects, trying again until `connect_within` is over.
    pub(crate) async fn connect(&self, settings: &ConnectSettings) -> Result<Connection, ConnectError> {
        let started = Instant::now();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let left = settings
                .connect_within
                .saturating_sub(started.elapsed())
                .max(Duration::from_millis(100));
            let reason = match tokio::time::timeout(left, Connection::connect(self.options(settings))).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => match error {
                    ClientConnectError::SystemInfoCallError(status)
                        if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) =>
                    {
                        return Err(ConnectError::Refused {
                            address: settings.address.clone(),
                            reason: status.message().to_owned(),
                        });
                    }
                    ClientConnectError::InvalidConfig(_) | ClientConnectError::InvalidUri(_) => {
                        return Err(ConnectError::Setting {
                            field: "address",
                            value: settings.address.clone(),
                            reason: with_causes(&error),
                        });
                    }
                    ClientConnectError::TonicTransportError(transport) => with_causes(&transport),
                    ClientConnectError::SystemInfoCallError(status) => status.message().to_owned(),
                    other => with_causes(&other),
                },
                Err(_) => "no answer in time".to_owned(),
            };
            if started.elapsed() + Duration::from_millis(200) >= settings.connect_within {
                return Err(ConnectError::Unreachable {
                    address: settings.address.clone(),
                    attempts,
                    waited: started.elapsed(),
                    reason,
                });
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl CheckedTls {
    fn read(tls: &TlsSettings) -> Result<Self, ConnectError> {
        let read = |field: &'static str, path: &Path| {
            std::fs::read(path).map_err(|source| ConnectError::File {
                field,
                path: path.to_owned(),
                source,
            })
        };
        let identity = match (&tls.cert_file, &tls.key_file) {
            (Some(cert), Some(key)) => Some((read("tls.cert_file", cert)?, read("tls.key_file", key)?)),
            (None, None) => None,
            (Some(path), None) => return Err(half("tls.cert_file", path, "tls.key_file")),
            (None, Some(path)) => return Err(half("tls.key_file", path, "tls.cert_file")),
        };
        let ca = tls.ca_file.as_ref().map(|path| read("tls.ca_file", path)).transpose()?;
        Ok(Self {
            ca,
            identity,
            server_name: tls.server_name.clone(),
        })
    }
}

fn half(field: &'static str, path: &Path, missing: &'static str) -> ConnectError {
    ConnectError::Setting {
        field,
        value: path.display().to_string(),
        reason: format!("is set without {missing}; a client certificate needs both"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(settings: &ConnectSettings) -> String {
        match Checked::read(settings) {
            Ok(checked) => panic!("accepted as {}", checked.url),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn tls_is_never_dropped_silently() {
        let mut settings = ConnectSettings::plaintext("http://127.0.0.1:7233");
        settings.tls = Some(TlsSettings::default());
        assert!(refusal(&settings).contains("plaintext by its http://"));

        settings.address = "127.0.0.1:7233".into();
        let checked = Checked::read(&settings).expect("host:port with tls");
        assert_eq!(checked.url.scheme(), "https");
        assert!(checked.options(&settings).tls_options.is_some());

        settings.tls = None;
        settings.address = "https://temporal.example:443".into();
        assert!(Checked::read(&settings).expect("https").tls.is_some());
    }

    #[test]
    fn an_api_key_never_goes_in_clear_nor_into_text() {
        let mut settings = ConnectSettings::plaintext("127.0.0.1:7233");
        settings.api_key = Some(ApiKey::new("s3cret"));
        let said = refusal(&settings);
        assert!(said.contains("api_key would go over it in clear"), "{said}");
        assert!(!format!("{settings:?} {said}").contains("s3cret"));

        let said = refusal(&ConnectSettings::plaintext("http://user:s3cret@127.0.0.1:7233"));
        assert!(!said.contains("s3cret"), "{said}");
    }

    #[test]
    fn a_wrong_address_is_named_with_the_right_form() {
        for (address, expected) in [
            ("", "is not an address"),
            ("127.0.0.1", "names no port"),
            ("localhost:port", "is not an address"),
            ("localhost:0", "names no port"),
            ("grpc://localhost:7233", "has the scheme grpc://"),
            ("localhost:7233/path", "has a path"),
        ] {
            let said = refusal(&ConnectSettings::plaintext(address));
            assert!(said.contains(expected), "{address}: {said}");
            assert!(said.starts_with("address: "), "{said}");
        }
    }

    #[test]
    fn half_a_client_certificate_and_missing_files_are_named() {
        let mut settings = ConnectSettings::plaintext("127.0.0.1:7233");
        settings.tls = Some(TlsSettings {
            cert_file: Some("/no/cert.pem".into()),
            ..TlsSettings::default()
        });
        assert!(refusal(&settings).contains("without tls.key_file"));
        settings.tls = Some(TlsSettings {
            ca_file: Some("/no/ca.pem".into()),
            ..TlsSettings::default()
        });
        let said = refusal(&settings);
        assert!(said.contains("tls.ca_file: cannot read /no/ca.pem"), "{said}");
    }
}
