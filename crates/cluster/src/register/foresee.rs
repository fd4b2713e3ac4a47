//! Whether registering can succeed, asked before anything is changed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use temporalio_common::protos::temporal::api::enums::v1::IndexedValueType;

use super::{Index, IndexKind, RegisterError, Registering};
use crate::attributes::{Lack, Registered, Types, lacks};
use crate::frontend::Frontend;

/// The columns that a server gives a SQL store when it starts with it: how many of each type
/// (1.23.1, 1.30.8: common/searchattribute, GetSqlDbIndexSearchAttributes). Later servers can be told other numbers.
const COLUMNS: [(IndexedValueType, &str, usize); 7] = [
    (IndexedValueType::Bool, "Bool", 3),
    (IndexedValueType::Datetime, "Datetime", 3),
    (IndexedValueType::Double, "Double", 3),
    (IndexedValueType::Int, "Int", 3),
    (IndexedValueType::Keyword, "Keyword", 10),
    (IndexedValueType::KeywordList, "KeywordList", 3),
    (IndexedValueType::Text, "Text", 3),
];

/// Whether [`register`](super::register) could bring the source's attributes to the target. Reads only; no host has to
/// know the target yet. Gives what records will bring that not every store of the target's kind has by itself: fields of
/// an index, or the source's columns; nothing where a Namespace's names are still to be given columns.
///
/// # Errors
/// Those that no later call of [`register`](super::register) could get over: a name that is registered for the target
/// with another type, or more attributes of a type than the target has columns. And those of the calls.
pub async fn foresee(
    frontend: &Frontend,
    source: &Index,
    target: &Index,
    namespaces: &[String],
) -> Result<Types, RegisterError> {
    let run = Registering {
        frontend,
        source,
        target,
        namespaces,
        within: Duration::ZERO,
        started: Instant::now(),
    };
    let server = frontend.cluster().await?.version;
    let mut registered = frontend.registered_attributes().await?;
    let wanted = match (target.kind, source.kind) {
        (IndexKind::Standard, _) => Types::new(),
        (IndexKind::Names, IndexKind::Columns) => run.names_of_all(&registered)?,
        (IndexKind::Names, _) => registered.decoded_by(&source.name, &server),
        (IndexKind::Columns, IndexKind::Columns) => used(&registered, source),
        (IndexKind::Columns, _) => {
            let columns = registered.indices.entry(target.name.clone()).or_default();
            if columns.is_empty() {
                *columns = columns_to_be();
            }
            let columns = registered.index(&target.name);
            let mut wanted = registered.decoded_by(&source.name, &server);
            wanted.retain(|name, kind| columns.get(name) != Some(kind));
            run.choose(&wanted, &registered).await?;
            Types::new()
        }
    };
    let lacks: Vec<Lack> = lacks(&wanted, &registered.index(&target.name))
        .into_iter()
        .filter(|lack| matches!(lack, Lack::OtherType { .. }))
        .collect();
    if lacks.is_empty() {
        Ok(wanted)
    } else {
        Err(RegisterError::OtherTypes {
            index: target.name.clone(),
            namespace: None,
            lacks,
        })
    }
}

/// The columns of the source that any Namespace has a name for.
fn used(registered: &Registered, source: &Index) -> Types {
    let columns = registered.index(&source.name);
    registered
        .aliases
        .values()
        .flat_map(BTreeMap::keys)
        .filter_map(|column| Some((column.clone(), *columns.get(column)?)))
        .collect()
}

fn columns_to_be() -> Types {
    COLUMNS
        .iter()
        .flat_map(|(kind, name, count)| (1..=*count).map(move |number| (format!("{name}{number:02}"), *kind)))
        .collect()
}
