//! What is done about custom search attributes before the target is written.

use crate::{
    attributes::Attributes,
    route::{Kind, Pair},
    spec::Spec,
};

/// What is done about custom search attributes before the target is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AttributeWork {
    /// The server is told them for the target.
    pub(crate) registered: bool,
    /// How those of executions from before get into the target's columns.
    pub(crate) moved: Moved,
}

/// How attributes get into columns that executions keep by the users' own names: those that were started over a store
/// without columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// There are none, or the target looks for them by these very names.
    Needless,
    /// The target moves them by itself.
    ByTarget,
    /// Nobody moves them: this kind of database was not tried.
    Never,
}

impl AttributeWork {
    /// For a pair, where these attributes are registered (`None`: that is not known).
    pub(crate) fn of(spec: &Spec, pair: Pair, attributes: Option<&Attributes>) -> Self {
        let by_name = matches!(pair.source, Kind::Cassandra | Kind::StandardSql) && pair.target == Kind::Sql;
        let any = attributes.is_none_or(|attributes| !attributes.registered.is_empty());
        let plugin = spec.target.datastore.get("sql").and_then(|sql| sql.get("pluginName"));
        let postgres = plugin
            .and_then(|name| name.as_str())
            .is_some_and(|name| name.starts_with("postgres"));
        Self {
            registered: (pair.source, pair.target) != (Kind::Sql, Kind::Sql),
            moved: match (by_name && any, postgres) {
                (false, _) => Moved::Needless,
                (true, true) => Moved::ByTarget,
                (true, false) => Moved::Never,
            },
        }
    }

    /// What the operator has to know of it.
    pub(crate) fn warning(self, target: &str) -> Option<String> {
        (self.moved == Moved::Never).then(|| {
            format!(
                "executions that started before `{target}` was added keep their custom search attributes by the users' own \
                 names, which are no columns: lists show them, and List Filters do not find these executions by them, until \
                 the last of them has closed and its Retention Period is over. Only a PostgreSQL target moves them"
            )
        })
    }
}
