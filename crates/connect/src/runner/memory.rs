//! What all source tasks of the worker together may have on its way to Kafka.
//!
//! Picture: one number for the worker. Each task counts its own bytes into it and asks before each poll whether it may take
//! more: it may while its own bytes are less than what is still free. One busy task gets half of the whole, two get a third
//! each, `n` get a share of `1 / (n + 1)`, and idle tasks take nothing from anybody: the rule of dynamic thresholds by
//! which switches share their buffers.
//! Invariants: a task that holds nothing may always poll, so one slow target never stops the tasks of another; a task that
//! may not poll holds something, so an acknowledgement of its own wakes it and nobody else must. Beyond the bound there is
//! at most what one poll of each task brings.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::IntGauge;

/// The worker's part. Clones share it.
#[derive(Clone)]
pub(crate) struct Memory {
    max: usize,
    used: Arc<AtomicUsize>,
    gauge: IntGauge,
}

impl Memory {
    pub(crate) fn new(max: usize, gauge: IntGauge) -> Self {
        Self { max, used: Arc::new(AtomicUsize::new(0)), gauge }
    }

    pub(super) fn share(&self) -> Share {
        Share { memory: self.clone(), own: 0 }
    }
}

/// A task's part; what it still holds is free again when it is dropped.
pub(super) struct Share {
    memory: Memory,
    own: usize,
}

impl Share {
    pub(super) fn has_room(&self) -> bool {
        let used = self.memory.used.load(Ordering::Relaxed);
        self.own == 0 || self.own < self.memory.max.saturating_sub(used)
    }

    pub(super) fn take(&mut self, bytes: usize) {
        self.own += bytes;
        self.memory.used.fetch_add(bytes, Ordering::Relaxed);
        self.memory.gauge.add(bytes as i64);
    }

    /// Gives back what was taken, never more.
    pub(super) fn give_back(&mut self, bytes: usize) {
        let bytes = bytes.min(self.own);
        self.own -= bytes;
        self.memory.used.fetch_sub(bytes, Ordering::Relaxed);
        self.memory.gauge.sub(bytes as i64);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back(self.own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(max: usize) -> Memory {
        Memory::new(max, IntGauge::new("in_flight", "bytes").unwrap())
    }

    /// Takes byte by byte in turns until nobody has room.
    fn fill(shares: &mut [&mut Share]) {
        while shares.iter().any(|share| share.has_room()) {
            for share in shares.iter_mut().filter(|share| share.has_room()) {
                share.take(1);
            }
        }
    }

    #[test]
    fn busy_tasks_share_what_idle_ones_leave() {
        let memory = memory(1200);
        let (mut one, mut two, _idle) = (memory.share(), memory.share(), memory.share());
        fill(&mut [&mut one]);
        assert_eq!(one.own, 600);
        fill(&mut [&mut one, &mut two]);
        assert_eq!(two.own, 300, "the first keeps what it has");
        one.give_back(600);
        fill(&mut [&mut one, &mut two]);
        assert!(one.own.abs_diff(two.own) <= 150 && one.own + two.own <= 1200, "{} and {}", one.own, two.own);
    }

    #[test]
    fn a_task_that_holds_nothing_may_always_poll() {
        let memory = memory(100);
        let (mut greedy, mut other) = (memory.share(), memory.share());
        greedy.take(500);
        assert!(!greedy.has_room());
        assert!(other.has_room());
        other.take(1);
        assert!(!other.has_room());
    }

    #[test]
    fn an_ended_task_gives_back_everything() {
        let memory = memory(100);
        let mut ended = memory.share();
        ended.take(70);
        drop(ended);
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
        assert_eq!(memory.gauge.get(), 0);
        let mut next = memory.share();
        next.give_back(5);
        assert_eq!(memory.used.load(Ordering::Relaxed), 0, "nobody gives back what was not taken");
    }
}
