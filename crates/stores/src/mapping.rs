//! The mapping of a visibility index: which fields it has and of what type, and what is wrong with it.
//!
//! Nothing in Elasticsearch records a version of Temporal's schema, and the name of an index says nothing either: a
//! server that writes before the index is there creates it by writing, with types guessed by Elasticsearch. So the
//! fields themselves are what is judged.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::facts::SchemaFault;
use crate::schema::{ExpectedSchema, SchemaVersion};

/// The fields of an index and their types.
#[derive(Clone, PartialEq, Eq)]
pub struct Mapping {
    fields: BTreeMap<String, String>,
    /// Whether a field that is not mapped becomes so by writing it. The template forbids it.
    dynamic: bool,
}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mapping({} fields)", self.fields.len())
    }
}

/// The fields of the index template by the version that brought them, with their types
/// (1.30.8: schema/elasticsearch/visibility/versioned). Version 14 adds fields that older servers do not know and
/// that no list needs.
const FIELDS: [(u32, &[(&str, &str)]); 8] = [
    (
        5,
        &[
            ("NamespaceId", "keyword"),
            ("TemporalNamespaceDivision", "keyword"),
            ("WorkflowId", "keyword"),
            ("RunId", "keyword"),
            ("WorkflowType", "keyword"),
            ("StartTime", "date_nanos"),
            ("ExecutionTime", "date_nanos"),
            ("CloseTime", "date_nanos"),
            ("ExecutionDuration", "long"),
            ("ExecutionStatus", "keyword"),
            ("TaskQueue", "keyword"),
            ("TemporalChangeVersion", "keyword"),
            ("BatcherNamespace", "keyword"),
            ("BatcherUser", "keyword"),
            ("BinaryChecksums", "keyword"),
            ("HistoryLength", "long"),
            ("StateTransitionCount", "long"),
            ("TemporalScheduledStartTime", "date_nanos"),
            ("TemporalScheduledById", "keyword"),
            ("TemporalSchedulePaused", "boolean"),
            ("HistorySizeBytes", "long"),
            ("BuildIds", "keyword"),
        ],
    ),
    (6, &[("ParentWorkflowId", "keyword"), ("ParentRunId", "keyword")]),
    (7, &[("RootWorkflowId", "keyword"), ("RootRunId", "keyword")]),
    (8, &[("TemporalPauseInfo", "keyword")]),
    (
        9,
        &[
            ("TemporalReportedProblems", "keyword"),
            ("TemporalWorkerDeploymentVersion", "keyword"),
            ("TemporalWorkflowVersioningBehavior", "keyword"),
            ("TemporalWorkerDeployment", "keyword"),
        ],
    ),
    (
        11,
        &[
            ("TemporalBool01", "boolean"),
            ("TemporalBool02", "boolean"),
            ("TemporalDatetime01", "date_nanos"),
            ("TemporalDatetime02", "date_nanos"),
            ("TemporalDouble01", "scaled_float"),
            ("TemporalDouble02", "scaled_float"),
            ("TemporalInt01", "long"),
            ("TemporalInt02", "long"),
            ("TemporalKeyword01", "keyword"),
            ("TemporalKeyword02", "keyword"),
            ("TemporalKeyword03", "keyword"),
            ("TemporalKeyword04", "keyword"),
            ("TemporalKeywordList01", "keyword"),
            ("TemporalKeywordList02", "keyword"),
        ],
    ),
    (12, &[("TemporalLowCardinalityKeyword01", "keyword")]),
    (13, &[("TemporalUsedWorkerDeploymentVersions", "keyword")]),
];

impl Mapping {
    /// From the answer of `GET {index}/_mapping`; of several indices behind one alias, the fields that all of them have,
    /// and all their types where they do not agree.
    pub(crate) fn parse(answer: &Value) -> Self {
        let mut mappings = answer
            .as_object()
            .into_iter()
            .flatten()
            .map(|(_, index)| of_index(index));
        let mut first = mappings.next().unwrap_or(Self {
            fields: BTreeMap::new(),
            dynamic: true,
        });
        for other in mappings {
            first.fields.retain(|field, kind| match other.fields.get(field) {
                Some(same) if same == kind => true,
                Some(another) => {
                    *kind = format!("{kind} and {another}");
                    true
                }
                None => false,
            });
            first.dynamic |= other.dynamic;
        }
        first
    }

    /// The type that a field is mapped to (`keyword`, `date_nanos`, `object` for one with parts).
    pub fn kind(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(String::as_str)
    }

    /// The type that a field has, where queries for one of type `wanted` do not work on it; `None` where they do, or
    /// where the field is not mapped.
    pub fn conflict(&self, field: &str, wanted: &str) -> Option<&str> {
        self.kind(field).filter(|found| !same_kind(found, wanted))
    }

