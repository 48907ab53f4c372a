//! The offset topic: how far each source partition of each source connector was read.
//!
//! Key `["<connector>",{<partition>}]`, value `{<offset>}` or a tombstone. The key bytes of a Java worker come from a
//! hash map's order, so the same partition may be stored under differently ordered bytes: partitions are compared by
//! value, and a key that exists is written again with its exact bytes, else compaction would keep two versions.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value as Json;
use twinstream_connect_api::OffsetMap;

use super::{Replay, StateRecord, Unreadable};

/// Everything that the offset topic says.
#[derive(Clone, Debug, Default)]
pub(crate) struct OffsetState {
    /// By connector, then by the partition in canonical text.
    connectors: BTreeMap<String, BTreeMap<String, Stored>>,
}

#[derive(Clone, Debug)]
struct Stored {
    key: Bytes,
    partition: OffsetMap,
    /// `None` after a tombstone; the key bytes are still to be reused.
    offset: Option<OffsetMap>,
}

impl OffsetState {
    pub(crate) fn get(&self, connector: &str, partition: &OffsetMap) -> Option<&OffsetMap> {
        self.connectors.get(connector)?.get(&canonical(partition))?.offset.as_ref()
    }

    /// All partitions of a connector with an offset.
    pub(crate) fn all(&self, connector: &str) -> impl Iterator<Item = (&OffsetMap, &OffsetMap)> {
        let stored = self.connectors.get(connector).into_iter().flat_map(BTreeMap::values);
        stored.filter_map(|stored| Some((&stored.partition, stored.offset.as_ref()?)))
    }

    /// The record that stores an offset.
    pub(crate) fn record(&self, connector: &str, partition: &OffsetMap, offset: &OffsetMap) -> StateRecord {
        let known = self.connectors.get(connector).and_then(|partitions| partitions.get(&canonical(partition)));
        let key = match known {
            Some(stored) => stored.key.clone(),
            None => Bytes::from(serde_json::json!([connector, partition]).to_string()),
        };
        StateRecord { key, value: Some(Bytes::from(Json::Object(offset.clone()).to_string())) }
    }
}

impl Replay for OffsetState {
    fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Unreadable> {
        let (connector, partition): (String, OffsetMap) =
            serde_json::from_slice(key).map_err(|error| Unreadable::new(key, error))?;
        let offset: Option<OffsetMap> = match value {
            None => None,
            Some(value) => serde_json::from_slice(value).map_err(|error| Unreadable::new(key, error))?,
        };
        let stored = Stored { key: Bytes::copy_from_slice(key), offset, partition };
        self.connectors.entry(connector).or_default().insert(canonical(&stored.partition), stored);
        Ok(())
    }
}

/// The same text for maps that are equal by value: keys sorted, numbers by value.
pub(crate) fn canonical(map: &OffsetMap) -> String {
    let sorted: BTreeMap<&String, &Json> = map.iter().collect();
    let mut text = String::new();
    for (key, value) in sorted {
        let whole = value.as_f64().filter(|f| f.fract() == 0.0 && value.as_i64().is_none()).map(|f| f as i64);
        let value = whole.map_or_else(|| value.to_string(), |whole| whole.to_string());
        text.push_str(&format!("{}:{value},", Json::from(key.as_str())));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(json: Json) -> OffsetMap {
        json.as_object().unwrap().clone()
    }

    #[test]
    fn bytes_are_those_of_kafka_connect() {
        let partition = map(json!({"cluster": "src", "partition": 0, "topic": "t"}));
        let record = OffsetState::default().record("mirror", &partition, &map(json!({"offset": 41})));
        assert_eq!(record.key, r#"["mirror",{"cluster":"src","partition":0,"topic":"t"}]"#);
        assert_eq!(record.value.unwrap(), r#"{"offset":41}"#);
    }

    #[test]
    fn existing_key_bytes_are_written_again_exactly() {
        let mut state = OffsetState::default();
        let java = br#"["mirror",{"partition":0,"topic":"t","cluster":"src"}]"#;
        state.replay(java, Some(br#"{"offset":1}"#)).unwrap();
        let partition = map(json!({"cluster": "src", "partition": 0, "topic": "t"}));
        assert_eq!(state.get("mirror", &partition), Some(&map(json!({"offset": 1}))));
        assert_eq!(state.record("mirror", &partition, &map(json!({"offset": 2}))).key, &java[..]);
        state.replay(java, None).unwrap();
        assert_eq!(state.get("mirror", &partition), None);
        assert_eq!(state.record("mirror", &partition, &map(json!({"offset": 2}))).key, &java[..]);
    }

    #[test]
    fn an_offset_that_was_stored_in_another_order_of_its_keys_is_found() {
        let mut state = OffsetState::default();
        let older = br#"["mmc",{"group":"g1","topic":"k.plain","partition":0}]"#;
        state.replay(older, Some(br#"{"offset":0}"#)).unwrap();
        let now = map(json!({"partition": 0, "topic": "k.plain", "group": "g1"}));
        assert_eq!(state.get("mmc", &now), Some(&map(json!({"offset": 0}))));
        assert_eq!(state.record("mmc", &now, &map(json!({"offset": 0}))).key, &older[..], "compaction keeps one");
    }

    #[test]
    fn partitions_of_other_connectors_and_types_differ() {
        let mut state = OffsetState::default();
        state.replay(br#"["a",{"p":1}]"#, Some(br#"{"o":1}"#)).unwrap();
        assert_eq!(state.get("b", &map(json!({"p": 1}))), None);
        assert_eq!(state.get("a", &map(json!({"p": "1"}))), None);
        assert!(state.get("a", &map(json!({"p": 1.0}))).is_some());
        assert_eq!(state.all("a").count(), 1);
    }

    #[test]
    fn broken_records_are_passed_over() {
        let mut state = OffsetState::default();
        for key in [&b"x"[..], b"[]", b"[\"a\"]", b"[1,{}]", b"\xff"] {
            assert!(state.replay(key, Some(b"{}")).is_err());
        }
        assert!(state.replay(br#"["a",{}]"#, Some(b"7")).is_err());
    }
}
