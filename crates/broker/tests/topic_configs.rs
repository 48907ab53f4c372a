//! Each topic config does what it says, on a served topic: set when the topic is made, and changed while it is written to.
//!
//! A change is answered when it is committed and reaches the log soon after, as in Kafka, so tests wait for its effect.
//! The configs of compaction, in-sync replicas, throttles and unclean elections have their tests with those parts.

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use support::records::{batch, create_topic, fetch, list_offset, produce, records_of, text, values};
use support::{Client, TestBroker, comes_true, wait_until};
use twinstream_protocol::batch::{BatchBuilder, BatchHeader, BatchView, batches};
use twinstream_protocol::compression::{Compression, CompressionSpec};

const NONE: i16 = 0;
const CORRUPT_MESSAGE: i16 = 2;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_TIMESTAMP: i16 = 32;
const INVALID_RECORD: i16 = 87;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Background work that tests wait for.
const SOON: [(&str, &str); 3] = [
    ("log.retention.check.interval.ms", "20"),
    ("log.flush.offset.checkpoint.interval.ms", "20"),
    ("log.flush.scheduler.interval.ms", "20"),
];

struct Topic {
    dir: tempfile::TempDir,
    broker: TestBroker,
    client: Client,
}

impl Topic {
    /// A topic `t` of one partition.
    async fn with(configs: &[(&str, &str)]) -> Topic {
        let dir = tempfile::tempdir().unwrap();
        let broker = TestBroker::start(dir.path(), &SOON).await;
        let mut client = broker.client().await;
        create_topic(&mut client, "t", 1, configs).await;
        Topic { dir, broker, client }
    }

    async fn produce(&mut self, records: Bytes) -> i16 {
        produce(&mut self.client, "t", 0, records).await.error_code
    }

    async fn set(&mut self, config: &str, value: &str) {
        alter(&mut self.client, TOPIC, "t", config, value).await;
    }

    /// Waits until these records are answered so.
    async fn produce_until(&mut self, code: i16, records: Bytes) {
        let what = format!("records are answered with {code}");
        wait_until(&what, async || self.produce(records.clone()).await == code).await;
    }

    /// The header of these records as they are stored.
    async fn stores(&mut self, records: Bytes) -> BatchHeader {
        let answer = produce(&mut self.client, "t", 0, records).await;
        assert_eq!(answer.error_code, NONE, "{answer:?}");
        self.stored(answer.base_offset).await
    }

    /// Waits until these records are stored as wanted.
    async fn stores_until(&mut self, records: &Bytes, wanted: impl Fn(&BatchHeader) -> bool) -> BatchHeader {
        let mut last = self.stores(records.clone()).await;
        wait_until("records are stored as wanted", async || {
            last = self.stores(records.clone()).await;
            wanted(&last)
        })
        .await;
        last
    }

    async fn start_offset(&mut self) -> i64 {
        list_offset(&mut self.client, "t", 0, -2).await.offset
    }

    /// The header of the batch at an offset, as it is stored.
    async fn stored(&mut self, offset: i64) -> BatchHeader {
        let data = fetch(&mut self.client, "t", 0, offset).await;
        BatchView::parse(&data.records.unwrap()).unwrap().header()
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("1/t-0")
    }

    fn files(&self, ending: &str) -> Vec<PathBuf> {
        files(&self.folder(), ending)
    }
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = names.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    files.sort();
    files
}

async fn alter(client: &mut Client, kind: i8, resource: &str, config: &str, value: &str) {
    let config = AlterableConfig::default().with_name(text(config)).with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(resource))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.call(request, 1).await.responses.remove(0);
    assert_eq!(answer.error_code, NONE, "{answer:?}");
}

fn now() -> i64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64
}

/// A batch of one record that does not compress.
fn bulk(bytes: usize) -> Bytes {
    bulk_at(now(), bytes)
}

fn bulk_at(timestamp: i64, bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.append(timestamp, None, Some(&noise(bytes)), []);
    builder.build().unwrap().into()
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..bytes).map(step).collect()
}

