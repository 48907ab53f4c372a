//! A shard with an in-memory log and a clock that only the test moves.

use std::sync::Arc;

use bytes::Bytes;
use twinstream_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};
use uuid::Uuid;

use super::super::*;
use crate::{Engine, Now, Token};

const WALL_MS_AT_START: i64 = 1_000_000;

pub(super) struct TestContext {
    pub(super) engine: Engine<GroupShard>,
    pub(super) log: Vec<(BatchKind, Encoded)>,
    pub(super) config: GroupConfig,
    pub(super) now_ms: u64,
    /// What the log says to the next appends.
    pub(super) append_error: Option<ErrorCode>,
    /// While set, appends are not committed.
    pub(super) holds_commits: bool,
    pub(super) happenings: Vec<Happening>,
    next_token: u64,
    next_id: u128,
}

/// What came out of the engine, in order.
#[derive(Debug)]
pub(super) enum Happening {
    Appended(Record),
    Refused(Record, ErrorCode),
    Event(Event),
    Answered(Token, Answer),
}

impl TestContext {
    pub(super) fn new(config: GroupConfig) -> TestContext {
        let mut engine = Engine::new(GroupShard::new(config.clone()), u64::MAX);
        engine.handle_loaded(now(0), Offset(0), Offset(0));
        TestContext {
            engine,
            log: Vec::new(),
            config,
            now_ms: 0,
            append_error: None,
            holds_commits: false,
            happenings: Vec::new(),
            next_token: 0,
            next_id: 0,
        }
    }

    pub(super) fn request(&mut self, request: Request) -> Token {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.engine.handle_request(now(self.now_ms), token, request);
        self.drive();
        token
    }

    /// The answer to a request that is not parked.
    pub(super) fn ask(&mut self, request: Request) -> Answer {
        let token = self.request(request);
        self.answer(token).expect("the request is parked")
    }

    pub(super) fn answer(&mut self, wanted: Token) -> Option<Answer> {
        self.happenings.iter().rev().find_map(|h| match h {
            Happening::Answered(token, answer) if *token == wanted => Some(answer.clone()),
            _ => None,
        })
    }

    /// Moves the clock, firing each deadline at its time.
    pub(super) fn advance(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while let Some(due) = self.engine.poll_deadline().filter(|due| *due <= until) {
            self.now_ms = self.now_ms.max(due);
            self.engine.handle_timeout(now(self.now_ms));
            self.drive();
        }
        self.now_ms = until;
    }

    /// Forgets everything but the log and loads it again.
    pub(super) fn restart(&mut self) {
        let mut engine = Engine::new(GroupShard::new(self.config.clone()), u64::MAX);
        for (offset, (batch, record)) in self.log.iter().enumerate() {
            let record = read(*batch, record);
            engine.load(Offset(offset as i64), &record);
        }
        let end = Offset(self.log.len() as i64);
        self.engine = engine;
        self.engine.handle_loaded(now(self.now_ms), end, end);
        self.drive();
    }

    pub(super) fn commit_all(&mut self) {
        self.holds_commits = false;
        self.engine.handle_committed(Offset(self.log.len() as i64));
        self.drive();
    }

    pub(super) fn fresh_id(&mut self) -> Uuid {
        self.next_id += 1;
        Uuid::from_u128(self.next_id)
    }

    fn drive(&mut self) {
        while let Some(records) = self.engine.poll_append() {
            let records = records.to_vec();
            self.take_events();
            match self.append_error {
                Some(error) => {
                    self.happenings.extend(records.into_iter().map(|r| Happening::Refused(r, error)));
                    self.engine.handle_append_failed(now(self.now_ms), error);
                }
                None => self.append(records),
            }
        }
        self.take_events();
        while let Some((token, answer)) = self.engine.poll_answer() {
            self.happenings.push(Happening::Answered(token, answer));
        }
        self.engine.shard().check_invariants();
    }

    fn append(&mut self, records: Vec<Record>) {
        let base = Offset(self.log.len() as i64);
        for record in records {
            self.log.push((record.batch_kind(), encode(&record).expect("encode")));
            self.happenings.push(Happening::Appended(record));
        }
        self.engine.handle_appended(now(self.now_ms), base);
        if !self.holds_commits {
            self.engine.handle_committed(Offset(self.log.len() as i64));
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            self.happenings.push(Happening::Event(event));
        }
    }
}

/// Reads a stored record as a loader does.
pub(super) fn read(batch: BatchKind, record: &Encoded) -> Record {
    let (key, value) = (Some(&record.key[..]), record.value.as_deref());
    let read = match batch {
        BatchKind::Plain => decode(key, value),
        BatchKind::Transactional(producer) => decode(key, value).map(|record| record.in_transaction(producer)),
        BatchKind::Marker(producer) => decode_marker(producer, key, value).map(|marker| marker.expect("a marker")),
    };
    read.expect("decode our own record")
}

pub(super) fn now(ms: u64) -> Now {
    Now { monotonic_ms: ms, wall_ms: WALL_MS_AT_START + ms as i64 }
}

/// A consumer's subscription in version 0 of the consumer protocol.
pub(super) fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 0];
    bytes.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend((-1i32).to_be_bytes()); // no user data
    bytes.into()
}

/// `range:orders+payments` is a consumer's protocol, `compatible=bytes` an opaque one.
pub(super) fn protocol(text: &str) -> Protocol {
    if let Some((name, topics)) = text.split_once(':') {
        let topics: Vec<&str> = topics.split('+').filter(|t| !t.is_empty()).collect();
        return Protocol { name: name.into(), metadata: subscription(&topics) };
    }
    let (name, metadata) = text.split_once('=').unwrap_or((text, ""));
    Protocol { name: name.into(), metadata: Bytes::copy_from_slice(metadata.as_bytes()) }
}

pub(super) fn text(text: &str) -> Arc<str> {
    text.into()
}

pub(super) fn topic(name: &str) -> TopicName {
    TopicName::parse(name).expect("legal topic name")
}

pub(super) fn offset_to_commit(name: &str, partition: i32, offset: i64, metadata: &str) -> OffsetToCommit {
    OffsetToCommit {
        topic: topic(name),
        topic_id: TopicId::NONE,
        topic_now: TopicId::NONE,
        partition: PartitionIndex(partition),
        offset: Offset(offset),
        leader_epoch: LeaderEpoch(0),
        metadata: metadata.into(),
    }
}
