//! What becomes of a batch, and of a position outside the log.

use twinstream_client::protocol::batch::{BatchBuilder, BatchView, ProducerStamp};
use twinstream_client::protocol::compression::{Compression, CompressionSpec};
use twinstream_model::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use crate::config::OnGap;
use crate::request::{Ready, ready};
use crate::retry::{Gap, Verdict, judge, judge_gap};

const BASE: i64 = 100;

/// Records with these offsets; the value is the offset's text, the time 1000 + offset.
fn builder(offsets: &[i64]) -> BatchBuilder {
    let mut builder = BatchBuilder::new().with_base_offset(Offset(BASE)).with_leader_epoch(LeaderEpoch(7));
    for offset in offsets {
        let value = offset.to_string();
        let headers = [(b"h".as_slice(), Some(b"1".as_slice())), (b"n".as_slice(), None)];
        builder.append_at_delta((offset - BASE) as i32, 1000 + offset, None, Some(value.as_bytes()), headers);
    }
    builder
}

fn made(builder: BatchBuilder) -> Vec<u8> {
    builder.build().expect("batch")
}

fn taken(bytes: &[u8], position: i64) -> Ready {
    ready(&BatchView::parse(bytes).expect("batch"), Offset(position)).expect("copied")
}

/// (offset, time, value) of what goes to the target.
fn sent(ready: &Ready) -> Vec<(i64, i64, String)> {
    let bytes = &ready.batch.as_ref().expect("a batch").bytes;
    let view = BatchView::parse(bytes).expect("batch");
    view.check_crc().expect("checksum");
    let records = view.records(1 << 20).expect("records");
    records
        .iter()
        .map(|record| record.expect("record"))
        .map(|record| {
            assert_eq!(record.headers.len(), 2);
            (record.offset.0, record.timestamp, String::from_utf8_lossy(record.value.expect("value")).into_owned())
        })
        .collect()
}

#[test]
fn whole_batch_goes_as_it_is_with_a_fresh_header() {
    for codec in Compression::ALL {
        let stamp = ProducerStamp { id: ProducerId(9), epoch: ProducerEpoch(1), base_sequence: 5 };
        let bytes = made(
            builder(&[100, 101, 102])
                .with_compression(CompressionSpec::from(codec))
                .with_producer(stamp)
                .with_transactional(),
        );
        let ready = taken(&bytes, 100);
        assert_eq!(ready.next, Offset(103));
        let batch = ready.batch.as_ref().expect("a batch");
        let (before, after) =
            (BatchView::parse(&bytes).expect("batch"), BatchView::parse(&batch.bytes).expect("batch"));
        assert_eq!(before.body(), after.body(), "records are not touched");
        let header = after.header();
        assert_eq!(
            (header.base_offset, header.producer_id, header.producer_epoch, header.base_sequence),
            (Offset(0), ProducerId::NONE, ProducerEpoch::NONE, -1)
        );
        assert!(!header.attributes.is_transactional());
        assert_eq!(header.attributes.compression(), Some(codec));
        assert_eq!((batch.records, batch.max_timestamp), (3, 1102));
        assert_eq!(sent(&ready)[2], (2, 1102, "102".to_owned()));
    }
}

#[test]
fn control_batch_is_not_copied_but_passed() {
    let bytes = made(builder(&[100]).with_control().with_transactional());
    assert_eq!(taken(&bytes, 100), Ready { batch: None, next: Offset(101) });
}

#[test]
fn holes_of_compaction_are_closed() {
    let bytes = made(builder(&[101, 104, 109]).with_compression(CompressionSpec::from(Compression::Zstd)));
    let ready = taken(&bytes, 100);
    assert_eq!(ready.next, Offset(110));
    assert_eq!(sent(&ready), [(0, 1101, "101".to_owned()), (1, 1104, "104".to_owned()), (2, 1109, "109".to_owned())]);
    let view = ready.batch.expect("a batch").bytes;
    assert_eq!(BatchView::parse(&view).expect("batch").attributes().compression(), Some(Compression::Zstd));
}

#[test]
fn records_before_the_position_are_not_copied_again() {
    let bytes = made(builder(&[100, 101, 102, 103]));
    let ready = taken(&bytes, 102);
    assert_eq!(ready.next, Offset(104));
    assert_eq!(sent(&ready).iter().map(|(_, _, value)| value.as_str()).collect::<Vec<_>>(), ["102", "103"]);
    assert_eq!(taken(&bytes, 104), Ready { batch: None, next: Offset(104) });
    assert_eq!(taken(&bytes, 500), Ready { batch: None, next: Offset(500) });
}

#[test]
fn append_time_becomes_the_records_own_time() {
    let bytes = made(builder(&[100, 101]).with_log_append_time(5_000));
    let ready = taken(&bytes, 100);
    assert_eq!(sent(&ready).iter().map(|(_, time, _)| *time).collect::<Vec<_>>(), [5_000, 5_000]);
    let view = ready.batch.expect("a batch").bytes;
    assert!(!BatchView::parse(&view).expect("batch").attributes().is_log_append_time());
}

#[test]
fn batch_emptied_by_compaction_is_passed() {
    let bytes = made(builder(&[100]));
    let hollow = taken(&bytes, 101);
    assert_eq!(hollow.batch, None);
}

#[test]
fn damaged_batch_is_never_copied() {
    let mut bytes = made(builder(&[100, 101]));
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let error = ready(&BatchView::parse(&bytes).expect("header"), Offset(100)).expect_err("damaged");
    assert!(error.to_string().contains("offset 100"));
}

#[test]
fn errors_of_the_source_have_their_meaning() {
    assert_eq!(judge(ErrorCode::None), Verdict::Fine);
    assert_eq!(judge(ErrorCode::OffsetOutOfRange), Verdict::OutOfRange);
    assert_eq!(judge(ErrorCode::UnknownTopicOrPartition), Verdict::Gone);
    assert_eq!(judge(ErrorCode::NotLeaderOrFollower), Verdict::LookAgain);
    assert_eq!(judge(ErrorCode::TopicAuthorizationFailed), Verdict::Fatal);
}

#[test]
fn gap_is_named_and_judged_by_policy() {
    let gap = |policy, position, start, end| judge_gap(policy, Offset(position), Offset(start), Offset(end));
    assert_eq!(gap(OnGap::Careful, 5, 0, 5), Gap::Stay);
    assert_eq!(gap(OnGap::Careful, 5, 9, 20), Gap::GoOn { at: Offset(9), lost: 4 });
    assert!(matches!(gap(OnGap::Careful, 50, 0, 20), Gap::Fail(why) if why.contains("50") && why.contains("earliest")));
    assert!(matches!(gap(OnGap::Fail, 5, 9, 20), Gap::Fail(why) if why.contains("records 5 to 8")));
    assert_eq!(gap(OnGap::Earliest, 50, 3, 20), Gap::GoOn { at: Offset(3), lost: 0 });
    assert_eq!(gap(OnGap::Latest, 5, 9, 20), Gap::GoOn { at: Offset(20), lost: 15 });
}
