//! A systemd of a test's own: the machine's program, as the first process of namespaces of its own (processes, mounts,
//! cgroups). It needs no machine that was booted by systemd, knows the test's units alone, and ends with all that it runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::processes::{Running, Signal, tail};
use crate::testbed::Testbed;

/// Debian's program.
const PROGRAM: &str = "/lib/systemd/systemd";

/// How long it may take to answer.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Run in the cgroup `$1`, which becomes the root of what systemd sees, with the units of the folder `$2`.
const JOIN: &str = "echo $$ > \"$1/cgroup.procs\" && \
    exec unshare --fork --kill-child=KILL --pid --mount --ipc --uts --cgroup --propagation private sh -euc \"$3\" boot \"$2\"";

/// The first process becomes systemd once it has what it expects: its own processes, an empty /run, its cgroups, and no
/// generators, which would bring the machine's own units in.
const BOOT: &str = "
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
if [ -d /sys/fs/cgroup/systemd ]
then umount /sys/fs/cgroup/systemd && mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
else umount /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
for generators in system-generators system-environment-generators
do mkdir -p /lib/systemd/$generators && mount -t tmpfs tmpfs /lib/systemd/$generators
done
container=crossfade SYSTEMD_UNIT_PATH=$1 exec /lib/systemd/systemd --system --unit=default.target --show-status=no
";

/// Units that nothing but the test's own are behind.
const DEFAULT_TARGET: &str = "[Unit]\nDefaultDependencies=no\n";

/// A running systemd; it and its units end when this is dropped.
#[derive(Debug)]
pub struct Systemd {
    units: PathBuf,
    cgroup: PathBuf,
    running: Running,
    /// Its process, as seen from outside.
    pid: u32,
}

impl Systemd {
    /// Boots one for a testbed.
    ///
    /// # Errors
    /// Without systemd, or the right to make namespaces: with what to do; or when it does not answer.
    pub fn boot(testbed: &Testbed) -> Result<Self> {
        ensure!(
            Path::new(PROGRAM).exists(),
            "{PROGRAM} is needed and not there: install systemd (`apt-get install systemd`); it need not run"
        );
        let units = testbed.folder().join("units");
        fs::create_dir(&units)?;
        fs::write(units.join("default.target"), DEFAULT_TARGET)?;
        // Where there are two kinds of cgroups, systemd's own has a hierarchy of its own.
        let root = Path::new("/sys/fs/cgroup/systemd");
        let root = if root.is_dir() {
            root
        } else {
            Path::new("/sys/fs/cgroup")
        };
        let cgroup = root.join(format!("crossfade-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&cgroup)
            .with_context(|| format!("cannot make {}: this test has to run as root", cgroup.display()))?;
        let mut command = Command::new("sh");
        command.args(["-c", JOIN, "join"]).arg(&cgroup).arg(&units).arg(BOOT);
        let mut booting = Self {
            running: testbed.spawn("systemd", &mut command)?,
            units,
            cgroup,
            pid: 0,
        };
        let log = testbed.log("systemd");
        let deadline = Instant::now() + READY_WITHIN;
        while !booting.answers() {
            if Instant::now() > deadline || !booting.running.is_running() {
                bail!("systemd does not answer:\n{}", tail(&log));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(booting)
    }

    fn answers(&mut self) -> bool {
        let parent = self.running.pid();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        let Some(pid) = children.split_whitespace().next().and_then(|pid| pid.parse().ok()) else {
            return false;
        };
        self.pid = pid;
        self.systemctl(&["show", "--property=Version"]).is_ok()
    }

    /// Writes a unit and has systemd read it.
    ///
    /// # Errors
    /// When it does not.
    pub fn unit(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.units.join(name), text)?;
        self.systemctl(&["daemon-reload"]).map(drop)
    }

    /// Runs `systemctl` there and gives what it printed.
    ///
    /// # Errors
    /// When it fails: with what it said.
    pub fn systemctl(&self, arguments: &[&str]) -> Result<String> {
        let inside = self.inside();
        let mut command = Command::new(&inside[0]);
        let output = command.args(&inside[1..]).arg("systemctl").args(arguments).output()?;
        if !output.status.success() {
            bail!(
                "systemctl {}: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// What a command begins with to run where this systemd is the machine's. It ends with the process that this starts.
    #[must_use]
    pub fn inside(&self) -> Vec<String> {
        let pid = self.pid.to_string();
        [
            "nsenter",
            "-t",
            &pid,
            "-m",
            "-p",
            "--",
            "setpriv",
            "--pdeathsig",
            "KILL",
        ]
        .map(str::to_owned)
        .to_vec()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ = self.running.stop(Signal::Kill);
        let deadline = Instant::now() + Duration::from_secs(5);
        while !removed(&self.cgroup) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Whether a cgroup is gone, once those within it are.
fn removed(cgroup: &Path) -> bool {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            removed(&entry.path());
        }
    }
    fs::remove_dir(cgroup).is_ok()
}
