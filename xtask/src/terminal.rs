//! What people see: progress on stderr, facts on stdout.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use e2e::servers::progress::{Lines, Progress};
use indicatif::{ProgressBar, ProgressStyle};

/// Progress as it suits standard error: a spinner on a terminal, plain lines elsewhere.
pub(crate) fn progress() -> Box<dyn Progress> {
    if std::io::stderr().is_terminal() {
        Box::new(Spinner::default())
    } else {
        Box::new(Lines::default())
    }
}

/// Writes `text` as one line to standard output, where facts go.
pub(crate) fn fact(text: &str) {
    // A closed pipe (`| head`) is the reader's choice, not a failure.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Writes `text` as one line to standard error, where everything else goes.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes an error with its causes to standard error.
pub(crate) fn error(error: &anyhow::Error) {
    note(&format!("error: {error:#}"));
}

/// One spinner for the step that runs now.
#[derive(Default)]
struct Spinner {
    current: Mutex<Option<ProgressBar>>,
}

impl Progress for Spinner {
    fn started(&self, step: &str) {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} ({elapsed}) {wide_msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(step.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        if let Ok(mut current) = self.current.lock() {
            *current = Some(bar);
        }
    }

    fn detail(&self, text: &str) {
        if let Ok(current) = self.current.lock()
            && let Some(bar) = current.as_ref()
        {
            bar.set_message(text.to_owned());
        }
    }

    fn finished(&self, outcome: &str) {
        if let Ok(mut current) = self.current.lock()
            && let Some(bar) = current.take()
        {
            bar.finish_and_clear();
        }
        note(outcome);
    }
}
