//! Readings that must not be, and the words for them.

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn found(key: &str, value: Option<&str>) -> Found {
    Found { key: Some(key.to_owned()), value: value.map(str::to_owned) }
}

/// `a` is written and replaced, `b` aborted, `c` deleted; offsets 0 to 3, markers left out.
fn written() -> Shared {
    let model = Shared::default();
    let records = [
        ("a1", found("a", Some("a1"))),
        ("a2", found("a", Some("a2"))),
        ("b", found("b", Some("b"))),
        ("c", found("c", None)),
    ];
    for ((offset, (name, record)), fate) in
        (0..).zip(records).zip([Fate::Committed, Fate::Committed, Fate::Aborted, Fate::Committed])
    {
        let transaction = u64::try_from(offset).unwrap();
        model.begin(transaction);
        model.writes(transaction, 0, name, record);
        model.wrote(0, name, offset);
        model.ended(transaction, fate);
    }
    model
}

fn reading(records: &[(i64, Found)]) -> Reading {
    Reading { records: records.iter().cloned().collect(), high_watermark: 10, last_stable: 10 }
}

fn asked(isolation: Isolation, retention: Duration) -> Asked {
    Asked { partition: 0, isolation, at: Instant::now(), retention, is_whole: false }
}

fn judged(isolation: Isolation, records: &[(i64, Found)], retention: Duration) -> Vec<String> {
    let model = written().copy();
    model.judge(&model, &asked(isolation, retention), &reading(records))
}

fn only(faults: &[String], text: &str) {
    assert!(faults.len() == 1 && faults[0].contains(text), "{faults:?}");
}

#[test]
fn cleaned_log_is_good() {
    let clean = [(1, found("a", Some("a2"))), (3, found("c", None))];
    assert_eq!(judged(Isolation::Committed, &clean, LONG), Vec::<String>::new());
    assert_eq!(judged(Isolation::All, &clean, LONG), Vec::<String>::new());
    assert_eq!(written().copy().surplus(0, &reading(&clean)), 1, "the tombstone may go at last");
}

#[test]
fn each_fault_is_found() {
    let (a, c) = ((1, found("a", Some("a2"))), (3, found("c", None)));
    only(&judged(Isolation::Committed, std::slice::from_ref(&c), LONG), "lost write");
    only(&judged(Isolation::Committed, std::slice::from_ref(&a), LONG), "gone before its time");
    assert_eq!(judged(Isolation::Committed, std::slice::from_ref(&a), Duration::ZERO), Vec::<String>::new());
    let aborted = (2, found("b", Some("b")));
    only(&judged(Isolation::Committed, &[a.clone(), aborted.clone(), c.clone()], LONG), "aborted read");
    assert_eq!(judged(Isolation::All, &[a.clone(), aborted, c.clone()], LONG), Vec::<String>::new());
    only(&judged(Isolation::All, &[a.clone(), (2, found("b", Some("a2"))), c], LONG), "was acknowledged there");
    let model = written();
    assert_eq!(model.saw(0, &reading(std::slice::from_ref(&a))), Vec::<String>::new());
    only(&model.saw(0, &reading(&[(1, found("a", Some("a1")))])), "offset 1 was");
}

#[test]
fn records_that_nobody_wrote_there_are_found() {
    let (a, c) = ((1, found("a", Some("a2"))), (3, found("c", None)));
    let with = |more: (i64, Found)| judged(Isolation::All, &[a.clone(), c.clone(), more], LONG);
    only(&with((7, found("d", Some("d")))), "was never written");
    only(&with((7, found("d", None))), "was never written");
    only(&with((7, found("c", None))), "was never written");
    only(&with((7, found("b", Some("b")))), "has moved from offset 2 to 7");
}

#[test]
fn a_lost_tail_is_found_when_all_is_over() {
    let model = written().copy();
    let cut = Reading { high_watermark: 1, last_stable: 1, ..Reading::default() };
    for isolation in [Isolation::All, Isolation::Committed] {
        let asked = asked(isolation, Duration::ZERO);
        assert_eq!(model.judge(&model, &asked, &cut), Vec::<String>::new(), "a replica that is behind");
        only(&model.judge(&model, &Asked { is_whole: true, ..asked }, &cut), "lost write");
    }
}

#[test]
fn one_record_in_doubt_excuses_no_other() {
    let model = written();
    model.begin(9);
    model.writes(9, 0, "e", found("e", Some("e")));
    let left = [(0, found("a", Some("a1"))), (1, found("a", Some("a2"))), (2, found("b", Some("b")))];
    assert_eq!(model.copy().surplus(0, &reading(&left)), 2, "replaced and aborted");
    model.writes(9, 0, "e.c", found("c", None));
    assert_eq!(model.copy().surplus(0, &reading(&[(3, found("c", None)), (8, found("c", None))])), 1, "a tombstone");
    assert_eq!(model.copy().surplus(0, &reading(&[(7, found("e", Some("e")))])), 0);
}

#[test]
fn an_aborted_tombstone_that_nobody_heard_of_again_is_not_taken_for_one_that_was_acknowledged() {
    let model = written();
    model.begin(9);
    model.writes(9, 0, "0.lost", found("c", None));
    model.ended(9, Fate::Aborted);
    let model = model.copy();
    let judged = |records: &[(i64, Found)]| model.judge(&model, &asked(Isolation::Committed, LONG), &reading(records));
    let (a, c) = ((1, found("a", Some("a2"))), (3, found("c", None)));
    assert_eq!(judged(&[a.clone(), c.clone()]), Vec::<String>::new());
    only(&judged(&[a, c, (4, found("c", None))]), "aborted read");
}
