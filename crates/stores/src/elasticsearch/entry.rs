//! The `elasticsearch` section of a datastore entry, every key of it
//! (1.30.8: common/persistence/visibility/store/elasticsearch/client/config.go).

use std::fmt;
use std::time::Duration;

use reqwest::Url;
use serde_json::{Map, Value};

use crate::error::OpenError;
use crate::tls_section::TlsSection;

/// The least that the server takes for `closeIdleConnectionsInterval`
/// (1.30.8: common/persistence/visibility/store/elasticsearch/client/client.go).
const LEAST_IDLE: Duration = Duration::from_secs(15);

/// An index of an Elasticsearch or OpenSearch cluster.
pub(crate) struct ElasticsearchEntry {
    /// Where the cluster is reached; at least one.
    pub(crate) urls: Vec<Url>,
    /// User and password; neither given means no authentication.
    pub(crate) login: Option<(String, String)>,
    /// `indices.visibility`.
    pub(crate) index: String,
    pub(crate) tls: Option<TlsSection>,
    pub(crate) signing: Option<Signing>,
    /// Whether the cluster's other nodes are asked for and used.
    pub(crate) sniff: bool,
    /// Whether nodes are asked for their health before they are used.
    pub(crate) healthcheck: bool,
    /// How long an idle connection is kept; `None` for as long as the client likes.
    pub(crate) close_idle_after: Option<Duration>,
}

/// AWS request signing (`aws-request-signing`).
#[derive(Clone)]
pub(crate) struct Signing {
    pub(crate) region: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) token: Option<String>,
}

impl ElasticsearchEntry {
    /// The store for people.
    pub(crate) fn describe(&self) -> String {
        let hosts: Vec<String> = self.urls.iter().map(host_and_port).collect();
        format!("Elasticsearch index '{}' at {}", self.index, hosts.join(", "))
    }

    pub(crate) fn parse(section: &Map<String, Value>) -> Result<Self, OpenError> {
        let version = text(section, "version")?;
        if !matches!(version.as_deref(), None | Some("" | "v7" | "v8")) {
            return Err(malformed(
                "version",
                "is none that the server takes; expected v7 or v8 (for OpenSearch too): a cluster of Elasticsearch 6 has to \
                 be upgraded first",
            ));
        }
        let indices = match section.get("indices") {
            Some(Value::Object(indices)) => indices,
            _ => return Err(malformed("indices", "is no mapping; expected indices.visibility")),
        };
        let index = text(indices, "visibility")?
            .filter(|index| !index.is_empty())
            .ok_or_else(|| malformed("indices.visibility", "is missing or empty; the server needs it"))?;
        if index.contains(['/', '?', '#', '*', ',', ' ', '"', '\\', '<', '>', '|', '%']) {
            return Err(malformed(
                "indices.visibility",
                "has a character that the name of one index cannot have",
            ));
        }
        let signing = Signing::parse(section.get("aws-request-signing"))?;
        // The server's signing client knows nothing of the tls section.
        let tls = TlsSection::parse(section.get("tls"), "elasticsearch.tls")?.filter(|_| signing.is_none());
        let (user, password) = (text(section, "username")?, text(section, "password")?);
        let login = (user.unwrap_or_default(), password.unwrap_or_default());
        Ok(Self {
            urls: urls(section)?,
            login: Some(login).filter(|(user, password)| !user.is_empty() || !password.is_empty()),
            index,
            tls,
            signing,
            sniff: flag(section, "enableSniff")?,
            healthcheck: flag(section, "enableHealthcheck")?,
            close_idle_after: duration(section, "closeIdleConnectionsInterval")?
                .filter(|after| !after.is_zero())
                .map(|after| after.max(LEAST_IDLE)),
        })
    }
}

/// `host:port`, for people.
pub(crate) fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port_or_known_default()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

impl fmt::Debug for ElasticsearchEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ElasticsearchEntry({})", self.describe())
    }
}

