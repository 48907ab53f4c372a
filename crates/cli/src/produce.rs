//! `twinstream produce`: the lines of stdin as records.
//!
//! Picture: a thread reads lines into a bounded channel; the command makes a record of each and hands it to the producer;
//! deliveries are awaited in order, at most [`IN_FLIGHT_MAX`] behind.
//! Invariants: the command succeeds only when every record was acknowledged; the first failure names its line.

use std::collections::VecDeque;
use std::io::{self, BufRead};
use std::process::ExitCode;

use bytes::Bytes;
use tokio::sync::mpsc;
use twinstream_client::avro::{AvroCodec, AvroEncoder, AvroSchema};
use twinstream_client::raw::MirrorMark;
use twinstream_client::{
    ClientError, DeliveryFuture, Header, Producer, ProducerRecord, RawClient, SchemaRegistryClient,
};
use twinstream_connector_mirror::counted;
use twinstream_model::{ErrorCode, PartitionIndex, TopicName};

use crate::arguments::Produce;
use crate::bootstrap::{block_on, failed, settings};
use crate::failure::Failure;
use crate::output;
use crate::topic::topic_name;

/// Lines between the reading thread and the producer.
const LINES_AHEAD: usize = 1024;
/// Records whose acknowledgement is still out; far above what fills a connection.
const IN_FLIGHT_MAX: usize = 10_000;

pub(crate) fn run(options: Produce) -> Result<ExitCode, Failure> {
    block_on(async {
        let shape = Shape::new(&options).await?;
        let mut defaults = vec![("client.id", "twinstream-produce")];
        defaults.extend(options.compression.as_deref().map(|codec| ("compression.type", codec)));
        let settings = settings(&options.cluster, &defaults)?;
        let producer = Producer::connect(&settings).await.map_err(|error| failed(&options.cluster, &error))?;
        let count = send_all(&options, &shape, &producer).await?;
        output::talk(&format!("produced {} to {}", counted(count, "record"), options.topic));
        Ok(ExitCode::SUCCESS)
    })
}

async fn send_all(options: &Produce, shape: &Shape, producer: &Producer) -> Result<u64, Failure> {
    let mut in_flight = VecDeque::new();
    let sent = send_lines(options, shape, producer, &mut in_flight).await;
    // Also when a line was bad: those before it are said to be sent, so they must have arrived.
    while !in_flight.is_empty() {
        delivered(options, in_flight.pop_front()).await?;
    }
    sent
}

/// Hands the lines over; how many those are. Acknowledgements that are still out stay in `in_flight`.
async fn send_lines(
    options: &Produce,
    shape: &Shape,
    producer: &Producer,
    in_flight: &mut VecDeque<(u64, DeliveryFuture)>,
) -> Result<u64, Failure> {
    let mut lines = lines_of_stdin();
    let mut number = 0;
    while let Some(line) = lines.recv().await {
        let line = line.map_err(|error| Failure::new(format!("cannot read stdin: {error}")))?;
        number += 1;
        let record = shape.record(&line).map_err(|reason| at_line(number, reason))?;
        let delivery = producer.enqueue(&record).await.map_err(|error| failed(&options.cluster, &error))?;
        in_flight.push_back((number, delivery));
        if in_flight.len() >= IN_FLIGHT_MAX {
            delivered(options, in_flight.pop_front()).await?;
        }
    }
    Ok(number)
}

async fn delivered(options: &Produce, oldest: Option<(u64, DeliveryFuture)>) -> Result<(), Failure> {
    let Some((number, delivery)) = oldest else { return Ok(()) };
    let Err(error) = delivery.wait().await else { return Ok(()) };
    let failure = match mark_of(options, &error).await {
        Some(mark) => only_its_link_writes(&options.topic, &mark, &error),
        None => failed(&options.cluster, &error),
    };
    Err(failure.tried(format!("to write line {number} of stdin")))
}

/// What the topic is a mirror of, when that is why its records were refused: the producer's library keeps the code of a refusal
/// and loses the broker's words.
async fn mark_of(options: &Produce, error: &ClientError) -> Option<MirrorMark> {
    if error.code() != Some(ErrorCode::PolicyViolation) {
        return None;
    }
    let topic = topic_name(&options.topic).ok()?;
    let client = RawClient::connect(&settings(&options.cluster, &[]).ok()?).await.ok()?;
    let mark = client.mirror_marks(std::slice::from_ref(&topic)).await.ok()?.remove(&topic)?;
    Some(mark).filter(|mark| !mark.promoted)
}

