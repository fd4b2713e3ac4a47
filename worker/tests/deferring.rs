//! `crossfade copy --defer-indexes`: whatever ends the copy, the target's schema is whole again, or a message says what
//! makes it whole.

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
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

const DATABASE: &str = "visibility";

/// The longest that anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// At [`SLOWLY`] this takes longer than any test.
const RECORDS: u32 = 20_000;

const SLOWLY: &str = "200";

/// Two servers with the newest schema; the source has records.
struct Scene {
    source: Postgres,
    target: Postgres,
    processes: Processes,
    /// The target's schema as it has to be in the end.
    fresh: String,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn begin() -> Result<Self> {
        let (cache, lines) = (Cache::from_environment()?, Lines::default());
        let tool = SchemaTool {
            program: find_or_build(&cache, &TEMPORAL_1_30_8, Program::SqlTool, &lines)?,
            source: module_dir(&cache, &TEMPORAL_1_30_8, &lines)?,
        };
        let folder = tempfile::tempdir()?;
        let processes = Processes::watch(&folder.path().join("processes"))?;
        let server = async |name: &str| -> Result<Postgres> {
            let server = Postgres::start(&folder.path().join(name), &processes, &lines).await?;
            server.create_temporal_database(&tool, DATABASE, SchemaKind::Visibility)?;
            Ok(server)
        };
        open_to_all(folder.path())?;
        let (source, target) = tokio::try_join!(server("source"), server("target"))?;
        let fill = format!(
            "INSERT INTO executions_visibility (namespace_id, run_id, start_time, execution_time, workflow_id, \
               workflow_type_name, status, encoding) \
             SELECT '32049b68-7872-4094-8e63-d0dd59896a83', md5(n::text)::uuid, now(), now(), 'w' || n, 'type', 1, '' \
             FROM generate_series(1, {RECORDS}) AS n"
        );
        source.execute(DATABASE, &fill).await?;
        Ok(Self {
            fresh: target.schema_of(DATABASE)?,
            source,
            target,
            processes,
            folder,
        })
    }

    /// Begins a copy that lasts, and waits until records arrive in a target without indexes.
    async fn copy(&self) -> Result<Copy> {
        let mut copy = Copy::start(&["copy", "--from", &url(&self.source), "--to", &url(&self.target)]);
        let deadline = Instant::now() + PATIENCE;
        while !self.is_noted().await? || self.copied().await? == 0 {
            ensure!(Instant::now() < deadline, "nothing is copied");
            ensure!(copy.is_running()?, "{}", copy.end()?.1);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(copy)
    }

    /// Whether the store has noted what is set aside.
    async fn is_noted(&self) -> Result<bool> {
        let noted = "SELECT to_regclass('crossfade_parked_indexes') IS NOT NULL";
        Ok(self
            .target
            .connect(DATABASE)
            .await?
            .query_one(noted, &[])
            .await?
            .try_get(0)?)
    }

    async fn copied(&self) -> Result<i64> {
        let count = "SELECT count(*) FROM executions_visibility";
        Ok(self
            .target
            .connect(DATABASE)
            .await?
            .query_one(count, &[])
            .await?
            .try_get(0)?)
    }

    /// The schema is as it was, and the target is empty for the next copy.
    async fn is_whole(&self) -> Result<()> {
        let schema = self.target.schema_of(DATABASE)?;
        ensure!(schema == self.fresh, "the schema differs:\n{schema}");
        self.target.execute(DATABASE, "TRUNCATE executions_visibility").await
    }
}

/// PostgreSQL runs as another user and has to get through.
fn open_to_all(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(
        folder,
        std::fs::Permissions::from_mode(0o711),
    )?)
}

fn url(server: &Postgres) -> String {
    format!("postgres://{USER}:{PASSWORD}@{}/{DATABASE}", server.address())
}

