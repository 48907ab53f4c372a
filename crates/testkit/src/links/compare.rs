//! Whether two logs are the same, batch by batch and byte by byte.
//!
//! Picture: two lists of batches as they lie in the logs, of the source and of its mirror, over the same range of offsets. What
//! a mirror must keep is all there is to see: base offsets with the gaps between them, epochs of leaders, producers, markers of
//! transactions, timestamps, the packed records. The first place where they part is told with what each side has there.
//!
//! Pure. Not here: which range is compared (`log`), what a copy must keep whose offsets are its own (`copies`).

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use twinstream_client::protocol::batch::{BatchHeader, BatchView};
use twinstream_model::{LeaderEpoch, Offset};

/// Where two logs part, and what each has there; `None` is nothing up to the end of the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The smaller of both base offsets.
    pub at: Offset,
    pub source: Option<String>,
    pub target: Option<String>,
    /// The first byte of the batch that differs, where both have one.
    pub byte: Option<usize>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing more".to_owned());
        write!(f, "offset {}: the source has {}, the target {}", self.at, side(&self.source), side(&self.target))?;
        match self.byte {
            Some(byte) => write!(f, "; the first byte that differs is number {byte}"),
            None => Ok(()),
        }
    }
}

/// The epochs of these batches, each once.
pub(super) fn epochs(batches: &[Bytes]) -> BTreeSet<LeaderEpoch> {
    batches.iter().filter_map(|batch| Some(BatchHeader::parse(batch).ok()?.leader_epoch)).collect()
}

/// The first place where the lists part.
pub fn first_difference(source: &[Bytes], target: &[Bytes]) -> Option<Difference> {
    let same = source.iter().zip(target).take_while(|(one, other)| one == other).count();
    let (one, other) = (source.get(same), target.get(same));
    let at = one.into_iter().chain(other).map(base_offset).min()?;
    let byte = one.zip(other).map(|(one, other)| one.iter().zip(other).take_while(|(a, b)| a == b).count());
    Some(Difference { at, source: one.map(describe), target: other.map(describe), byte })
}

fn base_offset(batch: &Bytes) -> Offset {
    BatchHeader::parse(batch).map_or(Offset::NONE, |header| header.base_offset)
}

/// What is in the head of a batch, and whether its checksum holds.
fn describe(batch: &Bytes) -> String {
    let view = match BatchView::parse(batch) {
        Ok(view) => view,
        Err(error) => return format!("{} bytes that are no batch ({error})", batch.len()),
    };
    let header = view.header();
    let kind = match (header.attributes.is_control(), header.attributes.is_transactional()) {
        (true, _) => "a marker",
        (false, true) => "a batch of a transaction",
        (false, false) => "a batch",
    };
    let sum = if view.check_crc().is_ok() { "checksum" } else { "wrong checksum" };
    format!(
        "{kind} of offsets {} to {} in epoch {}, producer {}/{} from {}, {} bytes with {sum} {:08x}",
        header.base_offset,
        header.last_offset(),
        header.leader_epoch,
        header.producer_id,
        header.producer_epoch,
        header.base_sequence,
        header.len,
        header.crc
    )
}

#[cfg(test)]
mod tests;
