//! What all clients of this process send and receive, for metrics.
//!
//! Picture: a few numbers that every client of the process adds to. librdkafka tells its own every [`INTERVAL_MS`]; our
//! raw connections add at once. A raw connection carries any kind of request, so its bytes are counted by what is asked:
//! answers to Fetch for consumers, Produce requests for producers.
//!
//! Invariants: adding is one atomic addition per request or per report of a client; a client that ends takes its
//! connections out of the count.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use kafka_protocol::messages::ApiKey;
use parking_lot::Mutex;
use rdkafka::statistics::Statistics;

/// How often librdkafka reports, in milliseconds. A report is some kilobytes of JSON.
pub(crate) const INTERVAL_MS: &str = "5000";

/// The state of a broker that librdkafka is connected to.
const UP: &str = "UP";

#[derive(Default)]
struct Totals {
    consumer_connections: AtomicI64,
    producer_connections: AtomicI64,
    raw_connections: AtomicI64,
    consumer_bytes_in: AtomicU64,
    producer_bytes_out: AtomicU64,
}

static TOTALS: Totals = Totals {
    consumer_connections: AtomicI64::new(0),
    producer_connections: AtomicI64::new(0),
    raw_connections: AtomicI64::new(0),
    consumer_bytes_in: AtomicU64::new(0),
    producer_bytes_out: AtomicU64::new(0),
};

/// What it comes to at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Open connections of consumers and of producers of librdkafka.
    pub consumer_connections: i64,
    pub producer_connections: i64,
    /// Open raw connections: for administration, and for whole batches either way.
    pub raw_connections: i64,
    /// Bytes that brokers sent to consumers.
    pub consumer_bytes_in: u64,
    /// Bytes that producers sent to brokers.
    pub producer_bytes_out: u64,
}

/// What all clients of this process have come to.
pub fn traffic() -> Traffic {
    Traffic {
        consumer_connections: TOTALS.consumer_connections.load(Ordering::Relaxed),
        producer_connections: TOTALS.producer_connections.load(Ordering::Relaxed),
        raw_connections: TOTALS.raw_connections.load(Ordering::Relaxed),
        consumer_bytes_in: TOTALS.consumer_bytes_in.load(Ordering::Relaxed),
        producer_bytes_out: TOTALS.producer_bytes_out.load(Ordering::Relaxed),
    }
}

/// A raw request was sent.
pub(crate) fn asked(api_key: i16, bytes: usize) {
    if api_key == ApiKey::Produce as i16 {
        TOTALS.producer_bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// The answer to a raw request came.
pub(crate) fn answered(api_key: i16, bytes: usize) {
    if api_key == ApiKey::Fetch as i16 {
        TOTALS.consumer_bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// An open raw connection.
#[derive(Debug)]
pub(crate) struct OpenConnection;

impl OpenConnection {
    pub(crate) fn new() -> OpenConnection {
        TOTALS.raw_connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        TOTALS.raw_connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a client of librdkafka said last.
#[derive(Debug, Default)]
pub(crate) struct Reported(Mutex<Report>);

#[derive(Clone, Copy, Debug, Default)]
struct Report {
    produces: bool,
    connections: i64,
    bytes: u64,
}

impl Reported {
    pub(crate) fn take(&self, statistics: &Statistics) {
        let produces = statistics.client_type == "producer";
        let connections = statistics.brokers.values().filter(|broker| broker.state == UP).count() as i64;
        let bytes = if produces { statistics.tx_bytes } else { statistics.rx_bytes };
        self.update(Report { produces, connections, bytes: u64::try_from(bytes).unwrap_or(0) });
    }

    fn update(&self, now: Report) {
        let mut last = self.0.lock();
        let (connections, bytes) = match now.produces {
            true => (&TOTALS.producer_connections, &TOTALS.producer_bytes_out),
            false => (&TOTALS.consumer_connections, &TOTALS.consumer_bytes_in),
        };
        connections.fetch_add(now.connections - last.connections, Ordering::Relaxed);
        bytes.fetch_add(now.bytes.saturating_sub(last.bytes), Ordering::Relaxed);
        *last = now;
    }
}

impl Drop for Reported {
    fn drop(&mut self) {
        let last = *self.0.lock();
        self.update(Report { connections: 0, ..last });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The only test that speaks of consumers: the totals belong to the whole process.
    #[test]
    fn reports_add_up_and_connections_end_with_their_client() {
        let before = traffic();
        let client = Reported::default();
        client.update(Report { produces: false, connections: 2, bytes: 100 });
        client.update(Report { produces: false, connections: 3, bytes: 250 });
        let during = traffic();
        assert_eq!(during.consumer_connections - before.consumer_connections, 3);
        drop(client);
        let after = traffic();
        assert_eq!(after.consumer_connections, before.consumer_connections);
        assert!(after.consumer_bytes_in - before.consumer_bytes_in >= 250);
    }
}
