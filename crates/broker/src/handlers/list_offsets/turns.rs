//! Look-ups by time take turns.
//!
//! Picture: each reads files and may unpack a batch, so it runs on a thread where blocking is allowed; without a bound
//! requests of a few bytes could keep all of these threads and all cores busy.
//!
//! Invariants: at most [`TURNS_PER_CORE`] per core of this process run at once; who waits stands in a fair line, which is
//! as long as requests are let in. A request that goes away leaves its turn only when the work has ended.

use std::sync::{Arc, LazyLock};

use tokio::sync::Semaphore;

use crate::handlers::log_wire::blocking;

/// One may wait for the disk while another one unpacks.
const TURNS_PER_CORE: usize = 2;

pub(super) static TURNS: LazyLock<Turns> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Turns::new(cores * TURNS_PER_CORE)
});

pub(super) struct Turns {
    permits: Arc<Semaphore>,
}

impl Turns {
    fn new(at_once: usize) -> Turns {
        Turns { permits: Arc::new(Semaphore::new(at_once)) }
    }

    /// Does work that may block when it is its turn.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the line is never closed");
        let work = move || {
            let _permit = permit; // also given back if the work panics
            work()
        };
        blocking(work).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_more_than_the_bound_run_at_once_and_all_get_their_turn() {
        let turns = Arc::new(Turns::new(2));
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let pair = Arc::new(Barrier::new(2)); // each waits for another one, so that two do run at once
        let mut all = JoinSet::new();
        for _ in 0..10 {
            let (turns, running, most, pair) =
                (Arc::clone(&turns), Arc::clone(&running), Arc::clone(&most), Arc::clone(&pair));
            all.spawn(async move {
                let work = move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    pair.wait();
                    running.fetch_sub(1, Ordering::SeqCst);
                };
                turns.run(work).await;
            });
        }
        assert_eq!(all.join_all().await.len(), 10);
        assert_eq!(most.load(Ordering::SeqCst), 2);
        assert_eq!(turns.permits.available_permits(), 2);
    }

    #[tokio::test]
    async fn request_that_goes_away_keeps_its_turn_until_its_work_has_ended() {
        let turns = Arc::new(Turns::new(1));
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (end, may_end) = std::sync::mpsc::sync_channel::<()>(1);
        let gone = tokio::spawn({
            let turns = Arc::clone(&turns);
            let work = move || {
                begun.send(()).expect("the test waits");
                may_end.recv().is_ok()
            };
            async move { turns.run(work).await }
        });
        has_begun.await.expect("the work begins");
        gone.abort();
        assert!(gone.await.is_err());
        assert_eq!(turns.permits.available_permits(), 0);
        end.send(()).expect("the work waits");
        turns.run(|| ()).await;
    }
}
