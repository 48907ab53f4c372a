//! One partition: its log, who leads it, who waits for it.
//!
//! Every append and read first passes the gate: this broker must be the leader, and the leader epoch that the
//! client knows, if it says one, must be the current one (KIP-320). The gate is held while an append runs, so
//! leadership cannot change in the middle of it. With one replica a record is committed as soon as it is
//! appended, so the high watermark follows the log end at once.

use std::fmt;

use parking_lot::RwLock;
use twinstream_log::{AppendError, Appended, Origin, PartitionLog, ReadError, ReadResult};
use twinstream_metadata::PartitionImage;
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, TopicId, TopicPartition};

use super::waiters::Waiters;

/// Leadership as the image has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leadership {
    pub(crate) leader: Option<NodeId>,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) isr_len: usize,
}

impl Leadership {
    pub(super) fn of(image: &PartitionImage) -> Leadership {
        Leadership { leader: image.leader, epoch: image.leader_epoch, isr_len: image.isr.len() }
    }
}

pub(crate) struct Partition {
    node: NodeId,
    log: PartitionLog,
    leadership: RwLock<Leadership>,
    min_insync_replicas: RwLock<usize>,
    waiters: Waiters,
}

/// Why an append did not happen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendRefused {
    #[error("{0}")]
    NotLeader(ErrorCode),
    #[error("{have} replicas are in sync, min.insync.replicas asks for {need}")]
    NotEnoughReplicas { have: usize, need: usize },
    #[error(transparent)]
    Log(#[from] AppendError),
}

impl Partition {
    pub(super) fn new(node: NodeId, log: PartitionLog, leadership: Leadership, min_insync_replicas: usize) -> Self {
        let partition = Partition {
            node,
            log,
            leadership: RwLock::new(leadership),
            min_insync_replicas: RwLock::new(min_insync_replicas),
            waiters: Waiters::default(),
        };
        partition.commit_alone(leadership);
        partition
    }

    pub(crate) fn id(&self) -> &TopicPartition {
        self.log.partition()
    }

    pub(crate) fn topic_id(&self) -> TopicId {
        self.log.topic_id()
    }

    pub(crate) fn log(&self) -> &PartitionLog {
        &self.log
    }

    pub(super) fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    pub(crate) fn leadership(&self) -> Leadership {
        *self.leadership.read()
    }

    /// Takes over what the image says; whoever waits looks again.
    pub(super) fn set_leadership(&self, leadership: Leadership) {
        let mut current = self.leadership.write();
        if *current != leadership {
            *current = leadership;
            drop(current);
            self.commit_alone(leadership);
            self.waiters.ring();
        }
    }

    pub(super) fn set_min_insync_replicas(&self, replicas: usize) {
        *self.min_insync_replicas.write() = replicas;
    }

    /// Wakes everybody, because the partition is closed.
    pub(super) fn ring(&self) {
        self.waiters.ring();
    }

    /// The leader's epoch, if that is this broker and the client's epoch is the current one.
    pub(crate) fn check_leader(&self, client_epoch: LeaderEpoch) -> Result<LeaderEpoch, ErrorCode> {
        check(&self.leadership.read(), self.node, client_epoch)
    }

    /// Appends for a client or a coordinator. With `need_isr` the records must reach `min.insync.replicas`.
    pub(crate) fn append(
        &self,
        records: &[u8],
        origin: Origin,
        need_isr: bool,
        now: i64,
    ) -> Result<Appended, AppendRefused> {
        let leadership = self.leadership.read();
        let epoch = check(&leadership, self.node, LeaderEpoch::NONE).map_err(AppendRefused::NotLeader)?;
        let need = *self.min_insync_replicas.read();
        if need_isr && leadership.isr_len < need {
            return Err(AppendRefused::NotEnoughReplicas { have: leadership.isr_len, need });
        }
        let appended = self.log.append(records, origin, epoch, now)?;
        self.commit_alone(*leadership);
        drop(leadership);
        self.waiters.ring();
        Ok(appended)
    }

    /// Reads what consumers may see. The caller has passed [`Partition::check_leader`].
    pub(crate) fn read(&self, from: Offset, max_bytes: usize, at_least_one: bool) -> Result<ReadResult, ReadError> {
        self.log.read(from, max_bytes, at_least_one, self.log.high_watermark())
    }

    pub(crate) fn high_watermark(&self) -> Offset {
        self.log.high_watermark()
    }

    /// Up to where a reader of committed records may go. Without transactions that is the high watermark.
    pub(crate) fn last_stable_offset(&self) -> Offset {
        self.log.high_watermark()
    }

    /// The only in-sync replica commits by itself.
    fn commit_alone(&self, leadership: Leadership) {
        if leadership.leader == Some(self.node) && leadership.isr_len <= 1 {
            self.log.advance_high_watermark(self.log.log_end_offset());
        }
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partition").field("id", self.id()).field("leadership", &self.leadership()).finish()
    }
}

fn check(leadership: &Leadership, node: NodeId, client_epoch: LeaderEpoch) -> Result<LeaderEpoch, ErrorCode> {
    if client_epoch != LeaderEpoch::NONE && client_epoch > leadership.epoch {
        return Err(ErrorCode::UnknownLeaderEpoch);
    }
    if client_epoch != LeaderEpoch::NONE && client_epoch < leadership.epoch {
        return Err(ErrorCode::FencedLeaderEpoch);
    }
    match leadership.leader == Some(node) {
        true => Ok(leadership.epoch),
        false => Err(ErrorCode::NotLeaderOrFollower),
    }
}
