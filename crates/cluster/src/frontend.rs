//! The public API of a cluster, each call bounded and with typed errors.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use temporalio_client::Connection;
use temporalio_common::protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_common::protos::temporal::api::enums::v1::{ArchivalState, IndexedValueType, NamespaceState};
use temporalio_common::protos::temporal::api::namespace::v1::NamespaceFilter;
use temporalio_common::protos::temporal::api::operatorservice::v1::{
    AddSearchAttributesRequest, ListSearchAttributesRequest,
};
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    CountWorkflowExecutionsRequest, DeleteWorkflowExecutionRequest, DescribeNamespaceRequest,
    DescribeNamespaceResponse, DescribeWorkflowExecutionRequest, GetClusterInfoRequest, ListNamespacesRequest,
    ListWorkflowExecutionsRequest, TerminateWorkflowExecutionRequest,
};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::connect::{ApiKey, Checked, ConnectSettings};
pub use crate::described::{ClusterInfo, Namespace, NamespaceLife, SearchAttribute, VisibilityStores};
use crate::error::{CallError, ConnectError, transient};
use crate::execution::Execution;

/// Page size where the caller does not choose one; the server's own limit is 1000.
const PAGE: i32 = 200;

/// The longest pause between two attempts of a call.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A connection to the frontend of one cluster. Cheap to clone; it reconnects by itself.
#[derive(Clone)]
pub struct Frontend {
    pub(crate) connection: Connection,
    /// For the calls that the SDK does not know; absent on a connection of somebody else's.
    pub(crate) channel: Option<Channel>,
    pub(crate) api_key: Option<ApiKey>,
    address: String,
    call_within: Duration,
}

impl std::fmt::Debug for Frontend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frontend")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// One page of a list.
#[derive(Debug, Clone)]
pub struct ListPage {
    /// The executions, newest first.
    pub executions: Vec<Execution>,
    /// Where the next page starts; `None` after the last.
    pub next: Option<Vec<u8>>,
}

/// Calls one method of one of the SDK's services with this frontend's bound and retries.
macro_rules! call {
    ($self:ident, $service:ident, $method:ident, $name:literal, $request:expr) => {
        $self.bounded($name, $request, |request| {
            let mut service = $self.connection.$service();
            async move { service.$method(request).await }
        })
    };
}
pub(crate) use call;

impl Frontend {
    /// Connects and learns what the server can do, trying for `settings.connect_within`.
    ///
    /// # Errors
    /// [`ConnectError::Setting`] and [`ConnectError::File`] before anything is sent, then
    /// [`ConnectError::Refused`] at once, or [`ConnectError::Unreachable`] when the time is over.
    pub async fn connect(settings: &ConnectSettings) -> Result<Self, ConnectError> {
        let checked = Checked::read(settings)?;
        Ok(Self {
            connection: checked.connect(settings).await?,
            channel: Some(checked.channel("address")?),
            api_key: settings.api_key.clone(),
            address: settings.address.clone(),
            call_within: settings.call_within,
        })
    }

    /// The public API over a connection that is there already; `name` is what errors call its cluster. What needs the
    /// admin API is refused.
    pub fn over(connection: Connection, name: &str) -> Self {
        Self {
            connection,
            channel: None,
            api_key: None,
            address: name.to_owned(),
            call_within: ConnectSettings::plaintext(name).call_within,
        }
    }

