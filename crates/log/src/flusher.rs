//! Flushes the logs of one directory, so that nobody who appends has to.
//!
//! Picture: two lanes, each a thread that comes with the first request. The *urgent* lane serves logs whose producers wait
//! for the disk: it takes all that wait, flushes them one after the other, and meanwhile the next ones gather (group
//! commit). The *background* lane follows what the page cache holds: when the logs of the directory together have
//! appended more than `lag` bytes since their flushes, it has the kernel's own threads write the file system (`syncfs`),
//! which they would do anyway some seconds later, and then knows that all logs are on the disk up to where they ended
//! before. So a start after a crash has a bounded number of bytes to check, however many logs there are.
//!
//! ```text
//!   append ─▶ urgent(log) ─▶ [a b c] ─▶ flush a, b, c ─▶ each tells who waits for it
//!   append ─▶ note(log) ─▶ {a, b, ..} over lag? ─▶ begin a, b, .. ─▶ syncfs ─▶ end a, b, ..
//! ```
//! Invariants: a log stands in a lane at most once, so both are bounded by the number of logs. What is appended while its
//! log is being flushed makes it stand there again. A log that was closed or dropped is passed over. A lane outlives what
//! panics in it: a log whose flush did is told, so that nobody waits for it, and the others go on; when it is nobody's own
//! flush, the directory has failed.
//!
//! Not here: what a flush does and what follows when it fails (`partition_log::flush`).

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::Disk;

/// Between two calls after a round: each writes a file and waits for it.
const ROUND_PAUSE: Duration = Duration::from_secs(1);

/// A log that can be flushed. What became of it is its own business.
pub trait Flush: Send + Sync {
    /// Waits until all that was appended before the call is on the disk. The log does not stand in the urgent lane any more.
    fn flush(&self);
    /// The whole file system is about to be flushed. The log is not noted any more.
    fn begin(&self);
    /// It was flushed: what was there at [`Flush::begin`] is on the disk.
    fn end(&self);
    /// One of the above panicked: what of the log is on the disk is not known, and it can be used no more. Who waits for a
    /// flush of it hears of that.
    fn panicked(&self, cause: &str);
}

/// Flushes the logs of one directory.
pub struct Flusher {
    shared: Arc<Shared>,
    threads: Mutex<Threads>,
}

#[derive(Default)]
struct Threads {
    urgent: Option<JoinHandle<()>>,
    background: Option<JoinHandle<()>>,
}

struct Shared {
    disk: Arc<Disk>,
    /// Bytes that may be unflushed before the background lane begins.
    lag: u64,
    urgent: Waiting,
    background: Waiting,
    after_round: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Waiting {
    queue: Mutex<Queue>,
    bell: Condvar,
}

#[derive(Default)]
struct Queue {
    logs: Vec<Weak<dyn Flush>>,
    /// The background lane is to begin.
    due: bool,
    stopped: bool,
}

impl Queue {
    /// Logs that are gone do not gather here.
    fn push(&mut self, log: Weak<dyn Flush>) {
        if self.logs.len() == self.logs.capacity() {
            self.logs.retain(|log| log.strong_count() > 0);
        }
        self.logs.push(log);
    }
}

impl Flusher {
    /// Lets the logs of a directory have `lag` unflushed bytes together. `after_round` is called on the background thread
    /// when `lag` bytes were flushed, by whichever lane, for a checkpoint of what is on the disk now; once a second at most.
    pub fn new(disk: Arc<Disk>, lag: u64, after_round: impl Fn() + Send + Sync + 'static) -> Flusher {
        let after_round = Box::new(after_round);
        let shared = Shared { disk, lag, urgent: Waiting::default(), background: Waiting::default(), after_round };
        Flusher { shared: Arc::new(shared), threads: Mutex::default() }
    }

    /// Somebody waits for this log to be flushed. It must not stand in the lane already.
    pub fn urgent(&self, log: Weak<dyn Flush>) {
        self.shared.urgent.queue.lock().push(log);
        self.shared.urgent.bell.notify_one();
        let mut threads = self.threads.lock();
        if threads.urgent.is_none() {
            threads.urgent = spawn("flush-ack", &self.shared, Shared::serve_urgent);
        }
    }

