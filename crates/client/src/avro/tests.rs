//! Frames, values and JSON.

use serde_json::json;

use super::*;

const QUAKE: &str = r#"{"type":"record","name":"Quake","namespace":"org.example","fields":[
  {"name":"id","type":"string"},
  {"name":"time","type":{"type":"long","logicalType":"timestamp-millis"}},
  {"name":"magnitude","type":"double"},
  {"name":"felt","type":["null","int"],"default":null},
  {"name":"status","type":{"type":"enum","name":"Status","symbols":["automatic","reviewed"]},"default":"automatic"}]}"#;

fn round_trip(schema: &str, json: Json) -> Json {
    let schema = AvroSchema::parse(schema).unwrap();
    let bytes = schema.encode(schema.from_json(&json).unwrap()).unwrap();
    schema.to_json(&schema.decode(&bytes).unwrap()).unwrap()
}

fn reason(schema: &str, json: Json) -> String {
    AvroSchema::parse(schema).unwrap().from_json(&json).unwrap_err().to_string()
}

#[test]
fn frames_are_a_zero_byte_and_the_id_before_the_datum() {
    let framed = wire::frame(258, b"xy");
    assert_eq!(&framed[..], [0, 0, 0, 1, 2, b'x', b'y']);
    assert_eq!(wire::split(&framed).unwrap(), (258, &b"xy"[..]));
    assert_eq!(wire::split(&[]).unwrap_err(), wire::WireError::TooShort(0));
    assert_eq!(wire::split(&[0, 1]).unwrap_err(), wire::WireError::TooShort(2));
    assert_eq!(wire::split(b"{\"a\":1}").unwrap_err(), wire::WireError::NotFramed(b'{'));
}

#[test]
fn records_take_defaults_for_missing_fields_and_round_trip() {
    let given = json!({"id": "us1", "time": 1_517_363_399_650_i64, "magnitude": 2});
    let full =
        json!({"id": "us1", "time": 1_517_363_399_650_i64, "magnitude": 2.0, "felt": null, "status": "automatic"});
    assert_eq!(round_trip(QUAKE, given), full);
    let felt = json!({"id": "us1", "time": 1, "magnitude": 2.5, "felt": 4, "status": "reviewed"});
    assert_eq!(round_trip(QUAKE, felt.clone()), felt);
}

