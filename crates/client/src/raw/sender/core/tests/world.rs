//! A cluster as the core sees it: logs that number producers as Kafka does, connections that break, leaders that move.
//!
//! What a lost connection still carried may reach the broker at any later time. Chance comes from a seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kafka_protocol::protocol::StrBytes;
use twinstream_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use twinstream_protocol::batch::{BatchBuilder, add_sequence};

use super::super::*;

const NODES: i32 = 3;
/// What Kafka remembers of a producer in a partition.
const REMEMBERED: usize = 5;

/// A small generator, so that a seed is a run.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    pub(super) fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

#[derive(Default)]
pub(super) struct PartitionLog {
    /// The tickets, in order of their appending.
    pub(super) tickets: Vec<u64>,
    /// How many of them a reader of committed records sees.
    pub(super) committed: usize,
    producer: Option<(ProducerStamp, VecDeque<(i32, Offset)>)>,
}

#[derive(Default)]
struct Wire {
    is_open: bool,
    asked: VecDeque<Request>,
    answered: VecDeque<(u64, Answer)>,
}

pub(super) struct World {
    pub(super) core: Core,
    pub(super) now: Moment,
    pub(super) dice: Dice,
    pub(super) logs: BTreeMap<TopicPartition, PartitionLog>,
    pub(super) outcomes: BTreeMap<TopicPartition, Vec<Result<Delivered, SendFailure>>>,
    pub(super) given: BTreeMap<TopicPartition, Vec<u64>>,
    /// Everything goes well from now on.
    pub(super) is_calm: bool,
    /// Brokers forget producers.
    pub(super) forgets: bool,
    /// No partition has a leader.
    pub(super) is_headless: bool,
    is_transactional: bool,
    leaders: BTreeMap<TopicPartition, NodeId>,
    stale: BTreeMap<TopicPartition, NodeId>,
    wires: BTreeMap<NodeId, Wire>,
    late: Vec<Request>,
    opening: Vec<NodeId>,
    is_asked_for_leaders: bool,
    is_asked_for_producer: bool,
    producers: i64,
    next_ticket: u64,
    tickets: BTreeMap<u64, TopicPartition>,
    link: Option<Uuid>,
    pub(super) coordinator: Coordinator,
}

/// Who looks after the transactions of the sender.
#[derive(Default)]
pub(super) struct Coordinator {
    asked: Option<Verb>,
    members: BTreeSet<TopicPartition>,
    pub(super) commits: usize,
    pub(super) ends: Vec<Result<(), ClientError>>,
}

pub(super) fn partition(index: i32) -> TopicPartition {
    // Names that interleave, so that requests must be put in order.
    TopicPartition::new(TopicName::parse(if index % 2 == 0 { "even" } else { "odd" }).unwrap(), index)
}

pub(super) fn batch(ticket: u64, records: i32) -> Bytes {
    let mut builder = BatchBuilder::new().with_base_offset(Offset(1_000)).with_leader_epoch(LeaderEpoch(4));
    for _ in 0..records {
        builder.append(ticket as i64, None, Some(b"v"), []);
    }
    Bytes::from(builder.build().unwrap())
}

impl World {
    pub(super) fn new(seed: u64, options: Options, partitions: i32) -> Self {
        let mut dice = Dice::new(seed);
        let mut place = |index| (partition(index), NodeId(dice.below(NODES as u64) as i32));
        let leaders: BTreeMap<_, _> = (0..partitions).map(&mut place).collect();
        let is_transactional = options.is_transactional;
        Self {
            core: Core::new(options),
            now: Moment::ZERO,
            dice,
            logs: leaders.keys().map(|at| (at.clone(), PartitionLog::default())).collect(),
            outcomes: BTreeMap::new(),
            given: BTreeMap::new(),
            is_calm: false,
            forgets: false,
            is_headless: false,
            is_transactional,
            stale: leaders.clone(),
            leaders,
            wires: BTreeMap::new(),
            late: Vec::new(),
            opening: Vec::new(),
            is_asked_for_leaders: false,
            is_asked_for_producer: false,
            producers: 0,
            next_ticket: 0,
            tickets: BTreeMap::new(),
            link: None,
            coordinator: Coordinator::default(),
        }
    }

    /// Copies at the offsets of the source from now on.
    pub(super) fn align(&mut self) {
        self.link = Some(Uuid::from_u128(1));
    }

