//! Claims about consumer groups of the newer protocol (KIP-848).

use std::collections::BTreeSet;

use twinstream_model::{ErrorCode, PartitionIndex};

use super::super::*;
use super::consumer_context::{Client, TestCluster, count, settle};
use super::context::{TestContext, offset_to_commit};

const MINUTE_MS: u64 = 60_000;

fn context() -> TestContext {
    TestContext::new(GroupConfig::default())
}

/// Clients of a group that has settled.
fn settled(context: &mut TestContext, cluster: &TestCluster, names: &[&str], topics: &[&str]) -> Vec<Client> {
    let mut clients: Vec<Client> = names.iter().map(|name| Client::new(name, topics)).collect();
    for client in &mut clients {
        assert_eq!(client.beat(context, cluster), ErrorCode::None);
    }
    settle(context, cluster, &mut clients);
    clients
}

fn commit(client: &Client, epoch: Epoch, cluster: &TestCluster) -> Request {
    let mut offset = offset_to_commit("orders", 0, 7, "");
    offset.topic_now = cluster.id("orders").expect("the topic exists");
    Request::CommitOffsets(CommitOffsets {
        group: "g".into(),
        generation: Generation(epoch.0),
        member: client.id.clone(),
        instance: None,
        retention_ms: None,
        knows_group_id_not_found: true,
        offsets: vec![offset],
    })
}

fn commit_error(context: &mut TestContext, request: Request) -> ErrorCode {
    let Answer::CommitOffsets(answer) = context.ask(request) else { panic!("not a commit") };
    answer.error
}

#[test]
fn the_first_member_gets_everything_at_once() {
    let (mut context, cluster) = (context(), TestCluster::of(&[("orders", 3)]));
    let mut client = Client::new("a", &["orders", "unborn"]);
    assert_eq!(client.beat(&mut context, &cluster), ErrorCode::None);
    assert_eq!((client.epoch, count(&client.owned)), (Epoch(2), 3));
    let description = context.describe_consumers();
    assert_eq!((description.state, &*description.assignor), (ConsumerGroupState::Stable, "uniform"));
}

#[test]
fn a_second_member_gets_its_share_when_the_first_has_given_it_back() {
    let (mut context, cluster) = (context(), TestCluster::of(&[("orders", 4)]));
    let mut a = settled(&mut context, &cluster, &["a"], &["orders"]).remove(0);
    let mut b = Client::new("b", &["orders"]);
    assert_eq!(b.beat(&mut context, &cluster), ErrorCode::None);
    assert_eq!(count(&b.owned), 0, "a still owns everything");
    assert_eq!(context.describe_consumers().state, ConsumerGroupState::Reconciling);

    let before = a.epoch;
    a.beat(&mut context, &cluster);
    assert_eq!((count(&a.owned), a.epoch), (2, before), "told to give back, not yet in the new epoch");
    b.beat(&mut context, &cluster);
    assert_eq!(count(&b.owned), 0, "a has not said that it gave back");
    a.beat(&mut context, &cluster);
    assert!(a.epoch > before);
    b.beat(&mut context, &cluster);
    assert_eq!((count(&a.owned), count(&b.owned)), (2, 2));
    assert_eq!(a.epoch, b.epoch);
    a.beat(&mut context, &cluster);
    assert_eq!(context.describe_consumers().state, ConsumerGroupState::Stable);
}

#[test]
fn members_that_come_one_after_the_other_cost_one_assignment() {
    let (mut context, cluster) = (context(), TestCluster::of(&[("orders", 6)]));
    let mut clients: Vec<Client> = ["a", "b", "c"].map(|name| Client::new(name, &["orders"])).to_vec();
    for client in &mut clients {
        assert_eq!(client.beat(&mut context, &cluster), ErrorCode::None);
    }
    let description = context.describe_consumers();
    assert_eq!((description.epoch, description.target_epoch), (Epoch(4), Epoch(2)));
    assert_eq!(description.state, ConsumerGroupState::Assigning);
    settle(&mut context, &cluster, &mut clients);
    assert_eq!(clients.iter().map(|client| count(&client.owned)).collect::<Vec<_>>(), [2, 2, 2]);
    assert_eq!(context.describe_consumers().target_epoch, Epoch(4));
}

