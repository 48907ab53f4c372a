use twinstream_metadata::Endpoint;
use twinstream_metadata::PartitionImage;
use twinstream_metadata::controller::{CopyMove, EpochRaise, Heartbeat, IsrChange, Registration, Reported, SeenCopy};
use twinstream_model::{LeaderEpoch, PartitionIndex, TopicId};
use uuid::Uuid;

use super::*;
use crate::controller::heartbeats::Form;

fn join() -> Join {
    let endpoint =
        Endpoint { listener: "PLAINTEXT".into(), host: "127.0.0.1".into(), port: 9092, security_protocol: 0 };
    let registration = Registration {
        node_id: NodeId(2),
        incarnation: Uuid::from_u128(7),
        cluster_id: Some(ClusterId::from("c1")),
        endpoints: vec![endpoint],
        rack: Some("r1".into()),
        controller: false,
        directories: vec![Uuid::from_u128(8)],
        offline_directories: 2,
        metadata_directory: Some(Uuid::from_u128(9)),
        boot_id: "boot-1".into(),
        clean: true,
    };
    Join { registration, wants_vote: true }
}

fn forwarded() -> Forwarded {
    Forwarded {
        api_key: 19,
        api_version: 7,
        client_id: Some("admin".into()),
        principal_kind: "User".into(),
        principal_name: "ANONYMOUS".into(),
        listener: "PLAINTEXT".into(),
        body: Bytes::from_static(b"body"),
    }
}

#[test]
fn what_one_node_writes_the_other_reads() {
    let envelope = Envelope { cluster: Some(ClusterId::from("c1")), from: NodeId(2), to: NodeId(1) };
    let mut out = envelope.write();
    join().write(&mut out);
    let mut reader = Reader::new("test", &out.bytes);
    assert_eq!(Envelope::read(&mut reader), Ok(envelope));
    assert_eq!(Join::read(&mut reader), Ok(join()));

    let joined = Joined { cluster: ClusterId::from("c1"), epoch: 9 };
    assert_eq!(Joined::read(&joined.write()), Ok(joined));

    let mut out = Writer::default();
    forwarded().write(&mut out);
    assert_eq!(Forwarded::read(&mut Reader::new("test", &out.bytes)), Ok(forwarded()));

    let messages = [Bytes::from_static(b"one"), Bytes::new()];
    let mut out = Writer::default();
    write_raft(&mut out, &messages);
    assert_eq!(read_raft(&mut Reader::new("test", &out.bytes)), Ok(vec![&b"one"[..], &b""[..]]));
}

fn heartbeat(takes_replicas: bool, min_insync_replicas: Option<usize>) -> Heartbeat {
    let (caught_up, wants_shutdown) = (true, false);
    Heartbeat { node_id: NodeId(2), epoch: 9, caught_up, wants_shutdown, takes_replicas, min_insync_replicas }
}

fn written(heartbeat: &Heartbeat, form: Form) -> Vec<u8> {
    let mut out = Writer::default();
    write_heartbeat(&mut out, heartbeat, form);
    out.bytes
}

#[test]
fn a_heartbeat_arrives_as_it_was_sent_and_its_plain_form_is_that_of_the_first_release() {
    let read = |bytes: &[u8]| read_heartbeat(&mut Reader::new("test", bytes));
    for sent in [heartbeat(true, Some(2)), heartbeat(false, Some(1)), heartbeat(false, None)] {
        let whole = written(&sent, Form::Whole);
        assert_eq!(read(&whole), Ok(sent));
        let plain = written(&sent, Form::Plain);
        assert_eq!(plain, [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9, 1, 0]);
        assert_eq!(read(&plain), Ok(heartbeat(true, None)));
        assert_eq!(read(&whole[..plain.len() + 1]), Ok(Heartbeat { min_insync_replicas: None, ..sent }));
        for end in (0..plain.len()).chain(plain.len() + 2..whole.len()) {
            assert!(read(&whole[..end]).is_err(), "cut at {end}");
        }
    }
}

