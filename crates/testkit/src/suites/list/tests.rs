use super::*;

const LIST: &str = r#"
# what this is
0001_multiobj  pass
0016_swname    skip  reads what a broker tells by JMX
0077_compact   miss  "nothing came"  compaction waits longer here
0113_fetch     again  waits 100 ms for a rebalance
"#;

fn verdict(name: &str, ours: Outcome, kafka: Option<Outcome>) -> Verdict {
    List::parse(LIST).judge(name, &ours, kafka.as_ref())
}

fn failed() -> Outcome {
    Outcome::Failed("nothing came".to_owned())
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
    let other = Outcome::Failed("the broker is gone".to_owned());
    assert!(matches!(verdict("0077_compact", other, None), Verdict::Wrong(text) if text.contains("broker is gone")));
    assert!(matches!(verdict("0077_compact", skipped(), None), Verdict::Wrong(_)));
}

#[test]
fn what_passes_at_the_second_try_only_is_wrong_unless_the_list_knows_it() {
    let flaky = failed().then(Outcome::Passed);
    assert_eq!(flaky.to_string(), "passed at the second try; at the first failed: nothing came");
    for name in ["0001_multiobj", "0016_swname", "0077_compact"] {
        assert_eq!(verdict(name, flaky.clone(), None), Verdict::Wrong(flaky.to_string()), "{name}");
    }
    assert_eq!(verdict("0113_fetch", flaky, None), Verdict::Expected);
    assert_eq!(verdict("0113_fetch", Outcome::Passed, None), Verdict::Expected);
    assert_eq!(verdict("0113_fetch", failed(), None), Verdict::Wrong("failed: nothing came".to_owned()));
}

#[test]
fn both_failures_of_a_test_that_fails_twice_are_told() {
    let other = Outcome::Failed("the broker is gone".to_owned());
    let expected = Outcome::Failed("nothing came; at the first try: the broker is gone".to_owned());
    assert_eq!(other.then(failed()), expected);
    assert_eq!(failed().then(failed()), failed());
    // One that passed, and runs again beside a neighbour, is not excused by that.
    assert_eq!(Outcome::Passed.then(failed()), failed());
    assert_eq!(Outcome::Passed.then(Outcome::Passed), Outcome::Passed);
}

#[test]
fn what_is_better_than_its_line_is_told() {
    assert_eq!(verdict("0016_swname", Outcome::Passed, None), Verdict::Better);
    assert_eq!(verdict("0077_compact", Outcome::Passed, None), Verdict::Better);
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
    assert_eq!(List::parse(LIST).unknown(&["0001_multiobj", "0016_swname"]), ["0077_compact", "0113_fetch"]);
}

#[test]
#[should_panic(expected = "is none of")]
fn a_miss_without_its_failure_is_refused() {
    List::parse("0077_compact miss compaction waits longer here");
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
