//! The table: what each server does with each pair, and what Crossfade does about it.
//!
//! Read in the servers' own source (`common/config/persistence.go`, `Validate`, and
//! `common/persistence/visibility/factory.go`, `NewManager`, of 1.21.0 to 1.32.2): both change with minor versions only.
//! `tests/routes` starts the servers and compares.

use serde::Serialize;

use super::{Form, Kind, Pair, Version};

/// What a server does when it is started with a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Server {
    /// It starts and can write both stores.
    Accepts,
    /// It refuses the config file, before any store is reached.
    RefusesConfig,
    /// It takes the config file and stops while its services start.
    StopsAtStart,
    /// It starts and silently leaves the secondary out: nothing is ever written there.
    LeavesOut,
}

impl Server {
    /// In words, after "the server".
    pub fn words(self) -> &'static str {
        match self {
            Self::Accepts => "accepts the pair",
            Self::RefusesConfig => "refuses the config file",
            Self::StopsAtStart => "stops while it starts",
            Self::LeavesOut => "starts and never writes the secondary",
        }
    }
}

/// Why Crossfade does not migrate a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The reason, to follow "A to B on server V:".
    pub why: &'static str,
    /// What to do instead, with the versions that would allow it.
    pub remedy: &'static str,
    /// The versions that allow the pair; `None` when none does.
    pub allowed_by: Option<&'static str>,
}

/// What Crossfade does about a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Dual Visibility.
    Dual {
        /// How the server is told.
        form: Form,
        /// Whether this server would take the other form as well.
        either: bool,
    },
    /// No way.
    Refused(Refusal),
}

/// What holds for a pair from one minor version on, until the next span of the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first minor version: 21 is 1.21.0.
    pub from: u32,
    /// What the server does with the pair in the form of the answer, or, where that is a refusal, in
    /// `secondaryVisibilityStore`.
    pub server: Server,
    /// What Crossfade does.
    pub answer: Answer,
}

/// The newest minor version that was read: later ones are taken to be like it.
pub(super) const NEWEST: u32 = 32;

const fn dual(from: u32, form: Form, either: bool) -> Span {
    Span {
        from,
        server: Server::Accepts,
        answer: Answer::Dual { form, either },
    }
}

const fn refused(from: u32, server: Server, refusal: Refusal) -> Span {
    Span {
        from,
        server,
        answer: Answer::Refused(refusal),
    }
}

const NO_TARGET: Refusal = Refusal {
    why: "a store without search attributes is no target; the server dropped these stores in 1.24",
    remedy: "choose postgres12, mysql8 or sqlite as the target, or Elasticsearch where the source allows it",
    allowed_by: None,
};

const SOURCE_GONE: Refusal = Refusal {
    why: "Visibility in Cassandra and in standard SQL (plugins mysql, postgres, postgres_pgx) is gone from server 1.24 \
          on, so such a store cannot be a source there",
    remedy: "migrate while the cluster runs 1.21, 1.22 or 1.23, and upgrade it afterwards",
    allowed_by: Some("1.21 to 1.23"),
};

const SQL_AND_ELASTICSEARCH: Refusal = Refusal {
    why: "every server version refuses Dual Visibility between SQL and Elasticsearch (different datastore types)",
    remedy: "choose a target of the source's own family: SQL with SQL in every version from 1.21, Elasticsearch with \
             another index of its cluster from 1.21 and with another cluster from 1.28",
    allowed_by: None,
};

const ONE_CLIENT: Refusal = Refusal {
    why: "up to 1.27 the server has one Elasticsearch client, so both stores must be in one cluster and their settings \
          differ in nothing but `indices`",
    remedy: "upgrade the cluster to 1.28 or later first; or, if both indices are in one cluster, give the target's entry \
             exactly the settings of the source's but for `indices`",
    allowed_by: Some("1.28 and later"),
};

