//! Partitions with folders in several directories, and folders whose partition may be in another one.
//!
//! Picture: a replica that moves to another directory marks the folder that it leaves (`left.metadata`) before the copy
//! gets the partition's name. A process that ends then, or a folder that could not be removed, leaves two for the next
//! start to choose from:
//!
//! | the marked folder | |
//! |---|---|
//! | names a copy that has not got the partition's name | the change was not made: the mark goes, the folder stays |
//! | another directory has a folder that is not marked, or is the one that it names | goes |
//! | a directory is out of sight | nobody can say: it is withheld, as if it were out of sight, too |
//! | else | the disk of the other directory was replaced: the folder is all there is, and stays |
//!
//! Two folders without a mark are none that a move left. Somebody put one of them there; the one that reaches further
//! stays, and the other one is marked, so that it is not asked again. Folders of two topics are no copies of each other: one
//! may be of a topic that was deleted, and could not be removed. Both stay until it is known which topic there is.
//!
//! Invariants: a folder that another one supersedes is not used any more, also if it cannot be removed. Not here: what is
//! done with folders of other topics (`manager::strays`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use twinstream_log::{Left, LogConfig, LogError, LogMetrics, PartitionLog, read_left, remove_left, write_left};
use twinstream_model::{LeaderEpoch, Offset, TopicId, TopicPartition};
use uuid::Uuid;

use super::{Directories, deleted_name};

/// A folder of a partition.
struct Folder {
    dir: usize,
    left: Option<Left>,
}

impl Directories {
    /// Chooses for each partition the folder that is used. `unseen` says whether there are directories out of sight.
    pub(super) fn resolve_twins(&self, unseen: bool) {
        let mut folders: BTreeMap<TopicPartition, Vec<Folder>> = BTreeMap::new();
        for (dir, at) in self.unopened() {
            let left = self.left_of(dir, &at);
            folders.entry(at).or_default().push(Folder { dir, left });
        }
        for (at, mut folders) in folders {
            for folder in &mut folders {
                if folder.left.as_ref().is_some_and(|left| self.is_copy_of(&at, left)) {
                    folder.left = None;
                    self.unmark(folder.dir, &at);
                }
            }
            self.resolve(&at, folders, unseen);
        }
    }

    fn resolve(&self, at: &TopicPartition, mut folders: Vec<Folder>, unseen: bool) {
        while let Some((goes, stays)) = superseded(&folders, |dir| self.id(dir)) {
            let (goes, stays) = (folders[goes].dir, folders[stays].dir);
            folders.retain(|folder| folder.dir != goes);
            self.supersede(goes, stays, at);
        }
        // What is here now are folders without a mark, or those that name a directory which has no folder.
        let Some(Folder { dir, left }) = folders.pop() else { return };
        if left.is_some() && unseen {
            for dir in folders.iter().map(|folder| folder.dir).chain([dir]) {
                tracing::error!(partition = %at, dir = %self.dirs[dir].path.display(), "replica was about to move to a directory that cannot be opened, and may be there; its old folder is not used before that is known");
                self.withhold(dir, at);
            }
            return;
        }
        if left.is_some() {
            tracing::warn!(partition = %at, dir = %self.dirs[dir].path.display(), "replica was about to move to a directory that is gone; its old folder is used again");
            folders.iter().map(|folder| folder.dir).chain([dir]).for_each(|dir| self.unmark(dir, at));
        }
        let _used = folders.into_iter().fold(dir, |used, other| self.longer(at, other.dir, used));
    }

    /// Where the replica of a folder went, as far as can be read.
    fn left_of(&self, dir: usize, at: &TopicPartition) -> Option<Left> {
        self.dirs[dir].judge(read_left(&self.folder(dir, at))).unwrap_or_else(|error| {
            tracing::warn!(partition = %at, error = %error.chain(), "cannot read where a replica went");
            Some(Left { directory: Uuid::nil(), copy: String::new() })
        })
    }

    fn is_copy_of(&self, at: &TopicPartition, left: &Left) -> bool {
        let futures = self.futures.lock();
        let named = futures.iter().filter(|future| future.at == *at && future.folder == left.copy);
        named.map(|future| self.id(future.dir)).any(|id| id == Some(left.directory))
    }

    fn unmark(&self, dir: usize, at: &TopicPartition) {
        if let Err(error) = self.dirs[dir].judge(remove_left(&self.folder(dir, at))) {
            tracing::warn!(partition = %at, error = %error.chain(), "cannot remove the mark of a replica that did not leave");
        }
    }

    /// Of two folders the one that reaches further. What is of different topics, or does not say of which, stays as it is,
    /// until the image tells which of them is the partition's.
    fn longer(&self, at: &TopicPartition, first: usize, second: usize) -> usize {
        let (stays, goes) = match (self.reach(first, at), self.reach(second, at)) {
            (Ok((topic, ours)), Ok((other, theirs))) if topic == other => {
                if reaches_further(theirs, ours) {
                    (second, first)
                } else {
                    (first, second)
                }
            }
            (Err(error), _) | (_, Err(error)) if !matches!(error, LogError::Damaged { .. }) => {
                tracing::error!(partition = %at, first = %self.dirs[first].path.display(), second = %self.dirs[second].path.display(), error = %error.chain(), "a partition has folders in two directories of which one cannot be opened; the first one is used, move the wrong one away");
                self.withhold(second, at);
                return first;
            }
            _ => {
                tracing::error!(partition = %at, first = %self.dirs[first].path.display(), second = %self.dirs[second].path.display(), "a partition has folders in two directories that are not copies of each other; the one of the present topic is used, the other one is put aside");
                return first;
            }
        };
        let left = Left { directory: self.id(stays).unwrap_or_default(), copy: String::new() };
        if let Err(error) = self.dirs[goes].judge(write_left(&self.folder(goes, at), &left)) {
            tracing::warn!(partition = %at, error = %error.chain(), "cannot mark the folder that is not used");
        }
        self.supersede(goes, stays, at);
        stays
    }

