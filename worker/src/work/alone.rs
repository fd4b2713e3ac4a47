//! One worker at a host at a time: whoever changes its files or restarts its services holds the lock beside its config.

use std::{io, path::Path, time::Duration};

use crossfade_cluster::host_lock::{self, HostLock, HostLockError};
use crossfade_plan::{
    problem::{Code, Problem},
    spec::Host,
};

use super::{beat::Beat, kept_orders, pods};

/// How long an attempt waits for another worker; then it is the server's to try again, and the operator sees who is there.
const WITHIN: Duration = Duration::from_secs(20);

/// Waits until no other process is at the host. `None` for one in Kubernetes, which has no disk that all of its workers see:
/// there each write is of a version that the object still has, and a rollout's mark keeps a second one from beginning.
///
/// # Errors
/// When one is still there after [`WITHIN`], named, which is tried again; or when the lock cannot be made.
pub(crate) async fn at(host: &Host, beat: &Beat) -> Result<Option<HostLock>, Problem> {
    if pods::of(host).is_some() {
        return Ok(None);
    }
    within(host, beat, WITHIN).await.map(Some)
}

async fn within(host: &Host, beat: &Beat, within: Duration) -> Result<HostLock, Problem> {
    let folder = kept_orders::folder_of(Path::new(&host.config));
    let waiting = |owner: &str| {
        let name = &host.name;
        tracing::warn!(%owner, host = %name, "another worker is at this host; waiting for it");
        beat.doing(format!("{name}: waiting for another worker: {owner}"));
    };
    host_lock::hold(&folder, &host.name, within, waiting)
        .await
        .map_err(|error| problem(&error).at(format!("host {}", host.name)))
}

fn problem(error: &HostLockError) -> Problem {
    match error {
        HostLockError::File { source, .. } => {
            let problem = Problem::new(Code::ConfigUnwritable, error.to_string());
            match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    problem.remedy("make room on the disk that the file is on, then `resume`; nothing was changed")
                }
                _ => problem,
            }
        }
        _ => Problem::new(Code::HostBusy, error.to_string()),
    }
}
