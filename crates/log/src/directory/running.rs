//! `.twinstream-running`: under which boot of the machine all logs of a directory were checked.
//!
//! ```text
//! version: 0
//! boot: 40445abc-dd09-499e-a0a2-31f5de48f3a0
//! mount: 4294967323
//! ```
//! A process that was killed leaves its writes in the page cache, so the next one need not read every log to the end.
//! That holds under the same boot of the kernel and on the same mount; a file system that was torn off and mounted
//! again has lost what was not flushed. The mount is 0 where the kernel cannot tell one from another (before 6.8).

use std::path::Path;

use crate::{LogError, files};

const FILE: &str = ".twinstream-running";
const VERSION: u32 = 0;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// `STATX_MNT_ID_UNIQUE`: an id that no later mount gets again.
const MOUNT_ID_UNIQUE: rustix::fs::StatxFlags = rustix::fs::StatxFlags::from_bits_retain(0x4000);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    boot: String,
    mount: u64,
}

impl Mark {
    /// The mark of this boot and mount, `None` where the system does not say.
    pub(super) fn present(dir: &Path) -> Option<Mark> {
        let boot = std::fs::read_to_string(BOOT_ID).ok()?.trim().to_owned();
        let found = rustix::fs::statx(rustix::fs::CWD, dir, rustix::fs::AtFlags::empty(), MOUNT_ID_UNIQUE).ok()?;
        let is_unique = found.stx_mask & MOUNT_ID_UNIQUE.bits() != 0;
        Some(Mark { boot, mount: if is_unique { found.stx_mnt_id } else { 0 } })
    }
}

/// The mark that is there. One that is damaged or newer is as good as none.
pub(super) fn read(dir: &Path) -> Result<Option<Mark>, LogError> {
    let Some(bytes) = files::read_if_exists(&dir.join(FILE))? else { return Ok(None) };
    Ok(parse(&String::from_utf8_lossy(&bytes)))
}

fn parse(text: &str) -> Option<Mark> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if field("version:")?.parse() != Ok(VERSION) {
        return None;
    }
    let boot = field("boot:").filter(|boot| !boot.is_empty())?.to_owned();
    Some(Mark { boot, mount: field("mount:")?.parse().ok()? })
}

fn format(mark: &Mark) -> String {
    format!("version: {VERSION}\nboot: {}\nmount: {}\n", mark.boot, mark.mount)
}

pub(super) fn write(dir: &Path, mark: &Mark) -> Result<(), LogError> {
    files::replace(&dir.join(FILE), format(mark).as_bytes())
}

/// Durable before any log is touched, so that it cannot come back.
pub(super) fn remove(dir: &Path) -> Result<(), LogError> {
    let path = dir.join(FILE);
    if !path.exists() {
        return Ok(());
    }
    files::remove(&path)?;
    files::sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_has_golden_text_and_reads_back() {
        let mark = Mark { boot: "40445abc".to_owned(), mount: 4_294_967_323 };
        assert_eq!(format(&mark), "version: 0\nboot: 40445abc\nmount: 4294967323\n");
        assert_eq!(parse(&format(&mark)), Some(mark));
    }

    #[test]
    fn newer_and_damaged_marks_are_none() {
        for text in ["", "version: 1\nboot: a\nmount: 1\n", "version: 0\nboot: \nmount: 1\n", "version: 0\nboot: a\n"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn mark_of_this_boot_is_the_same_each_time() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Mark::present(dir.path()), Mark::present(dir.path()));
    }
}