impl Signing {
    fn parse(section: Option<&Value>) -> Result<Option<Self>, OpenError> {
        let path = |field: &str| format!("aws-request-signing.{field}");
        let fields = match section {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(fields)) => fields,
            Some(_) => return Err(malformed("aws-request-signing", "is no mapping")),
        };
        if !flag(fields, "enabled")? {
            return Ok(None);
        }
        let environment = |names: &[&str]| names.iter().find_map(|name| std::env::var(name).ok());
        let region = text(fields, "region")?.filter(|region| !region.is_empty());
        let region = region.or_else(|| environment(&["AWS_REGION"])).ok_or_else(|| {
            malformed(
                &path("region"),
                "is missing, and the environment variable AWS_REGION is not set",
            )
        })?;
        let provider = text(fields, "credentialProvider")?.unwrap_or_default().to_lowercase();
        let (access_key_id, secret_access_key, token) = match provider.as_str() {
            "static" => {
                let empty = Map::new();
                let given = fields.get("static").and_then(Value::as_object).unwrap_or(&empty);
                let get = |name: &str| text(given, name).map(|value| value.filter(|value| !value.is_empty()));
                (get("accessKeyID")?, get("secretAccessKey")?, get("token")?)
            }
            // The names that the server's AWS library reads (aws-sdk-go: aws/credentials/env_provider.go).
            "environment" => (
                environment(&["AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"]),
                environment(&["AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"]),
                environment(&["AWS_SESSION_TOKEN"]),
            ),
            "aws-sdk-default" => {
                return Err(malformed(
                    &path("credentialProvider"),
                    "is aws-sdk-default, which Crossfade cannot resolve; give the worker the credentials in its environment \
                     (`aws configure export-credentials --format env`) and a datastore with `environment` here",
                ));
            }
            _ => {
                return Err(malformed(
                    &path("credentialProvider"),
                    "is none that the server takes; expected static, environment or aws-sdk-default",
                ));
            }
        };
        let (Some(access_key_id), Some(secret_access_key)) = (access_key_id, secret_access_key) else {
            let reason = match provider.as_str() {
                "static" => "needs static.accessKeyID and static.secretAccessKey",
                _ => "needs the environment variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            };
            return Err(malformed(&path("credentialProvider"), reason));
        };
        Ok(Some(Self {
            region,
            access_key_id,
            secret_access_key,
            token,
        }))
    }
}

/// `urls`, else `url`. The server reads each into its own struct of scheme, host and path: a text is refused there.
fn urls(section: &Map<String, Value>) -> Result<Vec<Url>, OpenError> {
    match section.get("urls") {
        Some(Value::Array(urls)) if !urls.is_empty() => urls
            .iter()
            .enumerate()
            .map(|(at, value)| url(value, &format!("urls[{at}]")))
            .collect(),
        None | Some(Value::Null | Value::Array(_)) => match section.get("url") {
            None | Some(Value::Null) => Err(malformed("url", "is missing; expected a scheme and a host")),
            Some(value) => Ok(vec![url(value, "url")?]),
        },
        Some(_) => Err(malformed("urls", "is no list")),
    }
}

fn url(value: &Value, field: &str) -> Result<Url, OpenError> {
    let fields = value.as_object().ok_or_else(|| {
        malformed(
            field,
            "is no mapping; the server reads it as one with scheme and host, such as {scheme: http, host: \"127.0.0.1:9200\"}",
        )
    })?;
    let scheme = text(fields, "scheme")?.unwrap_or_default();
    let host = text(fields, "host")?.unwrap_or_default();
    let path = text(fields, "path")?.unwrap_or_default();
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err(malformed(&format!("{field}.scheme"), "is neither http nor https"));
    }
    let no_host = || malformed(&format!("{field}.host"), "is no host or host:port");
    if host.is_empty() || host.contains(['/', '@', '?', '#']) {
        return Err(no_host());
    }
    // A base that is joined to must end in a slash.
    let path = format!("{}/", path.trim_matches('/'));
    Url::parse(&format!("{scheme}://{host}/{}", path.trim_start_matches('/'))).map_err(|_| no_host())
}

/// A duration as Go writes it (`15s`), or a number of nanoseconds.
fn duration(section: &Map<String, Value>, name: &str) -> Result<Option<Duration>, OpenError> {
    let wrong = || malformed(name, "is no duration; expected one like 15s");
    match section.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(nanoseconds)) => nanoseconds
            .as_u64()
            .map(|nanoseconds| Some(Duration::from_nanos(nanoseconds)))
            .ok_or_else(wrong),
        Some(Value::String(text)) if text.is_empty() || text == "0" => Ok(None),
        Some(Value::String(text)) => humantime::parse_duration(text).map(Some).map_err(|_| wrong()),
        Some(_) => Err(wrong()),
    }
}

