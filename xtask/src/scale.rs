//! `cargo xtask bench scale`: the copy of a whole migration, shared out among one, two and four worker processes, with both
//! stores far away.
//!
//! A real cluster, and for each crew of workers one migration to a database of its own: its records are copied in slices,
//! which all workers of the task queue take, as many at once as there are workers, or one worker alone. What is measured is the time between the
//! first slice that is ordered and the last answer, by the workflow's own history. The stores are near until then: a proxy
//! between them and the workers holds everything back from the gate before the copy to its end, so that waiting is
//! what takes the time, and not this machine's processors, which all workers, the cluster and both stores share.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use e2e::migration::{Activity, Worker, activities};
use e2e::namespaces;
use e2e::scene::{Scene, until};
use e2e::servers::distance::Distance;
use e2e::story::worker_variables;
use e2e::testbed::{Engine, NAMESPACE, Plan, Store};
use serde_json::{Value, json};

use crate::cargo;
use crate::terminal::{fact, note};

/// Names the program that is measured; without it the optimised one is built.
const PROGRAM: &str = "CROSSFADE_BIN";

/// The activity that copies a slice.
const COPY: &str = "copy-records";

/// Slices for each of the most workers: with one each, the largest would be what all wait for.
const SLICES_EACH: u64 = 4;

/// How long a copy may take.
const WITHIN: Duration = Duration::from_secs(3 * 3600);

/// Ticks of `/proc/PID/stat` in a second: Linux has promised a hundred to programs for as long as there were others.
const TICKS: f64 = 100.0;

/// `temporal.api.common.v1.Memo` with one field, `note`: a JSON text of 32 characters.
const MEMO: &str = "0a440a046e6f7465123c0a160a08656e636f64696e67120a6a736f6e2f706c61696e1222\
                    22627920746865206e696768746c792062617463682c207072696f72697479203322";

/// What is measured.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench scale")]
struct Options {
    /// How many records.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(100..))]
    records: u64,
    /// How many worker processes, one migration after another, each with one slice at once, or with N of them where it says
    /// `WORKERSxN`; the first one's time makes the bound of the others.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,1x4")]
    workers: Vec<Crew>,
    /// How far the stores are, one way, in milliseconds.
    #[arg(long, default_value_t = 100)]
    distance_ms: u64,
    /// The folder for the results.
    #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
    output: PathBuf,
}

/// Who copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Crew {
    workers: u32,
    /// Slices that each works on at once.
    each: u32,
}

impl Crew {
    fn at_once(self) -> u32 {
        self.workers * self.each
    }
}

impl FromStr for Crew {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| match text.parse() {
            Ok(number @ 1..=16) => Ok(number),
            _ => Err(format!("{text:?} is no number from 1 to 16")),
        };
        let (workers, each) = text.split_once('x').unwrap_or((text, "1"));
        Ok(Self {
            workers: number(workers)?,
            each: number(each)?,
        })
    }
}

/// What one migration's copy took.
struct Run {
    crew: Crew,
    /// From the first slice's order to the last answer.
    seconds: f64,
    /// How much of that time slices were under way, of as many as might be at once.
    busy: f64,
    /// Slices by the worker that copied them.
    slices: BTreeMap<String, usize>,
    /// Time on processors of all workers, from the gate before the copy to its end.
    cpu_seconds: f64,
    /// The most memory that any worker ever held, in megabytes (10^6 bytes).
    peak_rss_mb: f64,
}

/// Measures, with the program that `CROSSFADE_BIN` names, or else with the one that is built optimised.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let name = ["cargo xtask bench scale".to_owned()];
    let options = match Options::try_parse_from(name.iter().chain(arguments)) {
        Ok(options) => options,
        Err(error) => error.exit(),
    };
    if std::env::var_os(PROGRAM).is_none_or(|given| given.is_empty()) {
        return with_optimised(arguments);
    }
    tokio::runtime::Runtime::new()?.block_on(measure(&options))
}

/// Builds the optimised program and does it all again in a process that is told of it.
fn with_optimised(arguments: &[String]) -> Result<()> {
    let mut build = cargo::command();
    succeed(build.args(["build", "--release", "--package", "crossfade"]))?;
    let this = std::env::current_exe().context("cannot tell where this program is")?;
    // target/PROFILE/xtask
    let target = this
        .parent()
        .and_then(Path::parent)
        .context("this program is in no target folder")?;
    let program = target.join("release").join("crossfade");
    ensure!(program.is_file(), "cargo built no {}", program.display());
    let mut again = Command::new(&this);
    again.args(["bench", "scale"]).args(arguments).env(PROGRAM, program);
    succeed(&mut again)
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().context("cannot run the benchmark")?;
    if !status.success() {
        bail!("the benchmark failed ({status})");
    }
    Ok(())
}

