use super::*;

const EPOCH: LeaderEpoch = LeaderEpoch(5);

/// A follower whose log has these epochs, each with its end.
struct Fixture {
    state: FollowerState,
    epochs: Vec<(i32, i64)>,
}

impl Fixture {
    fn new(start: i64, high_watermark: i64, epochs: &[(i32, i64)]) -> Fixture {
        let (last_epoch, end) = epochs.last().map_or((LeaderEpoch::NONE, start), |(e, end)| (LeaderEpoch(*e), *end));
        let log = OwnLog { start: Offset(start), end: Offset(end), high_watermark: Offset(high_watermark), last_epoch };
        Fixture { state: FollowerState::new(EPOCH, log), epochs: epochs.to_vec() }
    }

    fn hear(&self, heard: Heard) -> Step {
        self.state.heard(&self.state.ask(), heard, |epoch| {
            let (known, end) = self.epochs.iter().rfind(|(known, _)| *known <= epoch.0)?;
            Some((LeaderEpoch(*known), Offset(*end)))
        })
    }

    fn diverging(&self, epoch: i32, end: i64) -> Step {
        self.hear(Heard::Diverging { epoch: LeaderEpoch(epoch), end: Offset(end), log_start: Offset(0) })
    }
}

fn cut(to: i64, committed: bool) -> Step {
    Step::Truncate { to: Offset(to), committed }
}

#[test]
fn question_names_the_end_and_the_last_epoch() {
    let follower = Fixture::new(2, 5, &[(1, 5), (3, 9)]);
    let expected = Ask { leader_epoch: EPOCH, offset: Offset(9), last_epoch: LeaderEpoch(3), log_start: Offset(2) };
    assert_eq!(follower.state.ask(), expected);
    assert_eq!(Fixture::new(0, 0, &[]).state.ask().last_epoch, LeaderEpoch::NONE);
}

#[test]
fn cut_is_where_the_shared_epoch_ends_for_the_shorter_log() {
    let follower = Fixture::new(0, 3, &[(1, 5), (3, 9)]);
    assert_eq!(follower.diverging(3, 7), cut(7, false));
    assert_eq!(follower.diverging(1, 5), cut(5, false));
    assert_eq!(follower.diverging(1, 4), cut(4, false));
    assert_eq!(follower.diverging(1, 8), cut(5, false), "the leader has more of epoch 1 than we");
}

#[test]
fn epoch_that_the_follower_never_saw_sends_it_back_to_the_end_of_an_older_one() {
    // KIP-279: the leader's epoch 2 is unknown here; nothing behind the end of epoch 1 is shared.
    let follower = Fixture::new(0, 3, &[(1, 5), (3, 9)]);
    assert_eq!(follower.diverging(2, 8), cut(5, false));
}

#[test]
fn follower_without_history_trusts_the_leaders_end() {
    let follower = Fixture::new(0, 3, &[(4, 9)]);
    assert_eq!(follower.diverging(2, 6), cut(6, false));
    assert_eq!(follower.diverging(2, 20), cut(9, false));
}

#[test]
fn cut_of_committed_records_is_named_so() {
    let follower = Fixture::new(0, 8, &[(1, 5), (3, 9)]);
    assert_eq!(follower.diverging(1, 5), cut(5, true));
    assert_eq!(follower.diverging(3, 8), cut(8, false));
}

#[test]
fn log_that_lies_behind_the_fork_as_a_whole_begins_anew_with_the_leader() {
    let follower = Fixture::new(6, 8, &[(3, 9)]);
    let heard = Heard::Diverging { epoch: LeaderEpoch(1), end: Offset(4), log_start: Offset(2) };
    assert_eq!(follower.hear(heard), Step::RestartAt { start: Offset(2), committed: true });
    let heard = Heard::Diverging { epoch: LeaderEpoch(1), end: Offset(6), log_start: Offset(2) };
    assert_eq!(follower.hear(heard), cut(6, true), "nothing is left, but it fits");
}

#[test]
fn out_of_range_is_settled_by_the_leaders_bounds() {
    let follower = Fixture::new(2, 5, &[(3, 9)]);
    assert_eq!(follower.hear(Heard::OutOfRange), Step::AskBounds);
    let bounds = |start, end| follower.state.bounds(Offset(start), Offset(end));
    assert_eq!(bounds(20, 30), Step::RestartAt { start: Offset(20), committed: false });
    assert_eq!(bounds(0, 7), cut(7, false));
    assert_eq!(bounds(0, 4), cut(4, true));
    assert_eq!(bounds(0, 1), Step::RestartAt { start: Offset(0), committed: true });
    assert_eq!(bounds(9, 30), Step::Retry, "in range by now");
}

