//! What stores tell of how hard they work.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crossfade_visibility::ports::Error;
use crossfade_visibility::pressure::{Gauge, Level, Load};

use crate::fixture::{PASSWORD, Postgres, as_postgres, is_root, postgres, program};
use crate::opened;

async fn look(gauge: &dyn Gauge) -> Load {
    gauge.look().await.unwrap_or_else(|error| panic!("{error}"))
}

/// Looks until it finds a level, and gives what it saw.
async fn until(gauge: &dyn Gauge, level: Level) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let load = look(gauge).await;
        if load.level == level {
            return load.seen;
        }
        assert!(Instant::now() < deadline, "not {level:?} within a minute: {load:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_table_that_keeps_readers_waiting_is_pressure() {
    let store = opened(&postgres().visibility("pressure_latency", "v1.13")).await;
    let gauge = store.gauge().expect("a gauge");
    until(&*gauge, Level::Calm).await;
    let locked = std::thread::spawn(|| {
        let statements = "BEGIN; LOCK TABLE executions_visibility IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(3); COMMIT";
        postgres().execute("pressure_latency", statements);
    });
    let seen = until(&*gauge, Level::Over).await;
    assert!(
        seen.contains("pressure_latency") && seen.contains("a look-up by primary key took"),
        "{seen}"
    );
    locked.join().expect("the lock");
    until(&*gauge, Level::Calm).await;
    postgres().execute("pressure_latency", "DROP TABLE executions_visibility");
    let error = gauge.look().await.expect_err("there is no table");
    assert!(matches!(error, Error::Schema { .. }), "{error}");
}

/// A standby of a server.
struct Standby {
    port: u16,
    folder: tempfile::TempDir,
}

impl Standby {
    fn of(primary: &Postgres) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(folder.path()));
        }
        let data = folder.path().join("standby");
        let primary = primary.port.to_string();
        let mut backup = as_postgres(&program("pg_basebackup"));
        backup.env("PGPASSWORD", PASSWORD);
        backup.args(["-h", "127.0.0.1", "-U", "temporal", "-p", &primary]);
        backup.args(["-R", "-X", "stream", "-c", "fast", "-D"]).arg(&data);
        run(&mut backup);
        let port = e2e::servers::ports::free_ports(1).expect("a free port")[0];
        let mut start = as_postgres(&program("pg_ctl"));
        start.args(["start", "-w", "-t", "60", "-s", "-l"]);
        start.arg(folder.path().join("standby.log")).arg("-D").arg(&data);
        start.arg("-o").arg(format!("-p {port} -c fsync=off"));
        run(&mut start);
        Self { port, folder }
    }

    fn say(&self, statement: &str) {
        let mut psql = as_postgres(&program("psql"));
        psql.env("PGPASSWORD", PASSWORD);
        psql.args(["-h", "127.0.0.1", "-U", "temporal", "-d", "postgres", "-c", statement]);
        run(psql.args(["-p", &self.port.to_string()]));
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        let mut stop = as_postgres(&program("pg_ctl"));
        stop.args(["stop", "-m", "immediate", "-s", "-D"]);
        stop.arg(self.folder.path().join("standby"));
        let _ = stop.status();
    }
}

fn run(command: &mut Command) {
    let output = command.stdout(Stdio::null()).output().expect("a program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

#[tokio::test]
async fn a_standby_that_is_late_is_pressure() {
    // One of its own: a standby cannot have in-place tablespaces, which other tests make.
    let primary = Postgres::alone();
    let store = opened(&primary.visibility("pressure_standby", "v1.13")).await;
    let gauge = store.gauge().expect("a gauge");
    let standby = Standby::of(&primary);
    until(&*gauge, Level::Calm).await;
    standby.say("SELECT pg_wal_replay_pause()");
    // 80 MiB of WAL: what does not compress.
    primary.execute(
        "pressure_standby",
        "CREATE TABLE ballast AS SELECT n, repeat(md5(n::text), 25) FROM generate_series(1, 100000) n",
    );
    let mut seen = look(&*gauge).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    while seen.level == Level::Calm {
        assert!(Instant::now() < deadline, "{seen:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
        seen = look(&*gauge).await;
    }
    assert!(seen.seen.contains("a standby is"), "{seen:?}");
    standby.say("SELECT pg_wal_replay_resume()");
    until(&*gauge, Level::Calm).await;
}
