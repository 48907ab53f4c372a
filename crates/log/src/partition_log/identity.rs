//! Which topic a folder belongs to, by its `partition.metadata` (KIP-516).
//!
//! Picture: the file has no checksum, but whoever opens a folder knows what it should say. One byte that differs from that
//! is damage: ids are random, so that two topics whose ids agree in all characters but one do not exist. Anything else
//! that reads as an id is the id of another topic, and anything that does not is an error.

use std::path::Path;

use twinstream_model::TopicId;

use super::METADATA_FILE;
use crate::{LogError, files};

const METADATA_VERSION: u32 = 0;

/// What a folder says about the topic that it is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    Same,
    /// It said so before one byte changed.
    OneByteOff,
    Other(TopicId),
}

/// Holds the identity of a folder against the topic that it should belong to.
pub fn compare_identity(dir: &Path, wanted: TopicId) -> Result<Identity, LogError> {
    match read_topic_id(dir) {
        Ok(found) if found == wanted => Ok(Identity::Same),
        found => {
            let bytes = files::read_if_exists(&dir.join(METADATA_FILE))?.unwrap_or_default();
            match is_one_byte_off(bytes.trim_ascii_end(), text(wanted).as_bytes()) {
                true => Ok(Identity::OneByteOff),
                false => found.map(Identity::Other),
            }
        }
    }
}

/// Lets a folder belong to a topic.
pub fn write_identity(dir: &Path, topic_id: TopicId) -> Result<(), LogError> {
    files::replace_content(&dir.join(METADATA_FILE), text(topic_id).as_bytes())
}

fn is_one_byte_off(found: &[u8], wanted: &[u8]) -> bool {
    found.len() == wanted.len() && found.iter().zip(wanted).filter(|(found, wanted)| found != wanted).count() == 1
}

fn text(topic_id: TopicId) -> String {
    format!("version: {METADATA_VERSION}\ntopic_id: {topic_id}")
}

pub(super) fn read_topic_id(dir: &Path) -> Result<TopicId, LogError> {
    let path = dir.join(METADATA_FILE);
    let bytes = files::read_if_exists(&path)?.ok_or_else(|| LogError::damaged(&path, "file is missing"))?;
    let text = String::from_utf8_lossy(&bytes);
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    match field("version:").map(str::parse::<u32>) {
        Some(Ok(METADATA_VERSION)) => {}
        Some(Ok(newer)) => {
            return Err(LogError::NewerVersion { path, found: newer.to_string(), known: METADATA_VERSION });
        }
        _ => return Err(LogError::damaged(&path, "version is missing")),
    }
    field("topic_id:").and_then(TopicId::parse).ok_or_else(|| LogError::damaged(&path, "topic id is missing"))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn one_changed_byte_is_damage_and_another_id_is_another_topic() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, other) = (TopicId(Uuid::new_v4()), TopicId(Uuid::new_v4()));
        write_identity(dir.path(), ours).unwrap();
        assert_eq!(compare_identity(dir.path(), ours).unwrap(), Identity::Same);
        assert_eq!(compare_identity(dir.path(), other).unwrap(), Identity::Other(ours));
        let file = dir.path().join(METADATA_FILE);
        let sound = std::fs::read(&file).unwrap();
        for at in 0..sound.len() {
            for flip in [1, 2, 4, 8, 16, 32, 64, 128] {
                let mut bytes = sound.clone();
                bytes[at] ^= flip;
                std::fs::write(&file, &bytes).unwrap();
                let found = compare_identity(dir.path(), ours).unwrap();
                assert!(matches!(found, Identity::Same | Identity::OneByteOff), "byte {at}, bit {flip}: {found:?}");
            }
        }
        std::fs::write(&file, &sound[..sound.len() - 1]).unwrap();
        assert!(compare_identity(dir.path(), ours).is_err());
        std::fs::write(&file, [&sound[..], b"\n"].concat()).unwrap();
        assert_eq!(compare_identity(dir.path(), ours).unwrap(), Identity::Same);
    }
}
