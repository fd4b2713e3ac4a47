//! The command line: every command with its help text, which is also the reference (`docs/cli.txt`).

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use crossfade_plan::{drift::DriftClass, message::Side, route::Version, stage::Gate};
use crossfade_visibility::ports::Precision;
use jiff::{Span, SpanRelativeTo, Timestamp};

use crate::connection;

const AFTER_HELP: &str = "\
Exit status: 0 done, 1 failed, 2 refused (bad input, or not feasible), 3 drift found.

The connection is read as the temporal CLI reads it: TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, \
TEMPORAL_TLS and TEMPORAL_TLS_*, TEMPORAL_GRPC_META_*, or a profile of the file TEMPORAL_CONFIG_FILE. RUST_LOG sets \
what is logged to stderr.";

/// Move a live Temporal cluster from one Visibility store to another.
///
/// A migration is one workflow. Start it with `crossfade start` (or tctl, or the temporal CLI), watch it with
/// `crossfade watch`, and open its gates with `crossfade approve`.
#[derive(Debug, Parser)]
#[command(name = "crossfade", version, after_long_help = AFTER_HELP, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    #[command(flatten)]
    pub(crate) connection: connection::Settings,
    /// Print one JSON value on stdout, and nothing else there.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the worker that carries migrations out.
    ///
    /// Run one anywhere that reaches the frontend and both stores, and one with `--host NAME` on each machine whose
    /// files and services it handles. One process can do both, and serve several hosts. SIGTERM and SIGINT end it
    /// gracefully: what it was doing goes on elsewhere, or here when it is started again.
    Worker(Worker),
    /// Print, explain or check a spec: what a migration is asked to do.
    #[command(subcommand)]
    Spec(Spec),
    /// Show exactly what a migration would do, changing nothing.
    ///
    /// With FILE it looks at the cluster, the hosts' files and both stores by itself, so it must run where those can
    /// be reached. With `--id` it shows the plan of a migration that has been started.
    Plan(Plan),
    /// Show which pairs of stores can be migrated on which server, with the traps of each.
    ///
    /// Needs no cluster: it prints the table that `plan` decides by.
    Routes(Routes),
    /// Start a migration.
    Start(Start),
    /// Show where a migration stands.
    Status(Migration),
    /// Show where a migration stands, live, until it ends.
    ///
    /// Ends with status 0 when the cluster was migrated, 1 when it went back or failed, 2 when it was refused. With
    /// `--json` each change is one line of JSON.
    Watch(Migration),
    /// Approve a gate, so that the stage behind it begins.
    ///
    /// An approval ahead of time counts when the gate is reached.
    Approve(Approve),
    /// Stop a migration before its next step.
    Pause(Remark),
    /// Go on after a pause, or try again after a problem was corrected.
    Resume(Remark),
    /// End the Retention wait now; what is missing then is copied by verify.
    SkipWait(Remark),
    /// Leave the source now, which is kept written after promote (`promote.keep_warm`)
    Finish(Remark),
    /// Go back: restore every file byte for byte, restart, prove the old state.
    ///
    /// The migration does it, wherever its workers are. With `--from-files` this command does it, on this machine and
    /// without the migration, which was terminated or whose cluster is gone: stop `crossfade worker` here first.
    Rollback(Rollback),
    /// Give a migration up: go back, and end the workflow as failed.
    Abort(Remark),
    /// Change how many records a second are copied at most.
    SetRate(SetRate),
    /// Show what was done, when and by whose approval, and the proof at the end.
    Report(Report),
    /// Show who did what when.
    Audit(Migration),
    /// Copy the records that a store lacks, without a workflow.
    ///
    /// Records that are there in an equal or later version are left alone, so it can be run again and again, and
    /// while a cluster writes to both stores.
    Copy(Copy),
    /// Show, or build, indexes that a copy set aside and never built again.
    ///
    /// Ends with status 1 when some are set aside and `--restore` was not given.
    Indexes(Indexes),
    /// Compare every record of two stores, without a workflow.
    ///
    /// Ends with status 3 when any record differs.
    Diff(Diff),
}

impl Command {
    /// What is logged when RUST_LOG says nothing.
    pub(crate) fn default_log_filter(&self) -> &'static str {
        match self {
            Self::Worker(_) => "info",
            // Retries are part of these commands' own messages.
            _ => "warn,temporalio_client=error",
        }
    }
}

/// Which migration.
#[derive(Debug, Clone, Args)]
pub(crate) struct Migration {
    /// The migration's workflow id.
    #[arg(long, value_name = "ID", default_value = DEFAULT_ID)]
    pub(crate) id: String,
}

