//! Real stores for these tests: SQLite files and a PostgreSQL server of our own, both with Temporal's own schema.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The password of the server's only role, which no message may show.
pub(crate) const PASSWORD: &str = "s3cret p&ss/word";

/// A directory of Temporal's schema files, as `schema/sqlite/v3/visibility`, in the sources of the newest server found.
pub(crate) fn schema(part: &str) -> PathBuf {
    let mut sources: Vec<PathBuf> = match std::env::var("CROSSFADE_SERVER_SOURCES") {
        Ok(list) => list.split(':').map(PathBuf::from).collect(),
        Err(_) => cached_sources(),
    };
    sources.sort();
    let found = sources
        .iter()
        .rev()
        .map(|source| source.join("schema").join(part))
        .find(|path| path.exists());
    found.unwrap_or_else(|| {
        panic!(
            "Temporal's schema files (schema/{part}) were not found. Run `cargo xtask servers`, or set \
             CROSSFADE_SERVER_SOURCES to the directory of the Go module go.temporal.io/server (several: separated by ':')"
        )
    })
}

/// The module directories that `cargo xtask servers` noted: `<cache>/servers/<version>/module-dir` holds the path.
fn cached_sources() -> Vec<PathBuf> {
    let cache = std::env::var_os("CROSSFADE_CACHE")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
            std::env::var_os("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .unwrap_or_else(home)
                .join("crossfade")
        });
    let servers = std::fs::read_dir(cache.join("servers")).into_iter().flatten().flatten();
    let notes = servers.filter_map(|server| std::fs::read_to_string(server.path().join("module-dir")).ok());
    notes.map(|path| PathBuf::from(path.trim())).collect()
}

/// An empty SQLite visibility file, made as the server makes it.
pub(crate) fn sqlite(directory: &Path, name: &str) -> Value {
    let path = directory.join(name);
    let connection = rusqlite::Connection::open(&path).expect("a new file");
    let journal: String = connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .expect("WAL");
    assert_eq!(journal, "wal");
    let statements = std::fs::read_to_string(schema("sqlite/v3/visibility/schema.sql")).expect("schema.sql");
    connection.execute_batch(&statements).expect("Temporal's schema");
    sqlite_entry(&path)
}

pub(crate) fn sqlite_entry(path: &Path) -> Value {
    json!({"sql": {
        "pluginName": "sqlite", "databaseName": path, "connectAddr": "localhost", "connectProtocol": "tcp",
        "connectAttributes": {"cache": "private", "setup": true, "journal_mode": "wal"},
    }})
}

/// The server of this test binary. It dies with it: a watching shell stops it when our end of a pipe closes.
pub(crate) struct Postgres {
    pub(crate) port: u16,
    directory: TempDir,
    _process: Child,
}

/// Starts the server once per test binary.
pub(crate) fn postgres() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(Postgres::alone)
}

impl Postgres {
    /// Starts one for a single test.
    pub(crate) fn alone() -> Self {
        // On a thread of its own: a runtime cannot be blocked on within another.
        std::thread::spawn(Self::start).join().expect("the server to start")
    }

