//! Claims about groups on their way between the classic and the newer protocol.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use twinstream_model::{ErrorCode, PartitionIndex, TopicId};

use super::super::*;
use super::consumer_context::{Client, TestCluster, count};
use super::context::{Happening, TestContext, offset_to_commit};
use crate::Token;

/// A consumer of the classic protocol that only knows one assignor and reads `orders`.
#[derive(Clone, Debug)]
struct Classic {
    id: MemberId,
    generation: Generation,
    assignor: &'static str,
    /// Of `orders`.
    owned: BTreeSet<i32>,
    fresh: u128,
}

impl Classic {
    fn new(fresh: u128) -> Classic {
        let (id, generation, owned) = (MemberId::default(), Generation::NONE, BTreeSet::new());
        Classic { id, generation, assignor: "range", owned, fresh }
    }

    /// Version 1 of the subscription, which tells what the member owns.
    fn subscription(&self) -> Bytes {
        let mut bytes = b"\x00\x01\x00\x00\x00\x01\x00\x06orders\xff\xff\xff\xff".to_vec();
        bytes.extend(b"\x00\x00\x00\x01\x00\x06orders");
        bytes.extend((self.owned.len() as i32).to_be_bytes());
        self.owned.iter().for_each(|partition| bytes.extend(partition.to_be_bytes()));
        bytes.into()
    }

    fn join(&self, cluster: &TestCluster) -> Request {
        Request::Join(Join {
            group: "g".into(),
            member: self.id.clone(),
            instance: None,
            client_id: "classic".into(),
            client_host: "/127.0.0.1".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 30_000,
            protocol_type: "consumer".into(),
            protocols: vec![Protocol { name: self.assignor.into(), metadata: self.subscription() }],
            reason: None,
            requires_member_id: false,
            can_skip_assignment: true,
            cluster: Some(Arc::new(cluster.clone())),
            fresh_id: uuid::Uuid::from_u128(self.fresh),
        })
    }

    fn sync(&self, assignments: Vec<(MemberId, Bytes)>) -> Request {
        Request::Sync(Sync {
            group: "g".into(),
            generation: self.generation,
            member: self.id.clone(),
            instance: None,
            protocol_type: Some("consumer".into()),
            protocol: Some(self.assignor.into()),
            assignments,
        })
    }

    fn heartbeat(&self, context: &mut TestContext) -> ErrorCode {
        let heartbeat =
            Heartbeat { group: "g".into(), generation: self.generation, member: self.id.clone(), instance: None };
        match context.ask(Request::Heartbeat(heartbeat)) {
            Answer::Heartbeat(error) => error,
            other => panic!("{other:?}"),
        }
    }

    fn joined(&mut self, answer: &Answer) -> ErrorCode {
        let Answer::Join(answer) = answer else { panic!("{answer:?}") };
        if answer.error.is_error() {
            return answer.error;
        }
        (self.id, self.generation) = (answer.member.clone(), answer.generation);
        ErrorCode::None
    }

    fn synced(&mut self, answer: &Answer) -> ErrorCode {
        let Answer::Sync(answer) = answer else { panic!("{answer:?}") };
        if answer.error.is_none() {
            self.owned = partitions_in(&answer.assignment);
        }
        answer.error
    }

    /// One round in a consumer group: a heartbeat, and what it asks for.
    fn beat(&mut self, context: &mut TestContext, cluster: &TestCluster) {
        match self.heartbeat(context) {
            ErrorCode::None => return,
            ErrorCode::RebalanceInProgress => (),
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                (self.id, self.generation) = (MemberId::default(), Generation::NONE);
                self.owned.clear();
            }
            other => panic!("{other:?}"),
        }
        let answer = context.ask(self.join(cluster));
        assert_eq!(self.joined(&answer), ErrorCode::None);
        let answer = context.ask(self.sync(Vec::new()));
        match self.synced(&answer) {
            ErrorCode::None | ErrorCode::RebalanceInProgress => (),
            other => panic!("{other:?}"),
        }
    }
}

/// The partitions of `orders` in an assignment of the consumer protocol.
fn partitions_in(assignment: &[u8]) -> BTreeSet<i32> {
    let number = |at: usize| i32::from_be_bytes(assignment[at..at + 4].try_into().unwrap());
    if number(2) == 0 {
        return BTreeSet::new();
    }
    assert_eq!(&assignment[6..14], b"\x00\x06orders");
    (0..number(14) as usize).map(|i| number(18 + 4 * i)).collect()
}