#[test]
fn a_member_that_leaves_leaves_its_partitions_at_once() {
    let (mut context, cluster) = (context(), TestCluster::of(&[("orders", 4)]));
    let mut clients = settled(&mut context, &cluster, &["a", "b"], &["orders"]);
    assert_eq!(clients[0].leave(&mut context, &cluster, Epoch::LEAVING), ErrorCode::None);
    context.advance(1_000);
    clients[1].beat(&mut context, &cluster);
    assert_eq!(count(&clients[1].owned), 4);
    assert_eq!(clients[1].leave(&mut context, &cluster, Epoch::LEAVING), ErrorCode::None);
    assert_eq!(context.describe_consumers().state, ConsumerGroupState::Empty);
    assert_eq!(clients[1].leave(&mut context, &cluster, Epoch::LEAVING), ErrorCode::UnknownMemberId);
}

#[test]
fn silent_member_is_removed_after_its_session() {
    let (mut context, cluster) = (context(), TestCluster::of(&[("orders", 4)]));
    let mut clients = settled(&mut context, &cluster, &["a", "b"], &["orders"]);
    for _ in 0..10 {
        context.advance(5_000);
        clients[1].beat(&mut context, &cluster);
    }
    assert_eq!(count(&clients[1].owned), 4);
    assert_eq!(clients[0].beat(&mut context, &cluster), ErrorCode::UnknownMemberId);
}

#[test]
fn member_that_keeps_what_it_must_give_back_is_removed_after_its_rebalance_timeout() {
    let (mut context, cluster) = (context(), TestCluster::of(&[("orders", 4)]));
    let stubborn = settled(&mut context, &cluster, &["a"], &["orders"]).remove(0);
    let mut b = Client::new("b", &["orders"]);
    b.beat(&mut context, &cluster);
    for _ in 0..13 {
        context.advance(5_000);
        b.beat(&mut context, &cluster);
        context.consumer_heartbeat(stubborn.heartbeat(&cluster)); // alive, and owns all of it still
    }
    context.advance(1_000);
    b.beat(&mut context, &cluster);
    assert_eq!(count(&b.owned), 4);
}

#[test]
fn partitions_that_came_while_the_log_refused_records_are_found_by_the_next_heartbeat() {
    let (mut context, mut cluster) = (context(), TestCluster::of(&[("orders", 2)]));
    let mut clients = settled(&mut context, &cluster, &["a", "b"], &["orders"]);
    cluster.grow("orders", 6);
    context.append_error = Some(ErrorCode::NotEnoughReplicas);
    assert_eq!(clients[0].beat(&mut context, &cluster), ErrorCode::CoordinatorNotAvailable);
    context.append_error = None;
    settle(&mut context, &cluster, &mut clients);
    assert_eq!(clients.iter().map(|client| count(&client.owned)).collect::<Vec<_>>(), [3, 3]);
}

#[test]
fn member_whose_word_that_it_gave_back_was_not_stored_still_has_to_give_back_in_time() {
    let (mut context, cluster) = (context(), TestCluster::of(&[("orders", 4)]));
    let mut clients = settled(&mut context, &cluster, &["a"], &["orders"]);
    let stubborn = clients[0].clone();
    let mut b = Client::new("b", &["orders"]);
    b.beat(&mut context, &cluster);
    context.advance(1_000);
    clients[0].beat(&mut context, &cluster); // is told to give two back
    context.append_error = Some(ErrorCode::NotEnoughReplicas);
    assert_eq!(clients[0].beat(&mut context, &cluster), ErrorCode::CoordinatorNotAvailable);
    context.append_error = None;
    for _ in 0..14 {
        context.advance(5_000);
        b.beat(&mut context, &cluster);
        context.consumer_heartbeat(stubborn.heartbeat(&cluster)); // alive, and owns all of it after all
    }
    b.beat(&mut context, &cluster);
    assert_eq!(count(&b.owned), 4);
}

