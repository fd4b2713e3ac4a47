//! A server's version.

use std::fmt;

/// A server version, `major.minor.patch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 1 for every server so far.
    pub major: u32,
    /// The minor version: what the routes depend on.
    pub minor: u32,
    /// The patch version.
    pub patch: u32,
}

impl Version {
    /// The oldest server that has Dual Visibility.
    pub const OLDEST: Self = Self {
        major: 1,
        minor: 21,
        patch: 0,
    };

    /// The first release of a minor version: 27 is 1.27.0.
    pub const fn minor(minor: u32) -> Self {
        Self::of(minor, 0)
    }

    /// A release: `of(29, 4)` is 1.29.4.
    pub const fn of(minor: u32, patch: u32) -> Self {
        Self { major: 1, minor, patch }
    }

    /// Reads `1.30.8`, also with a leading `v` or a suffix such as `-rc1`.
    pub fn parse(text: &str) -> Option<Self> {
        let core = text.trim().trim_start_matches('v').split(['-', '+']).next()?;
        let mut parts = core.split('.').map(|part| part.parse::<u32>().ok());
        let (major, minor) = (parts.next()??, parts.next()??);
        let patch = parts.next().unwrap_or(Some(0))?;
        Some(Self { major, minor, patch })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}
