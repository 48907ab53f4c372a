//! The wire codes of what logs answer.

use twinstream_log::{AppendError, LogError, ReadError, RecordFaultKind};
use twinstream_model::ErrorCode;
use twinstream_protocol::batch::BatchError;
use twinstream_protocol::compression::CompressionError;

use super::AppendRefused;

/// What a producer is told.
pub(crate) fn append_code(refused: &AppendRefused) -> ErrorCode {
    match refused {
        AppendRefused::NotLeader(code) => *code,
        AppendRefused::NotEnoughReplicas(_) => ErrorCode::NotEnoughReplicas,
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
        AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        AppendError::Recompress(_) => ErrorCode::UnknownServerError,
        AppendError::Storage(error) => log_code(error),
    }
}

/// Only what may have been damaged on the way is worth another try, which CORRUPT_MESSAGE asks for. What is wrong under
/// a right checksum, or is no batch at all, the producer made so; Kafka says INVALID_RECORD to old formats, too.
fn produced_code(error: &BatchError) -> ErrorCode {
    match error {
        BatchError::BadCrc { .. } => ErrorCode::CorruptMessage,
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
