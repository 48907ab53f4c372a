//! Mirrors, told what target and source say.

use twinstream_model::{NodeId, Offset, PartitionIndex, TopicId, TopicName, TopicPartition};
use uuid::Uuid;

use super::*;
use crate::aligned::footing::Ground;
use crate::engine::standing::Policies;
use crate::engine::{Answer, Desk, Found, Order, Place};

const LEADER: NodeId = NodeId(1);
const SECOND: Duration = Duration::from_secs(1);

fn policies(truncation: OnTrouble) -> Policies {
    Policies {
        begin: Begin::Latest,
        truncation,
        recreation: OnTrouble::Resume,
        retention: OnTrouble::Latest,
        unauthorized: OnTrouble::Fail,
    }
}

fn id(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

fn ground(end: i64, last_epoch: i32) -> Footing {
    Footing::Aligned(Ground {
        link: Uuid::from_u128(7),
        cluster: "east".to_owned(),
        topic_id: id(1),
        end: Offset(end),
        last_epoch: LeaderEpoch(last_epoch),
    })
}

fn found(topic_id: u128) -> Result<Found, (ErrorCode, String)> {
    Ok(Found { leader: Some(LEADER), leader_epoch: LeaderEpoch(9), topic_id: id(topic_id) })
}

fn answer(asked: i64) -> Answer {
    Answer {
        asked: Offset(asked),
        error: ErrorCode::None,
        topic_id: id(1),
        diverging: None,
        read_from: None,
        reached: None,
    }
}

/// One partition, whose stored offset says something else than its mirror.
fn unfooted(truncation: OnTrouble) -> Engine {
    let mut engine = Engine::new(policies(truncation));
    let name = TopicPartition::new(TopicName::parse("t").unwrap(), PartitionIndex(0));
    engine.add(name, Place::at(Some(Offset(3))));
    assert_eq!(engine.unfooted().collect::<Vec<_>>(), [0]);
    engine
}

/// A mirror that is copied from offset 100 on.
fn mirror(truncation: OnTrouble) -> Engine {
    let mut engine = unfooted(truncation);
    engine.grounded(0, Ok(ground(100, 4)), SECOND).unwrap();
    engine.placed(0, found(1), SECOND).unwrap();
    engine.answered(0, LEADER, &answer(100), SECOND).unwrap();
    engine.take_jumps();
    engine.take_orders();
    engine.take_news();
    engine
}

fn complaint(code: ErrorCode) -> Complaint {
    Complaint { code: Some(code), why: "the target says no".to_owned(), again: false }
}

fn standings(engine: &mut Engine) -> Vec<Standing> {
    engine.take_news().into_iter().map(|news| news.standing).collect()
}

fn parting() -> Parting {
    Parting { at: Offset(90), epoch: LeaderEpoch(6), mirror_end: Offset(100) }
}

#[test]
fn the_mirrors_own_end_is_the_position_and_its_epoch_is_told_to_the_source() {
    let mut engine = unfooted(OnTrouble::Fail);
    engine.grounded(0, Ok(ground(100, 4)), SECOND).unwrap();
    engine.placed(0, found(1), SECOND).unwrap();
    let (offset, last_epoch) = (Offset(100), LeaderEpoch(4));
    let want = Order::Want { leader: LEADER, at: 0, offset, last_epoch, topic_id: id(1), desk: Desk::Aligned };
    assert_eq!(engine.take_orders(), [want]);
    assert_eq!((engine.source_epoch(0), engine.tie(0).unwrap().link), (LeaderEpoch(9), Uuid::from_u128(7)));
}

#[test]
fn an_empty_mirror_begins_with_its_source_whatever_is_set_for_others() {
    let mut engine = unfooted(OnTrouble::Fail);
    engine.grounded(0, Ok(ground(0, -1)), SECOND).unwrap();
    assert_eq!(engine.seeking().collect::<Vec<_>>(), [(0, Begin::Earliest)]);
    engine.began(0, Ok(Offset(500)), SECOND).unwrap();
    assert_eq!(engine.position(0), Some(Offset(500)));
    assert_eq!(standings(&mut engine), [], "nothing was lost");
}

#[test]
fn a_topic_without_a_mark_goes_on_with_the_stored_offset() {
    let mut engine = unfooted(OnTrouble::Fail);
    engine.grounded(0, Ok(Footing::Generic), SECOND).unwrap();
    assert_eq!((engine.position(0), engine.tie(0)), (Some(Offset(3)), None));
    assert_eq!(engine.homeless().count(), 1);
}

#[test]
fn what_the_target_does_not_take_stands_by_name_and_is_looked_at_again() {
    let cases =
        [(Footing::Promoted, Standing::Promoted), (Footing::Refused("another link".to_owned()), Standing::Refused)];
    for (footing, standing) in cases {
        let mut engine = unfooted(OnTrouble::Fail);
        let mut now = SECOND;
        for _ in 0..3 {
            engine.grounded(0, Ok(footing.clone()), now).unwrap();
            assert_eq!(engine.unfooted().count(), 0);
            now += LOOK_AGAIN;
            engine.tick(now);
            assert_eq!(engine.unfooted().count(), 1);
        }
        assert_eq!(standings(&mut engine), [standing], "told once");
        engine.grounded(0, Ok(ground(100, 4)), now).unwrap();
        engine.placed(0, found(1), now).unwrap();
        engine.answered(0, LEADER, &answer(100), now).unwrap();
        assert_eq!(standings(&mut engine), [Standing::Copying], "the mark has changed");
    }
}

#[test]
fn a_topic_that_is_not_there_yet_is_waited_for() {
    let mut engine = unfooted(OnTrouble::Fail);
    let mut now = SECOND;
    let mut told = Vec::new();
    for _ in 0..8 {
        engine.grounded(0, Ok(Footing::Missing), now).unwrap();
        now = engine.next_deadline().unwrap();
        engine.tick(now);
        told.extend(standings(&mut engine));
    }
    assert_eq!(told, [Standing::Refused], "only when it lasts");
}

#[test]
fn a_refusal_lets_the_mirror_say_where_it_stands() {
    for code in [ErrorCode::OutOfOrderSequenceNumber, ErrorCode::PolicyViolation] {
        let mut engine = mirror(OnTrouble::Fail);
        engine.complained(0, complaint(code), SECOND).unwrap();
        assert_eq!(engine.unfooted().count(), 1);
        engine.grounded(0, Ok(ground(80, 3)), SECOND).unwrap();
        assert_eq!((engine.position(0), engine.last_epoch(0)), (Some(Offset(80)), LeaderEpoch(3)));
        assert!(engine.take_jumps().contains(&0), "what was under way does not count any more");
    }
    let mut engine = mirror(OnTrouble::Fail);
    let again = Complaint { again: true, ..complaint(ErrorCode::PolicyViolation) };
    engine.complained(0, again, SECOND).unwrap();
    assert_eq!((standings(&mut engine), engine.unfooted().count()), (vec![Standing::Refused], 0), "with a pause");
}

#[test]
fn what_the_target_did_not_expect_itself_is_tried_again_and_named_when_it_lasts() {
    let mut engine = mirror(OnTrouble::Fail);
    engine.complained(0, complaint(ErrorCode::UnknownServerError), SECOND).unwrap();
    assert_eq!((standings(&mut engine), engine.unfooted().count()), (vec![], 0), "with a pause");
    engine.tick(engine.next_deadline().unwrap());
    engine.grounded(0, Ok(ground(100, 4)), SECOND).unwrap();
    engine.complained(0, Complaint { again: true, ..complaint(ErrorCode::UnknownServerError) }, SECOND).unwrap();
    assert_eq!(standings(&mut engine), [Standing::Refused]);
    engine.tick(engine.next_deadline().unwrap());
    assert_eq!(engine.unfooted().count(), 1);
}

#[test]
fn a_refusal_that_nothing_explains_fails_by_name() {
    let stop = mirror(OnTrouble::Fail).complained(0, complaint(ErrorCode::TopicAuthorizationFailed), SECOND);
    let stop = stop.unwrap_err();
    assert_eq!((stop.standing, stop.why.as_str()), (Some(Standing::Refused), "the target says no"));
}

#[test]
fn parted_logs_are_judged_by_the_policy_when_it_is_known_where() {
    let parts = |truncation| {
        let mut engine = mirror(truncation);
        let diverging = Answer { diverging: Some((LeaderEpoch(3), Offset(70))), ..answer(100) };
        engine.answered(0, LEADER, &diverging, SECOND).unwrap();
        assert_eq!(engine.parting().collect::<Vec<_>>(), [0]);
        assert_eq!(engine.position(0), Some(Offset(100)));
        engine
    };
    let stop = parts(OnTrouble::Fail).parted(0, Ok(Some(parting())), SECOND).unwrap_err();
    assert_eq!(stop.standing, Some(Standing::Truncated));
    assert!(stop.why.contains("offset 90") && stop.why.contains("10 records"), "{stop}");

    let mut paused = parts(OnTrouble::Pause);
    assert_eq!(paused.parted(0, Ok(Some(parting())), SECOND).unwrap(), None);
    assert_eq!((standings(&mut paused), paused.next_deadline()), (vec![Standing::Truncated], None));

    for policy in [OnTrouble::Resume, OnTrouble::Latest] {
        let mut engine = parts(policy);
        assert_eq!(engine.parted(0, Ok(Some(parting())), SECOND).unwrap(), Some(parting()));
        assert_eq!((engine.cutting().count(), engine.take_orders().len()), (1, 1), "nothing is fetched meanwhile");
        engine.cut_is_done(0);
        let diverged: i64 = engine.take_news().iter().map(|news| news.diverged).sum();
        assert_eq!((diverged, engine.unfooted().count()), (10, 1));
    }
}

#[test]
fn a_fork_that_the_target_sees_is_looked_for_too() {
    let mut engine = mirror(OnTrouble::Resume);
    engine.complained(0, complaint(ErrorCode::InvalidRecord), SECOND).unwrap();
    assert_eq!(engine.parting().count(), 1);
    assert_eq!(engine.parted(0, Ok(Some(parting())), SECOND).unwrap(), Some(parting()));

    let mut sound = mirror(OnTrouble::Resume);
    sound.complained(0, complaint(ErrorCode::InvalidRecord), SECOND).unwrap();
    assert_eq!(sound.parted(0, Ok(None), SECOND).unwrap(), None);
    assert_eq!(standings(&mut sound), [Standing::Refused], "it has something else against it");
}

#[test]
fn two_histories_of_one_epoch_are_told_and_nothing_is_cut() {
    let parts = |truncation| {
        let mut engine = mirror(truncation);
        engine.complained(0, complaint(ErrorCode::InvalidRecord), SECOND).unwrap();
        engine
    };
    let found = || Err((ErrorCode::InvalidRecord, "epoch 3 has two histories".to_owned()));
    let mut engine = parts(OnTrouble::Resume);
    assert_eq!(engine.parted(0, found(), SECOND).unwrap(), None);
    assert_eq!((standings(&mut engine), engine.cutting().count()), (vec![Standing::Refused], 0));
    assert!(engine.next_deadline().is_some(), "it is looked at again");
    let stop = parts(OnTrouble::Fail).parted(0, found(), SECOND).unwrap_err();
    assert_eq!((stop.standing, stop.why.contains("two histories")), (Some(Standing::Truncated), true));
}

/// A fetch that was under way when logs parted still brings the source's log start.
#[test]
fn nothing_is_told_to_a_mirror_between_a_parting_and_the_end_of_its_cut() {
    let mut engine = mirror(OnTrouble::Resume);
    assert_eq!(engine.stands_at(0), Some(Offset(100)));
    engine.complained(0, complaint(ErrorCode::InvalidRecord), SECOND).unwrap();
    assert_eq!((engine.stands_at(0), engine.position(0)), (None, Some(Offset(100))));
    engine.parted(0, Ok(Some(parting())), SECOND).unwrap();
    assert_eq!(engine.stands_at(0), None);
    engine.cut_is_done(0);
    engine.grounded(0, Ok(ground(90, 6)), SECOND).unwrap();
    engine.placed(0, found(1), SECOND).unwrap();
    assert_eq!(engine.stands_at(0), Some(Offset(90)));
}

#[test]
fn a_cut_that_is_refused_for_good_stands() {
    let mut engine = mirror(OnTrouble::Resume);
    engine.complained(0, complaint(ErrorCode::InvalidRecord), SECOND).unwrap();
    engine.parted(0, Ok(Some(parting())), SECOND).unwrap();
    engine.complained(0, complaint(ErrorCode::InvalidRecord), SECOND).unwrap();
    engine.tick(SECOND * 1_000);
    assert_eq!((engine.unfooted().count(), engine.next_deadline()), (0, None));
    assert_eq!(engine.standing(0), Standing::Refused);
}

#[test]
fn a_mirror_never_goes_on_with_another_topic() {
    let mut engine = mirror(OnTrouble::Resume);
    engine.answered(0, LEADER, &Answer { topic_id: id(2), ..answer(100) }, SECOND).unwrap();
    let news = engine.take_news();
    assert_eq!(news[0].standing, Standing::Recreated);
    assert!(news[0].cause.contains("delete the mirror"), "{}", news[0].cause);
    // Its mark still names the old one, however often it is asked, and whether anything was copied or not.
    engine.tick(SECOND + LOOK_AGAIN);
    engine.grounded(0, Ok(ground(0, -1)), SECOND * 9).unwrap();
    engine.began(0, Ok(Offset(0)), SECOND * 9).unwrap();
    engine.placed(0, found(2), SECOND * 9).unwrap();
    assert_eq!((engine.take_orders().len(), engine.homeless().count()), (1, 0));
    assert_eq!(standings(&mut engine), [], "told once");
}

#[test]
fn what_the_source_removed_is_a_gap_even_where_others_would_skip_to_the_end() {
    let mut engine = mirror(OnTrouble::Fail);
    engine.answered(0, LEADER, &Answer { error: ErrorCode::OffsetOutOfRange, ..answer(100) }, SECOND).unwrap();
    engine.bounded(0, Ok((Offset(130), Offset(200), id(1))), SECOND).unwrap();
    assert_eq!((engine.position(0), engine.take_news()[0].lost), (Some(Offset(130)), 30));
}

#[test]
fn a_partition_that_went_is_not_asked_for_and_its_name_is_free() {
    let mut engine = mirror(OnTrouble::Fail);
    let name = engine.name(0).clone();
    engine.remove(0);
    let unwant = Order::Unwant { leader: LEADER, at: 0, desk: Desk::Aligned };
    assert_eq!((engine.take_orders(), engine.at(&name)), (vec![unwant], None));
    assert_eq!(engine.answered(0, LEADER, &answer(100), SECOND).unwrap(), None);
    assert_eq!(engine.add(name.clone(), Place::at(None)), 1);
    assert_eq!((engine.at(&name), engine.unfooted().collect::<Vec<_>>()), (Some(1), vec![1]));
}
