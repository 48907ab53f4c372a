//! Claims that need more than a script: many members, odd clients, invariants under random events.

use bytes::Bytes;
use proptest::prelude::*;
use twinstream_model::{ErrorCode, GroupId, Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicId};
use uuid::Uuid;

use super::super::*;
use super::context::{TestContext, offset_to_commit, protocol, topic};
use crate::transaction::{Producer, TransactionVersion};

fn join(context: &mut TestContext, client: &str, member: &MemberId) -> Join {
    Join {
        group: "g".into(),
        member: member.clone(),
        instance: None,
        client_id: client.into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 30_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range:orders")],
        reason: None,
        requires_member_id: true,
        can_skip_assignment: true,
        cluster: None,
        fresh_id: context.fresh_id(),
    }
}

fn join_with_id(context: &mut TestContext, client: &str) -> MemberId {
    let first = join(context, client, &MemberId::default());
    let Answer::Join(answer) = context.ask(Request::Join(first)) else { panic!() };
    assert_eq!(answer.error, ErrorCode::MemberIdRequired);
    answer.member
}

fn sync(member: &MemberId, generation: Generation, assignments: Vec<(MemberId, Bytes)>) -> Request {
    Request::Sync(Sync {
        group: "g".into(),
        generation,
        member: member.clone(),
        instance: None,
        protocol_type: None,
        protocol: None,
        assignments,
    })
}

#[test]
fn hundreds_of_members_join_at_once_and_each_gets_its_whole_share() {
    const MEMBERS: usize = 300;
    let mut context = TestContext::new(GroupConfig::default());
    let ids: Vec<MemberId> = (0..MEMBERS).map(|i| join_with_id(&mut context, &format!("c{i}"))).collect();
    let mut joins = Vec::new();
    for id in &ids {
        let request = join(&mut context, "c", id);
        joins.push(context.request(Request::Join(request)));
        context.advance(1);
    }
    context.advance(7_000);
    let mut leader = None;
    for (id, token) in ids.iter().zip(joins) {
        let Some(Answer::Join(answer)) = context.answer(token) else { panic!("{id} is not answered") };
        assert_eq!((answer.error, answer.generation), (ErrorCode::None, Generation(1)));
        if answer.leader == *id {
            assert_eq!(answer.members.len(), MEMBERS, "the leader hears of everybody");
            leader = Some(id.clone());
        } else {
            assert!(answer.members.is_empty());
        }
    }
    let leader = leader.expect("somebody leads");
    let share = |id: &MemberId| Bytes::from(format!("{id}-").repeat(50)); // some kilobytes each
    let followers: Vec<_> = ids.iter().filter(|id| **id != leader).collect();
    let parked: Vec<_> = followers.iter().map(|id| context.request(sync(id, Generation(1), Vec::new()))).collect();
    let all = ids.iter().map(|id| (id.clone(), share(id))).collect();
    context.ask(sync(&leader, Generation(1), all));
    for (id, token) in followers.iter().zip(parked) {
        let Some(Answer::Sync(answer)) = context.answer(token) else { panic!("{id} is not answered") };
        assert_eq!(answer.error, ErrorCode::None);
        assert_eq!(answer.assignment, share(id), "whole, not truncated");
    }
}

#[test]
fn repeated_join_of_a_member_answers_the_abandoned_one() {
    let mut context = TestContext::new(GroupConfig::default());
    let id = join_with_id(&mut context, "A");
    let request = join(&mut context, "A", &id);
    let first = context.request(Request::Join(request.clone()));
    let second = context.request(Request::Join(request));
    let Some(Answer::Join(abandoned)) = context.answer(first) else { panic!("parked forever") };
    assert_eq!(abandoned.error, ErrorCode::RebalanceInProgress);
    context.advance(10_000);
    let Some(Answer::Join(joined)) = context.answer(second) else { panic!() };
    assert_eq!((joined.error, joined.member), (ErrorCode::None, id));
}

