//! The connection to the Temporal Server that runs the migration's workflow.
//!
//! Settings are read the way the temporal CLI reads them (environment, then profile file), with three cases refused
//! that the client would pass over in silence: TLS settings together with an `http://` address (the client would talk
//! plain text), an API key without TLS, and a profile file that does not exist. The codec settings, which the client reads
//! and does not apply (temporalio-client 1.1.1), are applied here.

use std::{error::Error, fmt, path::Path, time::Duration};

use clap::Args;
use crossfade_cluster::{ApiKey, ConnectSettings, TlsSettings};
use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, TlsOptions, envconfig::LoadClientConfigProfileOptions,
    errors::ClientConnectError,
};
use temporalio_common::{
    data_converters::{DataConverter, DefaultFailureConverter, PayloadConverter},
    envconfig::{ClientConfigProfile, DataSource, load_client_config_profile},
    protos::temporal::api::workflowservice::v1::DescribeNamespaceRequest,
};
use tonic::{Code, IntoRequest};

use crate::{
    codec::{CodecServer, CodecSettingsError},
    exit::Failure,
};

/// The frontend that is taken when nothing names one.
const DEFAULT_ADDRESS: &str = "127.0.0.1:7233";
/// The Namespace that is taken when nothing names one.
const DEFAULT_NAMESPACE: &str = "default";
/// The longest that a connection may take until the frontend has answered once.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Where the workflow runs; what is absent comes from the environment or the profile file.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Settings {
    /// The frontend of the Temporal Server that runs the migration's workflow, HOST:PORT. Default: the profile file's,
    /// else 127.0.0.1:7233.
    #[arg(
        long,
        global = true,
        env = "TEMPORAL_ADDRESS",
        hide_env_values = true,
        value_name = "HOST:PORT"
    )]
    pub(crate) address: Option<String>,
    /// The Namespace that the migration's workflow runs in. Default: the profile file's, else `default`.
    #[arg(
        long,
        short,
        global = true,
        env = "TEMPORAL_NAMESPACE",
        hide_env_values = true,
        value_name = "NAME"
    )]
    pub(crate) namespace: Option<String>,
}

/// A connected client, and what it is connected to, for messages.
#[derive(Clone)]
pub(crate) struct Connected {
    /// The client, bound to the Namespace.
    pub(crate) client: Client,
    /// What it is connected to.
    pub(crate) place: Place,
    /// Whether payloads go by way of a codec server.
    pub(crate) encoded: bool,
}

impl Connected {
    /// Whether the Namespace exists; `None` when the server does not say.
    pub(crate) async fn has_namespace(&self) -> Option<bool> {
        let question = DescribeNamespaceRequest {
            namespace: self.place.namespace.clone(),
            ..DescribeNamespaceRequest::default()
        };
        let mut request = question.into_request();
        request.set_timeout(CONNECT_WITHIN);
        match self
            .client
            .connection()
            .workflow_service()
            .describe_namespace(request)
            .await
        {
            Ok(_) => Some(true),
            Err(status) if status.code() == Code::NotFound => Some(false),
            Err(_) => None,
        }
    }
}

/// A Namespace of a Temporal Server, as messages name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// `host:port`.
    pub(crate) address: String,
    /// The Namespace.
    pub(crate) namespace: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (Namespace {})", self.address, self.namespace)
    }
}

/// What settings come to.
struct Resolved {
    options: ConnectionOptions,
    place: Place,
    codec: Option<CodecServer>,
}

/// Why there is no connection. No message holds a key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The settings contradict each other or cannot be read.
    #[error("connection settings: {0}")]
    Settings(String),
    /// Nothing answers.
    #[error(
        "no Temporal Server answers at {address}: {reason}. Next step: check --address (or TEMPORAL_ADDRESS), \
         TEMPORAL_TLS, and that the frontend runs"
    )]
    NoServer {
        /// `host:port`.
        address: String,
        /// What was seen.
        reason: String,
    },
    /// The server refuses who we are.
    #[error(
        "the Temporal Server at {address} refuses the connection: {reason}. Next step: check TEMPORAL_API_KEY or the \
         client certificate"
    )]
    Unauthorized {
        /// `host:port`.
        address: String,
        /// What the server said.
        reason: String,
    },
}

impl From<CodecSettingsError> for ConnectError {
    fn from(error: CodecSettingsError) -> Self {
        Self::Settings(error.to_string())
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Settings(_) => Self::refused(error.to_string()),
            ConnectError::NoServer { .. } | ConnectError::Unauthorized { .. } => Self::failed(error.to_string()),
        }
    }
}

