//! The clock of a copy: from the first record downstream to the last.
//!
//! Picture: a copy is looked at again and again; a [`Look`] is how many records it has, and what processes have taken until
//! then. The rate is taken between the first look that sees a record and the first that sees all ([`Clock`]); records that the
//! first look saw do not count for it, because nobody knows when they came. So the start of a link takes no time here. Its
//! processor time is that of the worker from the making of the connector on, for all records: what a worker has read before the
//! first record is downstream is not for free. Bytes are those of record batches as stored upstream.
//!
//! Invariants: a copy that stands still, or that ends up with other than as many records as the source, is an error.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::maker::{Maker, copy_name};
use super::site::{SOURCE_TOPIC, Site, Stored};
use crate::proc;

/// Between two looks: little against the seconds of a run, and a request to the target each.
const LOOK_EACH: Duration = Duration::from_millis(10);
/// A copy without one more record for so long has failed.
const STILL_MAX: Duration = Duration::from_secs(60);

/// Processor seconds so far.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    worker: f64,
    source: f64,
    target: f64,
    machine: f64,
}

#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    records: u64,
    used: Used,
}

/// One copy, from its first record to its last.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Copied {
    pub seconds: f64,
    pub records: u64,
    /// Of record batches as stored upstream.
    pub bytes: u64,
    /// In these seconds.
    pub worker_cpu_seconds: f64,
    pub source_cpu_seconds: f64,
    pub target_cpu_seconds: f64,
    pub others_cpu_seconds: f64,
    /// Of the worker, from the making of the connector to the last record.
    pub worker_cpu_seconds_in_all: f64,
    /// The most that it had resident meanwhile.
    pub worker_peak_bytes: u64,
    /// All of the topic, on either side.
    pub stored_upstream: u64,
    pub stored_downstream: u64,
}

impl Copied {
    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds
    }

    pub fn cpu_per_gigabyte(&self) -> f64 {
        self.worker_cpu_seconds_in_all / (self.stored_upstream as f64 / 1e9)
    }

    pub fn records_per_second(&self) -> f64 {
        self.records as f64 / self.seconds
    }

    /// Processors that neither the worker nor the brokers had.
    pub fn others(&self) -> f64 {
        self.others_cpu_seconds / self.seconds
    }

    /// Who had how many processors.
    pub fn note(&self) -> String {
        let [worker, source, target] =
            [self.worker_cpu_seconds, self.source_cpu_seconds, self.target_cpu_seconds].map(|cpu| cpu / self.seconds);
        format!("worker {worker:.2} processors, source {source:.2}, target {target:.2}")
    }
}

/// Which looks count.
#[derive(Debug)]
struct Clock {
    wanted: u64,
    /// The last look that saw nothing.
    before: Option<Look>,
    first: Option<Look>,
}

impl Clock {
    fn new(wanted: u64) -> Self {
        Self { wanted, before: None, first: None }
    }

    /// Takes a look; the two that count when this is the last. A copy that came between two looks, as of a few records,
    /// counts from the look that saw nothing.
    fn look(&mut self, look: Look) -> Option<(Look, Look)> {
        match look.records {
            0 => self.before = Some(look),
            records if records < self.wanted => _ = self.first.get_or_insert(look),
            _ => return self.first.or(self.before).map(|first| (first, look)),
        }
        None
    }
}

/// Lets a worker copy the topic of the source once, and deletes the copy.
pub(super) async fn copy(
    site: &mut Site,
    maker: &mut Maker,
    run: usize,
    stored: Stored,
    more: &[(&str, &str)],
) -> Result<Copied> {
    let (alias, pid) = (maker.alias(run), maker.pid());
    let name = copy_name(&alias);
    proc::forget_peak(pid);
    let cpu = || proc::cpu_seconds(pid).with_context(|| format!("processor time of process {pid}"));
    let before = cpu()?;
    maker.begin(site, &alias, SOURCE_TOPIC, more).await?;
    let (first, last) = watch(site, maker, &alias, stored.records).await?;
    let worker_cpu_seconds_in_all = cpu()? - before;
    let worker_peak_bytes = proc::memory(pid).with_context(|| format!("memory of process {pid}"))?.peak;
    maker.check(&alias).await?;
    maker.end(&alias).await?;
    let found = site.records_in_copy(&name).await?.context("the copy is gone")?;
    if found != stored.records {
        bail!("{} records were to be copied, {found} are there", stored.records);
    }
    let stored_downstream = site.stored_in_copy(&name);
    site.forget(&name).await?;
    let counted = between(first, last, stored);
    Ok(Copied { worker_cpu_seconds_in_all, worker_peak_bytes, stored_downstream, ..counted })
}

