//! The statements, each carried out whole however much the cluster can answer at a time.
//!
//! A request that meets too many tombstones fails, and so may one that asks for too much (both tables are queues: every
//! workflow that closes leaves a tombstone in `open_executions`, every one whose retention ends one in
//! `closed_executions`). So spans of time are halved until each half can be read, and lists of keys likewise. What
//! still fails for a single millisecond or a single key is given up with an error that says what to do.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::Duration;

use crossfade_visibility::ports::Error;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::ExecutionError;
use scylla::response::PagingState;
use scylla::response::query_result::QueryResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use uuid::Uuid;

use super::fault;
use super::row::{ClosedRow, OpenRow, Row};

/// Keys read in one request at most, and at least.
const KEYS: (i32, i32) = (10_000, 100);

/// Rows looked up by one request. A request goes to one replica set whatever its size, since a Namespace is one partition.
const LOOKED_UP: usize = 64;

/// Requests under way at the same time.
const AT_ONCE: usize = 8;

/// Rows of one workflow read at a time.
const RUNS: i32 = 200;

/// How often something is tried again that nothing smaller can be asked for, and after what pause.
const TRIES: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(3),
];

/// Both tables of one keyspace.
pub(super) struct Pages {
    name: String,
    session: Session,
    open_keys: PreparedStatement,
    closed_keys: PreparedStatement,
    open_rows: PreparedStatement,
    closed_rows: PreparedStatement,
    open_by_workflow: PreparedStatement,
    closed_by_workflow: PreparedStatement,
    namespaces: [PreparedStatement; 2],
    namespaces_within: [PreparedStatement; 2],
}

/// A partition: Namespace and number.
type Partition = (Uuid, i32);

/// Where an open execution's row lies: run, start time in milliseconds, Workflow Id.
pub(super) type OpenKey = (Uuid, CqlTimestamp, Option<String>);

/// Where a closed execution's row lies: run, close time in milliseconds.
pub(super) type ClosedKey = (Uuid, CqlTimestamp);

impl Pages {
    pub(super) async fn new(name: String, session: Session, keyspace: &str) -> Result<Self, Error> {
        let prepare = async |statement: &str| {
            let mut prepared = session
                .prepare(statement.replace("{keyspace}", keyspace))
                .await
                .map_err(|error| fault::of(&name, &ExecutionError::PrepareError(error)))?;
            prepared.set_is_idempotent(true);
            Ok::<_, Error>(prepared)
        };
        Ok(Self {
            open_keys: prepare(include_str!("../../sql/cassandra/open_keys.cql")).await?,
            closed_keys: prepare(include_str!("../../sql/cassandra/closed_keys.cql")).await?,
            open_rows: prepare(include_str!("../../sql/cassandra/open_rows.cql")).await?,
            closed_rows: prepare(include_str!("../../sql/cassandra/closed_rows.cql")).await?,
            open_by_workflow: prepare(include_str!("../../sql/cassandra/open_by_workflow.cql")).await?,
            closed_by_workflow: prepare(include_str!("../../sql/cassandra/closed_by_workflow.cql")).await?,
            namespaces: [
                prepare(include_str!("../../sql/cassandra/open_namespaces.cql")).await?,
                prepare(include_str!("../../sql/cassandra/closed_namespaces.cql")).await?,
            ],
            namespaces_within: [
                prepare(include_str!("../../sql/cassandra/open_namespaces_within.cql")).await?,
                prepare(include_str!("../../sql/cassandra/closed_namespaces_within.cql")).await?,
            ],
            name,
            session,
        })
    }

    /// Where the open executions of a Namespace lie that started at `since` (milliseconds) or later. Some may be given
    /// twice.
    pub(super) async fn open_keys(
        &self,
        namespace: Uuid,
        since: i64,
        each: &mut (dyn FnMut(OpenKey) + Send),
    ) -> Result<(), Error> {
        self.walk(
            &self.open_keys,
            since,
            |from, to| (namespace, from, to),
            |key: &OpenKey| Some(key.1.0),
            each,
        )
        .await
    }

    /// Where the closed executions of a Namespace lie that closed at `since` (milliseconds) or later. Some may be given
    /// twice.
    pub(super) async fn closed_keys(
        &self,
        namespace: Uuid,
        since: i64,
        each: &mut (dyn FnMut(ClosedKey) + Send),
    ) -> Result<(), Error> {
        self.walk(
            &self.closed_keys,
            since,
            |from, to| (namespace, from, to),
            |key: &ClosedKey| Some(key.1.0),
            each,
        )
        .await
    }

