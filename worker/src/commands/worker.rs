//! `crossfade worker`: the process that carries migrations out.

use crate::{
    cli::{Global, Worker},
    exit::{Exit, Failure, Outcome},
    serve,
};

pub(super) async fn run(global: &Global, args: Worker) -> Outcome {
    let shutdown = shutdown().map_err(|error| Failure::failed(format!("signals cannot be handled: {error}")))?;
    let options = serve::Options {
        connection: global.connection.clone(),
        hosts: args.hosts,
    };
    serve::run(options, shutdown).await?;
    Ok(Exit::Done)
}

/// Ends with the first SIGTERM or SIGINT.
fn shutdown() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: what is under way goes on elsewhere, or here after the next start");
    })
}
