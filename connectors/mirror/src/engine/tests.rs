//! The engine told what sources say, by hand and by chance.

use twinstream_model::{ErrorCode, PartitionIndex, TopicName};

use super::standing::OnTrouble;
use super::*;
use crate::aligned::footing::Footing;

const LEADER: NodeId = NodeId(1);
const SECOND: Duration = Duration::from_secs(1);

fn policies() -> Policies {
    Policies {
        begin: Begin::Earliest,
        truncation: OnTrouble::Fail,
        recreation: OnTrouble::Fail,
        retention: OnTrouble::Resume,
        unauthorized: OnTrouble::Fail,
    }
}

fn all(policy: OnTrouble) -> Policies {
    Policies { truncation: policy, recreation: policy, retention: policy, unauthorized: policy, ..policies() }
}

fn name(index: i32) -> TopicPartition {
    TopicPartition::new(TopicName::parse("t").unwrap(), PartitionIndex(index))
}

fn id(number: usize) -> TopicId {
    TopicId::parse(["AAAAAAAAAAAAAAAAAAAAAQ", "AAAAAAAAAAAAAAAAAAAAAg"][number - 1]).unwrap()
}

fn found(leader: i32) -> Result<Found, (ErrorCode, String)> {
    Ok(Found { leader: Some(NodeId(leader)), leader_epoch: LeaderEpoch(9), topic_id: id(1) })
}

fn unknown() -> Result<Found, (ErrorCode, String)> {
    Err((ErrorCode::UnknownTopicOrPartition, "not there".to_owned()))
}

fn answer(error: ErrorCode) -> Answer {
    Answer { asked: Offset(100), error, topic_id: id(1), diverging: None, read_from: None, reached: None }
}

fn brings(next: i64) -> Answer {
    Answer { reached: Some((Offset(next), LeaderEpoch(3))), ..answer(ErrorCode::None) }
}

/// Partitions of topics that the target has, and that are no mirrors.
fn fresh(policies: Policies, assigned: Vec<(TopicPartition, Option<Offset>)>) -> Engine {
    let mut engine = Engine::new(policies);
    for (name, position) in assigned {
        let at = engine.add(name, Place::at(position));
        engine.grounded(at, Ok(Footing::Generic), SECOND).unwrap();
    }
    engine
}

/// One partition that copies from offset 100 on.
fn copying(policies: Policies) -> Engine {
    let mut engine = fresh(policies, vec![(name(0), Some(Offset(100)))]);
    assert_eq!(engine.homeless().collect::<Vec<_>>(), [0]);
    engine.placed(0, found(1), SECOND).unwrap();
    assert_eq!(engine.take_orders(), [want(1, 100, -1)]);
    engine.answered(0, LEADER, &answer(ErrorCode::None), SECOND).unwrap();
    assert_eq!(standings(&mut engine), [Standing::Copying]);
    engine
}

fn want(leader: i32, offset: i64, last_epoch: i32) -> Order {
    let (offset, last_epoch) = (Offset(offset), LeaderEpoch(last_epoch));
    Order::Want { leader: NodeId(leader), at: 0, offset, last_epoch, topic_id: id(1), desk: Desk::Generic }
}

fn unwant(leader: i32) -> Order {
    Order::Unwant { leader: NodeId(leader), at: 0, desk: Desk::Generic }
}

fn standings(engine: &mut Engine) -> Vec<Standing> {
    engine.take_news().into_iter().map(|news| news.standing).collect()
}

#[test]
fn partition_that_was_never_copied_begins_where_the_policy_says() {
    for begin in [Begin::Earliest, Begin::Latest] {
        let mut engine = fresh(Policies { begin, ..policies() }, vec![(name(0), None)]);
        assert_eq!(engine.seeking().collect::<Vec<_>>(), [(0, begin)]);
        engine.began(0, Ok(Offset(7)), SECOND).unwrap();
        engine.placed(0, found(1), SECOND).unwrap();
        assert_eq!(engine.take_orders(), [want(1, 7, -1)]);
    }
}

