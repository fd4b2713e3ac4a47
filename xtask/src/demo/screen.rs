//! What people watch, all of it on stderr: lines that stay, and below them a line and a bar that move.

use std::io::IsTerminal;
use std::time::Duration;

use console::style;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::words::span;
use crate::terminal;

/// The width of the first column.
const COLUMN: usize = 16;

/// Where the story is shown.
pub(super) struct Screen {
    live: Option<Live>,
}

/// The moving part, on a terminal.
struct Live {
    all: MultiProgress,
    line: ProgressBar,
    bar: ProgressBar,
}

impl Screen {
    /// A screen with nothing on it.
    pub(super) fn new() -> Self {
        let live = std::io::stderr().is_terminal().then(|| {
            let bar = |template: &str| ProgressBar::new(0).with_style(look(template));
            Live {
                all: MultiProgress::new(),
                line: bar("{spinner:.cyan} {wide_msg}"),
                bar: bar("  {prefix:14} [{bar:32.cyan/blue}] {human_pos}/{human_len} {msg}"),
            }
        });
        Self { live }
    }

    /// A line that stays: something is so now.
    pub(super) fn step(&self, what: &str, text: &str) {
        self.line(&format!("{} {:COLUMN$} {text}", style("·").for_stderr().dim(), what));
    }

    /// A line that stays: something was done, and how long it took.
    pub(super) fn done(&self, what: &str, text: &str, took: Duration) {
        self.line(&format!(
            "{} {:COLUMN$} {text} {}",
            style("✓").for_stderr().green(),
            what,
            style(format!("({})", span(took))).for_stderr().dim()
        ));
    }

    /// A line that stays: people should see this.
    pub(super) fn call(&self, what: &str, text: &str) {
        self.line(&format!(
            "{} {} {text}",
            style("→").for_stderr().yellow(),
            style(format!("{what:COLUMN$}")).for_stderr().yellow().bold()
        ));
    }

    /// A line that stays: a new part begins.
    pub(super) fn heading(&self, text: &str) {
        self.line("");
        self.line(&style(text).for_stderr().bold().underlined().to_string());
    }

    /// A command that is typed now, or that somebody should type.
    pub(super) fn command(&self, command: &str) {
        self.line(&format!(
            "  {} {}",
            style("$").for_stderr().dim(),
            style(command).for_stderr().cyan()
        ));
    }

    /// A line that stays, as it is.
    pub(super) fn line(&self, text: &str) {
        let Some(live) = &self.live else {
            return terminal::note(text);
        };
        if live.all.println(text).is_err() {
            terminal::note(text);
        }
    }

    /// What goes on right now.
    pub(super) fn now(&self, text: &str) {
        let Some(live) = &self.live else { return };
        if live.line.is_finished() || live.line.message().is_empty() {
            live.line.reset();
            live.all.insert(0, live.line.clone());
            live.line.enable_steady_tick(Duration::from_millis(100));
        }
        live.line.set_message(text.to_owned());
    }

    /// How far something is: a bar below the line.
    pub(super) fn bar(&self, what: &str, done: u64, all: u64, text: &str) {
        let Some(live) = &self.live else { return };
        if live.bar.is_finished() || live.bar.length() == Some(0) {
            live.bar.reset();
            live.all.add(live.bar.clone());
        }
        live.bar.set_prefix(what.to_owned());
        live.bar.set_length(all.max(done).max(1));
        live.bar.set_position(done);
        live.bar.set_message(text.to_owned());
    }

    /// Takes the bar away.
    pub(super) fn no_bar(&self) {
        if let Some(live) = &self.live {
            live.bar.finish_and_clear();
        }
    }

    /// Takes the moving part away.
    pub(super) fn clear(&self) {
        if let Some(live) = &self.live {
            live.bar.finish_and_clear();
            live.line.finish_and_clear();
        }
    }
}

/// A bar's look. The templates are constants, so the plain look stands in only if one of them has a slip.
fn look(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .map_or_else(|_| ProgressStyle::default_bar(), |style| style.progress_chars("=> "))
}
