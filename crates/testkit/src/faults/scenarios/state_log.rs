//! What is in the log of a partition, as far as it tells the steps of a transaction: records of `__transaction_state`, and
//! markers. Read from the files of a broker while it writes them, so a step is seen before anybody acts on it.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use twinstream_client::protocol::batch::{BatchBuilder, BatchView, batches};
use twinstream_model::{Offset, ProducerId};

use crate::nemesis::files;

/// The topic of coordinators.
pub(super) const STATE: &str = "__transaction_state";
/// No batch of these logs unpacks to more.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Places in the value of a record, the same in both of its versions: version, producer id, epoch, timeout, status.
const EPOCH_AT: usize = 10;
const STATUS_AT: usize = 16;

/// Where a transaction stands, by Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Prepared,
    Completed,
    Other,
}

impl Status {
    fn of(byte: u8) -> Self {
        match byte {
            2 | 3 => Self::Prepared,
            4 | 5 => Self::Completed,
            _ => Self::Other,
        }
    }
}

/// The partition of [`STATE`] that keeps a transactional id, as every Kafka places it: by Java's hash of the text.
pub(super) fn partition_of(id: &str, partitions: i32) -> i32 {
    let hash = id.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0) % partitions
}

/// What is written to a log from a moment on.
#[derive(Debug)]
pub(super) struct Tail {
    file: PathBuf,
    from: u64,
}

impl Tail {
    /// From now on.
    pub(super) fn new(data: &Path, topic: &str, partition: i32) -> Self {
        let tail = Self::whole(data, topic, partition);
        let from = fs::metadata(&tail.file).unwrap_or_else(|error| panic!("{}: {error}", tail.file.display())).len();
        Self { from, ..tail }
    }

    pub(super) fn whole(data: &Path, topic: &str, partition: i32) -> Self {
        let file = files::active_segment(data, topic, partition);
        let file = file.unwrap_or_else(|| panic!("{} has no log of {topic}-{partition}", data.display()));
        Self { file, from: 0 }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = File::open(&self.file).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.from))?;
            file.read_to_end(&mut bytes)
        });
        read.unwrap_or_else(|error| panic!("read {}: {error}", self.file.display()));
        bytes
    }

    /// The last state of a transactional id.
    pub(super) fn status(&self, id: &str) -> Option<Status> {
        self.state(id)?.get(STATUS_AT).map(|byte| Status::of(*byte))
    }

    /// Whether a transaction of this producer has ended here.
    pub(super) fn has_marker(&self, producer: ProducerId) -> bool {
        let is_marker = |batch: &BatchView<'_>| {
            batch.attributes().is_control() && batch.header().producer_id == producer //
        };
        whole_batches(&self.bytes()).any(|batch| is_marker(&batch))
    }

    /// Appends the last record of an id once more, with another epoch; for a log whose broker is down.
    pub(super) fn append_with_epoch(&self, id: &str, epoch: i16) {
        let mut value = self.state(id).unwrap_or_else(|| panic!("{} knows nothing of {id}", self.file.display()));
        value[EPOCH_AT..EPOCH_AT + 2].copy_from_slice(&epoch.to_be_bytes());
        let mut bytes = self.bytes();
        let last = whole_batches(&bytes).last().expect("a log with a record").header();
        let mut builder =
            BatchBuilder::new().with_base_offset(Offset(last.last_offset().0 + 1)).with_leader_epoch(last.leader_epoch);
        builder.append(last.max_timestamp, Some(&key(id)), Some(&value), []);
        bytes.extend(builder.build().expect("a small batch"));
        fs::write(&self.file, bytes).unwrap_or_else(|error| panic!("write {}: {error}", self.file.display()));
    }

    fn state(&self, id: &str) -> Option<Vec<u8>> {
        let (key, bytes) = (key(id), self.bytes());
        let mut last = None;
        for batch in whole_batches(&bytes).filter(|batch| !batch.attributes().is_control()) {
            let Ok(records) = batch.records(BATCH_BYTES_MAX) else { continue };
            for record in records.iter().flatten().filter(|record| record.key == Some(&key[..])) {
                last = record.value.map(<[u8]>::to_vec);
            }
        }
        last
    }
}

/// The last batch of a file that is being written may not be whole yet.
fn whole_batches(bytes: &[u8]) -> impl Iterator<Item = BatchView<'_>> {
    batches(bytes).map_while(Result::ok)
}

/// Version 0, and the id.
fn key(id: &str) -> Vec<u8> {
    let length = i16::try_from(id.len()).expect("a short id");
    [&[0, 0], &length.to_be_bytes()[..], id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_placed_as_kafka_places_them() {
        // "polygenelubricants".hashCode() is i32::MIN.
        assert_eq!(partition_of("polygenelubricants", 50), 0);
        assert_eq!(partition_of("a", 50), 97 % 50);
        // "steps-1".hashCode() is below 0: its amount counts, not its bits.
        assert_eq!(partition_of("steps-1", 50), 1_893_553_397_i32 % 50);
    }

    #[test]
    fn a_state_is_found_and_written_once_more_with_another_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join(format!("{STATE}-0"));
        fs::create_dir(&log).unwrap();
        // Version 1, producer 7, epoch 3, timeout 60,000, PrepareCommit.
        let value = [&[0, 1][..], &7_i64.to_be_bytes(), &3_i16.to_be_bytes(), &60_000_i32.to_be_bytes(), &[2]].concat();
        let mut builder = BatchBuilder::new().with_base_offset(Offset(4));
        builder.append(1_000, Some(&key("one")), Some(&value), []);
        fs::write(log.join("00000000000000000000.log"), builder.build().unwrap()).unwrap();
        let tail = Tail::whole(folder.path(), STATE, 0);
        assert_eq!((tail.status("one"), tail.status("two")), (Some(Status::Prepared), None));
        assert_eq!(Tail::new(folder.path(), STATE, 0).status("one"), None);
        tail.append_with_epoch("one", 32_764);
        let state = tail.state("one").unwrap();
        assert_eq!((&state[EPOCH_AT..EPOCH_AT + 2], &state[12..]), (&32_764_i16.to_be_bytes()[..], &value[12..]));
        let offsets: Vec<i64> = whole_batches(&tail.bytes()).map(|batch| batch.base_offset().0).collect();
        assert_eq!(offsets, [4, 5]);
        assert!(!tail.has_marker(ProducerId(7)));
    }
}
