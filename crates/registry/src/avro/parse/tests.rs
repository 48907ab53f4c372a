//! What is a schema and what is not.

use super::*;

fn reason(text: &str) -> String {
    match parse(text, &[]) {
        Ok(_) => panic!("{text} was taken"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn malformed_schemas_are_refused_with_the_reason() {
    for (text, part) in [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("7", "a type is a name, an object or an array"),
        ("{}", "no type"),
        (r#"{"type":"recordz"}"#, "undefined name: \"recordz\""),
        (r#"{"type":"record","fields":[]}"#, "a named type has no name"),
        (r#"{"type":"record","name":"R"}"#, "no array of fields"),
        (r#"{"type":"record","name":"R","fields":[7]}"#, "a field is an object"),
        (r#"{"type":"record","name":"R","fields":[{"name":"a"}]}"#, "field has no type"),
        (r#"{"type":"record","name":"R","fields":[{"name":"1a","type":"int"}]}"#, "illegal name: \"1a\""),
        (r#"{"type":"record","name":"a-b","fields":[]}"#, "illegal name: \"a-b\""),
        (r#"{"type":"record","name":"R","namespace":"a..b","fields":[]}"#, "illegal name: \"\""),
        (r#"{"type":"record","name":"int","fields":[]}"#, "named after primitives"),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}"#,
            "duplicate field a",
        ),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"fixed","name":"R","size":1}}]}"#,
            "can't redefine: R",
        ),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int","default":"x"}]}"#,
            "invalid default for field a: \"x\" not a \"int\"",
        ),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":["null","int"],"default":"x"}]}"#,
            "invalid default for field a",
        ),
        (r#"{"type":"enum","name":"E","symbols":["A","A"]}"#, "duplicate enum symbol: A"),
        (r#"{"type":"enum","name":"E","symbols":["A"],"default":"B"}"#, "enum default B"),
        (r#"{"type":"fixed","name":"F","size":-1}"#, "no valid size"),
        (r#"["int","int"]"#, "duplicate in union: int"),
        (r#"["int",["string"]]"#, "another union"),
        (r#"{"type":"array"}"#, "array has no items"),
    ] {
        let reason = reason(text);
        assert!(reason.contains(part), "{text}: {reason}");
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(100), "}".repeat(100));
    parse(&deep, &[]).unwrap();
    // serde_json refuses what nests deeper than it can read.
    assert!(
        parse(&format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(5_000), "}".repeat(5_000)), &[]).is_err()
    );
}

#[test]
fn names_resolve_within_their_namespace_and_through_references() {
    let reference = r#"{"type":"enum","name":"E","namespace":"n","symbols":["A"]}"#.to_owned();
    let schema = parse(r#"{"type":"record","name":"n.R","fields":[{"name":"e","type":"E"}]}"#, &[reference]).unwrap();
    assert_eq!((schema.provided, schema.types.len()), (1, 2));
    assert!(
        reason(r#"{"type":"record","name":"n.R","fields":[{"name":"e","type":"E"}]}"#)
            .contains("undefined name: \"n.E\"")
    );
}

#[test]
fn defaults_of_every_type_are_checked() {
    for (kind, default) in [
        (r#""null""#, "null"),
        (r#""bytes""#, r#""\u00ff""#),
        (r#""double""#, "1"),
        (r#"{"type":"array","items":"int"}"#, "[1,2]"),
        (r#"{"type":"map","values":"string"}"#, r#"{"a":"b"}"#),
        (
            r#"{"type":"record","name":"I","fields":[{"name":"x","type":"int"},{"name":"y","type":"int","default":1}]}"#,
            r#"{"x":1}"#,
        ),
        (r#"["int","null"]"#, "null"),
    ] {
        let text =
            format!(r#"{{"type":"record","name":"R","fields":[{{"name":"a","type":{kind},"default":{default}}}]}}"#);
        parse(&text, &[]).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}
