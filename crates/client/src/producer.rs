//! A producer: records in, delivery futures out.
//!
//! Picture: librdkafka owns a bounded queue (`buffer.memory`) and the connections; its poll thread completes the delivery
//! futures. A full queue holds the sender back for up to `max.block.ms`, it never grows.
//! Invariants: order within a partition is the order of [`Producer::enqueue`] calls; idempotence is on unless the settings
//! turn it off; every record's future completes, at the latest after `delivery.timeout.ms`.
//! Not here: transactions, batches kept as they are (see [`crate::raw`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryFuture as NativeDelivery, FutureProducer, FutureRecord, Producer as _};
use tracing::warn;
use twinstream_model::{Offset, PartitionIndex};

use crate::context::{Context, LastError};
use crate::error::ClientError;
use crate::raw::reach;
use crate::record::ProducerRecord;
use crate::settings::{ClientSettings, table::Scope};

/// How long a sender sleeps before it looks at a full queue again; short against any `linger.ms` that fills one.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);

/// Where a record ended up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub partition: PartitionIndex,
    /// [`Offset::NONE`] with `acks=0`, when nobody knows.
    pub offset: Offset,
}

/// A Kafka producer; clones share queue and connections.
#[derive(Clone)]
pub struct Producer {
    inner: Arc<Handle>,
    last_error: LastError,
    max_block: Duration,
}

/// Gives up the librdkafka producer on a thread of its own: that waits for librdkafka's threads, and the last clone may
/// well be dropped on the async runtime.
struct Handle(Option<FutureProducer<Context>>);

impl std::ops::Deref for Handle {
    type Target = FutureProducer<Context>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("taken by drop only")
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let producer = self.0.take();
        let spawned = std::thread::Builder::new().name("kafka-producer-drop".to_owned()).spawn(move || drop(producer));
        if let Err(error) = spawned {
            warn!(%error, "no thread to close a producer on");
        }
    }
}

/// Completes when the record was acknowledged, or failed for good.
#[must_use = "a record whose delivery nobody waits for may be lost unnoticed"]
pub struct DeliveryFuture {
    inner: NativeDelivery,
    what: String,
}

impl DeliveryFuture {
    pub async fn wait(self) -> Result<Delivery, ClientError> {
        match self.inner.await {
            Ok(Ok(delivery)) => {
                Ok(Delivery { partition: PartitionIndex(delivery.partition), offset: Offset(delivery.offset) })
            }
            Ok(Err((error, _))) => Err(ClientError::rdkafka(self.what, &error)),
            Err(_) => Err(ClientError::closed(&self.what)),
        }
    }
}

impl Producer {
    /// Makes a producer after one bootstrap server has answered; fails with one clear error if none does.
    pub async fn connect(settings: &ClientSettings) -> Result<Self, ClientError> {
        reach::any_bootstrap(settings).await?;
        Self::new(settings)
    }

    /// Makes a producer without looking whether the cluster is there.
    pub fn new(settings: &ClientSettings) -> Result<Self, ClientError> {
        let context = Context::new(settings.client_id());
        let last_error = context.last_error();
        let inner: FutureProducer<Context> = settings
            .rdkafka(Scope::Producer)
            .create_with_context(context)
            .map_err(|error| ClientError::rdkafka("create producer", &error))?;
        Ok(Self { inner: Arc::new(Handle(Some(inner))), last_error, max_block: settings.max_block() })
    }

    /// Puts a record into the queue, waiting for room; the returned future tells of its delivery.
    pub async fn enqueue(&self, record: &ProducerRecord) -> Result<DeliveryFuture, ClientError> {
        let started = Instant::now();
        loop {
            match self.try_enqueue(record) {
                Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) => {}
                Err(error) => return Err(ClientError::rdkafka(describe(record), &error)),
                Ok(inner) => return Ok(DeliveryFuture { inner, what: describe(record) }),
            }
            if started.elapsed() >= self.max_block {
                return Err(self.queue_full(record));
            }
            tokio::time::sleep(QUEUE_FULL_PAUSE).await;
        }
    }

    fn try_enqueue(&self, record: &ProducerRecord) -> Result<NativeDelivery, KafkaError> {
        let mut native: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(record.topic.as_str());
        native.partition = record.partition.map(|partition| partition.0);
        native.key = record.key.as_deref();
        native.payload = record.value.as_deref();
        native.timestamp = record.timestamp;
        native.headers = record.native_headers();
        self.inner.send_result(native).map_err(|(error, _)| error)
    }

    fn queue_full(&self, record: &ProducerRecord) -> ClientError {
        let cause = self.last_error.text();
        ClientError::Timeout {
            what: format!(
                "{}: the send queue stays full{}",
                describe(record),
                cause.map(|cause| format!(" ({cause})")).unwrap_or_default()
            ),
            after: self.max_block,
        }
    }

    /// Sends one record and waits until it is acknowledged.
    pub async fn send(&self, record: &ProducerRecord) -> Result<Delivery, ClientError> {
        self.enqueue(record).await?.wait().await
    }

    /// Waits until every queued record was acknowledged or has failed.
    pub async fn flush(&self, within: Duration) -> Result<(), ClientError> {
        let inner = Arc::clone(&self.inner);
        let flushed = tokio::task::spawn_blocking(move || inner.flush(within)).await;
        match flushed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut) => {
                let what = format!("flush, {} records are still queued", self.queued());
                Err(ClientError::Timeout { what, after: within })
            }
            Ok(Err(error)) => Err(ClientError::rdkafka("flush", &error)),
            Err(_) => Err(ClientError::closed("flush")),
        }
    }

    /// Records that are queued or in flight.
    pub fn queued(&self) -> usize {
        usize::try_from(self.inner.in_flight_count()).unwrap_or(0)
    }
}

fn describe(record: &ProducerRecord) -> String {
    match record.partition {
        Some(partition) => format!("produce to {}-{partition}", record.topic),
        None => format!("produce to {}", record.topic),
    }
}

#[cfg(test)]
mod tests;
