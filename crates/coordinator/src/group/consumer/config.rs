//! The settings of consumer groups; names and defaults are Kafka's.

use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupConfig {
    /// `group.consumer.session.timeout.ms`
    pub session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`
    pub heartbeat_interval_ms: i32,
    /// `group.consumer.max.size`
    pub members_max: usize,
    /// `group.consumer.assignors`: the first is the default of members that name none.
    pub assignors: Vec<Arc<str>>,
    /// `group.consumer.migration.policy`
    pub migration: MigrationPolicy,
    /// `group.consumer.assignment.interval.ms`: a target assignment lasts at least this long (KIP-1263), so that
    /// members that come one after the other cost one assignment and not one each.
    pub assignment_interval_ms: i64,
    /// `group.consumer.regex.refresh.interval.ms`
    pub regex_refresh_interval_ms: u64,
}

/// Which way a live group may go between the two protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    Bidirectional,
    Upgrade,
    Downgrade,
    Disabled,
}

impl MigrationPolicy {
    /// Kafka's name of a policy, in any case.
    pub fn parse(name: &str) -> Option<MigrationPolicy> {
        let all = [
            ("bidirectional", MigrationPolicy::Bidirectional),
            ("upgrade", MigrationPolicy::Upgrade),
            ("downgrade", MigrationPolicy::Downgrade),
            ("disabled", MigrationPolicy::Disabled),
        ];
        all.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, policy)| policy)
    }

    pub(crate) fn allows_upgrade(self) -> bool {
        matches!(self, MigrationPolicy::Bidirectional | MigrationPolicy::Upgrade)
    }

    pub(crate) fn allows_downgrade(self) -> bool {
        matches!(self, MigrationPolicy::Bidirectional | MigrationPolicy::Downgrade)
    }
}

impl Default for ConsumerGroupConfig {
    fn default() -> Self {
        ConsumerGroupConfig {
            session_timeout_ms: 45_000,
            heartbeat_interval_ms: 5_000,
            members_max: i32::MAX as usize,
            assignors: vec!["uniform".into(), "range".into()],
            migration: MigrationPolicy::Bidirectional,
            assignment_interval_ms: 1_000,
            regex_refresh_interval_ms: 600_000,
        }
    }
}
