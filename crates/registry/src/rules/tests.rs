//! Requests against a state, and what they would write.

use super::*;
use crate::state::{RawRecord, SubjectVersion};

const A1: &str = r#"{"type":"record","name":"A","fields":[{"name":"a","type":"int"}]}"#;
const A2: &str =
    r#"{"type":"record","name":"A","fields":[{"name":"a","type":"int"},{"name":"b","type":"int","default":0}]}"#;
const A_NO_DEFAULT: &str =
    r#"{"type":"record","name":"A","fields":[{"name":"a","type":"int"},{"name":"b","type":"int"}]}"#;

/// A registry without I/O: what is decided is replayed at once.
#[derive(Default)]
struct Registry {
    state: State,
    offset: i64,
}

impl Registry {
    fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            let record = RawRecord { offset: self.offset, key: change.key, value: change.value };
            self.state.replay(&record).unwrap();
            self.offset += 1;
        }
    }

    fn register(&mut self, subject: &str, schema: &str) -> Result<(i32, i32), ApiError> {
        self.submit(subject, &submitted(schema))
    }

    fn submit(&mut self, subject: &str, submitted: &Submitted) -> Result<(i32, i32), ApiError> {
        match register(&self.state, subject, submitted, Level::Backward)? {
            Registration::Existing { id, version } => Ok((id, version)),
            Registration::New { id, at, change } => {
                self.apply(vec![change]);
                Ok((id, at.version))
            }
        }
    }

    fn level(&mut self, subject: Option<&str>, level: Level) {
        let update = ConfigUpdate { level: Some(level), normalize: None };
        let change = set_config(&self.state, subject, &update).unwrap();
        self.apply(vec![change]);
    }

    fn delete(&mut self, subject: &str, permanent: bool) -> Result<Vec<i32>, ApiError> {
        let deletion = delete_subject(&self.state, subject, permanent)?;
        self.apply(deletion.changes);
        Ok(deletion.versions)
    }

    fn delete_version(&mut self, subject: &str, version: &str, permanent: bool) -> Result<Vec<i32>, ApiError> {
        let deletion = delete_version(&self.state, subject, VersionRef::parse(version)?, permanent)?;
        self.apply(deletion.changes);
        Ok(deletion.versions)
    }
}

fn submitted(schema: &str) -> Submitted {
    Submitted { schema: schema.to_owned(), ..Submitted::default() }
}

#[test]
fn a_schema_has_one_id_under_all_subjects_and_one_version_per_subject() {
    let mut registry = Registry::default();
    assert_eq!(registry.register("s", A1), Ok((1, 1)));
    assert_eq!(registry.register("s", A1), Ok((1, 1)));
    assert_eq!(registry.register("t", A1), Ok((1, 1)));
    assert_eq!(registry.register("s", A2), Ok((2, 2)));
    assert_eq!(registry.register("u", "\"int\""), Ok((3, 1)));
    let spaced = A1.replace(',', " ,\n ");
    assert_eq!(registry.register("s", &spaced), Ok((1, 1)), "spelling does not matter");
}

