//! Quorums that form, voters that come and go, and nodes that return without their files.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_does_not_vote_before_it_belongs_to_a_quorum() {
    let cluster = Cluster::new();
    let nodes: Vec<Node> = (1..=3).map(|node| cluster.start(node)).collect();
    let map: BTreeMap<NodeId, Uuid> = nodes.iter().map(Node::id).collect();
    nodes[0].handle.form(map.clone()).await.expect("a new node");
    // It asks for votes again and again, and gets none.
    cluster.until_it_gives_up_hope(&nodes[0]).await;
    assert_eq!(nodes[0].handle.status().leader, None);
    nodes[1].handle.form(map).await.expect("a new node");
    leader(&nodes[..2]).await.write("two of three").await;
    // The third was never told, but it is a member with its directory, so the leader brings it in.
    nodes[2].until_applied("two of three").await;
    assert_eq!(nodes[2].handle.status().role, Role::Follower);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_is_formed_once_and_only_with_oneself() {
    let cluster = Cluster::new();
    let node = cluster.start(1);
    let (_, directory) = node.id();
    let other = node.handle.form([(NodeId(1), Uuid::new_v4())].into()).await;
    assert_eq!(other, Err(MemberError::NotAmongVoters(vec![NodeId(1)])));
    node.handle.form([(NodeId(1), directory)].into()).await.expect("a new node");
    assert_eq!(node.handle.form([(NodeId(1), directory)].into()).await, Err(MemberError::Formed));
}

/// The reason for directory ids: two of three voters lost, one of them came back empty. What was committed is on the third alone.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_committed_is_forgotten_when_a_voter_comes_back_empty_and_another_one_is_stale() {
    let cluster = Cluster::new();
    let mut nodes = cluster.formed(&[1, 2, 3]).await;
    let first = leader(&nodes).await;
    first.write("one").await;
    nodes.retain(|node| node.number() != first.number());
    let (stale, wiped) = (nodes[0].clone(), nodes[1].clone());
    cluster.isolate(stale.number());
    first.write("two").await;
    cluster.stop(wiped.clone()).await;
    cluster.kill(first.clone()).await;
    cluster.wipe(wiped.number());
    let wiped = cluster.start(wiped.number());
    cluster.heal();
    stale.handle.peer_gone(first.handle.node_id());
    cluster.until_it_gives_up_hope(&stale).await;
    assert_eq!((stale.handle.status().leader, wiped.handle.status().leader), (None, None), "the cluster waits");
    assert_eq!(wiped.handle.status().voters, []);

    // It goes on when who remembers is back, and the empty one becomes a voter again.
    let first = cluster.start(first.number());
    let two = [first.clone(), stale.clone()];
    let next = leader(&two).await;
    next.write("three").await;
    let (node, directory) = wiped.id();
    next.handle.add_learner(node, directory).await.expect("a leader");
    assert_eq!(next.voters().len(), 2, "the old directory has no vote any more");
    next.handle.add_voter(node, directory).await.expect("a leader");
    for node in [&first, &stale, &wiped] {
        node.until_applied("three").await;
        assert_eq!(node.applied(), ["one", "two", "three"]);
        wait_until("three voters", || node.voters().len() == 3).await;
    }
}

