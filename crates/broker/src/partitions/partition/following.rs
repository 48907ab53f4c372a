//! A partition that this broker follows: where to fetch, what to do with the answer.

use parking_lot::{Mutex, RwLockWriteGuard};
use twinstream_log::{AppendError, PartitionLog, Truncated};
use twinstream_model::{LeaderEpoch, NodeId, Offset};
use twinstream_replication::follower::{Ask, FollowerState, Heard, OwnLog, Step};

use super::super::waiters::Event;
use super::{Gate, Partition, Role};

/// A follower's role during one epoch.
pub(super) struct Following {
    leader: NodeId,
    state: Mutex<FollowerState>,
}

/// What a follower asks next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) ask: Ask,
    pub(crate) high_watermark: Offset,
    /// Throttles spare such followers.
    pub(crate) in_sync: bool,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// Ask on.
    Goes,
    /// The log has to be cut first, which is file work: [`Partition::repair`].
    Repair(Step),
    /// Flushed records were cut: the checkpoint of recovery points has to be written before anything is appended.
    Checkpoint,
    /// The leader has to be asked where its log begins and ends: [`Partition::heard_bounds`].
    AskBounds,
    /// Ask again after a pause.
    Pause,
    /// Nothing until the image brings another leadership.
    WaitForImage,
    /// The answer came too late for this role.
    Dropped,
    /// The log failed; this replica stands still.
    Failed,
}

impl Following {
    pub(super) fn new(leader: NodeId, epoch: LeaderEpoch, log: &PartitionLog) -> Following {
        Following { leader, state: Mutex::new(FollowerState::new(epoch, own_log(log))) }
    }

    pub(super) fn leader(&self) -> NodeId {
        self.leader
    }
}

fn own_log(log: &PartitionLog) -> OwnLog {
    OwnLog {
        start: log.log_start_offset(),
        end: log.log_end_offset(),
        high_watermark: log.high_watermark(),
        last_epoch: log.last_epoch(),
    }
}

impl Partition {
    /// What to ask the leader of this epoch; `None` if this broker does not follow in it any more.
    pub(crate) fn question(&self, epoch: LeaderEpoch) -> Option<Question> {
        let gate = self.gate.read();
        let state = gate.following_in(epoch)?.state.lock();
        Some(Question { ask: state.ask(), high_watermark: self.log().high_watermark(), in_sync: state.is_in_sync() })
    }

    /// Takes in the leader's answer to `ask`, records included.
    pub(crate) fn heard(&self, ask: &Ask, heard: Heard, records: &[u8], now: i64) -> Followed {
        let gate = self.gate.read();
        let Some(following) = gate.following_in(ask.leader_epoch) else { return Followed::Dropped };
        let mut state = following.state.lock();
        let step = state.heard(ask, heard, |epoch| self.log().end_offset_for_epoch(epoch));
        if let (Step::Append, Some(base)) = (step, self.log().begin_of(records)) {
            return followed(Step::BeginWith { base });
        }
        match step {
            Step::Append => match self.append_heard(&mut state, heard, records, now) {
                Ok(()) => Followed::Goes,
                Err(failure) => self.not_appended(failure),
            },
            step => followed(step),
        }
    }

    /// Takes in where the leader's log begins and ends.
    pub(crate) fn heard_bounds(&self, ask: &Ask, start: Offset, end: Offset) -> Followed {
        let gate = self.gate.read();
        let Some(following) = gate.following_in(ask.leader_epoch) else { return Followed::Dropped };
        let state = following.state.lock();
        match state.ask() == *ask {
            true => followed(state.bounds(start, end)),
            false => Followed::Dropped,
        }
    }

    fn append_heard(
        &self,
        state: &mut FollowerState,
        heard: Heard,
        records: &[u8],
        now: i64,
    ) -> Result<(), AppendError> {
        if !records.is_empty() {
            self.log().append_as_follower(records, state.leader_epoch(), now)?;
            self.note_appended();
        }
        let announce = state.appended(self.log().log_end_offset(), self.log().last_epoch(), heard);
        self.commit(announce.high_watermark);
        if announce.log_start > self.log().log_start_offset() {
            self.log().follow_log_start(announce.log_start, now)?;
        }
        Ok(())
    }

