//! Reads values through aliases and merge keys the way the server does, keeping the place each was written at.

use serde_json::{Map, Value};

use crate::outline::{Entry, Kind, Node, Outline, ScalarStyle};

/// Fields that the server reads into Go strings (1.30.8:common/config/config.go, elasticsearch/client/config.go,
/// common/auth/tls.go). For these `password: 012345` is the text as written, not a number.
const TEXT_FIELDS: [&str; 41] = [
    "accessKeyID",
    "address",
    "bindOnIP",
    "broadcastAddress",
    "caData",
    "caFile",
    "certData",
    "certFile",
    "connectAddr",
    "connectProtocol",
    "consistency",
    "credentialProvider",
    "databaseName",
    "datacenter",
    "defaultStore",
    "filepath",
    "host",
    "hosts",
    "indexName",
    "keyData",
    "keyFile",
    "keyspace",
    "logLevel",
    "name",
    "password",
    "path",
    "pluginName",
    "region",
    "scheme",
    "secondaryVisibilityStore",
    "secretAccessKey",
    "serialConsistency",
    "serverName",
    "token",
    "translator",
    "user",
    "username",
    "version",
    "visibilityStore",
    "advancedVisibilityStore",
    "awsRegion",
];

/// Fields that the server reads into a map from string to string.
const TEXT_MAPS: [&str; 3] = ["connectAttributes", "indices", "options"];

/// An entry found by key, perhaps through a merge key.
pub(crate) struct Found<'a> {
    pub(crate) entry: &'a Entry,
    /// Whether the entry stands in the mapping itself rather than in one merged into it.
    pub(crate) own: bool,
}

impl Outline {
    /// The node that an alias stands for; any other node is itself.
    pub(crate) fn follow<'a>(&'a self, node: &'a Node) -> &'a Node {
        let mut node = node;
        // Each step goes back in the text, so this ends.
        while let Kind::Alias(name) = &node.kind {
            let before = node.range.start;
            let mut target = None;
            self.root.walk(&mut |n| {
                if n.anchor.as_deref() == Some(name) && n.range.start < before {
                    target = Some(n);
                }
            });
            match target {
                Some(found) => node = found,
                None => break,
            }
        }
        node
    }

    /// The entry for `key` as the server sees it: the mapping's own, else the first merged one that has it.
    pub(crate) fn find<'a>(&'a self, map: &'a Node, key: &str) -> Option<Found<'a>> {
        self.effective(map)
            .into_iter()
            .find(|found| found.entry.key.as_deref() == Some(key))
    }

    /// All entries of a mapping as the server sees them: its own, then those merged into it.
    pub(crate) fn effective<'a>(&'a self, map: &'a Node) -> Vec<Found<'a>> {
        let map = self.follow(map);
        let mut entries: Vec<Found<'a>> = Vec::new();
        let is_merge = |e: &Entry| e.key.as_deref() == Some("<<");
        entries.extend(
            map.entries()
                .iter()
                .filter(|e| !is_merge(e))
                .map(|entry| Found { entry, own: true }),
        );
        for merge in map.entries().iter().filter(|e| is_merge(e)) {
            let source = self.follow(&merge.value);
            let sources: Vec<&Node> = match &source.kind {
                Kind::Seq { items, .. } => items.iter().map(|i| &i.value).collect(),
                _ => vec![source],
            };
            for inherited in sources.into_iter().flat_map(|s| self.effective(s)) {
                if !entries.iter().any(|e| e.entry.key == inherited.entry.key) {
                    entries.push(Found {
                        entry: inherited.entry,
                        own: false,
                    });
                }
            }
        }
        entries
    }

    /// A scalar's text as a Go string field gets it; `None` for a collection, an empty or null value, or `""`.
    pub(crate) fn text(&self, node: &Node) -> Option<String> {
        match &self.follow(node).kind {
            Kind::Scalar { text, style } => {
                let null = *style == ScalarStyle::Plain && matches!(text.as_str(), "~" | "null" | "Null" | "NULL");
                (!null && !text.is_empty()).then(|| text.clone())
            }
            _ => None,
        }
    }

    /// The value as JSON, each field typed as the server reads it.
    pub(crate) fn json(&self, node: &Node) -> Value {
        self.json_of(node, false, false)
    }