#[test]
fn answer_moves_the_position_and_the_next_fetch_follows() {
    let mut engine = copying(policies());
    assert_eq!(engine.answered(0, LEADER, &brings(120), SECOND).unwrap(), Some(Offset(100)));
    assert_eq!(engine.take_orders(), [want(1, 120, 3)]);
    let again = Answer { asked: Offset(120), ..brings(110) };
    assert_eq!(engine.answered(0, LEADER, &again, SECOND).unwrap(), None, "nothing beyond the position");
    assert_eq!(engine.position(0), Some(Offset(120)));
}

#[test]
fn answer_to_an_older_position_does_not_count() {
    let mut engine = copying(policies());
    let ahead = Answer { asked: Offset(500), ..brings(600) };
    assert_eq!(engine.answered(0, LEADER, &ahead, SECOND).unwrap(), None, "it would leave a gap");
    assert_eq!(engine.position(0), Some(Offset(100)));
}

#[test]
fn answer_of_a_broker_that_is_not_asked_does_not_count() {
    let mut engine = copying(policies());
    assert_eq!(engine.answered(0, NodeId(2), &brings(120), SECOND).unwrap(), None);
    engine.answered(0, LEADER, &answer(ErrorCode::NotLeaderOrFollower), SECOND).unwrap();
    assert_eq!(engine.take_orders(), [unwant(1)]);
    assert_eq!(engine.answered(0, LEADER, &brings(120), SECOND).unwrap(), None);
    assert_eq!(engine.position(0), Some(Offset(100)));
}

#[test]
fn election_is_waited_for_and_named_only_when_it_lasts() {
    let mut engine = copying(policies());
    let mut now = SECOND;
    engine.answered(0, LEADER, &answer(ErrorCode::NotLeaderOrFollower), now).unwrap();
    let mut told = Vec::new();
    for _ in 0..12 {
        assert_eq!(engine.homeless().count(), 0, "it rests");
        let until = engine.next_deadline().unwrap();
        assert!(until > now && until - now <= REST_MAX);
        now = until;
        engine.tick(now);
        engine.placed(0, Ok(Found { leader: None, leader_epoch: LeaderEpoch(9), topic_id: id(1) }), now).unwrap();
        told.extend(standings(&mut engine));
    }
    assert_eq!(told, [Standing::Away]);
    engine.tick(engine.next_deadline().unwrap());
    engine.placed(0, found(2), now).unwrap();
    assert_eq!(engine.take_orders(), [unwant(1), want(2, 100, -1)]);
    engine.answered(0, NodeId(2), &brings(101), now).unwrap();
    assert_eq!(standings(&mut engine), [Standing::Copying]);
}

#[test]
fn lost_broker_sends_only_its_own_partitions_away() {
    let mut engine = fresh(policies(), vec![(name(0), Some(Offset(1))), (name(1), Some(Offset(2)))]);
    engine.placed(0, found(1), SECOND).unwrap();
    engine.placed(1, found(2), SECOND).unwrap();
    engine.take_orders();
    engine.leader_lost(LEADER, "connection refused", SECOND);
    assert_eq!(engine.take_orders(), [unwant(1)]);
    let news = engine.take_news();
    assert_eq!((news.len(), news[0].at, news[0].standing), (1, 0, Standing::Away));
    assert!(news[0].cause.contains("connection refused"));
}

#[test]
fn partition_that_is_gone_is_looked_for_and_goes_on() {
    for gone in [ErrorCode::UnknownTopicOrPartition, ErrorCode::UnknownTopicId] {
        let mut engine = copying(policies());
        engine.answered(0, LEADER, &answer(gone), SECOND).unwrap();
        assert_eq!(standings(&mut engine), [Standing::Gone]);
        engine.tick(SECOND + LOOK_AGAIN);
        engine.placed(0, unknown(), SECOND * 6).unwrap();
        engine.tick(SECOND * 6 + LOOK_AGAIN);
        assert_eq!(engine.homeless().count(), 1);
        engine.placed(0, found(1), SECOND * 11).unwrap();
        engine.answered(0, LEADER, &brings(101), SECOND * 11).unwrap();
        assert_eq!(standings(&mut engine), [Standing::Copying], "told once");
    }
}

