//! Numbers of reports: a verb that loses nothing tells no loss, and what is beyond the copies is told with its way out.

use serde_json::json;
use twinstream_testkit::faults::turn;
use twinstream_testkit::wait_until;

use crate::sites::{Names, PARTITIONS, PATIENCE, Sites, cli, report_of, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_places_copies_first_what_is_missing_and_tells_no_loss() {
    let _turn = turn().await;
    let sites = Sites::start(Names::Kept).await;
    sites.link().await;
    let mut book = write(&sites.east.bootstrap(), "orders", "first", 20).await;
    sites.wait_for_mirrored(&book).await;
    sites.worker.rest.put("/links/east->west/pause", &json!({})).await.good();
    wait_until("the link pauses", PATIENCE, || async { sites.link_state().await == "PAUSED" }).await;
    book.extend(write(&sites.east.bootstrap(), "orders", "meanwhile", 5).await);

    let worker = sites.worker.rest.base().to_owned();
    let dry = report_of(&["reverse", "east->west", "--dry-run"], &worker);
    assert_eq!((&dry["rpo"]["records"], &dry["rpo"]["exact"]), (&json!(0), &json!(true)), "{dry}");
    let to_copy =
        dry["topics"][0]["partitions"].as_array().expect("partitions").iter().map(|at| at["to_copy"].as_i64());
    assert_eq!(to_copy.map(Option::unwrap_or_default).sum::<i64>(), 5 * i64::from(PARTITIONS), "{dry}");
    assert!(dry["steps"].to_string().contains("would be started"), "{dry}");

    let (code, text) = cli(&["link", "promote", "east->west", "--dry-run", "-w", &worker]);
    assert!(code == 1 && text.contains("is PAUSED and copies nothing"), "as the verb itself: {text}");

    // One more partition, of which the copy has not heard when the verb begins.
    sites.grow_upstream(PARTITIONS + 1).await;
    let report = report_of(&["reverse", "east->west"], &worker);
    assert_eq!((&report["done"], &report["rpo"]["records"]), (&json!(true), &json!(0)), "{report}");
    assert_eq!(sites.downstream().await, book);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_site_got_after_it_was_failed_over_is_told_with_the_way_to_get_rid_of_it() {
    let _turn = turn().await;
    let sites = Sites::start(Names::Kept).await;
    sites.link().await;
    let book = write(&sites.east.bootstrap(), "orders", "first", 20).await;
    sites.wait_for_mirrored(&book).await;
    let worker = sites.worker.rest.base().to_owned();
    report_of(&["failover", "east->west"], &worker);
    write(&sites.east.bootstrap(), "orders", "too late", 3).await;
    let report = report_of(&["promote", "east->west"], &worker);
    let beyond = 3 * i64::from(PARTITIONS);
    assert_eq!((&report["done"], &report["rpo"]["records"]), (&json!(true), &json!(beyond)), "{report}");
    let told = format!("cluster 'east' has {beyond} records that no copy has: `twinstream link failback east->west`");
    assert!(report["next"].to_string().contains(&told), "{report}");
}
