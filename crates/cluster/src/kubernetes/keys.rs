//! Keys of ConfigMaps and Secrets: read, replaced only when unchanged, given back only when the change was ours.
//!
//! The original is kept in an object of its own, of the same kind and in the same namespace, so that it is read by nobody who
//! may not read the original itself: `NAME-crossfade-kept`, without the labels and annotations of `NAME`, by which Helm or
//! a GitOps controller would know it for theirs. It is written before the key is, with each write by the hashes of what it leads
//! from and to. So after a crash at any point it is known whether a key is as it was, as we wrote it, or as someone else did.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::mounts::{Helm, helm};
use super::{ConfigKey, Kubernetes, KubernetesError, Right};

/// How often a write is tried again because something else of the object changed between the look and the write.
pub(super) const TRIES: u32 = 8;

/// A key's content and what identifies it. `Debug` does not show the content.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    /// The content.
    pub bytes: Vec<u8>,
    /// Its hash, lower-case hex.
    pub sha256: String,
    /// The Helm release that the object belongs to, and would be changed back by.
    pub helm: Option<Helm>,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content")
            .field("sha256", &self.sha256)
            .field("helm", &self.helm)
            .finish_non_exhaustive()
    }
}

/// What giving a key back came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenBack {
    /// It has its original bytes again.
    Restored,
    /// It has its original bytes; nothing was touched.
    AlreadyOriginal,
    /// This migration never wrote it; nothing was touched.
    NeverWritten,
}

/// What is kept of one key for one migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Journal {
    migration: String,
    key: String,
    pub(super) original: String,
    writes: Vec<(String, String)>,
}

impl Journal {
    /// Whether the content with this hash came from the original by our writes alone.
    pub(super) fn is_ours(&self, hash: &str) -> bool {
        let mut ours = BTreeSet::from([self.original.as_str()]);
        // Each pass follows the writes at least one step further.
        for _ in &self.writes {
            let next: Vec<&str> = self
                .writes
                .iter()
                .filter(|(from, _)| ours.contains(from.as_str()))
                .map(|(_, to)| to.as_str())
                .collect();
            ours.extend(next);
        }
        ours.contains(hash)
    }
}

/// The object that keeps the originals of a ConfigMap's or Secret's keys.
pub(crate) fn kept_name(key: &ConfigKey) -> String {
    // Longer names than Kubernetes takes are not made up here: two of them could not be told apart.
    format!("{}-crossfade-kept", key.name)
}

/// Where the original of a key is kept for a migration, as an operator finds it: the object and the key in it.
pub fn kept_in(key: &ConfigKey, migration: &str) -> String {
    let ConfigKey {
        is_secret, key: name, ..
    } = key;
    let kept = ConfigKey {
        is_secret: *is_secret,
        name: kept_name(key),
        key: format!("{}.{name}.original", short(migration)),
    };
    kept.to_string()
}

