//! Whether two logs that have the same epochs have the same records, too.
//!
//! Picture: of three sites two can be promoted into the same epoch, and a topic that was made anew begins with epoch 0 again:
//! equal numbers, other records. So the last record below the parting that both sides have is compared.
//! Invariant: what cannot be compared is no difference: compaction and retention may have taken a record from one side only, and
//! compaction may have packed a batch anew, so records are compared where the batches are not the same byte for byte.
//! Not here: proof. Logs that differ only further down than that record are taken for the same.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use twinstream_client::protocol::batch::{BatchView, batches};
use twinstream_client::raw::{FetchFrom, FetchOptions};
use twinstream_client::{ClientError, RawClient};
use twinstream_model::{ErrorCode, LeaderEpoch, Offset, TopicPartition};

use super::leader_of;

/// How far below the parting a record is looked for that both sides have; a batch of each side is read for one of them.
const BELOW: [i64; 6] = [1, 8, 64, 512, 4_096, 32_768];
/// What a batch may unpack to; of one that is larger nothing is said.
const UNPACKED_BYTES_MAX: usize = 64 << 20;

/// A record that is not the same on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fork {
    pub offset: Offset,
    /// The epochs that both sides have there.
    pub source: LeaderEpoch,
    pub mirror: LeaderEpoch,
}

/// The last record below `at` that both sides have, if it is not the same.
pub(super) async fn fork_below(
    source: &RawClient,
    there: &TopicPartition,
    target: &RawClient,
    here: &TopicPartition,
    at: Offset,
) -> Result<Option<Fork>, ClientError> {
    for below in BELOW {
        let from = Offset(at.0 - below);
        if from.0 < 0 {
            break;
        }
        let (Some(theirs), Some(mine)) = (read(source, there, from).await?, read(target, here, from).await?) else {
            break; // one of them begins behind it
        };
        if let Compared::Last(fork) = compare(&theirs, &mine, at) {
            return Ok(fork);
        }
    }
    Ok(None)
}

/// The batch at an offset, or the next one; `None` where the log begins behind it, or ends before.
async fn read(client: &RawClient, partition: &TopicPartition, from: Offset) -> Result<Option<Bytes>, ClientError> {
    let (leader, _) = leader_of(client, partition).await?;
    let options = FetchOptions { wait_max: Duration::ZERO, partition_bytes_max: 1, ..FetchOptions::default() };
    let answers = client.fetch_batches(leader, &[FetchFrom::new(partition.clone(), from)], &options).await?;
    match answers.into_iter().next() {
        Some(answer) if answer.error == ErrorCode::None => Ok(Some(answer.batches)),
        Some(answer) if answer.error == ErrorCode::OffsetOutOfRange => Ok(None),
        Some(answer) => Err(ClientError::broker(format!("fetch {partition} from offset {from}"), answer.error)),
        None => Err(ClientError::broker(format!("fetch {partition}"), ErrorCode::LeaderNotAvailable)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    /// They have no record in common here, or it cannot be read.
    Nothing,
    /// How their last common one was.
    Last(Option<Fork>),
}

fn compare(source: &[u8], mirror: &[u8], at: Offset) -> Compared {
    let whole = |bytes| batches(bytes).map_while(Result::ok).filter(|view: &BatchView<'_>| view.check_crc().is_ok());
    let mirrored: Vec<BatchView<'_>> = whole(mirror).collect();
    let mut last = Compared::Nothing;
    for theirs in whole(source) {
        for mine in &mirrored {
            if let Some(compared) = compare_batches(&theirs, mine, at) {
                last = Compared::Last(compared);
            }
        }
    }
    last
}

/// How the last record below `at` is that both batches have.
fn compare_batches(source: &BatchView<'_>, mirror: &BatchView<'_>, at: Offset) -> Option<Option<Fork>> {
    let (theirs, mine) = (source.header(), mirror.header());
    let meet = theirs.base_offset.max(mine.base_offset);
    if meet >= theirs.next_offset().min(mine.next_offset()).min(at) {
        return None;
    }
    let is_rewritten = theirs.delete_horizon().is_some() || mine.delete_horizon().is_some();
    let unpack = |view: &BatchView<'_>| {
        let records = view.records(UNPACKED_BYTES_MAX).ok()?;
        let mut found = BTreeMap::new();
        for record in &records {
            let record = record.ok()?;
            if record.offset < at {
                let headers: Vec<_> = record
                    .headers
                    .iter()
                    .map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec)))
                    .collect();
                let time = (!is_rewritten).then_some(record.timestamp);
                let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
                found.insert(record.offset, (time, key, value, headers));
            }
        }
        Some(found)
    };
    let fork = |offset| Fork { offset, source: theirs.leader_epoch, mirror: mine.leader_epoch };
    let is_same_kind =
        theirs.leader_epoch == mine.leader_epoch && theirs.attributes.is_control() == mine.attributes.is_control();
    if is_same_kind && theirs.base_offset == mine.base_offset && theirs.crc == mine.crc {
        return Some(None);
    }
    let (theirs, mine) = (unpack(source)?, unpack(mirror)?);
    let (offset, record) = theirs.into_iter().rev().find(|(offset, _)| mine.contains_key(offset))?;
    Some((!is_same_kind || mine.get(&offset) != Some(&record)).then(|| fork(offset)))
}

