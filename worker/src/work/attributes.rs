//! Custom search attributes: what is registered, whether both stores decode alike, and registering them for the target.
//!
//! Each store decodes with the type map of its own index: the Elasticsearch index, the SQL database's name, or the empty
//! name for every store without search attributes. What the target's map lacks is dropped in silence from 1.29.4 on and
//! fails every task before (common/searchattribute/encode.go), so the maps must agree before a record is written to both.

use std::{collections::BTreeMap, time::Duration};

use crossfade_cluster::{
    Frontend,
    attributes::{Registered, STANDARD_INDEX, Types, lacks, type_name},
    frontend::NamespaceLife,
    register::{self, Index, IndexKind, RegisterError, foresee},
};
use crossfade_plan::{
    attributes::Attributes,
    order::{AttributesRegistered, Context, RegisterAttributes},
    problem::{Code, Problem},
};
use crossfade_stores::{AttributeFields, Facts, Mapping, OpenError, SchemaState};
use serde_json::Value;
use temporalio_common::protos::temporal::api::enums::v1::IndexedValueType;

use super::{
    beat::Beat,
    frontend,
    problems::{call, open as open_problem},
    stores,
};

/// The server's own Namespace, whose executions have no custom search attributes.
const SYSTEM_NAMESPACE: &str = "temporal-system";
/// How long a restarted cluster is given to serve.
const SERVING_WITHIN: Duration = Duration::from_secs(120);
/// How long registering may take, beside the time that hosts go by what they read before.
const REGISTERED_WITHIN: Duration = Duration::from_secs(120);

/// What a heartbeat says from before the first attribute is registered: an attempt that follows finds it registered, and
/// cannot tell since when.
const REGISTERING: &str = "registering";

/// Both stores' indices.
struct Indices {
    source: Index,
    target: Index,
}

async fn indices(context: &Context) -> Result<Indices, Problem> {
    Ok(Indices {
        source: index_of_source(context).await?,
        target: index_of(&stores::target_entry(&context.spec)?, "target.datastore")?,
    })
}

async fn index_of_source(context: &Context) -> Result<Index, Problem> {
    let (entry, place) = stores::located_source(context).await?;
    index_of(&entry, &place)
}

fn index_of(entry: &Value, place: &str) -> Result<Index, Problem> {
    Index::of_datastore(entry).ok_or_else(|| {
        Problem::new(
            Code::StoreUnsupported,
            "the datastore's entry names no index or database",
        )
        .at(place)
        .remedy("give it `sql.databaseName`, `elasticsearch.indices.visibility` or `cassandra.keyspace`, as the server reads it")
    })
}

/// What is registered for the source, as a plan carries it: the users' own names; over SQL, where each Namespace has
/// names of its own for the columns, those.
fn of_source(registered: &Registered, source: &Index) -> Attributes {
    let names = |(name, kind): (String, IndexedValueType)| (name, type_name(kind).to_owned());
    Attributes::new(match source.kind {
        IndexKind::Columns => registered
            .aliases
            .iter()
            .flat_map(|(namespace, aliases)| {
                aliases
                    .iter()
                    .map(move |(column, alias)| (format!("{namespace}/{alias}"), column.clone()))
            })
            .collect(),
        IndexKind::Names => registered.index(&source.name).into_iter().map(names).collect(),
        // Registering for a SQL target adds its columns here.
        IndexKind::Standard => registered
            .index(STANDARD_INDEX)
            .into_iter()
            .filter(|(name, _)| !is_column(name))
            .map(names)
            .collect(),
    })
}

/// The columns that every SQL store has (`Keyword01`): no attributes of anybody's until a Namespace names them.
fn is_column(name: &str) -> bool {
    let kind = name.trim_end_matches(|c: char| c.is_ascii_digit());
    name.len() == kind.len() + 2
        && ["Bool", "Datetime", "Double", "Int", "Keyword", "KeywordList", "Text"].contains(&kind)
}

/// What is registered now for the store that the cluster leaves.
pub(crate) async fn found(context: &Context, frontend: &Frontend) -> Result<Attributes, Problem> {
    let source = index_of_source(context).await?;
    Ok(of_source(&registered(frontend).await?, &source))
}

async fn registered(frontend: &Frontend) -> Result<Registered, Problem> {
    frontend.registered_attributes().await.map_err(|error| call(&error))
}