/// A migration's id may have any characters, a key of a ConfigMap may not.
pub(super) fn short(migration: &str) -> String {
    sha256(migration.as_bytes()).chars().take(12).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One look at an object.
pub(super) struct Look {
    version: Option<String>,
    pub(super) content: Content,
    by: String,
}

impl Kubernetes {
    /// Reads a key.
    ///
    /// # Errors
    /// It is not there, or may not be read.
    pub async fn read(&self, key: &ConfigKey) -> Result<Content, KubernetesError> {
        let client = self.client().await?;
        Ok(self.look(&client, key).await?.content)
    }

    /// Replaces a key's content, if it still is the one with hash `expected_sha256`, and says whether anything was to be done.
    /// The original is kept first. May be repeated, also after a crash at any point.
    ///
    /// # Errors
    /// [`KubernetesError::Changed`] when the key has other content; otherwise why it cannot be written.
    pub async fn write_if_unchanged(
        &self,
        key: &ConfigKey,
        expected_sha256: &str,
        new: &[u8],
        migration: &str,
    ) -> Result<bool, KubernetesError> {
        let client = self.client().await?;
        let wanted = sha256(new);
        for _ in 0..TRIES {
            let look = self.look(&client, key).await?;
            if look.content.sha256 == wanted {
                return Ok(false);
            }
            if look.content.sha256 != expected_sha256 {
                return Err(KubernetesError::Changed {
                    key: Box::new(key.clone()),
                    by: look.by,
                    expected: expected_sha256.to_owned(),
                    found: look.content.sha256,
                });
            }
            self.keep(&client, key, &look.content, &wanted, migration).await?;
            if self.put(&client, key, look.version.as_deref(), new).await? {
                return Ok(true);
            }
        }
        Err(self.too_busy("patch", key))
    }

    /// Gives a key its original bytes back, if all that changed it since is this migration. May be repeated.
    ///
    /// # Errors
    /// [`KubernetesError::Conflict`] when someone else changed it, before or between our writes.
    pub async fn restore(&self, key: &ConfigKey, migration: &str) -> Result<GivenBack, KubernetesError> {
        let client = self.client().await?;
        for _ in 0..TRIES {
            let look = self.look(&client, key).await?;
            let Some((journal, original)) = self.load(&client, key, migration).await? else {
                return Ok(GivenBack::NeverWritten);
            };
            if look.content.sha256 == journal.original {
                return Ok(GivenBack::AlreadyOriginal);
            }
            if !journal.is_ours(&look.content.sha256) {
                return Err(KubernetesError::Conflict {
                    key: Box::new(key.clone()),
                    by: look.by,
                    kept: kept_in(key, migration),
                });
            }
            if self.put(&client, key, look.version.as_deref(), &original).await? {
                return Ok(GivenBack::Restored);
            }
        }
        Err(self.too_busy("patch", key))
    }

    /// The content that the key had before this migration first wrote it; `None` when it never did.
    ///
    /// # Errors
    /// When what is kept cannot be read, or is damaged.
    pub async fn kept_copy(&self, key: &ConfigKey, migration: &str) -> Result<Option<Vec<u8>>, KubernetesError> {
        let client = self.client().await?;
        let kept = self.load(&client, key, migration).await?;
        Ok(kept.map(|(_, original)| original))
    }

    /// Whether the key could be written, as far as the object itself tells.
    ///
    /// # Errors
    /// [`KubernetesError::Immutable`], and those of reading it.
    pub async fn check_writable(&self, key: &ConfigKey) -> Result<(), KubernetesError> {
        let client = self.client().await?;
        let object = self.get(&client, key, &key.name).await?;
        if object.and_then(|object| object.data.get("immutable")?.as_bool()) == Some(true) {
            return Err(KubernetesError::Immutable { key: key.clone() });
        }
        Ok(())
    }

    pub(super) async fn look(&self, client: &kube::Client, key: &ConfigKey) -> Result<Look, KubernetesError> {
        let object = self.get(client, key, &key.name).await?;
        let object = object.ok_or_else(|| KubernetesError::NotFound {
            what: format!("{}/{}", key.kind(), key.name),
            namespace: self.namespace.clone(),
        })?;
        let bytes = data_of(&object, key.is_secret, &key.key).ok_or_else(|| KubernetesError::NoKey {
            key: key.clone(),
            there: object
                .data
                .get("data")
                .and_then(Value::as_object)
                .map(|data| data.keys().cloned().collect())
                .unwrap_or_default(),
        })?;
        Ok(Look {
            version: object.metadata.resource_version.clone(),
            by: last_changed_by(&object, &key.key),
            content: Content {
                sha256: sha256(&bytes),
                bytes,
                helm: helm(&object.metadata),
            },
        })
    }

    /// An object of the same kind as the key's; `None` when there is none.
    pub(super) async fn get(
        &self,
        client: &kube::Client,
        key: &ConfigKey,
        name: &str,
    ) -> Result<Option<DynamicObject>, KubernetesError> {
        let asked = self.objects(client, &key.resource()).get_opt(name).await;
        asked.map_err(|error| self.failed(&Right::on_key("get", key, name), error))
    }

    /// Writes a key of an object that still has this version; `false` when it has another one meanwhile.
    async fn put(
        &self,
        client: &kube::Client,
        key: &ConfigKey,
        version: Option<&str>,
        bytes: &[u8],
    ) -> Result<bool, KubernetesError> {
        let data = BTreeMap::from([(key.key.clone(), bytes.to_vec())]);
        self.patch(client, key, &key.name, version, &data).await
    }

    pub(super) async fn patch(
        &self,
        client: &kube::Client,
        key: &ConfigKey,
        name: &str,
        version: Option<&str>,
        data: &BTreeMap<String, Vec<u8>>,
    ) -> Result<bool, KubernetesError> {
        let right = Right::on_key("patch", key, name);
        let change = Patch::Merge(json!({
            "metadata": {"resourceVersion": version},
            "data": in_json(key, data)?,
        }));
        let parameters = PatchParams {
            field_manager: Some(super::rollout::MANAGER.to_owned()),
            ..PatchParams::default()
        };
        match self
            .objects(client, &key.resource())
            .patch(name, &parameters, &change)
            .await
        {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(self.failed(&right, error)),
        }
    }

    /// Keeps the content as it is now, unless this migration keeps it already, and notes the write that is about to be done.
    async fn keep(
        &self,
        client: &kube::Client,
        key: &ConfigKey,
        now: &Content,
        wanted: &str,
        migration: &str,
    ) -> Result<(), KubernetesError> {
        for _ in 0..TRIES {
            let object = self.get(client, key, &kept_name(key)).await?;
            let kept = object
                .as_ref()
                .map(|object| understood(object, key, migration))
                .transpose()?
                .flatten();
            let is_new = kept.is_none();
            let mut journal = kept.map_or_else(
                || Journal {
                    migration: migration.to_owned(),
                    key: key.key.clone(),
                    original: now.sha256.clone(),
                    writes: Vec::new(),
                },
                |(journal, _)| journal,
            );
            let write = (now.sha256.clone(), wanted.to_owned());
            if journal.writes.contains(&write) {
                return Ok(());
            }
            journal.writes.push(write);
            let (at_original, at_journal) = places(key, migration);
            let mut data = BTreeMap::from([(at_journal, json!(journal).to_string().into_bytes())]);
            if is_new {
                data.insert(at_original, now.bytes.clone());
            }
            let done = match object {
                Some(object) => {
                    let version = object.metadata.resource_version;
                    self.patch(client, key, &kept_name(key), version.as_deref(), &data)
                        .await?
                }
                None => self.create_kept(client, key, &data).await?,
            };
            if done {
                return Ok(());
            }
        }
        Err(self.too_busy("patch", key))
    }

    /// `false` when there is one meanwhile.
    pub(super) async fn create_kept(
        &self,
        client: &kube::Client,
        key: &ConfigKey,
        data: &BTreeMap<String, Vec<u8>>,
    ) -> Result<bool, KubernetesError> {
        let resource = key.resource();
        let mut object = DynamicObject::new(&kept_name(key), &resource).data(json!({"data": in_json(key, data)?}));
        let ours = (
            "app.kubernetes.io/managed-by".to_owned(),
            super::rollout::MANAGER.to_owned(),
        );
        object.metadata.labels = Some(BTreeMap::from([ours]));
        let parameters = PostParams {
            field_manager: Some(super::rollout::MANAGER.to_owned()),
            ..PostParams::default()
        };
        match self.objects(client, &resource).create(&parameters, &object).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(self.failed(&Right::on_key("create", key, ""), error)),
        }
    }

    pub(super) async fn load(
        &self,
        client: &kube::Client,
        key: &ConfigKey,
        migration: &str,
    ) -> Result<Option<(Journal, Vec<u8>)>, KubernetesError> {
        let object = self.get(client, key, &kept_name(key)).await?;
        Ok(object
            .map(|object| understood(&object, key, migration))
            .transpose()?
            .flatten())
    }

    pub(super) fn too_busy(&self, verb: &'static str, key: &ConfigKey) -> KubernetesError {
        KubernetesError::Refused {
            doing: Right::on_key(verb, key, &key.name),
            message: format!("it was changed by others each of {TRIES} times between reading and writing it"),
            status: 429,
        }
    }
}