async fn measure(options: &Options) -> Result<()> {
    let plan = Plan::new(Engine::Postgres);
    let tools = worker_variables(plan.release)?;
    let tools: Vec<(&str, &str)> = tools.iter().map(|(name, path)| (*name, path.as_str())).collect();
    let mut stand = Stand::with(Scene::of(plan, &tools).await?, options).await?;
    let mut runs: Vec<Run> = Vec::new();
    for (number, crew) in (1..).zip(&options.workers) {
        let is_last = number == options.workers.len();
        runs.push(stand.migrate(number, *crew, &tools, is_last).await?);
    }
    stand.scene.finish()?;
    tell(options, &runs)
}

/// The cluster, its source filled, and the way to it.
struct Stand<'a> {
    scene: Scene,
    options: &'a Options,
    distance: Distance,
    /// The database that all records are in.
    source: String,
    namespace_id: String,
}

impl<'a> Stand<'a> {
    async fn with(mut scene: Scene, options: &'a Options) -> Result<Self> {
        let Store::Postgres { database: source, .. } = scene.testbed.source().clone() else {
            bail!("the cluster's Visibility is not in PostgreSQL");
        };
        let namespace_id = namespaces::id(&scene.testbed.client(NAMESPACE).await?, NAMESPACE).await?;
        let (postgres, _) = scene.testbed.postgres_server().context("no PostgreSQL")?;
        note(&format!("making {} records", options.records));
        postgres
            .execute(&source, &filling(&namespace_id, options.records))
            .await?;
        let distance = Distance::to(postgres.address(), Duration::ZERO).await?;
        Ok(Self {
            scene,
            options,
            distance,
            source,
            namespace_id,
        })
    }

    /// One migration up to the end of its copy; then back to where it began, unless it is the last.
    async fn migrate(&mut self, number: usize, crew: Crew, tools: &[(&str, &str)], is_last: bool) -> Result<Run> {
        note(&format!("{}: starting", words(crew)));
        let (id, database) = (format!("scale-{number}"), format!("visibility_{number}"));
        let (postgres, _) = self.scene.testbed.postgres_server().context("no PostgreSQL")?;
        postgres.create_database(&database).await?;
        if number > 1 {
            // Its memory is to be that of this migration.
            self.scene.worker.kill()?;
            self.scene.worker.again(&self.scene.testbed)?;
        }
        let mut others = Vec::new();
        for other in 2..=crew.workers {
            let name = format!("worker-{number}-{other}");
            others.push(Worker::of_hosts(&name, &self.scene.testbed, &[], tools)?);
        }
        for worker in others.iter().chain([&self.scene.worker]) {
            until("each worker polls", || {
                worker.output().is_ok_and(|said| said.contains("polling"))
            })
            .await?;
        }
        let operator = self.scene.operator.clone();
        operator.start(&id, &self.spec(number, &database, crew)).await?;
        operator.at_gate(&id, "existing-records").await?;

        note(&format!("{}: copying", words(crew)));
        let before = processors(&self.scene.worker, &others)?;
        self.distance.set(Duration::from_millis(self.options.distance_ms));
        operator.approve(&id, "existing-records").await?;
        operator
            .until_within(WITHIN, &id, "every record copied", |status| {
                status["copy"]["copied"]["done"] == true
            })
            .await?;
        // What comes now, the building of indexes, is not measured.
        self.distance.set(Duration::ZERO);
        let cpu_seconds = processors(&self.scene.worker, &others)? - before;
        let peaks = others.iter().chain([&self.scene.worker]).map(peak_rss_mb);
        let peak_rss_mb = peaks.collect::<Result<Vec<_>>>()?.into_iter().fold(0.0, f64::max);

        operator.at_gate(&id, "verify").await?;
        let client = self.scene.testbed.client(NAMESPACE).await?;
        let slices = activities(&client, NAMESPACE, &id, COPY).await?;
        self.is_whole(&database).await?;
        if !is_last {
            note(&format!("{}: going back", words(crew)));
            operator.signal(&id, "rollback", None).await?;
            let report = operator.end(&self.scene.testbed, &id).await?.completed()?;
            ensure!(report["result"] == "rolled-back", "{report:#}");
        }
        others.iter_mut().try_for_each(Worker::kill)?;
        let seconds = seconds(&slices)?;
        Ok(Run {
            crew,
            seconds,
            busy: under_way(&slices) / (seconds * f64::from(crew.at_once())),
            slices: by_worker(&slices),
            cpu_seconds,
            peak_rss_mb,
        })
    }

