use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;

use super::*;
use crate::directory::Unflushed;

/// A log that counts its flushes and may be held up in the middle of one.
struct Log {
    unflushed: Unflushed,
    flushes: AtomicUsize,
    at_flush: Mutex<mpsc::SyncSender<()>>,
    gate: Arc<Gate>,
    order: Arc<AtomicU64>,
    turn: AtomicU64,
    panics: AtomicBool,
    panicked: Mutex<Option<String>>,
}

#[derive(Default)]
struct Gate {
    shut: Mutex<bool>,
    bell: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut shut = self.shut.lock();
        while *shut {
            self.bell.wait(&mut shut);
        }
    }

    fn set(&self, shut: bool) {
        *self.shut.lock() = shut;
        self.bell.notify_all();
    }
}

impl Flush for Log {
    fn begin(&self) {
        assert!(!self.panics.load(Ordering::Acquire), "begin of a broken log");
        self.turn.store(self.order.fetch_add(1, Ordering::AcqRel) + 1, Ordering::Release);
        self.unflushed.take();
    }

    fn end(&self) {
        self.flushes.fetch_add(1, Ordering::AcqRel);
    }

    fn panicked(&self, cause: &str) {
        *self.panicked.lock() = Some(cause.to_owned());
    }

    fn flush(&self) {
        assert!(!self.panics.load(Ordering::Acquire), "flush of a broken log");
        self.turn.store(self.order.fetch_add(1, Ordering::AcqRel) + 1, Ordering::Release);
        self.at_flush.lock().send(()).unwrap();
        self.gate.pass();
        self.unflushed.take();
        self.flushes.fetch_add(1, Ordering::AcqRel);
    }
}

struct Fixture {
    flusher: Flusher,
    disk: Arc<Disk>,
    gate: Arc<Gate>,
    order: Arc<AtomicU64>,
    flushed: mpsc::Receiver<()>,
    at_flush: mpsc::SyncSender<()>,
    rounds: mpsc::Receiver<()>,
}

impl Fixture {
    fn new(lag: u64) -> Fixture {
        let disk = Disk::new(Path::new("/tmp"), 0);
        let (at_flush, flushed) = mpsc::sync_channel(64);
        let (round, rounds) = mpsc::sync_channel(64);
        let round = Mutex::new(round);
        let after = move || round.lock().send(()).unwrap_or_default();
        let flusher = Flusher::new(Arc::clone(&disk), lag, after);
        Fixture { flusher, disk, gate: Arc::default(), order: Arc::default(), flushed, at_flush, rounds }
    }

    fn log(&self) -> Arc<Log> {
        Arc::new(Log {
            unflushed: Unflushed::new(&self.disk, 0),
            flushes: AtomicUsize::new(0),
            at_flush: Mutex::new(self.at_flush.clone()),
            gate: Arc::clone(&self.gate),
            order: Arc::clone(&self.order),
            turn: AtomicU64::new(0),
            panics: AtomicBool::new(false),
            panicked: Mutex::default(),
        })
    }
}

fn weak(log: &Arc<Log>) -> Weak<dyn Flush> {
    Arc::downgrade(log) as Weak<dyn Flush>
}

#[test]
fn logs_that_come_during_a_flush_are_flushed_in_the_next_round() {
    let fixture = Fixture::new(u64::MAX);
    let (one, other) = (fixture.log(), fixture.log());
    fixture.gate.set(true);
    fixture.flusher.urgent(weak(&one));
    fixture.flushed.recv().unwrap();
    // The first is in its flush: both wait for the next.
    fixture.flusher.urgent(weak(&one));
    fixture.flusher.urgent(weak(&other));
    assert!(fixture.flushed.try_recv().is_err());
    fixture.gate.set(false);
    fixture.flushed.recv().unwrap();
    fixture.flushed.recv().unwrap();
    fixture.flusher.stop();
    assert_eq!((one.flushes.load(Ordering::Acquire), other.flushes.load(Ordering::Acquire)), (2, 1));
}

