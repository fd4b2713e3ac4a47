//! What must be known about a pair on a version: each trap with the versions it is in and where Temporal's source shows it.

use serde::Serialize;

use super::{Form, Kind, Pair, Version};

/// One trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Trap {
    /// A name that stays.
    pub name: &'static str,
    /// What happens, and what is done about it.
    pub text: &'static str,
    /// Where Temporal's source shows it.
    pub source: &'static str,
    #[serde(skip)]
    from: Version,
    /// The first version without it.
    #[serde(skip)]
    until: Option<Version>,
    #[serde(skip)]
    scope: Scope,
}

impl Trap {
    /// The versions that have it, such as `1.21 to 1.23` or `from 1.29.4`.
    pub fn versions(&self) -> String {
        let short = |version: Version| match version.patch {
            0 => format!("{}.{}", version.major, version.minor),
            _ => version.to_string(),
        };
        match (self.from == Version::OLDEST, self.until) {
            (true, None) => "all".to_owned(),
            (false, None) => format!("from {}", short(self.from)),
            (true, Some(until)) => format!("before {}", short(until)),
            (false, Some(until)) => format!("{} to before {}", short(self.from), short(until)),
        }
    }

    fn applies(&self, pair: Pair, form: Form, version: Version) -> bool {
        let in_scope = match self.scope {
            Scope::Any => true,
            Scope::Source(kinds) => kinds.contains(&pair.source),
            Scope::Target(kind) => pair.target == kind,
            Scope::Within(kind) => (pair.source, pair.target) == (kind, kind),
            Scope::Form(wanted) => form == wanted,
            Scope::OneClient => (pair.source, pair.target) == (Kind::Elasticsearch, Kind::Elasticsearch),
        };
        in_scope && self.from <= version && self.until.is_none_or(|until| version < until)
    }
}

/// Which pairs a trap is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Any,
    Source(&'static [Kind]),
    Target(Kind),
    Within(Kind),
    Form(Form),
    OneClient,
}

const STANDARD: &[Kind] = &[Kind::Cassandra, Kind::StandardSql];

