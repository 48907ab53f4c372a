//! Makes a batch of one log fit for another one, by its header alone.
//!
//! Picture: a copier appends batches as a producer of its own. All that changes lies in the header, and a CRC is linear:
//! what the old and the new header differ in, moved over the records, is what their checksums differ in. So the records
//! are not read, and what was damaged on the way still fails its checksum behind it, where a fresh one would hide that.
//! Not here: whether a batch may be copied (control batches may not).

use super::{
    ATTRIBUTES, Attributes, BASE_OFFSET, BASE_SEQUENCE, CRC, HEADER_BYTES, LEADER_EPOCH, LENGTH, LENGTH_OVERHEAD,
    NO_SEQUENCE, PRODUCER_EPOCH, PRODUCER_ID, ProducerStamp, i16_at, i32_at,
};

/// The polynomial of CRC-32C, lowest power in the highest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// Powers of x that are kept: a length field, also one that lies, counts fewer than 2^32 bytes, each of them 2^3 bits.
const POWERS: usize = 35;
/// x^(2^n) for each n.
static POWERS_OF_X: [u32; POWERS] = powers_of_x();

/// The header with which a producer appends the same records: base offset 0, no leader epoch, its own numbers or none, and
/// neither the mark of a transaction, which has ended, nor that of compaction, which begins anew in another log (KIP-534).
pub fn restamped(header: &[u8; HEADER_BYTES], producer: Option<ProducerStamp>) -> [u8; HEADER_BYTES] {
    stamped(header, producer, 0)
}

/// The same for a batch that is part of an open transaction of this producer.
pub fn restamped_in_transaction(header: &[u8; HEADER_BYTES], producer: ProducerStamp) -> [u8; HEADER_BYTES] {
    stamped(header, Some(producer), Attributes::TRANSACTIONAL)
}

fn stamped(header: &[u8; HEADER_BYTES], producer: Option<ProducerStamp>, marks: i16) -> [u8; HEADER_BYTES] {
    let mut stamped = *header;
    let (id, epoch, sequence) =
        producer.map_or((-1, -1, NO_SEQUENCE), |producer| (producer.id.0, producer.epoch.0, producer.base_sequence));
    let attributes = i16_at(header, ATTRIBUTES) & !(Attributes::TRANSACTIONAL | Attributes::DELETE_HORIZON) | marks;
    put(&mut stamped, BASE_OFFSET, &0i64.to_be_bytes());
    put(&mut stamped, LEADER_EPOCH, &(-1i32).to_be_bytes());
    put(&mut stamped, ATTRIBUTES, &attributes.to_be_bytes());
    put(&mut stamped, PRODUCER_ID, &id.to_be_bytes());
    put(&mut stamped, PRODUCER_EPOCH, &epoch.to_be_bytes());
    put(&mut stamped, BASE_SEQUENCE, &sequence.to_be_bytes());
    let differs = crc32c::crc32c(&header[ATTRIBUTES..]) ^ crc32c::crc32c(&stamped[ATTRIBUTES..]);
    let records = (i32_at(header, LENGTH) as u32 as usize + LENGTH_OVERHEAD).saturating_sub(HEADER_BYTES);
    let crc = i32_at(header, CRC) as u32 ^ moved_over(differs, records);
    put(&mut stamped, CRC, &crc.to_be_bytes());
    stamped
}

fn put(header: &mut [u8; HEADER_BYTES], at: usize, value: &[u8]) {
    header[at..at + value.len()].copy_from_slice(value);
}

/// What a difference of checksums has become behind so many equal bytes: times x^(8 * bytes).
fn moved_over(differs: u32, bytes: usize) -> u32 {
    let mut moved = differs;
    let mut bits = bytes << 3;
    while bits != 0 {
        moved = times(POWERS_OF_X[bits.trailing_zeros() as usize], moved);
        bits &= bits - 1;
    }
    moved
}

/// The product of two polynomials, modulo the one of the checksum.
const fn times(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut power = 1u32 << 31;
    while power != 0 {
        if a & power != 0 {
            product ^= b;
        }
        b = if b & 1 == 0 { b >> 1 } else { (b >> 1) ^ POLYNOMIAL };
        power >>= 1;
    }
    product
}

const fn powers_of_x() -> [u32; POWERS] {
    let mut powers = [0; POWERS];
    powers[0] = 1 << 30; // x itself
    let mut n = 1;
    while n < POWERS {
        powers[n] = times(powers[n - 1], powers[n - 1]);
        n += 1;
    }
    powers
}

#[cfg(test)]
mod tests {
    use twinstream_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

    use super::*;
    use crate::batch::{BatchBuilder, BatchView};

    const STAMP: ProducerStamp = ProducerStamp { id: ProducerId(9), epoch: ProducerEpoch(3), base_sequence: 77 };

    fn restamp(batch: &[u8], producer: Option<ProducerStamp>) -> Vec<u8> {
        let header = restamped(batch[..HEADER_BYTES].try_into().unwrap(), producer);
        [&header, &batch[HEADER_BYTES..]].concat()
    }

    fn batch(value: usize) -> Vec<u8> {
        let old = ProducerStamp { id: ProducerId(4), epoch: ProducerEpoch(1), base_sequence: 5 };
        let builder = BatchBuilder::new().with_base_offset(Offset(900)).with_leader_epoch(LeaderEpoch(6));
        let mut builder = builder.with_producer(old).with_transactional().with_delete_horizon(1_000);
        builder.append(5, Some(b"k"), Some(&vec![7; value]), []);
        builder.build().unwrap()
    }

    #[test]
    fn records_of_any_length_keep_a_good_checksum_under_a_new_header() {
        for value in [0, 1, 2, 63, 64, 1_000, 4_095, 65_536, 1_000_003] {
            for producer in [Some(STAMP), None] {
                let stamped = restamp(&batch(value), producer);
                let view = BatchView::parse(&stamped).unwrap();
                view.check_crc().unwrap();
                let header = view.header();
                assert_eq!((header.base_offset, header.leader_epoch), (Offset(0), LeaderEpoch(-1)));
                assert!(!header.attributes.is_transactional() && !header.attributes.has_delete_horizon());
                assert_eq!(header.is_idempotent(), producer.is_some());
                assert_eq!(header.base_sequence, producer.map_or(-1, |stamp| stamp.base_sequence));
                assert_eq!(view.body(), &batch(value)[HEADER_BYTES..]);
            }
        }
    }

    #[test]
    fn damaged_records_still_fail_under_a_new_header() {
        let mut damaged = batch(500);
        damaged[300] ^= 0x10;
        let stamped = restamp(&damaged, Some(STAMP));
        BatchView::parse(&stamped).unwrap().check_crc().unwrap_err();
    }

    #[test]
    fn headers_that_lie_about_their_length_do_no_harm() {
        for length in [i32::MIN, -1, 0, 48, i32::MAX] {
            let mut lying = batch(10);
            lying[LENGTH..LENGTH + 4].copy_from_slice(&length.to_be_bytes());
            restamp(&lying, Some(STAMP));
        }
    }

    #[test]
    fn a_batch_of_an_open_transaction_says_so_and_its_checksum_holds() {
        let old = batch(100);
        let header = restamped_in_transaction(old[..HEADER_BYTES].try_into().unwrap(), STAMP);
        let new = [&header, &old[HEADER_BYTES..]].concat();
        let view = BatchView::parse(&new).unwrap();
        view.check_crc().unwrap();
        assert!(view.header().attributes.is_transactional());
    }
}