/// Nothing was removed or changed since `before`, and the target knows all that the source knows.
pub(crate) async fn agree(context: &Context, frontend: &Frontend, before: Option<&Attributes>) -> Result<(), Problem> {
    let indices = indices(context).await?;
    let registered = registered(frontend).await?;
    if let Some(changed) = before.and_then(|before| of_source(&registered, &indices.source).changed_since(before)) {
        return Err(changed);
    }
    let server = frontend.cluster().await.map_err(|error| call(&error))?.version;
    let mut wanted = registered.decoded_by(&indices.source.name, &server);
    if indices.source.kind != indices.target.kind {
        // Only SQL stores have columns; what a standard store's attributes become there is the registration's to say.
        wanted.retain(|name, _| !is_column(name));
    }
    let lacking = lacks(&wanted, &registered.decoded_by(&indices.target.name, &server));
    if lacking.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = lacking.iter().map(ToString::to_string).collect();
    Err(Problem::new(
        Code::SearchAttributes,
        format!(
            "the target's index `{}` does not have what the source's has: {}",
            indices.target.name,
            told.join(", ")
        ),
    )
    .at("target.datastore"))
}

/// Registers for the target what the source has and the target has not, and waits until that is seen.
pub(crate) async fn register(order: &RegisterAttributes, beat: &Beat) -> Result<AttributesRegistered, Problem> {
    let context = &order.context;
    let indices = indices(context).await?;
    let frontend = frontend::await_open(&context.spec, SERVING_WITHIN).await?;
    let now = of_source(&registered(&frontend).await?, &indices.source);
    if let Some(changed) = order.attributes.as_ref().and_then(|before| now.changed_since(before)) {
        return Err(changed);
    }
    let namespaces = named_namespaces(&frontend).await?;
    if beat.now().cursor.as_deref() == Some(REGISTERING) {
        beat.doing("waiting until every host knows what an earlier attempt may have registered");
        tokio::time::sleep(register::CACHED_FOR).await;
    }
    beat.show(|heartbeat| heartbeat.cursor = Some(REGISTERING.to_owned()));
    beat.doing(format!("registering the search attributes for {}", indices.target.name));
    let registration = register::register(
        &frontend,
        &indices.source,
        &indices.target,
        &namespaces,
        register::CACHED_FOR,
        REGISTERED_WITHIN,
    )
    .await
    .map_err(|error| registering(&error))?;
    let mut added: Vec<String> = registration.added.keys().cloned().collect();
    added.extend(
        registration
            .named
            .iter()
            .flat_map(|(namespace, types)| types.keys().map(move |name| format!("{namespace}/{name}"))),
    );
    if indices.target.kind == IndexKind::Names {
        added.extend(map(context, &registration.wanted).await?);
    }
    added.sort_unstable();
    added.dedup();
    let renamed = if (indices.source.kind, indices.target.kind) == (IndexKind::Standard, IndexKind::Columns) {
        rename(context, &self::registered(&frontend).await?, &indices.target).await?
    } else {
        None
    };
    Ok(AttributesRegistered {
        agreed: u32::try_from(registration.wanted.len()).unwrap_or(u32::MAX),
        added,
        renamed,
    })
}

/// The Namespaces that have custom attributes: only where each has names of its own they need be given to each.
async fn named_namespaces(frontend: &Frontend) -> Result<Vec<String>, Problem> {
    let namespaces = frontend.namespaces().await.map_err(|error| call(&error))?;
    Ok(namespaces
        .into_iter()
        .filter(|namespace| namespace.state != NamespaceLife::Deleted && namespace.name != SYSTEM_NAMESPACE)
        .map(|namespace| namespace.name)
        .collect())
}

