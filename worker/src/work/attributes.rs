//! Custom search attributes: what is registered, whether both stores decode alike, and registering them for the target.
//!
//! Each store decodes with the type map of its own index: the Elasticsearch index, the SQL database's name, or the empty
//! name for every store without search attributes. What the target's map lacks is dropped in silence from 1.29.4 on and
//! fails every task before (common/searchattribute/encode.go), so the maps must agree before a record is written to both.

use std::{collections::BTreeMap, time::Duration};

use crossfade_cluster::{
    Frontend, Version,
    attributes::{Lack, Registered, STANDARD_INDEX, Types, lacks, type_name},
};
use crossfade_plan::{
    attributes::Attributes,
    order::{AttributesRegistered, Context, RegisterAttributes},
    problem::{Code, Problem},
    route::Kind,
};
use crossfade_stores::SchemaState;
use serde_json::Value;
use temporalio_common::protos::temporal::api::enums::v1::IndexedValueType as Type;
use tokio::time::Instant;

use super::{
    beat::Beat,
    frontend,
    problems::{call, open as open_problem},
    stores,
};

/// How long a registered attribute is given to be seen: by the metadata, and by the index's mapping.
const SEEN_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// The index name under which the server keeps a store's custom search attributes.
pub(crate) fn index_of(entry: &Value) -> String {
    let name = match Kind::of_entry(entry) {
        Some(Kind::Elasticsearch) => entry.pointer("/elasticsearch/indices/visibility"),
        Some(Kind::Sql) => entry.pointer("/sql/databaseName"),
        Some(Kind::StandardSql | Kind::Cassandra) | None => None,
    };
    name.and_then(Value::as_str).unwrap_or(STANDARD_INDEX).to_owned()
}

/// Both stores' indices.
struct Indices {
    source: String,
    target: String,
}

fn indices(context: &Context) -> Result<Indices, Problem> {
    Ok(Indices {
        source: index_of(&stores::source_entry(context)?),
        target: index_of(&stores::target_entry(&context.spec)?),
    })
}

/// What is registered for an index, as a plan carries it: with names of its own where each Namespace has them.
pub(crate) fn registered_for(registered: &Registered, index: &str, server: &Version) -> Attributes {
    let aliases: BTreeMap<String, String> = registered
        .aliases
        .iter()
        .flat_map(|(namespace, aliases)| {
            aliases
                .iter()
                .map(move |(column, alias)| (format!("{namespace}/{alias}"), column.clone()))
        })
        .collect();
    if !aliases.is_empty() {
        return Attributes::new(aliases);
    }
    let types = registered.decoded_by(index, server);
    Attributes::new(
        types
            .into_iter()
            .filter(|(name, _)| !is_preallocated(name))
            .map(|(name, kind)| (name, type_name(kind).to_owned()))
            .collect(),
    )
}

/// The columns that every SQL store has (`Keyword01`): no attributes of anybody's until a Namespace names them.
fn is_preallocated(name: &str) -> bool {
    let kind = name.trim_end_matches(|c: char| c.is_ascii_digit());
    name.len() == kind.len() + 2
        && ["Bool", "Datetime", "Double", "Int", "Keyword", "KeywordList", "Text"].contains(&kind)
}

/// What is registered now for the store that the cluster leaves.
pub(crate) async fn found(context: &Context, frontend: &Frontend, server: &Version) -> Result<Attributes, Problem> {
    let source = index_of(&stores::source_entry(context)?);
    let registered = registered(frontend).await?;
    Ok(registered_for(&registered, &source, server))
}

async fn registered(frontend: &Frontend) -> Result<Registered, Problem> {
    frontend.registered_attributes().await.map_err(|error| call(&error))
}

/// Nothing was removed or changed since `before`, and the target knows all that the source knows.
pub(crate) async fn agree(context: &Context, frontend: &Frontend, before: Option<&Attributes>) -> Result<(), Problem> {
    let indices = indices(context)?;
    let server = server(frontend).await?;
    let registered = registered(frontend).await?;
    unchanged(&registered, &indices.source, &server, before)?;
    let wanted = wanted(&registered, &indices, &server);
    match lacking(&registered, &indices, &server, &wanted) {
        lacking if lacking.is_empty() => Ok(()),
        lacking => Err(unregistered(&indices.target, &lacking)),
    }
}

fn unchanged(
    registered: &Registered,
    source: &str,
    server: &Version,
    before: Option<&Attributes>,
) -> Result<(), Problem> {
    let changed = before.and_then(|before| registered_for(registered, source, server).changed_since(before));
    changed.map_or(Ok(()), Err)
}

/// What the target has to know: all that the source knows, but for columns that only SQL stores have.
fn wanted(registered: &Registered, indices: &Indices, server: &Version) -> Types {
    let mut wanted = registered.decoded_by(&indices.source, server);
    if registered
        .index(&indices.target)
        .keys()
        .all(|name| !is_preallocated(name))
    {
        wanted.retain(|name, _| !is_preallocated(name));
    }
    wanted
}