#[test]
fn topic_made_anew_is_known_by_its_id_and_never_mixed_in() {
    let anew = || Ok(Found { leader: Some(LEADER), leader_epoch: LeaderEpoch(9), topic_id: id(2) });
    let gone = |policies| {
        let mut engine = copying(policies);
        engine.answered(0, LEADER, &answer(ErrorCode::UnknownTopicId), SECOND).unwrap();
        engine.tick(SECOND + LOOK_AGAIN);
        engine.take_news();
        engine
    };
    let stop = gone(policies()).placed(0, anew(), SECOND).unwrap_err();
    assert_eq!(stop.standing, Some(Standing::Recreated));
    assert!(stop.to_string().contains("twinstream.on.source.recreation"), "{stop}");

    let mut paused = gone(all(OnTrouble::Pause));
    paused.placed(0, anew(), SECOND).unwrap();
    assert_eq!(standings(&mut paused), [Standing::Recreated]);
    paused.tick(SECOND * 1_000_000);
    assert_eq!((paused.homeless().count(), paused.next_deadline()), (0, None), "it stands until a restart");

    for (policy, begin) in [(OnTrouble::Resume, Begin::Earliest), (OnTrouble::Latest, Begin::Latest)] {
        let mut engine = gone(all(policy));
        engine.placed(0, anew(), SECOND).unwrap();
        assert_eq!(standings(&mut engine), [Standing::Recreated]);
        assert_eq!(engine.seeking().collect::<Vec<_>>(), [(0, begin)]);
        engine.began(0, Ok(Offset(0)), SECOND).unwrap();
        engine.placed(0, anew(), SECOND).unwrap();
        let answer = Answer { asked: Offset(0), topic_id: id(2), ..brings(4) };
        assert_eq!(engine.answered(0, LEADER, &answer, SECOND).unwrap(), Some(Offset(0)));
    }
}

#[test]
fn answer_of_another_topic_of_the_same_name_is_not_copied() {
    let mut engine = copying(policies());
    let stop = engine.answered(0, LEADER, &Answer { topic_id: id(2), ..brings(120) }, SECOND).unwrap_err();
    assert_eq!(stop.standing, Some(Standing::Recreated));
}

#[test]
fn truncated_source_is_seen_by_its_epochs() {
    let parted = Answer { diverging: Some((LeaderEpoch(2), Offset(90))), ..answer(ErrorCode::None) };
    let stop = copying(policies()).answered(0, LEADER, &parted, SECOND).unwrap_err();
    assert_eq!(stop.standing, Some(Standing::Truncated));
    assert!(stop.why.contains("offset 90") && stop.why.contains("twinstream.on.source.truncation"), "{stop}");

    let mut engine = copying(all(OnTrouble::Resume));
    assert_eq!(engine.answered(0, LEADER, &parted, SECOND).unwrap(), None);
    let news = engine.take_news();
    assert_eq!((news[0].standing, news[0].diverged, news[0].lost), (Standing::Truncated, 10, 0));
    engine.take_orders();
    engine.placed(0, found(1), SECOND).unwrap();
    assert_eq!(engine.take_orders(), [want(1, 90, -1)]);

    let mut engine = copying(all(OnTrouble::Latest));
    engine.answered(0, LEADER, &parted, SECOND).unwrap();
    assert_eq!(engine.seeking().collect::<Vec<_>>(), [(0, Begin::Latest)]);
}

fn in_doubt(policies: Policies) -> Engine {
    let mut engine = copying(policies);
    engine.answered(0, LEADER, &answer(ErrorCode::OffsetOutOfRange), SECOND).unwrap();
    assert_eq!(engine.take_orders(), [unwant(1)]);
    assert_eq!(engine.doubtful().collect::<Vec<_>>(), [0]);
    engine
}

