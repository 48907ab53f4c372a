//! How busy this process and its disk are, under the names that boards of Kafka read.
//!
//! Picture: Kafka has threads for the network and threads for requests, and shows how idle each kind is. Here one pool of
//! threads does both, so both names show the same number: the share of the last minute in which the threads of the runtime
//! had nothing to do.
//!
//! Invariants: nothing is counted along the way; what the system does not tell is not shown.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Gauge;
use twinstream_telemetry::{Metrics, Reading};

use crate::context::Broker;

const INTERVAL: Duration = Duration::from_secs(2);
const LOOK_BACK: Duration = Duration::from_secs(60);

/// Kafka's two kinds of idle threads, which are one here.
#[derive(Clone, Debug)]
pub(crate) struct Idleness {
    handlers: Gauge,
    network: Gauge,
}

impl Idleness {
    pub(super) fn new(registry: &Metrics) -> Self {
        let handlers = registry.float_gauge(
            "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent",
            "Share of the last minute, 0 to 1, in which the threads that serve requests had nothing to do.",
        );
        let network = registry.float_gauge(
            "kafka_network_socketserver_networkprocessoravgidle_percent",
            "The same as requesthandleravgidle: the threads that serve requests are those that read and send.",
        );
        Self { handlers, network }
    }

    fn set(&self, idle: f64) {
        self.handlers.set(idle);
        self.network.set(idle);
    }
}

/// Keeps [`Idleness`] true until the broker stops.
pub(crate) async fn watch_load(broker: Arc<Broker>) {
    let runtime = tokio::runtime::Handle::current().metrics();
    let workers = runtime.num_workers();
    let busy = || (0..workers).map(|worker| runtime.worker_total_busy_duration(worker)).sum::<Duration>();
    let mut samples = VecDeque::from([(Instant::now(), busy())]);
    broker.metrics.idleness.set(1.0);
    loop {
        tokio::select! {
            () = broker.shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        let now = (Instant::now(), busy());
        if let Some(first) = samples.front() {
            broker.metrics.idleness.set(idle_between(*first, now, workers));
        }
        samples.push_back(now);
        while samples.front().is_some_and(|(at, _)| now.0.duration_since(*at) > LOOK_BACK) {
            samples.pop_front();
        }
    }
}

fn idle_between((from, busy_before): (Instant, Duration), (to, busy_now): (Instant, Duration), workers: usize) -> f64 {
    let worked = busy_now.saturating_sub(busy_before).as_secs_f64();
    let had = to.duration_since(from).as_secs_f64() * workers as f64;
    if had > 0.0 { (1.0 - worked / had).clamp(0.0, 1.0) } else { 1.0 }
}

/// Bytes that this process made the disk read and write, as the kernel counts them and as Kafka shows them on Linux.
pub(super) fn declare_disk(registry: &Metrics) {
    const NAMES: [(&str, &str, &str); 2] = [
        (
            "kafka_server_kafkaserver_linux_disk_read_bytes",
            "Bytes that this process had the disk read since its start, without what the page cache had.",
            "read_bytes:",
        ),
        (
            "kafka_server_kafkaserver_linux_disk_write_bytes",
            "Bytes that this process had written to the disk since its start, as they are handed to the page cache.",
            "write_bytes:",
        ),
    ];
    for (name, help, field) in NAMES {
        registry.declare(Reading::gauge(name, help, move || {
            let told = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
            field_of(&told, field).unwrap_or(0.0)
        }));
    }
}

fn field_of(told: &str, field: &str) -> Option<f64> {
    told.lines().find_map(|line| line.strip_prefix(field)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_is_what_the_threads_did_not_work() {
        let begin = (Instant::now(), Duration::from_secs(5));
        let later = (begin.0 + Duration::from_secs(10), Duration::from_secs(10));
        assert_eq!(idle_between(begin, later, 2), 0.75);
        assert_eq!(idle_between(begin, begin, 2), 1.0);
    }

    #[test]
    fn bytes_of_the_disk_are_not_those_of_system_calls() {
        let told = "rchar: 1\nwchar: 2\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 7\n";
        assert_eq!(field_of(told, "write_bytes:"), Some(8192.0));
        assert_eq!(field_of(told, "read_bytes:"), Some(4096.0));
    }
}
