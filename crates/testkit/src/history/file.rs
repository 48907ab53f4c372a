//! A history as a file: a first line with the version, then one event a line.
//!
//! Every tool that reads JSON lines reads it: `jq 'select(.what.fault)' history.jsonl` shows the steps of the nemesis.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Event;

/// Of the layout of lines; a reader refuses what is newer. 2 has transactions, 3 what groups commit.
const VERSION: u32 = 3;

#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("history {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("history {} line {line}: {reason}", path.display())]
    Line { path: PathBuf, line: usize, reason: String },
    #[error("history {}: layout {found} is newer than {VERSION}, which this build reads", path.display())]
    Newer { path: PathBuf, found: u32 },
}

#[derive(Serialize, Deserialize)]
struct Head {
    history_version: u32,
}

#[derive(Debug)]
pub(super) struct Writer {
    file: BufWriter<File>,
    path: PathBuf,
}

impl Writer {
    pub(super) fn create(path: &Path) -> Result<Self, HistoryError> {
        let tell = |source| HistoryError::File { path: path.to_path_buf(), source };
        let mut file = BufWriter::new(File::create(path).map_err(tell)?);
        write_line(&mut file, &Head { history_version: VERSION }).map_err(tell)?;
        Ok(Self { file, path: path.to_path_buf() })
    }

    /// A history that cannot be kept proves nothing, so this panics.
    pub(super) fn append(&mut self, event: &Event) {
        write_line(&mut self.file, event).unwrap_or_else(|error| panic!("write {}: {error}", self.path.display()));
    }

    pub(super) fn flush(&mut self) {
        self.file.flush().unwrap_or_else(|error| panic!("write {}: {error}", self.path.display()));
    }
}

fn write_line(file: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *file, line)?;
    file.write_all(b"\n")
}

/// Reads a history back.
pub fn read(path: &Path) -> Result<Vec<Event>, HistoryError> {
    let tell = |source| HistoryError::File { path: path.to_path_buf(), source };
    let mut lines = BufReader::new(File::open(path).map_err(tell)?).lines();
    let head = lines.next().transpose().map_err(tell)?.unwrap_or_default();
    let head: Head = parse(path, 1, &head)?;
    if head.history_version > VERSION {
        return Err(HistoryError::Newer { path: path.to_path_buf(), found: head.history_version });
    }
    let mut events = Vec::new();
    for (index, line) in lines.enumerate() {
        events.push(parse(path, index + 2, &line.map_err(tell)?)?);
    }
    Ok(events)
}

fn parse<T: for<'a> Deserialize<'a>>(path: &Path, line: usize, text: &str) -> Result<T, HistoryError> {
    serde_json::from_str(text).map_err(|error| HistoryError::Line {
        path: path.to_path_buf(),
        line,
        reason: error.to_string(),
    })
}
