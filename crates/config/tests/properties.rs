//! Properties of every edit, over configs written in all the ways that people write them.

use std::fmt::Write;
use std::fs;

use crossfade_config::{
    DynamicConfig, DynamicEdit, ReadsFromSecondary, Restored, SourceBecomes, StaticConfig, StaticEdit, WritingMode,
    edit_dynamic, edit_static, restore, sha256, unified_diff, write_if_unchanged,
};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use yaml_serde::Value;

/// A value and the Namespace it is for.
type Item = (Json, Option<String>);

/// How one generated file is written.
#[derive(Debug, Clone)]
struct Hand {
    step: usize,
    dash: usize,
    quote: &'static str,
    newline: &'static str,
    last_line_break: bool,
    byte_order_mark: bool,
    comments: bool,
    blank_lines: bool,
    document_start: bool,
    flow_datastore: bool,
    stores_last: bool,
    anchors: bool,
}

prop_compose! {
    fn hand()(
        step in prop_oneof![Just(2usize), Just(4), Just(3), Just(1), Just(8)],
        dash in 0usize..5,
        quote in prop_oneof![Just(""), Just("'"), Just("\"")],
        newline in prop_oneof![3 => Just("\n"), 1 => Just("\r\n")],
        last_line_break in prop::bool::weighted(0.8),
        byte_order_mark in prop::bool::weighted(0.1),
        (comments, blank_lines, document_start) in any::<(bool, bool, bool)>(),
        (flow_datastore, stores_last, anchors) in any::<(bool, bool, bool)>(),
    ) -> Hand {
        Hand { step, dash, quote, newline, last_line_break, byte_order_mark, comments, blank_lines, document_start, flow_datastore, stores_last, anchors }
    }
}

impl Hand {
    fn text(&self, lines: &[(usize, String)]) -> String {
        let mut text = String::new();
        if self.byte_order_mark {
            text.push('\u{feff}');
        }
        if self.document_start {
            text.push_str("---");
            text.push_str(self.newline);
        }
        for (n, (depth, line)) in lines.iter().enumerate() {
            let indent = " ".repeat(depth * self.step);
            if self.comments && n % 3 == 1 {
                write!(text, "{indent}# about {}{}", n, self.newline).expect("text");
            }
            let trailing = if self.comments && n % 4 == 2 { "  # why: {}" } else { "" };
            write!(text, "{indent}{line}{trailing}{}", self.newline).expect("text");
            if self.blank_lines && n % 5 == 3 {
                text.push_str(self.newline);
            }
        }
        if self.comments {
            write!(text, "# the end{}", self.newline).expect("text");
        }
        if self.last_line_break {
            text
        } else {
            text.trim_end().to_owned()
        }
    }

    fn quoted(&self, text: &str) -> String {
        format!("{q}{text}{q}", q = self.quote)
    }

    fn static_config(&self) -> String {
        let q = |text: &str| self.quoted(text);
        let mut lines = vec![(0, "log:".to_owned()), (1, "level: info".to_owned())];
        if self.anchors {
            lines.extend([
                (0, "x-tls: &tls".to_owned()),
                (1, "enabled: false".to_owned()),
                (1, format!("serverName: {}", q("db"))),
            ]);
        }
        lines.push((0, "persistence:".to_owned()));
        let stores = [
            (1, format!("{}: {}", q("defaultStore"), q("default"))),
            (1, format!("visibilityStore: {}", q("vis"))),
            (1, "numHistoryShards: 4".to_owned()),
        ];
        if !self.stores_last {
            lines.extend(stores.clone());
        }
        lines.push((1, "datastores:".to_owned()));
        for name in ["default", "vis"] {
            if self.flow_datastore {
                let merge = if self.anchors { "tls: *tls, " } else { "" };
                lines.push((
                    2,
                    format!(
                        "{name}: {{ sql: {{ {merge}pluginName: {}, password: {} }} }}",
                        q("sqlite"),
                        q("old-pw-1")
                    ),
                ));
            } else {
                lines.extend([
                    (2, format!("{}:", q(name))),
                    (3, "sql:".to_owned()),
                    (4, format!("pluginName: {}", q("postgres12"))),
                ]);
                lines.extend([
                    (4, format!("password: {}", q("old-pw-1"))),
                    (4, "maxConns: 20".to_owned()),
                ]);
                if self.anchors {
                    lines.extend([
                        (4, "tls:".to_owned()),
                        (5, "<<: *tls".to_owned()),
                        (5, "enabled: true".to_owned()),
                    ]);
                }
            }
        }
        if self.stores_last {
            lines.extend(stores);
        }
        lines.extend([
            (0, "services:".to_owned()),
            (1, "frontend:".to_owned()),
            (2, "rpc: {grpcPort: 7233}".to_owned()),
        ]);
        self.text(&lines)
    }

