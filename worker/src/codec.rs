//! Payloads by way of a codec server, which alone has the key.
//!
//! With a codec endpoint configured, everything that would stand as JSON in the workflow's history, in its answers and in
//! its activities' heartbeats goes through it: encoded before it leaves this process, decoded when it comes back. The
//! protocol is the one that Temporal's SDKs, `tctl`, the temporal CLI and the UI speak (go.temporal.io/sdk v1.38.0:
//! converter/codec.go): `POST ENDPOINT/encode` and `POST ENDPOINT/decode` with payloads as JSON. A codec hands back what it
//! does not know as it is, so that a spec that was sent in plain is still understood. Search attributes are never encoded,
//! and so are the words of failures; neither holds a secret.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::future::{BoxFuture, FutureExt as _};
use reqwest::{
    Client, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue, InvalidHeaderValue},
};
use serde::{Deserialize, Serialize};
use temporalio_common::{
    data_converters::{PayloadCodec, PayloadConversionError, SerializationContextData},
    envconfig::ClientConfigCodec,
    protos::temporal::api::common::v1::Payload,
};

/// The longest that one call may take: half of a Workflow Task's usual time-out, so that one that fails is still told.
const WITHIN: Duration = Duration::from_secs(5);

/// The pauses before a call is tried again that was not answered, or answered with the server's own trouble.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(500)];

/// Why the settings name no codec server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecSettingsError {
    /// Not an address.
    #[error(
        "TEMPORAL_CODEC_ENDPOINT (or the profile's codec.endpoint) is `{given}`: {reason}. Next step: write the codec \
         server's address as https://HOST:PORT/PATH, without /encode or /decode"
    )]
    Endpoint {
        /// What it says, without a password.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The Namespace or the authorization cannot be sent. It may be a secret and is not shown.
    #[error(
        "{what} holds a character that HTTP does not send in a header. Next step: write it without line breaks and \
         control characters"
    )]
    Header {
        /// Which setting.
        what: &'static str,
    },
    /// No HTTP client can be made.
    #[error("no connection to a codec server can be made: {0}")]
    Client(reqwest::Error),
}

/// What went wrong with a call.
#[derive(Debug, thiserror::Error)]
#[error(
    "the codec server at {endpoint} {reason}. Next step: see that it runs and knows this Namespace's key; check \
     TEMPORAL_CODEC_ENDPOINT and TEMPORAL_CODEC_AUTH (or the profile's codec)"
)]
struct CodecError {
    endpoint: String,
    reason: String,
}

/// A codec server, as the settings name it.
#[derive(Clone)]
pub(crate) struct CodecServer(Arc<Inner>);

struct Inner {
    client: Client,
    encode: Url,
    decode: Url,
}

/// Payloads as they go over the wire: protobuf's JSON form, bytes as base64.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Wire {
    #[serde(default)]
    payloads: Vec<WirePayload>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct WirePayload {
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    #[serde(default)]
    data: String,
}

impl CodecServer {
    /// The codec server of the settings for the Namespace `namespace`; `None` where they name none.
    ///
    /// # Errors
    /// An endpoint that is none, or what no header can carry.
    pub(crate) fn of(settings: &ClientConfigCodec, namespace: &str) -> Result<Option<Self>, CodecSettingsError> {
        let given = settings.endpoint.as_deref().unwrap_or_default().trim();
        if given.is_empty() {
            return Ok(None);
        }
        let endpoint = given.replace("{namespace}", namespace);
        let path = |name: &str| {
            Url::parse(&format!("{}/{name}", endpoint.trim_end_matches('/'))).map_err(|error| error.to_string())
        };
        let both = path("encode").and_then(|encode| Ok((encode, path("decode")?)));
        let refused = |reason: String| CodecSettingsError::Endpoint {
            given: shown(&endpoint),
            reason,
        };
        let (encode, decode) = both.map_err(refused)?;
        if !matches!(encode.scheme(), "http" | "https") {
            return Err(refused("it begins with neither https:// nor http://".to_owned()));
        }
        let mut headers = HeaderMap::new();
        let header = |what, value: &str| {
            HeaderValue::from_str(value).map_err(|_: InvalidHeaderValue| CodecSettingsError::Header { what })
        };
        headers.insert("X-Namespace", header("the Namespace's name", namespace)?);
        if let Some(auth) = settings.auth.as_deref().filter(|auth| !auth.is_empty()) {
            let mut value = header("TEMPORAL_CODEC_AUTH (or the profile's codec.auth)", auth)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let client = Client::builder().timeout(WITHIN).default_headers(headers).build();
        Ok(Some(Self(Arc::new(Inner {
            client: client.map_err(CodecSettingsError::Client)?,
            encode,
            decode,
        }))))
    }
}

impl Inner {
    /// Has `payloads` encoded or decoded, as `url` says.
    async fn turned(&self, url: &Url, payloads: Vec<Payload>) -> Result<Vec<Payload>, CodecError> {
        if payloads.is_empty() {
            return Ok(payloads);
        }
        let failed = |reason: String| CodecError {
            endpoint: shown(url.as_str()),
            reason,
        };
        let asked = Wire {
            payloads: payloads.iter().map(WirePayload::of).collect(),
        };
        let mut pauses = PAUSES.iter();
        let answer = loop {
            let passing = match self.client.post(url.clone()).json(&asked).send().await {
                Ok(answer) if answer.status() == StatusCode::OK => break answer,
                Ok(answer) if answer.status().is_server_error() => format!("answers HTTP {}", answer.status().as_u16()),
                // Its words may repeat what it was sent: they are not shown.
                Ok(answer) => return Err(failed(format!("refuses with HTTP {}", answer.status().as_u16()))),
                Err(error) => format!("does not answer: {}", error.without_url()),
            };
            match pauses.next() {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => return Err(failed(passing)),
            }
        };
        let unreadable = || failed("answers something else than payloads".to_owned());
        let turned: Wire = answer.json().await.map_err(|_| unreadable())?;
        if turned.payloads.len() != payloads.len() {
            let (got, expected) = (turned.payloads.len(), payloads.len());
            return Err(failed(format!("answers {got} payloads for {expected}")));
        }
        let read = turned.payloads.into_iter().map(WirePayload::into_payload);
        read.collect::<Option<Vec<Payload>>>().ok_or_else(unreadable)
    }
}

impl WirePayload {
    fn of(payload: &Payload) -> Self {
        let metadata = payload.metadata.iter();
        Self {
            metadata: metadata
                .map(|(name, value)| (name.clone(), STANDARD.encode(value)))
                .collect(),
            data: STANDARD.encode(&payload.data),
        }
    }

