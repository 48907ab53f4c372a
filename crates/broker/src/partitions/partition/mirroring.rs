//! A partition of a mirror that this broker leads: what its link appends, and what a promotion leaves to do.
//!
//! Picture: the mark of the topic stands beside the role, behind the same gate, and changes with the leader epoch only: a promotion
//! raises it. So whoever holds the gate open knows for sure who may write, however old the image is that a request was judged by.
//!
//! Invariants: a mirror's epochs are those of its source, and leading it leaves no trace in them. The first leader after a promotion
//! has aborted what it has of open transactions before anything else is appended, and so has every later one.
//!
//! Not here: the batches (`twinstream_log`), raising epochs (`handlers::produce::aligned`).

use std::sync::atomic::Ordering;
use std::time::Instant;

use twinstream_log::{AppendError, LogError, Mirrored, MirroredFrom, Origin, PartitionLog, Truncated};
use twinstream_metadata::controller::PROMOTION_STEP;
use twinstream_metadata::{Mirror, MirrorState};
use twinstream_model::{LeaderEpoch, Offset, TopicPartition};
use twinstream_protocol::batch::batches;
use twinstream_protocol::mirror::SourceRange;
use twinstream_replication::leader::ReplicaFetch;
use uuid::Uuid;

use super::super::now_ms;
use super::super::waiters::Event;
use super::gaps::is_gap;
use super::{AppendRefused, Gate, Partition, ReplicaRefused};

/// What came over a link, and in which leader epoch it was appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LedMirror {
    pub(crate) mirrored: Mirrored,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) log_start: Offset,
}

impl Partition {
    /// Appends what a link brings, and lets the log begin where the source's does. With `need_isr` the records must reach
    /// `min.insync.replicas`.
    pub(crate) fn append_mirrored(
        &self,
        records: &[u8],
        link: Uuid,
        range: &SourceRange,
        need_isr: bool,
        now: i64,
    ) -> Result<LedMirror, AppendRefused> {
        let gate = self.gate.read();
        let leading = gate.leading().map_err(AppendRefused::NotLeader)?;
        gate.check_link(self.id(), link)?;
        if need_isr && !records.is_empty() {
            leading.state.lock().check_min_isr()?;
        }
        let log = self.log();
        let mirrored = match log.append_mirrored(records, &mirrored_from(range), gate.epoch, now) {
            Err(AppendError::Storage(error)) => {
                self.fail(&error);
                return Err(AppendError::Storage(error).into());
            }
            appended => appended?,
        };
        self.source_high_watermark.store(range.high_watermark.0, Ordering::Relaxed);
        let committed = {
            let mut state = leading.state.lock();
            state.set_flushed(self.flushed_end());
            state.appended(log.log_end_offset(), Instant::now())
        };
        self.ring_followers();
        committed.into_iter().for_each(|high_watermark| self.commit(high_watermark));
        let has_started = self.follow_source_start(&log, range.log_start, now)?;
        let epoch = gate.epoch;
        drop(gate);
        if has_started {
            self.announce(Event::Started);
        }
        if mirrored.bytes > 0 {
            self.note_appended();
        }
        Ok(LedMirror { mirrored, epoch, log_start: log.log_start_offset() })
    }

    /// Whether [`Partition::append_mirrored`] may take longer than a step of a runtime should.
    pub(crate) fn mirroring_takes_long(&self, records: &[u8], range: &SourceRange) -> bool {
        self.log().mirroring_takes_long(records, &mirrored_from(range))
    }

    /// Cuts what the source does not have any more, and begins to count anew what followers have: they cut their logs when they
    /// fetch next and hear that the epochs part. File work. The caller writes the recovery points down when that of this log went back.
    pub(crate) fn cut_mirrored(
        &self,
        link: Uuid,
        range: &SourceRange,
    ) -> Result<(LedMirror, Truncated), AppendRefused> {
        let gate = self.gate.write();
        gate.leading().map_err(AppendRefused::NotLeader)?;
        gate.check_link(self.id(), link)?;
        let log = self.log();
        let before = log.high_watermark();
        let cut = match log.cut_mirrored(range.from, range.leader_epoch) {
            Err(AppendError::Storage(error)) => {
                drop(gate);
                self.fail(&error);
                return Err(AppendError::Storage(error).into());
            }
            cut => cut?,
        };
        if cut.offsets > 0 {
            let (from, epoch) = (cut.log_end.0, range.leader_epoch.0);
            tracing::warn!(partition = %self.id(), %link, from, offsets = cut.offsets, high_watermark = before.0, epoch, "mirror is cut, because its source goes on differently");
            gate.leading().map_err(AppendRefused::NotLeader)?.state.lock().cut(cut.log_end);
        }
        let epoch = gate.epoch;
        drop(gate);
        self.settle(Instant::now());
        self.announce(Event::Changed);
        let mirrored = Mirrored { log_end: cut.log_end, end: cut.log_end, bytes: 0, records: 0 };
        Ok((LedMirror { mirrored, epoch, log_start: log.log_start_offset() }, cut))
    }

    /// Whether this ends a transaction that a topic had when it became a mirror: its coordinator may have told that it is committed
    /// already. Goes on until the new source's epochs are here, which are of a later era.
    pub(super) fn ends_what_it_had(&self, gate: &Gate, records: &[u8], origin: Origin) -> bool {
        let Some(MirrorState::MirroringAgain { epoch }) = gate.mirror.as_ref().map(|mirror| mirror.state) else {
            return false;
        };
        let is_marker = matches!(origin, Origin::Marker(_));
        if !is_marker || gate.epoch.0 / PROMOTION_STEP != epoch.0 / PROMOTION_STEP {
            return false;
        }
        let Some(Ok(marker)) = batches(records).next() else { return false };
        let id = marker.header().producer_id;
        self.log().active_producers().iter().any(|producer| producer.id == id && producer.open_since.is_some())
    }

