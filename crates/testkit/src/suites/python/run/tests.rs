use super::*;

const REPORT: &str = r#"{"test": "test/integration/test_a.py::test_one[gzip]", "outcome": "collected", "reason": ""}
{"test": "test/integration/test_a.py::test_two", "outcome": "collected", "reason": ""}
{"test": "test/integration/test_b.py::test_three", "outcome": "collected", "reason": ""}
{"test": "test/integration/test_a.py::test_one[gzip]", "outcome": "passed", "reason": ""}
{"test": "test/integration/test_a.py::test_two", "outcome": "failed", "reason": "call: KafkaTimeoutError"}
{"test": "test/integ"#;

#[test]
fn the_report_says_how_each_test_ended() {
    let outcomes = read(REPORT, "test/integration/");
    assert_eq!(outcomes["test_a.py::test_one[gzip]"], Outcome::Passed);
    assert_eq!(outcomes["test_a.py::test_two"], Outcome::Failed("call: KafkaTimeoutError".to_owned()));
    assert_eq!(outcomes.len(), 3, "{outcomes:?}");
}

#[test]
fn a_test_that_took_the_process_with_it_failed() {
    let outcomes = read(REPORT, "test/integration/");
    assert_eq!(outcomes["test_b.py::test_three"], Outcome::Failed("did not end".to_owned()));
}