    /// This log has unflushed bytes from now on. It must not be noted already.
    pub fn note(&self, log: Weak<dyn Flush>) {
        self.shared.background.queue.lock().push(log);
    }

    /// Something was appended: begins to flush when it is too much.
    pub fn follow(&self) {
        let Shared { disk, lag, .. } = &*self.shared;
        if disk.unflushed() <= *lag && disk.flushed() <= *lag {
            return;
        }
        let mut queue = self.shared.background.queue.lock();
        if std::mem::replace(&mut queue.due, true) {
            return;
        }
        drop(queue);
        self.shared.background.bell.notify_one();
        let mut threads = self.threads.lock();
        if threads.background.is_none() {
            threads.background = spawn("flush", &self.shared, Shared::serve_background);
        }
    }

    /// Ends both lanes when they are done with what they do now.
    pub fn stop(&self) {
        for lane in [&self.shared.urgent, &self.shared.background] {
            lane.queue.lock().stopped = true;
            lane.bell.notify_one();
        }
        let Threads { urgent, background } = std::mem::take(&mut *self.threads.lock());
        for thread in [urgent, background].into_iter().flatten() {
            if thread.join().is_err() {
                tracing::error!(dir = %self.shared.disk.path().display(), "a thread that flushes logs panicked");
            }
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(name: &str, shared: &Arc<Shared>, serve: fn(&Shared)) -> Option<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(move || serve(&shared));
    spawned.map_err(|error| tracing::error!(%error, "cannot start a thread that flushes logs")).ok()
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text")
}

impl Shared {
    fn serve_urgent(&self) {
        loop {
            let waiting = {
                let mut queue = self.urgent.queue.lock();
                while queue.logs.is_empty() && !queue.stopped {
                    self.urgent.bell.wait(&mut queue);
                }
                if queue.stopped {
                    return;
                }
                std::mem::take(&mut queue.logs)
            };
            waiting.iter().filter_map(Weak::upgrade).for_each(|log| self.guard(&*log, || log.flush()));
        }
    }

    fn serve_background(&self) {
        let mut told: Option<Instant> = None;
        let mut owes = false;
        while let Some(noted) = self.wait_until_due(owes) {
            self.flush_all(&noted);
            owes = told.is_some_and(|told| told.elapsed() < ROUND_PAUSE);
            if !owes {
                self.disk.forget_flushed();
                self.or_fail("telling how far logs are on the disk", || (self.after_round)());
                told = Some(Instant::now());
            }
        }
    }

    /// The noted logs when it is time for a round, `None` at the end. Who owes word of the last round waits only so long.
    fn wait_until_due(&self, owes: bool) -> Option<Vec<Weak<dyn Flush>>> {
        let mut queue = self.background.queue.lock();
        while !queue.due && !queue.stopped {
            match owes {
                true if self.background.bell.wait_for(&mut queue, ROUND_PAUSE).timed_out() => break,
                true => {}
                false => self.background.bell.wait(&mut queue),
            }
        }
        queue.due = false;
        (!queue.stopped).then(|| std::mem::take(&mut queue.logs))
    }

    fn flush_all(&self, noted: &[Weak<dyn Flush>]) {
        let logs: Vec<_> = noted.iter().filter_map(Weak::upgrade).collect();
        if logs.is_empty() {
            return;
        }
        logs.iter().for_each(|log| self.guard(&**log, || log.begin()));
        let mut is_flushed = false;
        self.or_fail("flushing the file system", || is_flushed = self.disk.flush_all().is_ok());
        if is_flushed {
            logs.iter().for_each(|log| self.guard(&**log, || log.end()));
        }
    }

    /// A panic here costs the log and no other.
    fn guard(&self, log: &dyn Flush, work: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            let cause = format!("flushing it panicked: {}", text_of(&*panic));
            self.or_fail("ending the use of a log whose flush panicked", || log.panicked(&cause));
        }
    }

    /// A panic here costs the directory.
    fn or_fail(&self, doing: &str, work: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            self.disk.fail(&format!("{doing} panicked: {}", text_of(&*panic)));
        }
    }
}

#[cfg(test)]
mod tests;
