//! Where the logs of a source and its mirror went different ways (KIP-279), found by the ends of their epochs.
//!
//! Picture: both sides are asked in turns, as a follower asks its leader: where does the latest epoch that both may have end?
//! Below the smaller of both ends they are the same; what the mirror has beyond is not the source's any more.
//! Equal epochs are taken for equal records only where the last one below that is the same (`histories`).
//! Invariant: the walk goes down from epoch to epoch of the mirror, so it ends.

mod histories; // whether equal epochs have equal records

use std::time::Duration;

use thiserror::Error;
use twinstream_client::protocol::batch::batches;
use twinstream_client::raw::{EpochEnd, EpochQuestion, FetchFrom, FetchOptions, OffsetAt};
use twinstream_client::{ClientError, RawClient};
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, TopicPartition};

use super::footing::{ANY_EPOCH, Target};
use crate::engine::At;
use crate::questions::{Answered, Refused};

/// Questions for one partition; more elections than that since two logs parted are somebody's to look at.
const STEPS_MAX: usize = 1_000;

/// What the mirror has to give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parting {
    /// The first offset that is not the same.
    pub at: Offset,
    /// The epoch that the source has there, or writes next.
    pub epoch: LeaderEpoch,
    /// The mirror's log end.
    pub mirror_end: Offset,
}

/// Why there is none, or none that helps.
#[derive(Debug, Error)]
pub(crate) enum PartingError {
    #[error(transparent)]
    Unheard(#[from] ClientError),
    #[error(
        "epoch {epoch} has two histories: offset {offset} of {there} has another record than that of {here}, below where both part; delete one side's topic and mirror it anew"
    )]
    TwoHistories { epoch: LeaderEpoch, offset: Offset, there: TopicPartition, here: TopicPartition },
    #[error(
        "{here} cannot give up what it has from offset {at} on: {there} goes on there with epoch {epoch}, which is not newer than epoch {newest} of what would be cut, so replicas could not tell the two apart; delete one side's topic and mirror it anew"
    )]
    Uncuttable { at: Offset, epoch: LeaderEpoch, newest: LeaderEpoch, there: TopicPartition, here: TopicPartition },
}

/// The walk. Each side tells the largest epoch that is not above the one asked for, and its end.
#[derive(Clone, Copy, Debug)]
struct Walk {
    /// The mirror's latest that may be the same.
    mine: EpochEnd,
    /// The source's answer to it, while the mirror is asked about that.
    theirs: Option<EpochEnd>,
}

/// What is to be asked, or what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    AskSource(LeaderEpoch),
    AskMirror(LeaderEpoch),
    /// Below this offset both are the same, and not beyond it.
    Same(Offset),
    /// They have no epoch in common.
    Strangers,
}

impl Walk {
    fn begin(mirror: EpochEnd) -> (Walk, Step) {
        (Walk { mine: mirror, theirs: None }, Step::AskSource(mirror.epoch))
    }

    fn heard(&mut self, end: Option<EpochEnd>) -> Step {
        let Some(end) = end else { return Step::Strangers };
        match self.theirs.take() {
            None if end.epoch == self.mine.epoch => Step::Same(end.end.min(self.mine.end)),
            None => {
                self.theirs = Some(end);
                Step::AskMirror(end.epoch)
            }
            Some(theirs) if end.epoch == theirs.epoch => Step::Same(theirs.end.min(end.end)),
            Some(_) => {
                self.mine = end;
                Step::AskSource(end.epoch)
            }
        }
    }
}

