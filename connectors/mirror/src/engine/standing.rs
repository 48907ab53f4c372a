//! How the copy of one partition stands, in words that operators can act on, and what is done about it. Pure.
//!
//! Picture: a partition that copies is `Copying`, whether it is behind or waits for new records. Everything else has a
//! name of its own and a cause in words; each change of standing is told once ([`super::News`]), logged, and counted.
//! What the names mean, and which policy decides:
//!
//! | standing | the source | policy |
//! |---|---|---|
//! | `Away` | does not answer, or has no leader | tried again, with pauses |
//! | `Gone` | has no such topic or partition | looked for again |
//! | `Unauthorized` | refuses to let us read | `twinstream.on.source.unauthorized` |
//! | `Overtaken` | removed records before they were copied | `twinstream.on.source.retention` |
//! | `Truncated` | lost records that were copied already (an unclean election, a restored disk) | `twinstream.on.source.truncation` |
//! | `Recreated` | deleted the topic and made it anew | `twinstream.on.source.recreation` |
//!
//! Two are about the target: `Promoted` (its mirror takes records from producers now) and `Refused` (it does not take what the
//! link brings, the cause says why). Both stop one partition, which is looked at again from time to time.

use std::fmt;

use twinstream_model::ErrorCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Standing {
    /// Where to begin is asked for.
    Starting,
    Copying,
    Away,
    Gone,
    Unauthorized,
    Overtaken,
    Truncated,
    Recreated,
    Promoted,
    Refused,
}

impl Standing {
    pub(crate) const ALL: [Standing; 10] = [
        Standing::Starting,
        Standing::Copying,
        Standing::Away,
        Standing::Gone,
        Standing::Unauthorized,
        Standing::Overtaken,
        Standing::Truncated,
        Standing::Recreated,
        Standing::Promoted,
        Standing::Refused,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Standing::Starting => "STARTING",
            Standing::Copying => "COPYING",
            Standing::Away => "AWAY",
            Standing::Gone => "GONE",
            Standing::Unauthorized => "UNAUTHORIZED",
            Standing::Overtaken => "OVERTAKEN",
            Standing::Truncated => "TRUNCATED",
            Standing::Recreated => "RECREATED",
            Standing::Promoted => "PROMOTED",
            Standing::Refused => "REFUSED",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is done when source and copy do not fit any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnTrouble {
    /// The task fails: everything that it copies stands until somebody has looked.
    Fail,
    /// This partition stands until the task is started again, or for an access that was refused, until it is granted; the
    /// others go on.
    Pause,
    /// Goes on without leaving out a record that the source still has; some may come twice.
    Resume,
    /// Goes on with what is written from now on.
    Latest,
}

impl OnTrouble {
    pub(crate) const NAMES: [&str; 4] = ["fail", "pause", "resume", "latest"];

    pub(crate) fn parse(name: &str) -> Option<OnTrouble> {
        match name {
            "fail" => Some(OnTrouble::Fail),
            "pause" => Some(OnTrouble::Pause),
            "resume" => Some(OnTrouble::Resume),
            "latest" => Some(OnTrouble::Latest),
            _ => None,
        }
    }
}

/// Where a partition begins that was never copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    Earliest,
    Latest,
}

/// One answer for each trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policies {
    pub begin: Begin,
    pub truncation: OnTrouble,
    pub recreation: OnTrouble,
    pub retention: OnTrouble,
    pub unauthorized: OnTrouble,
}

impl Policies {
    /// The policy of a standing, and the setting that names it.
    pub(crate) fn of(&self, standing: Standing) -> (OnTrouble, &'static str) {
        match standing {
            Standing::Truncated => (self.truncation, "twinstream.on.source.truncation"),
            Standing::Recreated => (self.recreation, "twinstream.on.source.recreation"),
            Standing::Unauthorized => (self.unauthorized, "twinstream.on.source.unauthorized"),
            _ => (self.retention, "twinstream.on.source.retention"),
        }
    }
}

/// What an error of the source means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    /// Leadership moved or the broker is busy with itself: look again soon.
    LookAgain,
    /// The topic or partition is not there, or not the one that it was.
    Gone,
    /// The position is outside the log.
    OutOfRange,
    Unauthorized,
    Fatal,
}

pub(crate) fn judge(code: ErrorCode) -> Verdict {
    match code {
        ErrorCode::None => Verdict::Fine,
        ErrorCode::OffsetOutOfRange => Verdict::OutOfRange,
        ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId | ErrorCode::InconsistentTopicId => {
            Verdict::Gone
        }
        ErrorCode::TopicAuthorizationFailed | ErrorCode::ClusterAuthorizationFailed => Verdict::Unauthorized,
        code if code.is_retriable() => Verdict::LookAgain,
        // Kafka's table calls it final; for a reader it passes when the disk is replaced and another leader is chosen.
        ErrorCode::KafkaStorageError | ErrorCode::FencedLeaderEpoch | ErrorCode::UnknownLeaderEpoch => {
            Verdict::LookAgain
        }
        // What a broker did not expect itself; Kafka's own reader asks again too.
        ErrorCode::UnknownServerError => Verdict::LookAgain,
        _ => Verdict::Fatal,
    }
}
