//! One partition as a follower sees it: where to fetch, what to do with the answer.
//!
//! Picture: a follower's log is a prefix of its leader's log plus perhaps a tail of its own, written under an older
//! leader and never committed. The follower does not look for that tail. It fetches at its log end and says the epoch
//! of its last record; a leader whose log has another history answers where that epoch ended for *it* (KIP-595), and
//! the follower cuts there. After at most one round for each epoch of the tail the logs agree.
//!
//! ```text
//!   leader     | epoch 1 .... | epoch 3 ......
//!   follower   | epoch 1 ........ | epoch 2 ..     fetch(last epoch 2) -> diverging (1, end of 1) -> cut there
//! ```
//! Invariants: F1 the log is cut for one reason only: the leader of the current epoch has other records there, or none.
//! It is never cut to the high watermark (KIP-101: the high watermark of a follower is old news, and what it would
//! cut may be committed). F2 the high watermark is at most the log end and the leader's, and falls only by a cut.
//! F3 an answer counts only for the very question that was asked last.
//!
//! Where a leader's log begins within a batch, because DeleteRecords moved its start there, a copy has to begin with
//! the whole batch, before anything that the leader still gives out. So an empty log may begin before the offset that is
//! asked for, until that batch is there.
//!
//! Not here: sessions and connections to leaders, files.

use twinstream_model::{LeaderEpoch, Offset};

/// What a follower asks of its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// `current_leader_epoch`
    pub leader_epoch: LeaderEpoch,
    /// Its log end. While the log is empty, where in the first batch the leader's log begins.
    pub offset: Offset,
    /// The epoch of its last record, [`LeaderEpoch::NONE`] for an empty log.
    pub last_epoch: LeaderEpoch,
    pub log_start: Offset,
}

/// What the leader answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Records, or none yet.
    Records { high_watermark: Offset, log_start: Offset },
    /// The logs fork: the largest epoch of the leader of at most `last_epoch`, and where it ends; and where the
    /// leader's log begins.
    Diverging { epoch: LeaderEpoch, end: Offset, log_start: Offset },
    /// OFFSET_OUT_OF_RANGE
    OutOfRange,
    /// FENCED_LEADER_EPOCH: there is a newer leadership, which the image will tell.
    Fenced,
    /// UNKNOWN_LEADER_EPOCH, NOT_LEADER_OR_FOLLOWER, UNKNOWN_TOPIC_ID and whatever passes by itself: the other side is
    /// not there yet.
    NotReady,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Append the records of the answer (perhaps none), then call [`FollowerState::appended`].
    Append,
    /// Cut the log with `truncate_to`, then call [`FollowerState::cut`]. `committed` means that the cut goes below
    /// the high watermark: records that were acknowledged are lost, as an unclean election accepts. Say so loudly.
    Truncate { to: Offset, committed: bool },
    /// Drop everything and begin at the leader's log start with `restart_at`, then call [`FollowerState::cut`].
    /// `committed` as above; without it the leader has deleted all that we have.
    RestartAt { start: Offset, committed: bool },
    /// The answer's first batch begins at `base`, before the empty log, and reaches into it. Begin there with
    /// `restart_at`, then call [`FollowerState::begun_within`]: the next answer brings the batch again, and it fits.
    BeginWith { base: Offset },
    /// Ask the leader for its log start and log end (ListOffsets, earliest and latest, as a replica in this epoch), then
    /// call [`FollowerState::bounds`].
    AskBounds,
    /// Ask again after a pause.
    Retry,
    /// Ask nothing until the image brings another leadership.
    WaitForImage,
    /// The answer is for an earlier question: drop it.
    Ignore,
}

/// What an append allows a follower to announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announce {
    /// Move the log's high watermark here.
    pub high_watermark: Offset,
    /// Then let the log begin here, if it begins earlier: what the leader deleted goes on the followers, too.
    pub log_start: Offset,
}

/// Where a follower's own log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnLog {
    pub start: Offset,
    pub end: Offset,
    pub high_watermark: Offset,
    /// The epoch of the last record (`PartitionLog::last_epoch`).
    pub last_epoch: LeaderEpoch,
}

/// A follower's view of one partition during one leader epoch. The next epoch begins with a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerState {
    leader_epoch: LeaderEpoch,
    log: OwnLog,
    /// Where to ask instead of at the log end: the log is empty and begins with the batch that holds this offset.
    within: Option<Offset>,
    /// Whether the last answer showed that we have all that the leader has committed.
    in_sync: bool,
}

