use super::{java_hash, partition_of};

#[test]
fn hash_is_that_of_java() {
    for (text, hash) in [
        ("", 0),
        ("a", 97),
        ("hello", 99_162_322),
        ("my-group", -1_906_497_762),
        ("größe", 98_762_257),
        ("\u{1F600}", 1_772_899),         // two UTF-16 units
        ("polygenelubricants", i32::MIN), // the classic example
    ] {
        assert_eq!(java_hash(text), hash, "{text}");
    }
}

#[test]
fn every_group_has_a_partition() {
    assert_eq!(partition_of("hello", 50).0, 99_162_322 % 50);
    assert_eq!(partition_of("my-group", 50).0, 1_906_497_762 % 50);
    assert_eq!(partition_of("polygenelubricants", 50).0, 0, "there is no positive form of this hash");
    assert_eq!(partition_of("any", 1).0, 0);
}
