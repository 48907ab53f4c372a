//! Writing files so that they are there after a power cut: temporary name, fsync, rename, fsync of the folder.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use super::StorageError;

pub(super) const TEMPORARY_SUFFIX: &str = "tmp";

pub(super) fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> StorageError + 'a {
    move |source| StorageError::Io { doing, path: path.to_owned(), source }
}

/// Puts a whole file in place or leaves what was there.
pub(super) fn write_whole(path: &Path, parts: &[&[u8]]) -> Result<(), StorageError> {
    let temporary = path.with_extension(TEMPORARY_SUFFIX);
    let mut file = File::create(&temporary).map_err(io("create", &temporary))?;
    for part in parts {
        file.write_all(part).map_err(io("write", &temporary))?;
    }
    file.sync_all().map_err(io("flush", &temporary))?;
    fs::rename(&temporary, path).map_err(io("rename", &temporary))?;
    sync_folder_of(path)
}

fn sync_folder_of(path: &Path) -> Result<(), StorageError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let opened = File::open(folder).map_err(io("open", folder))?;
    opened.sync_all().map_err(io("flush", folder))
}

/// Files named `<prefix><20 digits>` with their numbers, in ascending order. Left-over temporary files are removed.
pub(super) fn numbered(folder: &Path, prefix: &str) -> Result<Vec<(u64, PathBuf)>, StorageError> {
    let mut found = Vec::new();
    for item in fs::read_dir(folder).map_err(io("list", folder))? {
        let path = item.map_err(io("list", folder))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if path.extension().is_some_and(|extension| extension == TEMPORARY_SUFFIX) {
            fs::remove_file(&path).map_err(io("remove", &path))?;
            continue;
        }
        if let Some(number) = name.strip_prefix(prefix).and_then(|digits| digits.parse().ok()) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

pub(super) fn remove(path: &Path) -> Result<(), StorageError> {
    fs::remove_file(path).map_err(io("remove", path))
}
