//! Edits of a server's static config file, as data.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::edited::Edited;
use crate::refusal::Refusal;
use crate::static_config::StaticConfig;
use crate::static_draft::Draft;

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
    /// Gives the Elasticsearch datastore that is the primary a second index to write to
    /// (`indices.secondary_visibility`): Dual Visibility within one cluster.
    AttachSecondaryIndex {
        /// The datastore that is `visibilityStore`.
        datastore: String,
        /// The index.
        index: String,
    },
    /// Takes the second index away again; for when the file as it was cannot be restored byte for byte.
    DetachSecondaryIndex {
        /// The datastore that is `visibilityStore`.
        datastore: String,
        /// The index it was attached with.
        index: String,
    },
    /// Makes the second index the `visibility` index of its datastore.
    PromoteIndex {
        /// The datastore that is `visibilityStore`, before and after.
        datastore: String,
        /// The index that is `indices.visibility` before.
        source: String,
        /// The index that is `indices.visibility` after.
        target: String,
        /// Whether the source becomes `indices.secondary_visibility`, so that the server goes on writing it.
        keep_source: bool,
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
            Self::AttachSecondaryIndex { datastore, index } => {
                yaml(indices(datastore, &json!({ "secondary_visibility": index })))
            }
            Self::DetachSecondaryIndex { datastore, .. } => {
                format!(
                    "persistence:\n  # remove secondary_visibility from datastores.{datastore}.elasticsearch.indices"
                )
            }
            Self::PromoteIndex {
                datastore,
                source,
                target,
                keep_source: true,
            } => yaml(indices(
                datastore,
                &json!({ "visibility": target, "secondary_visibility": source }),
            )),
            Self::PromoteIndex { datastore, target, .. } => {
                yaml(indices(datastore, &json!({ "visibility": target }))) + "\n          # remove secondary_visibility"
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

/// The indices of an Elasticsearch datastore, in their place below `persistence`.
fn indices(datastore: &str, indices: &Value) -> Value {
    json!({ "datastores": { datastore: { "elasticsearch": { "indices": indices } } } })
}

/// Parses a static config file and edits it; a refusal carries the lines to add by hand where that is a way out.
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
        let mut draft = Draft::of(self);
        match edit {
            StaticEdit::AddDatastore { name, datastore } => draft.add_datastore(name, datastore)?,
            StaticEdit::AttachSecondary { name, datastore } => draft.attach(name, datastore)?,
            StaticEdit::DetachSecondary { name, remove_datastore } => draft.detach(name, *remove_datastore)?,
            StaticEdit::AttachSecondaryIndex { datastore, index } => draft.attach_index(datastore, index)?,
            StaticEdit::DetachSecondaryIndex { datastore, index } => draft.detach_index(datastore, index)?,
            StaticEdit::PromoteIndex {
                datastore,
                source,
                target,
                keep_source,
            } => draft.promote_index(datastore, source, target, *keep_source)?,
            StaticEdit::Promote {
                source,
                target,
                source_becomes,
            } => {
                draft.promote(source, target, *source_becomes)?;
            }
        }
        draft.finish()
    }
}
