use super::*;

#[test]
fn groups_are_placed_as_java_places_them() {
    // In Java "team-4".hashCode() is -877714236, whose amount is a multiple of six.
    assert_eq!(group_of_first_partition("team"), "team-4");
}

#[test]
fn sides_are_asked_for_by_their_names() {
    assert_eq!(Side::named("ours"), [Side::Ours]);
    assert_eq!(Side::named("kafka,ours"), [Side::Kafka, Side::Ours]);
}

#[test]
#[should_panic(expected = "no brokers `our`; there are ours, kafka")]
fn brokers_of_nobody_are_refused() {
    Side::named("our");
}

#[test]
#[should_panic(expected = "no brokers `twinstream-ours`")]
fn a_name_that_only_contains_another_one_is_refused() {
    Side::named("kafka,twinstream-ours");
}
