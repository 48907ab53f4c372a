//! What becomes of a request: answered partition by partition, or lost.
//!
//! Picture: a flight remembers which batch of which lane it carries. Each answer is judged by itself ([`verdict`]); a lost
//! connection ends all flights over it and makes the leader unknown.
//! Invariants: an answer about a batch that is not in its row any more changes nothing; what is not answered is sent again.

use std::time::Duration;

use kafka_protocol::protocol::StrBytes;
use twinstream_model::{ErrorCode, NodeId, Offset, TopicPartition};
use twinstream_protocol::batch::batches;

use super::{Core, Flight, LaneId, Line, Spot};
use crate::error::ClientError;
use crate::raw::sender::options::Options;
use crate::raw::sender::verdict::{Circumstances, Verdict, verdict};
use crate::raw::sender::{Delivered, Moment, SendFailure};

/// The place of an entry that was answered.
const ANSWERED: u64 = u64::MAX;

/// A leader that moved is found at the first or second try; whoever fails so often is in trouble.
const TOLD_AT: u32 = 3;
const STARTS_OVER: &str = "the broker lost the producer's sequences, they start over";
const IS_SENT_AGAIN: &str = "batches are sent again and again";

/// Something that an operator should read.
#[derive(Debug)]
pub(in crate::raw::sender) struct Notice {
    pub(in crate::raw::sender) partition: TopicPartition,
    pub(in crate::raw::sender) cause: ClientError,
    pub(in crate::raw::sender) what: &'static str,
}

/// What a broker said about a request.
#[derive(Debug, Default)]
pub(in crate::raw::sender) struct Answer {
    pub(in crate::raw::sender) throttle: Duration,
    pub(in crate::raw::sender) partitions: Vec<PartitionAnswer>,
}

#[derive(Debug)]
pub(in crate::raw::sender) struct PartitionAnswer {
    pub(in crate::raw::sender) topic: StrBytes,
    pub(in crate::raw::sender) index: i32,
    pub(in crate::raw::sender) code: ErrorCode,
    pub(in crate::raw::sender) detail: Option<String>,
    pub(in crate::raw::sender) base_offset: Offset,
    pub(in crate::raw::sender) log_start: Offset,
    pub(in crate::raw::sender) log_end: Option<Offset>,
    /// Who leads now, where the broker knows (KIP-951).
    pub(in crate::raw::sender) leader: Option<NodeId>,
}

impl Core {
    /// A connection to a leader is there, or failed.
    pub(in crate::raw::sender) fn opened(&mut self, now: Moment, leader: NodeId, result: Result<(), ClientError>) {
        match result {
            Ok(()) => self.pipe(leader).line = Line::Open,
            Err(error) => self.lost(now, leader, &error),
        }
    }

    /// A leader cannot be reached, or does not answer: whom it led may have another one.
    fn lost(&mut self, now: Moment, leader: NodeId, cause: &ClientError) {
        let pipe = self.pipe(leader);
        pipe.line = Line::Closed;
        pipe.generation += 1;
        let stood = std::mem::take(&mut pipe.ready);
        for lane in self.lanes.iter_mut().filter(|lane| lane.leader == Some(leader)) {
            lane.leader = None;
        }
        for id in stood {
            let lane = &mut self.lanes[id as usize];
            lane.spot = Spot::Idle;
            lane.failures += 1;
            lane.cause = Some(cause.clone());
            lane.resume_at = now + pause_of(&self.options, lane.failures, true);
            self.settle(now, id);
        }
    }

    /// A request was answered, or lost on the way.
    pub(in crate::raw::sender) fn answered(&mut self, now: Moment, request: u64, result: Result<Answer, ClientError>) {
        let Some(flight) = self.flights.remove(&request) else { return };
        let leader = flight.leader;
        let pipe = self.pipe(leader);
        pipe.in_flight -= 1;
        let is_present = pipe.generation == flight.generation;
        match result {
            Ok(answer) => self.read(now, flight, answer),
            Err(error) => {
                let is_passing = matches!(
                    error,
                    ClientError::Connection { .. } | ClientError::Timeout { .. } | ClientError::Malformed { .. }
                );
                if is_passing && is_present {
                    self.lost(now, leader, &error);
                }
                for (id, place) in flight.entries {
                    if is_passing {
                        self.again(now, id, place, error.clone(), None, true);
                    } else if self.lanes[id as usize].index_of(place).is_some() {
                        self.give_up(id, &error, None);
                    }
                }
            }
        }
    }

    fn read(&mut self, now: Moment, flight: Flight, answer: Answer) {
        if !answer.throttle.is_zero() {
            self.pipe(flight.leader).muted_until = now + answer.throttle; // KIP-219: the client is to be silent
        }
        let mut open = flight.entries;
        for said in answer.partitions {
            let lane = self.by_name.get(said.topic.as_str()).and_then(|topic| topic.get(&said.index)).copied();
            let entry = lane.and_then(|lane| open.binary_search_by_key(&lane, |entry| entry.0).ok());
            let Some(entry) = entry.filter(|entry| open[*entry].1 != ANSWERED) else { continue };
            let (id, place) = open[entry];
            open[entry].1 = ANSWERED;
            self.judge(now, id, place, &said);
        }
        for (id, place) in open.into_iter().filter(|(_, place)| *place != ANSWERED) {
            let cause = ClientError::Malformed {
                address: format!("broker {}", flight.leader),
                api: "Produce".to_owned(),
                reason: format!("no answer for {}", self.lanes[id as usize].at),
            };
            self.again(now, id, place, cause, None, true);
        }
    }

