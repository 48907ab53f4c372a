//! What must have happened in a run, so that it says anything.

use super::*;

#[test]
fn a_cleaner_that_stood_still_while_the_writers_wrote_is_a_fault() {
    assert_eq!(not_tried((1_000, 300, 200), 150), Vec::<String>::new());
    // Also one that only took what a restart had closed.
    for left in [1_300, 1_299, 650] {
        let told = not_tried((1_000, 300, 200), left);
        assert!(told.len() == 1 && told[0].contains("nobody cleaned under load"), "{left}: {told:?}");
    }
}

#[test]
fn writers_that_never_did_one_of_the_three_things_are_a_fault() {
    for counts in [(0, 300, 0), (1_000, 0, 200), (1_000, 300, 0)] {
        let told = not_tried(counts, 10);
        assert!(!told.is_empty() && told.iter().all(|fault| fault.contains("there was no")), "{told:?}");
    }
}
