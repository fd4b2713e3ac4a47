//! Edits of the indices of one Elasticsearch datastore, case by case and as properties.

use crossfade_config::{Edited, Refusal, StaticConfig, StaticEdit, edit_static, unified_diff};
use proptest::prelude::*;

const PLAIN: &str = include_str!("reference/elasticsearch.yaml");

fn attach() -> StaticEdit {
    StaticEdit::AttachSecondaryIndex {
        datastore: "es-visibility".to_owned(),
        index: "temporal_visibility_v2".to_owned(),
    }
}

fn detach() -> StaticEdit {
    StaticEdit::DetachSecondaryIndex {
        datastore: "es-visibility".to_owned(),
        index: "temporal_visibility_v2".to_owned(),
    }
}

fn promote(keep_source: bool) -> StaticEdit {
    StaticEdit::PromoteIndex {
        datastore: "es-visibility".to_owned(),
        source: "temporal_visibility_v1".to_owned(),
        target: "temporal_visibility_v2".to_owned(),
        keep_source,
    }
}

fn edit(before: &str, edit: &StaticEdit) -> Result<Edited, Refusal> {
    edit_static("production.yaml", before.as_bytes(), edit)
}

fn edited(before: &str, wanted: &StaticEdit) -> String {
    let after = edit(before, wanted).unwrap_or_else(|refusal| panic!("{refusal}\n{before}"));
    let again = edit(after.text(), wanted).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(!again.is_changed(), "twice is not once:\n{}", again.text());
    after.text().to_owned()
}

fn indices(text: &str) -> serde_json::Value {
    let config = StaticConfig::parse("x.yaml", text.as_bytes()).expect("parsed");
    config.datastore("es-visibility").expect("a datastore").value["elasticsearch"]["indices"].clone()
}

#[test]
fn each_step_changes_the_index_and_nothing_else() {
    let attached = edited(PLAIN, &attach());
    let promoted = edited(&attached, &promote(false));
    let diff = |title: &str, before: &str, after: &str| {
        format!("## {title}\n{}", unified_diff("production.yaml", before, after))
    };
    insta::assert_snapshot!(
        [
            diff("attach", PLAIN, &attached),
            diff("promote", &attached, &promoted),
            diff(
                "promote, the source still written",
                &attached,
                &edited(&attached, &promote(true))
            ),
        ]
        .join("\n")
    );
    assert_eq!(edited(&attached, &detach()), PLAIN);
    // Attached or not, promoting ends in the same text.
    assert_eq!(edited(PLAIN, &promote(false)), promoted);
}

