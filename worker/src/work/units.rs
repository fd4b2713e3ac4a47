//! Hosts whose server is a unit of systemd: whether there is such a unit on the worker's machine.

use crossfade_cluster::systemd;
use crossfade_plan::{
    problem::{Code, Problem},
    spec::{Host, Restart},
};

/// Why this host's unit could not be restarted from here; nothing for a host that is restarted in another way.
pub(crate) async fn unfit(host: &Host) -> Option<Problem> {
    let Restart::Systemd(name) = &host.restart else {
        return None;
    };
    let error = systemd::check(name).await.err()?;
    Some(Problem::new(Code::RestartFailed, error.to_string()).at(format!("host {}", host.name)))
}
