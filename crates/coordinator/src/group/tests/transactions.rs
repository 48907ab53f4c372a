//! Random commits, transactions, deletions and expiry, held against what the log alone says, and against a shard that
//! loads the log again, whole or compacted.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use twinstream_model::{ErrorCode, GroupId, Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicId};

use super::super::transactions::ENDINGS_REMEMBERED;
use super::super::*;
use super::context::{TestContext, offset_to_commit, read, topic};
use crate::transaction::{Producer, TransactionVersion};

const TOPICS: [&str; 2] = ["orders", "payments"];

fn producer(id: i64) -> Producer {
    Producer { id: ProducerId(id), epoch: ProducerEpoch(0) }
}

fn txn_commit(producer: Producer, verification: Verification, group: GroupId, offset: OffsetToCommit) -> Request {
    Request::CommitTransactionalOffsets(CommitTransactionalOffsets {
        group,
        producer,
        verification,
        generation: Generation::NONE,
        member: MemberId::default(),
        instance: None,
        offsets: vec![offset],
    })
}

fn end(producer: Producer, commit: bool) -> Request {
    let version = TransactionVersion::V0;
    Request::EndTransaction(EndTransaction { producer, commit, coordinator_epoch: 0, version })
}

fn unverified(context: &mut TestContext, commit: &Request) -> TransactionGuard {
    match context.ask(commit.clone()) {
        Answer::Unverified(guard) => guard,
        other => panic!("{other:?}"),
    }
}

#[test]
fn guard_that_is_older_than_what_the_shard_remembers_is_given_anew() {
    let mut context = TestContext::new(GroupConfig::default());
    let commit = |verification| txn_commit(producer(1), verification, "g".into(), offset_to_commit("orders", 0, 1, ""));
    let guard = unverified(&mut context, &commit(Verification::Missing));
    for _ in 0..ENDINGS_REMEMBERED {
        context.ask(end(producer(2), true));
        context.happenings.clear();
    }
    let is_accepted = |answer: Answer| matches!(answer, Answer::CommitTransactionalOffsets(a) if a.error.is_none());
    assert!(is_accepted(context.ask(commit(Verification::LookedUp(guard)))), "every marker since is remembered");
    context.ask(end(producer(1), true));
    let fresh = unverified(&mut context, &commit(Verification::LookedUp(guard)));
    assert!(is_accepted(context.ask(commit(Verification::LookedUp(fresh)))));
}

/// What one random step names: few of each kind, so that they meet.
#[derive(Clone, Debug)]
enum Step {
    Commit { group: u8, topic: usize, partition: i32 },
    TxnCommit { producer: i64, group: u8, topic: usize, partition: i32 },
    End { producer: i64, commit: bool },
    DeleteOffsets { group: u8, topic: usize },
    DeleteGroup { group: u8 },
    Forget { topic: usize },
    Advance { ms: u64 },
    FailAppends { fail: bool },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let (group, topic, partition, producer) = (0..2u8, 0..TOPICS.len(), 0..2i32, 0..3i64);
    prop_oneof![
        6 => (group.clone(), topic.clone(), partition.clone())
            .prop_map(|(group, topic, partition)| Step::Commit { group, topic, partition }),
        12 => (producer.clone(), group.clone(), topic.clone(), partition)
            .prop_map(|(producer, group, topic, partition)| Step::TxnCommit { producer, group, topic, partition }),
        6 => (producer, any::<bool>()).prop_map(|(producer, commit)| Step::End { producer, commit }),
        2 => (group.clone(), topic.clone()).prop_map(|(group, topic)| Step::DeleteOffsets { group, topic }),
        1 => group.prop_map(|group| Step::DeleteGroup { group }),
        1 => topic.prop_map(|topic| Step::Forget { topic }),
        3 => (0..8_000u64).prop_map(|ms| Step::Advance { ms }),
        1 => any::<bool>().prop_map(|fail| Step::FailAppends { fail }),
        1 => Just(Step::Restart),
    ]
}

fn group(number: u8) -> GroupId {
    format!("g{number}").into()
}

