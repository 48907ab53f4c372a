//! Claims about the bundled events.

use std::collections::BTreeSet;

use twinstream_client::avro::{AvroEncoder, AvroSchema};

use super::*;

#[test]
fn every_event_has_its_own_id_and_fits_the_schema() {
    let encoder = AvroEncoder::new(1, AvroSchema::parse(SCHEMA).unwrap());
    let events = events().unwrap();
    let keys: BTreeSet<&Bytes> = events.iter().map(|event| &event.key).collect();
    assert_eq!((events.len(), keys.len()), (1707, 1707));
    for event in &events {
        encoder.encode_json(&event.json).unwrap_or_else(|error| panic!("{}: {error}", event.json));
    }
}