#[cfg(test)]
mod tests {
    use twinstream_client::protocol::batch::BatchBuilder;
    use twinstream_client::protocol::compression::Compression;

    use super::*;

    /// Records of one batch by their offsets.
    fn packed(epoch: i32, records: &[(i64, &str)], codec: Compression) -> Vec<u8> {
        let base = records[0].0;
        let mut builder = BatchBuilder::new()
            .with_base_offset(Offset(base))
            .with_leader_epoch(LeaderEpoch(epoch))
            .with_compression(codec);
        for (offset, value) in records {
            builder.append_at_delta((*offset - base) as i32, 1_000 + offset, None, Some(value.as_bytes()), []);
        }
        builder.build().unwrap()
    }

    fn batch(epoch: i32, records: &[(i64, &str)]) -> Vec<u8> {
        packed(epoch, records, Compression::None)
    }

    fn fork(offset: i64, source: i32, mirror: i32) -> Compared {
        Compared::Last(Some(Fork { offset: Offset(offset), source: LeaderEpoch(source), mirror: LeaderEpoch(mirror) }))
    }

    #[test]
    fn the_same_bytes_are_the_same_history() {
        let both = batch(3, &[(10, "a"), (11, "b")]);
        assert_eq!(compare(&both, &both, Offset(12)), Compared::Last(None));
    }

    #[test]
    fn another_record_of_the_same_epoch_is_a_fork_however_it_is_batched() {
        let theirs = batch(3, &[(10, "a"), (11, "b")]);
        assert_eq!(compare(&theirs, &batch(3, &[(10, "a"), (11, "x")]), Offset(12)), fork(11, 3, 3));
        let singly = [batch(3, &[(10, "a")]), batch(3, &[(11, "y")])].concat();
        assert_eq!(compare(&theirs, &singly, Offset(12)), fork(11, 3, 3));
    }

    #[test]
    fn the_same_record_of_another_epoch_is_a_fork() {
        assert_eq!(compare(&batch(4, &[(10, "a")]), &batch(3, &[(10, "a")]), Offset(11)), fork(10, 4, 3));
    }

    #[test]
    fn what_lies_beyond_the_parting_is_not_compared() {
        let theirs = batch(3, &[(10, "a"), (11, "b")]);
        assert_eq!(compare(&theirs, &batch(3, &[(10, "a"), (11, "x")]), Offset(11)), Compared::Last(None));
        assert_eq!(compare(&theirs, &batch(3, &[(10, "z"), (11, "x")]), Offset(10)), Compared::Nothing);
    }

    #[test]
    fn what_compaction_has_removed_or_packed_anew_is_no_fork() {
        let whole = batch(3, &[(10, "a"), (11, "b"), (12, "c")]);
        assert_eq!(compare(&whole, &batch(3, &[(10, "a"), (12, "c")]), Offset(13)), Compared::Last(None));
        let zipped = packed(3, &[(10, "a"), (11, "b"), (12, "c")], Compression::Gzip);
        assert_ne!(whole, zipped);
        assert_eq!(compare(&whole, &zipped, Offset(13)), Compared::Last(None));
        assert_eq!(compare(&batch(3, &[(10, "a")]), &batch(3, &[(11, "b")]), Offset(13)), Compared::Nothing);
        assert_eq!(compare(&whole, &[], Offset(13)), Compared::Nothing);
    }

    #[test]
    fn a_damaged_batch_is_no_fork() {
        let theirs = batch(3, &[(10, "a")]);
        let mut damaged = theirs.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(compare(&theirs, &damaged, Offset(11)), Compared::Nothing);
    }
}