/// What would keep the source's attributes from the target, as both are before anything is changed.
pub(crate) async fn conflicts(context: &Context, target: &Facts) -> Result<(), Vec<Problem>> {
    let one = |problem| vec![problem];
    let indices = indices(context).await.map_err(one)?;
    let frontend = frontend::open(&context.spec).await.map_err(one)?;
    let namespaces = named_namespaces(&frontend).await.map_err(one)?;
    let wanted = foresee(&frontend, &indices.source, &indices.target, &namespaces)
        .await
        .map_err(|error| one(registering(&error)))?;
    let problems = match &target.schema {
        SchemaState::Absent => Vec::new(),
        SchemaState::Index { mapping } => mapped_otherwise(&target.store, mapping, &wanted),
        // The servers' own columns are the schema's; more of them are somebody's own.
        SchemaState::Tables { columns, .. } => wanted
            .keys()
            .filter(|column| !columns.has(column))
            .map(|column| {
                at_target(format!("{} lacks the column {column}, which Namespaces use", target.store)).remedy(format!(
                    "add {column} to the target's table as the source has it (`visibility.persistenceCustomSearchAttributes` \
                     needs columns of one's own), then start again"
                ))
            })
            .collect(),
    };
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn at_target(message: String) -> Problem {
    Problem::new(Code::SearchAttributes, message).at("target.datastore")
}

/// The attributes that the index has by other types already.
fn mapped_otherwise(store: &str, mapping: &Mapping, wanted: &Types) -> Vec<Problem> {
    wanted
        .iter()
        .filter_map(|(name, kind)| {
            let expected = mapped_type(*kind);
            let found = mapping.conflict(name, expected)?;
            Some(
                at_target(format!(
                    "{store} maps the custom search attribute `{name}` to {found}, and a {} needs {expected}",
                    type_name(*kind)
                ))
                .remedy(
                    "a mapping cannot be changed in place: name another index in `target.datastore` \
                     (elasticsearch.indices.visibility), which `target.setup_schema: true` creates from Temporal's template, \
                     or delete this one if nobody needs it; then start again",
                ),
            )
        })
        .collect()
}

/// Has the target move what comes by the users' own names into the columns that each Namespace has for them; gives how
/// many names there are.
///
/// Executions that started before their Namespace had columns keep the names that they were started with for as long as
/// they live, and a cron job's next runs take them over; the server writes them to the target as they are
/// (1.23.1: service/history/visibility_queue_task_executor.go, getVisibilityRequestBase; service/history/workflow/retry.go,
/// SetupNewWorkflowForRetryOrCron; common/searchattribute/manager.go merges the standard store's names into every index, so
/// that no store refuses them).
async fn rename(context: &Context, registered: &Registered, target: &Index) -> Result<Option<u32>, Problem> {
    let (own, columns) = (registered.index(STANDARD_INDEX), registered.index(&target.name));
    let mut fields = AttributeFields::new();
    for (namespace, aliases) in &registered.aliases {
        let of_own = aliases
            .iter()
            .filter(|(column, name)| own.get(*name).is_some_and(|kind| columns.get(*column) == Some(kind)));
        let of_own: BTreeMap<String, String> = of_own.map(|(column, name)| (name.clone(), column.clone())).collect();
        if !of_own.is_empty() {
            fields.insert(namespace.clone(), of_own);
        }
    }
    let names: usize = fields.values().map(BTreeMap::len).sum();
    if names == 0 {
        return Ok(None);
    }
    let entry = stores::target_entry(&context.spec)?;
    let done = crossfade_stores::rename_attributes(&entry, &fields).await;
    match done.map_err(|error| renaming(&error))? {
        Some(_) => Ok(Some(u32::try_from(names).unwrap_or(u32::MAX))),
        None => Ok(None),
    }
}

fn renaming(error: &OpenError) -> Problem {
    let problem = open_problem(error, "target.datastore");
    match error {
        OpenError::Denied { .. } => problem.remedy(
            "let the datastore's user make a function and a trigger: GRANT CREATE on its schema, and GRANT TRIGGER on \
             executions_visibility; then `resume`",
        ),
        _ => problem,
    }
}

fn registering(error: &RegisterError) -> Problem {
    match error {
        RegisterError::Call(error) => call(error),
        // The frontend that answers may be one that is still to be restarted, or has not read what was written yet.
        _ if error.is_transient() => Problem::new(Code::StoreFailed, error.to_string()).at("target.datastore"),
        RegisterError::OtherTypes { .. } => at_target(error.to_string()).remedy(
            "remove those names where nobody uses them (`temporal operator search-attribute remove`, on old clusters `tctl \
             admin cluster remove-search-attributes`), or give the target an index or database of another name; then try again",
        ),
        _ => at_target(error.to_string()).remedy("correct what the message names, then try again"),
    }
}

/// Gives the target's index the fields that the server did not, and gives their names. A record with an attribute that
/// the index does not map is kept and never found by it.
async fn map(context: &Context, wanted: &Types) -> Result<Vec<String>, Problem> {
    let entry = stores::target_entry(&context.spec)?;
    let problem = |error| open_problem(&error, "target.datastore");
    let facts = crossfade_stores::inspect(&entry).await.map_err(problem)?;
    let SchemaState::Index { mapping } = &facts.schema else {
        return Err(Problem::new(Code::TargetSchema, format!("{} has no index", facts.store)).at("target.datastore"));
    };
    if let Some(conflict) = mapped_otherwise(&facts.store, mapping, wanted).into_iter().next() {
        return Err(conflict);
    }
    let absent: Vec<(&str, &str)> = wanted
        .iter()
        .filter(|(name, _)| mapping.kind(name).is_none())
        .map(|(name, kind)| (name.as_str(), mapped_type(*kind)))
        .collect();
    if !absent.is_empty() {
        crossfade_stores::map_fields(&entry, &absent).await.map_err(problem)?;
    }
    Ok(absent.into_iter().map(|(name, _)| name.to_owned()).collect())
}

/// The type that the server maps an attribute to
/// (1.23.1: common/persistence/visibility/store/elasticsearch/client/client_v7.go, `buildMappingBody`).
fn mapped_type(kind: IndexedValueType) -> &'static str {
    match kind {
        IndexedValueType::Text => "text",
        IndexedValueType::Keyword | IndexedValueType::KeywordList | IndexedValueType::Unspecified => "keyword",
        IndexedValueType::Int => "long",
        IndexedValueType::Double => "scaled_float",
        IndexedValueType::Bool => "boolean",
        IndexedValueType::Datetime => "date_nanos",
    }
}
