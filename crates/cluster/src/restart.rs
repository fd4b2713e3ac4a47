//! Restarts a service once, whatever happens to us half way.
//!
//! The worker that restarts a service is, as a rule, served by the very cluster that goes down with it: its activity
//! may be tried again although it did its work, while it is still at it, or after it was killed in the middle.
//! So a marker file is written before the restart and after it, and a lock keeps two attempts apart:
//!
//! | what a new attempt finds | what it does |
//! |---|---|
//! | no marker | restarts |
//! | `done` | nothing |
//! | the lock held | waits for that attempt, then looks again |
//! | `restarting`, the program still at work | waits for its end and for the service, then looks again |
//! | `restarting`, the service has a new life | notes `done` |
//! | `restarting`, the service has its old life, or that cannot be known | restarts: no restart is forgotten |
//!
//! Whether the service serves again is a question of its own: [`crate::health`].

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::process::Command;

use crate::compose::{Compose, ComposeError};
use crate::incarnation::Incarnation;
use crate::marker::{Files, Marker, Program, State};
use crate::process::{Ended, TAIL, kill_group, run, tail};
use crate::systemd;

/// Pause between two looks at a service that comes back.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a service may take to listen after the program of an attempt that was cut short has ended.
const SETTLE: Duration = Duration::from_secs(15);

/// How a service is restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restart {
    /// A program and its arguments, run without a shell. It must end when the restart is done or under way; a service
    /// that it leaves in the background should write its output elsewhere.
    Command(Vec<String>),
    /// `systemctl restart` of this unit.
    Systemd(String),
    /// These services of a Compose project, container by container.
    Compose(Compose),
}

/// What a restart carries out.
enum Means<'a> {
    Program(Vec<String>),
    Compose(&'a Compose),
}

impl std::fmt::Display for Means<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Program(argv) => f.write_str(&argv.join(" ")),
            Self::Compose(compose) => {
                write!(
                    f,
                    "docker compose -p {} restart {}",
                    compose.project,
                    compose.services.join(" ")
                )
            }
        }
    }
}

impl Restart {
    fn means(&self) -> Result<Means<'_>, RestartError> {
        match self {
            Self::Compose(compose) => Ok(Means::Compose(compose)),
            Self::Command(argv) => match argv.first() {
                Some(program) if !program.is_empty() => Ok(Means::Program(argv.clone())),
                _ => Err(RestartError::EmptyCommand),
            },
            Self::Systemd(unit) => {
                // The characters of systemd.unit(5).
                let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@');
                if unit.is_empty() || unit.len() > 255 || unit.starts_with('-') || !unit.chars().all(fits) {
                    return Err(RestartError::Unit { unit: unit.clone() });
                }
                let argv = ["systemctl", "--no-ask-password", "restart", "--", unit];
                Ok(Means::Program(argv.map(str::to_owned).to_vec()))
            }
        }
    }

    async fn life(&self, listener: Option<SocketAddr>) -> Option<Incarnation> {
        match (self, listener) {
            (Self::Systemd(unit), _) => Incarnation::of_unit(unit).await,
            (Self::Compose(compose), _) => compose.life().await,
            (Self::Command(_), Some(address)) => Incarnation::of_listener(address).await,
            (Self::Command(_), None) => None,
        }
    }
}

/// One restart.
#[derive(Debug, Clone)]
pub struct RestartOnce {
    /// How.
    pub restart: Restart,
    /// Folder for the marker, on a disk that outlives the worker; made with mode 0700.
    pub marker_dir: PathBuf,
    /// Names this restart: letters, digits, `-`, `_` and `.`. The same key is the same restart for ever, so it must
    /// name the migration, the step and the host.
    pub key: String,
    /// Bound of the program and of the service's coming back together.
    pub within: Duration,
    /// For [`Restart::Command`]: where the service listens on this machine, such as 127.0.0.1:7233. With it a new life
    /// is proven; without it only the program's exit status is known.
    pub listener: Option<SocketAddr>,
}

/// How a restart came to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restarted {
    /// By this call.
    Now {
        /// How long it took.
        took: Duration,
        /// Whether the service was seen in a new life; `false` when that cannot be known here.
        proven: bool,
    },
    /// By an earlier call, noted then.
    Before {
        /// When it was noted.
        at: Timestamp,
    },
    /// By an earlier call that was cut short: the service was found in a new life.
    Found,
}

