//! What is to be done next, and what an event means. Pure: time comes as an argument, nothing is sent from here.
//!
//! Picture: lanes (one per partition) stand in line before pipes (one per leader). A request takes one batch of each lane
//! that stands before a pipe, up to its bound, and a pipe has a few requests under way. A lane whose leader is not known
//! waits for a look-up, one that has no producer id for that, one that failed for its pause.
//! Invariants: C1 a lane stands in one place at most ([`Spot`]). C2 a request holds one batch per partition. C3 each batch
//! that came in leaves with exactly one outcome, and outcomes of a partition leave in the order of its batches.
//! Bounds: the caller bounds what comes in; lanes stay for good, which is one small struct per partition of the target.

mod answers; // what an answer, or none, means
mod transaction; // what is part of it, and how it ends

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use twinstream_model::{ErrorCode, NodeId, TopicName, TopicPartition};
use twinstream_protocol::batch::{BatchHeader, ProducerStamp};
use uuid::Uuid;

pub(super) use self::answers::{Answer, Notice, PartitionAnswer};
use self::transaction::Transaction;
pub(super) use self::transaction::Verb;
pub use self::transaction::is_fenced;
use super::lane::{Item, Lane, Producer, Spot, span_of};
use super::options::Options;
use super::{AlignedAppend, Delivered, Moment, Outgoing, SendFailure};
use crate::error::ClientError;

/// What a partition costs in a request beside its bytes and its topic's name.
const PARTITION_OVERHEAD: usize = 64;
/// How often batches are looked at whose time may be over: seldom enough for ten thousand lanes.
const EXPIRY_SCAN_MAX: Duration = Duration::from_secs(1);

pub(super) type LaneId = u32;

/// What the rim is to do.
#[derive(Debug)]
pub(super) enum Action {
    Open(NodeId),
    Send(Request),
    LookUp(Vec<TopicName>),
    AskProducer,
    /// A request to the coordinator of transactions.
    Coordinate(Verb),
}

/// One Produce request; the pieces of a topic stand together.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: u64,
    pub(super) leader: NodeId,
    pub(super) link: Option<Uuid>,
    pub(super) pieces: Vec<Piece>,
}

#[derive(Debug)]
pub(super) struct Piece {
    pub(super) at: TopicPartition,
    pub(super) bytes: Bytes,
    pub(super) stamp: Option<ProducerStamp>,
    pub(super) aligned: Option<AlignedAppend>,
}