#[test]
fn high_watermark_is_the_leaders_as_far_as_the_own_log_goes() {
    let mut follower = Fixture::new(0, 3, &[(1, 5)]);
    let heard = Heard::Records { high_watermark: Offset(20), log_start: Offset(0) };
    assert_eq!(follower.hear(heard), Step::Append);
    let announce = follower.state.appended(Offset(12), EPOCH, heard);
    assert_eq!(announce, Announce { high_watermark: Offset(12), log_start: Offset(0) });
    assert!(!follower.state.is_in_sync());
    let announce = follower.state.appended(Offset(22), EPOCH, heard);
    assert_eq!(announce.high_watermark, Offset(20));
    assert!(follower.state.is_in_sync());
    // A new leader starts with an older high watermark; ours stays.
    let older = Heard::Records { high_watermark: Offset(4), log_start: Offset(0) };
    assert_eq!(follower.state.appended(Offset(22), EPOCH, older).high_watermark, Offset(20));
}

#[test]
fn log_start_follows_the_leaders_up_to_the_high_watermark() {
    let mut follower = Fixture::new(0, 3, &[(1, 5)]);
    let heard = |start| Heard::Records { high_watermark: Offset(10), log_start: Offset(start) };
    assert_eq!(follower.state.appended(Offset(8), EPOCH, heard(4)).log_start, Offset(4));
    assert_eq!(follower.state.appended(Offset(8), EPOCH, heard(9)).log_start, Offset(8));
    assert_eq!(follower.state.appended(Offset(8), EPOCH, heard(1)).log_start, Offset(8));
}

#[test]
fn answer_to_an_earlier_question_is_dropped() {
    let mut follower = Fixture::new(0, 3, &[(1, 5)]);
    let earlier = follower.state.ask();
    let heard = Heard::Records { high_watermark: Offset(6), log_start: Offset(0) };
    let _announce = follower.state.appended(Offset(6), EPOCH, heard);
    assert_eq!(follower.state.heard(&earlier, heard, |_| None), Step::Ignore);
    let late = Heard::Diverging { epoch: LeaderEpoch(0), end: Offset(1), log_start: Offset(0) };
    assert_eq!(follower.state.heard(&earlier, late, |_| None), Step::Ignore);
}

#[test]
fn leader_that_is_gone_or_not_there_yet_is_waited_for() {
    let follower = Fixture::new(0, 3, &[(1, 5)]);
    assert_eq!(follower.hear(Heard::Fenced), Step::WaitForImage);
    assert_eq!(follower.hear(Heard::NotReady), Step::Retry);
}

#[test]
fn log_that_begins_within_a_batch_is_asked_for_where_the_leader_begins() {
    let mut follower = Fixture::new(15, 15, &[]);
    let empty =
        |at| OwnLog { start: Offset(at), end: Offset(at), high_watermark: Offset(at), last_epoch: LeaderEpoch::NONE };
    follower.state.begun_within(empty(10));
    let ask = follower.state.ask();
    assert_eq!((ask.offset, ask.log_start, ask.last_epoch), (Offset(15), Offset(10), LeaderEpoch::NONE));
    let heard = Heard::Records { high_watermark: Offset(20), log_start: Offset(15) };
    assert_eq!(follower.hear(heard), Step::Append);
    // Should nothing have come, the question stays.
    let mut idle = follower.state;
    let _announce = idle.appended(Offset(10), LeaderEpoch::NONE, heard);
    assert_eq!(idle.ask().offset, Offset(15));
    let announce = follower.state.appended(Offset(20), EPOCH, heard);
    assert_eq!(announce, Announce { high_watermark: Offset(20), log_start: Offset(15) });
    let ask = follower.state.ask();
    assert_eq!((ask.offset, ask.log_start), (Offset(20), Offset(15)));
}

#[test]
fn leader_that_deletes_on_meanwhile_is_followed_to_its_new_start() {
    let mut follower = Fixture::new(15, 15, &[]);
    let empty =
        OwnLog { start: Offset(10), end: Offset(10), high_watermark: Offset(10), last_epoch: LeaderEpoch::NONE };
    follower.state.begun_within(empty);
    assert_eq!(follower.hear(Heard::OutOfRange), Step::AskBounds);
    let step = follower.state.bounds(Offset(17), Offset(30));
    assert_eq!(step, Step::RestartAt { start: Offset(17), committed: false });
    follower.state.cut(OwnLog { start: Offset(17), end: Offset(17), high_watermark: Offset(17), ..empty });
    assert_eq!(follower.state.ask().offset, Offset(17));
}

#[test]
fn cut_log_asks_from_its_new_end() {
    let mut follower = Fixture::new(0, 8, &[(1, 5), (3, 9)]);
    let log = OwnLog { start: Offset(0), end: Offset(5), high_watermark: Offset(5), last_epoch: LeaderEpoch(1) };
    follower.state.cut(log);
    assert_eq!((follower.state.ask().offset, follower.state.ask().last_epoch), (Offset(5), LeaderEpoch(1)));
}