#[test]
fn background_flushes_all_that_were_noted_when_it_is_too_much() {
    let fixture = Fixture::new(100);
    let logs = [fixture.log(), fixture.log()];
    for (log, bytes) in logs.iter().zip([30, 80]) {
        fixture.flusher.note(weak(log));
        log.unflushed.add(bytes);
    }
    fixture.flusher.follow();
    fixture.rounds.recv().unwrap();
    assert_eq!(logs.each_ref().map(|log| log.flushes.load(Ordering::Acquire)), [1, 1]);
    assert_eq!(fixture.disk.unflushed(), 0);
}

/// Longer than any flush here takes.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn log_whose_flush_panics_is_told_and_the_others_go_on() {
    let fixture = Fixture::new(u64::MAX);
    let (broken, other) = (fixture.log(), fixture.log());
    broken.panics.store(true, Ordering::Release);
    fixture.flusher.urgent(weak(&broken));
    for round in 1..=2 {
        fixture.flusher.urgent(weak(&other));
        fixture.flushed.recv_timeout(PATIENCE).expect("the lane goes on");
        assert_eq!(fixture.flushed.try_recv(), Err(mpsc::TryRecvError::Empty), "round {round}");
    }
    fixture.flusher.stop();
    assert_eq!(broken.panicked.lock().as_deref(), Some("flushing it panicked: flush of a broken log"));
    assert_eq!(other.flushes.load(Ordering::Acquire), 2);
    assert_eq!((other.panicked.lock().clone(), fixture.disk.failure()), (None, None));
}

#[test]
fn log_that_panics_in_a_background_flush_costs_no_other() {
    let fixture = Fixture::new(100);
    let (broken, other) = (fixture.log(), fixture.log());
    broken.panics.store(true, Ordering::Release);
    for log in [&broken, &other] {
        fixture.flusher.note(weak(log));
        log.unflushed.add(80);
    }
    fixture.flusher.follow();
    fixture.rounds.recv_timeout(PATIENCE).expect("a round ends");
    assert!(broken.panicked.lock().is_some());
    assert_eq!((other.flushes.load(Ordering::Acquire), fixture.disk.failure()), (1, None));
}

#[test]
fn panic_that_is_of_no_log_fails_the_directory() {
    let disk = Disk::new(Path::new("/tmp"), 0);
    let (failed, fails) = mpsc::sync_channel(1);
    let failed = Mutex::new(failed);
    disk.on_failure(move |cause| failed.lock().send(cause.to_owned()).unwrap_or_default());
    let flusher = Flusher::new(Arc::clone(&disk), 0, || panic!("no checkpoint"));
    let noted = Unflushed::new(&disk, 10);
    flusher.follow();
    let cause = fails.recv_timeout(PATIENCE).expect("the directory fails");
    assert!(cause.ends_with("panicked: no checkpoint"), "{cause}");
    drop(noted);
}

#[test]
fn file_system_that_cannot_be_flushed_has_failed() {
    let disk = Disk::new(Path::new("/nowhere"), 0);
    assert!(disk.flush_all().is_err());
    assert!(disk.failure().is_some());
}

#[test]
fn below_the_lag_nothing_is_flushed() {
    let fixture = Fixture::new(100);
    let log = fixture.log();
    fixture.flusher.note(weak(&log));
    log.unflushed.add(100);
    fixture.flusher.follow();
    fixture.flusher.stop();
    assert_eq!(log.flushes.load(Ordering::Acquire), 0);
}

#[test]
fn logs_that_are_gone_do_not_gather() {
    let fixture = Fixture::new(u64::MAX);
    for _ in 0..10_000 {
        fixture.flusher.note(weak(&fixture.log()));
    }
    assert!(fixture.flusher.shared.background.queue.lock().logs.len() < 100);
}
