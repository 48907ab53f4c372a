//! Records at a steady rate, and how long each took: to its acknowledgement, and to a consumer.
//!
//! Picture: one thread sends by a timetable ([`OpenLoop`]), one reads; both use librdkafka without linger. Each record
//! carries its number, and its latency is counted from when it was due. The reader may read a copy of the topic in another
//! cluster; what somebody between the two takes is counted from the acknowledgement of each record.

use std::io::Write as _;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use twinstream_client::bulk::{Acknowledged, BulkConsumer, BulkProducer, Tells};
use twinstream_model::{Offset, PartitionIndex};

use super::topics::Topics;
use super::{Meter, Run, Target};
use crate::payload::{Content, Payloads};
use crate::schedule::OpenLoop;
use crate::stats::Latency;

/// Memory for records that are sent from where they lie; bounds rate times duration times size.
const RECORDS_BYTES_MAX: usize = 1 << 30;
/// Sent before the clock starts, one after the other, so that connections are open and code paths warm.
const WARM: u32 = 200;
/// Numbers from here on are of warm-up records.
const WARM_FROM: u32 = u32::MAX - WARM;
const POLL: Duration = Duration::from_millis(100);
const FINISH_WITHIN: Duration = Duration::from_secs(60);
const NUMBER_BYTES: usize = 4;

#[derive(Clone, Debug)]
pub struct Trickle {
    pub per_second: f64,
    pub seconds: f64,
    pub size: usize,
    /// Whether a consumer reads along.
    pub consume: bool,
    /// Where it reads, if not where records are sent: a topic of as many partitions, which is there already.
    pub copy: Option<Target>,
    /// Says `ready` on stdout when it is warm, begins with the next line on stdin, and ends early when that is closed.
    pub on_orders: bool,
}

impl Trickle {
    pub fn run(&self, target: &Target, brokers: &[u32]) -> Result<Run> {
        let count = (self.per_second * self.seconds) as u32;
        let size = self.size.max(NUMBER_BYTES);
        if count as usize * size > RECORDS_BYTES_MAX || count >= WARM_FROM {
            bail!("{count} records of {size} bytes are more than {RECORDS_BYTES_MAX} bytes; lower rate, time or size");
        }
        let readable = self.copy.as_ref().unwrap_or(target);
        let ends = Topics::connect(&readable.settings)?.ends(&readable.topic)?;
        let watch = Arc::new(Watch::new(count));
        let producer = watch.producer(target)?;
        let reader = self.consume.then(|| Reader::start(readable, &ends, &watch)).transpose()?;
        let partitions: Vec<PartitionIndex> = ends.into_keys().collect();
        warm_up(&producer, &watch, &partitions, size, self.consume)?;
        let records = records(count, size);
        let orders = self.on_orders.then(Orders::wait).transpose()?;
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).context("precise sleeps")?;
        let meter = Meter::start(brokers);
        let plan = OpenLoop::new(Instant::now(), self.per_second).context("rate must be positive")?;
        watch.begin(plan);
        let mut sent = 0;
        let mut late = Vec::with_capacity(count as usize);
        for (number, record) in (0..count).zip(&records) {
            if orders.as_ref().is_some_and(Orders::are_over) {
                break;
            }
            std::thread::sleep(plan.pause(number, Instant::now()));
            late.push(plan.latency_us(number, Instant::now()));
            producer.send(partitions[number as usize % partitions.len()], record, number as usize)?;
            sent += 1;
        }
        producer.finish(FINISH_WITHIN)?;
        watch.wait("acknowledged", &watch.acknowledged, sent)?;
        if self.consume {
            watch.wait("consumed", &watch.consumed, sent)?;
        }
        let took = meter.stop();
        drop(reader);
        let bytes = u64::from(sent) * size as u64;
        let records = u64::from(sent);
        let (acknowledged, end_to_end) = (watch.acknowledged_us.all(), watch.consumed_us.all());
        let relayed = self.copy.is_some().then(|| relayed(&watch));
        Ok(Run {
            records,
            bytes,
            took,
            relayed: relayed.and_then(Latency::of),
            acknowledged: Latency::of(acknowledged),
            end_to_end: Latency::of(end_to_end),
            sent: Latency::of(late),
        })
    }
}

/// What the process that started this one says.
struct Orders {
    over: Arc<AtomicBool>,
}

impl Orders {
    /// Says that everything is ready and waits for the order to begin.
    fn wait() -> Result<Self> {
        let mut out = std::io::stdout();
        out.write_all(b"ready\n")?;
        out.flush()?;
        std::io::stdin().read_line(&mut String::new())?;
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        std::thread::Builder::new().name("orders".to_owned()).spawn(move || {
            // Ends when stdin is closed; what else is said there means nothing.
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
            told.store(true, Ordering::Relaxed);
        })?;
        Ok(Self { over })
    }

    fn are_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// Each its own bytes, because the number is in them; they live until the process ends.
fn records(count: u32, size: usize) -> Vec<&'static [u8]> {
    let payloads = Payloads::new(Content::Random, size);
    let record = |number: u32| {
        let mut bytes = payloads.record(u64::from(number)).to_vec();
        bytes[..NUMBER_BYTES].copy_from_slice(&number.to_be_bytes());
        &*bytes.leak()
    };
    (0..count).map(record).collect()
}