    fn not_appended(&self, error: AppendError) -> Followed {
        match error {
            // There is no room for it now; what was not appended will be sent again.
            AppendError::Storage(error) if error.is_passing() => Followed::Pause,
            AppendError::Storage(error) => {
                self.fail(&error);
                Followed::Failed
            }
            // A cut answer, or bytes that changed on the way; the next answer brings them again.
            error => {
                tracing::warn!(partition = %self.id(), %error, "records of the leader were not appended, asking again");
                Followed::Pause
            }
        }
    }

    /// Whether the log will begin earlier after this step than it does: then the checkpoint of log starts goes first. Once it is
    /// repaired, [`PartitionLog::cut_is_over`].
    pub(crate) fn begins_earlier(&self, step: &Step) -> bool {
        match step {
            Step::Truncate { to: start, .. } | Step::RestartAt { start, .. } | Step::BeginWith { base: start } => {
                self.log().begins_earlier(*start)
            }
            _ => false,
        }
    }

    /// Cuts the log, or begins it anew, as the answer to `ask` demands. File work.
    pub(crate) fn repair(&self, ask: &Ask, step: Step) -> Followed {
        let gate = self.gate.read();
        let Some(following) = gate.following_in(ask.leader_epoch) else { return Followed::Dropped };
        let mut state = following.state.lock();
        if state.ask() != *ask {
            return Followed::Dropped;
        }
        let repaired = match step {
            Step::Truncate { to, committed } => {
                self.report_cut(ask, to, committed);
                self.log().truncate_to(to)
            }
            Step::RestartAt { start, committed } => {
                self.report_cut(ask, start, committed);
                self.log().restart_at(start)
            }
            Step::BeginWith { base } => {
                tracing::info!(partition = %self.id(), from = ask.offset.0, to = base.0, "the leader's log begins within a batch, beginning with the whole batch");
                self.log().restart_at(base)
            }
            _ => return Followed::Goes,
        };
        match step {
            Step::BeginWith { .. } => state.begun_within(own_log(&self.log())),
            _ => state.cut(own_log(&self.log())),
        }
        drop(state);
        drop(gate);
        self.announce(Event::Changed);
        match repaired {
            Ok(cut) if cut.recovery_point_moved => Followed::Checkpoint,
            Ok(_) => Followed::Goes,
            Err(error) => {
                self.fail(&error);
                Followed::Failed
            }
        }
    }

    /// Ends the log where a hole begins, and the role with it: until the next epoch this replica follows nobody, so that nobody
    /// hears of it what was true before. File work. The caller knows that nobody counts on this replica. `None` if it has
    /// another role by now, or the log failed.
    pub(crate) fn cut_at_hole(&self, epoch: LeaderEpoch, hole: Offset) -> Option<Truncated> {
        let mut gate = self.gate.write();
        if gate.epoch != epoch || !matches!(gate.role, Role::Following(_) | Role::Idle) {
            return None;
        }
        gate.role = Role::Idle;
        let gate = RwLockWriteGuard::downgrade(gate);
        let cut = self.log().truncate_to(hole.max(self.log().log_start_offset()));
        drop(gate);
        self.announce(Event::Changed);
        cut.map_err(|error| self.fail(&error)).ok()
    }

    fn report_cut(&self, ask: &Ask, to: Offset, committed: bool) {
        let (from, epoch) = (ask.offset.0, ask.leader_epoch.0);
        match committed {
            false => {
                tracing::info!(partition = %self.id(), from, to = to.0, epoch, "cutting records that were never committed")
            }
            true => {
                tracing::error!(partition = %self.id(), from, to = to.0, epoch, "cutting COMMITTED records that the leader does not have, as after an unclean election")
            }
        }
    }
}

fn followed(step: Step) -> Followed {
    match step {
        Step::Append => Followed::Goes,
        Step::Truncate { .. } | Step::RestartAt { .. } | Step::BeginWith { .. } => Followed::Repair(step),
        Step::AskBounds => Followed::AskBounds,
        Step::Retry => Followed::Pause,
        Step::WaitForImage => Followed::WaitForImage,
        Step::Ignore => Followed::Dropped,
    }
}

impl Gate {
    fn following_in(&self, epoch: LeaderEpoch) -> Option<&Following> {
        match &self.role {
            Role::Following(following) if self.epoch == epoch => Some(following),
            _ => None,
        }
    }
}
