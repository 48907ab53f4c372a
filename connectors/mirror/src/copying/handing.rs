//! Makes of what a fetch brought what the worker is to send: batches for a target that numbers the records itself, runs of
//! whole batches for a mirror, and what a mirror is told beside them.
//!
//! Invariant: what is put into a lane is noted before it leaves; a lane that is closed takes nothing, and what follows it is
//! not put there either.

use bytes::Bytes;
use twinstream_client::RawClient;
use twinstream_client::raw::FetchedPartition;
use twinstream_connect_api::{Aligned, Placement, RawBatch, TaskError};
use twinstream_model::{LeaderEpoch, Offset, TopicId};

use super::Copying;
use crate::aligned::parting::Parting;
use crate::aligned::run;
use crate::engine::At;
use crate::observer::now_ms;
use crate::provenance::{PROVENANCE, Path};
use crate::request::{Ready, Wishes, prepare};

/// A batch of a partition that is slow is copied out of an answer that is so many times as large: it would keep all of it.
const PINNED_MAX: usize = 16;

impl Copying {
    /// What records take along from this source, if they are to.
    pub(super) fn path_from(&self, source: &RawClient) -> Result<Option<Path>, TaskError> {
        if !self.settings.provenance {
            return Ok(None);
        }
        let path = Path::between(source.cluster_id(), self.target_cluster.clone());
        path.map(Some).map_err(|why| TaskError::fatal(format!("{PROVENANCE} needs the ids of both clusters: {why}")))
    }

    /// Makes batches of what a partition brought.
    pub(super) fn hand_on(
        &self,
        at: At,
        position: Offset,
        reached: Option<(TopicId, LeaderEpoch)>,
        answer: &FetchedPartition,
        out: &mut Vec<RawBatch>,
    ) -> Result<(), TaskError> {
        let wishes = Wishes { compression: self.settings.compression, path: self.path.as_ref() };
        let prepared = prepare(&answer.batches, &answer.aborted, position, self.limits.bytes[at], wishes)
            .map_err(|cause| self.unreadable(at, cause))?;
        let Some(partition) = self.observer.partition(at) else { return Ok(()) };
        if prepared.aborted > 0 {
            partition.metrics.aborted(prepared.aborted);
        }
        if prepared.echoes > 0 {
            partition.metrics.echoed(prepared.echoes);
        }
        if let Some(last) = prepared.batches.last().filter(|last| last.records > 0) {
            partition.metrics.handed_on((now_ms() - last.max_timestamp).max(0));
        }
        let count = prepared.batches.len();
        for (index, ready) in prepared.batches.into_iter().enumerate() {
            let reached = reached.filter(|_| index + 1 == count);
            if !self.put(at, ready, Placement::Assigned, reached, out) {
                break;
            }
        }
        Ok(())
    }

    /// Makes appends at the source's offsets of what a partition brought; without records only of a log start that moved, and of
    /// an epoch in which nothing was written yet: whoever is promoted has to be above it.
    pub(super) fn hand_on_aligned(&mut self, brought: &Brought, out: &mut Vec<RawBatch>) -> Result<(), TaskError> {
        let Brought { at, position, last_epoch, answer, .. } = brought;
        let (at, log_start) = (*at, answer.log_start_offset);
        let Some(tie) = self.engine.tie(at) else { return Ok(()) };
        let from_source = |from: Offset, last_epoch: LeaderEpoch, newest: LeaderEpoch| Aligned {
            link: tie.link,
            from,
            log_start: log_start.max(Offset(0)),
            source_epoch: self.engine.source_epoch(at).max(newest).max(LeaderEpoch(0)),
            high_watermark: answer.high_watermark,
            last_epoch,
            cut: false,
        };
        let mut appends: Vec<(Ready, Aligned)> = Vec::new();
        if let Some(position) = *position {
            let pieces = run::cut(&answer.batches, position, *last_epoch, run::APPEND_BYTES_MAX);
            for piece in pieces.map_err(|cause| self.unreadable(at, cause))? {
                let placement = from_source(piece.from, piece.last_epoch, piece.newest_epoch);
                appends.push((Ready::from(piece), placement));
            }
            if let Some(((last, _), partition)) = appends.last().zip(self.observer.partition(at)) {
                partition.metrics.handed_on((now_ms() - last.max_timestamp).max(0));
            }
        } else if let Some(position) = self.engine.stands_at(at)
            && (log_start > self.told[at].0 || self.engine.source_epoch(at) > self.told[at].1)
        {
            appends.push((Ready::nothing(position), from_source(position, *last_epoch, *last_epoch)));
        }
        for (ready, placement) in appends {
            let epoch = placement.source_epoch;
            if !self.put(at, ready, Placement::Aligned(placement), None, out) {
                break;
            }
            self.told[at] = (log_start, epoch);
        }
        Ok(())
    }

