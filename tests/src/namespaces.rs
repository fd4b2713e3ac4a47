//! Namespaces and their custom search attributes, by the cluster's own API.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use temporalio_client::Client;
use temporalio_common::protos::temporal::api::enums::v1::IndexedValueType;
use temporalio_common::protos::temporal::api::operatorservice::v1::AddSearchAttributesRequest;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    DescribeNamespaceRequest, DescribeNamespaceResponse, RegisterNamespaceRequest,
};
use tonic::{Code, IntoRequest};

/// How long the cluster may take to let every service see a new Namespace or attribute.
const SEEN_WITHIN: Duration = Duration::from_secs(60);

/// What the frontend says of the Namespace `name`.
///
/// # Errors
/// When it does not answer or knows no such Namespace.
pub async fn describe(client: &Client, name: &str) -> Result<DescribeNamespaceResponse> {
    let request = DescribeNamespaceRequest {
        namespace: name.to_owned(),
        ..Default::default()
    };
    let answer = client
        .connection()
        .workflow_service()
        .describe_namespace(request.into_request())
        .await;
    Ok(answer
        .with_context(|| format!("cannot describe Namespace {name}"))?
        .into_inner())
}

/// Registers the Namespace `name` with a Retention Period, and waits until it can be described.
///
/// # Errors
/// When the cluster refuses it or does not show it within a minute.
pub async fn register(client: &Client, name: &str, retention: Duration) -> Result<()> {
    let request = RegisterNamespaceRequest {
        namespace: name.to_owned(),
        workflow_execution_retention_period: Some(
            retention.try_into().context("the Retention Period is out of range")?,
        ),
        ..Default::default()
    };
    let deadline = Instant::now() + SEEN_WITHIN;
    loop {
        let answer = client
            .connection()
            .workflow_service()
            .register_namespace(request.clone().into_request())
            .await;
        match answer {
            Ok(_) => break,
            Err(status) if status.code() == Code::AlreadyExists => break,
            Err(status) if Instant::now() > deadline => bail!("cannot register Namespace {name}: {status}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
    while let Err(error) = describe(client, name).await {
        if Instant::now() > deadline {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Registers custom search attributes in `namespace`, and waits until its description has them all.
///
/// # Errors
/// When the cluster refuses them or does not show them within a minute.
pub async fn add_search_attributes(
    client: &Client,
    namespace: &str,
    attributes: &[(&str, IndexedValueType)],
) -> Result<()> {
    let deadline = Instant::now() + SEEN_WITHIN;
    let request = AddSearchAttributesRequest {
        namespace: namespace.to_owned(),
        search_attributes: attributes
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), *kind as i32))
            .collect(),
    };
    loop {
        let added = client
            .connection()
            .operator_service()
            .add_search_attributes(request.clone().into_request())
            .await;
        let refused = match added {
            Ok(_) => "they are not shown".to_owned(),
            Err(status) => status.to_string(),
        };
        let known = aliases(client, namespace).await?;
        if attributes
            .iter()
            .all(|(name, _)| known.values().any(|alias| alias == name))
        {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("cannot add search attributes to {namespace}: {refused}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
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