/// Every trap, in the order in which they are met.
const TRAPS: [Trap; 20] = [
    Trap {
        name: "leave-before-upgrade",
        text: "finish before the upgrade to 1.24, which no longer has this source",
        source: "1.24.0: common/persistence/visibility/factory.go",
        from: Version::OLDEST,
        until: Some(Version::minor(24)),
        scope: Scope::Source(STANDARD),
    },
    Trap {
        name: "keys-at-start",
        text: "the server looks once, at its start, whether the dynamic config keys are there: without them it keeps \
               constants and later edits do nothing; so both keys are written (off, false) before the first restart",
        source: "1.23.1: common/persistence/visibility/defs.go, HasKey",
        from: Version::OLDEST,
        until: Some(Version::minor(24)),
        scope: Scope::Any,
    },
    Trap {
        name: "legacy-key",
        text: "with `advancedVisibilityStore` in the file the server takes no secondaryVisibilityStore, and unless \
               `system.advancedVisibilityWritingMode` says otherwise it writes and reads that Elasticsearch alone already",
        source: "1.24.3: common/config/persistence.go; 1.23.1: common/persistence/visibility/defs.go",
        from: Version::OLDEST,
        until: Some(Version::minor(25)),
        scope: Scope::Target(Kind::Elasticsearch),
    },
    Trap {
        name: "index-form-has-one-entry",
        text: "both indices are written by the primary's own entry, which stays `visibilityStore` under its name: the target's \
               entry must differ from it in `indices` alone, none is added to the file, and promote makes the second index the \
               `visibility` index, so that `target.name` and `keep_source_datastore` have nothing to say",
        source: "1.23.1: common/config/persistence.go, GetSecondaryVisibilityStoreConfig",
        from: Version::OLDEST,
        until: None,
        scope: Scope::Form(Form::SecondaryIndex),
    },
    Trap {
        name: "one-elasticsearch-client",
        text: "the server has one Elasticsearch client: settings of the two entries that differ in more than `indices` are \
               refused at start",
        source: "1.25.1 to 1.27.3: common/config/persistence.go, DeepEqual",
        from: Version::minor(25),
        until: Some(Version::minor(28)),
        scope: Scope::OneClient,
    },
    Trap {
        name: "pgx-plugin",
        text: "plugin `postgres12_pgx` is not known before 1.23: use `postgres12`",
        source: "1.23.0: common/persistence/sql/sqlplugin/postgresql",
        from: Version::OLDEST,
        until: Some(Version::minor(23)),
        scope: Scope::Target(Kind::Sql),
    },
    Trap {
        name: "opensearch",
        text: "OpenSearch as the target is documented by Temporal from 1.30.1; before that it ran in Temporal's CI only",
        source: "1.30.1: release notes; 1.21.6: develop/buildkite/docker-compose-os2.yml",
        from: Version::OLDEST,
        until: Some(Version::of(30, 1)),
        scope: Scope::Target(Kind::Elasticsearch),
    },
    Trap {
        name: "secondary-schema-unchecked",
        text: "the server checks the schema of its primary only: an old schema in the secondary fails silently at the \
               first write, so preflight checks it",
        source: "1.30.8: common/persistence/sql/version_checker.go",
        from: Version::OLDEST,
        until: None,
        scope: Scope::Target(Kind::Sql),
    },
    Trap {
        name: "index-made-by-writing",
        text: "a server that writes before the index exists creates it without the template's mapping, and every list then \
               fails: the mapping is checked, not the name",
        source: "1.23.1, seen: common/persistence/visibility/store/elasticsearch",
        from: Version::OLDEST,
        until: None,
        scope: Scope::Target(Kind::Elasticsearch),
    },
    Trap {
        name: "attributes-registered-in-primary-only",
        text: "`search-attribute create` registers for the primary only: custom search attributes must be registered for \
               the secondary by its index name (admin API) before dual writes",
        source: "1.21.6: service/frontend/operator_handler.go",
        from: Version::OLDEST,
        until: Some(Version::minor(23)),
        scope: Scope::Any,
    },
    Trap {
        name: "unknown-attribute-fails-the-write",
        text: "a custom search attribute that is not registered for the secondary fails every write that carries it: \
               attributes are registered and read back before dual writes",
        source: "1.29.3, 1.30.0: common/searchattribute/encode.go, Decode",
        from: Version::OLDEST,
        until: Some(Version::of(29, 4)),
        scope: Scope::Any,
    },
    Trap {
        name: "unknown-attribute-fails-the-write",
        text: "a custom search attribute that is not registered for the secondary fails every write that carries it: \
               attributes are registered and read back before dual writes",
        source: "1.30.0: common/searchattribute/encode.go, Decode",
        from: Version::minor(30),
        until: Some(Version::of(30, 1)),
        scope: Scope::Any,
    },
    Trap {
        name: "unknown-attribute-is-dropped",
        text: "a custom search attribute that is not registered for the secondary is dropped without a word: attributes \
               are registered and read back before dual writes",
        source: "1.29.4: common/searchattribute/encode.go, Decode",
        from: Version::of(29, 4),
        until: Some(Version::minor(30)),
        scope: Scope::Any,
    },
    Trap {
        name: "unknown-attribute-is-dropped",
        text: "a custom search attribute that is not registered for the secondary is dropped without a word: attributes \
               are registered and read back before dual writes",
        source: "1.30.1: common/searchattribute/encode.go, Decode",
        from: Version::of(30, 1),
        until: Some(Version::minor(31)),
        scope: Scope::Any,
    },
    Trap {
        name: "unknown-attribute-is-not-indexed",
        text: "a custom search attribute that is not registered for the secondary is written by the type its payload \
               names, and in Elasticsearch not indexed: attributes are registered and read back before dual writes",
        source: "1.31.2: common/searchattribute/encode.go, Decode",
        from: Version::minor(31),
        until: None,
        scope: Scope::Any,
    },
    Trap {
        name: "lists-refused-in-dual",
        text: "as soon as two stores are configured, starts and upserts that give a list to an attribute that is no \
               KeywordList are refused",
        source: "1.22.1: common/persistence/visibility/defs.go, AllowListForValidation",
        from: Version::OLDEST,
        until: Some(Version::of(22, 2)),
        scope: Scope::Any,
    },
    Trap {
        name: "rows-without-version",
        text: "SQL rows have no `_version` yet: the last writer wins, so a copy writes only what is absent",
        source: "1.26.2: schema/postgresql/v12/visibility; `_version` since v1.9 of 1.27.0",
        from: Version::OLDEST,
        until: Some(Version::minor(27)),
        scope: Scope::Within(Kind::Sql),
    },
    Trap {
        name: "refresh-reopens",
        text: "a refresh of a closed execution writes an upsert after its close: the record looks running again",
        source: "1.22.1: service/history/workflow/task_refresher.go, fixed in 1.22.2",
        from: Version::OLDEST,
        until: Some(Version::of(22, 2)),
        scope: Scope::Source(STANDARD),
    },
    Trap {
        name: "secondary-after-primary",
        text: "the primary is written first and the secondary after it; while the primary fails, the secondary is not tried",
        source: "1.27.3: common/persistence/visibility/visibility_manager_dual.go",
        from: Version::OLDEST,
        until: Some(Version::minor(29)),
        scope: Scope::Any,
    },
    Trap {
        name: "dead-letters",
        text: "a write that keeps failing (100 attempts in 1.23, 70 later: about an hour) goes to the dead-letter queue \
               and is missing from then on: a failing target is left before that",
        source: "1.23.1, 1.24.3: service/history/configs/config.go, TaskDLQUnexpectedErrorAttempts",
        from: Version::minor(23),
        until: None,
        scope: Scope::Any,
    },
];

