//! Ties empty log directories to a cluster before the first start.
//!
//! A broker formats empty directories by itself, and the first controller makes a cluster id. This is for who wants to choose the id,
//! or to be sure that a node never founds or joins another cluster.
//!
//! Invariants: nothing is written unless all directories can be; a directory that holds anything is left as it is.

use std::path::{Path, PathBuf};

use twinstream_log::{DirectoryError, LogDirectory};
use twinstream_model::ClusterId;

use crate::controller::QUORUM_FOLDER;
use crate::settings::{Settings, SettingsError, sources};
use crate::{BrokerError, BrokerOptions};

/// What every file system's root may have, and what opening a directory makes.
const HARMLESS: [&str; 2] = [".lock", "lost+found"];

/// Why directories are not formatted.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("a cluster id is a text without spaces and line breaks, such as {example}; `{given}` is not")]
    BadClusterId { given: String, example: ClusterId },
    #[error("{} is formatted for cluster {cluster} already; --ignore-formatted passes over such directories", path.display())]
    Formatted { path: PathBuf, cluster: ClusterId },
    #[error("{} is not empty, it has {entry}; formatting is for new directories", path.display())]
    NotEmpty { path: PathBuf, entry: String },
    #[error("{} holds the metadata of a cluster already; point metadata.log.dir at a new directory", .0.display())]
    HasMetadata(PathBuf),
    #[error("cannot list {}", path.display())]
    List {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// What `--ignore-formatted` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfFormatted {
    Refuse,
    /// A directory of the same cluster is fine as it is.
    PassOver,
}

/// A directory after formatting.
#[derive(Clone, Debug)]
pub struct FormattedDirectory {
    pub path: PathBuf,
    pub directory_id: ClusterId,
    /// Whether it was formatted before.
    pub was_formatted: bool,
}

/// Formats the log directories of a broker's settings.
pub fn format(
    options: &BrokerOptions,
    cluster: &str,
    if_formatted: IfFormatted,
) -> Result<Vec<FormattedDirectory>, BrokerError> {
    let cluster = check_cluster_id(cluster)?;
    let settings = read(options)?;
    check_metadata(&settings, if_formatted)?;
    let mut directories = Vec::new();
    for path in &settings.log.dirs {
        let is_new = !path.exists() || is_empty(path)?;
        let directory = LogDirectory::open(path, settings.node.id)?;
        check(&directory, path, &cluster, if_formatted, is_new)?;
        directories.push(directory);
    }
    let mut formatted = Vec::with_capacity(directories.len());
    for mut directory in directories {
        let was_formatted = directory.meta().is_some();
        let path = directory.path().to_owned();
        let directory_id = directory.claim(&cluster)?.directory.clone();
        formatted.push(FormattedDirectory { path, directory_id, was_formatted });
    }
    Ok(formatted)
}

pub(crate) fn read(options: &BrokerOptions) -> Result<Settings, SettingsError> {
    Settings::new(sources::gather(options.config.as_deref(), std::env::vars(), &options.overrides)?)
}

fn check_cluster_id(given: &str) -> Result<ClusterId, FormatError> {
    let is_id = !given.is_empty() && given.chars().all(|c| !c.is_whitespace() && !c.is_control());
    match is_id {
        true => Ok(ClusterId::from(given)),
        false => {
            let example = ClusterId::from_uuid(uuid::Uuid::new_v4());
            Err(FormatError::BadClusterId { given: given.to_owned(), example })
        }
    }
}

fn check_metadata(settings: &Settings, if_formatted: IfFormatted) -> Result<(), FormatError> {
    let metadata = settings.quorum.metadata_dir.join(QUORUM_FOLDER);
    match if_formatted {
        IfFormatted::Refuse if metadata.exists() => Err(FormatError::HasMetadata(metadata)),
        _ => Ok(()),
    }
}

fn check(
    directory: &LogDirectory,
    path: &Path,
    cluster: &ClusterId,
    if_formatted: IfFormatted,
    is_new: bool,
) -> Result<(), BrokerError> {
    let refused = match directory.meta() {
        Some(meta) if meta.cluster != *cluster && if_formatted == IfFormatted::PassOver => {
            let (found, expected) = (meta.cluster.clone(), cluster.clone());
            return Err(DirectoryError::OtherCluster { path: path.to_owned(), found, expected }.into());
        }
        Some(_) if if_formatted == IfFormatted::PassOver => return Ok(()),
        Some(meta) => FormatError::Formatted { path: path.to_owned(), cluster: meta.cluster.clone() },
        None if is_new => return Ok(()),
        None => FormatError::NotEmpty { path: path.to_owned(), entry: first_entry(path)?.unwrap_or_default() },
    };
    Err(refused.into())
}

fn is_empty(path: &Path) -> Result<bool, FormatError> {
    Ok(first_entry(path)?.is_none())
}

/// A name that is there and should not be.
fn first_entry(path: &Path) -> Result<Option<String>, FormatError> {
    let failed = |source| FormatError::List { path: path.to_owned(), source };
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if !HARMLESS.contains(&name.as_str()) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
