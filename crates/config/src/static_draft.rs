//! How an edit of the static config is made: checked against what is there, then spliced into the text.

use serde_json::Value;

use crate::edited::Edited;
use crate::outline::{Entry, Kind, Node};
use crate::refusal::{Reason, Refusal};
use crate::render::{Quotes, Style, block_entry, column, flow_entry, scalar_text};
use crate::splice::{Change, end_with_comments, insert_flow, insert_lines, remove_flow, remove_lines};
use crate::static_config::{StaticConfig, quotes_of};
use crate::static_edit::SourceBecomes;

const PRIMARY: &str = "visibilityStore";
const SECONDARY: &str = "secondaryVisibilityStore";

/// An edit of the `persistence` section being made: the changes of the text, and what it is to mean.
pub(crate) struct Draft<'a> {
    pub(crate) config: &'a StaticConfig,
    pub(crate) changes: Vec<Change>,
    expected: yaml_serde::Value,
}

impl<'a> Draft<'a> {
    pub(crate) fn of(config: &'a StaticConfig) -> Self {
        Self {
            config,
            changes: Vec::new(),
            expected: config.meaning.clone(),
        }
    }

    pub(crate) fn finish(self) -> Result<Edited, Refusal> {
        Edited::checked(&self.config.file, &self.config.text, self.changes, &self.expected)
    }

    pub(crate) fn attach(&mut self, name: &str, datastore: &Value) -> Result<(), Refusal> {
        let Some(primary) = self.config.visibility_store() else {
            if let Some(store) = self.config.advanced_visibility_store() {
                let name = store.value.clone();
                return Err(self.refuse(store.line, Reason::AdvancedAlone { name }));
            }
            let next = "the server has no Visibility store to migrate from: name the file that sets it";
            return Err(self.refuse(
                None,
                Reason::Missing {
                    key: path(PRIMARY),
                    next,
                },
            ));
        };
        let roles = [
            ("persistence.visibilityStore", Some(primary)),
            ("persistence.defaultStore", self.config.default_store()),
        ];
        for (role, store) in roles {
            if let Some(store) = store.filter(|store| store.value == name) {
                return Err(self.refuse(
                    store.line,
                    Reason::TargetInUse {
                        name: name.to_owned(),
                        role,
                    },
                ));
            }
        }
        self.refuse_advanced()?;
        self.refuse_secondary_index(&primary.value)?;
        if second_index(datastore) {
            return Err(self.refuse(None, Reason::SecondaryIndex { name: name.to_owned() }));
        }
        self.refuse_foreign_secondary(&[name])?;
        self.add_datastore(name, datastore)?;
        self.set_store(SECONDARY, name)
    }

    pub(crate) fn detach(&mut self, name: &str, remove_datastore: bool) -> Result<(), Refusal> {
        self.refuse_foreign_secondary(&[name])?;
        if self.config.secondary_visibility_store().is_some() {
            self.unset_store(SECONDARY)?;
        }
        if remove_datastore {
            self.remove_datastore(name, &[PRIMARY])
        } else {
            Ok(())
        }
    }

    pub(crate) fn promote(&mut self, source: &str, target: &str, source_becomes: SourceBecomes) -> Result<(), Refusal> {
        let primary = self.config.visibility_store();
        let seen = primary.map_or("", |store| store.value.as_str());
        if seen != source && seen != target {
            let next = "someone changed the file since the migration began: set it to the source and try again";
            let expected = format!("{source:?} or {target:?}");
            let reason = Reason::Unexpected {
                key: path(PRIMARY),
                seen: seen.to_owned(),
                expected,
                next,
            };
            return Err(self.refuse(primary.map(|store| store.line), reason));
        }
        if self.config.datastore(target).is_none() {
            let next = "attach it as the secondary store first";
            let line = self
                .config
                .persistence()
                .map(|p| self.config.outline.line(p.range.start));
            return Err(self.refuse(
                line,
                Reason::Missing {
                    key: path(&format!("datastores.{target}")),
                    next,
                },
            ));
        }
        self.refuse_advanced()?;
        self.refuse_foreign_secondary(&[target, source])?;
        self.set_store(PRIMARY, target)?;
        match source_becomes {
            SourceBecomes::Secondary => self.set_store(SECONDARY, source),
            SourceBecomes::Defined | SourceBecomes::Removed => {
                if self.config.secondary_visibility_store().is_some() {
                    self.unset_store(SECONDARY)?;
                }
                if source_becomes == SourceBecomes::Removed {
                    self.remove_datastore(source, &[])
                } else {
                    Ok(())
                }
            }
        }
    }

    pub(crate) fn refuse(&self, line: impl Into<Option<usize>>, reason: Reason) -> Refusal {
        Refusal::new(&self.config.file, line, reason)
    }