/// Walks to the first offset that is not the same; `None` if nothing is.
async fn walk(
    source: &RawClient,
    there: &TopicPartition,
    target: &RawClient,
    here: &TopicPartition,
    mirror: EpochEnd,
) -> Result<Option<Offset>, ClientError> {
    let (mut walk, mut step) = Walk::begin(mirror);
    for _ in 0..STEPS_MAX {
        step = match step {
            Step::AskSource(epoch) => walk.heard(end_up_to(source, there, epoch).await?),
            Step::AskMirror(epoch) => walk.heard(end_of(target, here, epoch).await?),
            Step::Same(offset) => return Ok(Some(offset)),
            Step::Strangers => return Ok(None),
        };
    }
    Err(ClientError::Library {
        what: format!("find where {there} and its mirror part"),
        reason: format!("it is not found in {STEPS_MAX} questions"),
        retriable: false,
    })
}

async fn end_of(
    client: &RawClient,
    partition: &TopicPartition,
    epoch: LeaderEpoch,
) -> Result<Option<EpochEnd>, ClientError> {
    let mut ends = client.epoch_ends(&[EpochQuestion::new(partition.clone(), epoch)]).await?;
    let unanswered =
        || Err(ClientError::broker(format!("ask for epochs of {partition}"), ErrorCode::LeaderNotAvailable));
    ends.remove(partition).unwrap_or_else(unanswered)
}

/// The same of whoever leads in an older epoch: only mirrors answer for epochs that they have not.
async fn end_up_to(
    client: &RawClient,
    partition: &TopicPartition,
    epoch: LeaderEpoch,
) -> Result<Option<EpochEnd>, ClientError> {
    if let Some(end) = end_of(client, partition, epoch).await? {
        return Ok(Some(end));
    }
    match leader_of(client, partition).await? {
        (_, own) if own < epoch => end_of(client, partition, own).await,
        _ => Ok(None),
    }
}

async fn offset(client: &RawClient, partition: &TopicPartition, at: OffsetAt) -> Result<Offset, ClientError> {
    let mut found = client.list_offsets_now(std::slice::from_ref(partition), at).await?;
    let unanswered = || Err(ClientError::broker(format!("list offsets of {partition}"), ErrorCode::LeaderNotAvailable));
    found.remove(partition).unwrap_or_else(unanswered)
}

/// Finds the parting point of one partition; `None` if all that the mirror has is the source's.
pub(crate) async fn find(
    source: RawClient,
    target: Target,
    at: At,
    there: TopicPartition,
    here: TopicPartition,
) -> Answered<Result<Option<Parting>, Refused>> {
    let found = match look(&source, &target, &there, &here).await {
        Err(PartingError::Unheard(error)) if error.is_retriable() && error.code().is_none() => Err(error),
        Err(PartingError::Unheard(error)) => {
            Ok(Err((error.code().unwrap_or(ErrorCode::UnknownServerError), error.to_string())))
        }
        Err(refused) => Ok(Err((ErrorCode::InvalidRecord, refused.to_string()))),
        Ok(parting) => Ok(Ok(parting)),
    };
    Answered { asked: vec![at], result: found.map(|found| vec![(at, found)]) }
}

async fn look(
    source: &RawClient,
    target: &Target,
    there: &TopicPartition,
    here: &TopicPartition,
) -> Result<Option<Parting>, PartingError> {
    // Whether it can be cut there the target says itself.
    Ok(parting(source, there, target.client().await?, here).await?.map(|(parting, _)| parting))
}

/// The parting point of a source's partition and one that is, or is to become, its mirror. One where the mirror cannot be cut is
/// refused: it would be fenced for good.
pub(crate) async fn between(
    source: &RawClient,
    there: &TopicPartition,
    target: &RawClient,
    here: &TopicPartition,
) -> Result<Option<Parting>, PartingError> {
    let Some((parting, newest)) = parting(source, there, target, here).await? else { return Ok(None) };
    check_cut(parting, newest, there, here)?;
    Ok(Some(parting))
}

/// What the log of a mirror asks of a cut as well: the first epoch behind it is newer than all that is cut.
fn check_cut(
    Parting { at, epoch, .. }: Parting,
    newest: LeaderEpoch,
    there: &TopicPartition,
    here: &TopicPartition,
) -> Result<(), PartingError> {
    if epoch > newest {
        return Ok(());
    }
    Err(PartingError::Uncuttable { at, epoch, newest, there: there.clone(), here: here.clone() })
}