#[test]
fn a_member_that_missed_an_answer_goes_on_with_its_former_epoch() {
    let (mut context, cluster) = (context(), TestCluster::of(&[("orders", 4)]));
    let mut clients = settled(&mut context, &cluster, &["a", "b"], &["orders"]);
    clients[0].leave(&mut context, &cluster, Epoch::LEAVING);
    context.advance(1_000);
    let lost = context.consumer_heartbeat(clients[1].heartbeat(&cluster));
    assert!(lost.epoch > clients[1].epoch);
    clients[1].tells_all = true;
    assert_eq!(clients[1].beat(&mut context, &cluster), ErrorCode::None);
    assert_eq!((clients[1].epoch, count(&clients[1].owned)), (lost.epoch, 4), "told again");
}

#[test]
fn epochs_that_are_not_the_members_are_fenced_and_0_starts_over() {
    let (mut context, cluster) = (context(), TestCluster::of(&[("orders", 4)]));
    let mut clients = settled(&mut context, &cluster, &["a", "b", "c", "d"], &["orders"]);
    let a = &mut clients[0];
    for wrong in [Epoch(a.epoch.0 + 1), Epoch(a.epoch.0 - 2)] {
        let heartbeat = ConsumerHeartbeat { epoch: wrong, ..a.heartbeat(&cluster) };
        assert_eq!(context.consumer_heartbeat(heartbeat).error, ErrorCode::FencedMemberEpoch, "{wrong}");
    }
    let (epoch, owned) = (a.epoch, a.owned.clone());
    a.epoch = Epoch::JOINING;
    a.owned.clear();
    assert_eq!(a.beat(&mut context, &cluster), ErrorCode::None);
    assert_eq!((a.epoch, &a.owned), (epoch, &owned), "it was never out");
}

#[test]
fn static_member_comes_back_to_its_partitions_without_a_rebalance() {
    let (mut context, cluster) = (context(), TestCluster::of(&[("orders", 4)]));
    let mut clients: Vec<Client> = ["a", "b"].map(|name| Client::new(name, &["orders"])).to_vec();
    clients[0].instance = Some("i".into());
    clients[0].beat(&mut context, &cluster);
    settle(&mut context, &cluster, &mut clients);
    let (epoch, owned) = (clients[0].epoch, clients[0].owned.clone());

    let mut twin = Client { id: "a2".into(), epoch: Epoch::JOINING, ..clients[0].clone() };
    twin.owned.clear();
    assert_eq!(twin.beat(&mut context, &cluster), ErrorCode::UnreleasedInstanceId, "a is still there");
    assert_eq!(clients[0].leave(&mut context, &cluster, Epoch::AWAY), ErrorCode::None);
    clients[1].beat(&mut context, &cluster);
    assert_eq!(count(&clients[1].owned), 2, "what it owns waits for it");
    assert_eq!(twin.beat(&mut context, &cluster), ErrorCode::None);
    assert_eq!((twin.epoch, twin.owned), (epoch, owned));

    clients[0].epoch = epoch;
    assert_eq!(clients[0].beat(&mut context, &cluster), ErrorCode::FencedInstanceId);
}

#[test]
fn static_member_that_does_not_come_back_is_removed_after_its_session() {
    let (mut context, cluster) = (context(), TestCluster::of(&[("orders", 4)]));
    let mut a = Client { instance: Some("i".into()), ..Client::new("a", &["orders"]) };
    a.beat(&mut context, &cluster);
    a.leave(&mut context, &cluster, Epoch::AWAY);
    assert_eq!(context.describe_consumers().members[0].epoch, Epoch::AWAY);
    context.advance(MINUTE_MS);
    assert_eq!(context.describe_consumers().state, ConsumerGroupState::Empty);
}

