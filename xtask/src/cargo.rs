//! The cargo that runs this program, for what it builds and tests.

use std::process::Command;

/// That cargo, or the one on `PATH`.
pub(crate) fn command() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
