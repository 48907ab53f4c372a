//! From what a fetch brought of a partition to appends at the same offsets. Pure.
//!
//! Picture: the answer's own memory is cut between batches into pieces of a bounded size. Nothing is read but headers, nothing
//! is joined, split, left out or written anew: control batches, holes and aborted transactions are the mirror's as well.
//! Invariants: A1 the pieces joined are the whole batches of the answer from the position on. A2 each piece says where it goes
//! on and which epoch stands before that, so that a target which has something else there refuses it.

use bytes::Bytes;
use twinstream_client::protocol::batch::{BatchError, batches};
use twinstream_model::{LeaderEpoch, Offset};

use crate::request::RequestError;

/// One append; a single batch may be larger.
pub(crate) const APPEND_BYTES_MAX: usize = 1 << 20;

/// One append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub bytes: Bytes,
    /// Records that a consumer sees.
    pub records: u32,
    /// Where the log of the target ends before it.
    pub from: Offset,
    /// The epoch of what stands before it.
    pub last_epoch: LeaderEpoch,
    /// Where it ends after it.
    pub next: Offset,
    pub newest_epoch: LeaderEpoch,
    pub max_timestamp: i64,
}

/// Cuts an answer; `last_epoch` is that of the record before the position, if it is known.
pub(crate) fn cut(
    answer: &Bytes,
    position: Offset,
    last_epoch: LeaderEpoch,
    bytes_max: usize,
) -> Result<Vec<Piece>, RequestError> {
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut next, mut last_epoch) = (position, last_epoch);
    let mut begin = 0;
    for view in batches(answer) {
        let view = match view {
            Ok(view) => view,
            // The answer's size limit; the rest comes with the next fetch.
            Err(BatchError::Truncated { .. }) => break,
            Err(source) => return Err(RequestError::Batch { offset: next, source }),
        };
        let header = view.header();
        let end = begin + header.len;
        if header.next_offset() > next {
            let records =
                if header.attributes.is_control() { 0 } else { u32::try_from(header.record_count).unwrap_or(0) };
            match pieces.last_mut() {
                Some(piece) if piece.bytes.len() + header.len <= bytes_max => {
                    piece.bytes = answer.slice(begin - piece.bytes.len()..end);
                    piece.records = piece.records.saturating_add(records);
                    piece.next = header.next_offset();
                    piece.newest_epoch = piece.newest_epoch.max(header.leader_epoch);
                    piece.max_timestamp = piece.max_timestamp.max(header.max_timestamp);
                }
                _ => pieces.push(Piece {
                    bytes: answer.slice(begin..end),
                    records,
                    from: next,
                    last_epoch,
                    next: header.next_offset(),
                    newest_epoch: header.leader_epoch,
                    max_timestamp: header.max_timestamp,
                }),
            }
            (next, last_epoch) = (header.next_offset(), header.leader_epoch);
        }
        begin = end;
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use twinstream_client::protocol::batch::BatchBuilder;

    use super::*;

    fn batch(base: i64, epoch: i32, count: i32) -> BatchBuilder {
        let mut builder = BatchBuilder::new().with_base_offset(Offset(base)).with_leader_epoch(LeaderEpoch(epoch));
        for delta in 0..count {
            builder.append_at_delta(delta, 1000 + base + i64::from(delta), None, Some(b"value"), []);
        }
        builder
    }

    fn answer() -> Bytes {
        let marker = batch(7, 3, 1).with_control().with_transactional();
        let all = [batch(0, 1, 3), batch(3, 1, 2), marker, batch(10, 4, 2)];
        Bytes::from(all.map(|builder| builder.build().unwrap()).concat())
    }

    fn shape(pieces: &[Piece]) -> Vec<(i64, i32, i64, i32, u32)> {
        let shape = |p: &Piece| (p.from.0, p.last_epoch.0, p.next.0, p.newest_epoch.0, p.records);
        pieces.iter().map(shape).collect()
    }

    #[test]
    fn an_answer_goes_in_one_piece_with_markers_and_holes() {
        let answer = answer();
        let pieces = cut(&answer, Offset(0), LeaderEpoch(0), APPEND_BYTES_MAX).unwrap();
        assert_eq!(shape(&pieces), [(0, 0, 12, 4, 7)]);
        assert_eq!(
            (pieces[0].bytes.as_ptr(), pieces[0].bytes.len()),
            (answer.as_ptr(), answer.len()),
            "nothing is copied"
        );
        assert_eq!(pieces[0].max_timestamp, 1011);
    }

    #[test]
    fn pieces_end_between_batches_and_tell_what_stands_before_them() {
        let answer = answer();
        let pieces = cut(&answer, Offset(0), LeaderEpoch::NONE, 1).unwrap();
        assert_eq!(shape(&pieces), [(0, -1, 3, 1, 3), (3, 1, 5, 1, 2), (5, 1, 8, 3, 0), (8, 3, 12, 4, 2)]);
        let joined: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes.to_vec()).collect();
        assert_eq!(joined, answer);
    }

    #[test]
    fn batches_before_the_position_and_a_cut_one_are_left_out() {
        let answer = answer();
        let pieces = cut(&answer, Offset(4), LeaderEpoch(1), APPEND_BYTES_MAX).unwrap();
        assert_eq!(shape(&pieces), [(4, 1, 12, 4, 4)], "the batch that holds the position is whole");
        let short = answer.slice(..answer.len() - 1);
        let pieces = cut(&short, Offset(5), LeaderEpoch(1), APPEND_BYTES_MAX).unwrap();
        assert_eq!(shape(&pieces), [(5, 1, 8, 3, 0)]);
        assert_eq!(cut(&answer, Offset(12), LeaderEpoch(4), APPEND_BYTES_MAX).unwrap(), []);
    }

    #[test]
    fn what_is_no_batch_is_named_by_its_offset() {
        let mut bytes = answer().to_vec();
        bytes[16] = 1; // the magic of a format that nobody writes any more
        let error = cut(&Bytes::from(bytes), Offset(0), LeaderEpoch::NONE, 1).unwrap_err();
        assert!(error.to_string().contains("offset 0"), "{error}");
    }
}
