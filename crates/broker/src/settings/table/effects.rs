//! The settings of Kafka that must have an effect here, one by one, each with what shows that it has.
//!
//! A proof is a test that fails without the effect, by its file and name. It is looked up, so that a proof which went away is
//! noticed. What has no effect says why.

use super::{Fate, find};

enum Proof {
    /// A test in a file of the workspace, from `crates/` on.
    Test(&'static str, &'static str),
    /// A test data file of the workspace, and a line of it.
    Script(&'static str, &'static str),
    /// Why there is none, as the table has it.
    NoSuchPart,
    /// Why there is none yet.
    Later(&'static str),
}

use Proof::{Later, NoSuchPart, Script, Test};

const SECURITY: &str = "listeners do not authenticate or encrypt yet";
const SHARE: &str = "share groups are not served";
const TIERING: &str = "there is no tiered storage yet";
const QUOTAS: &str = "quotas are stored and not enforced yet";

const LISTENERS: &str = "broker/src/settings/listeners/tests.rs";
const SETTINGS: &str = "broker/tests/settings.rs";
const ADMIN: &str = "broker/tests/admin.rs";
const REPLICATION: &str = "broker/tests/replication.rs";
const TRANSACTIONS: &str = "broker/tests/transactions.rs";

#[rustfmt::skip]
const MUST: &[(&str, Proof)] = &[
    // identity and quorum
    ("node.id", Test(LISTENERS, "a_node_needs_one_number")),
    ("broker.id", Test(LISTENERS, "a_node_needs_one_number")),
    ("process.roles", Test(LISTENERS, "roles_and_voters_must_agree")),
    ("controller.quorum.voters", Test("broker/tests/quorum.rs", "three_voters_form_a_quorum_and_every_node_describes_it")),
    ("controller.quorum.bootstrap.servers", Test("broker/tests/quorum.rs", "broker_that_knows_only_bootstrap_servers_joins_and_outlives_leaders_and_restarts")),
    ("controller.listener.names", Test(LISTENERS, "controller_listeners_are_bound_and_not_advertised")),
    ("controller.quorum.election.timeout.ms", Test("broker/tests/quorum.rs", "a_killed_controller_is_replaced_at_once")),
    ("controller.quorum.fetch.timeout.ms", NoSuchPart),
    ("controller.quorum.append.linger.ms", NoSuchPart),
    ("broker.heartbeat.interval.ms", Test("broker/src/settings/typed/tests.rs", "a_broker_that_would_be_fenced_between_two_heartbeats_is_refused")),
    ("broker.session.timeout.ms", Test(REPLICATION, "hung_leader_is_fenced_when_it_goes_on")),
    // listeners
    ("listeners", Test(LISTENERS, "kafkas_own_example_file_is_accepted")),
    ("advertised.listeners", Test(SETTINGS, "clients_are_told_the_advertised_address_and_the_rack")),
    ("listener.security.protocol.map", Test(LISTENERS, "listeners_that_we_cannot_secure_are_refused")),
    ("inter.broker.listener.name", Test(LISTENERS, "mistakes_in_listeners_name_what_is_allowed")),
    // directories
    ("log.dirs", Test("cli/tests/faults_disk.rs", "directory_that_fails_or_is_missing_costs_only_its_partitions_their_place")),
    ("log.dir", Test("broker/src/settings/typed/tests.rs", "log_dir_counts_when_there_are_no_log_dirs")),
    ("replica.alter.log.dirs.io.max.bytes.per.second", Test("broker/src/partitions/tests/moves.rs", "moves_keep_to_their_rate_and_the_rate_may_change")),
    ("log.dir.failure.timeout.ms", Test("broker/tests/settings.rs", "broker_that_cannot_tell_of_a_failed_directory_stops_in_time")),
    ("cordoned.log.dirs", Test("broker/tests/cluster_admin.rs", "cordoned_directories_get_no_new_partitions_from_the_moment_on")),
    ("num.recovery.threads.per.data.dir", Test("broker/src/partitions/tests/recovery_threads.rs", "each_directory_has_its_threads_for_recovery")),
    // topics
    ("num.partitions", Test(ADMIN, "default_partitions_and_replication_work_as_kafka_topics_sends_them")),
    ("default.replication.factor", Test(SETTINGS, "topics_get_the_replicas_that_the_broker_says")),
    ("auto.create.topics.enable", Test("broker/tests/metadata.rs", "an_unknown_topic_comes_into_being_when_client_and_broker_allow_it")),
    ("delete.topic.enable", Test(ADMIN, "deletion_can_be_switched_off")),
    // groups and offsets
    ("offsets.topic.num.partitions", Test(SETTINGS, "groups_and_their_offsets_keep_to_the_bounds_of_the_broker")),
    ("offsets.topic.replication.factor", Test("broker/tests/groups.rs", "the_first_question_for_a_coordinator_creates_the_offsets_topic")),
    ("offsets.topic.segment.bytes", Test(SETTINGS, "groups_and_their_offsets_keep_to_the_bounds_of_the_broker")),
    ("offsets.retention.minutes", Script("coordinator/testdata/08-expiry.txt", "retention")),
    ("offset.metadata.max.bytes", Test(SETTINGS, "groups_and_their_offsets_keep_to_the_bounds_of_the_broker")),
    ("group.initial.rebalance.delay.ms", Script("coordinator/testdata/01-two-consumers.txt", "advance 3000")),
    ("group.min.session.timeout.ms", Test(SETTINGS, "groups_and_their_offsets_keep_to_the_bounds_of_the_broker")),
    ("group.max.session.timeout.ms", Test(SETTINGS, "groups_and_their_offsets_keep_to_the_bounds_of_the_broker")),
    ("group.max.size", Test(SETTINGS, "groups_and_their_offsets_keep_to_the_bounds_of_the_broker")),
    ("group.coordinator.rebalance.protocols", Test("broker/tests/group_settings.rs", "protocol_of_consumer_groups_is_served_if_it_is_named")),
    ("group.consumer.session.timeout.ms", Test("broker/tests/group_settings.rs", "members_keep_the_interval_and_the_session_of_the_broker_and_use_its_assignors")),
    ("group.consumer.heartbeat.interval.ms", Test("broker/tests/group_settings.rs", "members_keep_the_interval_and_the_session_of_the_broker_and_use_its_assignors")),
    ("group.consumer.assignors", Test("broker/tests/group_settings.rs", "members_keep_the_interval_and_the_session_of_the_broker_and_use_its_assignors")),
    ("group.consumer.migration.policy", Test("broker/tests/group_settings.rs", "groups_change_their_protocol_only_as_the_policy_says")),
    ("group.consumer.assignment.interval.ms", Test("broker/tests/group_settings.rs", "assignments_are_made_no_more_often_than_the_interval_says")),
    ("group.share.record.lock.duration.ms", Later(SHARE)),
    ("group.share.delivery.count.limit", Later(SHARE)),
    ("group.share.partition.max.record.locks", Later(SHARE)),
    ("group.share.max.size", Later(SHARE)),
    // transactions
    ("transaction.state.log.num.partitions", Test("broker/tests/transaction_settings.rs", "topic_of_transactions_is_made_as_the_broker_says_and_forgets_ids_when_it_says")),
    ("transaction.state.log.replication.factor", Test("broker/tests/transaction_settings.rs", "topic_of_transactions_is_made_as_the_broker_says_and_forgets_ids_when_it_says")),
    ("transaction.state.log.min.isr", Test("broker/tests/transaction_settings.rs", "topic_of_transactions_is_made_as_the_broker_says_and_forgets_ids_when_it_says")),
    ("transaction.max.timeout.ms", Test(TRANSACTIONS, "transaction_that_takes_too_long_is_aborted")),
    ("transactional.id.expiration.ms", Test("broker/tests/transaction_settings.rs", "topic_of_transactions_is_made_as_the_broker_says_and_forgets_ids_when_it_says")),
    ("producer.id.expiration.ms", Test("broker/tests/transaction_settings.rs", "producer_that_is_silent_is_forgotten_when_the_broker_says")),
    ("transaction.partition.verification.enable", Test("broker/tests/produce_verification.rs", "verification_is_switched_off_and_on_at_run_time")),
    ("transaction.two.phase.commit.enable", Later("KIP-939 is not served, and Kafka has it switched off")),
    // replicas
    ("replica.lag.time.max.ms", Test(REPLICATION, "silent_follower_leaves_the_isr_and_comes_back_with_everything")),
    ("num.replica.fetchers", Test("broker/src/settings/live/tests.rs", "what_was_set_on_the_broker_counts_before_what_was_set_on_all")),
    ("replica.fetch.max.bytes", Test("broker/src/replication/fetcher/plan/tests.rs", "follower_asks_for_what_its_settings_say")),
    ("replica.fetch.wait.max.ms", Test("broker/src/replication/fetcher/plan/tests.rs", "follower_asks_for_what_its_settings_say")),
    ("auto.leader.rebalance.enable", Test("cli/tests/kafka_tools/movement.rs", "leader_election_command_brings_leaders_home")),
    ("leader.imbalance.check.interval.seconds", Test(SETTINGS, "leaders_go_home_as_often_as_the_broker_says")),
    ("controlled.shutdown.enable", Test("broker/tests/membership.rs", "a_broker_that_stops_hands_over_and_comes_back")),
    ("broker.rack", Test(SETTINGS, "clients_are_told_the_advertised_address_and_the_rack")),
    ("replica.selector.class", Test(REPLICATION, "consumer_is_sent_to_the_follower_in_its_rack_and_reads_there")),
    // protection
    ("socket.request.max.bytes", Test("broker/tests/pipeline.rs", "garbage_closes_its_own_connection_only")),
    ("max.connections", Test(ADMIN, "the_limit_of_connections_changes_while_the_broker_runs")),
    ("max.connections.per.ip", Test("broker/tests/pipeline.rs", "connections_over_the_limit_are_closed_and_places_come_back")),
    ("max.connection.creation.rate", Test("broker/tests/cluster_admin.rs", "connections_beyond_the_creation_rate_wait_to_be_accepted")),
    ("connections.max.idle.ms", Test("broker/tests/pipeline.rs", "a_fetch_waits_no_longer_than_an_idle_connection_is_kept")),
    ("connections.max.reauth.ms", Later(SECURITY)),
    ("queued.max.requests", NoSuchPart),
    ("queued.max.request.bytes", Test("broker/tests/pipeline.rs", "requests_in_memory_are_bounded_and_still_all_served")),
    ("fetch.max.bytes", Test(SETTINGS, "answers_keep_to_the_bounds_of_the_broker")),
    ("max.incremental.fetch.session.cache.slots", Test(SETTINGS, "answers_keep_to_the_bounds_of_the_broker")),
    ("max.request.partition.size.limit", Test(SETTINGS, "answers_keep_to_the_bounds_of_the_broker")),
    ("quota.window.num", Later(QUOTAS)),
    ("quota.window.size.seconds", Later(QUOTAS)),
    // compaction and retention
    ("log.cleaner.threads", Test("broker/tests/compaction.rs", "cleaner_obeys_settings_that_change_while_it_runs")),
    ("log.cleaner.dedupe.buffer.size", Test("broker/src/partitions/tests/cleaning.rs", "compaction_takes_on_as_many_keys_as_there_is_memory_for")),
    ("log.cleaner.io.max.bytes.per.second", Test("broker/tests/compaction.rs", "cleaner_keeps_to_its_rate")),
    ("log.retention.check.interval.ms", Test("broker/tests/topic_configs.rs", "retention_ms_removes_what_is_older")),
    // security and tiering
    ("authorizer.class.name", Later(SECURITY)),
    ("sasl.enabled.mechanisms", Later(SECURITY)),
    ("ssl.client.auth", Later(SECURITY)),
    ("ssl.principal.mapping.rules", Later(SECURITY)),
    ("ssl.keystore.type", Later(SECURITY)),
    ("remote.log.storage.system.enable", Later(TIERING)),
    ("remote.log.manager.task.interval.ms", Later(TIERING)),
    ("log.local.retention.ms", Later(TIERING)),
    ("log.local.retention.bytes", Later(TIERING)),
];

fn read(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_setting_that_must_have_an_effect_has_one_that_is_shown() {
    for (name, proof) in MUST {
        let setting = find(name).unwrap_or_else(|| panic!("{name} stands in no row"));
        let has_effect = setting.fate == Fate::Effect;
        match proof {
            Test(file, test) => {
                assert!(has_effect, "{name}");
                assert!(
                    read(&format!("../{file}")).contains(&format!("fn {test}(")),
                    "{name}: {file} has no test {test}"
                );
            }
            Script(file, line) => {
                assert!(has_effect, "{name}");
                assert!(read(&format!("../{file}")).contains(line), "{name}: nothing of {line} in {file}");
            }
            NoSuchPart => assert_eq!(setting.fate, Fate::NoSuchPart, "{name}"),
            Later(why) => assert!(!has_effect && !why.is_empty(), "{name} has its effect; show it here"),
        }
    }
}

/// What Kafka 4.3.1 changes while a broker runs, but for TLS and SASL.
#[rustfmt::skip]
const DYNAMIC: &[&str] = &[
    "background.threads", "compression.gzip.level", "compression.lz4.level", "compression.type",
    "compression.zstd.level", "cordoned.log.dirs", "follower.fetch.last.tiered.offset.enable",
    "follower.replication.throttled.rate", "group.consumer.assignment.interval.ms",
    "group.coordinator.cached.buffer.max.bytes", "group.share.assignment.interval.ms",
    "group.streams.assignment.interval.ms", "leader.replication.throttled.rate",
    "listener.security.protocol.map", "listeners", "log.cleaner.backoff.ms", "log.cleaner.dedupe.buffer.size",
    "log.cleaner.delete.retention.ms", "log.cleaner.io.buffer.load.factor", "log.cleaner.io.buffer.size",
    "log.cleaner.io.max.bytes.per.second", "log.cleaner.max.compaction.lag.ms", "log.cleaner.min.cleanable.ratio",
    "log.cleaner.min.compaction.lag.ms", "log.cleaner.threads", "log.cleanup.policy", "log.flush.interval.messages",
    "log.flush.interval.ms", "log.index.interval.bytes", "log.index.size.max.bytes", "log.local.retention.bytes",
    "log.local.retention.ms", "log.message.timestamp.after.max.ms", "log.message.timestamp.before.max.ms",
    "log.message.timestamp.type", "log.preallocate", "log.retention.bytes", "log.retention.ms", "log.roll.jitter.ms",
    "log.roll.ms", "log.segment.bytes", "log.segment.delete.delay.ms", "max.connection.creation.rate",
    "max.connections", "max.connections.per.ip", "max.connections.per.ip.overrides", "message.max.bytes",
    "metric.reporters", "min.insync.replicas", "num.io.threads", "num.network.threads",
    "num.recovery.threads.per.data.dir", "num.replica.fetchers", "principal.builder.class",
    "producer.id.expiration.ms", "remote.fetch.max.wait.ms", "remote.list.offsets.request.timeout.ms",
    "remote.log.index.file.cache.total.size.bytes", "remote.log.manager.copier.thread.pool.size",
    "remote.log.manager.copy.max.bytes.per.second", "remote.log.manager.expiration.thread.pool.size",
    "remote.log.manager.fetch.max.bytes.per.second", "remote.log.manager.follower.thread.pool.size",
    "remote.log.reader.threads", "replica.alter.log.dirs.io.max.bytes.per.second",
    "share.coordinator.cached.buffer.max.bytes", "transaction.partition.verification.enable",
    "unclean.leader.election.enable",
];

/// What needs a restart here nevertheless.
const NEEDS_RESTART: &[&str] = &["listener.security.protocol.map", "listeners"];

#[test]
fn what_kafka_changes_at_run_time_changes_at_run_time_here() {
    for name in DYNAMIC {
        let setting = find(name).unwrap_or_else(|| panic!("{name} stands in no row"));
        let is_served = matches!(setting.fate, Fate::Effect | Fate::NoSuchPart);
        let expected = is_served && !NEEDS_RESTART.contains(name);
        assert_eq!(crate::controller::is_dynamic(name), expected, "{name}");
    }
}