/// The workflow id of a migration that was given no other.
pub(crate) const DEFAULT_ID: &str = "visibility-migration";

/// `crossfade worker`.
#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// Also do the work of this host of the spec: edit its files, restart its services. Can be given several times.
    #[arg(long = "host", value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) hosts: Vec<String>,
    /// Serve metrics for Prometheus at this address, which must be one of this machine alone (a port is enough).
    #[arg(long, value_name = "ADDRESS", value_parser = crate::metrics::loopback)]
    pub(crate) metrics: Option<std::net::SocketAddr>,
}

/// `crossfade spec`.
#[derive(Debug, Subcommand)]
pub(crate) enum Spec {
    /// Print the JSON Schema of a spec.
    Schema,
    /// Print a spec that works after its addresses and paths are replaced by your own.
    Example {
        /// As YAML with comments, for people.
        #[arg(long)]
        yaml: bool,
    },
    /// Check a spec file, YAML or JSON, and list every problem with its line.
    Check {
        /// The file; `-` is standard input.
        file: PathBuf,
    },
    /// Check a spec file and print it as one line of JSON, for `tctl workflow start --input`.
    Json {
        /// The file; `-` is standard input.
        file: PathBuf,
    },
}

/// `crossfade plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The spec file, YAML or JSON; `-` is standard input.
    #[arg(required_unless_present = "id", conflicts_with = "id")]
    pub(crate) file: Option<PathBuf>,
    /// The workflow id of a migration that has been started.
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
}

/// `crossfade routes`.
#[derive(Debug, Args)]
pub(crate) struct Routes {
    /// Only what holds on this server version, in full, such as 1.30.8.
    #[arg(long, value_name = "VERSION", value_parser = server_version)]
    pub(crate) server: Option<Version>,
}

/// `crossfade start`.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// The spec file, YAML or JSON; `-` is standard input.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) migration: Migration,
    /// Watch it afterwards.
    #[arg(long)]
    pub(crate) watch: bool,
}

/// Who says something, and why.
#[derive(Debug, Clone, Args)]
pub(crate) struct Author {
    /// Who says so, for the audit log and the report.
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true)]
    pub(crate) by: Option<String>,
    /// Why, for the audit log and the report.
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
}

/// A message that says nothing but itself.
#[derive(Debug, Args)]
pub(crate) struct Remark {
    #[command(flatten)]
    pub(crate) migration: Migration,
    #[command(flatten)]
    pub(crate) author: Author,
}

/// `crossfade rollback`.
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    #[command(flatten)]
    pub(crate) remark: Remark,
    /// Put back what the migration kept of this machine's files, or of keys in Kubernetes, without the migration. Shows what
    /// would change; `--yes` does it: reads return to the source, writing to the target ends, hosts are restarted with their
    /// former config, both keys go, and the cluster's lock is given back.
    #[arg(long, requires = "configs")]
    pub(crate) from_files: bool,
    /// A host's static config file, or `configmap/NAME/KEY` or `secret/NAME/KEY`, as the spec names it. Can be given several
    /// times; all hosts of this machine, and of a namespace of Kubernetes, belong in one command.
    #[arg(long = "config", value_name = "FILE", requires = "from_files")]
    pub(crate) configs: Vec<String>,
    /// Only these hosts of the spec. Can be given several times.
    #[arg(long = "host", value_name = "NAME", requires = "from_files")]
    pub(crate) hosts: Vec<String>,
    /// Which migration: the name of its folder below `.crossfade`, or what the journals of `NAME-crossfade-kept` call
    /// `migration`. The latest when not given.
    #[arg(long, value_name = "KEY", requires = "from_files")]
    pub(crate) migration: Option<String>,
    /// Put this file back though somebody else changed it since: their change is lost. Can be given several times.
    #[arg(long, value_name = "FILE", requires = "from_files")]
    pub(crate) force: Vec<String>,
    /// The namespace of Kubernetes that the keys given with --config are in.
    #[arg(long, value_name = "NAMESPACE", requires = "from_files")]
    pub(crate) kube_namespace: Option<String>,
    /// The context of the kubeconfig. Its current one when not given.
    #[arg(long, value_name = "CONTEXT", requires = "from_files")]
    pub(crate) kube_context: Option<String>,
    /// The kubeconfig. When not given the one that KUBECONFIG names, or `~/.kube/config`, or the service account of the pod
    /// that this runs in.
    #[arg(long, value_name = "FILE", requires = "from_files")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Do not ask the cluster that ran the migration whether it has ended: that cluster is gone.
    #[arg(long, requires = "from_files")]
    pub(crate) cluster_is_gone: bool,
    /// Do it.
    #[arg(long, requires = "from_files")]
    pub(crate) yes: bool,
}

