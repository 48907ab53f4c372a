//! The world of the model: chance, the network, and what must hold.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use twinstream_model::{LeaderEpoch, NodeId, Offset};

use super::Bug;
use super::broker::{Broker, Record, Role};
use super::controller::Controller;
use crate::follower::{Ask, Heard, Step};
use crate::leader::{Answer, Answered, Effects, FetchRefused, Proposal, ReplicaFetch};

const BROKERS: i32 = 3;
/// Records that one answer brings at most.
const FETCH_MAX: usize = 8;
const WRITE_MAX: usize = 6;
const MESSAGES_MAX: usize = 60;
const LATE_MAX: usize = 10;

/// A generator of SplitMix64: small, seeded, the same everywhere.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

#[derive(Clone, Debug)]
enum Content {
    Fetch { ask: Ask, broker_epoch: i64 },
    Fetched { ask: Ask, heard: Heard, records: Vec<Record> },
    Alter { proposal: Proposal, broker_epoch: i64 },
    Altered { leader_epoch: LeaderEpoch, id: u64, answer: Answer },
}

/// A broker in one run of its process. What is on its way to a run that is over is lost; what a run sent before it
/// ended arrives.
#[derive(Clone, Copy, Debug)]
struct Place {
    broker: usize,
    run: u64,
}

/// Between brokers, or (`to` is none) to the controller.
#[derive(Clone, Debug)]
struct Message {
    from: Place,
    to: Option<Place>,
    content: Content,
}

#[derive(Debug)]
pub(super) struct World {
    chance: Chance,
    now: Instant,
    brokers: Vec<Broker>,
    controller: Controller,
    network: Vec<Message>,
    /// Messages that take their time.
    late: Vec<Message>,
    committed: Vec<Record>,
    /// Every record that was ever written, by epoch and offset.
    written: BTreeMap<(LeaderEpoch, usize), u64>,
    values: u64,
    trace: u64,
    /// Whether faults happen at present.
    spell: bool,
    bug: Option<Bug>,
}

impl World {
    pub(super) fn new(seed: u64, bug: Option<Bug>) -> World {
        let ids: Vec<NodeId> = (1..=BROKERS).map(NodeId).collect();
        let mut world = World {
            chance: Chance(seed),
            now: Instant::now(),
            brokers: ids.iter().map(|id| Broker::new(*id, bug)).collect(),
            controller: Controller::new(&ids, bug),
            network: Vec::new(),
            late: Vec::new(),
            committed: Vec::new(),
            written: BTreeMap::new(),
            values: 0,
            trace: 0,
            spell: false,
            bug,
        };
        (0..world.brokers.len()).for_each(|i| world.start(i));
        world
    }

    pub(super) fn committed(&self) -> usize {
        self.committed.len()
    }

    pub(super) fn elections(&self) -> usize {
        self.controller.elections
    }

    pub(super) fn trace(&self) -> u64 {
        self.trace
    }

