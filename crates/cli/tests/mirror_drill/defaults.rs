//! Links as they are without a setting: heartbeats are copied as well, topics and groups are there that the link does not own.

use serde_json::{Value, json};
use twinstream_client::CommitOffset;
use twinstream_client::raw::OffsetAt;
use twinstream_model::{GroupId, Offset};
use twinstream_testkit::faults::turn;
use twinstream_testkit::records::create_topic;
use twinstream_testkit::wait_until;

use crate::sites::{Names, PARTITIONS, PATIENCE, Places, Sites, at, cli, report_of, write};

/// Where a topic of one partition ends; nothing while it is not there.
async fn end_of(sites: &Sites, upstream: bool, topic: &str) -> i64 {
    let (east, west) = sites.clients().await;
    let client = if upstream { east } else { west };
    let Ok(ends) = client.list_offsets_now(&[at(topic, 0)], OffsetAt::Latest).await else { return 0 };
    ends.into_values().filter_map(Result::ok).map(|end| end.0).sum()
}

/// The link that leads to this side writes heartbeats there, and all of it runs.
async fn runs(sites: &Sites, link: &str) {
    let upstream = link.ends_with("east");
    let before = end_of(sites, upstream, "heartbeats").await;
    wait_until("heartbeats go on", PATIENCE, || async { end_of(sites, upstream, "heartbeats").await > before + 1 })
        .await;
    let json = sites.worker.rest.get(&format!("/links/{link}")).await.good();
    assert_eq!(json["state"], json!("RUNNING"), "{json}");
    let connectors: Vec<&Value> = json["connectors"].as_array().expect("connectors").iter().collect();
    assert_eq!(connectors.len(), 3, "{json}");
    assert!(connectors.iter().all(|connector| connector["state"] == "RUNNING"), "{json}");
}

fn changed_places(report: &Value) {
    assert_eq!((&report["done"], &report["rpo"]["records"]), (&json!(true), &json!(0)), "{report}");
    let topics: Vec<&Value> =
        report["topics"].as_array().expect("topics").iter().map(|topic| &topic["topic"]).collect();
    assert_eq!(topics, [&json!("orders")], "heartbeats are nobody's data: {report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sites_change_places_three_times_over_a_link_without_settings_and_all_of_it_runs_on() {
    let _turn = turn().await;
    let sites = Sites::start(Names::Kept).await;
    let (east, west) = (sites.east.bootstrap(), sites.west.bootstrap());
    // A topic that was on both sides before has no mark.
    for bootstrap in [&east, &west] {
        create_topic(bootstrap, "plain", PARTITIONS).await;
    }
    write(&east, "plain", "a line", 1).await;
    let link = json!({
        "source.cluster.bootstrap.servers": sites.doors[0].address(),
        "target.cluster.bootstrap.servers": west,
        "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
        "topics": ".*",
    });
    sites.worker.rest.put("/links/east->west", &link).await.good();
    let mut book = write(&east, "orders", "first", 5).await;
    sites.wait_for_mirrored(&book).await;
    wait_until("the unmarked topic is copied", PATIENCE, || async { end_of(&sites, false, "plain").await > 0 }).await;

    // A group that reads the copies each night, and once read the originals.
    let group = |offset| -> Places { (0..PARTITIONS).map(|partition| (partition, offset)).collect() };
    let (_, client) = sites.clients().await;
    let commit = |partition| (at("orders", partition), CommitOffset { offset: Offset(4), metadata: String::new() });
    client.commit_offsets(&GroupId::from("reports"), &(0..PARTITIONS).map(commit).collect()).await.expect("a commit");
    sites.commit_upstream("reports", &group(1)).await;

    let worker = sites.worker.rest.base().to_owned();
    let (code, text) = cli(&["link", "reverse", "east->west", "-w", &worker]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("topic plain: its copy is no mirror") && text.contains("--topics '!plain'"), "{text}");

    let report = report_of(&["reverse", "east->west", "--topics", "!plain"], &worker);
    changed_places(&report);
    let why = report["groups"]["left"]["reports"].as_str().unwrap_or_default();
    assert!(why.contains("by its own doing") && why.contains("at 4"), "{report}");
    assert_eq!(sites.group_downstream("reports").await, group(4), "it is not moved back");
    runs(&sites, "west->east").await;
    book.extend(write(&west, "orders", "in the west", 3).await);

    changed_places(&report_of(&["reverse", "west->east"], &worker));
    assert_eq!(
        sites.group_upstream("reports").await,
        group(4),
        "what it had where it did not read is the link's to move"
    );
    runs(&sites, "east->west").await;
    // It was not moved back in the west; where it leads no more it follows, rewinds included.
    sites.commit_upstream("reports", &group(2)).await;
    sites.wait_for_group_downstream("reports", &group(2)).await;
    wait_until("heartbeats are copied", PATIENCE, || async { end_of(&sites, false, "east.heartbeats").await > 0 })
        .await;

    changed_places(&report_of(&["reverse", "east->west", "--topics", "!plain"], &worker));
    runs(&sites, "west->east").await;
    book.extend(write(&west, "orders", "in the west again", 3).await);
    wait_until("the east follows", PATIENCE, || async { sites.upstream().await == book }).await;
    assert_eq!(sites.downstream().await, book);
}
