//! How hard a PostgreSQL works: how long a read as the server's own takes, and how late its standbys are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use crossfade_visibility::ports::{Error, Read};
use crossfade_visibility::pressure::{Gauge, Level, Load};

use super::Postgres;
use super::connect::Lane;
use crate::store::Gauged;

/// A look-up by primary key takes well under a millisecond where there is room.
const SLOW: Duration = Duration::from_millis(250);
/// By then, executions wait for their records to be written.
const TOO_SLOW: Duration = Duration::from_secs(1);

/// How late a standby may be before it is not asked for more.
const LATE: Late = Late {
    seconds: 3.0,
    bytes: 64 << 20,
};
/// How late a standby may be before the rate goes down: those who read there see the past, and the WAL that is kept for
/// it fills the disk.
const TOO_LATE: Late = Late {
    seconds: 15.0,
    bytes: 512 << 20,
};

/// How far a standby is behind.
#[derive(Clone, Copy)]
struct Late {
    seconds: f64,
    /// Of WAL that it has not replayed.
    bytes: i64,
}

impl Late {
    fn beyond(self, limit: Self) -> bool {
        self.seconds > limit.seconds || self.bytes > limit.bytes
    }
}

/// One watcher of a database, with a connection of its own: one that waits behind the copy's would measure the copy.
struct PostgresGauge {
    store: Arc<Postgres>,
    lane: Lane,
}

impl Gauged for Postgres {
    fn gauge(self: Arc<Self>) -> Arc<dyn Gauge> {
        let lane = self.reads.alike();
        Arc::new(PostgresGauge { store: self, lane })
    }
}

#[async_trait]
impl Gauge for PostgresGauge {
    fn describe(&self) -> String {
        format!("{}: latency and standbys", Read::describe(&*self.store))
    }

    async fn look(&self) -> Result<Load, Error> {
        let fault = |error: tokio_postgres::Error| self.store.fault(&error);
        let mut guard = self.lane.session().await?;
        let session = guard.get()?;
        let read = session
            .prepare(include_str!("../../sql/postgres/pressure_read.sql"))
            .await
            .map_err(fault)?;
        let began = Instant::now();
        session.client.query(&read, &[]).await.map_err(fault)?;
        let took = began.elapsed();
        let standbys = session
            .prepare(include_str!("../../sql/postgres/pressure_standbys.sql"))
            .await
            .map_err(fault)?;
        let row = session.client.query_one(&standbys, &[]).await.map_err(fault)?;
        let late = Late {
            seconds: row.try_get(0).map_err(fault)?,
            bytes: row.try_get(1).map_err(fault)?,
        };
        Ok(load(&Read::describe(&*self.store), took, late))
    }
}

/// The worse of the two.
fn load(store: &str, took: Duration, late: Late) -> Load {
    let by_latency = if took > TOO_SLOW {
        Level::Over
    } else if took > SLOW {
        Level::Strained
    } else {
        Level::Calm
    };
    let by_standbys = if late.beyond(TOO_LATE) {
        Level::Over
    } else if late.beyond(LATE) {
        Level::Strained
    } else {
        Level::Calm
    };
    let seen = if by_standbys > by_latency {
        format!(
            "{store}: a standby is {:.0} s and {} MiB behind",
            late.seconds,
            late.bytes >> 20
        )
    } else {
        format!("{store}: a look-up by primary key took {} ms", took.as_millis())
    };
    Load {
        level: by_latency.max(by_standbys),
        seen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worse_of_latency_and_standbys_counts() {
        let late = |seconds, megabytes: i64| Late {
            seconds,
            bytes: megabytes << 20,
        };
        for (millis, late, level, seen) in [
            (1, late(0.0, 0), Level::Calm, "db: a look-up by primary key took 1 ms"),
            (
                300,
                late(1.0, 1),
                Level::Strained,
                "db: a look-up by primary key took 300 ms",
            ),
            (
                1_001,
                late(9.0, 1),
                Level::Over,
                "db: a look-up by primary key took 1001 ms",
            ),
            (
                300,
                late(16.0, 1),
                Level::Over,
                "db: a standby is 16 s and 1 MiB behind",
            ),
            (
                1,
                late(0.0, 65),
                Level::Strained,
                "db: a standby is 0 s and 65 MiB behind",
            ),
            (
                1,
                late(0.0, 600),
                Level::Over,
                "db: a standby is 0 s and 600 MiB behind",
            ),
        ] {
            let load = load("db", Duration::from_millis(millis), late);
            assert_eq!((load.level, load.seen.as_str()), (level, seen));
        }
    }
}
