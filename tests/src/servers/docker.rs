//! A real Docker Engine with Compose: the machine's own where one answers, else one of this process's own.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::processes::{Processes, Running, Signal, tail};
use super::progress::Progress;

/// An image that has little but links into `/usr`, which each container mounts from the machine: no registry is needed,
/// and what runs inside is what runs outside.
pub const IMAGE: &str = "crossfade-test/machine:1";

/// The machine's programs, as a volume of a compose file.
pub const PROGRAMS: &str = "/usr:/usr:ro";

/// How long an engine may take to answer.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Debian's names of the engine, its command line and Compose.
const PACKAGES: [&str; 3] = ["docker.io", "docker-cli", "docker-compose"];

/// An engine.
#[derive(Debug)]
pub struct Docker {
    host: String,
    _own: Option<Engine>,
}

/// An engine of this process's own.
#[derive(Debug)]
struct Engine {
    running: Running,
    // The watch goes after the engine, the folder last.
    _processes: Processes,
    folder: tempfile::TempDir,
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.running.stop(Signal::Term);
        // It leaves its network namespace mounted, and a folder with a mount in it cannot be removed.
        let namespace = self.folder.path().join("exec/netns/default");
        let _ = Command::new("umount").arg(namespace).stderr(Stdio::null()).status();
    }
}

impl Docker {
    /// The engine that DOCKER_HOST names, or the machine's; without one, and as root, one of this process's own, whose
    /// programs are installed where the machine is a Debian. It stops with this value.
    ///
    /// # Errors
    /// When there is none and none can be started: with what to do.
    pub fn start(progress: &dyn Progress) -> Result<Self> {
        let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
        let docker = if answers(&host) {
            Self { host, _own: None }
        } else {
            Self::own(progress)?
        };
        docker.import_image()?;
        Ok(docker)
    }

    /// The engine's address, as DOCKER_HOST has it.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Runs `docker` with these arguments and gives what it printed.
    ///
    /// # Errors
    /// When it fails: with what it said.
    pub fn docker(&self, arguments: &[&str]) -> Result<String> {
        printed(Command::new("docker").args(arguments).env("DOCKER_HOST", &self.host))
    }

    /// Runs Docker Compose on the file `docker-compose.yml` of a folder, whose name is the project's.
    ///
    /// # Errors
    /// When it fails: with what it said.
    pub fn compose(&self, folder: &Path, arguments: &[&str]) -> Result<String> {
        let mut command = compose_command();
        command
            .args(arguments)
            .current_dir(folder)
            .env("DOCKER_HOST", &self.host);
        printed(&mut command)
    }

