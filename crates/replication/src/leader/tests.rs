use super::*;

const LEADER: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);
const EPOCH: LeaderEpoch = LeaderEpoch(5);
const LIMITS: Limits = Limits { lag_max: Duration::from_secs(30), silence_max: Duration::from_secs(2) };

/// A leader with replicas 1, 2, 3 and a clock.
struct Fixture {
    state: LeaderState,
    now: Instant,
    standing: BTreeMap<NodeId, Standing>,
    /// Where older epochs end in the leader's log; its own epoch ends at the log end.
    epochs: Vec<(i32, i64)>,
}

fn assignment(partition_epoch: i32, isr: &[NodeId]) -> Assignment {
    Assignment { leader_epoch: EPOCH, partition_epoch, replicas: vec![LEADER, B, C], isr: isr.to_vec() }
}

fn at(high_watermark: i64, end: i64) -> LogPositions {
    LogPositions { start: Offset(0), end: Offset(end), high_watermark: Offset(high_watermark) }
}

impl Fixture {
    fn new(isr: &[NodeId], log: LogPositions, min_insync_replicas: usize) -> Fixture {
        let now = Instant::now();
        let standing: BTreeMap<_, _> =
            [B, C].map(|id| (id, Standing { broker_epoch: i64::from(id.0) * 10, eligible: true })).into();
        let settings = LeaderSettings { min_insync_replicas, limits: LIMITS };
        let state = LeaderState::new(LEADER, &assignment(10, isr), log, settings, |id| standing.get(&id).copied(), now);
        Fixture { state, now, standing, epochs: vec![(4, log.end.0)] }
    }

