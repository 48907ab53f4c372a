//! The bundled events, as tests produce, mirror and count them.
#![allow(dead_code, reason = "each test binary takes what it needs")]

use std::collections::BTreeSet;
use std::ops::Range;

use bytes::Bytes;
use serde_json::{Value, json};
use twinstream_client::avro::{AvroCodec, AvroSchema};
use twinstream_client::{ProducerRecord, SchemaRegistryClient};
use twinstream_testkit::{Rest, records};

/// Events in the bundled file.
pub(crate) const EVENTS: usize = 1_707;
const FILE: &str = include_str!("../../data/earthquakes.ndjson");
const SCHEMA: &str = include_str!("../../../../schemas/avro/earthquake.avsc");

/// Where events are produced to.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) bootstrap: String,
    pub(crate) registry: String,
}

impl Site {
    /// Produces these events as Avro, key = id.
    pub(crate) async fn produce(&self, range: Range<usize>) {
        let registry = SchemaRegistryClient::new(&self.registry).expect("registry client");
        let schema = AvroSchema::parse(SCHEMA).expect("the schema of an earthquake");
        let encoder = AvroCodec::new(registry).encoder("earthquakes-value", &schema).await.expect("a schema id");
        let batch: Vec<ProducerRecord> = events()[range]
            .iter()
            .map(|event| {
                let value = encoder.encode_json(event).expect("an event fits its schema");
                ProducerRecord::new(records::topic_name("earthquakes"), Some(key(event)), Some(value))
            })
            .collect();
        records::produce(&self.bootstrap, &[], &batch).await;
    }
}

pub(crate) fn events() -> Vec<Value> {
    FILE.lines().map(|line| serde_json::from_str(line).expect("an event is JSON")).collect()
}

pub(crate) fn keys() -> BTreeSet<Bytes> {
    events().iter().map(key).collect()
}

fn key(event: &Value) -> Bytes {
    Bytes::from(event["id"].as_str().expect("an event has an id").to_owned())
}

/// The body that a user of MirrorMaker 2 would send.
pub(crate) fn mirror_config(source: &str, target: &str) -> Value {
    json!({
        "name": "mirror",
        "connector.class": "org.apache.kafka.connect.mirror.MirrorSourceConnector",
        "tasks.max": "3",
        "source.cluster.alias": "src",
        "target.cluster.alias": "dst",
        "source.cluster.bootstrap.servers": source,
        "target.cluster.bootstrap.servers": target,
        "replication.factor": "1",
        "topics": "earthquakes",
    })
}

/// Documents in the index; 0 while there is none.
pub(crate) async fn count(search: &Rest) -> usize {
    search.try_get("/src.earthquakes/_refresh").await;
    let answer = search.try_get("/src.earthquakes/_count").await;
    let count = answer.filter(|answer| answer.is_good()).and_then(|answer| answer.body["count"].as_u64());
    count.map_or(0, |count| usize::try_from(count).expect("a count"))
}
