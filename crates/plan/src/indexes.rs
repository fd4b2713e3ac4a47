//! The target's indexes: whether they are set aside while records are copied, what is set aside, and whether it is back.
//!
//! Filling a table with all of its indexes takes several times as long as filling it without and building them
//! afterwards. What is set aside is written down in the store, in the step that takes it away, and here, in the
//! workflow's own state: whatever becomes of the migration, one of the two is left.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    order::{Context, StoreFact, StoreFacts},
    spec::{DeferIndexes, Spec},
};

/// From how many records to copy on it pays: building some seventy indexes over next to nothing takes seconds, too.
pub const WORTH_FROM: u64 = 20_000;

/// A target is nearly empty while it holds at most this part of what is to come: all that it holds is indexed anew.
const NEARLY_EMPTY: u64 = 10;

/// What a store says of its indexes, or of the settings that have it work for readers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IndexFact {
    /// How many could be set aside.
    pub present: u64,
    /// How many are set aside, by an earlier run, and were never brought back.
    pub parked: u64,
    /// Why they cannot be set aside, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

/// What is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Indexes of a table, dropped and built again.
    #[default]
    Indexes,
    /// Settings of an index: how often what was written is made visible, and how many copies are kept.
    Settings,
}

impl What {
    fn of(spec: &Spec) -> Self {
        if spec.target.datastore.contains_key("elasticsearch") {
            Self::Settings
        } else {
            Self::Indexes
        }
    }

    /// Their name in sentences.
    pub fn name(self) -> &'static str {
        match self {
            Self::Indexes => "indexes",
            Self::Settings => "settings",
        }
    }

    fn brought_back(self) -> &'static str {
        match self {
            Self::Indexes => "built again",
            Self::Settings => "put back",
        }
    }
}

/// What the plan does about the target's indexes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Deferral {
    /// Whether they are set aside while records are copied.
    pub set_aside: bool,
    /// What they are.
    #[serde(default)]
    pub what: What,
    /// How many; absent while the schema is yet to be set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indexes: Option<u64>,
    /// How many records are copied meanwhile, about.
    #[serde(default)]
    pub records: u64,
    /// Why they stay, in words, where they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}

impl Deferral {
    /// What is done about the target's indexes; `None` where there is nothing to decide, since nothing is copied or the
    /// target is of a kind that keeps its indexes. `refreshes` says that the cluster writes most records itself.
    pub(crate) fn decide(spec: &Spec, stores: &StoreFacts, refreshes: bool) -> Option<Self> {
        let target = &stores.target;
        if !spec.existing_records.backfills() || (target.indexes.is_none() && !(is_missing(target) && can(spec))) {
            return None;
        }
        let indexes = target.indexes.as_ref().map(|indexes| indexes.present + indexes.parked);
        let records = stores.source.records.saturating_sub(target.records);
        let kept = match spec.copy.defer_indexes {
            DeferIndexes::Never => Some("copy.defer_indexes is never".to_owned()),
            _ if indexes == Some(0) => Some("it has none that only serve reading".to_owned()),
            DeferIndexes::Always => refusal(target),
            DeferIndexes::Auto if refreshes => Some("most records are refreshed, not copied".to_owned()),
            DeferIndexes::Auto => refusal(target).or_else(|| not_worth(stores.source.records, target.records)),
        };
        Some(Self {
            set_aside: kept.is_none(),
            what: What::of(spec),
            indexes,
            records,
            kept,
        })
    }

    /// In words, for the plan.
    pub fn line(&self) -> String {
        let name = self.what.name();
        match &self.kept {
            Some(why) => format!("{name}: stay while records are copied ({why})"),
            None => format!(
                "{name}: {} set aside while about {} are copied, {} before verify, and on the way back",
                self.count(),
                counted(self.records),
                self.what.brought_back()
            ),
        }
    }

    /// How many, in words.
    pub(crate) fn count(&self) -> String {
        match (self.indexes, self.what) {
            (Some(count), _) => count.to_string(),
            (None, What::Indexes) => "all that only serve reading".to_owned(),
            (None, What::Settings) => "refreshes and replicas".to_owned(),
        }
    }
}

