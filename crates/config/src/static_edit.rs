//! Edits of a server's static config file, as data.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::edited::Edited;
use crate::outline::{Entry, Kind, Node};
use crate::refusal::{Reason, Refusal};
use crate::render::{Quotes, Style, block_entry, column, flow_entry, scalar_text};
use crate::splice::{Change, end_with_comments, insert_flow, insert_lines, remove_flow, remove_lines};
use crate::static_config::{StaticConfig, quotes_of};

/// An edit of the `persistence` section. Each is idempotent: what is already so is left as it is.
#[derive(Clone, PartialEq)]
pub enum StaticEdit {
    /// Defines a datastore.
    AddDatastore {
        /// Its key under `persistence.datastores`.
        name: String,
        /// Its entry as the server reads it, secrets resolved.
        datastore: Value,
    },
    /// Defines a datastore and makes it the secondary Visibility store.
    AttachSecondary {
        /// Its key under `persistence.datastores`.
        name: String,
        /// Its entry as the server reads it, secrets resolved.
        datastore: Value,
    },
    /// Takes the secondary Visibility store away again; for when the file as it was cannot be restored byte for byte.
    DetachSecondary {
        /// The name it was attached with.
        name: String,
        /// Whether its datastore goes too.
        remove_datastore: bool,
    },
    /// Makes the target the only Visibility store, or the first of two.
    Promote {
        /// The datastore that is `visibilityStore` before.
        source: String,
        /// The datastore that is `visibilityStore` after; it must be defined already.
        target: String,
        /// What becomes of the source.
        source_becomes: SourceBecomes,
    },
}

/// What becomes of the store that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceBecomes {
    /// Its datastore stays defined, nothing uses it.
    Defined,
    /// Its datastore is removed from the file.
    Removed,
    /// It becomes the secondary Visibility store (where the server accepts the reversed pair).
    Secondary,
}

impl fmt::Debug for StaticEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.by_hand())
    }
}

impl StaticEdit {
    /// The edit as lines for a person to add, secrets masked.
    pub fn by_hand(&self) -> String {
        let yaml = |value: Value| StaticConfig::lines_for("persistence", &value);
        match self {
            Self::AddDatastore { name, datastore } => yaml(json!({ "datastores": { name: datastore } })),
            Self::AttachSecondary { name, datastore } => {
                yaml(json!({ "secondaryVisibilityStore": name, "datastores": { name: datastore } }))
            }
            Self::DetachSecondary { name, remove_datastore } => {
                let datastore = if *remove_datastore {
                    format!("\n  # remove {name} from datastores")
                } else {
                    String::new()
                };
                format!("persistence:\n  # remove secondaryVisibilityStore{datastore}")
            }
            Self::Promote {
                source,
                target,
                source_becomes,
            } => match source_becomes {
                SourceBecomes::Secondary => {
                    yaml(json!({ "visibilityStore": target, "secondaryVisibilityStore": source }))
                }
                SourceBecomes::Defined => {
                    yaml(json!({ "visibilityStore": target })) + "\n  # remove secondaryVisibilityStore"
                }
                SourceBecomes::Removed => {
                    yaml(json!({ "visibilityStore": target }))
                        + "\n  # remove secondaryVisibilityStore\n  # remove "
                        + source
                        + " from datastores"
                }
            },
        }
    }
}

/// Parses a static config file and edits it; every refusal carries the lines to add by hand.
///
/// # Errors
/// As [`StaticConfig::parse`] and [`StaticConfig::edit`].
pub fn edit_static(file: impl Into<PathBuf>, bytes: &[u8], edit: &StaticEdit) -> Result<Edited, Refusal> {
    StaticConfig::parse(file, bytes)
        .and_then(|config| config.edit(edit))
        .map_err(|refusal| refusal.with_by_hand(edit.by_hand()))
}

impl StaticConfig {
    /// The file's text after the edit, which means exactly what it meant before plus the intended keys.
    ///
    /// Comments, order, quoting, anchors, indentation, line endings and a missing final line break stay; new lines
    /// follow the file's own style.
    ///
    /// # Errors
    /// When the file holds something else than the edit starts from or leads to, when the place is shared with other
    /// places by an anchor, alias or merge key, or when the result would mean anything else.
    pub fn edit(&self, edit: &StaticEdit) -> Result<Edited, Refusal> {
        self.draft(edit).map_err(|refusal| refusal.with_by_hand(edit.by_hand()))
    }