/// Each pair with its spans, in the order in which they are shown.
const TABLE: [(Pair, &[Span]); 17] = {
    use Form::{SecondaryIndex, SecondaryStore};
    use Kind::{Cassandra, Elasticsearch, Sql, StandardSql};
    use Server::{Accepts, LeavesOut, RefusesConfig, StopsAtStart};
    [
        (
            Pair::new(Cassandra, Elasticsearch),
            &[
                dual(21, SecondaryStore, false),
                refused(24, StopsAtStart, SOURCE_GONE),
                refused(25, RefusesConfig, SOURCE_GONE),
            ],
        ),
        (
            Pair::new(Cassandra, Sql),
            &[dual(21, SecondaryStore, false), refused(24, StopsAtStart, SOURCE_GONE)],
        ),
        (
            Pair::new(StandardSql, Elasticsearch),
            &[
                dual(21, SecondaryStore, false),
                refused(24, StopsAtStart, SOURCE_GONE),
                refused(25, RefusesConfig, SOURCE_GONE),
            ],
        ),
        (
            Pair::new(StandardSql, Sql),
            &[dual(21, SecondaryStore, false), refused(24, StopsAtStart, SOURCE_GONE)],
        ),
        (Pair::new(Sql, Sql), &[dual(21, SecondaryStore, false)]),
        (
            Pair::new(Sql, Elasticsearch),
            &[
                refused(21, StopsAtStart, SQL_AND_ELASTICSEARCH),
                refused(25, RefusesConfig, SQL_AND_ELASTICSEARCH),
            ],
        ),
        (
            Pair::new(Elasticsearch, Sql),
            &[refused(21, RefusesConfig, SQL_AND_ELASTICSEARCH)],
        ),
        (
            Pair::indices(),
            &[dual(21, SecondaryIndex, false), dual(25, SecondaryStore, true)],
        ),
        (
            Pair::new(Elasticsearch, Elasticsearch),
            &[refused(21, RefusesConfig, ONE_CLIENT), dual(28, SecondaryStore, false)],
        ),
        // What is no target, and what the servers make of it.
        (
            Pair::new(Cassandra, Cassandra),
            &[refused(21, Accepts, NO_TARGET), refused(24, StopsAtStart, NO_TARGET)],
        ),
        (
            Pair::new(Cassandra, StandardSql),
            &[refused(21, Accepts, NO_TARGET), refused(24, StopsAtStart, NO_TARGET)],
        ),
        (
            Pair::new(StandardSql, Cassandra),
            &[refused(21, Accepts, NO_TARGET), refused(24, StopsAtStart, NO_TARGET)],
        ),
        (
            Pair::new(StandardSql, StandardSql),
            &[refused(21, Accepts, NO_TARGET), refused(24, StopsAtStart, NO_TARGET)],
        ),
        (
            Pair::new(Sql, Cassandra),
            &[refused(21, StopsAtStart, NO_TARGET), refused(24, LeavesOut, NO_TARGET)],
        ),
        (Pair::new(Sql, StandardSql), &[refused(21, StopsAtStart, NO_TARGET)]),
        (
            Pair::new(Elasticsearch, Cassandra),
            &[refused(21, RefusesConfig, NO_TARGET)],
        ),
        (
            Pair::new(Elasticsearch, StandardSql),
            &[refused(21, RefusesConfig, NO_TARGET)],
        ),
    ]
};

/// Every pair there is, those that some version allows first.
pub fn pairs() -> impl Iterator<Item = Pair> {
    TABLE.iter().map(|(pair, _)| *pair)
}

/// What holds for a pair, from the oldest version on.
pub fn spans(pair: Pair) -> &'static [Span] {
    TABLE
        .iter()
        .find(|(known, _)| *known == pair.at(pair.place))
        .map_or(&[], |(_, spans)| spans)
}

/// What holds for a pair on a version; the oldest version with Dual Visibility stands for those before it.
pub fn cell(pair: Pair, version: Version) -> Span {
    let minor = if version.major > 1 { u32::MAX } else { version.minor };
    let spans = spans(pair);
    spans
        .iter()
        .rev()
        .find(|span| span.from <= minor)
        .or(spans.first())
        .copied()
        // No pair is without spans: a test holds the table to that.
        .unwrap_or(refused(21, Server::RefusesConfig, NO_TARGET))
}
