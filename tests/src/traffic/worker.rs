//! A worker for the testbed's own workflows, on a thread of its own.

use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use temporalio_common::WorkflowDefinition;
use temporalio_sdk::{Runtime, Worker, WorkerOptions};
use temporalio_workflow::workflows::WorkflowImplementation;
use tokio::sync::oneshot;

use crate::servers::temporal::connect;

/// A running worker; stopped when dropped.
pub(crate) struct TestWorker {
    // Closing the channel is the message.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestWorker {
    /// Starts a worker of workflow `W` for `task_queue`. It starts again by itself when the cluster was away for too long.
    pub(crate) fn start<W>(frontend: &str, namespace: &str, task_queue: &str) -> Result<Self>
    where
        W: WorkflowImplementation,
        <W::Run as WorkflowDefinition>::Input: Send,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("cannot make a runtime for a worker")?;
        let (stop, mut stopped) = oneshot::channel();
        let place = [frontend, namespace, task_queue].map(str::to_owned);
        // A worker's future stays on its thread: workflows are not `Send`.
        let thread = std::thread::Builder::new()
            .name(task_queue.to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    loop {
                        // Dropped where it is when told to stop: its polls would otherwise be waited for, up to a minute.
                        tokio::select! {
                            _ = &mut stopped => return,
                            ended = run_once::<W>(&place) => {
                                tracing::debug!(?ended, "a worker of the testbed ended and starts again");
                            }
                        }
                        tokio::select! {
                            _ = &mut stopped => return,
                            () = tokio::time::sleep(Duration::from_millis(300)) => {}
                        }
                    }
                });
                runtime.shutdown_background();
            })
            .context("cannot start the thread of a worker")?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for TestWorker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn run_once<W>([frontend, namespace, task_queue]: &[String; 3]) -> Result<()>
where
    W: WorkflowImplementation,
    <W::Run as WorkflowDefinition>::Input: Send,
{
    let client = connect(frontend, namespace).await?;
    let runtime = Runtime::from_current_tokio(Default::default())?;
    let options = WorkerOptions::new(task_queue.clone()).register_workflow::<W>()?.build();
    Worker::new(&runtime, client, options)?.run().await?;
    Ok(())
}
