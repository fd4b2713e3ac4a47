//! The independent judge: reads stores itself and holds them against what traffic knows that it did, and what the
//! cluster's main store (its mutable state) says.

mod listed;
mod rows;
mod truth;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::namespaces;
use crate::servers::temporal::connect;
use crate::testbed::Store;
use crate::traffic::{ATTRIBUTES, Entry, Ledger, Status, Values, WORKFLOW_TYPE};
use rows::{Content, Kept, Row, instant};
use truth::Truth;

/// How many complaints an error shows.
const SHOWN: usize = 20;

/// The longest id that a document may have, in bytes (1.30.8: common/persistence/visibility/store/elasticsearch, `GetDocID`).
const LONGEST_DOCUMENT_ID: usize = 512;

/// The attribute by which users look for what they have.
const LISTED_BY: &str = "CustomerId";

/// How many customers' executions are looked for.
const CUSTOMERS: usize = 40;

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
    frontend: String,
    ledger: Ledger,
    namespace_id: String,
    /// The store's field for each attribute that users know: in SQL stores `CustomerId` is kept in `Keyword01`, in
    /// Elasticsearch under its own name.
    fields: BTreeMap<String, String>,
    /// What the main store says of each execution, by run id.
    truths: BTreeMap<String, Truth>,
}

impl Judge {
    /// A judge of `ledger`, when traffic has settled: asks the frontend once for the Namespace's id, its attributes'
    /// fields, and what mutable state says of every execution.
    ///
    /// # Errors
    /// When the frontend does not answer, or does not know an execution that was not deleted.
    pub async fn new(frontend: &str, ledger: Ledger) -> Result<Self> {
        let client = connect(frontend, ledger.namespace()).await?;
        let namespace_id = namespaces::id(&client, ledger.namespace()).await?;
        let aliases = namespaces::aliases(&client, ledger.namespace()).await?;
        let mut fields: BTreeMap<String, String> = aliases.into_iter().map(|(field, alias)| (alias, field)).collect();
        for (name, _) in ATTRIBUTES {
            fields.entry(name.to_owned()).or_insert_with(|| name.to_owned());
        }
        let truths = truth::of(&client, &ledger).await?;
        Ok(Self {
            frontend: frontend.to_owned(),
            ledger,
            namespace_id,
            fields,
            truths,
        })
    }

