//! What a broker's code means for a batch that was sent.

use twinstream_model::ErrorCode;

/// What becomes of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Delivered,
    /// Sent again; after a look at who leads now, if `lookup`.
    Again {
        lookup: bool,
    },
    /// Sent again with new sequences: the broker has lost the old ones.
    Renumber,
    /// Sent again if the bytes are sound here, so that they were damaged on the way.
    CheckBytes,
    Final,
}

/// What the sender knows about the batch beside the code.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// Everything before it was acknowledged.
    pub(super) is_first: bool,
    pub(super) is_numbered: bool,
    /// The broker said where its log begins; one that has just lost the partition does not.
    pub(super) knows_log_start: bool,
    /// Its producer has a transactional id, and nobody else may raise its epoch.
    pub(super) is_transactional: bool,
}

/// Kafka's own rules (KIP-98, KIP-360), told by whether the batches before this one are known to have arrived.
pub(super) fn verdict(code: ErrorCode, about: Circumstances) -> Verdict {
    use ErrorCode as E;
    match code {
        E::None => Verdict::Delivered,
        // The broker has it for so long that it does not know the offset any more.
        E::DuplicateSequenceNumber if about.is_numbered => Verdict::Delivered,
        E::InvalidProducerEpoch | E::ProducerFenced if about.is_transactional => Verdict::Final,
        E::OutOfOrderSequenceNumber | E::UnknownProducerId | E::InvalidProducerEpoch if !about.is_first => {
            Verdict::Again { lookup: false }
        }
        E::UnknownProducerId if about.is_numbered && !about.knows_log_start => Verdict::Again { lookup: true },
        E::OutOfOrderSequenceNumber | E::UnknownProducerId | E::InvalidProducerEpoch if about.is_numbered => {
            Verdict::Renumber
        }
        E::NotLeaderOrFollower
        | E::LeaderNotAvailable
        | E::UnknownTopicOrPartition
        | E::UnknownTopicId
        | E::KafkaStorageError
        | E::FencedLeaderEpoch
        | E::UnknownLeaderEpoch
        | E::ReplicaNotAvailable => Verdict::Again { lookup: true },
        E::CorruptMessage => Verdict::CheckBytes,
        code if code.is_retriable() => Verdict::Again { lookup: false },
        _ => Verdict::Final,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Circumstances =
        Circumstances { is_first: true, is_numbered: true, knows_log_start: true, is_transactional: false };
    const BEHIND: Circumstances = Circumstances { is_first: false, ..FIRST };
    const ALIGNED: Circumstances = Circumstances { is_numbered: false, ..FIRST };

    #[test]
    fn lost_sequences_are_renumbered_only_when_nothing_before_is_open() {
        for code in [ErrorCode::OutOfOrderSequenceNumber, ErrorCode::UnknownProducerId] {
            assert_eq!(verdict(code, FIRST), Verdict::Renumber);
            assert_eq!(verdict(code, BEHIND), Verdict::Again { lookup: false });
        }
        let moved_away = Circumstances { knows_log_start: false, ..FIRST };
        assert_eq!(verdict(ErrorCode::UnknownProducerId, moved_away), Verdict::Again { lookup: true });
    }

    #[test]
    fn an_aligned_append_beyond_the_log_end_is_its_callers_to_answer() {
        assert_eq!(verdict(ErrorCode::OutOfOrderSequenceNumber, ALIGNED), Verdict::Final);
        let behind = Circumstances { is_first: false, ..ALIGNED };
        assert_eq!(verdict(ErrorCode::OutOfOrderSequenceNumber, behind), Verdict::Again { lookup: false });
    }

    #[test]
    fn a_batch_that_is_long_there_is_delivered() {
        assert_eq!(verdict(ErrorCode::DuplicateSequenceNumber, FIRST), Verdict::Delivered);
        assert_eq!(verdict(ErrorCode::DuplicateSequenceNumber, ALIGNED), Verdict::Final);
    }

    #[test]
    fn who_is_fenced_by_a_successor_with_his_name_never_tries_again() {
        for about in [FIRST, BEHIND] {
            let about = Circumstances { is_transactional: true, ..about };
            assert_eq!(verdict(ErrorCode::InvalidProducerEpoch, about), Verdict::Final);
        }
        assert_eq!(verdict(ErrorCode::InvalidProducerEpoch, FIRST), Verdict::Renumber);
    }

    #[test]
    fn leaders_that_moved_are_looked_up_and_refusals_for_good_are_final() {
        assert_eq!(verdict(ErrorCode::NotLeaderOrFollower, FIRST), Verdict::Again { lookup: true });
        assert_eq!(verdict(ErrorCode::UnknownLeaderEpoch, ALIGNED), Verdict::Again { lookup: true });
        assert_eq!(verdict(ErrorCode::NotEnoughReplicas, FIRST), Verdict::Again { lookup: false });
        for code in [ErrorCode::MessageTooLarge, ErrorCode::TopicAuthorizationFailed, ErrorCode::PolicyViolation] {
            assert_eq!(verdict(code, FIRST), Verdict::Final);
        }
    }
}
