//! A partition that this broker leads: appends, what followers have, who is in sync.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use twinstream_log::{AppendError, Appended, Applicant, Origin, PartitionLog, ReadError, VerificationGuard};
use twinstream_metadata::controller::IsrChange;
use twinstream_metadata::{Image, PartitionImage};
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, ProducerId, TopicName};
use twinstream_protocol::batch::BatchHeader;
use twinstream_replication::leader::{
    Answer, Answered, Effects, FetchRefused, LeaderSettings, LeaderState, LogPositions, NotEnoughReplicas, ReplicaFetch,
};
use uuid::Uuid;

use super::super::waiters::Event;
use super::gaps::{Gaps, Standing, is_gap};
use super::{Gate, Partition, assignment, standing};

/// How long a new leader takes a gap in a producer's sequence for its own doing.
const SETTLING: Duration = Duration::from_secs(1);

/// The leader's role during one epoch.
pub(super) struct Leading {
    pub(super) state: Mutex<LeaderState>,
    since: Instant,
    gaps: Mutex<Gaps>,
    /// In-sync replicas without which nothing is committed because there is an ELR, 0 without one.
    beyond_elr: AtomicUsize,
}

/// Records that were appended, and in which leader epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Led {
    pub(crate) appended: Appended,
    pub(crate) epoch: LeaderEpoch,
}

/// Why an append did not happen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendRefused {
    #[error("{0}")]
    NotLeader(ErrorCode),
    #[error("topic {topic} is a mirror of {of} over link {link}, promote it first")]
    ReadOnly { topic: TopicName, of: TopicName, link: Uuid },
    #[error("topic {topic} is no mirror of link {link}")]
    NotOfLink { topic: TopicName, link: Uuid },
    #[error(transparent)]
    NotEnoughReplicas(#[from] NotEnoughReplicas),
    #[error(transparent)]
    Log(#[from] AppendError),
}

/// How far records are on their way to being committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commitment {
    Committed,
    /// All in-sync replicas have them, and those are too few by now.
    TooFew,
    Waiting,
    /// Another leadership; whether they survive is for that one to say.
    Lost,
}

/// What is known of a follower's fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intake {
    /// Its request has just come.
    Asks,
    /// Its request came a while ago and is not answered yet.
    Waits,
}

/// Why a follower gets no records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaRefused {
    Code(ErrorCode),
    /// It must cut its log (KIP-595).
    Diverging {
        epoch: LeaderEpoch,
        end: Offset,
    },
}

/// A replica that a consumer could read (KIP-392).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplicaView {
    pub(crate) node: NodeId,
    pub(crate) log_start: Offset,
    pub(crate) log_end: Offset,
}

impl Leading {
    pub(super) fn new(
        node: NodeId,
        log: &PartitionLog,
        wanted: &PartitionImage,
        settings: LeaderSettings,
        image: &Image,
        now: Instant,
    ) -> Leading {
        let positions = LogPositions {
            start: log.log_start_offset(),
            end: log.log_end_offset(),
            high_watermark: log.high_watermark(),
        };
        let beyond_elr = beyond_elr(wanted);
        let settings = LeaderSettings { min_insync_replicas: settings.min_insync_replicas.max(beyond_elr), ..settings };
        let mut state = LeaderState::new(node, &assignment(wanted), positions, settings, standing(image, wanted), now);
        state.set_flushed(log.acknowledges_flushed().then(|| log.recovery_point()));
        let beyond_elr = AtomicUsize::new(beyond_elr);
        Leading { state: Mutex::new(state), since: now, gaps: Mutex::default(), beyond_elr }
    }

    /// Whether a gap in the sequence of a producer may close by itself: see [`Gaps`]. For a moment nobody at all is told of gaps,
    /// because the batch before may have been refused here while this broker did not lead yet.
    fn may_close(&self, error: &AppendError, log: &PartitionLog, epoch: LeaderEpoch) -> bool {
        let AppendError::OutOfOrderSequence { id, expected, found, .. } = *error else { return false };
        let had_another_leader = epoch > LeaderEpoch(0);
        if had_another_leader && self.since.elapsed() < SETTLING {
            return true;
        }
        if !is_gap(expected, found) {
            return false;
        }
        let is_arriving = had_another_leader && log.is_arriving(id, self.state.lock().epoch_start());
        let standing = if is_arriving { Standing::Arriving } else { Standing::Settled };
        self.gaps.lock().may_close(id, standing, Instant::now())
    }

