//! Batches and Fetch answers as bytes. `cargo bench -p twinstream-protocol`.

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use twinstream_model::{ErrorCode, NodeId, Offset, PartitionIndex, TopicId};
use twinstream_protocol::batch::{BatchBuilder, BatchView, batches};
use twinstream_protocol::compression::Compression;
use twinstream_protocol::fetch::{FetchAnswer, PartitionAnswer, TopicAnswer};

const UNPACKED_BYTES_MAX: usize = 16 << 20;

fn main() {
    divan::main();
}

fn batch(records: usize, bytes: usize, codec: Compression) -> Vec<u8> {
    let mut batch = BatchBuilder::new().with_compression(codec);
    for number in 0..records {
        let text =
            format!("record {number} of a batch with text that a codec can shrink, and a number {}", number * 7_919);
        let value: Vec<u8> = text.bytes().cycle().take(bytes / records).collect();
        batch.append(1_700_000_000_000, None, Some(&value), []);
    }
    batch.build().expect("a batch that is not too large")
}

/// What is asked of every batch of a producer: header and CRC.
#[divan::bench(args = [100, 10_000, 100_000, 1_000_000])]
fn validate(bencher: Bencher<'_, '_>, bytes: usize) {
    let batch = batch(1.max(bytes / 1_000), bytes, Compression::None);
    bencher.counter(BytesCount::new(batch.len())).bench(|| {
        let view = BatchView::parse(black_box(&batch)).expect("a batch");
        view.check_crc().expect("a good checksum");
    });
}

/// Headers of a stretch of small batches, as a look-up walks over them.
#[divan::bench]
fn headers(bencher: Bencher<'_, '_>) {
    let one = batch(1, 100, Compression::None);
    let stretch = one.repeat(40);
    bencher
        .counter(ItemsCount::new(40_usize))
        .bench(|| batches(black_box(&stretch)).map(|batch| batch.expect("a batch").last_offset().0).sum::<i64>());
}

/// Every record of a batch of 1,000, as compaction and the group coordinator read them.
#[divan::bench(args = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd])]
fn records(bencher: Bencher<'_, '_>, codec: Compression) {
    let batch = batch(1_000, 1_000_000, codec);
    bencher.counter(BytesCount::new(1_000_000_usize)).bench(|| {
        let view = BatchView::parse(black_box(&batch)).expect("a batch");
        let records = view.records(UNPACKED_BYTES_MAX).expect("records");
        records.iter().filter(|record| record.is_ok()).count()
    });
}

/// A Fetch answer of one topic, without its record bytes.
#[divan::bench(args = [1, 50, 1_000])]
fn fetch_answer(bencher: Bencher<'_, '_>, partitions: i32) {
    let partition = |index: i32| PartitionAnswer {
        partition: PartitionIndex(index),
        error: ErrorCode::None,
        high_watermark: Offset(1_000),
        last_stable_offset: Offset(1_000),
        log_start_offset: Offset(0),
        aborted: None,
        preferred_read_replica: NodeId(-1),
        diverging: None,
        current_leader: None,
        records: Some(Bytes::from_static(b"record bytes, which stay where they are")),
    };
    let answer = || FetchAnswer {
        throttle_time_ms: 0,
        error: ErrorCode::None,
        session_id: 0,
        topics: vec![TopicAnswer {
            name: "topic".to_owned(),
            id: TopicId::NONE,
            partitions: (0..partitions).map(partition).collect(),
        }],
        endpoints: Vec::new(),
    };
    let count = ItemsCount::new(usize::try_from(partitions).expect("a count"));
    bencher.counter(count).with_inputs(answer).bench_values(|answer| answer.encode(17));
}
