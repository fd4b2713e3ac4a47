//! Edits of the indices of one Elasticsearch datastore: Dual Visibility within one cluster.
//!
//! The server reads `indices.secondary_visibility` of the primary's own entry as its second store
//! (1.21.6 to 1.32.2: common/config/persistence.go, `GetSecondaryVisibilityStoreConfig`).

use serde_json::Value;

use crate::outline::Node;
use crate::refusal::{Reason, Refusal};
use crate::static_draft::{Draft, path};

const FIRST: &str = "visibility";
const SECOND: &str = "secondary_visibility";

/// The two indices of a datastore.
struct Indices {
    line: usize,
    first: String,
    second: Option<String>,
}

impl<'a> Draft<'a> {
    pub(crate) fn attach_index(&mut self, datastore: &str, index: &str) -> Result<(), Refusal> {
        let indices = self.indices(datastore)?;
        if indices.first == index {
            let reason = Reason::TargetInUse {
                name: index.to_owned(),
                role: "index of the visibilityStore",
            };
            return Err(self.refuse(indices.line, reason));
        }
        match &indices.second {
            Some(second) if second == index => Ok(()),
            Some(_) => Err(self.refuse(
                indices.line,
                Reason::SecondaryIndex {
                    name: datastore.to_owned(),
                },
            )),
            None => self.set_index(datastore, SECOND, index),
        }
    }

    pub(crate) fn detach_index(&mut self, datastore: &str, index: &str) -> Result<(), Refusal> {
        let indices = self.indices(datastore)?;
        self.refuse_foreign_index(datastore, &indices, &[index])?;
        self.unset_second_index(datastore, &indices)
    }

    pub(crate) fn promote_index(
        &mut self,
        datastore: &str,
        source: &str,
        target: &str,
        keep_source: bool,
    ) -> Result<(), Refusal> {
        let indices = self.indices(datastore)?;
        if indices.first != source && indices.first != target {
            let reason = Reason::Unexpected {
                key: index_path(datastore, FIRST),
                seen: indices.first,
                expected: format!("{source:?} or {target:?}"),
                next: "someone changed the file since the migration began: set it to the source and try again",
            };
            return Err(self.refuse(indices.line, reason));
        }
        self.refuse_foreign_index(datastore, &indices, &[target, source])?;
        if indices.first != target {
            self.set_index(datastore, FIRST, target)?;
        }
        if !keep_source {
            return self.unset_second_index(datastore, &indices);
        }
        if indices.second.as_deref() == Some(source) {
            return Ok(());
        }
        self.set_index(datastore, SECOND, source)
    }

    /// The indices of the datastore, which has to be the primary and the only store.
    fn indices(&self, datastore: &str) -> Result<Indices, Refusal> {
        let primary = self.config.visibility_store();
        if let Some(primary) = primary.filter(|primary| primary.value != datastore) {
            let reason = Reason::Unexpected {
                key: path("visibilityStore"),
                seen: primary.value.clone(),
                expected: format!("{datastore:?}"),
                next: "someone changed the file since the migration began: set it to the source and try again",
            };
            return Err(self.refuse(primary.line, reason));
        }
        self.refuse_advanced()?;
        self.refuse_foreign_secondary(&[])?;
        let none = |line: Option<usize>| {
            self.refuse(
                line,
                Reason::NoIndices {
                    name: datastore.to_owned(),
                },
            )
        };
        let Some(entry) = primary.and_then(|_| self.config.datastore(datastore)) else {
            return Err(none(None));
        };
        let index = |key: &str| {
            let index = entry.value.pointer(&format!("/elasticsearch/indices/{key}"));
            index
                .and_then(Value::as_str)
                .filter(|index| !index.is_empty())
                .map(ToOwned::to_owned)
        };
        Ok(Indices {
            line: entry.line,
            first: index(FIRST).ok_or_else(|| none(Some(entry.line)))?,
            second: index(SECOND),
        })
    }

    fn refuse_foreign_index(&self, datastore: &str, indices: &Indices, fine: &[&str]) -> Result<(), Refusal> {
        match &indices.second {
            Some(second) if !fine.contains(&second.as_str()) => Err(self.refuse(
                indices.line,
                Reason::Unexpected {
                    key: index_path(datastore, SECOND),
                    seen: second.clone(),
                    expected: format!("nothing or {:?}", fine.first().copied().unwrap_or_default()),
                    next: "another migration may be under way: finish or undo it, then try again",
                },
            )),
            _ => Ok(()),
        }
    }

    /// The mapping `indices` where it stands, in its own place and nowhere else.
    fn indices_node(&self, datastore: &str) -> Result<&'a Node, Refusal> {
        let mut node = self.persistence()?;
        let mut at = "persistence".to_owned();
        for key in ["datastores", datastore, "elasticsearch", "indices"] {
            at = format!("{at}.{key}");
            node = self.own_place(node, key, &at)?;
        }
        Ok(node)
    }

    fn set_index(&mut self, datastore: &str, key: &'static str, index: &str) -> Result<(), Refusal> {
        let node = self.indices_node(datastore)?;
        let change = match node.entry(key) {
            Some(entry) => self.replacement(
                &format!("datastores.{datastore}.elasticsearch.indices.{key}"),
                entry,
                index,
            )?,
            None => {
                let after = node.entry(FIRST).or(node.entries().last());
                self.new_entry(node, after, key, &Value::String(index.to_owned()), node)
            }
        };
        self.changes.push(change);
        if let Some(section) = self.expected_indices(datastore) {
            section.insert(key.into(), index.into());
        }
        Ok(())
    }

    fn unset_second_index(&mut self, datastore: &str, indices: &Indices) -> Result<(), Refusal> {
        if indices.second.is_none() {
            return Ok(());
        }
        let node = self.indices_node(datastore)?;
        self.remove_entry(node, SECOND, &index_path(datastore, SECOND))?;
        if let Some(section) = self.expected_indices(datastore) {
            section.remove(SECOND);
        }
        Ok(())
    }

    fn expected_indices(&mut self, datastore: &str) -> Option<&mut yaml_serde::Mapping> {
        self.expected_section(&["persistence", "datastores", datastore, "elasticsearch", "indices"])
    }
}

fn index_path(datastore: &str, key: &str) -> String {
    path(&format!("datastores.{datastore}.elasticsearch.indices.{key}"))
}