#[test]
fn topics_that_grow_come_and_go_are_assigned_anew() {
    let (mut context, mut cluster) = (context(), TestCluster::of(&[("orders", 2)]));
    let mut clients = settled(&mut context, &cluster, &["a", "b"], &["orders", "payments"]);
    for (step, partitions) in [(2, 6), (4, 9)] {
        cluster.grow("orders", partitions - step);
        if step == 4 {
            cluster.create("payments", 4);
        }
        settle(&mut context, &cluster, &mut clients);
        let wanted = count(&cluster.partitions_of(["orders", "payments"]));
        assert_eq!(clients.iter().map(|client| count(&client.owned)).sum::<usize>(), wanted);
    }
    cluster.delete("payments");
    settle(&mut context, &cluster, &mut clients);
    let owned: BTreeSet<_> = clients.iter().flat_map(|client| client.owned.keys().copied()).collect();
    assert_eq!(owned, cluster.partitions_of(["orders"]).into_keys().collect());
}

#[test]
fn expressions_follow_the_topics_that_they_match() {
    let (mut context, mut cluster) = (context(), TestCluster::of(&[("orders-eu", 2), ("other", 3)]));
    let mut client = Client { regex: Some("orders-.*".into()), ..Client::new("a", &[]) };
    assert_eq!(client.beat(&mut context, &cluster), ErrorCode::None);
    assert_eq!(client.owned, cluster.partitions_of(["orders-eu"]));
    cluster.create("orders-us", 1);
    for _ in 0..3 {
        context.advance(5_000);
        client.beat(&mut context, &cluster);
    }
    assert_eq!(client.owned, cluster.partitions_of(["orders-eu", "orders-us"]));
    context.restart();
    assert_eq!(client.beat(&mut context, &cluster), ErrorCode::None);

    let broken = ConsumerHeartbeat { regex: Some("orders-(".into()), ..client.heartbeat(&cluster) };
    assert_eq!(context.consumer_heartbeat(broken).error, ErrorCode::InvalidRegularExpression);
    client.regex = None;
    client.topics = BTreeSet::from(["other".into()]);
    let changed =
        ConsumerHeartbeat { regex: Some("".into()), topics: Some(client.topics.clone()), ..client.heartbeat(&cluster) };
    let answer = context.consumer_heartbeat(changed);
    client.obey(&answer);
    settle(&mut context, &cluster, std::slice::from_mut(&mut client));
    assert_eq!(client.owned, cluster.partitions_of(["other"]));
    assert_eq!(context.describe_consumers().members[0].regex, None);
}

#[test]
fn what_is_no_longer_subscribed_is_taken_away_though_the_target_is_not_due() {
    let (mut context, cluster) = (context(), TestCluster::of(&[("orders", 2), ("payments", 2)]));
    let mut client = Client::new("a", &["orders", "payments"]);
    client.beat(&mut context, &cluster);
    client.topics = BTreeSet::from(["orders".into()]);
    client.tells_all = true;
    assert_eq!(client.beat(&mut context, &cluster), ErrorCode::None);
    assert_eq!(client.owned, cluster.partitions_of(["orders"]), "within the second in which no target is computed");
}

#[test]
fn most_votes_choose_the_assignor() {
    let (mut context, cluster) = (context(), TestCluster::of(&[("orders", 2)]));
    let mut clients: Vec<Client> = ["a", "b", "c"].map(|name| Client::new(name, &["orders"])).to_vec();
    clients[0].assignor = Some("range".into());
    clients[0].beat(&mut context, &cluster);
    assert_eq!(&*context.describe_consumers().assignor, "range");
    for client in &mut clients[1..] {
        client.assignor = Some("uniform".into());
        client.beat(&mut context, &cluster);
    }
    assert_eq!(&*context.describe_consumers().assignor, "uniform");
    let mut odd = Client { assignor: Some("lucky".into()), ..Client::new("d", &["orders"]) };
    assert_eq!(odd.beat(&mut context, &cluster), ErrorCode::UnsupportedAssignor);
}

#[test]
fn full_group_takes_nobody_more() {
    let mut config = GroupConfig::default();
    config.consumer.members_max = 1;
    let (mut context, cluster) = (TestContext::new(config), TestCluster::of(&[("orders", 2)]));
    let mut a = Client::new("a", &["orders"]);
    a.beat(&mut context, &cluster);
    assert_eq!(Client::new("b", &["orders"]).beat(&mut context, &cluster), ErrorCode::GroupMaxSizeReached);
    assert_eq!(a.beat(&mut context, &cluster), ErrorCode::None);
}

