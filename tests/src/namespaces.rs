//! Namespaces and their custom search attributes, by the cluster's own API.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use temporalio_client::{Client, Connection};
use temporalio_common::protos::temporal::api::enums::v1::{IndexedValueType, TaskQueueType};
use temporalio_common::protos::temporal::api::operatorservice::v1::{
    AddSearchAttributesRequest, ListSearchAttributesRequest,
};
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    DescribeNamespaceRequest, DescribeNamespaceResponse, DescribeTaskQueueRequest, GetClusterInfoRequest,
    RegisterNamespaceRequest,
};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, IntoRequest, Request, Status};
use tonic_prost::ProstCodec;

/// How long the cluster may take to let every service see a new Namespace or attribute.
const SEEN_WITHIN: Duration = Duration::from_secs(60);

/// The Visibility stores of servers up to 1.23 that know no search attributes, as a cluster names them.
const STANDARD_STORES: [&str; 4] = ["cassandra", "mysql", "postgres", "postgres_pgx"];

/// What the frontend says of the Namespace `name`.
///
/// # Errors
/// When it does not answer or knows no such Namespace.
pub async fn describe(client: &Client, name: &str) -> Result<DescribeNamespaceResponse> {
    asked(client.connection(), name)
        .await
        .with_context(|| format!("cannot describe Namespace {name}"))
}

async fn asked(connection: &Connection, name: &str) -> Result<DescribeNamespaceResponse, Status> {
    let request = DescribeNamespaceRequest {
        namespace: name.to_owned(),
        ..Default::default()
    };
    let mut service = connection.workflow_service();
    Ok(service.describe_namespace(request.into_request()).await?.into_inner())
}

