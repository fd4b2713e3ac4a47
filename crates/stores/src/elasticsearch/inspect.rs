//! What a cluster tells of itself and of one visibility index.

use crossfade_visibility::limits::{Length, Limits, Text, times_in_nanoseconds};
use crossfade_visibility::ports::{Error, Precision};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Body, Call, Cluster};
use super::entry::ElasticsearchEntry;
use super::{fault, unreadable};
use crate::error::OpenError;
use crate::facts::{Facts, SchemaState};
use crate::mapping::Mapping;
use crate::schema::Family;

/// The pattern of Temporal's own index template (1.30.8: schema/elasticsearch/visibility/index_template_v7.json).
const PATTERN: &str = "temporal_visibility_v1*";

/// A document that no cluster has, for writes that cannot happen.
const PROBE: &str = "crossfade-probe";

/// The longest that a single term can be (Lucene), and that the server lets through
/// (1.30.8: common/persistence/visibility/store/elasticsearch/visibility_store.go, `maxStringLength`).
const LONGEST_TERM: usize = 32766;

/// The engine and its version, as `Elasticsearch 7.10.2`; an error for one that is too old, or none.
pub(super) async fn engine(cluster: &Cluster) -> Result<Root, Error> {
    let answer = cluster.ask(Call::get("")).await?;
    let failed = |reason: String| Error::Schema {
        store: cluster.name.clone(),
        reason,
    };
    let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str);
    let Some(number) = text("/version/number") else {
        return Err(failed(
            "what answers there tells no version: it is neither Elasticsearch nor OpenSearch".to_owned(),
        ));
    };
    let product = match text("/version/distribution") {
        Some("opensearch") => "OpenSearch",
        _ => "Elasticsearch",
    };
    let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if product == "Elasticsearch" && version < (7, 10) {
        return Err(failed(format!(
            "Elasticsearch {number} is too old; 7.10 is the oldest supported, as it is for the server"
        )));
    }
    Ok(Root {
        engine: format!("{product} {number}"),
        // A cluster that has not found together yet calls itself `_na_`.
        cluster_id: text("/cluster_uuid").filter(|id| *id != "_na_").map(str::to_owned),
    })
}

/// What a cluster answers at its root.
pub(super) struct Root {
    engine: String,
    /// What no other cluster has.
    pub(super) cluster_id: Option<String>,
}

/// The index's mapping; `None` when there is no index.
pub(super) async fn mapping(cluster: &Cluster, index: &str) -> Result<Option<Mapping>, Error> {
    let answer = cluster.call(&Call::get(format!("{index}/_mapping"))).await?;
    match answer.status {
        200..=299 => Ok(Some(Mapping::parse(&answer.body))),
        404 => Ok(None),
        status => Err(fault::of(&cluster.name, status, &answer.body)),
    }
}

/// What a preflight wants to know; a missing index is no error.
pub(crate) async fn inspect(entry: ElasticsearchEntry) -> Result<Facts, OpenError> {
    let cluster = Cluster::connect(&entry).await?;
    let opening = |error| fault::opening(entry.login.as_ref(), error);
    let root = engine(&cluster).await.map_err(opening)?;
    let mapping = mapping(&cluster, &entry.index).await.map_err(opening)?;
    let index = Index::read(&cluster, &entry.index).await.map_err(opening)?;

    let mut warnings = index.warnings();
    warnings.extend(template_warning(&cluster, &entry.index, mapping.is_some()).await);
    let room = Room::read(&cluster).await;
    warnings.extend(room.as_ref().and_then(Room::warning));
    let writable = match &mapping {
        Some(mapping) if unreadable(mapping).is_none() => Some(probe(&cluster, &entry.index).await),
        _ => None,
    };
    let right = mapping.as_ref().filter(|mapping| unreadable(mapping).is_none());
    if right.is_some_and(Mapping::is_dynamic) {
        warnings
            .push("the index maps new fields by itself (dynamic is not false as in Temporal's template)".to_owned());
    }
    // An index that is made anew under its name is another one. Without an index its name has to do.
    let identity = root.cluster_id.map(|uuid| match &index.uuid {
        Some(index) => format!("{uuid}/{index}"),
        None => format!("{uuid}/{}", entry.index),
    });
    Ok(Facts {
        store: cluster.name.clone(),
        family: Family::Elasticsearch,
        engine: root.engine,
        identity,
        schema: mapping.map_or(SchemaState::Absent, |mapping| SchemaState::Index { mapping }),
        writable,
        records_estimate: index.records,
        bytes: index.bytes,
        free_bytes: room.map(|room| room.free),
        limits: limits(index.largest_request),
        warnings,
    })
}

