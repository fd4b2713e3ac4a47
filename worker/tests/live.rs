//! The whole command line against a real server: one cluster, one migration, told from its operator's chair.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use e2e::testbed::{Store, TARGET_NAME, Testbed};
use serde_json::Value;

const DONE: i32 = 0;
const FAILED: i32 = 1;
const REFUSED: i32 = 2;
const DRIFT: i32 = 3;

/// The longest that anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Crossfade's commands, for one cluster.
struct Operator {
    address: String,
    folder: PathBuf,
}

impl Operator {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("crossfade"));
        command
            .args(args)
            .env_clear()
            .env("HOME", &self.folder)
            .env("TEMPORAL_ADDRESS", &self.address)
            .env("USER", "alice");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().expect("it runs")
    }

    /// Runs a command that must end with `status`; what it says on stdout.
    #[track_caller]
    fn says(&self, args: &[&str], status: i32) -> String {
        let output = self.run(args);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{args:?}\n{said}\n{errors}");
        said
    }

    /// The same under `--json`.
    #[track_caller]
    fn tells(&self, args: &[&str], status: i32) -> Value {
        let said = self.says(&[args, &["--json"]].concat(), status);
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{args:?}: {error}: {said}"))
    }

    /// Runs a command that must end with `status` and say `told` on stderr.
    #[track_caller]
    fn is_told(&self, args: &[&str], status: i32, told: &str) {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {errors}");
        assert!(errors.contains(told), "{args:?}: `{told}` expected in: {errors}");
    }

    fn spawn(&self, args: &[&str], name: &str) -> Spawned {
        let file = |kind: &str| fs::File::create(self.folder.join(format!("{name}.{kind}"))).expect("a file");
        let child = self
            .command(args)
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn();
        Spawned(child.expect("it runs"))
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).expect("a file")
    }

    /// Asks for the status until `there` says that it is as awaited.
    #[track_caller]
    fn until(&self, what: &str, there: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        let mut last = String::new();
        while began.elapsed() < PATIENCE {
            let output = self.run(&["status", "--json"]);
            last = String::from_utf8_lossy(&output.stdout).into_owned();
            if let Ok(status) = serde_json::from_str::<Value>(&last)
                && there(&status)
            {
                return status;
            }
            std::thread::sleep(Duration::from_millis(300));
        }
        panic!("{what} was not seen within {PATIENCE:?}; the last status: {last}");
    }

    fn until_gate(&self, gate: &str) {
        self.until(gate, |status| {
            status["condition"]["is"] == "awaiting-approval" && status["condition"]["gate"] == gate
        });
    }
}

/// A command that runs beside the test and ends with it.
struct Spawned(Child);

