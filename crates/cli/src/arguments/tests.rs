//! Claims about the command tree.

use clap::CommandFactory;

use super::*;

#[test]
fn tree_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn overrides_are_kept_in_order() {
    let arguments =
        Arguments::parse_from(["twinstream", "broker", "-c", "f", "--override", "a=1", "--override", "a = 2=3"]);
    let Command::Broker(role) = arguments.command else { panic!("a broker") };
    assert_eq!(role.overrides, [("a".into(), "1".into()), ("a".into(), "2=3".into())]);
}

#[test]
fn override_without_equals_sign_is_a_usage_error() {
    let error = Arguments::try_parse_from(["twinstream", "broker", "--override", "a"]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("`a` is not NAME=VALUE"), "{error}");
}

#[test]
fn output_flag_may_stand_behind_the_command() {
    let arguments = Arguments::parse_from(["twinstream", "quickstart", "--once", "-o", "json"]);
    assert_eq!(arguments.output, OutputFormat::Json);
}
