//! The template and the index of an Elasticsearch or OpenSearch target, by Temporal's own tool.
//!
//! `temporal-elasticsearch-tool` comes with servers from 1.30 on and carries the newest template. That is right for older
//! servers, too: from v1 to v13 a template only gained fields; no type, no setting and no pattern ever changed
//! (1.30.8: schema/elasticsearch/visibility/versioned/*/index_template_v7.json), and a server never looks at a version.
//!
//! Three of its commands are used, in an order that heals:
//!
//! - `update-schema` puts the template. Not `setup-schema`, which also turns `action.auto_create_index` off for the whole
//!   Elasticsearch cluster, whatever else lives in it (1.30.8: schema/elasticsearch/visibility/cluster_settings_v7.json).
//! - `create-index` creates the index, and reports success on one that is there already, even one that a server created by
//!   writing to it before there was a template: without a field that a list could sort by.
//! - `update-schema --index` puts the template's fields on the index itself. It adds what such an index lacks, and is
//!   refused where a field has another type already; that index has to go, or another name has to be taken.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::schema::{SchemaError, SchemaOutcome};
use crate::tool::{Run, Tool, bare};

/// Names the tool where it is not on the PATH.
pub const TOOL_VARIABLE: &str = TOOL.variable;

const TOOL: Tool = Tool {
    name: "temporal-elasticsearch-tool",
    variable: "CROSSFADE_TEMPORAL_ELASTICSEARCH_TOOL",
    newest: " (of any release from 1.30 on; it serves older servers, too)",
};

/// What the name of an index has to begin with, so that the template covers it
/// (1.30.8: schema/elasticsearch/visibility/versioned/v13/index_template_v7.json, `index_patterns`).
pub const COVERED_PREFIX: &str = "temporal_visibility_v1";

/// An Elasticsearch store as the server's config describes it, its secrets resolved.
#[derive(Clone)]
pub struct IndexTarget {
    /// `http://host:port` or `https://host:port`, without a user.
    pub url: String,
    /// The index.
    pub index: String,
    user: String,
    password: String,
    tls: Vec<String>,
    signing: Option<Signing>,
}

/// Requests signed for AWS.
#[derive(Clone)]
struct Signing {
    provider: String,
    region: String,
    token: String,
}

impl fmt::Debug for IndexTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexTarget({})", self.named())
    }
}

/// What to do to a target.
#[derive(Debug, Clone)]
pub struct IndexOrder {
    /// The store.
    pub target: IndexTarget,
    /// The tool; without it [`TOOL_VARIABLE`] and then the PATH are looked through.
    pub tool: Option<PathBuf>,
    /// Bound of each run of the tool.
    pub within: Duration,
}

/// Puts the template and the index in place. Calling it again is harmless: an index keeps its records, and gains the
/// fields that a newer template has.
///
/// The outcome says [`SchemaOutcome::Applied`] when the index was created, and [`SchemaOutcome::Current`] when it was
/// there; Elasticsearch records no version. Whether an index that was there has the right settings is for the store's own
/// inspection.
///
/// # Errors
/// See [`SchemaError`]. [`SchemaError::Failed`] of `update-schema --index` names the field that has another type.
pub async fn set_up_index(order: &IndexOrder) -> Result<SchemaOutcome, SchemaError> {
    let target = &order.target;
    if !target.is_covered() {
        return Err(SchemaError::Datastore {
            field: "elasticsearch.indices.visibility",
            value: target.index.clone(),
            reason: format!(
                "does not begin with {COVERED_PREFIX}, so Temporal's index template does not cover it and it would get \
                 no sorting and no fields; choose such a name, or create the index yourself with the template's settings \
                 and mappings and turn setup_schema off"
            ),
        });
    }
    let tool = TOOL.find(order.tool.as_deref())?;
    let index = ["--index".to_owned(), target.index.clone()];
    let run = async |step: &'static str, more: &[String]| {
        let mut command = bare(&tool);
        target.give_to(&mut command);
        command.arg(step.split(' ').next().unwrap_or(step)).args(more);
        let run = Run {
            tool: &tool,
            step,
            target: target.named(),
            secrets: &[&target.password, target.token()],
            within: order.within,
        };
        run.run(command).await
    };
    run("update-schema", &[]).await?;
    let said = run("create-index", &index).await?;
    run("update-schema --index", &index).await?;
    Ok(if said.contains("Index already exists") {
        SchemaOutcome::Current { version: None }
    } else {
        SchemaOutcome::Applied { from: None, to: None }
    })
}

