//! Finding records by their runs. What absence means is said at the top of the [driver](super).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crossfade_visibility::ports::Error;
use crossfade_visibility::record::Record;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use scylla::value::CqlTimestamp;
use uuid::Uuid;

use super::Cassandra;
use super::row::{ClosedRow, OpenRow, Row};
use super::window::Place;

/// How long a batch that closes an execution may take from one table to the other.
const CLOSING: Duration = Duration::from_secs(1);

/// How far back both tables are searched for a record of which nothing is known: longer than the server's own tasks lag.
const LATELY: Duration = Duration::from_secs(900);

/// How old a window may be to say that a record of which nothing is known is not there.
const KNOWN: Duration = Duration::from_secs(30);

/// Workflows searched at the same time.
const AT_ONCE: usize = 8;

/// Everything known of where one run may be.
#[derive(Default)]
struct Trail {
    /// Start times under which it may be open.
    open: Vec<i64>,
    /// Close times under which it may be closed.
    closed: Vec<i64>,
    workflow_id: Option<Box<str>>,
    /// It was closed at the times given, here: if it is there no longer, it was deleted.
    settled: bool,
    /// It was open here: if it is there no longer, its close may be under way.
    was_open: bool,
}

impl Trail {
    fn is_empty(&self) -> bool {
        self.open.is_empty() && self.closed.is_empty() && self.workflow_id.is_none()
    }
}

/// Records by run, and where they belong.
struct Found<'a> {
    store: &'a str,
    namespace_id: &'a str,
    records: BTreeMap<Uuid, Record>,
}

impl Found<'_> {
    fn add<R: Row>(&mut self, rows: Vec<R>) -> Result<(), Error> {
        for row in rows {
            let (run, record) = (row.run(), row.record(self.store, self.namespace_id)?);
            let known = self.records.get(&run);
            // Closed counts before open, the later close before the earlier.
            if known.is_none_or(|known| known.close_time < record.close_time) {
                self.records.insert(run, record);
            }
        }
        Ok(())
    }

    fn lacks(&self, runs: impl IntoIterator<Item = Uuid>) -> Vec<Uuid> {
        runs.into_iter().filter(|run| !self.records.contains_key(run)).collect()
    }
}

impl Cassandra {
    /// The records of those of `runs` that exist.
    pub(super) async fn find(
        &self,
        namespace: Uuid,
        namespace_id: &str,
        runs: &[Uuid],
    ) -> Result<BTreeMap<Uuid, Record>, Error> {
        let mut found = Found {
            store: &self.name,
            namespace_id,
            records: BTreeMap::new(),
        };
        let trails = self.trails(namespace, runs);
        self.follow(namespace, &trails, &mut found).await?;

        let unsettled = found.lacks(trails.iter().filter(|(_, trail)| !trail.settled).map(|(run, _)| *run));
        self.search_workflows(namespace, &trails, &unsettled, &mut found)
            .await?;
        let closing: Vec<Uuid> = found
            .lacks(unsettled)
            .into_iter()
            .filter(|run| trails.get(run).is_some_and(|trail| trail.was_open))
            .collect();
        if !closing.is_empty() {
            tokio::time::sleep(CLOSING).await;
            self.search_workflows(namespace, &trails, &closing, &mut found).await?;
        }

        let unknown = trails.iter().filter(|(_, trail)| trail.is_empty()).map(|(run, _)| *run);
        let unknown: Vec<Uuid> = unknown.collect();
        if !unknown.is_empty() {
            self.search_lately(namespace, &unknown, &mut found).await?;
            let unknown = found.lacks(unknown);
            self.search_everywhere(namespace, unknown, &mut found).await?;
        }
        found
            .records
            .values()
            .for_each(|record| self.sightings.note(record, true));
        Ok(found.records)
    }

