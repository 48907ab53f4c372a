//! What an answer about one source partition means for its copy. Pure.

use twinstream_model::{ErrorCode, Offset};

use crate::config::OnGap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    /// Leadership moved or the broker is busy with itself: look again soon.
    LookAgain,
    /// The topic or partition is not there.
    Gone,
    /// The position is outside the log.
    OutOfRange,
    Fatal,
}

pub(crate) fn judge(code: ErrorCode) -> Verdict {
    match code {
        ErrorCode::None => Verdict::Fine,
        ErrorCode::OffsetOutOfRange => Verdict::OutOfRange,
        ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => Verdict::Gone,
        code if code.is_retriable() => Verdict::LookAgain,
        // Kafka's table calls it final; for a reader it passes when the disk is replaced and another leader is chosen.
        ErrorCode::KafkaStorageError | ErrorCode::FencedLeaderEpoch | ErrorCode::UnknownLeaderEpoch => {
            Verdict::LookAgain
        }
        _ => Verdict::Fatal,
    }
}

/// How the copy goes on when its position is not in the source's log `start..end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gap {
    /// Go on here; `lost` records before it were removed at the source and are not copied.
    GoOn {
        at: Offset,
        lost: i64,
    },
    /// The position is in the log after all.
    Stay,
    Fail(String),
}

pub(crate) fn judge_gap(policy: OnGap, position: Offset, start: Offset, end: Offset) -> Gap {
    if (start..=end).contains(&position) {
        return Gap::Stay;
    }
    let removed = position < start;
    let what = if removed {
        format!("records {position} to {} were removed at the source before they were copied", start.0 - 1)
    } else {
        format!(
            "the source's log ends at {end}, before the position {position}: it was truncated, or the topic was deleted and made anew"
        )
    };
    match policy {
        OnGap::Careful if removed => Gap::GoOn { at: start, lost: start.0 - position.0 },
        OnGap::Earliest => Gap::GoOn { at: start, lost: (start.0 - position.0).max(0) },
        OnGap::Latest => Gap::GoOn { at: end, lost: (end.0 - position.0).max(0) },
        OnGap::Careful | OnGap::Fail => Gap::Fail(format!(
            "{what}; set source.consumer.auto.offset.reset=earliest to copy from offset {start}, or =latest to go on at offset {end}"
        )),
    }
}
