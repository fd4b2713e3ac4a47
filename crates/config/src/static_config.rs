//! A server's static config file, read: the parts of it that a migration needs, each with the line it stands on.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::go_duration;
use crate::outline::{Kind, Node, Outline, ScalarStyle};
use crate::refusal::{Reason, Refusal};
use crate::secrets;

/// A value and the line (from 1) it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// The line of its key, from 1.
    pub line: usize,
}

/// A static config file that passed every check for reading.
///
/// `Debug` shows no values: the file holds passwords.
#[derive(Clone)]
pub struct StaticConfig {
    pub(crate) file: PathBuf,
    pub(crate) text: String,
    pub(crate) meaning: yaml_serde::Value,
    pub(crate) outline: Outline,
    default_store: Option<Located<String>>,
    visibility_store: Option<Located<String>>,
    secondary_visibility_store: Option<Located<String>>,
    advanced_visibility_store: Option<Located<String>>,
    datastores: Vec<(String, Located<Value>)>,
    num_history_shards: Option<Located<u32>>,
    services: Vec<Service>,
    broadcast_address: Option<String>,
}

impl fmt::Debug for StaticConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticConfig")
            .field("file", &self.file)
            .field("default_store", &self.default_store)
            .field("visibility_store", &self.visibility_store)
            .field("secondary_visibility_store", &self.secondary_visibility_store)
            .field("advanced_visibility_store", &self.advanced_visibility_store)
            .field(
                "datastores",
                &self.datastores.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            )
            .field("num_history_shards", &self.num_history_shards)
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}

/// One entry of `services`: what the server of this config can run and where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// `frontend`, `internal-frontend`, `history`, `matching` or `worker`.
    pub name: String,
    /// `rpc.grpcPort`.
    pub grpc_port: Option<u16>,
    /// `rpc.httpPort` (the frontend's only).
    pub http_port: Option<u16>,
    /// `rpc.membershipPort`.
    pub membership_port: Option<u16>,
    /// `rpc.bindOnLocalHost`.
    pub bind_on_local_host: bool,
    /// `rpc.bindOnIP`.
    pub bind_on_ip: Option<String>,
    /// The line of the service's key, from 1.
    pub line: usize,
}

/// Where the server reads its dynamic config (1.30.8:common/dynamicconfig/file_based_client.go).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DynamicConfigClient {
    /// `filepath` as written: a relative path is relative to the server's working directory, not to this file.
    pub filepath: PathBuf,
    /// `pollInterval`: how often the server looks at the file's modification time; at least 5 seconds.
    pub poll_interval: Duration,
    /// The line of `dynamicConfigClient`, from 1.
    pub line: usize,
}

/// The least poll interval with which a server starts (1.30.8:common/dynamicconfig/file_based_client.go).
const LEAST_POLL_INTERVAL: Duration = Duration::from_secs(5);

impl StaticConfig {
    /// Reads a static config file. `file` is only a name for messages.
    ///
    /// # Errors
    /// When the file is no plain YAML that the server reads as it stands (a template, several documents, duplicate
    /// keys, tabs, not UTF-8), or has no usable `persistence` section.
    pub fn parse(file: impl Into<PathBuf>, bytes: &[u8]) -> Result<Self, Refusal> {
        let file = file.into();
        refuse_template_header(&file, bytes)?;
        let (text, meaning, outline) = Outline::parse(&file, bytes).map_err(|refusal| {
            // Most templates are not YAML either; that they are templates is the better reason.
            template_line(bytes).map_or(refusal, |(line, seen)| Refusal::new(&file, line, template(bytes, seen)))
        })?;
        refuse_template_values(&file, &text, &outline)?;
        let view = View {
            file: &file,
            outline: &outline,
        };
        let persistence = view.section(&outline.root, "persistence")?.ok_or_else(|| {
            let next = "name the file that has it: the server also merges base.yaml, ENVIRONMENT.yaml and ENVIRONMENT_ZONE.yaml of one folder, later files winning";
            Refusal::new(&file, None, Reason::Missing { key: "persistence".to_owned(), next })
        })?;
        let store = |key: &str| view.text(persistence, "persistence", key);
        let (default_store, visibility_store) = (store("defaultStore")?, store("visibilityStore")?);
        let secondary_visibility_store = store("secondaryVisibilityStore")?;
        let advanced_visibility_store = store("advancedVisibilityStore")?;
        let datastores = view.datastores(persistence)?;
        let num_history_shards = view.number(persistence, "persistence", "numHistoryShards")?;
        let services = view.services()?;
        let broadcast_address = match view.section(&outline.root, "global")? {
            Some(global) => match view.section(global, "membership")? {
                Some(membership) => view
                    .text(membership, "global.membership", "broadcastAddress")?
                    .map(|a| a.value),
                None => None,
            },
            None => None,
        };
        Ok(Self {
            text,
            meaning,
            default_store,
            visibility_store,
            secondary_visibility_store,
            advanced_visibility_store,
            datastores,
            num_history_shards,
            services,
            broadcast_address,
            outline,
            file,
        })
    }

