//! Disks that lose their power, fail or are full, under clusters of real processes.
//!
//! A power cut is the shutdown ioctl of an ext4 in a file, failing calls come from a library that is loaded before the C
//! library, and a full disk is a small tmpfs. Longer runs: `cargo xtask faults --only NAME --seed N`.

use std::io::Write as _;
use std::time::Duration;

use twinstream_model::ErrorCode;
use twinstream_testkit::checker::Kind;
use twinstream_testkit::faults::{Subject, Trial, survives, turn};
use twinstream_testkit::load::{Filler, LoadOptions};
use twinstream_testkit::nemesis::Rule;
use twinstream_testkit::records::{keys, read_all};
use twinstream_testkit::{Cluster, ClusterOptions, Operator, wait_until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cut_of_a_leader_loses_nothing() {
    survives("power-cut", 21).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cut_of_all_loses_nothing_that_was_acknowledged_from_disks() {
    survives("power-cut-all", 22).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_of_the_only_broker_lose_nothing_that_was_acknowledged_from_its_disk() {
    survives("power-cut-alone", 23).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cut_of_a_leader_while_a_follower_hangs_loses_nothing() {
    survives("power-cut-while-hung", 24).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_whose_flushes_fail_stops_and_catches_up_when_it_is_back() {
    survives("fsync-fails", 25).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_are_short_interrupted_or_without_room_leave_whole_batches() {
    survives("writes-fail", 26).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directory_that_fails_or_is_missing_costs_only_its_partitions_their_place() {
    survives("directory-fails", 27).await;
}

/// The other side of the power cuts above: what only memory had is lost with it. A harness that does not see that sees
/// nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_from_memory_alone_is_found_to_be_lost() {
    let _turn = turn().await;
    let cluster = Cluster::start_with(1, ClusterOptions::default().disks(96)).await;
    // Without librdkafka's producer, which would ask for two minutes where the batch before its next one has gone.
    let load = LoadOptions { native_rate: 0, ..LoadOptions::new("memory", 1) };
    let mut trial = Trial::start("memory", Subject::Ours(cluster), 28, load).await;
    trial.wait_acknowledged(200).await;
    trial.cut_power(&[1]);
    let report = trial.finish().await;
    assert!(report.verdict.count(Kind::LostWrite) > 0, "{report}");
}

/// A disk that takes its time is no reason to count it: an acknowledgement that does not wait for it is a promise that a
/// power cut breaks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgement_from_disks_waits_for_the_follower_whose_flush_takes_its_time() {
    let _turn = turn().await;
    let cluster = Cluster::start_with(3, ClusterOptions::replicated().shims()).await;
    let operator = Operator::connect(&cluster.bootstrap(), 3).await;
    operator.create_topic("slow", 1, 3, &[("min.insync.replicas", "3"), ("twinstream.flush", "ack")]).await;
    let filler = Filler::connect(&cluster.bootstrap()).await;
    filler.send("slow", "before", 100).await.expect("all disks are well");
    let leader = operator.leader("slow", 0).await;
    let shim = cluster.shim(leader % 3 + 1);
    shim.hold_flushes("/slow-0/");
    let held = filler.send("slow", "held", 100).await;
    assert_eq!(held, Err(ErrorCode::RequestTimedOut), "while {} flushes hang", shim.count(Rule::FlushHangs));
    assert!(shim.count(Rule::FlushHangs) > 0);
    shim.end(Rule::FlushHangs);
    filler.send("slow", "after", 100).await.expect("all disks are well again");
}

const BATCH_BYTES: usize = 512 * 1024;
/// More than fit.
const BATCHES_MAX: usize = 200;
const ROOM_WITHIN: Duration = Duration::from_secs(60);

/// Sends until the disk is full; the keys that were acknowledged.
async fn fill(filler: &Filler, topic: &str, from: usize, count: usize) -> (Vec<String>, Option<ErrorCode>) {
    let mut acknowledged = Vec::new();
    for index in from..from + count {
        let key = format!("{topic}-{index}");
        match filler.send(topic, &key, BATCH_BYTES).await {
            Ok(()) => acknowledged.push(key),
            Err(code) => return (acknowledged, Some(code)),
        }
    }
    (acknowledged, None)
}

/// Fills the disk of the first broker but for so many bytes.
fn take_room(cluster: &Cluster, but: u64) {
    let path = cluster.data(1).join("of-somebody-else");
    let mut file = std::fs::File::create(&path).expect("a file beside the logs");
    let piece = vec![0; 1 << 20];
    while file.write_all(&piece).is_ok() {}
    let size = file.metadata().expect("its size").len();
    file.set_len(size - but).expect("room to leave");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_that_somebody_else_fills_keeps_its_last_bytes_for_what_the_cluster_needs() {
    let _turn = turn().await;
    let options = ClusterOptions::default().small_disks(64).set("offsets.topic.num.partitions", "1");
    let cluster = Cluster::start_with(1, options).await;
    let operator = Operator::connect(&cluster.bootstrap(), 1).await;
    operator.create_topic("kept", 1, 1, &[]).await;
    let filler = Filler::connect(&cluster.bootstrap()).await;
    filler.commit("readers", "kept").await.expect("offsets are committed on a disk with room");
    let (kept, refused) = fill(&filler, "kept", 0, 4).await;
    assert_eq!(refused, None);
    // A sixteenth of the disk, 4 MiB, is held back; so much and half of it again are left.
    take_room(&cluster, 6 << 20);
    let (more, refused) = fill(&filler, "kept", 100, BATCHES_MAX).await;
    assert_eq!(refused, Some(ErrorCode::KafkaStorageError), "after {} batches", more.len());
    filler.commit("readers", "kept").await.expect("offsets are committed on a full disk");
    operator.create_topic("another", 1, 1, &[]).await;
    assert_eq!(read_all(&cluster.bootstrap(), "kept").await.len(), kept.len() + more.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_refuses_records_keeps_the_rest_going_and_recovers_when_there_is_room() {
    let _turn = turn().await;
    let options = ClusterOptions::default()
        .small_disks(64)
        .set("log.segment.bytes", "1048576")
        .set("log.segment.delete.delay.ms", "100")
        .set("log.flush.scheduler.interval.ms", "200")
        .set("offsets.topic.num.partitions", "1");
    let mut cluster = Cluster::start_with(1, options).await;
    let operator = Operator::connect(&cluster.bootstrap(), 1).await;
    for topic in ["kept", "junk"] {
        operator.create_topic(topic, 1, 1, &[]).await;
    }
    let filler = Filler::connect(&cluster.bootstrap()).await;
    let (mut kept, refused) = fill(&filler, "kept", 0, 20).await;
    assert_eq!(refused, None);
    let (junk, refused) = fill(&filler, "junk", 0, BATCHES_MAX).await;
    assert_eq!(refused, Some(ErrorCode::KafkaStorageError), "after {} batches", junk.len());
    assert!(junk.len() > 50, "{} batches fit", junk.len());

    // The last bytes belong to what a cluster needs to go on.
    filler.commit("readers", "kept").await.expect("offsets are committed on a full disk");
    operator.create_topic("another", 1, 1, &[]).await;
    let (none, refused) = fill(&filler, "kept", 1_000, 1).await;
    assert_eq!((none.len(), refused), (0, Some(ErrorCode::KafkaStorageError)));
    assert!(cluster.broker(1).is_running());
    assert_eq!(read_all(&cluster.bootstrap(), "kept").await.len(), kept.len());

    filler.delete_topic("junk").await;
    wait_until("there is room for records again", ROOM_WITHIN, || async {
        filler.send("another", "probe", BATCH_BYTES).await.is_ok()
    })
    .await;
    let (more, refused) = fill(&filler, "kept", 2_000, 10).await;
    assert_eq!(refused, None);
    kept.extend(more);

    cluster.broker(1).crash_and_restart().await;
    let records = read_all(&cluster.bootstrap(), "kept").await;
    let found: Vec<String> = keys(&records).iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
    kept.sort();
    assert_eq!((records.len(), found), (kept.len(), kept));
}
