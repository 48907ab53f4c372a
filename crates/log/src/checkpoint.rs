//! Kafka's checkpoint files: a version line, a count line, one entry a line.
//!
//! Two kinds of entries: `topic partition offset` for a whole log directory, `epoch offset` for one
//! partition. The count makes a cut file noticeable.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use twinstream_model::{LeaderEpoch, Offset, TopicName, TopicPartition};

use crate::{LogError, files};

const VERSION: u32 = 0;

pub(crate) fn format_offsets(offsets: &BTreeMap<TopicPartition, Offset>) -> String {
    let mut text = header(offsets.len());
    for (at, offset) in offsets {
        line(&mut text, format_args!("{} {} {offset}", at.topic, at.partition));
    }
    text
}

pub(crate) fn read_offsets(path: &Path) -> Result<BTreeMap<TopicPartition, Offset>, LogError> {
    let entries = read(path, |fields| match fields {
        [topic, partition, offset] => {
            let topic = TopicName::parse(topic).ok()?;
            let partition: i32 = partition.parse().ok()?;
            Some((TopicPartition::new(topic, partition), Offset(offset.parse().ok()?)))
        }
        _ => None,
    })?;
    Ok(entries.unwrap_or_default().into_iter().collect())
}

pub(crate) fn format_epochs(epochs: &[(LeaderEpoch, Offset)]) -> String {
    let mut text = header(epochs.len());
    for (epoch, offset) in epochs {
        line(&mut text, format_args!("{epoch} {offset}"));
    }
    text
}

pub(crate) fn read_epochs(path: &Path) -> Result<Option<Vec<(LeaderEpoch, Offset)>>, LogError> {
    read(path, |fields| match fields {
        [epoch, offset] => Some((LeaderEpoch(epoch.parse().ok()?), Offset(offset.parse().ok()?))),
        _ => None,
    })
}

fn header(count: usize) -> String {
    format!("{VERSION}\n{count}\n")
}

fn line(text: &mut String, entry: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _infallible = writeln!(text, "{entry}");
}

fn read<T>(path: &Path, parse: impl Fn(&[&str]) -> Option<T>) -> Result<Option<Vec<T>>, LogError> {
    let Some(bytes) = files::read_if_exists(path)? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes).map_err(|_| LogError::damaged(path, "not a text file"))?;
    let mut lines = text.lines();
    let mut number = |what: &str| {
        let line = lines.next().unwrap_or("");
        line.trim().parse::<usize>().map_err(|_| LogError::damaged(path, format!("{what} line is {line:?}")))
    };
    let version = number("version")?;
    if version > VERSION as usize {
        return Err(LogError::NewerVersion { path: path.to_owned(), found: version.to_string(), known: VERSION });
    }
    let count = number("count")?;
    let mut entries = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.split_whitespace().collect();
        entries.push(parse(&fields).ok_or_else(|| LogError::damaged(path, format!("entry {line:?}")))?);
    }
    match entries.len() == count {
        true => Ok(Some(entries)),
        false => Err(LogError::damaged(path, format!("{count} entries announced, {} found", entries.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets() -> BTreeMap<TopicPartition, Offset> {
        let at = |t, p| TopicPartition::new(TopicName::parse(t).unwrap(), p);
        [(at("a", 0), Offset(5)), (at("b.c", 12), Offset(900))].into()
    }

    #[test]
    fn offsets_have_kafkas_text_and_read_back() {
        let text = format_offsets(&offsets());
        assert_eq!(text, "0\n2\na 0 5\nb.c 12 900\n");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        std::fs::write(&path, text).unwrap();
        assert_eq!(read_offsets(&path).unwrap(), offsets());
    }

    #[test]
    fn epochs_have_kafkas_text() {
        assert_eq!(format_epochs(&[(LeaderEpoch(0), Offset(0)), (LeaderEpoch(3), Offset(17))]), "0\n2\n0 0\n3 17\n");
    }

    #[test]
    fn cut_garbled_and_newer_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        assert!(read_offsets(&path).unwrap().is_empty());
        for text in ["", "0\n", "0\n2\na 0 5\n", "0\n1\na 0\n", "0\n1\na/b 0 5\n", "x\n1\na 0 5\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(read_offsets(&path), Err(LogError::Damaged { .. })), "{text:?}");
        }
        std::fs::write(&path, "1\n0\n").unwrap();
        assert!(matches!(read_offsets(&path), Err(LogError::NewerVersion { .. })));
    }
}
