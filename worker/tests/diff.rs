//! `crossfade diff` over two Postgres databases: what is asked for is what is compared, and what is wrong is said and put
//! right.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use e2e::servers::{
    binaries::{Program, TEMPORAL_1_30_8, find_or_build, module_dir},
    cache::Cache,
    postgres::{PASSWORD, Postgres, SchemaKind, SchemaTool, USER},
    processes::Processes,
    progress::Lines,
};
use serde_json::Value;

const DONE: i32 = 0;
const FAILED: i32 = 1;
const REFUSED: i32 = 2;
const DRIFT: i32 = 3;

/// More than are compared between two reports.
const RECORDS: u64 = 45_000;

/// Records of the second Namespace, which are among them.
const OTHERS: u64 = 5_000;

const NAMESPACE: &str = "32049b68-7872-4094-8e63-d0dd59896a83";
const OTHER: &str = "5e82b0c4-3d1f-4b9a-9c27-14a6d8f3e502";

/// The longest that anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// One server with two databases that have the same records.
struct Scene {
    server: Postgres,
    folder: tempfile::TempDir,
    _processes: Processes,
}

impl Scene {
    async fn begin() -> Result<Self> {
        let (cache, lines) = (Cache::from_environment()?, Lines::default());
        let tool = SchemaTool {
            program: find_or_build(&cache, &TEMPORAL_1_30_8, Program::SqlTool, &lines)?,
            source: module_dir(&cache, &TEMPORAL_1_30_8, &lines)?,
        };
        let folder = tempfile::tempdir()?;
        // PostgreSQL runs as another user and has to get through.
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
        let processes = Processes::watch(&folder.path().join("processes"))?;
        let server = Postgres::start(&folder.path().join("server"), &processes, &lines).await?;
        for database in ["source", "target"] {
            server.create_temporal_database(&tool, database, SchemaKind::Visibility)?;
            // The secondary indexes are of no use here, and most of the time that filling takes.
            let drop = "DO $$ DECLARE name text; BEGIN FOR name IN SELECT indexrelid::regclass::text FROM pg_index WHERE \
                indrelid = 'executions_visibility'::regclass AND NOT indisprimary LOOP EXECUTE 'DROP INDEX ' || name; \
                END LOOP; END $$";
            server.execute(database, drop).await?;
            let fill = format!(
                "INSERT INTO executions_visibility (namespace_id, run_id, start_time, execution_time, close_time, \
                   workflow_id, workflow_type_name, status, encoding, _version) \
                 SELECT CASE WHEN n <= {OTHERS} THEN '{OTHER}' ELSE '{NAMESPACE}' END, md5(n::text)::uuid, \
                   at, at, CASE WHEN n % 100 > 0 THEN at END, 'w' || n, 'type', CASE WHEN n % 100 > 0 THEN 2 ELSE 1 END, '', 5 \
                 FROM generate_series(1, {RECORDS}) AS n, LATERAL (SELECT timestamp '2024-01-01' + n * interval '1 s' AS at) t"
            );
            server.execute(database, &fill).await?;
        }
        Ok(Self {
            server,
            folder,
            _processes: processes,
        })
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@{}/{database}", self.server.address())
    }

    fn diff(&self, more: &[&str]) -> Command {
        let (from, to) = (self.url("source"), self.url("target"));
        crossfade(&[&["diff", "--from", &from, "--to", &to], more].concat())
    }

    /// What the comparison tells as JSON.
    fn tells(&self, more: &[&str], status: i32) -> Result<Value> {
        let output = self.diff(more).arg("--json").output()?;
        ensure!(output.status.code() == Some(status), "{more:?}: {}", said(&output));
        serde_json::from_slice(&output.stdout).context("one JSON value")
    }