    /// `persistence.defaultStore`: where executions are kept.
    pub fn default_store(&self) -> Option<&Located<String>> {
        self.default_store.as_ref()
    }

    /// `persistence.visibilityStore`: the primary Visibility store.
    pub fn visibility_store(&self) -> Option<&Located<String>> {
        self.visibility_store.as_ref()
    }

    /// `persistence.secondaryVisibilityStore`; an empty value counts as none, as it does for the server.
    pub fn secondary_visibility_store(&self) -> Option<&Located<String>> {
        self.secondary_visibility_store.as_ref()
    }

    /// `persistence.advancedVisibilityStore`, read by servers up to 1.24 and ignored by later ones.
    pub fn advanced_visibility_store(&self) -> Option<&Located<String>> {
        self.advanced_visibility_store.as_ref()
    }

    /// The entry of `persistence.datastores` with this name, aliases and merge keys applied and each field typed as the
    /// server reads it (a numeric password is text). Holds secrets: mask with [`redact`](crate::redact) before showing.
    pub fn datastore(&self, name: &str) -> Option<&Located<Value>> {
        self.datastores.iter().find(|(n, _)| n == name).map(|(_, d)| d)
    }

    /// All of `persistence.datastores`, in the file's order. Holds secrets.
    pub fn datastores(&self) -> impl Iterator<Item = (&str, &Located<Value>)> {
        self.datastores
            .iter()
            .map(|(name, datastore)| (name.as_str(), datastore))
    }

    /// `persistence.numHistoryShards`.
    pub fn num_history_shards(&self) -> Option<&Located<u32>> {
        self.num_history_shards.as_ref()
    }

    /// The entries of `services`, in the file's order.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// `global.membership.broadcastAddress`: the address other hosts of the cluster reach this one at.
    pub fn broadcast_address(&self) -> Option<&str> {
        self.broadcast_address.as_deref()
    }

    /// Where the server reads its dynamic config.
    ///
    /// # Errors
    /// When there is none, or the server would not start with it (no `filepath`, a `pollInterval` that is no duration
    /// or below 5 seconds).
    pub fn dynamic_config_client(&self) -> Result<DynamicConfigClient, Refusal> {
        let view = View {
            file: &self.file,
            outline: &self.outline,
        };
        let key = "dynamicConfigClient";
        let section = view.section(&self.outline.root, key)?;
        let section = section.ok_or_else(|| Refusal::new(&self.file, None, Reason::NoDynamicConfigClient))?;
        let line = self
            .outline
            .find(&self.outline.root, key)
            .map_or(1, |f| self.outline.line(f.entry.key_range.start));
        let missing = |field: &str| {
            let next = "the server does not start without it: add it and restart the server";
            Refusal::new(
                &self.file,
                line,
                Reason::Missing {
                    key: format!("{key}.{field}"),
                    next,
                },
            )
        };
        let filepath = view
            .text(section, key, "filepath")?
            .ok_or_else(|| missing("filepath"))?;
        let interval = view
            .text(section, key, "pollInterval")?
            .ok_or_else(|| missing("pollInterval"))?;
        let written = self
            .outline
            .find(section, "pollInterval")
            .map(|f| self.outline.json(&f.entry.value));
        // The server's parser takes no plain number for a duration (go-yaml v3 decode.go).
        let poll_interval = written.as_ref().and_then(Value::as_str).and_then(go_duration::parse);
        match poll_interval.filter(|interval| *interval >= LEAST_POLL_INTERVAL) {
            Some(poll_interval) => Ok(DynamicConfigClient {
                filepath: PathBuf::from(filepath.value),
                poll_interval,
                line,
            }),
            None => Err(Refusal::new(
                &self.file,
                interval.line,
                Reason::PollInterval {
                    seen: format!("{:?}", interval.value),
                },
            )),
        }
    }

