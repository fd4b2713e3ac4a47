//! The independent judge: reads stores itself and holds them against what traffic knows that it did.

mod rows;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::namespaces;
use crate::servers::temporal::connect;
use crate::testbed::Store;
use crate::traffic::{ATTRIBUTES, Entry, Ledger, Status, Values, WORKFLOW_TYPE};
use rows::{Row, instant};

/// How many complaints an error shows.
const SHOWN: usize = 20;

/// What the judge found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How many records were held against something.
    pub judged: usize,
    /// One sentence for each thing that is wrong.
    pub complaints: Vec<String>,
}

impl Verdict {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.complaints.is_empty()
    }

    /// Turns complaints into an error.
    ///
    /// # Errors
    /// When there are complaints: with the first twenty.
    pub fn demand_clean(self) -> Result<Self> {
        if self.is_clean() {
            return Ok(self);
        }
        let shown = &self.complaints[..self.complaints.len().min(SHOWN)];
        bail!(
            "the judge has {} complaints about {} records:\n- {}",
            self.complaints.len(),
            self.judged,
            shown.join("\n- ")
        )
    }
}

/// Holds stores against one ledger.
#[derive(Debug, Clone)]
pub struct Judge {
    ledger: Ledger,
    namespace_id: String,
    /// The store's field for each attribute that users know: `CustomerId` is kept in `Keyword01`.
    fields: BTreeMap<String, String>,
}

impl Judge {
    /// A judge of `ledger`, who asks the frontend once for the Namespace's id and its attributes' fields.
    ///
    /// # Errors
    /// When the frontend does not answer.
    pub async fn new(frontend: &str, ledger: Ledger) -> Result<Self> {
        let client = connect(frontend, ledger.namespace()).await?;
        let namespace_id = namespaces::id(&client, ledger.namespace()).await?;
        let aliases = namespaces::aliases(&client, ledger.namespace()).await?;
        let fields: BTreeMap<String, String> = aliases.into_iter().map(|(field, alias)| (alias, field)).collect();
        if let Some((missing, _)) = ATTRIBUTES.iter().find(|(name, _)| !fields.contains_key(*name)) {
            bail!("Namespace {} has no field for {missing}", ledger.namespace());
        }
        Ok(Self {
            ledger,
            namespace_id,
            fields,
        })
    }

    /// Holds `store` against the ledger: everything that was made is there as it is to be, nothing that was deleted is,
    /// and nothing of traffic's that traffic did not make.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn judge(&self, store: &Store) -> Result<Verdict> {
        let mut rows = rows::read(store).await?;
        let mut verdict = Verdict::default();
        for entry in self.ledger.entries() {
            let row = rows.remove(&(self.namespace_id.clone(), entry.run_id.clone()));
            let of = format!("{} run {}", entry.workflow_id, entry.run_id);
            verdict.judged += 1;
            match (row, entry.deleted) {
                (None, true) => {}
                (None, false) => verdict.complaints.push(format!("{of} ({}) is missing", entry.status)),
                (Some(_), true) => verdict.complaints.push(format!("{of} was deleted and is there")),
                (Some(row), false) => {
                    let wrong = self.wrong(&entry, &row)?;
                    verdict
                        .complaints
                        .extend(wrong.into_iter().map(|what| format!("{of}: {what}")));
                }
            }
        }
        for ((namespace_id, run_id), row) in rows {
            let workflow_id = row.column("workflow_id");
            if namespace_id == self.namespace_id && workflow_id.starts_with(self.ledger.prefix()) {
                verdict
                    .complaints
                    .push(format!("{workflow_id} run {run_id} is there, and nobody made it"));
            }
        }
        Ok(verdict)
    }

    /// Judges until there is nothing to complain about, for at most `within`: records reach a store some time after the fact.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn until_clean(&self, store: &Store, within: Duration) -> Result<Verdict> {
        let deadline = Instant::now() + within;
        loop {
            let verdict = self.judge(store).await?;
            if verdict.is_clean() || Instant::now() > deadline {
                return Ok(verdict);
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    fn wrong(&self, entry: &Entry, row: &Row) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let mut expect = |what: &str, expected: &str, found: &str| {
            if expected != found {
                wrong.push(format!("{what} is {found:?}, expected {expected:?}"));
            }
        };
        expect("the workflow id", &entry.workflow_id, row.column("workflow_id"));
        expect("the workflow type", WORKFLOW_TYPE, row.column("workflow_type_name"));
        expect("the status", &(entry.status as i32).to_string(), row.column("status"));
        let closed = |closed: bool| if closed { "closed" } else { "open" };
        let is_closed = row.columns.contains_key("close_time");
        expect(
            "by its close time it",
            closed(entry.status != Status::Running),
            closed(is_closed),
        );
        wrong.extend(self.wrong_attributes(&entry.attributes, row)?);
        let memo: Values = row
            .memo
            .iter()
            .map(|(key, (_, data))| {
                let value = serde_json::from_slice(data).unwrap_or_else(|_| Value::from(data.as_slice()));
                (key.clone(), value)
            })
            .collect();
        if memo != entry.memo {
            wrong.push(format!("the memo is {memo:?}, expected {:?}", entry.memo));
        }
        Ok(wrong)
    }

    fn wrong_attributes(&self, expected: &Values, row: &Row) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        for (name, field) in &self.fields {
            let (expected, found) = (expected.get(name), row.search_attributes.get(field));
            let same = match (expected, found) {
                (Some(expected), Some(found)) if name == "OrderedAt" => {
                    let read = |value: &Value| value.as_str().map(instant).transpose();
                    read(expected)? == read(found)?
                }
                (Some(expected), Some(found)) if expected.is_f64() => expected.as_f64() == found.as_f64(),
                (expected, found) => expected == found,
            };
            if !same {
                let show = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
                wrong.push(format!(
                    "{name} ({field}) is {}, expected {}",
                    show(found),
                    show(expected)
                ));
            }
        }
        Ok(wrong)
    }
}

/// Holds two stores against each other, record by record and column by column, in both directions. Memos are compared decoded.
///
/// # Errors
/// When a store cannot be read.
pub async fn compare(source: &Store, target: &Store) -> Result<Verdict> {
    let (source, mut target) = (rows::read(source).await?, rows::read(target).await?);
    let mut verdict = Verdict {
        judged: source.len(),
        complaints: Vec::new(),
    };
    for (key, row) in source {
        let of = format!("{} run {}", row.column("workflow_id"), key.1);
        let Some(other) = target.remove(&key) else {
            verdict.complaints.push(format!("{of} is missing in the target"));
            continue;
        };
        let names = row
            .columns
            .keys()
            .chain(other.columns.keys())
            .collect::<std::collections::BTreeSet<_>>();
        for name in names {
            let (here, there) = (row.columns.get(name), other.columns.get(name));
            if here != there {
                verdict.complaints.push(format!(
                    "{of}: {name} is {here:?} in the source and {there:?} in the target"
                ));
            }
        }
        if row.memo != other.memo {
            verdict
                .complaints
                .push(format!("{of}: the memos differ: {:?} and {:?}", row.memo, other.memo));
        }
        if row.search_attributes != other.search_attributes {
            let (here, there) = (&row.search_attributes, &other.search_attributes);
            verdict
                .complaints
                .push(format!("{of}: the search attributes differ: {here:?} and {there:?}"));
        }
    }
    for ((_, run_id), row) in target {
        verdict.complaints.push(format!(
            "{} run {run_id} is in the target only",
            row.column("workflow_id")
        ));
    }
    Ok(verdict)
}
