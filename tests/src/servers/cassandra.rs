//! A real Cassandra of one node in a folder of the testbed.

use std::ffi::OsString;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::cache::Cache;
use super::java;
use super::jvm::{CASSANDRA_5_0_9, find_or_fetch};
use super::node::Node;
use super::ports::free_ports;
use super::postgres::{SchemaKind, SchemaTool};
use super::processes::Processes;
use super::progress::Progress;

const READY_WITHIN: Duration = Duration::from_secs(180);

/// The packages of Java's own that Cassandra reaches into, as `conf/jvm17-server.options` of its distribution lists them.
const PACKAGES: [&str; 27] = [
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.ref",
    "java.base/java.lang.reflect",
    "java.base/java.math",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.rmi/sun.rmi.transport",
    "java.rmi/sun.rmi.transport.tcp",
    "java.sql/java.sql",
    "java.management.rmi/javax.management.remote.rmi",
    "jdk.management/com.sun.management.internal",
    "jdk.management.jfr/jdk.management.jfr",
];

/// The protocol's OPTIONS request, version 4: what a node answers as soon as it takes clients.
const OPTIONS_FRAME: [u8; 9] = [4, 0, 0, 0, 5, 0, 0, 0, 0];

/// The opcode of the answer to it.
const SUPPORTED: u8 = 6;

/// How a node is to be started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name of its process and log, unique within the testbed.
    pub name: String,
    /// The most heap in megabytes.
    pub heap_megabytes: u32,
    /// More lines for its `cassandra.yaml`, such as `tombstone_failure_threshold: 10`.
    pub settings: Vec<(String, String)>,
    /// Whether tables are there again after a kill. Without, a schema is made in a third of the time.
    pub durable_schema: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "cassandra".to_owned(),
            heap_megabytes: 1024,
            settings: Vec::new(),
            durable_schema: true,
        }
    }
}

impl Options {
    /// For a node that nobody kills.
    #[must_use]
    pub fn without_durable_schema(mut self) -> Self {
        self.durable_schema = false;
        self
    }

    /// With one more setting; it takes the place of one that is there.
    #[must_use]
    pub fn with(mut self, setting: &str, value: &str) -> Self {
        self.settings.push((setting.to_owned(), value.to_owned()));
        self
    }
}

/// A node that runs. It is stopped when dropped.
#[derive(Debug)]
pub struct Cassandra {
    node: Node,
}

impl Deref for Cassandra {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl DerefMut for Cassandra {
    fn deref_mut(&mut self) -> &mut Node {
        &mut self.node
    }
}

impl Cassandra {
    /// Starts Cassandra 5.0.9 with its data in `folder` on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When it cannot be fetched: with what is lacking; or does not start: with its log.
    pub async fn start(
        folder: &Path,
        options: &Options,
        processes: &Processes,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let home = find_or_fetch(&Cache::from_environment()?, &CASSANDRA_5_0_9, progress)?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let ports = free_ports(2)?;
        let (config, logging) = (folder.join("cassandra.yaml"), folder.join("logback.xml"));
        fs::write(&config, configuration(folder, ports[0], ports[1], options))?;
        fs::write(&logging, LOGGING)?;
        let mut arguments = java::options(options.heap_megabytes);
        for package in PACKAGES {
            for verb in ["--add-opens", "--add-exports"] {
                arguments.extend([verb.into(), OsString::from(format!("{package}=ALL-UNNAMED"))]);
            }
        }
        arguments.extend(
            [
                format!("-Dcassandra.config=file://{}", config.display()),
                format!("-Dcassandra.storagedir={}", folder.display()),
                format!("-Dlogback.configurationFile={}", logging.display()),
                // There is no other node to wait for.
                "-Dcassandra.skip_wait_for_gossip_to_settle=0".to_owned(),
                "-Dcassandra.ring_delay_ms=100".to_owned(),
                format!("-Dcassandra.test.flush_local_schema_changes={}", options.durable_schema),
            ]
            .map(OsString::from),
        );
        arguments.extend(["-cp".into(), CASSANDRA_5_0_9.class_path(&home)?]);
        arguments.push("org.apache.cassandra.service.CassandraDaemon".into());
        let mut node = Self {
            node: Node::new(&options.name, folder, ports[0], arguments, READY_WITHIN)?,
        };
        node.resume(processes).await?;
        Ok(node)
    }

    /// Starts the node again on its port and its data, after [`Node::stop`] or [`Node::kill`]; one that runs is stopped.
    ///
    /// # Errors
    /// When it does not answer clients within three minutes: with the end of its log.
    pub async fn resume(&mut self, processes: &Processes) -> Result<()> {
        self.node.start(processes, |node: &Node| answers(node.port())).await
    }

