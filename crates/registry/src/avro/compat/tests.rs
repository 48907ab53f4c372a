//! The verdicts of Avro's Java library, as a table: reader, writer, differences.

use super::*;
use crate::avro::parse::parse;

/// `PROBLEM path detail` per difference.
fn check(reader: &str, writer: &str) -> Vec<String> {
    let reader = parse(reader, &[]).unwrap_or_else(|error| panic!("{reader}: {error}"));
    let writer = parse(writer, &[]).unwrap_or_else(|error| panic!("{writer}: {error}"));
    let found = differences(&reader, &writer);
    found.iter().map(|found| format!("{} {} {}", found.problem.name(), found.path, found.detail)).collect()
}

fn fits(reader: &str, writer: &str) {
    assert_eq!(check(reader, writer), Vec::<String>::new(), "reader {reader} writer {writer}");
}

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
}

fn enumeration(symbols: &str) -> String {
    format!(r#"{{"type":"enum","name":"E","symbols":[{symbols}]}}"#)
}

#[test]
fn promotions_are_those_of_the_specification() {
    let types = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];
    let allowed = [
        ("long", "int"),
        ("float", "int"),
        ("float", "long"),
        ("double", "int"),
        ("double", "long"),
        ("double", "float"),
        ("string", "bytes"),
        ("bytes", "string"),
    ];
    for reader in types {
        for writer in types {
            let found = check(&format!("\"{reader}\""), &format!("\"{writer}\""));
            let expected = reader == writer || allowed.contains(&(reader, writer));
            assert_eq!(found.is_empty(), expected, "{reader} reads {writer}: {found:?}");
        }
    }
    assert_eq!(
        check(r#""int""#, r#""long""#),
        ["TYPE_MISMATCH / reader type: INT not compatible with writer type: LONG"]
    );
}

#[test]
fn logical_types_do_not_matter() {
    fits(r#"{"type":"long","logicalType":"timestamp-millis"}"#, r#""long""#);
    fits(r#"{"type":"int","logicalType":"date"}"#, r#"{"type":"int","logicalType":"time-millis"}"#);
}

#[test]
fn new_fields_need_a_default_and_old_ones_may_go() {
    let (a, ab) =
        (record(r#"{"name":"a","type":"int"}"#), record(r#"{"name":"a","type":"int"},{"name":"b","type":"string"}"#));
    let ab_default = record(r#"{"name":"a","type":"int"},{"name":"b","type":"string","default":""}"#);
    assert_eq!(check(&ab, &a), ["READER_FIELD_MISSING_DEFAULT_VALUE /fields/1 b"]);
    fits(&ab_default, &a);
    fits(&a, &ab);
}

#[test]
fn all_differences_are_collected_with_their_paths() {
    let old = record(
        r#"{"name":"a","type":"string"},{"name":"list","type":{"type":"array","items":"string"}},
           {"name":"map","type":{"type":"map","values":"string"}},
           {"name":"deep","type":{"type":"record","name":"D","fields":[{"name":"x","type":"double"}]}}"#,
    );
    let new = record(
        r#"{"name":"a","type":"int"},{"name":"list","type":{"type":"array","items":"int"}},
           {"name":"map","type":{"type":"map","values":"int"}},
           {"name":"deep","type":{"type":"record","name":"D","fields":[{"name":"x","type":"int"},{"name":"y","type":"int"}]}}"#,
    );
    assert_eq!(
        check(&new, &old),
        [
            "TYPE_MISMATCH /fields/0/type reader type: INT not compatible with writer type: STRING",
            "TYPE_MISMATCH /fields/1/type/items reader type: INT not compatible with writer type: STRING",
            "TYPE_MISMATCH /fields/2/type/values reader type: INT not compatible with writer type: STRING",
            "TYPE_MISMATCH /fields/3/type/fields/0/type reader type: INT not compatible with writer type: DOUBLE",
            "READER_FIELD_MISSING_DEFAULT_VALUE /fields/3/type/fields/1 y",
        ]
    );
}

#[test]
fn aliases_of_fields_and_names_bridge_a_renaming() {
    let old = record(r#"{"name":"old","type":"int"}"#);
    fits(&record(r#"{"name":"new","type":"int","aliases":["old"]}"#), &old);
    assert_eq!(
        check(&record(r#"{"name":"new","type":"int"}"#), &old),
        ["READER_FIELD_MISSING_DEFAULT_VALUE /fields/0 new"]
    );

    let named = |name: &str| format!(r#"{{"type":"record","name":"{name}","namespace":"n","fields":[]}}"#);
    assert_eq!(check(&named("New"), &named("Old")), ["NAME_MISMATCH /name expected: n.Old"]);
    fits(r#"{"type":"record","name":"New","namespace":"n","aliases":["Old"],"fields":[]}"#, &named("Old"));
}

#[test]
fn namespaces_are_not_compared() {
    let within = |namespace: &str| format!(r#"{{"type":"fixed","name":"F","namespace":"{namespace}","size":4}}"#);
    fits(&within("a"), &within("b"));
}

#[test]
fn enums_may_gain_symbols_or_fall_back_to_a_default() {
    let (ab, abc) = (enumeration(r#""A","B""#), enumeration(r#""A","B","C""#));
    fits(&abc, &ab);
    assert_eq!(check(&ab, &abc), ["MISSING_ENUM_SYMBOLS /symbols [C]"]);
    fits(r#"{"type":"enum","name":"E","symbols":["A","B"],"default":"A"}"#, &abc);
}

#[test]
fn fixed_types_keep_their_size() {
    let sized = |size: u32| format!(r#"{{"type":"fixed","name":"F","size":{size}}}"#);
    fits(&sized(4), &sized(4));
    assert_eq!(check(&sized(4), &sized(8)), ["FIXED_SIZE_MISMATCH /size expected: 8, found: 4"]);
}

#[test]
fn unions_must_read_every_branch_that_may_have_been_written() {
    fits(r#"["null","string"]"#, r#""string""#);
    fits(r#"["null","long"]"#, r#"["null","int"]"#);
    fits(r#""string""#, r#"["string"]"#);
    assert_eq!(
        check(r#"["null","int"]"#, r#""string""#),
        ["MISSING_UNION_BRANCH / reader union lacking writer type: STRING"]
    );
    assert_eq!(
        check(r#"["null","int"]"#, r#"["null","int","string"]"#),
        ["MISSING_UNION_BRANCH /2 reader union lacking writer type: STRING"]
    );
    assert_eq!(
        check(r#""int""#, r#"["null","int"]"#),
        ["TYPE_MISMATCH / reader type: INT not compatible with writer type: NULL"]
    );
    let optional = record(r#"{"name":"a","type":["null","int"]}"#);
    fits(&optional, &record(r#"{"name":"a","type":"int"}"#));
    assert_eq!(
        check(&record(r#"{"name":"a","type":["null","int"]}"#), &record(r#"{"name":"a","type":["null","string"]}"#)),
        ["MISSING_UNION_BRANCH /fields/0/type/1 reader union lacking writer type: STRING"]
    );
}

#[test]
fn recursive_types_end() {
    let list = |value: &str| {
        format!(
            r#"{{"type":"record","name":"L","fields":[{{"name":"v","type":"{value}"}},{{"name":"next","type":["null","L"]}}]}}"#
        )
    };
    fits(&list("long"), &list("int"));
    // The inner occurrence is the same pair of types, so the difference is told once, where it is met first.
    assert_eq!(
        check(&list("int"), &list("string")),
        ["TYPE_MISMATCH /fields/0/type reader type: INT not compatible with writer type: STRING"]
    );
}

#[test]
fn messages_are_confluents() {
    let found = Difference {
        problem: Problem::ReaderFieldMissingDefaultValue,
        path: "/fields/1".to_owned(),
        detail: "f2".to_owned(),
    };
    assert_eq!(
        found.message(Direction::Backward),
        "{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'f2' at path '/fields/1' in the new schema \
         has no default value and is missing in the old schema', additionalInfo:'f2'}"
    );
    assert!(
        found.message(Direction::Forward).contains("in the old schema has no default value and is missing in the new")
    );
}
