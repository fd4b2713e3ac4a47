//! A server's dynamic config file, read: the two keys that steer a migration, as the server sees them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::Value;

use crate::outline::{Entry, Item, Kind, Node, Outline};
use crate::refusal::{Reason, Refusal};
use crate::static_config::Located;

/// `off`, `dual` or `on`: which of the two Visibility stores the history service writes to.
pub const WRITING_MODE: &str = "system.secondaryVisibilityWritingMode";
/// Per Namespace: whether reads go to the secondary store.
pub const READ_FROM_SECONDARY: &str = "system.enableReadFromSecondaryVisibility";

/// Values of [`WRITING_MODE`] (1.30.8:common/persistence/visibility/defs.go); the server takes these spellings only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WritingMode {
    /// Write to the primary only.
    Off,
    /// Write to both.
    Dual,
    /// Write to the secondary only.
    On,
}

impl WritingMode {
    /// As it is written in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Dual => "dual",
            Self::On => "on",
        }
    }
}

impl FromStr for WritingMode {
    type Err = UnknownWritingMode;

    fn from_str(text: &str) -> Result<Self, UnknownWritingMode> {
        match text {
            "off" => Ok(Self::Off),
            "dual" => Ok(Self::Dual),
            "on" => Ok(Self::On),
            other => Err(UnknownWritingMode(other.to_owned())),
        }
    }
}

/// A writing mode that no server knows; every Visibility write fails with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("secondaryVisibilityWritingMode is {0:?}, expected \"off\", \"dual\" or \"on\" (small letters)")]
pub struct UnknownWritingMode(pub String);

/// Values of [`READ_FROM_SECONDARY`].
///
/// An entry for the very Namespace wins over the one without constraints, wherever they stand; of two with the same
/// constraints the first wins (1.30.8:common/dynamicconfig/collection.go: findMatch).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadsFromSecondary {
    /// For Namespaces with no entry of their own; without it the server's default, `false`, holds.
    pub everywhere: bool,
    /// By Namespace name.
    pub namespaces: BTreeMap<String, bool>,
}

/// A dynamic config file that the server would load.
///
/// `Debug` shows no values: a dynamic config may hold tokens.
#[derive(Clone)]
pub struct DynamicConfig {
    pub(crate) file: PathBuf,
    pub(crate) text: String,
    pub(crate) meaning: yaml_serde::Value,
    pub(crate) outline: Outline,
}

impl fmt::Debug for DynamicConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamicConfig")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// What a `constraints` mapping selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    Everywhere,
    Namespace(String),
    /// By something that no request of ours matches (a task queue, a shard).
    Other,
}

impl DynamicConfig {
    /// Reads a dynamic config file; empty or only comments is fine. `file` is only a name for messages.
    ///
    /// # Errors
    /// When the file is no plain YAML, or when the server would reject it as a whole, so that no edit would take effect
    /// (1.30.8:common/dynamicconfig/yaml_loader.go).
    pub fn parse(file: impl Into<PathBuf>, bytes: &[u8]) -> Result<Self, Refusal> {
        let file = file.into();
        let (text, meaning, outline) = Outline::parse(&file, bytes)?;
        let config = Self {
            file,
            text,
            meaning,
            outline,
        };
        config.check()?;
        Ok(config)
    }

    /// Whether the key is in the file at all; servers up to 1.23 look at this once, when they start.
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// The value of [`WRITING_MODE`] that holds, with its line; `None` when the server's default (`off`) does.
    pub fn writing_mode(&self) -> Option<Located<Result<WritingMode, UnknownWritingMode>>> {
        let (value, line) = self.effective(WRITING_MODE, &Scope::Everywhere)?;
        // A value of another type is ignored by the server, with a warning.
        value.as_str().map(|text| Located {
            value: text.parse(),
            line,
        })
    }

    /// The values of [`READ_FROM_SECONDARY`] that hold.
    pub fn reads_from_secondary(&self) -> ReadsFromSecondary {
        let holds = |scope: &Scope| {
            self.effective(READ_FROM_SECONDARY, scope)
                .and_then(|(value, _)| go_bool(&value))
        };
        let mut namespaces = BTreeMap::new();
        for (scope, _) in self.scopes(READ_FROM_SECONDARY) {
            if let Scope::Namespace(name) = &scope {
                // With a value that is no bool the server falls back to its default, not to the entry for everywhere.
                namespaces.insert(name.clone(), holds(&scope).unwrap_or(false));
            }
        }
        ReadsFromSecondary {
            everywhere: holds(&Scope::Everywhere).unwrap_or(false),
            namespaces,
        }
    }