    fn all_in_sync() -> Fixture {
        Fixture::new(&[LEADER, B, C], at(0, 0), 2)
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    fn append(&mut self, end: i64) -> Option<i64> {
        self.state.appended(Offset(end), self.now).map(|offset| offset.0)
    }

    fn question(&self, follower: NodeId, offset: i64) -> ReplicaFetch {
        ReplicaFetch {
            follower,
            broker_epoch: self.standing[&follower].broker_epoch,
            leader_epoch: EPOCH,
            offset: Offset(offset),
            last_epoch: EPOCH,
            log_start: Offset(0),
        }
    }

    fn ask(&mut self, fetch: ReplicaFetch) -> Result<Effects, FetchRefused> {
        let (end, epochs) = (self.state.log.end, self.epochs.clone());
        let end_of = |epoch: LeaderEpoch| {
            if epoch >= EPOCH {
                return (epoch == EPOCH).then_some((EPOCH, end));
            }
            let (known, end) = epochs.iter().rfind(|(known, _)| *known <= epoch.0)?;
            Some((LeaderEpoch(*known), Offset(*end)))
        };
        self.state.fetched(&fetch, end_of, self.now)
    }

    /// A sound fetch; returns the new high watermark and the proposed ISR.
    fn fetch(&mut self, follower: NodeId, offset: i64) -> (Option<i64>, Option<Vec<i32>>) {
        let effects = self.ask(self.question(follower, offset)).unwrap();
        (effects.high_watermark.map(|offset| offset.0), effects.proposal.as_ref().map(members))
    }

    fn tick(&mut self) -> Effects {
        self.state.tick(self.now)
    }

    /// Lets time pass in small ticks, with both followers or one fetching at these offsets.
    fn run(&mut self, ms: u64, fetches: &[(NodeId, i64)]) -> Vec<Proposal> {
        let mut proposals = Vec::new();
        for _ in 0..ms / 500 {
            self.pass(500);
            for (follower, offset) in fetches {
                proposals.extend(self.ask(self.question(*follower, *offset)).unwrap().proposal);
            }
            proposals.extend(self.tick().proposal);
        }
        proposals
    }

    fn decide(&mut self, id: u64, partition_epoch: i32, isr: &[NodeId]) -> Answered {
        let answer = Answer::Decided { leader_epoch: EPOCH, partition_epoch, isr: isr.to_vec() };
        self.state.answered(id, answer, self.now)
    }
}

fn members(proposal: &Proposal) -> Vec<i32> {
    proposal.isr.iter().map(|(id, _)| id.0).collect()
}

#[test]
fn high_watermark_is_what_all_in_sync_have() {
    let mut leader = Fixture::all_in_sync();
    assert_eq!(leader.append(10), None);
    assert_eq!(leader.fetch(B, 10), (None, None));
    assert_eq!(leader.fetch(C, 4), (Some(4), None));
    assert_eq!(leader.fetch(C, 10), (Some(10), None));
}

#[test]
fn sole_in_sync_replica_commits_at_once_where_one_is_enough() {
    let mut leader = Fixture::new(&[LEADER], at(0, 0), 1);
    assert_eq!(leader.append(10), Some(10));
    let mut leader = Fixture::new(&[LEADER], at(0, 0), 2);
    assert_eq!(leader.append(10), None);
    assert_eq!(leader.state.check_min_isr(), Err(NotEnoughReplicas { have: 1, need: 2 }));
}

#[test]
fn high_watermark_stands_still_below_min_isr_and_goes_on_when_the_isr_has_grown() {
    let mut leader = Fixture::new(&[LEADER], at(0, 0), 2);
    leader.append(10);
    let effects = leader.ask(leader.question(B, 10)).unwrap();
    let proposal = effects.proposal.unwrap();
    assert_eq!((members(&proposal), effects.high_watermark), (vec![1, 2], None));
    // The proposed member counts for the high watermark, and not yet for the minimum.
    assert!(leader.state.check_min_isr().is_err());
    let Answered::Settled(effects) = leader.decide(proposal.id, 11, &[LEADER, B]) else { panic!() };
    assert_eq!(effects.high_watermark, Some(Offset(10)));
}

#[test]
fn min_isr_beyond_the_replicas_means_all_of_them() {
    let leader = Fixture::new(&[LEADER, B, C], at(0, 0), 7);
    assert_eq!(leader.state.effective_min_isr(), 3);
    assert_eq!(leader.state.check_min_isr(), Ok(()));
}

#[test]
fn proposed_member_holds_the_high_watermark_until_the_controller_answers() {
    let mut leader = Fixture::new(&[LEADER, B], at(0, 0), 1);
    leader.append(10);
    leader.fetch(B, 10);
    assert_eq!(leader.fetch(C, 10).1, Some(vec![1, 2, 3]));
    leader.append(20);
    assert_eq!(leader.fetch(B, 20).0, None, "the controller may have made 3 a member, and 3 has no more than 10");
    assert_eq!(leader.state.maximal_isr().collect::<Vec<_>>(), [LEADER, B, C]);
    assert_eq!(leader.fetch(C, 20).0, Some(20));
}

#[test]
fn member_that_is_to_leave_holds_the_high_watermark_until_the_controller_answers() {
    let mut leader = Fixture::all_in_sync();
    leader.append(10);
    leader.fetch(B, 10);
    leader.fetch(C, 5);
    let proposals = leader.run(3_000, &[(B, 10)]);
    assert_eq!(proposals.iter().map(members).collect::<Vec<_>>(), [[1, 2]]);
    assert_eq!(leader.state.high_watermark(), Offset(5));
    let Answered::Settled(effects) = leader.decide(proposals[0].id, 11, &[LEADER, B]) else { panic!() };
    assert_eq!(effects.high_watermark, Some(Offset(10)));
}

#[test]
fn silent_follower_leaves_long_before_the_lag_time() {
    let mut leader = Fixture::all_in_sync();
    assert_eq!(leader.run(2_000, &[(B, 0)]), []);
    assert_eq!(leader.run(500, &[(B, 0)]).iter().map(members).collect::<Vec<_>>(), [[1, 2]]);
}

#[test]
fn follower_that_lags_leaves_after_the_lag_time() {
    let mut leader = Fixture::all_in_sync();
    leader.append(100);
    // It fetches, but never what was there the time before.
    assert_eq!(leader.run(30_000, &[(B, 100), (C, 1)]), []);
    assert_eq!(leader.run(500, &[(B, 100), (C, 1)]).iter().map(members).collect::<Vec<_>>(), [[1, 2]]);
}

#[test]
fn follower_that_is_always_a_little_behind_stays() {
    let mut leader = Fixture::all_in_sync();
    let mut end = 0;
    for _ in 0..200 {
        end += 10;
        leader.append(end);
        leader.pass(500);
        leader.fetch(B, end);
        leader.fetch(C, end - 10); // what was the end when it asked the time before
        assert_eq!(leader.tick().proposal, None);
    }
}

#[test]
fn idle_follower_at_the_end_stays() {
    let mut leader = Fixture::all_in_sync();
    assert_eq!(leader.run(60_000, &[(B, 0), (C, 0)]), []);
}

#[test]
fn leader_that_slept_does_not_blame_its_followers() {
    let mut leader = Fixture::all_in_sync();
    leader.run(1_000, &[(B, 0), (C, 0)]);
    leader.pass(10_000); // stopped and continued: the fetches wait in the sockets
    assert_eq!(leader.tick().proposal, None);
    assert_eq!(leader.run(1_000, &[(B, 0)]), []);
    assert_eq!(leader.run(2_000, &[(B, 0)]).iter().map(members).collect::<Vec<_>>(), [[1, 2]]);
}

#[test]
fn follower_joins_when_it_has_all_that_is_committed_and_has_seen_this_epoch() {
    // The log holds 20 records, 8 of them known to be committed, when this leadership begins.
    let mut leader = Fixture::new(&[LEADER, B], at(8, 20), 1);
    let behind = ReplicaFetch { last_epoch: LeaderEpoch(4), ..leader.question(C, 15) };
    assert_eq!(leader.ask(behind).unwrap().proposal, None, "beyond the high watermark, but before this epoch");
    let there = ReplicaFetch { last_epoch: LeaderEpoch(4), ..leader.question(C, 20) };
    assert_eq!(leader.ask(there).unwrap().proposal.as_ref().map(members), Some(vec![1, 2, 3]));
}

#[test]
fn proposal_names_the_registrations_that_are_known() {
    let mut leader = Fixture::new(&[LEADER, B], at(0, 0), 1);
    let proposal = leader.ask(leader.question(C, 0)).unwrap().proposal.unwrap();
    // 2 has not fetched in this epoch yet: nothing is known of it.
    assert_eq!(proposal.isr, [(LEADER, -1), (B, -1), (C, 30)]);
    assert_eq!((proposal.leader_epoch, proposal.partition_epoch), (EPOCH, 10));
}

#[test]
fn fenced_and_stopping_brokers_do_not_join_and_do_when_they_are_back() {
    let mut leader = Fixture::new(&[LEADER, B], at(0, 0), 1);
    leader.standing.insert(C, Standing { broker_epoch: 30, eligible: false });
    let standing = leader.standing.clone();
    assert_eq!(leader.state.brokers_changed(|id| standing.get(&id).copied(), leader.now), Effects::default());
    assert_eq!(leader.fetch(C, 0).1, None);
    leader.standing.insert(C, Standing { broker_epoch: 30, eligible: true });
    let standing = leader.standing.clone();
    let effects = leader.state.brokers_changed(|id| standing.get(&id).copied(), leader.now);
    assert_eq!(effects.proposal.as_ref().map(members), Some(vec![1, 2, 3]), "without waiting for its next fetch");
}

#[test]
fn fetch_of_an_earlier_run_of_a_broker_counts_for_nothing() {
    let mut leader = Fixture::all_in_sync();
    leader.append(10);
    let old = leader.question(B, 10);
    leader.standing.insert(B, Standing { broker_epoch: 21, eligible: true });
    let standing = leader.standing.clone();
    let _none = leader.state.brokers_changed(|id| standing.get(&id).copied(), leader.now);
    assert_eq!(leader.ask(old), Err(FetchRefused::StaleBrokerEpoch { node: B, theirs: 20, ours: 21 }));
    let unknown = ReplicaFetch { broker_epoch: -1, ..old };
    assert!(matches!(leader.ask(unknown), Err(FetchRefused::StaleBrokerEpoch { .. })));
    let ahead = ReplicaFetch { broker_epoch: 22, ..old };
    assert_eq!(leader.ask(ahead), Err(FetchRefused::UnknownBroker(B)));
    assert_eq!(leader.state.follower_end(B), None);
}

#[test]
fn new_run_of_a_broker_has_to_show_anew_what_it_has() {
    let mut leader = Fixture::all_in_sync();
    leader.append(10);
    leader.fetch(B, 10);
    leader.standing.insert(B, Standing { broker_epoch: 21, eligible: true });
    let standing = leader.standing.clone();
    let _none = leader.state.brokers_changed(|id| standing.get(&id).copied(), leader.now);
    assert_eq!(leader.fetch(C, 10).0, None, "2 may have lost its tail when it stopped");
    assert_eq!(leader.fetch(B, 7).0, Some(7));
}

#[test]
fn fetches_of_other_epochs_and_strangers_are_refused() {
    let mut leader = Fixture::all_in_sync();
    let fetch = leader.question(B, 0);
    let ask = |leader: &mut Fixture, epoch| leader.ask(ReplicaFetch { leader_epoch: LeaderEpoch(epoch), ..fetch });
    assert!(matches!(ask(&mut leader, 4), Err(FetchRefused::FencedLeaderEpoch { .. })));
    assert!(matches!(ask(&mut leader, -1), Err(FetchRefused::FencedLeaderEpoch { .. })));
    assert!(matches!(ask(&mut leader, 6), Err(FetchRefused::UnknownLeaderEpoch { .. })));
    let stranger = ReplicaFetch { follower: NodeId(9), ..fetch };
    assert_eq!(leader.ask(stranger), Err(FetchRefused::NotReplica(NodeId(9))));
    let myself = ReplicaFetch { follower: LEADER, ..fetch };
    assert_eq!(leader.ask(myself), Err(FetchRefused::NotReplica(LEADER)));
}

#[test]
fn follower_with_a_diverging_tail_is_told_where_and_does_not_count() {
    let mut leader = Fixture::new(&[LEADER, B, C], at(5, 10), 1);
    leader.epochs = vec![(2, 7), (4, 10)];
    let fetch = ReplicaFetch { last_epoch: LeaderEpoch(3), ..leader.question(B, 10) };
    assert_eq!(leader.ask(fetch), Err(FetchRefused::Diverging { epoch: LeaderEpoch(2), end: Offset(7) }));
    // The same epoch, but more of it than the leader has.
    let fetch = ReplicaFetch { last_epoch: LeaderEpoch(2), ..leader.question(B, 8) };
    assert_eq!(leader.ask(fetch), Err(FetchRefused::Diverging { epoch: LeaderEpoch(2), end: Offset(7) }));
    assert_eq!(leader.state.follower_end(B), None);
    let fetch = ReplicaFetch { last_epoch: LeaderEpoch(2), ..leader.question(B, 7) };
    assert!(leader.ask(fetch).is_ok());
}

#[test]
fn fetch_outside_the_log_is_out_of_range() {
    let mut leader = Fixture::new(&[LEADER, B, C], at(5, 10), 1);
    leader.state.set_log_start(Offset(3));
    let out_of_range = Err(FetchRefused::OutOfRange { start: Offset(3), end: Offset(10) });
    assert_eq!(leader.ask(ReplicaFetch { last_epoch: LeaderEpoch(4), ..leader.question(B, 2) }), out_of_range);
    assert_eq!(leader.ask(ReplicaFetch { last_epoch: LeaderEpoch::NONE, ..leader.question(B, 11) }), out_of_range);
    assert_eq!(leader.ask(ReplicaFetch { last_epoch: LeaderEpoch(9), ..leader.question(B, 9) }), out_of_range);
}

#[test]
fn one_proposal_at_a_time_and_unanswered_ones_are_sent_again() {
    let mut leader = Fixture::new(&[LEADER], at(0, 0), 1);
    let first = leader.ask(leader.question(B, 0)).unwrap().proposal.unwrap();
    assert_eq!(leader.fetch(C, 0).1, None);
    assert_eq!(leader.state.answered(first.id, Answer::Unknown, leader.now), Answered::SendAgain(first.clone()));
    assert_eq!(leader.state.in_flight(), Some(&first));
    let Answered::Settled(effects) = leader.decide(first.id, 11, &[LEADER, B]) else { panic!() };
    let second = effects.proposal.unwrap();
    assert_eq!((members(&second), second.partition_epoch), (vec![1, 2, 3], 11));
    assert_ne!(first.id, second.id);
}

#[test]
fn refused_proposal_is_void_and_comes_again_after_a_pause() {
    let mut leader = Fixture::new(&[LEADER, B], at(0, 0), 1);
    leader.fetch(B, 0);
    let proposal = leader.ask(leader.question(C, 0)).unwrap().proposal.unwrap();
    let settled = leader.state.answered(proposal.id, Answer::NotApplied, leader.now);
    assert_eq!(settled, Answered::Settled(Effects::default()));
    assert_eq!(leader.state.maximal_isr().collect::<Vec<_>>(), [LEADER, B]);
    assert_eq!(leader.fetch(C, 0).1, None);
    leader.pass(100);
    assert_eq!(leader.fetch(C, 0).1, Some(vec![1, 2, 3]));
}

#[test]
fn proposal_that_may_have_been_applied_stays_in_flight_until_the_image_tells() {
    let mut leader = Fixture::new(&[LEADER, B], at(0, 0), 1);
    leader.append(10);
    leader.fetch(B, 10);
    let proposal = leader.ask(leader.question(C, 10)).unwrap().proposal.unwrap();
    // The first attempt was applied and its answer lost; the second met the newer partition epoch.
    assert_eq!(leader.state.answered(proposal.id, Answer::Outdated, leader.now), Answered::WaitForImage);
    leader.append(20);
    assert_eq!(leader.fetch(B, 20).0, None);
    let effects = leader.state.image_changed(&assignment(11, &[LEADER, B, C]), leader.now);
    assert_eq!((effects.high_watermark, leader.state.isr().len()), (None, 3));
    assert_eq!(leader.fetch(C, 20).0, Some(20));
}

#[test]
fn image_that_overtakes_an_answer_voids_the_proposal() {
    let mut leader = Fixture::new(&[LEADER, B], at(0, 0), 1);
    leader.append(10);
    leader.fetch(B, 10);
    let proposal = leader.ask(leader.question(C, 10)).unwrap().proposal.unwrap();
    // 2 was fenced first, so the proposal met a newer partition epoch and will never be applied.
    let effects = leader.state.image_changed(&assignment(11, &[LEADER]), leader.now);
    let next = effects.proposal.unwrap();
    assert_eq!((members(&next), next.partition_epoch), (vec![1, 2, 3], 11));
    assert_eq!(leader.decide(proposal.id, 11, &[LEADER, B, C]), Answered::Settled(Effects::default()));
    assert_eq!(leader.state.isr(), [LEADER]);
}

#[test]
fn answers_and_images_of_other_times_change_nothing() {
    let mut leader = Fixture::new(&[LEADER, B], at(0, 0), 1);
    let proposal = leader.ask(leader.question(C, 0)).unwrap().proposal.unwrap();
    assert_eq!(leader.decide(proposal.id, 9, &[LEADER]), Answered::WaitForImage, "older than what is known");
    let other = Answer::Decided { leader_epoch: LeaderEpoch(6), partition_epoch: 12, isr: vec![B] };
    assert_eq!(leader.state.answered(proposal.id, other, leader.now), Answered::WaitForImage);
    for image in [assignment(10, &[LEADER]), Assignment { leader_epoch: LeaderEpoch(6), ..assignment(11, &[B]) }] {
        assert_eq!(leader.state.image_changed(&image, leader.now), Effects::default());
    }
    assert_eq!(leader.state.isr(), [LEADER, B]);
    assert!(leader.state.in_flight().is_some());
}

#[test]
fn high_watermark_waits_for_a_follower_that_keeps_up_and_is_about_to_join() {
    let mut leader = Fixture::new(&[LEADER], at(0, 0), 1);
    leader.append(10);
    assert_eq!(leader.state.high_watermark(), Offset(10));
    let proposal = leader.ask(leader.question(B, 10)).unwrap().proposal.unwrap();
    let refused = leader.state.answered(proposal.id, Answer::NotApplied, leader.now);
    assert_eq!(refused, Answered::Settled(Effects::default()));
    assert_eq!(leader.append(20), None, "2 would never catch up with a leader that commits alone");
    assert_eq!(leader.fetch(B, 20).0, Some(20));
    // A silent one is not waited for.
    leader.append(30);
    leader.state.quiet_until = Some(leader.now + Duration::from_secs(60));
    assert_eq!(leader.run(2_500, &[]), []);
    assert_eq!(leader.state.high_watermark(), Offset(30));
}

#[test]
fn high_watermark_of_a_new_leader_stays_until_its_followers_have_fetched() {
    let mut leader = Fixture::new(&[LEADER, B, C], at(4, 10), 2);
    assert_eq!(leader.append(12), None);
    let from =
        |leader: &Fixture, id, offset| ReplicaFetch { last_epoch: LeaderEpoch(4), ..leader.question(id, offset) };
    assert_eq!(leader.ask(from(&leader, B, 10)).unwrap().high_watermark, None);
    assert_eq!(leader.ask(from(&leader, C, 9)).unwrap().high_watermark, Some(Offset(9)));
    assert_eq!(leader.state.epoch_start(), Offset(10));
}

#[test]
fn high_watermark_never_goes_back() {
    let mut leader = Fixture::all_in_sync();
    leader.append(10);
    leader.fetch(B, 10);
    leader.fetch(C, 10);
    assert_eq!(leader.fetch(B, 3), (None, None));
    assert_eq!(leader.state.high_watermark(), Offset(10));
}

#[test]
fn replicas_of_a_reassignment_are_followed_and_removed_ones_forgotten() {
    let mut leader = Fixture::all_in_sync();
    let d = NodeId(4);
    leader.standing.insert(d, Standing { broker_epoch: 40, eligible: true });
    let grown = Assignment { replicas: vec![LEADER, B, C, d], ..assignment(11, &[LEADER, B, C]) };
    assert_eq!(leader.state.image_changed(&grown, leader.now), Effects::default());
    let standing = leader.standing.clone();
    let _none = leader.state.brokers_changed(|id| standing.get(&id).copied(), leader.now);
    assert_eq!(leader.fetch(d, 0).1, Some(vec![1, 2, 3, 4]));
    let shrunk = Assignment { replicas: vec![LEADER, B, d], ..assignment(12, &[LEADER, B, d]) };
    assert_eq!(leader.state.image_changed(&shrunk, leader.now), Effects::default());
    assert_eq!(leader.ask(leader.question(C, 0)), Err(FetchRefused::NotReplica(C)));
}

#[test]
fn low_watermark_is_where_all_live_replicas_begin() {
    let mut leader = Fixture::all_in_sync();
    leader.state.set_log_start(Offset(7));
    assert_eq!(leader.state.low_watermark(), Offset(0));
    for follower in [B, C] {
        let fetch = ReplicaFetch { log_start: Offset(i64::from(follower.0)), ..leader.question(follower, 0) };
        leader.state.log.start = Offset(0);
        let _effects = leader.ask(fetch).unwrap();
        leader.state.set_log_start(Offset(7));
    }
    assert_eq!(leader.state.low_watermark(), Offset(2));
    leader.standing.insert(B, Standing { broker_epoch: 20, eligible: false });
    let standing = leader.standing.clone();
    let _effects = leader.state.brokers_changed(|id| standing.get(&id).copied(), leader.now);
    assert_eq!(leader.state.low_watermark(), Offset(3), "a dead broker holds nobody up");
}

#[test]
fn fetch_that_waits_keeps_its_follower_alive() {
    let mut fixture = Fixture::all_in_sync();
    for node in [B, C] {
        fixture.fetch(node, 0);
    }
    for _ in 0..10 {
        fixture.pass(900);
        for node in [B, C] {
            let waits = fixture.question(node, 0);
            assert_eq!(fixture.state.still_waits(&waits, fixture.now), Ok(Effects::default()));
        }
        assert_eq!(fixture.tick(), Effects::default());
    }
}

#[test]
fn fetch_that_waits_teaches_nothing_new() {
    let mut fixture = Fixture::all_in_sync();
    fixture.append(10);
    let old = fixture.question(B, 0);
    fixture.fetch(B, 0);
    fixture.fetch(B, 10); // by another connection
    assert_eq!(fixture.state.still_waits(&old, fixture.now), Ok(Effects::default()));
    assert_eq!(fixture.state.follower_end(B), Some(Offset(10)));
}

#[test]
fn replica_that_left_and_came_back_has_nothing_until_it_asks_again() {
    let mut fixture = Fixture::new(&[LEADER, C], at(10, 10), 1);
    fixture.fetch(C, 10);
    let waiting = fixture.question(B, 10); // it had everything, was taken out, and dropped its log
    for (partition_epoch, replicas) in [(11, vec![LEADER, C]), (12, vec![LEADER, B, C])] {
        let assignment = Assignment { replicas, ..assignment(partition_epoch, &[LEADER, C]) };
        let changed = fixture.state.image_changed(&assignment, fixture.now);
        assert_eq!(changed.high_watermark, None);
        let standing = fixture.standing.clone();
        let changed = fixture.state.brokers_changed(|id| standing.get(&id).copied(), fixture.now);
        assert_eq!(changed, Effects::default());
    }
    assert_eq!(fixture.state.still_waits(&waiting, fixture.now), Ok(Effects::default()));
    assert_eq!(fixture.state.follower_end(B), None);
}