/// One after the other, so that the last of them shows a path that is open from end to end.
fn warm_up(
    producer: &BulkProducer,
    watch: &Watch,
    partitions: &[PartitionIndex],
    size: usize,
    consume: bool,
) -> Result<()> {
    for number in 0..WARM {
        let mut bytes = vec![0; size];
        bytes[..NUMBER_BYTES].copy_from_slice(&(WARM_FROM + number).to_be_bytes());
        let mark = (WARM_FROM + number) as usize;
        producer.send(partitions[number as usize % partitions.len()], bytes.leak(), mark)?;
        producer.finish(FINISH_WITHIN)?;
        if consume {
            watch.wait("consumed", &watch.warmed, number + 1)?;
        }
    }
    Ok(())
}

/// From each record's acknowledgement to when its copy was consumed. Both count from when the record was due. Who consumes
/// before the acknowledgement has come back has not waited at all.
fn relayed(watch: &Watch) -> Vec<f64> {
    let (acknowledged, consumed) = (lock(&watch.acknowledged_us.0), lock(&watch.consumed_us.0));
    let both = acknowledged.iter().zip(consumed.iter()).filter_map(|(one, other)| Some(((*one)?, (*other)?)));
    both.map(|(acknowledged, consumed)| (consumed - acknowledged).max(0.0)).collect()
}

/// Microseconds by the number of the record.
struct ByNumber(Mutex<Vec<Option<f64>>>);

impl ByNumber {
    fn new(count: u32) -> Self {
        Self(Mutex::new(vec![None; count as usize]))
    }

    /// Whether it is the first that is said of this record; a copy may come twice.
    fn note(&self, number: u32, micros: f64) -> bool {
        match lock(&self.0).get_mut(number as usize) {
            Some(place) if place.is_none() => {
                *place = Some(micros);
                true
            }
            _ => false,
        }
    }

    fn all(&self) -> Vec<f64> {
        lock(&self.0).iter().copied().flatten().collect()
    }
}

/// What was seen of each record, by the two threads of librdkafka that see it.
struct Watch {
    plan: Mutex<Option<OpenLoop>>,
    acknowledged_us: ByNumber,
    consumed_us: ByNumber,
    acknowledged: AtomicU32,
    consumed: AtomicU32,
    warmed: AtomicU32,
    failure: Mutex<Option<String>>,
}

impl Watch {
    fn new(count: u32) -> Self {
        Self {
            plan: Mutex::default(),
            acknowledged_us: ByNumber::new(count),
            consumed_us: ByNumber::new(count),
            acknowledged: AtomicU32::new(0),
            consumed: AtomicU32::new(0),
            warmed: AtomicU32::new(0),
            failure: Mutex::default(),
        }
    }

    fn begin(&self, plan: OpenLoop) {
        *lock(&self.plan) = Some(plan);
    }

    fn producer(self: &Arc<Self>, target: &Target) -> Result<BulkProducer> {
        let watch = Arc::clone(self);
        let tell = move |told: Acknowledged| match told.error {
            Some(error) => watch.fail(error.to_string()),
            None => watch.note(told.mark as u32, &watch.acknowledged_us, &watch.acknowledged),
        };
        Ok(BulkProducer::new(&target.settings, &target.topic, Tells::Everything, tell)?)
    }

    fn note(&self, number: u32, latencies: &ByNumber, count: &AtomicU32) {
        let now = Instant::now();
        let Some(plan) = *lock(&self.plan) else { return };
        if number < WARM_FROM && latencies.note(number, plan.latency_us(number, now)) {
            count.fetch_add(1, Ordering::Release);
        }
    }

    fn fail(&self, text: String) {
        lock(&self.failure).get_or_insert(text);
    }

    fn wait(&self, what: &str, count: &AtomicU32, goal: u32) -> Result<()> {
        let deadline = Instant::now() + FINISH_WITHIN;
        while count.load(Ordering::Acquire) < goal {
            if let Some(text) = &*lock(&self.failure) {
                bail!("{text}");
            }
            if Instant::now() >= deadline {
                bail!("{} of {goal} records were {what} within {FINISH_WITHIN:?}", count.load(Ordering::Acquire));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The thread that consumes; it ends with this handle.
struct Reader {
    ends: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Reader {
    fn start(
        target: &Target,
        from: &std::collections::BTreeMap<PartitionIndex, Offset>,
        watch: &Arc<Watch>,
    ) -> Result<Self> {
        let from = from.iter().map(|(partition, end)| (*partition, *end));
        let mut consumer = BulkConsumer::new(&target.settings, &target.topic, from)?;
        let ends = Arc::new(AtomicBool::new(false));
        let (watch, stop) = (Arc::clone(watch), Arc::clone(&ends));
        let read = move || {
            while !stop.load(Ordering::Relaxed) {
                let polled = consumer.poll(POLL, |record| {
                    let number = record.payload.first_chunk::<NUMBER_BYTES>().map(|bytes| u32::from_be_bytes(*bytes));
                    match number {
                        Some(number) if number < WARM_FROM => watch.note(number, &watch.consumed_us, &watch.consumed),
                        _ => _ = watch.warmed.fetch_add(1, Ordering::Release),
                    }
                });
                if let Err(error) = polled {
                    watch.fail(error.to_string());
                }
            }
        };
        let thread = std::thread::Builder::new().name("read".to_owned()).spawn(read)?;
        Ok(Self { ends, thread: Some(thread) })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, and then the run has failed for lack of records.
            thread.join().ok();
        }
    }
}