/// A restart that did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestartError {
    /// The command has no program.
    #[error("restart.command is empty; write the program and its arguments, such as [systemctl, restart, temporal]")]
    EmptyCommand,
    /// Not the name of a unit.
    #[error(
        "restart.systemd: {unit:?} is not the name of a systemd unit; write it as systemctl shows it, such as temporal.service"
    )]
    Unit {
        /// What was given.
        unit: String,
    },
    /// Not usable as part of a file name.
    #[error("restart key {key:?} is not 1 to 128 letters, digits, '-', '_' or '.'")]
    Key {
        /// What was given.
        key: String,
    },
    /// The marker or its folder.
    #[error("restart marker {}: {source}; the worker needs to write there", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The marker is damaged.
    #[error("restart marker {} cannot be understood ({reason}); see whether the service was restarted, then remove it", path.display())]
    Marker {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another attempt is at work.
    #[error("another attempt at this restart still runs after {waited:?} (it holds {})", lock.display())]
    Busy {
        /// The lock.
        lock: PathBuf,
        /// How long we waited.
        waited: Duration,
    },
    /// The program could not be started.
    #[error("cannot run {program:?}: {source}; check that it is installed and on the PATH of the worker")]
    Start {
        /// The program.
        program: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The program said that it failed.
    #[error("`{command}` failed ({status}); it said (all of it in {}):\n{output}", log.display())]
    Failed {
        /// The program and its arguments.
        command: String,
        /// Exit status or signal.
        status: String,
        /// The end of its output.
        output: String,
        /// All of its output.
        log: PathBuf,
    },
    /// The program took too long and was killed with its process group.
    #[error("`{command}` did not end within {within:?} and was killed; it said (all of it in {}):\n{output}", log.display())]
    TimedOut {
        /// The program and its arguments.
        command: String,
        /// The bound.
        within: Duration,
        /// The end of its output.
        output: String,
        /// All of its output.
        log: PathBuf,
    },
    /// The program ended well, and the service is the old process.
    #[error("`{command}` ended well, but the service was not restarted: it still is {life}")]
    SameLife {
        /// The program and its arguments.
        command: String,
        /// The life of the service, before and after.
        life: Incarnation,
    },
    /// The program ended well, and the service is not there.
    #[error("`{command}` ended well, but the service did not come back within {within:?}{state}; see its log")]
    NotBack {
        /// The program and its arguments.
        command: String,
        /// The bound.
        within: Duration,
        /// What is known about it.
        state: String,
    },
    /// The containers.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// The task that did it ended with the program that runs it.
    #[error("the restart was interrupted; the marker says how far it came")]
    Interrupted,
}

impl RestartError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Busy { .. }
            | Self::Failed { .. }
            | Self::TimedOut { .. }
            | Self::NotBack { .. }
            | Self::Interrupted => true,
            Self::Compose(error) => error.is_transient(),
            _ => false,
        }
    }
}

/// Restarts a service, once for each key, however often it is called. See the module for what a later call does.
///
/// Dropping the future does not stop a restart that is under way: it goes on and notes its end.
///
/// # Errors
/// See [`RestartError`]. After an error the marker says `restarting`, and the next call restarts again.
pub async fn restart_once(order: RestartOnce) -> Result<Restarted, RestartError> {
    tokio::spawn(attempt(order))
        .await
        .map_err(|_| RestartError::Interrupted)?
}

/// Forgets a restart: removes its marker and log. Call it when no attempt can come any more.
///
/// # Errors
/// [`RestartError::File`] when they cannot be removed; [`RestartError::Key`].
pub fn forget(marker_dir: &Path, key: &str) -> Result<(), RestartError> {
    Files::new(marker_dir, key)?.remove()
}

