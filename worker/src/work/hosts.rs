//! A host's static config brought to a state: file, restart, and the proof that it runs.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use crossfade_cluster::restart::{Restart, RestartOnce, Restarted, forget, restart_once};
use crossfade_config::{Edited, StaticEdit, edit_static};
use crossfade_plan::{
    order::{ConfigureHost, HostConfigured},
    problem::{Code, Problem},
    settings::HostConfig,
    spec::{self, Host},
};
use tokio::sync::Mutex;

use super::{
    alone,
    beat::Beat,
    config_files::{ConfigFile, NotGivenBack},
    containers, healthy,
    host_files::{self, read_static, static_edit},
    pods,
    problems::{file_problem, refused, restart as restart_problem},
};

/// One turn at a time for each host: a second attempt at the same order waits for the first and finds its work done.
#[derive(Debug, Default)]
pub(crate) struct Turns(std::sync::Mutex<BTreeMap<String, Arc<Mutex<()>>>>);

impl Turns {
    fn of(&self, host: &str) -> Arc<Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        turns.entry(host.to_owned()).or_default().clone()
    }
}

/// Brings a host to its config: edits the file, restarts, proves it healthy. A host that does not come up gets
/// the file back that it had, is restarted with it, and the problem is told.
pub(crate) async fn configure(order: &ConfigureHost, turns: &Turns, beat: &Beat) -> Result<HostConfigured, Problem> {
    let turn = turns.of(&order.host.name);
    let _turn = turn.lock().await;
    let _alone = alone::at(&order.host, beat).await?;
    healthy::others_serve(order, beat).await?;
    let change = write(order).await?;
    let began = Instant::now();
    match restart_and_prove(order, order.to, beat).await {
        Ok(restarted) => Ok(HostConfigured {
            edited: change.edited,
            restarted,
            restart_millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }),
        Err(problem) if order.to == HostConfig::Original || order.back => Err(problem),
        Err(problem) => Err(put_back(order, &change, problem, beat).await),
    }
}

/// What an order has done to the file.
struct Change {
    /// Whether this attempt changed it.
    edited: bool,
    /// The hash of what it holds since.
    written: String,
    /// What it held before the order, also when it was an earlier attempt that changed it; `None` when that cannot
    /// be known, and on the way back, which has nothing before it.
    former: Option<Vec<u8>>,
}

/// Writes the file's new state.
async fn write(order: &ConfigureHost) -> Result<Change, Problem> {
    let (host, key) = (&order.host, &order.context.key);
    let file = ConfigFile::of(host)?;
    let edit = match order.to {
        HostConfig::Dual if order.back => Some(host_files::unswap(&order.context)),
        to => static_edit(&order.context, to)?,
    };
    let Some(edit) = edit else {
        let kept = file.kept_copy(key).await?;
        let now = file.read().await?;
        if kept.is_some_and(|kept| kept != now.bytes) {
            begin_anew(order)?;
        }
        let edited = match file.restore(key).await {
            Ok(edited) => edited,
            Err(NotGivenBack::Others(_)) if is_without_target(order).await? => false,
            Err(NotGivenBack::Others(problem)) => {
                return Err(
                    problem.remedy("take the target out of the file by hand, or put the kept copy back; then `resume`")
                );
            }
            Err(NotGivenBack::Failed(problem)) => return Err(problem),
        };
        return Ok(Change {
            edited,
            written: now.sha256,
            former: None,
        });
    };
    let now = read_static(host).await?.content;
    let wanted = edit_static(&host.config, &now.bytes, &edit)
        .map_err(|refusal| refused(&refusal))?
        .into_bytes();
    let former = if wanted == now.bytes {
        former(order, &edit, &now.bytes).await?
    } else {
        begin_anew(order)?;
        Some(now.bytes)
    };
    Ok(Change {
        edited: file.write_if_unchanged(&now.sha256, &wanted, key).await?,
        written: crossfade_config::sha256(&wanted),
        former,
    })
}

/// Whether the file, changed by somebody else meanwhile, uses the source alone: all that is needed of the way back.
async fn is_without_target(order: &ConfigureHost) -> Result<bool, Problem> {
    let config = read_static(&order.host).await?.config;
    let primary = config.visibility_store().map(|store| store.value.as_str());
    let is_so = primary == order.context.source.as_deref() && config.secondary_visibility_store().is_none();
    let Some(ours) = &order.context.indices else {
        return Ok(is_so);
    };
    let indices = primary
        .and_then(|primary| config.datastore(primary))
        .and_then(|entry| entry.value.pointer("/elasticsearch/indices"));
    let index = |key: &str| {
        indices
            .and_then(|indices| indices.get(key)?.as_str())
            .unwrap_or_default()
    };
    Ok(is_so && index("visibility") == ours.source && index("secondary_visibility").is_empty())
}

/// What the file held before an earlier attempt at this order wrote it and was killed: worked out from the kept copy,
/// and only believed when the edit leads from it to exactly what is there.
async fn former(order: &ConfigureHost, edit: &StaticEdit, now: &[u8]) -> Result<Option<Vec<u8>>, Problem> {
    let (host, key) = (&order.host, &order.context.key);
    let Some(kept) = ConfigFile::of(host)?.kept_copy(key).await? else {
        return Ok(None);
    };
    if order.back {
        return Ok(None);
    }
    let mut before = Some(kept);
    for earlier in steps_before(order) {
        let edit = static_edit(&order.context, *earlier)?;
        before = before.zip(edit).and_then(|(bytes, edit)| {
            let edited = edit_static(&host.config, &bytes, &edit);
            edited.map(Edited::into_bytes).ok()
        });
    }
    let leads_here =
        |before: &Vec<u8>| edit_static(&host.config, before, edit).is_ok_and(|again| again.text().as_bytes() == now);
    Ok(before.filter(leads_here))
}