#[test]
fn an_answer_is_the_payload_or_the_refusal() {
    let good = write_answer(Ok(vec![1, 2]));
    assert_eq!(read_answer(&good), Ok(Ok(&[1, 2][..])));
    let refusal = (ErrorCode::StaleBrokerEpoch, "registered again".to_owned());
    let bad = write_answer(Err(refusal.clone()));
    assert_eq!(read_answer(&bad), Ok(Err(refusal)));
}

#[test]
fn every_cut_is_an_error_and_no_length_is_believed() {
    let mut out = Writer::default();
    join().write(&mut out);
    for end in 0..out.bytes.len() {
        assert!(Join::read(&mut Reader::new("test", &out.bytes[..end])).is_err(), "cut at {end}");
    }
    assert!(read_raft(&mut Reader::new("test", &[0xff; 8])).is_err());
    let many = [&(RAFT_MESSAGES_MAX as u32 + 1).to_be_bytes()[..], &vec![0; 4 * (RAFT_MESSAGES_MAX + 1)]].concat();
    assert!(read_raft(&mut Reader::new("test", &many)).is_err());
}

#[test]
fn api_keys_are_found_again_and_do_not_overlap_with_kafkas() {
    for api in InternalApi::ALL {
        assert_eq!(InternalApi::from_key(api as i16), Some(api));
        assert!(api as i16 >= INTERNAL_API_KEY_MIN);
    }
    assert_eq!(InternalApi::from_key(19), None);
}

fn hello_answer() -> HelloAnswer {
    HelloAnswer {
        directory: Uuid::from_u128(11),
        configured: vec![NodeId(1), NodeId(2), NodeId(3)],
        cluster: Some(ClusterId::from("c1")),
        holds_partitions: true,
        voters: Some([(NodeId(1), Uuid::from_u128(11)), (NodeId(2), Uuid::from_u128(12))].into()),
        leader: Some(NodeId(2)),
        term: 7,
    }
}

fn change() -> IsrChange {
    IsrChange {
        topic_id: TopicId(Uuid::from_u128(3)),
        partition: PartitionIndex(4),
        leader_epoch: LeaderEpoch(5),
        partition_epoch: 6,
        isr: vec![(NodeId(1), 100), (NodeId(2), -1)],
    }
}

fn outcomes() -> IsrOutcomes {
    let nodes = |nodes: &[i32]| nodes.iter().copied().map(NodeId).collect::<Vec<_>>();
    let partition = PartitionImage {
        replicas: nodes(&[1, 2, 3, 4]),
        isr: nodes(&[1, 2]),
        elr: nodes(&[3]),
        last_known_leader: None,
        leader: Some(NodeId(1)),
        leader_epoch: LeaderEpoch(5),
        partition_epoch: 7,
        adding: nodes(&[4]),
        removing: nodes(&[2]),
        offline: nodes(&[3, 4]),
    };
    let offline = PartitionImage { leader: None, last_known_leader: Some(NodeId(3)), ..partition.clone() };
    vec![Ok(partition), Err(ErrorCode::FencedLeaderEpoch), Ok(offline)]
}

