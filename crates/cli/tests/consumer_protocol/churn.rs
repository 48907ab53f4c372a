//! librdkafka's members join and leave while a producer writes.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use twinstream_client::ProducerRecord;
use twinstream_testkit::records::{create_topic, produce, topic_name};
use twinstream_testkit::{Cluster, ClusterOptions, wait_until};

use crate::member::{Joining, Ledger, Member};
use crate::{SETTLED_WITHIN, lively};

const PARTITIONS: i32 = 40;
const MEMBERS: usize = 20;
const ROUNDS: usize = 4;
const CHANGED_PER_ROUND: usize = 5;
const RECORDS_PER_ROUND: u64 = 400;

pub(crate) fn joining(cluster: &Cluster, group: &'static str, subscription: &'static str) -> Joining {
    Joining { bootstrap: cluster.bootstrap(), group, subscription, protocol: "consumer" }
}

/// Writes the next numbers, in turn to all partitions.
pub(crate) async fn write(bootstrap: &str, topic: &str, numbers: std::ops::Range<u64>) {
    let record = |number: u64| {
        let value = Bytes::from(number.to_string());
        ProducerRecord::new(topic_name(topic), Some(value.clone()), Some(value))
    };
    produce(bootstrap, &[("linger.ms", "5")], &numbers.map(record).collect::<Vec<_>>()).await;
}

/// Waits until the owners are these members with this many partitions each.
pub(crate) async fn until_shared(ledger: &Ledger, wanted: BTreeMap<usize, usize>) {
    let started = Instant::now();
    let what = format!("partitions are shared as {wanted:?}");
    wait_until(&what, SETTLED_WITHIN, || async { ledger.shares() == wanted }).await;
    eprintln!("{} members settled after {:?}", wanted.len(), started.elapsed());
}

pub(crate) async fn until_read(ledger: &Ledger, count: u64) {
    let what = format!("{count} numbers are read");
    wait_until(&what, SETTLED_WITHIN, || async { ledger.entries().read.len() as u64 == count }).await;
}

pub(crate) fn check_faults(ledger: &Ledger) {
    let entries = ledger.entries();
    assert!(entries.faults.is_empty(), "{}", entries.faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_members_that_come_and_go_read_everything_and_never_share_a_partition() {
    let cluster = Cluster::start_with(3, lively(ClusterOptions::default())).await;
    let bootstrap = cluster.bootstrap();
    create_topic(&bootstrap, "work", PARTITIONS).await;
    let (joining, ledger) = (joining(&cluster, "workers", "work"), Ledger::default());
    let mut members: BTreeMap<usize, Member> =
        (0..MEMBERS).map(|number| (number, Member::join(number, &joining, &ledger))).collect();
    until_shared(&ledger, (0..MEMBERS).map(|number| (number, 2)).collect()).await;

    let mut written = 0;
    for round in 0..ROUNDS {
        write(&bootstrap, "work", written..written + RECORDS_PER_ROUND).await;
        written += RECORDS_PER_ROUND;
        for change in 0..CHANGED_PER_ROUND {
            let newcomer = MEMBERS + round * CHANGED_PER_ROUND + change;
            members.insert(newcomer, Member::join(newcomer, &joining, &ledger));
            let (_, oldest) = members.pop_first().expect("a member");
            oldest.leave().await;
        }
    }
    until_shared(&ledger, members.keys().map(|number| (*number, 2)).collect()).await;
    until_read(&ledger, written).await;
    check_faults(&ledger);
    let reread = ledger.entries().records - written;
    eprintln!("{reread} of {written} records were read again");
    for (_, member) in members {
        member.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_go_on_when_the_broker_that_coordinates_them_is_killed() {
    let mut cluster = Cluster::start_with(3, lively(ClusterOptions::replicated())).await;
    let bootstrap = cluster.bootstrap();
    create_topic(&bootstrap, "steady", 6).await;
    let (joining, ledger) = (joining(&cluster, "steady-readers", "steady"), Ledger::default());
    let members: Vec<Member> = (0..3).map(|number| Member::join(number, &joining, &ledger)).collect();
    until_shared(&ledger, (0..3).map(|number| (number, 2)).collect()).await;
    let mut written = 0;
    for broker in 1..=3 {
        cluster.broker(broker).kill();
        cluster.broker(broker).start().await;
        cluster.wait_ready().await;
        write(&bootstrap, "steady", written..written + 100).await;
        written += 100;
        until_read(&ledger, written).await;
    }
    until_shared(&ledger, (0..3).map(|number| (number, 2)).collect()).await;
    check_faults(&ledger);
    for member in members {
        member.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pattern_is_resolved_by_the_brokers_and_finds_topics_that_come_later() {
    let options = lively(ClusterOptions::default()).set("group.consumer.regex.refresh.interval.ms", "10000");
    let cluster = Cluster::start_with(1, options).await;
    let bootstrap = cluster.bootstrap();
    create_topic(&bootstrap, "orders.eu", 2).await;
    create_topic(&bootstrap, "others", 2).await;
    let (joining, ledger) = (joining(&cluster, "pattern-readers", r"^orders\..*"), Ledger::default());
    let members: Vec<Member> = (0..2).map(|number| Member::join(number, &joining, &ledger)).collect();
    until_shared(&ledger, (0..2).map(|number| (number, 1)).collect()).await;
    create_topic(&bootstrap, "orders.us", 2).await;
    until_shared(&ledger, (0..2).map(|number| (number, 2)).collect()).await;
    assert!(ledger.entries().owners.keys().all(|partition| partition.topic.as_str().starts_with("orders.")));
    write(&bootstrap, "orders.us", 0..50).await;
    until_read(&ledger, 50).await;
    check_faults(&ledger);
    for member in members {
        member.leave().await;
    }
}