    /// Whether these records come from a producer that wrote nothing here, begin in the middle of its sequence, and what is
    /// before them may still come. The log takes any sequence of a producer that it does not know (KIP-360).
    fn may_have_missed(&self, records: &[u8], origin: Origin, log: &PartitionLog) -> bool {
        let Ok(header) = BatchHeader::parse(records) else { return false };
        let is_numbered = header.is_idempotent() && header.base_sequence > 0;
        if !is_numbered
            || matches!(origin, Origin::Coordinator | Origin::Marker(_))
            || log.remembers(header.producer_id)
        {
            return false;
        }
        self.gaps.lock().may_close(header.producer_id, Standing::Arriving, Instant::now())
    }

    /// Remembers that these records were sent away, to come again.
    fn sent_away(&self, records: &[u8]) {
        if let Some(id) = numbered_by(records) {
            self.gaps.lock().sent_away(id, Instant::now());
        }
    }

    /// What is missing from now on is another matter.
    fn appended(&self, records: &[u8]) {
        let mut gaps = self.gaps.lock();
        if !gaps.is_empty()
            && let Some(id) = numbered_by(records)
        {
            gaps.appended(id);
        }
    }

    fn demanding(&self, settings: LeaderSettings) -> LeaderSettings {
        let min_insync_replicas = settings.min_insync_replicas.max(self.beyond_elr.load(Ordering::Acquire));
        LeaderSettings { min_insync_replicas, ..settings }
    }
}

impl Partition {
    /// Appends for a client or a coordinator, which may name the epoch in which it believes this broker to lead. With
    /// `need_isr` the records must reach `min.insync.replicas`.
    pub(crate) fn append(
        &self,
        records: &[u8],
        origin: Origin,
        epoch: LeaderEpoch,
        need_isr: bool,
        now: i64,
    ) -> Result<Led, AppendRefused> {
        let gate = self.gate.read();
        gate.check_epoch(epoch).map_err(AppendRefused::NotLeader)?;
        let leading = gate.leading().map_err(AppendRefused::NotLeader)?;
        let writable = gate.check_writable(self.id());
        writable
            .or_else(|refused| if self.ends_what_it_had(&gate, records, origin) { Ok(()) } else { Err(refused) })?;
        if need_isr {
            let enough = leading.state.lock().check_min_isr();
            enough.inspect_err(|_| leading.sent_away(records))?;
        }
        if leading.may_have_missed(records, origin, &self.log()) {
            return Err(AppendRefused::NotLeader(ErrorCode::NotLeaderOrFollower));
        }
        let append = || self.log().append(records, origin, gate.epoch, now);
        let mut appended = append();
        if let Err(error) = &appended {
            if leading.may_close(error, &self.log(), gate.epoch) {
                return Err(AppendRefused::NotLeader(ErrorCode::NotLeaderOrFollower));
            }
            if self.has_parted(&gate, error) {
                appended = append();
            }
        }
        let appended = match appended {
            Err(AppendError::Storage(error)) => {
                leading.sent_away(records);
                self.fail(&error);
                return Err(AppendError::Storage(error).into());
            }
            appended => appended?,
        };
        leading.appended(records);
        let led = Led { appended, epoch: gate.epoch };
        let committed = {
            let mut state = leading.state.lock();
            state.set_flushed(self.flushed_end());
            state.appended(self.log().log_end_offset(), Instant::now())
        };
        self.ring_followers();
        committed.into_iter().for_each(|high_watermark| self.commit(high_watermark));
        drop(gate);
        self.note_appended();
        Ok(led)
    }

    /// A client has a transactional batch for this partition. `None` if its transaction is open here, else what its
    /// append has to come with once the coordinator was asked.
    pub(crate) fn begin_verification(
        &self,
        applicant: &Applicant,
        now: i64,
    ) -> Result<Option<VerificationGuard>, AppendRefused> {
        let gate = self.gate.read();
        gate.leading().map_err(AppendRefused::NotLeader)?;
        gate.check_writable(self.id())?;
        Ok(self.log().begin_verification(applicant, now)?)
    }

    /// How far the records below `end` are, that were appended in `epoch`.
    pub(crate) fn commitment(&self, epoch: LeaderEpoch, end: Offset) -> Commitment {
        let gate = self.gate.read();
        let Some(leading) = gate.leading_in(epoch) else { return Commitment::Lost };
        if self.log().high_watermark() < end {
            return Commitment::Waiting;
        }
        match leading.state.lock().check_min_isr() {
            Ok(()) => Commitment::Committed,
            Err(_) => Commitment::TooFew,
        }
    }

    /// The high watermark, as long as this broker leads in this epoch.
    pub(crate) fn committed_in(&self, epoch: LeaderEpoch) -> Option<Offset> {
        let gate = self.gate.read();
        gate.leading_in(epoch).map(|_| self.log().high_watermark())
    }

