//! Slashes, media types, bodies.

use axum::http::Request as HttpRequest;

use super::super::body;
use super::*;
use crate::level::{Level, Mode};
use crate::rules::VersionRef;

fn trimmed(uri: &str) -> String {
    let mut uri: Uri = uri.parse().unwrap();
    trim_slashes(&mut uri);
    uri.to_string()
}

fn accept(value: &str) -> Option<String> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_str(value).unwrap());
    negotiated(&headers, V1).map(|media| media.to_str().unwrap().to_owned())
}

fn post(media: &str) -> Option<ApiError> {
    refusal(&HttpRequest::post("/").header(CONTENT_TYPE, media).body(Body::empty()).unwrap())
}

#[test]
fn trailing_slashes_go_and_encoded_ones_stay() {
    assert_eq!(trimmed("/subjects/"), "/subjects");
    assert_eq!(trimmed("/subjects//?deleted=true"), "/subjects?deleted=true");
    assert_eq!(trimmed("/"), "/");
    assert_eq!(trimmed("//"), "/");
    assert_eq!(trimmed("/subjects/a%2F/versions/"), "/subjects/a%2F/versions");
}

#[test]
fn answers_have_the_type_that_the_client_accepts() {
    assert_eq!(accept("*/*").as_deref(), Some(V1));
    assert_eq!(accept("application/json").as_deref(), Some(JSON));
    assert_eq!(accept("text/html, application/vnd.schemaregistry+json; q=0.9").as_deref(), Some(PLAIN_VENDOR));
    assert_eq!(accept("application/vnd.schemaregistry.v1+json, application/json").as_deref(), Some(V1));
    assert_eq!(accept("text/html"), None);
    assert_eq!(negotiated(&HeaderMap::new(), JSON).unwrap(), JSON);
}

#[test]
fn bodies_of_foreign_types_are_refused() {
    for media in [V1, "application/json; charset=utf-8", OCTETS] {
        assert_eq!(post(media), None, "{media}");
    }
    assert_eq!(post("application/x-www-form-urlencoded"), Some(ApiError::UnsupportedMediaType));
}

#[test]
fn statuses_follow_from_the_numbers() {
    for (error, status, code) in [
        (ApiError::SubjectNotFound("s".to_owned()), 404, 40401),
        (ApiError::InvalidCompatibility, 422, 42203),
        (ApiError::Incompatible { subject: "s".to_owned(), details: Vec::new() }, 409, 409),
        (ApiError::Store("x".to_owned()), 500, 50001),
        (ApiError::UnknownField("x".to_owned()), 422, 422),
    ] {
        assert_eq!((error.status(), error.code()), (status, code), "{error}");
    }
}

#[test]
fn unknown_members_are_refused_by_name_unless_the_client_may_send_them() {
    let bytes = br#"{"schema":"\"int\"","extra":1}"#;
    let mut headers = HeaderMap::new();
    let error = body::submitted(bytes, &headers, false).unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), (422, "Unrecognized field: extra"));
    headers.insert("X-Confluent-Accept-Unknown-Properties", HeaderValue::from_static("true"));
    assert_eq!(body::submitted(bytes, &headers, false).unwrap().schema, "\"int\"");
}

#[test]
fn what_this_release_lacks_is_said_and_not_ignored() {
    let headers = HeaderMap::new();
    for bytes in [
        &br#"{"schema":"{}","schemaType":"JSON"}"#[..],
        br#"{"schema":"x","schemaType":"PROTOBUF"}"#,
        br#"{"schema":"\"int\"","metadata":{"tags":{}}}"#,
        br#"{"schema":"\"int\"","ruleSet":{"domainRules":[]}}"#,
    ] {
        let error = body::submitted(bytes, &headers, false).unwrap_err();
        assert!(error.to_string().contains("not in this release"), "{error}");
    }
    assert!(body::config_update(br#"{"compatibilityGroup":"g"}"#, &headers).is_err());
    assert!(matches!(body::mode(br#"{"mode":"FORWARD"}"#, &headers), Err(ApiError::InvalidMode(_))));
}

#[test]
fn chosen_ids_and_versions_are_read_and_no_choice_is_no_number() {
    let headers = HeaderMap::new();
    let read = |chosen: &str| {
        let body = format!(r#"{{"schema":"\"int\"",{chosen},"metadata":null}}"#);
        body::registration(body.as_bytes(), &headers, false).map(|submitted| (submitted.id, submitted.version))
    };
    assert_eq!(read(r#""id":-1,"version":0"#), Ok((None, None)));
    assert_eq!(read(r#""id":0,"version":-1"#), Ok((Some(0), Some(VersionRef::Latest))));
    assert_eq!(read(r#""id":7,"version":3"#), Ok((Some(7), Some(VersionRef::Number(3)))));
    assert_eq!(read(r#""version":-2"#), Err(ApiError::InvalidVersion("-2".to_owned())));
    for wrong in [r#""id":"7""#, r#""id":2147483648"#, r#""version":1.5"#] {
        assert!(matches!(read(wrong), Err(ApiError::BadRequest(_))), "{wrong}");
    }
}

#[test]
fn configs_and_modes_are_read_in_any_case() {
    let headers = HeaderMap::new();
    assert_eq!(
        body::config_update(br#"{"compatibility":"full_transitive"}"#, &headers).unwrap().level,
        Some(Level::FullTransitive)
    );
    assert_eq!(body::config_update(br#"{"normalize":true}"#, &headers).unwrap().normalize, Some(true));
    assert_eq!(body::config_update(br#"{}"#, &headers), Err(ApiError::InvalidCompatibility));
    assert_eq!(body::mode(br#"{"mode":"readonly"}"#, &headers), Ok(Some(Mode::ReadOnly)));
    assert_eq!(body::mode(br#"{"mode":null}"#, &headers), Ok(None));
    assert!(matches!(body::mode(b"{}", &headers), Err(ApiError::InvalidMode(_))));
    assert!(matches!(body::mode(b"[]", &headers), Err(ApiError::BadRequest(_))));
}
