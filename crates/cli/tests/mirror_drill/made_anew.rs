//! A topic that somebody deleted at the source and made anew: the copy is what is left of the one before.

use serde_json::json;
use twinstream_client::Admin;
use twinstream_testkit::faults::turn;
use twinstream_testkit::records::{client_settings, create_topic, topic_name};
use twinstream_testkit::wait_until;

use crate::sites::{Book, Names, PARTITIONS, PATIENCE, Sites, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_copy_of_a_topic_that_was_made_anew_is_not_taken_for_one_of_the_new_topic() {
    let _turn = turn().await;
    let sites = Sites::start(Names::Kept).await;
    let intervals = [("sync.group.offsets.interval.seconds", "1"), ("sync.topic.configs.interval.seconds", "1")];
    sites.link_with("orders", &intervals).await;
    let kept = write(&sites.east.bootstrap(), "orders", "first", 20).await;
    sites.wait_for_mirrored(&kept).await;
    let place = sites.ends_upstream().await;
    sites.commit_upstream("app", &place).await;
    sites.wait_for_group_downstream("app", &place).await;

    delete_upstream(&sites).await;
    create_topic(&sites.east.bootstrap(), "orders", PARTITIONS).await;
    let alien = write(&sites.east.bootstrap(), "orders", "alien", 6).await;
    sites.commit_upstream("app", &sites.ends_upstream().await).await;
    let rest = &sites.worker.rest;
    wait_until("the link says what happened", PATIENCE, || async {
        rest.get("/links/east->west").await.body["state"] == "FAILED"
    })
    .await;

    let stands = rest.get("/links/east->west").await.good()["partitions"]["rpo"].clone();
    assert_eq!(stands["records"], json!(null), "nobody knows what the new topic would lose: {stands}");

    for verb in ["promote", "reverse"] {
        let refused = rest.put(&format!("/links/east->west/{verb}"), &json!({})).await;
        assert_eq!(refused.status, 409, "{verb}: {}", refused.body);
        assert!(refused.body["message"].to_string().contains("deleted there and made anew"), "{}", refused.body);
    }
    let dry = rest.put("/links/east->west/failover?dry-run", &json!({})).await.good();
    assert_eq!((&dry["rpo"]["records"], &dry["rpo"]["exact"]), (&json!(null), &json!(false)), "{dry}");
    let report = rest.put("/links/east->west/failover", &json!({})).await.good();
    assert_eq!(report["done"], json!(true), "{report}");
    assert_eq!(sites.downstream().await, kept, "what was copied is all there");
    assert_eq!(sites.group_downstream("app").await, place);

    // Home again it would be mixed with what is there now.
    let refused = rest.put("/links/east->west/failback?dry-run", &json!({})).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(refused.body["message"].to_string().contains("delete it and create it empty"), "{}", refused.body);
    assert_eq!(sites.upstream().await, alien, "nothing was changed");

    // Made as it was told, but with too few partitions; then with all of them.
    delete_upstream(&sites).await;
    create_topic(&sites.east.bootstrap(), "orders", PARTITIONS - 1).await;
    for query in ["?dry-run", ""] {
        let refused = rest.put(&format!("/links/east->west/failback{query}"), &json!({})).await;
        assert_eq!(refused.status, 409, "{}", refused.body);
        let told = format!("add them there first (kafka-topics --alter --partitions {PARTITIONS})");
        assert!(refused.body["message"].to_string().contains(&told), "{}", refused.body);
    }
    let more = write(&sites.west.bootstrap(), "orders", "in the west", 5).await;
    sites.grow_upstream(PARTITIONS).await;
    let report = rest.put("/links/east->west/failback", &json!({})).await.good();
    assert_eq!(report["done"], json!(true), "{report}");
    let all: Book = kept.into_iter().chain(more).collect();
    assert_eq!((sites.upstream().await, sites.downstream().await), (all.clone(), all));
}

/// The copy of a link that gives it no mark knows its topic by what the link's tasks have noted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_without_a_mark_is_not_taken_for_one_of_a_topic_that_was_made_anew() {
    let _turn = turn().await;
    let sites = Sites::start(Names::Prefixed).await;
    let intervals = [
        ("twinstream.link.mode", "generic"),
        ("sync.group.offsets.interval.seconds", "1"),
        ("sync.topic.configs.interval.seconds", "1"),
    ];
    sites.link_with("orders", &intervals).await;
    let kept = write(&sites.east.bootstrap(), "orders", "first", 20).await;
    sites.wait_for_mirrored(&kept).await;
    let place = sites.ends_upstream().await;
    sites.commit_upstream("app", &place).await;
    sites.wait_for_group_downstream("app", &place).await;

    delete_upstream(&sites).await;
    create_topic(&sites.east.bootstrap(), "orders", PARTITIONS).await;
    write(&sites.east.bootstrap(), "orders", "alien", 6).await;
    sites.commit_upstream("app", &sites.ends_upstream().await).await;
    let rest = &sites.worker.rest;
    wait_until("the link says what happened", PATIENCE, || async {
        rest.get("/links/east->west").await.body["state"] == "FAILED"
    })
    .await;

    let refused = rest.put("/links/east->west/promote", &json!({})).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(refused.body["message"].to_string().contains("deleted there and made anew"), "{}", refused.body);
    let report = rest.put("/links/east->west/failover", &json!({})).await.good();
    assert_eq!(report["done"], json!(true), "{report}");
    assert_eq!((&report["rpo"]["records"], &report["rpo"]["exact"]), (&json!(null), &json!(false)), "{report}");
    assert!(report["left"].to_string().contains("deleted and made anew"), "{report}");
    assert_eq!(sites.downstream().await, kept, "what was copied is all there");
    assert_eq!(sites.group_downstream("app").await, place, "and the group where it stood in it");
}

async fn delete_upstream(sites: &Sites) {
    let admin = Admin::connect(&client_settings(&sites.east.bootstrap(), &[])).await.expect("admin");
    for (topic, deleted) in admin.delete_topics(&[topic_name("orders")]).await.expect("an answer") {
        deleted.unwrap_or_else(|error| panic!("delete {topic}: {error}"));
    }
}
