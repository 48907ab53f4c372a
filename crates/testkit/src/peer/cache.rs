//! The folder of things that are fetched once.
//!
//! An entry is a folder whose name holds the versions in it; the file `.done` is written last. A new pin is a new folder,
//! so an old one is never changed under a running test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

const VARIABLE: &str = "TWINSTREAM_CACHE";
const DONE: &str = ".done";

/// The folder of this entry, filled by `fetch` if it was not there yet. The text of an error says what failed.
pub(super) fn entry(name: &str, fetch: impl FnOnce(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let root = root()?;
    let folder = root.join(name);
    let tell = |error: std::io::Error| format!("cache folder {}: {error}", root.display());
    fs::create_dir_all(&root).map_err(tell)?;
    let lock = File::create(root.join(format!("{name}.lock"))).map_err(tell)?;
    lock.lock().map_err(tell)?;
    if !folder.join(DONE).exists() {
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(tell)?;
        }
        fs::create_dir_all(&folder).map_err(tell)?;
        fetch(&folder)?;
        File::create(folder.join(DONE)).map_err(tell)?;
    }
    Ok(folder)
}

fn root() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os(VARIABLE) {
        return Ok(PathBuf::from(path).join("peers"));
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    cache.map(|cache| cache.join("twinstream/peers")).ok_or_else(|| format!("set {VARIABLE} or HOME"))
}

/// The last lines of a command's output, for messages.
pub(super) fn last_lines(output: &std::process::Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join(" / ")
}
