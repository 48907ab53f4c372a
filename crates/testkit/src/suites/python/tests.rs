use super::*;

fn options(only: &[&str]) -> Options {
    let suites = confluent("", [Protocol::Classic].into_iter());
    let checkout = Suite::Confluent { checkout: PathBuf::new(), protocol: Protocol::Classic };
    let suites = suites.into_iter().chain([checkout]).collect();
    Options { suites, with_ours: true, with_kafka: false, only: only.iter().map(|name| (*name).to_owned()).collect() }
}

#[test]
fn each_suite_runs_the_tests_that_it_has() {
    let titles = |options: &Options| -> Vec<String> {
        chosen(options).iter().map(|(suite, only)| format!("{} {only:?}", suite.title())).collect()
    };
    let behaviours = "confluent-kafka's behaviours, classic protocol";
    let own = "Confluent's own tests, classic protocol";
    assert_eq!(titles(&options(&[])), [format!("{behaviours} []"), format!("{own} []")]);
    let one = options(&["test_groups.py::test_one"]);
    assert_eq!(titles(&one), [format!("{behaviours} [\"test_groups.py::test_one\"]")]);
    assert_eq!(titles(&options(&["admin/test_a.py"])), [format!("{own} [\"admin/test_a.py\"]")]);
}

#[test]
#[should_panic(expected = "no suite that was asked for has admin/test_a.py")]
fn a_test_that_nobody_runs_is_no_success() {
    let mut options = options(&["admin/test_a.py"]);
    options.suites.pop();
    chosen(&options);
}

#[test]
fn the_lists_can_be_read() {
    for suite in [Suite::KafkaPython, Suite::Behaviours(Protocol::Consumer)] {
        assert!(!suite.list().names().is_empty());
    }
    for protocol in Protocol::ALL {
        let suite = Suite::Confluent { checkout: PathBuf::new(), protocol };
        assert!(!suite.list().names().is_empty());
    }
}
