//! `cargo xtask bench scale` once, with few records and one migration: what it measures here means nothing, that it runs does.

use std::process::Command;

use serde_json::Value;

#[test]
fn the_copy_of_a_migration_is_measured_and_written_down() {
    let output = tempfile::tempdir().expect("a folder");
    let run = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args([
            "bench",
            "scale",
            "--records",
            "500",
            "--workers",
            "2",
            "--distance-ms",
            "2",
            "--output",
        ])
        .arg(output.path())
        .env("CROSSFADE_BIN", e2e::migration::crossfade().expect("the product"))
        .output()
        .expect("the benchmark to run");
    let (said, why) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    assert!(run.status.success(), "{why}");
    let file = std::fs::read(output.path().join("scale.json")).expect("its file");
    let cases: Value = serde_json::from_slice(&file).expect("JSON");
    assert_eq!(cases.as_array().map(Vec::len), Some(1), "{cases}");
    let case = &cases[0];
    assert_eq!((&case["case"], &case["records"]), (&"2 workers".into(), &500.into()));
    let number = |field: &str| case[field].as_f64().unwrap_or_else(|| panic!("{field}: {case}"));
    assert!(number("seconds") > 0.0 && number("peak_rss_mb") > 1.0, "{case}");
    // The first is the bound of those after it.
    assert!((number("bound_seconds") - number("seconds")).abs() < 0.01, "{case}");
    assert!((number("ratio_to_bound") - 1.0).abs() < 0.01, "{case}");
    assert!(case["peers"].is_object(), "{case}");
    assert!(said.contains("2 workers"), "{said}");
}