    fn is_told(&self, more: &[&str], status: i32, told: &str) -> Result<()> {
        let output = self.diff(more).output()?;
        let all = said(&output);
        ensure!(
            output.status.code() == Some(status) && all.contains(told),
            "{more:?}: {all}"
        );
        Ok(())
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

fn crossfade(args: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("crossfade"));
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn run_of(number: u64) -> String {
    format!("md5('{number}')::uuid::text")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_compared_and_put_right() -> Result<()> {
    let scene = Scene::begin().await?;
    let clean = scene.tells(&["--digest"], DONE)?;
    ensure!(
        clean["same_by_digest"] == RECORDS && clean["source_records"] == RECORDS,
        "{clean}"
    );

    let damage = format!(
        "UPDATE executions_visibility SET status = 3 WHERE run_id = {}; \
         UPDATE executions_visibility SET _version = 4 WHERE run_id = {}; \
         DELETE FROM executions_visibility WHERE run_id IN ({}, {}); \
         INSERT INTO executions_visibility (namespace_id, run_id, start_time, execution_time, workflow_id, \
           workflow_type_name, status, encoding) \
         VALUES ('{NAMESPACE}', '{NAMESPACE}', now(), now(), 'extra', 'type', 1, '')",
        run_of(10_001),
        run_of(10_002),
        run_of(1),
        run_of(20_000),
    );
    scene.server.execute("target", &damage).await?;
    let (by_reading, by_digest) = (scene.file("read.jsonl"), scene.file("digest.jsonl"));
    let read = scene.tells(&["--out", &by_reading], DRIFT)?;
    let asked = scene.tells(&["--digest", "--out", &by_digest], DRIFT)?;
    let drift = serde_json::json!({"missing": 2, "stale": 1, "different": 1, "extra": 1});
    ensure!(read["drift"] == drift && asked["drift"] == drift, "{read}\n{asked}");
    ensure!(asked["same_by_digest"].as_u64() > Some(RECORDS / 2), "{asked}");
    ensure!(asked["source_records"] == RECORDS, "{asked}");
    ensure!(std::fs::read(&by_reading)? == std::fs::read(&by_digest)?);

    parts_are_compared(&scene)?;
    a_stopped_comparison_goes_on(&scene)?;
    what_differs_is_put_right(&scene).await?;
    scene.folder.close()?;
    Ok(())
}

fn parts_are_compared(scene: &Scene) -> Result<()> {
    let other = scene.tells(&["--only", OTHER], DRIFT)?;
    ensure!(
        other["source_records"] == OTHERS && other["drift"]["missing"] == 1,
        "{other}"
    );
    scene.is_told(
        &["--only", "staging", "--address", "127.0.0.1:1"],
        FAILED,
        "--only: no Temporal frontend answers",
    )?;

    // Closed before, but for one in a hundred.
    let recent = scene.tells(&["--since", "1h"], DRIFT)?;
    ensure!(recent["source_records"] == RECORDS / 100, "{recent}");
    ensure!(
        recent["drift"] == serde_json::json!({"missing": 1, "stale": 0, "different": 0, "extra": 1}),
        "{recent}"
    );

    let sample = |seed: &str| -> Result<Value> {
        let output = scene.diff(&["--sample", "10%", "--seed", seed, "--json"]).output()?;
        serde_json::from_slice(&output.stdout).with_context(|| said(&output))
    };
    let (one, again, another) = (sample("1")?, sample("1")?, sample("2")?);
    let records = one["source_records"].as_u64().context("a number")?;
    ensure!((RECORDS / 20..RECORDS / 5).contains(&records), "{one}");
    ensure!(
        one["drift"] == again["drift"] && again["source_records"] == records,
        "{again}"
    );
    ensure!(another["source_records"] != records, "{another}");
    ensure!(one["sampled"]["of_source_records"] == RECORDS, "{one}");

    for (flag, value, told) in [
        ("--sample", "0%", "expected a percentage"),
        ("--sample", "1", "expected a percentage"),
        ("--since", "tomorrow", "expected a span such as 24h"),
        ("--since", "2999-01-01T00:00:00Z", "in the future"),
        ("--repair", "no-such-run", "neither store has a record"),
    ] {
        scene.is_told(&[flag, value], REFUSED, told)?;
    }
    scene.is_told(
        &["--truth", "127.0.0.1:1"],
        FAILED,
        "--truth: no Temporal frontend answers",
    )
}

fn a_stopped_comparison_goes_on(scene: &Scene) -> Result<()> {
    let file = scene.file("cursor.json");
    let mut first = scene
        .diff(&["--resume", &file])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + PATIENCE;
    while !Path::new(&file).exists() && first.try_wait()?.is_none() {
        ensure!(Instant::now() < deadline, "no cursor is kept");
        std::thread::sleep(Duration::from_millis(1));
    }
    first.kill()?;
    first.wait()?;
    // What was kept goes on as if it had not been stopped, and as nothing else.
    scene.is_told(
        &["--resume", &file, "--only", OTHER],
        REFUSED,
        "is of another comparison",
    )?;
    let kept: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    ensure!(kept["source_records"].as_u64() > Some(1_000), "{kept}");
    let whole = scene.tells(&["--resume", &file], DRIFT)?;
    ensure!(whole["source_records"] == RECORDS, "{whole}");
    ensure!(
        whole["drift"]["missing"] == 2 && whole["drift"]["extra"] == 1,
        "{whole}"
    );
    ensure!(!Path::new(&file).exists(), "the cursor of what is done stays");
    std::fs::write(&file, "{}")?;
    scene.is_told(&["--resume", &file], REFUSED, "expected what an earlier")
}

async fn what_differs_is_put_right(scene: &Scene) -> Result<()> {
    // One by one.
    let run: String = scene
        .server
        .connect("source")
        .await?
        .query_one(&format!("SELECT {}", run_of(10_001)), &[])
        .await?
        .try_get(0)?;
    let one = scene.tells(&["--repair", &run], DONE)?;
    ensure!(
        one["repaired"]["written"] == 1 && one["drift"]["different"] == 1,
        "{one}"
    );
    let again = scene.tells(&["--repair", &run], DONE)?;
    ensure!(again["repaired"]["written"] == 0, "{again}");

    // All, but not the wrong way round.
    scene
        .server
        .execute(
            "source",
            "CREATE TABLE away AS TABLE executions_visibility; TRUNCATE executions_visibility",
        )
        .await?;
    scene.is_told(&["--repair"], REFUSED, "would be deleted")?;
    let back = "INSERT INTO executions_visibility (namespace_id, run_id, start_time, execution_time, close_time, \
        workflow_id, workflow_type_name, status, encoding, _version) SELECT namespace_id, run_id, start_time, \
        execution_time, close_time, workflow_id, workflow_type_name, status, encoding, _version FROM away";
    scene.server.execute("source", back).await?;
    let all = scene.tells(&["--digest", "--repair"], DONE)?;
    ensure!(
        all["repaired"]["written"] == 3 && all["repaired"]["deleted"] == 1 && all["repaired"]["still_differ"] == 0,
        "{all}"
    );
    scene.is_told(&["--digest"], DONE, "no drift")
}
