//! Texts as Avro's Java library prints them.

use super::*;
use crate::avro::parse::parse;

fn printed(text: &str) -> String {
    canonical(&parse(text, &[]).unwrap())
}

#[test]
fn attributes_come_in_javas_order_and_spaces_go() {
    let given = r#" { "fields": [ {"order":"ignore", "doc":"d", "default": 1, "x": true, "aliases": ["b"], "type": "int", "name":"a"} ],
        "aliases": ["Old", "other.Old"], "prop": {"k": [1, 2.50]}, "doc": "the doc", "namespace": "n", "name": "R", "type": "record" } "#;
    assert_eq!(
        printed(given),
        r#"{"type":"record","name":"R","namespace":"n","doc":"the doc","fields":[{"name":"a","type":"int","doc":"d","default":1,"order":"ignore","aliases":["b"],"x":true}],"prop":{"k":[1,2.5]},"aliases":["Old","other.Old"]}"#
    );
}

#[test]
fn names_are_full_only_outside_of_their_namespace() {
    let given = r#"{"type":"record","name":"n.R","fields":[
        {"name":"a","type":{"type":"enum","name":"n.E","symbols":["X"]}},
        {"name":"b","type":"n.E"},
        {"name":"c","type":{"type":"fixed","name":"other.F","size":2}},
        {"name":"d","type":"other.F"},
        {"name":"e","type":{"type":"record","name":"Plain","namespace":"","fields":[{"name":"up","type":["null","n.R"]}]}}]}"#;
    assert_eq!(
        printed(given),
        r#"{"type":"record","name":"R","namespace":"n","fields":[{"name":"a","type":{"type":"enum","name":"E","symbols":["X"]}},{"name":"b","type":"E"},{"name":"c","type":{"type":"fixed","name":"F","namespace":"other","size":2}},{"name":"d","type":"other.F"},{"name":"e","type":{"type":"record","name":"Plain","namespace":"","fields":[{"name":"up","type":["null","n.R"]}]}}]}"#
    );
}

#[test]
fn primitives_are_bare_unless_they_carry_attributes() {
    assert_eq!(printed(r#"{"type":"string"}"#), r#""string""#);
    assert_eq!(printed("string"), r#""string""#);
    let date = r#"{"type":"int","logicalType":"date"}"#;
    assert_eq!(printed(date), date);
    assert_eq!(printed(r#"{"type":{"type":"array","items":{"type":"int"}}}"#), r#"{"type":"array","items":"int"}"#);
    assert_eq!(printed(r#"["null",{"type":"map","values":"long"}]"#), r#"["null",{"type":"map","values":"long"}]"#);
}

#[test]
fn null_defaults_and_enum_defaults_are_kept() {
    let given = r#"{"type":"record","name":"R","fields":[{"name":"a","type":["null","int"],"default":null},{"name":"b","type":{"type":"enum","name":"E","doc":"d","symbols":["X","Y"],"default":"Y"}}]}"#;
    assert_eq!(printed(given), given);
}

#[test]
fn printing_is_stable() {
    let given =
        r#"{"type":"error","name":"R","fields":[{"name":"next","type":["null","R"],"default":null}],"java-class":"x"}"#;
    assert_eq!(printed(&printed(given)), printed(given));
}

#[test]
fn references_are_names_not_definitions() {
    let reference = r#"{"type":"record","name":"n.B","fields":[]}"#.to_owned();
    let schema = parse(r#"{"type":"record","name":"n.A","fields":[{"name":"b","type":"B"}]}"#, &[reference]).unwrap();
    assert_eq!(
        canonical(&schema),
        r#"{"type":"record","name":"A","namespace":"n","fields":[{"name":"b","type":"B"}]}"#
    );
}

#[test]
fn normalizing_sorts_what_has_no_order() {
    let given =
        r#"{"type":"record","name":"R","zeta":1,"alpha":2,"fields":[{"name":"a","type":"int","aliases":["c","b"]}]}"#;
    assert_eq!(
        normalized(&parse(given, &[]).unwrap()),
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int","aliases":["b","c"]}],"alpha":2,"zeta":1}"#
    );
}