async fn attempt(order: RestartOnce) -> Result<Restarted, RestartError> {
    let means = order.restart.means()?;
    let files = Files::new(&order.marker_dir, &order.key)?;
    let _lock = files.lock(order.within).await?;
    let mut marker = match files.read()? {
        Some(Marker {
            state: State::Done, at, ..
        }) => return Ok(Restarted::Before { at }),
        Some(marker) => {
            let now = match &marker.program {
                Some(program) => {
                    outlive(program, order.within).await;
                    settle(&order, marker.before.is_some()).await
                }
                None => order.restart.life(order.listener).await,
            };
            if let (Some(before), Some(now)) = (&marker.before, &now)
                && before.is_over(now)
            {
                files.note(&Marker {
                    state: State::Done,
                    at: Timestamp::now(),
                    program: None,
                    ..marker
                })?;
                return Ok(Restarted::Found);
            }
            marker
        }
        None => Marker {
            state: State::Restarting,
            at: Timestamp::now(),
            attempts: 0,
            before: order.restart.life(order.listener).await,
            program: None,
        },
    };
    marker.attempts += 1;
    marker.at = Timestamp::now();
    marker.program = None;
    files.note(&marker)?;
    let begun = Instant::now();
    match &means {
        Means::Program(argv) => execute(&order, argv, &files, &marker).await?,
        Means::Compose(compose) => compose.restart(marker.before.as_ref(), order.within).await?,
    }
    let left = order.within.saturating_sub(begun.elapsed());
    let proven = come_back(&order, &means, marker.before.as_ref(), left).await?;
    files.note(&Marker {
        state: State::Done,
        at: Timestamp::now(),
        program: None,
        ..marker
    })?;
    Ok(Restarted::Now {
        took: begun.elapsed(),
        proven,
    })
}

/// Waits for a program that an earlier attempt left behind; ends it when it takes too long.
async fn outlive(program: &Program, within: Duration) {
    let begun = Instant::now();
    while Incarnation::of_pid(program.pid).as_ref() == Some(&program.life) {
        if begun.elapsed() >= within {
            kill_group(program.pid).await;
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The life of the service; one that is expected may be on its way.
async fn settle(order: &RestartOnce, expected: bool) -> Option<Incarnation> {
    let begun = Instant::now();
    loop {
        let now = order.restart.life(order.listener).await;
        if now.is_some() || !expected || begun.elapsed() >= SETTLE {
            return now;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn execute(order: &RestartOnce, argv: &[String], files: &Files, marker: &Marker) -> Result<(), RestartError> {
    let program = argv.first().cloned().unwrap_or_default();
    let log = files.open_log()?;
    let mut command = Command::new(&program);
    command.args(&argv[1..]);
    let ended = run(command, &log, order.within, |pid| match Incarnation::of_pid(pid) {
        // Gone already: there is nothing to wait for after a crash of ours.
        None => Ok(()),
        Some(life) => files.write(&Marker {
            program: Some(Program { pid, life }),
            ..marker.clone()
        }),
    })
    .await
    .map_err(|source| RestartError::Start { program, source })?;
    match ended {
        Ended::Exited(status) if status.success() => Ok(()),
        Ended::Exited(status) => Err(RestartError::Failed {
            command: argv.join(" "),
            status: status.to_string(),
            output: tail(&log, TAIL),
            log: files.log.clone(),
        }),
        Ended::Killed => Err(RestartError::TimedOut {
            command: argv.join(" "),
            within: order.within,
            output: tail(&log, TAIL),
            log: files.log.clone(),
        }),
    }
}

/// Waits until the service has a life that is not `before`. `false` when no life can be seen here at all.
async fn come_back(
    order: &RestartOnce,
    means: &Means<'_>,
    before: Option<&Incarnation>,
    within: Duration,
) -> Result<bool, RestartError> {
    let observable = before.is_some() || order.listener.is_some() || !matches!(order.restart, Restart::Command(_));
    if !observable {
        return Ok(false);
    }
    let begun = Instant::now();
    loop {
        let now = order.restart.life(order.listener).await;
        let state = match &order.restart {
            Restart::Systemd(unit) => systemd::property(unit, "ActiveState").await.ok(),
            Restart::Command(_) | Restart::Compose(_) => None,
        };
        let up = matches!(state.as_deref(), None | Some("active" | "reloading"));
        let is_new = now
            .as_ref()
            .is_some_and(|now| before.is_none_or(|before| before.is_over(now)));
        if up && is_new {
            return Ok(true);
        }
        if state.as_deref() == Some("failed") || begun.elapsed() + PAUSE >= within {
            return match (now, before) {
                (Some(now), Some(before)) if !before.is_over(&now) => Err(RestartError::SameLife {
                    command: means.to_string(),
                    life: now,
                }),
                // Neither before nor now could a life be seen: it may be one of another user.
                (None, None) if state.is_none() => Ok(false),
                _ => Err(RestartError::NotBack {
                    command: means.to_string(),
                    within: order.within,
                    state: match (state, order.listener) {
                        (Some(state), _) => format!(" (systemd says {state})"),
                        (None, Some(address)) => format!(" (nobody listens on {address})"),
                        (None, None) => String::new(),
                    },
                }),
            };
        }
        tokio::time::sleep(PAUSE).await;
    }
}
