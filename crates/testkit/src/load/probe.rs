//! Is it writable? Answered to within a tenth of a second, also while brokers hang.
//!
//! A probe is a batch of one record, sent once, by a client of its own and as a worker of its own: so probes may overlap,
//! and one that hangs holds up none. All of them are in the history and judged with the rest.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::Instant;
use twinstream_client::protocol::batch::BatchBuilder;
use twinstream_client::{ClientError, RawClient};
use twinstream_model::{Offset, TopicPartition};

use super::{LoadOptions, Place, Values, payload};
use crate::history::{Recorder, Value, What};
use crate::records::client_settings;

const NEXT_AFTER: Duration = Duration::from_millis(100);
/// What a probe may take; so, at most 20 of them are under way.
const PROBE_WITHIN: Duration = Duration::from_secs(2);
const PROBE_MS: &str = "2000";
const GIVE_UP_AFTER: Duration = Duration::from_secs(90);

/// How long until a probe of this partition is acknowledged by all that are in sync.
pub async fn probe(bootstrap: &str, recorder: &Recorder, options: &LoadOptions, partition: i32) -> Duration {
    let place = Place { bootstrap: bootstrap.to_owned(), options: options.clone() };
    let began = Instant::now();
    let mut probes = JoinSet::new();
    let mut ticks = tokio::time::interval(NEXT_AFTER);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let (place, recorder) = (place.clone(), recorder.clone());
                probes.spawn(async move { one(&place, &recorder, partition).await });
            }
            Some(Ok(true)) = probes.join_next() => {
                let took = began.elapsed();
                // What is under way must be told before the history ends.
                probes.join_all().await;
                return took;
            }
        }
        assert!(began.elapsed() < GIVE_UP_AFTER, "partition {partition} is not writable after {GIVE_UP_AFTER:?}");
    }
}

async fn one(place: &Place, recorder: &Recorder, partition: i32) -> bool {
    let target = place.partition(partition);
    let connecting = async {
        let client = RawClient::connect(&settings(&place.bootstrap)).await?;
        let leader = client.leader(&target).await?;
        Ok::<_, ClientError>((client, leader))
    };
    let Ok(Ok((client, leader))) = tokio::time::timeout(PROBE_WITHIN, connecting).await else { return false };
    let mut values = Values::new(recorder);
    let value = values.next();
    recorder.note(values.worker, What::Send { partition, values: vec![value] });
    let batches = [(target.clone(), batch(value))];
    let sending = client.produce_batches(leader, &batches);
    let answer = match tokio::time::timeout(PROBE_WITHIN, sending).await {
        Ok(Ok(mut answers)) => answers.remove(&target),
        Ok(Err(error)) => Some(Err(error)),
        Err(_) => None,
    };
    let what = told(partition, value, answer.map(|answer| answer.map(|at| at.base_offset)));
    let written = matches!(what, What::Sent { .. });
    recorder.note(values.worker, what);
    written
}

/// How long until each of many partitions has taken a record; each round asks the leaders of those that are left.
pub async fn probe_all(bootstrap: &str, recorder: &Recorder, options: &LoadOptions) -> Duration {
    let place = Place { bootstrap: bootstrap.to_owned(), options: options.clone() };
    let began = Instant::now();
    let mut open: BTreeSet<TopicPartition> = place.partitions().into_iter().collect();
    while !open.is_empty() {
        assert!(began.elapsed() < GIVE_UP_AFTER, "{} partitions are not writable: {:?}", open.len(), open.first());
        for written in round(&place, recorder, &open).await {
            open.remove(&written);
        }
        if !open.is_empty() {
            tokio::time::sleep(NEXT_AFTER).await;
        }
    }
    began.elapsed()
}

async fn round(place: &Place, recorder: &Recorder, open: &BTreeSet<TopicPartition>) -> Vec<TopicPartition> {
    let connecting = async {
        let client = RawClient::connect(&settings(&place.bootstrap)).await?;
        let led = client.by_leader(open).await?;
        Ok::<_, ClientError>((client, led.0))
    };
    let Ok(Ok((client, led))) = tokio::time::timeout(PROBE_WITHIN, connecting).await else { return Vec::new() };
    let mut asked = JoinSet::new();
    for (leader, partitions) in led {
        let (client, recorder) = (client.clone(), recorder.clone());
        asked.spawn(async move {
            let mut values = Values::new(&recorder);
            let mut batches = Vec::new();
            for partition in partitions {
                let value = values.next();
                recorder.note(values.worker, What::Send { partition: partition.partition.0, values: vec![value] });
                batches.push((partition, value));
            }
            let wanted: Vec<_> = batches.iter().map(|(partition, value)| (partition.clone(), batch(*value))).collect();
            let sending = tokio::time::timeout(PROBE_WITHIN, client.produce_batches(leader, &wanted)).await;
            let mut answers = sending.ok().and_then(Result::ok).unwrap_or_default();
            let mut written = Vec::new();
            for (partition, value) in batches {
                let answer = answers.remove(&partition).map(|answer| answer.map(|at| at.base_offset));
                let what = told(partition.partition.0, value, answer);
                if matches!(what, What::Sent { .. }) {
                    written.push(partition);
                }
                recorder.note(values.worker, what);
            }
            written
        });
    }
    asked.join_all().await.into_iter().flatten().collect()
}

fn told(partition: i32, value: Value, answer: Option<Result<Offset, ClientError>>) -> What {
    let values = vec![value];
    match answer {
        Some(Ok(offset)) => What::Sent { partition, values, offset: offset.0 },
        Some(Err(error)) => What::Unknown { values, reason: error.to_string() },
        None => What::Unknown { values, reason: format!("no answer within {PROBE_WITHIN:?}") },
    }
}

fn batch(value: Value) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.append(super::now_ms(), None, Some(&payload(value)), []);
    builder.build().expect("a small batch").into()
}

fn settings(bootstrap: &str) -> twinstream_client::ClientSettings {
    client_settings(bootstrap, &[("request.timeout.ms", PROBE_MS), ("default.api.timeout.ms", PROBE_MS)])
}
