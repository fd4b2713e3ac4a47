//! A disk that can be filled to its last byte: a file system in memory, mounted over a folder.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Takes the mount away when its owner is gone without having done so.
const WATCH: &str =
    r#"while kill -0 "$1" 2>/dev/null && mountpoint -q "$2"; do sleep 1; done; umount -l "$2" 2>/dev/null"#;

/// What fills it.
const FILLER: &str = ".filler";

/// A file system of its own over a folder, until it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
    /// Whether what is on it is kept beside the folder in the end.
    kept: bool,
}

impl SmallDisk {
    /// Puts a file system of `size` (as `mount` writes it: `512k`) over `folder`, with what is in the folder.
    ///
    /// # Errors
    /// When this process may not mount: what to do then.
    pub fn over(folder: &Path, size: &str) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let aside = folder.with_extension("aside");
        run(Command::new("cp").arg("-a").arg(folder).arg(&aside))?;
        let mounted = run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=0755"), "crossfade-test"])
            .arg(folder));
        if let Err(error) = mounted {
            fs::remove_dir_all(&aside)?;
            return Err(error.context(
                "a full disk is played by a small file system in memory, and this process may not mount one: run as root, \
                 in a container with CAP_SYS_ADMIN",
            ));
        }
        let disk = Self {
            folder: folder.to_owned(),
            kept: false,
        };
        let mut watch = Command::new("sh");
        watch
            .args(["-c", WATCH, "watch", &std::process::id().to_string()])
            .arg(folder);
        watch.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut watch = watch.process_group(0).spawn().context("cannot run sh")?;
        std::thread::spawn(move || {
            // Nobody asks how it ended; waiting keeps it from staying a zombie.
            let _ = watch.wait();
        });
        run(Command::new("cp").arg("-a").arg(aside.join(".")).arg(folder))?;
        fs::remove_dir_all(&aside)?;
        Ok(disk)
    }

    /// Leaves what is on it beside the folder, as `NAME.was`, when it goes: for whoever looks into a run that failed.
    #[must_use]
    pub fn kept(mut self) -> Self {
        self.kept = true;
        self
    }

    /// Leaves no byte of room.
    ///
    /// # Errors
    /// When the filler cannot be made.
    pub fn fill(&self) -> Result<()> {
        let path = self.folder.join(FILLER);
        let mut filler = File::options().create(true).append(true).open(&path)?;
        let mut piece = vec![0_u8; 1 << 20];
        while !piece.is_empty() {
            match filler.write(&piece) {
                Ok(1..) => {}
                // The room that is left is smaller than this.
                _ => piece.truncate(piece.len() / 2),
            }
        }
        Ok(())
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// When the filler cannot be removed.
    pub fn empty(&self) -> Result<()> {
        let filler = self.folder.join(FILLER);
        if filler.exists() {
            fs::remove_file(&filler).with_context(|| format!("cannot remove {}", filler.display()))?;
        }
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.empty();
        if self.kept {
            let beside = self.folder.with_extension("was");
            let _ = run(Command::new("cp").arg("-a").arg(&self.folder).arg(beside));
        }
        let _ = run(Command::new("umount").arg("-l").arg(&self.folder));
    }
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    if !output.status.success() {
        bail!(
            "{}: {}",
            program.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_takes_nothing_and_keeps_what_it_had() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let inside = folder.path().join("config");
        fs::create_dir(&inside)?;
        fs::write(inside.join("before"), "kept")?;
        let disk = SmallDisk::over(&inside, "64k")?.kept();
        disk.fill()?;
        assert!(fs::write(inside.join("more"), "no room").is_err());
        assert_eq!(fs::read_to_string(inside.join("before"))?, "kept");
        disk.empty()?;
        fs::write(inside.join("more"), "room")?;
        drop(disk);
        assert_eq!(fs::read_to_string(inside.with_extension("was").join("more"))?, "room");
        assert!(!inside.join("more").exists());
        Ok(())
    }
}