    /// The latest offset, once it is known that nothing newer was committed: a new leader's high watermark may be
    /// behind what the old one announced (KIP-207).
    pub(crate) fn latest_offset(&self) -> Result<Offset, ErrorCode> {
        let gate = self.gate.read();
        let epoch_start = gate.leading()?.state.lock().epoch_start();
        match self.log().high_watermark() {
            high_watermark if high_watermark >= epoch_start => Ok(high_watermark),
            _ => Err(ErrorCode::OffsetNotAvailable),
        }
    }

    /// Takes in what a follower's fetch says about it, or that it still waits. True if the follower is in sync.
    pub(crate) fn fetched(&self, fetch: &ReplicaFetch, intake: Intake, now: Instant) -> Result<bool, ReplicaRefused> {
        let gate = self.gate.read();
        let leading = gate.leading_for(fetch)?;
        let mut state = leading.state.lock();
        // An append announces its records to readers before it gets here.
        let committed = self.catch_up(&mut state, now);
        let before = state.low_watermark();
        let found = match intake {
            Intake::Asks => state.fetched(fetch, |epoch| gate.end_of_epoch(&self.log(), epoch), now),
            Intake::Waits => state.still_waits(fetch, now),
        };
        let mut effects = found.map_err(ReplicaRefused::from)?;
        effects.high_watermark = effects.high_watermark.or(committed);
        let has_started = state.low_watermark() != before;
        let is_in_sync = state.in_isr(fetch.follower);
        drop(state);
        self.apply(effects);
        drop(gate);
        if has_started {
            self.announce(Event::Started);
        }
        Ok(is_in_sync)
    }

    /// Tells the state where the log begins and ends by now.
    pub(super) fn catch_up(&self, state: &mut LeaderState, now: Instant) -> Option<Offset> {
        state.set_log_start(self.log().log_start_offset());
        state.set_flushed(self.flushed_end());
        state.appended(self.log().log_end_offset(), now)
    }

    /// Looks for followers that fell behind; called a few times within the limits.
    pub(crate) fn check_followers(&self, now: Instant) {
        let gate = self.gate.read();
        let Ok(leading) = gate.leading() else { return };
        let effects = leading.state.lock().tick(now);
        self.apply(effects);
    }

    pub(super) fn image_changed(&self, leading: &Leading, wanted: &PartitionImage, image: &Image, now: Instant) {
        leading.beyond_elr.store(beyond_elr(wanted), Ordering::Release);
        let settings = leading.demanding(*self.settings.lock());
        let mut state = leading.state.lock();
        // With what the image demands before who is in sync by it: a smaller ISR must not commit by an older demand.
        let all = [
            state.set_settings(settings, now),
            state.image_changed(&assignment(wanted), now),
            state.brokers_changed(standing(image, wanted), now),
        ];
        drop(state);
        self.set_followers(Some(wanted));
        all.into_iter().for_each(|effects| self.apply(effects));
        // The ISR may have become too small, or large enough, for those who wait.
        self.announce(Event::Changed);
    }

    /// Draws the first conclusions of a new role: the only in-sync replica commits by itself.
    pub(super) fn settle(&self, now: Instant) {
        let gate = self.gate.read();
        let Ok(leading) = gate.leading() else { return };
        let committed = self.catch_up(&mut leading.state.lock(), now);
        committed.into_iter().for_each(|high_watermark| self.commit(high_watermark));
        if self.owes_flush() {
            self.request_flush();
        }
    }

    /// Takes over what topic configs ask for.
    pub(in crate::partitions) fn set_leader_settings(&self, settings: LeaderSettings, now: Instant) {
        *self.settings.lock() = settings;
        let gate = self.gate.read();
        let Ok(leading) = gate.leading() else { return };
        let effects = {
            let mut state = leading.state.lock();
            state.set_flushed(self.flushed_end());
            state.set_settings(leading.demanding(settings), now)
        };
        self.apply(effects);
        drop(gate);
        if self.owes_flush() {
            self.request_flush();
        }
        self.announce(Event::Changed);
    }

    /// The caller holds the gate open: a high watermark belongs to the log as its role left it.
    fn apply(&self, effects: Effects) {
        if let Some(high_watermark) = effects.high_watermark {
            self.commit(high_watermark);
        }
        if effects.proposal.is_some() {
            self.isr.propose(self.id());
        }
    }