/// What an index can hold.
pub(crate) fn limits(largest_request: Option<u64>) -> Limits {
    Limits {
        precision: Precision::Nanosecond,
        times: times_in_nanoseconds(),
        name: Length::Bytes(LONGEST_TERM),
        keyword: Length::Bytes(LONGEST_TERM),
        text: Text::Of(Length::Any),
        nul: true,
        lists: true,
        double_below: None,
        document: largest_request,
    }
}

/// What is told of an index besides its mapping.
#[derive(Default)]
struct Index {
    uuid: Option<String>,
    gc_deletes: Option<String>,
    refresh_interval: Option<String>,
    records: Option<u64>,
    bytes: Option<u64>,
    largest_request: Option<u64>,
}

impl Index {
    async fn read(cluster: &Cluster, index: &str) -> Result<Self, Error> {
        let call = Call {
            query: &[("flat_settings", "true")],
            ..Call::get(format!("{index}/_settings"))
        };
        let answer = cluster.call(&call).await?;
        if answer.status == 404 {
            return Ok(Self::default());
        }
        let settings = answer.body.as_object().and_then(|indices| indices.values().next());
        let settings = settings
            .and_then(|index| index.get("settings"))
            .cloned()
            .unwrap_or_default();
        let text = |name: &str| settings.get(name).and_then(Value::as_str).map(str::to_owned);
        // What follows is told when it may be asked for.
        let number = async |path: String, pointer: &str| {
            let answer = cluster.ask(Call::get(path)).await.ok()?;
            answer.pointer(pointer).and_then(Value::as_u64)
        };
        Ok(Self {
            uuid: text("index.uuid"),
            gc_deletes: text("index.gc_deletes"),
            refresh_interval: text("index.refresh_interval"),
            records: number(format!("{index}/_count"), "/count").await,
            bytes: number(format!("{index}/_stats/store"), "/_all/total/store/size_in_bytes").await,
            largest_request: largest_request(cluster).await,
        })
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(seconds) = self.gc_deletes.as_deref().filter(|value| !remembers_deletes(value)) {
            warnings.push(format!(
                "index.gc_deletes is {seconds}: the versions of deleted documents are forgotten too soon for a copy under traffic \
                 to be sure of; set it to its default of 60s or more"
            ));
        }
        if self.refresh_interval.as_deref() == Some("-1") {
            warnings.push("index.refresh_interval is -1: the server's lists do not show what it writes".to_owned());
        }
        warnings
    }
}

/// The least that any node takes in one request, in bytes.
async fn largest_request(cluster: &Cluster) -> Option<u64> {
    let answer = cluster.ask(Call::get("_nodes/http")).await.ok()?;
    let nodes = answer["nodes"].as_object()?.values();
    nodes
        .filter_map(|node| node.pointer("/http/max_content_length_in_bytes")?.as_u64())
        .min()
}

/// Whether a duration as the cluster writes it is at least a minute.
fn remembers_deletes(value: &str) -> bool {
    humantime::parse_duration(value).is_ok_and(|time| time.as_secs() >= 60)
}

/// The room on the nodes that hold data.
struct Room {
    /// Bytes free on the fullest.
    free: u64,
    /// All bytes of that one.
    total: u64,
    /// From where on it gets no more shards, as the cluster has it: `90%`, or `10gb` left.
    high: String,
}

impl Room {
    /// `None` where the cluster does not tell.
    async fn read(cluster: &Cluster) -> Option<Self> {
        let stats = cluster.ask(Call::get("_nodes/stats/fs")).await.ok()?;
        let nodes = stats["nodes"].as_object()?.values();
        let (free, total) = nodes
            .filter_map(|node| {
                let bytes = |name: &str| node.pointer(&format!("/fs/total/{name}"))?.as_u64();
                Some((bytes("available_in_bytes")?, bytes("total_in_bytes")?))
            })
            .filter(|(_, total)| *total > 0)
            .min_by_key(|(free, total)| u128::from(*free) * 1_000_000 / u128::from(*total))?;
        let settings = Call {
            query: &[("include_defaults", "true"), ("flat_settings", "true")],
            ..Call::get("_cluster/settings")
        };
        let settings = cluster.ask(settings).await.unwrap_or_default();
        let name = "cluster.routing.allocation.disk.watermark.high";
        let high = ["transient", "persistent", "defaults"]
            .iter()
            .find_map(|level| settings[level].get(name)?.as_str());
        let high = high.unwrap_or("90%").to_owned();
        Some(Self { free, total, high })
    }

