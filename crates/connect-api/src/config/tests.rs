use super::*;

fn def() -> ConfigDef {
    ConfigDef::new()
        .define(ConfigKey::required("topics", ConfigType::List, Importance::High, "which topics").group("Data"))
        .define(
            ConfigKey::with_default("batch.size", ConfigType::Int, "2000", Importance::Medium, "records per request")
                .check(Validator::AtLeast(1))
                .group("Data"),
        )
        .define(ConfigKey::optional("password", ConfigType::Password, Importance::Low, "secret"))
        .define(
            ConfigKey::with_default("acls", ConfigType::Boolean, "false", Importance::Low, "copy acls")
                .fate(Fate::NotYet("leave it out")),
        )
        .family("source.cluster.")
}

fn config(pairs: &[(&str, &str)]) -> RawConfig {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn errors(pairs: &[(&str, &str)]) -> Vec<String> {
    def().validate(&config(pairs)).into_iter().flat_map(|value| value.errors).collect()
}

#[test]
fn texts_of_errors_are_kafkas() {
    assert_eq!(errors(&[]), ["Missing required configuration \"topics\" which has no default value."]);
    assert_eq!(
        errors(&[("topics", "a"), ("batch.size", "many")]),
        ["Invalid value many for configuration batch.size: Not a number of type INT"]
    );
    assert_eq!(
        errors(&[("topics", "a"), ("batch.size", "0")]),
        ["Invalid value 0 for configuration batch.size: Value must be at least 1"]
    );
    assert_eq!(
        errors(&[("topics", "a"), ("acls", "maybe")]),
        ["Invalid value maybe for configuration acls: Expected value to be either true or false"]
    );
}

#[test]
fn unknown_key_names_the_nearest_known_one() {
    assert_eq!(
        errors(&[("topics", "a"), ("batch.sizes", "1")]),
        ["Unknown configuration 'batch.sizes': did you mean 'batch.size'?"]
    );
    assert_eq!(errors(&[("topics", "a"), ("source.cluster.bootstrap.servers", "x")]), Vec::<String>::new());
}

#[test]
fn not_yet_keys_accept_only_their_default() {
    assert_eq!(errors(&[("topics", "a"), ("acls", "FALSE")]), Vec::<String>::new());
    assert_eq!(
        errors(&[("topics", "a"), ("acls", "true")]),
        ["Configuration 'acls' is not supported in this release: leave it out"]
    );
}

#[test]
fn secrets_are_never_shown() {
    let given = config(&[("topics", "a"), ("password", "s3cret"), ("source.cluster.sasl.jaas.config", "s3cret")]);
    let shown = def().validate(&given);
    assert!(shown.iter().all(|value| value.value.as_deref() != Some("s3cret")));
    assert!(def().masked(&given).values().all(|value| value != "s3cret"));
    let bad = ConfigKey::required("p", ConfigType::Password, Importance::Low, "")
        .check(Validator::Check(Arc::new(|_| Err("too short".to_owned()))));
    assert_eq!(bad.parse(Some("s3cret")).err().unwrap(), "Invalid value [hidden] for configuration p: too short");
}

#[test]
fn parse_fills_defaults_and_splits_lists() {
    let parsed = def().parse(&config(&[("topics", "a, b ,c")])).unwrap();
    assert_eq!(parsed.list("topics"), ["a", "b", "c"]);
    assert_eq!(parsed.int("batch.size"), 2000);
    assert_eq!(parsed.opt_string("password"), None);
    assert!(!parsed.bool("acls"));
}

#[test]
fn key_info_counts_its_order_within_the_group() {
    let def = def();
    let info = def.key_json(def.get("batch.size").unwrap());
    assert_eq!(info["order_in_group"], 2);
    assert_eq!(info["order"], 2);
    assert_eq!(def.key_json(def.get("password").unwrap())["order_in_group"], -1);
    assert_eq!(def.groups(), ["Data"]);
}

#[test]
fn nearest_gives_up_on_strangers() {
    assert_eq!(nearest("topcis", ["topics", "tasks.max"]), Some("topics"));
    assert_eq!(nearest("zzzzzz", ["topics", "tasks.max"]), None);
}
