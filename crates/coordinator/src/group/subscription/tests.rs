use super::subscribed_topics;

fn names(metadata: &[u8]) -> Option<Vec<String>> {
    Some(subscribed_topics(metadata)?.iter().map(|t| t.to_string()).collect())
}

#[test]
fn topics_of_every_version_are_read_from_the_common_prefix() {
    for version in [0u8, 1, 3, 9] {
        let mut bytes = vec![0, version, 0, 0, 0, 2, 0, 1, b'b', 0, 1, b'a'];
        bytes.extend([0xff; 7]); // whatever newer versions append
        assert_eq!(names(&bytes), Some(vec!["a".to_owned(), "b".to_owned()]));
    }
}

#[test]
fn truncated_or_foreign_bytes_are_no_subscription() {
    let whole = [0, 0, 0, 0, 0, 1, 0, 2, b'a', b'b'];
    for len in 0..whole.len() {
        assert_eq!(names(&whole[..len]), None, "prefix of {len} bytes");
    }
    assert_eq!(names(&[0, 0, 0xff, 0xff, 0xff, 0xff]), None, "negative count");
    assert_eq!(names(&[0xff, 0xff, 0, 0, 0, 0]), None, "negative version");
    assert_eq!(names(&[0, 0, 0, 0, 0, 1, 0, 1, 0xff]), None, "not UTF-8");
}