    /// Servers up to 1.24 read `advancedVisibilityStore` as a second store of their own, later ones ignore it
    /// (1.24.3 and 1.25.0: common/config/persistence.go).
    pub(crate) fn refuse_advanced(&self) -> Result<(), Refusal> {
        match self.config.advanced_visibility_store() {
            None => Ok(()),
            Some(store) => {
                let name = store.value.clone();
                let primary = self.config.visibility_store();
                let reason = match primary.and_then(|primary| self.config.datastore(&primary.value)) {
                    Some(primary) if standard(&primary.value) => Reason::AlreadyAdvanced { name },
                    _ => Reason::AdvancedStore { name },
                };
                Err(self.refuse(store.line, reason))
            }
        }
    }

    pub(crate) fn refuse_foreign_secondary(&self, fine: &[&str]) -> Result<(), Refusal> {
        match self.config.secondary_visibility_store() {
            Some(store) if !fine.contains(&store.value.as_str()) => {
                let next = "another migration may be under way: finish or undo it, then try again";
                let expected = match fine.first() {
                    Some(name) => format!("nothing or {name:?}"),
                    None => "nothing".to_owned(),
                };
                let reason = Reason::Unexpected {
                    key: path(SECONDARY),
                    seen: store.value.clone(),
                    expected,
                    next,
                };
                Err(self.refuse(store.line, reason))
            }
            _ => Ok(()),
        }
    }

    fn refuse_secondary_index(&self, name: &str) -> Result<(), Refusal> {
        match self.config.datastore(name) {
            Some(datastore) if second_index(&datastore.value) => {
                Err(self.refuse(datastore.line, Reason::SecondaryIndex { name: name.to_owned() }))
            }
            _ => Ok(()),
        }
    }

    /// A mapping that stands in its own place and nowhere else.
    pub(crate) fn own_place(&self, parent: &'a Node, key: &str, path: &str) -> Result<&'a Node, Refusal> {
        let outline = &self.config.outline;
        let shared = |line: usize, how: String| {
            self.refuse(
                line,
                Reason::Shared {
                    key: path.to_owned(),
                    how,
                },
            )
        };
        let Some(found) = outline.find(parent, key) else {
            let next = "the server does not start without it: add it";
            return Err(self.refuse(
                None,
                Reason::Missing {
                    key: path.to_owned(),
                    next,
                },
            ));
        };
        let line = outline.line(found.entry.key_range.start);
        let node = &found.entry.value;
        if !found.own {
            return Err(shared(line, "it comes in through a merge key <<".to_owned()));
        }
        if let Kind::Alias(name) = &node.kind {
            return Err(shared(line, format!("it is the alias *{name}")));
        }
        match outline.shared(node) {
            Some(how) => Err(shared(line, how)),
            None => Ok(node),
        }
    }

    pub(crate) fn persistence(&self) -> Result<&'a Node, Refusal> {
        self.own_place(&self.config.outline.root, "persistence", "persistence")
    }

    pub(crate) fn expected_section(&mut self, keys: &[&str]) -> Option<&mut yaml_serde::Mapping> {
        let mut value = &mut self.expected;
        for key in keys {
            value = value.get_mut(*key)?;
        }
        value.as_mapping_mut()
    }

    fn set_store(&mut self, key: &'static str, name: &str) -> Result<(), Refusal> {
        let config = self.config;
        let current = if key == PRIMARY {
            config.visibility_store()
        } else {
            config.secondary_visibility_store()
        };
        if current.is_some_and(|store| store.value == name) {
            return Ok(());
        }
        let persistence = self.persistence()?;
        let change = match persistence.entry(key) {
            Some(entry) => self.replacement(key, entry, name)?,
            None => {
                let after = persistence.entry(PRIMARY).or(persistence.entries().last());
                self.new_entry(persistence, after, key, &Value::String(name.to_owned()), persistence)
            }
        };
        self.changes.push(change);
        if let Some(section) = self.expected_section(&["persistence"]) {
            section.insert(key.into(), name.into());
        }
        Ok(())
    }

    pub(crate) fn replacement(&self, key: &str, entry: &Entry, name: &str) -> Result<Change, Refusal> {
        let node = &entry.value;
        if let Some(how) = self.config.outline.shared(node) {
            let line = self.config.outline.line(entry.key_range.start);
            return Err(self.refuse(line, Reason::Shared { key: path(key), how }));
        }
        let quotes = quotes_of(node).unwrap_or(Quotes::WhereNeeded);
        let text = scalar_text(name, quotes);
        Ok(match node.kind {
            Kind::Empty => Change {
                at: entry.after_colon..entry.after_colon,
                with: format!(" {text}"),
            },
            _ => Change {
                at: node.range.clone(),
                with: text,
            },
        })
    }

    fn unset_store(&mut self, key: &'static str) -> Result<(), Refusal> {
        let persistence = self.persistence()?;
        self.remove_entry(persistence, key, &path(key))?;
        if let Some(section) = self.expected_section(&["persistence"]) {
            section.remove(key);
        }
        Ok(())
    }

