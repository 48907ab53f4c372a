//! Reads that wait for a disk, off the runtime and few at a time.
//!
//! Picture: the runtime's threads serve everybody, so none of them may wait for a disk. Records that are not in memory,
//! or that this process has not checked yet, are brought in by a job on a thread of its own; the request waits for its
//! job and is nothing but a task meanwhile. Jobs are small, and each stands in line anew for the next piece: one consumer
//! that reads a week of records takes its turns with all others.
//!
//! Invariants: at most [`JOBS_PER_CORE`] jobs per core run, those of followers and consumers together; who waits stands in
//! a fair line and has at most one job; a job that nobody waits for is begun only if there is no line, and not twice for
//! the same records.
//!
//! Not here: what a job reads (`handlers::fetch::cold`), how bytes are checked (`twinstream_log`).

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge};
use tokio::sync::Semaphore;
use twinstream_model::{Offset, PartitionIndex, TopicId};
use twinstream_telemetry::Metrics;

/// A disk has its queue for more than one reader, and a job that checks what it read is busy with that half the time.
const JOBS_PER_CORE: usize = 2;

/// Where somebody reads.
pub(crate) type Spot = (TopicId, PartitionIndex, Offset);

pub(crate) struct ColdReads {
    permits: Arc<Semaphore>,
    /// What jobs are reading that nobody waits for.
    aside: Arc<Mutex<HashSet<Spot>>>,
    jobs: IntCounter,
    waiting: IntGauge,
}

impl ColdReads {
    pub(crate) fn new(registry: &Metrics) -> ColdReads {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        ColdReads {
            permits: Arc::new(Semaphore::new(cores * JOBS_PER_CORE)),
            aside: Arc::default(),
            jobs: registry.counter(
                "twinstream_broker_cold_reads_total",
                "Jobs that brought records from the disk, or checked them for the first time, before they were sent.",
            ),
            waiting: registry
                .gauge("twinstream_broker_cold_reads_waiting", "Fetch requests that wait for records from the disk."),
        }
    }

    /// Runs a job when it is its turn and waits for it; `None` if it panicked.
    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let _waits = Waits::of(&self.waiting);
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the line is never closed");
        self.jobs.inc();
        let done = tokio::task::spawn_blocking(move || {
            let done = job();
            drop(permit);
            done
        });
        match done.await {
            Ok(done) => Some(done),
            Err(error) => {
                tracing::error!(%error, "reading records from the disk panicked");
                None
            }
        }
    }

    /// Whether a job that nobody waits for reads here already.
    pub(crate) fn is_reading_aside(&self, spot: &Spot) -> bool {
        self.aside.lock().contains(spot)
    }

    /// Runs a job that nobody waits for. False, and nothing is done, if there is no room.
    pub(crate) fn run_aside(&self, spots: Vec<Spot>, job: impl FnOnce() + Send + 'static) -> bool {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return false };
        self.jobs.inc();
        let aside = Aside::begin(&self.aside, spots);
        drop(tokio::task::spawn_blocking(move || {
            job();
            drop((aside, permit));
        }));
        true
    }
}

/// Names what a job reads, until it ends.
struct Aside {
    all: Arc<Mutex<HashSet<Spot>>>,
    own: Vec<Spot>,
}

impl Aside {
    fn begin(all: &Arc<Mutex<HashSet<Spot>>>, own: Vec<Spot>) -> Aside {
        all.lock().extend(&own);
        Aside { all: Arc::clone(all), own }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        for spot in &self.own {
            all.remove(spot);
        }
    }
}

/// Counts one who waits, however the wait ends.
struct Waits<'a>(&'a IntGauge);

impl Waits<'_> {
    fn of(gauge: &IntGauge) -> Waits<'_> {
        gauge.inc();
        Waits(gauge)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests;
