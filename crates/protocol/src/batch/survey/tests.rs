use super::*;
use crate::batch::{BatchBuilder, HEADER_BYTES, RECORD_COUNT};
use crate::compression::CompressionSpec;
use crate::varint;

const NOW: i64 = 1_700_000_000_000;

/// A batch of a codec around the bytes of records.
fn around(codec: Compression, records: &[u8], count: i32) -> Vec<u8> {
    let mut frame = BatchBuilder::new();
    frame.append(NOW, None, None, []);
    let mut batch = frame.build().unwrap();
    batch[RECORD_COUNT..RECORD_COUNT + 4].copy_from_slice(&count.to_be_bytes());
    BatchView::parse(&batch).unwrap().recompress(records, CompressionSpec::from(codec)).unwrap()
}

fn surveyed(batch: &[u8], limit: usize) -> Result<Vec<Surveyed>, BatchError> {
    let mut seen = Vec::new();
    BatchView::parse(batch).unwrap().survey(limit, |record| seen.push(record))?;
    Ok(seen)
}

fn three() -> BatchBuilder {
    let mut builder = BatchBuilder::new();
    let large = vec![b'x'; 3 * WINDOW_BYTES];
    builder.append(NOW, Some(b"k"), Some(&large), [(&b"h"[..], None), (&b"g"[..], Some(&b"v"[..]))]);
    builder.append(NOW + 70_000, None, Some(b""), []);
    builder.append(NOW - 5, Some(b""), None, []);
    builder
}

#[test]
fn timestamps_and_keys_are_seen_in_every_codec() {
    let record = |index: usize, timestamp, has_key, has_value| {
        let offset = Offset(index as i64);
        Surveyed { index, offset, timestamp, has_key, has_value }
    };
    let expected = [record(0, NOW, true, true), record(1, NOW + 70_000, false, true), record(2, NOW - 5, true, false)];
    for codec in Compression::ALL {
        let batch = three().with_compression(codec).build().unwrap();
        assert_eq!(surveyed(&batch, 1 << 20).unwrap(), expected, "{codec}");
    }
}

#[test]
fn more_or_fewer_records_than_announced_are_refused() {
    for codec in Compression::ALL {
        let batch = three().build().unwrap();
        for (count, found) in [(2, 3), (4, 3)] {
            let batch = around(codec, &batch[HEADER_BYTES..], count);
            let error = surveyed(&batch, 1 << 20).unwrap_err();
            assert!(
                matches!(error, BatchError::RecordCount { announced, found: f } if announced == count && f == found),
                "{codec}: {error}"
            );
        }
    }
}

#[test]
fn records_that_are_not_numbered_by_their_place_are_refused() {
    let mut builder = BatchBuilder::new();
    builder.append(NOW, None, None, []);
    builder.append_at_delta(2, NOW, None, None, []);
    let error = surveyed(&builder.build().unwrap(), 100).unwrap_err();
    assert!(matches!(error, BatchError::RecordOffset { index: 1 }), "{error}");
}

#[test]
fn malformed_records_are_refused_at_every_cut_and_addition() {
    let sound = three().build().unwrap();
    let records = &sound[HEADER_BYTES..];
    for codec in [Compression::None, Compression::Gzip] {
        for cut in (1..records.len()).step_by(997).chain(records.len() - 20..records.len()) {
            assert!(surveyed(&around(codec, &records[..cut], 3), 1 << 20).is_err(), "{codec} {cut}");
        }
        let mut longer = records.to_vec();
        longer.push(0);
        assert!(surveyed(&around(codec, &longer, 3), 1 << 20).is_err(), "{codec}");
    }
    // A record with a byte behind its headers, one with an endless number, one of negative length.
    for record in [&[0x10u8, 0, 0, 0, 1, 1, 0, 7, 7][..], &[0xff; 12], &[0x01]] {
        let error = surveyed(&around(Compression::None, record, 1), 100).unwrap_err();
        assert!(matches!(error, BatchError::MalformedRecord { index: 0 }), "{record:?}: {error}");
    }
}

#[test]
fn no_more_than_the_limit_is_unpacked() {
    let mut record = vec![0, 0, 0, 1];
    varint::write_i32(&mut record, 1 << 20);
    record.resize(record.len() + (1 << 20), 0);
    record.push(0);
    let mut records = Vec::new();
    varint::write_i32(&mut records, record.len() as i32);
    records.extend(record);
    for codec in Compression::ALL.into_iter().skip(1) {
        let batch = around(codec, &records, 1);
        assert_eq!(surveyed(&batch, records.len()).unwrap().len(), 1, "{codec}");
        let error = surveyed(&batch, records.len() - 1).unwrap_err();
        assert!(matches!(error, BatchError::Compression(CompressionError::TooLarge { .. })), "{codec}: {error}");
    }
}

#[test]
fn bytes_that_do_not_unpack_are_damaged() {
    for codec in Compression::ALL.into_iter().skip(1) {
        let mut batch = around(codec, &[0; 50], 1);
        let len = batch.len();
        batch[HEADER_BYTES..len].fill(0xff);
        let error = surveyed(&batch, 1 << 20).unwrap_err();
        assert!(matches!(error, BatchError::Compression(CompressionError::Damaged { .. })), "{codec}: {error}");
    }
}

/// Keys in their pieces.
#[derive(Default)]
struct Keys {
    pieces: Vec<usize>,
    key: Vec<u8>,
    seen: Vec<(i64, Vec<u8>)>,
}

impl Visitor for Keys {
    fn key(&mut self, piece: &[u8]) {
        self.pieces.push(piece.len());
        self.key.extend_from_slice(piece);
    }

    fn record(&mut self, record: Surveyed) -> ControlFlow<()> {
        self.seen.push((record.offset.0, std::mem::take(&mut self.key)));
        if self.seen.len() == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[test]
fn equal_keys_come_in_equal_pieces_wherever_windows_end() {
    let large: Vec<u8> = (0..2 * WINDOW_BYTES + 77).map(|at| (at % 251) as u8).collect();
    let mut builder = BatchBuilder::new().with_base_offset(Offset(40));
    for (delta, fill) in [(0, 0), (2, 5_001), (3, 12_345), (9, 1), (10, 0)] {
        builder.append_at_delta(delta, NOW, Some(&large), Some(&vec![0; fill]), []);
    }
    for codec in Compression::ALL {
        let batch = builder.clone().with_compression(codec).build().unwrap();
        let mut keys = Keys::default();
        BatchView::parse(&batch).unwrap().walk(1 << 20, &mut keys).unwrap();
        let offsets: Vec<i64> = keys.seen.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, [40, 42, 43, 49], "{codec}: gaps are no fault, and a break ends the walk");
        assert!(keys.seen.iter().all(|(_, key)| *key == large), "{codec}");
        let each = keys.pieces.len() / 4;
        assert!(keys.pieces.chunks(each).all(|pieces| *pieces == keys.pieces[..each]), "{codec}: {:?}", keys.pieces);
        assert!(keys.pieces.iter().all(|piece| *piece <= KEY_PIECE_BYTES), "{codec}");
    }
}