    /// Creates `keyspace` and sets up Temporal's schema `kind` in it, with Temporal's own tool.
    ///
    /// # Errors
    /// When the tool fails: with what it said.
    pub fn create_temporal_keyspace(&self, tool: &SchemaTool, keyspace: &str, kind: SchemaKind) -> Result<()> {
        let schema = tool.source.join("schema/cassandra").join(kind.folder());
        let (versioned, whole) = (schema.join("versioned"), schema.join("schema.cql"));
        let newest = newest_version(&versioned)?;
        let mut steps = vec![vec![
            "create-keyspace",
            "--keyspace",
            keyspace,
            "--replication-factor",
            "1",
        ]];
        match kind {
            // From the file that has it all: a third of the time of going through every version since the first.
            SchemaKind::Main => steps.push(vec!["setup-schema", "-v", &newest, "-f", path_text(&whole)?]),
            SchemaKind::Visibility => steps.extend([
                vec!["setup-schema", "-v", "0.0"],
                vec!["update-schema", "-d", path_text(&versioned)?],
            ]),
        }
        for arguments in steps {
            let mut command = Command::new(&tool.program);
            command.args(["--endpoint", "127.0.0.1", "--port", &self.port().to_string()]);
            if arguments[0] != "create-keyspace" {
                command.args(["--keyspace", keyspace]);
            }
            let output = command
                .args(&arguments)
                .output()
                .with_context(|| format!("cannot run {}", tool.program.display()))?;
            if !output.status.success() {
                bail!(
                    "temporal-cassandra-tool {} for {keyspace} failed: {}{}",
                    arguments.join(" "),
                    String::from_utf8_lossy(&output.stdout),
                    String::from_utf8_lossy(&output.stderr)
                );
            }
        }
        Ok(())
    }

    /// The server's own datastore entry for `keyspace`, with the keys of Temporal's own samples.
    #[must_use]
    pub fn datastore(&self, keyspace: &str) -> Value {
        json!({"cassandra": {"hosts": "127.0.0.1", "port": self.port(), "keyspace": keyspace}})
    }
}

/// The newest of the folders `v1.0`, `v1.1`, ... in `versioned`, without the `v`.
fn newest_version(versioned: &Path) -> Result<String> {
    let folders = fs::read_dir(versioned).with_context(|| format!("cannot read {}", versioned.display()))?;
    folders
        .flatten()
        .filter_map(|folder| {
            let name = folder.file_name().into_string().ok()?;
            let (major, minor) = name.strip_prefix('v')?.split_once('.')?;
            Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
        })
        .max()
        .map(|(major, minor)| format!("{major}.{minor}"))
        .with_context(|| format!("there is no version in {}", versioned.display()))
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}

/// Asks the node on `port` what it supports, which it tells once it takes clients.
async fn answers(port: u16) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(&OPTIONS_FRAME).await?;
    let mut header = [0_u8; 9];
    stream.read_exact(&mut header).await?;
    if header[4] != SUPPORTED {
        bail!("port {port} answers with opcode {}, not {SUPPORTED}", header[4]);
    }
    Ok(())
}

/// The node's `cassandra.yaml`.
fn configuration(folder: &Path, port: u16, storage_port: u16, options: &Options) -> String {
    let mut settings: Vec<(String, String)> = [
        ("cluster_name", "crossfade".to_owned()),
        ("num_tokens", "1".to_owned()),
        ("partitioner", "org.apache.cassandra.dht.Murmur3Partitioner".to_owned()),
        ("endpoint_snitch", "SimpleSnitch".to_owned()),
        ("listen_address", "127.0.0.1".to_owned()),
        ("rpc_address", "127.0.0.1".to_owned()),
        ("storage_port", storage_port.to_string()),
        ("native_transport_port", port.to_string()),
        ("start_native_transport", "true".to_owned()),
        // What was acknowledged survives a kill: a periodic log is read back only up to its last sync.
        ("commitlog_sync", "batch".to_owned()),
        // Segments are written full of zeros before their use; smaller ones spare the disk.
        ("commitlog_segment_size", "16MiB".to_owned()),
        ("memtable_heap_space", "128MiB".to_owned()),
        // A dropped table stays dropped.
        ("auto_snapshot", "false".to_owned()),
        (
            "seed_provider",
            format!(
                "[{{class_name: org.apache.cassandra.locator.SimpleSeedProvider, \
                 parameters: [{{seeds: \"127.0.0.1:{storage_port}\"}}]}}]"
            ),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    for (name, folder_name) in [
        ("commitlog_directory", "commitlog"),
        ("saved_caches_directory", "saved_caches"),
        ("hints_directory", "hints"),
    ] {
        settings.push((name.to_owned(), format!("\"{}\"", folder.join(folder_name).display())));
    }
    settings.push((
        "data_file_directories".to_owned(),
        format!("[\"{}\"]", folder.join("data").display()),
    ));
    for (name, value) in &options.settings {
        settings.retain(|(other, _)| other != name);
        settings.push((name.clone(), value.clone()));
    }
    settings
        .iter()
        .map(|(name, value)| format!("{name}: {value}\n"))
        .collect()
}

/// Without it the server logs every step that it takes.
const LOGGING: &str = r#"<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%date{ISO8601} %-5level %logger{0} %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="out"/></root>
</configuration>
"#;