#[test]
fn requests_that_no_group_could_take_are_refused() {
    let (mut context, cluster) = (context(), TestCluster::of(&[("orders", 2)]));
    let good = Client::new("a", &["orders"]).heartbeat(&cluster);
    let odd = [
        ConsumerHeartbeat { group: "".into(), ..good.clone() },
        ConsumerHeartbeat { member: "".into(), ..good.clone() },
        ConsumerHeartbeat { instance: Some("".into()), ..good.clone() },
        ConsumerHeartbeat { rack: Some("".into()), ..good.clone() },
        ConsumerHeartbeat { rebalance_timeout_ms: None, ..good.clone() },
        ConsumerHeartbeat { owned: None, ..good.clone() },
        ConsumerHeartbeat { owned: Some(cluster.partitions_of(["orders"])), ..good.clone() },
        ConsumerHeartbeat { topics: None, ..good.clone() },
        ConsumerHeartbeat { epoch: Epoch(-3), ..good.clone() },
        ConsumerHeartbeat { epoch: Epoch::AWAY, ..good.clone() },
    ];
    for request in odd {
        let answer = context.consumer_heartbeat(request.clone());
        assert_eq!(answer.error, ErrorCode::InvalidRequest, "{request:?}");
        assert!(answer.message.is_some());
    }
    let stranger = ConsumerHeartbeat { epoch: Epoch(3), ..good.clone() };
    assert_eq!(context.consumer_heartbeat(stranger).error, ErrorCode::GroupIdNotFound);
    let of_version_0 = ConsumerHeartbeat { member: "".into(), requires_member_id: false, ..good };
    let answer = context.consumer_heartbeat(of_version_0);
    assert_eq!((answer.error, answer.member.is_unknown()), (ErrorCode::None, false), "given an id");
}

#[test]
fn commits_are_fenced_by_member_epochs() {
    let (mut context, cluster) = (context(), TestCluster::of(&[("orders", 1)]));
    let mut clients = settled(&mut context, &cluster, &["a"], &["orders"]);
    let old = clients[0].epoch;
    let mut b = Client::new("b", &["orders"]);
    b.beat(&mut context, &cluster);
    clients.push(b);
    settle(&mut context, &cluster, &mut clients);
    let owner = clients.iter().find(|client| count(&client.owned) == 1).expect("somebody owns it").clone();
    let other = clients.iter().find(|client| client.id != owner.id).expect("the other").clone();

    assert_eq!(commit_error(&mut context, commit(&owner, owner.epoch, &cluster)), ErrorCode::None);
    assert_eq!(
        commit_error(&mut context, commit(&owner, Epoch(owner.epoch.0 + 1), &cluster)),
        ErrorCode::StaleMemberEpoch
    );
    // Uniform is sticky: the partition never moved, so an epoch from before is good for it (KIP-1251) ...
    assert_eq!(commit_error(&mut context, commit(&owner, old, &cluster)), ErrorCode::None);
    // ... and no older epoch is for whoever does not own it.
    assert_eq!(
        commit_error(&mut context, commit(&other, Epoch(other.epoch.0 - 1), &cluster)),
        ErrorCode::StaleMemberEpoch
    );
    let stranger = Client::new("nobody", &[]);
    assert_eq!(commit_error(&mut context, commit(&stranger, Epoch(1), &cluster)), ErrorCode::UnknownMemberId);
    let Request::CommitOffsets(new) = commit(&owner, owner.epoch, &cluster) else { unreachable!() };
    let version_8 = Request::CommitOffsets(CommitOffsets { knows_group_id_not_found: false, ..new });
    assert_eq!(commit_error(&mut context, version_8), ErrorCode::UnsupportedVersion);
}