fn counted(records: u64) -> String {
    format!("{records} {}", if records == 1 { "record" } else { "records" })
}

fn is_missing(target: &StoreFact) -> bool {
    target.schema_version.is_none()
}

/// Whether a store that is yet to be set up will be one whose indexes can be set aside.
fn can(spec: &Spec) -> bool {
    if What::of(spec) == What::Settings {
        return true;
    }
    let plugin = spec.target.datastore.get("sql").and_then(|sql| sql.get("pluginName"));
    plugin
        .and_then(|name| name.as_str())
        .is_some_and(|name| name.starts_with("postgres12"))
}

fn refusal(target: &StoreFact) -> Option<String> {
    target.indexes.as_ref().and_then(|indexes| indexes.refusal.clone())
}

/// Why setting indexes aside would save nothing, where it would not: so many records in the source and in the target.
pub fn not_worth(source: u64, target: u64) -> Option<String> {
    let to_copy = source.saturating_sub(target);
    if to_copy < WORTH_FROM {
        return Some(format!(
            "it pays from {WORTH_FROM} records on, and about {to_copy} are to be copied"
        ));
    }
    (target > source / NEARLY_EMPTY).then(|| format!("the target holds {target} records already"))
}

/// What an operator should know of indexes that an earlier run set aside and never brought back.
pub(crate) fn warnings(spec: &Spec, stores: &StoreFacts, deferral: Option<&Deferral>) -> Vec<String> {
    let parked = |store: &StoreFact| store.indexes.as_ref().map_or(0, |indexes| indexes.parked);
    let mut warnings = Vec::new();
    if parked(&stores.source) > 0 {
        warnings.push(format!(
            "{} of the source's indexes or settings were set aside by an earlier run and never brought back; \
             `crossfade indexes --store STORE --restore` brings them back",
            parked(&stores.source)
        ));
    }
    if parked(&stores.target) > 0 {
        let (count, what) = (parked(&stores.target), What::of(spec).name());
        warnings.push(if deferral.is_some_and(|deferral| deferral.set_aside) {
            format!(
                "{count} of the target's {what} were set aside by an earlier run and never brought back; this migration takes \
                 them over and brings them back before verify"
            )
        } else {
            format!(
                "{count} of the target's {what} were set aside by an earlier run and never brought back; {}",
                restore_command(spec)
            )
        });
    }
    warnings
}

/// What brings the target's indexes back by hand, as a sentence.
pub fn restore_command(spec: &Spec) -> String {
    let store = store_url(spec).unwrap_or_else(|| "STORE".to_owned());
    format!("`crossfade indexes --store '{store}' --restore` brings them back")
}

/// The target as the command line takes it, without its password; `None` where a URL does not say all of it.
fn store_url(spec: &Spec) -> Option<String> {
    let entry = &spec.target.datastore;
    let text = |value: &serde_json::Value, name: &str| {
        let value = value.get(name)?.as_str()?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        value.chars().all(plain).then(|| value.to_owned())
    };
    if let Some(sql) = entry.get("sql") {
        let scheme = text(sql, "pluginName").filter(|plugin| plugin.starts_with("postgres"));
        scheme?;
        let (user, address, database) = (
            text(sql, "user")?,
            text(sql, "connectAddr")?,
            text(sql, "databaseName")?,
        );
        return Some(format!("postgres://{user}@{address}/{database}"));
    }
    let elasticsearch = entry.get("elasticsearch")?;
    let (scheme, host) = (
        text(elasticsearch.get("url")?, "scheme")?,
        text(elasticsearch.get("url")?, "host")?,
    );
    let index = text(elasticsearch.get("indices")?, "visibility")?;
    Some(format!("{scheme}://{host}/{index}"))
}

/// Order: set the target's indexes aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParkIndexes {
    /// The migration.
    pub context: Context,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IndexesParked {
    /// What is set aside.
    pub parked: Parked,
    /// Why nothing was set aside, in words, where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}

/// Order: build what is set aside, by this or by what the store itself has written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestoreIndexes {
    /// The migration.
    pub context: Context,
    /// What is known to be set aside; what else the store has written down is built as well.
    pub parked: Parked,
}

