use twinstream_metadata::{Mirror, MirrorState, PartitionImage};
use twinstream_model::{PartitionIndex, TopicId, TopicName};

use super::*;

fn at(index: i32) -> TopicPartition {
    TopicPartition::new(TopicName::parse("orders").expect("a name"), PartitionIndex(index))
}

/// Partition 0 has a leader, partition 1 has none.
fn image() -> Image {
    let mut image = Image::default();
    let topic_id = TopicId(Uuid::from_u128(7));
    image.apply(&Record::Topic { name: at(0).topic, topic_id }).expect("a new topic");
    for (index, leader) in [(0, Some(NodeId(1))), (1, None)] {
        let replicas = vec![NodeId(1)];
        let isr = leader.into_iter().collect();
        let partition = PartitionImage { replicas, leader, isr, ..PartitionImage::default() };
        let record = Record::Partition { topic_id, partition: PartitionIndex(index), image: partition };
        image.apply(&record).expect("a new partition");
    }
    image
}

#[test]
fn only_partitions_that_stay_without_a_leader_are_an_error() {
    assert_eq!(still_offline(vec![at(0), at(1), at(2)], &image()), [at(1)]);
}

#[test]
fn brokers_that_serve_and_that_hand_over_are_told_and_those_that_are_gone_are_not() {
    let record =
        |node, fenced, shutting_down| Record::FenceBroker { node_id: NodeId(node), epoch: 1, fenced, shutting_down };
    let records = [record(1, false, false), record(2, false, true), record(3, true, true), record(4, true, false)];
    assert_eq!(news(&records), [News::Serves(NodeId(1)), News::HandsOver(NodeId(2))]);
}

#[test]
fn a_promotion_is_told_and_a_new_mirror_is_not() {
    let mirror = |state| Record::Mirror {
        topic_id: TopicId(Uuid::from_u128(7)),
        mirror: Mirror {
            link: Uuid::from_u128(8),
            cluster: "upstream".into(),
            topic: at(0).topic,
            topic_id: TopicId(Uuid::from_u128(9)),
            state,
        },
    };
    let epoch = LeaderEpoch(5);
    let expected = News::Promoted { source: "orders of cluster upstream".into(), link: Uuid::from_u128(8), epoch };
    assert_eq!(news(&[mirror(MirrorState::Mirroring), mirror(MirrorState::Promoted { epoch, own: None })]), [expected]);
}
