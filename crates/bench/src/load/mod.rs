//! One client process, one kind of load, one report.
//!
//! Picture: [`Target`] says where, [`produce`], [`fetch`], [`requests`], [`commits`], [`transactions`],
//! [`transactional`] and [`trickle`] say what, a [`Meter`] is read before and after. Connections are open and warm before
//! the meter starts, and everything is acknowledged or received before it stops. Threads block; the async runtime only
//! serves what is asked of the cluster around the load ([`topics`]).

pub mod commits; // offsets of groups, over plain sockets
pub(crate) mod coordinator; // where it is
mod crew; // threads that work side by side
pub mod fetch; // read partitions to their ends
mod lanes; // connections with one request in flight each
mod meter; // what a run takes
pub mod produce; // as many records as librdkafka can send
pub mod requests; // one record a request, over plain sockets
pub mod topics; // topics, partitions, offsets
pub mod transactional; // transactions with librdkafka, first protocol
pub mod transactions; // some records each, of many producers
pub mod trickle; // open loop, latency

use serde::{Deserialize, Serialize};
use twinstream_client::ClientSettings;
use twinstream_model::TopicName;

use crew::together;
pub use meter::{BrokerUse, ClientUse, MachineUse, Meter, Took};

use crate::stats::Latency;

/// Where a load goes.
#[derive(Clone, Debug)]
pub struct Target {
    pub settings: ClientSettings,
    pub topic: TopicName,
}

/// One run and what it took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Acknowledged or received.
    pub records: u64,
    /// Of their values, before compression.
    pub bytes: u64,
    pub took: Took,
    /// From when a record was due, or a request was sent, to its acknowledgement.
    pub acknowledged: Option<Latency>,
    /// From when a record was due to when a consumer had it.
    pub end_to_end: Option<Latency>,
    /// From when a record was acknowledged by one cluster to when a consumer had its copy from another one.
    pub relayed: Option<Latency>,
    /// From when a record was due to when the client came to send it: how late timer and machine are, without a broker.
    pub sent: Option<Latency>,
}

impl Run {
    /// A run of requests, each of which was timed to its answer.
    fn of_requests(records: u64, bytes: u64, took: Took, latencies: Vec<f64>) -> Self {
        let acknowledged = Latency::of(latencies);
        Self { records, bytes, took, acknowledged, end_to_end: None, relayed: None, sent: None }
    }

    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.took.seconds
    }

    pub fn records_per_second(&self) -> f64 {
        self.records as f64 / self.took.seconds
    }

    pub fn gigabytes(&self) -> f64 {
        self.bytes as f64 / 1e9
    }

    pub fn million_records(&self) -> f64 {
        self.records as f64 / 1e6
    }
}
