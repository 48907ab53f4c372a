//! `meta.properties`, Kafka's version 1: which node of which cluster a log directory belongs to.

use std::collections::BTreeMap;
use std::path::Path;

use twinstream_model::{ClusterId, NodeId};

use crate::{LogError, files};

pub(super) const FILE: &str = "meta.properties";
const VERSION: u32 = 1;

/// The identity of a log directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    pub cluster: ClusterId,
    pub node: NodeId,
    /// Tells the directories of one node apart; the same 22 characters as a cluster id.
    pub directory: ClusterId,
}

pub(super) fn write(dir: &Path, meta: &MetaProperties) -> Result<(), LogError> {
    files::replace(&dir.join(FILE), format(meta).as_bytes())
}

fn format(meta: &MetaProperties) -> String {
    let MetaProperties { cluster, node, directory } = meta;
    format!("#\ncluster.id={cluster}\ndirectory.id={directory}\nnode.id={node}\nversion={VERSION}\n")
}

pub(super) fn read(dir: &Path) -> Result<Option<MetaProperties>, LogError> {
    let path = dir.join(FILE);
    let Some(bytes) = files::read_if_exists(&path)? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes).map_err(|_| LogError::damaged(&path, "not a text file"))?;
    let fields: BTreeMap<&str, &str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    let field = |key: &str| fields.get(key).copied().ok_or_else(|| LogError::damaged(&path, format!("no {key}")));
    match field("version")?.parse::<u32>() {
        Ok(VERSION) => {}
        Ok(found) if found > VERSION => {
            return Err(LogError::NewerVersion { path, found: found.to_string(), known: VERSION });
        }
        _ => return Err(LogError::damaged(&path, format!("version {}", field("version")?))),
    }
    let node = field("node.id")?.parse().map_err(|_| LogError::damaged(&path, "node.id is no number"))?;
    let cluster = field("cluster.id")?;
    if cluster.is_empty() {
        return Err(LogError::damaged(&path, "cluster.id is empty"));
    }
    // Directories that an older Kafka formatted have no id of their own.
    let directory = fields.get("directory.id").copied().unwrap_or("");
    Ok(Some(MetaProperties { cluster: cluster.into(), node: NodeId(node), directory: directory.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_has_kafkas_text_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let meta = MetaProperties { cluster: "c1".into(), node: NodeId(3), directory: "d1".into() };
        write(dir.path(), &meta).unwrap();
        let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert_eq!(text, "#\ncluster.id=c1\ndirectory.id=d1\nnode.id=3\nversion=1\n");
        assert_eq!(read(dir.path()).unwrap(), Some(meta));
    }

    #[test]
    fn kafkas_own_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let text = "#\n#Mon Jan 05 10:00:00 UTC 2026\ncluster.id=q1Sh-9_ISia_zwGINzRvyQ\nnode.id=1\nversion=1\n";
        std::fs::write(dir.path().join(FILE), text).unwrap();
        let meta = read(dir.path()).unwrap().unwrap();
        assert_eq!((meta.cluster.as_str(), meta.node), ("q1Sh-9_ISia_zwGINzRvyQ", NodeId(1)));
    }

    #[test]
    fn newer_and_damaged_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let put = |text: &str| std::fs::write(dir.path().join(FILE), text).unwrap();
        put("cluster.id=c\nnode.id=1\nversion=2\n");
        let error = read(dir.path()).unwrap_err();
        assert!(error.to_string().contains("version 2, this program reads up to version 1"), "{error}");
        for text in ["", "version=1\n", "version=x\n", "version=1\nnode.id=a\ncluster.id=c\n", "version=0\n"] {
            put(text);
            assert!(matches!(read(dir.path()), Err(LogError::Damaged { .. })), "{text:?}");
        }
    }
}
