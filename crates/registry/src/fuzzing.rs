//! The decoders of this crate as functions of bytes, for the fuzz targets in `crates/fuzz`. No part of its face.

use crate::avro;
use crate::state::{RawRecord, State};

/// Records of the schemas topic, replayed in the order in which they come.
pub fn stored_records<'a>(records: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) {
    let mut state = State::default();
    for (offset, (key, value)) in (0..).zip(records) {
        let raw = RawRecord { offset, key: key.to_vec(), value: value.map(<[u8]>::to_vec) };
        if let Err(reason) = state.replay(&raw) {
            assert!(!reason.is_empty());
        }
        assert_eq!(state.position(), offset + 1);
    }
    let subjects: Vec<&str> = state.subjects().map(|(subject, _)| subject).collect();
    for subject in subjects {
        assert!(state.live(subject).count() <= state.versions(subject).count());
    }
}

/// The text of a schema as a client registers it.
pub fn schema(text: &str) {
    if let Ok(schema) = avro::parse::parse(text, &[]) {
        assert!(schema.provided <= schema.types.len());
    }
}
