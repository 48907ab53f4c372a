use std::sync::Arc;

use twinstream_connect_api::{
    ConfigDef, ConfigKey, ConfigType, Connector, ConnectorContext, Importance, Polled, SourceTask, SourceTaskContext,
    async_trait,
};

use super::*;

struct Nothing;

#[async_trait]
impl Connector for Nothing {
    async fn start(&mut self, _context: Arc<dyn ConnectorContext>, _config: RawConfig) -> Result<(), TaskError> {
        Ok(())
    }

    async fn task_configs(&mut self, _max_tasks: usize) -> Result<Vec<RawConfig>, TaskError> {
        Ok(Vec::new())
    }

    async fn validate(&self, config: &RawConfig) -> std::collections::BTreeMap<String, Vec<String>> {
        let bad = config.get("where").is_some_and(|place| place == "nowhere");
        if bad { [("where".to_owned(), vec!["nobody is there".to_owned()])].into() } else { Default::default() }
    }
}

#[async_trait]
impl SourceTask for Nothing {
    async fn start(&mut self, _context: Arc<dyn SourceTaskContext>, _config: RawConfig) -> Result<(), TaskError> {
        Ok(())
    }

    async fn poll(&mut self) -> Result<Polled, TaskError> {
        Ok(Polled::Idle)
    }
}

fn plugins() -> Plugins {
    let def = ConfigDef::new()
        .define(ConfigKey::required("where", ConfigType::String, Importance::High, "a place"))
        .family("inner.");
    Plugins::new(vec![
        Plugin::source("a.b.NothingSourceConnector", def, || Nothing, || Nothing).alias("x.y.OldConnector"),
    ])
}

fn settings() -> Settings {
    let pairs = [
        ("bootstrap.servers", "127.0.0.1:1"),
        ("group.id", "g"),
        ("key.converter", "org.apache.kafka.connect.storage.StringConverter"),
        ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
        ("value.converter.schemas.enable", "false"),
        ("config.storage.topic", "c"),
        ("offset.storage.topic", "o"),
        ("status.storage.topic", "s"),
    ];
    Settings::from_map(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into()).ok().unwrap()
}

fn config(pairs: &[(&str, &str)]) -> RawConfig {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

async fn refusal(extra: &[(&str, &str)]) -> String {
    let mut all = config(&[("name", "n"), ("connector.class", "NothingSource"), ("where", "here")]);
    all.extend(config(extra));
    let validation = validate(&plugins(), &settings(), &all).await.ok().unwrap();
    if validation.error_count() == 0 { String::new() } else { validation.refusal() }
}

#[test]
fn a_plugin_answers_to_class_alias_and_short_names() {
    for name in ["a.b.NothingSourceConnector", "NothingSourceConnector", "NothingSource", "x.y.OldConnector", "Old"] {
        assert!(plugins().find(name).is_some(), "{name}");
    }
    assert!(plugins().find("Nothing").is_none());
}

#[tokio::test]
async fn known_prefixes_pass_and_strangers_do_not() {
    assert_eq!(
        refusal(&[("inner.x", "1"), ("producer.override.linger.ms", "5"), ("errors.tolerance", "all")]).await,
        ""
    );
    let text = refusal(&[("eror.tolerance", "all")]).await;
    assert!(text.contains("did you mean 'errors.tolerance'?"), "{text}");
    let text = refusal(&[("value.converter", "JsonConverter"), ("value.converter.schemas.enabled", "false")]).await;
    assert!(text.contains("did you mean 'value.converter.schemas.enable'?"), "{text}");
}

#[tokio::test]
async fn the_connector_is_asked_only_when_the_rest_is_in_order() {
    assert!(refusal(&[("where", "nowhere")]).await.contains("nobody is there"));
    let text = refusal(&[("where", "nowhere"), ("tasks.max", "0")]).await;
    assert!(!text.contains("nobody is there"), "{text}");
    assert!(text.contains("Invalid value 0 for configuration tasks.max: Value must be at least 1"), "{text}");
}

#[test]
fn converter_settings_go_with_their_class() {
    let effective = effective_converters(&settings(), &config(&[]));
    assert_eq!(effective["value.converter.schemas.enable"], "false");
    let effective = effective_converters(&settings(), &config(&[("value.converter", "JsonConverter")]));
    assert_eq!(effective.get("value.converter.schemas.enable"), None);
}

#[tokio::test]
async fn references_to_config_providers_are_refused_by_key() {
    let text = refusal(&[("where", "${file:/etc/x:y}")]).await;
    assert!(text.contains("Configuration 'where': references to config providers"), "{text}");
    assert_eq!(refusal(&[("where", "${topic}-x")]).await, "");
}
