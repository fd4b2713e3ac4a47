//! A unit of systemd, as `systemctl` tells of it.

use std::io;
use std::time::Duration;

use tokio::process::Command;

/// The longest that one answer may take.
const WITHIN: Duration = Duration::from_secs(5);

/// Why a unit could not be restarted here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnitError {
    /// systemd has no such unit, or does not run it.
    #[error(
        "restart.systemd: systemd on this machine does not run the unit `{unit}` (LoadState={state}); `systemctl status {unit}` \
         tells more"
    )]
    NotLoaded {
        /// The unit.
        unit: String,
        /// Its LoadState, such as `not-found`, `masked` or `bad-setting` (systemctl(1)).
        state: String,
    },
    /// Nobody can be asked.
    #[error(
        "restart.systemd: systemd cannot be asked about the unit `{unit}`: {reason}; the worker has to run on the machine whose \
         systemd runs it, outside of containers"
    )]
    NoSystemd {
        /// The unit.
        unit: String,
        /// What `systemctl` said, or why it could not be run.
        reason: String,
    },
}

/// Whether systemd runs this unit, so that it could be restarted. Nothing is changed.
///
/// # Errors
/// It does not, or does not tell.
pub async fn check(unit: &str) -> Result<(), UnitError> {
    match property(unit, "LoadState").await.as_deref() {
        Ok("loaded") => Ok(()),
        Ok(state) => Err(UnitError::NotLoaded {
            unit: unit.to_owned(),
            state: state.to_owned(),
        }),
        Err(reason) => Err(UnitError::NoSystemd {
            unit: unit.to_owned(),
            reason: reason.clone(),
        }),
    }
}

/// One property of a unit, as `systemctl show` prints it; or why it does not.
pub(crate) async fn property(unit: &str, property: &str) -> Result<String, String> {
    let output = Command::new("systemctl")
        .args([
            "show",
            "--no-pager",
            "--value",
            &format!("--property={property}"),
            "--",
            unit,
        ])
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(WITHIN, output)
        .await
        .map_err(|_| format!("`systemctl show` gave no answer within {} s", WITHIN.as_secs()))?
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "there is no `systemctl` here".to_owned(),
            _ => format!("`systemctl` cannot be run: {error}"),
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().replace('\n', " "))
}