    /// Tells a mirror to give up what is not the source's.
    pub(super) fn cut(&self, at: At, parting: Parting, out: &mut Vec<RawBatch>) {
        let Some(tie) = self.engine.tie(at) else { return };
        let placement = Aligned {
            link: tie.link,
            from: parting.at,
            log_start: Offset(0),
            source_epoch: parting.epoch,
            high_watermark: parting.at,
            last_epoch: LeaderEpoch::NONE,
            cut: true,
        };
        self.put(at, Ready::nothing(parting.at), Placement::Aligned(placement), None, out);
    }

    /// Whether the lane took it; if not it comes again.
    fn put(
        &self,
        at: At,
        mut ready: Ready,
        placement: Placement,
        reached: Option<(TopicId, LeaderEpoch)>,
        out: &mut Vec<RawBatch>,
    ) -> bool {
        let aligned = placement != Placement::Assigned;
        let Some(lane) = self.observer.handed_on(at, &mut ready, aligned, reached) else { return false };
        let Ready { bytes, records, next, .. } = ready;
        out.push(RawBatch { lane, bytes, records, next: next.0, placement });
        true
    }
}

/// What one partition brought.
pub(super) struct Brought {
    pub(super) at: At,
    /// Where its batches begin; `None` if there are none to copy.
    pub(super) position: Option<Offset>,
    /// Of the record before it.
    pub(super) last_epoch: LeaderEpoch,
    /// The topic, and the epoch of its last whole batch.
    pub(super) reached: Option<(TopicId, LeaderEpoch)>,
    pub(super) answer: FetchedPartition,
}

impl Brought {
    /// Copies a small part of a large answer out of it where earlier batches of the partition still wait: what waits long
    /// would keep all of the answer's memory.
    pub(super) fn unpin(&mut self, brought_bytes: usize, under_way: usize) {
        let bytes = &mut self.answer.batches;
        if under_way > 0 && bytes.len() * PINNED_MAX < brought_bytes {
            *bytes = Bytes::copy_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use twinstream_model::{ErrorCode, PartitionIndex, TopicName, TopicPartition};

    use super::*;

    fn brought(batches: Bytes) -> Brought {
        let answer = FetchedPartition {
            partition: TopicPartition::new(TopicName::parse("t").unwrap(), PartitionIndex(0)),
            topic_id: TopicId::NONE,
            error: ErrorCode::None,
            high_watermark: Offset(0),
            last_stable_offset: Offset(0),
            log_start_offset: Offset(0),
            diverging: None,
            current_leader: None,
            read_from: None,
            aborted: Vec::new(),
            batches,
        };
        Brought { at: 0, position: Some(Offset(0)), last_epoch: LeaderEpoch::NONE, reached: None, answer }
    }

    #[test]
    fn a_small_part_of_a_large_answer_keeps_it_only_while_nobody_waits() {
        let answer = Bytes::from(vec![7; 16_000]);
        let pinned = |bytes: usize, under_way: usize| {
            let mut brought = brought(answer.slice(..bytes));
            brought.unpin(answer.len(), under_way);
            assert_eq!(brought.answer.batches, answer[..bytes]);
            brought.answer.batches.as_ptr() == answer.as_ptr()
        };
        assert!(pinned(100, 0), "what leaves at once is not copied");
        assert!(!pinned(100, 1));
        assert!(pinned(1_000, 1), "a large part is worth its answer");
    }
}
