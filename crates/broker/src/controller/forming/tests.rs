use std::io;

use super::super::peers::PeerError;
use super::*;

fn directory(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn own() -> Own {
    Own {
        node: NodeId(1),
        directory: directory(11),
        configured: vec![NodeId(1), NodeId(2), NodeId(3)],
        holds_partitions: false,
        metadata_dir: "/data/1".to_owned(),
    }
}

fn new_node(number: u128) -> Result<HelloAnswer, HelloError> {
    Ok(HelloAnswer {
        directory: directory(number),
        configured: own().configured,
        cluster: None,
        holds_partitions: false,
        voters: None,
        leader: None,
        term: 0,
    })
}

fn with(change: impl FnOnce(&mut HelloAnswer), number: u128) -> Result<HelloAnswer, HelloError> {
    let mut answer = new_node(number);
    if let Ok(answer) = &mut answer {
        change(answer);
    }
    answer
}

fn down() -> Result<HelloAnswer, HelloError> {
    let source = io::ErrorKind::ConnectionRefused.into();
    Err(HelloError::Silent(PeerError::Connect { address: "three:9092".to_owned(), source }))
}

fn map(of_first: u128) -> BTreeMap<NodeId, Uuid> {
    BTreeMap::from([(NodeId(1), directory(of_first)), (NodeId(2), directory(12)), (NodeId(3), directory(13))])
}

fn judged(own: &Own, second: Result<HelloAnswer, HelloError>, third: Result<HelloAnswer, HelloError>) -> Verdict {
    judge(own, vec![(NodeId(2), second), (NodeId(3), third)])
}

#[test]
fn a_quorum_is_founded_only_when_all_voters_are_there_and_new() {
    let verdict = judged(&own(), new_node(12), new_node(13));
    assert_eq!(verdict, Verdict::Form { voters: map(11), cluster: None });
    let Verdict::Wait(reasons) = judged(&own(), new_node(12), down()) else { panic!("it waits") };
    assert_eq!(reasons, ["node 3: cannot connect to three:9092"]);
}

#[test]
fn a_wiped_voter_does_not_vote() {
    let of_before = with(|answer| answer.voters = Some(map(99)), 12);
    assert_eq!(judged(&own(), of_before, down()), Verdict::Newcomer { cluster: None });
}

#[test]
fn a_voter_that_missed_the_founding_takes_part_in_it() {
    let formed = with(
        |answer| {
            answer.voters = Some(map(11));
            answer.cluster = Some("c1".into());
        },
        12,
    );
    assert_eq!(judged(&own(), formed, down()), Verdict::Form { voters: map(11), cluster: Some("c1".into()) });
}

#[test]
fn a_node_with_partitions_and_without_metadata_founds_nothing() {
    let holder = Own { holds_partitions: true, ..own() };
    let Verdict::Refuse(reason) = judged(&holder, new_node(12), new_node(13)) else { panic!("it refuses") };
    assert!(reason.contains("log.dirs hold partitions, but there is no metadata in /data/1"), "{reason}");
    let other_holds = with(|answer| answer.holds_partitions = true, 12);
    assert!(matches!(judged(&own(), other_holds, new_node(13)), Verdict::Wait(_)));
    let formed = with(|answer| answer.voters = Some(map(99)), 12);
    assert_eq!(judged(&holder, formed, down()), Verdict::Newcomer { cluster: None }, "its cluster lives on");
}

#[test]
fn voters_that_disagree_about_who_votes_say_so() {
    let other = with(|answer| answer.configured = vec![NodeId(1), NodeId(2)], 12);
    let Verdict::Refuse(reason) = judged(&own(), other, new_node(13)) else { panic!("it refuses") };
    assert_eq!(
        reason,
        "node 2 lists the voters 1,2 in controller.quorum.voters and this node lists 1,2,3; make them the same"
    );
}

#[test]
fn a_voter_of_another_cluster_ends_the_start() {
    let refusal = (ErrorCode::InconsistentClusterId, "this is a node of cluster a".to_owned());
    let verdict = judged(&own(), Err(HelloError::Refused(refusal)), down());
    assert!(matches!(&verdict, Verdict::Refuse(reason) if reason.contains("cluster a")), "{verdict:?}");
}

#[test]
fn a_voter_whose_settings_send_it_elsewhere_does_not_go_on_alone() {
    let ids = |nodes: &[i32]| nodes.iter().copied().map(NodeId).collect::<Vec<_>>();
    assert_eq!(check_vote(&own(), true, &ids(&[1, 2, 4])), Ok(()), "node 3 was exchanged for node 4");
    let elsewhere = check_vote(&own(), true, &ids(&[9])).unwrap_err();
    assert!(elsewhere.contains("with the voters 9, whose log is in /data/1"), "{elsewhere}");
    assert!(check_vote(&own(), false, &ids(&[1, 2, 3])).is_err(), "a vote without the role");
}
