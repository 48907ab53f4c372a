//! What offsets and many groups cost a shard, without a log. `cargo bench -p twinstream-coordinator --bench groups`.
//!
//! The groups are those of our promise, 15,000 of a cluster, which list and describe in less than a second; here they are
//! all in one shard. Nothing is judged here: the promise is held by the row `groups` of `crates/bench`, on a whole broker.

use std::sync::Arc;

use divan::{Bencher, black_box};
use twinstream_coordinator::group::{
    CommitOffsets, CommitTransactionalOffsets, CommittedOffset, EndTransaction, Generation, GroupConfig, GroupShard,
    ListFilter, MemberId, OffsetKey, OffsetToCommit, Record, Request, Verification, encode,
};
use twinstream_coordinator::transaction::{Producer, TransactionVersion};
use twinstream_coordinator::{Engine, Now, Token};
use twinstream_model::{GroupId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicId, TopicName};

const GROUPS: usize = 15_000;
/// Partitions that each group has an offset of.
const PARTITIONS: i32 = 8;
const PRODUCER: Producer = Producer { id: ProducerId(1), epoch: ProducerEpoch(0) };
const NOW: Now = Now { monotonic_ms: 0, wall_ms: 1_700_000_000_000 };

fn main() {
    divan::main();
}

fn topic() -> TopicName {
    TopicName::parse("orders").expect("a legal name")
}

fn group(number: usize) -> GroupId {
    format!("group-{number}").into()
}

fn records() -> Vec<Record> {
    let value = CommittedOffset {
        offset: Offset(1),
        leader_epoch: LeaderEpoch(0),
        metadata: Arc::from(""),
        commit_timestamp_ms: NOW.wall_ms,
        expire_timestamp_ms: None,
        topic_id: TopicId::NONE,
    };
    let of_group = |number: usize| (0..PARTITIONS).map(move |partition| (number, partition));
    let keys = (0..GROUPS).flat_map(of_group);
    let record = |(number, partition): (usize, i32)| Record::OffsetCommit {
        key: OffsetKey { group: group(number), topic: topic(), partition: PartitionIndex(partition) },
        value: Some(value.clone()),
    };
    keys.map(record).collect()
}

/// A shard and the end of the log that it would have.
struct Driven {
    engine: Engine<GroupShard>,
    end: Offset,
    token: u64,
}

impl Driven {
    fn load(records: &[Record]) -> Driven {
        let mut engine = Engine::new(GroupShard::new(GroupConfig::default()), u64::MAX);
        for (at, record) in records.iter().enumerate() {
            engine.load(Offset(at as i64), record);
        }
        let end = Offset(records.len() as i64);
        engine.handle_loaded(NOW, end, end);
        Driven { engine, end, token: 0 }
    }

    /// Serves one request as the broker does, up to the answer; returns the bytes of its records.
    fn ask(&mut self, request: Request) -> usize {
        self.token += 1;
        self.engine.handle_request(NOW, Token(self.token), request);
        let mut bytes = 0;
        while let Some(records) = self.engine.poll_append() {
            let base = self.end;
            for record in records {
                let encoded = encode(record).expect("a record that fits");
                bytes += encoded.key.len() + encoded.value.map_or(0, |value| value.len());
                self.end = self.end.next();
            }
            self.engine.handle_appended(NOW, base);
        }
        self.engine.handle_committed(self.end);
        while let Some(answer) = self.engine.poll_answer() {
            black_box(answer);
        }
        bytes
    }
}

fn offset() -> OffsetToCommit {
    OffsetToCommit {
        topic: topic(),
        topic_id: TopicId::NONE,
        topic_now: TopicId::NONE,
        partition: PartitionIndex(0),
        offset: Offset(1),
        leader_epoch: LeaderEpoch(0),
        metadata: Arc::from(""),
    }
}

/// One commit of one offset, among all the groups.
#[divan::bench]
fn commit(bencher: Bencher<'_, '_>) {
    let mut shard = Driven::load(&records());
    let mut number = 0;
    bencher.bench_local(|| {
        number = (number + 1) % GROUPS;
        shard.ask(Request::CommitOffsets(CommitOffsets {
            group: group(number),
            generation: Generation::NONE,
            member: MemberId::default(),
            instance: None,
            retention_ms: None,
            knows_group_id_not_found: true,
            offsets: vec![offset()],
        }))
    });
}

/// A transaction of one offset, with its marker.
#[divan::bench]
fn transaction(bencher: Bencher<'_, '_>) {
    let mut shard = Driven::load(&records());
    let mut number = 0;
    bencher.bench_local(|| {
        number = (number + 1) % GROUPS;
        let commit = Request::CommitTransactionalOffsets(CommitTransactionalOffsets {
            group: group(number),
            producer: PRODUCER,
            verification: Verification::SwitchedOff,
            generation: Generation::NONE,
            member: MemberId::default(),
            instance: None,
            offsets: vec![offset()],
        });
        let end =
            EndTransaction { producer: PRODUCER, commit: true, coordinator_epoch: 0, version: TransactionVersion::V0 };
        shard.ask(commit) + shard.ask(Request::EndTransaction(end))
    });
}

/// All of them.
#[divan::bench]
fn list(bencher: Bencher<'_, '_>) {
    let mut shard = Driven::load(&records());
    bencher.bench_local(|| shard.ask(Request::List(ListFilter::default())));
}

/// All of them, one after the other.
#[divan::bench]
fn describe(bencher: Bencher<'_, '_>) {
    let mut shard = Driven::load(&records());
    bencher.bench_local(|| (0..GROUPS).map(|number| shard.ask(Request::Describe(group(number)))).sum::<usize>());
}

/// The search for offsets whose time is up, with nothing found: the shard does nothing else meanwhile.
#[divan::bench]
fn look_for_expired(bencher: Bencher<'_, '_>) {
    let mut shard = Driven::load(&records());
    let mut now = NOW;
    bencher.bench_local(|| {
        now.monotonic_ms += GroupConfig::default().offsets_retention_check_interval_ms;
        shard.engine.handle_timeout(now)
    });
}

/// A new coordinator replays what was stored.
#[divan::bench]
fn load(bencher: Bencher<'_, '_>) {
    let records = records();
    bencher.bench_local(|| Driven::load(&records));
}