    /// The change of the ISR that waits for the controller.
    pub(crate) fn isr_change(&self) -> Option<(u64, IsrChange)> {
        let gate = self.gate.read();
        let state = gate.leading().ok()?.state.lock();
        let proposal = state.in_flight()?;
        let change = IsrChange {
            topic_id: self.topic_id(),
            partition: self.id().partition,
            leader_epoch: proposal.leader_epoch,
            partition_epoch: proposal.partition_epoch,
            isr: proposal.isr.clone(),
        };
        Some((proposal.id, change))
    }

    /// Takes in what became of a proposal; true if it is to be sent again.
    pub(crate) fn isr_answered(&self, id: u64, epoch: LeaderEpoch, answer: Answer, now: Instant) -> bool {
        let gate = self.gate.read();
        let Some(leading) = gate.leading_in(epoch) else { return false };
        let answered = leading.state.lock().answered(id, answer, now);
        match answered {
            Answered::Settled(effects) => {
                self.apply(effects);
                drop(gate);
                self.announce(Event::Changed);
                false
            }
            Answered::SendAgain(_) => true,
            Answered::WaitForImage => false,
        }
    }

    /// Whether this follower is in sync.
    pub(crate) fn has_in_sync(&self, node: NodeId) -> bool {
        let gate = self.gate.read();
        gate.leading().is_ok_and(|leading| leading.state.lock().in_isr(node))
    }

    /// Members of the ISR that the controller knows.
    pub(crate) fn isr_len(&self) -> usize {
        let gate = self.gate.read();
        gate.leading().map_or(0, |leading| leading.state.lock().isr().len())
    }

    /// Where the logs of all live replicas begin at the latest; DeleteRecords waits for it.
    pub(crate) fn low_watermark(&self) -> Result<Offset, ErrorCode> {
        let gate = self.gate.read();
        let mut state = gate.leading()?.state.lock();
        state.set_log_start(self.log().log_start_offset());
        Ok(state.low_watermark())
    }

    /// Deletes records on the leader; followers hear of it with their next fetch.
    pub(crate) fn delete_records(&self, before: Offset, now: i64) -> Result<Offset, ReadError> {
        let gate = self.gate.read(); // so that the log is not left meanwhile
        let deleted = self.log().delete_records(before, now)?;
        drop(gate);
        self.announce(Event::Started);
        Ok(deleted)
    }

    /// The in-sync followers with what they have.
    pub(crate) fn in_sync_followers(&self) -> Vec<ReplicaView> {
        let gate = self.gate.read();
        let Ok(leading) = gate.leading() else { return Vec::new() };
        let state = leading.state.lock();
        let views = state.isr().iter().filter_map(|node| {
            let (log_start, log_end) = (state.follower_start(*node)?, state.follower_end(*node)?);
            Some(ReplicaView { node: *node, log_start, log_end })
        });
        views.collect()
    }
}

/// The producer that gave these records a sequence.
fn numbered_by(records: &[u8]) -> Option<ProducerId> {
    let header = BatchHeader::parse(records).ok()?;
    header.is_idempotent().then_some(header.producer_id)
}

/// With an ELR nothing may be committed, whatever this broker takes `min.insync.replicas` for (KIP-966): a minimum of
/// one more than there are in sync says just that.
fn beyond_elr(wanted: &PartitionImage) -> usize {
    if wanted.elr.is_empty() { 0 } else { wanted.isr.len() + 1 }
}

impl Gate {
    /// The leader's role for a follower that asks; an epoch that does not match tells more than "not the leader".
    pub(super) fn leading_for(&self, fetch: &ReplicaFetch) -> Result<&Leading, ReplicaRefused> {
        self.check_epoch(fetch.leader_epoch).map_err(ReplicaRefused::Code)?;
        self.leading().map_err(ReplicaRefused::Code)
    }
}

impl From<FetchRefused> for ReplicaRefused {
    fn from(refused: FetchRefused) -> Self {
        match refused {
            FetchRefused::FencedLeaderEpoch { .. } => Self::Code(ErrorCode::FencedLeaderEpoch),
            FetchRefused::UnknownLeaderEpoch { .. } => Self::Code(ErrorCode::UnknownLeaderEpoch),
            // Kafka's answer to a fetcher that is no replica, or not the one that is registered: look again.
            FetchRefused::NotReplica(_) | FetchRefused::StaleBrokerEpoch { .. } | FetchRefused::UnknownBroker(_) => {
                Self::Code(ErrorCode::NotLeaderOrFollower)
            }
            FetchRefused::Diverging { epoch, end } => Self::Diverging { epoch, end },
            FetchRefused::OutOfRange { .. } => Self::Code(ErrorCode::OffsetOutOfRange),
        }
    }
}
