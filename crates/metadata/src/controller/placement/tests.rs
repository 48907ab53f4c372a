use std::collections::BTreeSet;

use twinstream_model::PartitionIndex;
use uuid::Uuid;

use super::*;
use crate::record::{Endpoint, Record};

/// Brokers 1, 2, .. in these racks, all up.
fn image(racks: &[Option<&str>]) -> Image {
    let mut image = Image::default();
    for (at, rack) in racks.iter().enumerate() {
        let (node_id, epoch) = (NodeId(at as i32 + 1), at as i64);
        let endpoint = Endpoint { listener: "L".into(), host: "h".into(), port: 1, security_protocol: 0 };
        let register = Record::RegisterBroker {
            node_id,
            incarnation: Uuid::from_u128(at as u128),
            epoch,
            endpoints: vec![endpoint],
            rack: rack.map(str::to_owned),
            controller: false,
            directories: vec![],
            metadata_directory: None,
            boot_id: String::new(),
        };
        image.apply_batch(&[register, fencing(node_id, epoch, false)]).expect("records that fit");
    }
    image
}

fn spread_out(image: &Image, count: usize, factor: usize) -> Result<Vec<Vec<NodeId>>, TopicError> {
    place(image, &BTreeSet::new(), count, factor)
}

fn fencing(node_id: NodeId, epoch: i64, fenced: bool) -> Record {
    Record::FenceBroker { node_id, epoch, fenced, shutting_down: false }
}

fn shares(placed: &[Vec<NodeId>], of: impl Fn(&Vec<NodeId>) -> Vec<NodeId>) -> BTreeMap<NodeId, usize> {
    let mut shares = BTreeMap::new();
    for node in placed.iter().flat_map(of) {
        *shares.entry(node).or_default() += 1;
    }
    shares
}

fn spread(shares: &BTreeMap<NodeId, usize>) -> usize {
    shares.values().max().expect("somebody") - shares.values().min().expect("somebody")
}

#[test]
fn leaders_and_followers_spread_evenly() {
    for (brokers, factor) in [(1, 1), (3, 1), (3, 3), (4, 3), (5, 2), (7, 3)] {
        let placed = spread_out(&image(&vec![None; brokers]), 420, factor).expect("enough brokers");
        assert!(placed.iter().all(|nodes| nodes.iter().collect::<BTreeSet<_>>().len() == factor));
        assert_eq!(spread(&shares(&placed, |nodes| vec![nodes[0]])), 0, "{brokers} {factor}");
        assert!(spread(&shares(&placed, Clone::clone)) <= 1, "{brokers} {factor}");
    }
}

#[test]
fn the_followers_of_one_leader_are_everywhere() {
    let placed = spread_out(&image(&[None; 5]), 100, 2).expect("enough brokers");
    let of_first: BTreeSet<NodeId> =
        placed.iter().filter(|nodes| nodes[0] == NodeId(1)).map(|nodes| nodes[1]).collect();
    assert_eq!(of_first.len(), 4);
}

#[test]
fn replicas_are_in_as_many_racks_as_there_are() {
    let (a, b, c) = (Some("a"), Some("b"), Some("c"));
    for racks in [vec![a, a, b, b, c, c], vec![a, a, a, b, c], vec![a, b, c], vec![c, a, None, a]] {
        let rack = |node: &NodeId| racks[node.0 as usize - 1];
        let placed = spread_out(&image(&racks), 60, 3).expect("enough brokers");
        for nodes in &placed {
            assert_eq!(nodes.iter().map(rack).collect::<BTreeSet<_>>().len(), 3, "{nodes:?} of {racks:?}");
        }
        assert_eq!(spread(&shares(&placed, |nodes| vec![nodes[0]])), 0, "{racks:?}");
    }
    let placed = spread_out(&image(&[a, a, b, b]), 60, 3).expect("enough brokers");
    for nodes in placed {
        assert_eq!(
            nodes.iter().filter(|node| node.0 <= 2).count().clamp(1, 2),
            nodes.iter().filter(|node| node.0 <= 2).count()
        );
    }
}

#[test]
fn the_next_topic_begins_where_the_last_one_ended() {
    let mut image = image(&[None; 3]);
    let topic_id = twinstream_model::TopicId(Uuid::from_u128(1));
    let name = twinstream_model::TopicName::parse("a").expect("a legal name");
    let first = spread_out(&image, 1, 1).expect("enough brokers").remove(0);
    assert_eq!(first, [NodeId(1)]);
    let partition = crate::PartitionImage { replicas: first, ..Default::default() };
    let records = [
        Record::Topic { name, topic_id },
        Record::Partition { topic_id, partition: PartitionIndex(0), image: partition },
    ];
    image.apply_batch(&records).expect("records that fit");
    assert_eq!(spread_out(&image, 1, 1).expect("enough brokers"), [[NodeId(2)]]);
}

#[test]
fn a_broker_that_is_down_leads_nothing_and_follows_only_when_it_must() {
    let mut image = image(&[None; 4]);
    image.apply(&fencing(NodeId(1), 0, true)).expect("it is registered");
    let placed = spread_out(&image, 30, 3).expect("enough brokers");
    assert!(placed.iter().all(|nodes| !nodes.contains(&NodeId(1))));
    let placed = spread_out(&image, 30, 4).expect("enough brokers");
    assert!(placed.iter().all(|nodes| nodes[3] == NodeId(1)));
    let error = spread_out(&image, 1, 5).unwrap_err();
    assert_eq!(error, TopicError::TooFewBrokers { wanted: 5, registered: 4 });
    for node in 2..=4 {
        image.apply(&fencing(NodeId(node), i64::from(node) - 1, true)).expect("it is registered");
    }
    assert_eq!(spread_out(&image, 1, 1).unwrap_err(), TopicError::NoLiveBroker { fenced: 4 });
}

#[test]
fn a_broker_whose_directories_are_all_cordoned_gets_nothing_and_does_not_count() {
    let image = image(&[None; 3]);
    let cordoned = |nodes: &[i32]| nodes.iter().map(|node| NodeId(*node)).collect::<BTreeSet<_>>();
    let placed = place(&image, &cordoned(&[2]), 30, 2).expect("enough brokers");
    assert!(placed.iter().all(|nodes| !nodes.contains(&NodeId(2))));
    let error = place(&image, &cordoned(&[2]), 1, 3).unwrap_err();
    assert_eq!(error, TopicError::TooFewBrokers { wanted: 3, registered: 2 });
    assert_eq!(place(&image, &cordoned(&[1, 2, 3]), 1, 1).unwrap_err(), TopicError::NoLiveBroker { fenced: 0 });
}
