//! Files as people write them, and what becomes of every name in them.

use super::*;
use crate::config::config_def;

const SOURCE: &str = "org.apache.kafka.connect.mirror.MirrorSourceConnector";
const HEARTBEAT: &str = "org.apache.kafka.connect.mirror.MirrorHeartbeatConnector";

/// The names that these tests need of a worker; the real list is the worker's.
const WORKER: [&str; 13] = [
    "group.id",
    "listeners",
    "rest.advertised.port",
    "config.storage.topic",
    "config.storage.replication.factor",
    "offset.storage.topic",
    "offset.storage.replication.factor",
    "status.storage.topic",
    "key.converter",
    "offset.flush.interval.ms",
    "exactly.once.source.support",
    "task.shutdown.graceful.timeout.ms",
    "session.timeout.ms",
];

fn known(heartbeats: bool) -> Known {
    let common = twinstream_connect_api::ConfigKey::with_default(
        "tasks.max",
        twinstream_connect_api::ConfigType::Int,
        "1",
        twinstream_connect_api::Importance::High,
        "",
    );
    let def = config_def().define(common);
    let mut connectors = vec![(SOURCE.to_owned(), def.clone())];
    if heartbeats {
        connectors.push((HEARTBEAT.to_owned(), def));
    }
    Known { worker: WORKER.to_vec(), connectors }
}

fn pairs(text: &str) -> RawConfig {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pair = |line: &str| {
        let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
        (name.trim().to_owned(), value.trim().to_owned())
    };
    lines.map(pair).collect()
}

fn planned(text: &str) -> Plan {
    plan(&pairs(text), &[], &known(false)).unwrap_or_else(|error| panic!("{error}"))
}

fn problems(text: &str) -> Vec<String> {
    plan(&pairs(text), &[], &known(false)).expect_err("the file is fine").problems
}

fn config<'p>(flow: &'p Flow, name: &str) -> &'p RawConfig {
    &flow.connectors.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("{:?}", flow.connectors)).1
}

const TWO_WAYS: &str = "
    clusters = paris, oslo
    paris.bootstrap.servers = p1:9092, p2:9092
    oslo.bootstrap.servers = o1:9092
    paris->oslo.enabled = true
    oslo->paris.enabled = true
";

#[test]
fn each_flow_has_a_worker_on_its_target_with_mirror_makers_names() {
    let plan = planned(TWO_WAYS);
    let names: Vec<String> = plan.flows.iter().map(Flow::name).collect();
    assert_eq!(names, ["paris->oslo", "oslo->paris"]);
    let worker = &plan.flows[0].worker;
    for (name, value) in [
        ("bootstrap.servers", "o1:9092"),
        ("client.id", "paris->oslo"),
        ("group.id", "paris-mm2"),
        ("config.storage.topic", "mm2-configs.paris.internal"),
        ("offset.storage.topic", "mm2-offsets.paris.internal"),
        ("status.storage.topic", "mm2-status.paris.internal"),
        ("value.converter", "org.apache.kafka.connect.converters.ByteArrayConverter"),
        ("listeners", "http://127.0.0.1:0"),
    ] {
        assert_eq!(worker.get(name).map(String::as_str), Some(value), "{name}");
    }
    let connector = config(&plan.flows[0], "MirrorSourceConnector");
    for (name, value) in [
        ("connector.class", SOURCE),
        ("source.cluster.alias", "paris"),
        ("target.cluster.alias", "oslo"),
        ("source.cluster.bootstrap.servers", "p1:9092, p2:9092"),
        ("target.cluster.bootstrap.servers", "o1:9092"),
        ("enabled", "true"),
    ] {
        assert_eq!(connector.get(name).map(String::as_str), Some(value), "{name}");
    }
}

