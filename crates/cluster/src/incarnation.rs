//! Which life of a service is running: two observations differ when it was restarted in between.
//!
//! Temporal itself cannot tell. DescribeCluster has addresses only; ListClusterMembers has start times, and 1.30.8
//! refuses it without the host id that one would learn from it (service/frontend/admin_handler.go, the nil UUID is not
//! accepted); DescribeHistoryHost has addresses. So the machine is asked.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::systemd;

/// One life of a process or unit, or the lives of several containers together. Equal values are the same life; never
/// parse it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(String);

impl std::fmt::Display for Incarnation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Incarnation {
    /// The process that listens on a TCP address of this machine.
    ///
    /// `None` when nobody listens, or when it cannot be known: not Linux, a process of another user without root,
    /// another network or process namespace.
    pub async fn of_listener(address: SocketAddr) -> Option<Self> {
        tokio::task::spawn_blocking(move || {
            let inodes = listening_inodes(address);
            if inodes.is_empty() {
                None
            } else {
                holder_of(&inodes).and_then(of_process)
            }
        })
        .await
        .ok()
        .flatten()
    }

    /// The present run of a systemd unit: its invocation id, new at each start (systemd.exec(5), INVOCATION_ID).
    /// `None` when the unit never ran or systemd cannot be asked.
    pub async fn of_unit(unit: &str) -> Option<Self> {
        let id = systemd::property(unit, "InvocationID").await.ok()?;
        (!id.is_empty()).then(|| Self(format!("invocation {id}")))
    }

    /// One run of a container: it keeps its id when it is restarted.
    pub(crate) fn of_container(id: &str, started: &str) -> Self {
        Self(format!("container {id} started {started}"))
    }

    /// Several lives as one; `None` when there is none.
    pub(crate) fn of_several(lives: impl IntoIterator<Item = Self>) -> Option<Self> {
        let lives: Vec<String> = lives.into_iter().map(|life| life.0).collect();
        (!lives.is_empty()).then(|| Self(lives.join(TOGETHER)))
    }

    /// Whether nothing of this life goes on in another observation. Of several containers each must have a new one.
    pub(crate) fn is_over(&self, now: &Self) -> bool {
        !self
            .0
            .split(TOGETHER)
            .any(|life| now.0.split(TOGETHER).any(|new| new == life))
    }

    /// A process of this machine by its id; `None` when there is none.
    pub(crate) fn of_pid(pid: u32) -> Option<Self> {
        of_process(pid)
    }
}

/// Between the lives of several containers.
const TOGETHER: &str = ", ";

/// A process id is used again some day, its start time with it never within one boot.
fn of_process(pid: u32) -> Option<Incarnation> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a file name in brackets and may hold anything; the fields are counted from its end.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // A dead process that nobody has waited for is not alive.
    if fields.first() == Some(&"Z") {
        return None;
    }
    let started = fields.get(19)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(Incarnation(format!(
        "process {pid} started {started} boot {}",
        boot.trim()
    )))
}

fn listening_inodes(address: SocketAddr) -> Vec<u64> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| {
            table
                .lines()
                .skip(1)
                .filter_map(|line| listening(line, address))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The inode of a line of /proc/net/tcp when it is a listener that answers for `address`.
fn listening(line: &str, address: SocketAddr) -> Option<u64> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (host, port) = fields.get(1)?.split_once(':')?;
    if *fields.get(3)? != LISTEN || u16::from_str_radix(port, 16).ok()? != address.port() {
        return None;
    }
    let host = parse_host(host)?;
    let answers = host.is_unspecified() || host.to_canonical() == address.ip().to_canonical();
    if answers { fields.get(9)?.parse().ok() } else { None }
}

/// The kernel prints each 32-bit word of an address in the machine's own byte order.
fn parse_host(hex: &str) -> Option<IpAddr> {
    let words: Vec<[u8; 4]> = hex
        .as_bytes()
        .chunks(8)
        .map(|word| {
            std::str::from_utf8(word)
                .ok()
                .and_then(|w| u32::from_str_radix(w, 16).ok())
                .map(u32::to_ne_bytes)
        })
        .collect::<Option<_>>()?;
    match words.as_slice() {
        [v4] => Some(Ipv4Addr::from(*v4).into()),
        [_, _, _, _] => Some(Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?).into()),
        _ => None,
    }
}

/// The process that has one of these sockets open.
fn holder_of(inodes: &[u64]) -> Option<u32> {
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let mut pids: Vec<u32> = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect();
    // A child that inherited the socket has a higher id as a rule; the oldest is the server.
    pids.sort_unstable();
    pids.into_iter()
        .find(|pid| has_open(Path::new(&format!("/proc/{pid}/fd")), &wanted))
}

fn has_open(descriptors: &Path, wanted: &[String]) -> bool {
    let Ok(entries) = fs::read_dir(descriptors) else {
        return false;
    };
    entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|target| target.to_str().is_some_and(|t| wanted.iter().any(|w| w == t)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_is_found_and_its_end_seen() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        let life = Incarnation::of_listener(address).await.expect("this process listens");
        assert_eq!(Some(life), of_process(std::process::id()));
        drop(listener);
        assert_eq!(Incarnation::of_listener(address).await, None);
    }

    #[tokio::test]
    async fn a_listener_on_all_addresses_answers_for_one() {
        let listener = std::net::TcpListener::bind("[::]:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        assert!(
            Incarnation::of_listener(SocketAddr::from(([127, 0, 0, 1], port)))
                .await
                .is_some()
        );
    }

    #[test]
    fn addresses_of_the_kernel_are_read() {
        if cfg!(target_endian = "little") {
            assert_eq!(parse_host("0100007F"), Some(Ipv4Addr::LOCALHOST.into()));
            assert_eq!(
                parse_host("00000000000000000000000001000000"),
                Some(Ipv6Addr::LOCALHOST.into())
            );
        }
        assert_eq!(parse_host("xyz"), None);
        assert_eq!(of_process(u32::MAX), None);
    }
}
