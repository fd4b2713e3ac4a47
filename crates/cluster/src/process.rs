//! Runs a program of somebody else, bounded in time, its output kept in a file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

/// How much of the end of an output goes into an error, in bytes.
pub(crate) const TAIL: u64 = 2048;

/// How long a process group has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// How a program ended.
pub(crate) enum Ended {
    /// By itself.
    Exited(ExitStatus),
    /// By us, with its whole process group, because its time was over.
    Killed,
}

/// Runs `command` as the leader of a process group of its own, with both outputs into `output`.
///
/// The output goes to a file and not through a pipe: a server that the program leaves behind keeps its outputs, and
/// with a pipe it would die of SIGPIPE when we are gone, or keep us waiting for the end of its output.
/// When the future is dropped the program goes on. `started` is told the process id.
pub(crate) async fn run(
    mut command: Command,
    output: &File,
    within: Duration,
    started: impl FnOnce(u32) -> std::io::Result<()>,
) -> std::io::Result<Ended> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::from(output.try_clone()?))
        .stderr(Stdio::from(output.try_clone()?))
        .process_group(0);
    let mut child = command.spawn()?;
    let pid = child.id();
    let told = pid.map_or(Ok(()), started);
    let ended = match tokio::time::timeout(within, child.wait()).await {
        Ok(status) => Ended::Exited(status?),
        Err(_) => {
            if let Some(pid) = pid {
                kill_group(pid).await;
            }
            child.wait().await?;
            Ended::Killed
        }
    };
    told.map(|()| ended)
}

/// Ends a process group: asks, then forces. One that is gone is fine.
pub(crate) async fn kill_group(leader: u32) {
    let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) else {
        return;
    };
    if kill_process_group(group, Signal::TERM).is_err() {
        return;
    }
    let asked = Instant::now();
    while asked.elapsed() < GRACE {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if rustix::process::test_kill_process_group(group).is_err() {
            return;
        }
    }
    let _ = kill_process_group(group, Signal::KILL);
}

/// The last bytes of an output, as text.
pub(crate) fn tail(output: &File, bytes: u64) -> String {
    let limit = bytes;
    let read = || -> std::io::Result<String> {
        let mut file = output.try_clone()?;
        let length = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(length.saturating_sub(limit)))?;
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    match read() {
        Ok(text) if text.is_empty() => "(no output)".to_owned(),
        Ok(text) => text,
        Err(error) => format!("(its output cannot be read: {error})"),
    }
}