impl Settings {
    /// Connects, and asks the frontend for its capabilities once, within ten seconds.
    ///
    /// # Errors
    /// Contradicting settings, no answer, or an answer that refuses us.
    pub(crate) async fn connect(&self) -> Result<Connected, ConnectError> {
        let Resolved { options, place, codec } = self.resolve()?;
        let address = place.address.clone();
        let connection = tokio::time::timeout(CONNECT_WITHIN, Connection::connect(options))
            .await
            .map_err(|_| ConnectError::NoServer {
                address: address.clone(),
                reason: format!("no answer within {} s", CONNECT_WITHIN.as_secs()),
            })?
            .map_err(|error| explain(error, address))?;
        let encoded = codec.is_some();
        let client_options = ClientOptions::new(place.namespace.as_str())
            .data_converter(codec.map_or_else(DataConverter::default, by_way_of))
            .build();
        let client =
            Client::new(connection, client_options).map_err(|error| ConnectError::Settings(error.to_string()))?;
        Ok(Connected { client, place, encoded })
    }

    fn resolve(&self) -> Result<Resolved, ConnectError> {
        if let Some(path) = std::env::var("TEMPORAL_CONFIG_FILE")
            .ok()
            .filter(|path| !path.is_empty())
            && !Path::new(&path).is_file()
        {
            return Err(ConnectError::Settings(format!(
                "TEMPORAL_CONFIG_FILE names {path}, which is no file"
            )));
        }
        let options = LoadClientConfigProfileOptions::builder()
            .config_file_strict(true)
            .build();
        let profile =
            load_client_config_profile(options, None).map_err(|error| ConnectError::Settings(error.to_string()))?;
        self.over(profile)
    }

    /// How the frontend of a cluster at `address`, or else at that of these settings, is reached by the calls of
    /// [`crossfade_cluster`]: with the profile's TLS and API key.
    ///
    /// # Errors
    /// Settings that cannot be read, or that hold a certificate itself instead of its path.
    pub(crate) fn cluster(&self, address: Option<&str>) -> Result<ConnectSettings, ConnectError> {
        // Refuses what contradicts itself.
        let Resolved { options, place, .. } = Self {
            address: address.map(str::to_owned).or_else(|| self.address.clone()),
            ..self.clone()
        }
        .resolve()?;
        let profile = load_client_config_profile(LoadClientConfigProfileOptions::builder().build(), None)
            .map_err(|error| ConnectError::Settings(error.to_string()))?;
        let mut settings = ConnectSettings::plaintext(place.address);
        let path = |source: Option<DataSource>| {
            match source {
            None => Ok(None),
            Some(DataSource::Path(path)) => Ok(Some(path.into())),
            Some(_) => Err(ConnectError::Settings(
                "a certificate or key of TEMPORAL_TLS_*_DATA cannot be used to ask the cluster. Next step: put it in a                  file and name that by TEMPORAL_TLS_*_PATH"
                    .to_owned(),
            )),
        }
        };
        if options.tls_options.is_some() {
            let tls = profile.tls.unwrap_or_default();
            settings.tls = Some(TlsSettings {
                ca_file: path(tls.server_ca_cert)?,
                cert_file: path(tls.client_cert)?,
                key_file: path(tls.client_key)?,
                server_name: tls.server_name,
            });
        }
        settings.api_key = profile.api_key.map(ApiKey::new);
        Ok(settings)
    }

    /// The options of `profile` with these settings laid over it.
    fn over(&self, mut profile: ClientConfigProfile) -> Result<Resolved, ConnectError> {
        let given = |value: &Option<String>| value.clone().filter(|text| !text.trim().is_empty());
        // Without an address the client takes one with `http://`, and drops TLS with it.
        let address = given(&self.address)
            .or(given(&profile.address))
            .unwrap_or_else(|| DEFAULT_ADDRESS.to_owned());
        let namespace = given(&self.namespace)
            .or(given(&profile.namespace))
            .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        profile.address = Some(address.clone());
        warn_of_what_is_not_applied(&profile);
        let codec = match &profile.codec {
            Some(settings) => CodecServer::of(settings, &namespace)?,
            None => None,
        };
        let tls_disabled = profile.tls.as_ref().is_some_and(|tls| tls.disabled == Some(true));
        let has_key = profile.api_key.is_some();
        let mut options =
            ConnectionOptions::try_from(profile).map_err(|error| ConnectError::Settings(error.to_string()))?;
        let encrypted = options.target.scheme() == "https";
        if encrypted && options.tls_options.is_none() && !tls_disabled {
            options.tls_options = Some(TlsOptions::default());
        }
        if has_key && options.tls_options.is_none() {
            return Err(ConnectError::Settings(
                "an API key without TLS would go over the network in clear. Next step: unset TEMPORAL_TLS=false (or \
                 `disabled` in the profile)"
                    .to_owned(),
            ));
        }
        if encrypted != options.tls_options.is_some() {
            return Err(ConnectError::Settings(if encrypted {
                format!("{address} asks for TLS, which TEMPORAL_TLS (or the profile) turns off. Next step: drop one")
            } else {
                format!(
                    "TLS is set up, but the address {address} would be spoken to in plain text. Next step: write the \
                     address as HOST:PORT or https://HOST:PORT"
                )
            }));
        }
        options.identity = identity();
        options.connect_timeout = Some(CONNECT_WITHIN);
        let shown = match (options.target.host_str(), options.target.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            _ => address,
        };
        let place = Place {
            address: shown,
            namespace,
        };
        Ok(Resolved { options, place, codec })
    }
}