/// Under which keys the original and the journal are kept.
fn places(key: &ConfigKey, migration: &str) -> (String, String) {
    let at = |what: &str| format!("{}.{}.{what}", short(migration), key.key);
    (at("original"), at("journal"))
}

/// What an object keeps of a key, proven to be it.
fn understood(
    object: &DynamicObject,
    key: &ConfigKey,
    migration: &str,
) -> Result<Option<(Journal, Vec<u8>)>, KubernetesError> {
    let (at_original, at_journal) = places(key, migration);
    let Some(journal) = data_of(object, key.is_secret, &at_journal) else {
        return Ok(None);
    };
    let damaged = |fault: String| KubernetesError::KeptDamaged {
        kept: format!("{}/{}", key.kind(), kept_name(key)),
        fault,
    };
    let journal: Journal =
        serde_json::from_slice(&journal).map_err(|error| damaged(format!("{at_journal}: {error}")))?;
    match data_of(object, key.is_secret, &at_original) {
        Some(original) if sha256(&original) == journal.original => Ok(Some((journal, original))),
        _ => Err(damaged(format!("{at_original} is not what {at_journal} says"))),
    }
}

pub(super) fn data_of(object: &DynamicObject, is_secret: bool, key: &str) -> Option<Vec<u8>> {
    let value = object.data.get("data")?.get(key)?;
    if is_secret {
        serde_json::from_value::<ByteString>(value.clone())
            .ok()
            .map(|bytes| bytes.0)
    } else {
        value.as_str().map(|text| text.as_bytes().to_vec())
    }
}