/// The configs that a host has on its way from the original to the one that is ordered.
fn steps_before(order: &ConfigureHost) -> &'static [HostConfig] {
    match order.to {
        HostConfig::Original | HostConfig::Dual => &[],
        HostConfig::Promoted if order.context.spec.promote.keep_warm.is_some() => &[HostConfig::Dual, HostConfig::Warm],
        HostConfig::Warm | HostConfig::Promoted => &[HostConfig::Dual],
    }
}

/// A changed file needs a restart, whatever an earlier order for the same state has noted: one that was put back, or
/// whose restart was cut short. Forgotten before the file changes, so that being killed in between does no harm.
fn begin_anew(order: &ConfigureHost) -> Result<(), Problem> {
    let host = &order.host;
    if pods::of(host).is_some() {
        // What is written in the workloads themselves names the content that they were rolled out for.
        return Ok(());
    }
    crossfade_config::check_writable(&host.config).map_err(|error| file_problem(&error))?;
    forget(&marker_dir(order), &marker_key(host, order.to)).map_err(|error| restart_problem(&error, &host.name))
}

async fn restart_and_prove(order: &ConfigureHost, to: HostConfig, beat: &Beat) -> Result<bool, Problem> {
    let host = &order.host;
    beat.doing(format!("restarting {}", host.name));
    let restarted = restart(order, to).await?;
    beat.doing(format!("waiting until {} is healthy", host.name));
    healthy::prove(order, to).await?;
    Ok(restarted)
}

/// Whether it was this call that restarted it.
async fn restart(order: &ConfigureHost, to: HostConfig) -> Result<bool, Problem> {
    let host = &order.host;
    let restart = match &host.restart {
        spec::Restart::Command(argv) => Restart::Command(argv.clone()),
        spec::Restart::Systemd(unit) => Restart::Systemd(unit.clone()),
        spec::Restart::Compose(project) => Restart::Compose(containers::compose(project)),
        spec::Restart::Kubernetes(workloads) => return pods::roll_out(order, workloads).await,
    };
    let config = read_static(host).await?.config;
    let restarted = restart_once(RestartOnce {
        restart,
        marker_dir: marker_dir(order),
        key: marker_key(host, to),
        within: host.restart_within.0,
        listener: healthy::listener(host, &config),
    });
    let restarted = restarted.await.map_err(|error| restart_problem(&error, &host.name))?;
    Ok(matches!(restarted, Restarted::Now { .. }))
}

/// Beside the kept copies, so that it is on the host's own disk and goes with them.
fn marker_dir(order: &ConfigureHost) -> PathBuf {
    let path = Path::new(&order.host.config);
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real.parent()
        .unwrap_or(Path::new("/"))
        .join(".crossfade")
        .join(&order.context.key)
}

fn marker_key(host: &Host, to: HostConfig) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = host
        .name
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .take(80)
        .collect();
    let state = match to {
        HostConfig::Original => "original",
        HostConfig::Dual => "dual",
        HostConfig::Warm => "warm",
        HostConfig::Promoted => "promoted",
    };
    format!("restart-{name}-{state}")
}

/// The host did not come up: its former file, a restart, and both problems told if that fails too.
async fn put_back(order: &ConfigureHost, change: &Change, problem: Problem, beat: &Beat) -> Problem {
    let host = &order.host;
    beat.doing(format!("{} did not come up: putting its former config back", host.name));
    let add = |words: String| Problem {
        message: format!("{} {words}", with_stop(&problem.message)),
        ..problem.clone()
    };
    if let Err(second) = give_back(order, change).await {
        return add(format!("Its config is not put back: {}", second.message));
    }
    // The former state's restart is a new one: whatever markers there are tell of earlier ones.
    forget_markers(order);
    let again = steps_before(order).last().copied().unwrap_or(HostConfig::Original);
    let back = restart_and_prove(order, again, beat).await;
    forget_markers(order);
    match back {
        Ok(_) => add("The former config is back and the host is healthy with it".to_owned()),
        Err(second) => add(format!(
            "The former config is back in the file; restarting with it failed as well: {}",
            second.message
        )),
    }
}

/// The file as it was before the order, unless somebody else has changed it since.
async fn give_back(order: &ConfigureHost, change: &Change) -> Result<(), Problem> {
    let former = change.former.as_ref().ok_or_else(|| {
        Problem::new(
            Code::ConfigChanged,
            "it was so before this order, and what it was before that is not known",
        )
    })?;
    let file = ConfigFile::of(&order.host)?;
    let given = file
        .write_if_unchanged(&change.written, former, &order.context.key)
        .await;
    given.map(drop)
}

/// A later attempt at this order is a new restart.
fn forget_markers(order: &ConfigureHost) {
    if pods::of(&order.host).is_some() {
        return;
    }
    for state in [
        HostConfig::Original,
        HostConfig::Dual,
        HostConfig::Warm,
        HostConfig::Promoted,
    ] {
        if let Err(error) = forget(&marker_dir(order), &marker_key(&order.host, state)) {
            tracing::warn!(%error, "a restart marker stays; the next restart may be taken for done");
        }
    }
}

fn with_stop(message: &str) -> String {
    format!("{}.", message.trim_end_matches('.'))
}