/// `crossfade approve`.
#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// The gate: prepare-target, dual-write, existing-records, verify, cutover, promote or finish.
    pub(crate) gate: Gate,
    #[command(flatten)]
    pub(crate) migration: Migration,
    #[command(flatten)]
    pub(crate) author: Author,
    /// Accept that records of this class differ: missing, stale, different or extra. Can be given several times;
    /// the report says so for ever.
    #[arg(long, value_name = "CLASS", value_parser = drift_class)]
    pub(crate) accept_drift: Vec<DriftClass>,
}

/// `crossfade set-rate`.
#[derive(Debug, Args)]
pub(crate) struct SetRate {
    /// Records a second, from 1, or `none` for no limit.
    #[arg(value_name = "N|none", value_parser = rate)]
    pub(crate) rate: Rate,
    /// Which store is meant: a limit on what is read from the source, or (by default) on what is written to the target.
    #[arg(long, value_enum)]
    pub(crate) store: Option<RatedStore>,
    /// Whether the pressure on the stores slows the migration down, too; as it was when not given.
    #[arg(long, value_name = "true|false")]
    pub(crate) automatic: Option<bool>,
    #[command(flatten)]
    pub(crate) migration: Migration,
}

/// A store that a rate is for.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum RatedStore {
    /// What is read.
    Source,
    /// What is written.
    Target,
}

impl From<RatedStore> for Side {
    fn from(store: RatedStore) -> Self {
        match store {
            RatedStore::Source => Self::Source,
            RatedStore::Target => Self::Target,
        }
    }
}

/// `crossfade report`.
#[derive(Debug, Args)]
pub(crate) struct Report {
    #[command(flatten)]
    pub(crate) migration: Migration,
    /// Write it to this file as one HTML page that needs nothing else.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// The two stores of `copy` and `diff`.
#[derive(Debug, Args)]
pub(crate) struct Stores {
    /// The store that is read: CONFIG.yaml#DATASTORE (the server's own config file), postgres://USER@HOST/DATABASE,
    /// mysql://USER@HOST/DATABASE, sqlite:///PATH, http(s)://HOST:9200/INDEX (Elasticsearch, OpenSearch) or
    /// cassandra://HOST/KEYSPACE. A password that is not in the URL of a SQL store is taken from PGPASSWORD or MYSQL_PWD.
    #[arg(long, value_name = "STORE")]
    pub(crate) from: String,
    /// The other store, in the same form.
    #[arg(long, value_name = "STORE")]
    pub(crate) to: String,
}

/// `crossfade copy`.
#[derive(Debug, Args)]
pub(crate) struct Copy {
    #[command(flatten)]
    pub(crate) stores: Stores,
    /// The most records a second, from 1; unlimited when absent.
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(crate) rate: Option<Rate>,
    /// Slices of the records that are copied at the same time, 1 to 64 [default: 4]. More of them help where stores are far
    /// away, and hardly where they are busy. Elasticsearch is read in an order of its own instead, which is not cut; so is
    /// Postgres with --defer-indexes unless N is given: in the order that has the indexes built in half the time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) parallel: Option<u16>,
    /// Drop the target's secondary indexes during the copy and build them again after it: several times as quick into an
    /// empty Postgres. Only for a target that nobody reads meanwhile. An interrupt ends the copy and builds them all the
    /// same, a second one does not wait for that. What was dropped is noted in the target's table
    /// crossfade_parked_indexes: after a kill `crossfade indexes --store STORE --restore` builds it, and so does the next run.
    #[arg(long)]
    pub(crate) defer_indexes: bool,
}

/// `crossfade indexes`.
#[derive(Debug, Args)]
pub(crate) struct Indexes {
    /// The store, in the same form as for `copy`.
    #[arg(long, value_name = "STORE")]
    pub(crate) store: String,
    /// Build what is set aside. Others may read and write meanwhile.
    #[arg(long)]
    pub(crate) restore: bool,
}

/// `crossfade diff`.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    #[command(flatten)]
    pub(crate) stores: Stores,
    /// Write every record that differs to this file, a line of JSON each: `class` (missing, stale, different or extra),
    /// `namespace_id`, `run_id`, `columns` (which differ), `source_version` and `target_version`, and with --truth
    /// `right`. Never what is in the columns.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Have both stores compute digests of their records, and read only those whose digests differ: for two Postgres
    /// servers from 14. Between other stores everything is read. A digest has 64 bits: of differing parts, one in 2^64
    /// would be passed over.
    #[arg(long, conflicts_with = "since")]
    pub(crate) digest: bool,
    /// Only this Namespace, by its name or its id. Can be given several times. A name is looked up at the frontend of
    /// --truth, else of --address.
    #[arg(long = "only", value_name = "NAMESPACE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) only: Vec<String>,
    /// Only executions that were started or closed since then, or are open: `24h`, `7d`, or a time such as
    /// 2026-01-31T00:00:00Z. One that is so in either store is compared, so that no record is called missing or extra
    /// because the stores disagree about its times. All records are read for it.
    #[arg(long, value_name = "SPAN|TIME", value_parser = since)]
    pub(crate) since: Option<Timestamp>,
    /// Only a share of the records, such as `1%`: those whose run ids begin in ways that --seed picks, in every
    /// Namespace. Run ids are random, so that what is true of the sample is about as true of the rest; how sure that is, is said.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) sample: Option<Share>,
    /// Which sample is picked: the same number picks the same.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "sample")]
    pub(crate) seed: u64,
    /// Keep in this file how far the comparison came, and go on from there if the file exists. It is removed in the end.
    #[arg(long, value_name = "FILE")]
    pub(crate) resume: Option<PathBuf>,
    /// Ask this frontend of the cluster (HOST:PORT) about each record that differs, and say which store is right: the one
    /// that agrees with the execution's mutable state. TLS and API key are those of TEMPORAL_TLS_* and TEMPORAL_API_KEY.
    #[arg(long, value_name = "FRONTEND")]
    pub(crate) truth: Option<String>,
    /// Put the records right that differ, by the source, and look at them again: these runs, or all when none is named. With
    /// --truth only where the source is right. Never replaces a record of a later version. Exit status 3 if any still
    /// differs. All is refused when a tenth of the target or more would be deleted.
    #[arg(long, value_name = "RUN_ID", num_args = 0..)]
    pub(crate) repair: Option<Vec<String>>,
}

