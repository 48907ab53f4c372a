//! What happens to a record that cannot be processed: tolerance, retries, log, dead-letter topic.
//!
//! `errors.tolerance=none` (the default) makes it a failure of the task. With `all` the record is left out: logged if
//! `errors.log.enable`, and for sinks written to `errors.deadletterqueue.topic.name` with Connect's headers. The record
//! counts as finished only once the dead-letter topic has it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use twinstream_client::{Admin, Header, NewTopic, Producer, ProducerRecord};
use twinstream_connect_api::{OriginalRecord, TaskError};
use twinstream_model::{Offset, TopicName, TopicPartition};

use super::{Shared, TaskSpec};
use crate::converters::ConvertError;
use crate::metrics::TaskMetrics;
use crate::settings::Role;
use crate::state::TaskId;

const RETRY_PAUSE_FIRST: Duration = Duration::from_millis(300);
const HEADER_PREFIX: &str = "__connect.errors.";

/// What was done with a record when it failed; Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    KeyConverter,
    ValueConverter,
    TaskPut,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::KeyConverter => "KEY_CONVERTER",
            Self::ValueConverter => "VALUE_CONVERTER",
            Self::TaskPut => "TASK_PUT",
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::KeyConverter => "cannot convert the key",
            Self::ValueConverter => "cannot convert the value",
            Self::TaskPut => "the sink does not take the record",
        }
    }
}

/// A record that failed, with where it came from.
pub(super) struct BadRecord<'a> {
    pub(super) stage: Stage,
    /// Class of converter or task, for the headers.
    pub(super) class: &'a str,
    pub(super) origin: Option<(TopicPartition, Offset, Option<i64>)>,
    pub(super) original: &'a OriginalRecord,
    pub(super) error: TaskError,
}

pub(super) struct ErrorPolicy {
    id: TaskId,
    tolerate: bool,
    log: bool,
    log_messages: bool,
    retry_timeout: Option<Duration>,
    retry_delay_max: Duration,
    dead_letters: Option<DeadLetters>,
    metrics: TaskMetrics,
}

struct DeadLetters {
    topic: TopicName,
    producer: Producer,
    context_headers: bool,
}

impl ErrorPolicy {
    /// From `errors.*`; makes sure that the dead-letter topic exists.
    pub(super) async fn new(shared: &Shared, spec: &TaskSpec) -> Result<Self, TaskError> {
        let flag = |name: &str| spec.setting(name).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let number =
            |name: &str, default: i64| spec.setting(name).and_then(|text| text.parse().ok()).unwrap_or(default);
        let retry_timeout = match number("errors.retry.timeout", 0) {
            -1 => None,
            ms => Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
        };
        let delay_max = u64::try_from(number("errors.retry.delay.max.ms", 60_000)).unwrap_or(0);
        Ok(Self {
            id: spec.id.clone(),
            tolerate: spec.setting("errors.tolerance").is_some_and(|text| text.eq_ignore_ascii_case("all")),
            log: flag("errors.log.enable"),
            log_messages: flag("errors.log.include.messages"),
            retry_timeout,
            retry_delay_max: Duration::from_millis(delay_max),
            dead_letters: DeadLetters::new(shared, spec).await?,
            metrics: shared.metrics.task(&spec.id),
        })
    }

