use super::*;

#[test]
fn groups_are_placed_as_java_places_them() {
    // In Java "team-4".hashCode() is -877714236, whose amount is a multiple of six.
    assert_eq!(group_of_first_partition("team"), "team-4");
}
