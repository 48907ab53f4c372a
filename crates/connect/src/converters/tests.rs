use std::sync::Arc;

use serde_json::json;
use twinstream_connect_api::data::logical;
use twinstream_connect_api::{Headers, Schema, Struct, Value};

use super::*;

fn config(pairs: &[(&str, &str)]) -> RawConfig {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn json(settings: &[(&str, &str)]) -> JsonConverter {
    JsonConverter::new(&config(settings)).unwrap()
}

fn bytes(text: &str) -> Bytes {
    Bytes::from(text.to_owned())
}

fn text(bytes: Option<Bytes>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

fn envelope(schema: serde_json::Value, payload: serde_json::Value) -> Bytes {
    bytes(&json!({"schema": schema, "payload": payload}).to_string())
}

#[test]
fn plain_json_becomes_schemaless_data_and_back() {
    let plain = json(&[("schemas.enable", "false")]);
    let decoded = plain.decode(Some(&bytes(r#"{"a":[1,null,"x"]}"#))).unwrap();
    assert_eq!(decoded.schema, None);
    assert_eq!(text(plain.encode(&decoded).unwrap()).unwrap(), r#"{"a":[1,null,"x"]}"#);
    assert_eq!(plain.decode(None).unwrap(), SchemaAndValue::null());
    assert_eq!(plain.encode(&SchemaAndValue::null()).unwrap(), None);
    assert!(plain.decode(Some(&bytes("{bad"))).is_err());
}

#[test]
fn envelope_survives_the_round_trip() {
    let enveloped = json(&[]);
    let schema = json!({
        "type": "struct",
        "fields": [
            {"type": "string", "optional": false, "field": "id"},
            {"type": "int32", "optional": true, "name": logical::DATE, "version": 1, "field": "day"},
            {"type": "array", "items": {"type": "double", "optional": false}, "optional": false, "field": "xs"},
            {"type": "map", "keys": {"type": "string", "optional": false},
             "values": {"type": "int64", "optional": false}, "optional": true, "field": "m"},
            {"type": "bytes", "optional": false, "name": logical::DECIMAL, "version": 1,
             "parameters": {"scale": "2"}, "field": "price"},
        ],
        "optional": false,
        "name": "Quake",
    });
    let payload = json!({"id": "us1", "day": null, "xs": [1.5], "m": {"a": 1}, "price": "BNI="});
    let original = envelope(schema, payload);
    let decoded = enveloped.decode(Some(&original)).unwrap();
    assert_eq!(decoded.value.get("price").unwrap(), &Value::Bytes(Bytes::from_static(&[0x04, 0xd2])));
    let again = enveloped.encode(&decoded).unwrap().unwrap();
    assert_eq!(enveloped.decode(Some(&again)).unwrap(), decoded);
    let (a, b): (serde_json::Value, serde_json::Value) =
        (serde_json::from_slice(&original).unwrap(), serde_json::from_slice(&again).unwrap());
    assert_eq!(a, b);
}

#[test]
fn numeric_decimals_are_written_and_read_as_numbers() {
    let numeric = json(&[("decimal.format", "NUMERIC")]);
    let schema = Arc::new(Schema::decimal(2));
    let value = Value::Bytes(Bytes::from_static(&[0x04, 0xd2]));
    let data = SchemaAndValue::new(schema, value);
    let written = numeric.encode(&data).unwrap().unwrap();
    assert!(text(Some(written.clone())).unwrap().ends_with(r#""payload":12.34}"#));
    assert_eq!(numeric.decode(Some(&written)).unwrap().value, data.value);
}

#[test]
fn envelopes_that_lie_are_errors() {
    let enveloped = json(&[]);
    for (schema, payload) in [
        (json!({"type": "int32"}), json!("x")),
        (json!({"type": "int8"}), json!(300)),
        (json!({"type": "string"}), json!(null)),
        (json!({"type": "strnig"}), json!("x")),
        (json!({"type": "array"}), json!([])),
        (json!({"type": "struct", "fields": [{"type": "int32"}]}), json!({})),
        (json!({"type": "bytes"}), json!("***")),
        (json!({"type": "map", "keys": {"type": "int32"}, "values": {"type": "int32"}}), json!([[1]])),
        (json!({"type": "map", "keys": {"type": "int32"}, "values": {"type": "int32"}}), json!(7)),
    ] {
        assert!(enveloped.decode(Some(&envelope(schema.clone(), payload.clone()))).is_err(), "{schema} {payload}");
    }
    for body in ["7", r#"{"a":1}"#, r#"{"schema":null,"payload":1,"x":2}"#] {
        assert!(enveloped.decode(Some(&bytes(body))).is_err(), "{body}");
    }
    let deep = (0..100).fold(json!({"type": "int32"}), |inner, _| json!({"type": "array", "items": inner}));
    assert!(enveloped.decode(Some(&envelope(deep, json!([])))).is_err());
}

#[test]
fn defaults_replace_null_unless_switched_off() {
    let schema = json!({"type": "int32", "optional": true, "default": 7});
    let replaced = json(&[]).decode(Some(&envelope(schema.clone(), json!(null)))).unwrap();
    assert_eq!(replaced.value, Value::Int32(7));
    let kept = json(&[("replace.null.with.default", "false")]).decode(Some(&envelope(schema, json!(null)))).unwrap();
    assert_eq!(kept.value, Value::Null);
}

#[test]
fn values_that_do_not_fit_their_schema_are_not_written() {
    let schema = Arc::new(Schema::record([("a".to_owned(), Arc::new(Schema::int32()))]));
    let value = Value::Struct(Struct::new(Arc::clone(&schema), vec![Value::from("x")]).unwrap());
    let error = json(&[]).encode(&SchemaAndValue::new(schema, value)).unwrap_err();
    assert_eq!(error.message, "value.a is of type string, its schema says int32");
}

#[tokio::test]
async fn converters_are_found_by_their_java_names() {
    for class in ["org.apache.kafka.connect.storage.StringConverter", "StringConverter", "String"] {
        let converter = Converter::from_config(Part::Key, &config(&[("key.converter", class)])).ok().unwrap();
        assert!(matches!(converter, Converter::String));
    }
    let long = Converter::from_config(Part::Key, &config(&[("key.converter", "LongConverter")])).ok().unwrap();
    let encoded = long.encode("t", &SchemaAndValue::schemaless(5i64)).await.unwrap().unwrap();
    assert_eq!(encoded, Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 5]));
    assert_eq!(long.decode(Some(&encoded)).await.unwrap().value, Value::Int64(5));
    assert!(long.decode(Some(&bytes("12"))).await.is_err());
    let string = Converter::from_config(Part::Key, &config(&[("key.converter", "String")])).ok().unwrap();
    assert!(string.decode(Some(&Bytes::from_static(b"\xff"))).await.is_err());
}

#[test]
fn settings_of_converters_are_checked() {
    let problems = |pairs: &[(&str, &str)]| -> Vec<String> {
        check_settings(Part::Value, &config(pairs)).into_iter().map(|(_, message)| message).collect()
    };
    let class = ("value.converter", "JsonConverter");
    assert!(problems(&[class, ("value.converter.schemas.enable", "false")]).is_empty());
    let text = problems(&[class, ("value.converter.schema.enable", "false")]);
    assert!(text[0].ends_with("did you mean 'value.converter.schemas.enable'?"), "{text:?}");
    let text = problems(&[class, ("value.converter.schemas.enable", "maybe")]);
    assert_eq!(
        text[0],
        "Invalid value maybe for configuration value.converter.schemas.enable: Expected value to be either true or false"
    );
    let text = problems(&[("value.converter", "io.confluent.connect.avro.AvroConverter")]);
    assert!(text[0].contains("value.converter.schema.registry.url"), "{text:?}");
}

#[test]
fn simple_headers_read_what_they_look_like() {
    let read = |text: &str| {
        let headers = HeaderConverter::Simple.to_headers(&[("h".to_owned(), Some(bytes(text)))]);
        headers.last("h").unwrap().value.clone()
    };
    assert_eq!(read("true"), Value::Bool(true));
    assert_eq!(read("12"), Value::Int8(12));
    assert_eq!(read("70000"), Value::Int32(70_000));
    assert_eq!(read("1.5"), Value::Float64(1.5));
    assert_eq!(read("1e5x"), Value::from("1e5x"));
    assert_eq!(read("plain text"), Value::from("plain text"));
    assert_eq!(read("[1,2]"), Value::Array(vec![Value::Int64(1), Value::Int64(2)]));
    assert_eq!(read("null"), Value::Null);
}

#[test]
fn headers_survive_the_way_there_and_back() {
    let raw = vec![
        ("a".to_owned(), Some(bytes("x"))),
        ("a".to_owned(), None),
        ("b".to_owned(), Some(Bytes::from_static(b"\xff"))),
    ];
    for converter in [HeaderConverter::Simple, HeaderConverter::String, HeaderConverter::Bytes] {
        let headers: Headers = converter.to_headers(&raw);
        assert_eq!(converter.to_bytes(&headers), raw);
    }
}
