//! One copy or comparison in a process of its own, so that its memory and its time on a processor are known.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use crossfade_stores::{Store, open};
use crossfade_visibility::compare::{self, compare};
use crossfade_visibility::copy::{self, Step, copy, copy_in_list_order, copy_whole};
use crossfade_visibility::division;
use crossfade_visibility::indexing::{Pace, Rebuilding};
use crossfade_visibility::parallel::copy_slices;
use crossfade_visibility::ports::{Range, Read, Target};
use crossfade_visibility::record::Key;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::measure;
use crate::stand::{TICKS, Taken};
use crate::timed::{Clock, Phase, Timed};

/// Records at a time, as `crossfade copy` has it.
const PAGE: usize = 1_000;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Carry what the target lacks.
    Copy,
    /// The same into a target that nobody reads: its secondary indexes are set aside and built again afterwards.
    Fill,
    /// Tell the drift, which there must be none of.
    Compare,
    /// The same by digests, which must spare reading anything.
    Digest,
}

/// An order for a process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    /// What to do.
    pub(crate) kind: Kind,
    /// The source's datastore entry.
    pub(crate) from: Value,
    /// The target's.
    pub(crate) to: Value,
    /// Only keys up to this one: Namespace id and run id.
    pub(crate) until: Option<(String, String)>,
    /// A copy of everything in slices, so many of them at the same time, as `crossfade copy --parallel` does it.
    #[serde(default)]
    pub(crate) at_once: Option<usize>,
}

/// What a process tells of itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Records copied, or compared.
    pub(crate) records: u64,
    /// How long it took, from open stores to the end.
    pub(crate) seconds: f64,
    /// Time on processors within that, of the process and of the kernel for it.
    pub(crate) cpu_seconds: f64,
    /// The most memory it ever held, in megabytes (10^6 bytes).
    pub(crate) peak_rss_mb: f64,
    /// Its time with no call to a store under way.
    pub(crate) alone_seconds: f64,
    /// Its calls to the stores.
    pub(crate) phases: Vec<Phase>,
    /// What the bound and we had the stores do, where that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stores: Option<Stores>,
}

/// What the stores took, the clock's seconds among it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Stores {
    /// For the bound.
    pub(crate) bound: Taken,
    /// For us.
    pub(crate) ours: Taken,
}

impl Job {
    /// A job over all records.
    pub(crate) fn whole(kind: Kind, from: &Value, to: &Value) -> Self {
        Self {
            kind,
            from: from.clone(),
            to: to.clone(),
            until: None,
            at_once: None,
        }
    }

