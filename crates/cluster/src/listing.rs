//! Lists and counts that every Visibility store can answer, standard ones too.
//!
//! Servers up to 1.23 know *standard* stores (plugins `cassandra`, `mysql`, `postgres`, `postgres_pgx`), which cannot
//! count or scan at all and take only queries of one condition: `WorkflowId = 'x'`, `WorkflowType = 'x'` or
//! `ExecutionStatus = 'x'`, with or without `StartTime BETWEEN a AND b`; never OR, ORDER BY, STARTS_WITH or a custom
//! attribute (1.23.1: common/persistence/visibility/store/standard/{converter,query_interceptors}.go and
//! {cassandra,sql}/visibility_store.go). What is here stays within that.

use temporalio_common::protos::temporal::api::filter::v1::WorkflowExecutionFilter;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    ListClosedWorkflowExecutionsRequest, ListOpenWorkflowExecutionsRequest,
    list_closed_workflow_executions_request::Filters as ClosedFilters,
    list_open_workflow_executions_request::Filters as OpenFilters,
};

use crate::error::CallError;
use crate::execution::Execution;
use crate::frontend::Frontend;

/// Executions asked for at a time when they are counted one by one; the server's own limit
/// (1.23.1: common/dynamicconfig, frontend.visibilityMaxPageSize).
const PAGE: i32 = 1000;

/// What standard stores say when they cannot do something (1.23.1: common/persistence/visibility/store/errors.go).
const NOT_SUPPORTED: &str = "Operation not supported";

/// How a number of executions was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountedBy {
    /// The store counted.
    Store,
    /// The store cannot count: the open and then the closed ones were listed page by page. One that closed meanwhile
    /// may be counted twice, or not at all.
    Listing,
}

/// How many executions a Namespace has, as the store that answers its reads says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// The number.
    pub executions: u64,
    /// How it was found.
    pub by: CountedBy,
}

/// Whether a list is of open or of closed executions.
#[derive(Debug, Clone, Copy)]
enum Life {
    Open,
    Closed,
}

impl Frontend {
    /// How many executions of a Namespace match a query, where the store that answers can count; `None` where it
    /// cannot, which proves that a standard store answers. An empty query counts all.
    pub async fn try_count(&self, namespace: &str, query: &str) -> Result<Option<u64>, CallError> {
        match self.count(namespace, query).await {
            Ok(count) => Ok(Some(count)),
            Err(CallError::Status {
                code: tonic::Code::InvalidArgument,
                message,
                ..
            }) if message.contains(NOT_SUPPORTED) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many executions a Namespace has, by counting, else by listing them all: about a thousand for each call.
    pub async fn count_all(&self, namespace: &str) -> Result<Count, CallError> {
        if let Some(executions) = self.try_count(namespace, "").await? {
            return Ok(Count {
                executions,
                by: CountedBy::Store,
            });
        }
        let open = self.count_pages(namespace, Life::Open).await?;
        let closed = self.count_pages(namespace, Life::Closed).await?;
        Ok(Count {
            executions: open + closed,
            by: CountedBy::Listing,
        })
    }

    /// The records that the answering store has of one workflow id: every run, open or closed, at most `limit`.
    /// Every store answers this, so it tells by a record that only one store has which store answers.
    pub async fn find(&self, namespace: &str, workflow_id: &str, limit: usize) -> Result<Vec<Execution>, CallError> {
        if !workflow_id.contains(['\'', '\\']) {
            return self
                .list(namespace, &format!("WorkflowId = '{workflow_id}'"), limit)
                .await;
        }
        // A List Filter cannot hold such an id: servers compare with the text as it was escaped (1.23.1:
        // common/persistence/visibility/store/query/converter.go, ParseSqlValue).
        let mut found = Vec::new();
        for life in [Life::Open, Life::Closed] {
            let mut token = Vec::new();
            loop {
                let page = self.page_of(namespace, life, Some(workflow_id), token).await?;
                found.extend(page.executions);
                if found.len() >= limit || page.next.is_empty() {
                    break;
                }
                token = page.next;
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    async fn count_pages(&self, namespace: &str, life: Life) -> Result<u64, CallError> {
        let mut counted = 0;
        let mut token = Vec::new();
        loop {
            let page = self.page_of(namespace, life, None, token).await?;
            counted += page.executions.len() as u64;
            if page.next.is_empty() {
                return Ok(counted);
            }
            token = page.next;
        }
    }

    // Not ListWorkflowExecutions: over a standard store it lists open and closed ones by one token, which starts over
    // where Cassandra knows a full page of open ones to be the last (1.23.1:
    // common/persistence/visibility/store/standard/visibility_store.go, listWorkflowExecutionsHelper).
    async fn page_of(
        &self,
        namespace: &str,
        life: Life,
        workflow_id: Option<&str>,
        next_page_token: Vec<u8>,
    ) -> Result<Page, CallError> {
        let namespace = namespace.to_owned();
        let of = workflow_id.map(|workflow_id| WorkflowExecutionFilter {
            workflow_id: workflow_id.to_owned(),
            ..Default::default()
        });
        let (call, executions, next) = match life {
            Life::Open => {
                const CALL: &str = "ListOpenWorkflowExecutions";
                let request = ListOpenWorkflowExecutionsRequest {
                    namespace,
                    maximum_page_size: PAGE,
                    next_page_token,
                    filters: of.map(OpenFilters::ExecutionFilter),
                    ..Default::default()
                };
                let page = self
                    .bounded(CALL, request, |request| {
                        let mut service = self.connection().workflow_service();
                        async move { service.list_open_workflow_executions(request).await }
                    })
                    .await?;
                (CALL, page.executions, page.next_page_token)
            }
            Life::Closed => {
                const CALL: &str = "ListClosedWorkflowExecutions";
                let request = ListClosedWorkflowExecutionsRequest {
                    namespace,
                    maximum_page_size: PAGE,
                    next_page_token,
                    filters: of.map(ClosedFilters::ExecutionFilter),
                    ..Default::default()
                };
                let page = self
                    .bounded(CALL, request, |request| {
                        let mut service = self.connection().workflow_service();
                        async move { service.list_closed_workflow_executions(request).await }
                    })
                    .await?;
                (CALL, page.executions, page.next_page_token)
            }
        };
        let no_key = || CallError::answer(call, self.address(), "an execution without a key");
        Ok(Page {
            executions: executions
                .into_iter()
                .map(|info| Execution::from_info(info).ok_or_else(no_key))
                .collect::<Result<_, _>>()?,
            next,
        })
    }
}

/// One page of the open or the closed ones.
struct Page {
    executions: Vec<Execution>,
    next: Vec<u8>,
}
