//! Kafka's own `MirrorMakerConfig` reads the same file, and its settings are compared with ours one by one.

use std::collections::BTreeMap;

use serde_json::Value;
use twinstream_testkit::{Folder, peer};

use super::planned;

/// Every kind of name that Kafka's documentation of dedicated mode has.
const FILE: &str = "
clusters = us-west, us-east
us-west.bootstrap.servers = broker1-west:9092,broker2-west:9092
us-east.bootstrap.servers = broker3-east:9092, broker4-east:9092
us-west->us-east.enabled = true
us-east->us-west.enabled = true
topics = .*
groups = consumer-group1, consumer-group2
us-west->us-east.topics = foo.*, bar.*
us-west->us-east.groups = bar.*
us-west->us-east.replication.policy.separator = _
us-east->us-west.emit.heartbeats.enabled = false
tasks.max = 5
replication.factor = 1
checkpoints.topic.replication.factor = 1
heartbeats.topic.replication.factor = 1
offset-syncs.topic.replication.factor = 1
offset.storage.replication.factor = 1
status.storage.replication.factor = 1
config.storage.replication.factor = 1
sync.topic.acls.enabled = false
emit.heartbeats.interval.seconds = 5
task.shutdown.graceful.timeout.ms = 7000
us-west.offset.storage.topic = my-mirrormaker-offsets
us-west.offset.flush.interval.ms = 30000
us-west.client.id = west
us-west.consumer.fetch.min.bytes = 1000
us-west.admin.bootstrap.servers = broker57-primary:9092
us-east.producer.compression.type = gzip
us-east.producer.buffer.memory = 32768
us-west->us-east.source.consumer.fetch.max.bytes = 9000000
";

type Settings = BTreeMap<String, String>;

#[test]
fn workers_and_connectors_get_what_kafka_gives_them() {
    let (theirs, plan) = (theirs(), planned(FILE, &[]));
    let flows = plan["flows"].as_array().unwrap();
    assert_eq!(flows.len(), 2);
    for flow in flows {
        let name = format!("{}->{}", flow["source"].as_str().unwrap(), flow["target"].as_str().unwrap());
        let worker = settings(&flow["worker"]);
        let differences = differences(&worker, &theirs[&("worker".to_owned(), name.clone())]);
        assert_eq!(differences, Vec::<String>::new(), "worker of {name}");
        for (connector, config) in flow["connectors"].as_object().unwrap() {
            let theirs = &theirs[&(connector.clone(), name.clone())];
            assert_eq!(connector_differences(&settings(config), theirs), Vec::<String>::new(), "{connector} of {name}");
        }
    }
}

/// What Kafka reads, by part and flow.
fn theirs() -> BTreeMap<(String, String), Settings> {
    let folder = Folder::new();
    let file = folder.path().join("mm2.properties");
    std::fs::write(&file, FILE).unwrap();
    let mut program = peer::kafka().program("MirrorMakerFile", include_str!("MirrorMakerFile.java"));
    let output = program.arg(&file).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let mut all: BTreeMap<(String, String), Settings> = BTreeMap::new();
    for line in text.lines() {
        if let ["setting", part, flow, name, value] = line.split('\t').collect::<Vec<_>>()[..] {
            let settings = all.entry((part.to_owned(), flow.to_owned())).or_default();
            settings.insert(name.to_owned(), value.to_owned());
        }
    }
    all
}

fn settings(json: &Value) -> Settings {
    let object = json.as_object().unwrap();
    object.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

/// What a worker gets. Ours has a listener, because another process must be able to see that it lives; Kafka's has settings
/// of connectors too (everything that begins with `task` or `replication.policy`), and client settings once for each role.
fn differences(ours: &Settings, theirs: &Settings) -> Vec<String> {
    let extra = |name: &str| name == "tasks.max" || name.starts_with("replication.policy");
    let copied = |name: &str, value: &String| {
        let bare = ["producer.", "consumer.", "admin."].iter().find_map(|role| name.strip_prefix(role));
        bare.is_some_and(|bare| theirs.get(bare) == Some(value))
    };
    let theirs: Settings = theirs
        .iter()
        .filter(|(name, value)| !extra(name) && !copied(name, value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut ours = ours.clone();
    ours.remove("listeners");
    unequal(&ours, &theirs)
}

/// What a connector gets. Kafka's has the keys of all three connectors, settings of workers behind `source.cluster.` and
/// `target.cluster.`, and client settings once for each role; what ours has must be the same.
fn connector_differences(ours: &Settings, theirs: &Settings) -> Vec<String> {
    let theirs = theirs.iter().filter(|(name, _)| ours.contains_key(*name));
    unequal(ours, &theirs.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn unequal(ours: &Settings, theirs: &Settings) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let differs = names.into_iter().filter(|name| ours.get(*name) != theirs.get(*name));
    differs.map(|name| format!("{name}: ours {:?}, Kafka's {:?}", ours.get(name), theirs.get(name))).collect()
}