    pub(super) fn give(&mut self, index: i32) -> u64 {
        let (at, ticket) = (partition(index), self.next_ticket);
        self.next_ticket += 1;
        let given = self.given.entry(at.clone()).or_default();
        let aligned = self.link.map(|link| AlignedAppend {
            link,
            from: Offset(given.len() as i64),
            log_start: Offset(0),
            source_epoch: LeaderEpoch(0),
            high_watermark: Offset(0),
            last_epoch: LeaderEpoch::NONE,
            cut: false,
        });
        given.push(ticket);
        self.tickets.insert(ticket, at.clone());
        // One record each, so that offsets count batches.
        self.core.send(self.now, &at, Outgoing { ticket, bytes: batch(ticket, 1), records: 1, aligned });
        ticket
    }

    pub(super) fn give_anywhere(&mut self) {
        let index = self.dice.below(self.logs.len() as u64) as i32;
        self.give(index);
    }

    /// Whatever may happen next, of which chance takes one.
    pub(super) fn step(&mut self) {
        self.act();
        self.coordinate();
        self.act();
        match self.dice.below(if self.is_calm { 7 } else { 11 }) {
            0 => self.open(),
            1 => self.tell_leaders(),
            2 => self.tell_producer(),
            3 => self.serve(),
            4 => self.hear(),
            5 => self.serve_late(),
            6 | 7 => self.pass_time(),
            8 if self.dice.one_in(4) => self.cut(),
            9 if self.dice.one_in(4) => self.move_leader(),
            10 if self.forgets && self.dice.one_in(20) => self.forget(),
            _ => {}
        }
        self.act();
        self.core.check_invariants();
    }