    /// Both stores by way of the proxy, two gates around the copy, and nothing that would make it go slower on its own: a
    /// far store answers late, which counts as pressure.
    fn spec(&self, number: usize, database: &str, crew: Crew) -> Value {
        let options = self.options;
        let most = options.workers.iter().copied().map(Crew::at_once).max();
        let most = most.unwrap_or(crew.at_once());
        // The cluster's own records, a few, make no slice more.
        let slices = u64::from(most) * SLICES_EACH;
        let mut spec = self.scene.testbed.spec();
        let mut entry = spec["target"]["datastore"].clone();
        entry["sql"]["connectAddr"] = json!(self.distance.address());
        entry["sql"]["databaseName"] = json!(self.source);
        spec["source"] = json!({"datastore": entry});
        entry["sql"]["databaseName"] = json!(database);
        spec["target"]["datastore"] = entry;
        spec["target"]["name"] = json!(format!("visibility-{number}"));
        spec["gates"] = json!(["existing-records", "verify"]);
        spec["copy"] = json!({"defer_indexes": "always"});
        spec["slices"] = json!({"at_once": crew.at_once(), "records": options.records.div_ceil(slices) + slices});
        spec["throttle"] = json!({"automatic": false});
        spec
    }

    /// Whether every record has come over.
    async fn is_whole(&mut self, database: &str) -> Result<()> {
        let (postgres, _) = self.scene.testbed.postgres_server().context("no PostgreSQL")?;
        let client = postgres.connect(database).await?;
        let question =
            "SELECT count(*) FROM executions_visibility WHERE namespace_id = $1 AND workflow_id LIKE 'scale-%'";
        let row = client.query_one(question, &[&self.namespace_id]).await?;
        let there: i64 = row.get(0);
        ensure!(
            u64::try_from(there)? >= self.options.records,
            "{there} of {} records were copied",
            self.options.records
        );
        Ok(())
    }
}

/// Records that are closed, each with eight search attributes and a memo, as the copy benchmarks have them.
fn filling(namespace_id: &str, records: u64) -> String {
    format!(
        "INSERT INTO executions_visibility (namespace_id, run_id, start_time, execution_time, close_time, workflow_id, \
           workflow_type_name, status, history_length, history_size_bytes, execution_duration, state_transition_count, \
           memo, encoding, task_queue, search_attributes, root_workflow_id, root_run_id, _version) \
         SELECT '{namespace_id}', run, at, at, at + interval '90 s', 'scale-' || n, 'OrderWorkflow', 2, 40, 8400, \
           90000000000, 20, '\\x{MEMO}', 'Proto3', 'orders-' || n % 5, \
           jsonb_build_object('Bool01', n % 2 = 0, 'Datetime01', '2026-02-03T04:05:06Z', 'Double01', n / 4.0, 'Int01', n, \
             'Keyword01', 'customer-' || n % 5000, 'Keyword02', 'eu-west-' || n % 5, \
             'KeywordList01', jsonb_build_array('shelf-' || n % 40, 'carrier-' || n % 7), \
             'Text01', 'order ' || n || ' packed and handed over at dock ' || n % 60), \
           'scale-' || n, run, n::bigint << 20 \
         FROM generate_series(1, {records}) AS n, \
           LATERAL (SELECT md5(n::text)::uuid::text AS run, timestamp '2026-01-01' + n * interval '3 s' AS at) AS made"
    )
}

/// From the first order to the last answer.
fn seconds(slices: &[Activity]) -> Result<f64> {
    let (Some(first), Some(last)) = (
        slices.iter().map(|slice| slice.scheduled).min(),
        slices.iter().map(|slice| slice.completed).max(),
    ) else {
        bail!("no slice was copied");
    };
    Ok(last.duration_since(first).unwrap_or_default().as_secs_f64())
}

/// Seconds of all slices together.
fn under_way(slices: &[Activity]) -> f64 {
    let took = |slice: &Activity| slice.completed.duration_since(slice.scheduled).unwrap_or_default();
    slices.iter().map(took).sum::<Duration>().as_secs_f64()
}

fn by_worker(slices: &[Activity]) -> BTreeMap<String, usize> {
    slices.iter().fold(BTreeMap::new(), |mut by_worker, slice| {
        *by_worker.entry(slice.worker.clone()).or_default() += 1;
        by_worker
    })
}

