//! Produce upstream, mirror downstream, index: and see that all of it arrived.
//!
//! Picture: the topic and the schema are made, events that are not there yet are produced, both connectors are PUT; then
//! three counts are read back until they are equal or [`FLOW_TIME_MAX`] is over.
//!
//! Invariants: a second run produces nothing that is there; a connector is PUT only if its configuration differs, since a
//! PUT restarts its tasks.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use twinstream_client::avro::{AvroCodec, AvroSchema};
use twinstream_client::{Admin, ClientError, ClientSettings, NewTopic, Producer, ProducerRecord, SchemaRegistryClient};
use twinstream_model::TopicName;

use super::count;
use super::dataset::{self, SCHEMA, SUBJECT, TOPIC};
use super::plan::Plan;
use super::steps::Steps;
use crate::failure::Failure;
use crate::http::Http;

const ALIAS: &str = "src";
const PARTITIONS: i32 = 3;
/// Beyond this something is wrong; what was counted until then is shown.
const FLOW_TIME_MAX: Duration = Duration::from_secs(120);
/// How often the counts are looked at.
const POLL: Duration = Duration::from_millis(25);
/// How often the connectors are asked whether they have failed.
const STATUS_EVERY: Duration = Duration::from_millis(500);

/// What was read back, and when it was complete.
#[derive(Debug)]
pub(super) struct Flow {
    pub upstream_records: u64,
    pub downstream_records: u64,
    pub documents: u64,
    pub mirrored_ms: u64,
    pub indexed_ms: u64,
    pub strongest: Option<Quake>,
}

/// The answer of the query that is shown.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Quake {
    pub magnitude: f64,
    pub place: String,
    pub time: i64,
}

pub(super) fn mirrored_topic() -> String {
    format!("{ALIAS}.{TOPIC}")
}

/// The address of the index that the sink fills: it has the name of the topic.
fn index(plan: &Plan) -> String {
    format!("{}/{}", plan.search.request_url(), mirrored_topic())
}

pub(super) async fn run(plan: &Plan, http: &Http, steps: &Steps) -> Result<Flow, Failure> {
    let upstream = Side::open(&plan.upstream.bootstrap, TOPIC).await?;
    let downstream = Side::open(&plan.downstream.bootstrap, &mirrored_topic()).await?;
    let topic = NewTopic::new(upstream.topic.clone(), PARTITIONS, plan.upstream.replicas());
    let made = upstream.admin.ensure_topic(&topic).await;
    made.map_err(|error| Failure::chain(&error))?;
    // The mirror may start before the first record is there; that is what it is for.
    tokio::try_join!(produce(plan, &upstream, steps), connector(plan, http, "mirror", mirror(plan), steps))?;
    let deadline = Instant::now() + FLOW_TIME_MAX;
    let watch = Watch { plan, http, deadline, asked: Instant::now() };
    let sink = async {
        // A sink that starts before its topic is there would find it only when it asks for metadata again.
        watch.clone().until(async || Ok(downstream.end().await?.is_some())).await?;
        connector(plan, http, "search", sink(plan), steps).await
    };
    let mirrored = watch_mirror(&upstream, &downstream, watch.clone(), steps);
    let ((), mirrored) = tokio::try_join!(sink, mirrored)?;

    let step = steps.start("all records indexed");
    let wanted = mirrored.upstream_records;
    let documents = async || count::documents(http, &index(plan)).await.map_err(Failure::new);
    if watch.clone().until(async || Ok(documents().await? >= wanted)).await? {
        step.done();
    }
    let indexed_ms = steps.elapsed_ms();
    Ok(Flow {
        upstream_records: wanted,
        downstream_records: mirrored.downstream_records,
        documents: documents().await?,
        mirrored_ms: mirrored.reached_ms,
        indexed_ms,
        strongest: strongest(plan, http).await?,
    })
}

/// One topic in one cluster.
struct Side {
    bootstrap: String,
    topic: TopicName,
    admin: Admin,
}