/// Whose the topic is, and both ways out.
fn only_its_link_writes(topic: &str, mark: &MirrorMark, error: &ClientError) -> Failure {
    let MirrorMark { link, source_cluster, source_topic, .. } = mark;
    let code = error.code().map_or("refused", ErrorCode::name);
    Failure::new(format!(
        "topic {topic} is a mirror of topic {source_topic} in cluster {source_cluster} over link {link}, and takes records from \
         nobody else ({code})"
    ))
    .next(format!(
        "write to {source_topic} in cluster {source_cluster}, or let the mirrors lead: `twinstream link promote A:B`, \
         or `failover` if that cluster is lost; `twinstream link list` has the names"
    ))
}

fn at_line(number: u64, reason: String) -> Failure {
    Failure::new(format!("line {number} of stdin: {reason}"))
        .tried(format!("the lines before it were sent: {}", number - 1))
        .next("correct the line and send it and those behind it")
}

fn lines_of_stdin() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// How a line becomes a record.
struct Shape {
    topic: TopicName,
    separator: Option<String>,
    partition: Option<PartitionIndex>,
    headers: Vec<Header>,
    null_if_empty: bool,
    avro: Option<AvroEncoder>,
}

impl Shape {
    async fn new(options: &Produce) -> Result<Self, Failure> {
        if options.key_separator.as_deref() == Some("") {
            return Err(Failure::usage("--key-separator is empty").next("give at least one character, such as `-K :`"));
        }
        let header =
            |(name, value): &(String, String)| Header { key: name.clone(), value: Some(Bytes::from(value.clone())) };
        Ok(Self {
            topic: topic_name(&options.topic)?,
            separator: options.key_separator.clone(),
            partition: options.partition.map(PartitionIndex),
            headers: options.header.iter().map(header).collect(),
            null_if_empty: options.null_if_empty,
            avro: encoder(options).await?,
        })
    }

    fn record(&self, line: &[u8]) -> Result<ProducerRecord, String> {
        let (key, value) = self.split(line)?;
        let key = key.map(Bytes::copy_from_slice).filter(|key| !(self.null_if_empty && key.is_empty()));
        let value = if self.null_if_empty && value.is_empty() { None } else { Some(self.value(value)?) };
        let mut record = ProducerRecord::new(self.topic.clone(), key, value);
        record.partition = self.partition;
        record.headers.clone_from(&self.headers);
        Ok(record)
    }

    fn split<'a>(&self, line: &'a [u8]) -> Result<(Option<&'a [u8]>, &'a [u8]), String> {
        let Some(separator) = &self.separator else { return Ok((None, line)) };
        let at = line.windows(separator.len()).position(|window| window == separator.as_bytes());
        let at = at.ok_or_else(|| format!("holds no key separator `{separator}`"))?;
        Ok((Some(&line[..at]), &line[at + separator.len()..]))
    }

    fn value(&self, text: &[u8]) -> Result<Bytes, String> {
        let Some(encoder) = &self.avro else { return Ok(Bytes::copy_from_slice(text)) };
        let json = serde_json::from_slice(text).map_err(|error| format!("is not JSON: {error}"))?;
        encoder.encode_json(&json).map_err(|error| format!("does not fit the schema: {error}"))
    }
}

async fn encoder(options: &Produce) -> Result<Option<AvroEncoder>, Failure> {
    let Some(file) = &options.schema else { return Ok(None) };
    let Some(url) = options.registry.named() else {
        return Err(Failure::usage("--schema needs a schema registry")
            .next("name it with --registry URL, TWINSTREAM_REGISTRY or a context"));
    };
    let unreadable = |error| Failure::new(format!("cannot read the schema {}: {error}", file.display()));
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    let malformed = |error| Failure::new(format!("{}: {error}", file.display())).next("correct the schema");
    let schema = AvroSchema::parse(&text).map_err(malformed)?;
    let client = SchemaRegistryClient::new(url).map_err(Failure::usage)?;
    let subject = format!("{}-value", options.topic);
    let encoder = AvroCodec::new(client).encoder(&subject, &schema).await;
    let refused = |error| Failure::chain(&error).tried(format!("to register {} as {subject} at {url}", file.display()));
    encoder.map(Some).map_err(refused)
}

#[cfg(test)]
mod tests;
