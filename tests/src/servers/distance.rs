//! A server that is far away: a TCP proxy that holds everything back for a while and slows nothing down.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Pieces of up to 64 KiB under way in one direction of one connection.
const UNDER_WAY: usize = 1_024;

/// A proxy on 127.0.0.1. It serves until it is dropped.
#[derive(Debug)]
pub struct Distance {
    address: SocketAddr,
    one_way: watch::Sender<Duration>,
    serving: tokio::task::JoinHandle<()>,
}

impl Distance {
    /// Puts `one_way` between whoever connects here and `server` (`host:port`), in each direction.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn to(server: String, one_way: Duration) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no free port")?;
        let address = listener.local_addr()?;
        let (one_way, told) = watch::channel(one_way);
        let serving = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                // What cannot be reached is seen by whoever connected as a connection that closes.
                let Ok(far) = TcpStream::connect(&server).await else {
                    continue;
                };
                // Small messages must not wait for each other here: all of the delay is ours.
                if near.set_nodelay(true).and(far.set_nodelay(true)).is_err() {
                    continue;
                }
                let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
                tokio::spawn(carry(from_near, to_far, told.clone()));
                tokio::spawn(carry(from_far, to_near, told.clone()));
            }
        });
        Ok(Self {
            address,
            one_way,
            serving,
        })
    }

    /// Where to connect to, `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on whatever is sent takes so long, in connections that there are as well.
    pub fn set(&self, one_way: Duration) {
        self.one_way.send_replace(one_way);
    }
}

impl Drop for Distance {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Carries one direction of one connection until either side ends it.
async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    told: watch::Receiver<Duration>,
) {
    let (sent, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let sending = async move {
        loop {
            let mut piece = vec![0; 1 << 16];
            let read = from.read(&mut piece).await.unwrap_or(0);
            piece.truncate(read);
            let one_way = *told.borrow();
            if read == 0 || sent.send((Instant::now() + one_way, piece)).await.is_err() {
                return;
            }
        }
    };
    let receiving = async move {
        while let Some((due, piece)) = arriving.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(sending, receiving);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_comes_through_and_late() {
        let echo = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let store = echo.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut connection, _) = echo.accept().await.unwrap();
            let (mut from, mut to) = connection.split();
            tokio::io::copy(&mut from, &mut to).await.unwrap();
        });
        let one_way = Duration::from_millis(40);
        let distance = Distance::to(store, Duration::ZERO).await.unwrap();
        distance.set(one_way);
        let mut connection = TcpStream::connect(distance.address()).await.unwrap();
        let said: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
        let begun = Instant::now();
        let (mut from, mut to) = connection.split();
        let mut heard = vec![0; said.len()];
        let (written, read) = tokio::join!(to.write_all(&said), from.read_exact(&mut heard));
        written.unwrap();
        read.unwrap();
        assert!(heard == said, "other bytes came back");
        let took = begun.elapsed();
        assert!(took >= 2 * one_way, "{took:?}");
        // Pieces are under way together: it is one delay each way, not one for each piece.
        assert!(took < 10 * one_way, "{took:?}");
    }
}