/// Settings that the client reads and passes over.
fn warn_of_what_is_not_applied(profile: &ClientConfigProfile) {
    if profile.tls.as_ref().is_some_and(|tls| tls.disable_host_verification) {
        tracing::warn!("TEMPORAL_TLS_DISABLE_HOST_VERIFICATION is not supported: the server's certificate is verified");
    }
}

/// The usual conversion, with payloads by way of a codec server.
fn by_way_of(codec: CodecServer) -> DataConverter {
    DataConverter::new(PayloadConverter::default(), DefaultFailureConverter::default(), codec)
}

/// Who we are in the workflow's history.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() {
        "localhost"
    } else {
        host.trim()
    };
    format!("crossfade/{}@{host}", std::process::id())
}

fn explain(error: ClientConnectError, address: String) -> ConnectError {
    match error {
        ClientConnectError::SystemInfoCallError(status)
            if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) =>
        {
            ConnectError::Unauthorized {
                address,
                reason: status.message().to_owned(),
            }
        }
        ClientConnectError::SystemInfoCallError(status) => ConnectError::NoServer {
            address,
            reason: root_cause(&status).unwrap_or_else(|| status.message().to_owned()),
        },
        ClientConnectError::TonicTransportError(error) => ConnectError::NoServer {
            address,
            reason: root_cause(&error).unwrap_or_else(|| error.to_string()),
        },
        ClientConnectError::DnsResolutionError { host, source } => ConnectError::NoServer {
            address,
            reason: format!("the name {host} does not resolve ({source})"),
        },
        other => ConnectError::Settings(other.to_string()),
    }
}

/// The innermost cause, which is the one that tells (`Connection refused`).
fn root_cause(error: &dyn Error) -> Option<String> {
    let mut cause = error.source()?;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Some(cause.to_string())
}

#[cfg(test)]
mod tests {
    use temporalio_common::envconfig::ClientConfigTLS;

    use super::*;

    fn resolve(address: Option<&str>, tls: Option<Option<bool>>, key: Option<&str>) -> Result<(String, bool), String> {
        let profile = ClientConfigProfile::builder()
            .maybe_api_key(key.map(str::to_owned))
            .maybe_tls(tls.map(|disabled| ClientConfigTLS::builder().maybe_disabled(disabled).build()))
            .build();
        let settings = Settings {
            address: address.map(str::to_owned),
            namespace: None,
        };
        settings
            .over(profile)
            .map(|resolved| (resolved.place.address, resolved.options.tls_options.is_some()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn tls_is_never_dropped_in_silence() {
        let plain = |address: &str| Ok((address.to_owned(), false));
        let secure = |address: &str| Ok((address.to_owned(), true));
        assert_eq!(resolve(None, None, None), plain("127.0.0.1:7233"));
        assert_eq!(resolve(Some("  "), None, None), plain("127.0.0.1:7233"));
        assert_eq!(resolve(Some("node:7233"), None, None), plain("node:7233"));
        assert_eq!(resolve(None, Some(None), None), secure("127.0.0.1:7233"));
        assert_eq!(resolve(Some("node:7233"), Some(Some(false)), None), secure("node:7233"));
        assert_eq!(resolve(Some("https://node:7233"), None, None), secure("node:7233"));
        assert_eq!(resolve(Some("node:7233"), None, Some("key")), secure("node:7233"));
        for (address, tls, key, told) in [
            (Some("http://node:7233"), Some(None), None, "in plain text"),
            (Some("http://node:7233"), None, Some("key"), "in plain text"),
            (Some("node:7233"), Some(Some(true)), Some("key"), "in clear"),
            (Some("https://node:7233"), Some(Some(true)), None, "turns off"),
        ] {
            let message = resolve(address, tls, key).expect_err("refused");
            assert!(message.contains(told), "{message}");
        }
    }
}
