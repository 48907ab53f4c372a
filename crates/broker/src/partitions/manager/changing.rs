//! The change of a replica to its copy in another directory, a stage after the other.
//!
//! ```text
//!   flush ─▶ mark ─▶ announce ─▶ catch up ─▶ hand over ─▶ enter ─▶ settle ─▶ leave
//!   copy     source  checkpoints └──── the partition's gate is closed ──┘  name on   old folder
//!                    of the copy                                           the disk  goes
//! ```
//! Picture: up to *enter* the replica is where it was and the mark goes again if nothing comes of it; from then on it is in
//! the other directory, whatever fails. Each stage leaves on the disks what the next start decides rightly
//! (`directories::twins`), also if one of the two disks is not there then.
//!
//! Invariants: the mark is on the disk before the copy has the partition's name, the name before the old folder loses it.
//! What the checkpoints of the new directory say of the partition is written before the copy has its name, under the lock
//! that keeps other writers of checkpoints away until then; else a crash could bring deleted records back.
//!
//! Not here: copying (`moving`), what a start makes of two folders (`directories::twins`).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;
use twinstream_log::{Checkpoint, CopyError, LogError};
use twinstream_model::Offset;

use super::super::directories::deleted_name;
use super::super::moves::Step;
use super::super::partition::{Closed, Seat};
use super::{Partition, PartitionManager, checkpoint_of, now_ms};

/// A change that is under way.
pub(in crate::partitions) struct Changing<'a> {
    manager: &'a PartitionManager,
    partition: &'a Arc<Partition>,
    /// The copy.
    seat: &'a Arc<Seat>,
    stage: Stage<'a>,
    /// Who has a mark that must go if nothing comes of it.
    marked: Option<Arc<Seat>>,
}

/// What comes next.
enum Stage<'a> {
    Flush,
    Mark,
    Announce,
    CatchUp(MutexGuard<'a, ()>),
    HandOver(MutexGuard<'a, ()>, Closed<'a>),
    Enter(MutexGuard<'a, ()>, Closed<'a>),
    Settle(Arc<Seat>),
    Leave(Arc<Seat>),
    Over(Step),
}