async fn watch(site: &mut Site, maker: &mut Maker, alias: &str, wanted: u64) -> Result<(Look, Look)> {
    let name = copy_name(alias);
    let pids = [
        maker.pid(),
        *site.source.pids().first().context("a source")?,
        *site.target.pids().first().context("a target")?,
    ];
    let mut clock = Clock::new(wanted);
    let mut moved = (Instant::now(), 0);
    loop {
        let records = site.records_in_copy(&name).await?.unwrap_or(0);
        let look = Look { at: Instant::now(), records, used: used(pids) };
        if let Some(both) = clock.look(look) {
            return Ok(both);
        }
        if records >= wanted {
            bail!("all {wanted} records were there at the first look; copy more of them");
        }
        if records > moved.1 {
            moved = (Instant::now(), records);
        } else if moved.0.elapsed() > STILL_MAX {
            maker.check(alias).await?;
            bail!("{records} of {wanted} records are in {name}, and no more came for {STILL_MAX:?}");
        }
        tokio::time::sleep(LOOK_EACH).await;
    }
}

fn used([worker, source, target]: [u32; 3]) -> Used {
    let of = |pid| proc::cpu_seconds(pid).unwrap_or(0.0);
    let machine = proc::machine_busy_seconds().unwrap_or(0.0);
    Used { worker: of(worker), source: of(source), target: of(target), machine }
}

fn between(first: Look, last: Look, stored: Stored) -> Copied {
    let records = last.records.saturating_sub(first.records);
    let share = records as f64 / last.records.max(1) as f64;
    let (from, to) = (first.used, last.used);
    let (worker, source, target) = (to.worker - from.worker, to.source - from.source, to.target - from.target);
    Copied {
        seconds: (last.at - first.at).as_secs_f64(),
        records,
        bytes: (stored.bytes as f64 * share) as u64,
        worker_cpu_seconds: worker,
        source_cpu_seconds: source,
        target_cpu_seconds: target,
        others_cpu_seconds: (to.machine - from.machine - worker - source - target).max(0.0),
        worker_cpu_seconds_in_all: 0.0,
        worker_peak_bytes: 0,
        stored_upstream: stored.bytes,
        stored_downstream: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(start: Instant, millis: u64, records: u64, worker: f64) -> Look {
        let used = Used { worker, machine: worker + 1.0, ..Used::default() };
        Look { at: start + Duration::from_millis(millis), records, used }
    }

    #[test]
    fn what_the_first_look_saw_is_not_counted() {
        let start = Instant::now();
        let mut clock = Clock::new(100);
        let looks = [look(start, 0, 0, 5.0), look(start, 10, 20, 6.0), look(start, 500, 60, 7.0)];
        assert!(looks.into_iter().all(|look| clock.look(look).is_none()));
        let (first, last) = clock.look(look(start, 1_010, 100, 8.0)).expect("all records");
        let copied = between(first, last, Stored { records: 100, bytes: 1_000 });
        assert_eq!((copied.seconds, copied.records, copied.bytes), (1.0, 80, 800));
        assert_eq!((copied.worker_cpu_seconds, copied.others_cpu_seconds), (2.0, 0.0));
    }

    #[test]
    fn a_copy_that_came_between_two_looks_counts_from_the_one_that_saw_nothing() {
        let start = Instant::now();
        let mut clock = Clock::new(100);
        assert!(clock.look(look(start, 0, 0, 0.0)).is_none());
        assert!(clock.look(look(start, 10, 0, 0.0)).is_none());
        let (first, last) = clock.look(look(start, 20, 100, 0.1)).expect("all records");
        let copied = between(first, last, Stored { records: 100, bytes: 1_000 });
        assert_eq!((copied.seconds, copied.bytes), (0.01, 1_000));
    }

    #[test]
    fn a_copy_that_nobody_saw_begin_has_no_time() {
        assert!(Clock::new(100).look(look(Instant::now(), 0, 100, 0.0)).is_none());
    }
}
