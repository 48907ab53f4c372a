//! The change of a replica to its copy in another directory, a stage after the other.
//!
//! ```text
//!   flush ─▶ mark ─▶ announce ─▶ follow ─▶ catch up ─▶ hand over ─▶ enter ─▶ settle ─▶ leave
//!   copy     source  checkpoints  what came └──── the partition's gate is closed ──┘  name on   old folder
//!                    of the copy  meanwhile                                           the disk  goes
//! ```
//! Picture: up to *enter* the replica is where it was and the mark goes again if nothing comes of it; from then on it is in
//! the other directory, whatever fails. Each stage leaves on the disks what the next start decides rightly
//! (`directories::twins`), also if one of the two disks is not there then.
//!
//! Invariants: the mark is on the disk before the copy has the partition's name, the name before the old folder loses it.
//! What the checkpoints of the new directory say of the partition is written before the copy has its name, under the lock
//! that keeps other writers of checkpoints away until then; else a crash could bring deleted records back.
//!
//! Bound: the copy follows for [`ROUNDS_MAX`] rounds. With what is missing then the gate opens again if that is too much, and
//! the next change waits longer (`moves::Work`): none of that costs more than a few flushes now and then.
//!
//! Not here: copying (`moving`), how the old folder goes (`left_behind`), what a start makes of two folders
//! (`directories::twins`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;
use twinstream_log::{Checkpoint, CopyError};
use twinstream_model::Offset;

use super::super::moves::Step;
use super::super::partition::{Closed, Seat};
use super::left_behind::Left;
use super::{Partition, PartitionManager, checkpoint_of, now_ms};

/// Bytes of a round of following.
const ROUND_BYTES: usize = 1 << 20;
/// After a round with less than this it is time to close the gate.
const NEAR_BYTES: u64 = 256 << 10;
/// Rounds before one change. Nobody else writes checkpoints meanwhile.
const ROUNDS_MAX: u32 = 32;
/// Bytes of the copy that may be left for a flush behind the closed gate.
const UNFLUSHED_BYTES_MAX: u64 = 4 << 20;

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
    /// With the number of rounds that were done.
    Follow(MutexGuard<'a, ()>, u32),
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
                Stage::Follow(alone, 0)
            }
            Stage::Follow(alone, rounds) => self.follow(alone, rounds)?,
            Stage::CatchUp(alone) => self.catch_up(alone)?,
            Stage::HandOver(alone, closed) => {
                closed.hand_over(self.seat, now_ms())?;
                Stage::Enter(alone, closed)
            }
            Stage::Enter(_alone, closed) => {
                let at = self.partition.id();
                let mut waiting = self.manager.moves.left_behind.lock();
                let left = closed.enter(self.seat, &at.to_string())?;
                waiting.insert((left.dir, at.clone()), Left::for_now(&left));
                drop(waiting);
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

    /// Copies what came while all that was written, so that little is missing when the gate is closed.
    fn follow(&self, alone: MutexGuard<'a, ()>, rounds: u32) -> Result<Stage<'a>, CopyError> {
        let (copy, source) = (&self.seat.log, self.partition.log());
        let copied = copy.copy_from(&source, ROUND_BYTES, now_ms())?;
        self.manager.moves.throttle.lock().spend(copied, Instant::now());
        let rounds = rounds + 1;
        let is_near = copied < NEAR_BYTES || copy.has_all_of(&source);
        if rounds >= ROUNDS_MAX || (is_near && copy.unflushed() <= UNFLUSHED_BYTES_MAX) {
            return Ok(Stage::CatchUp(alone));
        }
        if is_near {
            copy.flush(now_ms())?; // else everybody might have to wait for it
        }
        Ok(Stage::Follow(alone, rounds))
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
            Err(_) if self.partition.is_retired() => Stage::Leave(left), // both go
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
        self.manager.give_up_left(&left);
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