#[test]
fn retention_that_overtakes_the_copy_is_counted_and_judged_by_policy() {
    let bounds = Ok((Offset(130), Offset(200), id(1)));
    let mut engine = in_doubt(policies());
    engine.bounded(0, bounds.clone(), SECOND).unwrap();
    let news = engine.take_news();
    assert_eq!((news[0].standing, news[0].lost), (Standing::Overtaken, 30));
    assert!(news[0].cause.contains("records 100 to 129"), "{}", news[0].cause);
    engine.placed(0, found(1), SECOND).unwrap();
    assert_eq!(engine.take_orders(), [want(1, 130, -1)]);

    let mut latest = in_doubt(all(OnTrouble::Latest));
    latest.bounded(0, bounds.clone(), SECOND).unwrap();
    assert_eq!((latest.position(0), latest.take_news()[0].lost), (Some(Offset(200)), 100));

    let stop = in_doubt(all(OnTrouble::Fail)).bounded(0, bounds, SECOND).unwrap_err();
    assert_eq!(stop.standing, Some(Standing::Overtaken));
}

#[test]
fn position_beyond_the_end_is_truncation_and_nothing_that_is_left_is_missed() {
    let bounds = Ok((Offset(10), Offset(50), id(1)));
    let stop = in_doubt(policies()).bounded(0, bounds.clone(), SECOND).unwrap_err();
    assert_eq!(stop.standing, Some(Standing::Truncated));
    let mut engine = in_doubt(all(OnTrouble::Resume));
    engine.bounded(0, bounds, SECOND).unwrap();
    assert_eq!(engine.position(0), Some(Offset(10)), "where the logs part is not known");
}

#[test]
fn position_within_the_log_after_all_is_asked_again() {
    let mut engine = in_doubt(policies());
    engine.bounded(0, Ok((Offset(0), Offset(100), id(1))), SECOND).unwrap();
    engine.tick(engine.next_deadline().unwrap());
    engine.placed(0, found(1), SECOND).unwrap();
    assert_eq!(engine.take_orders(), [want(1, 100, -1)]);
    assert_eq!(standings(&mut engine), []);
}

#[test]
fn refused_access_fails_or_waits_as_the_policy_says() {
    let refused = answer(ErrorCode::TopicAuthorizationFailed);
    let stop = copying(policies()).answered(0, LEADER, &refused, SECOND).unwrap_err();
    assert_eq!(stop.standing, Some(Standing::Unauthorized));
    let mut engine = copying(all(OnTrouble::Pause));
    engine.answered(0, LEADER, &refused, SECOND).unwrap();
    assert_eq!(standings(&mut engine), [Standing::Unauthorized]);
    engine.tick(SECOND + LOOK_AGAIN);
    engine.placed(0, found(1), SECOND).unwrap();
    engine.answered(0, LEADER, &brings(101), SECOND).unwrap();
    assert_eq!(standings(&mut engine), [Standing::Copying], "access was granted");
}

#[test]
fn topic_that_is_hidden_from_us_is_not_taken_for_gone() {
    let hidden = || Err((ErrorCode::TopicAuthorizationFailed, "not authorized".to_owned()));
    let hidden_from = |policies| fresh(policies, vec![(name(0), Some(Offset(100)))]);
    let stop = hidden_from(policies()).placed(0, hidden(), SECOND).unwrap_err();
    assert_eq!(stop.standing, Some(Standing::Unauthorized));
    let mut paused = hidden_from(all(OnTrouble::Pause));
    paused.placed(0, hidden(), SECOND).unwrap();
    assert_eq!(standings(&mut paused), [Standing::Unauthorized]);
}

#[test]
fn what_nobody_knows_how_to_handle_stops_by_name() {
    let stop = copying(policies()).answered(0, LEADER, &answer(ErrorCode::InvalidRequest), SECOND).unwrap_err();
    assert_eq!(stop.standing, None);
    assert!(stop.to_string().contains("t-0") && stop.to_string().contains("broker 1"), "{stop}");
}

#[test]
fn what_a_broker_did_not_expect_is_asked_again_and_named_when_it_lasts() {
    let mut engine = copying(policies());
    let mut now = SECOND;
    for _ in 0..5 {
        engine.answered(0, LEADER, &answer(ErrorCode::UnknownServerError), now).unwrap();
        assert!(!engine.is_asked(0));
        now = engine.next_deadline().unwrap();
        engine.tick(now);
        engine.placed(0, found(1), now).unwrap();
        assert!(engine.is_asked(0));
    }
    let news = engine.take_news();
    assert_eq!((news.len(), news[0].standing), (1, Standing::Away), "{news:?}");
    engine.answered(0, LEADER, &brings(101), now).unwrap();
    assert_eq!(standings(&mut engine), [Standing::Copying]);
}