    fn draft(&self, edit: &StaticEdit) -> Result<Edited, Refusal> {
        let mut draft = Draft {
            config: self,
            changes: Vec::new(),
            expected: self.meaning.clone(),
        };
        match edit {
            StaticEdit::AddDatastore { name, datastore } => draft.add_datastore(name, datastore)?,
            StaticEdit::AttachSecondary { name, datastore } => draft.attach(name, datastore)?,
            StaticEdit::DetachSecondary { name, remove_datastore } => draft.detach(name, *remove_datastore)?,
            StaticEdit::Promote {
                source,
                target,
                source_becomes,
            } => {
                draft.promote(source, target, *source_becomes)?;
            }
        }
        Edited::checked(&self.file, &self.text, draft.changes, &draft.expected)
    }
}

const PRIMARY: &str = "visibilityStore";
const SECONDARY: &str = "secondaryVisibilityStore";

struct Draft<'a> {
    config: &'a StaticConfig,
    changes: Vec<Change>,
    expected: yaml_serde::Value,
}

impl<'a> Draft<'a> {
    fn attach(&mut self, name: &str, datastore: &Value) -> Result<(), Refusal> {
        let Some(primary) = self.config.visibility_store() else {
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

    fn detach(&mut self, name: &str, remove_datastore: bool) -> Result<(), Refusal> {
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

    fn promote(&mut self, source: &str, target: &str, source_becomes: SourceBecomes) -> Result<(), Refusal> {
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

    fn refuse(&self, line: impl Into<Option<usize>>, reason: Reason) -> Refusal {
        Refusal::new(&self.config.file, line, reason)
    }

    /// Servers up to 1.24 read `advancedVisibilityStore` as a second store of their own.
    fn refuse_advanced(&self) -> Result<(), Refusal> {
        match self.config.advanced_visibility_store() {
            None => Ok(()),
            Some(store) => {
                let next = "servers up to 1.24 take it for the second Visibility store, later ones ignore it: finish that \
                            migration, or remove the key where it is ignored";
                let (seen, expected) = (store.value.clone(), "nothing".to_owned());
                Err(self.refuse(
                    store.line,
                    Reason::Unexpected {
                        key: path("advancedVisibilityStore"),
                        seen,
                        expected,
                        next,
                    },
                ))
            }
        }
    }

    fn refuse_foreign_secondary(&self, fine: &[&str]) -> Result<(), Refusal> {
        match self.config.secondary_visibility_store() {
            Some(store) if !fine.contains(&store.value.as_str()) => {
                let next = "another migration may be under way: finish or undo it, then try again";
                let expected = format!("nothing or {:?}", fine.first().copied().unwrap_or_default());
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
    fn own_place(&self, parent: &'a Node, key: &str, path: &str) -> Result<&'a Node, Refusal> {
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

    fn persistence(&self) -> Result<&'a Node, Refusal> {
        self.own_place(&self.config.outline.root, "persistence", "persistence")
    }

    fn expected_section(&mut self, keys: &[&str]) -> Option<&mut yaml_serde::Mapping> {
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

    fn replacement(&self, key: &str, entry: &Entry, name: &str) -> Result<Change, Refusal> {
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

    fn add_datastore(&mut self, name: &str, datastore: &Value) -> Result<(), Refusal> {
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

    fn remove_entry(&mut self, map: &Node, key: &str, path: &str) -> Result<(), Refusal> {
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
        let change = match &map.kind {
            Kind::Map { flow: true, .. } => remove_flow(map, index),
            _ => map
                .entries()
                .get(index)
                .and_then(|entry| remove_lines(&self.config.text, entry)),
        };
        let not_alone = || Reason::NotExact {
            seen: format!("{path} does not stand on lines of its own"),
        };
        let change = change.ok_or_else(|| self.refuse(self.config.outline.line(map.range.start), not_alone()))?;
        self.changes.push(change);
        Ok(())
    }

    /// `key: value` as a new entry of `map` after the entry `after`, in the style found in `near`.
    fn new_entry(&self, map: &Node, after: Option<&Entry>, key: &str, value: &Value, near: &Node) -> Change {
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

fn path(key: &str) -> String {
    format!("persistence.{key}")
}

/// Whether an Elasticsearch datastore names a second index to write to.
fn second_index(datastore: &Value) -> bool {
    let index = datastore.pointer("/elasticsearch/indices/secondary_visibility");
    index.and_then(Value::as_str).is_some_and(|index| !index.is_empty())
}
