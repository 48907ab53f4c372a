//! The offset maps of a link as a reader sees them, and what they say.
//!
//! Two topics are followed: our map, which is exact, and MirrorMaker's offset-syncs, which say where a partition stood before
//! our map begins (a link that MirrorMaker ran before). Both become [`OffsetMap`]s; a sync is a run of one record, and behind
//! it a map answers as MirrorMaker does: one record on, never more. Where two sites mirror each other, the map of the
//! opposite link is followed too: it says where a reader of a copy stands in the original. Where both sites write to one topic a
//! reader has read records of both, which do not lie in the same order on the other side: it goes on at the first that it may
//! lack of either, so that it reads some again and misses none.
//!
//! A map is about the topic that was copied, not about its name: beside ours stands that topic's id, and of another one it says nothing.

use std::collections::HashMap;

use tracing::warn;
use twinstream_client::ClientError;
use twinstream_client::protocol::batch::OffsetRun;
use twinstream_model::{Offset, TopicId, TopicPartition};

use crate::offset_map::place::{self, Lived};
use crate::offset_map::{OffsetMap, Run};
use crate::syncs::formats::{FormatError, OffsetSync};
use crate::syncs::read_chunk;
use crate::syncs::topic_log::{Read, TopicLog};

/// What is known of the partitions of the source. Pure.
#[derive(Debug, Default)]
pub(crate) struct Maps {
    exact: HashMap<TopicPartition, OffsetMap>,
    syncs: HashMap<TopicPartition, OffsetMap>,
    /// Of the opposite link, by the target's names.
    opposite: HashMap<TopicPartition, OffsetMap>,
    /// Which topics the exact map is about, where tasks have noted it, and which the opposite one.
    whose: [HashMap<TopicPartition, TopicId>; 2],
}

fn map_record(
    maps: &mut HashMap<TopicPartition, OffsetMap>,
    whose: &mut HashMap<TopicPartition, TopicId>,
    read: Read<'_>,
) {
    match read {
        Read::Anew => {
            maps.clear();
            whose.clear();
        }
        Read::Record { key, value } if place::is_key(key) => match place_of(key, value) {
            Ok((partition, id)) => _ = whose.insert(partition, id),
            Err(cause) => warn!(%cause, "whose records a copy has cannot be read"),
        },
        Read::Record { key, value } => match read_chunk(key, value) {
            Ok((name, first, runs)) => maps.entry(name).or_default().replay(first, runs),
            Err(cause) => warn!(%cause, "a record of the offset map is left out"),
        },
    }
}

fn place_of(key: &[u8], value: Option<&[u8]>) -> Result<(TopicPartition, TopicId), FormatError> {
    let lived = value.map(Lived::read).transpose()?.unwrap_or_default();
    Ok((place::read_key(key)?, lived.topic_id()))
}

/// What is noted about a partition, if anything, is not about another topic than the one with this id.
fn fits(whose: &HashMap<TopicPartition, TopicId>, partition: &TopicPartition, id: TopicId) -> bool {
    id.is_none() || whose.get(partition).is_none_or(|noted| noted.is_none() || *noted == id)
}

impl Maps {
    pub(crate) fn exact_record(&mut self, read: Read<'_>) {
        map_record(&mut self.exact, &mut self.whose[0], read);
    }

    pub(crate) fn opposite_record(&mut self, read: Read<'_>) {
        map_record(&mut self.opposite, &mut self.whose[1], read);
    }

    /// Whether what was copied of this partition of the source was of the topic that has this id.
    pub(crate) fn are_of(&self, partition: &TopicPartition, id: TopicId) -> bool {
        fits(&self.whose[0], partition, id)
    }

    /// Whether what the opposite link copied of this partition of the target was of the topic that has this id.
    pub(crate) fn opposite_is_of(&self, original: &TopicPartition, id: TopicId) -> bool {
        fits(&self.whose[1], original, id)
    }

    pub(crate) fn sync_record(&mut self, read: Read<'_>) {
        match read {
            Read::Anew => self.syncs.clear(),
            Read::Record { value: None, .. } => {}
            Read::Record { key, value: Some(value) } => match OffsetSync::read(key, value) {
                Ok(sync) if sync.upstream >= Offset(0) && sync.downstream >= Offset(0) => {
                    let map = self.syncs.entry(sync.partition).or_default();
                    map.copied(&[OffsetRun { from: sync.upstream, length: 1 }], sync.downstream);
                    // Nobody stores this one.
                    map.take_unsaved();
                }
                Ok(sync) => warn!(partition = %sync.partition, "an offset-sync with a negative offset is left out"),
                Err(cause) => warn!(%cause, "an offset-sync is left out"),
            },
        }
    }

    /// Where a group goes on that has read everything before `upstream`. `None`: nothing that is mirrored is known to be the
    /// right place.
    pub(crate) fn to_target(&self, partition: &TopicPartition, upstream: Offset) -> Option<Offset> {
        let ask = |maps: &HashMap<TopicPartition, OffsetMap>| maps.get(partition)?.to_target(upstream);
        ask(&self.exact).or_else(|| ask(&self.syncs))
    }

    /// The same in a topic that both sites write to: before everything of the target's own that had not come to the source when
    /// the group stood there.
    pub(crate) fn to_target_of_both(&self, partition: &TopicPartition, upstream: Offset) -> Option<Offset> {
        let copied = self.to_target(partition, upstream);
        let Some(opposite) = self.opposite.get(partition) else { return copied };
        let first = |map: &OffsetMap, of: fn(Run) -> i64| map.first().map(|run| Offset(of(run)));
        // Of what was copied the first is still to be read.
        let copied = copied.or_else(|| first(self.exact.get(partition)?, |run| run.down));
        let own = opposite.to_source(upstream).or_else(|| first(opposite, |run| run.up));
        [copied, own].into_iter().flatten().min()
    }

    /// Where a group that reads a copy of the target's `original` stands in the original.
    pub(crate) fn to_original(&self, original: &TopicPartition, copy: Offset) -> Option<Offset> {
        self.opposite.get(original)?.to_source(copy)
    }
}

/// The topics behind [`Maps`].
pub(crate) struct Followed {
    pub maps: Maps,
    exact: TopicLog,
    /// On the source or on the target.
    syncs: Beside,
    /// On the source.
    opposite: Beside,
}

/// A topic that the exact map goes on without.
struct Beside {
    log: TopicLog,
    fails: bool,
}

impl Beside {
    async fn read(&mut self, each: impl FnMut(Read<'_>)) {
        match self.log.read(each).await {
            Ok(()) => self.fails = false,
            Err(cause) if !std::mem::replace(&mut self.fails, true) => {
                warn!(topic = %self.log.topic(), %cause, "cannot be read, offsets are translated without it");
            }
            Err(_) => {}
        }
    }
}

impl Followed {
    pub(crate) fn new(exact: TopicLog, syncs: TopicLog, opposite: TopicLog) -> Self {
        let beside = |log| Beside { log, fails: false };
        Self { maps: Maps::default(), exact, syncs: beside(syncs), opposite: beside(opposite) }
    }

    /// Reads what is new.
    pub(crate) async fn follow(&mut self) -> Result<(), ClientError> {
        let maps = &mut self.maps;
        self.exact.read(|read| maps.exact_record(read)).await?;
        self.syncs.read(|read| maps.sync_record(read)).await;
        self.opposite.read(|read| maps.opposite_record(read)).await;
        Ok(())
    }
}
