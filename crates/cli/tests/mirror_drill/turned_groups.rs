//! Groups of the side that gives up what diverged.

use std::collections::BTreeMap;

use serde_json::json;
use twinstream_client::{CommitOffset, Consumer, RawClient};
use twinstream_model::{GroupId, Offset};
use twinstream_testkit::faults::turn;
use twinstream_testkit::records::client_settings;
use twinstream_testkit::{Cluster, wait_until};

use crate::sites::{Names, PATIENCE, Places, Sites, at, report_of, write};

async fn commit(site: &Cluster, group: &str, places: &Places) {
    let client = RawClient::connect(&client_settings(&site.bootstrap(), &[])).await.expect("a client");
    let commit = |(partition, offset): (&i32, &i64)| {
        (at("orders", *partition), CommitOffset { offset: Offset(*offset), metadata: String::new() })
    };
    let places: BTreeMap<_, _> = places.iter().map(commit).collect();
    client.commit_offsets(&GroupId::from(group), &places).await.expect("a commit");
}

/// A member that reads nothing, and stays.
async fn idle_member(site: &Cluster, group: &str) -> Consumer {
    let settings = [("group.id", group), ("enable.auto.commit", "false"), ("auto.offset.reset", "latest")];
    let mut member = Consumer::connect(&client_settings(&site.bootstrap(), &settings)).await.expect("a member");
    member.subscribe(&["orders".to_owned()]).await.expect("a subscription");
    while member.assignment().is_empty() {
        member.next_batch(std::time::Duration::from_millis(50)).await;
    }
    member
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_that_read_what_is_given_up_go_on_where_both_sites_part_and_those_with_members_are_named() {
    let _turn = turn().await;
    let sites = Sites::start(Names::Kept).await;
    // The truth about a log is no matter of following groups.
    sites.link_with("orders", &[("sync.group.offsets.enabled", "false")]).await;
    let kept = write(&sites.east.bootstrap(), "orders", "first", 10).await;
    sites.wait_for_mirrored(&kept).await;
    let parted = sites.ends_upstream().await;
    let report = report_of(&["failover", "east->west"], sites.worker.rest.base());
    assert_eq!(report["done"], json!(true), "{report}");

    write(&sites.east.bootstrap(), "orders", "given up", 40).await;
    write(&sites.west.bootstrap(), "orders", "in the west", 80).await;
    let beyond = sites.ends_upstream().await;
    assert!(beyond.iter().all(|(partition, end)| *end > parted[partition]), "{beyond:?} beyond {parted:?}");
    for group in ["fresh", "busy"] {
        commit(&sites.east, group, &beyond).await;
    }
    let member = idle_member(&sites.east, "busy").await;
    let answer = sites.worker.rest.put("/links/east->west/failback?timeout=60", &json!({})).await.good();
    assert_eq!(answer["done"], json!(true), "{answer}");
    assert_eq!(sites.group_upstream("fresh").await, parted);
    assert!(answer["steps"].to_string().contains("1 group of 'east' stood beyond where both part"), "{answer}");
    assert!(answer["left"].to_string().contains("group busy of 'east': it has members"), "{answer}");
    assert_eq!(sites.group_upstream("busy").await, beyond);
    member.close().await.expect("a member that leaves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_a_fail_back_has_left_alone_is_not_moved_back_where_it_went_on() {
    let _turn = turn().await;
    let sites = Sites::start(Names::Kept).await;
    sites.link_with("orders", &[("sync.group.offsets.interval.seconds", "1")]).await;
    let kept = write(&sites.east.bootstrap(), "orders", "first", 20).await;
    sites.wait_for_mirrored(&kept).await;
    let first = sites.ends_upstream().await;
    for group in ["app", "other"] {
        commit(&sites.east, group, &first).await;
    }
    let report = report_of(&["failover", "east->west"], sites.worker.rest.base());
    assert_eq!(report["done"], json!(true), "{report}");
    write(&sites.west.bootstrap(), "orders", "in the west", 80).await;
    let true_place = sites.ends_downstream().await;
    for group in ["app", "other"] {
        commit(&sites.west, group, &true_place).await;
    }
    let member = idle_member(&sites.east, "app").await;
    let answer = sites.worker.rest.put("/links/east->west/failback?timeout=60", &json!({})).await.good();
    assert_eq!(answer["done"], json!(true), "{answer}");
    assert!(answer["groups"]["left"]["app"].to_string().contains("members"), "{answer}");
    assert_eq!(sites.group_upstream("other").await, true_place);
    // The link follows groups again: one that goes back in the east does so in the west.
    commit(&sites.east, "other", &first).await;
    wait_until("the other group has moved", PATIENCE, || async { sites.group_downstream("other").await == first })
        .await;
    assert_eq!(sites.group_downstream("app").await, true_place);
    member.close().await.expect("a member that leaves");
}
