//! One record a request, one request in flight on each connection, over plain sockets.
//!
//! See `lanes` for how the client goes round its connections. librdkafka would need three threads a connection and be the
//! limit itself.

use std::time::Duration;

use anyhow::{Context, Result};
use twinstream_model::PartitionIndex;

use super::lanes::{Lane, drive};
use super::topics::Topics;
use super::{Run, Target};
use crate::payload::{Content, Payloads};
use crate::wire::{Wire, now_ms, produce_frame};

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Debug)]
pub struct Requests {
    pub requests: u64,
    pub connections: usize,
    /// Connections are dealt out among so many threads.
    pub threads: usize,
    pub size: usize,
    pub acks: i16,
}

impl Requests {
    pub fn run(&self, target: &Target, brokers: &[u32]) -> Result<Run> {
        let leaders = Topics::connect(&target.settings)?.leaders(&target.topic, 1)?;
        let payloads = Payloads::new(Content::Random, self.size);
        let timestamp = now_ms();
        let mut lanes = Vec::new();
        for connection in 0..self.connections.max(1) {
            let index = connection % leaders.len();
            let partition = PartitionIndex(i32::try_from(index).context("number of partitions")?);
            let record = payloads.record(connection as u64);
            let frame = produce_frame(&target.topic, partition, self.acks, &[record], timestamp)?;
            let wire = Wire::until_acknowledged(&leaders[index], &frame, PAUSE, CONNECT_WITHIN)?;
            lanes.push(Lane::new(wire, frame, Wire::produced));
        }
        let (latencies, took) = drive(lanes, self.threads, self.requests, brokers)?;
        let records = latencies.len() as u64;
        let bytes = records * self.size as u64;
        Ok(Run::of_requests(records, bytes, took, latencies))
    }
}
