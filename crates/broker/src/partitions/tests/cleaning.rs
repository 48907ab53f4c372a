//! How much a compaction takes on.

use tokio_util::sync::CancellationToken;
use twinstream_telemetry::Metrics;

use super::*;

const BATCHES: usize = 10;
const KEYS_PER_BATCH: usize = 5_000;

/// Up to where a log with 50,000 keys is compacted by one round, with so many bytes of memory for keys.
fn compacted_in_one_round(dedupe_buffer: usize) -> Offset {
    let (_root, dirs) = one_dir();
    let mut cluster = Cluster::new();
    let (resource, name) = (ConfigResource::BrokerDefault, "log.cleaner.dedupe.buffer.size".to_owned());
    cluster.apply(Record::Config { resource, name, value: Some(dedupe_buffer.to_string()) });
    cluster.topic("t", 7, 1);
    cluster.config("t", "cleanup.policy", "compact");
    cluster.config("t", "segment.ms", "1");
    let manager = Arc::new(open(&dirs));
    manager.reconcile(&cluster.image).unwrap();
    let partition = manager.get(&at("t", 0)).unwrap();
    // The last segment, of a batch more, is never compacted.
    for batch in 0..=BATCHES {
        let mut builder = BatchBuilder::new();
        let time = now_ms() - 1_000_000 + batch as i64 * 1_000; // by which each begins a new segment
        for key in 0..KEYS_PER_BATCH {
            builder.append(time, Some(format!("{batch}/{key}").as_bytes()), Some(b"v"), []);
        }
        partition.append(&builder.build().unwrap(), Origin::Client, NO_EPOCH, true, now_ms()).unwrap();
    }
    let cleaner = Cleaner::new(Arc::clone(&manager), CleanerMetrics::new(&Metrics::new()));
    cleaner.round(&cleaner.settings(), &CancellationToken::new());
    partition.log().cleaned_to().unwrap()
}

/// 24 bytes a key.
#[test]
fn compaction_takes_on_as_many_keys_as_there_is_memory_for() {
    let all = Offset((BATCHES * KEYS_PER_BATCH) as i64);
    let part = compacted_in_one_round(1 << 20);
    assert!((Offset(30_000)..Offset(44_000)).contains(&part), "{part}");
    assert_eq!(compacted_in_one_round(4 << 20), all);
}
