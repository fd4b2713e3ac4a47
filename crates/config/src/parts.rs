//! The parts of a host's files that are meant to be the same on every host of a cluster, each as a short fingerprint.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::dynamic_config::DynamicConfig;
use crate::file::sha256;
use crate::secrets::redact;
use crate::static_config::StaticConfig;

/// What is compared as a whole, besides `persistence`: `services`, `global` and `log` belong to each host alone.
const WHOLE: [&str; 3] = ["archival", "clusterMetadata", "dynamicConfigClient"];

/// How much of a hash tells two parts apart, in hexadecimal digits.
const DIGITS: usize = 12;

impl StaticConfig {
    /// What stands under `persistence`, each datastore by itself, and in three other sections, by its path. Secrets do not
    /// count: two hosts may have different passwords for one store.
    pub fn parts(&self) -> BTreeMap<String, String> {
        let mut parts = BTreeMap::new();
        for (name, datastore) in self.datastores() {
            parts.insert(format!("persistence.datastores.{name}"), fingerprint(&datastore.value));
        }
        let plain = |value: &yaml_serde::Value| serde_json::to_value(value).ok();
        let persistence = self.meaning.get("persistence").and_then(plain);
        for (key, value) in persistence.as_ref().and_then(Value::as_object).into_iter().flatten() {
            if key != "datastores" {
                parts.insert(format!("persistence.{key}"), fingerprint(value));
            }
        }
        for section in WHOLE {
            if let Some(value) = self.meaning.get(section).and_then(plain) {
                parts.insert(section.to_owned(), fingerprint(&value));
            }
        }
        parts
    }
}

impl DynamicConfig {
    /// The whole file's meaning; equal where two files set the same keys to the same values, in whatever order.
    pub fn fingerprint(&self) -> String {
        let value = serde_json::to_value(&self.meaning).unwrap_or_default();
        fingerprint(&value)
    }
}

fn fingerprint(value: &Value) -> String {
    let mut text = String::new();
    in_order(&redact(value), &mut text);
    sha256(text.as_bytes()).chars().take(DIGITS).collect()
}

/// A value as text, whatever the order of its keys was.
fn in_order(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            for (key, value) in sorted {
                text.push_str(&format!("{key:?}:("));
                in_order(value, text);
                text.push(')');
            }
        }
        Value::Array(items) => {
            for item in items {
                text.push('[');
                in_order(item, text);
                text.push(']');
            }
        }
        plain => text.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> BTreeMap<String, String> {
        let text = format!("services: {{frontend: {{rpc: {{grpcPort: 1}}}}}}\n{text}");
        StaticConfig::parse("a.yaml", text.as_bytes()).expect("read").parts()
    }

    #[test]
    fn parts_are_told_apart_by_what_they_mean() {
        let one = parts(
            "persistence:\n  defaultStore: main\n  numHistoryShards: 4\n  datastores:\n    main: {sql: {pluginName: sqlite, \
             password: one, databaseName: a}}\n",
        );
        assert_eq!(
            one.keys().map(String::as_str).collect::<Vec<_>>(),
            [
                "persistence.datastores.main",
                "persistence.defaultStore",
                "persistence.numHistoryShards"
            ]
        );
        // Another order, another way to write it, another password.
        let same = parts(
            "# ours\npersistence:\n  numHistoryShards: 4\n  datastores:\n    main:\n      sql:\n        databaseName: a\n        \
             password: two\n        pluginName: \"sqlite\"\n  defaultStore: 'main'\n",
        );
        assert_eq!(one, same);
        let other = parts(
            "persistence:\n  defaultStore: main\n  numHistoryShards: 8\n  datastores:\n    main: {sql: {pluginName: sqlite, \
             password: one, databaseName: b}}\ndynamicConfigClient: {filepath: x, pollInterval: 5s}\n",
        );
        let differ: Vec<&str> = other
            .iter()
            .filter(|(path, print)| one.get(*path) != Some(*print))
            .map(|(path, _)| path.as_str())
            .collect();
        assert_eq!(
            differ,
            [
                "dynamicConfigClient",
                "persistence.datastores.main",
                "persistence.numHistoryShards"
            ]
        );
    }

    #[test]
    fn dynamic_configs_are_compared_by_meaning() {
        let print = |text: &str| {
            DynamicConfig::parse("d.yaml", text.as_bytes())
                .expect("read")
                .fingerprint()
        };
        let one = print("a.b:\n  - value: 1\nc.d:\n  - value: true\n");
        assert_eq!(one, print("# ours\nc.d: [{value: true}]\na.b: [{value: 1}]\n"));
        assert_ne!(one, print("a.b:\n  - value: 2\nc.d:\n  - value: true\n"));
    }
}