    /// Holds `store` against the ledger and mutable state: everything that was made is there once, as it is to be, nothing
    /// that was deleted is, and nothing of traffic's that traffic did not make. What this kind of store does not keep, or
    /// not so exactly, is not asked of it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn judge(&self, store: &Store) -> Result<Verdict> {
        let rows::Rows { kept, mut by_key } = rows::read(store).await?;
        let mut verdict = Verdict::default();
        for entry in self.ledger.entries() {
            let row = by_key.remove(&(self.namespace_id.clone(), entry.run_id.clone()));
            let of = format!("{} run {}", entry.workflow_id, entry.run_id);
            verdict.judged += 1;
            match (row, entry.deleted) {
                (None, true) => {}
                (None, false) => verdict.complaints.push(format!("{of} ({}) is missing", entry.status)),
                (Some(_), true) => verdict.complaints.push(format!("{of} was deleted and is there")),
                (Some(row), false) => {
                    let wrong = self.wrong(&entry, &row, &kept)?;
                    verdict
                        .complaints
                        .extend(wrong.into_iter().map(|what| format!("{of}: {what}")));
                }
            }
        }
        for ((namespace_id, run_id), row) in by_key {
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

    /// Holds what the cluster lists for its users against the ledger: each execution once, with its status, its memo and
    /// its search attributes by the names that users know, and found by one of these. The store that reads come from must
    /// know List Filters.
    ///
    /// # Errors
    /// When the frontend does not answer.
    pub async fn judge_listed(&self) -> Result<Verdict> {
        let client = connect(&self.frontend, self.ledger.namespace()).await?;
        let everything = format!("WorkflowType = '{WORKFLOW_TYPE}'");
        let mut listed = listed::of(&client, self.ledger.namespace(), &everything).await?;
        let mut verdict = Verdict::default();
        for (customer, runs) in self.customers() {
            let query = format!("{LISTED_BY} = '{customer}'");
            let found = listed::of(&client, self.ledger.namespace(), &query).await?;
            let found: BTreeSet<&String> = found.keys().collect();
            if found != runs.iter().collect() {
                verdict
                    .complaints
                    .push(format!("{query} lists {found:?}, expected {runs:?}"));
            }
        }
        for entry in self.ledger.entries().into_iter().filter(|entry| !entry.deleted) {
            let of = format!("{} run {}", entry.workflow_id, entry.run_id);
            verdict.judged += 1;
            let found = listed.remove(&entry.run_id).unwrap_or_default();
            let [only] = found.as_slice() else {
                verdict.complaints.push(format!("{of} is listed {} times", found.len()));
                continue;
            };
            let mut complain = |what: String| verdict.complaints.push(format!("{of} as listed: {what}"));
            if only.status != entry.status as i32 {
                complain(format!(
                    "the status is {}, expected {}",
                    only.status, entry.status as i32
                ));
            }
            let by_name = |name: &str| (name.to_owned(), only.search_attributes.get(name));
            for (name, found) in ATTRIBUTES.iter().map(|(name, _)| by_name(name)) {
                let expected = entry.attributes.get(&name);
                // Lists of SQL stores have numbers as doubles have them (1.30.8: common/persistence/visibility/store/sql):
                // what the store itself has is judged by the digit.
                let as_double = |value: Option<&Value>| value.and_then(Value::as_f64);
                if as_double(expected).is_none() || as_double(expected) != as_double(found) {
                    complain_unless_same(&name, "", expected, found, &mut complain)?;
                }
            }
            if only.memo != entry.memo {
                complain(format!("the memo is {:?}, expected {:?}", only.memo, entry.memo));
            }
        }
        Ok(verdict)
    }

    /// The runs of some customers, from the first to the last, whose names can be written into a query as they are.
    fn customers(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut runs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for entry in self.ledger.entries().into_iter().filter(|entry| !entry.deleted) {
            let customer = entry.attributes.get(LISTED_BY).and_then(Value::as_str);
            if let Some(customer) = customer.filter(|name| !name.contains(['\'', '\\', '"', '%'])) {
                runs.entry(customer.to_owned()).or_default().insert(entry.run_id);
            }
        }
        let every = runs.len().div_ceil(CUSTOMERS).max(1);
        runs.into_iter().step_by(every).collect()
    }

    fn wrong(&self, entry: &Entry, row: &Row, kept: &Kept) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let mut expect = |what: &str, expected: &str, found: &str| {
            if expected != found {
                wrong.push(format!("{what} is {found:?}, expected {expected:?}"));
            }
        };
        expect("the number of further records", "0", &row.more.to_string());
        expect("the workflow id", &entry.workflow_id, row.column("workflow_id"));
        expect("the workflow type", WORKFLOW_TYPE, row.column("workflow_type_name"));
        expect("the status", &(entry.status as i32).to_string(), row.column("status"));
        let closed = |closed: bool| if closed { "closed" } else { "open" };
        expect(
            "by its close time it",
            closed(entry.status != Status::Running),
            closed(row.times.contains_key("close_time")),
        );
        if kept.columns.contains("_id") {
            expect("the document's id", &document_id(entry), row.column("_id"));
        }
        if let Some(truth) = self.truths.get(&entry.run_id) {
            for (name, expected) in &truth.columns {
                if kept.columns.contains(name) {
                    expect(&format!("by mutable state, {name}"), expected, row.column(name));
                }
            }
            for name in rows::TIMES {
                let (expected, found) = (truth.times.get(name), row.times.get(name));
                if !kept.same_time(expected, found) {
                    wrong.push(format!("{name} is {found:?}, by mutable state it is {expected:?}"));
                }
            }
        }
        if kept.search_attributes {
            wrong.extend(self.wrong_attributes(&entry.attributes, row)?);
        }
        let memo = decoded(&row.memo);
        if memo != entry.memo {
            wrong.push(format!("the memo is {memo:?}, expected {:?}", entry.memo));
        }
        Ok(wrong)
    }

