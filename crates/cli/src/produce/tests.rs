//! Claims about lines and records.

use super::*;

fn shape(separator: Option<&str>, null_if_empty: bool) -> Shape {
    Shape {
        topic: TopicName::parse("t").unwrap(),
        separator: separator.map(str::to_owned),
        partition: None,
        headers: Vec::new(),
        null_if_empty,
        avro: None,
    }
}

#[test]
fn line_without_separator_flag_is_a_value_without_key() {
    let record = shape(None, false).record(b"a:b").unwrap();
    assert_eq!((record.key, record.value), (None, Some(Bytes::from("a:b"))));
}

#[test]
fn first_separator_divides_key_and_value() {
    let record = shape(Some("::"), false).record(b"k::v::w").unwrap();
    assert_eq!((record.key, record.value), (Some(Bytes::from("k")), Some(Bytes::from("v::w"))));
}

#[test]
fn line_without_the_separator_is_refused() {
    assert!(shape(Some(":"), false).record(b"no key").unwrap_err().contains("`:`"));
}

#[test]
fn empty_value_is_a_tombstone_only_when_asked() {
    assert_eq!(shape(Some(":"), true).record(b"k:").unwrap().value, None);
    assert_eq!(shape(Some(":"), false).record(b"k:").unwrap().value, Some(Bytes::new()));
}

#[test]
fn refusal_of_a_mirror_names_its_link_and_the_ways_out() {
    let link = uuid::Uuid::from_u128(7);
    let mark = MirrorMark {
        link,
        source_cluster: "site-a".to_owned(),
        source_topic: TopicName::parse("orders").unwrap(),
        source_topic_id: twinstream_model::TopicId::NONE,
        promoted: false,
    };
    let error = ClientError::broker("produce to east.orders", ErrorCode::PolicyViolation);
    let text = only_its_link_writes("east.orders", &mark, &error).text();
    for part in ["topic east.orders is a mirror of topic orders", &link.to_string(), "POLICY_VIOLATION", "link promote"]
    {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}