    /// How far the log of a folder reaches: the epoch of its last record, if it has one, and its end.
    fn reach(&self, dir: usize, at: &TopicPartition) -> Result<(TopicId, (LeaderEpoch, Offset)), LogError> {
        let opening = self.opening(dir, at, LogConfig::default(), LogMetrics::new(), 0)?;
        let log = PartitionLog::open(&self.folder(dir, at), opening)?;
        Ok((log.topic_id(), (log.last_epoch(), log.log_end_offset())))
    }

    fn supersede(&self, dir: usize, by: usize, at: &TopicPartition) {
        self.withhold(dir, at);
        tracing::info!(partition = %at, leaves = %self.dirs[dir].path.display(), stays = %self.dirs[by].path.display(), "replica had moved to another directory, what it left is removed");
        self.superseded.lock().push((dir, at.clone()));
    }

    /// Nobody uses this folder in this run, but for removing it.
    fn withhold(&self, dir: usize, at: &TopicPartition) {
        if let Some(held) = &self.dirs[dir].held {
            held.folders.lock().withheld.insert(at.clone());
        }
    }

    /// Renames folders that were superseded, also those for which that failed before. Returns what has to be removed.
    pub(in crate::partitions) fn take_superseded(&self) -> Vec<PathBuf> {
        let mut superseded = self.superseded.lock();
        let mut renamed = Vec::new();
        superseded.retain(|(dir, at)| {
            let is_there = self.dirs[*dir].held.as_ref().is_some_and(|held| held.folders.lock().withheld.contains(at));
            if is_there && self.works(*dir) {
                match self.rename_unopened(*dir, at, &deleted_name(at)) {
                    Ok(folder) => renamed.push(folder),
                    Err(error) => {
                        tracing::warn!(partition = %at, error = %error.chain(), "cannot remove the folder that a replica has left, trying on");
                        return true;
                    }
                }
            }
            false
        });
        renamed
    }

    /// Whether a directory has something of this name.
    pub(in crate::partitions) fn has_folder(&self, dir: usize, at: &TopicPartition) -> bool {
        self.folder(dir, at).exists()
    }

    /// The id of a directory that works.
    pub(in crate::partitions) fn id(&self, dir: usize) -> Option<Uuid> {
        self.dirs[dir].working().map(|held| held.directory.lock().id())
    }

    pub(super) fn folder(&self, dir: usize, at: &TopicPartition) -> PathBuf {
        Path::new(&self.dirs[dir].path).join(at.to_string())
    }
}

/// A marked folder that another one supersedes, and which.
fn superseded(folders: &[Folder], id: impl Fn(usize) -> Option<Uuid>) -> Option<(usize, usize)> {
    folders.iter().enumerate().find_map(|(goes, folder)| {
        let left = folder.left.as_ref()?;
        let is_later = |other: &Folder| other.left.is_none() || id(other.dir) == Some(left.directory);
        let stays = folders.iter().position(|other| other.dir != folder.dir && is_later(other))?;
        Some((goes, stays))
    })
}

/// A log without records, from which all were deleted, has no epoch to compare.
fn reaches_further((epoch, end): (LeaderEpoch, Offset), (other_epoch, other_end): (LeaderEpoch, Offset)) -> bool {
    match epoch == LeaderEpoch::NONE || other_epoch == LeaderEpoch::NONE {
        true => end > other_end,
        false => (epoch, end) > (other_epoch, other_end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(dir: usize) -> Option<Uuid> {
        Some(Uuid::from_u128(dir as u128 + 1))
    }

    fn stayed(dir: usize) -> Folder {
        Folder { dir, left: None }
    }

    fn left(dir: usize, to: usize) -> Folder {
        Folder { dir, left: Some(Left { directory: id(to).unwrap(), copy: "c".to_owned() }) }
    }

    #[test]
    fn folder_that_was_left_gives_way_to_one_that_was_not_and_to_the_one_that_it_names() {
        assert_eq!(superseded(&[left(0, 1), stayed(1)], id), Some((0, 1)));
        assert_eq!(superseded(&[stayed(0), left(1, 2)], id), Some((1, 0)), "from there it went on");
        assert_eq!(superseded(&[left(0, 1), left(1, 2)], id), Some((0, 1)));
        assert_eq!(superseded(&[left(1, 2), left(0, 1)], id), Some((1, 0)));
    }

    #[test]
    fn folder_that_names_none_of_the_others_is_not_superseded() {
        assert_eq!(superseded(&[left(0, 1)], id), None);
        assert_eq!(superseded(&[stayed(0), stayed(1)], id), None);
        assert_eq!(superseded(&[left(0, 2), left(1, 2)], id), None);
        assert_eq!(superseded(&[left(0, 0)], id), None, "nor one that names itself");
    }

    #[test]
    fn log_without_records_is_compared_by_its_end() {
        let none = LeaderEpoch::NONE;
        assert!(reaches_further((none, Offset(5_000)), (LeaderEpoch(3), Offset(1_000))));
        assert!(!reaches_further((LeaderEpoch(3), Offset(1_000)), (none, Offset(5_000))));
        assert!(reaches_further((LeaderEpoch(4), Offset(10)), (LeaderEpoch(3), Offset(1_000))));
    }
}
