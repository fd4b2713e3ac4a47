//! Free ports for servers that will be stopped and started again on them.

use std::net::TcpListener;

use anyhow::{Result, bail};

/// Where the search goes: below the range from which systems take ports for outgoing connections (Linux: 32768 up).
///
/// A port from that range could be taken by some client's connection while the server that owns it restarts.
const RANGE: std::ops::Range<u16> = 12_000..32_000;

/// Returns `count` different ports on 127.0.0.1 that nobody listens on now.
///
/// # Errors
/// When no such set is found, which means a machine with no free ports at all.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    // Two test runs on one machine begin their search in different places.
    let start = u16::from_be_bytes([uuid::Uuid::new_v4().as_bytes()[0], uuid::Uuid::new_v4().as_bytes()[1]]);
    let span = RANGE.end - RANGE.start;
    // The listeners stay open until the whole set is there, so that no port is returned twice.
    let mut listeners = Vec::new();
    for step in 0..span {
        if listeners.len() == count {
            break;
        }
        let port = RANGE.start + (start % span + step) % span;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            listeners.push(listener);
        }
    }
    if listeners.len() < count {
        bail!(
            "found {} free ports on 127.0.0.1 between {} and {}, {count} are needed",
            listeners.len(),
            RANGE.start,
            RANGE.end
        );
    }
    listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn ports_are_free_and_different() {
        let mut ports = super::free_ports(12).unwrap();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 12);
        for port in ports {
            std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        }
    }
}