#[test]
fn incompatible_schemas_are_refused_by_the_level_of_the_subject() {
    let mut registry = Registry::default();
    registry.register("s", A1).unwrap();
    let error = registry.register("s", A_NO_DEFAULT).unwrap_err();
    assert_eq!((error.status(), error.code()), (409, 409));
    let text = error.to_string();
    assert!(
        text.starts_with(
            "Schema being registered is incompatible with an earlier schema for subject \"s\", details: [{errorType:"
        ),
        "{text}"
    );
    assert!(text.contains("{oldSchemaVersion: 1}") && text.contains("compatibility: 'BACKWARD'"), "{text}");
    registry.level(Some("s"), Level::Forward);
    assert_eq!(registry.register("s", A_NO_DEFAULT), Ok((2, 2)));
    registry.level(Some("s"), Level::Full);
    assert!(registry.register("s", A1).is_ok(), "it is there already");
    assert!(registry.register("s", r#"{"type":"record","name":"A","fields":[{"name":"z","type":"int"}]}"#).is_err());
    registry.level(None, Level::None);
    assert!(registry.register("other", "\"int\"").is_ok() && registry.register("other", "\"string\"").is_ok());
}

#[test]
fn transitive_levels_look_at_all_versions() {
    let v1 = r#"{"type":"record","name":"A","fields":[{"name":"a","type":"int"}]}"#;
    let v2 =
        r#"{"type":"record","name":"A","fields":[{"name":"a","type":"int"},{"name":"b","type":"int","default":0}]}"#;
    let v3 = r#"{"type":"record","name":"A","fields":[{"name":"a","type":"int"},{"name":"b","type":"int"}]}"#;
    let mut registry = Registry::default();
    registry.register("s", v1).unwrap();
    registry.register("s", v2).unwrap();
    registry.level(None, Level::BackwardTransitive);
    let error = registry.register("s", v3).unwrap_err().to_string();
    assert!(error.contains("{oldSchemaVersion: 1}"), "{error}");
    registry.level(None, Level::Backward);
    assert_eq!(registry.register("s", v3), Ok((3, 3)));
}

#[test]
fn checks_tell_without_writing() {
    let mut registry = Registry::default();
    let check = |registry: &Registry, against, schema: &str| {
        check_compatibility(&registry.state, "s", against, &submitted(schema), Level::Backward)
            .map(|checked| (checked.compatible, checked.messages.len()))
    };
    assert_eq!(check(&registry, Some(VersionRef::Latest), A1), Ok((true, 0)), "nothing to be compared with");
    registry.register("s", A1).unwrap();
    assert_eq!(check(&registry, Some(VersionRef::Latest), A2), Ok((true, 0)));
    assert_eq!(check(&registry, None, A_NO_DEFAULT), Ok((false, 4)));
    assert_eq!(check(&registry, Some(VersionRef::Number(9)), A1), Err(ApiError::VersionNotFound(9)));
    assert!(matches!(check(&registry, None, "{"), Err(ApiError::InvalidSchema(_))));
}

#[test]
fn deleting_goes_in_two_steps() {
    let mut registry = Registry::default();
    registry.register("s", A1).unwrap();
    registry.register("s", A2).unwrap();
    assert_eq!(registry.delete("nope", false), Err(ApiError::SubjectNotFound("nope".to_owned())));
    assert_eq!(registry.delete("s", true), Err(ApiError::SubjectNotSoftDeleted("s".to_owned())));
    assert_eq!(registry.delete_version("s", "1", true), Err(ApiError::VersionNotSoftDeleted("s".to_owned(), 1)));
    assert_eq!(registry.delete_version("s", "1", false), Ok(vec![1]));
    assert_eq!(registry.delete_version("s", "1", false), Err(ApiError::VersionSoftDeleted("s".to_owned(), 1)));
    assert_eq!(registry.delete("s", false), Ok(vec![2]));
    assert_eq!(registry.delete("s", false), Err(ApiError::SubjectSoftDeleted("s".to_owned())));
    assert_eq!(
        resolve(&registry.state, "s", VersionRef::Latest, false),
        Err(ApiError::SubjectNotFound("s".to_owned()))
    );
    assert_eq!(resolve(&registry.state, "s", VersionRef::Latest, true).unwrap().version, 2);
    assert_eq!(registry.register("s", A1), Ok((1, 3)), "versions are not used twice, ids are kept");
    registry.delete("s", false).unwrap();
    assert_eq!(registry.delete("s", true), Ok(vec![1, 2, 3]));
    assert_eq!(registry.state.versions("s").count(), 0);
    assert_eq!(registry.register("s", A1).unwrap().1, 1);
}

#[test]
fn referenced_versions_cannot_be_deleted() {
    let mut registry = Registry::default();
    registry.register("a", A1).unwrap();
    let user = Submitted {
        schema: r#"{"type":"record","name":"U","fields":[{"name":"a","type":"A"}]}"#.to_owned(),
        references: vec![Reference { name: "A".to_owned(), subject: "a".to_owned(), version: 1 }],
        ..Submitted::default()
    };
    let (id, _) = registry.submit("u", &user).unwrap();
    assert_eq!(registry.state.referenced_by("a", 1).into_iter().collect::<Vec<_>>(), [id]);
    assert_eq!(registry.delete("a", false), Err(ApiError::Referenced("a".to_owned(), 1)));
    assert_eq!(registry.delete_version("a", "latest", false), Err(ApiError::Referenced("a".to_owned(), 1)));
    registry.delete("u", false).unwrap();
    assert_eq!(registry.delete("a", false), Ok(vec![1]));

    let missing = Submitted {
        references: vec![Reference { name: "A".to_owned(), subject: "gone".to_owned(), version: 1 }],
        ..user
    };
    let error = registry.submit("u", &missing).unwrap_err().to_string();
    assert!(error.contains("no schema reference found for subject \"gone\" and version 1"), "{error}");
}

#[test]
fn lookup_finds_by_meaning_and_only_deleted_ones_if_asked() {
    let mut registry = Registry::default();
    assert_eq!(find(&registry.state, "s", &submitted(A1), false), Err(ApiError::SubjectNotFound("s".to_owned())));
    registry.register("s", A1).unwrap();
    registry.register("s", A2).unwrap();
    assert_eq!(find(&registry.state, "s", &submitted(&A1.replace(':', " : ")), false).unwrap().version, 1);
    assert_eq!(find(&registry.state, "s", &submitted(A_NO_DEFAULT), false), Err(ApiError::SchemaNotFound));
    registry.delete_version("s", "1", false).unwrap();
    assert_eq!(find(&registry.state, "s", &submitted(A1), false), Err(ApiError::SchemaNotFound));
    assert_eq!(find(&registry.state, "s", &submitted(A1), true).unwrap().version, 1);
}

#[test]
fn versions_are_latest_or_a_number_from_one() {
    assert_eq!(VersionRef::parse("latest"), Ok(VersionRef::Latest));
    assert_eq!(VersionRef::parse("-1"), Ok(VersionRef::Latest));
    assert_eq!(VersionRef::parse("2147483647"), Ok(VersionRef::Number(i32::MAX)));
    for bad in ["0", "-2", "LATEST", "1.0", "2147483648", ""] {
        assert_eq!(VersionRef::parse(bad), Err(ApiError::InvalidVersion(bad.to_owned())), "{bad}");
    }
}

#[test]
fn subjects_without_a_name_or_with_control_characters_are_refused() {
    let mut registry = Registry::default();
    for bad in ["", "a\nb", "__GLOBAL"] {
        assert_eq!(registry.register(bad, A1), Err(ApiError::InvalidSubject(bad.to_owned())));
    }
    assert!(registry.register("a b/ü", A1).is_ok());
}

#[test]
fn a_hard_delete_strikes_every_spelling_of_the_key() {
    let mut registry = Registry::default();
    let odd = br#"{"subject":"s","version":1,"keytype":"SCHEMA","magic":1}"#.to_vec();
    let at = SubjectVersion { subject: "s".to_owned(), version: 1 };
    let value = SchemaValue::new(&at, 1, "\"int\"", &[]).bytes();
    registry.apply(vec![Change { key: odd.clone(), value: Some(value) }]);
    registry.delete("s", false).unwrap();
    let deletion = delete_subject(&registry.state, "s", true).unwrap();
    let struck: Vec<&Vec<u8>> = deletion.changes.iter().map(|change| &change.key).collect();
    assert!(struck.contains(&&odd) && struck.contains(&&Key::Schema(at).bytes()));
}

mod modes;
