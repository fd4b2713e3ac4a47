//! The version of a Temporal server, as it names itself.

use std::fmt;
use std::str::FromStr;

/// A server version such as `1.30.8` or `1.31.0-rc.1`.
///
/// Ordered by major, minor and patch; of two equal numbers the one with a suffix (a release candidate) is the older.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number; 0 where the server names two numbers only.
    pub patch: u32,
    /// What follows the numbers after `-` or `+`, without the sign; empty for a release.
    pub suffix: String,
}

impl Version {
    /// A released version.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
            suffix: String::new(),
        }
    }

    /// Whether this version is `major.minor` or any later one; release candidates of `major.minor.0` count as it.
    pub fn at_least(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }
}

/// A text that is not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("server version {0:?} is not of the form 1.30.8; expected MAJOR.MINOR.PATCH as GetClusterInfo gives it")]
pub struct VersionError(
    /// The text.
    pub String,
);

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let bad = || VersionError(text.to_owned());
        let trimmed = text.trim();
        let trimmed = trimmed.strip_prefix('v').unwrap_or(trimmed);
        let (numbers, suffix) = match trimmed.find(['-', '+']) {
            Some(at) => (&trimmed[..at], &trimmed[at + 1..]),
            None => (trimmed, ""),
        };
        let mut parts = numbers.split('.').map(str::parse::<u32>);
        let major = parts.next().ok_or_else(bad)?.map_err(|_| bad())?;
        let minor = parts.next().ok_or_else(bad)?.map_err(|_| bad())?;
        let patch = parts.next().unwrap_or(Ok(0)).map_err(|_| bad())?;
        if parts.next().is_some() {
            return Err(bad());
        }
        Ok(Self {
            major,
            minor,
            patch,
            suffix: suffix.to_owned(),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if self.suffix.is_empty() {
            Ok(())
        } else {
            write!(f, "-{}", self.suffix)
        }
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.major, self.minor, self.patch, self.suffix.is_empty(), &self.suffix).cmp(&(
            other.major,
            other.minor,
            other.patch,
            other.suffix.is_empty(),
            &other.suffix,
        ))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Version {
        text.parse().expect(text)
    }

    #[test]
    fn every_form_that_servers_use_is_read() {
        for (text, expected) in [
            ("1.21.0", Version::new(1, 21, 0)),
            ("1.21.6", Version::new(1, 21, 6)),
            ("1.30.8", Version::new(1, 30, 8)),
            ("v1.32.2", Version::new(1, 32, 2)),
            ("1.28", Version::new(1, 28, 0)),
        ] {
            assert_eq!(parsed(text), expected);
        }
        assert_eq!(parsed("1.31.0-rc.1").suffix, "rc.1");
        assert_eq!(parsed("1.31.0-rc.1").to_string(), "1.31.0-rc.1");
    }

    #[test]
    fn versions_are_ordered() {
        assert!(parsed("1.9.9") < parsed("1.21.0"));
        assert!(parsed("1.31.0-rc.1") < parsed("1.31.0"));
        assert!(parsed("1.30.8").at_least(1, 21));
        assert!(parsed("1.31.0-rc.1").at_least(1, 31));
        assert!(!parsed("1.20.4").at_least(1, 21));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for text in ["", "latest", "1", "1.x.3", "1.2.3.4", "-1.2"] {
            let error = text.parse::<Version>().expect_err(text);
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }
}
