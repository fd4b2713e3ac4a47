//! Each benchmark once with few records: what they measure here means nothing, that they run does.

use std::path::Path;
use std::process::Command;

use e2e::bare::BareStores;
use e2e::servers::progress::Lines;
use serde_json::Value;

fn bench(name: &str, stores: &Path, output: &Path) -> Vec<Value> {
    let run = Command::new(env!("CARGO_BIN_EXE_crossfade-bench"))
        .args([name, "--records", "2000", "--stores"])
        .arg(stores)
        .arg("--output")
        .arg(output)
        .output()
        .expect("the benchmark to run");
    let (said, why) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    assert!(run.status.success(), "{name}: {why}");
    let file = output.join(format!("{name}.json"));
    let cases: Value = serde_json::from_slice(&std::fs::read(file).expect("its file")).expect("JSON");
    let cases = cases.as_array().expect("a list").clone();
    for case in &cases {
        let number = |field: &str| {
            case[field]
                .as_f64()
                .unwrap_or_else(|| panic!("{name}: {field}: {case}"))
        };
        let is_part = case["case"] == "few records";
        assert_eq!(case["records"], if is_part { 1000 } else { 2000 });
        let (seconds, bound) = (number("seconds"), number("bound_seconds"));
        assert!(seconds > 0.0 && bound > 0.0 && number("peak_rss_mb") > 1.0, "{case}");
        assert!(
            (number("ratio_to_bound") - seconds / bound).abs() < 0.01 * seconds / bound + 0.01,
            "{case}"
        );
        assert!(case["peers"].is_object(), "{case}");
        // Its line in the table that people see.
        assert!(said.contains(case["case"].as_str().expect("a name")), "{said}");
    }
    cases
}

fn names(cases: &[Value]) -> Vec<&str> {
    cases.iter().filter_map(|case| case["case"].as_str()).collect()
}

#[tokio::test]
async fn each_benchmark_runs_and_writes_what_it_found() {
    let stores = BareStores::start(512, &Lines::default()).await.expect("the stores");
    let output = tempfile::tempdir().expect("a folder");
    let run = |name| bench(name, stores.entries(), output.path());

    let copies = run("copy");
    let pairs = [
        "postgres-to-postgres",
        "postgres-to-indexed-postgres",
        "postgres-to-elasticsearch",
        "elasticsearch-to-elasticsearch",
    ];
    assert_eq!(names(&copies), pairs);
    assert!(copies[0]["peers"]["copy_into_indexed_table"].is_f64());
    assert!(copies[3]["peers"]["reindex"].is_f64());
    let compared = run("compare");
    assert_eq!(
        names(&compared),
        [
            "postgres-with-postgres",
            "postgres-with-postgres-by-digest",
            "postgres-with-elasticsearch"
        ]
    );
    let mut slices = Vec::new();
    for family in ["Postgres", "Elasticsearch"] {
        slices.extend([1, 2, 4, 8].map(|at_once| format!("into {family}, {at_once} at once")));
    }
    assert_eq!(names(&run("slices")), slices);
    assert_eq!(names(&run("memory")), ["few records", "all records"]);
    stores.finish().expect("the end");
}