#[test]
fn offset_metadata_over_the_bound_fails_alone() {
    let mut context = TestContext::new(GroupConfig::default());
    let long = "x".repeat(4_097);
    let wide = "é".repeat(4_096); // more bytes, but Kafka counts UTF-16 units
    let commit = CommitOffsets {
        group: "g".into(),
        generation: Generation::NONE,
        member: MemberId::default(),
        instance: None,
        retention_ms: None,
        knows_group_id_not_found: true,
        offsets: vec![
            offset_to_commit("orders", 0, 1, &long),
            offset_to_commit("orders", 1, 2, &wide),
            offset_to_commit("orders", 2, 3, ""),
        ],
    };
    let Answer::CommitOffsets(answer) = context.ask(Request::CommitOffsets(commit)) else { panic!() };
    assert_eq!(answer.offsets, [ErrorCode::OffsetMetadataTooLarge, ErrorCode::None, ErrorCode::None]);
    context.restart();
    let (member, epoch) = (None, Epoch(-1));
    let fetch = FetchOffsets { group: "g".into(), partitions: None, require_stable: false, member, epoch };
    let Answer::FetchOffsets(answer) = context.ask(Request::FetchOffsets(fetch)) else { panic!() };
    let offsets: Vec<(Offset, usize)> =
        answer.topics[0].1.iter().map(|o| (o.offset, o.metadata.chars().count())).collect();
    assert_eq!(offsets, [(Offset(2), 4_096), (Offset(3), 0)]);
}

#[test]
fn offsets_of_a_topic_that_was_made_again_are_not_forgotten_with_the_one_before() {
    let mut context = TestContext::new(GroupConfig::default());
    let (old, new) = (TopicId(Uuid::from_u128(1)), TopicId(Uuid::from_u128(2)));
    let offsets = [(0, old), (1, new), (2, TopicId::NONE)];
    let offsets = offsets
        .map(|(partition, topic_id)| OffsetToCommit { topic_id, ..offset_to_commit("orders", partition, 7, "") });
    context.ask(Request::CommitOffsets(CommitOffsets {
        group: "g".into(),
        generation: Generation::NONE,
        member: MemberId::default(),
        instance: None,
        retention_ms: None,
        knows_group_id_not_found: true,
        offsets: offsets.into(),
    }));
    context.ask(Request::ForgetTopics(vec![(topic("orders"), old)]));
    context.restart();
    let (member, epoch) = (None, Epoch(-1));
    let fetch = FetchOffsets { group: "g".into(), partitions: None, require_stable: false, member, epoch };
    let Answer::FetchOffsets(answer) = context.ask(Request::FetchOffsets(fetch)) else { panic!() };
    let left: Vec<(i32, bool)> =
        answer.topics[0].1.iter().map(|offset| (offset.partition.0, offset.is_of_another(old))).collect();
    assert_eq!(left, [(1, true)]);
}

#[test]
fn unreadable_subscription_counts_as_subscribed_to_everything() {
    let mut context = TestContext::new(GroupConfig::default());
    let mut request = join(&mut context, "A", &MemberId::default());
    request.requires_member_id = false;
    request.protocols = vec![protocol("range=garbage")];
    let token = context.request(Request::Join(request));
    context.advance(3_000);
    let Some(Answer::Join(joined)) = context.answer(token) else { panic!() };
    context.ask(sync(&joined.member, joined.generation, Vec::new()));
    let delete = DeleteOffsets { group: "g".into(), topics: vec![(topic("any"), vec![])] };
    let Answer::DeleteOffsets(answer) = context.ask(Request::DeleteOffsets(delete)) else { panic!() };
    assert_eq!(answer.topics, [ErrorCode::GroupSubscribedToTopic]);
}

#[test]
fn offsets_of_a_deleted_group_that_were_committed_later_survive_as_a_simple_group() {
    let mut shard = GroupShard::new(GroupConfig::default());
    let group = GroupId::from("g");
    let key = OffsetKey { group: group.clone(), topic: topic("orders"), partition: 0.into() };
    let value = CommittedOffset {
        offset: Offset(1),
        leader_epoch: 0.into(),
        metadata: "".into(),
        commit_timestamp_ms: 0,
        expire_timestamp_ms: None,
        topic_id: TopicId::NONE,
    };
    use crate::Shard as _;
    shard.replay(Offset(0), &Record::OffsetCommit { key, value: Some(value) });
    shard.replay(Offset(1), &Record::GroupMetadata { group, value: None });
    assert_eq!(shard.offset_count(), 1);
}