    /// The address as it was given.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The SDK's connection, to build clients and workers on.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Makes a call, again while the server is away or busy, until the bound for calls is over.
    pub(crate) async fn bounded<Req, Resp, Answer>(
        &self,
        call: &'static str,
        message: Req,
        send: impl Fn(Request<Req>) -> Answer,
    ) -> Result<Resp, CallError>
    where
        Req: Clone,
        Answer: Future<Output = Result<Response<Resp>, Status>>,
    {
        let started = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            let left = self
                .call_within
                .saturating_sub(started.elapsed())
                .max(Duration::from_millis(1));
            let mut request = Request::new(message.clone());
            request.set_timeout(left);
            let status = match tokio::time::timeout(left, send(request)).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded(format!("no answer within {:?}", self.call_within)),
            };
            if !transient(status.code()) || started.elapsed() + pause >= self.call_within {
                return Err(CallError::from_status(call, &self.address, &status));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn answer(&self, call: &'static str, reason: impl Into<String>) -> CallError {
        CallError::answer(call, &self.address, reason)
    }

    /// What the cluster says of itself.
    pub async fn cluster(&self) -> Result<ClusterInfo, CallError> {
        const CALL: &str = "GetClusterInfo";
        let info = call!(
            self,
            workflow_service,
            get_cluster_info,
            "GetClusterInfo",
            GetClusterInfoRequest::default()
        )
        .await?;
        Ok(ClusterInfo {
            version: info
                .server_version
                .parse()
                .map_err(|e| self.answer(CALL, format!("{e}")))?,
            name: info.cluster_name,
            id: info.cluster_id,
            history_shards: u32::try_from(info.history_shard_count)
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(|| self.answer(CALL, format!("history_shard_count is {}", info.history_shard_count)))?,
            persistence_store: info.persistence_store,
            visibility: VisibilityStores::parse(&info.visibility_store),
        })
    }

    /// Every Namespace: temporal-system too, and those being deleted, in the server's order.
    pub async fn namespaces(&self) -> Result<Vec<Namespace>, CallError> {
        let mut found = Vec::new();
        let mut next_page_token = Vec::new();
        loop {
            let request = ListNamespacesRequest {
                page_size: PAGE,
                next_page_token,
                namespace_filter: Some(NamespaceFilter { include_deleted: true }),
            };
            let page = call!(self, workflow_service, list_namespaces, "ListNamespaces", request).await?;
            for namespace in page.namespaces {
                found.push(self.namespace_of("ListNamespaces", namespace)?);
            }
            next_page_token = page.next_page_token;
            if next_page_token.is_empty() {
                return Ok(found);
            }
        }
    }

    /// One Namespace by name; `None` when there is no such one.
    pub async fn namespace(&self, name: &str) -> Result<Option<Namespace>, CallError> {
        let request = DescribeNamespaceRequest {
            namespace: name.to_owned(),
            ..Default::default()
        };
        match call!(self, workflow_service, describe_namespace, "DescribeNamespace", request).await {
            Ok(namespace) => self.namespace_of("DescribeNamespace", namespace).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn namespace_of(&self, call: &'static str, found: DescribeNamespaceResponse) -> Result<Namespace, CallError> {
        let info = found
            .namespace_info
            .ok_or_else(|| self.answer(call, "a Namespace without namespace_info"))?;
        let config = found.config.unwrap_or_default();
        let archived = |state: i32| state == ArchivalState::Enabled as i32;
        Ok(Namespace {
            id: info.id,
            name: info.name,
            state: match NamespaceState::try_from(info.state) {
                Ok(NamespaceState::Registered) => NamespaceLife::Registered,
                Ok(NamespaceState::Deprecated) => NamespaceLife::Deprecated,
                Ok(NamespaceState::Deleted) => NamespaceLife::Deleted,
                _ => NamespaceLife::Other(info.state),
            },
            retention: config
                .workflow_execution_retention_ttl
                .and_then(|d| Duration::try_from(d).ok())
                .filter(|d| !d.is_zero()),
            history_archival: archived(config.history_archival_state),
            visibility_archival: archived(config.visibility_archival_state),
            global: found.is_global_namespace,
            aliases: config.custom_search_attribute_aliases.into_iter().collect(),
        })
    }

    /// The custom search attributes that executions of a Namespace may carry, by name.
    pub async fn search_attributes(&self, namespace: &str) -> Result<Vec<SearchAttribute>, CallError> {
        const CALL: &str = "ListSearchAttributes";
        let request = ListSearchAttributesRequest {
            namespace: namespace.to_owned(),
        };
        let listed = call!(
            self,
            operator_service,
            list_search_attributes,
            "ListSearchAttributes",
            request
        )
        .await?;
        let aliases = self.namespace(namespace).await?.map(|n| n.aliases).unwrap_or_default();
        let columns: BTreeMap<&str, &str> = aliases.iter().map(|(column, name)| (&**name, &**column)).collect();
        let mut found = listed
            .custom_attributes
            .into_iter()
            .map(|(name, number)| {
                let kind = IndexedValueType::try_from(number)
                    .map_err(|_| self.answer(CALL, format!("{name} has the unknown type {number}")))?;
                let column = columns.get(&*name).map(|c| (*c).to_owned());
                Ok(SearchAttribute { name, kind, column })
            })
            .collect::<Result<Vec<_>, CallError>>()?;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Registers custom search attributes; those that exist with the same type are left as they are.
    /// Servers from 1.23 on register them for the secondary store too (1.23.1: service/frontend/operator_handler.go).
    /// The answer of other hosts may lag by the cache time of a minute.
    pub async fn add_search_attributes(
        &self,
        namespace: &str,
        attributes: &BTreeMap<String, IndexedValueType>,
    ) -> Result<(), CallError> {
        if attributes.is_empty() {
            return Ok(());
        }
        let request = AddSearchAttributesRequest {
            namespace: namespace.to_owned(),
            search_attributes: attributes
                .iter()
                .map(|(name, kind)| (name.clone(), *kind as i32))
                .collect(),
        };
        match call!(
            self,
            operator_service,
            add_search_attributes,
            "AddSearchAttributes",
            request
        )
        .await
        {
            Err(error) if error.code() == Some(Code::AlreadyExists) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// How many executions of a Namespace match a query; an empty query counts all.
    pub async fn count(&self, namespace: &str, query: &str) -> Result<u64, CallError> {
        let request = CountWorkflowExecutionsRequest {
            namespace: namespace.to_owned(),
            query: query.to_owned(),
        };
        let counted = call!(
            self,
            workflow_service,
            count_workflow_executions,
            "CountWorkflowExecutions",
            request
        )
        .await?;
        u64::try_from(counted.count)
            .map_err(|_| self.answer("CountWorkflowExecutions", format!("count is {}", counted.count)))
    }

    /// One page of the executions that match a query; `page_size` up to 1000.
    pub async fn list_page(
        &self,
        namespace: &str,
        query: &str,
        page_size: u16,
        after: Option<&[u8]>,
    ) -> Result<ListPage, CallError> {
        const CALL: &str = "ListWorkflowExecutions";
        let request = ListWorkflowExecutionsRequest {
            namespace: namespace.to_owned(),
            page_size: i32::from(page_size),
            next_page_token: after.unwrap_or_default().to_vec(),
            query: query.to_owned(),
        };
        let page = call!(
            self,
            workflow_service,
            list_workflow_executions,
            "ListWorkflowExecutions",
            request
        )
        .await?;
        let executions = page
            .executions
            .into_iter()
            .map(|info| Execution::from_info(info).ok_or_else(|| self.answer(CALL, "an execution without a key")))
            .collect::<Result<_, _>>()?;
        Ok(ListPage {
            executions,
            next: Some(page.next_page_token).filter(|t| !t.is_empty()),
        })
    }

    /// The executions that match a query, all pages, at most `limit` of them.
    pub async fn list(&self, namespace: &str, query: &str, limit: usize) -> Result<Vec<Execution>, CallError> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = self.list_page(namespace, query, PAGE as u16, after.as_deref()).await?;
            found.extend(page.executions);
            if found.len() >= limit || page.next.is_none() {
                found.truncate(limit);
                return Ok(found);
            }
            after = page.next;
        }
    }

    /// An execution from the main store (not from Visibility); the current run unless one is named.
    /// `None` when there is no such one, or no such Namespace.
    pub async fn describe(
        &self,
        namespace: &str,
        workflow_id: &str,
        run_id: Option<&str>,
    ) -> Result<Option<Execution>, CallError> {
        const CALL: &str = "DescribeWorkflowExecution";
        let request = DescribeWorkflowExecutionRequest {
            namespace: namespace.to_owned(),
            execution: Some(execution(workflow_id, run_id)),
        };
        match call!(
            self,
            workflow_service,
            describe_workflow_execution,
            "DescribeWorkflowExecution",
            request
        )
        .await
        {
            Ok(found) => found
                .workflow_execution_info
                .and_then(Execution::from_info)
                .map(Some)
                .ok_or_else(|| self.answer(CALL, "no workflow_execution_info")),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Terminates one run. One that is closed or gone already is left so.
    pub async fn terminate(
        &self,
        namespace: &str,
        workflow_id: &str,
        run_id: &str,
        reason: &str,
    ) -> Result<(), CallError> {
        let request = TerminateWorkflowExecutionRequest {
            namespace: namespace.to_owned(),
            workflow_execution: Some(execution(workflow_id, Some(run_id))),
            reason: reason.to_owned(),
            identity: self.connection.identity().to_owned(),
            ..Default::default()
        };
        gone_is_fine(
            call!(
                self,
                workflow_service,
                terminate_workflow_execution,
                "TerminateWorkflowExecution",
                request
            )
            .await,
        )
    }

    /// Deletes one run with its history and records; an open one is terminated first by the server.
    /// The server does it in the background. One that is gone already is left so.
    pub async fn delete(&self, namespace: &str, workflow_id: &str, run_id: &str) -> Result<(), CallError> {
        let request = DeleteWorkflowExecutionRequest {
            namespace: namespace.to_owned(),
            workflow_execution: Some(execution(workflow_id, Some(run_id))),
        };
        gone_is_fine(
            call!(
                self,
                workflow_service,
                delete_workflow_execution,
                "DeleteWorkflowExecution",
                request
            )
            .await,
        )
    }
}

fn execution(workflow_id: &str, run_id: Option<&str>) -> WorkflowExecution {
    WorkflowExecution {
        workflow_id: workflow_id.to_owned(),
        run_id: run_id.unwrap_or_default().to_owned(),
    }
}

fn gone_is_fine<T>(answer: Result<T, CallError>) -> Result<(), CallError> {
    match answer {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