fn assignment(partitions: &[i32], user_data: Option<&[u8]>) -> Bytes {
    let mut bytes = b"\x00\x01\x00\x00\x00\x01\x00\x06orders".to_vec();
    bytes.extend((partitions.len() as i32).to_be_bytes());
    partitions.iter().for_each(|partition| bytes.extend(partition.to_be_bytes()));
    bytes.extend(user_data.map_or(-1, |data| data.len() as i32).to_be_bytes());
    bytes.extend(user_data.unwrap_or_default());
    bytes.into()
}

/// Two classic members that own two partitions of `orders` each.
fn classic_group(context: &mut TestContext, cluster: &TestCluster) -> [Classic; 2] {
    let members = [Classic::new(1), Classic::new(2)];
    classic_group_of(context, cluster, members, None)
}

fn classic_group_of(
    context: &mut TestContext,
    cluster: &TestCluster,
    mut members: [Classic; 2],
    user_data: Option<&[u8]>,
) -> [Classic; 2] {
    let joins: Vec<Token> = members.iter().map(|member| context.request(member.join(cluster))).collect();
    context.advance(10_000);
    for (member, join) in members.iter_mut().zip(&joins) {
        let answer = context.answer(*join).expect("the join phase is over");
        assert_eq!(member.joined(&answer), ErrorCode::None);
    }
    share(context, &mut members, &[&[0, 1], &[2, 3]], user_data);
    members
}

/// The leader assigns; its assignor may keep something with what it gives.
fn share(context: &mut TestContext, members: &mut [Classic], shares: &[&[i32]], user_data: Option<&[u8]>) {
    let all: Vec<(MemberId, Bytes)> =
        members.iter().zip(shares).map(|(member, share)| (member.id.clone(), assignment(share, user_data))).collect();
    let syncs: Vec<Token> = members.iter().map(|member| context.request(member.sync(all.clone()))).collect();
    for (member, sync) in members.iter_mut().zip(syncs) {
        let answer = context.answer(sync).expect("the leader has assigned");
        assert_eq!(member.synced(&answer), ErrorCode::None);
    }
}

fn settle(context: &mut TestContext, cluster: &TestCluster, classics: &mut [Classic], consumers: &mut [Client]) {
    for _ in 0..8 {
        context.advance(2_000);
        classics.iter_mut().for_each(|member| member.beat(context, cluster));
        for client in consumers.iter_mut() {
            client.beat(context, cluster);
        }
        check_owners(classics, consumers);
    }
}

/// Nobody owns what somebody else owns.
fn check_owners(classics: &[Classic], consumers: &[Client]) -> usize {
    let of_consumers = consumers.iter().flat_map(|client| client.owned.values().flatten().map(|p| p.0));
    let all: Vec<i32> = classics.iter().flat_map(|member| member.owned.iter().copied()).chain(of_consumers).collect();
    let distinct: BTreeSet<i32> = all.iter().copied().collect();
    assert_eq!(all.len(), distinct.len(), "{classics:?} {consumers:?}");
    all.len()
}

#[test]
fn a_classic_group_goes_up_when_a_member_of_the_newer_protocol_comes() {
    let (mut context, cluster) = (TestContext::new(GroupConfig::default()), TestCluster::of(&[("orders", 6)]));
    let mut classics = classic_group(&mut context, &cluster);
    let mut clients = [Client::new("new", &["orders"])];
    assert_eq!(clients[0].beat(&mut context, &cluster), ErrorCode::None);
    assert!(clients[0].epoch.0 > classics[0].generation.0, "the generation goes on as epoch");
    assert_eq!(classics[0].heartbeat(&mut context), ErrorCode::RebalanceInProgress);
    context.restart();
    settle(&mut context, &cluster, &mut classics, &mut clients);
    assert_eq!(check_owners(&classics, &clients), 6);
    assert_eq!(classics.each_ref().map(|member| member.owned.len()), [2, 2]);
    assert_eq!(count(&clients[0].owned), 2);
    let description = context.describe_consumers();
    assert_eq!(description.state, ConsumerGroupState::Stable);
    assert_eq!(description.members.iter().filter(|member| member.speaks_classic).count(), 2);
}

