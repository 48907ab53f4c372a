//! Everything is read once more when nothing is broken any more, by both clients and from every replica. With transactions
//! also as it is in the logs, committed or not.

use std::time::Duration;

use tokio::time::Instant;
use twinstream_client::RawClient;
use twinstream_client::raw::OffsetAt;
use twinstream_model::{ErrorCode, NodeId, Offset};

use super::reader::Reader;
use super::{Isolation, LoadOptions, Place, native};
use crate::history::{Recorder, What, Worker};
use crate::records::client_settings;
use crate::wait::wait_until_some;

const READ_WITHIN: Duration = Duration::from_secs(120);

/// Notes that all is healed, then reads all partitions up to their ends.
pub async fn last_reading(bootstrap: &str, recorder: &Recorder, options: &LoadOptions) {
    recorder.note(Worker::NEMESIS, What::Healed);
    let place = Place { bootstrap: bootstrap.to_owned(), options: options.clone() };
    native::read_once(&place, recorder, READ_WITHIN).await;
    let client = RawClient::connect(&client_settings(bootstrap, &[])).await.expect("a healed cluster answers");
    for partition in place.partitions() {
        let asked_us = recorder.now_us();
        let ends = client.list_offsets(std::slice::from_ref(&partition), OffsetAt::Latest).await;
        let mut ends = ends.unwrap_or_else(|error| panic!("{error}"));
        let end = ends.remove(&partition).expect("an answer for the partition");
        let end = end.unwrap_or_else(|error| panic!("{error}"));
        let mut reader = Reader::start(partition.clone(), Isolation::Committed, recorder);
        let index = partition.partition.0;
        recorder.note(reader.worker(), What::End { partition: index, offset: end.0, asked_us });
        let leader = client.leader(&partition).await.unwrap_or_else(|error| panic!("{error}"));
        read_up_to(&mut reader, &client, leader, end, recorder).await;
        for replica in replicas(&client, &partition).await {
            for isolation in options.isolations() {
                if replica == leader && *isolation == Isolation::Committed {
                    continue;
                }
                let mut reader = Reader::start(partition.clone(), *isolation, recorder);
                read_up_to(&mut reader, &client, replica, end, recorder).await;
            }
        }
    }
}

async fn replicas(client: &RawClient, partition: &twinstream_model::TopicPartition) -> Vec<NodeId> {
    let what = format!("the replicas of {partition} are known");
    wait_until_some(&what, READ_WITHIN, || async {
        let view = client.refresh(std::slice::from_ref(&partition.topic)).await.ok()?;
        Some(view.topics.get(&partition.topic)?.partitions.get(&partition.partition)?.replicas.clone())
    })
    .await
}

async fn read_up_to(reader: &mut Reader, client: &RawClient, broker: NodeId, end: Offset, recorder: &Recorder) {
    let deadline = Instant::now() + READ_WITHIN;
    while reader.from.offset < end {
        let fetched = reader.fetch(client, broker, recorder).await;
        if let Err(error) = fetched {
            // A follower that has not heard of the high watermark yet says so; it will.
            let passes = error.is_retriable() || error.code() == Some(ErrorCode::OffsetOutOfRange);
            assert!(passes, "last reading of {} from broker {broker}: {error}", reader.from.partition);
        }
        assert!(
            Instant::now() < deadline,
            "last reading of {} from broker {broker}: at {} of {end} after {READ_WITHIN:?}",
            reader.from.partition,
            reader.from.offset
        );
    }
}