impl Spawned {
    /// Sends SIGTERM, and gives the exit status.
    fn asked_to_stop(mut self) -> Option<i32> {
        let asked = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        assert!(asked.is_ok_and(|asked| asked.success()));
        self.0.wait().expect("it ends").code()
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sqlite(store: &Store) -> String {
    match store {
        Store::Sqlite { file } => format!("sqlite://{}", file.display()),
        other => panic!("this cluster is on SQLite, not {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_by_its_operators_commands() {
    let testbed = Testbed::sqlite().await.expect("a cluster");
    let operator = Operator {
        address: testbed.frontend().to_owned(),
        folder: testbed.folder().to_owned(),
    };
    let spec = operator.folder.join("spec.json");
    fs::write(&spec, testbed.spec().to_string()).expect("a spec");
    let spec = spec.to_str().expect("UTF-8").to_owned();

    before_it_is_started(&operator, &testbed, &spec);
    started_without_a_worker(&operator, &spec);
    let worker = operator.spawn(&["worker", "--host", "node-a"], "worker");
    steered_to_the_end(&operator, &testbed, &spec);
    copied_and_compared_without_a_workflow(&operator, &testbed);
    assert_eq!(worker.asked_to_stop(), Some(DONE), "{}", operator.read("worker.err"));
    testbed.finish().expect("everything stops");
}

fn before_it_is_started(operator: &Operator, testbed: &Testbed, spec: &str) {
    operator.is_told(
        &["status"],
        REFUSED,
        "there is no migration with workflow id `visibility-migration`",
    );
    operator.is_told(&["status", "-n", "nowhere"], REFUSED, "has no Namespace `nowhere`");
    operator.is_told(&["worker", "-n", "nowhere"], REFUSED, "has no Namespace `nowhere`");
    let config = testbed.temporal().hosts()[0].config.clone();
    let untouched = fs::read(&config).expect("a config");
    let plan = operator.tells(&["plan", spec], DONE);
    assert_eq!(plan["server_version"], "1.30.8");
    assert_eq!(plan["target_name"], TARGET_NAME);
    let said = operator.says(&["plan", spec], DONE);
    assert!(
        said.contains(&format!("+  secondaryVisibilityStore: \"{TARGET_NAME}\"")),
        "{said}"
    );
    assert_eq!(
        fs::read(&config).expect("a config"),
        untouched,
        "a plan changes nothing"
    );
    let mut unreachable = testbed.spec();
    unreachable["cluster"]["frontend"] = "127.0.0.1:1".into();
    fs::write(
        Path::new(spec).with_file_name("unreachable.json"),
        unreachable.to_string(),
    )
    .expect("a spec");
    let file = spec.replace("spec.json", "unreachable.json");
    operator.is_told(&["plan", &file], FAILED, "127.0.0.1:1");
}

fn started_without_a_worker(operator: &Operator, spec: &str) {
    let started = operator.tells(&["start", spec], DONE);
    assert_eq!(started["migration"], "visibility-migration");
    operator.is_told(&["start", spec], REFUSED, "is running already");
    operator.is_told(
        &["status"],
        FAILED,
        "no worker answers on task queue visibility-migration",
    );
    operator.is_told(
        &["plan", "--id", "visibility-migration"],
        FAILED,
        "start `crossfade worker`",
    );
}

fn steered_to_the_end(operator: &Operator, testbed: &Testbed, spec: &str) {
    let mut watch = operator.spawn(&["watch", "--json"], "watch");
    operator.until_gate("dual-write");
    let plan = operator.tells(&["plan", "--id", "visibility-migration"], DONE);
    assert_eq!(
        plan["source_name"],
        operator.tells(&["plan", spec], DONE)["source_name"]
    );
    operator.is_told(&["approve", "verify"], REFUSED, "has no gate `verify`");
    operator.is_told(&["resume"], REFUSED, "not paused");
    assert_eq!(operator.tells(&["set-rate", "5000"], DONE)["accepted"], true);
    assert_eq!(operator.tells(&["status"], DONE)["records_per_second"], 5_000);
    assert!(
        operator
            .says(&["approve", "dual-write", "--note", "go"], DONE)
            .contains("`dual-write` approved by alice")
    );
    operator.until_gate("cutover");
    assert!(
        operator
            .says(&["pause", "--note", "lunch"], DONE)
            .contains("paused (alice: lunch)")
    );
    operator.says(&["approve", "cutover", "--by", "bob"], DONE);
    operator.until("the pause", |status| status["condition"]["is"] == "paused");
    operator.says(&["resume"], DONE);
    operator.until_gate("promote");
    operator.says(&["approve", "promote"], DONE);
    let ended = operator.until("the end", |status| status["condition"]["is"] == "ended");
    assert_eq!(ended["condition"]["result"], "migrated");

    let status = watch.0.wait().expect("it ends by itself");
    assert_eq!(status.code(), Some(DONE), "{}", operator.read("watch.err"));
    let watched = operator.read("watch.out");
    let stages: Vec<Value> = watched
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    assert_eq!(
        stages.last().map(|status| status["condition"]["result"].clone()),
        Some("migrated".into())
    );
    operator.is_told(&["pause"], REFUSED, "the migration is over");
    after_the_end(operator, testbed);
}

fn after_the_end(operator: &Operator, testbed: &Testbed) {
    let report = operator.tells(&["report"], DONE);
    assert_eq!(
        (&report["result"], &report["gates_approved"]),
        (&"migrated".into(), &3.into())
    );
    let page = operator.folder.join("report.html");
    operator.says(&["report", "--html", page.to_str().expect("UTF-8")], DONE);
    assert!(operator.read("report.html").contains("bob"));
    let audit = operator.says(&["audit"], DONE);
    for entry in [
        "`dual-write` approved by alice",
        "paused (alice: lunch)",
        "`cutover` approved by bob",
    ] {
        assert!(audit.contains(entry), "`{entry}` expected in:\n{audit}");
    }
    let config = fs::read_to_string(&testbed.temporal().hosts()[0].config).expect("a config");
    assert!(config.contains(&format!("visibilityStore: {TARGET_NAME}")), "{config}");
}

fn copied_and_compared_without_a_workflow(operator: &Operator, testbed: &Testbed) {
    let config = testbed.temporal().hosts()[0].config.display().to_string();
    let (left, now_used) = (sqlite(testbed.source()), format!("{config}#{TARGET_NAME}"));
    // The store that was left misses what happened since promote.
    let out = operator.folder.join("drift.jsonl");
    let diff = operator.tells(
        &[
            "diff",
            "--from",
            &now_used,
            "--to",
            &left,
            "--out",
            out.to_str().expect("UTF-8"),
        ],
        DRIFT,
    );
    let drifted = diff["drift"]
        .as_object()
        .expect("classes")
        .values()
        .filter_map(Value::as_u64)
        .sum::<u64>();
    assert!(drifted > 0);
    let lines: Vec<Value> = operator
        .read("drift.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len() as u64, drifted);
    assert!(
        lines
            .iter()
            .all(|line| line["run_id"].is_string() && line["class"].is_string())
    );
    // The cluster knows who is right.
    let (address, judged) = (testbed.frontend().to_owned(), operator.folder.join("judged.jsonl"));
    let judged = judged.to_str().expect("UTF-8");
    let diff = operator.tells(
        &[
            "diff", "--from", &now_used, "--to", &left, "--truth", &address, "--out", judged,
        ],
        DRIFT,
    );
    let right = &diff["right"];
    assert!(right["source"].as_u64().is_some_and(|right| right > 0), "{right}");
    assert!(right["target"].is_null() && right["neither"].is_null(), "{right}");
    assert!(
        operator
            .read("judged.jsonl")
            .lines()
            .all(|line| line.contains("\"right\""))
    );
    let copied = operator.tells(&["copy", "--from", &now_used, "--to", &left, "--rate", "100000"], DONE);
    assert!(
        copied["written"].as_u64().is_some_and(|written| written > 0),
        "{copied}"
    );
    let again = operator.tells(&["copy", "--from", &now_used, "--to", &left], DONE);
    assert_eq!(again["written"], 0, "a second copy finds nothing to do");
    // What the cluster deleted since promote is extra in the store that was left; a copy takes nothing away.
    let output = operator.run(&["diff", "--from", &now_used, "--to", &left, "--json"]);
    let drift = serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["drift"].clone();
    assert_eq!(
        (&drift["missing"], &drift["stale"], &drift["different"]),
        (&0.into(), &0.into(), &0.into()),
        "{drift}"
    );
    assert_eq!(
        output.status.code(),
        Some(if drift["extra"] == 0 { DONE } else { DRIFT })
    );
    operator.is_told(
        &["diff", "--from", &left, "--to", &left],
        REFUSED,
        "one and the same store",
    );
    operator.is_told(
        &["diff", "--from", &format!("{config}#nothing"), "--to", &left],
        REFUSED,
        "has no datastore `nothing`; it has",
    );
}