    fn own(progress: &dyn Progress) -> Result<Self> {
        let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        if !is_root {
            bail!(
                "a Docker Engine is needed and none answers. Start the machine's own (`docker ps` must work as this user), \
                 or name another by DOCKER_HOST"
            );
        }
        install(progress)?;
        progress.started("starting a Docker Engine");
        let folder = tempfile::tempdir()?;
        let processes = Processes::watch(&folder.path().join("pids"))?;
        let at = |name: &str| folder.path().join(name);
        fs::write(at("daemon.json"), "{}")?;
        let host = format!("unix://{}", at("docker.sock").display());
        let mut command = Command::new("dockerd");
        command.arg("--config-file").arg(at("daemon.json"));
        command.arg("--data-root").arg(at("data"));
        command.arg("--exec-root").arg(at("exec"));
        command.arg("--pidfile").arg(at("pid"));
        command.arg("--host").arg(&host);
        // Its containers talk to this machine alone, and its firewall stays as it is.
        command.args([
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
        ]);
        let log = at("log");
        let mut engine = processes.spawn("dockerd", &mut command, &log)?;
        let deadline = Instant::now() + READY_WITHIN;
        while !answers(&host) {
            if Instant::now() > deadline || !engine.is_running() {
                bail!("the Docker Engine does not answer:\n{}", tail(&log));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        progress.finished("the Docker Engine answers");
        Ok(Self {
            host,
            _own: Some(Engine {
                running: engine,
                _processes: processes,
                folder,
            }),
        })
    }

    fn import_image(&self) -> Result<()> {
        if self.docker(&["image", "inspect", IMAGE]).is_ok() {
            return Ok(());
        }
        let root = tempfile::tempdir()?;
        for name in ["bin", "sbin", "lib", "lib64"] {
            symlink(format!("usr/{name}"), root.path().join(name))?;
        }
        for name in ["usr", "tmp", "etc"] {
            fs::create_dir(root.path().join(name))?;
        }
        // A server asks who it runs as.
        fs::write(root.path().join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n")?;
        let archive = Command::new("tar")
            .arg("-C")
            .arg(root.path())
            .args(["-c", "."])
            .output()?;
        let mut import = Command::new("docker")
            .args(["import", "-", IMAGE])
            .env("DOCKER_HOST", &self.host)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        import.stdin.take().context("no stdin")?.write_all(&archive.stdout)?;
        if !import.wait()?.success() {
            bail!("docker import of {IMAGE} failed");
        }
        Ok(())
    }
}

/// A project of a test's own: down when it is dropped.
#[derive(Debug)]
pub struct Project<'a> {
    docker: &'a Docker,
    folder: PathBuf,
}

impl<'a> Project<'a> {
    /// Writes the compose file into a new folder `folder`, whose name is the project's, and starts what it describes.
    ///
    /// # Errors
    /// When Compose fails: with what it said.
    pub fn up(docker: &'a Docker, folder: &Path, file: &str, arguments: &[&str]) -> Result<Self> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("docker-compose.yml"), file)?;
        let project = Self {
            docker,
            folder: folder.to_owned(),
        };
        project.compose(&[&["up", "-d"], arguments].concat())?;
        Ok(project)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        self.folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// Runs Compose on it.
    ///
    /// # Errors
    /// When Compose fails: with what it said.
    pub fn compose(&self, arguments: &[&str]) -> Result<String> {
        self.docker.compose(&self.folder, arguments)
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        let _ = self.compose(&["down", "--timeout", "1", "--volumes"]);
    }
}

fn answers(host: &str) -> bool {
    let mut version = Command::new("docker");
    version
        .args(["version", "--format", "{{.Server.Version}}"])
        .env("DOCKER_HOST", host);
    has_succeeded(version.output()) && has_compose()
}

fn has_compose() -> bool {
    has_succeeded(compose_command().arg("version").output())
}

/// Compose is a plugin of `docker` today and was a program of its own before.
fn compose_command() -> Command {
    let plugin = Command::new("docker").args(["compose", "version"]).output();
    if has_succeeded(plugin) {
        let mut command = Command::new("docker");
        command.arg("compose");
        return command;
    }
    Command::new("docker-compose")
}

fn install(progress: &dyn Progress) -> Result<()> {
    let is_there = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    };
    if is_there("dockerd") && is_there("docker") && has_compose() {
        return Ok(());
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("a Docker Engine with Compose is needed and was not found; install both and start the engine");
    }
    progress.started("installing Docker and Compose with apt-get");
    // `docker-cli` is a package of its own from Debian 13 on; before, `docker.io` has it.
    let wanted = PACKAGES.iter().filter(|package| {
        has_succeeded(Command::new("apt-cache").args(["show", package]).output())
            && (**package != "docker-cli" || !is_there("docker"))
    });
    let output = Command::new("apt-get")
        .args(["install", "-y", "--no-install-recommends"])
        .args(wanted)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .context("cannot run apt-get")?;
    if is_there("dockerd") && is_there("docker") && has_compose() {
        progress.finished("installed Docker and Compose");
        return Ok(());
    }
    bail!(
        "apt-get install {} failed: {}",
        PACKAGES.join(" "),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn has_succeeded(output: std::io::Result<Output>) -> bool {
    output.is_ok_and(|output| output.status.success())
}

fn printed(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
