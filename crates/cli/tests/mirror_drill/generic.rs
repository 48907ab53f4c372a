//! Links whose copies do not keep the source's offsets, as into any Kafka: what of a drill needs no marks works for them, and the
//! rest says what it needs.

use std::collections::BTreeMap;

use serde_json::json;
use twinstream_testkit::faults::turn;
use twinstream_testkit::records::create_topic;
use twinstream_testkit::wait_until;

use crate::sites::{self, Book, Names, PARTITIONS, PATIENCE, Places, Sites, cli, report_of, write};

/// Records that stand in front of the copies, so that offsets differ.
const STRANGERS: i64 = 3;

/// Two sites with a generic link, these records of the east, and a group that stands in the middle of them.
async fn sites_with_a_copy() -> (Sites, Book, Places) {
    let sites = Sites::start(Names::Prefixed).await;
    let (east, west) = sites.topics();
    create_topic(&sites.west.bootstrap(), &west, PARTITIONS).await;
    write(&sites.west.bootstrap(), &west, "a stranger", STRANGERS).await;
    sites.link_as("orders", "generic").await;
    let book = write(&sites.east.bootstrap(), &east, "mirrored", 20).await;
    let copied: Book =
        book.iter().map(|((partition, offset), value)| ((*partition, offset + STRANGERS), value.clone())).collect();
    sites.wait_for_mirrored(&copied).await;
    let group: Places = (0..PARTITIONS).map(|partition| (partition, 7)).collect();
    sites.commit_upstream("billing", &group).await;
    (sites, copied, group)
}

/// What the group reads where the copies lead: from its record on, and nothing else.
async fn the_group_goes_on_at_its_record(sites: &Sites, group: &Places) {
    let there = sites.downstream().await;
    let (read, _) = sites.read_downstream("billing").await;
    let expected: BTreeMap<_, _> = there.into_iter().filter(|(at, _)| at.1 >= group[&at.0] + STRANGERS).collect();
    assert_eq!(read, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_with_offsets_of_its_own_is_failed_over_with_its_groups_and_the_true_loss() {
    let _turn = turn().await;
    let (sites, copied, group) = sites_with_a_copy().await;
    let (east, _) = sites.topics();
    let worker = sites.worker.rest.base().to_owned();
    let (code, text) = cli(&["link", "pause", "east->west", "-w", &worker]);
    assert_eq!(code, 0, "{text}");
    wait_until("the link pauses", PATIENCE, || async { sites.link_state().await == "PAUSED" }).await;
    write(&sites.east.bootstrap(), &east, "never mirrored", 4).await;
    let lost = 4 * i64::from(PARTITIONS);
    let dry = report_of(&["failover", "east->west", "--dry-run"], &worker);
    assert_eq!((&dry["rpo"]["records"], &dry["rpo"]["exact"]), (&json!(lost), &json!(true)), "{dry}");
    assert_eq!(sites.link_state().await, "PAUSED", "a dry run touches nothing");

    let report = report_of(&["failover", "east->west"], &worker);
    assert_eq!((&report["done"], &report["rpo"]["records"]), (&json!(true), &json!(lost)), "{report}");
    assert_eq!(sites.link_state().await, "STOPPED");
    let there = sites.downstream().await;
    assert!(copied.iter().all(|(at, value)| there.get(at) == Some(value)), "{there:?}");
    the_group_goes_on_at_its_record(&sites, &group).await;

    for verb in ["reverse", "failback"] {
        let (code, text) = cli(&["link", verb, "east->west", "-w", &worker]);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("brokers of ours on both sides"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_promotion_of_a_copy_with_offsets_of_its_own_takes_its_groups_along() {
    let _turn = turn().await;
    let (sites, copied, mut group) = sites_with_a_copy().await;
    let (_, west) = sites.topics();
    let worker = sites.worker.rest.base().to_owned();
    // Nobody waits for these commits before the verb is called.
    group.values_mut().for_each(|offset| *offset += 4);
    sites.commit_upstream("billing", &group).await;
    let report = report_of(&["promote", "east->west"], &worker);
    assert_eq!((&report["done"], &report["rpo"]["records"]), (&json!(true), &json!(0)), "{report}");
    let there = sites::records(&sites.west.bootstrap(), &west).await;
    assert!(copied.iter().all(|(at, value)| there.get(at) == Some(value)));
    the_group_goes_on_at_its_record(&sites, &group).await;
}