/// Registers the Namespace `name` with a Retention Period unless it is there, and waits until frontend and matching work
/// with it. Whatever the cluster answers meanwhile is asked again: it takes few registrations a second (1.30.8:
/// service/frontend/configs/quotas.go), and a service that looked for the Namespace in vain does not look again for a second
/// (1.30.8: common/namespace/nsregistry/registry.go).
///
/// # Errors
/// When the cluster refuses it or does not work with it within a minute.
pub async fn register(connection: &Connection, name: &str, retention: Duration) -> Result<()> {
    let request = RegisterNamespaceRequest {
        namespace: name.to_owned(),
        workflow_execution_retention_period: Some(
            retention.try_into().context("the Retention Period is out of range")?,
        ),
        ..Default::default()
    };
    // Answered by matching, of a task queue that nobody has.
    let look = DescribeTaskQueueRequest {
        namespace: name.to_owned(),
        task_queue: Some(TaskQueue {
            name: "nobody".to_owned(),
            ..Default::default()
        }),
        task_queue_type: TaskQueueType::Workflow.into(),
        ..Default::default()
    };
    let deadline = Instant::now() + SEEN_WITHIN;
    let mut service = connection.workflow_service();
    loop {
        let there = match asked(connection, name).await {
            Ok(_) => service
                .describe_task_queue(look.clone().into_request())
                .await
                .map(|_| true),
            Err(status) if status.code() == Code::NotFound => {
                let registered = service.register_namespace(request.clone().into_request()).await;
                registered.map(|_| false)
            }
            Err(status) => Err(status),
        };
        match there {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(status) if status.code() == Code::InvalidArgument || Instant::now() > deadline => {
                bail!("cannot register Namespace {name}: {status}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Registers custom search attributes in `namespace`, and waits until the cluster lists them all. A cluster whose
/// Visibility is standard takes them only through its admin API, for no index: executions carry them then, and no store
/// has them.
///
/// # Errors
/// When the cluster refuses them or does not list them within a minute.
pub async fn add_search_attributes(
    client: &Client,
    frontend: &str,
    namespace: &str,
    attributes: &[(&str, IndexedValueType)],
) -> Result<()> {
    let deadline = Instant::now() + SEEN_WITHIN;
    let by_name: HashMap<String, i32> = attributes
        .iter()
        .map(|(name, kind)| ((*name).to_owned(), *kind as i32))
        .collect();
    let request = AddSearchAttributesRequest {
        namespace: namespace.to_owned(),
        search_attributes: by_name.clone(),
    };
    let standard = visibility_stores(client)
        .await?
        .first()
        .is_some_and(|store| STANDARD_STORES.contains(&store.as_str()));
    loop {
        let added = if standard {
            add_for_no_index(frontend, by_name.clone()).await
        } else {
            let mut service = client.connection().operator_service();
            service
                .add_search_attributes(request.clone().into_request())
                .await
                .map(drop)
                .map_err(Into::into)
        };
        let refused = match added {
            Ok(()) => "they are not listed".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        let known = search_attributes(client, namespace).await?;
        if attributes.iter().all(|(name, _)| known.contains(*name)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("cannot add search attributes to {namespace}: {refused}; it has {known:?}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What `AddSearchAttributes` of the admin API takes (1.23.1: proto/internal/temporal/server/api/adminservice/v1).
#[derive(Clone, PartialEq, prost::Message)]
struct AddForIndex {
    #[prost(map = "string, int32", tag = "1")]
    search_attributes: HashMap<String, i32>,
    #[prost(string, tag = "2")]
    index_name: String,
    #[prost(bool, tag = "3")]
    skip_schema_update: bool,
}

/// An answer that says nothing.
#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

/// Registers attributes under the empty index name: that of standard stores (1.23.1: service/frontend/admin_handler.go).
async fn add_for_no_index(frontend: &str, search_attributes: HashMap<String, i32>) -> Result<()> {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{frontend}"))?
        .connect()
        .await?;
    let mut service = tonic::client::Grpc::new(channel);
    service.ready().await?;
    let path = PathAndQuery::from_static("/temporal.server.api.adminservice.v1.AdminService/AddSearchAttributes");
    let request = AddForIndex {
        search_attributes,
        index_name: String::new(),
        skip_schema_update: true,
    };
    let codec: ProstCodec<AddForIndex, Nothing> = ProstCodec::default();
    service.unary(Request::new(request), path, codec).await?;
    Ok(())
}

/// The custom search attributes of `namespace`, by the names that users know.
///
/// # Errors
/// When the frontend does not answer.
pub async fn search_attributes(client: &Client, namespace: &str) -> Result<BTreeSet<String>> {
    let request = ListSearchAttributesRequest {
        namespace: namespace.to_owned(),
    };
    let mut service = client.connection().operator_service();
    let listed = service.list_search_attributes(request.into_request()).await;
    let listed = listed.with_context(|| format!("cannot list the search attributes of {namespace}"))?;
    Ok(listed.into_inner().custom_attributes.into_keys().collect())
}

/// The kinds of the cluster's Visibility stores as it names them itself, the primary first.
///
/// # Errors
/// When the frontend does not answer.
pub async fn visibility_stores(client: &Client) -> Result<Vec<String>> {
    let mut service = client.connection().workflow_service();
    let answer = service.get_cluster_info(GetClusterInfoRequest {}.into_request()).await;
    let stores = answer
        .context("the cluster does not describe itself")?
        .into_inner()
        .visibility_store;
    Ok(stores.split(',').map(str::to_owned).collect())
}

/// Which of the store's fields (`Keyword01`) carries which attribute (`CustomerId`) in `namespace`.
///
/// # Errors
/// When the frontend does not answer.
pub async fn aliases(client: &Client, namespace: &str) -> Result<BTreeMap<String, String>> {
    let config = describe(client, namespace)
        .await?
        .config
        .context("a Namespace without a config")?;
    Ok(config.custom_search_attribute_aliases.into_iter().collect())
}

/// The id under which stores know the Namespace `name`.
///
/// # Errors
/// When the frontend does not answer.
pub async fn id(client: &Client, name: &str) -> Result<String> {
    Ok(describe(client, name)
        .await?
        .namespace_info
        .context("a Namespace without an id")?
        .id)
}
