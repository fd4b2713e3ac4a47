//! A cluster on each engine, and each server version, comes up and lists a workflow that was started on it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use e2e::servers::binaries::{
    Release, TEMPORAL_1_21_6, TEMPORAL_1_23_1, TEMPORAL_1_25_1, TEMPORAL_1_27_3, TEMPORAL_1_29_1, TEMPORAL_1_30_8,
    TEMPORAL_1_32_2,
};
use e2e::servers::progress::{Lines, Progress};
use e2e::testbed::{Engine, NAMESPACE, Plan, Store, TARGET_NAME, Testbed};
use temporalio_common::protos::temporal::api::common::v1::WorkflowType;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    ListWorkflowExecutionsRequest, StartWorkflowExecutionRequest,
};
use tonic::IntoRequest;

const LISTED_WITHIN: Duration = Duration::from_secs(60);

/// Starts a workflow that nobody works on, and waits until it is listed.
async fn lists_a_started_workflow(testbed: &Testbed) -> Result<()> {
    let client = testbed.client(NAMESPACE).await?;
    let mut service = client.connection().workflow_service();
    let request = StartWorkflowExecutionRequest {
        namespace: NAMESPACE.to_owned(),
        workflow_id: "order-1".to_owned(),
        workflow_type: Some(WorkflowType {
            name: "Order".to_owned(),
        }),
        task_queue: Some(TaskQueue {
            name: "nobody".to_owned(),
            ..Default::default()
        }),
        request_id: "order-1".to_owned(),
        ..Default::default()
    };
    service
        .start_workflow_execution(request.into_request())
        .await
        .context("cannot start a workflow")?;
    let deadline = Instant::now() + LISTED_WITHIN;
    loop {
        let request = ListWorkflowExecutionsRequest {
            namespace: NAMESPACE.to_owned(),
            page_size: 10,
            query: "WorkflowType = 'Order'".to_owned(),
            ..Default::default()
        };
        let refused = match service.list_workflow_executions(request.into_request()).await {
            Ok(answer) if answer.get_ref().executions.len() == 1 => return Ok(()),
            Ok(answer) => format!("{} executions", answer.get_ref().executions.len()),
            Err(status) => status.to_string(),
        };
        if Instant::now() > deadline {
            bail!("the workflow is not listed: {refused}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Starts what is planned, checks it and returns the first host's config.
async fn comes_up(plan: Plan, check: impl FnOnce(&Testbed, &str) -> Result<()>) -> Result<()> {
    let what = format!("{} {:?} to {:?}", plan.release.version, plan.source, plan.target);
    let started = Instant::now();
    let testbed = Testbed::start(plan, &Lines::default()).await?;
    Lines::default().finished(&format!("{what} serves after {:.1} s", started.elapsed().as_secs_f64()));
    lists_a_started_workflow(&testbed).await?;
    let config = std::fs::read_to_string(&testbed.temporal().hosts()[0].config)?;
    check(&testbed, &config)?;
    testbed.finish()
}

fn has(text: &str, part: &str) {
    assert!(text.contains(part), "`{part}` is not in:\n{text}");
}

#[tokio::test]
async fn cassandra_with_elasticsearch_as_target_as_documented() -> Result<()> {
    comes_up(Plan::reference().with_own_nodes(), |testbed, config| {
        has(config, "\n  visibilityStore: cass-visibility");
        has(
            config,
            "    cass-visibility:\n      cassandra:\n        hosts: \"127.0.0.1\"\n",
        );
        has(config, "        keyspace: \"temporal_visibility\"\n");
        assert_eq!(testbed.target_name(), "es-visibility");
        let Store::Elasticsearch { url, index } = testbed.target() else {
            bail!("the target is {:?}", testbed.target());
        };
        assert_eq!(index, "temporal_visibility_v1_dev");
        let entry = &testbed.spec()["target"]["datastore"]["elasticsearch"];
        assert_eq!(entry["version"], "v7");
        assert_eq!(entry["closeIdleConnectionsInterval"], "15s");
        assert_eq!(
            format!("http://{}", entry["url"]["host"].as_str().unwrap_or_default()),
            *url
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn cassandra_with_postgres_as_target() -> Result<()> {
    let plan = Plan::pair(&TEMPORAL_1_23_1, Engine::Cassandra, Engine::Postgres);
    comes_up(plan, |testbed, _| {
        assert_eq!(testbed.target_name(), TARGET_NAME);
        assert!(testbed.spec()["target"]["datastore"]["sql"]["password"]["file"].is_string());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn standard_postgres_with_elasticsearch_as_target() -> Result<()> {
    let plan = Plan::pair(&TEMPORAL_1_23_1, Engine::StandardPostgres, Engine::Elasticsearch);
    comes_up(plan, |_, config| {
        has(config, "pluginName: \"postgres\"\n");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_index_with_another_of_the_same_elasticsearch_as_target() -> Result<()> {
    let plan = Plan::pair(&TEMPORAL_1_30_8, Engine::Elasticsearch, Engine::Elasticsearch);
    comes_up(plan, |testbed, _| {
        let (Store::Elasticsearch { url, index }, Store::Elasticsearch { url: to, index: next }) =
            (testbed.source(), testbed.target())
        else {
            bail!("{:?} and {:?} are no indices", testbed.source(), testbed.target());
        };
        assert_eq!(url, to);
        assert_ne!(index, next);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn elasticsearch_with_opensearch_as_target_and_a_cluster_on_postgres() -> Result<()> {
    let mut plan = Plan::pair(&TEMPORAL_1_30_8, Engine::Elasticsearch, Engine::OpenSearch).with_main(Engine::Postgres);
    plan.target_schema = true;
    comes_up(plan, |testbed, _| {
        assert_ne!(
            testbed.elasticsearch().map(|node| node.port()),
            testbed.other_search().map(|node| node.port())
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn opensearch_holds_visibility() -> Result<()> {
    let plan = Plan::pair(&TEMPORAL_1_30_8, Engine::OpenSearch, Engine::Sqlite);
    comes_up(plan, |_, _| Ok(())).await
}

#[tokio::test]
async fn sqlite_with_postgres_as_target() -> Result<()> {
    let plan = Plan::pair(&TEMPORAL_1_30_8, Engine::Sqlite, Engine::Postgres);
    comes_up(plan, |_, _| Ok(())).await
}

async fn a_release_comes_up(release: &'static Release, engine: Engine) -> Result<()> {
    comes_up(Plan::pair(release, engine, engine), |_, _| Ok(())).await
}

#[tokio::test]
async fn release_1_21_6_comes_up() -> Result<()> {
    let plan = Plan::pair(&TEMPORAL_1_21_6, Engine::Cassandra, Engine::Elasticsearch);
    comes_up(plan, |_, _| Ok(())).await
}

#[tokio::test]
async fn release_1_25_1_comes_up() -> Result<()> {
    a_release_comes_up(&TEMPORAL_1_25_1, Engine::Elasticsearch).await
}

#[tokio::test]
async fn release_1_27_3_comes_up() -> Result<()> {
    a_release_comes_up(&TEMPORAL_1_27_3, Engine::Postgres).await
}

#[tokio::test]
async fn release_1_29_1_comes_up() -> Result<()> {
    a_release_comes_up(&TEMPORAL_1_29_1, Engine::Elasticsearch).await
}

#[tokio::test]
async fn release_1_32_2_comes_up() -> Result<()> {
    a_release_comes_up(&TEMPORAL_1_32_2, Engine::Postgres).await
}

#[tokio::test]
async fn a_store_that_cannot_hold_what_it_is_chosen_for_is_refused() {
    let plan = Plan::pair(&TEMPORAL_1_30_8, Engine::Sqlite, Engine::Sqlite).with_main(Engine::Elasticsearch);
    let refused = Testbed::start(plan, &Lines::default()).await.map(drop);
    assert!(refused.is_err_and(|error| error.to_string().contains("holds Visibility only")));
}