    fn warning(&self) -> Option<String> {
        let used = 100 - self.free.saturating_mul(100) / self.total.max(1);
        let limit: u64 = self.high.trim_end_matches('%').split('.').next()?.parse().ok()?;
        (self.high.ends_with('%') && used >= limit).then(|| {
            format!(
                "the disk of one of its nodes is {used}% full, over the high watermark of {}: a little more and its indices become read-only",
                self.high
            )
        })
    }
}

/// A write and a delete that cannot happen, each in need of the right and the room: the reason if they would not be let.
async fn probe(cluster: &Cluster, index: &str) -> Result<(), String> {
    let words = |error: Error| match error {
        Error::ReadOnly { reason, .. } | Error::Denied { reason, .. } => reason,
        other => other.to_string(),
    };
    // No document has this sequence number, so that both are conflicts at best.
    let condition = json!({"_id": PROBE, "if_seq_no": i64::MAX - 1, "if_primary_term": 1});
    let lines = format!(
        "{}\n{{}}\n{}\n",
        json!({"index": condition}),
        json!({"delete": condition})
    );
    let call = Call {
        method: Method::POST,
        body: Body::Lines(lines.into()),
        ..Call::get(format!("{index}/_bulk"))
    };
    let answer = cluster.ask(call).await.map_err(words)?;
    for item in answer["items"].as_array().into_iter().flatten() {
        let result = item
            .as_object()
            .and_then(|item| item.values().next())
            .unwrap_or(&Value::Null);
        let (status, error) = (result["status"].as_u64().unwrap_or(0), &result["error"]);
        if fault::is_block(error) {
            return Err(words(fault::of(&cluster.name, 403, error)));
        }
        if !matches!(status, 200..=299 | 404 | 409 | 429) {
            return Err(format!("HTTP {status}: {}", fault::kind(error)));
        }
    }
    Ok(())
}

/// What is said when no template would give an index of this name its mapping.
async fn template_warning(cluster: &Cluster, index: &str, is_there: bool) -> Option<String> {
    let mut patterns: Vec<String> = Vec::new();
    if let Ok(answer) = cluster.ask(Call::get("_template")).await {
        let templates = answer.as_object().into_iter().flatten();
        patterns.extend(
            templates
                .filter(|(_, template)| maps(template))
                .flat_map(|(_, template)| of(template)),
        );
    }
    if let Ok(answer) = cluster.ask(Call::get("_index_template")).await {
        let templates = answer["index_templates"].as_array().into_iter().flatten();
        let templates = templates.map(|template| &template["index_template"]);
        patterns.extend(templates.filter(|template| maps(&template["template"])).flat_map(of));
    }
    if patterns.iter().any(|pattern| matches(pattern, index)) {
        return None;
    }
    let fits = matches(PATTERN, index);
    match (is_there, fits) {
        (false, true) => None,
        (false, false) => Some(format!(
            "no index template is for an index named '{index}', and Temporal's own is for {PATTERN} only: created now, the index would lack \
             its mapping. Choose a name that begins with temporal_visibility_v1, or give the template this pattern too"
        )),
        (true, _) => Some(format!(
            "no index template is for the index '{index}': should it be deleted and made again, it would lack its mapping"
        )),
    }
}

fn of(template: &Value) -> Vec<String> {
    let patterns = template["index_patterns"].as_array().into_iter().flatten();
    patterns
        .filter_map(|pattern| Some(pattern.as_str()?.to_owned()))
        .collect()
}

/// Whether a template is one for visibility.
fn maps(template: &Value) -> bool {
    template.pointer("/mappings/properties/NamespaceId").is_some()
}

/// Whether a pattern with `*` is for this name.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_matched_whole() {
        for (pattern, name, expected) in [
            (PATTERN, "temporal_visibility_v1_dev", true),
            (PATTERN, "temporal_visibility_v1", true),
            (PATTERN, "my_temporal_visibility_v1", false),
            ("*", "anything", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("exact", "exactly", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_full_disk_and_short_memories_are_told() {
        let room = |free| Room {
            free,
            total: 100,
            high: "90%".to_owned(),
        };
        assert!(room(50).warning().is_none());
        assert!(room(5).warning().is_some_and(|warning| warning.contains("95%")));
        assert!(
            remembers_deletes("60s") && remembers_deletes("5m") && !remembers_deletes("10s") && !remembers_deletes("0")
        );
    }
}
