//! The commands.

use std::path::Path;

use Kind::{Compared, Needed};
use Tool::*;

/// Whether what a command prints counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Compared,
    /// It must succeed; what it prints is figures or random.
    Needed,
}

#[derive(Debug)]
pub(super) struct Command {
    pub(super) kind: Kind,
    pub(super) tool: Tool,
    /// Arguments; `FILES` is the folder of [`write_files`].
    pub(super) words: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    Topics,
    Configs,
    Groups,
    ConsumerGroups,
    Transactions,
    Features,
    LogDirs,
    GetOffsets,
    DeleteRecords,
    Reassign,
    LeaderElection,
    Cluster,
    ClientMetrics,
    Acls,
    ProducerPerformance,
    ConsoleConsumer,
}

impl Tool {
    pub(super) fn class(self) -> &'static str {
        match self {
            Topics => "org.apache.kafka.tools.TopicCommand",
            Configs => "kafka.admin.ConfigCommand",
            Groups => "org.apache.kafka.tools.GroupsCommand",
            ConsumerGroups => "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            Transactions => "org.apache.kafka.tools.TransactionsCommand",
            Features => "org.apache.kafka.tools.FeatureCommand",
            LogDirs => "org.apache.kafka.tools.LogDirsCommand",
            GetOffsets => "org.apache.kafka.tools.GetOffsetShell",
            DeleteRecords => "org.apache.kafka.tools.DeleteRecordsCommand",
            Reassign => "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
            LeaderElection => "org.apache.kafka.tools.LeaderElectionCommand",
            Cluster => "org.apache.kafka.tools.ClusterTool",
            ClientMetrics => "org.apache.kafka.tools.ClientMetricsCommand",
            Acls => "org.apache.kafka.tools.AclCommand",
            ProducerPerformance => "org.apache.kafka.tools.ProducerPerformance",
            ConsoleConsumer => "org.apache.kafka.tools.consumer.ConsoleConsumer",
        }
    }

    /// As its script is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Topics => "topics",
            Configs => "configs",
            Groups => "groups",
            ConsumerGroups => "consumer-groups",
            Transactions => "transactions",
            Features => "features",
            LogDirs => "log-dirs",
            GetOffsets => "get-offsets",
            DeleteRecords => "delete-records",
            Reassign => "reassign-partitions",
            LeaderElection => "leader-election",
            Cluster => "cluster",
            ClientMetrics => "client-metrics",
            Acls => "acls",
            ProducerPerformance => "producer-perf-test",
            ConsoleConsumer => "console-consumer",
        }
    }

    /// Its first word is a command, which stands before everything else.
    pub(super) fn takes_server_last(self) -> bool {
        self == Cluster
    }
}

const fn compared(tool: Tool, words: &'static str) -> Command {
    Command { kind: Compared, tool, words }
}

const fn needed(tool: Tool, words: &'static str) -> Command {
    Command { kind: Needed, tool, words }
}

