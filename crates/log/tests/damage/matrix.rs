//! One change of one file, the log opened on it, and what it may do then.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;

use tempfile::TempDir;
use twinstream_log::{LastStop, LogError, PartitionLog, ReadError};
use twinstream_model::Offset;
use twinstream_protocol::batch::{batches, whole_batches};

use crate::original::{self, ALL, FOLDER, Original, temporary};

pub(crate) const STOPS: [LastStop; 3] = [LastStop::Clean, LastStop::Killed, LastStop::Unknown];

#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    /// These bits of the byte at this position.
    Flip(usize, u8),
    /// The file ends here.
    Cut(usize),
}

impl Change {
    pub(crate) fn apply(self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        match self {
            Change::Flip(at, bits) => bytes[at] ^= bits,
            Change::Cut(len) => bytes.truncate(len),
        }
        bytes
    }

    /// One flipped bit for every byte, another one each time, and every shorter length.
    pub(crate) fn all(len: usize) -> impl Iterator<Item = Change> {
        (0..len).map(|at| Change::Flip(at, 1 << (at % 8))).chain((0..len).map(Change::Cut))
    }

    /// For text, which is short: every single bit. Some make another digit of a digit, some no text at all.
    pub(crate) fn all_of_text(len: usize) -> impl Iterator<Item = Change> {
        (0..len * 8).map(|bit| Change::Flip(bit / 8, 1 << (bit % 8))).chain((0..len).map(Change::Cut))
    }
}

/// One cell of the matrix.
pub(crate) struct Case<'a> {
    pub(crate) file: &'a str,
    pub(crate) change: Change,
    pub(crate) stop: LastStop,
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} after {:?}", self.change, self.file, self.stop)
    }
}

/// What readers get of a log.
pub(crate) struct Served {
    /// By base offset.
    pub(crate) batches: BTreeMap<i64, Vec<u8>>,
    /// The offsets that were refused as damaged.
    pub(crate) holes: Vec<(i64, i64)>,
}

/// Where damaged logs are opened, one after the other.
pub(crate) struct Bench {
    pub(crate) original: Original,
    root: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench { original: Original::new(), root: temporary() }
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join(FOLDER)
    }

    /// Opens the log with one file changed and has it judged. A panic says which case it was.
    pub(crate) fn run(&self, case: &Case<'_>, judge: impl FnOnce(Result<PartitionLog, LogError>)) {
        self.original.lay_out(&self.dir());
        fs::write(self.dir().join(case.file), case.change.apply(&self.original.files[case.file])).expect("a file");
        let opened = AssertUnwindSafe(|| judge(self.original.open(&self.dir(), case.stop)));
        catch_unwind(opened).unwrap_or_else(|panic| {
            eprintln!("case: {case}");
            resume_unwind(panic)
        });
    }

    /// The log as it was: every record, every answer; and it goes on at its end.
    pub(crate) fn is_whole(&self, log: &PartitionLog) {
        let served = served(log);
        assert_eq!(served.holes, []);
        assert!(served.batches == self.original.batches, "other records: {:?}", served.batches.keys());
        assert_eq!(log.log_end_offset().0, self.original.end);
        assert_eq!(original::answers(log), self.original.answers);
        goes_on(log, &served);
    }
}

/// Reads a log as fetches do, stepping over damage.
pub(crate) fn served(log: &PartitionLog) -> Served {
    let mut served = Served { batches: BTreeMap::new(), holes: Vec::new() };
    let mut next = log.log_start_offset();
    while next < log.log_end_offset() {
        match ready_at(log, next) {
            Ok(bytes) => {
                let before = next;
                for batch in batches(whole_batches(&bytes).expect("whole batches")) {
                    let batch = batch.expect("a batch");
                    batch.check_crc().expect("a good checksum");
                    let again = served.batches.insert(batch.base_offset().0, batch.bytes().to_vec());
                    assert!(again.is_none(), "offset {} is there twice", batch.base_offset());
                    next = batch.header().next_offset();
                }
                assert!(next > before, "nothing at {before}");
            }
            Err(ReadError::Damaged { offset, end, .. }) => {
                assert!(offset <= next && next < end, "{offset} to {end} is said to be damaged for {next}");
                served.holes.push((offset.0, end.0));
                next = end;
            }
            Err(error) => panic!("read at {next}: {error}"),
        }
    }
    served
}

fn ready_at(log: &PartitionLog, at: Offset) -> Result<Vec<u8>, ReadError> {
    let found = log.read(at, 1 << 20, true, ALL)?;
    let Some(slice) = found.slice else { panic!("nothing at {at} of a log that ends at {}", log.log_end_offset()) };
    Ok(log.make_ready(&slice, 1 << 20)?.read().expect("a range of a file"))
}

/// The next batch comes behind all that was served, and is served as well.
pub(crate) fn goes_on(log: &PartitionLog, before: &Served) {
    let end = log.log_end_offset().0;
    let (base, header) = original::append_one(log).expect("a log that takes appends");
    assert_eq!(base, end);
    let taken = before.batches.iter().any(|(at, batch)| {
        let last = batches(batch).next().expect("a batch").expect("a batch").last_offset().0;
        (*at..=last).contains(&base)
    });
    assert!(!taken, "offset {base} is used again");
    let bytes = ready_at(log, Offset(base)).expect("what was appended");
    assert_eq!(bytes.len(), header.len);
}
