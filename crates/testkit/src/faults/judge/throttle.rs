//! A partition moves to a fourth broker under a throttle; how fast do its bytes arrive?
//!
//! Measured at the newcomer's files, between a fifth and four fifths of the way, so that neither the first burst of a full
//! bucket nor the last request counts.

use std::time::{Duration, Instant};

use bytes::Bytes;
use twinstream_client::ProducerRecord;

use super::{Options, Row};
use crate::cluster::{Cluster, ClusterOptions};
use crate::nemesis::files;
use crate::operator::{Operator, SETTLES_WITHIN};
use crate::records::{produce, topic_name};
use crate::wait::wait_until;

const TOPIC: &str = "moved";
const RATE: u64 = 2 * 1024 * 1024;
const RECORD_BYTES: usize = 16 * 1024;
const RECORDS: usize = 2_560; // 40 MiB, so 20 s
const OFF_BY_MAX: f64 = 0.10;

pub(super) async fn run(options: &Options) -> Vec<Row> {
    if !options.with_ours {
        return Vec::new();
    }
    let cluster = Cluster::start_with(4, ClusterOptions::replicated()).await;
    eprintln!("--- Twinstream: a movement throttled to {RATE} bytes a second");
    let operator = Operator::connect(&cluster.bootstrap(), 4).await;
    operator.create_topic(TOPIC, 1, 3, &[]).await;
    let value = Bytes::from(vec![b'x'; RECORD_BYTES]);
    let record = ProducerRecord::new(topic_name(TOPIC), None, Some(value));
    produce(&cluster.bootstrap(), &[("librdkafka.queue.buffering.max.kbytes", "65536")], &vec![record; RECORDS]).await;
    operator.wait_whole(TOPIC, 1).await;

    for id in 1..=4 {
        operator.set_broker_config(id, "leader.replication.throttled.rate", &RATE.to_string()).await;
        operator.set_broker_config(id, "follower.replication.throttled.rate", &RATE.to_string()).await;
    }
    operator.set_topic_config(TOPIC, "leader.replication.throttled.replicas", "*").await;
    operator.set_topic_config(TOPIC, "follower.replication.throttled.replicas", "*").await;
    let before = operator.partition(TOPIC, 0).await.replicas;
    let newcomer = (1..=4).find(|id| !before.contains(id)).expect("one broker without a replica");
    let target = [newcomer, before[0], before[1]];
    operator.reassign(TOPIC, 0, Some(&target)).await;
    let all = RECORDS as u64 * RECORD_BYTES as u64;
    let first = reached(&cluster, newcomer, all / 5).await;
    let last = reached(&cluster, newcomer, all / 5 * 4).await;
    let took = last.0 - first.0;
    let rate = (last.1 - first.1) as f64 / took.as_secs_f64();
    wait_until("the movement ends", SETTLES_WITHIN, || async { operator.is_reassigning().await == Some(false) }).await;
    operator.wait_whole(TOPIC, 1).await;
    let off_by = rate / RATE as f64 - 1.0;
    vec![Row {
        subject: "Twinstream",
        what: format!("movement throttled to {:.1} MiB/s", RATE as f64 / 1024.0 / 1024.0),
        times: vec![took],
        note: format!("{:.2} MiB/s, off by {:+.1} %;", rate / 1024.0 / 1024.0, off_by * 100.0),
        verdict: format!("allowed are {:.0} %", OFF_BY_MAX * 100.0),
        clean: off_by.abs() <= OFF_BY_MAX,
        limit: None,
    }]
}

/// When the broker's copy has so many bytes, and how many it has then.
async fn reached(cluster: &Cluster, broker: usize, bytes: u64) -> (Instant, u64) {
    let size = || files::log_length(&cluster.data(broker), TOPIC, 0);
    wait_until("bytes arrive", Duration::from_secs(120), || {
        let there = size() >= bytes;
        async move { there }
    })
    .await;
    (Instant::now(), size())
}
