//! Claims about kcat's format strings.

use super::*;

fn rendered(format: &str) -> String {
    let headers = [("h".to_owned(), Some(b"1".to_vec())), ("n".to_owned(), None)];
    let fields = Fields {
        topic: "quakes",
        partition: 2,
        offset: 41,
        timestamp: Some(7),
        key: Some(b"id"),
        value: None,
        headers: &headers,
    };
    let mut out = Vec::new();
    Format::parse(format).unwrap().render(&fields, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn all_fields_are_shown() {
    assert_eq!(rendered("%t[%p]@%o %T %k:%K %s:%S %h\\n"), "quakes[2]@41 7 id:2 :-1 h=1,n=NULL\n");
}

#[test]
fn escapes_and_per_cent_signs_are_literal() {
    assert_eq!(rendered("100%% \\x41\\t\\\\"), "100% A\t\\");
}

#[test]
fn text_beyond_ascii_is_kept() {
    assert_eq!(rendered("→%k"), "→id");
}

#[test]
fn unknown_token_is_refused_with_its_place() {
    let error = Format::parse("ab%q").unwrap_err();
    assert!(error.contains("%q") && error.contains("character 2"), "{error}");
    assert!(Format::parse("x%").is_err());
    assert!(Format::parse("\\xZZ").is_err());
    assert!(Format::parse("\\q").is_err());
}
