//! A record from its key on, which is what goes over as it is when records are copied, and the same with one header changed.
//!
//! Picture: `key | value | number of headers | headers`, each of the first two and each part of a header with its length in
//! front. What lies before it (length, time, offset) is written anew for each batch.
//! Invariant: a tail was seen to be well-formed, to its last byte; changing a header leaves every other byte as it was.

use super::builder::write_nullable;
use super::records::{Headers, take_nullable};
use crate::varint;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct RecordTail<'a> {
    bytes: &'a [u8],
    /// Where the number of headers stands.
    headers_at: usize,
    headers: Headers<'a>,
}

impl<'a> RecordTail<'a> {
    /// `None`: malformed.
    pub fn parse(bytes: &'a [u8]) -> Option<RecordTail<'a>> {
        let mut rest = bytes;
        take_nullable(&mut rest)?;
        take_nullable(&mut rest)?;
        Some(RecordTail { bytes, headers_at: bytes.len() - rest.len(), headers: Headers::parse(rest)? })
    }

    pub fn headers(&self) -> Headers<'a> {
        self.headers
    }

    /// Appends the same with this header: in the place of the last one of its name, or behind all others.
    pub fn write_with_header(&self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        let place = self.headers.iter().enumerate().filter(|(_, header)| header.key == name).last();
        let place = place.map(|(index, _)| index);
        out.extend_from_slice(&self.bytes[..self.headers_at]);
        let count = self.headers.len() + usize::from(place.is_none());
        varint::write_i32(out, i32::try_from(count).unwrap_or(i32::MAX));
        for (index, header) in self.headers.iter().enumerate() {
            write_nullable(out, Some(header.key));
            write_nullable(out, if place == Some(index) { Some(value) } else { header.value });
        }
        if place.is_none() {
            write_nullable(out, Some(name));
            write_nullable(out, Some(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, HEADER_BYTES};

    type Headed<'h> = [(&'h [u8], Option<&'h [u8]>)];

    /// The only record of a batch, from its key on.
    fn tail(key: Option<&[u8]>, value: Option<&[u8]>, headers: &Headed<'_>) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        builder.append(0, key, value, headers.iter().copied());
        let batch = builder.build().unwrap();
        let (_, length) = varint::read_i32(&batch[HEADER_BYTES..]).unwrap();
        batch[HEADER_BYTES + length + 3..].to_vec() // attributes, time and offset take a byte each
    }

    fn with(tail: &[u8], value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        RecordTail::parse(tail).unwrap().write_with_header(b"path", value, &mut out);
        out
    }

    #[test]
    fn a_header_is_added_behind_the_others_or_replaced_where_it_stands() {
        for (key, value) in [(None, None), (Some(&b"k"[..]), Some(&b"v"[..])), (Some(b""), None)] {
            let others: [(&[u8], Option<&[u8]>); 2] = [(b"a", None), (b"b", Some(b"1"))];
            let bare = tail(key, value, &others);
            let one = with(&bare, b"A");
            assert_eq!(one, tail(key, value, &[others[0], others[1], (b"path", Some(b"A"))]));
            assert_eq!(with(&one, b"A,B"), tail(key, value, &[others[0], others[1], (b"path", Some(b"A,B"))]));
            let twice: [(&[u8], Option<&[u8]>); 3] = [(b"path", Some(b"x")), (b"path", None), others[1]];
            let replaced = [twice[0], (b"path", Some(&b"A"[..])), others[1]];
            assert_eq!(with(&tail(key, value, &twice), b"A"), tail(key, value, &replaced), "the last of its name");
        }
        let long = vec![b'x'; 100_000];
        let none: [(&[u8], Option<&[u8]>); 0] = [];
        let headed = with(&tail(None, Some(&long), &none), b"A");
        assert_eq!(headed, tail(None, Some(&long), &[(b"path", Some(b"A"))]));
    }

    #[test]
    fn what_is_no_record_is_refused_at_every_place_that_it_is_cut() {
        let whole = tail(Some(b"key"), Some(b"value"), &[(b"a", Some(b"1"))]);
        assert_eq!(RecordTail::parse(&whole).unwrap().headers().len(), 1);
        for end in 0..whole.len() {
            assert!(RecordTail::parse(&whole[..end]).is_none(), "{end}");
        }
        let mut more = whole.clone();
        more.push(0);
        assert!(RecordTail::parse(&more).is_none(), "something behind it");
    }
}
