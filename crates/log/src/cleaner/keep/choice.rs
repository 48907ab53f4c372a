//! Which records of a batch stay: one walk over them, one bit for each.

use std::ops::ControlFlow;

use twinstream_model::Offset;
use twinstream_protocol::batch::{BatchHeader, Surveyed, Visitor};

use super::Rules;
use crate::cleaner::offset_map::KeyHasher;

/// Looks at the records of a batch.
pub(super) struct Choice<'a> {
    rules: &'a Rules<'a>,
    header: &'a BatchHeader,
    /// Of the present record's key.
    key: KeyHasher,
    /// Where the next record that stays may lie at the earliest.
    due: Offset,
    chosen: Chosen,
}

/// What was seen of them.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    bits: Vec<u64>,
    pub(super) records: u64,
    pub(super) stays: u64,
    pub(super) without_key: u64,
    /// Of those that stay.
    pub(super) has_tombstone: bool,
    /// The first of those that stay which does not lie behind the one before, or not within its batch.
    pub(super) out_of_place: Option<Offset>,
}

impl<'a> Choice<'a> {
    pub(super) fn new(rules: &'a Rules<'a>, header: &'a BatchHeader) -> Choice<'a> {
        Choice { rules, header, key: rules.map.hasher(), due: header.base_offset, chosen: Chosen::default() }
    }

    pub(super) fn made(self) -> Chosen {
        self.chosen
    }
}

impl Visitor for Choice<'_> {
    fn key(&mut self, piece: &[u8]) {
        self.key.write(piece);
    }

    fn record(&mut self, record: Surveyed) -> ControlFlow<()> {
        let hasher = std::mem::replace(&mut self.key, self.rules.map.hasher());
        let key = record.has_key.then(|| hasher.finish());
        let stays = self.rules.stays(self.header, record.offset, key, !record.has_value);
        self.chosen.note(stays);
        self.chosen.without_key += u64::from(key.is_none());
        if stays {
            self.chosen.has_tombstone |= !record.has_value;
            if record.offset < self.due || record.offset > self.header.last_offset() {
                self.chosen.out_of_place.get_or_insert(record.offset);
            }
            self.due = record.offset.next();
        }
        ControlFlow::Continue(())
    }
}

impl Chosen {
    fn note(&mut self, stays: bool) {
        let at = self.records % u64::from(u64::BITS);
        if at == 0 {
            self.bits.push(0);
        }
        if let Some(last) = self.bits.last_mut() {
            *last |= u64::from(stays) << at;
        }
        self.records += 1;
        self.stays += u64::from(stays);
    }

    /// Whether the record at a place of the batch stays.
    pub(super) fn has(&self, index: usize) -> bool {
        let bits = u64::BITS as usize;
        self.bits.get(index / bits).is_some_and(|word| word >> (index % bits) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_has_its_bit() {
        let mut chosen = Chosen::default();
        (0..200).for_each(|index| chosen.note(index % 3 == 0));
        assert!((0..200).all(|index| chosen.has(index) == (index % 3 == 0)));
        assert_eq!((chosen.records, chosen.stays, chosen.has(201)), (200, 67, false));
    }
}
