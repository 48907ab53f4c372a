//! Verbs that lose nothing: what stands in their way is named before anybody is fenced, and what only the source has is seen.

use serde_json::json;
use twinstream_testkit::faults::turn;
use twinstream_testkit::records::create_topic;
use twinstream_testkit::wait_until;

use crate::sites::{Names, PARTITIONS, PATIENCE, Sites, cli, report_of, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sites_change_places_over_a_link_that_was_stopped_because_it_is_started_first() {
    let _turn = turn().await;
    let sites = Sites::start(Names::Kept).await;
    let (east, _) = sites.topics();
    sites.link_topics("orders.*").await;
    let first = write(&sites.east.bootstrap(), &east, "first", 5).await;
    sites.wait_for_mirrored(&first).await;
    let worker = sites.worker.rest.base().to_owned();
    let (code, text) = cli(&["link", "stop", "east->west", "-w", &worker]);
    assert_eq!(code, 0, "{text}");
    wait_until("the link has stopped", PATIENCE, || async { sites.link_state().await == "STOPPED" }).await;
    let late = write(&sites.east.bootstrap(), &east, "while it stood", 5).await;
    create_topic(&sites.west.bootstrap(), "orders2", 1).await;

    let report = report_of(&["reverse", "east->west", "--timeout", "60"], &worker);
    assert_eq!((&report["done"], &report["rpo"]["records"]), (&json!(true), &json!(0)), "{report}");
    let own = "does not copy what began in 'west': orders2";
    assert!(report["steps"].to_string().contains(own), "nobody takes it for copied: {report}");
    let dry = report_of(&["failover", "west->east", "--dry-run"], &worker);
    assert!(dry["left"].to_string().contains("topic orders2 of 'west' has no copy"), "{dry}");
    let there = sites.downstream().await;
    assert!(first.iter().chain(&late).all(|(at, value)| there.get(at) == Some(value)), "{there:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_without_a_copy_and_partitions_without_one_stop_what_would_leave_them_behind() {
    let _turn = turn().await;
    let sites = Sites::start(Names::Kept).await;
    let (east, _) = sites.topics();
    sites.link_with("orders,later", &[("refresh.topics.enabled", "false")]).await;
    let first = write(&sites.east.bootstrap(), &east, "first", 5).await;
    sites.wait_for_mirrored(&first).await;
    let worker = sites.worker.rest.base().to_owned();

    create_topic(&sites.east.bootstrap(), "later", PARTITIONS).await;
    for verb in ["promote", "reverse"] {
        let (code, text) = cli(&["link", verb, "east->west", "-w", &worker, "--timeout", "2"]);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("topic later") && text.contains("has no copy yet"), "{text}");
    }
    let dry = report_of(&["failover", "east->west", "--dry-run"], &worker);
    assert!(dry["left"].to_string().contains("topic later of 'east' has no copy"), "{dry}");

    sites.grow_upstream(PARTITIONS + 1).await;
    let (code, text) = cli(&["link", "promote", "east->west", "-w", &worker, "--topics", "orders", "--timeout", "2"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("partitions have no copy yet"), "{text}");
    let dry = report_of(&["failover", "east->west", "--dry-run", "--topics", "orders"], &worker);
    assert_eq!((&dry["rpo"]["exact"], &dry["rpo"]["unknown_partitions"]), (&json!(false), &json!(1)), "{dry}");
    write(&sites.east.bootstrap(), &east, "nobody was fenced", 1).await;
}
