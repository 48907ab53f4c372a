use super::{ClientLimit, Goal, Row, Verdict, judge};
use crate::stats::Spread;

fn at(value: f64) -> Spread {
    Spread { median: value, min: value / 2.0, max: value * 2.0 }
}

const IDLE_CLIENT: ClientLimit =
    ClientLimit { busiest_share: 0.5, busiest_at_ceiling: Some(0.8), of_ceiling: Some(0.4) };

#[test]
fn medians_decide_and_not_the_extremes() {
    let verdict = |ratio: f64| judge(Goal::RatioAtMost(0.35), at(1.0), Some(at(ratio)), IDLE_CLIENT);
    assert_eq!(verdict(0.35), Verdict::Met);
    assert_eq!(verdict(0.36), Verdict::Missed);
}

#[test]
fn a_busy_client_excuses_a_rate_but_no_cost() {
    let busy = ClientLimit { busiest_share: 0.95, busiest_at_ceiling: None, of_ceiling: None };
    let rate = Goal::RatioAtLeastOrClientLimit(1.6);
    assert_eq!(judge(rate, at(1.0), Some(at(1.2)), busy), Verdict::ClientIsTheLimit);
    assert_eq!(judge(rate, at(1.0), Some(at(1.2)), IDLE_CLIENT), Verdict::Missed);
    assert_eq!(judge(rate, at(1.0), Some(at(1.7)), busy), Verdict::Met);
    assert_eq!(judge(Goal::RatioAtMost(0.35), at(1.0), Some(at(0.5)), busy), Verdict::Missed);
    assert_eq!(judge(Goal::RatioAtLeast(1.6), at(1.0), Some(at(1.2)), busy), Verdict::Missed);
}

#[test]
fn a_busy_client_does_not_excuse_what_is_slower_than_the_rival() {
    let busy = ClientLimit { busiest_share: 0.99, busiest_at_ceiling: None, of_ceiling: Some(0.99) };
    let verdict = |ratio: f64| judge(Goal::RatioAtLeastOrClientLimit(1.1), at(1.0), Some(at(ratio)), busy);
    assert_eq!(verdict(0.98), Verdict::ClientIsTheLimit);
    assert_eq!(verdict(0.9), Verdict::Missed);
}

#[test]
fn a_rate_near_what_the_client_reaches_against_nobody_is_the_clients_limit() {
    let near = ClientLimit { busiest_share: 0.5, busiest_at_ceiling: None, of_ceiling: Some(0.93) };
    assert_eq!(judge(Goal::RatioAtLeastOrClientLimit(2.0), at(1.0), Some(at(1.5)), near), Verdict::ClientIsTheLimit);
}

#[test]
fn a_thread_as_busy_as_against_nobody_is_the_clients_limit() {
    let with = |busiest_share| ClientLimit { busiest_share, busiest_at_ceiling: Some(0.84), of_ceiling: Some(0.7) };
    let verdict = |share| judge(Goal::RatioAtLeastOrClientLimit(1.6), at(1.0), Some(at(1.4)), with(share));
    assert_eq!(verdict(0.79), Verdict::ClientIsTheLimit);
    assert_eq!(verdict(0.70), Verdict::Missed);
    let idle = ClientLimit { busiest_share: 0.5, busiest_at_ceiling: Some(0.5), of_ceiling: Some(0.5) };
    let verdict = judge(Goal::RatioAtLeastOrClientLimit(1.6), at(1.0), Some(at(1.4)), idle);
    assert_eq!(verdict, Verdict::Missed, "a thread that does not work is no limit");
}

#[test]
fn parity_allows_for_noise_and_other_goals_do_not() {
    assert_eq!(judge(Goal::RatioAtMost(1.0), at(1.0), Some(at(1.02)), IDLE_CLIENT), Verdict::Met);
    assert_eq!(judge(Goal::RatioAtLeast(1.0), at(1.0), Some(at(0.98)), IDLE_CLIENT), Verdict::Met);
    assert_eq!(judge(Goal::RatioAtLeast(1.0), at(1.0), Some(at(0.96)), IDLE_CLIENT), Verdict::Missed);
    assert_eq!(judge(Goal::RatioAtLeast(1.6), at(1.0), Some(at(1.59)), IDLE_CLIENT), Verdict::Missed);
}

#[test]
fn a_ratio_without_a_rival_is_not_compared_and_a_bound_is_judged_alone() {
    assert_eq!(judge(Goal::RatioAtMost(0.5), at(1.0), None, IDLE_CLIENT), Verdict::NotCompared);
    assert_eq!(judge(Goal::AtMost(25.0), at(24.0), None, IDLE_CLIENT), Verdict::Met);
    assert_eq!(judge(Goal::AtMost(25.0), at(26.0), None, IDLE_CLIENT), Verdict::Missed);
    assert_eq!(judge(Goal::AtLeast(25.0), at(26.0), None, IDLE_CLIENT), Verdict::Met);
    assert_eq!(judge(Goal::AtLeast(25.0), at(24.0), None, IDLE_CLIENT), Verdict::Missed);
    assert_eq!(judge(Goal::None, at(26.0), None, IDLE_CLIENT), Verdict::Told);
}

#[test]
fn rows_are_found_by_their_names_and_all_have_metrics() {
    for row in Row::ALL {
        assert_eq!(Row::by_name(row.name()), Some(row));
        assert!(!row.metrics().is_empty() && !row.what().is_empty());
    }
    assert_eq!(Row::by_name("nothing"), None);
}
