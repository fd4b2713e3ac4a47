//! The processes of one testbed: each has a pid file, and none outlives the testbed.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a server may take to stop when asked before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Waits for its owner to be gone and then kills every process that has a pid file, so that not even a test run ended
/// by SIGKILL or Ctrl-C leaves servers behind. It goes through the folder twice: a restart may be on its way. The folder
/// `$3`, where one is given, goes last.
const JANITOR: &str = r#"
while [ -f "$2/watched" ] && kill -0 "$1" 2>/dev/null; do sleep 1; done
for pass in 1 2; do
    for file in "$2"/*.pid; do
        if [ -f "$2/watched" ] && [ -f "$file" ]; then kill -KILL "$(cat "$file")" 2>/dev/null; rm -f "$file"; fi
    done
    if [ -f "$2/watched" ]; then sleep 5; fi
done
if [ -f "$2/watched" ] && [ -n "$3" ]; then rm -rf "$3"; fi
"#;

/// The folder of pid files, and the watch over it.
#[derive(Debug)]
pub struct Processes {
    folder: PathBuf,
    released: bool,
}

/// A process that the testbed started itself; stopped when dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    pid_file: PathBuf,
    kept: bool,
}

/// A signal as `kill` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Asks the process to end.
    Term,
    /// Asks Postgres to end without waiting for its clients.
    Int,
    /// Ends the process without its knowing.
    Kill,
    /// Freezes the process.
    Stop,
    /// Thaws it.
    Continue,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Int => "INT",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
        }
    }
}

impl Processes {
    /// Makes `folder` for the pid files and starts the watch over it.
    ///
    /// # Errors
    /// When the folder cannot be made or no shell can be run.
    pub fn watch(folder: &Path) -> Result<Self> {
        Self::watch_with(folder, None)
    }

    /// The same for processes that live as long as this one; afterwards the folder `everything` is removed.
    ///
    /// # Errors
    /// When the folder cannot be made or no shell can be run.
    pub fn watch_and_remove(folder: &Path, everything: &Path) -> Result<Self> {
        Self::watch_with(folder, Some(everything))
    }

    fn watch_with(folder: &Path, everything: Option<&Path>) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(folder.join("watched"), "")?;
        let mut janitor = Command::new("sh");
        janitor
            .args(["-c", JANITOR, "janitor", &std::process::id().to_string()])
            .arg(folder)
            .arg(everything.unwrap_or(Path::new("")));
        janitor.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // A group of its own: Ctrl-C ends the owner, and the janitor must outlive it.
        let mut child = janitor.process_group(0).spawn().context("cannot run sh")?;
        std::thread::spawn(move || {
            // Nobody asks how it ended; waiting keeps it from staying a zombie.
            let _ = child.wait();
        });
        Ok(Self {
            folder: folder.to_owned(),
            released: false,
        })
    }

    /// Where the pid of the process `name` is kept, for a script that starts and stops it itself.
    #[must_use]
    pub fn pid_file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pid"))
    }

    /// Starts `command` as `name`, with its output in the file `log` (added to what is there).
    ///
    /// # Errors
    /// When the program cannot be run or the log cannot be written.
    pub fn spawn(&self, name: &str, command: &mut Command, log: &Path) -> Result<Running> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open the log {}", log.display()))?;
        let errors = output.try_clone()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        let pid_file = self.pid_file(name);
        fs::write(&pid_file, child.id().to_string())?;
        Ok(Running {
            name: name.to_owned(),
            child,
            pid_file,
            kept: false,
        })
    }

    /// Leaves the processes running after the testbed's end; whoever asks for that stops them by hand.
    pub fn release(&mut self) {
        self.released = true;
        let _ = fs::remove_file(self.folder.join("watched"));
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "pid") {
                // The testbed has stopped what it could by now; what is left is killed.
                if let Some(pid) = read_pid(&path) {
                    let _ = send(pid, Signal::Kill);
                }
                let _ = fs::remove_file(path);
            }
        }
        let _ = fs::remove_file(self.folder.join("watched"));
    }
}

impl Running {
    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        send(self.child.id(), signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Sends `signal`, and kills the process when it has not ended 20 s later.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn stop(&mut self, signal: Signal) -> Result<()> {
        let _ = fs::remove_file(&self.pid_file);
        if self.is_running() {
            self.signal(signal)?;
            let deadline = Instant::now() + STOP_WITHIN;
            while self.is_running() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            if self.is_running() {
                self.child
                    .kill()
                    .with_context(|| format!("cannot kill {}", self.name))?;
            }
        }
        self.child
            .wait()
            .with_context(|| format!("cannot wait for {}", self.name))?;
        Ok(())
    }

    /// Leaves the process running when this value is dropped.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.kept {
            let _ = self.stop(Signal::Term);
        }
    }
}

/// `parent` and its children, where this machine tells (Linux).
#[must_use]
pub fn family(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let children = entries.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // After the name, which may hold anything, come the state and the parent.
        let (_, rest) = stat.rsplit_once(") ")?;
        let of: u32 = rest.split(' ').nth(1)?.parse().ok()?;
        (of == parent).then_some(pid)
    });
    std::iter::once(parent).chain(children).collect()
}

/// The pid in a pid file, where there is one.
#[must_use]
pub fn read_pid(file: &Path) -> Option<u32> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Sends `signal` to the process `pid`.
///
/// # Errors
/// When there is no such process.
pub fn send(pid: u32, signal: Signal) -> Result<()> {
    // The shell's own kill: this crate forbids unsafe code, and /bin/kill is not on every machine.
    let status = Command::new("sh")
        .args([
            "-c",
            "kill -\"$1\" \"$2\" 2>/dev/null",
            "kill",
            signal.name(),
            &pid.to_string(),
        ])
        .status()
        .context("cannot run sh")?;
    if !status.success() {
        bail!("there is no process {pid} to send {} to", signal.name());
    }
    Ok(())
}

/// The last lines of a log, or why there are none.
pub(crate) fn tail(log: &Path) -> String {
    match fs::read(log) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(30)..].join("\n")
        }
        Err(error) => format!("cannot read {}: {error}", log.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(pid: u32) -> bool {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
            || !Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn a_dropped_process_is_stopped_and_its_output_kept() {
        let folder = tempfile::tempdir().unwrap();
        let processes = Processes::watch(&folder.path().join("pids")).unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo here; exec sleep 600"]);
        let running = processes.spawn("sleeper", &mut command, &log).unwrap();
        let pid = running.pid();
        assert_eq!(read_pid(&processes.pid_file("sleeper")), Some(pid));
        while !fs::read_to_string(&log).unwrap().contains("here") {
            std::thread::yield_now();
        }
        drop(running);
        assert!(gone(pid));
    }

    #[test]
    fn what_a_killed_owner_started_is_killed_too() {
        let folder = tempfile::tempdir().unwrap();
        let mut owner = Command::new("sleep").arg("600").spawn().unwrap();
        let mut orphan = Command::new("sleep").arg("600").spawn().unwrap();
        fs::write(folder.path().join("watched"), "").unwrap();
        fs::write(folder.path().join("orphan.pid"), orphan.id().to_string()).unwrap();
        let mut janitor = Command::new("sh")
            .args(["-c", JANITOR, "janitor", &owner.id().to_string()])
            .arg(folder.path())
            .spawn()
            .unwrap();
        owner.kill().unwrap();
        owner.wait().unwrap();
        assert!(!orphan.wait().unwrap().success());
        janitor.kill().unwrap();
        janitor.wait().unwrap();
    }
}
