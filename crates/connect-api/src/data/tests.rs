use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::logical::{decimal_parse, decimal_text, timestamp_text};
use super::*;

fn quake() -> SchemaRef {
    Arc::new(Schema::record([
        ("id".to_owned(), Arc::new(Schema::string())),
        ("time".to_owned(), Arc::new(Schema::timestamp())),
        ("mag".to_owned(), Arc::new(Schema::float64().optional())),
    ]))
}

#[test]
fn struct_to_json_keeps_field_order_and_prints_logical_types() {
    let values = vec![Value::from("us1"), Value::Int64(1_709_213_820_250), Value::Null];
    let quake = Struct::new(quake(), values).unwrap();
    let json = Value::Struct(quake).to_json(None);
    assert_eq!(json.to_string(), r#"{"id":"us1","time":"2024-02-29T13:37:00.250Z","mag":null}"#);
}

#[test]
fn json_without_schema_survives_the_round_trip() {
    let json = json!({"a": 1, "b": [true, null, 1.5], "c": {"d": "x"}});
    assert_eq!(Value::from_json(json.clone()).to_json(None), json);
}

#[test]
fn decimals_read_back_as_written() {
    for (bytes, scale, text) in [
        (&[0x04, 0xd2][..], 2, "12.34"),
        (&[0xfb, 0x2e], 2, "-12.34"),
        (&[0x05], 3, "0.005"),
        (&[0x05], -2, "500"),
        (&[0x00, 0x80], 0, "128"),
        (&[0x80], 0, "-128"),
        (&[0x00], 1, "0.0"),
    ] {
        assert_eq!(decimal_text(bytes, scale), text);
        if scale >= 0 {
            assert_eq!(decimal_parse(text), Some((bytes.to_vec(), scale)), "{text}");
        }
    }
    assert_eq!(decimal_parse("1e3"), None);
    assert_eq!(decimal_parse(""), None);
}

#[test]
fn timestamps_before_1970_and_far_away_have_a_text() {
    assert_eq!(timestamp_text(-1), "1969-12-31T23:59:59.999Z");
    assert!(timestamp_text(i64::MAX).ends_with('Z'));
    assert!(timestamp_text(i64::MIN).ends_with('Z'));
}

#[test]
fn check_names_the_part_that_does_not_fit() {
    let values = vec![Value::from("us1"), Value::Null, Value::Null];
    let broken = Value::Struct(Struct::new(quake(), values).unwrap());
    assert_eq!(quake().check(&broken).unwrap_err(), "value.time is null, its schema is a required int64");
}

#[test]
fn struct_needs_one_value_per_field() {
    assert!(Struct::new(quake(), vec![Value::Null]).is_none());
}

#[test]
fn the_last_header_of_a_name_counts() {
    let mut headers = Headers::default();
    headers.add("a", SchemaAndValue::schemaless("1"));
    headers.add("a", SchemaAndValue::schemaless("2"));
    assert_eq!(headers.last("a"), Some(&SchemaAndValue::schemaless("2")));
}

#[test]
fn key_text_is_plain_for_scalars() {
    assert_eq!(Value::from("a b").key_text(), "a b");
    assert_eq!(Value::Int64(7).key_text(), "7");
    assert_eq!(Value::Bytes(Bytes::from_static(b"\x01")).key_text(), "AQ==");
    assert_eq!(Value::Array(vec![Value::Int32(1)]).key_text(), "[1]");
}
