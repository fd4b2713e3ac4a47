//! All records in the order in which the server lists them.
//!
//! Nearly all indexes of the table end in that order (`COALESCE(close_time, '9999-12-31 23:59:59') DESC, start_time DESC,
//! run_id`), behind the Namespace and one column, which in most of them holds nothing. A table in which records lie in it
//! has them built in half the time: what comes sorted need not be sorted (PostgreSQL looks for that before it sorts).
//!
//! It is read page by page along the index that lists without a filter go by, and not by one statement, which would keep
//! the source from cleaning up behind its writers for as long as the copy takes. A record that is closed meanwhile goes from
//! the beginning to a later place, and a new one comes to the beginning, where the server has written it to the target too.

use std::collections::VecDeque;

use crossfade_visibility::ports::{Error, Pages, Read as _};
use crossfade_visibility::record::Record;
use futures::stream::{self, StreamExt as _};
use jiff::civil::DateTime;

use super::{Postgres, row};

/// Where the reading is.
struct Cursor {
    /// The Namespaces that are not done, the one that is read first.
    namespaces: VecDeque<String>,
    /// Its last record that was read.
    last: Option<Place>,
}

/// A record's place among those of its Namespace.
struct Place {
    /// `None` of what is open, which comes first.
    closed: Option<DateTime>,
    started: DateTime,
    run_id: String,
}

impl Place {
    fn of(record: &Record) -> Self {
        Self {
            closed: record.close_time.map(row::civil),
            started: row::civil(record.start_time),
            run_id: record.key.run_id.clone(),
        }
    }
}

impl Postgres {
    /// All records in the order of lists; `None` without the index that has it.
    pub(super) async fn listed(&self, namespace_id: Option<&str>, limit: usize) -> Result<Option<Pages<'_>>, Error> {
        let has_index = self
            .query(include_str!("../../sql/postgres/list_index.sql"), &[])
            .await?;
        if has_index.is_empty() {
            return Ok(None);
        }
        let begin = Cursor {
            namespaces: match namespace_id {
                Some(namespace_id) => VecDeque::from([namespace_id.to_owned()]),
                None => self.namespaces().await?.into(),
            },
            last: None,
        };
        let pages = stream::try_unfold(begin, move |mut cursor| async move {
            while let Some(namespace) = cursor.namespaces.front() {
                let records = self.listed_page(namespace, cursor.last.as_ref(), limit).await?;
                cursor.last = records.last().map(Place::of);
                if !records.is_empty() {
                    return Ok(Some((records, cursor)));
                }
                cursor.namespaces.pop_front();
            }
            Ok(None)
        });
        Ok(Some(pages.boxed()))
    }

    async fn listed_page(&self, namespace: &str, last: Option<&Place>, limit: usize) -> Result<Vec<Record>, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = match last {
            None => {
                let first = include_str!("../../sql/postgres/list_first.sql");
                self.query(first, &[&namespace, &limit]).await?
            }
            Some(last) => {
                let next = include_str!("../../sql/postgres/list_next.sql");
                let Place {
                    closed,
                    started,
                    run_id,
                } = last;
                self.query(next, &[&namespace, &limit, closed, started, run_id]).await?
            }
        };
        self.decoded(rows).await
    }
}