    /// Has this program do the job in another process, run by `wrapper` where one is given (a profiler with its options);
    /// what it tells, and what it wrote to standard error.
    ///
    /// # Errors
    /// When it fails: with what it said.
    pub(crate) async fn spawn(&self, wrapper: &[&str]) -> Result<(Done, String)> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = match wrapper.split_first() {
            Some((first, rest)) => {
                let mut command = tokio::process::Command::new(first);
                command.args(rest).arg(program);
                command
            }
            None => tokio::process::Command::new(program),
        };
        command
            .arg("job")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().context("cannot run this program again")?;
        // Through a pipe: entries hold passwords, and everybody can read the arguments of a process.
        let order = serde_json::to_vec(self)?;
        let mut input = child.stdin.take().context("no pipe to the process")?;
        input.write_all(&order).await?;
        drop(input);
        let output = child.wait_with_output().await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            bail!("the process ended with {}: {}", output.status, said.trim());
        }
        let done = serde_json::from_slice(&output.stdout).context("the process told nothing that can be read")?;
        Ok((done, said))
    }

    fn range(&self) -> Range {
        let key = |(namespace, run): &(String, String)| Key::new(namespace.clone(), run.clone());
        Range {
            until: self.until.as_ref().map(key),
            ..Range::default()
        }
    }

    async fn carry_out(&self, source: &Store, target: &Store, clock: &Clock) -> Result<u64> {
        let reader = |role, store: &Store| Timed {
            role,
            port: store.read(),
            clock: clock.clone(),
        };
        let (from, held) = (reader("source", source), reader("target", target));
        let range = self.range();
        match self.kind {
            Kind::Fill => {
                let indexing = target.indexing().context("this target cannot set its indexes aside")?;
                let parked = clock.time("target", "park", indexing.park()).await?;
                let copied = self.copy(&from, &held, target, clock, parked.sorts_later()).await?;
                let mut on = |_: &Rebuilding| Step::Continue;
                let built = indexing.restore(&parked, Pace::default(), &mut on);
                let built = clock.time("target", "restore", built).await?;
                if !built.finished {
                    bail!("some indexes were not built again");
                }
                Ok(copied)
            }
            Kind::Copy => self.copy(&from, &held, target, clock, false).await,
            Kind::Compare | Kind::Digest => {
                let mut on = |_: &compare::Progress| Step::Continue;
                let digests = self.kind == Kind::Digest;
                let options = compare::Options {
                    digests,
                    at_once: true,
                    ..compare::Options::default()
                };
                let outcome = compare(
                    &from,
                    &held,
                    None,
                    &range,
                    compare::Progress::default(),
                    options,
                    &mut on,
                )
                .await?;
                if !outcome.is_clean() {
                    bail!("the stores differ in {} records", outcome.progress.drift.total());
                }
                if digests && outcome.progress.by_digest != outcome.progress.source_records {
                    bail!("only {} records were the same by digests", outcome.progress.by_digest);
                }
                Ok(outcome.progress.source_records)
            }
        }
    }

    /// As `crossfade copy` goes about it; `sorts_later` where the target's indexes are set aside.
    async fn copy(
        &self,
        from: &dyn Read,
        held: &dyn Read,
        target: &Store,
        clock: &Clock,
        sorts_later: bool,
    ) -> Result<u64> {
        let range = self.range();
        let write = Timed {
            role: "target",
            port: target.write(),
            clock: clock.clone(),
        };
        let to = Target {
            read: held,
            write: &write,
        };
        let begin = copy::Progress {
            cursor: range.after.clone(),
            ..copy::Progress::default()
        };
        let options = copy::Options::pages_of(PAGE);
        let mut on = |_: &copy::Progress| Step::Continue;
        let in_list_order = match sorts_later {
            true => copy_in_list_order(from, to, None, options, &mut on).await?,
            false => None,
        };
        let copied = match (in_list_order, self.at_once) {
            (Some(copied), _) => Ok(copied),
            (None, Some(at_once)) => {
                copy_slices(from, to, slices(from, at_once).await?, at_once, options, &mut on).await
            }
            (None, None) if range == Range::default() => copy_whole(from, to, options, &mut on).await,
            (None, None) => copy(from, to, &range, begin, options, &mut on).await,
        };
        let progress = copied?.progress;
        if progress.written != progress.scanned {
            bail!(
                "{} records were read and {} written",
                progress.scanned,
                progress.written
            );
        }
        Ok(progress.written)
    }
}

/// The slices that `crossfade copy` makes of all records.
async fn slices(from: &dyn Read, at_once: usize) -> Result<Vec<Range>> {
    let counts = from.count(None).await?;
    let records: BTreeMap<String, u64> = counts.into_iter().map(|(id, count)| (id, count.total())).collect();
    let slices = division::slices(records.values().sum(), at_once.try_into()?, None);
    Ok(division::between(division::cuts(&records, slices)))
}

/// Does the job that standard input describes, and writes what it came to to standard output.
///
/// # Errors
/// When it cannot be done.
pub(crate) async fn run() -> Result<()> {
    let mut order = String::new();
    std::io::stdin().read_to_string(&mut order)?;
    let job: Job = serde_json::from_str(&order).context("standard input is no job")?;
    let (source, target) = (open(&job.from).await?, open(&job.to).await?);
    let clock = Clock::default();
    let (begun, cpu) = (Instant::now(), cpu_seconds()?);
    let records = job.carry_out(&source, &target, &clock).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let done = Done {
        records,
        seconds,
        alone_seconds: seconds - clock.waiting(),
        cpu_seconds: cpu_seconds()? - cpu,
        peak_rss_mb: peak_rss_mb()?,
        phases: clock.phases(),
        stores: None,
    };
    measure::say(&serde_json::to_string(&done)?);
    Ok(())
}

/// This process's time on processors so far.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("this needs Linux's /proc")?;
    // The program's name, in brackets, may hold anything; user and system time are the 14th and 15th field.
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = after_name.split(' ').skip(11).take(2);
    let ticks: f64 = ticks.filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS)
}

/// The most memory that this process ever held.
fn peak_rss_mb() -> Result<f64> {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).context("this needs Linux's /proc")?;
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok())
        .context("/proc/self/status has no VmHWM")?;
    Ok((kibibytes * 1024.0 / 1e5).round() / 10.0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_knows_its_memory_and_its_time() {
        assert!((1.0..2_000.0).contains(&super::peak_rss_mb().unwrap()));
        assert!(super::cpu_seconds().unwrap() < 3_600.0);
    }
}