/// The traps of a pair in a form on a version.
pub fn traps(pair: Pair, form: Form, version: Version) -> impl Iterator<Item = &'static Trap> {
    TRAPS.iter().filter(move |trap| trap.applies(pair, form, version))
}

/// Every trap.
pub(super) fn all() -> &'static [Trap] {
    &TRAPS
}

/// The schema that servers of a version expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Schemas {
    /// The first version that expects it.
    #[serde(skip)]
    pub from: Version,
    /// Of SQL visibility (`schema/*/version.go` of each release).
    pub sql: &'static str,
    /// Of the Elasticsearch index template (`schema/elasticsearch/visibility/versioned`).
    pub elasticsearch: &'static str,
    /// Of Cassandra and standard SQL visibility; `None` where they are gone.
    pub standard: Option<&'static str>,
}

/// Each change of schema, from the oldest version on.
pub(super) const SCHEMAS: [Schemas; 8] = {
    const fn at(from: Version, sql: &'static str, elasticsearch: &'static str) -> Schemas {
        Schemas {
            from,
            sql,
            elasticsearch,
            standard: None,
        }
    }
    [
        Schemas {
            standard: Some("v1.0 (Cassandra), v1.1 (SQL)"),
            ..at(Version::OLDEST, "v1.3", "v5")
        },
        Schemas {
            standard: Some("v1.0 (Cassandra), v1.1 (SQL)"),
            ..at(Version::minor(23), "v1.4", "v6")
        },
        at(Version::minor(24), "v1.5", "v7"),
        at(Version::of(24, 1), "v1.6", "v7"),
        at(Version::of(26, 2), "v1.7", "v8"),
        at(Version::minor(27), "v1.9", "v9"),
        at(Version::minor(30), "v1.13", "v13"),
        at(Version::minor(31), "v1.14", "v14"),
    ]
};

/// The schemas that servers of `version` expect.
pub fn schemas(version: Version) -> Option<&'static Schemas> {
    SCHEMAS.iter().rev().find(|schemas| schemas.from <= version)
}