    fn dynamic_config(&self, keys: &[(String, Vec<Item>)]) -> String {
        let mut text = String::new();
        if self.byte_order_mark {
            text.push('\u{feff}');
        }
        let newline = self.newline;
        let dash = " ".repeat(self.dash);
        for (n, (key, items)) in keys.iter().enumerate() {
            if self.comments {
                write!(text, "# key {n}{newline}").expect("text");
            }
            if items.is_empty() {
                write!(text, "{}: []{newline}", self.quoted(key)).expect("text");
                continue;
            }
            write!(text, "{}:{newline}", self.quoted(key)).expect("text");
            for (value, namespace) in items {
                let constraints = namespace
                    .as_ref()
                    .map_or("{}".to_owned(), |n| format!("{{namespace: {}}}", self.quoted(n)));
                if self.flow_datastore {
                    write!(text, "{dash}- {{value: {value}, constraints: {constraints}}}{newline}").expect("text");
                } else {
                    write!(
                        text,
                        "{dash}- value: {value}{newline}{dash}  constraints: {constraints}{newline}"
                    )
                    .expect("text");
                }
            }
            if self.blank_lines {
                text.push_str(newline);
            }
        }
        if self.last_line_break {
            text
        } else {
            text.trim_end().to_owned()
        }
    }
}

fn leaf() -> impl Strategy<Value = Json> {
    prop_oneof![
        "[ -~]{0,12}".prop_map(Json::from),
        "\\PC{0,6}".prop_map(Json::from),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        Just(json!(null)),
        Just(json!([])),
        Just(json!({})),
    ]
}

/// The fields of a datastore, at most three levels deep.
fn datastore() -> impl Strategy<Value = Json> {
    let object = |value: BoxedStrategy<Json>| prop::collection::btree_map("[a-zA-Z][a-zA-Z0-9 :#-]{0,10}", value, 1..5);
    let inner = object(prop_oneof![leaf(), prop::collection::vec(leaf(), 0..3).prop_map(Json::from)].boxed());
    let outer = object(prop_oneof![3 => leaf(), 1 => inner.prop_map(|m| json!(m))].boxed());
    outer.prop_map(|sql| json!({ "sql": sql }))
}

fn meaning(text: &str) -> Value {
    let mut value: Value =
        yaml_serde::from_str(text.trim_start_matches('\u{feff}')).unwrap_or_else(|e| panic!("{e}:\n{text}"));
    value.apply_merge().expect("merge keys apply");
    value
}

fn assert_lines_kept(before: &str, after: &str) {
    let mut rest = after.split('\n').map(|l| l.trim_end_matches('\r'));
    for line in before
        .split('\n')
        .map(|l| l.trim_end_matches('\r'))
        .filter(|l| !l.is_empty())
    {
        assert!(
            rest.any(|l| l == line),
            "lost the line {line:?}:\n{}",
            unified_diff("x", before, after)
        );
    }
}

