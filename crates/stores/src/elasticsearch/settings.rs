//! What an index does for its readers at every write, set aside while it is filled: making what was written visible every
//! second, and keeping copies of it on other nodes.
//!
//! # They come back
//!
//! What is set aside is noted in the index's own settings, and one request both notes and changes, as one later both
//! restores and takes the note away: a cluster applies the settings of one request in one step or not at all, so that
//! there is no moment at which a setting is changed and its former value nowhere. The note is a filter of shard
//! allocation by an attribute that no node has: free text to the cluster, which moves nothing because of it, needs no
//! further right and leaves nothing behind. (The mapping's `_meta` cannot be taken away again, and changes in a step of
//! its own.) A setting that somebody changed meanwhile is left as it is.

use async_trait::async_trait;
use crossfade_visibility::copy::Watch;
use crossfade_visibility::indexing::{Indexing, Pace, Parked, Rebuilding, Rebuilt, Setting, Survey};
use crossfade_visibility::ports::Error;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::Elasticsearch;
use super::client::{Body, Call, USUAL};

/// Where the note is.
const NOTE: &str = "index.routing.allocation.exclude.crossfade_parked";

/// What is set aside, each with its value meanwhile. `auto_expand_replicas` (Temporal's template has it at `0-2`) has the
/// cluster change the number of copies by itself.
const ASIDE: [(&str, &str); 3] = [
    ("index.auto_expand_replicas", "false"),
    ("index.number_of_replicas", "0"),
    ("index.refresh_interval", "-1"),
];

/// The settings of an index that are set, flat, as texts.
struct Settings(Map<String, Value>);

impl Settings {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// What is noted as set aside.
    fn noted(&self) -> Option<Vec<Setting>> {
        let note: Map<String, Value> = serde_json::from_str(self.get(NOTE)?).ok()?;
        let setting = |(name, value): (String, Value)| Setting {
            name,
            value: value.as_str().map(str::to_owned),
        };
        Some(note.into_iter().map(setting).collect())
    }

    /// What could be set aside, as it is now.
    fn active(&self) -> Vec<Setting> {
        let is_active = |name: &str, aside: &str| match (name, self.get(name)) {
            // Without it the number of copies is fixed, which is what it would be set to.
            ("index.auto_expand_replicas", None) => false,
            (_, value) => value != Some(aside),
        };
        let active = ASIDE.iter().filter(|(name, aside)| is_active(name, aside));
        let setting = |(name, _): &(&str, &str)| Setting {
            name: (*name).to_owned(),
            value: self.get(name).map(str::to_owned),
        };
        active.map(setting).collect()
    }

    /// Those of `parked` that are as they were set meanwhile.
    fn still_aside<'a>(&self, parked: &'a [Setting]) -> Vec<&'a Setting> {
        let is_aside = |setting: &&Setting| {
            let aside = ASIDE.iter().find(|(name, _)| *name == setting.name);
            aside
                .is_some_and(|(name, aside)| self.get(name) == Some(*aside) && setting.value.as_deref() != Some(*aside))
        };
        parked.iter().filter(is_aside).collect()
    }
}

impl Elasticsearch {
    async fn settings(&self) -> Result<Settings, Error> {
        let path = format!("{}/_settings", self.index);
        let answer = self
            .cluster
            .ask(Call {
                query: &[("flat_settings", "true")],
                ..Call::get(path)
            })
            .await?;
        let mut indices = answer.as_object().into_iter().flatten();
        match (indices.next(), indices.next()) {
            (Some((_, index)), None) => Ok(Settings(index["settings"].as_object().cloned().unwrap_or_default())),
            _ => Err(Error::Schema {
                store: self.cluster.name.clone(),
                reason: "its name stands for several indices".to_owned(),
            }),
        }
    }

    /// Changes settings in one step; null takes one away.
    async fn set(&self, settings: &Map<String, Value>) -> Result<(), Error> {
        let call = Call {
            method: Method::PUT,
            path: format!("{}/_settings", self.index),
            query: &[],
            body: Body::Json(json!(settings).to_string()),
            timeout: USUAL,
        };
        self.cluster.ask(call).await.map(drop)
    }
}

#[async_trait]
impl Indexing for Elasticsearch {
    async fn survey(&self) -> Result<Survey, Error> {
        let settings = self.settings().await?;
        Ok(Survey {
            present: settings.active().len() as u64,
            parked: settings.noted().map_or(0, |noted| noted.len() as u64),
            // Whether settings may be changed shows in changing one, which a look never does.
            refusal: None,
        })
    }

    async fn park(&self) -> Result<Parked, Error> {
        let settings = self.settings().await?;
        if let Some(settings) = settings.noted() {
            return Ok(Parked {
                settings,
                ..Parked::default()
            });
        }
        let active = settings.active();
        if !active.is_empty() {
            let note: Map<String, Value> = active
                .iter()
                .map(|setting| (setting.name.clone(), json!(setting.value)))
                .collect();
            let mut change = Map::from_iter([(NOTE.to_owned(), json!(Value::Object(note).to_string()))]);
            for (name, aside) in ASIDE {
                if active.iter().any(|setting| setting.name == name) {
                    change.insert(name.to_owned(), json!(aside));
                }
            }
            self.set(&change).await?;
        }
        Ok(Parked {
            settings: active,
            ..Parked::default()
        })
    }

    async fn restore(&self, parked: &Parked, _pace: Pace, watch: &mut dyn Watch<Rebuilding>) -> Result<Rebuilt, Error> {
        let settings = self.settings().await?;
        let noted = settings.noted();
        let aside = noted.as_deref().unwrap_or(&parked.settings);
        let still_aside = settings.still_aside(aside);
        let mut change: Map<String, Value> = still_aside
            .iter()
            .map(|setting| (setting.name.clone(), json!(setting.value)))
            .collect();
        // Also one that cannot be read.
        if settings.get(NOTE).is_some() {
            change.insert(NOTE.to_owned(), Value::Null);
        }
        if !change.is_empty() {
            self.set(&change).await?;
            // What was written meanwhile is seen from here on.
            self.refresh().await?;
        }
        let built = still_aside.len() as u64;
        let progress = Rebuilding {
            total: aside.len() as u64,
            built: aside.len() as u64,
            ..Rebuilding::default()
        };
        // It is done whatever the watch says.
        let _ = watch.page(&progress);
        Ok(Rebuilt {
            built,
            slowly: 0,
            finished: true,
        })
    }
}
