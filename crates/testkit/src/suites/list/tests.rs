use super::*;

const LIST: &str = "
# what this is
0001_multiobj  pass
0016_swname    skip  reads what a broker tells by JMX
0077_compact   miss  compaction waits longer here
";

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
    assert_eq!(List::parse(LIST).unknown(&["0001_multiobj", "0016_swname"]), ["0077_compact"]);
}

#[test]
#[should_panic(expected = "is none of")]
fn a_miss_without_a_reason_is_refused() {
    List::parse("0077_compact miss");
}

#[test]
fn what_is_left_out_is_named_with_its_reason() {
    let list = List::parse("share_consumer  out  share groups are not there\n0001_multiobj  pass\n");
    assert_eq!(list.left_out(), [("share_consumer", "share groups are not there")]);
    assert!(list.unknown(&["0001_multiobj"]).is_empty());
}
