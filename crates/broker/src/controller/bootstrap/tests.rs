use std::io;

use twinstream_model::ErrorCode;

use super::super::peers::PeerError;
use super::*;

fn own() -> Own {
    Own {
        node: NodeId(1),
        incarnation: Uuid::from_u128(1),
        is_controller: true,
        holds_partitions: false,
        metadata_dir: "/data/1".to_owned(),
    }
}

fn place(node: i32, run: u128, formed: bool) -> Answer {
    let place = QuorumPlace {
        node: NodeId(node),
        incarnation: Uuid::from_u128(run),
        formed,
        leader: None,
        term: 0,
        nodes: Vec::new(),
    };
    (format!("host{run}:9093"), Ok(place))
}

fn down() -> Answer {
    let source = io::ErrorKind::ConnectionRefused.into();
    ("host9:9093".to_owned(), Err(HelloError::Silent(PeerError::Connect { address: "host9:9093".to_owned(), source })))
}

fn waits(own: &Own, answers: &[Answer]) -> String {
    match judge(own, answers) {
        Verdict::Wait(reasons) => reasons.join("; "),
        verdict => panic!("it does not wait: {verdict:?}"),
    }
}

#[test]
fn quorum_at_any_address_is_joined_whatever_the_others_say() {
    let stranger = (ErrorCode::InconsistentClusterId, "this is a node of cluster c2".to_owned());
    let stranger = ("host8:9093".to_owned(), Err(HelloError::Refused(stranger)));
    let answers = [down(), place(1, 1, false), stranger, place(3, 3, true)];
    assert_eq!(judge(&own(), &answers), Verdict::Found);
}

#[test]
fn only_a_controller_that_finds_nobody_but_itself_founds_a_cluster() {
    let myself = [place(1, 1, false), place(1, 1, false)];
    assert_eq!(judge(&own(), &myself), Verdict::FoundAlone);
    assert_eq!(
        waits(&own(), &[place(1, 1, false), down()]),
        "host1:9093 is this node; host9:9093: cannot connect to host9:9093"
    );
    let both = [place(1, 1, false), place(2, 2, false)];
    assert!(waits(&own(), &both).ends_with("host2:9093 is node 2, which belongs to no quorum either"));
    let broker = Own { is_controller: false, ..own() };
    assert_eq!(waits(&broker, &myself[..1]), "host1:9093 is this node");
}

#[test]
fn partitions_without_metadata_found_nothing() {
    let robbed = Own { holds_partitions: true, ..own() };
    let Verdict::Refuse(reason) = judge(&robbed, &[place(1, 1, false)]) else { panic!("it is refused") };
    assert!(reason.contains("/data/1"), "{reason}");
    assert_eq!(judge(&robbed, &[place(2, 2, true)]), Verdict::Found, "the cluster knows what they are");
}

#[test]
fn another_process_with_this_number_is_not_taken_for_this_node() {
    assert_eq!(waits(&own(), &[place(1, 7, false)]), "host7:9093 is another node 1, check node.id");
}
