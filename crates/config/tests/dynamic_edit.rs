//! Edits of the dynamic config, case by case: the file before, the edit, the diff.

use crossfade_config::{
    DynamicConfig, DynamicEdit, READ_FROM_SECONDARY, ReadsFromSecondary, WRITING_MODE, WritingMode, edit_dynamic,
    unified_diff,
};

fn reads(everywhere: bool, namespaces: &[(&str, bool)]) -> ReadsFromSecondary {
    let namespaces = namespaces.iter().map(|(name, on)| ((*name).to_owned(), *on)).collect();
    ReadsFromSecondary { everywhere, namespaces }
}

fn set(writing_mode: WritingMode, everywhere: bool, namespaces: &[(&str, bool)]) -> DynamicEdit {
    DynamicEdit::Set {
        writing_mode,
        reads: reads(everywhere, namespaces),
    }
}

/// The diff of an edit, carriage returns made visible. Whatever is edited says what was wanted, twice is once.
fn diff(before: &str, edit: &DynamicEdit) -> String {
    let after = edit_dynamic("dynamic.yaml", before.as_bytes(), edit).unwrap_or_else(|refusal| panic!("{refusal}"));
    let config = DynamicConfig::parse("dynamic.yaml", after.text().as_bytes()).expect("our own result parses");
    assert!(
        !config.edit(edit).expect("again").is_changed(),
        "twice is not once:\n{}",
        after.text()
    );
    let (mode, wanted) = match edit {
        DynamicEdit::Set { writing_mode, reads } => (Some(*writing_mode), Some(reads.clone())),
        DynamicEdit::SetWritingMode(mode) => (Some(*mode), None),
        DynamicEdit::SetReads(reads) => (None, Some(reads.clone())),
        DynamicEdit::Remove => {
            assert!(!config.has(WRITING_MODE) && !config.has(READ_FROM_SECONDARY));
            (None, None)
        }
    };
    if let Some(mode) = mode {
        assert_eq!(config.writing_mode().map(|m| m.value), Some(Ok(mode)));
    }
    if let Some(wanted) = wanted {
        let seen = config.reads_from_secondary();
        assert_eq!(seen.everywhere, wanted.everywhere);
        for (name, on) in &seen.namespaces {
            assert_eq!(on, wanted.namespaces.get(name).unwrap_or(&wanted.everywhere), "{name}");
        }
        assert!(wanted.namespaces.keys().all(|name| seen.namespaces.contains_key(name)));
    }
    unified_diff("dynamic.yaml", before, after.text()).replace('\r', "␍")
}

const FILE: &str = "\
# Limits.
limit.maxIDLength:
  - value: 255
    constraints: {}
frontend.enableUpdate:
  - value: true # for all
  - value: false
    constraints:
      namespace: legacy
# End of file.
";

#[test]
fn keys_are_added_at_the_end_in_the_style_of_the_file() {
    insta::assert_snapshot!(diff(FILE, &set(WritingMode::Off, false, &[])));
}

