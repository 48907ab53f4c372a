//! Files that change under brokers of real processes, while they are down and while they run.
//!
//! What is damaged is named in the log and nobody gets it; a broker with a replica elsewhere has it back, byte for byte. An
//! index is made again. Every kind of file and every byte: `crates/log/tests/damage`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use twinstream_client::RawClient;
use twinstream_client::protocol::batch::{BatchBuilder, batches, whole_batches};
use twinstream_client::raw::{FetchFrom, FetchOptions};
use twinstream_model::{ErrorCode, NodeId, Offset, PartitionIndex, TopicPartition};
use twinstream_testkit::records::{client_settings, topic_name};
use twinstream_testkit::{Cluster, ClusterOptions, Operator, wait_until, wait_until_some};

const PATIENCE: Duration = Duration::from_secs(90);
const TOPIC: &str = "t";
/// One record a batch; two or three closed segments and one that grows.
const RECORDS: i64 = 30;
const VALUE_BYTES: usize = 100_000;
const NAMED: &str = "records on the disk are damaged";
const REPAIRED: &str = "repaired damaged records";

fn options(options: ClusterOptions) -> ClusterOptions {
    options
        .set("log.segment.bytes", "1048576")
        .set("log.index.interval.bytes", "4096")
        .set("twinstream.scrub.bytes.per.second", "1000000000")
}

/// Nothing is found before somebody reads.
fn without_scrub(settings: ClusterOptions) -> ClusterOptions {
    options(settings).set("twinstream.scrub.bytes.per.second", "0")
}

/// Values that cannot be guessed from their neighbours.
fn value(offset: i64) -> Vec<u8> {
    let mut state = offset.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..VALUE_BYTES).map(|_| next()).collect()
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock behind 1970");
    i64::try_from(since.as_millis()).expect("a time of our days")
}

fn partition() -> TopicPartition {
    TopicPartition::new(topic_name(TOPIC), PartitionIndex(0))
}

async fn connect(bootstrap: &str) -> RawClient {
    RawClient::connect(&client_settings(bootstrap, &[])).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn filled(cluster: &Cluster, replicas: i16) {
    filled_with(cluster, replicas, &[]).await;
}

async fn filled_with(cluster: &Cluster, replicas: i16, configs: &[(&str, &str)]) {
    let operator = Operator::connect(&cluster.bootstrap(), cluster.size()).await;
    operator.create_topic(TOPIC, 1, replicas, configs).await;
    let client = connect(&cluster.bootstrap()).await;
    for offset in 0..RECORDS {
        let mut builder = BatchBuilder::new();
        builder.append(now_ms(), None, Some(&value(offset)), []);
        let batch: Bytes = builder.build().expect("a batch").into();
        let at = client.produce_batch(&partition(), batch).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(at.base_offset, Offset(offset));
    }
}

/// Asks one broker for what it has at an offset; the offsets that came, every one with its right value.
async fn fetch(client: &RawClient, broker: usize, offset: i64) -> Result<Vec<i64>, ErrorCode> {
    let from = FetchFrom::new(partition(), Offset(offset));
    let broker = NodeId(i32::try_from(broker).expect("a small number"));
    let options = FetchOptions { wait_max: Duration::from_millis(100), ..FetchOptions::default() };
    let fetched = client
        .fetch_batches(broker, &[from], &options)
        .await
        .map_err(|error| error.code().unwrap_or(ErrorCode::NetworkException))?;
    let fetched = fetched.into_iter().next().expect("an answer for the partition");
    if fetched.error != ErrorCode::None {
        return Err(fetched.error);
    }
    let mut offsets = Vec::new();
    for batch in batches(whole_batches(&fetched.batches).expect("whole batches")) {
        let batch = batch.expect("a batch");
        batch.check_crc().unwrap_or_else(|error| panic!("offset {} was served damaged: {error}", batch.base_offset()));
        for record in batch.records(1 << 20).expect("records").iter() {
            let record = record.expect("a record");
            assert_eq!(record.value, Some(&value(record.offset.0)[..]), "a wrong record at {}", record.offset);
            offsets.push(record.offset.0);
        }
    }
    Ok(offsets)
}

/// What each offset answers when it is asked for: `None` if the record came.
async fn refused(client: &RawClient, broker: usize) -> BTreeMap<i64, ErrorCode> {
    let mut refused = BTreeMap::new();
    for offset in 0..RECORDS {
        match fetch(client, broker, offset).await {
            Ok(offsets) if offsets.first() == Some(&offset) => {}
            Ok(offsets) => panic!("offset {offset} was passed over, {offsets:?} came"),
            Err(code) => drop(refused.insert(offset, code)),
        }
    }
    refused
}

/// Waits until a broker serves all but these, which it refuses as damaged.
async fn wait_refused(client: &RawClient, broker: usize, damaged: &[i64]) {
    let expected: BTreeMap<i64, ErrorCode> = damaged.iter().map(|at| (*at, ErrorCode::KafkaStorageError)).collect();
    let what = format!("broker {broker} refuses {damaged:?} and serves all else");
    wait_until(&what, PATIENCE, || async { refused(client, broker).await == expected }).await;
}

async fn wait_for_log(cluster: &mut Cluster, broker: usize, text: &str, count: usize) {
    let log = cluster.broker(broker).log().to_owned();
    let what = format!("the log of broker {broker} says {count} times {text:?}");
    wait_until(&what, PATIENCE, || async {
        String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).matches(text).count() >= count
    })
    .await;
}

