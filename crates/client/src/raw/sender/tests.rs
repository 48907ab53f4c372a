//! The rim against brokers: waiting may be given up, and failures come as outcomes.

use std::collections::BTreeMap;

use twinstream_protocol::batch::BatchBuilder;

use super::*;
use crate::test_support::{PATIENCE, TestCluster, partition};

fn batch(number: u64) -> Outgoing {
    let mut builder = BatchBuilder::new().with_base_offset(Offset(500));
    builder.append(1_517_363_399_650, None, Some(format!("value-{number}").as_bytes()), []);
    Outgoing { ticket: number, bytes: Bytes::from(builder.build().unwrap()), records: 1, aligned: None }
}

async fn sender(cluster: &TestCluster, more: &[(&str, &str)]) -> BatchSender {
    let mut settings = cluster.settings();
    for (name, value) in more {
        settings.set(name, value).unwrap();
    }
    BatchSender::connect(&settings).await.unwrap()
}

#[tokio::test]
async fn waiting_may_be_given_up_at_any_time_and_no_outcome_is_lost() {
    const COUNT: u64 = 200;
    let cluster = TestCluster::start();
    let topic = cluster.topic("given-up", 4).await;
    let mut sender = sender(&cluster, &[]).await;
    for number in 0..COUNT {
        sender.send(&partition(&topic, (number % 4) as i32), batch(number));
    }
    let mut delivered: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let all = async {
        while !sender.is_empty() {
            // Each wait ends at its first chance.
            tokio::select! {
                biased;
                outcome = sender.next() => {
                    let ticket = outcome.unwrap().ticket;
                    delivered.entry(ticket % 4).or_default().push(ticket);
                }
                () = tokio::task::yield_now() => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap();
    for (at, tickets) in delivered {
        assert_eq!(tickets, (0..COUNT).filter(|number| number % 4 == at).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_topic_that_never_comes_fails_after_the_delivery_time_out_with_its_cause() {
    let cluster = TestCluster::start();
    let mut sender = sender(&cluster, &[("delivery.timeout.ms", "300")]).await;
    let missing = partition(&TopicName::parse(&format!("missing-{}", Uuid::new_v4())).unwrap(), 0);
    sender.send(&missing, batch(1));
    let failure = tokio::time::timeout(PATIENCE, sender.next()).await.unwrap().unwrap_err();
    assert_eq!((failure.ticket, &failure.partition), (1, &missing));
    let text = failure.error.to_string();
    assert!(text.contains("UNKNOWN_TOPIC_OR_PARTITION") && text.contains("300 ms"), "{text}");
    assert!(sender.is_empty());
}

#[tokio::test]
async fn settings_that_cannot_hold_are_refused_before_anything_is_sent() {
    let settings = ClientSettings::new("127.0.0.1:1").unwrap().with("acks", "0").unwrap();
    let error = BatchSender::connect(&settings).await.err().unwrap();
    assert!(matches!(error, ClientError::Settings(_)), "{error}");
}
