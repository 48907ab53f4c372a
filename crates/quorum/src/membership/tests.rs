use super::*;

fn directory(byte: u8) -> Uuid {
    Uuid::from_bytes([byte; 16])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn members() -> Membership {
    let voters = [(NodeId(1), directory(1)), (NodeId(2), directory(2))].into();
    Membership { voters, learners: [(NodeId(7), directory(7))].into() }
}

#[test]
fn a_node_is_voter_or_learner_never_both() {
    let mut members = members();
    members.apply(Change { kind: ChangeKind::AddVoter, node: NodeId(7), directory: directory(7) });
    assert!(members.learners.is_empty() && members.is_voter(NodeId(7), directory(7)));
    members.apply(Change { kind: ChangeKind::AddLearner, node: NodeId(1), directory: directory(1) });
    assert!(!members.voters.contains_key(&NodeId(1)) && members.learners.contains_key(&NodeId(1)));
    members.apply(Change { kind: ChangeKind::Remove, node: NodeId(1), directory: directory(1) });
    assert_eq!(members.directory(NodeId(1)), None);
}

#[test]
fn a_vote_belongs_to_the_directory() {
    assert!(members().is_voter(NodeId(2), directory(2)));
    assert!(!members().is_voter(NodeId(2), directory(9)));
}

#[test]
fn changes_come_back_as_they_were_written_and_stay_as_released() {
    for kind in [ChangeKind::AddLearner, ChangeKind::AddVoter, ChangeKind::Remove] {
        let change = Change { kind, node: NodeId(3), directory: directory(3) };
        let bytes = change.to_raft().write_to_bytes().expect("a change");
        assert_eq!(Change::read(&bytes).expect("our own").0, change);
        assert_eq!(Change::read(&bytes).expect("our own").1.node_id, 4);
    }
    let change = Change { kind: ChangeKind::AddLearner, node: NodeId(3), directory: directory(3) };
    let golden = "1002180422120001".to_owned() + &"03".repeat(16);
    assert_eq!(hex(&change.to_raft().write_to_bytes().expect("a change")), golden);
}

#[test]
fn a_change_without_a_known_context_is_refused() {
    let mut change = Change { kind: ChangeKind::AddVoter, node: NodeId(3), directory: directory(3) }.to_raft();
    change.context = vec![0, 9].into();
    let error = Change::read(&change.write_to_bytes().expect("a change")).expect_err("version 9");
    assert!(error.to_string().contains("membership change version 9"), "{error}");
    change.context = Vec::new().into();
    assert!(matches!(Change::read(&change.write_to_bytes().expect("a change")), Err(BadMembership::Short)));
    assert!(Change::read(&[0xff; 5]).is_err());
}

#[test]
fn snapshots_come_back_as_they_were_written_and_stay_as_released() {
    for state in [None, Some(Vec::new()), Some(b"state".to_vec())] {
        let body = SnapshotBody { members: members(), state };
        assert_eq!(SnapshotBody::decode(&body.encode()).expect("our own"), body);
    }
    let golden = ["0001", "00000002", "00000001", &"01".repeat(16), "00000002", &"02".repeat(16), "00000001"].concat()
        + "00000007"
        + &"07".repeat(16)
        + "01"
        + "73";
    let body = SnapshotBody { members: members(), state: Some(b"s".to_vec()) };
    assert_eq!(hex(&body.encode()), golden);
}

#[test]
fn a_snapshot_that_is_cut_short_is_refused_wherever_it_is_cut() {
    let bytes = SnapshotBody { members: members(), state: None }.encode();
    for end in 0..bytes.len() {
        assert!(SnapshotBody::decode(&bytes[..end]).is_err(), "cut at {end}");
    }
    let mut other = bytes;
    other[1] = 2;
    assert!(SnapshotBody::decode(&other).expect_err("version 2").to_string().contains("snapshot version 2"));
}