fn flag(fields: &Map<String, Value>, name: &str) -> Result<bool, OpenError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(Value::String(text)) if text == "true" || text == "false" => Ok(text == "true"),
        Some(_) => Err(malformed(name, "is neither true nor false")),
    }
}

/// A scalar as text: YAML leaves numbers without quotes, and the server takes them as text.
fn text(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, OpenError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(scalar @ (Value::Bool(_) | Value::Number(_))) => Ok(Some(scalar.to_string())),
        // The value is never shown: it may be a secret.
        Some(_) => Err(malformed(name, "is no text")),
    }
}

fn malformed(field: &str, reason: &str) -> OpenError {
    OpenError::Malformed {
        field: format!("elasticsearch.{field}"),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(section: Value) -> Result<ElasticsearchEntry, String> {
        let fields = section.as_object().cloned().unwrap_or_default();
        ElasticsearchEntry::parse(&fields).map_err(|error| error.to_string())
    }

    fn with(field: &str, value: Value) -> Value {
        let mut section = json!({
            "version": "v7", "url": {"scheme": "http", "host": "127.0.0.1:9200"}, "username": "u", "password": "s3cret",
            "indices": {"visibility": "temporal_visibility_v1"}, "logLevel": "error",
        });
        section[field] = value;
        section
    }

    #[test]
    fn entries_are_read_as_the_server_reads_them() {
        let entry = parse(with("closeIdleConnectionsInterval", json!("1s"))).expect("an entry");
        assert_eq!(
            entry.describe(),
            "Elasticsearch index 'temporal_visibility_v1' at 127.0.0.1:9200"
        );
        assert_eq!(entry.login, Some(("u".to_owned(), "s3cret".to_owned())));
        assert_eq!(entry.close_idle_after, Some(LEAST_IDLE));
        assert!(!entry.sniff && !entry.healthcheck && entry.tls.is_none() && entry.signing.is_none());
        assert!(!format!("{entry:?}").contains("s3cret"));

        let several = json!([{"scheme": "https", "host": "a"}, {"scheme": "https", "host": "b:9243", "path": "/es"}]);
        let entry = parse(with("urls", several)).expect("an entry");
        let urls: Vec<&str> = entry.urls.iter().map(Url::as_str).collect();
        assert_eq!(urls, ["https://a/", "https://b:9243/es/"]);
        assert!(entry.describe().ends_with("a:443, b:9243"));
    }

    #[test]
    fn signing_takes_over_from_tls() {
        let keys = json!({"accessKeyID": "id", "secretAccessKey": "s3cret"});
        let signing = |provider: &str| json!({"enabled": true, "region": "eu-west-1", "credentialProvider": provider, "static": keys});
        let mut section = with("aws-request-signing", signing("Static"));
        section["tls"] = json!({"enabled": true});
        let entry = parse(section).expect("an entry");
        assert!(entry.tls.is_none() && entry.signing.is_some_and(|signing| signing.token.is_none()));
        for (provider, words) in [
            ("aws-sdk-default", "export-credentials"),
            ("session", "expected static"),
        ] {
            let refused = parse(with("aws-request-signing", signing(provider))).expect_err(provider);
            assert!(refused.contains(words) && !refused.contains("s3cret"), "{refused}");
        }
    }

    #[test]
    fn what_the_server_would_refuse_is_refused_with_words() {
        let file_and_data = json!({"enabled": true, "caFile": "/ca", "caData": "eA=="});
        for (field, value, words) in [
            ("version", json!("v6"), "v7 or v8"),
            ("url", json!("http://127.0.0.1:9200"), "no mapping"),
            ("url", json!({"scheme": "ftp", "host": "x"}), "url.scheme"),
            ("url", json!({"scheme": "http", "host": ""}), "url.host"),
            ("url", json!({"scheme": "http", "host": "u:s3cret@h"}), "url.host"),
            ("url", json!(null), "is missing"),
            ("indices", json!({"secondary_visibility": "x"}), "indices.visibility"),
            ("indices", json!({"visibility": "a,b"}), "one index"),
            ("closeIdleConnectionsInterval", json!("soon"), "15s"),
            ("enableSniff", json!("maybe"), "enableSniff"),
            ("password", json!(["s3cret"]), "password"),
            ("tls", file_and_data, "only one"),
            ("tls", json!({"enabled": true, "certFile": "/c"}), "go together"),
        ] {
            let refused = parse(with(field, value)).expect_err(words);
            assert!(refused.contains(words) && !refused.contains("s3cret"), "{refused}");
        }
    }
}