#[test]
fn a_group_goes_back_when_its_last_member_of_the_newer_protocol_leaves() {
    let (mut context, cluster) = (TestContext::new(GroupConfig::default()), TestCluster::of(&[("orders", 6)]));
    let mut classics = classic_group(&mut context, &cluster);
    let mut clients = [Client::new("new", &["orders"])];
    clients[0].beat(&mut context, &cluster);
    settle(&mut context, &cluster, &mut classics, &mut clients);
    let epoch = clients[0].epoch;
    assert_eq!(clients[0].leave(&mut context, &cluster, Epoch::LEAVING), ErrorCode::None);

    assert_eq!(
        context.ask(Request::ConsumerDescribe("g".into())),
        Answer::ConsumerDescribe(Err(ErrorCode::GroupIdNotFound))
    );
    for member in &classics {
        assert_eq!(member.heartbeat(&mut context), ErrorCode::RebalanceInProgress);
    }
    let joins: Vec<Token> = classics.iter().map(|member| context.request(member.join(&cluster))).collect();
    for (member, join) in classics.iter_mut().zip(joins) {
        let answer = context.answer(join).expect("everybody has joined");
        assert_eq!(member.joined(&answer), ErrorCode::None);
        assert!(member.generation.0 > epoch.0, "the epoch goes on as generation");
    }
    share(&mut context, &mut classics, &[&[0, 1, 2], &[3, 4, 5]], None);
    context.restart();
    assert_eq!(classics[0].heartbeat(&mut context), ErrorCode::None);
}

#[test]
fn a_group_goes_back_when_its_last_member_of_the_newer_protocol_falls_silent() {
    let (mut context, cluster) = (TestContext::new(GroupConfig::default()), TestCluster::of(&[("orders", 6)]));
    let mut classics = classic_group(&mut context, &cluster);
    let mut clients = [Client::new("new", &["orders"])];
    clients[0].beat(&mut context, &cluster);
    settle(&mut context, &cluster, &mut classics, &mut clients);
    for _ in 0..9 {
        context.advance(5_000);
        classics.iter().for_each(|member| {
            member.heartbeat(&mut context);
        });
    }
    let Answer::Describe(Ok(description)) = context.ask(Request::Describe("g".into())) else { panic!("not classic") };
    assert_eq!(description.state, GroupState::PreparingRebalance);
}

#[test]
fn members_that_wait_in_the_classic_group_are_sent_to_the_new_one() {
    let (mut context, cluster) = (TestContext::new(GroupConfig::default()), TestCluster::of(&[("orders", 6)]));
    let mut early = Classic::new(1);
    let join = context.request(early.join(&cluster));
    let mut client = Client::new("new", &["orders"]);
    assert_eq!(client.beat(&mut context, &cluster), ErrorCode::None);
    let Some(Answer::Join(answer)) = context.answer(join) else { panic!("still parked") };
    assert_eq!(answer.error, ErrorCode::RebalanceInProgress);
    early.id = answer.member;
    let answer = context.ask(early.join(&cluster));
    assert_eq!(early.joined(&answer), ErrorCode::None);
    let answer = context.ask(early.sync(Vec::new()));
    assert_eq!(early.synced(&answer), ErrorCode::None);
    settle(&mut context, &cluster, std::slice::from_mut(&mut early), std::slice::from_mut(&mut client));
    assert_eq!((early.owned.len(), count(&client.owned)), (3, 3));
}

#[test]
fn the_policy_and_the_protocol_decide_whether_a_group_goes_up() {
    let cluster = TestCluster::of(&[("orders", 6)]);
    let mut config = GroupConfig::default();
    config.consumer.migration = MigrationPolicy::Downgrade;
    let mut context = TestContext::new(config);
    classic_group(&mut context, &cluster);
    assert_eq!(Client::new("new", &["orders"]).beat(&mut context, &cluster), ErrorCode::GroupIdNotFound);

    let mut context = TestContext::new(GroupConfig::default());
    let Request::Join(join) = Classic::new(1).join(&cluster) else { unreachable!() };
    context.request(Request::Join(Join { protocol_type: "connect".into(), ..join }));
    assert_eq!(Client::new("new", &["orders"]).beat(&mut context, &cluster), ErrorCode::GroupIdNotFound);
}