    /// All fields with their types, in the order of their names.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(field, kind)| (field.as_str(), kind.as_str()))
    }

    /// The latest template all of whose fields are there with their types, as far as this release knows them; `None`
    /// when not even those of the oldest supported one (v5, of server 1.21) are.
    pub fn template(&self) -> Option<SchemaVersion> {
        let complete = FIELDS
            .iter()
            .take_while(|(_, fields)| fields.iter().all(|(field, kind)| self.kind(field) == Some(kind)));
        complete.last().map(|(version, _)| SchemaVersion::template(*version))
    }

    /// What of the mapping is not as `expected` has it.
    pub(crate) fn faults(&self, expected: ExpectedSchema) -> Vec<SchemaFault> {
        // A guessed mapping gives texts the type "text" with a part "keyword"; the template never does.
        for field in ["NamespaceId", "RunId", "ExecutionStatus"] {
            if let Some(kind) = self.kind(field).filter(|kind| *kind != "keyword") {
                let reason = format!("{field} is {kind}, not keyword");
                return vec![SchemaFault::NotFromTemplate { reason, expected }];
            }
        }
        if self.kind("NamespaceId").is_none() {
            let reason = "NamespaceId is not mapped".to_owned();
            return vec![SchemaFault::NotFromTemplate { reason, expected }];
        }
        let wanted = FIELDS
            .iter()
            .filter(|(since, _)| SchemaVersion::template(*since) <= expected.version)
            .flat_map(|(_, fields)| fields.iter());
        let (mut faults, mut missing) = (Vec::new(), Vec::new());
        for (field, wanted) in wanted {
            match self.kind(field) {
                None => missing.push((*field).to_owned()),
                Some(found) if !same_kind(found, wanted) => faults.push(SchemaFault::WrongType {
                    field: (*field).to_owned(),
                    found: found.to_owned(),
                    wanted: (*wanted).to_owned(),
                    expected,
                }),
                Some(_) => {}
            }
        }
        if !missing.is_empty() {
            faults.push(SchemaFault::MissingFields {
                fields: missing,
                expected,
            });
        }
        faults
    }

    /// Whether writing a field that is not mapped maps it, to whatever its first value looks like.
    pub(crate) fn is_dynamic(&self) -> bool {
        self.dynamic
    }
}

/// Whether queries work alike on both types: templates before v4 had `date` for times, which compares in milliseconds.
fn same_kind(found: &str, wanted: &str) -> bool {
    found == wanted || (wanted == "scaled_float" && found == "double")
}

fn of_index(index: &Value) -> Mapping {
    let mapping = index.get("mappings").unwrap_or(&Value::Null);
    let properties = mapping.get("properties").and_then(Value::as_object);
    let kind = |field: &Value| field.get("type").and_then(Value::as_str).unwrap_or("object").to_owned();
    let fields = properties
        .into_iter()
        .flatten()
        .map(|(name, field)| (name.clone(), kind(field)));
    // `"false"` and `false` are the same; absent means true.
    let dynamic = mapping
        .get("dynamic")
        .is_none_or(|value| *value == true || *value == "true");
    Mapping {
        fields: fields.collect(),
        dynamic,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::{Family, expected_schema};

    fn mapped(up_to: u32) -> Value {
        let fields = FIELDS
            .iter()
            .filter(|(since, _)| *since <= up_to)
            .flat_map(|(_, fields)| fields.iter());
        let properties: serde_json::Map<String, Value> = fields
            .map(|(field, kind)| ((*field).to_owned(), json!({"type": kind})))
            .collect();
        json!({"index": {"mappings": {"dynamic": "false", "properties": properties}}})
    }

    fn faults(answer: &Value, server: &str) -> Vec<String> {
        let expected = expected_schema(Family::Elasticsearch, server).expect("a known server");
        let faults = Mapping::parse(answer).faults(expected);
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_template_is_recognised_and_enough_for_its_servers() {
        for (version, server) in [
            (5, "1.22.7"),
            (6, "1.23.1"),
            (7, "1.25.1"),
            (8, "1.26.2"),
            (9, "1.29.1"),
            (13, "1.30.8"),
        ] {
            let answer = mapped(version);
            let mapping = Mapping::parse(&answer);
            assert_eq!(mapping.template(), Some(SchemaVersion::template(version)));
            assert_eq!(faults(&answer, server), Vec::<String>::new());
            assert!(!mapping.is_dynamic());
        }
        let old = faults(&mapped(9), "1.30.8");
        assert!(
            old.len() == 1 && old[0].contains("TemporalKeyword01") && old[0].contains("v13"),
            "{old:?}"
        );
    }

    #[test]
    fn an_index_made_by_a_write_is_recognised_with_its_remedy() {
        let text = json!({"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}});
        let guessed = json!({"i": {"mappings": {"properties": {"NamespaceId": text, "StartTime": {"type": "date"}}}}});
        for answer in [guessed, json!({"i": {"mappings": {}}}), json!({})] {
            let faults = faults(&answer, "1.23.1");
            assert!(
                faults.len() == 1 && faults[0].contains("delete the index"),
                "{faults:?}"
            );
            assert!(Mapping::parse(&answer).is_dynamic());
            assert_eq!(Mapping::parse(&answer).template(), None);
        }
    }

    #[test]
    fn a_field_of_another_type_is_named() {
        let mut answer = mapped(13);
        answer["index"]["mappings"]["properties"]["CloseTime"] = json!({"type": "date"});
        let faults = faults(&answer, "1.30.8");
        assert!(
            faults.len() == 1 && faults[0].contains("CloseTime to date where"),
            "{faults:?}"
        );
    }

    #[test]
    fn a_field_of_another_type_is_in_the_way_and_indices_behind_one_alias_are_told_apart() {
        let of = |kind: &str| json!({"mappings": {"properties": {"CustomerId": {"type": kind}, "Amount": {"type": "double"}}}});
        let one = Mapping::parse(&json!({"a": of("long")}));
        assert_eq!(one.conflict("CustomerId", "keyword"), Some("long"));
        assert_eq!(one.conflict("CustomerId", "long"), None);
        assert_eq!(one.conflict("Amount", "scaled_float"), None);
        assert_eq!(one.conflict("Nothing", "keyword"), None);
        let two = Mapping::parse(&json!({"a": of("keyword"), "b": of("long")}));
        assert_eq!(two.conflict("CustomerId", "keyword"), Some("keyword and long"));
    }
}
