//! Modes, and what an import may do.

use super::*;
use crate::level::Mode;

impl Registry {
    fn mode(&mut self, subject: Option<&str>, mode: Mode, force: bool) -> Result<(), ApiError> {
        let changes = set_mode(&self.state, subject, Some(mode), force)?;
        self.apply(changes);
        Ok(())
    }

    fn import(&mut self, subject: &str, schema: &str, id: i32, version: i32) -> Result<(i32, i32), ApiError> {
        let version = (version > 0).then_some(VersionRef::Number(version));
        self.submit(subject, &Submitted { id: Some(id), version, ..submitted(schema) })
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
    match result.unwrap_err() {
        error @ ApiError::NotPermitted(_) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn read_only_subjects_answer_what_they_have_and_refuse_the_rest() {
    let mut registry = Registry::default();
    registry.register("s", A1).unwrap();
    registry.mode(None, Mode::ReadOnly, false).unwrap();
    registry.mode(Some("open"), Mode::ReadWrite, false).unwrap();
    assert_eq!(registry.register("s", A1), Ok((1, 1)));
    assert_eq!(refused(registry.register("s", A2)), "Subject s in context . is in read-only mode");
    refused(registry.delete("s", false));
    refused(set_config(&registry.state, Some("s"), &ConfigUpdate::default()));
    assert_eq!(registry.register("open", A1), Ok((1, 1)));
    let changes = delete_mode(&registry.state, Some("open"), false);
    registry.apply(changes);
    refused(registry.delete("open", false));
}

#[test]
fn mode_of_all_contexts_counts_last() {
    let mut registry = Registry::default();
    registry.mode(Some(":.__GLOBAL:"), Mode::ReadOnlyOverride, false).unwrap();
    assert_eq!(effective_mode(&registry.state, Some("s")), Mode::ReadOnlyOverride);
    refused(registry.register("s", A1));
    registry.mode(None, Mode::ReadWrite, false).unwrap();
    registry.register("s", A1).unwrap();
}

#[test]
fn recursive_deletion_takes_the_modes_of_all_subjects() {
    let mut registry = Registry::default();
    registry.mode(None, Mode::ReadOnly, false).unwrap();
    registry.mode(Some("a"), Mode::ReadOnly, false).unwrap();
    registry.mode(Some(":.other:a"), Mode::ReadOnly, false).unwrap();
    let changes = delete_mode(&registry.state, None, true);
    registry.apply(changes);
    assert_eq!((registry.state.mode(None), registry.state.mode(Some("a"))), (None, None));
    assert_eq!(registry.state.mode(Some(":.other:a")), Some(Mode::ReadOnly));
}

#[test]
fn imported_schemas_keep_their_ids_and_versions() {
    let mut registry = Registry::default();
    registry.mode(None, Mode::Import, false).unwrap();
    assert_eq!(registry.import("s", A_NO_DEFAULT, 40, 7), Ok((40, 7)));
    assert_eq!(registry.import("s", A1, 12, 3), Ok((12, 3)), "older versions may come later, and need not fit");
    assert_eq!(registry.import("s", A1, 12, 3), Ok((12, 3)), "twice is once");
    assert_eq!(registry.import("t", A1, 12, 0), Ok((12, 1)), "a version is chosen if none is given");
    assert_eq!(registry.import("t", A2, 0, 0), Ok((0, 2)), "ids begin at 0");
    registry.mode(None, Mode::ReadWrite, false).unwrap();
    assert_eq!(registry.register("u", "\"int\""), Ok((41, 1)), "new ids go on behind the highest");
}

#[test]
fn what_an_id_or_a_version_means_is_never_changed_by_an_import() {
    let mut registry = Registry::default();
    registry.mode(Some("s"), Mode::Import, false).unwrap();
    registry.import("s", A1, 5, 1).unwrap();
    assert_eq!(
        refused(registry.import("s", A2, 5, 2)),
        "Overwrite new schema with id 5 in context . is not permitted."
    );
    assert_eq!(refused(registry.import("s", A2, 6, 1)), "Version 1 of subject s is another schema already (id 5)");
    assert_eq!(registry.import("s", &A1.replace(',', " , "), 5, 2), Ok((5, 2)), "spelling is not meaning");
}

#[test]
fn ids_are_for_imports_and_imports_need_ids() {
    let mut registry = Registry::default();
    assert_eq!(refused(registry.import("s", A1, 5, 0)), "Subject s in context . is not in import mode");
    registry.mode(Some("s"), Mode::Import, false).unwrap();
    assert_eq!(refused(registry.register("s", A1)), "Subject s in context . is not in read-write mode");
    registry.import("s", A1, 5, 0).unwrap();
    assert_eq!(registry.register("s", A1), Ok((5, 1)), "it is there already");
    assert_eq!(registry.delete("s", false), Ok(vec![1]), "an import can be taken back");
}

#[test]
fn import_mode_needs_room_and_makes_it() {
    let mut registry = Registry::default();
    registry.register("s", A1).unwrap();
    registry.register("other", A2).unwrap();
    let error = refused(registry.mode(Some("s"), Mode::Import, false));
    assert_eq!(error, "Cannot import since found existing subjects");
    registry.delete("s", false).unwrap();
    registry.mode(Some("s"), Mode::Import, false).unwrap();
    assert_eq!(registry.state.versions("s").count(), 0, "deleted versions went for good");
    assert_eq!(registry.import("s", "\"int\"", 1, 1), Ok((1, 1)), "their ids and versions are free");
    refused(registry.mode(None, Mode::Import, false));
    registry.mode(None, Mode::Import, true).unwrap();
    assert_eq!(registry.state.live("other").count(), 1, "with force everything stays");
}

#[test]
fn deleted_versions_that_others_refer_to_are_no_room() {
    let mut registry = Registry::default();
    registry.register("a", A1).unwrap();
    let user = Submitted {
        references: vec![Reference { name: "A".to_owned(), subject: "a".to_owned(), version: 1 }],
        ..submitted(r#"{"type":"record","name":"U","fields":[{"name":"a","type":"A"}]}"#)
    };
    registry.submit("u", &user).unwrap();
    registry.delete("u", false).unwrap();
    registry.delete("a", false).unwrap();
    assert_eq!(registry.mode(Some("a"), Mode::Import, false), Err(ApiError::Referenced("a".to_owned(), 1)));
    registry.mode(None, Mode::Import, false).unwrap();
    assert_eq!(registry.state.subjects().count(), 0);
}

#[test]
fn versions_chosen_outside_of_imports_are_the_next_one() {
    let mut registry = Registry::default();
    let at = |number, schema: &str| Submitted { version: Some(VersionRef::Number(number)), ..submitted(schema) };
    assert_eq!(registry.submit("s", &at(1, A1)), Ok((1, 1)));
    assert!(matches!(registry.submit("s", &at(7, A2)), Err(ApiError::InvalidSchema(_))));
    assert_eq!(registry.submit("s", &at(2, A2)), Ok((2, 2)));
    let again = Submitted { version: Some(VersionRef::Latest), ..submitted(A1) };
    assert_eq!(registry.submit("s", &again), Ok((1, 3)), "an old schema becomes the latest one");
    assert_eq!(registry.submit("s", &again), Ok((1, 3)));
}

#[test]
fn nothing_is_registered_in_the_mode_of_schema_linking() {
    let mut registry = Registry::default();
    let record = Change { key: Key::Mode(None).bytes(), value: Some(br#"{"mode":"FORWARD"}"#.to_vec()) };
    registry.apply(vec![record]);
    refused(registry.register("s", A1));
    refused(registry.import("s", A1, 1, 1));
}