impl IndexTarget {
    /// Reads an entry of `persistence.datastores`: `{"elasticsearch": {"url": {...}, "indices": {"visibility": ...}}}`.
    ///
    /// # Errors
    /// [`SchemaError::Datastore`] names the field that is missing or that the tool has no word for.
    pub fn from_datastore(datastore: &Value) -> Result<Self, SchemaError> {
        let wrong = |field, value: &str, reason: &str| SchemaError::Datastore {
            field,
            value: value.to_owned(),
            reason: reason.to_owned(),
        };
        let entry = datastore
            .get("elasticsearch")
            .filter(|entry| entry.is_object())
            .ok_or_else(|| {
                wrong(
                    "elasticsearch",
                    "",
                    "is missing: this is not the entry of an Elasticsearch store",
                )
            })?;
        let text = |pointer: &str| {
            entry
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let first = "/urls/0";
        let of_url = |part: &str| {
            let one = text(&format!("/url/{part}"));
            if one.is_empty() {
                text(&format!("{first}/{part}"))
            } else {
                one
            }
        };
        let (scheme, host) = (of_url("scheme"), of_url("host"));
        if !matches!(scheme.as_str(), "http" | "https") {
            return Err(wrong("elasticsearch.url.scheme", &scheme, "is not http or https"));
        }
        if host.is_empty() || host.contains(['/', '@']) {
            return Err(wrong("elasticsearch.url.host", &host, "is not host:port"));
        }
        let index = text("/indices/visibility");
        if index.is_empty() {
            return Err(wrong("elasticsearch.indices.visibility", "", "is missing"));
        }
        let signing = match entry.pointer("/aws-request-signing/enabled").and_then(Value::as_bool) {
            Some(true) => Some(Signing {
                provider: text("/aws-request-signing/credentialProvider"),
                region: text("/aws-request-signing/region"),
                token: text("/aws-request-signing/static/token"),
            }),
            _ => None,
        };
        let signed = signing
            .as_ref()
            .is_some_and(|signing| signing.provider.eq_ignore_ascii_case("static"));
        let (user, password) = if signed {
            (
                "/aws-request-signing/static/accessKeyID",
                "/aws-request-signing/static/secretAccessKey",
            )
        } else {
            ("/username", "/password")
        };
        Ok(Self {
            url: format!("{scheme}://{host}"),
            index,
            user: text(user),
            password: text(password),
            tls: tls_options(entry.get("tls"))
                .map_err(|reason| wrong("elasticsearch.tls", "caData, certData or keyData", reason))?,
            signing,
        })
    }

    /// Whether Temporal's template covers an index of this name.
    pub fn is_covered(&self) -> bool {
        self.index.starts_with(COVERED_PREFIX)
    }

    fn named(&self) -> String {
        format!("index {} at {}", self.index, self.url)
    }

    fn token(&self) -> &str {
        self.signing.as_ref().map_or("", |signing| &signing.token)
    }

    /// The options that say which store; secrets go by the environment.
    fn give_to(&self, command: &mut tokio::process::Command) {
        command.args(["--endpoint", &self.url]).args(&self.tls);
        command.env("ES_USER", &self.user).env("ES_PWD", &self.password);
        let Some(signing) = &self.signing else {
            return;
        };
        // The providers other than `static` look for themselves, in the environment and in the user's files.
        for (name, value) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("AWS_")) {
                command.env(name, value);
            }
        }
        command.env("AWS_CREDENTIALS", &signing.provider);
        if !signing.region.is_empty() {
            // The tool has no option for it (1.30.8: tools/elasticsearch/handler.go, parseElasticConfig).
            command.env("AWS_REGION", &signing.region);
        }
        if !signing.token.is_empty() {
            command.env("AWS_SESSION_TOKEN", &signing.token);
        }
    }
}

fn tls_options(tls: Option<&Value>) -> Result<Vec<String>, &'static str> {
    let Some(tls) = tls.filter(|tls| tls.get("enabled").and_then(Value::as_bool) == Some(true)) else {
        return Ok(Vec::new());
    };
    let text = |name: &str| tls.get(name).and_then(Value::as_str).filter(|value| !value.is_empty());
    if text("caData").or(text("certData")).or(text("keyData")).is_some() {
        return Err("is nothing temporal-elasticsearch-tool can take; write files");
    }
    let mut options = vec!["--tls".to_owned()];
    for (option, name) in [
        ("--tls-ca-file", "caFile"),
        ("--tls-cert-file", "certFile"),
        ("--tls-key-file", "keyFile"),
        ("--tls-server-name", "serverName"),
    ] {
        if let Some(value) = text(name) {
            options.extend([option.to_owned(), value.to_owned()]);
        }
    }
    if tls.get("enableHostVerification").and_then(Value::as_bool) != Some(true) {
        options.push("--tls-disable-host-verification".to_owned());
    }
    Ok(options)
}