    fn into_payload(self) -> Option<Payload> {
        let value = |(name, value): (String, String)| Some((name, STANDARD.decode(value).ok()?));
        Some(Payload {
            metadata: self.metadata.into_iter().map(value).collect::<Option<_>>()?,
            data: STANDARD.decode(self.data).ok()?,
            ..Payload::default()
        })
    }
}

impl PayloadCodec for CodecServer {
    fn encode(
        &self,
        _: &SerializationContextData,
        payloads: Vec<Payload>,
    ) -> BoxFuture<'static, Result<Vec<Payload>, PayloadConversionError>> {
        let server = Arc::clone(&self.0);
        async move { server.turned(&server.encode, payloads).await.map_err(unconverted) }.boxed()
    }

    fn decode(
        &self,
        _: &SerializationContextData,
        payloads: Vec<Payload>,
    ) -> BoxFuture<'static, Result<Vec<Payload>, PayloadConversionError>> {
        let server = Arc::clone(&self.0);
        async move { server.turned(&server.decode, payloads).await.map_err(unconverted) }.boxed()
    }
}

fn unconverted(error: CodecError) -> PayloadConversionError {
    PayloadConversionError::EncodingError(Box::new(error))
}

/// An address without what may be a secret in it: user, password and query.
fn shown(address: &str) -> String {
    match Url::parse(address) {
        Ok(mut url) => {
            // Refused only by addresses that can hold neither.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.to_string()
        }
        Err(_) => address.rsplit('@').next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(endpoint: &str, auth: Option<&str>) -> ClientConfigCodec {
        let mut settings = ClientConfigCodec::default();
        settings.endpoint = Some(endpoint.to_owned());
        settings.auth = auth.map(str::to_owned);
        settings
    }

    fn refused(endpoint: &str, auth: Option<&str>) -> String {
        match CodecServer::of(&settings(endpoint, auth), "orders") {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{endpoint} was taken"),
        }
    }

    #[test]
    fn an_endpoint_may_name_the_namespace_and_end_in_a_slash() {
        for endpoint in ["https://codec:8888/{namespace}", "https://codec:8888/{namespace}/"] {
            let server = CodecServer::of(&settings(endpoint, None), "orders").unwrap().unwrap();
            assert_eq!(server.0.encode.as_str(), "https://codec:8888/orders/encode");
            assert_eq!(server.0.decode.as_str(), "https://codec:8888/orders/decode");
        }
        assert!(CodecServer::of(&settings(" ", None), "orders").unwrap().is_none());
    }

    #[test]
    fn what_is_no_endpoint_is_refused_without_its_secrets() {
        assert!(refused("codec:8888", None).contains("neither https:// nor http://"));
        assert!(refused("not an address", None).contains("`not an address`"));
        let told = refused("ftp://user:s3cret@codec?key=s3cret", None);
        assert!(told.contains("ftp://codec") && !told.contains("s3cret"), "{told}");
        let told = refused("https://codec", Some("Bearer s3cret\n"));
        assert!(
            told.contains("TEMPORAL_CODEC_AUTH") && !told.contains("s3cret"),
            "{told}"
        );
    }

    #[test]
    fn payloads_keep_every_byte_over_the_wire() {
        let payload = Payload {
            metadata: [("encoding".to_owned(), b"binary/plain".to_vec())].into(),
            data: (0..=255).collect(),
            ..Payload::default()
        };
        let text = serde_json::to_string(&WirePayload::of(&payload)).unwrap();
        let read: WirePayload = serde_json::from_str(&text).unwrap();
        assert_eq!(read.into_payload(), Some(payload));
        // What protobuf's JSON leaves out is empty.
        let bare: WirePayload = serde_json::from_str("{}").unwrap();
        assert_eq!(bare.into_payload(), Some(Payload::default()));
    }
}
