//! Feature levels of the cluster (KIP-584): which features there are and which of their levels this release serves.
//!
//! Picture: every feature has a range of levels that a node of this release supports, and one level that is finalized for the whole
//! cluster, kept in the metadata log. Clients switch their behaviour by finalized levels (a Java producer speaks the second
//! transaction protocol only when `transaction.version` is 2), so a level is supported here only when it is really served.
//!
//! Invariants: a new cluster begins with the newest levels; a cluster whose log says nothing of a feature has its lowest one. A level
//! outside of the range is never replayed: a newer release wrote it, and a node that goes on would serve something else.
//!
//! Deviations from Kafka: `metadata.version`, `kraft.version` and `eligible.leader.replicas.version` have one level each. The layout of
//! our metadata log is versioned record by record (`docs/001-record-layout.md`), voters always change by command, and eligible leader
//! replicas are always kept, so there is no lower level to go to. Share groups and streams groups have no feature, as long as they are
//! not served.

/// The release of Kafka whose metadata, as clients can see it, is served.
pub const METADATA_VERSION: &str = "metadata.version";
/// Whether voters of the metadata quorum change at run time (KIP-853).
pub const KRAFT_VERSION: &str = "kraft.version";
/// 1: transaction records with tagged fields. 2: an epoch for each transaction, partitions are added by producing (KIP-890).
pub const TRANSACTION_VERSION: &str = "transaction.version";
/// 1: the consumer protocol (KIP-848).
pub const GROUP_VERSION: &str = "group.version";
/// 1: the high watermark waits for `min.insync.replicas`, and the controller keeps the ELR (KIP-966).
pub const ELIGIBLE_LEADER_REPLICAS_VERSION: &str = "eligible.leader.replicas.version";
/// Ours. 1: topics that are a mirror of another cluster's at the same offsets, and record 14 in the metadata log.
pub const MIRROR: &str = "twinstream.mirror";

/// `4.3-IV0` in Kafka's list of metadata versions.
const KAFKA_4_3: i16 = 30;

/// One feature with the levels that this release serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    pub name: &'static str,
    pub min: i16,
    pub max: i16,
}

/// Every feature, by name. One whose newest level is 0 is not served yet and not shown to clients.
pub const FEATURES: &[Feature] = &[
    Feature { name: ELIGIBLE_LEADER_REPLICAS_VERSION, min: 1, max: 1 },
    Feature { name: GROUP_VERSION, min: 0, max: 1 },
    Feature { name: KRAFT_VERSION, min: 1, max: 1 },
    Feature { name: METADATA_VERSION, min: KAFKA_4_3, max: KAFKA_4_3 },
    Feature { name: TRANSACTION_VERSION, min: 0, max: 2 },
    Feature { name: MIRROR, min: 0, max: 1 },
];

impl Feature {
    /// Whether there is anything to switch.
    pub fn is_served(&self) -> bool {
        self.max > 0
    }

    pub fn supports(&self, level: i16) -> bool {
        (self.min..=self.max).contains(&level)
    }
}

/// The feature of a name, if it is served.
pub fn find(name: &str) -> Option<&'static Feature> {
    served().find(|feature| feature.name == name)
}

/// What clients are told of.
pub fn served() -> impl Iterator<Item = &'static Feature> {
    FEATURES.iter().filter(|feature| feature.is_served())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_stand_in_order_with_sound_ranges() {
        assert!(FEATURES.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(FEATURES.iter().all(|feature| 0 <= feature.min && feature.min <= feature.max));
    }

    #[test]
    fn a_feature_without_a_level_to_switch_to_is_not_shown() {
        assert!(served().all(|feature| feature.max > 0));
        assert_eq!(find("share.version"), None);
    }
}
