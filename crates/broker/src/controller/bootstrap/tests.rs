use std::io;

use twinstream_model::ErrorCode;

use super::super::peers::PeerError;
use super::*;

fn own() -> Own {
    Own {
        node: NodeId(1),
        incarnation: Uuid::from_u128(1),
        hosts: vec![String::new(), "own.example".to_owned()],
        is_controller: true,
        holds_partitions: false,
        metadata_dir: "/data/1".to_owned(),
    }
}

fn place(node: i32, run: u128, formed: bool) -> Answer {
    Ok(QuorumPlace {
        node: NodeId(node),
        incarnation: Uuid::from_u128(run),
        formed,
        leader: None,
        term: 0,
        nodes: Vec::new(),
    })
}

fn down() -> Answer {
    let source = io::ErrorKind::ConnectionRefused.into();
    Err(HelloError::Silent(PeerError::Connect { address: "down:9093".to_owned(), source }))
}

fn at(server: &str, answers: Vec<Answer>) -> Asked {
    Asked { server: server.to_owned(), answers }
}

fn waits(own: &Own, asked: &[Asked]) -> String {
    match judge(own, asked) {
        Verdict::Wait(reasons) => reasons.join("; "),
        verdict => panic!("it does not wait: {verdict:?}"),
    }
}

#[test]
fn quorum_at_any_address_is_joined_whatever_the_others_say() {
    let stranger = (ErrorCode::InconsistentClusterId, "this is a node of cluster c2".to_owned());
    let others = vec![place(1, 1, false), Err(HelloError::Refused(stranger)), place(3, 3, true)];
    assert_eq!(judge(&own(), &[at("down:9093", vec![down()]), at("service:9093", others)]), Verdict::Found);
}

#[test]
fn only_a_controller_that_finds_nobody_but_itself_founds_a_cluster() {
    let myself = || at("own.example:9093", vec![place(1, 1, false)]);
    assert_eq!(judge(&own(), &[myself(), at("[::1]:9093", vec![place(1, 1, false)])]), Verdict::FoundAlone);
    let one_is_down = [myself(), at("down:9093", vec![down()])];
    assert_eq!(waits(&own(), &one_is_down), "own.example:9093 is this node; down:9093: cannot connect to down:9093");
    let both = [myself(), at("two:9093", vec![place(2, 2, false)])];
    assert!(waits(&own(), &both).ends_with("two:9093 is node 2, which belongs to no quorum either"));
    let broker = Own { is_controller: false, ..own() };
    assert_eq!(waits(&broker, &[myself()]), "own.example:9093 is this node");
}

#[test]
fn own_name_may_lead_where_nobody_listens_and_no_other_name_is_this_node_alone() {
    let localhost = at("localhost:9093", vec![down(), place(1, 1, false)]);
    assert_eq!(judge(&own(), &[localhost]), Verdict::FoundAlone);
    let shared = at("localhost:9093", vec![place(2, 2, false), place(1, 1, false)]);
    assert!(waits(&own(), &[shared]).contains("node 2"));
    // Others may come to it later.
    let service = at("service:9093", vec![place(1, 1, false)]);
    assert_eq!(waits(&own(), &[service]), "service:9093 is this node");
}

#[test]
fn partitions_without_metadata_found_nothing() {
    let robbed = Own { holds_partitions: true, ..own() };
    let alone = at("own.example:9093", vec![place(1, 1, false)]);
    let Verdict::Refuse(reason) = judge(&robbed, &[alone]) else { panic!("it is refused") };
    assert!(reason.contains("/data/1"), "{reason}");
    let quorum = at("two:9093", vec![place(2, 2, true)]);
    assert_eq!(judge(&robbed, &[quorum]), Verdict::Found, "the cluster knows what they are");
}

#[test]
fn another_process_with_this_number_is_not_taken_for_this_node() {
    let namesake = at("own.example:9093", vec![place(1, 7, false)]);
    assert_eq!(waits(&own(), &[namesake]), "own.example:9093 is another node 1, check node.id");
}

fn stranger() -> Answer {
    let refusal = "this is a node of cluster c2, the request is of cluster c1".to_owned();
    Err(HelloError::Refused((ErrorCode::InconsistentClusterId, refusal)))
}

#[test]
fn voter_whose_servers_are_of_another_cluster_does_not_go_on() {
    let own = own().incarnation;
    let elsewhere = || at("two:9093", vec![down(), stranger()]);
    let reasons = ["two:9093: this is a node of cluster c2, the request is of cluster c1".to_owned()];
    assert_eq!(judge_servers(own, &[elsewhere()]), Err(reasons.to_vec()));
    let itself = || at("own.example:9093", vec![place(1, 1, true)]);
    assert_eq!(judge_servers(own, &[itself(), elsewhere()]), Err(reasons.to_vec()), "its own word is none");
    assert_eq!(judge_servers(own, &[at("down:9093", vec![down()]), elsewhere(), elsewhere()]).unwrap_err().len(), 2);
}

#[test]
fn voter_whose_servers_are_down_or_mostly_its_own_goes_on() {
    let own = own().incarnation;
    let friend = || at("three:9093", vec![place(3, 3, true)]);
    let elsewhere = || at("two:9093", vec![stranger()]);
    assert_eq!(judge_servers(own, &[]), Ok(()));
    assert_eq!(judge_servers(own, &[at("own.example:9093", vec![place(1, 1, true)])]), Ok(()));
    assert_eq!(judge_servers(own, &[at("down:9093", vec![down()])]), Ok(()));
    assert_eq!(judge_servers(own, &[friend(), elsewhere()]), Ok(()), "one of two is misplaced");
    assert_eq!(judge_servers(own, &[at("service:9093", vec![stranger(), place(3, 3, true)])]), Ok(()));
}