    /// Keys the file may not hold twice in different letter case, and values of a shape that the server loads.
    fn check(&self) -> Result<(), Refusal> {
        let root = self.outline.follow(&self.outline.root);
        if !root.is_map() {
            return match self.meaning.as_mapping() {
                Some(_) => Ok(()),
                None => {
                    let seen = root.describe().to_owned();
                    let expected = "a mapping from key to a list of values";
                    let reason = Reason::WrongShape {
                        key: "the file".to_owned(),
                        seen,
                        expected,
                    };
                    Err(refuse(&self.file, self.outline.line(root.range.start), reason))
                }
            };
        }
        let mut seen: Vec<(String, &str, usize)> = Vec::new();
        for found in self.outline.effective(root) {
            let Some(key) = &found.entry.key else { continue };
            let line = self.outline.line(found.entry.key_range.start);
            let folded = key.to_lowercase();
            if let Some((_, first, first_line)) = seen.iter().find(|(f, ..)| *f == folded) {
                let reason = Reason::SameKeyTwice {
                    first: (*first).to_owned(),
                    first_line: *first_line,
                    second: key.clone(),
                };
                return Err(refuse(&self.file, line, reason));
            }
            seen.push((folded, key, line));
            if let Some(meaning) = self.meaning.get(key.as_str())
                && let Some(key) = self.outline.first_disagreement(&found.entry.value, meaning, key)
                && [WRITING_MODE, READ_FROM_SECONDARY]
                    .iter()
                    .any(|k| key.to_lowercase().starts_with(&k.to_lowercase()))
            {
                return Err(refuse(&self.file, line, Reason::Ambiguous { key }));
            }
            self.check_key(key, &found.entry.value)?;
        }
        Ok(())
    }

    fn check_key(&self, key: &str, value: &Node) -> Result<(), Refusal> {
        let rejects = |node: &Node, fault: String| {
            let line = self.outline.line(node.range.start);
            Err(refuse(
                &self.file,
                line,
                Reason::ServerRejects {
                    key: key.to_owned(),
                    fault,
                },
            ))
        };
        let value = self.outline.follow(value);
        let Kind::Seq { items, .. } = &value.kind else {
            return match self.outline.json(value) {
                Value::Null => Ok(()),
                _ => rejects(
                    value,
                    format!("is {}, expected a list of value and constraints", value.describe()),
                ),
            };
        };
        for item in items {
            let item = self.outline.follow(&item.value);
            if !item.is_map() && !self.outline.json(item).is_null() {
                return rejects(
                    item,
                    format!("has {} in its list, expected value and constraints", item.describe()),
                );
            }
            let Some(constraints) = self.outline.find(item, "constraints") else {
                continue;
            };
            let node = self.outline.follow(&constraints.entry.value);
            if !node.is_map() && !self.outline.json(node).is_null() {
                return rejects(
                    &constraints.entry.value,
                    format!("has {} as constraints, expected a mapping", node.describe()),
                );
            }
            for found in self.outline.effective(node) {
                let name = found.entry.key.clone().unwrap_or_default();
                let text_wanted = match name.to_lowercase().as_str() {
                    // The last is new in 1.31 (1.32.2: common/dynamicconfig/yaml_loader.go); earlier servers reject it.
                    "namespace" | "namespaceid" | "taskqueuename" | "destination" | "chasmtasktype" => true,
                    "tasktype" | "historytasktype" | "shardid" => false,
                    _ => return rejects(node, format!("has an unknown constraint {name:?}")),
                };
                if text_wanted && !self.outline.json(&found.entry.value).is_string() {
                    return rejects(node, format!("has a constraint {name} that is no text"));
                }
            }
        }
        Ok(())
    }

    /// The entry of a key, whatever its letter case (1.30.8:common/dynamicconfig/key.go).
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        let same = |e: &&Entry| e.key.as_deref().is_some_and(|k| k.to_lowercase() == key.to_lowercase());
        self.outline
            .effective(&self.outline.root)
            .into_iter()
            .map(|found| found.entry)
            .find(same)
    }

    /// The items of a key with what each selects, in the file's order.
    pub(crate) fn scopes(&self, key: &str) -> Vec<(Scope, &Item)> {
        let Some(entry) = self.entry(key) else {
            return Vec::new();
        };
        match &self.outline.follow(&entry.value).kind {
            Kind::Seq { items, .. } => items.iter().map(|item| (self.scope(&item.value), item)).collect(),
            _ => Vec::new(),
        }
    }

    fn scope(&self, item: &Node) -> Scope {
        let Some(constraints) = self.outline.find(item, "constraints") else {
            return Scope::Everywhere;
        };
        let mut scope = Scope::Everywhere;
        for found in self.outline.effective(&constraints.entry.value) {
            let value = self.outline.json(&found.entry.value);
            let is_namespace = found
                .entry
                .key
                .as_deref()
                .is_some_and(|k| k.eq_ignore_ascii_case("namespace"));
            match (is_namespace, value.as_str()) {
                // An empty constraint is none, for the server too.
                (_, Some("")) => {}
                (true, Some(name)) if scope == Scope::Everywhere => scope = Scope::Namespace(name.to_owned()),
                _ => return Scope::Other,
            }
        }
        scope
    }

    fn effective(&self, key: &str, scope: &Scope) -> Option<(Value, usize)> {
        let (_, item) = self.scopes(key).into_iter().find(|(s, _)| s == scope)?;
        let value = self
            .outline
            .find(&item.value, "value")
            .map(|found| self.outline.json(&found.entry.value));
        Some((value.unwrap_or(Value::Null), self.outline.line(item.start)))
    }
}

/// As the server converts it (1.30.8:common/dynamicconfig/collection.go: convertBool); `None` where it falls back to
/// the default.
fn go_bool(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(b) => Some(*b),
        Value::String(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn refuse(file: &Path, line: usize, reason: Reason) -> Refusal {
    Refusal::new(file, line, reason)
}
