//! One voter and its learners: entries, snapshots, restarts, and what is refused.

use raft::eraftpb::MessageType;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_sole_voter_leads_at_once() {
    let cluster = Cluster::new();
    let started = Instant::now();
    let node = cluster.alone(1).await;
    // Far below the election timeout times Raft's random factor, but for a slow disk.
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(node.handle.leader(), Some(NodeId(1)));
    assert_eq!(node.handle.form_alone().await, Ok(1), "a second time is fine");
    cluster.stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_entries_come_in_order_and_again_after_a_restart() {
    let cluster = Cluster::new();
    let node = cluster.alone(1).await;
    let expected: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let proposals: Vec<Proposal> =
        expected.iter().map(|text| node.handle.propose(text.clone().into_bytes()).expect("room")).collect();
    let mut last = 0;
    for proposal in proposals {
        let index = proposal.await.expect("a leader");
        assert!(index > last);
        last = index;
    }
    cluster.stop(node).await;
    let node = cluster.start(1);
    node.until("all entries", |state| state.applied.len() == 100).await;
    assert_eq!(node.applied(), expected);
    node.until_leading().await;
    cluster.stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_gets_what_was_committed_before_and_after_it_joined() {
    let cluster = Cluster::new();
    let leader = cluster.alone(1).await;
    leader.write("before").await;
    let learner = cluster.start(2);
    assert!(!learner.handle.status().formed);
    let (node, directory) = learner.id();
    leader.handle.add_learner(node, directory).await.expect("a leader");
    leader.handle.add_learner(node, directory).await.expect("a second time is fine");
    leader.write("after").await;
    learner.until_applied("after").await;
    assert_eq!(learner.applied(), ["before", "after"]);
    let status = learner.handle.status();
    assert_eq!((status.role, status.leader, status.formed), (Role::Learner, Some(NodeId(1)), true));
    assert_eq!(leader.handle.status().learners, [(node, directory)]);
    assert_eq!(learner.propose("not mine").await, Err(ProposeError::NotLeader));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_learners_may_join_at_the_same_time() {
    let cluster = Cluster::new();
    let leader = cluster.alone(1).await;
    let joins: Vec<MemberChange> =
        (2..10).map(|node| leader.handle.add_learner(NodeId(node), Uuid::new_v4())).collect();
    for join in joins {
        join.await.expect("a leader");
    }
    assert_eq!(leader.learners(), (2..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_that_fell_behind_the_log_gets_the_snapshot() {
    let cluster = Cluster::with_snapshots_after(1500);
    let leader = cluster.alone(1).await;
    let learner = cluster.start(2);
    leader.handle.add_learner(NodeId(2), learner.handle.directory_id()).await.expect("a leader");
    leader.write("early").await;
    learner.until_applied("early").await;
    cluster.isolate(2);
    for round in 0..10 {
        let texts = (0..200).map(|n| format!("{round}-{n}").into_bytes());
        let proposals: Vec<Proposal> = texts.map(|text| leader.handle.propose(text).expect("room")).collect();
        for proposal in proposals {
            proposal.await.expect("a leader");
        }
    }
    leader.until("a snapshot", |state| state.last_snapshot > 0).await;
    leader.write("late").await;
    cluster.heal();
    learner.until_applied("late").await;
    assert_eq!(locked(&learner.state).snapshots, 1);
    assert_eq!(learner.applied(), leader.applied());

    // And the leader itself starts from its snapshot.
    let before = leader.applied();
    cluster.stop(leader).await;
    let leader = cluster.start(1);
    leader.until_leading().await;
    assert_eq!(locked(&leader.state).snapshots, 1);
    assert_eq!(leader.applied(), before);
    assert_eq!(leader.learners(), [2], "members are in the snapshot");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_that_joins_a_log_that_was_cut_gets_the_snapshot() {
    let cluster = Cluster::with_snapshots_after(600);
    let leader = cluster.alone(1).await;
    for n in 0..700 {
        leader.write(&n.to_string()).await;
    }
    leader.until("a snapshot", |state| state.last_snapshot > 0).await;
    let learner = cluster.start(2);
    leader.handle.add_learner(NodeId(2), learner.handle.directory_id()).await.expect("a leader");
    learner.until_applied("699").await;
    assert_eq!(learner.applied(), leader.applied());
    assert_eq!(locked(&learner.state).snapshots, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_that_lost_its_files_gets_the_log_again() {
    let cluster = Cluster::new();
    let leader = cluster.alone(1).await;
    let learner = cluster.start(2);
    leader.handle.add_learner(NodeId(2), learner.handle.directory_id()).await.expect("a leader");
    leader.write("one").await;
    learner.until_applied("one").await;
    cluster.stop(learner).await;
    cluster.wipe(2);
    let learner = cluster.start(2);
    // It is told who leads, though nothing that it is told is meant for its new directory.
    wait_until("the leader is known", || learner.handle.leader() == Some(NodeId(1))).await;
    assert!(!learner.handle.status().formed);
    leader.handle.add_learner(NodeId(2), learner.handle.directory_id()).await.expect("a leader");
    leader.write("two").await;
    learner.until_applied("two").await;
    assert_eq!(learner.applied(), ["one", "two"]);
    assert_eq!(learner.handle.status().failed, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_that_joins_again_with_its_files_is_not_started_over() {
    let cluster = Cluster::new();
    let leader = cluster.alone(1).await;
    let learner = cluster.start(2);
    let (node, directory) = learner.id();
    leader.handle.add_learner(node, directory).await.expect("a leader");
    for n in 0..50 {
        // The learner says what it has while more is on its way to it.
        let index = leader.write(&n.to_string()).await;
        let rejoined = leader.handle.add_learner(node, directory).await.expect("a leader");
        assert!(rejoined >= index, "done at once");
    }
    let changes = leader.handle.status().last_index - 50 - 3; // the first snapshot, the leader's first entry, the learner
    assert_eq!(changes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_do_not_belong_here_are_refused() {
    let cluster = Cluster::new();
    let node = cluster.alone(1).await;
    let step = |message: &raft::eraftpb::Message| {
        let bytes = envelope::encode(Uuid::new_v4(), node.handle.directory_id(), message).expect("a message");
        node.handle.step(NodeId(2), &bytes)
    };
    let mut message = raft::eraftpb::Message::default();
    message.set_msg_type(MessageType::MsgHeartbeatResponse);
    message.from = 9;
    message.to = 2;
    assert!(matches!(step(&message), Err(StepError::WrongSender { .. })));
    message.from = 3;
    message.to = 9;
    assert_eq!(step(&message), Err(StepError::WrongReceiver(9)));
    message.to = 2;
    message.set_msg_type(MessageType::MsgPropose);
    assert!(matches!(step(&message), Err(StepError::WrongType(_))), "a peer must not write into the log");
    let malformed = [&[1][..], &[0xff; 60]].concat();
    assert!(matches!(node.handle.step(NodeId(2), &malformed), Err(StepError::Malformed(_))));
    assert!(matches!(node.handle.step(NodeId(2), &[1; 10]), Err(StepError::Malformed(_))));
    assert_eq!(node.handle.step(NodeId(2), &[9; 50]), Err(StepError::OtherVersion { found: 9, known: 1 }));
    let huge = vec![0; MESSAGE_BYTES_MAX + 1];
    assert!(matches!(node.handle.step(NodeId(2), &huge), Err(StepError::TooLarge(_))));
    node.write("still alive").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_knows_more_than_this_node_does_not_make_it_panic() {
    let cluster = Cluster::new();
    let leader = cluster.alone(1).await;
    let node = cluster.start(2);
    let (me, directory) = node.id();
    leader.handle.add_learner(me, directory).await.expect("a leader");
    leader.write("one").await;
    node.until_applied("one").await;
    cluster.stop(leader).await;
    let term = node.handle.status().term + 1;
    let tell = |kind: MessageType, change: &dyn Fn(&mut raft::eraftpb::Message)| {
        let mut message = raft::eraftpb::Message { from: 2, to: 3, term, ..Default::default() };
        message.set_msg_type(kind);
        change(&mut message);
        let bytes = envelope::encode(Uuid::new_v4(), directory, &message).expect("a message");
        node.handle.step(NodeId(1), &bytes).expect("a message of a peer");
    };
    tell(MessageType::MsgHeartbeat, &|message| message.commit = 1_000_000);
    tell(MessageType::MsgAppend, &|message| (message.index, message.log_term, message.commit) = (999, 1, 1_000_000));
    tell(MessageType::MsgSnapshot, &|message| {
        message.mut_snapshot().mut_metadata().index = 500;
        message.mut_snapshot().data = vec![7; 3].into();
    });
    tell(MessageType::MsgTimeoutNow, &|_| {});
    tell(MessageType::MsgAppendResponse, &|message| message.index = 1_000_000);
    wait_until("the new term", || node.handle.status().term == term).await;
    assert_eq!(node.handle.status().failed, None);
    assert_eq!((node.applied(), node.handle.status().role), (vec!["one".to_owned()], Role::Learner));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversize_proposal_is_refused() {
    let cluster = Cluster::new();
    let node = cluster.start(1);
    let refused = node.handle.propose(vec![0; PROPOSAL_BYTES_MAX + 1]).map(|_| ());
    assert_eq!(refused, Err(ProposeError::TooLarge(PROPOSAL_BYTES_MAX + 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_quorum_says_so() {
    let cluster = Cluster::new();
    let node = cluster.alone(1).await;
    cluster.stop(node.clone()).await;
    assert_eq!(node.propose("late").await, Err(ProposeError::Stopped));
    let refused = node.handle.add_learner(NodeId(2), Uuid::new_v4()).await;
    assert_eq!(refused, Err(MemberError::Proposal(ProposeError::Stopped)));
    assert_eq!(node.handle.describe().await, Err(ProposeError::Stopped));
}

#[test]
fn node_ids_are_not_negative() {
    let folder = tempfile::tempdir().expect("a folder");
    let negative = QuorumOptions::new(NodeId(-1), folder.path());
    assert!(matches!(negative.check(), Err(QuorumError::NegativeNode(NodeId(-1)))));
}