/// A batch that compresses the better, the harder one tries.
fn words() -> Bytes {
    let letters = noise(40_000);
    let mut builder = BatchBuilder::new();
    for chunk in letters.chunks(200) {
        let value: Vec<u8> =
            chunk.iter().map(|byte| b"etaoinsh"[usize::from(byte % 8).min(usize::from(byte / 40))]).collect();
        builder.append(now(), Some(b"key"), Some(&value.repeat(2)), []);
    }
    builder.build().unwrap().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn segment_bytes_begins_a_new_file() {
    let mut topic = Topic::with(&[("segment.bytes", "1048576")]).await;
    for _ in 0..3 {
        assert_eq!(topic.produce(bulk(700_000)).await, NONE);
    }
    assert_eq!(topic.files(".log").len(), 3);
    topic.set("segment.bytes", "104857600").await;
    wait_until("the larger size counts for the file that is written to", async || {
        let files = topic.files(".log").len();
        assert_eq!(topic.produce(bulk(700_000)).await, NONE);
        topic.files(".log").len() == files
    })
    .await;
    topic.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn segment_ms_begins_a_new_file() {
    let mut topic = Topic::with(&[("segment.ms", "60000")]).await;
    let start = now() - 600_000;
    for at in [0, 59_000, 61_000] {
        assert_eq!(topic.produce(bulk_at(start + at, 10)).await, NONE);
    }
    assert_eq!(topic.files(".log").len(), 2);
    topic.set("segment.ms", "10").await;
    let mut at = start + 61_000;
    wait_until("a shorter time counts for the file that is written to", async || {
        at += 11;
        assert_eq!(topic.produce(bulk_at(at, 10)).await, NONE);
        topic.files(".log").len() > 2
    })
    .await;
    topic.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn segment_jitter_ms_begins_files_of_partitions_at_different_times() {
    let mut topic = Topic::with(&[]).await;
    let jitter = [("segment.ms", "60000"), ("segment.jitter.ms", "60000")];
    create_topic(&mut topic.client, "many", 20, &jitter).await;
    let start = now() - 600_000;
    let mut begun = 0;
    for partition in 0..20 {
        for at in [0, 30_000] {
            let answer = produce(&mut topic.client, "many", partition, bulk_at(start + at, 10)).await;
            assert_eq!(answer.error_code, NONE);
        }
        begun += files(&topic.dir.path().join(format!("1/many-{partition}")), ".log").len() - 1;
    }
    assert!((1..20).contains(&begun), "{begun} of 20 partitions have a second file after half of the time");
    topic.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_index_begins_a_new_file_and_the_interval_fills_it() {
    let dense = [("index.interval.bytes", "0"), ("segment.index.bytes", "24")];
    let mut topic = Topic::with(&dense).await;
    for _ in 0..8 {
        assert_eq!(topic.produce(bulk(100)).await, NONE);
    }
    let full = topic.files(".log").len();
    assert!(full >= 2, "{full} files");
    topic.set("index.interval.bytes", "1000000").await;
    wait_until("without more entries there are no more files", async || {
        let files = topic.files(".log").len();
        for _ in 0..8 {
            assert_eq!(topic.produce(bulk(100)).await, NONE);
        }
        topic.files(".log").len() == files
    })
    .await;
    topic.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn max_message_bytes_bounds_a_batch_and_follows_the_broker() {
    let mut topic = Topic::with(&[]).await;
    assert_eq!(topic.produce(bulk(1_048_589)).await, MESSAGE_TOO_LARGE, "the default");
    topic.set("max.message.bytes", "2000000").await;
    topic.produce_until(NONE, bulk(1_048_589)).await;
    create_topic(&mut topic.client, "plain", 1, &[]).await;
    alter(&mut topic.client, BROKER, "", "message.max.bytes", "1000").await;
    let answered = async |client: &mut Client| produce(client, "plain", 0, bulk(1_000)).await.error_code;
    wait_until("all brokers' limit counts", async || answered(&mut topic.client).await == MESSAGE_TOO_LARGE).await;
    assert_eq!(topic.produce(bulk(1_000)).await, NONE, "the topic's own counts more");
    alter(&mut topic.client, BROKER, "1", "message.max.bytes", "2000").await;
    wait_until("the broker's own counts more", async || answered(&mut topic.client).await == NONE).await;
    topic.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn compression_type_and_levels_change_what_is_stored() {
    let mut topic = Topic::with(&[]).await;
    let records = words();
    let plain = topic.stores(records.clone()).await;
    assert_eq!(plain.codec().unwrap(), Compression::None, "the producer's");
    for (codec, levels) in [("gzip", &["1", "9"][..]), ("lz4", &["1", "9", "17"]), ("zstd", &["-7", "19"])] {
        topic.set("compression.type", codec).await;
        // Each level packs otherwise than the one before it; the first of them is the codec's default.
        let mut before = topic.stores_until(&records, |header| header.codec().unwrap().name() == codec).await.len;
        for level in levels {
            topic.set(&format!("compression.{codec}.level"), level).await;
            before = topic.stores_until(&records, |header| header.len != before).await.len;
        }
        let last = topic.stores(records.clone()).await;
        assert_eq!((last.codec().unwrap().name(), last.record_count), (codec, plain.record_count));
        assert!(last.len < plain.len, "{codec}: {} of {} bytes", last.len, plain.len);
    }
    topic.set("compression.type", "snappy").await;
    topic.stores_until(&records, |header| header.codec().unwrap() == Compression::Snappy).await;
    topic.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_codec_is_stored_in_every_other() {
    let mut topic = Topic::with(&[]).await;
    for to in ["gzip", "snappy", "lz4", "zstd", "uncompressed"] {
        create_topic(&mut topic.client, to, 1, &[("compression.type", to)]).await;
        let mut expected = Vec::new();
        for from in Compression::ALL {
            let value = format!("from {from}");
            let mut builder = BatchBuilder::new().with_compression(CompressionSpec::from(from));
            builder.append(now(), None, Some(value.as_bytes()), []);
            let answer = produce(&mut topic.client, to, 0, builder.build().unwrap().into()).await;
            assert_eq!(answer.error_code, NONE, "{value} to {to}");
            expected.push((answer.base_offset, value));
        }
        let data = fetch(&mut topic.client, to, 0, 0).await;
        assert_eq!(records_of(&data), expected);
        let stored = Compression::from_name(to);
        let bytes = data.records.unwrap();
        assert!(batches(&bytes).all(|batch| batch.unwrap().attributes().compression() == stored), "{to}");
    }
    topic.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn max_decompressed_message_bytes_stops_bombs_where_the_broker_looks_inside() {
    let mut topic = Topic::with(&[("compression.type", "lz4"), ("max.decompressed.message.bytes", "100000")]).await;
    let bomb = |codec| {
        let mut builder = BatchBuilder::new().with_compression(CompressionSpec::from(codec));
        builder.append(now(), Some(b"k"), Some(&vec![0; 1_000_000]), []);
        Bytes::from(builder.build().unwrap())
    };
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Zstd] {
        assert_eq!(topic.produce(bomb(codec)).await, MESSAGE_TOO_LARGE, "{codec}");
    }
    topic.set("max.decompressed.message.bytes", "2000000").await;
    topic.produce_until(NONE, bomb(Compression::Zstd)).await;
    topic.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn message_timestamp_type_puts_the_brokers_time_in() {
    let mut topic = Topic::with(&[("message.timestamp.type", "LogAppendTime")]).await;
    let before = now();
    let answer = produce(&mut topic.client, "t", 0, values(&["old"])).await;
    assert!(answer.log_append_time_ms >= before, "{answer:?}");
    let header = topic.stored(0).await;
    assert!(header.attributes.is_log_append_time());
    assert_eq!(header.max_timestamp, answer.log_append_time_ms);
    assert_eq!(topic.produce(bulk_at(now() * 2, 10)).await, NONE, "the producer's time does not matter");
    topic.set("message.timestamp.type", "CreateTime").await;
    let header = topic.stores_until(&bulk_at(before, 10), |header| header.max_timestamp == before).await;
    assert!(!header.attributes.is_log_append_time());
    assert_eq!(produce(&mut topic.client, "t", 0, bulk_at(before, 10)).await.log_append_time_ms, -1);
    topic.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn timestamps_outside_the_bounds_are_refused_per_record() {
    let mut topic = Topic::with(&[("message.timestamp.before.max.ms", "3600000")]).await;
    let hour = 3_600_000;
    let times = |times: &[i64]| {
        let mut builder = BatchBuilder::new().with_compression(Compression::Zstd);
        times.iter().for_each(|time| {
            builder.append(now() + time, None, Some(b"v"), []);
        });
        Bytes::from(builder.build().unwrap())
    };
    let answer = produce(&mut topic.client, "t", 0, times(&[0, -2 * hour, 2 * hour, 1])).await;
    assert_eq!(answer.error_code, INVALID_TIMESTAMP);
    assert_eq!(answer.record_errors.iter().map(|error| error.batch_index).collect::<Vec<_>>(), [1, 2]);
    assert!(answer.error_message.is_some());
    topic.set("message.timestamp.before.max.ms", &i64::MAX.to_string()).await;
    topic.produce_until(NONE, times(&[-2 * hour])).await;
    assert_eq!(topic.produce(times(&[2 * hour])).await, INVALID_TIMESTAMP);
    topic.set("message.timestamp.after.max.ms", &i64::MAX.to_string()).await;
    topic.produce_until(NONE, times(&[2 * hour])).await;
    topic.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_ms_removes_what_is_older() {
    let mut topic = Topic::with(&[("retention.ms", "-1")]).await;
    assert_eq!(topic.produce(bulk_at(now() - 3_600_000, 10)).await, NONE);
    assert_eq!(topic.start_offset().await, 0);
    topic.set("retention.ms", "60000").await;
    wait_until("the old record is gone", async || topic.start_offset().await == 1).await;
    assert_eq!(topic.produce(bulk(10)).await, NONE);
    assert_eq!(topic.start_offset().await, 1);
    topic.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_bytes_removes_the_oldest_files() {
    let mut topic = Topic::with(&[("segment.bytes", "1048576"), ("retention.bytes", "-1")]).await;
    for _ in 0..4 {
        assert_eq!(topic.produce(bulk(900_000)).await, NONE);
    }
    topic.set("retention.bytes", "1000000").await;
    wait_until("two files are left", async || topic.start_offset().await == 2).await;
    topic.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_cleanup_policy_keeps_everything() {
    let mut topic = Topic::with(&[("cleanup.policy", ""), ("retention.ms", "1")]).await;
    assert_eq!(topic.produce(bulk_at(now() - 3_600_000, 10)).await, NONE);
    create_topic(&mut topic.client, "deleted", 1, &[("retention.ms", "1")]).await;
    produce(&mut topic.client, "deleted", 0, bulk_at(now() - 3_600_000, 10)).await;
    let other = async || list_offset(&mut topic.client, "deleted", 0, -2).await.offset == 1;
    wait_until("retention has looked at both", other).await;
    assert_eq!(topic.start_offset().await, 0);
    topic.set("cleanup.policy", "delete").await;
    wait_until("the policy is another", async || topic.start_offset().await == 1).await;
    topic.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn file_delete_delay_ms_keeps_the_files_of_deleted_segments() {
    let mut topic = Topic::with(&[("retention.ms", "1"), ("file.delete.delay.ms", "3600000")]).await;
    assert_eq!(topic.produce(bulk_at(now() - 3_600_000, 10)).await, NONE);
    wait_until("the record is gone", async || topic.start_offset().await == 1).await;
    wait_until("its file is marked", async || !topic.files(".deleted").is_empty()).await;
    let of_first = topic.files(".deleted");
    topic.set("file.delete.delay.ms", "0").await;
    let mut offset = 1;
    wait_until("files go at once that are deleted from then on", async || {
        assert_eq!(topic.produce(bulk_at(now() - 3_600_000, 10)).await, NONE);
        offset += 1;
        wait_until("the record is gone", async || topic.start_offset().await == offset).await;
        let last = format!("{:020}", offset - 1);
        // Files go with the next round of the clock.
        comes_true(Duration::from_secs(2), async || {
            !topic.files(".deleted").iter().any(|file| file.to_string_lossy().contains(&last))
        })
        .await
    })
    .await;
    assert!(of_first.iter().all(|file| file.exists()), "the first was promised an hour");
    topic.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn preallocate_takes_the_space_of_a_segment_at_once() {
    use std::os::unix::fs::MetadataExt;
    let mut topic = Topic::with(&[("preallocate", "true"), ("segment.bytes", "1048576")]).await;
    let reserved = |file: &PathBuf| file.metadata().unwrap().blocks() * 512 >= 1_048_576;
    assert_eq!(topic.produce(bulk(700_000)).await, NONE);
    assert_eq!(topic.produce(bulk(700_000)).await, NONE);
    let files = topic.files(".log");
    assert_eq!(files.len(), 2);
    assert!(reserved(&files[1]), "{:?}", files[1].metadata());
    topic.set("preallocate", "false").await;
    wait_until("new segments grow as they are written", async || {
        assert_eq!(topic.produce(bulk(700_000)).await, NONE);
        topic.files(".log").last().is_some_and(|newest| !reserved(newest))
    })
    .await;
    topic.broker.stop().await.unwrap();
}

/// Up to where the partition is on the disk for certain, as the checkpoint says.
fn recovery_point(topic: &Topic, name: &str) -> i64 {
    let text = std::fs::read_to_string(topic.dir.path().join("1/recovery-point-offset-checkpoint")).unwrap_or_default();
    let row = text.lines().find_map(|line| line.strip_prefix(&format!("{name} 0 ")));
    row.map_or(0, |offset| offset.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn flush_messages_and_flush_ms_take_records_to_the_disk() {
    let mut topic = Topic::with(&[("flush.messages", "2")]).await;
    create_topic(&mut topic.client, "by-time", 1, &[("flush.ms", "1")]).await;
    assert_eq!(topic.produce(values(&["a", "b", "c"])).await, NONE);
    wait_until("three records were more than two", async || recovery_point(&topic, "t") == 3).await;
    produce(&mut topic.client, "by-time", 0, values(&["a"])).await;
    wait_until("a millisecond has passed", async || recovery_point(&topic, "by-time") == 1).await;
    topic.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unsound_batches_are_refused_for_good_and_damaged_ones_for_another_try() {
    let mut topic = Topic::with(&[("cleanup.policy", "compact")]).await;
    let sound = batch(now(), &[(Some("k"), Some("v"))]);
    let mut damaged = sound.to_vec();
    damaged[69] ^= 1;
    assert_eq!(topic.produce(damaged.into()).await, CORRUPT_MESSAGE);
    for magic in [0, 1] {
        let mut old = sound.to_vec();
        old[16] = magic;
        let answer = produce(&mut topic.client, "t", 0, old.into()).await;
        assert_eq!(answer.error_code, INVALID_RECORD, "format {magic}");
        let message = answer.error_message.unwrap();
        assert!(message.contains(&format!("message format {magic} is not supported, use format 2")), "{message}");
    }
    assert_eq!(topic.produce(sound.slice(..sound.len() - 1)).await, INVALID_RECORD, "cut");
    let view = BatchView::parse(&sound).unwrap();
    let garbage = view.recompress(b"\x01", Compression::Gzip.into()).unwrap();
    assert_eq!(topic.produce(garbage.into()).await, INVALID_RECORD, "its records are none");
    assert_eq!(topic.produce(sound).await, NONE);
    topic.broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn record_checks_look_at_every_record() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[("twinstream.record.checks", "records")]).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "t", 1, &[]).await;
    let sound = batch(now(), &[(None, Some("v"))]);
    let garbage = BatchView::parse(&sound).unwrap().recompress(b"\x01", Compression::Lz4.into()).unwrap();
    let answer = produce(&mut client, "t", 0, garbage.into()).await;
    assert_eq!(answer.error_code, INVALID_RECORD);
    assert_eq!(answer.error_message.unwrap().as_str(), "record 0 of the batch is malformed");
    assert_eq!(produce(&mut client, "t", 0, sound).await.error_code, NONE);
    broker.stop().await.unwrap();
}
