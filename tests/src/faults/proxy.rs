//! A TCP proxy in front of a server, which cuts connections or slows them down when it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How connections fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As if the proxy were not there.
    Open,
    /// Those that there are end, and new ones are closed at once.
    Cut,
    /// Each piece of up to 16 KiB is held back for so long, in each direction.
    Slow(Duration),
}

/// A proxy on 127.0.0.1. It serves until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    server: Arc<Mutex<String>>,
    way: watch::Sender<Way>,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// Stands in front of `server` (`host:port`).
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn to(server: &str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no free port")?;
        let address = listener.local_addr()?;
        let (way, told) = watch::channel(Way::Open);
        let server = Arc::new(Mutex::new(server.to_owned()));
        let behind = Arc::clone(&server);
        let serving = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (told, server) = (
                    told.clone(),
                    behind.lock().unwrap_or_else(PoisonError::into_inner).clone(),
                );
                tokio::spawn(async move {
                    if *told.borrow() == Way::Cut {
                        return;
                    }
                    // What cannot be reached is seen by whoever connected as a connection that closes.
                    if let Ok(far) = TcpStream::connect(&server).await {
                        join(near, far, told).await;
                    }
                });
            }
        });
        Ok(Self {
            address,
            server,
            way,
            serving,
        })
    }

    /// Where to connect to, `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Stands in front of another server from now on; connections that there are stay with theirs.
    pub fn lead_to(&self, server: &str) {
        server.clone_into(&mut self.server.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// From now on connections fare so.
    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
        self.way.send_replace(Way::Cut);
    }
}

/// Carries both directions until one of them ends or the connection is cut.
async fn join(near: TcpStream, far: TcpStream, told: watch::Receiver<Way>) {
    let _ = near.set_nodelay(true).and(far.set_nodelay(true));
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    let mut cut = told.clone();
    let until_cut = async move {
        // A sender that is gone is a proxy that is gone.
        let _ = cut.wait_for(|way| *way == Way::Cut).await;
    };
    tokio::select! {
        () = carry(from_near, to_far, told.clone()) => {}
        () = carry(from_far, to_near, told) => {}
        () = until_cut => {}
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, told: watch::Receiver<Way>) {
    let mut piece = vec![0; 1 << 14];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        let way = *told.borrow();
        if let Way::Slow(by) = way {
            tokio::time::sleep(by).await;
        }
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    async fn echo() -> Result<String> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?.to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        Ok(address)
    }

    async fn asked(stream: &mut TcpStream) -> std::io::Result<Duration> {
        let began = Instant::now();
        stream.write_all(b"there?").await?;
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"there?");
        Ok(began.elapsed())
    }

    #[tokio::test]
    async fn connections_are_carried_slowed_and_cut() -> Result<()> {
        let proxy = Proxy::to(&echo().await?).await?;
        let mut stream = TcpStream::connect(proxy.address()).await?;
        asked(&mut stream).await?;
        proxy.set(Way::Slow(Duration::from_millis(100)));
        assert!(asked(&mut stream).await? >= Duration::from_millis(200));
        proxy.set(Way::Cut);
        assert!(asked(&mut stream).await.is_err());
        let mut refused = TcpStream::connect(proxy.address()).await?;
        assert!(asked(&mut refused).await.is_err());
        proxy.set(Way::Open);
        asked(&mut TcpStream::connect(proxy.address()).await?).await?;
        Ok(())
    }
}
