//! A shard with an in-memory log of bytes and a clock that only the test moves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use twinstream_model::{ErrorCode, Offset, ProducerId, TopicName, TopicPartition, TransactionalId};

use super::super::*;
use crate::codec::Encoded;
use crate::{Engine, Now, Token};

pub(super) const WALL_MS_AT_START: i64 = 1_000_000;
pub(super) const TIMEOUT_MS: i32 = 60_000;
const COMMIT_TIMEOUT_MS: u64 = 5_000;

pub(super) struct TestContext {
    pub(super) engine: Engine<TransactionShard>,
    pub(super) log: Vec<Encoded>,
    pub(super) config: TransactionConfig,
    pub(super) now_ms: u64,
    /// What the log says to the next appends.
    pub(super) append_error: Option<ErrorCode>,
    /// While set, appends are not committed.
    pub(super) holds_commits: bool,
    pub(super) events: Vec<Event>,
    pub(super) effects: VecDeque<WriteMarkers>,
    answers: BTreeMap<Token, Answer>,
    next_token: u64,
    next_producer_id: i64,
}

impl TestContext {
    pub(super) fn new() -> TestContext {
        TestContext::with(TransactionConfig::default())
    }

    /// A cluster whose `transaction.version` is this.
    pub(super) fn of_version(version: TransactionVersion) -> TestContext {
        TestContext::with(TransactionConfig { version, ..TransactionConfig::default() })
    }

    pub(super) fn with(config: TransactionConfig) -> TestContext {
        let mut context = TestContext {
            engine: Engine::new(TransactionShard::new(config.clone()), COMMIT_TIMEOUT_MS),
            log: Vec::new(),
            config,
            now_ms: 7, // off the grid of looks
            append_error: None,
            holds_commits: false,
            events: Vec::new(),
            effects: VecDeque::new(),
            answers: BTreeMap::new(),
            next_token: 0,
            next_producer_id: 1_000,
        };
        context.engine.handle_loaded(context.now(), Offset(0), Offset(0));
        context
    }

    pub(super) fn now(&self) -> Now {
        Now { monotonic_ms: self.now_ms, wall_ms: WALL_MS_AT_START + self.now_ms as i64 }
    }

    pub(super) fn request(&mut self, request: Request) -> Token {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.engine.handle_request(self.now(), token, request);
        self.drive();
        token
    }

    pub(super) fn answer(&mut self, token: Token) -> Option<Answer> {
        self.answers.remove(&token)
    }

    /// Asks, and again with a fresh producer id if one is needed. `None` if the answer waits for its commit.
    pub(super) fn ask_with_ids(&mut self, request: impl Fn(Option<ProducerId>) -> Request) -> Option<Answer> {
        let token = self.request(request(None));
        let needs_id = Err(Refusal::NeedsProducerId);
        match self.answer(token)? {
            Answer::InitProducerId(refused) | Answer::EndTxn(refused) if refused == needs_id => {
                self.next_producer_id += 1;
                let token = self.request(request(Some(ProducerId(self.next_producer_id))));
                self.answer(token)
            }
            answer => Some(answer),
        }
    }

    pub(super) fn ask(&mut self, request: Request) -> Answer {
        let token = self.request(request);
        self.answer(token).expect("nothing is parked in this shard")
    }

    /// Moves the clock, firing each deadline at its time.
    pub(super) fn advance(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while let Some(due) = self.engine.poll_deadline().filter(|due| *due <= until) {
            self.now_ms = self.now_ms.max(due);
            self.engine.handle_timeout(self.now());
            self.drive();
        }
        self.now_ms = until;
    }

    /// Lets everything that was appended be committed.
    pub(super) fn commit(&mut self) {
        self.holds_commits = false;
        self.engine.handle_committed(self.engine.log_end());
        self.drive();
    }

    /// Another coordinator takes over, of which the log has the first `kept` records.
    pub(super) fn restart_with(&mut self, kept: usize) {
        self.engine.handle_unload(ErrorCode::NotCoordinator);
        self.collect();
        self.effects.clear();
        self.log.truncate(kept);
        self.holds_commits = false;
        self.engine = Engine::new(TransactionShard::new(self.config.clone()), COMMIT_TIMEOUT_MS);
        for (offset, stored) in self.log.iter().enumerate() {
            let record = decode(Some(&stored.key), stored.value.as_deref()).expect("what was written can be read");
            self.engine.load(Offset(offset as i64), &record);
        }
        let end = Offset(self.log.len() as i64);
        self.engine.handle_loaded(self.now(), end, end);
        self.drive();
    }

    pub(super) fn restart(&mut self) {
        self.restart_with(self.log.len());
    }

    fn drive(&mut self) {
        while let Some(records) = self.engine.poll_append() {
            let encoded: Vec<Encoded> = records.iter().map(|record| encode(record).unwrap()).collect();
            match self.append_error {
                None => {
                    let base = Offset(self.log.len() as i64);
                    self.log.extend(encoded);
                    self.engine.handle_appended(self.now(), base);
                }
                Some(error) => self.engine.handle_append_failed(self.now(), error),
            }
        }
        if !self.holds_commits {
            self.engine.handle_committed(self.engine.log_end());
        }
        self.collect();
        self.engine.shard().check_invariants();
    }