/// A source that is not there when a task begins is told of each partition, once, and not of those that wait for the target.
#[test]
fn a_source_that_cannot_be_reached_at_first_is_named_by_each_partition_that_has_not_begun() {
    let mut engine = Engine::new(policies());
    for index in 0..3 {
        engine.add(name(index), Place::at(None));
    }
    engine.grounded(1, Ok(Footing::Promoted), SECOND).unwrap();
    engine.remove(2);
    engine.take_news();
    for _ in 0..2 {
        engine.none_begins("refused");
    }
    let news = engine.take_news();
    assert_eq!((news.len(), news[0].at, news[0].standing), (1, 0, Standing::Away), "{news:?}");
    assert_eq!(engine.unfooted().collect::<Vec<_>>(), [0], "it goes on as if nothing had been");
}

/// A broker that is away for as long as it likes: the partition is asked about again within seconds, and says so.
#[test]
fn a_partition_whose_broker_is_away_for_days_is_asked_about_every_other_second() {
    let mut engine = copying(policies());
    let (mut now, mut asked) = (SECOND, 0_u32);
    engine.leader_lost(LEADER, "refused", now);
    while now < SECOND * 3_600 {
        let until = engine.next_deadline().unwrap();
        assert!(until - now <= REST_MAX, "{:?}", until - now);
        now = until;
        engine.tick(now);
        assert_eq!((engine.homeless().count(), engine.standing(0)), (1, Standing::Away));
        engine.unanswered(&[0], "refused", now);
        asked += 1;
    }
    assert!(asked >= 1_800);
    engine.tick(engine.next_deadline().unwrap());
    engine.placed(0, found(1), now).unwrap();
    engine.answered(0, LEADER, &brings(101), now).unwrap();
    assert_eq!(engine.standing(0), Standing::Copying);
}

#[test]
fn held_partition_is_not_asked_and_loses_nothing_that_is_under_way() {
    let mut engine = copying(policies());
    engine.hold(0);
    assert_eq!(engine.take_orders(), [unwant(1)]);
    assert_eq!(engine.answered(0, LEADER, &brings(120), SECOND).unwrap(), Some(Offset(100)));
    assert_eq!(engine.take_orders(), []);
    engine.release(0);
    assert_eq!(engine.take_orders(), [want(1, 120, 3)]);
}

#[test]
fn what_the_target_did_not_take_is_fetched_again() {
    let mut engine = copying(policies());
    engine.answered(0, LEADER, &brings(120), SECOND).unwrap();
    engine.go_back(0, Offset(110));
    engine.placed(0, found(1), SECOND).unwrap();
    assert_eq!(engine.take_orders(), [want(1, 120, 3), unwant(1), want(1, 110, -1)]);
    let late = Answer { asked: Offset(120), ..brings(130) };
    assert_eq!(engine.answered(0, LEADER, &late, SECOND).unwrap(), None);
    assert_eq!(engine.position(0), Some(Offset(110)));
}

#[test]
fn nearer_replica_is_read_when_the_leader_says_so() {
    let mut engine = copying(policies());
    let nearer = Answer { read_from: Some(NodeId(5)), ..answer(ErrorCode::None) };
    engine.answered(0, LEADER, &nearer, SECOND).unwrap();
    assert_eq!(engine.take_orders(), [unwant(1), want(5, 100, -1)]);
    engine.answered(0, NodeId(5), &brings(110), SECOND).unwrap();
    assert_eq!(engine.take_orders(), [want(5, 110, 3)]);
}

#[test]
fn unanswered_questions_are_asked_again() {
    let mut engine = fresh(policies(), vec![(name(0), None), (name(1), Some(Offset(4)))]);
    engine.unanswered(&[0, 1], "no route", SECOND);
    assert_eq!(standings(&mut engine), [Standing::Away, Standing::Away]);
    assert_eq!((engine.seeking().count(), engine.homeless().count()), (0, 0));
    engine.tick(SECOND + REST_FIRST);
    assert_eq!((engine.seeking().count(), engine.homeless().count()), (1, 1));
}

