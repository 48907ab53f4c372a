//! librdkafka for loads, where the client must not be what is measured.
//!
//! Picture: [`Producer`](crate::Producer) and [`Consumer`](crate::Consumer) make a promise for each record, which costs an
//! allocation, a channel and a look-up of the topic for each. Here records are counted, not promised: a record is sent
//! from memory that never goes away, without a copy; only failures are told of, unless acknowledgements are asked for; a
//! reader sees records where librdkafka holds them.
//! Invariants: the queue is librdkafka's and bounded (`librdkafka.queue.buffering.max.messages`); a full one holds the
//! sender back until an eighth of it has gone. Calls block, so they belong on threads of the caller and never on an async runtime.
//! A producer whose settings name a transactional id (`librdkafka.transactional.id`) sends in transactions, which are begun and
//! committed here and never aborted.
//! Not here: keys, headers, groups, retries of what librdkafka gave up.

use std::ffi::{CStr, CString};
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use rdkafka::bindings as native;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset as NativeOffset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use twinstream_model::{ErrorCode, Offset, PartitionIndex, TopicName};

use crate::context::Context;
use crate::error::ClientError;
use crate::settings::{ClientSettings, table::Scope};

/// How long [`BulkProducer::finish`] sleeps between two looks at the queue.
const FINISH_POLL: Duration = Duration::from_micros(500);
/// How long a sender that found the queue full sleeps between two looks at it.
const FULL_POLL: Duration = Duration::from_micros(500);
/// A full queue takes records again when this part of it has gone. librdkafka itself wakes a sender for each single record that
/// goes, which then takes its place: two threads that do nothing but wake each other.
const FULL_SHARE: i32 = 8;
/// Records that one [`BulkConsumer::poll`] hands out at most.
const POLL_RECORDS: usize = 4_096;

/// What became of one record.
#[derive(Debug)]
pub struct Acknowledged {
    /// The mark that was sent with it.
    pub mark: usize,
    pub error: Option<ClientError>,
}

type Tell = Box<dyn Fn(Acknowledged) + Send + Sync>;

struct BulkContext {
    inner: Context,
    tell: Tell,
}

impl ClientContext for BulkContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.inner.log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        self.inner.stats(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.inner.error(error, reason);
    }
}

impl ProducerContext for BulkContext {
    type DeliveryOpaque = usize;

    fn delivery(&self, delivery: &DeliveryResult<'_>, mark: usize) {
        let error = delivery.as_ref().err().map(|(error, message)| {
            ClientError::rdkafka(format!("produce to {}-{}", message.topic(), message.partition()), error)
        });
        (self.tell)(Acknowledged { mark, error });
    }
}

impl ConsumerContext for BulkContext {}

/// Which records the sender is told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tells {
    Failures,
    Everything,
}

/// A producer for one topic.
pub struct BulkProducer {
    // Before the producer that it belongs to, because fields are dropped in this order.
    topic: NativeTopic,
    producer: ThreadedProducer<BulkContext>,
    name: TopicName,
}

impl BulkProducer {
    /// `tell` is called on librdkafka's polling thread.
    pub fn new(
        settings: &ClientSettings,
        topic: &TopicName,
        tells: Tells,
        tell: impl Fn(Acknowledged) + Send + Sync + 'static,
    ) -> Result<Self, ClientError> {
        let mut config = settings.rdkafka(Scope::Producer);
        config.set("delivery.report.only.error", if tells == Tells::Failures { "true" } else { "false" });
        let context = BulkContext { inner: Context::new(settings.client_id()), tell: Box::new(tell) };
        let producer: ThreadedProducer<BulkContext> =
            config.create_with_context(context).map_err(|error| ClientError::rdkafka("create producer", &error))?;
        let topic_handle = NativeTopic::new(producer.client().native_ptr(), topic)?;
        Ok(Self { topic: topic_handle, producer, name: topic.clone() })
    }

    /// Puts a record into the queue; waits while that is full. The bytes are not copied.
    pub fn send(&self, partition: PartitionIndex, payload: &'static [u8], mark: usize) -> Result<(), ClientError> {
        loop {
            match self.try_send(partition, payload, mark) {
                Ok(()) => return Ok(()),
                Err(RDKafkaErrorCode::QueueFull) => self.wait_for_room(),
                Err(code) => {
                    let what = format!("produce to {}-{partition}", self.name);
                    return Err(ClientError::native(what, Some(code), &code.to_string()));
                }
            }
        }
    }

    fn wait_for_room(&self) {
        let full = self.producer.in_flight_count();
        let enough = full - (full / FULL_SHARE).max(1);
        while self.producer.in_flight_count() > enough {
            std::thread::sleep(FULL_POLL);
        }
    }