    /// One partition's answer.
    fn judge(&mut self, now: Moment, id: LaneId, place: u64, said: &PartitionAnswer) {
        let lane = &mut self.lanes[id as usize];
        let Some(index) = lane.index_of(place) else { return }; // its lane was given up meanwhile
        let item = lane.item(index);
        let about = Circumstances {
            is_first: index == 0,
            is_numbered: item.sequence.is_some(),
            knows_log_start: said.log_start != Offset::NONE,
            is_transactional: self.options.is_transactional,
        };
        let error = || ClientError::Broker {
            what: format!("produce a batch to {}", lane.at),
            code: said.code,
            detail: said.detail.clone(),
        };
        match verdict(said.code, about) {
            Verdict::Delivered if index == 0 => self.deliver(now, id, said),
            Verdict::Delivered => {
                // The one before it may be there too, with an answer that said less. All are sent again and found out.
                let what = format!("produce a batch to {}", lane.at);
                let reason = "a later one was acknowledged first".to_owned();
                let cause = ClientError::Library { what, reason, retriable: true };
                lane.is_there(index);
                self.again(now, id, place, cause, None, false);
            }
            Verdict::Again { lookup } => {
                let cause = error();
                self.again(now, id, place, cause, said.leader, lookup);
            }
            Verdict::Renumber if lane.was_overtaken() => {
                let what = format!("produce a batch to {}", lane.at);
                let reason = "a later batch was appended without it, as the broker had lost the producer's numbers";
                let error = ClientError::Library { what, reason: reason.to_owned(), retriable: false };
                self.give_up(id, &error, None);
            }
            Verdict::Renumber if self.options.is_transactional => {
                let what = format!("produce a batch to {}", lane.at);
                let reason = format!(
                    "the broker has lost the producer's numbers ({}), nothing of the transaction counts",
                    said.code
                );
                self.give_up(id, &ClientError::Library { what, reason, retriable: true }, None);
            }
            Verdict::Renumber => {
                let cause = error();
                self.notices.push(Notice { partition: lane.at.clone(), cause: cause.clone(), what: STARTS_OVER });
                lane.want_renumber();
                self.again(now, id, place, cause, None, false);
            }
            Verdict::CheckBytes => {
                match batches(&item.bytes).find_map(|batch| batch.and_then(|batch| batch.check_crc()).err()) {
                    None => {
                        let cause = error();
                        self.again(now, id, place, cause, None, false);
                    }
                    Some(damage) => {
                        let what = format!("produce a batch to {}", lane.at);
                        let reason = format!("it was damaged before it was sent: {damage}");
                        let error = ClientError::Library { what, reason, retriable: false };
                        self.give_up(id, &error, None);
                    }
                }
            }
            Verdict::Final => {
                let error = error();
                self.give_up(id, &error, said.log_end);
            }
        }
    }

    fn deliver(&mut self, now: Moment, id: LaneId, said: &PartitionAnswer) {
        let lane = &mut self.lanes[id as usize];
        lane.resume_at = Moment::ZERO;
        let Some(item) = lane.arrived() else { return };
        let base_offset = item.aligned.as_ref().map_or(said.base_offset, |aligned| aligned.from);
        self.under_way -= 1;
        self.outcomes.push_back(Ok(Delivered { ticket: item.ticket, base_offset, log_end: said.log_end }));
        self.settle(now, id);
    }

    /// A batch is to be sent again, with all that follows it.
    fn again(&mut self, now: Moment, id: LaneId, place: u64, cause: ClientError, hint: Option<NodeId>, lookup: bool) {
        let lane = &mut self.lanes[id as usize];
        let Some(index) = lane.index_of(place) else { return };
        let is_over = lane.item(index).tries > self.options.retries;
        lane.came_back(cause.clone());
        if is_over {
            self.give_up(id, &cause, None);
            return;
        }
        if lookup {
            lane.leader = hint;
        }
        if !lane.is_flying() {
            lane.failures += 1;
            lane.resume_at = now + pause_of(&self.options, lane.failures, lookup);
            if lane.failures == TOLD_AT {
                self.notices.push(Notice { partition: lane.at.clone(), cause, what: IS_SENT_AGAIN });
            }
            self.expire(now, id);
            self.settle(now, id);
        }
    }

    /// Fails a lane whose first batch has waited for too long, unless answers are still to come.
    pub(super) fn expire(&mut self, now: Moment, id: LaneId) {
        let lane = &mut self.lanes[id as usize];
        if lane.front().is_none_or(|item| item.deadline > now) {
            return;
        }
        lane.hold();
        if lane.is_flying() {
            return;
        }
        let last = lane.cause.as_ref().map_or_else(String::new, |cause| format!(" (at last: {cause})"));
        let what = format!("deliver a batch to {}{last}", lane.at);
        let error = ClientError::Timeout { what, after: self.options.delivery_timeout };
        self.give_up(id, &error, None);
    }

    /// Fails everything of a lane, in order.
    pub(super) fn give_up(&mut self, id: LaneId, error: &ClientError, log_end: Option<Offset>) {
        self.break_transaction(error);
        let lane = &mut self.lanes[id as usize];
        let partition = lane.at.clone();
        for item in lane.give_up() {
            self.under_way -= 1;
            let (partition, error) = (partition.clone(), error.clone());
            self.outcomes.push_back(Err(SendFailure { ticket: item.ticket, partition, error, log_end }));
        }
    }
}

/// A leader that moved is asked for at once the first time; everything else waits.
fn pause_of(options: &Options, failures: u32, lookup: bool) -> Duration {
    match (lookup, failures) {
        (true, 0 | 1) => Duration::ZERO,
        (true, more) => options.backoff(more - 1),
        (false, failures) => options.backoff(failures),
    }
}
