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
fn worker_stops_before_brokers_and_controllers_stop_last_in_their_site() {
    let plan = Plan::new(&options(3)).unwrap();
    let stage = |name: &str| plan.servers().find(|server| server.name == name).unwrap().stop_stage;
    assert!(stage("worker") < stage("search") && stage("search") < stage("downstream-2"));
    assert!(stage("downstream-2") < stage("downstream-1") && stage("downstream-1") < stage("upstream-2"));
    assert!(stage("upstream-2") < stage("upstream-1"));
}

#[test]
fn directory_of_another_size_or_a_newer_version_is_refused() {
    let wanted = State { version: 1, brokers: 3 };
    let path = Path::new("quickstart.json");
    assert!(compare(path, r#"{"version":1,"brokers":3}"#, &wanted).is_ok());
    for text in [r#"{"version":1,"brokers":2}"#, r#"{"version":2,"brokers":3}"#, "torn"] {
        assert!(compare(path, text, &wanted).is_err(), "{text}");
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
