//! The command as its users meet it: help, exit status, what stands on stdout and on stderr.

use std::{fs, path::PathBuf, process::Output};

use assert_cmd::Command;
use serde_json::Value;

const DONE: i32 = 0;
const FAILED: i32 = 1;
const REFUSED: i32 = 2;

/// The command, with nothing of the tester's own environment.
fn crossfade(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("crossfade").expect("the binary is built");
    command.env_clear().env("HOME", "/nonexistent").args(args);
    command
}

fn run(args: &[&str]) -> Output {
    crossfade(args).output().expect("it runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

#[track_caller]
fn check_exit(output: &Output, status: i32) {
    assert_eq!(
        output.status.code(),
        Some(status),
        "stdout: {}\nstderr: {}",
        stdout(output),
        stderr(output)
    );
}

/// A spec file with this content; `name` decides whether it is YAML or JSON.
struct SpecFile {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl SpecFile {
    fn new(name: &str, content: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        fs::write(&path, content).expect("a file");
        Self { _folder: folder, path }
    }

    fn path(&self) -> &str {
        self.path.to_str().expect("UTF-8")
    }

    /// What `spec check` says of it, with the folder's name taken out.
    fn check(&self) -> (Option<i32>, String) {
        let output = run(&["spec", "check", self.path()]);
        assert_eq!(stdout(&output).is_empty(), !output.status.success(), "{output:?}");
        let folder = format!("{}/", self.path.parent().expect("a folder").display());
        (output.status.code(), stderr(&output).replace(&folder, ""))
    }
}

const GOOD: &str = include_str!("../src/commands/example.yaml");

/// `GOOD` with one text replaced, which must occur.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replacen(from, to, 1)
}

/// Checks that the spec is refused with exactly these lines, before the next step.
#[track_caller]
fn check_refused(content: &str, lines: &[&str]) {
    let (status, said) = SpecFile::new("spec.yaml", content.as_bytes()).check();
    assert_eq!(status, Some(REFUSED), "{said}");
    let said: Vec<&str> = said
        .trim_start_matches("error: ")
        .lines()
        .take_while(|line| !line.starts_with("Next step"))
        .collect();
    assert_eq!(said, lines);
}

#[test]
fn help_of_every_command_is_the_reference() {
    let pages: Vec<Vec<&str>> = vec![
        vec![],
        vec!["worker"],
        vec!["spec"],
        vec!["spec", "schema"],
        vec!["spec", "example"],
        vec!["spec", "check"],
        vec!["spec", "json"],
        vec!["plan"],
        vec!["routes"],
        vec!["start"],
        vec!["status"],
        vec!["watch"],
        vec!["approve"],
        vec!["pause"],
        vec!["resume"],
        vec!["skip-wait"],
        vec!["finish"],
        vec!["rollback"],
        vec!["abort"],
        vec!["set-rate"],
        vec!["report"],
        vec!["audit"],
        vec!["copy"],
        vec!["indexes"],
        vec!["diff"],
    ];
    let mut reference = String::from("The help of every command, written by a test (worker/tests/cli.rs).\n");
    for page in &pages {
        let mut args = page.clone();
        args.push("--help");
        let output = run(&args);
        check_exit(&output, DONE);
        let name = [&["crossfade"][..], page].concat().join(" ");
        reference.push_str(&format!("\n==== {name} ====\n\n{}", stdout(&output)));
    }
    let overview = stdout(&run(&["--help"]));
    for command in overview
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
    {
        let name = command.split_whitespace().next().unwrap_or_default();
        let listed = pages.iter().any(|page| page.first() == Some(&name));
        assert!(
            listed || name == "help" || !command.starts_with("  "),
            "`{name}` is missing in this test"
        );
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.txt");
    let written = fs::read_to_string(path).unwrap_or_default();
    if written != reference {
        fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).expect("docs/");
        fs::write(path, &reference).expect("docs/cli.txt is writable");
    }
    assert!(
        written == reference,
        "docs/cli.txt was out of date; it is written anew: commit it"
    );
}

#[test]
fn the_example_is_good_in_both_forms() {
    for (name, args) in [
        ("spec.yaml", &["spec", "example", "--yaml"][..]),
        ("spec.json", &["spec", "example"]),
    ] {
        let example = run(args);
        check_exit(&example, DONE);
        let file = SpecFile::new(name, &example.stdout);
        let checked = run(&["spec", "check", file.path()]);
        check_exit(&checked, DONE);
        assert!(stdout(&checked).starts_with("good: the cluster at 127.0.0.1:7233 moves to `postgres-visibility-new`"));
        let line = stdout(&run(&["spec", "json", file.path()]));
        assert_eq!(line.trim_end().lines().count(), 1);
        let parsed: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(
            parsed,
            serde_json::from_slice::<Value>(&run(&["spec", "example"]).stdout).expect("JSON")
        );
    }
    let schema: Value = serde_json::from_slice(&run(&["spec", "schema"]).stdout).expect("JSON");
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn a_spec_can_come_from_standard_input() {
    crossfade(&["spec", "check", "-"]).write_stdin(GOOD).assert().success();
    let refused = crossfade(&["spec", "check", "-"])
        .write_stdin("{\"cluster\": 1}")
        .assert()
        .code(REFUSED);
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(
        said.contains("standard input:1: cluster: expected an object, got a number"),
        "{said}"
    );
}

#[test]
fn every_mistake_in_a_spec_is_told_with_its_field_and_line() {
    check_refused(
        &with("name: node-a", "nam: node-a"),
        &[
            "spec.yaml:8: cluster.hosts[0].nam: unknown field `nam`",
            "spec.yaml:8: cluster.hosts[0].name: missing field `name`",
        ],
    );
    check_refused(
        &with("/etc/temporal/config/production.yaml", "config/production.yaml"),
        &["spec.yaml:9: cluster.hosts[0].config: `config/production.yaml` is not an absolute path"],
    );
    check_refused(
        &with("soak: 30m", "soak: 30"),
        &["spec.yaml:39: cutover.soak: expected a string, got a number"],
    );
    check_refused(
        &with("soak: 30m", "soak: half an hour"),
        &["spec.yaml:39: cutover.soak: `half an hour` is not a length of time like 30s, 30m or 7d"],
    );
    check_refused(
        &with("{ env: TEMPORAL_VISIBILITY_PASSWORD }", "s3cret"),
        &["spec.yaml:26: target.datastore.sql.password: a secret stands here as plain text (not shown)"],
    );
    check_refused(
        &with("gates: [dual-write, cutover, promote]", "gates: [dual-write, cut-over]"),
        &[
            "spec.yaml:34: gates[1]: got `cut-over`, expected one of \"prepare-target\", \"dual-write\", \
           \"existing-records\", \"verify\", \"cutover\", \"promote\", \"finish\"",
        ],
    );
    check_refused(
        &with("existing_records: backfill", "existing_records: copy"),
        &["spec.yaml:31: existing_records: got `copy`, expected one of \"backfill\", \"wait\", \"both\", \"refresh\""],
    );
    check_refused(
        &with("{ systemd: temporal.service }", "systemctl restart temporal"),
        &[
            "spec.yaml:12: cluster.hosts[0].restart: got `systemctl restart temporal`, expected {\"command\": \
           [\"PROGRAM\", \"ARGUMENT\"]} or {\"systemd\": \"UNIT.service\"} or {\"compose\": {\"project\": \"NAME\", \
           \"services\": [\"SERVICE\"]}} or {\"kubernetes\": {\"namespace\": \"NAME\", \"workloads\": \
           [\"deployment/NAME\"]}}",
        ],
    );
    check_refused(
        &with(
            "services: [frontend, history, matching, worker]",
            "services: [frontend, hystory]",
        ),
        &[
            "spec.yaml:10: cluster.hosts[0].services[1]: got `hystory`, expected one of \"frontend\", \"history\", \
           \"matching\", \"worker\", \"internal-frontend\"",
        ],
    );
    check_refused(
        &with("keep_source_datastore: true", "keep_source_datastore: yes"),
        &["spec.yaml:42: keep_source_datastore: expected true or false, got a string"],
    );
    check_refused(
        &with("  name: postgres-visibility-new\n", ""),
        &["spec.yaml:15: target.name: missing field `name`"],
    );
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let content = with("frontend: 127.0.0.1:7233", "frontend: 7233").replace("soak: 30m", "soka: 30m");
    check_refused(
        &content,
        &[
            "spec.yaml:5: cluster.frontend: expected a string, got a number",
            "spec.yaml:39: cutover.soka: unknown field `soka`",
        ],
    );
}

#[test]
fn what_is_no_spec_at_all_is_told_so() {
    check_refused("", &["spec.yaml: expected one JSON object, the spec, and got nothing"]);
    check_refused(
        "- a\n",
        &["spec.yaml:1: expected one JSON object, the spec, and got a list"],
    );
    check_refused(
        "cluster: {}\ncluster: {}\n",
        &["spec.yaml:2: cluster: given twice, first in line 1; keep one"],
    );
    for (content, told) in [
        ("a: [1\n", "not YAML"),
        ("a: 1\n---\nb: 1\n", "not YAML"),
        ("a:\n\t- b\n", "not YAML"),
        ("<<: 1\n", "merge key"),
        ("1: a\n", "unknown field `1`"),
        ("? [a, b]\n: c\n", "no JSON form"),
        (&"[".repeat(10_000), "not YAML"),
    ] {
        let (status, said) = SpecFile::new("spec.yaml", content.as_bytes()).check();
        assert_eq!(status, Some(REFUSED), "{content}: {said}");
        assert!(said.contains(told), "{content}: {said}");
        assert!(said.contains("Next step: "), "{said}");
    }
    let (status, said) = SpecFile::new("spec.yaml", b"a: 1\nb: \xff\n").check();
    assert_eq!(
        (status, said.contains("spec.yaml:2: not UTF-8 text")),
        (Some(REFUSED), true),
        "{said}"
    );
    let (status, said) = SpecFile::new("spec.json", b"{\"cluster\": {,\n}").check();
    assert_eq!(
        (status, said.contains("spec.json:1: not JSON: ")),
        (Some(REFUSED), true),
        "{said}"
    );
    let (status, said) = SpecFile::new("spec.json", b"{\n\t\"cluster\": {},\n\t\"cluster\": {}\n}").check();
    assert!(
        said.contains("spec.json:3: cluster: given twice, first in line 2"),
        "{status:?} {said}"
    );
}

#[test]
fn a_file_that_is_not_there_is_told_by_name() {
    let output = run(&["spec", "check", "/nonexistent/spec.yaml"]);
    check_exit(&output, REFUSED);
    assert_eq!(
        stderr(&output),
        "error: /nonexistent/spec.yaml cannot be read: No such file or directory (os error 2)\n"
    );
}

#[test]
fn anchors_and_merge_keys_are_followed() {
    let content = with("    - name: node-a\n", "    - &host\n      name: node-a\n").replace(
        "  dynamic_config:",
        "    - { <<: *host, name: node-b }\n  dynamic_config:",
    );
    let file = SpecFile::new("spec.yaml", content.as_bytes());
    let checked = run(&["spec", "check", file.path()]);
    check_exit(&checked, DONE);
    assert!(stdout(&checked).contains("node-a, node-b"));
}

#[test]
fn under_json_there_is_one_value_on_stdout() {
    let file = SpecFile::new("spec.yaml", with("soak: 30m", "soka: 30m").as_bytes());
    let output = run(&["--json", "spec", "check", file.path()]);
    check_exit(&output, REFUSED);
    let answer: Value = serde_json::from_str(&stdout(&output)).expect("one JSON value");
    assert_eq!(answer["exit_status"], REFUSED);
    assert_eq!(answer["problems"][0]["field"], "cutover.soka");
    assert_eq!(answer["problems"][0]["line"], 39);
    assert_eq!(answer["problems"][0]["code"], "spec-invalid");
    let good = SpecFile::new("spec.yaml", GOOD.as_bytes());
    let answer: Value =
        serde_json::from_str(&stdout(&run(&["spec", "check", good.path(), "--json"]))).expect("one JSON value");
    assert_eq!(answer["valid"], true);
}

#[test]
fn bad_arguments_are_refused() {
    for (args, told) in [
        (&["approve", "cut-over"][..], "unknown gate `cut-over`"),
        (
            &["approve", "cutover", "--accept-drift", "some"],
            "expected missing, stale, different or extra",
        ),
        (&["set-rate", "0"], "would never end"),
        (&["set-rate", "many"], "expected a whole number"),
        (&["plan"], "required"),
        (&["plan", "spec.yaml", "--id", "x"], "cannot be used with"),
        (&["worker", "--host", ""], "a value is required"),
        (&["frobnicate"], "unrecognized subcommand"),
        (&["copy", "--from", "x.yaml#a"], "--to"),
    ] {
        let output = run(args);
        check_exit(&output, REFUSED);
        assert!(stderr(&output).contains(told), "{args:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn connection_settings_that_would_leak_are_refused() {
    for (name, value, told) in [
        ("TEMPORAL_TLS", "true", "in plain text"),
        ("TEMPORAL_API_KEY", "s3cret", "in plain text"),
        ("TEMPORAL_CONFIG_FILE", "/nonexistent/temporal.toml", "is no file"),
    ] {
        let output = crossfade(&["status", "--address", "http://127.0.0.1:1"])
            .env(name, value)
            .output()
            .expect("runs");
        check_exit(&output, REFUSED);
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
        assert!(!stderr(&output).contains("s3cret"));
    }
}

#[test]
fn a_server_that_does_not_answer_is_told_with_its_address() {
    // Bound and never listened on again: nothing else takes the port meanwhile.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port();
    let address = format!("127.0.0.1:{port}");
    for command in [
        &["status"][..],
        &["watch"],
        &["approve", "cutover"],
        &["audit"],
        &["report"],
    ] {
        let output = crossfade(command)
            .args(["--json", "--address", &address])
            .output()
            .expect("runs");
        check_exit(&output, FAILED);
        assert!(
            stderr(&output).contains(&format!("no Temporal Server answers at {address}")),
            "{}",
            stderr(&output)
        );
        assert!(stderr(&output).contains("onnection refused"), "{}", stderr(&output));
        let answer: Value = serde_json::from_str(&stdout(&output)).expect("one JSON value");
        assert_eq!(answer["exit_status"], FAILED);
    }
}

#[test]
fn stores_that_are_none_are_refused_without_their_password() {
    for (store, told) in [
        ("redis://u:s3cret@127.0.0.1/d", "`redis://`"),
        ("/nonexistent/production.yaml#visibility", "cannot be read"),
        ("sqlite:///nonexistent/visibility.db", "no file"),
    ] {
        let output = run(&["diff", "--from", store, "--to", store]);
        check_exit(&output, REFUSED);
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
        assert!(!stderr(&output).contains("s3cret"));
    }
}