#[test]
fn errors_name_the_place_and_what_is_wrong() {
    let good = json!({"id": "a", "time": 1, "magnitude": 1.0});
    let with = |name: &str, value: Json| {
        let mut changed = good.clone();
        changed[name] = value;
        reason(QUAKE, changed)
    };
    assert_eq!(with("time", json!("now")), "$.time: a string is not of type long");
    assert!(with("status", json!("lost")).starts_with("$.status: `lost` is none of automatic, reviewed"));
    assert!(with("magnitud", json!(1)).starts_with("$: unknown field `magnitud`; the record has id, time"));
    assert!(with("felt", json!("x")).starts_with("$.felt: fits no branch of the union: null"));
    assert!(with("felt", json!(3_000_000_000_u32)).contains("does not fit into 32 bits"));
    assert_eq!(reason(QUAKE, json!({"id": "a", "time": 1})), "$.magnitude: field is missing and has no default");
    assert_eq!(reason(r#"{"type":"array","items":"int"}"#, json!([1, "x"])), "$[1]: a string is not of type int");
}

#[test]
fn union_values_may_be_tagged_or_plain() {
    let union = r#"["null","long","string",{"type":"map","values":"int"}]"#;
    for (given, read) in [
        (json!({"long": 5}), json!(5)),
        (json!(5), json!(5)),
        (json!({"string": "x"}), json!("x")),
        (json!({"map": {"a": 1}}), json!({"a": 1})),
        (json!({"a": 1}), json!({"a": 1})),
        (json!({"long": 1, "b": 2}), json!({"long": 1, "b": 2})), // two keys are no tag
        (json!(null), json!(null)),
    ] {
        assert_eq!(round_trip(union, given.clone()), read, "{given}");
    }
}

#[test]
fn logical_types_round_trip() {
    for (schema, value) in [
        (r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#, json!("-123.45")),
        (r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#, json!("0.00")),
        (r#"{"type":"fixed","name":"D","size":6,"logicalType":"decimal","precision":9,"scale":3}"#, json!("-1.500")),
        (r#"{"type":"string","logicalType":"uuid"}"#, json!("0194fdc2-fa2f-4cc0-81d3-ff12045b73c8")),
        (r#"{"type":"int","logicalType":"date"}"#, json!(17_560)),
        (r#"{"type":"int","logicalType":"time-millis"}"#, json!(1_000)),
        (r#"{"type":"long","logicalType":"timestamp-micros"}"#, json!(1_517_363_399_650_123_i64)),
        (r#"{"type":"long","logicalType":"local-timestamp-millis"}"#, json!(5)),
        (r#"{"type":"bytes"}"#, json!("\u{0}\u{ff}a")),
        (r#"{"type":"fixed","name":"F","size":2}"#, json!("\u{1}\u{fe}")),
        (r#""float""#, json!(0.1)),
        (r#""double""#, json!("NaN")),
    ] {
        assert_eq!(round_trip(schema, value.clone()), value, "{schema}");
    }
    let decimal = r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#;
    assert_eq!(round_trip(decimal, json!(12.5)), json!("12.50"));
    assert!(reason(decimal, json!(1.234)).contains("2 fraction digits"));
}

#[test]
fn references_are_resolved_in_any_order() {
    let root = r#"{"type":"record","name":"A","fields":[{"name":"b","type":"org.B"},{"name":"again","type":["null","org.B"]}]}"#;
    let b = r#"{"type":"record","name":"B","namespace":"org","fields":[{"name":"c","type":"org.C"}]}"#.to_owned();
    let c = r#"{"type":"enum","name":"C","namespace":"org","symbols":["X","Y"]}"#.to_owned();
    let schema = AvroSchema::parse_with(root, &[b, c]).unwrap();
    let given = json!({"b": {"c": "X"}, "again": {"org.B": {"c": "Y"}}});
    let bytes = schema.encode(schema.from_json(&given).unwrap()).unwrap();
    let read = schema.to_json(&schema.decode(&bytes).unwrap()).unwrap();
    assert_eq!(read, json!({"b": {"c": "X"}, "again": {"c": "Y"}}));
}

#[test]
fn bytes_that_are_no_datum_are_an_error() {
    let schema = AvroSchema::parse(QUAKE).unwrap();
    let value = schema.from_json(&json!({"id": "a", "time": 1, "magnitude": 1.0})).unwrap();
    let good = schema.encode(value).unwrap();
    for cut in 0..good.len() {
        assert!(schema.decode(&good[..cut]).is_err(), "cut at {cut}");
    }
    assert!(schema.decode(&[good.as_slice(), &[0]].concat()).unwrap_err().to_string().contains("left over"));
    assert!(schema.decode(&[0xff; 40]).is_err());
}

#[test]
fn lengths_that_claim_more_than_there_is_are_refused_before_room_is_made() {
    let refused =
        |schema: &str, bytes: &[u8]| AvroSchema::parse(schema).unwrap().decode(bytes).unwrap_err().to_string();
    let long = [0x80, 0x80, 0x80, 0x80, 0x01]; // 128 Mi, as a zigzag varint
    for schema in [
        r#""bytes""#,
        r#""string""#,
        r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}"#,
        r#"{"type":"string","logicalType":"uuid"}"#,
    ] {
        assert!(refused(schema, &long).contains("claims a length of 134217728 bytes"), "{schema}");
    }
    let big_decimal = [&[5 * 2][..], &long].concat();
    let schema = r#"{"type":"bytes","logicalType":"big-decimal"}"#;
    assert!(refused(schema, &big_decimal).contains("claims a length"));
    assert!(refused(r#"{"type":"array","items":"long"}"#, &long).contains("ends early"));
    assert!(refused(r#"{"type":"map","values":"null"}"#, &long).contains("ends early"));
    assert!(
        refused(r#"{"type":"array","items":"null"}"#, &[&long[..], &[0]].concat()).contains("items without a byte")
    );
    assert!(refused(r#"{"type":"array","items":"null"}"#, &[0xff; 11]).contains("longer than any"));
}

#[test]
fn datum_that_nests_without_end_is_refused() {
    let list = r#"{"type":"record","name":"L","namespace":"n","fields":[{"name":"next","type":["null","L"]}]}"#;
    let schema = AvroSchema::parse(list).unwrap();
    let nested = |depth: usize| schema.decode(&[vec![2; depth], vec![0]].concat());
    assert!(nested(20).is_ok());
    assert!(nested(1_000_000).unwrap_err().to_string().contains("nests more than"));
}

#[test]
fn decimals_between_text_and_bytes() {
    for (text, scale, bytes) in [
        ("0", 0, vec![0]),
        ("127", 0, vec![127]),
        ("128", 0, vec![0, 128]),
        ("-128", 0, vec![128]),
        ("-129", 0, vec![0xff, 0x7f]),
        ("1.5", 2, vec![0, 150]),
    ] {
        assert_eq!(parse_decimal(text, scale).unwrap(), bytes, "{text}");
    }
    assert_eq!(decimal_text(&[0, 150], 2).unwrap(), "1.50");
    assert_eq!(decimal_text(&[0xff], 3).unwrap(), "-0.001");
    assert_eq!(decimal_text(&[], 0).unwrap(), "0");
    for bad in ["", "-", ".", "1e5", "1.2.3", "99999999999999999999999999999999999999999"] {
        assert!(parse_decimal(bad, 2).is_none(), "{bad}");
    }
    assert_eq!(parse_decimal("0.1", 60), None);
}
