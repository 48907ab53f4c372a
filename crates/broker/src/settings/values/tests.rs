use super::super::sources::Provenance;
use super::*;

fn given(pairs: &[(&str, &str)]) -> Given {
    let value = |text: &str| GivenValue { text: text.to_owned(), provenance: Provenance::CommandLine };
    pairs.iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect()
}

fn refusal(name: &str, text: &str) -> String {
    Values::check(given(&[(name, text)])).unwrap_err().to_string()
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest_known_one() {
    assert_eq!(refusal("log.dirz", "/x"), "unknown setting log.dirz on the command line; did you mean log.dir?");
    assert!(refusal("what.ever.this.may.have.been.meant", "1").contains("remove it"));
}

#[test]
fn a_malformed_value_names_setting_value_place_and_what_is_allowed() {
    assert_eq!(
        refusal("num.partitions", "many"),
        "setting num.partitions=many (on the command line) is malformed; allowed is a whole number of 32 bits, at least 1"
    );
}

#[test]
fn a_malformed_secret_is_not_shown() {
    let setting = table::find("sasl.jaas.config").unwrap();
    assert!(setting.is_sensitive());
}

#[test]
fn classes_are_refused_unless_they_are_the_default() {
    assert!(refusal("create.topic.policy.class.name", "com.example.Policy").contains("Java classes cannot be loaded"));
    let default = "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder";
    assert!(Values::check(given(&[("principal.builder.class", default), ("authorizer.class.name", "")])).is_ok());
    assert!(refusal("zookeeper.connect", "zk:2181").contains("controller.quorum.voters"));
}

#[test]
fn values_are_read_with_their_type_or_default() {
    let values = Values::check(given(&[("log.dirs", "/a, /b ,"), ("num.partitions", "12 ")])).unwrap();
    assert_eq!(values.list("log.dirs"), ["/a", "/b"]);
    assert_eq!(values.integer::<i32>("num.partitions").unwrap(), 12);
    assert_eq!(values.millis("connections.max.idle.ms").unwrap(), Duration::from_secs(600));
    assert_eq!(values.finite_millis("log.flush.scheduler.interval.ms").unwrap(), None);
    assert!(values.flag("auto.create.topics.enable"));
    assert_eq!(values.text("broker.rack"), None);
}

#[test]
fn settings_without_effect_are_gathered_by_fate() {
    let values =
        Values::check(given(&[("num.network.threads", "3"), ("ssl.keystore.location", "/k"), ("num.partitions", "1")]))
            .unwrap();
    let by_fate = values.without_effect();
    assert_eq!(by_fate["no such part"], ["num.network.threads"]);
    assert_eq!(by_fate["not yet"], ["ssl.keystore.location"]);
}

#[test]
fn text_of_a_setting_is_the_given_one_or_the_default() {
    let values = Values::check(given(&[("num.partitions", "3")])).unwrap();
    assert_eq!((values.text("num.partitions"), values.is_given("num.partitions")), (Some("3"), true));
    assert_eq!(
        (values.text("connections.max.idle.ms"), values.is_given("connections.max.idle.ms")),
        (Some("600000"), false)
    );
}