fn lacking(registered: &Registered, indices: &Indices, server: &Version, wanted: &Types) -> Vec<Lack> {
    lacks(wanted, &registered.decoded_by(&indices.target, server))
}

async fn server(frontend: &Frontend) -> Result<Version, Problem> {
    Ok(frontend.cluster().await.map_err(|error| call(&error))?.version)
}

fn unregistered(target: &str, lacking: &[Lack]) -> Problem {
    let told: Vec<String> = lacking.iter().map(ToString::to_string).collect();
    Problem::new(
        Code::SearchAttributes,
        format!(
            "the target's index `{target}` does not have what the source's has: {}",
            told.join(", ")
        ),
    )
    .at("target.datastore")
}

/// Registers for the target what the source has and the target has not, and waits until that is seen.
pub(crate) async fn register(order: &RegisterAttributes, beat: &Beat) -> Result<AttributesRegistered, Problem> {
    let context = &order.context;
    let indices = indices(context)?;
    let frontend = frontend::await_open(&context.spec, SEEN_WITHIN).await?;
    let server = server(&frontend).await?;
    let before = registered(&frontend).await?;
    unchanged(&before, &indices.source, &server, order.attributes.as_ref())?;
    let wanted = wanted(&before, &indices, &server);
    let until = Instant::now() + SEEN_WITHIN;
    let mut added: Vec<String> = Vec::new();
    loop {
        let now = registered(&frontend).await?;
        let absent = absent(context, &now, &indices, &wanted).await?;
        if absent.is_empty() {
            added.sort_unstable();
            added.dedup();
            return Ok(AttributesRegistered {
                agreed: u32::try_from(wanted.len()).unwrap_or(u32::MAX),
                added,
            });
        }
        if Instant::now() >= until {
            let lacks: Vec<Lack> = absent
                .iter()
                .map(|(name, kind)| Lack::Missing {
                    name: name.clone(),
                    wanted: *kind,
                })
                .collect();
            return Err(unregistered(&indices.target, &lacks));
        }
        let names: Vec<String> = absent.keys().cloned().collect();
        beat.doing(format!("registering {} for {}", names.join(", "), indices.target));
        add(context, &frontend, &absent).await?;
        added.extend(names);
        tokio::time::sleep(PAUSE).await;
    }
}

/// What the target's index still lacks in the cluster's metadata or, for Elasticsearch, in its own mapping.
async fn absent(
    context: &Context,
    registered: &Registered,
    indices: &Indices,
    wanted: &Types,
) -> Result<Types, Problem> {
    // Its own, not what an old server merges in from the index without a name: that ends with the next upgrade.
    let own = registered.index(&indices.target);
    let entry = stores::target_entry(&context.spec)?;
    if Kind::of_entry(&entry) != Some(Kind::Elasticsearch) {
        // A SQL store's columns are registered by the server itself when it starts with it.
        return Ok(Types::new());
    }
    let facts = crossfade_stores::inspect(&entry)
        .await
        .map_err(|error| open_problem(&error, "target.datastore"))?;
    let mapped = |name: &str| match &facts.schema {
        SchemaState::Index { mapping } => mapping.kind(name).map(ToOwned::to_owned),
        _ => None,
    };
    let mut absent = Types::new();
    for (name, kind) in wanted {
        let (expected, found) = (mapped_type(*kind), mapped(name));
        if let Some(found) = found.as_ref().filter(|found| found.as_str() != expected) {
            return Err(Problem::new(
                Code::SearchAttributes,
                format!(
                    "{} maps `{name}` to {found}, and a {} needs {expected}",
                    facts.store,
                    type_name(*kind)
                ),
            )
            .at("target.datastore")
            .remedy(
                "a mapping cannot be changed in place: create another index from Temporal's template and use that",
            ));
        }
        match own.get(name) {
            Some(registered) if registered != kind => {
                let lack = Lack::OtherType {
                    name: name.clone(),
                    wanted: *kind,
                    found: *registered,
                };
                return Err(unregistered(&indices.target, &[lack]).remedy(format!(
                    "remove `{name}` from the index `{}`, where it is left from another use; then `resume`",
                    indices.target
                )));
            }
            Some(_) if found.is_some() => {}
            _ => {
                absent.insert(name.clone(), *kind);
            }
        }
    }
    Ok(absent)
}

/// The type that the server maps an attribute to (common/persistence/visibility/store/elasticsearch/client: `buildMappingBody`).
fn mapped_type(kind: Type) -> &'static str {
    match kind {
        Type::Text => "text",
        Type::Keyword | Type::KeywordList => "keyword",
        Type::Int => "long",
        Type::Double => "scaled_float",
        Type::Bool => "boolean",
        Type::Datetime => "date_nanos",
        Type::Unspecified => "",
    }
}

async fn add(context: &Context, frontend: &Frontend, absent: &Types) -> Result<(), Problem> {
    let namespace = &context.spec.cluster.canary_namespace;
    frontend
        .add_search_attributes(namespace, absent)
        .await
        .map_err(|error| call(&error))
}