fn endings(text: &str) -> (usize, usize) {
    (text.matches("\r\n").count(), text.matches('\n').count())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 2, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn static_edits_are_exact_idempotent_and_reversible(hand in hand(), added in datastore()) {
        let before = hand.static_config();
        let attach = StaticEdit::AttachSecondary { name: "target".to_owned(), datastore: added.clone() };
        let attached = edit_static("x.yaml", before.as_bytes(), &attach).unwrap_or_else(|r| panic!("{r}\n{before}"));
        assert_lines_kept(&before, attached.text());
        let mut expected = meaning(&before);
        expected["persistence"]["secondaryVisibilityStore"] = "target".into();
        expected["persistence"]["datastores"]["target"] = yaml_serde::to_value(&added).expect("a value");
        prop_assert_eq!(meaning(attached.text()), expected.clone());
        let (windows, all) = endings(attached.text());
        prop_assert!(windows == 0 || windows == all, "mixed line endings");
        prop_assert_eq!(attached.text().ends_with('\n'), hand.last_line_break);

        let config = StaticConfig::parse("x.yaml", attached.text().as_bytes()).expect("our own result parses");
        prop_assert!(!config.edit(&attach).expect("again").is_changed());
        let detach = StaticEdit::DetachSecondary { name: "target".to_owned(), remove_datastore: true };
        let detached = config.edit(&detach).expect("detached");
        prop_assert_eq!(detached.text(), before.as_str());

        for source_becomes in [SourceBecomes::Defined, SourceBecomes::Removed, SourceBecomes::Secondary] {
            let promote = StaticEdit::Promote { source: "vis".to_owned(), target: "target".to_owned(), source_becomes };
            let promoted = config.edit(&promote).expect("promoted");
            let mut expected = expected.clone();
            expected["persistence"]["visibilityStore"] = "target".into();
            let persistence = expected["persistence"].as_mapping_mut().expect("a mapping");
            match source_becomes {
                SourceBecomes::Secondary => { persistence.insert("secondaryVisibilityStore".into(), "vis".into()); }
                _ => { persistence.remove("secondaryVisibilityStore"); }
            }
            if source_becomes == SourceBecomes::Removed {
                expected["persistence"]["datastores"].as_mapping_mut().expect("a mapping").remove("vis");
            }
            prop_assert_eq!(meaning(promoted.text()), expected);
            let again = edit_static("x.yaml", promoted.text().as_bytes(), &promote).expect("again");
            prop_assert!(!again.is_changed());
        }
    }

    #[test]
    fn dynamic_edits_are_exact_idempotent_and_reversible(
        hand in hand(),
        others in prop::collection::btree_map("[a-z]{1,6}\\.[a-zA-Z]{1,8}", prop::collection::vec((leaf(), prop::option::of("[a-z]{1,5}")), 0..3), 0..4),
        own_mode in prop::option::of(prop_oneof![Just("off"), Just("dual"), Just("on")]),
        own_reads in prop::option::of(prop::collection::vec((any::<bool>(), prop::option::of("[ab]")), 0..4)),
        steps in prop::collection::vec((0u8..3, any::<bool>(), prop::collection::btree_map("[abc]", any::<bool>(), 0..3)), 1..5),
    ) {
        let mut keys: Vec<_> = others.into_iter().collect();
        if let Some(mode) = own_mode {
            keys.insert(keys.len() / 2, ("System.secondaryVisibilityWritingMode".to_owned(), vec![(json!(mode), None)]));
        }
        if let Some(reads) = &own_reads {
            let items = reads.iter().map(|(on, namespace)| (json!(on), namespace.clone())).collect();
            keys.push(("system.enableReadFromSecondaryVisibility".to_owned(), items));
        }
        let before = hand.dynamic_config(&keys);
        let others_of = |text: &str| {
            let mut value = meaning(text);
            if let Some(map) = value.as_mapping_mut() {
                map.retain(|k, _| {
                    let key = k.as_str().unwrap_or_default().to_lowercase();
                    key != "system.secondaryvisibilitywritingmode" && key != "system.enablereadfromsecondaryvisibility"
                });
            }
            if value.is_null() { Value::Mapping(yaml_serde::Mapping::new()) } else { value }
        };
        let untouched = others_of(&before);
        let mut text = before.clone();
        for (mode, everywhere, namespaces) in steps {
            let mode = [WritingMode::Off, WritingMode::Dual, WritingMode::On][usize::from(mode)];
            let reads = ReadsFromSecondary { everywhere, namespaces };
            let edit = DynamicEdit::Set { writing_mode: mode, reads: reads.clone() };
            let edited = edit_dynamic("x.yaml", text.as_bytes(), &edit).unwrap_or_else(|r| panic!("{r}\n{text}"));
            let config = DynamicConfig::parse("x.yaml", edited.text().as_bytes()).expect("our own result parses");
            prop_assert_eq!(config.writing_mode().map(|m| m.value), Some(Ok(mode)));
            let seen = config.reads_from_secondary();
            for namespace in ["a", "b", "c", "d"] {
                let holds = |reads: &ReadsFromSecondary| *reads.namespaces.get(namespace).unwrap_or(&reads.everywhere);
                prop_assert_eq!(holds(&seen), holds(&reads), "{}\n{}", namespace, edited.text());
            }
            prop_assert_eq!(others_of(edited.text()), untouched.clone());
            prop_assert!(!config.edit(&edit).expect("again").is_changed());
            text = edited.text().to_owned();
        }
        let removed = edit_dynamic("x.yaml", text.as_bytes(), &DynamicEdit::Remove).unwrap_or_else(|r| panic!("{r}\n{text}"));
        prop_assert_eq!(others_of(removed.text()), untouched);
        if own_mode.is_none() && own_reads.is_none() {
            prop_assert_eq!(removed.text(), before);
        }
    }

    #[test]
    fn no_secret_reaches_a_diff(hand in hand(), password in "[a-zA-Z0-9#:'\" {}\\[\\],&*!|>%@-]{6,20}[0-9]") {
        let before = hand.static_config();
        let datastore = json!({ "sql": { "password": password, "tls": { "keyData": format!("k\n{password}\n") } } });
        let attach = StaticEdit::AttachSecondary { name: "target".to_owned(), datastore };
        let attached = edit_static("x.yaml", before.as_bytes(), &attach).expect("attached");
        for (from, to) in [(before.as_str(), attached.text()), (attached.text(), before.as_str()), ("", attached.text())] {
            let diff = unified_diff("x.yaml", from, to);
            prop_assert!(!diff.contains(&password) && !diff.contains("old-pw-1"), "{}", diff);
        }
        let shown = format!("{attach:?}");
        prop_assert!(!shown.contains(&password));
    }

    /// Whatever the bytes: a reason or an edit that means what it should, never a panic.
    #[test]
    fn any_bytes_end_in_a_reason_or_an_exact_edit(bytes in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "[a-c:\\-{}\\[\\]&*!|>'\"#%@`, \n\t\r?~.]{0,80}".prop_map(String::into_bytes),
        "(persistence:\n)?( {1,3}(visibilityStore|datastores|a|<<)?: ?([&*]a)? ?(vis|\\{\\}|\\{a: \\{\\}\\}|\\|)?\n){0,8}".prop_map(String::into_bytes),
    ]) {
        let attach = StaticEdit::AttachSecondary { name: "target".to_owned(), datastore: json!({ "sql": {} }) };
        let _ = edit_static("x.yaml", &bytes, &attach);
        let mode = DynamicEdit::SetWritingMode(WritingMode::Dual);
        if let Ok(edited) = edit_dynamic("x.yaml", &bytes, &mode) {
            let config = DynamicConfig::parse("x.yaml", edited.text().as_bytes()).expect("our own result parses");
            prop_assert_eq!(config.writing_mode().map(|m| m.value), Some(Ok(WritingMode::Dual)));
        }
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = unified_diff("x.yaml", "", text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn restoring_gives_identical_bytes(before in prop::collection::vec(any::<u8>(), 0..300), steps in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..5)) {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("x.yaml");
        fs::write(&file, &before).expect("written");
        let mut current = before.clone();
        for step in &steps {
            write_if_unchanged(&file, &sha256(&current), step, "m").expect("written");
            current.clone_from(step);
        }
        let restored = restore(&file, "m").expect("restored");
        prop_assert_eq!(fs::read(&file).expect("read"), before.clone());
        let unchanged = if steps.iter().all(|s| *s == before) { Restored::NeverWritten } else { Restored::AlreadyOriginal };
        prop_assert!(restored == Restored::Restored || restored == unchanged);
    }
}
