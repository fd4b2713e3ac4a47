//! Ctrl-C, and a request to end: once to clean up and go, twice to go at once.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// The exit status of a program ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Whether somebody wants this to end.
pub(super) struct Interrupt {
    asked: watch::Receiver<bool>,
}

impl Interrupt {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the system does not let us.
    pub(super) fn listen() -> Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let (tell, asked) = watch::channel(false);
        tokio::spawn(async move {
            for last in [false, true] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if last {
                    // The testbed's watch kills what is left running.
                    std::process::exit(INTERRUPTED);
                }
                if tell.send(true).is_err() {
                    return;
                }
            }
        });
        Ok(Self { asked })
    }

    /// Ends when somebody has asked.
    pub(super) async fn asked(&mut self) {
        if self.asked.wait_for(|asked| *asked).await.is_err() {
            // Nobody can ask any more.
            std::future::pending::<()>().await;
        }
    }
}