    fn wrong_attributes(&self, expected: &Values, row: &Row) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let mut complain = |what: String| wrong.push(what);
        for (name, field) in &self.fields {
            let (expected, found) = (expected.get(name), row.search_attributes.get(field));
            complain_unless_same(name, &format!(" ({field})"), expected, found, &mut complain)?;
            if let Some(columns) = &row.found_by {
                let found = columns.get(&field.to_lowercase()).filter(|value| !value.is_null());
                if ["OrderedAt", "Notes"].contains(&name.as_str()) {
                    // Kept in forms of their own; that there is one was the last chance to go wrong.
                    if found.is_some() != expected.is_some() {
                        complain(format!(
                            "the column {field} ({name}) is {found:?}, expected {expected:?}"
                        ));
                    }
                } else {
                    complain_unless_same(name, &format!(" in the column {field}"), expected, found, &mut complain)?;
                }
            }
            // A query by the user's name looks at the field, and servers from 1.28 on refuse to list a record with a name
            // that they know nothing of (1.29.1: common/persistence/visibility/store/sql, processRowSearchAttributes).
            if name != field && row.search_attributes.contains_key(name) {
                complain(format!(
                    "{name} is kept by that name, and {field} is where it is looked for"
                ));
            }
        }
        Ok(wrong)
    }
}

/// Complains when an attribute is not as expected; times are compared as times, numbers as numbers.
fn complain_unless_same(
    name: &str,
    field: &str,
    expected: Option<&Value>,
    found: Option<&Value>,
    complain: &mut impl FnMut(String),
) -> Result<()> {
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
        complain(format!("{name}{field} is {}, expected {}", show(found), show(expected)));
    }
    Ok(())
}

/// A memo's values, which traffic writes in JSON.
fn decoded(memo: &BTreeMap<String, Content>) -> Values {
    memo.iter()
        .map(|(key, (_, data))| {
            let value = serde_json::from_slice(data).unwrap_or_else(|_| Value::from(data.as_slice()));
            (key.clone(), value)
        })
        .collect()
}

/// The id that the server gives an execution's document.
fn document_id(entry: &Entry) -> String {
    let mut workflow_id = entry.workflow_id.as_str();
    let room = LONGEST_DOCUMENT_ID - entry.run_id.len() - 1;
    while workflow_id.len() > room {
        let mut letters = workflow_id.chars();
        letters.next_back();
        workflow_id = letters.as_str();
    }
    format!("{workflow_id}~{}", entry.run_id)
}

/// Holds two stores against each other, record by record, in both directions, by what both of them keep. Memos are
/// compared decoded.
///
/// # Errors
/// When a store cannot be read.
pub async fn compare(source: &Store, target: &Store) -> Result<Verdict> {
    let (source, mut target) = (rows::read(source).await?, rows::read(target).await?);
    let kept = source.kept.in_common(&target.kept);
    let mut verdict = Verdict {
        judged: source.by_key.len(),
        complaints: Vec::new(),
    };
    for (key, row) in source.by_key {
        let of = format!("{} run {}", row.column("workflow_id"), key.1);
        let Some(other) = target.by_key.remove(&key) else {
            verdict.complaints.push(format!("{of} is missing in the target"));
            continue;
        };
        let mut differs = |name: &str, here: String, there: String| {
            verdict.complaints.push(format!(
                "{of}: {name} is {here} in the source and {there} in the target"
            ));
        };
        let names: BTreeSet<_> = row.columns.keys().chain(other.columns.keys()).collect();
        for name in names.into_iter().filter(|name| kept.columns.contains(*name)) {
            let (here, there) = (row.columns.get(name), other.columns.get(name));
            if here != there {
                differs(name, format!("{here:?}"), format!("{there:?}"));
            }
        }
        for name in rows::TIMES {
            let (here, there) = (row.times.get(name), other.times.get(name));
            if !kept.same_time(here, there) {
                differs(name, format!("{here:?}"), format!("{there:?}"));
            }
        }
        if row.memo != other.memo {
            differs("the memo", format!("{:?}", row.memo), format!("{:?}", other.memo));
        }
        if row.more + other.more > 0 {
            differs(
                "the number of further records",
                row.more.to_string(),
                other.more.to_string(),
            );
        }
        let (here, there) = (&row.search_attributes, &other.search_attributes);
        if kept.search_attributes && here != there {
            differs(
                "what it has of search attributes",
                format!("{here:?}"),
                format!("{there:?}"),
            );
        }
    }
    for ((_, run_id), row) in target.by_key {
        verdict.complaints.push(format!(
            "{} run {run_id} is in the target only",
            row.column("workflow_id")
        ));
    }
    Ok(verdict)
}
