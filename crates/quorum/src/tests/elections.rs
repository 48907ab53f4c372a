//! Leaders that die, are cut off, resign or hand over, and how soon another one leads.

use super::*;

/// How long it takes from the leader's loss until another node leads and has committed something.
async fn replace_leader(cluster: &Cluster, nodes: &[Node], text: &str) -> (Duration, Node) {
    let lost = leader(nodes).await;
    let rest = without(nodes, &lost);
    cluster.isolate(lost.number());
    let since = Instant::now();
    for node in &rest {
        node.handle.peer_gone(lost.handle.node_id());
    }
    let next = leader(&rest).await;
    next.write(text).await;
    (since.elapsed(), lost)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_voters_survive_the_loss_of_their_leader() {
    let cluster = Cluster::new();
    let nodes = cluster.formed(&[1, 2, 3]).await;
    let first = leader(&nodes).await;
    first.write("one").await;
    let rest = without(&nodes, &first);
    // Nobody notices that it is gone: the lease has to end.
    cluster.stop(first).await;
    let second = leader(&rest).await;
    second.write("two").await;
    for node in &rest {
        node.until_applied("two").await;
        assert_eq!(node.applied(), ["one", "two"]);
    }
}

/// Run with `--nocapture` to see the times; they are asserted nowhere, because a loaded machine would fail by chance.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_known_to_be_gone_is_replaced_without_waiting_for_its_lease() {
    let cluster = Cluster::new();
    let nodes = cluster.formed(&[1, 2, 3]).await;
    let mut times = Vec::new();
    for round in 0..20 {
        let (time, lost) = replace_leader(&cluster, &nodes, &format!("round {round}")).await;
        times.push(time);
        cluster.heal();
        lost.until_applied(&format!("round {round}")).await;
        assert!(!lost.handle.is_leader());
    }
    times.sort();
    eprintln!("leader replaced and a write committed: median {:?}, longest {:?}", times[10], times[19]);
    for node in &nodes {
        node.until_applied("round 19").await;
        assert_eq!(node.applied(), nodes[0].applied());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_dead_leader_nor_a_stop_of_all_costs_an_election_timeout() {
    let cluster = Cluster::without_timeouts();
    let nodes = cluster.formed(&[1, 2, 3]).await;
    let first = leader(&nodes).await;
    first.write("one").await;
    let rest = without(&nodes, &first);
    cluster.kill(first.clone()).await;
    leader(&rest).await.write("two").await;
    let back = cluster.start(first.number());
    for node in rest.into_iter().chain([back]) {
        cluster.stop(node).await;
    }
    let nodes: Vec<Node> = (1..=3).map(|node| cluster.start(node)).collect();
    leader(&nodes).await.write("three").await;
}

/// A supervisor is faster than a refused connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_back_before_anybody_noticed_is_replaced_at_once() {
    let cluster = Cluster::without_timeouts();
    let nodes = cluster.formed(&[1, 2, 3]).await;
    let first = leader(&nodes).await;
    first.write("one").await;
    let rest = without(&nodes, &first);
    cluster.stop(first.clone()).await;
    let back = cluster.start(first.number());
    let nodes = [rest, vec![back]].concat();
    leader(&nodes).await.write("two").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_voters_do_not_split_their_votes_for_ever() {
    let cluster = Cluster::new();
    let nodes = cluster.formed(&[1, 2, 3, 4, 5]).await;
    let (first, _) = replace_leader(&cluster, &nodes, "one").await;
    eprintln!("leader of five replaced after {first:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_report_costs_nothing_but_time() {
    let cluster = Cluster::new();
    let nodes = cluster.formed(&[1, 2, 3]).await;
    let first = leader(&nodes).await;
    first.write("one").await;
    for node in &nodes {
        node.handle.peer_gone(first.handle.node_id());
    }
    // Whoever leads after that, nothing is lost and both sides agree.
    let mut written = false;
    while !written {
        written = leader(&nodes).await.propose("two").await.is_ok();
    }
    for node in &nodes {
        node.until_applied("two").await;
        assert_eq!(node.applied()[0], "one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wrong_report_does_not_unseat_a_leader_that_the_others_hear() {
    let cluster = Cluster::new();
    let nodes = cluster.formed(&[1, 2, 3]).await;
    let first = leader(&nodes).await;
    let term = first.handle.status().term;
    without(&nodes, &first)[0].handle.peer_gone(first.handle.node_id());
    for n in 0..200 {
        first.write(&n.to_string()).await;
    }
    assert_eq!(first.handle.status().term, term);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minority_commits_nothing_and_its_leader_resigns() {
    let cluster = Cluster::new();
    let nodes = cluster.formed(&[1, 2, 3]).await;
    let old = leader(&nodes).await;
    old.write("before").await;
    cluster.isolate(old.number());
    let lost = old.handle.propose(b"lost".to_vec()).expect("room");
    let rest = without(&nodes, &old);
    let new = leader(&rest).await;
    new.write("after").await;
    assert_eq!(lost.await, Err(ProposeError::Superseded));
    old.until("resigned", |state| !state.leading).await;
    cluster.heal();
    for node in &nodes {
        node.until_applied("after").await;
        assert_eq!(node.applied(), ["before", "after"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_voters_come_back_with_everything() {
    let cluster = Cluster::with_snapshots_after(50);
    let nodes = cluster.formed(&[1, 2, 3]).await;
    let first = leader(&nodes).await;
    for n in 0..120 {
        first.write(&n.to_string()).await;
    }
    for node in nodes {
        cluster.stop(node).await;
    }
    let nodes: Vec<Node> = (1..=3).map(|node| cluster.start(node)).collect();
    leader(&nodes).await.write("again").await;
    let expected: Vec<String> = (0..120).map(|n| n.to_string()).chain(["again".to_owned()]).collect();
    for node in &nodes {
        node.until_applied("again").await;
        assert_eq!(node.applied(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_hands_over_before_it_stops() {
    let cluster = Cluster::new();
    let nodes = cluster.formed(&[1, 2, 3]).await;
    let first = leader(&nodes).await;
    first.write("one").await;
    let rest = without(&nodes, &first);
    let wanted = &rest[1];
    first.handle.hand_over(Some(wanted.handle.node_id())).await.expect("a voter that has everything");
    assert!(!first.handle.is_leader());
    assert_eq!(leader(&rest).await.number(), wanted.number());
    let stranger = leader(&nodes).await.handle.hand_over(Some(NodeId(9))).await;
    assert_eq!(stranger, Err(MemberError::NoSuccessor));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_tells_how_far_everybody_is() {
    let cluster = Cluster::new();
    let nodes = cluster.formed(&[1, 2, 3]).await;
    let first = leader(&nodes).await;
    let learner = cluster.start(4);
    first.handle.add_learner(NodeId(4), learner.handle.directory_id()).await.expect("a leader");
    let rest = without(&nodes, &first);
    cluster.isolate(rest[0].number());
    let end = first.write("one").await + 1;
    let progress_of = |description: &Description, node: &Node| {
        let replica = description.replicas.iter().find(|replica| replica.node == node.handle.node_id());
        replica.cloned().expect("a member")
    };
    let deadline = Instant::now() + PATIENCE;
    let description = loop {
        let description = first.handle.describe().await.expect("a leader");
        let ends = |node: &Node| progress_of(&description, node).log_end;
        if ends(&rest[1]) == end && ends(&learner) == end {
            break description;
        }
        assert!(Instant::now() < deadline, "not in time: {description:?}");
    };
    assert_eq!((description.leader, description.high_watermark), (first.handle.node_id(), end));
    assert!(!progress_of(&description, &learner).voter && progress_of(&description, &first).voter);
    assert!(progress_of(&description, &learner).last_caught_up_ms.is_some());
    assert!(progress_of(&description, &rest[0]).log_end < end);
    assert_eq!(rest[1].handle.describe().await, Err(ProposeError::NotLeader));
}