#[test]
fn keys_are_added_to_odd_files() {
    let cases = [
        ("empty", ""),
        ("only comments", "# nothing yet\n\n# really"),
        ("only comments, Windows", "# nothing yet\r\n# really\r\n"),
        ("document start", "---\n# nothing\n"),
        ("byte order mark", "\u{feff}a.b:\n- value: 1\n"),
        ("compact lists", "a.b:\n- value: 1\n"),
        ("wide lists", "a.b:\n    -   value: 1\n        constraints: {}\n"),
        ("no last line break", "a.b:\n  - value: 1"),
        ("document end", "a.b:\n  - value: 1\n...\n"),
        ("flow style", "{a.b: [{value: 1}]}\n"),
        ("JSON", "{\n  \"a.b\": [{\"value\": 1}]\n}\n"),
        ("empty flow", "{}\n"),
        ("indented root", "  a.b:\n  - value: 1\n"),
        ("braces in a value", "a.url:\n- value: http://x/{{.NamespaceName}}/y\n"),
        ("key without values", "a.b:\n"),
    ];
    let edit = set(WritingMode::Dual, false, &[("staging", true)]);
    let all: Vec<String> = cases
        .iter()
        .map(|(case, before)| format!("## {case}\n{}", diff(before, &edit)))
        .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn keys_that_are_there_are_changed_in_place() {
    let cases = [
        (
            "as samples have it",
            "system.secondaryVisibilityWritingMode:\n  - value: \"off\" # mode\n    constraints: {}\nsystem.enableReadFromSecondaryVisibility:\n  - value: false\n    constraints: {}\nz.z:\n  - value: 1\n",
        ),
        (
            "other letter case, plain and single quotes",
            "SYSTEM.secondaryvisibilitywritingmode:\n- value: off\nsystem.EnableReadFromSecondaryVisibility:\n- value: 'false'\n",
        ),
        (
            "flow style",
            "system.secondaryVisibilityWritingMode: [{value: 'off', constraints: {}}]\nsystem.enableReadFromSecondaryVisibility: [{constraints: {Namespace: old}, value: false}]\n",
        ),
        (
            "all in one line",
            "{system.secondaryVisibilityWritingMode: [{value: \"off\"}], system.enableReadFromSecondaryVisibility: []}",
        ),
        (
            "empty keys",
            "system.secondaryVisibilityWritingMode:\nsystem.enableReadFromSecondaryVisibility: null # reads\nz.z: []\n",
        ),
        (
            "constraints that never match stay",
            "system.secondaryVisibilityWritingMode:\n- value: on\n  constraints: {namespace: x}\n- value: off\n- value: dual\nsystem.enableReadFromSecondaryVisibility:\n- value: true\n  constraints: {taskQueueName: q}\n",
        ),
        (
            "namespaces that must not contradict",
            "system.enableReadFromSecondaryVisibility:\n- constraints:\n    namespace: forgotten\n  value: false\n- constraints:\n    namespace: staging\n  value: false\n- value: false\n  constraints: {}\n",
        ),
        (
            "an alias for a value",
            "x: &off []\nsystem.secondaryVisibilityWritingMode:\n- value: &mode \"off\"\nother.key:\n- value: 1\n",
        ),
        (
            "a value left empty",
            "system.secondaryVisibilityWritingMode:\n- value:\n  constraints: {}\n",
        ),
    ];
    let edit = set(WritingMode::Dual, true, &[("staging", true)]);
    let all: Vec<String> = cases
        .iter()
        .map(|(case, before)| format!("## {case}\n{}", diff(before, &edit)))
        .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn the_way_back_leaves_no_namespace_at_the_secondary() {
    let mut text = FILE.to_owned();
    for edit in [
        set(WritingMode::Off, false, &[]),
        DynamicEdit::SetWritingMode(WritingMode::Dual),
        DynamicEdit::SetReads(reads(false, &[("staging", true)])),
        DynamicEdit::SetReads(reads(true, &[])),
        DynamicEdit::SetReads(reads(false, &[])),
    ] {
        diff(&text, &edit);
        text = edit_dynamic("dynamic.yaml", text.as_bytes(), &edit)
            .expect("edited")
            .text()
            .to_owned();
    }
    insta::assert_snapshot!(unified_diff("dynamic.yaml", FILE, &text));
    let removed = edit_dynamic("dynamic.yaml", text.as_bytes(), &DynamicEdit::Remove).expect("removed");
    assert_eq!(removed.text(), FILE);
}

#[test]
fn keys_are_removed_with_all_their_entries() {
    let cases = [
        (
            "between others",
            "a.b:\n- value: 1\nsystem.secondaryVisibilityWritingMode:\n# mode\n- value: off # o\n\nsystem.enableReadFromSecondaryVisibility: []\n# end\nc.d:\n- value: 2\n",
        ),
        (
            "at the end without a line break",
            "a.b:\n- value: 1\nSystem.SecondaryVisibilityWritingMode:\n- value: off",
        ),
        ("alone", "system.enableReadFromSecondaryVisibility:\n- value: true\n"),
        (
            "flow style",
            "{a.b: [], system.secondaryVisibilityWritingMode: [], system.enableReadFromSecondaryVisibility: []}\n",
        ),
        (
            "alone in flow style",
            "{system.secondaryVisibilityWritingMode: [{value: 'off'}]}\n",
        ),
        ("not there", "a.b: []\n"),
    ];
    let all: Vec<String> = cases
        .iter()
        .map(|(case, before)| format!("## {case}\n{}", diff(before, &DynamicEdit::Remove)))
        .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn what_is_shared_or_of_another_shape_is_refused() {
    let cases = [
        (
            "the list is an alias",
            "a.b: &list\n- value: \"off\"\nsystem.secondaryVisibilityWritingMode: *list\n",
        ),
        (
            "the item is an alias",
            "a.b:\n- &item\n  value: \"off\"\nsystem.secondaryVisibilityWritingMode:\n- *item\n",
        ),
        (
            "the list is used elsewhere",
            "system.secondaryVisibilityWritingMode: &list\n- value: \"off\"\na.b: *list\n",
        ),
        (
            "the value is used elsewhere",
            "system.secondaryVisibilityWritingMode:\n- value: &v \"off\"\na.b:\n- value: *v\n",
        ),
        (
            "the value comes by merge key",
            "a.b:\n- &item\n  value: \"off\"\nsystem.secondaryVisibilityWritingMode:\n- <<: *item\n",
        ),
        (
            "the key comes by merge key",
            "a: &all\n  system.secondaryVisibilityWritingMode:\n  - value: \"off\"\n<<: *all\n",
        ),
        (
            "no value",
            "system.secondaryVisibilityWritingMode:\n- constraints: {}\n",
        ),
        (
            "a mapping for a value",
            "system.secondaryVisibilityWritingMode:\n- value: {a: b}\n",
        ),
    ];
    let edit = DynamicEdit::SetWritingMode(WritingMode::Dual);
    let all: Vec<String> = cases
        .iter()
        .map(|(case, before)| {
            let refusal = edit_dynamic("dynamic.yaml", before.as_bytes(), &edit).err();
            format!(
                "## {case}\n{}",
                refusal.map_or_else(|| panic!("{case}: accepted"), |r| r.to_string())
            )
        })
        .collect();
    insta::assert_snapshot!(all.join("\n"));
    let shared = "system.secondaryVisibilityWritingMode:\n- value: &v \"off\"\na.b:\n- value: *v\n";
    let refusal = edit_dynamic("dynamic.yaml", shared.as_bytes(), &DynamicEdit::Remove).expect_err("a refusal");
    insta::assert_snapshot!("removing_what_is_used_elsewhere", refusal);
}

#[test]
fn reads_the_values_that_hold() {
    let text = "\
system.secondaryVisibilityWritingMode:
- value: on
  constraints: {namespace: x}
- value: Dual
- value: dual
system.enableReadFromSecondaryVisibility:
- value: true
- value: false
- value: false
  constraints: {namespace: a}
- value: true
  constraints: {Namespace: a}
- value: \"T\"
  constraints: {namespace: b}
- value: 1
  constraints: {namespace: c}
- value: true
  constraints: {namespace: d, taskQueueName: q}
- value: true
  constraints: {namespace: \"\"}
";
    let config = DynamicConfig::parse("dynamic.yaml", text.as_bytes()).expect("parsed");
    let mode = config.writing_mode().expect("a mode");
    assert_eq!(mode.line, 4);
    assert_eq!(mode.value.expect_err("unknown").0, "Dual");
    assert_eq!(
        config.reads_from_secondary(),
        reads(true, &[("a", false), ("b", true), ("c", false)])
    );
    let empty = DynamicConfig::parse("dynamic.yaml", b"").expect("parsed");
    assert_eq!(
        (empty.writing_mode(), empty.reads_from_secondary()),
        (None, ReadsFromSecondary::default())
    );
}