struct Flight {
    leader: NodeId,
    generation: u64,
    /// By lane; the second is the batch's place in its row.
    entries: Vec<(LaneId, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Closed,
    Opening,
    Open,
}

struct Pipe {
    line: Line,
    ready: VecDeque<LaneId>,
    in_flight: usize,
    muted_until: Moment,
    /// Grows with each connection that was lost, so that its late answers do not end the next one.
    generation: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    Off,
    Unknown,
    Asked,
    Known(Producer),
}

pub(super) struct Core {
    options: Options,
    lanes: Vec<Lane>,
    by_name: HashMap<TopicName, HashMap<i32, LaneId>>,
    pipes: BTreeMap<NodeId, Pipe>,
    flights: HashMap<u64, Flight>,
    next_request: u64,
    numbers: Numbers,
    unnumbered: Vec<LaneId>,
    unplaced: Vec<LaneId>,
    paused: BTreeSet<(Moment, LaneId)>,
    looking: bool,
    /// No look-up, and no question for a producer id, before this.
    ask_after: Moment,
    ask_failures: u32,
    /// Batches that have no outcome yet.
    under_way: usize,
    outcomes: VecDeque<Result<Delivered, SendFailure>>,
    /// Taken after every event, of which each adds one per partition at most.
    notices: Vec<Notice>,
    next_scan: Moment,
    /// Only for a producer with transactions.
    transaction: Option<Transaction>,
}

impl Core {
    pub(super) fn new(options: Options) -> Self {
        let numbers = if options.idempotent { Numbers::Unknown } else { Numbers::Off };
        Self {
            transaction: options.is_transactional.then(Transaction::default),
            options,
            lanes: Vec::new(),
            by_name: HashMap::new(),
            pipes: BTreeMap::new(),
            flights: HashMap::new(),
            next_request: 0,
            numbers,
            unnumbered: Vec::new(),
            unplaced: Vec::new(),
            paused: BTreeSet::new(),
            looking: false,
            ask_after: Moment::ZERO,
            ask_failures: 0,
            under_way: 0,
            outcomes: VecDeque::new(),
            notices: Vec::new(),
            next_scan: Moment::ZERO,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.under_way == 0 && self.outcomes.is_empty() && !self.is_ending()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.under_way == 0 && self.outcomes.is_empty()
    }

    /// Whether there is an outcome, or the end of a transaction, to be told.
    pub(super) fn has_news(&self) -> bool {
        !self.outcomes.is_empty() || self.has_ended()
    }

    pub(super) fn pop_outcome(&mut self) -> Option<Result<Delivered, SendFailure>> {
        self.outcomes.pop_front()
    }

    pub(super) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    pub(super) fn send(&mut self, now: Moment, to: &TopicPartition, batch: Outgoing) {
        let Some(batch) = self.kept_for_the_next(to, batch) else { return };
        let id = self.lane_of(to);
        let (span, refused) = match self.check(&batch) {
            Ok(span) => (span, None),
            Err(error) => (0, Some(Box::new(error))),
        };
        if self.under_way == 0 {
            self.next_scan = now + self.scan_interval();
        }
        self.under_way += 1;
        let Outgoing { ticket, bytes, aligned, .. } = batch;
        let deadline = now + self.options.delivery_timeout;
        self.lanes[id as usize].push(Item {
            ticket,
            bytes,
            aligned,
            span,
            deadline,
            tries: 0,
            sequence: None,
            is_there: false,
            refused,
        });
        self.settle(now, id);
    }

    /// How far the batch moves the sequence, if it may be sent at all.
    fn check(&self, batch: &Outgoing) -> Result<i32, ClientError> {
        let bytes = &batch.bytes;
        if !self.options.one_may_be_larger && bytes.len() > self.options.request_bytes_max {
            let (size, max) = (bytes.len(), self.options.request_bytes_max);
            return Err(ClientError::TooLarge {
                reason: format!("a batch of {size} bytes, max.request.size is {max}"),
            });
        }
        let unsound =
            |reason: String| ClientError::Library { what: "send a batch".to_owned(), reason, retriable: false };
        if batch.aligned.is_some() {
            let refused = unsound("an aligned append is no part of a transaction: a worker with exactly.once.source.support=enabled copies with twinstream.link.mode=generic".to_owned());
            return if self.transaction.is_some() { Err(refused) } else { Ok(0) };
        }
        let header = BatchHeader::parse(bytes).map_err(|error| unsound(error.to_string()))?;
        if header.len != bytes.len() {
            return Err(unsound(format!("{} bytes are not exactly one batch of {}", bytes.len(), header.len)));
        }
        if header.attributes.is_control() {
            return Err(unsound("a control batch is a transaction coordinator's to write".to_owned()));
        }
        if u32::try_from(header.record_count) != Ok(batch.records) {
            return Err(unsound(format!("a batch of {} records was given as {}", header.record_count, batch.records)));
        }
        let span = span_of(&header).filter(|span| *span == header.record_count);
        let span = span.ok_or_else(|| unsound("a batch with holes in its offsets is refused by brokers".to_owned()))?;
        Ok(if self.options.idempotent { span } else { 0 })
    }

    fn lane_of(&mut self, at: &TopicPartition) -> LaneId {
        if let Some(id) = self.by_name.get(&at.topic).and_then(|topic| topic.get(&at.partition.0)) {
            return *id;
        }
        let id = self.lanes.len() as LaneId;
        self.lanes.push(Lane::new(at.clone()));
        self.by_name.entry(at.topic.clone()).or_default().insert(at.partition.0, id);
        id
    }

    /// Puts a lane where it is found when its turn comes.
    fn settle(&mut self, now: Moment, id: LaneId) {
        let lane = &mut self.lanes[id as usize];
        if let Some(refused) = lane.front().and_then(|front| front.refused.as_deref()).cloned() {
            self.give_up(id, &refused, None);
            return;
        }
        if let Some(broken) = self.broken().cloned() {
            if self.lanes[id as usize].front().is_some() && !self.lanes[id as usize].is_flying() {
                self.give_up(id, &broken, None);
            }
            return;
        }
        let lane = &mut self.lanes[id as usize];
        if lane.spot != Spot::Idle || lane.sendable(self.options.window).is_none() {
            return;
        }
        if lane.resume_at > now {
            lane.spot = Spot::Paused;
            self.paused.insert((lane.resume_at, id));
        } else if lane.lacks_producer() && !self.number(id) {
            self.lanes[id as usize].spot = Spot::Unnumbered;
            self.unnumbered.push(id);
        } else if self.wait_to_join(id) {
        } else if let Some(leader) = self.lanes[id as usize].leader {
            self.lanes[id as usize].spot = Spot::Ready;
            self.pipe(leader).ready.push_back(id);
        } else {
            self.lanes[id as usize].spot = Spot::Unplaced;
            self.unplaced.push(id);
        }
    }

    /// Gives a lane the producer id, if there is one.
    fn number(&mut self, id: LaneId) -> bool {
        let lane = &mut self.lanes[id as usize];
        match self.numbers {
            Numbers::Known(producer) if lane.has_worn_out(producer.id) => self.numbers = Numbers::Unknown,
            Numbers::Known(producer) => lane.number_as(producer),
            Numbers::Off | Numbers::Unknown | Numbers::Asked => {}
        }
        !lane.lacks_producer()
    }

    fn pipe(&mut self, leader: NodeId) -> &mut Pipe {
        self.pipes.entry(leader).or_insert_with(|| Pipe {
            line: Line::Closed,
            ready: VecDeque::new(),
            in_flight: 0,
            muted_until: Moment::ZERO,
            generation: 0,
        })
    }

    /// The next thing to do; `None` until an event, another batch or the time of [`Self::deadline`] has come.
    pub(super) fn next_action(&mut self, now: Moment) -> Option<Action> {
        self.wake(now);
        if let Some(asked) = self.ask(now) {
            return Some(asked);
        }
        let window = self.options.window;
        loop {
            let (leader, pipe) = self.pipes.iter_mut().find(|(_, pipe)| match pipe.line {
                Line::Closed => !pipe.ready.is_empty(),
                Line::Opening => false,
                Line::Open => !pipe.ready.is_empty() && pipe.in_flight < window && pipe.muted_until <= now,
            })?;
            let leader = *leader;
            if pipe.line == Line::Closed {
                pipe.line = Line::Opening;
                return Some(Action::Open(leader));
            }
            if let Some(request) = self.request_for(now, leader) {
                return Some(Action::Send(request));
            }
        }
    }

    fn ask(&mut self, now: Moment) -> Option<Action> {
        if now < self.ask_after {
            return None;
        }
        if !self.unnumbered.is_empty() && self.numbers == Numbers::Unknown {
            self.numbers = Numbers::Asked;
            return Some(Action::AskProducer);
        }
        if let Some(verb) = self.coordinate(now) {
            return Some(Action::Coordinate(verb));
        }
        if self.unplaced.is_empty() || self.looking {
            return None;
        }
        self.looking = true;
        let topics: BTreeSet<TopicName> =
            self.unplaced.iter().map(|id| self.lanes[*id as usize].at.topic.clone()).collect();
        Some(Action::LookUp(topics.into_iter().collect()))
    }

    /// Fills a request from the lanes that stand before a pipe; `None` if none of them has anything for it any more.
    fn request_for(&mut self, now: Moment, leader: NodeId) -> Option<Request> {
        let mut ready = std::mem::take(&mut self.pipe(leader).ready);
        let mut chosen: Vec<LaneId> = Vec::new();
        let is_broken = self.broken().is_some();
        let (mut bytes, mut link) = (0, None);
        while let Some(id) = ready.pop_front() {
            let lane = &mut self.lanes[id as usize];
            let stands_right = lane.leader == Some(leader) && lane.resume_at <= now && !lane.lacks_producer();
            let stands_right = stands_right && !is_broken;
            let Some(item) = lane.sendable(self.options.window).filter(|_| stands_right) else {
                lane.spot = Spot::Idle;
                self.settle(now, id);
                continue;
            };
            let of_link = item.aligned.as_ref().map(|aligned| aligned.link);
            let size = item.bytes.len() + lane.at.topic.as_str().len() + PARTITION_OVERHEAD;
            let fits = bytes + size <= self.options.request_bytes_max && link == of_link;
            if !chosen.is_empty() && !fits {
                ready.push_front(id);
                break;
            }
            lane.spot = Spot::Idle;
            (bytes, link) = (bytes + size, of_link);
            chosen.push(id);
        }
        let pipe = self.pipe(leader);
        ready.append(&mut pipe.ready);
        pipe.ready = ready;
        if chosen.is_empty() {
            return None;
        }
        let request = self.take_off(leader, &chosen, link);
        for id in chosen {
            self.settle(now, id); // behind the others: each partition has its turn
        }
        Some(request)
    }

    fn take_off(&mut self, leader: NodeId, chosen: &[LaneId], link: Option<Uuid>) -> Request {
        let id = self.next_request;
        self.next_request += 1;
        let mut entries = Vec::with_capacity(chosen.len());
        let mut pieces = Vec::with_capacity(chosen.len());
        for lane_id in chosen {
            let lane = &mut self.lanes[*lane_id as usize];
            let (place, stamp) = lane.take_off();
            let Some(index) = lane.index_of(place) else { continue };
            let item = lane.item(index);
            let (bytes, aligned) = (item.bytes.clone(), item.aligned.clone());
            pieces.push(Piece { at: lane.at.clone(), bytes, stamp, aligned });
            entries.push((*lane_id, place));
        }
        // A topic that stands in a request twice would be read as once.
        pieces.sort_by(|a, b| a.at.topic.cmp(&b.at.topic));
        entries.sort_unstable();
        let pipe = self.pipe(leader);
        pipe.in_flight += 1;
        let generation = pipe.generation;
        self.flights.insert(id, Flight { leader, generation, entries });
        Request { id, leader, link, pieces }
    }

    /// The cluster said who leads what, or could not be asked.
    pub(super) fn looked_up(
        &mut self,
        now: Moment,
        result: Result<(), ClientError>,
        leader_of: impl Fn(&TopicPartition) -> Result<NodeId, ErrorCode>,
    ) {
        self.looking = false;
        let waiting = std::mem::take(&mut self.unplaced);
        let mut all_found = true;
        for id in waiting {
            let lane = &mut self.lanes[id as usize];
            lane.spot = Spot::Idle;
            let found = match &result {
                Ok(()) => leader_of(&lane.at)
                    .map_err(|code| ClientError::broker(format!("find the leader of {}", lane.at), code)),
                Err(error) => Err(error.clone()),
            };
            match found {
                Ok(leader) => lane.leader = Some(leader),
                Err(cause) if is_refused(&cause) => {
                    self.give_up(id, &cause, None);
                    continue;
                }
                Err(cause) => {
                    lane.cause = Some(cause);
                    all_found = false;
                }
            }
            self.settle(now, id);
        }
        self.pause_questions(now, all_found);
    }

    /// The cluster gave a producer id, or none.
    pub(super) fn numbered(&mut self, now: Moment, result: Result<Producer, ClientError>) {
        let waiting = std::mem::take(&mut self.unnumbered);
        self.numbers = result.as_ref().map_or(Numbers::Unknown, |producer| Numbers::Known(*producer));
        self.pause_questions(now, result.is_ok());
        for id in waiting {
            let lane = &mut self.lanes[id as usize];
            lane.spot = Spot::Idle;
            if let Err(error) = &result {
                lane.cause = Some(error.clone());
                if !error.is_retriable() {
                    self.give_up(id, error, None);
                    continue;
                }
            }
            self.settle(now, id);
        }
    }

    fn pause_questions(&mut self, now: Moment, went_well: bool) {
        self.ask_failures = if went_well { 0 } else { self.ask_failures + 1 };
        self.ask_after = if went_well { now } else { now + self.options.backoff(self.ask_failures) };
    }

    /// Ends pauses, and looks from time to time for batches whose time is over.
    fn wake(&mut self, now: Moment) {
        while let Some((_, id)) = self.paused.first().copied().filter(|(at, _)| *at <= now) {
            self.paused.pop_first();
            self.lanes[id as usize].spot = Spot::Idle;
            self.settle(now, id);
        }
        if self.under_way > 0 && self.next_scan <= now {
            self.next_scan = now + self.scan_interval();
            for id in 0..self.lanes.len() as LaneId {
                self.expire(now, id);
            }
        }
    }

    fn scan_interval(&self) -> Duration {
        (self.options.delivery_timeout / 8).clamp(Duration::from_millis(1), EXPIRY_SCAN_MAX)
    }

    /// When [`Self::next_action`] is to be asked again though nothing has happened.
    pub(super) fn deadline(&self, now: Moment) -> Option<Moment> {
        if self.under_way == 0 {
            return self.asks_coordinator().then_some(self.ask_after);
        }
        let is_asking = self.asks_coordinator() || !self.unplaced.is_empty() && !self.looking;
        let is_asking = is_asking || (!self.unnumbered.is_empty() && self.numbers == Numbers::Unknown);
        let muted = self.pipes.values().filter(|pipe| !pipe.ready.is_empty() && pipe.line == Line::Open);
        let muted = muted.map(|pipe| pipe.muted_until).filter(|until| *until > now);
        let others = [self.paused.first().map(|(at, _)| *at), is_asking.then_some(self.ask_after)];
        others.into_iter().flatten().chain(muted).chain([self.next_scan]).min()
    }

    /// Called by tests after every step.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        let stands = |id: LaneId| {
            let ready = self.pipes.values().flat_map(|pipe| &pipe.ready).filter(|other| **other == id).count();
            let among = |list: &[LaneId]| list.iter().filter(|other| **other == id).count();
            let paused = self.paused.iter().filter(|(_, other)| *other == id).count();
            [(Spot::Ready, ready), (Spot::Unplaced, among(&self.unplaced)), (Spot::Paused, paused)]
                .into_iter()
                .chain([(Spot::Unnumbered, among(&self.unnumbered))])
                .collect::<Vec<_>>()
        };
        for (id, lane) in self.lanes.iter().enumerate() {
            lane.check_invariants();
            for (spot, count) in stands(id as LaneId) {
                assert_eq!(count, usize::from(lane.spot == spot), "{spot:?} of {lane:?}");
            }
        }
        for pipe in self.pipes.values() {
            assert!(pipe.in_flight <= self.options.window);
        }
    }
}

/// Whether the cluster will say the same however often it is asked.
fn is_refused(cause: &ClientError) -> bool {
    cause.code().is_some_and(|code| !code.is_retriable())
}

#[cfg(test)]
mod tests;
