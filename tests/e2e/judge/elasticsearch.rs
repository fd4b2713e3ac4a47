//! Faults planted in an Elasticsearch index, each in the document of an execution of its own.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::judge::Judge;
use e2e::scene::knows_attributes;
use e2e::servers::binaries::TEMPORAL_1_30_8;
use e2e::servers::progress::Lines;
use e2e::testbed::{Engine, NAMESPACE, Plan, Store, Testbed};
use e2e::traffic::{ATTRIBUTES, Traffic};
use serde_json::{Map, Value, json};

use super::Picked;

type Document = Map<String, Value>;

/// What is done to the document of a completed execution, and what the judge says of it.
type Fault = (fn(&mut Document), &'static str);

const FAULTS: [Fault; 4] = [
    (
        |document| drop(document.insert("ExecutionStatus".to_owned(), json!("Failed"))),
        "the status is",
    ),
    (|document| drop(document.remove("CloseTime")), "by its close time"),
    (|document| drop(document.remove("Memo")), "the memo is"),
    (
        |document| drop(document.insert("StartTime".to_owned(), json!("2026-01-01T00:00:00.000000001Z"))),
        "start_time is",
    ),
];

#[tokio::test]
async fn the_judge_sees_damage_in_an_elasticsearch_index() -> Result<()> {
    let plan = Plan::pair(&TEMPORAL_1_30_8, Engine::Elasticsearch, Engine::Elasticsearch);
    let testbed = Testbed::start(plan, &Lines::default()).await?;
    let traffic = Traffic::begin(testbed.frontend(), NAMESPACE).await?;
    knows_attributes(&testbed).await?;
    traffic.existing(80).await?;
    let ledger = traffic.end();
    let judge = Judge::new(testbed.frontend(), ledger.clone()).await?;
    let verdict = judge.until_clean(testbed.source(), Duration::from_secs(60)).await?;
    verdict.demand_clean()?;
    judge.judge_listed().await?.demand_clean()?;
    testbed.temporal().stop()?;

    let Store::Elasticsearch { url, index } = testbed.source() else {
        bail!("this testbed is on Elasticsearch");
    };
    let index = Index(format!("{url}/{index}"));
    let mut picked = Picked::of(&ledger);
    let mut expected = Vec::new();
    let plain = FAULTS.map(|(fault, complaint)| (Box::new(fault) as Box<dyn Fn(&mut Document)>, complaint.to_owned()));
    // One attribute of every type, gone.
    let attributes = ATTRIBUTES.map(|(name, _)| {
        let fault = move |document: &mut Document| drop(document.remove(name));
        (
            Box::new(fault) as Box<dyn Fn(&mut Document)>,
            format!("{name} ({name}) is nothing"),
        )
    });
    for (fault, complaint) in plain.into_iter().chain(attributes) {
        let (id, run) = picked.completed()?;
        let mut document = index.get(&id, &run).await?;
        fault(&mut document);
        index.put(&format!("{id}~{run}"), &document).await?;
        expected.push((run, complaint));
    }
    let (id, run) = picked.child()?;
    let mut document = index.get(&id, &run).await?;
    document.insert("ParentRunId".to_owned(), json!("somebody"));
    index.put(&format!("{id}~{run}"), &document).await?;
    expected.push((run, "parent_run_id is".to_owned()));

    let (id, run) = picked.completed()?;
    let document = index.get(&id, &run).await?;
    index.put(&format!("{id}~{run}-again"), &document).await?;
    expected.push((run, "the number of further records".to_owned()));
    let deleted = picked.deleted()?;
    for (other, complaint) in [
        (deleted.1, "was deleted and is there"),
        ("stranger".to_owned(), "nobody made it"),
    ] {
        let mut document = document.clone();
        document.insert("RunId".to_owned(), json!(other));
        index.put(&format!("{id}~{other}"), &document).await?;
        expected.push((other, complaint.to_owned()));
    }
    let (id, run) = picked.completed()?;
    index.delete(&format!("{id}~{run}")).await?;
    expected.push((run, "is missing".to_owned()));

    let verdict = judge.judge(testbed.source()).await?;
    for (run, complaint) in &expected {
        let seen = verdict
            .complaints
            .iter()
            .any(|sentence| sentence.contains(run.as_str()) && sentence.contains(complaint.as_str()));
        ensure!(seen, "of {run} the judge did not say `{complaint}`: {verdict:#?}");
    }
    testbed.finish()
}

/// An index by its URL.
struct Index(String);

impl Index {
    async fn get(&self, id: &str, run: &str) -> Result<Document> {
        let answer = reqwest::get(format!("{}/_doc/{id}~{run}", self.0)).await?;
        let answer: Value = answer.error_for_status()?.json().await?;
        answer["_source"].as_object().cloned().context("no _source")
    }

    async fn put(&self, id: &str, document: &Document) -> Result<()> {
        let request = reqwest::Client::new()
            .put(format!("{}/_doc/{id}", self.0))
            .json(document);
        request.send().await?.error_for_status()?;
        Ok(())
    }

    async fn delete(&self, id: &str) -> Result<()> {
        let request = reqwest::Client::new().delete(format!("{}/_doc/{id}", self.0));
        request.send().await?.error_for_status()?;
        Ok(())
    }
}
