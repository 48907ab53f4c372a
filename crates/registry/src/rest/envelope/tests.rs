//! Slashes, media types, bodies.

use axum::http::Request as HttpRequest;

use super::super::body;
use super::*;
use crate::level::{Level, Mode};

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
    assert!(body::registration(br#"{"schema":"\"int\"","id":7}"#, &headers, false).is_err());
    assert!(
        body::registration(br#"{"schema":"\"int\"","id":-1,"version":0,"metadata":null}"#, &headers, false).is_ok()
    );
    assert!(body::config_update(br#"{"compatibilityGroup":"g"}"#, &headers).is_err());
    assert!(body::mode(br#"{"mode":"IMPORT"}"#, &headers).is_err());
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
    assert_eq!(body::mode(br#"{"mode":"readonly"}"#, &headers), Ok(Mode::ReadOnly));
    assert!(matches!(body::mode(b"[]", &headers), Err(ApiError::BadRequest(_))));
}