fn crossfade(args: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("crossfade"));
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Result<Output> {
    Ok(crossfade(args).output()?)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A copy under way; killed when dropped.
struct Copy(Option<Child>);

impl Copy {
    fn start(args: &[&str]) -> Self {
        let mut command = crossfade(args);
        command.args(["--defer-indexes", "--rate", SLOWLY]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Self(child.ok())
    }

    fn child(&mut self) -> Result<&mut Child> {
        self.0.as_mut().context("it did not start")
    }

    fn is_running(&mut self) -> Result<bool> {
        Ok(self.child()?.try_wait()?.is_none())
    }

    fn signal(&mut self, name: &str) -> Result<()> {
        let id = self.child()?.id().to_string();
        ensure!(Command::new("kill").args(["-s", name, &id]).status()?.success());
        Ok(())
    }

    /// Waits for its end: the exit status, and all that it said.
    fn end(&mut self) -> Result<(Option<i32>, String)> {
        let output = self.0.take().context("it did not start")?.wait_with_output()?;
        Ok((output.status.code(), said(&output)))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ended_already = child.kill();
            let _no_zombie = child.wait();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_a_copy_the_schema_is_whole_again() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let (from, to) = (url(&scene.source), url(&scene.target));

    // It goes well.
    let output = run(&["copy", "--from", &from, "--to", &to, "--defer-indexes", "--json"])?;
    ensure!(output.status.success(), "{}", said(&output));
    let told: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(
        told["written"] == RECORDS && told["indexes_rebuilt"].as_u64() > Some(60),
        "{told}"
    );
    scene.is_whole().await?;

    // It is interrupted, by a person or by a supervisor.
    for signal in ["INT", "TERM"] {
        let mut copy = scene.copy().await?;
        copy.signal(signal)?;
        let (status, told) = copy.end()?;
        ensure!(status == Some(1) && told.contains("interrupted"), "{status:?}: {told}");
        scene.is_whole().await?;
    }

    // The source goes away.
    let mut copy = scene.copy().await?;
    scene.source.kill()?;
    let (status, told) = copy.end()?;
    ensure!(status == Some(1), "{status:?}: {told}");
    scene.is_whole().await?;
    scene.source.resume(&scene.processes).await?;

    // The target goes away and comes back, and the copy with it, if it did not write meanwhile.
    let mut copy = scene.copy().await?;
    scene.target.kill()?;
    scene.target.resume(&scene.processes).await?;
    // What is interrupted is a copy that goes on: one that noticed builds the indexes again, and ends by itself.
    let copied = scene.copied().await?;
    let deadline = Instant::now() + PATIENCE;
    while copy.is_running()? && scene.copied().await? <= copied {
        ensure!(Instant::now() < deadline, "it neither goes on nor ends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if copy.is_running()? {
        copy.signal("INT")?;
    }
    let (status, told) = copy.end()?;
    ensure!(status == Some(1), "{status:?}: {told}");
    scene.is_whole().await?;
    what_is_left_aside_is_told_and_built_by_hand(&mut scene).await?;
    scene.folder.close()?;
    Ok(())
}

async fn what_is_left_aside_is_told_and_built_by_hand(scene: &mut Scene) -> Result<()> {
    let store = url(&scene.target);
    let whole = run(&["indexes", "--store", &store])?;
    ensure!(
        whole.status.success() && said(&whole).contains(" 0 set aside"),
        "{}",
        said(&whole)
    );

    // The target stays away, and nobody wants to wait for it.
    let mut copy = scene.copy().await?;
    scene.target.kill()?;
    copy.signal("INT")?;
    copy.signal("TERM")?;
    let (status, told) = copy.end()?;
    ensure!(status == Some(1), "{status:?}: {told}");
    ensure!(told.contains("crossfade indexes --store 'postgres://"), "{told}");
    ensure!(!told.contains(PASSWORD), "the password is told: {told}");
    scene.target.resume(&scene.processes).await?;
    is_told_and_built(scene).await?;

    // It is killed, and has no last word.
    scene.copy().await?.signal("KILL")?;
    is_told_and_built(scene).await
}

async fn is_told_and_built(scene: &Scene) -> Result<()> {
    let store = url(&scene.target);
    ensure!(scene.is_noted().await?);
    let left = run(&["indexes", "--store", &store, "--json"])?;
    let told: Value = serde_json::from_slice(&left.stdout)?;
    ensure!(
        left.status.code() == Some(1) && told["set_aside"].as_u64() > Some(60),
        "{told}"
    );
    let built = run(&["indexes", "--store", &store, "--restore"])?;
    ensure!(
        built.status.success() && said(&built).contains(" 0 set aside"),
        "{}",
        said(&built)
    );
    scene.is_whole().await
}