    pub(crate) fn add_datastore(&mut self, name: &str, datastore: &Value) -> Result<(), Refusal> {
        let expected = yaml_serde::to_value(datastore).unwrap_or_default();
        if let Some(existing) = self.config.datastore(name) {
            let meaning = self
                .expected
                .get("persistence")
                .and_then(|p| p.get("datastores"))
                .and_then(|d| d.get(name));
            if meaning == Some(&expected) || existing.value == *datastore {
                return Ok(());
            }
            return Err(self.refuse(existing.line, Reason::TargetNameTaken { name: name.to_owned() }));
        }
        let datastores = self.own_place(self.persistence()?, "datastores", "persistence.datastores")?;
        let change = self.new_entry(datastores, datastores.entries().last(), name, datastore, datastores);
        self.changes.push(change);
        if let Some(section) = self.expected_section(&["persistence", "datastores"]) {
            section.insert(name.into(), expected);
        }
        Ok(())
    }

    fn remove_datastore(&mut self, name: &str, also_users: &[&'static str]) -> Result<(), Refusal> {
        let Some(existing) = self.config.datastore(name) else {
            return Ok(());
        };
        let config = self.config;
        let users = [
            ("persistence.defaultStore", config.default_store()),
            (
                "persistence.visibilityStore",
                config.visibility_store().filter(|_| also_users.contains(&PRIMARY)),
            ),
            (
                "persistence.advancedVisibilityStore",
                config.advanced_visibility_store(),
            ),
        ];
        for (role, store) in users {
            if store.is_some_and(|store| store.value == name) {
                return Err(self.refuse(
                    existing.line,
                    Reason::DatastoreInUse {
                        name: name.to_owned(),
                        role,
                    },
                ));
            }
        }
        let datastores = self.own_place(self.persistence()?, "datastores", "persistence.datastores")?;
        let key = path(&format!("datastores.{name}"));
        if let Some(how) = datastores
            .entry(name)
            .and_then(|e| config.outline.shared_below(&e.value))
        {
            return Err(self.refuse(existing.line, Reason::Shared { key, how }));
        }
        self.remove_entry(datastores, name, &key)?;
        if let Some(section) = self.expected_section(&["persistence", "datastores"]) {
            section.remove(name);
        }
        Ok(())
    }

    pub(crate) fn remove_entry(&mut self, map: &Node, key: &str, path: &str) -> Result<(), Refusal> {
        let Some(index) = map.entries().iter().position(|e| e.key.as_deref() == Some(key)) else {
            let how = "it comes in through a merge key <<".to_owned();
            let line = self.config.outline.line(map.range.start);
            return Err(self.refuse(
                line,
                Reason::Shared {
                    key: path.to_owned(),
                    how,
                },
            ));
        };
        if matches!(map.kind, Kind::Map { flow: true, .. }) {
            self.changes.extend(remove_flow(map, &[index]));
            return Ok(());
        }
        let changes = map
            .entries()
            .get(index)
            .and_then(|entry| remove_lines(&self.config.text, &[entry]));
        let not_alone = || Reason::NotExact {
            seen: format!("{path} does not stand on lines of its own"),
        };
        let changes = changes.ok_or_else(|| self.refuse(self.config.outline.line(map.range.start), not_alone()))?;
        self.changes.extend(changes);
        Ok(())
    }

    /// `key: value` as a new entry of `map` after the entry `after`, in the style found in `near`.
    pub(crate) fn new_entry(&self, map: &Node, after: Option<&Entry>, key: &str, value: &Value, near: &Node) -> Change {
        let (text, outline) = (&self.config.text, &self.config.outline);
        let style = Style::of(text, outline, near);
        match (&map.kind, map.entries().first(), after) {
            (Kind::Map { flow: false, .. }, Some(first), Some(after)) => {
                let at = column(text, first.key_range.start);
                let is_last = map
                    .entries()
                    .last()
                    .is_some_and(|last| last.key_range == after.key_range);
                let end = if is_last {
                    end_with_comments(text, after.end(), at)
                } else {
                    after.end()
                };
                insert_lines(text, end, &block_entry(key, value, at, style))
            }
            _ => insert_flow(text, map, &flow_entry(key, value, style.quotes)),
        }
    }
}

pub(crate) fn path(key: &str) -> String {
    format!("persistence.{key}")
}

/// Whether a datastore is one of those that hold no search attributes: Cassandra, or SQL by an older plugin.
fn standard(datastore: &Value) -> bool {
    let plugin = datastore.pointer("/sql/pluginName").and_then(Value::as_str);
    datastore.get("cassandra").is_some() || matches!(plugin, Some("mysql" | "postgres" | "postgres_pgx"))
}

/// Whether an Elasticsearch datastore names a second index to write to.
fn second_index(datastore: &Value) -> bool {
    let index = datastore.pointer("/elasticsearch/indices/secondary_visibility");
    index.and_then(Value::as_str).is_some_and(|index| !index.is_empty())
}