fn in_json(key: &ConfigKey, data: &BTreeMap<String, Vec<u8>>) -> Result<Value, KubernetesError> {
    let one = |bytes: &Vec<u8>| {
        if key.is_secret {
            Ok(json!(ByteString(bytes.clone())))
        } else {
            String::from_utf8(bytes.clone())
                .map(Value::String)
                .map_err(|_| KubernetesError::Refused {
                    doing: Right::on_key("patch", key, &key.name),
                    message: "a ConfigMap's data is UTF-8 text, and this is not".to_owned(),
                    status: 422,
                })
        }
    };
    let fields = data.iter().map(|(key, bytes)| Ok((key.clone(), one(bytes)?)));
    Ok(Value::Object(fields.collect::<Result<_, KubernetesError>>()?))
}

/// Who wrote the key last and when, as the API server notes it for each field, with a blank before; empty where it does not.
fn last_changed_by(object: &DynamicObject, key: &str) -> String {
    let field = format!("f:{key}");
    let entries = object.metadata.managed_fields.iter().flatten();
    entries
        .filter(|entry| {
            let fields = entry.fields_v1.as_ref().and_then(|fields| fields.0.get("f:data"));
            fields.is_some_and(|data| data.get(&field).is_some())
        })
        .filter_map(|entry| Some((&entry.time.as_ref()?.0, entry.manager.as_ref()?)))
        .max_by_key(|(time, _)| **time)
        .map(|(time, manager)| format!(" by `{manager}` at {time}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_ours_when_our_writes_alone_lead_to_it() {
        let step = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let journal = Journal {
            migration: "m".to_owned(),
            key: "k".to_owned(),
            original: "a".to_owned(),
            writes: vec![step("b", "c"), step("a", "b"), step("x", "y")],
        };
        for (hash, ours) in [
            ("a", true),
            ("b", true),
            ("c", true),
            ("x", false),
            ("y", false),
            ("z", false),
        ] {
            assert_eq!(journal.is_ours(hash), ours, "{hash}");
        }
    }

    #[test]
    fn what_is_kept_is_found_by_its_name() {
        let key: ConfigKey = "secret/temporal/production.yaml".parse().expect("a key");
        let kept = kept_in(&key, "a migration/ü");
        assert!(
            kept.starts_with("secret/temporal-crossfade-kept/") && kept.ends_with(".production.yaml.original"),
            "{kept}"
        );
        assert!(kept.parse::<ConfigKey>().is_ok(), "{kept}");
    }
}
