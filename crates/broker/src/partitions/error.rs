//! The wire codes of what logs answer.

use twinstream_log::{AppendError, LogError, ReadError, RecordFaultKind};
use twinstream_model::ErrorCode;
use twinstream_protocol::batch::BatchError;
use twinstream_protocol::compression::CompressionError;

use super::AppendRefused;

/// Formats of messages that Kafka has had.
const OLD_FORMATS: std::ops::Range<i8> = 0..2;

/// What a producer is told.
pub(crate) fn append_code(refused: &AppendRefused) -> ErrorCode {
    match refused {
        AppendRefused::NotLeader(code) => *code,
        AppendRefused::NotEnoughReplicas(_) => ErrorCode::NotEnoughReplicas,
        AppendRefused::ReadOnly { .. } | AppendRefused::NotOfLink { .. } => ErrorCode::PolicyViolation,
        AppendRefused::Log(error) => log_append_code(error),
    }
}

fn log_append_code(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Empty | AppendError::SeveralBatches | AppendError::InvalidBatch(_) => ErrorCode::InvalidRecord,
        AppendError::Batch(error) => produced_code(error),
        AppendError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        AppendError::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
        AppendError::InvalidRecords { kind: RecordFaultKind::Record, .. } => ErrorCode::InvalidRecord,
        AppendError::InvalidRecords { kind: RecordFaultKind::Timestamp, .. } => ErrorCode::InvalidTimestamp,
        AppendError::NotInTransaction { .. } | AppendError::OutsideTransaction { .. } => ErrorCode::InvalidTxnState,
        AppendError::CoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
        AppendError::Beyond { .. } => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::EpochAhead { .. } => ErrorCode::UnknownLeaderEpoch,
        AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        AppendError::Recompress(_) => ErrorCode::UnknownServerError,
        AppendError::Storage(error) => log_code(error),
    }
}

/// What may have been damaged on the way is worth another try, which CORRUPT_MESSAGE asks for. What is wrong under a right
/// checksum, or ends early, the producer made so; Kafka says INVALID_RECORD to the formats of old, too.
fn produced_code(error: &BatchError) -> ErrorCode {
    match error {
        BatchError::BadCrc { .. } | BatchError::BadLength(_) => ErrorCode::CorruptMessage,
        BatchError::UnsupportedMagic(magic) if !OLD_FORMATS.contains(magic) => ErrorCode::CorruptMessage,
        BatchError::Compression(CompressionError::TooLarge { .. }) => ErrorCode::MessageTooLarge,
        _ => ErrorCode::InvalidRecord,
    }
}

fn stored_code(error: &BatchError) -> ErrorCode {
    match error {
        BatchError::UnsupportedMagic(_) => ErrorCode::UnsupportedForMessageFormat,
        BatchError::UnknownCompression(_) => ErrorCode::UnsupportedCompressionType,
        BatchError::Compression(CompressionError::TooLarge { .. }) => ErrorCode::MessageTooLarge,
        _ => ErrorCode::CorruptMessage,
    }
}

/// What a reader is told.
pub(crate) fn read_code(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Batch(error) => stored_code(error),
        ReadError::Damaged { .. } => ErrorCode::KafkaStorageError,
        ReadError::Storage(error) => log_code(error),
    }
}

/// What anybody is told when files fail.
pub(crate) fn log_code(error: &LogError) -> ErrorCode {
    match error {
        // The partition is being deleted, or the broker stops: somebody else will know.
        LogError::Closed => ErrorCode::NotLeaderOrFollower,
        _ => ErrorCode::KafkaStorageError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_damaged_is_worth_another_try() {
        let code = |error| append_code(&AppendRefused::Log(AppendError::Batch(error)));
        for damaged in [
            BatchError::BadCrc { stored: 1, computed: 2 },
            BatchError::BadLength(3),
            BatchError::UnsupportedMagic(9),
            BatchError::UnsupportedMagic(-1),
        ] {
            assert_eq!(code(damaged), ErrorCode::CorruptMessage);
        }
        for made_so in [
            BatchError::UnsupportedMagic(0),
            BatchError::UnsupportedMagic(1),
            BatchError::Truncated { have: 1, need: 2 },
            BatchError::MalformedRecord { index: 0 },
        ] {
            assert_eq!(code(made_so), ErrorCode::InvalidRecord);
        }
    }
}