    /// Lets everything settle.
    pub(super) fn calm_down(&mut self) {
        self.is_calm = true;
        let mut steps = 0;
        while !self.core.is_empty() {
            self.step();
            steps += 1;
            assert!(steps < 200_000, "something never ends");
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.core.next_action(self.now) {
            match action {
                Action::Open(node) => self.opening.push(node),
                Action::Send(request) => self.post(request),
                Action::LookUp(topics) => {
                    assert!(!topics.is_empty() && !self.is_asked_for_leaders);
                    self.is_asked_for_leaders = true;
                }
                Action::AskProducer => self.is_asked_for_producer = true,
                Action::Coordinate(verb) => {
                    assert!(self.coordinator.asked.is_none(), "one question at a time");
                    self.coordinator.asked = Some(verb);
                }
            }
        }
        self.coordinator.ends.extend(self.core.pop_end());
        while let Some(outcome) = self.core.pop_outcome() {
            let ticket = outcome.as_ref().map_or_else(|failure| failure.ticket, |delivered| delivered.ticket);
            self.outcomes.entry(self.tickets[&ticket].clone()).or_default().push(outcome);
        }
    }

    fn post(&mut self, request: Request) {
        assert!(!request.pieces.is_empty());
        let runs = request.pieces.chunk_by(|a, b| a.at.topic == b.at.topic);
        let topics: Vec<_> = runs.map(|run| &run[0].at.topic).collect();
        assert!(topics.windows(2).all(|pair| pair[0] < pair[1]), "topics stand together");
        let wire = self.wires.entry(request.leader).or_default();
        if wire.is_open {
            wire.asked.push_back(request);
        } else {
            self.core.answered(self.now, request.id, Err(broken()));
        }
    }

    fn open(&mut self) {
        let Some(node) = self.opening.pop() else { return };
        if !self.is_calm && self.dice.one_in(5) {
            self.core.opened(self.now, node, Err(broken()));
        } else {
            self.wires.entry(node).or_default().is_open = true;
            self.core.opened(self.now, node, Ok(()));
        }
    }

    fn tell_leaders(&mut self) {
        if !std::mem::take(&mut self.is_asked_for_leaders) {
            return;
        }
        if !self.is_calm && self.dice.one_in(5) {
            self.core.looked_up(self.now, Err(broken()), |_| Err(ErrorCode::LeaderNotAvailable));
            return;
        }
        let is_stale = !self.is_calm && self.dice.one_in(3);
        let (told, is_headless) = (if is_stale { &self.stale } else { &self.leaders }, self.is_headless);
        let told = |at: &TopicPartition| if is_headless { Err(ErrorCode::LeaderNotAvailable) } else { Ok(told[at]) };
        self.core.looked_up(self.now, Ok(()), told);
    }

    fn tell_producer(&mut self) {
        if std::mem::take(&mut self.is_asked_for_producer) {
            self.producers += 1;
            let producer = Producer { id: ProducerId(self.producers), epoch: ProducerEpoch(0) };
            let is_refused = !self.is_calm && self.dice.one_in(3);
            let loading = ClientError::broker("get a producer id", ErrorCode::CoordinatorLoadInProgress);
            self.core.numbered(self.now, if is_refused { Err(loading) } else { Ok(producer) });
        }
    }

    /// The coordinator does what it is asked for, or does not, and is heard or not.
    fn coordinate(&mut self) {
        if self.coordinator.asked.is_none() || !self.dice.one_in(3) {
            return;
        }
        let Some(verb) = self.coordinator.asked.take() else { return };
        let trouble = if self.is_calm { 99 } else { self.dice.below(8) };
        let concurrent = ClientError::broker("coordinate", ErrorCode::ConcurrentTransactions);
        let result = match trouble {
            0 => Err(broken()), // the request is lost
            1 => Err(concurrent),
            _ => {
                self.obey(&verb);
                if trouble == 2 { Err(broken()) } else { Ok(()) } // the answer is lost
            }
        };
        self.core.coordinated(self.now, verb, result);
    }

    fn obey(&mut self, verb: &Verb) {
        match verb {
            Verb::Join(partitions) => self.coordinator.members.extend(partitions.iter().cloned()),
            Verb::Commit => {
                let members = std::mem::take(&mut self.coordinator.members);
                self.coordinator.commits += usize::from(!members.is_empty()); // asked again it has nothing to do
                for at in members {
                    let log = self.logs.get_mut(&at).unwrap();
                    log.committed = log.tickets.len();
                }
            }
        }
    }

    fn some_wire(&mut self) -> Option<NodeId> {
        let nodes: Vec<NodeId> = self.wires.keys().copied().collect();
        (!nodes.is_empty()).then(|| nodes[self.dice.below(nodes.len() as u64) as usize])
    }

    /// A broker takes the next request of a connection.
    fn serve(&mut self) {
        let Some(node) = self.some_wire() else { return };
        let Some(request) = self.wires.get_mut(&node).and_then(|wire| wire.asked.pop_front()) else { return };
        let answer = self.append(&request);
        self.wires.get_mut(&node).unwrap().answered.push_back((request.id, answer));
    }

    fn serve_late(&mut self) {
        if !self.late.is_empty() {
            let index = self.dice.below(self.late.len() as u64) as usize;
            let request = self.late.remove(index);
            self.append(&request);
        }
    }

    /// An answer arrives.
    fn hear(&mut self) {
        let Some(node) = self.some_wire() else { return };
        let answered = self.wires.get_mut(&node).and_then(|wire| wire.answered.pop_front());
        let Some((request, answer)) = answered else { return };
        self.core.answered(self.now, request, Ok(answer));
    }

    /// A connection breaks. What it carried is gone, or reaches the broker some time.
    fn cut(&mut self) {
        let Some(node) = self.some_wire() else { return };
        let wire = std::mem::take(self.wires.get_mut(&node).unwrap());
        let unheard = wire.answered.iter().map(|(id, _)| *id);
        let lost: Vec<u64> = unheard.chain(wire.asked.iter().map(|request| request.id)).collect();
        if self.dice.one_in(2) {
            self.late.extend(wire.asked);
        }
        for id in lost {
            self.core.answered(self.now, id, Err(broken()));
        }
    }

    fn move_leader(&mut self) {
        let index = self.dice.below(self.logs.len() as u64) as i32;
        let to = NodeId(self.dice.below(NODES as u64) as i32);
        self.stale = self.leaders.clone();
        self.leaders.insert(partition(index), to);
    }

    fn forget(&mut self) {
        let index = self.dice.below(self.logs.len() as u64) as i32;
        self.logs.get_mut(&partition(index)).unwrap().producer = None;
    }

    fn pass_time(&mut self) {
        let Some(deadline) = self.core.deadline(self.now) else { return };
        assert!(deadline > self.now, "a deadline that has passed would spin");
        let wait = (deadline - self.now).as_micros() as u64;
        let wait = if self.dice.one_in(3) { wait } else { self.dice.below(wait.min(5_000) + 1) };
        self.now += Duration::from_micros(wait);
    }

    fn append(&mut self, request: &Request) -> Answer {
        let mut partitions: Vec<PartitionAnswer> =
            request.pieces.iter().map(|piece| self.append_piece(request.leader, piece)).collect();
        if self.dice.one_in(2) {
            partitions.reverse();
        }
        if !self.is_calm && self.dice.one_in(40) {
            partitions.pop(); // a broker that says nothing about one of them
        }
        Answer { throttle: Duration::ZERO, partitions }
    }

    fn append_piece(&mut self, node: NodeId, piece: &Piece) -> PartitionAnswer {
        let mut said = answer_about(&piece.at, ErrorCode::None);
        let leader = self.leaders[&piece.at];
        let trouble = if self.is_calm { 99 } else { self.dice.below(30) };
        if leader != node {
            said.code = ErrorCode::NotLeaderOrFollower;
            said.leader = Some(leader).filter(|_| trouble % 2 == 0);
        } else if trouble == 0 {
            said.code = ErrorCode::NotEnoughReplicas;
        } else {
            let log = self.logs.get_mut(&piece.at).unwrap();
            let before = log.tickets.len();
            log.append(piece, &mut said);
            let is_member = self.coordinator.members.contains(&piece.at);
            assert!(
                !self.is_transactional || is_member || log.tickets.len() == before,
                "{} has not joined the transaction",
                piece.at
            );
            if trouble == 1 && said.code == ErrorCode::None {
                said.code = ErrorCode::NotEnoughReplicasAfterAppend;
            }
        }
        said
    }
}

pub(super) fn answer_about(at: &TopicPartition, code: ErrorCode) -> PartitionAnswer {
    PartitionAnswer {
        topic: StrBytes::from_string(at.topic.as_str().to_owned()),
        index: at.partition.0,
        code,
        detail: None,
        base_offset: Offset::NONE,
        log_start: Offset(0),
        log_end: None,
        leader: None,
    }
}

impl PartitionLog {
    fn append(&mut self, piece: &Piece, said: &mut PartitionAnswer) {
        if let Some(aligned) = &piece.aligned {
            self.append_aligned(piece, aligned.from, said);
            return;
        }
        let next = Offset(self.tickets.len() as i64);
        if let Some(stamp) = piece.stamp {
            match self.check(stamp) {
                Ok(None) => self.remember(stamp, next),
                Ok(Some(known)) => {
                    said.base_offset = known;
                    return;
                }
                Err(code) => {
                    said.code = code;
                    return;
                }
            }
        }
        self.tickets.push(ticket_of(piece));
        said.base_offset = next;
    }