pub(super) fn write_files(folder: &Path) {
    let files = [
        ("delete.json", r#"{"partitions":[{"topic":"single","partition":0,"offset":3}],"version":1}"#),
        ("move.json", r#"{"version":1,"partitions":[{"topic":"many","partition":0,"replicas":[1]}]}"#),
        ("move-unknown.json", r#"{"version":1,"partitions":[{"topic":"nowhere","partition":0,"replicas":[1]}]}"#),
        ("move-away.json", r#"{"version":1,"partitions":[{"topic":"many","partition":0,"replicas":[9]}]}"#),
        ("topics.json", r#"{"version":1,"topics":[{"topic":"many"}]}"#),
        ("offsets.csv", "single,0,2\n"),
        ("offsets-of-groups.csv", "readers,single,0,4\n"),
        ("offsets-unknown.csv", "nowhere,0,2\n"),
    ];
    for (name, text) in files {
        let file = folder.join(name);
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
    }
}

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = &[
    compared(Topics, "--create --topic plain"),
    compared(Topics, "--create --topic many --partitions 3 --replication-factor 1 --config retention.ms=3600000"),
    compared(Topics, "--create --topic placed --replica-assignment 1,1"),
    compared(Topics, "--create --topic single"),
    compared(Topics, "--create --topic plain"),
    compared(Topics, "--create --topic plain --if-not-exists"),
    compared(Topics, "--create --topic wide --replication-factor 4"),
    compared(Topics, "--create --topic none --partitions 0"),
    compared(Topics, "--create --topic a+b"),
    compared(Topics, "--create --topic odd --config no.such.config=1"),
    compared(Topics, "--list"),
    compared(Topics, "--describe"),
    compared(Topics, "--describe --topic many"),
    compared(Topics, "--describe --topic nowhere"),
    compared(Topics, "--describe --topic nowhere --if-exists"),
    compared(Topics, "--describe --topics-with-overrides"),
    compared(Topics, "--describe --under-replicated-partitions"),
    compared(Topics, "--describe --unavailable-partitions"),
    compared(Topics, "--describe --under-min-isr-partitions"),
    compared(Topics, "--describe --at-min-isr-partitions --exclude-internal"),
    compared(Topics, "--alter --topic plain --partitions 2"),
    compared(Topics, "--alter --topic plain --partitions 1"),
    compared(Topics, "--alter --topic nowhere --partitions 5"),
    compared(Topics, "--describe --topic plain"),

    compared(Configs, "--describe --entity-type topics --entity-name many"),
    compared(Configs, "--describe --entity-type topics --entity-name many --all"),
    compared(Configs, "--describe --entity-type topics --entity-name nowhere"),
    compared(Configs, "--alter --entity-type topics --entity-name many --add-config segment.bytes=2000000,cleanup.policy=[compact,delete]"),
    compared(Configs, "--alter --entity-type topics --entity-name many --add-config segment.bytes=1"),
    compared(Configs, "--alter --entity-type topics --entity-name many --add-config no.such.config=1"),
    compared(Configs, "--describe --entity-type topics --entity-name many"),
    compared(Configs, "--alter --entity-type topics --entity-name many --delete-config cleanup.policy"),
    compared(Configs, "--alter --entity-type topics --entity-name many --delete-config no.such.config"),
    compared(Configs, "--describe --entity-type topics"),
    compared(Configs, "--alter --entity-type brokers --entity-default --add-config log.retention.ms=7200000"),
    compared(Configs, "--alter --entity-type brokers --entity-name 1 --add-config log.cleaner.threads=2"),
    compared(Configs, "--alter --entity-type brokers --entity-name 1 --add-config num.partitions=2"),
    compared(Configs, "--describe --entity-type brokers --entity-default"),
    compared(Configs, "--describe --entity-type brokers --entity-name 1"),
    compared(Configs, "--describe --entity-type brokers --entity-name 99"),
    compared(Configs, "--alter --entity-type brokers --entity-default --delete-config log.retention.ms"),
    compared(Configs, "--alter --entity-type clients --entity-name c --add-config producer_byte_rate=1000,consumer_byte_rate=2000"),
    compared(Configs, "--alter --entity-type clients --entity-default --add-config request_percentage=50"),
    compared(Configs, "--alter --entity-type users --entity-name u --entity-type clients --entity-name c --add-config producer_byte_rate=3000"),
    compared(Configs, "--alter --entity-type users --entity-default --add-config controller_mutation_rate=5"),
    compared(Configs, "--alter --entity-type ips --entity-name 10.0.0.1 --add-config connection_creation_rate=10"),
    compared(Configs, "--alter --entity-type clients --entity-name c --add-config no_such_rate=1"),
    compared(Configs, "--describe --entity-type clients"),
    compared(Configs, "--describe --entity-type clients --entity-name c"),
    compared(Configs, "--describe --entity-type users"),
    compared(Configs, "--describe --entity-type users --entity-type clients"),
    compared(Configs, "--describe --entity-type ips"),
    compared(Configs, "--alter --entity-type clients --entity-name c --delete-config producer_byte_rate"),
    compared(Configs, "--describe --entity-type clients --entity-name c"),
    compared(Configs, "--alter --entity-type users --entity-name u --add-config SCRAM-SHA-256=[iterations=8192,password=secret]"),
    compared(Configs, "--alter --entity-type users --entity-name v --add-config SCRAM-SHA-512=[password=secret]"),
    compared(Configs, "--describe --entity-type users --entity-name v"),
    compared(Configs, "--describe --entity-type users --entity-name u"),
    compared(Configs, "--alter --entity-type users --entity-name u --delete-config SCRAM-SHA-256"),
    compared(Configs, "--describe --entity-type users --entity-name u"),
    compared(Configs, "--alter --entity-type groups --entity-name g --add-config consumer.session.timeout.ms=50000"),
    compared(Configs, "--describe --entity-type groups --entity-name g"),
    compared(Configs, "--describe --entity-type groups"),
    compared(Configs, "--alter --entity-type groups --entity-name g --add-config no.such.config=1"),
    compared(ClientMetrics, "--alter --name m --metrics org.apache.kafka.consumer. --interval 30000 --match client_id=c1"),
    compared(ClientMetrics, "--describe --name m"),
    compared(ClientMetrics, "--list"),
    compared(ClientMetrics, "--delete --name m"),
    compared(ClientMetrics, "--list"),

    needed(ProducerPerformance, "--topic single --num-records 30 --record-size 10 --throughput -1"),
    compared(GetOffsets, "--topic plain"),
    compared(GetOffsets, "--topic plain --time -2"),
    compared(GetOffsets, "--topic-partitions many:0-5,plain --time earliest"),
    compared(GetOffsets, "--topic nowhere"),
    compared(GetOffsets, "--exclude-internal-topics --time -2"),

    needed(ConsoleConsumer, "--topic single --group readers --from-beginning --max-messages 30 --timeout-ms 60000"),
    compared(ConsumerGroups, "--list"),
    compared(ConsumerGroups, "--list --state"),
    compared(ConsumerGroups, "--list --type"),
    compared(ConsumerGroups, "--list --state empty"),
    compared(ConsumerGroups, "--list --type consumer"),
    compared(ConsumerGroups, "--describe --group nobody"),
    compared(ConsumerGroups, "--describe --group readers --state"),
    compared(ConsumerGroups, "--describe --group readers --members"),
    compared(ConsumerGroups, "--reset-offsets --group readers --topic single:0 --to-earliest --dry-run"),
    compared(ConsumerGroups, "--reset-offsets --group readers --topic single --to-offset 1 --execute"),
    compared(ConsumerGroups, "--describe --group readers --offsets"),
    compared(ConsumerGroups, "--reset-offsets --group readers --all-topics --shift-by 1 --execute"),
    compared(ConsumerGroups, "--reset-offsets --group readers --topic single --to-datetime 2020-01-01T00:00:00.000 --execute"),
    compared(ConsumerGroups, "--reset-offsets --group readers --topic single --by-duration PT1H --dry-run"),
    compared(ConsumerGroups, "--reset-offsets --group readers --topic nowhere --to-earliest --dry-run"),
    compared(ConsumerGroups, "--reset-offsets --group readers --topic single --to-latest --execute"),
    compared(ConsumerGroups, "--reset-offsets --group readers --topic single --to-current --dry-run"),
    compared(ConsumerGroups, "--reset-offsets --group readers --topic single --to-offset 5 --dry-run --export"),
    compared(ConsumerGroups, "--reset-offsets --group readers --from-file FILES/offsets.csv --dry-run"),
    compared(ConsumerGroups, "--reset-offsets --group readers --from-file FILES/offsets.csv --execute"),
    compared(ConsumerGroups, "--reset-offsets --group readers --from-file FILES/offsets-unknown.csv --dry-run"),
    compared(ConsumerGroups, "--reset-offsets --all-groups --from-file FILES/offsets-of-groups.csv --dry-run"),
    compared(ConsumerGroups, "--reset-offsets --all-groups --all-topics --to-earliest --dry-run --export"),
    compared(ConsumerGroups, "--reset-offsets --group readers --topic single --to-offset 1000 --dry-run"),
    compared(ConsumerGroups, "--reset-offsets --group newcomers --topic plain --to-earliest --execute"),
    compared(ConsumerGroups, "--describe --all-groups --offsets"),
    compared(ConsumerGroups, "--describe --all-groups --state"),
    compared(ConsumerGroups, "--describe --all-groups --members"),
    compared(ConsumerGroups, "--describe --group newcomers"),
    compared(ConsumerGroups, "--delete-offsets --group newcomers --topic plain:0"),
    compared(ConsumerGroups, "--delete-offsets --group newcomers --topic nowhere"),
    compared(ConsumerGroups, "--delete --group newcomers"),
    compared(ConsumerGroups, "--delete --group nobody"),
    compared(Groups, "--list"),
    compared(Groups, "--list --group-type classic"),
    compared(Groups, "--list --protocol consumer"),
    needed(ConsoleConsumer, "--topic single --group moderns --consumer-property group.protocol=consumer --from-beginning --max-messages 30 --timeout-ms 60000"),
    compared(ConsumerGroups, "--list --type"),
    compared(ConsumerGroups, "--describe --group moderns --state"),
    compared(ConsumerGroups, "--describe --group moderns --members --verbose"),
    compared(ConsumerGroups, "--delete --group moderns"),
    compared(ConsumerGroups, "--delete --all-groups"),
    compared(ConsumerGroups, "--delete --group readers"),
    compared(ConsumerGroups, "--list"),

    compared(DeleteRecords, "--offset-json-file FILES/delete.json"),
    compared(Reassign, "--list"),
    compared(Reassign, "--execute --reassignment-json-file FILES/move.json"),
    compared(Reassign, "--verify --reassignment-json-file FILES/move.json"),
    compared(Reassign, "--cancel --reassignment-json-file FILES/move.json"),
    compared(Reassign, "--execute --throttle 1000000 --reassignment-json-file FILES/move.json"),
    compared(Configs, "--describe --entity-type brokers --entity-name 1"),
    compared(Configs, "--describe --entity-type topics --entity-name many"),
    compared(Reassign, "--verify --preserve-throttles --reassignment-json-file FILES/move.json"),
    compared(Reassign, "--cancel --preserve-throttles --reassignment-json-file FILES/move.json"),
    compared(Reassign, "--verify --reassignment-json-file FILES/move.json"),
    compared(Configs, "--describe --entity-type brokers --entity-name 1"),
    compared(Reassign, "--cancel --reassignment-json-file FILES/move-unknown.json"),
    compared(Reassign, "--verify --reassignment-json-file FILES/move-unknown.json"),
    compared(Reassign, "--execute --reassignment-json-file FILES/move-unknown.json"),
    compared(Reassign, "--execute --reassignment-json-file FILES/move-away.json"),
    compared(Reassign, "--generate --topics-to-move-json-file FILES/topics.json --broker-list 1"),
    compared(LeaderElection, "--election-type PREFERRED --topic many --partition 0"),
    compared(LeaderElection, "--election-type UNCLEAN --topic many --partition 0"),
    compared(LeaderElection, "--election-type PREFERRED --topic nowhere --partition 0"),
    compared(LeaderElection, "--election-type PREFERRED --all-topic-partitions"),
    compared(LogDirs, "--describe --topic-list single"),
    compared(LogDirs, "--describe --topic-list single,many,nowhere --broker-list 1"),
    compared(LogDirs, "--describe --topic-list nowhere"),
    compared(LogDirs, "--describe --topic-list plain --broker-list 99"),

    needed(ProducerPerformance, "--topic single --num-records 10 --record-size 10 --throughput -1 --transactional-id perf --transaction-duration-ms 60000"),
    needed(ConsoleConsumer, "--topic single --isolation-level read_committed --from-beginning --max-messages 37 --timeout-ms 60000"),
    compared(Transactions, "describe --transactional-id nobody"),
    compared(Transactions, "describe-producers --topic single --partition 0"),
    compared(Transactions, "describe-producers --topic single --partition 0 --broker-id 1"),
    compared(Transactions, "abort --topic single --partition 0 --start-offset 0"),
    compared(Transactions, "abort --topic single --partition 0"),
    compared(Transactions, "abort --topic single --partition 0 --producer-id 990000 --producer-epoch 0 --coordinator-epoch 0"),
    compared(Transactions, "find-hanging --broker-id 1"),
    compared(Transactions, "find-hanging --broker-id 1 --topic single --partition 0 --max-transaction-timeout 1"),
    compared(Transactions, "find-hanging --topic nowhere"),
    // The transaction is complete meanwhile.
    compared(Transactions, "list"),
    compared(Transactions, "list --duration-filter 1000000"),
    compared(Transactions, "list --transactional-id-pattern p.*"),
    compared(Transactions, "list --transactional-id-pattern nobody"),
    compared(Transactions, "describe --transactional-id perf"),
    compared(Features, "describe"),
    compared(Features, "upgrade --feature no.such.feature=1"),
    compared(Features, "upgrade --feature transaction.version=99"),
    compared(Features, "downgrade --feature transaction.version=1 --dry-run"),
    compared(Cluster, "cluster-id"),
    compared(Cluster, "list-endpoints"),
    compared(Cluster, "unregister --id 99"),
    compared(Acls, "--list"),
    compared(Acls, "--add --allow-principal User:u --operation read --topic plain"),

    // What coordinators wrote down, read by Kafka's own formatters.
    compared(ConsoleConsumer, "--topic __consumer_offsets --from-beginning --timeout-ms 4000 --formatter org.apache.kafka.tools.consumer.OffsetsMessageFormatter"),
    compared(ConsoleConsumer, "--topic __consumer_offsets --from-beginning --timeout-ms 4000 --formatter org.apache.kafka.tools.consumer.GroupMetadataMessageFormatter"),
    compared(ConsoleConsumer, "--topic __transaction_state --from-beginning --timeout-ms 4000 --formatter org.apache.kafka.tools.consumer.TransactionLogMessageFormatter"),

    compared(Topics, "--delete --topic placed"),
    compared(Topics, "--delete --topic nowhere"),
    compared(Topics, "--delete --topic nowhere --if-exists"),
];
