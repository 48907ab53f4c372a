//! A file system of its own for the data of one broker: one that can lose its power, or one that is soon full.
//!
//! Picture: an ext4 file system in a file, mounted where the broker keeps its data. The shutdown ioctl stops it dead without
//! writing its journal, as when the power goes: what was flushed is there after the next mount, and nothing else. Every
//! call of a process that runs on meanwhile fails. The small one is a tmpfs.
//!
//! Invariants: mounts go with the disk; what a killed test left behind goes when the next one makes a disk.
//!
//! Needs root, loop devices and mkfs.ext4; without them the test ends as it does for want of a judge.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::time::{Duration, Instant};

use rustix::ioctl::{Setter, ioctl, opcode};

use crate::peer::missing;

/// What the judge is called when it cannot run.
const JUDGE: &str = "disk faults";
const INSTALL: &str = "root, loop devices, mount and mkfs.ext4 (Debian: apt-get install e2fsprogs mount)";
/// `EXT4_IOC_SHUTDOWN`
const SHUTDOWN: rustix::ioctl::Opcode = opcode::read::<u32>(b'X', 125);
/// Neither data nor journal are written.
const NO_LOG_FLUSH: u32 = 2;
/// How long a killed process may keep its files open.
const BUSY_MAX: Duration = Duration::from_secs(20);
/// Names of image files and sources of mounts, followed by the id of the process that they belong to.
const MARK: &str = "twinstream-disk-";

/// A mounted file system.
#[derive(Debug)]
pub struct Disk {
    at: PathBuf,
    /// The file that an ext4 lives in; a tmpfs has none.
    image: Option<PathBuf>,
}

impl Disk {
    /// A disk that can lose its power, mounted at a folder; or the end of the test.
    pub fn ext4(at: &Path, mebibytes: u64) -> Self {
        remove_left_overs();
        let name = at.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let image = at.with_file_name(format!("{MARK}{}-{name}.ext4", process::id()));
        let made = File::create(&image).and_then(|file| file.set_len(mebibytes << 20));
        made.unwrap_or_else(|error| panic!("make {}: {error}", image.display()));
        needed(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0", "-E", "nodiscard"]).arg(&image));
        let disk = Self { at: at.to_owned(), image: Some(image) };
        disk.mount();
        disk
    }

    /// A disk that is soon full.
    pub fn tmpfs(at: &Path, mebibytes: u64) -> Self {
        remove_left_overs();
        let disk = Self { at: at.to_owned(), image: None };
        fs::create_dir_all(at).unwrap_or_else(|error| panic!("create {}: {error}", at.display()));
        let source = format!("{MARK}{}", process::id());
        needed(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), &source]).arg(at));
        disk
    }

    pub fn path(&self) -> &Path {
        &self.at
    }

    fn mount(&self) {
        fs::create_dir_all(&self.at).unwrap_or_else(|error| panic!("create {}: {error}", self.at.display()));
        let image = self.image.as_ref().expect("an ext4");
        needed(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(image).arg(&self.at));
    }

    /// The power goes. Whoever uses the disk gets errors from now on; kill them.
    pub fn cut_power(&self) {
        let root = File::open(&self.at).unwrap_or_else(|error| panic!("open {}: {error}", self.at.display()));
        // SAFETY: the ioctl of ext4 with this number reads one u32.
        let done = unsafe { ioctl(&root, Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH)) };
        done.unwrap_or_else(|error| panic!("shut down {}: {error}", self.at.display()));
    }

    /// Takes the disk out. Its users must be gone.
    pub fn unmount(&self) {
        let began = Instant::now();
        loop {
            let output = Command::new("umount").arg(&self.at).output().expect("umount");
            if output.status.success() {
                return;
            }
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(began.elapsed() < BUSY_MAX, "unmount {}: {why}", self.at.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The power is back: what was flushed is there.
    pub fn mount_again(&self) {
        self.unmount();
        self.mount();
    }

    /// Puts the disk back after [`Disk::unmount`].
    pub fn put_back(&self) {
        self.mount();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        release(&self.at);
    }
}

/// Lazily, so that a process which is about to end does not keep it.
fn release(at: &Path) {
    Command::new("umount").arg("-l").arg(at).output().ok();
}

/// Runs what must work, or ends the test.
fn needed(command: &mut Command) {
    let output = command.output();
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            missing(JUDGE, &format!("{INSTALL}; {command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
        Err(error) => missing(JUDGE, &format!("{INSTALL}; {command:?}: {error}")),
    }
}

/// Unmounts what belongs to processes that are no more.
fn remove_left_overs() {
    let images: Vec<(String, String)> = fs::read_dir("/sys/block")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|block| {
            let image = fs::read_to_string(block.path().join("loop/backing_file")).ok()?;
            Some((format!("/dev/{}", block.file_name().to_string_lossy()), image))
        })
        .collect();
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (Some(source), Some(at)) = (fields.next(), fields.next()) else { continue };
        let name = images.iter().find(|(device, _)| device == source).map_or(source, |(_, image)| image);
        if is_left_over(name) {
            release(Path::new(at));
        }
    }
}

fn is_left_over(name: &str) -> bool {
    let Some((_, rest)) = name.split_once(MARK) else { return false };
    let id: String = rest.chars().take_while(char::is_ascii_digit).collect();
    !id.is_empty() && !Path::new("/proc").join(id).exists()
}
