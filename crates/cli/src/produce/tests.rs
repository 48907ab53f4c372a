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
