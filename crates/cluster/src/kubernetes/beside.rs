//! What else is kept beside a key, in the object that keeps its original: how the key stands to what a migration keeps of it, and
//! notes for a way back without that migration.

use std::collections::BTreeMap;

use serde_json::Value;

use super::keys::{TRIES, data_of, kept_name, short};
use super::{ConfigKey, Kubernetes, KubernetesError};

/// How a key stands to what a migration keeps of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStanding {
    /// This migration never wrote it.
    NeverWritten,
    /// It has its original bytes.
    Original,
    /// It is as the migration wrote it.
    Ours,
    /// Somebody else changed it since.
    Others,
}

/// The name that a note has in the object: a migration's id may have any characters, a key of a ConfigMap may not.
fn place(migration: &str, name: &str) -> String {
    format!("{}.{name}", short(migration))
}

impl Kubernetes {
    /// How a key stands to what `migration` keeps of it. Changes nothing.
    ///
    /// # Errors
    /// The key, or what is kept of it, cannot be read or is damaged.
    pub async fn standing(&self, key: &ConfigKey, migration: &str) -> Result<KeyStanding, KubernetesError> {
        let client = self.client().await?;
        let now = self.look(&client, key).await?.content.sha256;
        Ok(match self.load(&client, key, migration).await? {
            None => KeyStanding::NeverWritten,
            Some((journal, _)) if journal.original == now => KeyStanding::Original,
            Some((journal, _)) if journal.is_ours(&now) => KeyStanding::Ours,
            Some(_) => KeyStanding::Others,
        })
    }

    /// Keeps a note of `migration` beside a key, in place of one of the same name, and says where: the object and the key in it.
    /// `name` consists of letters, digits, `-`, `_` and `.`. May be repeated.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn keep_note(
        &self,
        key: &ConfigKey,
        migration: &str,
        name: &str,
        bytes: &[u8],
    ) -> Result<ConfigKey, KubernetesError> {
        let client = self.client().await?;
        let at = ConfigKey {
            is_secret: key.is_secret,
            name: kept_name(key),
            key: place(migration, name),
        };
        let data = BTreeMap::from([(at.key.clone(), bytes.to_vec())]);
        for _ in 0..TRIES {
            let object = self.get(&client, key, &at.name).await?;
            let done = match object {
                Some(object) if data_of(&object, key.is_secret, &at.key).as_deref() == Some(bytes) => true,
                Some(object) => {
                    let version = object.metadata.resource_version;
                    self.patch(&client, key, &at.name, version.as_deref(), &data).await?
                }
                None => self.create_kept(&client, key, &data).await?,
            };
            if done {
                return Ok(at);
            }
        }
        Err(self.too_busy("patch", key))
    }

    /// Every note beside a key whose name ends in `ending`, of all migrations, by where it is.
    ///
    /// # Errors
    /// The object that has them cannot be read.
    pub async fn notes(&self, key: &ConfigKey, ending: &str) -> Result<Vec<(ConfigKey, Vec<u8>)>, KubernetesError> {
        let client = self.client().await?;
        let object = self.get(&client, key, &kept_name(key)).await?;
        let names = object.iter().flat_map(|object| {
            let data = object.data.get("data").and_then(Value::as_object);
            data.into_iter().flatten().map(|(name, _)| name)
        });
        let found = names.filter(|name| name.ends_with(ending)).filter_map(|name| {
            let at = ConfigKey {
                is_secret: key.is_secret,
                name: kept_name(key),
                key: name.clone(),
            };
            let bytes = data_of(object.as_ref()?, key.is_secret, name)?;
            Some((at, bytes))
        });
        Ok(found.collect())
    }
}

impl ConfigKey {
    /// The command that writes its content to the standard output, in a namespace and by a context of the kubeconfig.
    pub fn printed_by(&self, kubernetes: &Kubernetes) -> String {
        let option =
            |name: &str, value: Option<String>| value.map_or_else(String::new, |value| format!(" {name} '{value}'"));
        let kubeconfig = kubernetes.kubeconfig.as_ref().map(|path| path.display().to_string());
        let decoded = if self.is_secret { " | base64decode" } else { "" };
        format!(
            "kubectl -n '{}'{}{} get {} {} -o go-template='{{{{index .data \"{}\"{decoded}}}}}'",
            kubernetes.namespace,
            option("--context", kubernetes.context.clone()),
            option("--kubeconfig", kubeconfig),
            self.kind(),
            self.name,
            self.key,
        )
    }
}
