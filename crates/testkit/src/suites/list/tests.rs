use super::*;

const LIST: &str = r#"
# what this is
0001_multiobj  pass
0016_swname    skip  reads what a broker tells by JMX
0077_compact   miss  "nothing came"  compaction waits longer here
0081_admin     both  "nothing came"  there is no authorizer
0113_fetch     again  "nothing came"  waits 100 ms for a rebalance
"#;

fn verdict(name: &str, ours: Outcome, kafka: Option<Outcome>) -> Verdict {
    List::parse(LIST).judge(name, &ours, kafka.as_ref())
}

fn failed() -> Outcome {
    Outcome::Failed("nothing came".to_owned())
}

fn gone() -> Outcome {
    Outcome::Failed("the broker is gone".to_owned())
}

fn is_wrong(name: &str, ours: &Outcome) -> bool {
    matches!(verdict(name, ours.clone(), None), Verdict::Wrong(_))
}

fn skipped() -> Outcome {
    Outcome::Skipped("needs JMX".to_owned())
}

#[test]
fn a_listed_test_must_end_as_its_line_says() {
    assert_eq!(verdict("0001_multiobj", Outcome::Passed, None), Verdict::Expected);
    assert_eq!(verdict("0001_multiobj", failed(), Some(failed())), Verdict::Wrong("failed: nothing came".to_owned()));
    assert_eq!(verdict("0001_multiobj", skipped(), None), Verdict::Wrong("skipped: needs JMX".to_owned()));
    assert_eq!(verdict("0016_swname", skipped(), Some(skipped())), Verdict::Expected);
    assert_eq!(verdict("0077_compact", failed(), Some(Outcome::Passed)), Verdict::Expected);
}

#[test]
fn a_miss_excuses_only_the_failure_that_it_names() {
    assert!(matches!(verdict("0077_compact", gone(), None), Verdict::Wrong(text) if text.contains("broker is gone")));
    for name in ["0077_compact", "0081_admin"] {
        assert!(is_wrong(name, &gone()), "{name}");
        assert!(is_wrong(name, &skipped()), "{name}");
    }
}

#[test]
fn a_miss_on_both_sides_is_none_where_kafka_does_not_fail() {
    assert_eq!(verdict("0081_admin", failed(), None), Verdict::Expected);
    // Kafka says it in words of its own.
    assert_eq!(verdict("0081_admin", failed(), Some(gone())), Verdict::Expected);
    assert_eq!(verdict("0081_admin", failed(), Some(gone().then(failed()))), Verdict::Expected);
    for kafka in [Outcome::Passed, skipped(), failed().then(Outcome::Passed)] {
        let expected = Verdict::Wrong(format!("fails here, and at Kafka {kafka}"));
        assert_eq!(verdict("0081_admin", failed(), Some(kafka)), expected);
    }
}

#[test]
fn what_passes_at_the_second_try_only_is_wrong_unless_the_list_knows_it() {
    let flaky = failed().then(Outcome::Passed);
    assert_eq!(flaky.to_string(), "at the first try failed: nothing came; at the second passed");
    for name in ["0001_multiobj", "0016_swname", "0077_compact", "0081_admin"] {
        assert!(is_wrong(name, &flaky), "{name}");
    }
    assert_eq!(verdict("0113_fetch", flaky, None), Verdict::Expected);
    assert_eq!(verdict("0113_fetch", Outcome::Passed, None), Verdict::Expected);
    assert!(is_wrong("0113_fetch", &failed()));
}

#[test]
fn a_second_try_excuses_only_the_failure_that_the_list_names() {
    for first in [gone(), skipped()] {
        assert!(is_wrong("0113_fetch", &first.then(Outcome::Passed)), "{first}");
    }
}

#[test]
fn both_tries_of_a_test_are_told_and_held_against_its_line() {
    let twice = gone().then(failed());
    assert_eq!(twice.to_string(), "at the first try failed: the broker is gone; at the second failed: nothing came");
    assert_eq!(failed().then(failed()), failed());
    for name in ["0077_compact", "0081_admin", "0113_fetch"] {
        assert!(is_wrong(name, &twice), "{name}");
        assert!(is_wrong(name, &failed().then(gone())), "{name}");
    }
    let with_more = Outcome::Failed("nothing came within 30 s".to_owned());
    assert_eq!(verdict("0077_compact", failed().then(with_more), None), Verdict::Expected);
    // A failure is not forgotten because the test left itself out then.
    assert!(is_wrong("0016_swname", &failed().then(skipped())));
    // One that passed, and runs again beside a neighbour, is not excused by that.
    assert!(is_wrong("0001_multiobj", &Outcome::Passed.then(failed())));
    assert_eq!(Outcome::Passed.then(Outcome::Passed), Outcome::Passed);
}

#[test]
fn what_is_better_than_its_line_is_told() {
    assert_eq!(verdict("0016_swname", Outcome::Passed, None), Verdict::Better);
    assert_eq!(verdict("0077_compact", Outcome::Passed, None), Verdict::Better);
    assert_eq!(verdict("0081_admin", Outcome::Passed, None), Verdict::Better);
}

#[test]
fn no_test_hides_behind_a_skip_that_kafka_does_not_need() {
    let verdict = verdict("0016_swname", skipped(), Some(Outcome::Passed));
    assert!(matches!(&verdict, Verdict::Wrong(text) if text.contains("passes at Kafka")), "{verdict:?}");
}

#[test]
fn a_test_that_nobody_listed_is_wrong() {
    let verdict = verdict("0200_new", Outcome::Passed, None);
    assert!(matches!(&verdict, Verdict::Wrong(text) if text.contains("not in the list")), "{verdict:?}");
    assert_eq!(
        List::parse(LIST).unknown(&["0001_multiobj", "0016_swname"]),
        ["0077_compact", "0081_admin", "0113_fetch"]
    );
}

#[test]
#[should_panic(expected = "is none of")]
fn a_miss_without_its_failure_is_refused() {
    List::parse("0077_compact miss compaction waits longer here");
}

#[test]
#[should_panic(expected = "is none of")]
fn a_second_try_without_its_failure_is_refused() {
    List::parse("0113_fetch again waits 100 ms for a rebalance");
}

#[test]
#[should_panic(expected = "is none of")]
fn a_miss_without_a_reason_is_refused() {
    List::parse("0077_compact miss \"nothing came\"");
}

#[test]
fn what_is_left_out_is_named_with_its_reason() {
    let list = List::parse("share_consumer  out  share groups are not there\n0001_multiobj  pass\n");
    assert_eq!(list.left_out(), [("share_consumer", "share groups are not there")]);
    assert!(list.unknown(&["0001_multiobj"]).is_empty());
}