/// Prints what was measured and writes it down.
fn tell(options: &Options, runs: &[Run]) -> Result<()> {
    let first = runs.first().context("nothing was measured")?;
    let alone = first.seconds * f64::from(first.crew.at_once());
    let mut cases = Vec::new();
    fact(&format!(
        "{} ms to the stores, {} ms back\n",
        options.distance_ms, options.distance_ms
    ));
    fact(
        "| case | records | seconds | records/s | bound s | ratio | speed-up | peak MB | µs of a processor a record | slices under way | slices by worker |",
    );
    fact("|---|---|---|---|---|---|---|---|---|---|---|");
    for run in runs {
        let bound = alone / f64::from(run.crew.at_once());
        let ratio = run.seconds / bound;
        let slices: Vec<String> = run.slices.values().map(usize::to_string).collect();
        fact(&format!(
            "| {} | {} | {:.2} | {:.0} | {bound:.2} | {ratio:.2} | {:.2} | {:.0} | {:.0} | {:.0} % | {} |",
            words(run.crew),
            options.records,
            run.seconds,
            options.records as f64 / run.seconds,
            first.seconds / run.seconds,
            run.peak_rss_mb,
            1e6 * run.cpu_seconds / options.records as f64,
            100.0 * run.busy,
            slices.join(" + "),
        ));
        cases.push(json!({
            "case": words(run.crew),
            "records": options.records,
            "seconds": thousandths(run.seconds),
            "bound_seconds": thousandths(bound),
            "ratio_to_bound": thousandths(ratio),
            "peers": {},
            "peak_rss_mb": thousandths(run.peak_rss_mb),
        }));
    }
    let file = options.output.join("scale.json");
    fs::create_dir_all(&options.output).with_context(|| format!("cannot make {}", options.output.display()))?;
    let text = serde_json::to_string_pretty(&cases)?;
    fs::write(&file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
}

fn words(Crew { workers, each }: Crew) -> String {
    let workers = format!("{workers} worker{}", if workers == 1 { "" } else { "s" });
    match each {
        1 => workers,
        _ => format!("{workers}, {each} slices at once"),
    }
}

fn thousandths(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// The workers' time on processors so far, in seconds.
fn processors(first: &Worker, others: &[Worker]) -> Result<f64> {
    others.iter().chain([first]).map(cpu_seconds).sum()
}

fn cpu_seconds(worker: &Worker) -> Result<f64> {
    let stat = of_process(worker, "stat")?;
    // The program's name, in brackets, may hold anything; user and system time are the 14th and 15th field.
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = after_name.split(' ').skip(11).take(2);
    Ok(ticks.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS)
}

/// The most memory that a worker ever held.
fn peak_rss_mb(worker: &Worker) -> Result<f64> {
    let status = of_process(worker, "status")?;
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok())
        .context("/proc/PID/status has no VmHWM")?;
    Ok(kibibytes * 1024.0 / 1e6)
}

fn of_process(worker: &Worker, file: &str) -> Result<String> {
    let pid = worker.pid().context("a worker does not run")?;
    fs::read_to_string(format!("/proc/{pid}/{file}")).context("this needs Linux's /proc")
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_copy_lasts_from_the_first_order_to_the_last_answer() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let slice = |scheduled, completed, worker: &str| Activity {
            scheduled: at(scheduled),
            completed: at(completed),
            worker: worker.to_owned(),
        };
        let slices = [slice(12, 30, "a"), slice(10, 20, "b"), slice(20, 25, "a")];
        assert!((seconds(&slices).unwrap() - 20.0).abs() < f64::EPSILON);
        assert_eq!(by_worker(&slices).into_values().collect::<Vec<_>>(), [2, 1]);
        assert!(seconds(&[]).is_err());
        assert!((under_way(&slices) - 33.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_crew_is_workers_and_slices() {
        let crew = |text: &str| text.parse::<Crew>().map(|crew| (crew.at_once(), words(crew)));
        assert_eq!(crew("1"), Ok((1, "1 worker".to_owned())));
        assert_eq!(crew("4"), Ok((4, "4 workers".to_owned())));
        assert_eq!(crew("2x4"), Ok((8, "2 workers, 4 slices at once".to_owned())));
        for refused in ["", "0", "17", "1x", "x4", "1x0", "1x2x3"] {
            assert!(crew(refused).is_err(), "{refused}");
        }
    }
}