/// An empty voter must not confirm entries either: with its confirmation the old leader could commit on a minority that remembers.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_voter_confirms_nothing() {
    let cluster = Cluster::new();
    let nodes = cluster.formed(&[1, 2, 3]).await;
    let first = leader(&nodes).await;
    first.write("one").await;
    let rest = without(&nodes, &first);
    cluster.stop(rest[0].clone()).await;
    cluster.stop(rest[1].clone()).await;
    cluster.wipe(rest[1].number());
    let wiped = cluster.start(rest[1].number());
    let alone = first.handle.propose(b"alone".to_vec()).expect("room");
    assert_eq!(alone.await, Err(ProposeError::Superseded), "the leader resigned without a majority");
    assert_eq!(wiped.handle.status().last_index, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn voters_come_and_go_while_writes_go_on() {
    let cluster = Cluster::with_snapshots_after(200);
    let first = cluster.alone(1).await;
    let mut nodes = vec![first];
    let mut written = 0;
    for node in 2..=5 {
        let new = cluster.start(node);
        let now = leader(&nodes).await;
        let joining = now.handle.add_voter(NodeId(node), new.handle.directory_id());
        for _ in 0..100 {
            now.write(&written.to_string()).await;
            written += 1;
        }
        joining.await.expect("a leader");
        nodes.push(new);
        assert_eq!(now.voters(), (1..=node).collect::<Vec<_>>());
    }
    for node in [4, 2] {
        let now = leader(&nodes).await;
        match now.handle.remove_member(NodeId(node)).await {
            Ok(_) => {}
            Err(MemberError::Leads(_)) => {
                nodes.retain(|other| other.number() != node);
                let next = leader(&nodes).await;
                next.handle.remove_member(NodeId(node)).await.expect("a leader");
            }
            Err(error) => panic!("{error}"),
        }
        nodes.retain(|other| other.number() != node);
        for _ in 0..50 {
            leader(&nodes).await.write(&written.to_string()).await;
            written += 1;
        }
    }
    let expected: Vec<String> = (0..written).map(|n: i32| n.to_string()).collect();
    for node in &nodes {
        node.until("everything", |state| state.applied.len() >= expected.len()).await;
        assert_eq!(node.applied(), expected);
        assert_eq!(node.voters(), [1, 3, 5]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_to_lose_its_vote_hands_over_first() {
    let cluster = Cluster::new();
    let nodes = cluster.formed(&[1, 2, 3]).await;
    let first = leader(&nodes).await;
    let me = first.handle.node_id();
    assert_eq!(first.handle.remove_voter(me, None).await, Err(MemberError::Leads(me)));
    let rest = without(&nodes, &first);
    let next = leader(&rest).await;
    next.handle.remove_voter(me, None).await.expect("a leader");
    next.write("after").await;
    first.until_applied("after").await;
    wait_until("a learner", || first.handle.status().role == Role::Learner).await;
    assert_eq!((next.voters().len(), next.learners()), (2, vec![me.0]));
    let (_, directory) = first.id();
    next.handle.add_voter(me, directory).await.expect("it has everything");
    wait_until("a voter again", || first.handle.status().role == Role::Follower).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removals_that_would_be_wrong_are_refused() {
    let cluster = Cluster::new();
    let node = cluster.alone(1).await;
    assert_eq!(node.handle.remove_member(NodeId(1)).await, Err(MemberError::LastVoter(NodeId(1))));
    assert_eq!(node.handle.remove_voter(NodeId(1), None).await, Err(MemberError::LastVoter(NodeId(1))));
    assert_eq!(node.handle.remove_member(NodeId(7)).await, Err(MemberError::NotAMember(NodeId(7))));
    let second = cluster.start(2);
    let (_, found) = second.id();
    node.handle.add_voter(NodeId(2), found).await.expect("a leader");
    let expected = Uuid::new_v4();
    let refused = node.handle.remove_voter(NodeId(2), Some(expected)).await;
    assert_eq!(refused, Err(MemberError::OtherDirectory { node: NodeId(2), found, expected }));
    node.write("still two").await;
    assert_eq!(second.handle.remove_voter(NodeId(2), None).await, Err(MemberError::Proposal(ProposeError::NotLeader)));
}

/// Two voters that are asked to go at the same time: each alone could, both could not.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_voter_stays_however_many_removals_are_asked_for_at_once() {
    let cluster = Cluster::new();
    let nodes = cluster.formed(&[1, 2, 3]).await;
    let first = leader(&nodes).await;
    let rest = without(&nodes, &first);
    let removals: Vec<MemberChange> =
        rest.iter().map(|node| first.handle.remove_member(node.handle.node_id())).collect();
    for removal in removals {
        removal.await.expect("the leader stays");
    }
    let me = first.handle.node_id();
    assert_eq!(first.handle.remove_member(me).await, Err(MemberError::LastVoter(me)));
    first.write("alone").await;
    assert_eq!(first.voters(), [me.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_removed_comes_back_as_it_is() {
    let cluster = Cluster::new();
    let nodes = cluster.formed(&[1, 2, 3]).await;
    let first = leader(&nodes).await;
    let gone = without(&nodes, &first)[0].clone();
    let (node, directory) = gone.id();
    cluster.stop(gone).await;
    first.handle.remove_member(node).await.expect("a majority");
    first.write("without it").await;
    let back = cluster.start(node.0);
    // It still takes itself for a voter, and disturbs nobody.
    cluster.until_it_gives_up_hope(&back).await;
    let term = first.handle.status().term;
    for n in 0..100 {
        first.write(&n.to_string()).await;
    }
    assert_eq!(first.handle.status().term, term);
    first.handle.add_voter(node, directory).await.expect("a leader");
    back.until_applied("99").await;
    wait_until("a voter", || back.handle.status().role == Role::Follower).await;
    assert_eq!(back.voters(), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_follow_gets_no_vote() {
    let cluster = Cluster { catch_up_timeout: Duration::from_millis(200), ..Cluster::new() };
    let leader = cluster.alone(1).await;
    // Nobody is there. A vote for it would take the majority away.
    let refused = leader.handle.add_voter(NodeId(2), Uuid::new_v4()).await;
    assert!(matches!(refused, Err(MemberError::NotCaughtUp { node: NodeId(2), .. })), "{refused:?}");
    assert_eq!((leader.voters(), leader.learners()), (vec![1], vec![2]));
    leader.write("still alone").await;
}

/// A voter whose promotion is in its log only must answer: those who ask have applied it and may have nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_has_not_applied_its_promotion_yet_answers_who_has() {
    let cluster = Cluster::new();
    for round in 0..5 {
        let (a, b, c) = (round * 3 + 1, round * 3 + 2, round * 3 + 3);
        let nodes = cluster.formed(&[a, b]).await;
        let first = leader(&nodes).await;
        let third = cluster.start(c);
        let (node, directory) = third.id();
        first.handle.add_voter(node, directory).await.expect("a leader");
        // At once, before its next heartbeat tells the third that the change is committed.
        cluster.kill(first.clone()).await;
        let rest = [without(&nodes, &first)[0].clone(), third];
        leader(&rest).await.write("two of three").await;
        for node in rest {
            cluster.stop(node).await;
        }
    }
}

/// A node that lags by a snapshot and two changes of members must not make a majority of its own out of the members that it
/// remembers.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_brings_the_members_of_its_index_and_stale_ones_elect_nobody() {
    let cluster = Cluster::with_snapshots_after(600);
    let nodes = cluster.formed(&[1, 2, 3]).await;
    let first = leader(&nodes).await;
    let rest = without(&nodes, &first);
    let (lagging, gone) = (&rest[0], &rest[1]);
    cluster.isolate(lagging.number());
    let new = cluster.start(4);
    first.handle.add_voter(NodeId(4), new.handle.directory_id()).await.expect("three of four");
    first.handle.remove_member(gone.handle.node_id()).await.expect("three of four");
    for n in 0..1300 {
        first.write(&n.to_string()).await;
    }
    first.until("a snapshot", |state| state.last_snapshot > 1000).await;
    // The two that remember the old members meet, and the others are away.
    let new_majority = [first.number(), 4];
    for node in new_majority {
        for old in [lagging.number(), gone.number()] {
            locked(&cluster.wires.cut).extend([(NodeId(node), NodeId(old)), (NodeId(old), NodeId(node))]);
        }
    }
    let between = |(from, to): &(NodeId, NodeId)| {
        [lagging.number(), gone.number()].contains(&from.0) && [lagging.number(), gone.number()].contains(&to.0)
    };
    locked(&cluster.wires.cut).retain(|link| !between(link));
    cluster.until_it_gives_up_hope(lagging).await;
    for n in 0..50 {
        first.write(&format!("meanwhile {n}")).await;
    }
    assert!(!lagging.handle.is_leader() && !gone.handle.is_leader(), "a majority of members of long ago");
    cluster.heal();
    lagging.until_applied("meanwhile 49").await;
    wait_until("the members", || lagging.voters() == first.voters()).await;
    assert_eq!(lagging.applied(), first.applied());
    assert_eq!(locked(&lagging.state).snapshots, 1);
    let mut members = vec![first.number(), lagging.number(), 4];
    members.sort_unstable();
    assert_eq!(lagging.voters(), members);
}

/// Cuts the log of a sole voter at every byte: the members are those of the entries that are left.
#[tokio::test(flavor = "multi_thread")]
async fn members_after_a_crash_are_those_of_the_log_wherever_it_ends() {
    let cluster = Cluster::new();
    let node = cluster.alone(1).await;
    let mut changes = Vec::new();
    for learner in 2..6 {
        let directory = Uuid::new_v4();
        let index = node.handle.add_learner(NodeId(learner), directory).await.expect("a leader");
        changes.push((index, Some((NodeId(learner), directory))));
        node.write("between").await;
    }
    changes.push((node.handle.remove_member(NodeId(3)).await.expect("a leader"), None));
    cluster.stop(node).await;
    let path = std::fs::read_dir(cluster.directory(1)).expect("a folder").flatten();
    let path = path.map(|item| item.path()).find(|path| path.to_string_lossy().contains("log-")).expect("a log");
    let whole = std::fs::read(&path).expect("a log");
    let mut counts = HashSet::new();
    for end in (0..whole.len()).rev().step_by(7) {
        std::fs::write(&path, &whole[..end]).expect("a log");
        let folder = cluster.directory(1);
        let Ok(storage) = storage::DiskStorage::open(&QuorumOptions::new(NodeId(1), &folder)) else {
            // Cut inside the header, or behind the commit that covers what is missing.
            continue;
        };
        let last = raft::Storage::last_index(&storage).expect("in memory");
        drop(storage);
        let node = cluster.start(1);
        node.until_leading().await;
        let mut expected: BTreeMap<NodeId, Uuid> = BTreeMap::new();
        for (_, change) in changes.iter().filter(|(index, _)| *index <= last) {
            match change {
                Some((learner, directory)) => expected.insert(*learner, *directory),
                None => expected.remove(&NodeId(3)),
            };
        }
        assert_eq!(node.handle.status().learners, expected.into_iter().collect::<Vec<_>>(), "cut at {end}");
        counts.insert(node.learners().len());
        cluster.stop(node).await;
        for item in std::fs::read_dir(&folder).expect("a folder").flatten() {
            if item.path() != path && item.path().to_string_lossy().contains("log-") {
                std::fs::remove_file(item.path()).expect("a log");
            }
        }
    }
    assert_eq!(counts, HashSet::from([0, 1, 2, 3, 4]), "cuts between all changes were tried");
}
