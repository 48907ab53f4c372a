//! Claims about reading libtest's output.

use super::*;

const OUTPUT: &str = "
running 3 tests
test a ... ok
test judge::b ... FAILED
test c ... FAILED

failures:

---- judge::b stdout ----
judge did not run: kcat: install kcat

failures:
    c
    judge::b

test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

#[test]
fn numbers_come_from_the_summary() {
    assert_eq!(Outcome::parse(OUTPUT).counts(&[]), Counts { passed: 1, failed: 2, skipped: 0 });
}

#[test]
fn test_without_its_judge_is_skipped_not_failed() {
    let missing = ["judge::b".to_owned()];
    assert_eq!(Outcome::parse(OUTPUT).counts(&missing), Counts { passed: 1, failed: 1, skipped: 1 });
}

#[test]
fn excuse_for_a_test_that_passed_changes_nothing() {
    let missing = ["a".to_owned()];
    assert_eq!(Outcome::parse(OUTPUT).counts(&missing).failed, 2);
}

#[test]
fn several_summaries_are_added_up() {
    let twice = format!("{OUTPUT}{OUTPUT}");
    assert_eq!(Outcome::parse(&twice).counts(&[]).passed, 2);
}