    /// What the window at hand and earlier sightings say of each run.
    fn trails(&self, namespace: Uuid, runs: &[Uuid]) -> HashMap<Uuid, Trail> {
        let window = self.window_at_hand(namespace);
        let mut trails = HashMap::with_capacity(runs.len());
        for run in runs {
            let mut trail = Trail::default();
            match window.as_ref().and_then(|window| window.place(*run)) {
                Some(Place::Open { at, workflow_id }) => {
                    trail.open.push(at);
                    trail.workflow_id = Some(workflow_id.into());
                    trail.was_open = true;
                }
                Some(Place::Closed { at }) => {
                    trail.closed.push(at);
                    trail.settled = true;
                }
                None => {}
            }
            // A closed one of the window needs no more; an open one may have been seen closed since.
            if let Some(seen) = self.sightings.of(namespace, *run).filter(|_| !trail.settled) {
                trail.closed.extend(seen.close);
                if !trail.open.contains(&seen.start) {
                    trail.open.push(seen.start);
                }
                trail.was_open |= seen.here && seen.close.is_none();
                trail.settled = seen.here && seen.close.is_some();
                trail.workflow_id = Some(seen.workflow_id);
            }
            trails.insert(*run, trail);
        }
        trails
    }

    /// Looks where the trails lead: at open executions first, so that one which closes meanwhile is found closed.
    async fn follow(&self, namespace: Uuid, trails: &HashMap<Uuid, Trail>, found: &mut Found<'_>) -> Result<(), Error> {
        let places = |times: fn(&Trail) -> &[i64]| -> Vec<(CqlTimestamp, Uuid)> {
            let places = trails
                .iter()
                .flat_map(|(run, trail)| times(trail).iter().map(|at| (CqlTimestamp(*at), *run)));
            places.collect()
        };
        let (open, closed) = (places(|trail| &trail.open), places(|trail| &trail.closed));
        found.add(self.pages.open_rows(namespace, &open).await?)?;
        found.add(self.pages.closed_rows(namespace, &closed).await?)
    }

    /// Looks for runs among all executions of their workflows.
    async fn search_workflows(
        &self,
        namespace: Uuid,
        trails: &HashMap<Uuid, Trail>,
        runs: &[Uuid],
        found: &mut Found<'_>,
    ) -> Result<(), Error> {
        let mut workflows: HashMap<&str, HashSet<Uuid>> = HashMap::new();
        for run in runs {
            if let Some(workflow_id) = trails.get(run).and_then(|trail| trail.workflow_id.as_deref()) {
                workflows.entry(workflow_id).or_default().insert(*run);
            }
        }
        let searches: Vec<_> = workflows
            .iter()
            .map(|(workflow_id, runs)| self.pages.of_workflow(namespace, workflow_id, runs))
            .collect();
        let rows: Vec<(Vec<OpenRow>, Vec<ClosedRow>)> = futures::stream::iter(searches)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        for (open, closed) in rows {
            found.add(open)?;
            found.add(closed)?;
        }
        Ok(())
    }

    /// Looks for runs of which nothing is known among what started or closed lately.
    async fn search_lately(&self, namespace: Uuid, runs: &[Uuid], found: &mut Found<'_>) -> Result<(), Error> {
        let since = Timestamp::now().saturating_sub(jiff::SignedDuration::try_from(LATELY).unwrap_or_default());
        let since = since.map_or(i64::MIN, Timestamp::as_millisecond);
        let wanted: HashSet<Uuid> = runs.iter().copied().collect();
        let mut trails: HashMap<Uuid, Trail> = HashMap::new();
        let open = &mut |(run, at, _): super::pages::OpenKey| {
            if wanted.contains(&run) {
                trails.entry(run).or_default().open.push(at.0);
            }
        };
        self.pages.open_keys(namespace, since, open).await?;
        let closed = &mut |(run, at): super::pages::ClosedKey| {
            if wanted.contains(&run) {
                trails.entry(run).or_default().closed.push(at.0);
            }
        };
        self.pages.closed_keys(namespace, since, closed).await?;
        self.follow(namespace, &trails, found).await
    }

    /// Looks for runs of which nothing is known in a window of now.
    async fn search_everywhere(
        &self,
        namespace: Uuid,
        mut runs: Vec<Uuid>,
        found: &mut Found<'_>,
    ) -> Result<(), Error> {
        if let Some(window) = self
            .window_at_hand(namespace)
            .filter(|window| window.since.elapsed() < KNOWN)
        {
            runs.retain(|run| !window.covers(*run));
        }
        runs.sort_unstable();
        let mut after = None;
        while let Some(last) = runs.last().copied() {
            let window = self.read_window(namespace, after).await?;
            let trails = self.trails(namespace, &runs);
            self.follow(namespace, &trails, found).await?;
            match window.until() {
                Some(until) if until < last => after = Some(until),
                _ => break,
            }
        }
        Ok(())
    }
}
