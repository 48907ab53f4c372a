//! Settings of topics when sites change places: those of the side that led count.

use serde_json::json;
use twinstream_testkit::faults::turn;
use twinstream_testkit::settings::{own_setting, set};

use crate::sites::{Names, Sites, report_of, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_the_side_that_led_outlast_a_fail_back_and_a_reversal() {
    let _turn = turn().await;
    let sites = Sites::start(Names::Kept).await;
    let (east, west) = sites.clients().await;
    for (name, value) in [("retention.ms", "111000"), ("segment.bytes", "2097152")] {
        set(&east, "orders", name, Some(value)).await;
    }
    // Rounds of the links themselves come too late for all of this.
    sites.link_with("orders", &[("sync.topic.configs.interval.seconds", "600")]).await;
    let kept = write(&sites.east.bootstrap(), "orders", "first", 10).await;
    sites.wait_for_mirrored(&kept).await;
    let report = report_of(&["failover", "east->west"], sites.worker.rest.base());
    assert_eq!(report["done"], json!(true), "{report}");

    // The west leads and is changed; the east was set up anew, and has nothing of it.
    set(&west, "orders", "retention.ms", Some("222000")).await;
    set(&east, "orders", "segment.bytes", None).await;
    write(&sites.west.bootstrap(), "orders", "in the west", 10).await;
    let rest = &sites.worker.rest;
    let dry = rest.put("/links/east->west/failback?dry-run", &json!({})).await.good();
    let told =
        "settings of 1 topic of 'east' would become those of the side that leads: orders (retention.ms, segment.bytes)";
    assert!(dry["steps"].to_string().contains(told), "{dry}");
    assert_eq!(own_setting(&east, "orders", "segment.bytes").await, None, "a dry run changes nothing");
    let answer = rest.put("/links/east->west/failback?timeout=60", &json!({})).await.good();
    assert_eq!(answer["done"], json!(true), "{answer}");
    for client in [&east, &west] {
        assert_eq!(own_setting(client, "orders", "retention.ms").await.as_deref(), Some("222000"));
        assert_eq!(own_setting(client, "orders", "segment.bytes").await.as_deref(), Some("2097152"));
    }

    set(&east, "orders", "retention.ms", Some("333000")).await;
    let answer = rest.put("/links/east->west/reverse?timeout=60", &json!({})).await.good();
    assert_eq!(answer["done"], json!(true), "{answer}");
    assert_eq!(own_setting(&west, "orders", "retention.ms").await.as_deref(), Some("333000"));
}
