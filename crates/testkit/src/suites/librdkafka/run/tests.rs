use super::*;

const OUTPUT: &str = "\x1b[36m[0045_one / 1.2s] ====== Running test 0045_one ======\x1b[0m
\x1b[31m### Test \"0045_one\" failed at 0045.c:12:f() at Mon Jan  1: ###
expected 4 partitions, not 2
TEST 20260101000000 (bare, scenario default) SUMMARY
#==================================================================#
|\x1b[32m <MAIN>                                   |     PASSED |   1.000s \x1b[0m|
|\x1b[31m 0045_one                                 |     FAILED |   1.200s \x1b[0m|\x1b[31m f():12: expected | 4\x1b[0m
|\x1b[36m 0045_two                                 |    SKIPPED |   0.000s \x1b[0m|\x1b[36m needs JMX\x1b[0m
|\x1b[32m 0045_three                               |     PASSED |   3.100s \x1b[0m|
#==================================================================#
";

#[test]
fn the_summary_says_how_each_test_ended() {
    let outcomes = read(OUTPUT, &["0045_one", "0045_two", "0045_three"]);
    assert_eq!(outcomes["0045_one"], Outcome::Failed("f():12: expected | 4".to_owned()));
    assert_eq!(outcomes["0045_two"], Outcome::Skipped("needs JMX".to_owned()));
    assert_eq!(outcomes["0045_three"], Outcome::Passed);
    assert_eq!(outcomes.len(), 3, "{outcomes:?}");
}

#[test]
fn a_process_that_died_failed_all_its_tests_with_its_last_words() {
    let text = OUTPUT.split("TEST 2026").next().expect("what stands before the summary");
    let died = Outcome::Failed("died: expected 4 partitions, not 2".to_owned());
    assert_eq!(read(text, &["0045_one", "0045_two"]).into_values().collect::<Vec<_>>(), [died.clone(), died]);
    assert_eq!(read("", &["0045_one"])["0045_one"], Outcome::Failed("died: ".to_owned()));
}

#[test]
fn a_test_that_the_program_does_not_mention_was_left_out() {
    assert_eq!(read(OUTPUT, &["0045_four"])["0045_four"], Outcome::Skipped("left out".to_owned()));
}