    /// Lets one thing happen; returns what.
    pub(super) fn step(&mut self) -> &'static str {
        self.now += Duration::from_millis(self.chance.next() % 20);
        let i = self.chance.below(self.brokers.len());
        // Faults come in spells, so that there are times in which something is committed at all.
        self.spell = match self.chance.below(100) {
            0 => !self.spell,
            _ => self.spell,
        };
        let leaders: Vec<usize> = (0..self.brokers.len()).filter(|i| self.brokers[*i].leading().is_some()).collect();
        let leader = leaders.get(self.chance.below(leaders.len())).copied().unwrap_or(i);
        let what = match self.chance.below(if self.spell { 1_000 } else { 900 }) {
            0..100 => self.produce(leader),
            100..370 => self.ask(i),
            370..780 => self.deliver(),
            780..840 => self.see(i),
            840..876 => self.tick(leader),
            876..880 => self.deliver_late(),
            880..890 => self.flush(i),
            890..895 => self.start_if_down(i),
            895..900 => self.notice_dead(i),
            900..915 => self.lose_message(),
            915..935 => self.time_out_proposal(leader),
            935..948 => self.crash(i),
            948..955 => self.power_loss(i),
            955..975 => self.start_if_down(i),
            975..985 => self.notice_dead(i),
            985..994 => self.flicker(i),
            _ => self.sleep(),
        };
        self.trace = self.trace.wrapping_mul(31).wrapping_add(self.chance.0 ^ self.committed.len() as u64);
        what
    }

    /// A client writes to whoever takes itself for the leader.
    fn produce(&mut self, i: usize) -> &'static str {
        let now = self.now;
        let broker = &mut self.brokers[i];
        let Role::Leader(state) = &mut broker.role else { return "produce to nobody" };
        if state.check_min_isr().is_err() {
            return "produce refused";
        }
        let epoch = state.leader_epoch();
        let count = 1 + self.chance.below(WRITE_MAX);
        let moved = state.appended(Offset((broker.log.len() + count) as i64), now);
        for _ in 0..count {
            self.values += 1;
            broker.append(Record { epoch, value: self.values });
        }
        self.announce(i, moved);
        "produce"
    }

    fn announce(&mut self, i: usize, moved: Option<Offset>) {
        if let Some(to) = moved {
            self.brokers[i].high_watermark = to.0 as usize;
        }
    }

    fn apply(&mut self, i: usize, effects: Effects) {
        self.announce(i, effects.high_watermark);
        if let Some(proposal) = effects.proposal {
            self.propose(i, proposal);
        }
    }

    fn propose(&mut self, i: usize, proposal: Proposal) {
        let broker_epoch = self.brokers[i].broker_epoch;
        let from = self.place(i);
        self.send(Message { from, to: None, content: Content::Alter { proposal, broker_epoch } });
    }

    fn place(&self, broker: usize) -> Place {
        Place { broker, run: self.brokers[broker].run }
    }

    fn send(&mut self, message: Message) {
        if self.network.len() < MESSAGES_MAX {
            self.network.push(message); // else it is lost
        }
    }

    /// A follower asks, perhaps again although an answer is on its way.
    fn ask(&mut self, i: usize) -> &'static str {
        let again = self.chance.below(4) == 0;
        let broker = &mut self.brokers[i];
        let Role::Follower { leader, state, asked } = &mut broker.role else { return "no follower" };
        if asked.is_some() && !again {
            return "waits";
        }
        let ask = state.ask();
        *asked = Some(ask);
        let to = (leader.0 - 1) as usize;
        let content = Content::Fetch { ask, broker_epoch: broker.broker_epoch };
        let (from, to) = (self.place(i), Some(self.place(to)));
        self.send(Message { from, to, content });
        "ask"
    }

    fn lose_message(&mut self) -> &'static str {
        if !self.network.is_empty() {
            let at = self.chance.below(self.network.len());
            self.network.remove(at);
        }
        "lose a message"
    }

    fn deliver(&mut self) -> &'static str {
        if self.network.is_empty() {
            return "silence";
        }
        // Mostly in order, as on a connection.
        let at = match self.chance.below(4) {
            0 => self.chance.below(self.network.len()),
            _ => 0,
        };
        let message = self.network.remove(at);
        if self.spell && self.chance.below(12) == 0 && self.late.len() < LATE_MAX {
            self.late.push(message);
            return "delay a message";
        }
        self.arrive(message)
    }

    /// Something arrives that lay in a buffer for long.
    fn deliver_late(&mut self) -> &'static str {
        if self.late.is_empty() {
            return "nothing is late";
        }
        let at = self.chance.below(self.late.len());
        let message = self.late.remove(at);
        self.arrive(message)
    }

    fn arrive(&mut self, Message { from, to, content }: Message) -> &'static str {
        if let Some(Place { broker, run }) = to
            && (!self.brokers[broker].up || self.brokers[broker].run != run)
        {
            return "message to the dead";
        }
        match (content, to.map(|to| to.broker)) {
            (Content::Fetch { ask, broker_epoch }, Some(to)) => self.serve(from, to, ask, broker_epoch),
            (Content::Fetched { ask, heard, records }, Some(to)) => self.hear(to, ask, heard, records),
            (Content::Alter { proposal, broker_epoch }, None) => {
                let answer = self.controller.alter(self.brokers[from.broker].id, broker_epoch, &proposal);
                let (leader_epoch, id) = (proposal.leader_epoch, proposal.id);
                self.send(Message { from, to: Some(from), content: Content::Altered { leader_epoch, id, answer } });
            }
            (Content::Altered { leader_epoch, id, answer }, Some(to)) => self.answered(to, leader_epoch, id, answer),
            (content, to) => unreachable!("{content:?} to {to:?}"),
        }
        "deliver"
    }

    fn serve(&mut self, from: Place, to: usize, ask: Ask, broker_epoch: i64) {
        let (follower, now) = (self.brokers[from.broker].id, self.now);
        let standing = self.controller.images[self.brokers[to].seen].standing.get(&follower).copied();
        let leader = &mut self.brokers[to];
        let mut role = std::mem::replace(&mut leader.role, Role::None);
        let (heard, effects) = match &mut role {
            Role::Leader(state) => {
                let mut fetch = ReplicaFetch {
                    follower,
                    broker_epoch,
                    leader_epoch: ask.leader_epoch,
                    offset: ask.offset,
                    last_epoch: ask.last_epoch,
                    log_start: ask.log_start,
                };
                if self.bug == Some(Bug::IgnoresBrokerEpochs) {
                    fetch.broker_epoch = standing.map_or(-1, |standing| standing.broker_epoch);
                }
                let high_watermark = Offset(leader.high_watermark as i64);
                match state.fetched(&fetch, |epoch| leader.end_of(epoch), now) {
                    Ok(effects) => (Heard::Records { high_watermark, log_start: Offset(0) }, effects),
                    Err(FetchRefused::Diverging { epoch, end }) => {
                        (Heard::Diverging { epoch, end, log_start: Offset(0) }, Effects::default())
                    }
                    Err(FetchRefused::OutOfRange { .. }) => (Heard::OutOfRange, Effects::default()),
                    Err(FetchRefused::FencedLeaderEpoch { .. }) => (Heard::Fenced, Effects::default()),
                    Err(_) => (Heard::NotReady, Effects::default()),
                }
            }
            _ => (Heard::NotReady, Effects::default()),
        };
        leader.role = role;
        let mut records = Vec::new();
        if matches!(heard, Heard::Records { .. }) {
            records = leader.log.iter().skip(ask.offset.0 as usize).take(FETCH_MAX).copied().collect();
        }
        let content = Content::Fetched { ask, heard, records };
        self.send(Message { from: self.place(to), to: Some(from), content });
        self.apply(to, effects);
    }

    fn hear(&mut self, i: usize, ask: Ask, heard: Heard, records: Vec<Record>) {
        let leader_end = match &self.brokers[i].role {
            Role::Follower { leader, .. } => self.brokers[(leader.0 - 1) as usize].end(),
            _ => return,
        };
        let late_is_fine = self.bug == Some(Bug::ActsOnLateAnswers);
        let broker = &mut self.brokers[i];
        let Role::Follower { state, asked, .. } = &broker.role else { return };
        let mut state = *state;
        let question = if late_is_fine { state.ask() } else { ask };
        let mut step = state.heard(&question, heard, |epoch| broker.end_of(epoch));
        if step != Step::Ignore && *asked == Some(ask) {
            let Role::Follower { asked, .. } = &mut broker.role else { return };
            *asked = None;
        }
        if step == Step::AskBounds {
            step = state.bounds(Offset(0), leader_end);
        }
        match step {
            Step::Append => {
                records.iter().for_each(|record| broker.append(*record));
                let last = broker.log.last().map_or(LeaderEpoch::NONE, |record| record.epoch);
                let blind = matches!(self.bug, Some(Bug::IgnoresLineage | Bug::CutsAtHighWatermark));
                let last = if blind { LeaderEpoch::NONE } else { last };
                let announce = state.appended(broker.end(), last, heard);
                broker.high_watermark = broker.high_watermark.max(announce.high_watermark.0 as usize);
                if let Role::Follower { state: stored, .. } = &mut broker.role {
                    *stored = state;
                }
            }
            Step::Truncate { to, .. } => broker.cut(to.0 as usize),
            Step::RestartAt { .. } => broker.cut(0),
            // Batches of one record have nothing within.
            Step::BeginWith { .. } | Step::AskBounds | Step::Retry | Step::WaitForImage | Step::Ignore => {}
        }
    }

    fn answered(&mut self, i: usize, leader_epoch: LeaderEpoch, id: u64, answer: Answer) {
        let now = self.now;
        let Role::Leader(state) = &mut self.brokers[i].role else { return };
        if state.leader_epoch() != leader_epoch {
            return;
        }
        match state.answered(id, answer, now) {
            Answered::Settled(effects) => self.apply(i, effects),
            Answered::SendAgain(proposal) => self.propose(i, proposal),
            Answered::WaitForImage => {}
        }
    }

    fn time_out_proposal(&mut self, i: usize) -> &'static str {
        let Role::Leader(state) = &self.brokers[i].role else { return "nothing to time out" };
        let Some(proposal) = state.in_flight() else { return "nothing to time out" };
        let (id, epoch) = (proposal.id, proposal.leader_epoch);
        let forgets = self.bug == Some(Bug::ForgetsProposals);
        self.answered(i, epoch, id, if forgets { Answer::NotApplied } else { Answer::Unknown });
        "proposal times out"
    }

    /// An image arrives; several may have been skipped.
    fn see(&mut self, i: usize) -> &'static str {
        let newer = self.controller.images.len() - 1 - self.brokers[i].seen;
        if !self.brokers[i].up || newer == 0 {
            return "nothing new";
        }
        let index = self.brokers[i].seen + 1 + self.chance.below(newer);
        let (image, now) = (self.controller.images[index].clone(), self.now);
        for effects in self.brokers[i].see(index, &image, now) {
            self.apply(i, effects);
        }
        "image"
    }

    fn tick(&mut self, i: usize) -> &'static str {
        let now = self.now;
        let Role::Leader(state) = &mut self.brokers[i].role else { return "no leader" };
        let effects = state.tick(now);
        self.apply(i, effects);
        "tick"
    }

    fn flush(&mut self, i: usize) -> &'static str {
        self.brokers[i].flush();
        "flush"
    }

    fn crash(&mut self, i: usize) -> &'static str {
        self.brokers[i].crash();
        "crash"
    }

    /// One broker at a time: as long as one has not come back into the ISR, the others keep their disks.
    fn power_loss(&mut self, i: usize) -> &'static str {
        if (0..self.brokers.len()).any(|other| other != i && self.brokers[other].hurt) {
            return "no second loss";
        }
        let keep_flushed = self.chance.below(3) > 0;
        self.brokers[i].lose(keep_flushed);
        "loss of a disk or a page cache"
    }

    fn start_if_down(&mut self, i: usize) -> &'static str {
        if self.brokers[i].up {
            return "runs";
        }
        self.start(i);
        "start"
    }

    fn start(&mut self, i: usize) {
        let broker = &mut self.brokers[i];
        let broker_epoch = self.controller.register(broker.id, broker.lost);
        // It may act on its own registration and what comes after it.
        let oldest = match self.bug {
            Some(Bug::ActsOnOldImages) => broker.seen,
            _ => self.controller.images.len() - 2,
        };
        broker.start(broker_epoch, oldest);
    }

    fn notice_dead(&mut self, i: usize) -> &'static str {
        let id = self.brokers[i].id;
        if !self.brokers[i].up && self.controller.is_unfenced(id) {
            self.controller.fence(id);
        }
        "notice the dead"
    }

    /// A broker that runs is taken for dead, or forgiven.
    fn flicker(&mut self, i: usize) -> &'static str {
        let id = self.brokers[i].id;
        match self.controller.is_unfenced(id) {
            true => self.controller.fence(id),
            false if self.brokers[i].up => self.controller.unfence(id),
            false => {}
        }
        "flicker"
    }

    fn sleep(&mut self) -> &'static str {
        self.now += Duration::from_millis(100 + self.chance.next() % 1_000);
        "time passes"
    }

    pub(super) fn check(&mut self) -> Result<(), String> {
        for i in 0..self.brokers.len() {
            self.check_log(i)?;
            self.check_committed(i)?;
            let broker = &mut self.brokers[i];
            if broker.up && self.controller.assignment.isr.contains(&broker.id) {
                broker.hurt = false;
            }
        }
        let epoch = self.controller.assignment.leader_epoch;
        let newest = self.brokers.iter().find(|b| b.leading().is_some_and(|state| state.leader_epoch() == epoch));
        match newest {
            Some(leader) if leader.log.len() < self.committed.len() => Err(format!(
                "leader {} of epoch {epoch} ends at {}, committed were {}",
                leader.id,
                leader.log.len(),
                self.committed.len()
            )),
            Some(leader) => self.check_same(leader, self.committed.len()),
            None => Ok(()),
        }
    }

    fn check_log(&mut self, i: usize) -> Result<(), String> {
        let broker = &self.brokers[i];
        if let Some(at) = broker.log.windows(2).position(|pair| pair[0].epoch > pair[1].epoch) {
            return Err(format!("epochs of broker {} go back behind offset {at}", broker.id));
        }
        // Only the last ones can be new.
        for (offset, record) in broker.log.iter().enumerate().rev().take(2 * FETCH_MAX) {
            let known = *self.written.entry((record.epoch, offset)).or_insert(record.value);
            if known != record.value {
                return Err(format!("broker {}: two records at offset {offset} of epoch {}", broker.id, record.epoch));
            }
        }
        Ok(())
    }

    fn check_committed(&mut self, i: usize) -> Result<(), String> {
        let broker = &self.brokers[i];
        let high_watermark = broker.high_watermark;
        if high_watermark > broker.log.len() {
            return Err(format!("high watermark {high_watermark} of broker {} is beyond its log", broker.id));
        }
        let known = high_watermark.min(self.committed.len());
        self.check_same(broker, known)?;
        self.committed.extend_from_slice(&broker.log[known..high_watermark]);
        self.brokers[i].verified = high_watermark;
        Ok(())
    }

    /// What was compared and not cut since is not compared again.
    fn check_same(&self, broker: &Broker, to: usize) -> Result<(), String> {
        let from = broker.verified.min(to);
        match (from..to).find(|at| broker.log[*at] != self.committed[*at]) {
            Some(at) => Err(format!("broker {} has another record at {at} than was committed", broker.id)),
            None => Ok(()),
        }
    }

    /// Everything works again: in the end all must be in sync, equal and committed.
    pub(super) fn heal(&mut self) -> Result<(), String> {
        self.spell = false;
        for i in 0..self.brokers.len() {
            self.start_if_down(i);
            let id = self.brokers[i].id;
            if !self.controller.is_unfenced(id) {
                self.controller.unfence(id);
            }
        }
        for _ in 0..2_000 {
            for i in 0..self.brokers.len() {
                while self.see(i) == "image" {}
                self.tick(i);
                self.ask(i);
                self.time_out_proposal(i);
            }
            for _ in 0..10 {
                self.deliver();
            }
            self.deliver_late();
            self.now += Duration::from_millis(50);
            self.check()?;
            if self.is_whole() {
                return Ok(());
            }
        }
        let isr = &self.controller.assignment.isr;
        let ends: Vec<_> = self.brokers.iter().map(|b| (b.log.len(), b.high_watermark)).collect();
        Err(format!("leader {:?}, isr {isr:?}, log ends and high watermarks {ends:?}", self.controller.leader))
    }

    fn is_whole(&self) -> bool {
        let first = &self.brokers[0];
        self.controller.assignment.isr.len() == self.brokers.len()
            && self.brokers.iter().all(|b| b.log == first.log && b.high_watermark == b.log.len())
    }
}