#[test]
fn fetches_name_a_member_and_its_epoch_or_nobody() {
    let (mut context, cluster) = (context(), TestCluster::of(&[("orders", 1)]));
    let clients = settled(&mut context, &cluster, &["a"], &["orders"]);
    context.ask(commit(&clients[0], clients[0].epoch, &cluster));
    let mut fetch = |member: Option<&str>, epoch: i32| {
        let partitions = Some(vec![(super::context::topic("orders"), vec![PartitionIndex(0)])]);
        let (member, epoch) = (member.map(MemberId::from), Epoch(epoch));
        let fetch = FetchOffsets { group: "g".into(), partitions, require_stable: true, member, epoch };
        let Answer::FetchOffsets(answer) = context.ask(Request::FetchOffsets(fetch)) else { panic!() };
        (answer.error, answer.topics.first().map(|(_, offsets)| offsets[0].offset.0))
    };
    assert_eq!(fetch(None, -1), (ErrorCode::None, Some(7)));
    assert_eq!(fetch(Some("a"), clients[0].epoch.0), (ErrorCode::None, Some(7)));
    assert_eq!(fetch(Some("a"), 9), (ErrorCode::StaleMemberEpoch, None));
    assert_eq!(fetch(Some("b"), 1), (ErrorCode::UnknownMemberId, None));
}

#[test]
fn a_group_is_of_one_protocol_until_it_is_empty() {
    let (mut context, cluster) = (context(), TestCluster::of(&[("orders", 1)]));
    let mut client = settled(&mut context, &cluster, &["a"], &["orders"]).remove(0);
    context.ask(commit(&client, client.epoch, &cluster));
    let list = |context: &mut TestContext, types: &[&str]| {
        let types = types.iter().map(|word| (*word).to_owned()).collect();
        let Answer::List(Ok(groups)) = context.ask(Request::List(ListFilter { states: Vec::new(), types })) else {
            panic!()
        };
        groups.into_iter().map(|group| (group.kind.name(), group.state)).collect::<Vec<_>>()
    };
    assert_eq!(list(&mut context, &[]), [("consumer", "Stable")]);
    assert_eq!(list(&mut context, &["Classic"]), []);
    assert_eq!(context.ask(Request::Describe("g".into())), Answer::Describe(Err(ErrorCode::GroupIdNotFound)));
    assert_eq!(context.ask(Request::Delete("g".into())), Answer::Delete(ErrorCode::NonEmptyGroup));
    client.leave(&mut context, &cluster, Epoch::LEAVING);
    assert_eq!(list(&mut context, &["consumer"]), [("consumer", "Empty")]);
    assert_eq!(context.ask(Request::Delete("g".into())), Answer::Delete(ErrorCode::None));
    assert_eq!(list(&mut context, &[]), []);
    context.restart();
    assert_eq!(list(&mut context, &[]), [], "nothing of it is left in the log");
}

#[test]
fn removal_that_cannot_be_stored_is_tried_again() {
    let (mut context, cluster) = (context(), TestCluster::of(&[("orders", 4)]));
    settled(&mut context, &cluster, &["a"], &["orders"]);
    context.append_error = Some(ErrorCode::NotEnoughReplicas);
    context.advance(MINUTE_MS);
    context.append_error = None;
    assert_eq!(context.describe_consumers().members.len(), 1);
    context.advance(MINUTE_MS);
    assert_eq!(context.describe_consumers().state, ConsumerGroupState::Empty);
}

#[test]
fn five_hundred_members_on_a_thousand_partitions_settle_within_two_heartbeats_of_a_removal() {
    const MEMBERS: usize = 500;
    let (mut context, cluster) = (context(), TestCluster::of(&[("orders", 1_000)]));
    let mut clients: Vec<Client> = (0..MEMBERS).map(|i| Client::new(&format!("m{i:03}"), &["orders"])).collect();
    for client in &mut clients {
        assert_eq!(client.beat(&mut context, &cluster), ErrorCode::None);
    }
    settle(&mut context, &cluster, &mut clients);
    assert!(clients.iter().all(|client| count(&client.owned) == 2));
    clients.remove(0).leave(&mut context, &cluster, Epoch::LEAVING);
    for _ in 0..2 {
        context.advance(5_000);
        for client in &mut clients {
            assert_eq!(client.beat(&mut context, &cluster), ErrorCode::None);
        }
    }
    assert_eq!(context.describe_consumers().state, ConsumerGroupState::Stable);
    assert_eq!(clients.iter().map(|client| count(&client.owned)).sum::<usize>(), 1_000);
}
