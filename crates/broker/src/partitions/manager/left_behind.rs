//! Folders under the name of a partition that it does not use any more: those that a move has left, and those of
//! partitions that were deleted.
//!
//! Picture: such a folder is renamed at once, and removed after a while. One that cannot be renamed waits in a list and is
//! tried again: every 10 s, when a replica is to move there, and before a log of its name is made there.
//!
//! Invariants: a log is made only where there is no folder of its name, or one that an attempt to make this very partition has
//! begun. What is renamed is the folder that was given up, never one that came in its place: whoever makes one takes the
//! entry from the list first, and the list stays locked from the look to the renamed folder. What a move has left stands in
//! the list from the moment at which the partition changes seats, and nobody but who makes a log there touches it before the
//! new folder's name is on the disk.
//!
//! Not here: folders of earlier runs (`directories::twins`, `strays`).

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

use twinstream_log::LogError;
use twinstream_model::{TopicId, TopicPartition};

use super::super::directories::deleted_name;
use super::super::partition::Seat;
use super::PartitionManager;

/// What waits, by directory and partition.
pub(in crate::partitions) type LeftBehind = BTreeMap<(usize, TopicPartition), Left>;

/// A folder that was given up.
pub(in crate::partitions) struct Left {
    seat: Arc<Seat>,
    may_go: bool,
}

impl Left {
    /// One that stays until the name of the folder that took its place is on the disk.
    pub(super) fn for_now(seat: &Arc<Seat>) -> Left {
        Left { seat: Arc::clone(seat), may_go: false }
    }
}

impl PartitionManager {
    /// Has a folder removed. For one of a directory that is out of use that is up to the next start.
    pub(super) fn give_up(&self, seat: Arc<Seat>) {
        let mut waiting = self.moves.left_behind.lock();
        self.remove_or_wait(&mut waiting, seat);
    }

    /// The same, for one that a move has left. It may have been in the way of a new log meanwhile.
    pub(super) fn give_up_left(&self, seat: &Arc<Seat>) {
        let mut waiting = self.moves.left_behind.lock();
        let key = key_of(seat);
        if waiting.get(&key).is_some_and(|left| Arc::ptr_eq(&left.seat, seat)) {
            waiting.remove(&key);
            self.remove_or_wait(&mut waiting, Arc::clone(seat));
        }
    }

    fn remove_or_wait(&self, waiting: &mut LeftBehind, seat: Arc<Seat>) {
        match self.rename_left(&seat) {
            Err(error) if self.directories.works(seat.dir) => {
                let partition = seat.log.partition();
                tracing::warn!(%partition, error = %error.chain(), "cannot remove a folder that is not used any more, trying on");
                waiting.insert(key_of(&seat), Left { seat, may_go: true });
            }
            _ => {}
        }
    }

    /// Tries again to remove what could not be removed.
    pub(super) fn remove_left_behind(&self) {
        self.moves.left_behind.lock().retain(|(dir, _), left| {
            self.directories.works(*dir) && !(left.may_go && self.rename_left(&left.seat).is_ok())
        });
        self.directories.take_superseded().into_iter().for_each(|folder| self.doom(folder, 0));
    }

    /// Sees to it that nothing is in the way of a log that is to be made.
    pub(super) fn make_way(&self, dir: usize, at: &TopicPartition, topic_id: TopicId) -> Result<(), LogError> {
        let mut waiting = self.moves.left_behind.lock();
        let key = (dir, at.clone());
        if let Some(left) = waiting.get(&key) {
            self.rename_left(&left.seat)?;
            waiting.remove(&key);
        }
        let Some(folder) = self.directories.make_way(dir, at, topic_id)? else { return Ok(()) };
        drop(waiting);
        tracing::error!(partition = %at, folder = %folder.display(), "a folder was in the way of a new partition of its name, and was put aside: remove it if nobody needs it");
        self.metrics.set_strays(self.directories.strays().len());
        Ok(())
    }

    fn rename_left(&self, seat: &Seat) -> Result<(), LogError> {
        match seat.log.close_for_deletion(&deleted_name(seat.log.partition())) {
            Ok(folder) => self.doom(folder, seat.log.config().file_delete_delay_ms),
            Err(LogError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {} // somebody was faster
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn key_of(seat: &Seat) -> (usize, TopicPartition) {
    (seat.dir, seat.log.partition().clone())
}