    fn try_send(&self, partition: PartitionIndex, payload: &'static [u8], mark: usize) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: the topic handle lives as long as self, and the payload for ever, which is what librdkafka needs
        // without F_COPY and F_FREE: it only reads it until the record is delivered.
        let code = unsafe {
            native::rd_kafka_produce(
                self.topic.0,
                partition.0,
                0,
                payload.as_ptr().cast_mut().cast(),
                payload.len(),
                std::ptr::null(),
                0,
                mark as *mut std::ffi::c_void,
            )
        };
        if code == 0 {
            return Ok(());
        }
        // SAFETY: reads the calling thread's last error, which the call above has set.
        Err(unsafe { native::rd_kafka_last_error() }.into())
    }

    /// Waits until nothing is queued or in flight.
    pub fn finish(&self, within: Duration) -> Result<(), ClientError> {
        let deadline = Instant::now() + within;
        while self.producer.in_flight_count() > 0 {
            if Instant::now() >= deadline {
                let what = format!("finish, {} records are still queued", self.producer.in_flight_count());
                return Err(ClientError::Timeout { what, after: within });
            }
            std::thread::sleep(FINISH_POLL);
        }
        Ok(())
    }

    /// Takes over the transactional id from whoever had it. Once, before the first [`Self::begin_transaction`].
    pub fn init_transactions(&self, within: Duration) -> Result<(), ClientError> {
        let client = self.producer.client().native_ptr();
        // SAFETY: the client lives as long as self; the error is ours, if there is one.
        transactional("init transactions", unsafe { native::rd_kafka_init_transactions(client, millis(within)) })
    }

    /// What is sent from now on is part of a transaction.
    pub fn begin_transaction(&self) -> Result<(), ClientError> {
        let client = self.producer.client().native_ptr();
        // SAFETY: as above.
        transactional("begin transaction", unsafe { native::rd_kafka_begin_transaction(client) })
    }

    /// Waits for all that was sent, and for the end of the transaction. Asks librdkafka itself: rdkafka would look again
    /// only every tenth of a second whether the records have gone.
    pub fn commit_transaction(&self, within: Duration) -> Result<(), ClientError> {
        let client = self.producer.client().native_ptr();
        // SAFETY: as above.
        transactional("commit transaction", unsafe { native::rd_kafka_commit_transaction(client, millis(within)) })
    }
}

fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

/// What librdkafka says of a transaction: nothing if all is well, else an error that is given back here.
fn transactional(what: &str, error: *mut native::rd_kafka_error_t) -> Result<(), ClientError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the error was made for us, its text ends with a zero byte and is copied before the error is given back.
    let (code, reason) = unsafe {
        let code: RDKafkaErrorCode = native::rd_kafka_error_code(error).into();
        let reason = CStr::from_ptr(native::rd_kafka_error_string(error)).to_string_lossy().into_owned();
        native::rd_kafka_error_destroy(error);
        (code, reason)
    };
    Err(ClientError::native(what, Some(code), &reason))
}

/// librdkafka's handle of a topic, so that no record has to look it up by name.
struct NativeTopic(*mut native::rd_kafka_topic_t);

// SAFETY: librdkafka's topic handles may be used from any thread.
unsafe impl Send for NativeTopic {}
// SAFETY: as above.
unsafe impl Sync for NativeTopic {}

impl NativeTopic {
    fn new(client: *mut native::rd_kafka_t, name: &TopicName) -> Result<Self, ClientError> {
        let text = CString::new(name.as_str())
            .map_err(|_| ClientError::Closed { what: format!("topic name {name} holds a zero byte") })?;
        // SAFETY: the client is alive, the name ends with a zero byte, and no settings are handed over.
        let topic = unsafe { native::rd_kafka_topic_new(client, text.as_ptr(), null_mut()) };
        if topic.is_null() {
            return Err(ClientError::Library {
                what: format!("open topic {name}"),
                reason: "librdkafka has no handle for it".to_owned(),
                retriable: false,
            });
        }
        Ok(Self(topic))
    }
}

impl Drop for NativeTopic {
    fn drop(&mut self) {
        // SAFETY: made by `new`, given back once, and before its client.
        unsafe { native::rd_kafka_topic_destroy(self.0) }
    }
}

/// A reader of whole partitions, outside of any group.
pub struct BulkConsumer {
    queue: NativeQueue,
    // After the queue that it owns.
    consumer: BaseConsumer<BulkContext>,
    messages: Vec<*mut native::rd_kafka_message_t>,
}

// SAFETY: librdkafka's handles may be used from any thread, and the pointers in `messages` mean something only within `poll`.
unsafe impl Send for BulkConsumer {}

/// One record, where librdkafka holds it.
#[derive(Clone, Copy, Debug)]
pub struct BulkRecord<'a> {
    pub partition: PartitionIndex,
    pub offset: Offset,
    pub payload: &'a [u8],
}

