//! Replay: what the topic says is what the registry knows, in Confluent's bytes.

use super::*;

fn raw(offset: i64, key: &str, value: Option<&str>) -> RawRecord {
    RawRecord { offset, key: key.as_bytes().to_vec(), value: value.map(|value| value.as_bytes().to_vec()) }
}

fn schema_key(subject: &str, version: i32) -> String {
    format!(r#"{{"keytype":"SCHEMA","subject":"{subject}","version":{version},"magic":1}}"#)
}

fn schema_value(subject: &str, version: i32, id: i32, schema: &str) -> String {
    format!(r#"{{"subject":"{subject}","version":{version},"id":{id},"schema":"\"{schema}\"","deleted":false}}"#)
}

fn replayed(records: &[RawRecord]) -> State {
    let mut state = State::default();
    for record in records {
        state.replay(record).unwrap();
    }
    state
}

fn live(state: &State, subject: &str) -> Vec<i32> {
    state.live(subject).map(|(number, _)| number).collect()
}

/// The bytes that Confluent's registry writes; a change here breaks every existing topic.
#[test]
fn keys_and_values_are_confluents_bytes() {
    let at = SubjectVersion { subject: "s".to_owned(), version: 3 };
    for (key, bytes) in [
        (Key::Schema(at.clone()), r#"{"keytype":"SCHEMA","subject":"s","version":3,"magic":1}"#),
        (Key::Config(None), r#"{"keytype":"CONFIG","subject":null,"magic":0}"#),
        (Key::Config(Some("s".to_owned())), r#"{"keytype":"CONFIG","subject":"s","magic":0}"#),
        (Key::Mode(None), r#"{"keytype":"MODE","subject":null,"magic":0}"#),
        (Key::DeleteSubject("s".to_owned()), r#"{"keytype":"DELETE_SUBJECT","subject":"s","magic":0}"#),
        (Key::Noop, r#"{"keytype":"NOOP","magic":0}"#),
    ] {
        assert_eq!(String::from_utf8(key.bytes()).unwrap(), bytes);
    }
    let plain = SchemaValue::new(&at, 7, "\"int\"", &[]);
    assert_eq!(
        String::from_utf8(plain.bytes()).unwrap(),
        r#"{"subject":"s","version":3,"id":7,"schema":"\"int\"","deleted":false}"#
    );
    let reference = Reference { name: "n.R".to_owned(), subject: "r".to_owned(), version: 1 };
    assert_eq!(
        String::from_utf8(SchemaValue::new(&at, 7, "\"n.R\"", &[reference]).bytes()).unwrap(),
        r#"{"subject":"s","version":3,"id":7,"references":[{"name":"n.R","subject":"r","version":1}],"schema":"\"n.R\"","deleted":false}"#
    );
}

#[test]
fn members_that_nobody_here_knows_survive_a_rewrite() {
    let stored =
        r#"{"subject":"s","version":1,"id":1,"md5":"AbC=","metadata":{"tags":{}},"schema":"\"int\"","deleted":false}"#;
    let state = replayed(&[raw(0, &schema_key("s", 1), Some(stored))]);
    let mut value = state.version("s", 1).unwrap().value.clone();
    value.set_deleted(true);
    assert_eq!(String::from_utf8(value.bytes()).unwrap(), stored.replace("\"deleted\":false", "\"deleted\":true"));
}

#[test]
fn deleting_a_subject_hides_its_versions_up_to_the_one_named() {
    let state = replayed(&[
        raw(0, &schema_key("s", 1), Some(&schema_value("s", 1, 1, "int"))),
        raw(1, &schema_key("s", 2), Some(&schema_value("s", 2, 2, "long"))),
        raw(2, r#"{"keytype":"DELETE_SUBJECT","subject":"s","magic":0}"#, Some(r#"{"subject":"s","version":2}"#)),
        raw(3, &schema_key("s", 3), Some(&schema_value("s", 3, 1, "int"))),
    ]);
    assert_eq!(live(&state, "s"), [3]);
    assert_eq!(state.versions("s").count(), 3);
    assert!(state.by_id(2, None).is_some(), "ids of deleted versions still resolve");
}

#[test]
fn tombstones_remove_versions_and_unused_ids() {
    let mut state = replayed(&[
        raw(0, &schema_key("s", 1), Some(&schema_value("s", 1, 1, "int"))),
        raw(1, &schema_key("t", 1), Some(&schema_value("t", 1, 1, "int"))),
        raw(2, &schema_key("s", 1), None),
    ]);
    assert!(state.by_id(1, None).is_some(), "another subject still uses it");
    state.replay(&raw(3, &schema_key("t", 1), None)).unwrap();
    assert!(state.by_id(1, None).is_none());
    assert_eq!(state.next_id(), Some(2), "the id is not given to another schema");
}

#[test]
fn every_byte_form_of_a_key_is_remembered_for_the_tombstones() {
    let odd = r#"{"magic":1,"keytype":"SCHEMA","version":1,"subject":"s"}"#;
    let value = schema_value("s", 1, 1, "int");
    let state = replayed(&[raw(0, odd, Some(&value)), raw(1, &schema_key("s", 1), Some(&value))]);
    let forms = state.key_forms(&SubjectVersion { subject: "s".to_owned(), version: 1 });
    assert_eq!(forms.len(), 2);
    assert!(forms.contains(&odd.as_bytes().to_vec()));
}

#[test]
fn first_record_wins_an_id_and_a_version() {
    let state = replayed(&[
        raw(0, &schema_key("s", 1), Some(&schema_value("s", 1, 1, "int"))),
        raw(1, &schema_key("t", 1), Some(&schema_value("t", 1, 1, "long"))), // the same id for another schema
        raw(2, &schema_key("s", 1), Some(&schema_value("s", 1, 2, "long"))), // the same version with another schema
    ]);
    assert!(!state.is_rejected(0) && state.is_rejected(1) && state.is_rejected(2));
    assert_eq!(state.by_id(1, None).unwrap().schema(), "\"int\"");
    assert_eq!(state.version("s", 1).unwrap().value.schema(), "\"int\"");
    assert!(state.version("t", 1).is_none());
}

#[test]
fn configs_and_modes_are_set_and_struck() {
    let config = r#"{"keytype":"CONFIG","subject":"s","magic":0}"#;
    let mode = r#"{"keytype":"MODE","subject":null,"magic":0}"#;
    let mut state = replayed(&[
        raw(0, config, Some(r#"{"subject":"s","compatibilityLevel":"FULL"}"#)),
        raw(1, mode, Some(r#"{"mode":"READONLY"}"#)),
    ]);
    assert_eq!(state.config(Some("s")).unwrap().level, Some(Level::Full));
    assert_eq!(state.mode(None), Some(Mode::ReadOnly));
    state.replay(&raw(2, config, None)).unwrap();
    state.replay(&raw(3, mode, None)).unwrap();
    assert!(state.config(Some("s")).is_none() && state.mode(None).is_none());
}

#[test]
fn unreadable_and_newer_records_are_skipped_with_a_reason_and_counted_as_read() {
    let mut state = State::default();
    for (offset, key, value, reason) in [
        (0, "not json", None, "key is not JSON"),
        (1, "{}", None, "key has no keytype"),
        (2, r#"{"keytype":"CONTEXT","tenant":"t"}"#, None, "CONTEXT is unknown"),
        (3, r#"{"keytype":"SCHEMA","subject":"s","version":1,"magic":2}"#, Some("{}"), "format 2"),
        (4, r#"{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}"#, Some("{}"), "without subject"),
        (5, r#"{"keytype":"SCHEMA","magic":1}"#, None, "without subject or version"),
        (6, r#"{"keytype":"NOOP","magic":0}"#, Some("nonsense"), "value is not JSON"),
    ] {
        let error = state.replay(&raw(offset, key, value)).unwrap_err();
        assert!(error.contains(reason), "{key}: {error}");
        assert_eq!(state.position(), offset + 1);
    }
}