impl FollowerState {
    pub fn new(leader_epoch: LeaderEpoch, log: OwnLog) -> FollowerState {
        FollowerState { leader_epoch, log, within: None, in_sync: false }
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// Whether the log reaches the leader's high watermark, as far as is known. Throttles spare such followers.
    pub fn is_in_sync(&self) -> bool {
        self.in_sync
    }

    /// The next question.
    pub fn ask(&self) -> Ask {
        Ask {
            leader_epoch: self.leader_epoch,
            offset: self.within.unwrap_or(self.log.end),
            last_epoch: self.log.last_epoch,
            log_start: self.log.start,
        }
    }

    /// Takes in the answer to `ask`. `own_end_of` is the own log's `end_offset_for_epoch`.
    pub fn heard(
        &self,
        ask: &Ask,
        heard: Heard,
        own_end_of: impl Fn(LeaderEpoch) -> Option<(LeaderEpoch, Offset)>,
    ) -> Step {
        if *ask != self.ask() {
            return Step::Ignore;
        }
        match heard {
            Heard::Records { .. } => Step::Append,
            Heard::Diverging { epoch, end, log_start } => self.cut_to(self.fork(epoch, end, own_end_of), log_start),
            Heard::OutOfRange => Step::AskBounds,
            Heard::Fenced => Step::WaitForImage,
            Heard::NotReady => Step::Retry,
        }
    }

    /// Where the logs fork at the latest, if the leader has epoch `epoch` up to `end` and goes on with another one than
    /// we do.
    fn fork(
        &self,
        epoch: LeaderEpoch,
        end: Offset,
        own_end_of: impl Fn(LeaderEpoch) -> Option<(LeaderEpoch, Offset)>,
    ) -> Offset {
        let fork = match own_end_of(epoch) {
            // If we share the epoch, the fork is where the shorter of both ends. If the epoch is one that we do not know,
            // nothing behind the end of our next older one is shared (KIP-279), and the next answer may send us
            // further back.
            Some((_, own_end)) => own_end.min(end),
            // Our epochs are not known.
            None => end,
        };
        fork.min(self.log.end)
    }

    fn cut_to(&self, to: Offset, leader_start: Offset) -> Step {
        let committed = to < self.log.high_watermark;
        match to < self.log.start {
            // All that we have lies behind the fork: copy the leader's log from its beginning.
            true => Step::RestartAt { start: leader_start, committed },
            false => Step::Truncate { to, committed },
        }
    }

    /// Takes in the leader's log start and log end, after [`Step::AskBounds`].
    pub fn bounds(&self, leader_start: Offset, leader_end: Offset) -> Step {
        if leader_start > self.log.end {
            // We were away while retention went past our end.
            return Step::RestartAt { start: leader_start, committed: false };
        }
        if leader_end < self.log.end {
            // The epochs said nothing, or the leader would have answered with a fork: cut by length.
            return self.cut_to(leader_end, leader_start);
        }
        Step::Retry // it was out of range when we asked and is no more
    }

    /// Records were appended, or there were none.
    pub fn appended(&mut self, end: Offset, last_epoch: LeaderEpoch, heard: Heard) -> Announce {
        if end > self.log.end {
            self.within = None;
        }
        self.log.end = end;
        self.log.last_epoch = last_epoch;
        if let Heard::Records { high_watermark, log_start } = heard {
            self.in_sync = end >= high_watermark;
            self.log.high_watermark = high_watermark.min(end).max(self.log.high_watermark);
            self.log.start = log_start.min(self.log.high_watermark).max(self.log.start);
        }
        Announce { high_watermark: self.log.high_watermark, log_start: self.log.start }
    }

    /// The log was cut or begun anew and stands here now.
    pub fn cut(&mut self, log: OwnLog) {
        self.log = log;
        self.within = None;
        self.in_sync = false;
    }

    /// The log was begun anew with the batch that holds the offset which is asked for, and stands here now. The leader
    /// gives out nothing before that offset, so it stays the one to ask for.
    pub fn begun_within(&mut self, log: OwnLog) {
        let asked = self.ask().offset;
        self.cut(log);
        self.within = (asked > log.end).then_some(asked);
    }
}

#[cfg(test)]
mod tests;