#[test]
fn the_more_special_place_wins() {
    let plan = planned(&format!(
        "{TWO_WAYS}
        topics = all.*
        tasks.max = 5
        replication.factor = 1
        offset.flush.interval.ms = 1000
        offset.storage.replication.factor = 1
        paris.consumer.fetch.min.bytes = 7
        oslo.producer.linger.ms = 3
        oslo.client.id = near
        oslo.offset.storage.topic = mine
        paris->oslo.topics = some.*, more
        paris->oslo.source.consumer.fetch.min.bytes = 8
        paris->oslo.offset.flush.interval.ms = 2000"
    ));
    let [there, back] = &plan.flows[..] else { panic!("{plan:?}") };
    let (source, worker) = (config(there, "MirrorSourceConnector"), &there.worker);
    assert_eq!((source["topics"].as_str(), source["tasks.max"].as_str()), ("some.*, more", "5"));
    assert_eq!((source["replication.factor"].as_str(), source["source.consumer.fetch.min.bytes"].as_str()), ("1", "8"));
    assert_eq!(source["target.producer.linger.ms"], "3");
    assert_eq!((worker["offset.flush.interval.ms"].as_str(), worker["client.id"].as_str()), ("2000", "near"));
    assert_eq!((worker["offset.storage.topic"].as_str(), worker["producer.linger.ms"].as_str()), ("mine", "3"));
    assert_eq!(worker["offset.storage.replication.factor"], "1");
    assert!(!source.contains_key("offset.flush.interval.ms") && !worker.contains_key("topics"));
    let (source, worker) = (config(back, "MirrorSourceConnector"), &back.worker);
    assert_eq!((source["topics"].as_str(), worker["offset.flush.interval.ms"].as_str()), ("all.*", "1000"));
    assert_eq!(source["target.consumer.fetch.min.bytes"], "7");
}

#[test]
fn servers_at_the_top_are_for_clusters_without_their_own() {
    let plan = planned("clusters=a,b\nbootstrap.servers=x:1\nb.bootstrap.servers=y:1\na->b.enabled=TRUE");
    let connector = config(&plan.flows[0], "MirrorSourceConnector");
    assert_eq!(connector["source.cluster.bootstrap.servers"], "x:1");
    assert_eq!(connector["target.cluster.bootstrap.servers"], "y:1");
    assert_eq!(plan.flows[0].worker["bootstrap.servers"], "y:1");
}

#[test]
fn aliases_with_dots_and_arrows_are_told_apart() {
    let plan = planned(
        "clusters = eu, eu.west
         eu.bootstrap.servers = a:1
         eu.west.bootstrap.servers = b:1
         eu->eu.west.enabled = true
         eu->eu.west.topics = t",
    );
    assert_eq!(plan.flows[0].name(), "eu->eu.west");
    assert_eq!(config(&plan.flows[0], "MirrorSourceConnector")["topics"], "t");
}

#[test]
fn other_direction_runs_only_for_the_heartbeats_that_an_enabled_one_needs() {
    let file = "clusters = a, b, c
        bootstrap.servers = x:1
        a->b.enabled = true
        a->c.enabled = false";
    let plan_of = |file: &str| plan(&pairs(file), &[], &known(true)).unwrap();
    let plan = plan_of(file);
    let names: Vec<(String, bool)> = plan.flows.iter().map(|flow| (flow.name(), flow.enabled)).collect();
    assert_eq!(names, [("a->b".to_owned(), true), ("b->a".to_owned(), false)]);
    assert_eq!(config(&plan.flows[1], "MirrorSourceConnector")["enabled"], "false");
    assert!(plan.notes.iter().any(|note| note.starts_with("b->a copies nothing")), "{:?}", plan.notes);
    assert_eq!(plan_of(&format!("{file}\nemit.heartbeats.enabled = false")).flows.len(), 1);
    assert_eq!(plan_of(&format!("{file}\nb->a.emit.heartbeats.enabled = false")).flows.len(), 1);
}

#[test]
fn only_flows_into_the_clusters_nearby_run() {
    let only = |aliases: &[&str]| {
        let aliases: Vec<String> = aliases.iter().map(|alias| (*alias).to_owned()).collect();
        plan(&pairs(TWO_WAYS), &aliases, &known(false))
    };
    let flows = only(&["oslo"]).unwrap().flows;
    assert_eq!(flows.iter().map(Flow::name).collect::<Vec<_>>(), ["paris->oslo"]);
    assert!(only(&["rome"]).unwrap_err().to_string().contains("no such cluster; clusters are paris, oslo"));
}