#[test]
fn a_hello_and_its_answer_arrive_as_they_were_sent() {
    let hello = Hello { directory: Uuid::from_u128(11), configured: vec![NodeId(1), NodeId(2), NodeId(3)] };
    let mut out = Writer::default();
    hello.write(&mut out);
    assert_eq!(Hello::read(&mut Reader::new("test", &out.bytes)), Ok(hello));
    let new = HelloAnswer { voters: None, leader: None, cluster: None, term: 0, ..hello_answer() };
    for answer in [hello_answer(), new] {
        assert_eq!(HelloAnswer::read(&answer.write()), Ok(answer));
    }
    let bytes = hello_answer().write();
    for end in 0..bytes.len() {
        assert!(HelloAnswer::read(&bytes[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn what_is_said_about_the_quorum_arrives_as_it_was_sent() {
    let address = |node| NodeAddress { node: NodeId(node), epoch: 12, host: "host".to_owned(), port: 9092 };
    let place = QuorumPlace {
        node: NodeId(4),
        incarnation: Uuid::from_u128(11),
        formed: true,
        leader: Some(NodeId(2)),
        term: 7,
        nodes: (1..=3).map(address).collect(),
    };
    let new = QuorumPlace { formed: false, leader: None, term: 0, nodes: Vec::new(), ..place.clone() };
    for place in [&place, &new] {
        assert_eq!(QuorumPlace::read(&place.write()).as_ref(), Ok(place));
    }
    let bytes = place.write();
    for end in 0..bytes.len() {
        assert!(QuorumPlace::read(&bytes[..end]).is_err(), "cut at {end}");
    }
    let many = QuorumPlace { nodes: (0..=NODES_MAX as i32).map(address).collect(), ..place };
    assert!(QuorumPlace::read(&many.write()).is_err());
}

#[test]
fn report_of_failed_disks_and_its_answer_arrive_as_they_were_sent() {
    let partitions =
        vec![(TopicId(Uuid::from_u128(3)), PartitionIndex(4)), (TopicId(Uuid::from_u128(5)), PartitionIndex(0))];
    let mut out = Writer::default();
    write_offline(&mut out, 9, &partitions);
    assert_eq!(read_offline(&mut Reader::new("test", &out.bytes)), Ok((9, partitions)));
    for end in 0..out.bytes.len() {
        assert!(read_offline(&mut Reader::new("test", &out.bytes[..end])).is_err(), "cut at {end}");
    }
    for reported in [Reported::All, Reported::Part] {
        assert_eq!(read_reported(&write_reported(reported)), Ok(reported));
    }
    assert!(read_reported(&[]).is_err());
}

#[test]
fn copies_that_step_aside_or_come_back_arrive_as_they_were_sent() {
    let copy = SeenCopy {
        topic_id: TopicId(Uuid::from_u128(3)),
        partition: PartitionIndex(4),
        leader_epoch: LeaderEpoch(5),
        partition_epoch: 6,
    };
    for wanted in [CopyMove::StepAside, CopyMove::ComeBack] {
        let mut out = Writer::default();
        write_copy_moves(&mut out, 9, wanted, &[copy, copy]);
        assert_eq!(read_copy_moves(&mut Reader::new("test", &out.bytes)), Ok((9, wanted, vec![copy, copy])));
        for end in 0..out.bytes.len() {
            assert!(read_copy_moves(&mut Reader::new("test", &out.bytes[..end])).is_err(), "cut at {end}");
        }
    }
}

#[test]
fn changes_of_isrs_and_their_outcomes_arrive_as_they_were_sent() {
    let mut out = Writer::default();
    write_isr_changes(&mut out, 9, &[change(), change()]);
    assert_eq!(read_isr_changes(&mut Reader::new("test", &out.bytes)), Ok((9, vec![change(), change()])));
    let answer = write_isr_outcomes(&outcomes());
    assert_eq!(read_isr_outcomes(&answer), Ok(outcomes()));
    for end in 0..out.bytes.len() {
        assert!(read_isr_changes(&mut Reader::new("test", &out.bytes[..end])).is_err(), "cut at {end}");
    }
    for end in 0..answer.len() {
        assert!(read_isr_outcomes(&answer[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn wishes_for_higher_epochs_arrive_as_they_were_sent() {
    let raise = EpochRaise {
        topic_id: TopicId(Uuid::from_u128(3)),
        partition: PartitionIndex(4),
        leader_epoch: LeaderEpoch(5),
        to: LeaderEpoch(9),
    };
    let mut out = Writer::default();
    write_epoch_raises(&mut out, 7, &[raise, raise]);
    assert_eq!(read_epoch_raises(&mut Reader::new("test", &out.bytes)), Ok((7, vec![raise, raise])));
    for end in 0..out.bytes.len() {
        assert!(read_epoch_raises(&mut Reader::new("test", &out.bytes[..end])).is_err(), "cut at {end}");
    }
}
