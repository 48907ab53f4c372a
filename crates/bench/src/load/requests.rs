//! One record a request, one request in flight on each connection, over plain sockets.
//!
//! Picture: one thread goes round the connections; at each it waits for the answer and sends the next request. In the
//! steady state every connection has a request in flight, the client makes two system calls for each, and it waits only
//! where the broker has not answered yet. librdkafka would need three threads a connection and be the limit itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use twinstream_model::PartitionIndex;

use super::topics::Topics;
use super::{Run, Target, together};
use crate::payload::{Content, Payloads};
use crate::stats::Latency;
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

/// A connection with its one request.
struct Lane {
    wire: Wire,
    frame: Vec<u8>,
    sent: Instant,
}

impl Requests {
    pub fn run(&self, target: &Target, brokers: &[u32]) -> Result<Run> {
        let leaders = Topics::connect(&target.settings)?.leaders(&target.topic, 1)?;
        let payloads = Payloads::new(Content::Random, self.size);
        let timestamp = now_ms();
        let threads = self.threads.clamp(1, self.connections.max(1));
        let mut groups: Vec<Vec<Lane>> = (0..threads).map(|_| Vec::new()).collect();
        for connection in 0..self.connections.max(1) {
            let index = connection % leaders.len();
            let partition = PartitionIndex(i32::try_from(index).context("number of partitions")?);
            let record = payloads.record(connection as u64);
            let frame = produce_frame(&target.topic, partition, self.acks, &[record], timestamp)?;
            let wire = Wire::until_acknowledged(&leaders[index], &frame, PAUSE, CONNECT_WITHIN)?;
            let lane = Lane { wire, frame, sent: Instant::now() };
            groups[connection % threads].push(lane);
        }
        let share = self.requests / threads as u64;
        let jobs = groups.into_iter().map(|group| move || go_round(group, share)).collect();
        let (latencies, took) = together("request", jobs, brokers)?;
        let latencies: Vec<f64> = latencies.into_iter().flatten().collect();
        let records = latencies.len() as u64;
        let bytes = records * self.size as u64;
        Ok(Run { records, bytes, took, acknowledged: Latency::of(latencies), end_to_end: None, sent: None })
    }
}

/// Each round sends what is due and waits for what was sent in the round before.
fn go_round(mut lanes: Vec<Lane>, requests: u64) -> Result<Vec<f64>> {
    let mut latencies = Vec::with_capacity(usize::try_from(requests).unwrap_or(0));
    let count = lanes.len();
    for number in 0..requests as usize + count {
        let lane = &mut lanes[number % count];
        if number >= count {
            lane.wire.produced()?;
            latencies.push(lane.sent.elapsed().as_nanos() as f64 / 1_000.0);
        }
        if (number as u64) < requests {
            lane.sent = Instant::now();
            lane.wire.send(&lane.frame)?;
        }
    }
    Ok(latencies)
}