    /// Whether a gap in a producer's sequence comes from what a promotion gave up: the producer has not written since, and what it had
    /// acknowledged after its last batch here was cut. The log takes any sequence of it then, as of one that it does not know.
    pub(super) fn has_parted(&self, gate: &Gate, error: &AppendError) -> bool {
        let AppendError::OutOfOrderSequence { id, expected, found, .. } = *error else { return false };
        // Where all is its own, nothing was cut.
        let mirror = gate.mirror.as_ref().filter(|mirror| mirror.own_below().is_none());
        let Some(promoted) = mirror.and_then(|mirror| mirror.promoted_in()) else { return false };
        let has_parted = is_gap(expected, found) && self.log().forget_older(id, promoted);
        if has_parted {
            tracing::info!(partition = %self.id(), producer = id.0, expected, found, "a producer goes on behind records of its own that are not here since the topic was promoted");
        }
        has_parted
    }

    /// Whether what was just read for a follower goes on from what it has. Only the log of a mirror is ever cut while it is led, so
    /// elsewhere it was enough to look when the follower asked.
    pub(crate) fn check_uncut_for(&self, fetch: &ReplicaFetch) -> Result<(), ReplicaRefused> {
        let gate = self.gate.read();
        if !gate.mirror.as_ref().is_some_and(|mirror| mirror.is_read_only()) {
            return Ok(());
        }
        let log = self.log();
        let mut state = gate.leading_for(fetch)?.state.lock();
        let committed = self.catch_up(&mut state, Instant::now());
        let found = state.check_position(fetch, |epoch| gate.end_of_epoch(&log, epoch));
        drop(state);
        committed.into_iter().for_each(|high_watermark| self.commit(high_watermark));
        found.map_err(ReplicaRefused::from)
    }

    /// Up to the high watermark, as a follower does. Whether it moved.
    fn follow_source_start(&self, log: &PartitionLog, start: Offset, now: i64) -> Result<bool, AppendRefused> {
        let before = log.log_start_offset();
        if start <= before {
            return Ok(false);
        }
        match log.follow_log_start(start, now) {
            Ok(after) => Ok(after > before),
            Err(error) => {
                self.fail(&error);
                Err(AppendError::Storage(error).into())
            }
        }
    }

    /// What comes before anything that this leader appends.
    pub(super) fn begin_reign(&self, epoch: LeaderEpoch, mirror: Option<&Mirror>) -> Result<(), LogError> {
        if mirror.is_some_and(Mirror::is_read_only) {
            return self.log().forget_leaderships();
        }
        if let Some(promoted) = mirror.and_then(Mirror::promoted_in) {
            let foreign = mirror.and_then(Mirror::own_below).unwrap_or(LeaderEpoch::NONE)..promoted;
            let aborted = self.log().abort_foreign(foreign, epoch, now_ms())?;
            if aborted.transactions > 0 {
                let transactions = aborted.transactions;
                tracing::info!(partition = %self.id(), epoch = epoch.0, transactions, "transactions that came over a link are aborted");
            }
        }
        self.log().note_leadership(epoch)
    }

    /// The largest epoch of at most `epoch` and where it ended.
    pub(crate) fn end_of_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.gate.read().end_of_epoch(&self.log(), epoch)
    }

    /// Whether what is here follows another cluster's topic.
    pub(crate) fn is_mirror(&self) -> bool {
        self.gate.read().mirror.as_ref().is_some_and(|mirror| mirror.is_read_only())
    }

    /// Records that the source has committed and that are not here; `None` unless this broker leads a mirror and has heard of its
    /// source.
    pub(crate) fn mirror_lag(&self) -> Option<i64> {
        let gate = self.gate.read();
        gate.leading().ok()?;
        gate.mirror.as_ref().filter(|mirror| mirror.is_read_only())?;
        let there = self.source_high_watermark.load(Ordering::Relaxed);
        (there >= 0).then(|| (there - self.log().log_end_offset().0).max(0))
    }
}

fn mirrored_from(range: &SourceRange) -> MirroredFrom {
    MirroredFrom {
        from: range.from,
        source_start: range.log_start,
        source_epoch: range.leader_epoch,
        last_epoch: range.last_epoch,
    }
}

impl Gate {
    /// Whether anybody but a link may append.
    pub(super) fn check_writable(&self, at: &TopicPartition) -> Result<(), AppendRefused> {
        match &self.mirror {
            Some(mirror) if mirror.is_read_only() => {
                let (topic, of, link) = (at.topic.clone(), mirror.topic.clone(), mirror.link);
                Err(AppendRefused::ReadOnly { topic, of, link })
            }
            _ => Ok(()),
        }
    }

    fn check_link(&self, at: &TopicPartition, link: Uuid) -> Result<(), AppendRefused> {
        match &self.mirror {
            Some(mirror) if mirror.is_read_only() && mirror.link == link => Ok(()),
            _ => Err(AppendRefused::NotOfLink { topic: at.topic.clone(), link }),
        }
    }

    /// Kafka's rules, and for mirrors one case more: a replica may have records of an epoch that its leader, who left no trace of
    /// its own, has not. What the leader has ends with its log then.
    pub(super) fn end_of_epoch(&self, log: &PartitionLog, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let is_mirror = || self.mirror.as_ref().is_some_and(|mirror| mirror.is_read_only());
        log.end_offset_for_epoch(epoch).or_else(|| {
            let latest = log.latest_epoch().filter(|latest| is_mirror() && *latest < epoch)?;
            Some((latest, log.log_end_offset()))
        })
    }
}
