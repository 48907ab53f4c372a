//! The decoders of this crate as functions of bytes, for the fuzz targets in `crates/fuzz`. No part of its face.

use twinstream_connect_api::RawConfig;

use crate::dedicated::{Known, plan};
use crate::offset_map::stored;
use crate::syncs::formats::{Checkpoint, OffsetSync};
use crate::syncs::read_chunk;

/// Names of a worker's settings, as far as a file of flows is concerned.
const WORKER: [&str; 4] = ["group.id", "listeners", "offset.flush.interval.ms", "session.timeout.ms"];

/// A record of one of the topics that a link keeps: the offset map, offset-syncs, checkpoints.
pub fn stored_record(topic: u8, key: &[u8], value: Option<&[u8]>) {
    match topic % 3 {
        0 => {
            let Ok((partition, first, runs)) = read_chunk(key, value) else { return };
            let Some(runs) = runs else { return };
            assert!(runs.len() <= value.map_or(0, <[u8]>::len), "a run takes a byte at least");
            let again = read_chunk(&stored::key(&partition, first), Some(&stored::value(&runs)));
            assert_eq!(again, Ok((partition, first, Some(runs))), "what was read is written as such");
        }
        1 => {
            let Ok(sync) = OffsetSync::read(key, value.unwrap_or_default()) else { return };
            assert_eq!(
                OffsetSync::read(&sync.key(), &sync.value()),
                Ok(sync.clone()),
                "what was read is written as such"
            );
        }
        _ => {
            let Ok(checkpoint) = Checkpoint::read(key, value.unwrap_or_default()) else { return };
            let again = Checkpoint::read(&checkpoint.key(), &checkpoint.value());
            assert_eq!(again, Ok(checkpoint), "what was read is written as such");
        }
    }
}

/// Names and values of a file of flows, as the properties of MirrorMaker's dedicated mode.
pub fn file_of_flows(pairs: &RawConfig) {
    let plugins = [crate::plugin(), crate::checkpoint::plugin(), crate::heartbeat::plugin()];
    let connectors = plugins.into_iter().map(|plugin| (plugin.class, plugin.config_def)).collect();
    match plan(pairs, &[], &Known { worker: WORKER.to_vec(), connectors }) {
        Ok(plan) => {
            assert!(plan.flows.iter().all(|flow| flow.source != flow.target), "a cluster mirrors itself");
            assert!(plan.flows.iter().all(|flow| !flow.connectors.is_empty()));
        }
        Err(error) => assert!(!error.problems.is_empty() && error.problems.iter().all(|line| !line.is_empty())),
    }
}
