//! Whose records a copy has: the source topic's id, and which epochs they were of. For topics that are copied as any producer
//! would; a mirror's own log tells as much. Pure.
//!
//! Picture: Connect's stored offset is a number and nothing else. Beside it, in the topic of the offset map, stands for each
//! partition the id of the topic that was copied, and *stretches*: from `first` to `last` the record before a position has
//! this epoch. After a restart a topic that was deleted and made anew is known by its id however far it has grown, and records
//! that the source lost meanwhile by their epoch (KIP-320).
//! Invariants: P1 an epoch is told only for a position within a stretch, so a stored offset that is newer or older than
//! this is believed without one, and never doubted wrongly. P2 a stored offset that may still be the former topic's is not
//! believed ([`Lived::is_of_former`]).
//!
//! Record: key int16 version 1, string source topic, int32 partition (chunks of the map have version 0). Value: int16 version 0,
//! id 16 bytes, int8 whether the stored offset may be the former topic's, and for each stretch int64 first, int64 last, int32
//! epoch; big-endian.

use std::collections::VecDeque;

use twinstream_model::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName, TopicPartition};
use uuid::Uuid;

use crate::syncs::formats::{FormatError, Reader, put_string};

const KEY_VERSION: i16 = 1;
const VERSION: i16 = 0;
/// Epochs change with elections; a stored offset is a minute old at most.
const STRETCHES_MAX: usize = 8;
/// Stores of offsets after which none is the former topic's any more: one may have been under way.
const STORES: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    first: Offset,
    last: Offset,
    epoch: LeaderEpoch,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lived {
    topic_id: TopicId,
    stretches: VecDeque<Stretch>,
    /// Stores of offsets until none can be the former topic's.
    unsure: u8,
}

impl Default for Lived {
    fn default() -> Lived {
        Lived { topic_id: TopicId::NONE, stretches: VecDeque::new(), unsure: 0 }
    }
}

impl Lived {
    pub(crate) fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    /// Everything before `next` was copied, the record before it is of `epoch`. Whether that is to be stored soon: it is more
    /// than a stretch that grew.
    pub(crate) fn reached(&mut self, topic_id: TopicId, next: Offset, epoch: LeaderEpoch) -> bool {
        let mut is_news = false;
        if !topic_id.is_none() && topic_id != self.topic_id {
            self.unsure = if self.topic_id.is_none() { 0 } else { STORES };
            self.topic_id = topic_id;
            self.stretches.clear();
            is_news = true;
        }
        while self.stretches.back().is_some_and(|stretch| stretch.first >= next) {
            self.stretches.pop_back();
            is_news = true;
        }
        match self.stretches.back_mut() {
            Some(last) if last.epoch == epoch => {
                is_news |= last.last > next;
                last.last = next;
            }
            last => {
                if let Some(last) = last {
                    last.last = last.last.min(next);
                }
                self.stretches.push_back(Stretch { first: next, last: next, epoch });
                if self.stretches.len() > STRETCHES_MAX {
                    self.stretches.pop_front();
                }
                is_news = true;
            }
        }
        is_news
    }

    /// The epoch of the record before a position; NONE where it is not known.
    pub(crate) fn epoch_before(&self, position: Offset) -> LeaderEpoch {
        let within = |stretch: &&Stretch| stretch.first <= position && position <= stretch.last;
        self.stretches.iter().rev().find(within).map_or(LeaderEpoch::NONE, |stretch| stretch.epoch)
    }

    /// Whether a stored offset may be that of the topic which had the name before.
    pub(crate) fn is_of_former(&self, position: Offset) -> bool {
        let ends = self.stretches.front().zip(self.stretches.back());
        self.unsure > 0 && !ends.is_some_and(|(first, last)| first.first <= position && position <= last.last)
    }

    /// Offsets were stored. Whether this is to be stored too.
    pub(crate) fn stored(&mut self) -> bool {
        let was = self.unsure;
        self.unsure = was.saturating_sub(1);
        was == 1
    }

    pub(crate) fn is_unsure(&self) -> bool {
        self.unsure > 0
    }