    /// `persistence` as it stands in the text, if in its own place.
    pub(crate) fn persistence(&self) -> Option<&Node> {
        self.outline
            .find(&self.outline.root, "persistence")
            .map(|found| &found.entry.value)
    }
}

/// Reads typed values and says where one has the wrong type.
struct View<'a> {
    file: &'a Path,
    outline: &'a Outline,
}

impl<'a> View<'a> {
    fn wrong(&self, node: &Node, key: String, expected: &'static str) -> Refusal {
        let seen = self.outline.follow(node).describe().to_owned();
        Refusal::new(
            self.file,
            self.outline.line(node.range.start),
            Reason::WrongShape { key, seen, expected },
        )
    }

    /// A mapping below `node`, aliases followed; absent and empty are both `None`.
    fn section(&self, node: &'a Node, key: &str) -> Result<Option<&'a Node>, Refusal> {
        let Some(found) = self.outline.find(node, key) else {
            return Ok(None);
        };
        let value = self.outline.follow(&found.entry.value);
        if value.is_map() {
            Ok(Some(value))
        } else if self.outline.json(value).is_null() {
            Ok(None)
        } else {
            Err(self.wrong(&found.entry.value, key.to_owned(), "a mapping"))
        }
    }

    fn text(&self, node: &'a Node, parent: &str, key: &str) -> Result<Option<Located<String>>, Refusal> {
        let Some(found) = self.outline.find(node, key) else {
            return Ok(None);
        };
        let value = self.outline.follow(&found.entry.value);
        match value.kind {
            Kind::Scalar { .. } | Kind::Empty => {
                let line = self.outline.line(found.entry.key_range.start);
                Ok(self.outline.text(value).map(|value| Located { value, line }))
            }
            _ => Err(self.wrong(&found.entry.value, format!("{parent}.{key}"), "a single value")),
        }
    }

    fn number(&self, node: &'a Node, parent: &str, key: &str) -> Result<Option<Located<u32>>, Refusal> {
        let Some(found) = self.outline.find(node, key) else {
            return Ok(None);
        };
        let line = self.outline.line(found.entry.key_range.start);
        match self.outline.json(&found.entry.value) {
            Value::Null => Ok(None),
            value => match value.as_u64().and_then(|n| u32::try_from(n).ok()) {
                Some(value) => Ok(Some(Located { value, line })),
                None => Err(self.wrong(&found.entry.value, format!("{parent}.{key}"), "a whole number")),
            },
        }
    }

    fn port(&self, node: &'a Node, parent: &str, key: &str) -> Result<Option<u16>, Refusal> {
        let Some(number) = self.number(node, parent, key)? else {
            return Ok(None);
        };
        match u16::try_from(number.value) {
            Ok(port) => Ok((port != 0).then_some(port)),
            Err(_) => {
                let seen = number.value.to_string();
                let reason = Reason::WrongShape {
                    key: format!("{parent}.{key}"),
                    seen,
                    expected: "a port (1 to 65535)",
                };
                Err(Refusal::new(self.file, number.line, reason))
            }
        }
    }

    fn datastores(&self, persistence: &'a Node) -> Result<Vec<(String, Located<Value>)>, Refusal> {
        let Some(node) = self.section(persistence, "datastores")? else {
            let next = "the server does not start without it: add it";
            let line = self.outline.line(persistence.range.start);
            return Err(Refusal::new(
                self.file,
                line,
                Reason::Missing {
                    key: "persistence.datastores".to_owned(),
                    next,
                },
            ));
        };
        let mut datastores = Vec::new();
        for found in self.outline.effective(node) {
            let Some(name) = &found.entry.key else { continue };
            let value = self.outline.json(&found.entry.value);
            if !value.is_object() {
                return Err(self.wrong(
                    &found.entry.value,
                    format!("persistence.datastores.{name}"),
                    "a mapping",
                ));
            }
            datastores.push((
                name.clone(),
                Located {
                    value,
                    line: self.outline.line(found.entry.key_range.start),
                },
            ));
        }
        Ok(datastores)
    }

    fn services(&self) -> Result<Vec<Service>, Refusal> {
        let Some(node) = self.section(&self.outline.root, "services")? else {
            return Ok(Vec::new());
        };
        let mut services = Vec::new();
        for found in self.outline.effective(node) {
            let Some(name) = found.entry.key.clone() else { continue };
            let line = self.outline.line(found.entry.key_range.start);
            let service = self.outline.follow(&found.entry.value);
            let rpc = self.section(service, "rpc")?;
            let path = format!("services.{name}.rpc");
            let port = |key: &str| rpc.map_or(Ok(None), |rpc| self.port(rpc, &path, key));
            let bind = rpc.and_then(|rpc| self.outline.find(rpc, "bindOnLocalHost"));
            let bind_on_ip = rpc.map_or(Ok(None), |rpc| self.text(rpc, &path, "bindOnIP"))?;
            services.push(Service {
                grpc_port: port("grpcPort")?,
                http_port: port("httpPort")?,
                membership_port: port("membershipPort")?,
                bind_on_local_host: bind.is_some_and(|b| self.outline.json(&b.entry.value) == Value::Bool(true)),
                bind_on_ip: bind_on_ip.map(|ip| ip.value),
                name,
                line,
            });
        }
        Ok(services)
    }
}

/// A comment with `enable-template` in the first kilobyte makes the server render the file
/// (1.30.8:common/config/loader.go: checkTemplatingEnabled).
fn refuse_template_header(file: &Path, bytes: &[u8]) -> Result<(), Refusal> {
    let head = String::from_utf8_lossy(bytes.get(..1024).unwrap_or(bytes));
    let header = |line: &str| line.trim().starts_with('#') && line.contains("enable-template");
    match head.lines().position(header) {
        None => Ok(()),
        Some(at) => Err(Refusal::new(
            file,
            at + 1,
            template(bytes, "its header says # enable-template".to_owned()),
        )),
    }
}

/// A template as the reason, with how this kind is rendered: `.Env.` is dockerize's (server images up to 1.29 run it when
/// the container starts), `env` the server's own (1.30.8: common/config/config_template_embedded.yaml).
fn template(bytes: &[u8], seen: String) -> Reason {
    let dockerize = bytes.windows(5).any(|word| word == b".Env.");
    let how = if dockerize {
        "dockerize renders it at each start of the container, so mount the plain file over the rendered one, which is \
         written anew each time"
    } else {
        "`temporal-server render-config` of servers from 1.28 prints what they read, with the server's own environment"
    };
    Reason::Template { seen, how }
}

/// The first line with `{{` outside of comments, by lines: for files that do not parse.
fn template_line(bytes: &[u8]) -> Option<(usize, String)> {
    let text = String::from_utf8_lossy(bytes);
    let at = text
        .lines()
        .position(|l| l.contains("{{") && !l.trim_start().starts_with('#'))?;
    Some((at + 1, "it has {{ ... }}".to_owned()))
}

/// `{{` in a value: dockerize renders such files at container start (server images up to 1.29).
fn refuse_template_values(file: &Path, text: &str, outline: &Outline) -> Result<(), Refusal> {
    let in_comment = |at: usize| outline.comments.iter().any(|c| c.contains(&at));
    match text.match_indices("{{").map(|(at, _)| at).find(|at| !in_comment(*at)) {
        None => Ok(()),
        Some(at) => {
            let seen = "it has {{ ... }}".to_owned();
            Err(Refusal::new(file, outline.line(at), template(text.as_bytes(), seen)))
        }
    }
}

impl StaticConfig {
    /// The edit that was asked for, as lines to add by hand, secrets masked.
    pub(crate) fn lines_for(key: &str, value: &Value) -> String {
        let style = crate::render::Style {
            step: 2,
            dash: 2,
            gap: 2,
            quotes: crate::render::Quotes::WhereNeeded,
        };
        crate::render::block_entry(key, &secrets::redact(value), 0, style).join("\n")
    }
}

/// Whether a scalar was written in quotes, and which.
pub(crate) fn quotes_of(node: &Node) -> Option<crate::render::Quotes> {
    match &node.kind {
        Kind::Scalar {
            style: ScalarStyle::Single,
            ..
        } => Some(crate::render::Quotes::Single),
        Kind::Scalar {
            style: ScalarStyle::Double,
            ..
        } => Some(crate::render::Quotes::Double),
        Kind::Scalar {
            style: ScalarStyle::Plain,
            ..
        } => Some(crate::render::Quotes::WhereNeeded),
        _ => None,
    }
}