impl<'a> Changing<'a> {
    /// The copy has all that its source had a moment ago.
    pub(in crate::partitions) fn new(
        manager: &'a PartitionManager,
        partition: &'a Arc<Partition>,
        seat: &'a Arc<Seat>,
    ) -> Changing<'a> {
        Changing { manager, partition, seat, stage: Stage::Flush, marked: None }
    }

    /// Does the next stage. Says what becomes of the move when there is none.
    pub(in crate::partitions) fn advance(&mut self) -> Result<Option<Step>, CopyError> {
        let stage = std::mem::replace(&mut self.stage, Stage::Over(Step::Goes));
        let next = self.next(stage);
        match next {
            Ok(Stage::Over(step)) => {
                self.take_back();
                Ok(Some(step))
            }
            Ok(stage) => {
                self.stage = stage;
                Ok(None)
            }
            Err(error) => {
                self.take_back();
                Err(error)
            }
        }
    }

    fn next(&mut self, stage: Stage<'a>) -> Result<Stage<'a>, CopyError> {
        let next = match stage {
            Stage::Flush => {
                self.seat.log.flush(now_ms())?;
                Stage::Mark
            }
            Stage::Mark => self.mark()?,
            Stage::Announce => {
                let alone = self.manager.checkpointing.lock();
                self.announce();
                Stage::CatchUp(alone)
            }
            Stage::CatchUp(alone) => self.catch_up(alone)?,
            Stage::HandOver(alone, closed) => {
                closed.hand_over(self.seat, now_ms())?;
                Stage::Enter(alone, closed)
            }
            Stage::Enter(_alone, closed) => {
                let left = closed.enter(self.seat, &self.partition.id().to_string())?;
                self.marked = None;
                Stage::Settle(left)
            }
            Stage::Settle(left) => self.settle(left),
            Stage::Leave(left) => self.leave(left),
            Stage::Over(step) => Stage::Over(step),
        };
        Ok(next)
    }

    fn mark(&mut self) -> Result<Stage<'a>, CopyError> {
        let Some(directory) = self.manager.directories.id(self.seat.dir) else {
            return Ok(Stage::Over(Step::Goes)); // it has just failed, as the next step sees
        };
        let source = self.partition.seat();
        let marked = source.log.mark_left(directory, &self.seat.log);
        self.marked = Some(source);
        marked.map_err(CopyError::Mark)?;
        Ok(Stage::Announce)
    }

    /// What the checkpoints of the new directory have to say when the folder has its name.
    fn announce(&self) {
        use Checkpoint::{Cleaner, LogStart, RecoveryPoint, Replication};
        let (at, source) = (self.partition.id(), self.partition.log());
        for kind in [RecoveryPoint, Replication, LogStart, Cleaner] {
            let log = if kind == RecoveryPoint { &self.seat.log } else { &*source };
            let coming = checkpoint_of(log, kind).map(|offset: Offset| (at.clone(), offset));
            self.manager.write_checkpoint_with(kind, self.seat.dir, coming);
        }
    }

    fn catch_up(&self, alone: MutexGuard<'a, ()>) -> Result<Stage<'a>, CopyError> {
        let Some(closed) = self.partition.close_gate() else { return Ok(Stage::Over(Step::Later(Duration::ZERO))) };
        match closed.catch_up(self.seat, now_ms())? {
            true => Ok(Stage::HandOver(alone, closed)),
            false => Ok(Stage::Over(Step::Goes)), // too much is missing still
        }
    }

    /// The old folder stays until the new name is on the disk.
    fn settle(&self, left: Arc<Seat>) -> Stage<'a> {
        match self.seat.log.settle_name() {
            Ok(()) => Stage::Leave(left),
            Err(error) => {
                tracing::error!(partition = %self.partition.id(), error = %error.chain(), "log is in another directory, but perhaps not for good; the next start will tell");
                Stage::Over(Step::Ended)
            }
        }
    }

    fn leave(&self, left: Arc<Seat>) -> Stage<'a> {
        let at = self.partition.id();
        let path_of = |dir: usize| self.manager.directories.disk(dir).path().display().to_string();
        tracing::info!(partition = %at, from = path_of(left.dir), to = path_of(self.seat.dir), "replica has moved to another directory");
        if let Err(error) = self.manager.remove_left(&left) {
            tracing::warn!(partition = %at, error = %error.chain(), "cannot remove the folder that a replica has left, trying on");
            self.manager.moves.left_behind.lock().push(left);
        }
        Stage::Over(Step::Ended)
    }

    /// Nothing came of it, unless the copy has entered. A mark that stays all the same names a copy that has not got the
    /// partition's name.
    fn take_back(&mut self) {
        if let Some(marked) = self.marked.take()
            && let Err(error) = marked.log.unmark_left()
        {
            tracing::warn!(partition = %self.partition.id(), error = %error.chain(), "cannot remove the mark of a replica that did not leave");
        }
    }
}

/// Folders that replicas have left.
impl PartitionManager {
    fn remove_left(&self, left: &Seat) -> Result<(), LogError> {
        let folder = left.log.close_for_deletion(&deleted_name(left.log.partition()))?;
        self.doom(folder, left.log.config().file_delete_delay_ms);
        Ok(())
    }

    /// Tries again to remove what could not be removed.
    pub(super) fn remove_left_behind(&self) {
        let waiting = std::mem::take(&mut *self.moves.left_behind.lock());
        let failed =
            waiting.into_iter().filter(|left| !self.directories.works(left.dir) || self.remove_left(left).is_err());
        let failed: Vec<Arc<Seat>> = failed.collect();
        self.moves.left_behind.lock().extend(failed);
        self.directories.take_superseded().into_iter().for_each(|folder| self.doom(folder, 0));
    }
}
