//! Which offsets of groups are written.

use twinstream_model::Offset;

use super::decide::{Position, Step, is_free, is_news, step, within};

fn judged(wanted: i64, present: Option<i64>, ours: Option<i64>) -> Step {
    step(Position { wanted: Offset(wanted), present: present.map(Offset), ours: ours.map(Offset) })
}

#[test]
fn offsets_that_the_link_wrote_follow_the_source_forward_and_back() {
    assert_eq!(judged(5, None, None), Step::Write);
    assert_eq!(judged(9, Some(5), Some(5)), Step::Write);
    assert_eq!(judged(2, Some(5), Some(5)), Step::Write, "a rewind");
    assert_eq!(judged(5, Some(5), None), Step::Same);
}

#[test]
fn offsets_that_somebody_else_moved_are_only_moved_forward() {
    assert_eq!(judged(2, Some(7), Some(5)), Step::Leave);
    assert_eq!(judged(2, Some(7), None), Step::Leave);
    assert_eq!(judged(8, Some(7), Some(5)), Step::Write);
}

#[test]
fn a_group_never_stands_outside_the_mirrored_log() {
    assert_eq!(within(Offset(50), Offset(10), Offset(40)), Offset(40));
    assert_eq!(within(Offset(5), Offset(10), Offset(40)), Offset(10));
    assert_eq!(within(Offset(5), Offset(0), Offset(0)), Offset(0));
}

#[test]
fn checkpoints_tell_moves_and_rewinds_but_no_coarser_translation() {
    let pair = |up, down| (Offset(up), Offset(down));
    assert!(is_news(None, pair(1, 1)));
    assert!(is_news(Some(pair(5, 5)), pair(6, 6)));
    assert!(is_news(Some(pair(5, 5)), pair(3, 3)), "a rewind");
    assert!(is_news(Some(pair(5, 4)), pair(5, 5)), "the mirror caught up");
    assert!(!is_news(Some(pair(5, 5)), pair(5, 4)), "the map became coarse");
    assert!(!is_news(Some(pair(5, 5)), pair(5, 5)));
    assert!(!is_news(Some(pair(5, 5)), pair(9, 5)), "the mirror has nothing more yet");
    assert!(is_news(Some(pair(500, 500)), pair(600, 100)), "the target was made anew");
}

#[test]
fn only_groups_without_members_are_touched() {
    let free: Vec<&str> = [
        "Empty",
        "Dead",
        "Stable",
        "PreparingRebalance",
        "CompletingRebalance",
        "Assigning",
        "Reconciling",
        "Unknown",
        "",
    ]
    .into_iter()
    .filter(|state| is_free(state))
    .collect();
    assert_eq!(free, ["Empty", "Dead"]);
}
