//! A real PostgreSQL server for these tests.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

/// The password of the server's only role, which nothing may show. No space: Temporal cannot connect with one
/// (1.30.8: common/persistence/sql/sqlplugin/postgresql/session, url.QueryEscape).
pub(crate) const PASSWORD: &str = "s3cret&p+ss/w%rd";

/// It dies with this process: a watching shell stops it, and removes its folder, when our end of a pipe closes.
pub(crate) struct Postgres {
    port: u16,
    binaries: PathBuf,
    _process: Child,
}

pub(crate) fn postgres() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(Postgres::start)
}

impl Postgres {
    fn start() -> Self {
        let binaries = binaries();
        let folder = tempfile::tempdir().expect("a folder").keep();
        let (data, password) = (folder.join("data"), folder.join("password"));
        std::fs::write(&password, PASSWORD).expect("a password file");
        if is_root() {
            // PostgreSQL refuses to run as root.
            done(Command::new("chown").args(["-R", "postgres"]).arg(&folder));
        }
        let mut initdb = as_postgres(&binaries.join("initdb"));
        initdb.args([
            "-U",
            "temporal",
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "--pwfile",
        ]);
        done(initdb.arg(&password).arg("-D").arg(&data));

        let port = e2e::servers::ports::free_ports(1).expect("a free port")[0];
        let server = as_postgres(&binaries.join("postgres"));
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "folder=$1; shift; \"$@\" & server=$!; read _; kill $server; wait $server; rm -rf \"$folder\"",
            "sh",
        ]);
        command
            .arg(&folder)
            .arg(server.get_program())
            .args(server.get_args())
            .arg("-D")
            .arg(&data);
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-c",
            "unix_socket_directories=",
            "-c",
            "fsync=off",
        ]);
        let log = std::fs::File::create(folder.join("log")).expect("a log");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().expect("a shell");
        let server = Self {
            port,
            binaries,
            _process: process,
        };
        for _ in 0..600 {
            if server.ask("postgres", "SELECT 1").is_ok() {
                return server;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("PostgreSQL does not come up: {:?}", server.ask("postgres", "SELECT 1"));
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What `psql` prints for a statement, without decoration.
    pub(crate) fn ask(&self, database: &str, statement: &str) -> Result<String, String> {
        let output = Command::new(self.binaries.join("psql"))
            .env("PGPASSWORD", PASSWORD)
            .args([
                "-X",
                "-A",
                "-t",
                "-h",
                "127.0.0.1",
                "-U",
                "temporal",
                "-d",
                database,
                "-c",
                statement,
                "-p",
            ])
            .arg(self.port.to_string())
            .output()
            .map_err(|e| e.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    /// The entry of a database as a server's config has it.
    pub(crate) fn entry(&self, database: &str) -> Value {
        json!({"sql": {
            "pluginName": "postgres12", "databaseName": database, "connectAddr": format!("127.0.0.1:{}", self.port),
            "connectProtocol": "tcp", "user": "temporal", "password": PASSWORD,
            "connectAttributes": {"application_name": "crossfade & test"},
        }})
    }
}

fn binaries() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    candidates.extend(debian.map(|version| version.path().join("bin")));
    let whole = |folder: &PathBuf| {
        ["initdb", "postgres", "psql"]
            .iter()
            .all(|program| folder.join(program).exists())
    };
    candidates.into_iter().find(whole).expect(
        "PostgreSQL's initdb, postgres and psql were found neither on PATH nor in /usr/lib/postgresql/*/bin; \
         install it (Debian: apt-get install postgresql) or put its bin folder on PATH",
    )
}

fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .expect("id")
        .stdout
        .starts_with(b"0\n")
}

fn done(command: &mut Command) {
    let output = command.output().expect("to run");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