impl BulkConsumer {
    /// Reads these partitions from these offsets on.
    pub fn new(
        settings: &ClientSettings,
        topic: &TopicName,
        from: impl IntoIterator<Item = (PartitionIndex, Offset)>,
    ) -> Result<Self, ClientError> {
        let mut config = settings.rdkafka(Scope::Consumer);
        if settings.get("group.id").is_none() {
            config.set("group.id", settings.client_id()); // librdkafka wants one; no group is ever joined
        }
        let context = BulkContext { inner: Context::new(settings.client_id()), tell: Box::new(|_| {}) };
        let consumer: BaseConsumer<BulkContext> =
            config.create_with_context(context).map_err(|error| ClientError::rdkafka("create consumer", &error))?;
        // SAFETY: the client is alive; the handle is given back by `NativeQueue`.
        let queue = NativeQueue(unsafe { native::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) });
        let reader = Self { queue, consumer, messages: vec![null_mut(); POLL_RECORDS] };
        reader.start_over(topic, from)?;
        Ok(reader)
    }

    /// Reads these partitions from these offsets on, instead of what was read before; connections stay.
    pub fn start_over(
        &self,
        topic: &TopicName,
        from: impl IntoIterator<Item = (PartitionIndex, Offset)>,
    ) -> Result<(), ClientError> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in from {
            list.add_partition_offset(topic.as_str(), partition.0, NativeOffset::Offset(offset.0))
                .map_err(|error| ClientError::rdkafka(format!("read {topic}-{partition}"), &error))?;
        }
        self.consumer.assign(&list).map_err(|error| ClientError::rdkafka(format!("assign {topic}"), &error))
    }

    /// Waits for records up to this time, then hands out all that are there; how many.
    pub fn poll(&mut self, within: Duration, mut each: impl FnMut(BulkRecord<'_>)) -> Result<usize, ClientError> {
        let within = i32::try_from(within.as_millis()).unwrap_or(i32::MAX);
        // librdkafka waits until its time is up or the room is full, so the wait is for one record only.
        let mut count = self.take(0, 1, within);
        if count == 1 {
            count += self.take(1, POLL_RECORDS - 1, 0);
        }
        let mut failure = None;
        for message in self.messages[..count].iter().copied() {
            // SAFETY: librdkafka gave so many messages, each owned by us until it is destroyed below; its payload is
            // `len` bytes, or null.
            unsafe {
                // As a number and not as an enum, which has no value for errors of brokers that librdkafka does not know.
                let code = std::ptr::addr_of!((*message).err).cast::<i32>().read();
                if code == native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR as i32 {
                    let head = &*message;
                    let payload = match head.payload.is_null() {
                        true => &[][..],
                        false => std::slice::from_raw_parts(head.payload.cast::<u8>().cast_const(), head.len),
                    };
                    let (partition, offset) = (PartitionIndex(head.partition), Offset(head.offset));
                    each(BulkRecord { partition, offset, payload });
                } else {
                    failure = Some(read_failed(code));
                }
                native::rd_kafka_message_destroy(message);
            }
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(count),
        }
    }

    /// Takes up to so many records from the queue into `messages`, from this place on.
    fn take(&mut self, from: usize, most: usize, within_ms: i32) -> usize {
        let room = &mut self.messages[from..from + most];
        // SAFETY: the queue lives as long as self, and the room is as large as it is said to be.
        let count =
            unsafe { native::rd_kafka_consume_batch_queue(self.queue.0, within_ms, room.as_mut_ptr(), room.len()) };
        usize::try_from(count).unwrap_or(0)
    }
}

/// The number may be of a broker, and newer than librdkafka.
fn read_failed(code: i32) -> ClientError {
    let what = || "read".to_owned();
    if let Ok(known) = native::rd_kafka_resp_err_t::try_from(code) {
        let known = RDKafkaErrorCode::from(known);
        return ClientError::native(what(), Some(known), &known.to_string());
    }
    match i16::try_from(code).ok().and_then(ErrorCode::from_code) {
        Some(code) => ClientError::Broker { what: what(), code, detail: None },
        None => ClientError::native(what(), None, &format!("error {code}")),
    }
}

/// librdkafka's queue of a consumer.
struct NativeQueue(*mut native::rd_kafka_queue_t);

impl Drop for NativeQueue {
    fn drop(&mut self) {
        // SAFETY: given out by librdkafka for us, given back once, and before its client.
        unsafe { native::rd_kafka_queue_destroy(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_brokers_keep_their_names_where_librdkafka_has_none() {
        let newer = read_failed(i32::from(ErrorCode::InconsistentTopicId.code()));
        assert!(matches!(newer, ClientError::Broker { code: ErrorCode::InconsistentTopicId, .. }), "{newer}");
        let known = read_failed(i32::from(ErrorCode::OffsetOutOfRange.code()));
        assert!(matches!(known, ClientError::Broker { code: ErrorCode::OffsetOutOfRange, .. }), "{known}");
        assert!(read_failed(9_999).to_string().contains("error 9999"));
    }
}