/// The parting point, and the newest epoch of what the mirror gives up there.
async fn parting(
    source: &RawClient,
    there: &TopicPartition,
    target: &RawClient,
    here: &TopicPartition,
) -> Result<Option<(Parting, LeaderEpoch)>, PartingError> {
    let Some(mirror) = end_up_to(target, here, ANY_EPOCH).await? else { return Ok(None) }; // it is empty
    let parts_at = match walk(source, there, target, here, mirror).await? {
        Some(offset) => {
            if let Some(fork) = histories::fork_below(source, there, target, here, offset).await? {
                let (epoch, offset) = (fork.source.max(fork.mirror), fork.offset);
                return Err(PartingError::TwoHistories { epoch, offset, there: there.clone(), here: here.clone() });
            }
            offset
        }
        // One of them has nothing of the other's epochs: nothing is the same from where both begin.
        None => offset(source, there, OffsetAt::Earliest).await?.max(offset(target, here, OffsetAt::Earliest).await?),
    };
    if parts_at >= mirror.end {
        return Ok(None);
    }
    let epoch = epoch_from(source, there, parts_at).await?;
    Ok(Some((Parting { at: parts_at, epoch, mirror_end: mirror.end }, mirror.epoch)))
}

async fn leader_of(client: &RawClient, partition: &TopicPartition) -> Result<(NodeId, LeaderEpoch), ClientError> {
    let view = client.refresh(std::slice::from_ref(&partition.topic)).await?;
    let known = view.topics.get(&partition.topic).and_then(|topic| topic.partitions.get(&partition.partition));
    let found = known.and_then(|known| Some((known.leader?, known.leader_epoch)));
    found.ok_or_else(|| ClientError::broker(format!("find the leader of {partition}"), ErrorCode::LeaderNotAvailable))
}

/// The epoch of the source's first record at or after an offset; its leader's if there is none.
async fn epoch_from(source: &RawClient, there: &TopicPartition, from: Offset) -> Result<LeaderEpoch, ClientError> {
    let (leader, leader_epoch) = leader_of(source, there).await?;
    let options = FetchOptions { wait_max: Duration::ZERO, partition_bytes_max: 1, ..FetchOptions::default() };
    let answers = source.fetch_batches(leader, &[FetchFrom::new(there.clone(), from)], &options).await?;
    for answer in answers {
        if answer.error != ErrorCode::None {
            return Err(ClientError::broker(format!("fetch {there} from offset {from}"), answer.error));
        }
        let header = batches(&answer.batches)
            .map_while(Result::ok)
            .map(|batch| batch.header())
            .find(|header| header.next_offset() > from);
        if let Some(header) = header {
            return Ok(header.leader_epoch);
        }
    }
    Ok(leader_epoch)
}

#[cfg(test)]
mod tests {
    use twinstream_model::{PartitionIndex, TopicName};

    use super::*;

    /// Epochs with their first offsets, and the log end.
    #[derive(Clone)]
    struct Log(Vec<(i32, i64)>, i64);

    impl Log {
        fn end_of(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
            let index = self.0.iter().rposition(|(known, _)| *known <= epoch.0)?;
            let end = self.0.get(index + 1).map_or(self.1, |(_, start)| *start);
            Some(EpochEnd { epoch: LeaderEpoch(self.0[index].0), end: Offset(end) })
        }
    }

    fn parted(mirror: Log, source: Log) -> Option<i64> {
        let (mut walk, mut step) = Walk::begin(mirror.end_of(ANY_EPOCH).unwrap());
        for _ in 0..100 {
            step = match step {
                Step::AskSource(epoch) => walk.heard(source.end_of(epoch)),
                Step::AskMirror(epoch) => walk.heard(mirror.end_of(epoch)),
                Step::Same(offset) => return Some(offset.0),
                Step::Strangers => return None,
            };
        }
        panic!("the walk does not end");
    }