    fn json_of(&self, node: &Node, text_field: bool, text_map: bool) -> Value {
        let node = self.follow(node);
        match &node.kind {
            Kind::Map { .. } => {
                let mut object = Map::new();
                for found in self.effective(node) {
                    let Some(key) = &found.entry.key else { continue };
                    let text_field = text_map || TEXT_FIELDS.contains(&key.as_str());
                    let value = self.json_of(&found.entry.value, text_field, TEXT_MAPS.contains(&key.as_str()));
                    object.insert(key.clone(), value);
                }
                Value::Object(object)
            }
            Kind::Seq { items, .. } => items
                .iter()
                .map(|i| self.json_of(&i.value, text_field, false))
                .collect(),
            Kind::Scalar {
                text,
                style: ScalarStyle::Plain,
            } => match yaml_serde::from_str::<Value>(text) {
                Ok(Value::Null) if text_field => Value::String(String::new()),
                Ok(typed) if !text_field && node.tag.is_none() && !typed.is_object() => typed,
                _ => Value::String(text.clone()),
            },
            Kind::Scalar { text, .. } => Value::String(text.clone()),
            Kind::Empty if text_field => Value::String(String::new()),
            Kind::Empty | Kind::Alias(_) => Value::Null,
        }
    }

    /// The path of the first value that reads differently here than in `meaning`, the other parser's view.
    ///
    /// Numbers and the like count as equal to any text: fields that the server reads as text are text here.
    pub(crate) fn first_disagreement(&self, node: &Node, meaning: &yaml_serde::Value, path: &str) -> Option<String> {
        fn walk(json: &Value, meaning: &yaml_serde::Value, path: &str) -> Option<String> {
            use yaml_serde::Value as Yaml;
            let agree = match (json, meaning) {
                (Value::Object(object), Yaml::Mapping(mapping)) => {
                    let below = |key: &str| format!("{path}.{key}");
                    let known = |(key, value): (&String, &Value)| match mapping.get(key.as_str()) {
                        Some(meaning) => walk(value, meaning, &below(key)),
                        None => mapping.keys().all(Yaml::is_string).then(|| below(key)),
                    };
                    match object.iter().find_map(known) {
                        Some(path) => return Some(path),
                        None => object.len() == mapping.len(),
                    }
                }
                (Value::Array(items), Yaml::Sequence(meanings)) if items.len() == meanings.len() => {
                    return items
                        .iter()
                        .zip(meanings)
                        .enumerate()
                        .find_map(|(i, (item, meaning))| walk(item, meaning, &format!("{path}[{i}]")));
                }
                (Value::String(text), Yaml::String(meaning)) => text == meaning,
                (Value::Object(_) | Value::Array(_), _) | (_, Yaml::Mapping(_) | Yaml::Sequence(_)) => false,
                _ => true,
            };
            (!agree).then(|| path.to_owned())
        }
        walk(&self.json(node), meaning, path)
    }

    /// How the given mapping is shared with another place, if it is: an anchor on it that an alias uses.
    pub(crate) fn shared(&self, node: &Node) -> Option<String> {
        let anchor = node.anchor.as_deref()?;
        let mut alias_line = None;
        self.root.walk(&mut |n| {
            if matches!(&n.kind, Kind::Alias(name) if name == anchor) && n.range.start > node.range.start {
                alias_line.get_or_insert(self.line(n.range.start));
            }
        });
        let alias_line = alias_line?;
        Some(format!(
            "anchor &{anchor} on line {}, used on line {alias_line}",
            self.line(node.range.start)
        ))
    }

    /// Like [`Outline::shared`] for this node and everything in it, aliases inside the node itself excepted.
    pub(crate) fn shared_below(&self, node: &Node) -> Option<String> {
        let mut anchors: Vec<(&str, usize)> = Vec::new();
        node.walk(&mut |n| {
            if let Some(anchor) = &n.anchor {
                anchors.push((anchor, n.range.start));
            }
        });
        let mut how = None;
        self.root.walk(&mut |n| {
            let Kind::Alias(name) = &n.kind else { return };
            let outside = n.range.start >= node.range.end;
            if let (true, Some((anchor, at)), None) = (outside, anchors.iter().find(|(a, _)| a == name), &how) {
                how = Some(format!(
                    "anchor &{anchor} on line {}, used on line {}",
                    self.line(*at),
                    self.line(n.range.start)
                ));
            }
        });
        how
    }
}
