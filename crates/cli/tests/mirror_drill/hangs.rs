//! Sources that hang: connections stay open, and nobody answers. A fail-over does not wait for them, and does not call what it
//! could not ask for nothing.

use std::time::{Duration, Instant};

use serde_json::json;
use twinstream_testkit::faults::turn;
use twinstream_testkit::{ClusterOptions, wait_until};

use crate::sites::{Names, PARTITIONS, PATIENCE, Places, Sites, cli, report_of, told, write};

/// A question to a broker that hangs, the end of the tasks, and then some for a busy machine.
const BOUND: Duration = Duration::from_secs(30);

fn everywhere(offset: i64) -> Places {
    (0..PARTITIONS).map(|partition| (partition, offset)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_of_which_one_broker_hangs_is_failed_over_with_what_the_others_say() {
    let _turn = turn().await;
    // Nobody takes over from it within this test.
    let options = ClusterOptions::default().set("broker.session.timeout.ms", "300000");
    let mut sites = Sites::start_with(Names::Kept, 2, options).await;
    let (east, _) = sites.topics();
    let (answers, hangs) = (sites.led_upstream_by(1).await, sites.led_upstream_by(2).await);
    sites.link().await;
    let first = write(&sites.east.bootstrap(), &east, "first", 20).await;
    sites.wait_for_mirrored(&first).await;
    let (asked, silent) = (sites.group_upstream_at(1).await, sites.group_upstream_at(2).await);
    for group in [&asked, &silent] {
        sites.commit_upstream(group, &everywhere(5)).await;
        sites.wait_for_group_downstream(group, &everywhere(5)).await;
    }
    let worker = sites.worker.rest.base().to_owned();
    let (code, text) = cli(&["link", "pause", "east->west", "-w", &worker]);
    assert_eq!(code, 0, "{text}");
    wait_until("the link pauses", PATIENCE, || async { sites.link_state().await == "PAUSED" }).await;
    write(&sites.east.bootstrap(), &east, "never mirrored", 3).await;
    for group in [&asked, &silent] {
        sites.commit_upstream(group, &everywhere(9)).await;
    }
    sites.east.broker(2).process().freeze();

    let began = Instant::now();
    let report = report_of(&["failover", "east->west"], &worker);
    assert!(began.elapsed() < BOUND, "{:?}: {report}", began.elapsed());
    assert_eq!((&report["done"], &report["source"]), (&json!(true), &json!("answers")), "{report}");
    let partitions = told(&report);
    assert_eq!((partitions[&answers].lost, partitions[&answers].as_of_ms), (Some(3), None), "{report}");
    let unknown = partitions[&hangs];
    assert_eq!((unknown.source_end, unknown.mirrored), (Some(20), Some(20)), "its last word: {report}");
    assert!(unknown.as_of_ms.is_some(), "{report}");
    let rpo = &report["rpo"];
    assert_eq!((&rpo["exact"], &rpo["unasked_partitions"]), (&json!(false), &json!(1)), "{report}");
    assert!(rpo["note"].as_str().unwrap_or_default().contains("is not known"), "{report}");
    let left = report["left"].to_string();
    assert!(left.contains("broker 2 of 'east' does not answer") && left.contains("1 partition"), "{report}");

    // Groups of the broker that answers were carried now, the others stand where they were carried before.
    assert_eq!(sites.group_downstream(&asked).await, everywhere(9), "{report}");
    assert_eq!(sites.group_downstream(&silent).await, everywhere(5), "{report}");
    assert_eq!(sites.refusal_downstream().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_hangs_altogether_is_failed_over_with_what_it_had_said_last() {
    let _turn = turn().await;
    let options = ClusterOptions::default().set("broker.session.timeout.ms", "300000");
    let mut sites = Sites::start_with(Names::Kept, 2, options).await;
    let (east, _) = sites.topics();
    sites.link().await;
    let first = write(&sites.east.bootstrap(), &east, "first", 20).await;
    sites.wait_for_mirrored(&first).await;
    sites.commit_upstream("billing", &everywhere(5)).await;
    sites.wait_for_group_downstream("billing", &everywhere(5)).await;
    let worker = sites.worker.rest.base().to_owned();
    for broker in [1, 2] {
        sites.east.broker(broker).process().freeze();
    }

    let began = Instant::now();
    let (code, text) = cli(&["link", "failover", "east->west", "-w", &worker]);
    assert!(began.elapsed() < BOUND, "{:?}: {text}", began.elapsed());
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("the source is away") && text.contains("what it accepted since then is not known"), "{text}");
    assert_eq!(sites.refusal_downstream().await, None);
    assert_eq!(sites.group_downstream("billing").await, everywhere(5));
    let there = sites.downstream().await;
    assert!(first.iter().all(|(at, value)| there.get(at) == Some(value)), "{there:?}");
}