    /// The open executions at these start times.
    pub(super) async fn open_rows(&self, namespace: Uuid, at: &[(CqlTimestamp, Uuid)]) -> Result<Vec<OpenRow>, Error> {
        self.rows(&self.open_rows, namespace, at).await
    }

    /// The closed executions at these close times.
    pub(super) async fn closed_rows(
        &self,
        namespace: Uuid,
        at: &[(CqlTimestamp, Uuid)],
    ) -> Result<Vec<ClosedRow>, Error> {
        self.rows(&self.closed_rows, namespace, at).await
    }

    /// Those of `runs` that one workflow has: the open ones first, so that one which closes meanwhile is found closed.
    pub(super) async fn of_workflow(
        &self,
        namespace: Uuid,
        workflow_id: &str,
        runs: &HashSet<Uuid>,
    ) -> Result<(Vec<OpenRow>, Vec<ClosedRow>), Error> {
        let open = self.runs(&self.open_by_workflow, namespace, workflow_id, runs).await?;
        let closed = self
            .runs(&self.closed_by_workflow, namespace, workflow_id, runs)
            .await?;
        Ok((open, closed))
    }

    /// The Namespaces that have records, with repetitions, in no order.
    pub(super) async fn namespaces(&self) -> Result<Vec<Uuid>, Error> {
        let mut found = Vec::new();
        for (all, within) in self.namespaces.iter().zip(&self.namespaces_within) {
            if let Some(partitions) = self.partitions(all).await? {
                found.extend(partitions);
            } else {
                // The first row of a Namespace may lie behind more tombstones than one request may meet.
                let mut each = |partition: Partition| found.push(partition);
                self.walk(within, i64::MIN, |from, to| (from, to), |_| None, &mut each)
                    .await?;
            }
        }
        let of_server = found.into_iter().filter(|(_, partition)| *partition == 0);
        Ok(of_server.map(|(id, _)| id).collect())
    }

    /// The partitions of one table; `None` if that is too much to ask.
    async fn partitions(&self, statement: &PreparedStatement) -> Result<Option<Vec<Partition>>, Error> {
        let mut found = Vec::new();
        let (mut state, mut tries) = (PagingState::start(), 0);
        loop {
            let (result, next) = match self.session.execute_single_page(statement, (), state.clone()).await {
                Ok(answer) => answer,
                Err(error) if fault::asks_too_much(&error) => return Ok(None),
                Err(error) => {
                    self.again(&error, &mut tries).await?;
                    continue;
                }
            };
            found.extend(self.read::<Partition>(result)?);
            match next.into_paging_control_flow() {
                ControlFlow::Continue(next) => state = next,
                ControlFlow::Break(()) => return Ok(Some(found)),
            }
        }
    }

    /// Reads what lies at `since` (milliseconds) or later, the latest first if `at` tells the times of what is read.
    /// `bind` makes the statement's values for a span of time.
    async fn walk<K, V: SerializeRow>(
        &self,
        statement: &PreparedStatement,
        since: i64,
        bind: impl Fn(CqlTimestamp, CqlTimestamp) -> V + Send + Sync,
        at: fn(&K) -> Option<i64>,
        each: &mut (dyn FnMut(K) + Send),
    ) -> Result<(), Error>
    where
        K: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
    {
        let mut statement = statement.clone();
        let mut page = KEYS.0;
        // In one go there would be nothing sensible to halve: nearly all records lie between the epoch and now.
        let soon = Timestamp::now().as_millisecond().saturating_add(86_400_000);
        let mut spans: Vec<(i64, i64)> = [(i64::MIN, -1), (0, soon), (soon + 1, i64::MAX)]
            .into_iter()
            .filter(|(_, to)| *to >= since)
            .map(|(from, to)| (from.max(since), to))
            .collect();
        let (mut halvings, mut tries) = (0, 0);
        while let Some((from, mut to)) = spans.pop() {
            let mut state = PagingState::start();
            loop {
                statement.set_page_size(page);
                let values = bind(CqlTimestamp(from), CqlTimestamp(to));
                let (result, next) = match self
                    .session
                    .execute_single_page(&statement, values, state.clone())
                    .await
                {
                    Ok(answer) => answer,
                    Err(error) if fault::asks_too_much(&error) && from < to && halvings < fault::patience(&error) => {
                        halvings += 1;
                        page = (page / 4).max(KEYS.1);
                        let middle = from.midpoint(to);
                        spans.extend([(from, middle), (middle + 1, to)]);
                        break;
                    }
                    Err(error) => {
                        self.again(&error, &mut tries).await?;
                        continue;
                    }
                };
                (halvings, tries) = (0, 0);
                page = (page * 2).min(KEYS.0);
                let keys: Vec<K> = self.read(result)?;
                let reached = keys.last().and_then(at);
                keys.into_iter().for_each(&mut *each);
                match next.into_paging_control_flow() {
                    ControlFlow::Break(()) => break,
                    ControlFlow::Continue(next) => state = next,
                }
                // The latest come first. What is read need not be read again if the next page fails.
                if let Some(reached) = reached.filter(|reached| *reached < to) {
                    (to, state) = (reached, PagingState::start());
                }
            }
        }
        Ok(())
    }

