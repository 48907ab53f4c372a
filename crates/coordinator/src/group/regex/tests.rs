//! `testdata/kafka/topic-patterns.txt` was written by RE2/J 1.8, which Apache Kafka 4.3.1 uses: a pattern, and below it either
//! the topics of [`TOPICS`] that it matches (`=`) or why it is none (`!`).

use proptest::prelude::*;

use super::*;

const JUDGED_BY_RE2: &str = include_str!("../../../testdata/kafka/topic-patterns.txt");

const TOPICS: [&str; 12] =
    ["orders", "orders.eu", "orders-2024", "Prices", "a", "aa", "aaa", "__consumer_offsets", "x_y", "1.5", "K", "b"];

fn pattern(text: &str) -> Result<TopicPattern, InvalidPattern> {
    TopicPattern::parse(&text.into())
}

fn name(text: &str) -> TopicName {
    TopicName::parse(text).unwrap()
}

/// What the data file says of a pattern.
fn judge(text: &str) -> String {
    match pattern(text) {
        Ok(pattern) => {
            let matched: Vec<&str> = TOPICS.into_iter().filter(|topic| pattern.matches(&name(topic))).collect();
            format!("= {}", matched.join(","))
        }
        Err(invalid) => format!("! {}", invalid.fault),
    }
}

#[test]
fn patterns_are_read_and_match_as_in_kafka() {
    let mut lines = JUDGED_BY_RE2.lines();
    let mut differences = Vec::new();
    while let (Some(text), Some(expected)) = (lines.next(), lines.next()) {
        let found = judge(text);
        if found != expected.trim_start() {
            differences.push(format!("{text}\n  RE2/J {}\n  ours  {found}", expected.trim_start()));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn refusal_says_which_pattern_and_why() {
    let error = pattern("or[").unwrap_err();
    assert_eq!(error.to_string(), "SubscribedTopicRegex `or[` is not a valid regular expression: missing closing ].");
}

#[test]
fn pattern_that_would_grow_too_large_is_refused() {
    assert_eq!(pattern(&"((((a{30}){30}b{30}){1}c{900}){1}d)".repeat(200)).unwrap_err().fault, Fault::TooLarge);
    assert_eq!(pattern(&"(".repeat(10_000)).unwrap_err().fault, Fault::TooLarge);
}

#[test]
fn thousand_names_in_one_pattern_are_not_too_large() {
    let names: Vec<String> = (0..1_000).map(|number| format!("some-service.orders.{number}")).collect();
    let pattern = pattern(&names.join("|")).unwrap();
    assert!(pattern.matches(&name("some-service.orders.999")));
    assert!(!pattern.matches(&name("some-service.orders.1000")));
}

proptest! {
    #[test]
    fn what_is_translated_can_be_compiled(text in r"[a-c.*+?|()\[\]{}^$\\QEdwpx0-9,:<>!=iP-]{0,24}") {
        if let Err(invalid) = pattern(&text) {
            prop_assert!(invalid.fault != Fault::TooLarge, "a short pattern is never too large, so it was mistranslated");
        }
    }

    #[test]
    fn quoted_name_matches_itself_only(topic in "[a-zA-Z0-9._-]{1,20}", other in "[a-zA-Z0-9._-]{1,20}") {
        prop_assume!(TopicName::parse(&topic).is_ok() && TopicName::parse(&other).is_ok());
        let quoted = pattern(&format!(r"\Q{topic}\E")).unwrap();
        prop_assert!(quoted.matches(&name(&topic)));
        prop_assert_eq!(quoted.matches(&name(&other)), topic == other);
    }
}
