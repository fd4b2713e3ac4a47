//! What a long preparation tells whoever waits for it.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;

/// Receives the steps of a preparation: how they are shown is the caller's affair.
pub trait Progress: Send + Sync {
    /// A step began, such as `building temporal-server 1.30.8`.
    fn started(&self, step: &str);
    /// Where the current step is now; may come hundreds of times a second.
    fn detail(&self, text: &str);
    /// The current step ended well.
    fn finished(&self, outcome: &str);
}

/// One line on stderr as each step begins and ends, for tests and logs.
///
/// Details are shown only on a terminal, and only one a second: a log with every compiled package in it helps nobody.
#[derive(Debug, Default)]
pub struct Lines {
    last: Mutex<Option<std::time::Instant>>,
}

impl Progress for Lines {
    fn started(&self, step: &str) {
        line(step);
    }

    fn detail(&self, text: &str) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let Ok(mut last) = self.last.lock() else { return };
        if last.is_none_or(|at| at.elapsed().as_secs() >= 1) {
            *last = Some(std::time::Instant::now());
            line(&format!("  {text}"));
        }
    }

    fn finished(&self, outcome: &str) {
        line(outcome);
    }
}

/// Writes one line to stderr; a closed stderr is no reason to fail a preparation.
fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
