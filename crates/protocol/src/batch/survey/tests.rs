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
    let record = |index, timestamp, has_key| Surveyed { index, timestamp, has_key };
    let expected = [record(0, NOW, true), record(1, NOW + 70_000, false), record(2, NOW - 5, true)];
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
