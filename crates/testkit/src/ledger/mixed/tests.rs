use super::*;
use crate::checker::{Anomaly, Counts, Kind};

const LOAD: TransactionLoad = TransactionLoad { producers: 1, timeout: Duration::from_secs(1), members: 2 };

fn verdict(kinds: &[Kind], counts: Counts) -> Verdict {
    let anomaly = |kind: &Kind| Anomaly { kind: *kind, partition: 0, detail: "1.7 at 4".to_owned() };
    Verdict { anomalies: kinds.iter().map(anomaly).collect(), counts, lag_max: Duration::ZERO }
}

fn enough() -> Counts {
    let (committed, aborted) = (TransactionLoad::COMMITTED_MIN, TransactionLoad::ABORTED_MIN);
    Counts { committed, aborted, group_commits: 1, ..Counts::default() }
}

#[test]
fn what_the_checker_forbids_is_a_fault_and_what_it_allows_is_none() {
    assert_eq!(faults(&verdict(&[Kind::CircularWrite], enough()), LOAD), Vec::<String>::new());
    let told = faults(&verdict(&[Kind::LostWrite, Kind::GroupSkip, Kind::GroupSkip], enough()), LOAD);
    assert_eq!(told, ["1 x lost-write: 1.7 at 4", "2 x group-skip: 1.7 at 4"]);
}

#[test]
fn load_that_did_next_to_nothing_is_a_fault() {
    for counts in [
        Counts { committed: TransactionLoad::COMMITTED_MIN - 1, ..enough() },
        Counts { aborted: TransactionLoad::ABORTED_MIN - 1, ..enough() },
        Counts { group_commits: 0, ..enough() },
    ] {
        assert_eq!(faults(&verdict(&[], counts), LOAD).len(), 1, "{counts:?}");
    }
}
