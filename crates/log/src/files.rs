//! Small files that are replaced as a whole, names of segment files, and positional writes.

use std::fs::{self, File};
use std::io::{self, IoSlice, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use twinstream_model::Offset;

use crate::LogError;

pub(crate) const LOG: &str = "log";
pub(crate) const INDEX: &str = "index";
pub(crate) const TIME_INDEX: &str = "timeindex";
pub(crate) const TXN_INDEX: &str = "txnindex";
pub(crate) const SNAPSHOT: &str = "snapshot";
/// Suffix of files that only wait for their last reader.
pub(crate) const DELETED: &str = ".deleted";

/// Suffix of files that compaction is still writing.
pub(crate) const CLEANED: &str = ".cleaned";
/// Suffix of files that compaction has finished: they take the place of what they were made from, also after a crash.
pub(crate) const SWAP: &str = ".swap";

const BATCHES_PER_WRITE: usize = 512; // two slices each stay within the 1024 of IOV_MAX

/// `00000000000000000042.log`
pub(crate) fn offset_file(dir: &Path, offset: Offset, extension: &str) -> PathBuf {
    dir.join(format!("{:020}.{extension}", offset.0))
}

/// The offset and extension of a name that [`offset_file`] made.
pub(crate) fn parse_offset_file(name: &str) -> Option<(Offset, &str)> {
    let (digits, extension) = name.split_once('.')?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((Offset(digits.parse().ok()?), extension))
}

/// Replaces a file so that a crash leaves the old or the new content, never a mixture.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), LogError> {
    swap(path, content, File::sync_all).map_err(LogError::io("replace", path))?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Like [`replace`], but the new name may be lost with the machine; what has a name has its content.
pub(crate) fn replace_content(path: &Path, content: &[u8]) -> Result<(), LogError> {
    swap(path, content, File::sync_all).map_err(LogError::io("replace", path))
}

/// Replaces a file without waiting for the disk: a crash of the process leaves the old or the new content, a power loss
/// perhaps neither. For hints that can be had from the log again; [`sync_file`] makes the new content last.
pub(crate) fn replace_unsynced(path: &Path, content: &[u8]) -> Result<(), LogError> {
    swap(path, content, |_| Ok(())).map_err(LogError::io("replace", path))
}

fn swap(path: &Path, content: &[u8], settle: impl Fn(&File) -> io::Result<()>) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    settle(&file)?;
    fs::rename(&temporary, path)
}

/// Waits until the content of a file is on the disk.
pub(crate) fn sync_file(path: &Path) -> Result<(), LogError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(LogError::io("flush", path))
}

/// Makes names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), LogError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(LogError::io("flush directory", dir))
}

/// Removes a file that may be gone already.
pub(crate) fn remove(path: &Path) -> Result<(), LogError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LogError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Reads a whole file, `None` if it does not exist.
pub(crate) fn read_if_exists(path: &Path) -> Result<Option<Vec<u8>>, LogError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LogError::io("read", path)(error)),
    }
}

/// Writes pieces one after the other from `position` on, in as few calls as the system allows.
pub(crate) fn write_pieces_at(file: &File, pieces: &[(&[u8], &[u8])], mut position: u64) -> io::Result<()> {
    for group in pieces.chunks(BATCHES_PER_WRITE) {
        let mut slices: Vec<IoSlice<'_>> =
            group.iter().flat_map(|(head, body)| [IoSlice::new(head), IoSlice::new(body)]).collect();
        let mut rest = &mut slices[..];
        while rest.iter().any(|slice| !slice.is_empty()) {
            let written = match write_vectored_at(file, rest, position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            position += written as u64;
            IoSlice::advance_slices(&mut rest, written);
        }
    }
    Ok(())
}

/// `pwritev(2)` by way of the C library, so that a library which is loaded before it can make writes fail.
fn write_vectored_at(file: &File, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
    let count = libc::c_int::try_from(slices.len().min(2 * BATCHES_PER_WRITE)).unwrap_or(libc::c_int::MAX);
    let position = libc::off_t::try_from(position).map_err(|_| io::ErrorKind::FileTooLarge)?;
    // SAFETY: an `IoSlice` has the layout of an `iovec`, and the slices live until the call returns.
    let written = unsafe { libc::pwritev(file.as_raw_fd(), slices.as_ptr().cast(), count, position) };
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
}

/// Reads up to `buffer.len()` bytes at a position; less only at the end of the file.
pub(crate) fn read_up_to(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