impl Side {
    async fn open(bootstrap: &str, topic: &str) -> Result<Self, Failure> {
        let settings = ClientSettings::new(bootstrap).map_err(Failure::new)?;
        let admin = Admin::connect(&settings).await.map_err(|error| Failure::chain(&error))?;
        let topic = TopicName::parse(topic).map_err(Failure::new)?;
        Ok(Self { bootstrap: bootstrap.to_owned(), topic, admin })
    }

    async fn end(&self) -> Result<Option<i64>, Failure> {
        count::end(&self.admin, &self.topic).await.map_err(|error| Failure::chain(&error))
    }

    async fn keys(&self) -> Result<usize, Failure> {
        let keys = count::keys(&self.bootstrap, &self.topic).await;
        keys.map(|keys| keys.len()).map_err(|error| Failure::chain(&error))
    }
}

/// Produces the events that are not there yet.
async fn produce(plan: &Plan, side: &Side, steps: &Steps) -> Result<(), Failure> {
    let step = steps.start("events produced upstream as Avro");
    let client_failed = |error: ClientError| Failure::chain(&error).tried(format!("the cluster at {}", side.bootstrap));
    let registry = SchemaRegistryClient::new(&plan.registry.url).map_err(Failure::new)?;
    let schema = AvroSchema::parse(SCHEMA).map_err(Failure::new)?;
    let encoder = AvroCodec::new(registry).encoder(SUBJECT, &schema).await;
    let encoder =
        encoder.map_err(|error| Failure::chain(&error).tried(format!("the registry at {}", plan.registry.url)))?;
    let present = match side.end().await? {
        Some(end) if end > 0 => count::keys(&side.bootstrap, &side.topic).await.map_err(client_failed)?,
        _ => Default::default(),
    };
    let settings = ClientSettings::new(&side.bootstrap).map_err(Failure::new)?;
    let producer = Producer::new(&settings).map_err(client_failed)?;
    let mut deliveries = Vec::new();
    for event in dataset::events()?.into_iter().filter(|event| !present.contains(&event.key)) {
        let value: Bytes = encoder.encode_json(&event.json).map_err(Failure::new)?;
        let record = ProducerRecord::new(side.topic.clone(), Some(event.key), Some(value));
        deliveries.push(producer.enqueue(&record).await.map_err(client_failed)?);
    }
    for delivery in deliveries {
        delivery.wait().await.map_err(client_failed)?;
    }
    step.done();
    Ok(())
}

struct Mirrored {
    upstream_records: u64,
    downstream_records: u64,
    /// When the last record was downstream.
    reached_ms: u64,
}

