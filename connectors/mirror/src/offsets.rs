//! Source partitions and offsets as the worker stores them: MirrorMaker 2's maps, so that either can go on where the
//! other stopped.
//!
//! `{"cluster": alias, "topic": name, "partition": n}` -> `{"offset": last copied}`. The next record to copy is one
//! beyond.

use serde_json::{Value, json};
use twinstream_connect_api::{OffsetMap, TaskError};
use twinstream_model::{Offset, TopicPartition};

pub(crate) fn source_partition(cluster: &str, partition: &TopicPartition) -> OffsetMap {
    object(json!({ "cluster": cluster, "partition": partition.partition.0, "topic": partition.topic.as_str() }))
}

/// For data up to and without `next`.
pub(crate) fn source_offset(next: Offset) -> OffsetMap {
    object(json!({ "offset": next.0 - 1 }))
}

/// Where to go on; `None` when nothing was copied yet.
pub(crate) fn next_of(partition: &TopicPartition, stored: Option<&OffsetMap>) -> Result<Option<Offset>, TaskError> {
    match stored.map(|stored| stored.get("offset")) {
        None | Some(None | Some(Value::Null)) => Ok(None),
        Some(Some(value)) => match value.as_i64().filter(|offset| *offset >= -1 && *offset < i64::MAX) {
            Some(offset) => Ok(Some(Offset(offset + 1))),
            None => Err(TaskError::fatal(format!(
                "stored offset of {partition} is {value}, which is no offset; delete the connector's offsets to start anew"
            ))),
        },
    }
}

fn object(value: Value) -> OffsetMap {
    match value {
        Value::Object(map) => map,
        _ => OffsetMap::new(),
    }
}
