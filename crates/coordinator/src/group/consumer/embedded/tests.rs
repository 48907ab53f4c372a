use super::*;

/// Version 3: topics `a` and `b`, two bytes of user data, owns `a`-1, generation 7, rack `r`.
const SUBSCRIPTION_V3: &[u8] = b"\x00\x03\x00\x00\x00\x02\x00\x01a\x00\x01b\x00\x00\x00\x02hi\
    \x00\x00\x00\x01\x00\x01a\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x07\x00\x01r";
const SUBSCRIPTION_V0: &[u8] = b"\x00\x00\x00\x00\x00\x01\x00\x01a\xff\xff\xff\xff";

fn partitions(of_topic: &[(&str, &[i32])]) -> NamedPartitions {
    of_topic.iter().map(|(topic, all)| (Arc::from(*topic), all.iter().map(|p| PartitionIndex(*p)).collect())).collect()
}

#[test]
fn subscriptions_are_read_in_every_version() {
    let full = Subscription {
        topics: BTreeSet::from(["a".into(), "b".into()]),
        owned: partitions(&[("a", &[1])]),
        rack: Some("r".into()),
    };
    assert_eq!(subscription(SUBSCRIPTION_V3), Some(full.clone()));
    let newer = [b"\x00\x09", &SUBSCRIPTION_V3[2..], b"more"].concat();
    assert_eq!(subscription(&newer), Some(full), "what a newer client says more is not read");
    let old = subscription(SUBSCRIPTION_V0).expect("version 0");
    assert_eq!((old.topics.len(), old.owned.len(), old.rack), (1, 0, None));
}

#[test]
fn truncated_bytes_are_nothing() {
    for len in 0..SUBSCRIPTION_V3.len() {
        assert_eq!(subscription(&SUBSCRIPTION_V3[..len]), None, "{len} bytes");
    }
    let written = assignment_bytes(SUBSCRIPTION_V3, &partitions(&[("a", &[0, 2])]));
    for len in 1..written.len() {
        assert_eq!(assignment(&written[..len]), None, "{len} bytes");
    }
    assert_eq!(assignment(b"\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff"), None, "a version before the first");
}

#[test]
fn assignments_come_back_and_have_the_version_of_the_subscription() {
    let given = partitions(&[("a", &[0, 2]), ("b", &[5])]);
    for (subscription, version) in [(SUBSCRIPTION_V0, 0), (SUBSCRIPTION_V3, 3), (b"\x00\x09", 3)] {
        let bytes = assignment_bytes(subscription, &given);
        assert_eq!(bytes[..2], [0, version]);
        assert_eq!(assignment(&bytes), Some(Assignment { partitions: given.clone(), has_user_data: false }));
    }
    assert_eq!(assignment(b""), Some(Assignment::default()));
    let with_user_data = b"\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01x";
    assert!(assignment(with_user_data).is_some_and(|assignment| assignment.has_user_data));
}
