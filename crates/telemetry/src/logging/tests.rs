//! Claims about the choice of format and filter.

use super::*;

#[test]
fn auto_is_compact_on_a_terminal_and_plain_elsewhere() {
    assert_eq!(settled(LogFormat::Auto, true), LogFormat::Compact);
    assert_eq!(settled(LogFormat::Auto, false), LogFormat::Plain);
    assert_eq!(settled(LogFormat::Json, true), LogFormat::Json);
}

#[test]
fn unknown_format_names_the_choices() {
    let error = "xml".parse::<LogFormat>().unwrap_err().to_string();
    assert!(error.contains("xml") && error.contains("json"), "{error}");
}

#[test]
fn malformed_filter_is_an_error_that_shows_it() {
    let error = filter("info,broker=loud").unwrap_err().to_string();
    assert!(error.contains("broker=loud"), "{error}");
}