/// A number of records a second; `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) Option<u32>);

fn rate(text: &str) -> Result<Rate, String> {
    match text.parse() {
        _ if text == "none" => Ok(Rate(None)),
        Ok(0) => Err("0 records a second would never end; `crossfade pause` stops a migration".to_owned()),
        Ok(rate) => Ok(Rate(Some(rate))),
        Err(_) => Err(format!("expected a whole number from 1 to {}, or `none`", u32::MAX)),
    }
}

/// A part of all records, above 0 and up to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share(pub(crate) f64);

fn share(text: &str) -> Result<Share, String> {
    let number = text
        .strip_suffix('%')
        .and_then(|number| number.trim().parse::<f64>().ok());
    match number {
        Some(number) if number > 0.0 && number <= 100.0 => Ok(Share(number / 100.0)),
        _ => Err("expected a percentage above 0% and up to 100%, such as 1%".to_owned()),
    }
}

fn since(text: &str) -> Result<Timestamp, String> {
    let hint = "expected a span such as 24h or 7d, or a time such as 2026-01-31T00:00:00Z";
    let at = match text.parse::<Timestamp>() {
        Ok(at) => at,
        Err(_) => {
            let span: Span = text.parse().map_err(|_| hint.to_owned())?;
            let length = span
                .to_duration(SpanRelativeTo::days_are_24_hours())
                .map_err(|_| hint.to_owned())?;
            Timestamp::now()
                .checked_sub(length.abs())
                .map_err(|_| hint.to_owned())?
        }
    };
    if at > Timestamp::now() {
        return Err(format!("{at} is in the future; {hint}"));
    }
    // No store keeps times less finely, so that none sees another time before it than the others.
    Ok(Precision::Millisecond.truncate(at))
}

fn server_version(text: &str) -> Result<Version, String> {
    match Version::parse(text) {
        Some(version) if version >= Version::OLDEST => Ok(version),
        Some(_) => Err(format!("Dual Visibility begins with server {}", Version::OLDEST)),
        None => Err("expected a server version such as 1.30.8".to_owned()),
    }
}

fn drift_class(text: &str) -> Result<DriftClass, String> {
    [
        DriftClass::Missing,
        DriftClass::Stale,
        DriftClass::Different,
        DriftClass::Extra,
    ]
    .into_iter()
    .find(|class| class.to_string() == text)
    .ok_or_else(|| "expected missing, stale, different or extra".to_owned())
}