    fn collect(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            self.events.push(event);
        }
        while let Some((token, answer)) = self.engine.poll_answer() {
            assert!(self.answers.insert(token, answer).is_none(), "{token:?} is answered twice");
        }
        while let Some(Effect::WriteMarkers(markers)) = self.engine.poll_effect() {
            assert!(!markers.partitions.is_empty(), "{markers:?}");
            self.effects.push_back(markers);
        }
    }

    // What tests say.

    pub(super) fn init(&mut self, id: &str) -> Producer {
        self.try_init(id, None).expect("initialized")
    }

    pub(super) fn try_init(&mut self, id: &str, producer: Option<Producer>) -> Result<Producer, ErrorCode> {
        let answer = self.ask_with_ids(|fresh| init(id, producer, fresh)).expect("committed");
        let Answer::InitProducerId(result) = answer else { panic!("{answer:?}") };
        result.map_err(error)
    }

    pub(super) fn add(&mut self, id: &str, producer: Producer, partitions: &[i32]) -> ErrorCode {
        self.add_by(TransactionVersion::V0, id, producer, partitions)
    }

    pub(super) fn add_by(
        &mut self,
        version: TransactionVersion,
        id: &str,
        producer: Producer,
        partitions: &[i32],
    ) -> ErrorCode {
        let answer = self.ask(Request::AddPartitions(AddPartitions { version, ..adding(id, producer, partitions) }));
        let Answer::AddPartitions(answer) = answer else { panic!("{answer:?}") };
        assert!(answer.missing.is_empty());
        answer.error
    }

    pub(super) fn verify(&mut self, id: &str, producer: Producer, partition_number: i32) -> ErrorCode {
        let request = AddPartitions { verify_only: true, ..adding(id, producer, &[partition_number]) };
        let answer = self.ask(Request::AddPartitions(request));
        let Answer::AddPartitions(answer) = answer else { panic!("{answer:?}") };
        answer.of(&partition(partition_number))
    }

    pub(super) fn end(
        &mut self,
        version: TransactionVersion,
        id: &str,
        producer: Producer,
        commit: bool,
    ) -> Result<Producer, ErrorCode> {
        let answer = self.ask_with_ids(|fresh| ending(version, id, producer, commit, fresh)).expect("committed");
        let Answer::EndTxn(result) = answer else { panic!("{answer:?}") };
        result.map_err(error)
    }

    /// Carries out every effect, and tells the shard.
    pub(super) fn write_markers(&mut self) {
        while let Some(markers) = self.effects.pop_front() {
            let partitions = markers.partitions.clone();
            assert_eq!(self.report(&markers, partitions), ErrorCode::None);
        }
    }

    pub(super) fn report(&mut self, markers: &WriteMarkers, partitions: BTreeSet<TopicPartition>) -> ErrorCode {
        self.report_any(markers, partitions).expect("committed")
    }

    /// Like `report`; `None` if the answer waits for its commit.
    pub(super) fn report_any(
        &mut self,
        markers: &WriteMarkers,
        partitions: BTreeSet<TopicPartition>,
    ) -> Option<ErrorCode> {
        let report = MarkersWritten {
            transactional_id: markers.transactional_id.clone(),
            producer: markers.producer,
            partitions,
        };
        let token = self.request(Request::MarkersWritten(report));
        match self.answer(token)? {
            Answer::MarkersWritten(error) => Some(error),
            answer => panic!("{answer:?}"),
        }
    }

    pub(super) fn describe(&mut self, id: &str) -> Result<Description, ErrorCode> {
        let answer = self.ask(Request::Describe(id.into()));
        let Answer::Describe(result) = answer else { panic!("{answer:?}") };
        result
    }

    pub(super) fn state(&mut self, id: &str) -> TransactionState {
        self.describe(id).expect("known").state
    }

    /// Sets the epoch of an idle producer, as if it had ended many transactions.
    pub(super) fn wear_out(&mut self, id: &str, epoch: i16) -> Producer {
        let mut value = self.newest(id);
        value.producer.epoch = epoch.into();
        let record = Record { transactional_id: id.into(), value: Some(value.clone()) };
        self.log.push(encode(&record).unwrap());
        self.restart();
        value.producer
    }

    /// What the log holds of an id.
    pub(super) fn newest(&self, id: &str) -> TransactionMetadata {
        let records = self.log.iter().map(|stored| decode(Some(&stored.key), stored.value.as_deref()).unwrap());
        let newest = records.filter(|record| record.transactional_id.as_str() == id).last();
        newest.and_then(|record| record.value).expect("stored")
    }
}

pub(super) fn init(id: &str, producer: Option<Producer>, fresh: Option<ProducerId>) -> Request {
    Request::InitProducerId(InitProducerId { transactional_id: id.into(), timeout_ms: TIMEOUT_MS, producer, fresh })
}

pub(super) fn adding(id: &str, producer: Producer, partitions: &[i32]) -> AddPartitions {
    AddPartitions {
        transactional_id: id.into(),
        producer,
        partitions: partitions.iter().map(|number| partition(*number)).collect(),
        verify_only: false,
        version: TransactionVersion::V0,
        connection: None,
    }
}

pub(super) fn ending(
    version: TransactionVersion,
    id: &str,
    producer: Producer,
    commit: bool,
    fresh: Option<ProducerId>,
) -> Request {
    let transactional_id = TransactionalId::from(id);
    Request::EndTxn(EndTxn { transactional_id, producer, commit, version, fresh, connection: None })
}

pub(super) fn partition(number: i32) -> TopicPartition {
    TopicPartition::new(TopicName::parse("orders").unwrap(), number)
}

pub(super) fn error(refusal: Refusal) -> ErrorCode {
    match refusal {
        Refusal::Error(error) => error,
        Refusal::NeedsProducerId => panic!("a fresh producer id is still needed"),
    }
}

pub(super) fn above(producer: Producer, epochs: i16) -> Producer {
    Producer::new(producer.id, producer.epoch.0 + epochs)
}