fn take(context: &mut TestContext, step: &Step, number: i64) {
    let request = match step {
        Step::Commit { group: g, topic: t, partition } => Request::CommitOffsets(CommitOffsets {
            group: group(*g),
            generation: Generation::NONE,
            member: MemberId::default(),
            instance: None,
            retention_ms: None,
            knows_group_id_not_found: true,
            offsets: vec![offset_to_commit(TOPICS[*t], *partition, number, "")],
        }),
        Step::TxnCommit { producer: p, group: g, topic: t, partition } => {
            let offset = offset_to_commit(TOPICS[*t], *partition, number, "");
            txn_commit(producer(*p), Verification::SwitchedOff, group(*g), offset)
        }
        Step::End { producer: p, commit } => end(producer(*p), *commit),
        Step::DeleteOffsets { group: g, topic: t } => {
            let partitions = vec![PartitionIndex(0), PartitionIndex(1)];
            Request::DeleteOffsets(DeleteOffsets { group: group(*g), topics: vec![(topic(TOPICS[*t]), partitions)] })
        }
        Step::DeleteGroup { group: g } => Request::Delete(group(*g)),
        Step::Forget { topic: t } => Request::ForgetTopics(vec![(topic(TOPICS[*t]), TopicId::NONE)]),
        Step::Advance { ms } => return context.advance(*ms),
        Step::FailAppends { fail } => {
            context.append_error = fail.then_some(ErrorCode::NotEnoughReplicas);
            return;
        }
        Step::Restart => return context.restart(),
    };
    context.ask(request);
}

/// The records of a log with their offsets.
fn records(context: &TestContext) -> Vec<(Offset, Record)> {
    let read = |(at, (batch, record)): (usize, &(BatchKind, Encoded))| (Offset(at as i64), read(*batch, record));
    context.log.iter().enumerate().map(read).collect()
}

/// How the transaction of the record at `at` ended, `None` while it is open.
fn fate(log: &[(Offset, Record)], at: Offset, producer: Producer) -> Option<bool> {
    log.iter().filter(|(marker, _)| *marker > at).find_map(|(_, record)| match record {
        Record::TransactionMarker { producer: ended, commit, .. } if ended.id == producer.id => Some(*commit),
        _ => None,
    })
}

/// What counts and what is pending, by definition: of each partition the last commit that counts, and all commits of
/// open transactions, unless a tombstone came later.
fn by_definition(log: &[(Offset, Record)]) -> (BTreeMap<OffsetKey, Offset>, BTreeSet<OffsetKey>) {
    let (mut counts, mut pending) = (BTreeMap::new(), BTreeSet::new());
    let is_gone = |at: Offset, key: &OffsetKey| {
        let kills = |record: &Record| matches!(record, Record::OffsetCommit { key: k, value: None } if k == key);
        log.iter().any(|(later, record)| *later > at && kills(record))
    };
    for (at, record) in log {
        match record {
            Record::OffsetCommit { key, value: Some(value) } if !is_gone(*at, key) => {
                counts.insert(key.clone(), value.offset);
            }
            Record::TransactionalCommit { producer, key, value } if !is_gone(*at, key) => {
                match fate(log, *at, *producer) {
                    Some(true) => drop(counts.insert(key.clone(), value.offset)),
                    Some(false) => (),
                    None => drop(pending.insert(key.clone())),
                }
            }
            _ => (),
        }
    }
    (counts, pending)
}

/// What compaction leaves at the most: nothing of aborted transactions, and below the first open transaction only the
/// last record of each key. Markers go with the last record of their transaction.
fn compacted(log: &[(Offset, Record)]) -> Vec<(Offset, Record)> {
    let is_open = |(at, record): &&(Offset, Record)| match record {
        Record::TransactionalCommit { producer, .. } => fate(log, *at, *producer).is_none(),
        _ => false,
    };
    let last_stable = log.iter().find(is_open).map_or(Offset(log.len() as i64), |(at, _)| *at);
    let key_of = |at: Offset, record: &Record| match record {
        Record::OffsetCommit { key, .. } => Some(key.clone()),
        Record::TransactionalCommit { producer, key, .. } => {
            fate(log, at, *producer).unwrap_or(true).then(|| key.clone())
        }
        _ => None,
    };
    let mut last = BTreeMap::new();
    for (at, record) in log.iter().filter(|(at, _)| *at < last_stable) {
        last.extend(key_of(*at, record).map(|key| (key, *at)));
    }
    let stays = |(at, record): &&(Offset, Record)| match record {
        _ if *at >= last_stable => true,
        Record::OffsetCommit { .. } | Record::TransactionalCommit { .. } => {
            key_of(*at, record).is_some_and(|key| last.get(&key) == Some(at))
        }
        Record::TransactionMarker { .. } | Record::GroupMetadata { .. } | Record::Consumer(_) => true,
    };
    let without_markers: Vec<_> = log.iter().filter(stays).cloned().collect();
    let has_data = |(at, record): &&(Offset, Record)| match record {
        Record::TransactionMarker { producer: ended, .. } => {
            let open_before = without_markers.iter().rev().skip_while(|(other, _)| other >= at);
            let of_producer = open_before.filter_map(|(_, record)| match record {
                Record::TransactionalCommit { producer, .. } if producer.id == ended.id => Some(true),
                Record::TransactionMarker { producer, .. } if producer.id == ended.id => Some(false),
                _ => None,
            });
            of_producer.into_iter().next() == Some(true)
        }
        _ => true,
    };
    without_markers.iter().filter(has_data).cloned().collect()
}