    fn start() -> Self {
        let binaries = binaries();
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        let password_file = directory.path().join("password");
        std::fs::write(&password_file, PASSWORD).expect("a password file");
        certificates(directory.path());
        if is_root() {
            // PostgreSQL refuses to run as root.
            run(Command::new("chown").args(["-R", "postgres"]).arg(directory.path()));
        }
        let mut initdb = as_postgres(&binaries.join("initdb"));
        initdb.args([
            "-U",
            "temporal",
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "--no-sync",
            "--locale-provider=icu",
        ]);
        initdb
            .args(["--icu-locale=en-US", "--locale=C"])
            .arg("--pwfile")
            .arg(&password_file)
            .arg("-D")
            .arg(&data);
        run(&mut initdb);

        let port = e2e::servers::ports::free_ports(1).expect("a free port")[0];
        let server = as_postgres(&binaries.join("postgres"));
        let log = std::fs::File::create(directory.path().join("log")).expect("a log");
        let mut command = Command::new("sh");
        // The server runs until this test binary ends, however it ends: then `read` sees the end of our pipe. Not by
        // SIGINT, which a shell has its background processes ignore.
        let script = "\"$@\" & server=$!; read _; kill $server; wait $server";
        command
            .args(["-c", script, "sh"])
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
        ]);
        command.args(["-c", "fsync=off", "-c", "max_connections=50", "-c", "ssl=on"]);
        command.arg("-c").arg(format!(
            "ssl_cert_file={}",
            directory.path().join("server.pem").display()
        ));
        command.arg("-c").arg(format!(
            "ssl_key_file={}",
            directory.path().join("server.key").display()
        ));
        command
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        let process = command.spawn().expect("a shell");
        let server = Self {
            port,
            directory,
            _process: process,
        };
        server.wait();
        server
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(error) = self.try_admin("postgres") {
            let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "PostgreSQL does not come up: {error}\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn try_admin(&self, database: &str) -> Result<Admin, tokio_postgres::Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let mut config = tokio_postgres::Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user("temporal")
            .password(PASSWORD)
            .dbname(database);
        let (client, connection) = runtime.block_on(config.connect(tokio_postgres::NoTls))?;
        runtime.spawn(connection);
        Ok(Admin { client, runtime })
    }

    /// Runs statements as the owner of everything.
    pub(crate) fn execute(&self, database: &str, statements: &str) {
        let (database, statements) = (database.to_owned(), statements.to_owned());
        // On a thread of its own: a runtime cannot be blocked on within another.
        std::thread::scope(|scope| {
            let job = scope.spawn(|| {
                let admin = self.try_admin(&database).expect("a connection");
                admin
                    .runtime
                    .block_on(admin.client.batch_execute(&statements))
                    .expect("statements");
                admin.runtime.shutdown_background();
            });
            job.join().expect("the statements to run");
        });
    }

    /// The first column of a statement's rows, as text.
    pub(crate) fn ask(&self, database: &str, statement: &str) -> Vec<String> {
        let (database, statement) = (database.to_owned(), statement.to_owned());
        std::thread::scope(|scope| {
            let job = scope.spawn(|| {
                let admin = self.try_admin(&database).expect("a connection");
                let rows = admin.runtime.block_on(admin.client.query(&statement, &[]));
                let texts = rows.expect("rows").iter().map(|row| row.get(0)).collect();
                admin.runtime.shutdown_background();
                texts
            });
            job.join().expect("the statement to run")
        })
    }

    /// Everything that a database consists of but its records, as PostgreSQL itself writes it down.
    pub(crate) fn dump(&self, database: &str) -> String {
        let mut command = Command::new(program("pg_dump"));
        command
            .args(["--schema-only", "-h", "127.0.0.1", "-U", "temporal", "-p"])
            .args([&self.port.to_string(), database])
            .env("PGPASSWORD", PASSWORD);
        let output = command.output().expect("pg_dump");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pg_dump failed: {said}");
        let text = String::from_utf8(output.stdout).expect("text");
        // Newer releases write a random key around it.
        let lines = text.lines().filter(|line| !line.contains("restrict "));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// A file of the server's certificates: `ca.pem` signed `server.pem` for the name `postgres.test`; `other.pem` did not.
    pub(crate) fn certificate(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A new database without a schema.
    pub(crate) fn database(&self, name: &str) -> Value {
        self.execute("postgres", &format!("CREATE DATABASE {name}"));
        self.entry(name)
    }

    /// A new database with Temporal's visibility schema, up to a version (`v1.13`), as its tool would leave it.
    pub(crate) fn visibility(&self, name: &str, version: &str) -> Value {
        self.versioned(name, "postgresql/v12", version)
    }

    /// A new database with the schema of standard visibility, which servers up to 1.23 have; named by their plugin.
    pub(crate) fn standard(&self, name: &str) -> Value {
        let mut entry = self.versioned(name, "postgresql/v96", "v1.1");
        entry["sql"]["pluginName"] = json!("postgres");
        entry
    }

    fn versioned(&self, name: &str, dialect: &str, version: &str) -> Value {
        let entry = self.database(name);
        let versions = schema(&format!("{dialect}/visibility/versioned"));
        let number = |version: &str| {
            version
                .trim_start_matches("v1.")
                .parse::<u32>()
                .expect("a version like v1.9")
        };
        for n in 0..=number(version) {
            for statements in schema_update(&versions.join(format!("v1.{n}"))) {
                self.execute(name, &statements);
            }
        }
        self.execute(
            name,
            &format!(
                "CREATE TABLE schema_version(version_partition INT NOT NULL, db_name VARCHAR(255) NOT NULL, \
                 creation_time TIMESTAMP, curr_version VARCHAR(64), min_compatible_version VARCHAR(64), \
                 PRIMARY KEY (version_partition, db_name)); \
                 INSERT INTO schema_version VALUES (0, '{name}', NOW(), '{}', '0.1')",
                version.trim_start_matches('v'),
            ),
        );
        entry
    }

    /// The entry of a database of this server.
    pub(crate) fn entry(&self, database: &str) -> Value {
        json!({"sql": {
            "pluginName": "postgres12", "databaseName": database, "connectAddr": format!("127.0.0.1:{}", self.port),
            "connectProtocol": "tcp", "user": "temporal", "password": PASSWORD,
            "connectAttributes": {"application_name": "test"},
        }})
    }
}

/// Makes a certificate for `postgres.test` (and no other name), the authority that signed it, and one that did not.
fn certificates(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;

    let authority = || {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        (certificate.pem(), rcgen::Issuer::new(parameters, key))
    };
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    };
    let (ca, issuer) = authority();
    let key = rcgen::KeyPair::generate().expect("a key");
    let parameters = rcgen::CertificateParams::new(["postgres.test".to_owned()]).expect("parameters");
    write(
        "server.pem",
        parameters.signed_by(&key, &issuer).expect("a certificate").pem(),
    );
    write("server.key", key.serialize_pem());
    write("ca.pem", ca);
    write("other.pem", authority().0);
}