/// librdkafka's leader hands each member's own data back with the assignment.
#[test]
fn data_of_an_assignor_that_comes_with_clients_does_not_keep_a_group_from_going_up() {
    let cluster = TestCluster::of(&[("orders", 6)]);
    for assignor in ["range", "roundrobin", "sticky", "cooperative-sticky"] {
        let mut context = TestContext::new(GroupConfig::default());
        let members = [1, 2].map(|fresh| Classic { assignor, ..Classic::new(fresh) });
        let mut classics = classic_group_of(&mut context, &cluster, members, Some(b"who owned what"));
        let mut clients = [Client::new("new", &["orders"])];
        assert_eq!(clients[0].beat(&mut context, &cluster), ErrorCode::None, "{assignor}");
        settle(&mut context, &cluster, &mut classics, &mut clients);
        assert_eq!(check_owners(&classics, &clients), 6);
    }
}

#[test]
fn data_of_an_assignor_of_its_own_keeps_a_group_from_going_up_and_is_reported() {
    let cluster = TestCluster::of(&[("orders", 6)]);
    let own = |fresh| Classic { assignor: "by-rack-and-moon", ..Classic::new(fresh) };
    let mut context = TestContext::new(GroupConfig::default());
    classic_group_of(&mut context, &cluster, [own(1), own(2)], Some(b"phase"));
    assert_eq!(Client::new("new", &["orders"]).beat(&mut context, &cluster), ErrorCode::GroupIdNotFound);
    let reported = context.happenings.iter().any(|happening| {
        matches!(happening, Happening::Event(Event::NotUpgraded { reason, .. }) if reason.contains("custom assignor"))
    });
    assert!(reported, "{:?}", context.happenings);

    let mut context = TestContext::new(GroupConfig::default());
    classic_group_of(&mut context, &cluster, [own(1), own(2)], None);
    assert_eq!(Client::new("new", &["orders"]).beat(&mut context, &cluster), ErrorCode::None, "nothing would be lost");
}

#[test]
fn change_that_cannot_be_stored_leaves_a_classic_group() {
    let (mut context, cluster) = (TestContext::new(GroupConfig::default()), TestCluster::of(&[("orders", 6)]));
    let classics = classic_group(&mut context, &cluster);
    context.append_error = Some(ErrorCode::NotEnoughReplicas);
    let mut client = Client::new("new", &["orders"]);
    assert_eq!(client.beat(&mut context, &cluster), ErrorCode::CoordinatorNotAvailable);
    context.append_error = None;
    assert_eq!(classics[0].heartbeat(&mut context), ErrorCode::None);
    assert_eq!(client.beat(&mut context, &cluster), ErrorCode::None);
}

#[test]
fn classic_members_commit_with_their_generation_and_leave_by_their_own_request() {
    let (mut context, cluster) = (TestContext::new(GroupConfig::default()), TestCluster::of(&[("orders", 6)]));
    let mut classics = classic_group(&mut context, &cluster);
    let mut clients = [Client::new("new", &["orders"])];
    clients[0].beat(&mut context, &cluster);
    settle(&mut context, &cluster, &mut classics, &mut clients);
    let mut commit = |generation: i32| {
        let mut offset = offset_to_commit("orders", 5, 7, "");
        offset.topic_now = cluster.id("orders").unwrap_or(TopicId::NONE);
        offset.partition = PartitionIndex(*classics[0].owned.first().expect("owns something"));
        let (group, member) = ("g".into(), classics[0].id.clone());
        let (instance, retention_ms, offsets) = (None, None, vec![offset]);
        let (generation, knows_group_id_not_found) = (Generation(generation), false);
        let commit =
            CommitOffsets { group, member, instance, generation, retention_ms, knows_group_id_not_found, offsets };
        let Answer::CommitOffsets(answer) = context.ask(Request::CommitOffsets(commit)) else { panic!() };
        answer.error
    };
    assert_eq!(commit(classics[0].generation.0), ErrorCode::None);
    assert_eq!(commit(classics[0].generation.0 + 1), ErrorCode::IllegalGeneration);

    let leaving = |id: &MemberId| LeavingMember { member: id.clone(), instance: None, reason: None };
    let members = vec![leaving(&classics[0].id), leaving(&clients[0].id), leaving(&classics[0].id)];
    let Answer::Leave(answer) = context.ask(Request::Leave(Leave { group: "g".into(), members })) else { panic!() };
    let unknown = ErrorCode::UnknownMemberId;
    assert_eq!(answer.members.iter().map(|left| left.error).collect::<Vec<_>>(), [ErrorCode::None, unknown, unknown]);
    settle(&mut context, &cluster, &mut classics[1..], &mut clients);
    assert_eq!(check_owners(&classics[1..], &clients), 6);
}

