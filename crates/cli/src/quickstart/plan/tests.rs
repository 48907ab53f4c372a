//! Claims about the plan.

use std::collections::BTreeSet;

use super::*;

fn options(brokers: u16) -> Quickstart {
    Quickstart { data_dir: "data".into(), port_base: 9092, search: None, brokers, once: true }
}

#[test]
fn no_two_servers_share_a_port_even_with_the_most_brokers() {
    let plan = Plan::new(&options(crate::arguments::BROKERS_PER_SITE_MAX)).unwrap();
    let ports: BTreeSet<u16> = plan.servers().map(|server| server.port).collect();
    assert_eq!(ports.len(), plan.servers().count());
    assert_eq!(ports.first(), Some(&9092));
    assert_eq!(ports.last(), Some(&(9092 + SEARCH)));
}

#[test]
fn own_search_server_replaces_the_embedded_index() {
    let plan = Plan::new(&Quickstart { search: Some("http://s:9200/".into()), ..options(1) }).unwrap();
    assert_eq!(plan.search.url, "http://s:9200");
    assert!(plan.servers().all(|server| server.name != "search"));
}

#[test]
fn password_of_the_search_server_is_used_and_not_shown() {
    let given = Quickstart { search: Some("https://me:s%40cret@s:9200".into()), ..options(1) };
    let search = Plan::new(&given).unwrap().search;
    assert_eq!(search.url, "https://s:9200");
    assert_eq!(search.request_url(), "https://me:s%40cret@s:9200");
}

#[test]
fn search_address_that_is_none_is_refused() {
    for given in ["s:9200", "ftp://s", "http://", "nonsense"] {
        assert!(Plan::new(&Quickstart { search: Some(given.into()), ..options(1) }).is_err(), "{given}");
    }
}

#[test]
fn worker_stops_before_brokers_and_brokers_stop_together() {
    let plan = Plan::new(&options(3)).unwrap();
    let stage = |name: &str| plan.servers().find(|server| server.name == name).unwrap().stop_stage;
    assert!(stage("worker") < stage("search") && stage("search") < stage("downstream-2"));
    for broker in ["downstream-1", "upstream-1", "upstream-3"] {
        assert_eq!(stage(broker), stage("downstream-2"), "whoever stops last would have nobody to vote with");
    }
}

#[test]
fn directory_of_another_size_or_version_is_refused() {
    let wanted = State { version: STATE_VERSION, brokers: 3 };
    let path = Path::new("quickstart.json");
    assert!(compare(path, r#"{"version":2,"brokers":3}"#, &wanted).is_ok());
    let texts =
        [r#"{"version":2,"brokers":2}"#, r#"{"version":1,"brokers":3}"#, r#"{"version":3,"brokers":3}"#, "torn"];
    for text in texts {
        assert!(compare(path, text, &wanted).is_err(), "{text}");
    }
}

/// The value of a setting of a server.
fn setting(plan: &Plan, server: &str, name: &str) -> String {
    let server = plan.servers().find(|found| found.name == server).unwrap();
    let (_, text) = server.settings.as_ref().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
    line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).to_owned()
}

#[test]
fn three_brokers_keep_three_copies_and_vote_so_that_each_of_them_is_spare() {
    let plan = Plan::new(&options(5)).unwrap();
    assert_eq!(setting(&plan, "upstream-5", "process.roles"), "broker");
    for broker in ["upstream-3", "downstream-3"] {
        assert_eq!(setting(&plan, broker, "process.roles"), "broker,controller");
        assert_eq!(setting(&plan, broker, "controller.quorum.voters").split(',').count(), 3);
        assert_eq!(setting(&plan, broker, "default.replication.factor"), "3");
        assert_eq!(setting(&plan, broker, "offsets.topic.replication.factor"), "3");
        assert_eq!(setting(&plan, broker, "transaction.state.log.replication.factor"), "3");
        assert_eq!(setting(&plan, broker, "min.insync.replicas"), "2");
        assert!(plan.servers().any(|server| server.name == broker && server.is_spare));
    }
    assert_eq!(setting(&plan, "registry", "kafkastore.topic.replication.factor"), "3");
    for topic in ["config", "offset", "status"] {
        assert_eq!(setting(&plan, "worker", &format!("{topic}.storage.replication.factor")), "3");
    }
}

#[test]
fn smaller_sites_have_a_copy_per_broker_and_one_voter() {
    for (brokers, replicas) in [(1, "1"), (2, "2")] {
        let plan = Plan::new(&options(brokers)).unwrap();
        assert_eq!(setting(&plan, "upstream-1", "default.replication.factor"), replicas);
        assert_eq!(setting(&plan, "upstream-1", "min.insync.replicas"), "1");
        assert_eq!(setting(&plan, "downstream-1", "controller.quorum.voters"), "1@127.0.0.1:9102");
        assert!(plan.servers().all(|server| !server.is_spare));
    }
}

#[test]
fn preparing_twice_is_refused_while_the_first_lives() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan::new(&Quickstart { data_dir: folder.path().into(), ..options(2) }).unwrap();
    let lock = plan.prepare().unwrap();
    assert!(plan.prepare().is_err());
    drop(lock);
    assert!(plan.prepare().is_ok());
    let settings = fs::read_to_string(folder.path().join("config/upstream-2.properties")).unwrap();
    assert!(settings.contains("controller.quorum.voters=1@127.0.0.1:9092\n"), "{settings}");
}