/// Waits until every key that is upstream is downstream too.
async fn watch_mirror(
    upstream: &Side,
    downstream: &Side,
    mut watch: Watch<'_>,
    steps: &Steps,
) -> Result<Mirrored, Failure> {
    let step = steps.start("all records mirrored downstream");
    loop {
        let end = upstream.end().await?.unwrap_or(0);
        watch.until(async || Ok(downstream.end().await?.unwrap_or(0) >= end)).await?;
        let reached_ms = steps.elapsed_ms();
        // After a crash a record may be there twice while another is still on its way: only keys tell.
        let (wanted, found) = tokio::try_join!(upstream.keys(), downstream.keys())?;
        if found >= wanted || watch.is_over() {
            if found >= wanted {
                step.done();
            }
            return Ok(Mirrored { upstream_records: wanted as u64, downstream_records: found as u64, reached_ms });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Polls something that two connectors bring about, and ends early when one of them has failed.
#[derive(Clone)]
struct Watch<'a> {
    plan: &'a Plan,
    http: &'a Http,
    deadline: Instant,
    asked: Instant,
}

impl Watch<'_> {
    /// Whether it came true before the deadline.
    async fn until(&mut self, reached: impl AsyncFn() -> Result<bool, Failure>) -> Result<bool, Failure> {
        while !reached().await? {
            if self.is_over() {
                return Ok(false);
            }
            if self.asked.elapsed() > STATUS_EVERY {
                self.asked = Instant::now();
                self.fail_if_connectors_did().await?;
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(true)
    }

    fn is_over(&self) -> bool {
        Instant::now() > self.deadline
    }

    async fn fail_if_connectors_did(&self) -> Result<(), Failure> {
        for name in ["mirror", "search"] {
            let url = format!("{}/connectors/{name}/status", self.plan.worker.url);
            // Not there yet, or on its way between two states: asked again soon.
            let Ok(status) = self.http.get(&url).await else { continue };
            if let Some(trace) = failed_part(&status) {
                let cause = trace.lines().take(6).collect::<Vec<_>>().join("\n    ");
                return Err(Failure::new(format!("connector {name} has failed:\n    {cause}"))
                    .next(format!("read {} and {url}", self.plan.worker.server.log.display())));
            }
        }
        Ok(())
    }
}

/// The trace of a connector or of one of its tasks in state FAILED.
fn failed_part(status: &Value) -> Option<&str> {
    let tasks = status.get("tasks").and_then(Value::as_array).into_iter().flatten();
    let mut parts = tasks.chain(status.get("connector"));
    let failed = parts.find(|part| part.get("state").and_then(Value::as_str) == Some("FAILED"))?;
    Some(failed.get("trace").and_then(Value::as_str).unwrap_or("no cause was given"))
}

async fn connector(plan: &Plan, http: &Http, name: &str, config: Value, steps: &Steps) -> Result<(), Failure> {
    let step = steps.start(format!("connector {name}"));
    let url = format!("{}/connectors/{name}/config", plan.worker.url);
    if http.get(&url).await.is_ok_and(|present| present == config) {
        step.done();
        return Ok(());
    }
    let deadline = Instant::now() + FLOW_TIME_MAX;
    while let Err(error) = http.put(&url, &config).await {
        // 409: the worker is sorting itself out.
        if error.status != Some(409) || Instant::now() > deadline {
            return Err(Failure::new(format!("the worker refused connector {name}: {error}"))
                .tried(format!("PUT {url}"))
                .next(format!("read {}", plan.worker.server.log.display())));
        }
        tokio::time::sleep(POLL).await;
    }
    step.done();
    Ok(())
}

fn mirror(plan: &Plan) -> Value {
    json!({
        "name": "mirror",
        "connector.class": "org.apache.kafka.connect.mirror.MirrorSourceConnector",
        "tasks.max": "3",
        "source.cluster.alias": ALIAS,
        "target.cluster.alias": "dst",
        "source.cluster.bootstrap.servers": plan.upstream.bootstrap,
        "target.cluster.bootstrap.servers": plan.downstream.bootstrap,
        "replication.factor": plan.downstream.replicas().to_string(),
        "topics": TOPIC,
    })
}

fn sink(plan: &Plan) -> Value {
    let mut config = json!({
        "name": "search",
        "connector.class": "io.confluent.connect.elasticsearch.ElasticsearchSinkConnector",
        "tasks.max": "3",
        "topics": mirrored_topic(),
        "connection.url": plan.search.url,
        "key.ignore": "false",
        "schema.ignore": "true",
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "io.confluent.connect.avro.AvroConverter",
        "value.converter.schema.registry.url": plan.registry.url,
    });
    if let (Some((user, password)), Some(config)) = (&plan.search.credentials, config.as_object_mut()) {
        config.insert("connection.username".to_owned(), json!(decoded(user)));
        config.insert("connection.password".to_owned(), json!(decoded(password)));
    }
    config
}

/// A part of an address without its escapes.
fn decoded(part: &str) -> String {
    percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
}

/// The strongest quake of the week, asked from the index.
async fn strongest(plan: &Plan, http: &Http) -> Result<Option<Quake>, Failure> {
    let query = json!({ "size": 1, "sort": [{ "magnitude": "desc" }] });
    let url = format!("{}/_search", index(plan));
    let answer = http.post(&url, Some(&query)).await;
    let answer = answer.map_err(|error| {
        Failure::new(format!("the query failed: {error}")).tried(format!(
            "POST {}/{}/_search",
            plan.search.url,
            mirrored_topic()
        ))
    })?;
    let hit = answer.pointer("/hits/hits/0/_source");
    Ok(hit.and_then(|hit| {
        Some(Quake {
            magnitude: hit.get("magnitude")?.as_f64()?,
            place: hit.get("place")?.as_str()?.to_owned(),
            time: hit.get("time")?.as_i64()?,
        })
    }))
}

#[cfg(test)]
mod tests;