    /// Repeats a conversion on errors that may pass, within `errors.retry.timeout`.
    pub(super) async fn retrying<T, F: Future<Output = Result<T, ConvertError>>>(
        &self,
        mut convert: impl FnMut() -> F,
    ) -> Result<T, ConvertError> {
        let started = Instant::now();
        let mut pause = RETRY_PAUSE_FIRST.min(self.retry_delay_max);
        loop {
            let error = match convert().await {
                Err(error) if error.retriable => error,
                done => return done,
            };
            self.metrics.record_errors.inc();
            if self.retry_timeout.is_some_and(|limit| started.elapsed() + pause > limit) {
                return Err(error);
            }
            self.metrics.retries.inc();
            tracing::debug!(task = %self.id, %error, "conversion is tried again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.retry_delay_max);
        }
    }

    /// `Ok` when the record is dealt with and may be left out, else the error that the task fails with.
    pub(super) async fn bad_record(&self, bad: BadRecord<'_>) -> Result<(), TaskError> {
        self.metrics.record_errors.inc();
        self.metrics.record_failures.inc();
        if self.log {
            self.log(&bad);
        }
        if !self.tolerate {
            let place = bad.origin.as_ref().map(|(tp, offset, _)| format!(" of {tp} at offset {offset}"));
            let message = format!(
                "{}{}: {} (set errors.tolerance=all to leave such records out)",
                bad.stage.verb(),
                place.unwrap_or_default(),
                bad.error.message()
            );
            return Err(TaskError::fatal(message).caused_by(bad.error));
        }
        if let Some(letters) = &self.dead_letters {
            self.metrics.dead_letters.inc();
            let sent = letters.send(&self.id, &bad).await;
            sent.inspect_err(|_| self.metrics.dead_letter_failures.inc())?;
        }
        self.metrics.skipped.inc();
        Ok(())
    }

    fn log(&self, bad: &BadRecord<'_>) {
        self.metrics.errors_logged.inc();
        let (stage, class, cause) = (bad.stage.name(), bad.class, bad.error.trace());
        match (&bad.origin, self.log_messages) {
            (Some((tp, offset, timestamp)), true) => {
                let (partition, offset) = (tp.to_string(), offset.0);
                tracing::error!(task = %self.id, stage, class, partition, offset, ?timestamp, cause, "record failed");
            }
            _ => tracing::error!(task = %self.id, stage, class, cause, "record failed"),
        }
    }
}

impl DeadLetters {
    async fn new(shared: &Shared, spec: &TaskSpec) -> Result<Option<Self>, TaskError> {
        let Some(topic) = spec.setting("errors.deadletterqueue.topic.name").filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let topic = TopicName::parse(topic)
            .map_err(|error| TaskError::fatal("errors.deadletterqueue.topic.name is no topic name").caused_by(error))?;
        let failed = |what: &str| TaskError::fatal(format!("{what} of the dead-letter topic {topic}"));
        let replicas = spec.setting("errors.deadletterqueue.topic.replication.factor");
        let replicas = replicas.and_then(|text| text.parse().ok()).unwrap_or(3);
        let settings = shared.settings.client(Role::Admin, spec.client_overrides("admin.override."));
        let settings = settings.map_err(|error| failed("admin settings").caused_by(error))?;
        let admin = Admin::connect(&settings).await.map_err(|error| failed("look-up").caused_by(error))?;
        if admin.topic(&topic).await.map_err(|error| failed("look-up").caused_by(error))?.is_none() {
            let created = admin.ensure_topic(&NewTopic::new(topic.clone(), 1, replicas)).await;
            created.map_err(|error| failed("creation").caused_by(error))?;
        }
        let settings = shared.settings.client(Role::Producer, spec.client_overrides("producer.override."));
        let settings = settings.map_err(|error| failed("producer settings").caused_by(error))?;
        let producer = Producer::connect(&settings).await.map_err(|error| failed("producer").caused_by(error))?;
        let context_headers = spec.setting("errors.deadletterqueue.context.headers.enable");
        let context_headers = context_headers.is_some_and(|text| text.eq_ignore_ascii_case("true"));
        Ok(Some(Self { topic, producer, context_headers }))
    }

    async fn send(&self, id: &TaskId, bad: &BadRecord<'_>) -> Result<(), TaskError> {
        let original = bad.original;
        let mut record = ProducerRecord::new(self.topic.clone(), original.key.clone(), original.value.clone());
        record.timestamp = bad.origin.as_ref().and_then(|(_, _, timestamp)| *timestamp);
        let copy = |(key, value): &(String, Option<Bytes>)| Header { key: key.clone(), value: value.clone() };
        record.headers = original.headers.iter().map(copy).collect();
        if self.context_headers {
            // A record that fails a second time keeps one set of context headers, the newest.
            record.headers.retain(|header| !header.key.starts_with(HEADER_PREFIX));
            record.headers.extend(context_headers(id, bad));
        }
        self.producer.send(&record).await.map(|_| ()).map_err(|error| {
            TaskError::fatal(format!("the dead-letter topic {} does not take a record", self.topic)).caused_by(error)
        })
    }
}

fn context_headers(id: &TaskId, bad: &BadRecord<'_>) -> Vec<Header> {
    let mut context: BTreeMap<&str, String> = BTreeMap::new();
    if let Some((tp, offset, _)) = &bad.origin {
        context.insert("topic", tp.topic.to_string());
        context.insert("partition", tp.partition.to_string());
        context.insert("offset", offset.to_string());
    }
    let exception = match (bad.stage, bad.error.is_retriable()) {
        (_, true) => "org.apache.kafka.connect.errors.RetriableException",
        (Stage::TaskPut, false) => "org.apache.kafka.connect.errors.ConnectException",
        (_, false) => "org.apache.kafka.connect.errors.DataException",
    };
    context.insert("connector.name", id.connector.clone());
    context.insert("task.id", id.task.to_string());
    context.insert("stage", bad.stage.name().to_owned());
    context.insert("class.name", bad.class.to_owned());
    context.insert("exception.class.name", exception.to_owned());
    context.insert("exception.message", bad.error.message().to_owned());
    context.insert("exception.stacktrace", format!("{exception}: {}", bad.error.trace()));
    const ORDER: [&str; 10] = [
        "topic",
        "partition",
        "offset",
        "connector.name",
        "task.id",
        "stage",
        "class.name",
        "exception.class.name",
        "exception.message",
        "exception.stacktrace",
    ];
    let header = |name: &&str| {
        let value = context.get(name)?;
        Some(Header { key: format!("{HEADER_PREFIX}{name}"), value: Some(Bytes::from(value.clone())) })
    };
    ORDER.iter().filter_map(header).collect()
}