    #[test]
    fn logs_part_where_their_last_common_epoch_ends() {
        let mirror = Log(vec![(1, 0), (5, 50)], 100);
        assert_eq!(parted(mirror.clone(), Log(vec![(1, 0), (5, 50)], 300)), Some(100), "it is only behind");
        assert_eq!(parted(mirror.clone(), Log(vec![(1, 0), (5, 50), (6, 90)], 300)), Some(90), "the tail was lost");
        assert_eq!(parted(mirror.clone(), Log(vec![(1, 0), (7, 40)], 300)), Some(40), "an epoch was lost");
        assert_eq!(parted(mirror.clone(), Log(vec![(1, 0), (3, 50)], 300)), Some(50), "another one is there");
        assert_eq!(parted(mirror, Log(vec![(9, 0)], 300)), None);
    }

    #[test]
    fn a_cut_needs_a_newer_epoch_behind_it_than_all_that_is_cut() {
        let of = |topic| TopicPartition::new(TopicName::parse(topic).unwrap(), PartitionIndex(0));
        let (there, here) = (of("orders"), of("east.orders"));
        let cut = |epoch, newest| {
            let parting = Parting { at: Offset(7), epoch: LeaderEpoch(epoch), mirror_end: Offset(9) };
            check_cut(parting, LeaderEpoch(newest), &there, &here)
        };
        assert!(cut(1_024, 1_023).is_ok());
        let refused = cut(1_024, 1_024).unwrap_err().to_string();
        assert!(refused.starts_with("east.orders-0 cannot give up what it has from offset 7 on"), "{refused}");
        assert!(matches!(cut(1_024, 2_048), Err(PartingError::Uncuttable { .. })));
    }

    #[test]
    fn the_walk_goes_down_both_logs_in_turns() {
        let mirror = Log(vec![(1, 0), (4, 10), (6, 20), (8, 30)], 40);
        let source = Log(vec![(1, 0), (3, 5), (5, 15), (7, 25)], 60);
        assert_eq!(parted(mirror, source), Some(5));
    }

    /// Whatever two logs look like: they are the same below the answer, and differ behind it.
    #[test]
    fn what_is_found_is_what_comparing_each_offset_finds() {
        let log = |seed: u64| {
            let mut chance = seed;
            let mut next = move |below: u64| {
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (chance >> 33) % below
            };
            let (mut epochs, mut epoch, mut start) = (Vec::new(), 0, 0);
            for _ in 0..=next(5) {
                epochs.push((epoch, start));
                epoch += 1 + next(3) as i32;
                start += 1 + next(4) as i64;
            }
            Log(epochs, start)
        };
        let epoch_at = |log: &Log, at: i64| log.0.iter().rev().find(|(_, start)| *start <= at).map(|(epoch, _)| *epoch);
        for seed in 0..3_000u64 {
            // An epoch has one leader, which begins at one offset: the second log shares a prefix of the first one's.
            let (mirror, other) = (log(seed), log(seed ^ 0x9e37_79b9));
            let shared = (seed % 4) as usize;
            let mut source = Log(mirror.0.iter().take(shared + 1).copied().collect(), 0);
            let (last_epoch, last_start) = source.0[source.0.len() - 1];
            let mut start = last_start + 1 + (seed % 3) as i64;
            for (epoch, offset) in &other.0 {
                source.0.push((last_epoch + 100 + *epoch, start + *offset));
            }
            start += other.1;
            source.1 = start;
            let expected =
                (0..mirror.1).find(|at| epoch_at(&mirror, *at) != epoch_at(&source, *at)).unwrap_or(mirror.1);
            assert_eq!(parted(mirror, source), Some(expected), "seed {seed}");
        }
    }
}
