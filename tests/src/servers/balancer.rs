//! What spreads clients over several frontends: a load balancer of TCP connections, as small as they come.
//!
//! Connections go round; one that a frontend does not take goes to the next. It knows nothing of gRPC and asks nobody for
//! their health: clients see as much of a restart as the plainest load balancer lets through.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How long a backend may take to take a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// A running balancer; it ends when it is dropped, connections under way with it.
#[derive(Debug)]
pub struct Balancer {
    backends: Arc<Vec<Backend>>,
    task: JoinHandle<()>,
}

/// One of those behind it.
#[derive(Debug)]
struct Backend {
    port: u16,
    taken: AtomicUsize,
}

impl Balancer {
    /// Listens on `port` of 127.0.0.1 and spreads what comes over `backends`, ports there too.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn listen(port: u16, backends: Vec<u16>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .with_context(|| format!("cannot listen on port {port}"))?;
        let backends: Arc<Vec<Backend>> = Arc::new(
            backends
                .into_iter()
                .map(|port| Backend {
                    port,
                    taken: AtomicUsize::new(0),
                })
                .collect(),
        );
        let behind = Arc::clone(&backends);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for turn in 0.. {
                let Ok((client, _)) = listener.accept().await else {
                    continue;
                };
                let behind = Arc::clone(&behind);
                connections.spawn(async move { carry(client, &behind, turn).await });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { backends, task })
    }

    /// How many connections each backend has taken, by its port.
    #[must_use]
    pub fn taken(&self) -> Vec<(u16, usize)> {
        self.backends
            .iter()
            .map(|backend| (backend.port, backend.taken.load(Ordering::Relaxed)))
            .collect()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries a connection to the backend whose turn it is, or to the next one that takes it.
async fn carry(mut client: TcpStream, backends: &[Backend], turn: usize) {
    for step in 0..backends.len() {
        let backend = &backends[(turn + step) % backends.len()];
        let connected = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(("127.0.0.1", backend.port))).await;
        if let Ok(Ok(mut server)) = connected {
            backend.taken.fetch_add(1, Ordering::Relaxed);
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            // However it ends, both sides see their connection closed.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::servers::ports::free_ports;

    async fn answers(port: u16, with: u8) -> JoinHandle<()> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                client.write_all(&[with]).await.unwrap();
            }
        })
    }

    async fn asked(port: u16) -> u8 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.read_u8().await.unwrap()
    }

    #[tokio::test]
    async fn connections_go_round_and_past_one_that_is_down() {
        let ports = free_ports(3).unwrap();
        let (_one, two) = (answers(ports[1], 1).await, answers(ports[2], 2).await);
        let balancer = Balancer::listen(ports[0], vec![ports[1], ports[2]]).await.unwrap();
        let mut seen = [asked(ports[0]).await, asked(ports[0]).await];
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
        two.abort();
        let _ = two.await;
        assert_eq!([asked(ports[0]).await, asked(ports[0]).await], [1, 1]);
        assert_eq!(balancer.taken(), [(ports[1], 3), (ports[2], 1)]);
    }
}