/// How far it came.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IndexesRestored {
    /// Whether nothing is set aside any more.
    pub finished: bool,
    /// How many were built.
    pub built: u64,
    /// Of those, how many by the slow way that keeps no writer waiting.
    pub slowly: u64,
}

/// What is set aside: enough to have it again exactly as it was. Holds nothing of any record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Parked {
    /// Indexes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<ParkedIndex>,
    /// Settings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<ParkedSetting>,
}

impl Parked {
    /// How many things are set aside.
    pub fn count(&self) -> u64 {
        (self.indexes.len() + self.settings.len()) as u64
    }
}

/// One index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedIndex {
    /// Its name.
    pub name: String,
    /// The statement that makes it.
    pub statement: String,
    /// Where its files were; absent where the database's are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tablespace: Option<String>,
}

/// One setting as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedSetting {
    /// Its name.
    pub name: String,
    /// Its value; absent where the store's default held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// How far a rebuild is, for a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IndexesBuilt {
    /// How many are there again.
    pub built: u64,
    /// Of how many.
    pub total: u64,
}

/// Where a migration stands with the target's indexes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IndexProgress {
    /// What is set aside, until it is back.
    #[serde(default)]
    pub parked: Parked,
    /// What else is known, which the status shows.
    #[serde(flatten)]
    pub state: IndexState,
}

/// As [`IndexProgress`], without what is set aside.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IndexState {
    /// Whether setting them aside was ordered; from here on they are brought back whatever happens.
    #[serde(default)]
    pub ordered: bool,
    /// What was set aside.
    #[serde(default)]
    pub what: What,
    /// How many.
    #[serde(default)]
    pub set_aside: u64,
    /// Why they were left where they are, in words, where they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
    /// How many were built again.
    #[serde(default)]
    pub built: u64,
    /// Of those, how many by the slow way that keeps no writer waiting.
    #[serde(default)]
    pub slowly: u64,
    /// When building them began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub building_since: Option<Timestamp>,
    /// When all of them were back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_at: Option<Timestamp>,
    /// Why they could not be brought back on the way back, which goes on without; with what does it by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
}

impl IndexProgress {
    /// Whether nothing was done about indexes.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// What setting them aside came to.
    pub fn parked(&mut self, answer: IndexesParked) {
        self.state.set_aside = answer.parked.count();
        if !answer.parked.settings.is_empty() {
            self.state.what = What::Settings;
        }
        self.state.kept = answer.kept;
        self.parked = answer.parked;
    }

    /// Adds what a part of the rebuild came to; what is back need not be remembered.
    pub fn add(&mut self, step: &IndexesRestored, at: Timestamp) {
        self.state.built += step.built;
        self.state.slowly += step.slowly;
        if step.finished {
            self.state.restored_at = Some(at);
            self.state.left = None;
            self.parked = Parked::default();
        }
    }
}

impl IndexState {
    /// Whether nothing was done about indexes.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether something may be set aside that is not known to be back.
    pub fn owed(&self) -> bool {
        self.ordered && self.restored_at.is_none()
    }

    /// In words, for the report; `None` where nothing was set aside.
    pub fn words(&self) -> Option<String> {
        if self.left.is_some() {
            return Some("left set aside, see the next steps".to_owned());
        }
        if self.set_aside == 0 {
            return None;
        }
        let back = self.what.brought_back();
        let aside = format!("{} set aside while records were copied", self.set_aside);
        Some(match (self.building_since, self.restored_at) {
            (Some(since), Some(at)) => {
                let seconds = at.duration_since(since).as_secs().max(0);
                format!(
                    "{aside}, {back} in {}",
                    crate::period::Period::from_secs(seconds.unsigned_abs())
                )
            }
            (_, Some(_)) => format!("{aside}, {back}"),
            _ => format!("{aside}, not {back} yet"),
        })
    }
}