struct Admin {
    client: tokio_postgres::Client,
    runtime: tokio::runtime::Runtime,
}

/// The statements of one schema version, in the order of its manifest.
fn schema_update(directory: &Path) -> Vec<String> {
    let manifest = std::fs::read(directory.join("manifest.json")).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("a manifest in JSON");
    let files = manifest["SchemaUpdateCqlFiles"].as_array().cloned().unwrap_or_default();
    let read = |file: &Value| {
        let path = directory.join(file.as_str().expect("a file name"));
        // Built without locks in production; here there is nobody to lock out, and batches run in a transaction.
        std::fs::read_to_string(path)
            .expect("a schema file")
            .replace("CONCURRENTLY", "")
    };
    files.iter().map(read).collect()
}

fn binaries() -> PathBuf {
    let on_path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let mut candidates = on_path.unwrap_or_default();
    let mut debian: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    debian.sort();
    candidates.extend(debian.into_iter().rev());
    let whole = |directory: &PathBuf| directory.join("initdb").exists() && directory.join("postgres").exists();
    candidates.into_iter().find(whole).unwrap_or_else(|| {
        panic!(
            "PostgreSQL's initdb and postgres were found neither on PATH nor in /usr/lib/postgresql/*/bin. \
             Install it (Debian: apt-get install postgresql) or put its bin directory on PATH"
        )
    })
}

/// One of PostgreSQL's programs, of the server's own release: a link to the server need not be beside one to it.
pub(crate) fn program(name: &str) -> PathBuf {
    let server = binaries().join("postgres").canonicalize();
    server.expect("the server's program").with_file_name(name)
}

pub(crate) fn as_postgres(program: &Path) -> Command {
    if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

pub(crate) fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("id");
    output.stdout.starts_with(b"0")
}

fn run(command: &mut Command) {
    let output = command
        .current_dir("/")
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {said}");
}
