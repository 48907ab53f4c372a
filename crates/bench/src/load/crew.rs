//! Threads that work side by side while a meter runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;

use anyhow::{Result, bail};

use super::{Meter, Took};

/// Runs all jobs at once, each on a thread of its own, and reads the meter while the threads are still there, so that it
/// sees what each of them took. What jobs give back is kept until then.
pub(super) fn together<T: Send>(
    name: &str,
    jobs: Vec<impl FnOnce() -> Result<T> + Send>,
    brokers: &[u32],
) -> Result<(Vec<T>, Took)> {
    let gate = Barrier::new(jobs.len() + 1);
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (index, job) in jobs.into_iter().enumerate() {
            let gate = &gate;
            let work = move || {
                gate.wait(); // all threads are there
                // One that panics must reach the gate, too.
                let done =
                    catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|_| bail!("a thread of the load panicked"));
                gate.wait(); // all jobs are done
                gate.wait(); // the meter was read
                done
            };
            // Without a thread the others would wait for ever.
            let thread = std::thread::Builder::new().name(format!("{name}-{index}")).spawn_scoped(scope, work);
            threads.push(thread.unwrap_or_else(|error| panic!("no thread for a load: {error}")));
        }
        let meter = Meter::start(brokers);
        gate.wait();
        gate.wait();
        let took = meter.stop();
        gate.wait();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<T>>| match thread.join() {
            Ok(done) => done,
            Err(_) => bail!("a thread of the load panicked"),
        };
        Ok((threads.into_iter().map(join).collect::<Result<_>>()?, took))
    })
}