    async fn rows<R>(
        &self,
        statement: &PreparedStatement,
        namespace: Uuid,
        at: &[(CqlTimestamp, Uuid)],
    ) -> Result<Vec<R>, Error>
    where
        R: Row + Send + for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
    {
        let requests: Vec<_> = at
            .chunks(LOOKED_UP)
            .map(|at| self.rows_at(statement, namespace, at))
            .collect();
        let found: Vec<Vec<R>> = futures::stream::iter(requests)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn rows_at<R>(
        &self,
        statement: &PreparedStatement,
        namespace: Uuid,
        at: &[(CqlTimestamp, Uuid)],
    ) -> Result<Vec<R>, Error>
    where
        R: Row + Send + for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
    {
        let mut found = Vec::new();
        let (mut lists, mut tries) = (vec![at], 0);
        while let Some(at) = lists.pop() {
            match self.session.execute_unpaged(statement, (namespace, at)).await {
                Ok(answer) => found.extend(self.read::<R>(answer)?),
                Err(error) if fault::asks_too_much(&error) && at.len() > 1 => {
                    let (first, second) = at.split_at(at.len() / 2);
                    lists.extend([first, second]);
                }
                Err(error) => {
                    self.again(&error, &mut tries).await?;
                    lists.push(at);
                }
            }
        }
        Ok(found)
    }

    async fn runs<R>(
        &self,
        statement: &PreparedStatement,
        namespace: Uuid,
        workflow_id: &str,
        runs: &HashSet<Uuid>,
    ) -> Result<Vec<R>, Error>
    where
        R: Row + for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
    {
        let mut statement = statement.clone();
        let (mut page, mut tries) = (RUNS, 0);
        let mut state = PagingState::start();
        let mut found: Vec<R> = Vec::new();
        loop {
            statement.set_page_size(page);
            let request = self
                .session
                .execute_single_page(&statement, (namespace, workflow_id), state.clone());
            let (result, next) = match request.await {
                Ok(answer) => answer,
                Err(error) if fault::asks_too_much(&error) && page > 1 => {
                    page = (page / 4).max(1);
                    continue;
                }
                Err(error) => {
                    self.again(&error, &mut tries).await?;
                    continue;
                }
            };
            found.extend(
                self.read::<R>(result)?
                    .into_iter()
                    .filter(|row| runs.contains(&row.run())),
            );
            match next.into_paging_control_flow() {
                ControlFlow::Continue(next) if found.len() < runs.len() => state = next,
                _ => return Ok(found),
            }
        }
    }

    /// Waits until the same may be asked again, a few times and while that can help.
    async fn again(&self, error: &ExecutionError, tries: &mut usize) -> Result<(), Error> {
        let meaning = fault::of(&self.name, error);
        match TRIES.get(*tries) {
            Some(pause) if meaning.is_retryable() || fault::asks_too_much(error) => {
                tracing::debug!(%error, store = self.name, "asked again");
                *tries += 1;
                tokio::time::sleep(*pause).await;
                Ok(())
            }
            _ => Err(meaning),
        }
    }

    fn read<R>(&self, result: QueryResult) -> Result<Vec<R>, Error>
    where
        R: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
    {
        let schema = |reason: String| Error::Schema {
            store: self.name.clone(),
            reason,
        };
        let rows = result.into_rows_result().map_err(|error| schema(error.to_string()))?;
        let rows = rows.rows::<R>().map_err(|error| schema(error.to_string()))?;
        rows.collect::<Result<_, _>>()
            .map_err(|error| schema(error.to_string()))
    }
}
