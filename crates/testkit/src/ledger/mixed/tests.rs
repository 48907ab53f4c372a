use super::*;
use crate::checker::{Anomaly, Counts, Kind};

fn verdict(kinds: &[Kind], counts: Counts) -> Verdict {
    let anomaly = |kind: &Kind| Anomaly { kind: *kind, partition: 0, detail: "1.7 at 4".to_owned() };
    Verdict { anomalies: kinds.iter().map(anomaly).collect(), counts, lag_max: Duration::ZERO }
}

fn enough() -> Counts {
    Counts { committed: COMMITTED_MIN, aborted: ABORTED_MIN, group_commits: 1, ..Counts::default() }
}

#[test]
fn what_the_checker_forbids_is_a_fault_and_what_it_allows_is_none() {
    assert_eq!(faults(&verdict(&[Kind::CircularWrite], enough())), Vec::<String>::new());
    let told = faults(&verdict(&[Kind::LostWrite, Kind::GroupSkip, Kind::GroupSkip], enough()));
    assert_eq!(told, ["1 x lost-write: 1.7 at 4", "2 x group-skip: 1.7 at 4"]);
}

#[test]
fn load_that_did_next_to_nothing_is_a_fault() {
    for counts in [
        Counts { committed: COMMITTED_MIN - 1, ..enough() },
        Counts { aborted: ABORTED_MIN - 1, ..enough() },
        Counts { group_commits: 0, ..enough() },
    ] {
        assert_eq!(faults(&verdict(&[], counts)).len(), 1, "{counts:?}");
    }
}