#[test]
fn classic_member_that_does_not_come_back_is_removed() {
    let (mut context, cluster) = (TestContext::new(GroupConfig::default()), TestCluster::of(&[("orders", 6)]));
    let classics = classic_group(&mut context, &cluster);
    let mut client = Client::new("new", &["orders"]);
    client.beat(&mut context, &cluster);
    for _ in 0..8 {
        context.advance(5_000);
        client.beat(&mut context, &cluster);
        classics[0].heartbeat(&mut context); // hears that it should join, and does not
    }
    client.beat(&mut context, &cluster);
    assert_eq!(context.describe_consumers().members.len(), 1, "one was silent, one did not join");
    assert_eq!(count(&client.owned), 6);
}

#[derive(Clone, Debug)]
enum Step {
    Classic(usize),
    Consumer(usize),
    ClassicLeaves(usize),
    ConsumerLeaves(usize),
    Advance(u64),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..3usize).prop_map(Step::Classic),
        6 => (0..3usize).prop_map(Step::Consumer),
        1 => (0..3usize).prop_map(Step::ClassicLeaves),
        1 => (1..3usize).prop_map(Step::ConsumerLeaves),
        3 => prop_oneof![Just(500u64), Just(1_500)].prop_map(Step::Advance),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// One member of the newer protocol stays, so that the group does.
    #[test]
    fn no_mixed_history_gives_a_partition_two_owners_and_every_one_converges(steps in steps()) {
        let cluster = TestCluster::of(&[("orders", 7)]);
        let mut context = TestContext::new(GroupConfig::default());
        let mut consumers: Vec<Client> = ["a", "b", "c"].map(|name| Client::new(name, &["orders"])).to_vec();
        let mut classics: Vec<Classic> = (1..4).map(Classic::new).collect();
        consumers[0].beat(&mut context, &cluster);
        for step in steps {
            match step {
                Step::Classic(i) => classics[i].beat(&mut context, &cluster),
                Step::Consumer(i) => {
                    consumers[i].beat(&mut context, &cluster);
                }
                Step::ClassicLeaves(i) => {
                    let leaving = LeavingMember { member: classics[i].id.clone(), instance: None, reason: None };
                    context.request(Request::Leave(Leave { group: "g".into(), members: vec![leaving] }));
                    classics[i] = Classic::new(classics[i].fresh + 3);
                }
                Step::ConsumerLeaves(i) => {
                    consumers[i].leave(&mut context, &cluster, Epoch::LEAVING);
                }
                Step::Advance(ms) => {
                    // Nobody falls silent: what a removed member still thinks that it owns is no claim of this test.
                    context.advance(ms);
                    classics.iter().filter(|member| !member.id.is_unknown()).for_each(|member| {
                        member.heartbeat(&mut context);
                    });
                    consumers[0].beat(&mut context, &cluster);
                }
                Step::Restart => context.restart(),
            }
            check_owners(&classics, &consumers);
        }
        settle(&mut context, &cluster, &mut classics, &mut consumers);
        prop_assert_eq!(check_owners(&classics, &consumers), 7);
        prop_assert_eq!(context.describe_consumers().state, ConsumerGroupState::Stable);
    }
}

#[test]
fn a_group_goes_back_when_a_classic_member_takes_the_place_of_the_last_one() {
    let (mut context, cluster) = (TestContext::new(GroupConfig::default()), TestCluster::of(&[("orders", 6)]));
    let mut classics = classic_group(&mut context, &cluster);
    let mut clients = [Client { instance: Some("i".into()), ..Client::new("new", &["orders"]) }];
    clients[0].beat(&mut context, &cluster);
    settle(&mut context, &cluster, &mut classics, &mut clients);
    let mut heir = Classic::new(9);
    let Request::Join(join) = heir.join(&cluster) else { unreachable!() };
    let answer = context.ask(Request::Join(Join { instance: Some("i".into()), ..join }));
    assert_eq!(heir.joined(&answer), ErrorCode::None);
    let Answer::Describe(Ok(description)) = context.ask(Request::Describe("g".into())) else { panic!("not classic") };
    assert_eq!((description.state, description.members.len()), (GroupState::PreparingRebalance, 3));
    let answer = context.ask(heir.sync(Vec::new()));
    assert_eq!(heir.synced(&answer), ErrorCode::RebalanceInProgress, "it joins once more, with everybody");
    context.restart();
    assert_eq!(classics[0].heartbeat(&mut context), ErrorCode::None, "what was stored is a stable generation");
}
