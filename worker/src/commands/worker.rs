//! `crossfade worker`: the process that carries migrations out.

use crate::{
    cli::{Global, Worker},
    connection::{ConnectError, Settings},
    exit::{Exit, Failure, Outcome},
    migration::AskError,
    serve,
};

pub(super) async fn run(global: &Global, args: Worker) -> Outcome {
    let shutdown = shutdown().map_err(|error| Failure::failed(format!("signals cannot be handled: {error}")))?;
    refuse_an_unknown_namespace(&global.connection).await?;
    let options = serve::Options {
        connection: global.connection.clone(),
        hosts: args.hosts,
        metrics: args.metrics,
    };
    serve::run(options, shutdown).await?;
    Ok(Exit::Done)
}

/// A mistyped Namespace is told at once; a server that does not answer yet is waited for.
async fn refuse_an_unknown_namespace(settings: &Settings) -> Result<(), Failure> {
    match settings.connect().await {
        Ok(connected) if connected.has_namespace().await == Some(false) => {
            Err(AskError::NoNamespace(connected.place).into())
        }
        Err(error @ ConnectError::Settings(_)) => Err(error.into()),
        _ => Ok(()),
    }
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