/// A file of the partition, and where in it the value of this offset begins.
fn place(cluster: &Cluster, broker: usize, offset: i64) -> (PathBuf, u64) {
    let wanted = value(offset);
    for path in files(cluster, broker, "log") {
        let bytes = fs::read(&path).expect("a file");
        if let Some(at) = bytes.windows(64).position(|window| window == &wanted[..64]) {
            return (path, at as u64);
        }
    }
    panic!("broker {broker} has no record {offset}");
}

/// The files of a kind, oldest segment first.
fn files(cluster: &Cluster, broker: usize, extension: &str) -> Vec<PathBuf> {
    let folder = cluster.data(broker).join(format!("{TOPIC}-0"));
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    found.sort();
    found
}

fn flip(file: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).expect("a file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("a byte");
    file.write_all_at(&[byte[0] ^ 4], at).expect("a byte");
}

fn cut(file: &Path, len: u64) {
    fs::OpenOptions::new().write(true).open(file).expect("a file").set_len(len).expect("a shorter file");
}

async fn wait_for_bytes(file: &Path, whole: &[u8]) {
    let what = format!("{} is as it was", file.display());
    wait_until(&what, PATIENCE, || async { fs::read(file).expect("a file") == whole }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_without_replicas_fences_what_changed_while_it_was_down_and_rebuilds_indexes() {
    let mut cluster = Cluster::start_with(1, without_scrub(ClusterOptions::default())).await;
    filled(&cluster, 1).await;
    let (file, at) = place(&cluster, 1, 3);
    cluster.broker(1).stop().await;
    let indexes = [files(&cluster, 1, "index"), files(&cluster, 1, "timeindex")].concat();
    let whole: Vec<Vec<u8>> = indexes.iter().map(|path| fs::read(path).expect("a file")).collect();
    assert!(files(&cluster, 1, "log").len() >= 3);
    flip(&file, at + 70);
    for (i, (path, bytes)) in indexes.iter().zip(&whole).enumerate() {
        // The first segment's are left alone, which has the damage: an index that is built anew passes over it.
        match i % 2 {
            _ if path.file_stem() == file.file_stem() => {}
            0 => cut(path, bytes.len() as u64 - 5),
            _ => flip(path, bytes.len() as u64 - 2),
        }
    }
    cluster.broker(1).start().await;
    let client = connect(&cluster.bootstrap()).await;
    wait_refused(&client, 1, &[3]).await;
    wait_for_log(&mut cluster, 1, NAMED, 1).await;
    let log = cluster.broker(1).log_text();
    assert!(log.contains("first_offset=3") || log.contains("\"first_offset\":3"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scrub_of_a_broker_without_replicas_names_what_changes_while_it_runs() {
    let mut cluster = Cluster::start_with(1, options(ClusterOptions::default())).await;
    filled(&cluster, 1).await;
    let client = connect(&cluster.bootstrap()).await;
    assert_eq!(refused(&client, 1).await, BTreeMap::new());
    let index = files(&cluster, 1, "index")[1].clone();
    let whole = fs::read(&index).expect("a file");
    flip(&index, whole.len() as u64 - 2);
    wait_for_bytes(&index, &whole).await;
    let (file, at) = place(&cluster, 1, 5);
    flip(&file, at + 70);
    wait_for_log(&mut cluster, 1, NAMED, 1).await;
    wait_refused(&client, 1, &[5]).await;
    let log = cluster.broker(1).log_text();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_has_back_what_it_lost_while_it_was_down_and_while_it_runs() {
    let mut cluster = Cluster::start_with(3, options(ClusterOptions::replicated())).await;
    filled(&cluster, 3).await;
    let operator = Operator::connect(&cluster.bootstrap(), 3).await;
    operator.wait_whole(TOPIC, 1).await;
    let victim = operator.leader(TOPIC, 0).await;
    let logs = files(&cluster, victim, "log");
    let (closed, at) = place(&cluster, victim, 2);
    let active = logs.last().expect("a segment").clone();
    cluster.broker(victim).stop().await;
    let whole: Vec<Vec<u8>> = logs.iter().map(|path| fs::read(path).expect("a file")).collect();
    // Down: a flip in a closed segment, half of the last one gone, and an index cut. All of it had been on the disk, so
    // nothing may be cut and fetched again: the replica is in sync and could be elected.
    flip(&closed, at + 70);
    cut(&active, whole.last().expect("a segment").len() as u64 / 2);
    let index = files(&cluster, victim, "index")[1].clone();
    cut(&index, 4);
    cluster.broker(victim).start().await;
    wait_for_log(&mut cluster, victim, REPAIRED, 2).await;
    for (path, bytes) in logs.iter().zip(&whole) {
        wait_for_bytes(path, bytes).await;
    }
    operator.wait_whole(TOPIC, 1).await;
    // Up: the same of another segment.
    let (closed, at) = place(&cluster, victim, 12);
    flip(&closed, at + 70);
    wait_for_log(&mut cluster, victim, REPAIRED, 3).await;
    for (path, bytes) in logs.iter().zip(&whole) {
        wait_for_bytes(path, bytes).await;
    }
    // Up: a closed segment ends early all of a sudden.
    cut(&closed, whole[1].len() as u64 / 2);
    for (path, bytes) in logs.iter().zip(&whole) {
        wait_for_bytes(path, bytes).await;
    }
    let client = connect(&cluster.bootstrap()).await;
    let what = "a leader serves every record";
    let leader = wait_until_some(what, PATIENCE, || async { client.leader(&partition()).await.ok() }).await;
    let leader = usize::try_from(leader.0).expect("a broker");
    wait_refused(&client, leader, &[]).await;
    for broker in 1..=3 {
        let log = cluster.broker(broker).log_text();
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// Waits until a checkpoint of a broker says that the partition reached its end.
async fn wait_for_checkpoint(cluster: &Cluster, broker: usize, file: &str) {
    let path = cluster.data(broker).join(file);
    let line = format!("{TOPIC} 0 {RECORDS}");
    let what = format!("{file} of broker {broker} says {line:?}");
    wait_until(&what, PATIENCE, || async {
        fs::read_to_string(&path).unwrap_or_default().lines().any(|found| found == line)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_replica_has_back_the_end_of_its_log_that_had_been_on_the_disk() {
    let settings = options(ClusterOptions::replicated())
        .set("log.flush.offset.checkpoint.interval.ms", "100")
        .set("replica.high.watermark.checkpoint.interval.ms", "100");
    let mut cluster = Cluster::start_with(3, settings).await;
    filled_with(&cluster, 3, &[("flush.messages", "1")]).await;
    let operator = Operator::connect(&cluster.bootstrap(), 3).await;
    operator.wait_whole(TOPIC, 1).await;
    let victim = operator.leader(TOPIC, 0).await;
    // The last two are gone without a trace. From then on the segment is closed: the last record changes, then it and a part
    // of the one before it are gone.
    for damage in 0..3 {
        wait_for_checkpoint(&cluster, victim, "recovery-point-offset-checkpoint").await;
        wait_for_checkpoint(&cluster, victim, "replication-offset-checkpoint").await;
        let (file, before_last) = place(&cluster, victim, RECORDS - 2);
        let (same, last) = place(&cluster, victim, RECORDS - 1);
        assert_eq!(file, same, "both are in the last segment");
        let whole = fs::read(&file).expect("a file");
        let batch_bytes = last - before_last;
        cluster.broker(victim).kill();
        match damage {
            0 => cut(&file, whole.len() as u64 - 2 * batch_bytes),
            1 => flip(&file, last + 70),
            _ => cut(&file, last - batch_bytes / 2),
        }
        cluster.broker(victim).start().await;
        wait_for_log(&mut cluster, victim, REPAIRED, damage + 1).await;
        wait_for_bytes(&file, &whole).await;
        operator.wait_whole(TOPIC, 1).await;
    }
    let client = connect(&cluster.bootstrap()).await;
    let what = "a leader serves every record";
    let leader = wait_until_some(what, PATIENCE, || async { client.leader(&partition()).await.ok() }).await;
    wait_refused(&client, usize::try_from(leader.0).expect("a broker"), &[]).await;
    let log = cluster.broker(victim).log_text();
    assert!(!log.contains("panicked") && !log.contains("cutting a torn tail"), "{log}");
}
