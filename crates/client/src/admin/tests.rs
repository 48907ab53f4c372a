//! What an operator sees.

use twinstream_model::Offset;

use super::*;
use crate::test_support::{TestCluster, fill, partition};

#[tokio::test(flavor = "multi_thread")]
async fn topics_and_their_ends_are_listed() {
    let cluster = TestCluster::start();
    let topic = cluster.topic("listed", 2).await;
    fill(&cluster, &partition(&topic, 1), 3).await;
    let admin = Admin::connect(&cluster.settings()).await.unwrap();
    assert!(!admin.brokers().await.unwrap().is_empty());
    assert_eq!(admin.topics().await.unwrap()[&topic].partitions.len(), 2);
    assert_eq!(admin.topic(&topic).await.unwrap().unwrap().partitions.len(), 2);
    let gone = partition(&TopicName::parse("never-made").unwrap(), 0);
    let ends = admin.end_offsets(&[partition(&topic, 0), partition(&topic, 1), gone]).await.unwrap();
    let ends: Vec<(String, Offset)> = ends.into_iter().map(|(at, end)| (at.partition.to_string(), end)).collect();
    assert_eq!(ends, [("0".to_owned(), Offset(0)), ("1".to_owned(), Offset(3))]);
}

#[test]
fn lag_is_never_negative_and_unknown_without_an_end() {
    let lag = |end| GroupLag { committed: CommitOffset::from(Offset(10)), end }.lag();
    assert_eq!((lag(Some(Offset(12))), lag(Some(Offset(3))), lag(None)), (Some(2), Some(0), None));
}
