//! Against `apache-avro` itself, without a registry: schema and value there and back.

use std::sync::Arc;

use twinstream_client::avro::AvroSchema;
use twinstream_client::avro::apache_avro::types::Value as AvroValue;
use twinstream_connect_api::data::logical;
use twinstream_connect_api::{Schema, SchemaRef, SchemaType, Struct, Value};

use super::from_avro::Reading;
use super::marks;
use super::to_avro::Writing;

fn reading(schema: &str) -> Reading {
    Reading::new(AvroSchema::parse(schema).unwrap()).unwrap()
}

/// Writes a value with the schema made for it and reads it back.
fn there_and_back(schema: &SchemaRef, value: &Value) -> (String, SchemaRef, Value) {
    let writing = Writing::new(schema, true).unwrap();
    let avro = AvroSchema::parse(writing.text()).unwrap_or_else(|error| panic!("{error}: {}", writing.text()));
    let datum =
        avro.encode(writing.value(schema, value).unwrap()).unwrap_or_else(|e| panic!("{e}: {}", writing.text()));
    let reading = Reading::new(avro.clone()).unwrap();
    let read = reading.value(avro.decode(&datum).unwrap()).unwrap();
    (writing.text().to_owned(), Arc::clone(reading.connect()), read)
}

fn record(fields: Vec<(&str, Schema)>, name: &str) -> SchemaRef {
    let fields = fields.into_iter().map(|(name, schema)| (name.to_owned(), Arc::new(schema)));
    Arc::new(Schema::record(fields).with_name(name))
}

#[test]
fn a_record_with_logical_types_survives_the_round_trip() {
    let schema = record(
        vec![
            ("id", Schema::string()),
            ("time", Schema::timestamp()),
            ("day", Schema::date().optional()),
            ("clock", Schema::time()),
            ("price", Schema::decimal(2)),
            ("magnitude", Schema::float64().optional()),
            ("tags", Schema::array(Schema::string())),
            ("counts", Schema::map(Schema::string(), Schema::int64())),
            ("by_number", Schema::map(Schema::int32(), Schema::string())),
        ],
        "org.example.Quake",
    );
    let values = vec![
        Value::from("us1"),
        Value::Int64(1_709_213_820_250),
        Value::Null,
        Value::Int32(5),
        Value::Bytes([0x04, 0xd2].to_vec().into()),
        Value::Float64(5.5),
        Value::Array(vec![Value::from("a")]),
        Value::Map(vec![(Value::from("k"), Value::Int64(1))]),
        Value::Map(vec![(Value::Int32(1), Value::from("one"))]),
    ];
    let value = Value::Struct(Struct::new(Arc::clone(&schema), values).unwrap());
    let (text, read_schema, read) = there_and_back(&schema, &value);
    assert!(text.contains(r#""name":"Quake","namespace":"org.example""#), "{text}");
    assert!(text.contains(r#"["null",{"type":"int","logicalType":"date"}],"default":null"#), "{text}");
    assert_eq!(read_schema.field("time").unwrap().1.schema.name.as_deref(), Some(logical::TIMESTAMP));
    for field in ["id", "time", "day", "clock", "price", "magnitude", "tags", "counts"] {
        assert_eq!(read.get(field), value.get(field), "{field}");
    }
    let Some(Value::Array(entries)) = read.get("by_number") else { panic!("{read:?}") };
    assert_eq!(entries[0].get("value"), Some(&Value::from("one")));
}

#[test]
fn enums_keep_their_symbols_in_order() {
    let reading = reading(r#"{"type":"enum","name":"a.Color","symbols":["RED","BLUE","AMBER"]}"#);
    assert_eq!(reading.connect().kind, SchemaType::String);
    assert_eq!(reading.value(AvroValue::Enum(1, "BLUE".to_owned())).unwrap(), Value::from("BLUE"));
    let (text, _, read) = there_and_back(reading.connect(), &Value::from("AMBER"));
    assert!(text.contains(r#"["RED","BLUE","AMBER"]"#), "{text}");
    assert_eq!(read, Value::from("AMBER"));
}

#[test]
fn unions_of_several_types_are_structs_with_one_field_set() {
    let reading =
        reading(r#"["string","null","long",{"type":"record","name":"x.R","fields":[{"name":"a","type":"int"}]}]"#);
    let schema = reading.connect();
    assert_eq!(schema.name.as_deref(), Some(marks::UNION));
    assert!(schema.optional);
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["string", "long", "R"]);
    let value = reading.value(AvroValue::Union(2, Box::new(AvroValue::Long(7)))).unwrap();
    assert_eq!(value.get("long"), Some(&Value::Int64(7)));
    assert_eq!(value.get("string"), Some(&Value::Null));
    let (_, _, read) = there_and_back(schema, &value);
    assert_eq!(read.get("long"), Some(&Value::Int64(7)));
    assert_eq!(reading.value(AvroValue::Union(1, Box::new(AvroValue::Null))).unwrap(), Value::Null);
}

#[test]
fn names_used_twice_are_defined_once() {
    let point = record(vec![("x", Schema::float64())], "geo.Point");
    let schema = record(vec![("from", (*point).clone()), ("to", (*point).clone().optional())], "geo.Line");
    let make = |x: f64, schema: SchemaRef| Value::Struct(Struct::new(schema, vec![Value::Float64(x)]).unwrap());
    let to = schema.field("to").unwrap().1.schema.clone();
    let values = vec![make(1.0, point), make(2.0, to)];
    let value = Value::Struct(Struct::new(Arc::clone(&schema), values).unwrap());
    let (text, _, read) = there_and_back(&schema, &value);
    assert_eq!(text.matches(r#""name":"Point""#).count(), 1, "{text}");
    assert_eq!(read.get("to").and_then(|to| to.get("x")), Some(&Value::Float64(2.0)));
}

#[test]
fn references_and_defaults_of_the_writer_are_kept() {
    let reading = reading(
        r#"{"type":"record","name":"R","fields":[
            {"name":"a","type":{"type":"fixed","name":"F","size":2},"doc":"first"},
            {"name":"b","type":"F"},
            {"name":"n","type":"int","default":7},
            {"name":"u","type":["null","string"],"default":null}]}"#,
    );
    let field = |name: &str| Arc::clone(&reading.connect().field(name).unwrap().1.schema);
    assert_eq!(field("a").doc.as_deref(), Some("first"));
    assert_eq!(field("b").parameters[marks::FIXED_SIZE], "2");
    assert_eq!(field("n").default, Some(Value::Int32(7)));
    assert_eq!((field("u").optional, field("u").default.clone()), (true, None));
    let (_, _, read) = there_and_back(&field("b"), &Value::Bytes(vec![1, 2].into()));
    assert_eq!(read, Value::Bytes(vec![1, 2].into()));
}

#[test]
fn recursive_schemas_are_refused_with_their_name() {
    let text =
        r#"{"type":"record","name":"a.Tree","fields":[{"name":"kids","type":{"type":"array","items":"a.Tree"}}]}"#;
    let error = Reading::new(AvroSchema::parse(text).unwrap()).err().unwrap();
    assert!(error.message.contains("a.Tree contains itself"), "{}", error.message);
}

#[test]
fn small_integers_are_marked_for_connect() {
    let (text, _, read) = there_and_back(&Arc::new(Schema::of(SchemaType::Int8)), &Value::Int8(5));
    assert!(text.contains("int8"), "{text}");
    assert_eq!(read, Value::Int32(5));
}