    /// As Kafka's `ProducerAppendInfo`: the offset of a duplicate, or whether the sequence is the next one.
    fn check(&self, stamp: ProducerStamp) -> Result<Option<Offset>, ErrorCode> {
        let Some((last, recent)) = self.producer.as_ref().filter(|(last, _)| last.id == stamp.id) else {
            return Ok(None); // whoever is not known may begin anywhere
        };
        if stamp.epoch < last.epoch {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        if stamp.epoch > last.epoch {
            let is_begin = stamp.base_sequence == 0;
            return if is_begin { Ok(None) } else { Err(ErrorCode::OutOfOrderSequenceNumber) };
        }
        if let Some((_, offset)) = recent.iter().find(|(sequence, _)| *sequence == stamp.base_sequence) {
            return Ok(Some(*offset));
        }
        let is_next = stamp.base_sequence == add_sequence(last.base_sequence, 1);
        if is_next { Ok(None) } else { Err(ErrorCode::OutOfOrderSequenceNumber) }
    }

    fn remember(&mut self, stamp: ProducerStamp, offset: Offset) {
        let known = self.producer.take().filter(|(last, _)| (last.id, last.epoch) == (stamp.id, stamp.epoch));
        let mut recent = known.map(|(_, recent)| recent).unwrap_or_default();
        recent.push_back((stamp.base_sequence, offset));
        if recent.len() > REMEMBERED {
            recent.pop_front();
        }
        self.producer = Some((stamp, recent));
    }

    fn append_aligned(&mut self, piece: &Piece, from: Offset, said: &mut PartitionAnswer) {
        let end = self.tickets.len() as i64;
        if from.0 > end {
            said.code = ErrorCode::OutOfOrderSequenceNumber;
        } else if from.0 == end {
            self.tickets.push(ticket_of(piece));
        }
        said.base_offset = from;
        said.log_end = Some(Offset(self.tickets.len() as i64));
    }
}

fn ticket_of(piece: &Piece) -> u64 {
    BatchHeader::parse(&piece.bytes).unwrap().base_timestamp as u64
}

pub(super) fn broken() -> ClientError {
    ClientError::Connection { address: "model".to_owned(), reason: "cut".to_owned() }
}