#[test]
fn what_does_not_fit_is_refused_and_says_what_to_do() {
    let with = |from: &str, to: &str| {
        assert!(PLAIN.contains(from), "{from}");
        PLAIN.replacen(from, to, 1)
    };
    let cases = [
        (
            "it is the first index",
            with("temporal_visibility_v1", "temporal_visibility_v2"),
            attach(),
        ),
        (
            "another second index",
            with(
                "          visibility:",
                "          secondary_visibility: other\n          visibility:",
            ),
            attach(),
        ),
        (
            "detach another's",
            with(
                "          visibility:",
                "          secondary_visibility: other\n          visibility:",
            ),
            detach(),
        ),
        (
            "another primary",
            with("visibilityStore: es-visibility", "visibilityStore: default"),
            attach(),
        ),
        (
            "promote from elsewhere",
            with("temporal_visibility_v1", "temporal_visibility_v0"),
            promote(false),
        ),
        (
            "a secondary store besides",
            with("  datastores:", "  secondaryVisibilityStore: default\n  datastores:"),
            attach(),
        ),
        (
            "the older key besides",
            with(
                "  datastores:",
                "  advancedVisibilityStore: es-visibility\n  datastores:",
            ),
            attach(),
        ),
        (
            "no indices",
            with("visibility: temporal_visibility_v1", "other: index"),
            attach(),
        ),
        (
            "shared indices",
            with("indices:\n", "indices: &i\n").replace("services: {}", "x: *i"),
            attach(),
        ),
    ];
    let all: Vec<String> = cases
        .iter()
        .map(|(case, before, wanted)| {
            let refusal = edit(before, wanted).expect_err(case);
            assert!(!refusal.to_string().contains("s3cret"), "{refusal}");
            format!("## {case}\n{refusal}")
        })
        .collect();
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn the_older_key_is_recognised_with_what_it_means() {
    let file = |stores: &str, visibility: &str| {
        format!(
            "persistence:\n  defaultStore: default\n{stores}  datastores:\n    default: {{sql: {{pluginName: postgres12}}}}\n    \
             vis: {visibility}\n    es: {{elasticsearch: {{indices: {{visibility: v1}}}}}}\n"
        )
    };
    let secondary = StaticEdit::AttachSecondary {
        name: "new".to_owned(),
        datastore: serde_json::json!({"sql": {"pluginName": "postgres12", "password": "s3cret"}}),
    };
    let cassandra = "{cassandra: {hosts: a, keyspace: v}}";
    let both = "  visibilityStore: vis\n  advancedVisibilityStore: es\n";
    let all: Vec<String> = [
        ("Cassandra and the older key", file(both, cassandra)),
        (
            "standard SQL and the older key",
            file(both, "{sql: {pluginName: mysql}}"),
        ),
        ("SQL and the older key", file(both, "{sql: {pluginName: mysql8}}")),
        (
            "the older key alone",
            file("  advancedVisibilityStore: es\n", cassandra),
        ),
    ]
    .iter()
    .map(|(case, before)| format!("## {case}\n{}", edit(before, &secondary).expect_err(case)))
    .collect();
    insta::assert_snapshot!(all.join("\n\n"));
}

prop_compose! {
    /// The same config in the hand of one person or another.
    fn written()(
        step in prop_oneof![Just(2usize), Just(4), Just(3), Just(8)],
        quote in prop_oneof![Just(""), Just("'"), Just("\"")],
        windows in any::<bool>(),
        last_line_break in any::<bool>(),
        comments in any::<bool>(),
        flow in any::<bool>(),
        others_after in any::<bool>(),
        indices_last in any::<bool>(),
    ) -> String {
        let q = |text: &str| format!("{quote}{text}{quote}");
        let index = format!("visibility: {}", q("temporal_visibility_v1"));
        let mut lines = vec![
            (0, "persistence:".to_owned()), (1, format!("visibilityStore: {}", q("es-visibility"))),
            (1, "datastores:".to_owned()), (2, "es-visibility:".to_owned()), (3, "elasticsearch:".to_owned()),
            (4, format!("version: {}", q("v7"))),
        ];
        let mut own = if flow {
            vec![(4, format!("indices: {{ {index} }}"))]
        } else {
            vec![(4, "indices:".to_owned()), (5, index)]
        };
        let url = vec![(4, "url:".to_owned()), (5, "scheme: http".to_owned())];
        if indices_last {
            lines.extend(url);
            lines.append(&mut own);
        } else {
            lines.append(&mut own);
            lines.extend(url);
        }
        if others_after {
            lines.extend([(1, "defaultStore: es-visibility".to_owned()), (0, "log:".to_owned()), (1, "level: info".to_owned())]);
        }
        let mut text = String::new();
        for (number, (depth, line)) in lines.iter().enumerate() {
            let indent = " ".repeat(depth * step);
            if comments && number % 2 == 1 {
                text.push_str(&format!("{indent}# about line {number}\n"));
            }
            let why = if comments && number % 3 == 2 { " # why" } else { "" };
            text.push_str(&format!("{indent}{line}{why}\n"));
        }
        if !last_line_break {
            text.truncate(text.trim_end().len());
        }
        if windows { text.replace('\n', "\r\n") } else { text }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn index_edits_are_exact_idempotent_and_reversible(before in written()) {
        let attached = edited(&before, &attach());
        prop_assert_eq!(
            indices(&attached),
            serde_json::json!({"visibility": "temporal_visibility_v1", "secondary_visibility": "temporal_visibility_v2"})
        );
        prop_assert_eq!(&edited(&attached, &detach()), &before);
        let promoted = edited(&attached, &promote(false));
        prop_assert_eq!(indices(&promoted), serde_json::json!({"visibility": "temporal_visibility_v2"}));
        prop_assert_eq!(&promoted, &before.replace("temporal_visibility_v1", "temporal_visibility_v2"));
        let warm = edited(&attached, &promote(true));
        prop_assert_eq!(
            indices(&warm),
            serde_json::json!({"visibility": "temporal_visibility_v2", "secondary_visibility": "temporal_visibility_v1"})
        );
        // Every line of the file stands where it stood.
        let kept = attached.lines().filter(|line| !line.contains("temporal_visibility_v2")).collect::<Vec<_>>();
        prop_assert!(before.lines().filter(|line| !line.contains("temporal_visibility_v1")).all(|line| kept.contains(&line)));
    }
}