/// One random event; members are named by a small number so that they meet.
#[derive(Clone, Debug)]
enum Step {
    Join { who: usize, is_static: bool, knows_id: bool },
    Sync { who: usize },
    Heartbeat { who: usize },
    Leave { who: usize },
    Commit { who: usize },
    Advance { ms: u64 },
    FailAppends { fail: bool },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..4usize;
    prop_oneof![
        6 => (who.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(who, is_static, knows_id)| Step::Join { who, is_static, knows_id }),
        6 => who.clone().prop_map(|who| Step::Sync { who }),
        3 => who.clone().prop_map(|who| Step::Heartbeat { who }),
        2 => who.clone().prop_map(|who| Step::Leave { who }),
        2 => who.prop_map(|who| Step::Commit { who }),
        4 => (0..12_000u64).prop_map(|ms| Step::Advance { ms }),
        1 => any::<bool>().prop_map(|fail| Step::FailAppends { fail }),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    /// `TestContext` checks the invariants after every event; here: no panic, every token answered at most
    /// once, and after everybody fell silent the group is empty and nobody is left waiting.
    #[test]
    fn random_events_keep_the_books_in_order(steps in prop::collection::vec(step(), 1..120)) {
        let mut context = TestContext::new(GroupConfig::default());
        let mut known: Vec<(MemberId, Generation)> = vec![Default::default(); 4];
        let mut tokens = Vec::new();
        for step in steps {
            if let Some(request) = request_of(&mut context, &known, &step) {
                tokens.push((context.request(request), who(&step)));
            }
            match step {
                Step::Advance { ms } => context.advance(ms),
                Step::FailAppends { fail } => {
                    context.append_error = fail.then_some(ErrorCode::NotEnoughReplicas);
                }
                Step::Restart => {
                    context.restart();
                    tokens.clear(); // their connections are gone
                }
                _ => (),
            }
            learn(&mut context, &tokens, &mut known);
        }
        context.append_error = None;
        context.advance(2_000_000);
        for (token, _) in &tokens {
            let answers = context.happenings.iter().filter(|h| {
                matches!(h, super::context::Happening::Answered(t, _) if t == token)
            });
            prop_assert_eq!(answers.count(), 1, "token {:?}", token);
        }
        let states = context.engine.shard().count_by_state();
        prop_assert!(states.keys().all(|s| *s == GroupState::Empty), "{:?}", states);
    }
}

fn who(step: &Step) -> usize {
    match step {
        Step::Join { who, .. } | Step::Sync { who } | Step::Heartbeat { who } => *who,
        Step::Leave { who } | Step::Commit { who } => *who,
        _ => 0,
    }
}

fn request_of(context: &mut TestContext, known: &[(MemberId, Generation)], step: &Step) -> Option<Request> {
    let (member, generation) = known[who(step)].clone();
    let instance = |is_static: bool, who: usize| is_static.then(|| InstanceId::from(format!("i{who}")));
    Some(match step {
        Step::Join { who, is_static, knows_id } => {
            let id = if *knows_id { member } else { MemberId::default() };
            let mut request = join(context, &format!("c{who}"), &id);
            request.instance = instance(*is_static, *who);
            Request::Join(request)
        }
        Step::Sync { .. } => sync(&member, generation, vec![(member.clone(), Bytes::from_static(b"x"))]),
        Step::Heartbeat { .. } => {
            Request::Heartbeat(Heartbeat { group: "g".into(), generation, member, instance: None })
        }
        Step::Leave { .. } => {
            let leaving = LeavingMember { member, instance: None, reason: None };
            Request::Leave(Leave { group: "g".into(), members: vec![leaving] })
        }
        Step::Commit { .. } => Request::CommitOffsets(CommitOffsets {
            group: "g".into(),
            generation,
            member,
            instance: None,
            retention_ms: None,
            knows_group_id_not_found: true,
            offsets: vec![offset_to_commit("orders", 0, 1, "")],
        }),
        _ => return None,
    })
}

/// Clients remember what they are told.
fn learn(context: &mut TestContext, tokens: &[(Token, usize)], known: &mut [(MemberId, Generation)]) {
    for (token, who) in tokens {
        if let Some(Answer::Join(answer)) = context.answer(*token)
            && !answer.member.is_unknown()
        {
            known[*who] = (answer.member, answer.generation);
        }
    }
}

fn plain_commit(group: &str, partition: i32) -> Request {
    Request::CommitOffsets(CommitOffsets {
        group: group.into(),
        generation: Generation(-1),
        member: MemberId::default(),
        instance: None,
        retention_ms: None,
        knows_group_id_not_found: true,
        offsets: vec![offset_to_commit("orders", partition, 7, "")],
    })
}

fn deletion(group: &str, partition: i32) -> Request {
    let topics = vec![(topic("orders"), vec![PartitionIndex(partition)])];
    Request::DeleteOffsets(DeleteOffsets { group: group.into(), topics })
}

fn stable_offsets(group: &str, partitions: &[i32]) -> Request {
    let partitions = partitions.iter().copied().map(PartitionIndex).collect();
    let partitions = Some(vec![(topic("orders"), partitions)]);
    let (member, epoch) = (None, Epoch(-1));
    Request::FetchOffsets(FetchOffsets { group: group.into(), partitions, require_stable: true, member, epoch })
}

/// What of these partitions is told at once.
fn told(context: &mut TestContext, group: &str, partitions: &[i32]) -> Option<Vec<Offset>> {
    let token = context.request(stable_offsets(group, partitions));
    let Answer::FetchOffsets(answer) = context.answer(token)? else { panic!() };
    Some(answer.topics[0].1.iter().map(|found| found.offset).collect())
}

#[test]
fn offset_that_is_committed_is_told_whatever_else_waits_for_followers() {
    let mut context = TestContext::new(GroupConfig::default());
    context.ask(plain_commit("g", 0));
    context.holds_commits = true;
    let waiting = context.request(plain_commit("g", 1));
    assert_eq!(told(&mut context, "g", &[0, 2]), Some(vec![Offset(7), Offset::NONE]));
    let of_what_waits = context.request(stable_offsets("g", &[0, 1]));
    assert!(context.answer(of_what_waits).is_none(), "a new leader might not have it");

    let deletion = context.request(deletion("g", 0));
    let of_what_goes = context.request(stable_offsets("g", &[0]));
    assert!(context.answer(of_what_goes).is_none(), "a new leader might still have it");
    context.commit_all();
    assert!([waiting, of_what_waits, deletion, of_what_goes].into_iter().all(|token| context.answer(token).is_some()));
}

#[test]
fn generation_that_waits_for_followers_does_not_hold_up_the_offsets_of_its_members() {
    let mut context = TestContext::new(GroupConfig::default());
    context.ask(plain_commit("g", 0));
    let id = join_with_id(&mut context, "A");
    let request = join(&mut context, "A", &id);
    context.request(Request::Join(request));
    context.advance(10_000);
    context.holds_commits = true;
    let share = vec![(id.clone(), Bytes::from("share"))];
    let synced = context.request(sync(&id, Generation(1), share));
    assert!(context.answer(synced).is_none(), "the generation is not committed");
    assert_eq!(told(&mut context, "g", &[0]), Some(vec![Offset(7)]));
}

#[test]
fn what_becomes_of_other_groups_does_not_hold_up_an_offset() {
    let mut context = TestContext::new(GroupConfig::default());
    let producer = |id| Producer { id: ProducerId(id), epoch: ProducerEpoch(0) };
    let pending = |group: &str, id| {
        Request::CommitTransactionalOffsets(CommitTransactionalOffsets {
            group: group.into(),
            producer: producer(id),
            verification: Verification::SwitchedOff,
            generation: Generation::NONE,
            member: MemberId::default(),
            instance: None,
            offsets: vec![offset_to_commit("orders", 0, 9, "")],
        })
    };
    let end = |id, commit| {
        let version = TransactionVersion::V0;
        Request::EndTransaction(EndTransaction { producer: producer(id), commit, coordinator_epoch: 0, version })
    };
    for group in ["quiet", "deleted", "committed", "aborted"] {
        context.ask(plain_commit(group, 0));
    }
    context.ask(pending("committed", 1));
    context.ask(pending("aborted", 2));
    context.holds_commits = true;
    for request in [deletion("deleted", 0), end(1, true), end(2, false)] {
        context.request(request);
    }
    assert_eq!(told(&mut context, "quiet", &[0]), Some(vec![Offset(7)]));
    for group in ["deleted", "committed", "aborted"] {
        assert_eq!(told(&mut context, group, &[0]), None, "a new leader might know nothing of what was {group}");
    }
    context.commit_all();
    let offsets =
        ["deleted", "committed", "aborted"].map(|group| told(&mut context, group, &[0]).expect("committed")[0]);
    assert_eq!(offsets, [Offset::NONE, Offset(9), Offset(7)]);
}