#[test]
fn rest_is_private_unless_asked_for_and_then_each_flow_has_a_port() {
    let plan = planned(&format!("{TWO_WAYS}\nlisteners = http://localhost:8080"));
    assert_eq!(plan.flows[0].worker["listeners"], "http://127.0.0.1:0");
    assert!(plan.notes[0].starts_with("listeners has no effect without dedicated.mode"), "{:?}", plan.notes);
    let internal = format!("{TWO_WAYS}\ndedicated.mode.enable.internal.rest = true");
    let ports = |more: &str| -> Vec<String> {
        planned(&format!("{internal}\n{more}")).flows.iter().map(|flow| flow.worker["listeners"].clone()).collect()
    };
    assert_eq!(ports(""), ["http://:8083", "http://:8084"]);
    assert_eq!(ports("listeners = http://localhost:8080"), ["http://localhost:8080", "http://localhost:8081"]);
    let own = ports("oslo->paris.listeners = http://h:1");
    assert_eq!(own, ["http://:8083", "http://h:1"]);
    let problem = problems(&format!("{internal}\nlisteners = http://localhost:65535"));
    assert_eq!(problem, ["listeners: 'http://localhost:65535' has no port for flow 2"]);
}

#[test]
fn every_mistake_is_named_and_all_at_once() {
    let found = problems(&format!(
        "{TWO_WAYS}
        Oslo.security.protocol = PLAINTEXT
        paris->os.lo.topics = x
        paris->oslo.emit.heartbeats = false
        paris->oslo.enable = true
        topic = x
        enabled = true
        compression.type = gzip
        paris.topics = x
        paris.producer.linger = 5
        paris->oslo.compression.type = gzip
        paris->oslo.name = mine
        paris->oslo.source.consumer.fetch.min.byte = 1
        oslo.security.protocol = SSL
        paris.sasl.jaas.config = ${{file:/secret:key}}
        config.providers = file
        oslo->paris.topics.exclude = a"
    ));
    let expected = [
        ("Oslo.security.protocol", "no such cluster 'Oslo': did you mean 'oslo'?"),
        ("paris->os.lo.topics", "no such flow; did you mean paris->oslo?"),
        ("paris->oslo.emit.heartbeats", "unknown setting: did you mean 'emit.heartbeats.enabled'?"),
        ("paris->oslo.enable", "unknown setting: did you mean 'enabled'?"),
        ("topic", "unknown setting: did you mean 'topics'?"),
        ("enabled", "say which flow, for example paris->oslo.enabled"),
        ("compression.type", "settings of clients stand behind a cluster: paris.compression.type"),
        ("paris.topics", "belongs to flows: write X->paris.topics"),
        ("paris.producer.linger", "did you mean `linger.ms`?"),
        ("paris->oslo.compression.type", "say which cluster"),
        ("paris->oslo.name", "follows from the name of the flow"),
        ("paris->oslo.source.consumer.fetch.min.byte", "did you mean `fetch.min.bytes`?"),
        ("oslo.security.protocol", "without TLS"),
        ("paris.sasl.jaas.config", "config providers are not in this release"),
        ("config.providers", "config providers are not in this release"),
    ];
    for (name, text) in expected {
        let named = found.iter().find(|problem| problem.starts_with(&format!("{name}: ")));
        let problem = named.unwrap_or_else(|| panic!("{name} is not in {found:#?}"));
        assert!(problem.contains(text), "{problem}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn comment_behind_a_value_is_named_as_such() {
    let found = problems("clusters = us-west, us-east   # the two sites\nus-west->us-east.enabled = true");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("a comment has a line of its own"), "{found:?}");
}

#[test]
fn files_that_run_nothing_say_why() {
    let only = |text: &str| problems(text).join("; ");
    assert!(only("a.bootstrap.servers = x:1").starts_with("clusters: missing"));
    assert!(only("clusters = a").contains("fewer than two"));
    assert!(only("clusters = a, a").contains("twice"));
    assert!(only("clusters = a b, c").contains("spaces"));
    assert_eq!(
        only("clusters = a, b\nbootstrap.servers = x:1"),
        "no flow is enabled; write for example a->b.enabled = true"
    );
    assert_eq!(
        only("clusters = a, b\na.bootstrap.servers = x:1\na->b.enabled = true"),
        "b.bootstrap.servers: missing; give host:port of at least one broker of b"
    );
    assert!(only("clusters = a, b\nbootstrap.servers = x:1\na->b.enabled = ture").contains("neither true nor false"));
}

#[test]
fn flows_into_one_cluster_must_not_share_what_workers_keep() {
    let found = problems(
        "clusters = a, b, c
         bootstrap.servers = x:1
         a->c.enabled = true
         b->c.enabled = true
         offset.storage.topic = mine",
    );
    assert_eq!(
        found,
        [
            "offset.storage.topic: a->c and b->c would share it; leave it out, or write a->c.offset.storage.topic and b->c.offset.storage.topic"
        ]
    );
}

#[test]
fn value_that_mirror_maker_would_not_take_is_no_silent_difference() {
    let found = problems(&format!("{TWO_WAYS}\noffset.storage.topic = one\noslo.offset.storage.topic = other"));
    assert!(found[0].contains("stands at the top as well"), "{found:?}");
}

#[test]
fn worker_settings_of_a_cluster_that_nothing_flows_into_are_noted() {
    let plan = planned("clusters=a,b,c\nbootstrap.servers=x:1\na->b.enabled=true\nc.offset.storage.topic=t");
    assert_eq!(plan.notes, ["c.offset.storage.topic has no effect: no flow goes into c"]);
}

#[test]
fn exactly_once_at_a_cluster_is_its_workers_and_copies_committed_records_only() {
    let enabled = format!("{TWO_WAYS}\noslo.exactly.once.source.support = enabled");
    let plan = planned(&enabled);
    let [there, back] = &plan.flows[..] else { panic!("{plan:?}") };
    assert_eq!(there.worker["exactly.once.source.support"], "enabled");
    let source = config(there, "MirrorSourceConnector");
    assert_eq!(source["source.consumer.isolation.level"], "read_committed");
    assert_eq!(source["twinstream.link.mode"], "generic");
    assert!(plan.notes.iter().all(|note| note.starts_with("paris->oslo copies")) && plan.notes.len() == 2);
    assert!(!back.worker.contains_key("exactly.once.source.support"));
    let source = config(back, "MirrorSourceConnector");
    assert!(!source.contains_key("source.consumer.isolation.level") && !source.contains_key("twinstream.link.mode"));

    // What the file says itself is left as it is.
    let own = format!(
        "{enabled}\nparis.consumer.isolation.level = read_uncommitted\nparis->oslo.twinstream.link.mode = generic"
    );
    let plan = planned(&own);
    assert_eq!(config(&plan.flows[0], "MirrorSourceConnector")["source.consumer.isolation.level"], "read_uncommitted");
    assert_eq!(plan.notes.len(), 0, "{:?}", plan.notes);
    let found = problems(&format!("{enabled}\ntwinstream.link.mode = aligned"));
    assert!(found[0].starts_with("paris->oslo.twinstream.link.mode: aligned does not go with"), "{found:?}");
    let preparing = format!("{TWO_WAYS}\noslo.exactly.once.source.support = preparing");
    assert_eq!(planned(&preparing).notes.len(), 0, "nothing is written in transactions yet");
}

#[test]
fn copies_are_packed_as_is_said_of_the_producers_of_the_cluster_that_they_go_to() {
    let plan =
        planned(&format!("{TWO_WAYS}\n oslo.producer.compression.type = zstd\n oslo.consumer.fetch.min.bytes = 7"));
    let packed = |source: &str| {
        let flow = plan.flows.iter().find(|flow| flow.source == source).expect("a flow");
        let settings = crate::config::Settings::parse(config(flow, SOURCE_CONNECTOR)).expect("settings");
        settings.compression.map(|packed| packed.codec.name())
    };
    assert_eq!((packed("paris"), packed("oslo")), (Some("zstd"), None));
}
