//! One server for this test binary, with Temporal's own schemas.

use std::path::PathBuf;
use std::sync::OnceLock;

use e2e::servers::binaries::{self, Program, Release, TEMPORAL_1_23_1, TEMPORAL_1_30_8};
use e2e::servers::cache::Cache;
use e2e::servers::mysql::{Certificate, Mysql, Schema};
use e2e::servers::postgres::SchemaTool;
use e2e::servers::processes::Processes;
use e2e::servers::progress::Lines;
use mysql_async::prelude::Queryable;
use serde_json::Value;
use tempfile::TempDir;

/// Databases that others are made like: setting one up takes seconds.
const NEWEST: &str = "like_newest";
const OF_1_23: &str = "like_1_23";
const STANDARD: &str = "like_standard";

/// The server; what started it stops it when this test binary ends.
pub(crate) struct Server {
    mysql: Mysql,
    folder: TempDir,
    _processes: Processes,
}

/// Starts the server once per test binary.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| waited(Server::start()))
}

/// Waits on a thread of its own: a runtime cannot be blocked on within another.
fn waited<T: Send>(work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let job = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(work)
        });
        job.join().expect("the server to do it")
    })
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let processes = Processes::watch(&folder.path().join("pids")).expect("a watch");
        certificates(folder.path());
        let certificate = Certificate {
            certificate: folder.path().join("server.pem"),
            key: folder.path().join("server.key"),
        };
        let place = folder.path().join("mysql");
        let mysql = Mysql::start(&place, &processes, Some(&certificate), &Lines::default())
            .await
            .unwrap_or_else(|error| panic!("{error:#}"));
        for (name, release, schema) in [
            (NEWEST, &TEMPORAL_1_30_8, Schema::Advanced),
            (OF_1_23, &TEMPORAL_1_23_1, Schema::Advanced),
            (STANDARD, &TEMPORAL_1_23_1, Schema::Standard),
        ] {
            mysql
                .create_visibility(&tool(release), name, schema)
                .unwrap_or_else(|error| panic!("{error:#}"));
        }
        Self {
            mysql,
            folder,
            _processes: processes,
        }
    }

    /// A new database with the schema of server 1.30.8.
    pub(crate) fn newest(&self, name: &str) -> Value {
        self.like(NEWEST, name, Schema::Advanced)
    }

    /// A new database with the schema of server 1.23.1.
    pub(crate) fn of_1_23(&self, name: &str) -> Value {
        self.like(OF_1_23, name, Schema::Advanced)
    }

    /// A new database of the plugin `mysql`.
    pub(crate) fn standard(&self, name: &str) -> Value {
        self.like(STANDARD, name, Schema::Standard)
    }

    /// A new database whose records lie in a table whose collation does not tell case, as MySQL's own default does not.
    pub(crate) fn collated(&self, name: &str) -> Value {
        let create = "CREATE TABLE executions_visibility (\
             namespace_id CHAR(64) NOT NULL, run_id CHAR(64) NOT NULL, _version BIGINT NOT NULL DEFAULT 0, \
             start_time DATETIME(6) NOT NULL, execution_time DATETIME(6) NOT NULL, workflow_id VARCHAR(255) NOT NULL, \
             workflow_type_name VARCHAR(255) NOT NULL, status INT NOT NULL, close_time DATETIME(6) NULL, \
             history_length BIGINT NULL, history_size_bytes BIGINT NULL, memo BLOB NULL, encoding VARCHAR(64) NOT NULL, \
             task_queue VARCHAR(255) NOT NULL DEFAULT '', search_attributes JSON NULL, BuildIds JSON NULL, \
             Keyword10 VARCHAR(255) NULL, KeywordList03 JSON NULL, Text03 TEXT NULL, PRIMARY KEY (namespace_id, run_id)\
             ) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci";
        let entry = self.database(name);
        self.execute(name, &[create]);
        entry
    }

    /// A new database without a schema.
    pub(crate) fn database(&self, name: &str) -> Value {
        self.execute("mysql", &[&format!("CREATE DATABASE {name}")]);
        self.mysql.datastore(name, Schema::Advanced)
    }

    fn like(&self, like: &str, name: &str, schema: Schema) -> Value {
        waited(self.mysql.clone_schema(like, name)).unwrap_or_else(|error| panic!("{error:#}"));
        self.mysql.datastore(name, schema)
    }

    /// Runs statements in a database, as the owner of everything.
    pub(crate) fn execute(&self, database: &str, statements: &[&str]) {
        waited(self.mysql.execute(Some(database), statements)).unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// A connection of a test's own.
    pub(crate) async fn connect(&self, database: &str) -> mysql_async::Conn {
        let conn = self.mysql.connect(Some(database)).await;
        conn.unwrap_or_else(|error| panic!("{error:#}"))
    }

    pub(crate) fn port(&self) -> u16 {
        self.mysql.port()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.mysql.socket()
    }

    /// A file of the server's certificates: `ca.pem` signed `server.pem` for the name `mysql.test`; `other.pem` did not.
    pub(crate) fn certificate(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn tool(release: &Release) -> SchemaTool {
    let cache = Cache::from_environment().expect("a cache");
    let progress = Lines::default();
    let program = binaries::find_or_build(&cache, release, Program::SqlTool, &progress);
    let source = binaries::module_dir(&cache, release, &progress);
    SchemaTool {
        program: program.unwrap_or_else(|error| panic!("{error:#}")),
        source: source.unwrap_or_else(|error| panic!("{error:#}")),
    }
}

/// Makes a certificate for `mysql.test` (and no other name), the authority that signed it, and one that did not.
fn certificates(directory: &std::path::Path) {
    let authority = || {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        (certificate.pem(), rcgen::Issuer::new(parameters, key))
    };
    let write = |name: &str, text: String| std::fs::write(directory.join(name), text).expect("a file");
    let (ca, issuer) = authority();
    let key = rcgen::KeyPair::generate().expect("a key");
    let parameters = rcgen::CertificateParams::new(["mysql.test".to_owned()]).expect("parameters");
    let certificate = parameters.signed_by(&key, &issuer).expect("a certificate");
    write("server.pem", certificate.pem());
    write("server.key", key.serialize_pem());
    write("ca.pem", ca);
    write("other.pem", authority().0);
}

/// What the three tables say of one record: version and attributes of each.
type Triple = (
    i64,
    Option<String>,
    Option<i64>,
    Option<String>,
    Option<i64>,
    Option<String>,
);

/// The records of a database whose tables do not say the same, as they say it.
pub(crate) async fn disagreeing(database: &str) -> Vec<String> {
    let sql = "SELECT ev._version, ev.search_attributes, custom._version, custom.search_attributes, chasm._version, \
               chasm.search_attributes FROM executions_visibility AS ev \
               LEFT JOIN custom_search_attributes AS custom USING (namespace_id, run_id) \
               LEFT JOIN chasm_search_attributes AS chasm USING (namespace_id, run_id)";
    let mut conn = server().connect(database).await;
    let rows: Vec<Triple> = conn.query(sql).await.expect("the tables");
    let agree = |row: &Triple| (Some(row.0), &row.1) == (row.2, &row.3) && (Some(row.0), &row.1) == (row.4, &row.5);
    rows.iter()
        .filter(|row| !agree(row))
        .map(|row| format!("{row:?}"))
        .collect()
}