fn load(log: &[(Offset, Record)]) -> GroupShard {
    let mut shard = GroupShard::new(GroupConfig::default());
    for (at, record) in log {
        shard.replay(*at, record);
    }
    shard.check_invariants();
    shard
}

fn check(context: &mut TestContext) -> Result<(), TestCaseError> {
    let log = records(context);
    let (counts, pending) = by_definition(&log);
    let shard = context.engine.shard();
    for (g, t, p) in every_partition() {
        let key = OffsetKey { group: group(g), topic: topic(TOPICS[t]), partition: PartitionIndex(p) };
        let found = shard.offsets.get(&key.group, &key.topic, key.partition).map(|found| found.offset);
        prop_assert_eq!(found, counts.get(&key).copied(), "what counts for {:?}", key);
        let is_pending = shard.offsets.is_pending(&key.group, &key.topic, key.partition);
        prop_assert_eq!(is_pending, pending.contains(&key), "what is pending for {:?}", key);
        prop_assert!(found.is_none() && !is_pending || shard.groups.contains_key(&key.group));
    }
    prop_assert_eq!(&load(&log).offsets, &shard.offsets, "loaded");
    prop_assert_eq!(&load(&compacted(&log)).offsets, &shard.offsets, "loaded after compaction");
    Ok(())
}

/// Every group, topic and partition of the steps.
fn every_partition() -> impl Iterator<Item = (u8, usize, i32)> {
    (0..2u8).flat_map(|g| (0..TOPICS.len()).flat_map(move |t| (0..2i32).map(move |p| (g, t, p))))
}

proptest! {
    #[test]
    fn what_counts_and_what_is_pending_is_what_the_log_says(steps in prop::collection::vec(step(), 1..60)) {
        let config = GroupConfig {
            offsets_retention_ms: 15_000,
            offsets_retention_check_interval_ms: 5_000,
            ..GroupConfig::default()
        };
        let mut context = TestContext::new(config);
        for (number, step) in steps.iter().enumerate() {
            take(&mut context, step, number as i64);
            check(&mut context)?;
        }
    }

    #[test]
    fn who_asks_for_stable_offsets_never_sees_one_that_is_being_replaced(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut context = TestContext::new(GroupConfig::default());
        for (number, step) in steps.iter().enumerate() {
            take(&mut context, step, number as i64);
        }
        let (counts, pending) = by_definition(&records(&context));
        for (g, t, p) in every_partition() {
            let key = OffsetKey { group: group(g), topic: topic(TOPICS[t]), partition: PartitionIndex(p) };
            let partitions = Some(vec![(key.topic.clone(), vec![key.partition])]);
            let (group, member, epoch) = (key.group.clone(), None, Epoch(-1));
            let fetch = FetchOffsets { group, partitions, require_stable: true, member, epoch };
            let Answer::FetchOffsets(answer) = context.ask(Request::FetchOffsets(fetch)) else { panic!() };
            let found = &answer.topics[0].1[0];
            let unstable = ErrorCode::UnstableOffsetCommit;
            prop_assert_eq!(found.error, if pending.contains(&key) { unstable } else { ErrorCode::None });
            if !pending.contains(&key) {
                prop_assert_eq!(found.offset, counts.get(&key).copied().unwrap_or(Offset::NONE));
            }
        }
    }
}