    pub(crate) fn value(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_be_bytes().to_vec();
        bytes.extend_from_slice(self.topic_id.0.as_bytes());
        bytes.push(u8::from(self.unsure > 0));
        for stretch in &self.stretches {
            bytes.extend(stretch.first.0.to_be_bytes());
            bytes.extend(stretch.last.0.to_be_bytes());
            bytes.extend(stretch.epoch.0.to_be_bytes());
        }
        bytes
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Lived, FormatError> {
        let mut reader = Reader::new(bytes);
        match reader.short()? {
            VERSION => {}
            version => return Err(FormatError::Version(version)),
        }
        let mut id = [0; 16];
        for byte in &mut id {
            *byte = reader.byte()?;
        }
        let unsure = if reader.byte()? == 0 { 0 } else { STORES };
        let mut stretches = VecDeque::new();
        while !reader.is_empty() {
            let stretch = Stretch {
                first: Offset(reader.long()?),
                last: Offset(reader.long()?),
                epoch: LeaderEpoch(reader.int()?),
            };
            if stretches.len() == STRETCHES_MAX || stretch.last < stretch.first {
                return Err(FormatError::Broken("stretch"));
            }
            stretches.push_back(stretch);
        }
        Ok(Lived { topic_id: TopicId(Uuid::from_bytes(id)), stretches, unsure })
    }
}

pub(crate) fn key(partition: &TopicPartition) -> Vec<u8> {
    let mut bytes = KEY_VERSION.to_be_bytes().to_vec();
    put_string(&mut bytes, partition.topic.as_str());
    bytes.extend(partition.partition.0.to_be_bytes());
    bytes
}

/// Whether a record of the map's topic is one of these, and none of its chunks.
pub(crate) fn is_key(key: &[u8]) -> bool {
    key.starts_with(&KEY_VERSION.to_be_bytes())
}

pub(crate) fn read_key(bytes: &[u8]) -> Result<TopicPartition, FormatError> {
    let mut reader = Reader::new(bytes);
    match reader.short()? {
        KEY_VERSION => {}
        version => return Err(FormatError::Version(version)),
    }
    let topic = TopicName::parse(&reader.string()?).map_err(|_| FormatError::Broken("topic"))?;
    let partition = PartitionIndex(reader.int()?);
    reader.end()?;
    Ok(TopicPartition::new(topic, partition))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> TopicId {
        TopicId(Uuid::from_u128(number))
    }

    fn reach(lived: &mut Lived, topic: u128, next: i64, epoch: i32) -> bool {
        lived.reached(id(topic), Offset(next), LeaderEpoch(epoch))
    }

    fn epoch(lived: &Lived, position: i64) -> i32 {
        lived.epoch_before(Offset(position)).0
    }

    #[test]
    fn epochs_are_told_where_they_are_known_and_nowhere_else() {
        let mut lived = Lived::default();
        assert!(reach(&mut lived, 1, 10, 3), "the first");
        assert!(!reach(&mut lived, 1, 20, 3), "it grew");
        assert!(reach(&mut lived, 1, 30, 5), "an election");
        reach(&mut lived, 1, 40, 5);
        let known: Vec<i32> = [9, 10, 15, 20, 21, 29, 30, 40, 41].map(|position| epoch(&lived, position)).to_vec();
        assert_eq!(known, [-1, 3, 3, 3, -1, -1, 5, 5, -1]);
    }

    #[test]
    fn a_copy_that_went_back_forgets_what_is_gone() {
        let mut lived = Lived::default();
        for (next, epoch) in [(10, 1), (20, 1), (30, 2), (40, 2)] {
            reach(&mut lived, 1, next, epoch);
        }
        assert!(reach(&mut lived, 1, 15, 4));
        assert_eq!([epoch(&lived, 12), epoch(&lived, 15), epoch(&lived, 18), epoch(&lived, 35)], [1, 4, -1, -1]);
    }

    #[test]
    fn a_topic_made_anew_is_another_and_the_stored_offset_may_be_the_old_ones() {
        let mut lived = Lived::default();
        reach(&mut lived, 1, 1000, 3);
        assert!(!lived.is_of_former(Offset(2000)), "there was none before");
        assert!(reach(&mut lived, 2, 50, 0));
        assert_eq!((lived.topic_id(), epoch(&lived, 1000)), (id(2), -1));
        assert!(lived.is_of_former(Offset(1000)) && !lived.is_of_former(Offset(50)));
        let read = Lived::read(&lived.value()).unwrap();
        assert!(read.is_of_former(Offset(1000)));
        assert_eq!([lived.stored(), lived.stored(), lived.stored()], [false, true, false]);
        assert!(!lived.is_of_former(Offset(1000)));
    }

    #[test]
    fn memory_is_bounded_and_records_are_read_back() {
        let mut lived = Lived::default();
        for number in 0..100 {
            reach(&mut lived, 1, i64::from(number) * 10, number);
        }
        assert_eq!(lived.stretches.len(), STRETCHES_MAX);
        assert_eq!(Lived::read(&lived.value()), Ok(lived.clone()));
        let partition = TopicPartition::new(TopicName::parse("orders").unwrap(), PartitionIndex(3));
        assert!(is_key(&key(&partition)));
        assert_eq!(read_key(&key(&partition)), Ok(partition));
        for end in 0..19 {
            assert!(Lived::read(&lived.value()[..end]).is_err(), "{end}");
        }
        assert_eq!(Lived::read(b"\x00\x07"), Err(FormatError::Version(7)));
    }
}
