//! Time on processors of servers that somebody else started: what a machine that others share does not change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result};

/// Ticks of `/proc/PID/stat` in a second: Linux has promised a hundred to programs for as long as there were others.
pub(crate) const TICKS: f64 = 100.0;

/// A process's line in `/proc/PID/stat`, as far as it matters here.
struct Stat {
    parent: u32,
    /// Its own ticks, and those of its children that have ended.
    ticks: u64,
}

/// A server on this machine.
pub(crate) struct Server {
    process: u32,
}

impl Server {
    /// The server that listens at a port of this machine; `None` where it is not one of the processes that we may see.
    ///
    /// # Errors
    /// Where there is no `/proc`.
    pub(super) fn at(port: u16) -> Result<Option<Self>> {
        let sockets = listening(port)?;
        let holds = |process: &u32| {
            let files = fs::read_dir(format!("/proc/{process}/fd"))
                .into_iter()
                .flatten()
                .flatten();
            let mut links = files.filter_map(|file| fs::read_link(file.path()).ok());
            links.any(|link| sockets.contains(&link.to_string_lossy().into_owned()))
        };
        let stats = stats()?;
        // A child has its parent's sockets: the server is the one whose parent has not.
        let holders: BTreeSet<u32> = stats.keys().copied().filter(holds).collect();
        let first = holders.iter().find(|holder| !holders.contains(&stats[holder].parent));
        Ok(first.map(|process| Self { process: *process }))
    }

    /// Seconds on processors so far, with all its children.
    ///
    /// # Errors
    /// Where there is no `/proc`.
    pub(super) fn seconds(&self) -> Result<f64> {
        let stats = stats()?;
        let mut family = BTreeSet::from([self.process]);
        // Children have been seen after as many rounds as there are generations.
        loop {
            let children = stats.iter().filter(|(_, stat)| family.contains(&stat.parent));
            let children: Vec<u32> = children.map(|(process, _)| *process).collect();
            let before = family.len();
            family.extend(children);
            if family.len() == before {
                break;
            }
        }
        let ticks: u64 = family
            .iter()
            .filter_map(|process| stats.get(process))
            .map(|stat| stat.ticks)
            .sum();
        Ok(ticks as f64 / TICKS)
    }
}

/// The sockets that listen at a port, as links of files name them.
fn listening(port: u16) -> Result<BTreeSet<String>> {
    let mut sockets = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(text) = fs::read_to_string(table) else { continue };
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let at_port = fields
                .get(1)
                .is_some_and(|address| address.ends_with(&format!(":{port:04X}")));
            // 0A is LISTEN.
            if at_port
                && fields.get(3) == Some(&"0A")
                && let Some(inode) = fields.get(9)
            {
                sockets.insert(format!("socket:[{inode}]"));
            }
        }
    }
    Ok(sockets)
}

/// All processes.
fn stats() -> Result<BTreeMap<u32, Stat>> {
    let entries = fs::read_dir("/proc").context("this needs Linux's /proc")?;
    let processes = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
    // One that has ended in between has none.
    let stat = |process: u32| {
        Some((
            process,
            stat(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)?,
        ))
    };
    Ok(processes.filter_map(stat).collect())
}

fn stat(line: &str) -> Option<Stat> {
    // The program's name, in brackets, may hold anything.
    let (_, after_name) = line.rsplit_once(") ")?;
    let fields: Vec<&str> = after_name.split(' ').collect();
    // User and system time, and both of children that have ended: the 14th to the 17th field.
    let ticks: Option<u64> = (11..15).map(|place| fields.get(place)?.parse::<u64>().ok()).sum();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        ticks: ticks?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_is_found_and_its_time_is_told() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Server::at(port).unwrap().expect("this process");
        assert_eq!(server.process, std::process::id());
        let before = server.seconds().unwrap();
        let mut sum = 0_u64;
        while server.seconds().unwrap() - before < 0.03 {
            sum = (0..1_000_000_u64).fold(sum, |sum, number| sum.rotate_left(7) ^ number);
        }
        drop(listener);
        assert!(sum != 1 && Server::at(port).unwrap().is_none());
    }

    #[test]
    fn a_name_may_hold_anything() {
        let line = "12 (a) b () S 7 1 1 0 -1 0 0 0 0 0 10 20 3 4 20 0 1 0 5";
        let stat = stat(line).unwrap();
        assert_eq!((stat.parent, stat.ticks), (7, 37));
    }
}