/// Whatever a source says: a fetch is ordered only at the present position, positions go back only with news, and a
/// partition is asked for, asked about, resting, or stopped with a standing that says why.
#[test]
fn no_story_leaves_a_partition_forgotten() {
    for seed in 0..2_000u64 {
        let mut chance = Chance(seed);
        let policy = [OnTrouble::Pause, OnTrouble::Resume, OnTrouble::Latest][chance.below(3)];
        let mut engine = fresh(all(policy), (0..3).map(|index| (name(index), None)).collect());
        let mut wanted: BTreeMap<At, (NodeId, Offset)> = BTreeMap::new();
        let mut now = SECOND;
        for _ in 0..60 {
            let at = chance.below(3);
            let before = engine.position(at);
            step(&mut engine, at, &mut chance, now);
            let went_back = engine.position(at) < before;
            let news = engine.take_news();
            assert!(!went_back || news.iter().any(|news| news.at == at), "seed {seed}: went back without a word");
            for order in engine.take_orders() {
                match order {
                    Order::Want { leader, at, offset, .. } => {
                        assert_eq!(engine.position(at), Some(offset), "seed {seed}");
                        wanted.insert(at, (leader, offset));
                    }
                    Order::Unwant { at, .. } => drop(wanted.remove(&at)),
                }
            }
            for at in 0..3 {
                let known = [
                    wanted.contains_key(&at),
                    engine.seeking().any(|(other, _)| other == at),
                    engine.doubtful().any(|other| other == at),
                    engine.homeless().any(|other| other == at),
                    engine.resting.iter().any(|(_, other)| *other == at),
                    engine.partitions[at].phase == Phase::Stopped,
                    matches!(engine.partitions[at].phase, Phase::Asked { held: true, .. }),
                ];
                assert_eq!(known.iter().filter(|is| **is).count(), 1, "seed {seed}: {known:?}");
                let stopped = engine.partitions[at].phase == Phase::Stopped;
                assert!(!stopped || engine.standing(at) > Standing::Unauthorized, "seed {seed}");
            }
            now += Duration::from_millis(chance.below(3_000) as u64);
            engine.tick(now);
        }
    }
}

fn step(engine: &mut Engine, at: At, chance: &mut Chance, now: Duration) {
    let offset = Offset(chance.below(100) as i64);
    let topic_id = id(1 + chance.below(20) / 18);
    let leader = NodeId(1 + chance.below(2) as i32);
    match chance.below(9) {
        0 => engine.began(at, Ok(offset), now).unwrap(),
        1 => {
            let leader = (chance.below(3) > 0).then_some(leader);
            let found = Found { leader, leader_epoch: LeaderEpoch(9), topic_id };
            engine.placed(at, if chance.below(5) > 0 { Ok(found) } else { unknown() }, now).unwrap();
        }
        2 => engine.leader_lost(leader, "away", now),
        3 => engine.hold(at),
        4 => engine.release(at),
        5 => engine.bounded(at, Ok((offset, Offset(offset.0 + 30), topic_id)), now).unwrap(),
        6 => engine.unanswered(&[at], "away", now),
        _ => {
            let errors = [
                ErrorCode::None,
                ErrorCode::None,
                ErrorCode::None,
                ErrorCode::OffsetOutOfRange,
                ErrorCode::NotLeaderOrFollower,
                ErrorCode::UnknownTopicId,
                ErrorCode::TopicAuthorizationFailed,
            ];
            let answer = Answer {
                asked: engine.position(at).unwrap_or_default(),
                error: errors[chance.below(errors.len())],
                topic_id,
                diverging: (chance.below(10) == 0).then_some((LeaderEpoch(1), offset)),
                read_from: (chance.below(10) == 0).then_some(NodeId(2)),
                reached: (chance.below(2) == 0).then_some((offset, LeaderEpoch(1))),
            };
            engine.answered(at, leader, &answer, now).unwrap();
        }
    }
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % bound
    }
}
