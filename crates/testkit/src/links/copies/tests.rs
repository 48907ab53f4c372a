use super::*;

fn log(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Records, repeated ones, restarts, and how many kinds of faults.
fn found(source: &str, target: &str) -> (usize, usize, usize, usize) {
    let copies = compare(&log(source), &log(target));
    (copies.records, copies.repeated, copies.restarts, copies.faults.len())
}

#[test]
fn a_copy_that_is_the_same_has_nothing_to_tell() {
    assert_eq!(found("a b c", "a b c"), (3, 0, 0, 0));
    assert_eq!(found("", ""), (0, 0, 0, 0));
}

#[test]
fn what_comes_again_is_counted_and_no_fault() {
    assert_eq!(found("a b c d", "a b c b c d"), (6, 2, 1, 0));
    // A request of a dead worker that arrives late, among those of the next one.
    assert_eq!(found("a b c d e", "a b c d b c e"), (7, 2, 1, 0));
}

#[test]
fn what_is_missing_out_of_order_or_of_somebody_else_is_a_fault_with_examples() {
    let missing = compare(&log("a b c d"), &log("a b c"));
    assert_eq!(missing.faults, ["1 records are not copied, as d"]);
    let early = compare(&log("a b c d"), &log("a c b d"));
    assert_eq!(early.faults, ["1 records are copied before what comes before, as c"]);
    let skipped = compare(&log("a b c d"), &log("a c d"));
    assert_eq!(skipped.faults.len(), 2, "{skipped:?}");
    let foreign = compare(&log("a b"), &log("a x b"));
    assert_eq!(foreign.faults, ["1 records are not of the source, as x"]);
}

#[test]
fn a_source_with_a_value_twice_is_no_measure() {
    assert_eq!(compare(&log("a a"), &log("a a")).faults.len(), 1);
}
