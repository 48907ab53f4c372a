//! What each API of Apache Kafka 4.3.1 is here: which versions are served, and what is knowingly not done.
//!
//! Picture: [`KAFKA`] has a row for each API that a broker of Kafka 4.3.1 advertises, with its versions. The tests hold it against
//! our own answer to ApiVersions: what is missing there must say so here, and what is said here must be missing. The page
//! `docs/apis.md` is made of both.

use super::SERVED;

/// One API as a broker of Kafka 4.3.1 advertises it.
struct Kafka {
    key: i16,
    name: &'static str,
    min: i16,
    max: i16,
    /// What we do not do, or do otherwise. Empty when there is nothing to say.
    gap: &'static str,
}

const fn api(key: i16, name: &'static str, min: i16, max: i16, gap: &'static str) -> Kafka {
    Kafka { key, name, min, max, gap }
}

const NOT_IN_CODEC: &str = "The newest version, which the codec does not know yet; clients negotiate down.";
const TOKENS: &str = "Not served: delegation tokens come with authentication.";
const TELEMETRY: &str =
    "Not served, so clients do not ask; nor does Kafka advertise it without a reporter that takes telemetry.";
const SHARE: &str = "Not served: share groups (KIP-932).";
const STREAMS: &str = "Not served: streams groups (KIP-1071); Kafka Streams uses consumer groups.";
const NO_ACLS: &str =
    "Without an authorizer there are no ACLs: SECURITY_DISABLED, as from Kafka. There is no authorizer yet.";
const NO_SASL: &str = "ILLEGAL_SASL_STATE, as from Kafka on a PLAINTEXT listener. There are no other listeners yet.";
const DESCRIBED: &str = "What is named when the answer has 100 MB is INVALID_REQUEST.";
const STORED: &str = "Stored and shown; nothing enforces it yet.";

const KAFKA: &[Kafka] = &[
    api(0, "Produce", 0, 13, "v0-2 are advertised and refused, as by Kafka (KAFKA-18659)."),
    api(1, "Fetch", 4, 18, ""),
    api(2, "ListOffsets", 1, 11, NOT_IN_CODEC),
    api(3, "Metadata", 0, 13, ""),
    api(8, "OffsetCommit", 2, 10, NOT_IN_CODEC),
    api(9, "OffsetFetch", 1, 10, NOT_IN_CODEC),
    api(10, "FindCoordinator", 0, 6, "Coordinators of share groups."),
    api(11, "JoinGroup", 0, 9, ""),
    api(12, "Heartbeat", 0, 4, ""),
    api(13, "LeaveGroup", 0, 5, ""),
    api(14, "SyncGroup", 0, 5, ""),
    api(15, "DescribeGroups", 0, 6, DESCRIBED),
    api(16, "ListGroups", 0, 5, ""),
    api(17, "SaslHandshake", 0, 1, NO_SASL),
    api(18, "ApiVersions", 0, 4, ""),
    api(19, "CreateTopics", 2, 7, "`timeout_ms`: the answer comes when the metadata is committed."),
    api(20, "DeleteTopics", 1, 6, "`timeout_ms`, likewise."),
    api(21, "DeleteRecords", 0, 2, ""),
    api(
        22,
        "InitProducerId",
        0,
        5,
        "Transactions that an outside system commits (KIP-939), which Kafka has switched off.",
    ),
    api(23, "OffsetForLeaderEpoch", 2, 4, ""),
    api(24, "AddPartitionsToTxn", 0, 5, ""),
    api(25, "AddOffsetsToTxn", 0, 4, ""),
    api(26, "EndTxn", 0, 5, ""),
    api(27, "WriteTxnMarkers", 1, 2, NOT_IN_CODEC),
    api(28, "TxnOffsetCommit", 0, 5, ""),
    api(29, "DescribeAcls", 1, 3, NO_ACLS),
    api(30, "CreateAcls", 1, 3, NO_ACLS),
    api(31, "DeleteAcls", 1, 3, NO_ACLS),
    api(
        32,
        "DescribeConfigs",
        1,
        4,
        "Texts and the names of loggers are our own. What is named when the answer has 100 MB is INVALID_REQUEST.",
    ),
    api(33, "AlterConfigs", 0, 2, "Settings that need a restart here are INVALID_REQUEST, see settings.md."),
    api(34, "AlterReplicaLogDirs", 1, 2, ""),
    api(35, "DescribeLogDirs", 1, 5, NOT_IN_CODEC),
    api(36, "SaslAuthenticate", 0, 2, NO_SASL),
    api(37, "CreatePartitions", 0, 3, "`timeout_ms`, as CreateTopics."),
    api(38, "CreateDelegationToken", 1, 3, TOKENS),
    api(39, "RenewDelegationToken", 1, 2, TOKENS),
    api(40, "ExpireDelegationToken", 1, 2, TOKENS),
    api(41, "DescribeDelegationToken", 1, 3, TOKENS),
    api(42, "DeleteGroups", 0, 2, ""),
    api(43, "ElectLeaders", 0, 2, ""),
    api(44, "IncrementalAlterConfigs", 0, 1, "Settings that need a restart here are INVALID_REQUEST, see settings.md."),
    api(45, "AlterPartitionReassignments", 0, 1, ""),
    api(46, "ListPartitionReassignments", 0, 0, ""),
    api(47, "OffsetDelete", 0, 0, ""),
    api(48, "DescribeClientQuotas", 0, 1, STORED),
    api(49, "AlterClientQuotas", 0, 1, STORED),
    api(50, "DescribeUserScramCredentials", 0, 0, STORED),
    api(51, "AlterUserScramCredentials", 0, 0, STORED),
    api(55, "DescribeQuorum", 0, 2, ""),
    api(
        57,
        "UpdateFeatures",
        0,
        2,
        "`metadata.version`, `kraft.version` and `eligible.leader.replicas.version` have one level each.",
    ),
    api(60, "DescribeCluster", 0, 2, ""),
    api(61, "DescribeProducers", 0, 0, ""),
    api(64, "UnregisterBroker", 0, 0, "A broker that serves or votes is INVALID_REQUEST."),
    api(65, "DescribeTransactions", 0, 0, ""),
    api(66, "ListTransactions", 0, 2, ""),
    api(
        68,
        "ConsumerGroupHeartbeat",
        0,
        1,
        "An expression that compiles to more than 1 MiB is refused (INVALID_REGULAR_EXPRESSION).",
    ),
    api(69, "ConsumerGroupDescribe", 0, 1, DESCRIBED),
    api(71, "GetTelemetrySubscriptions", 0, 0, TELEMETRY),
    api(72, "PushTelemetry", 0, 0, TELEMETRY),
    api(74, "ListConfigResources", 0, 1, ""),
    api(75, "DescribeTopicPartitions", 0, 0, ""),
    api(76, "ShareGroupHeartbeat", 1, 1, SHARE),
    api(77, "ShareGroupDescribe", 1, 1, SHARE),
    api(78, "ShareFetch", 1, 2, SHARE),
    api(79, "ShareAcknowledge", 1, 2, SHARE),
    api(80, "AddRaftVoter", 0, 1, NOT_IN_CODEC),
    api(81, "RemoveRaftVoter", 0, 0, ""),
    api(83, "InitializeShareGroupState", 0, 0, SHARE),
    api(84, "ReadShareGroupState", 0, 0, SHARE),
    api(85, "WriteShareGroupState", 0, 1, SHARE),
    api(86, "DeleteShareGroupState", 0, 0, SHARE),
    api(87, "ReadShareGroupStateSummary", 0, 1, SHARE),
    api(88, "StreamsGroupHeartbeat", 0, 0, STREAMS),
    api(89, "StreamsGroupDescribe", 0, 0, STREAMS),
    api(90, "DescribeShareGroupOffsets", 0, 1, SHARE),
    api(91, "AlterShareGroupOffsets", 0, 0, SHARE),
    api(92, "DeleteShareGroupOffsets", 0, 0, SHARE),
];

/// What we say that we serve, as the answer to ApiVersions has it.
fn advertised(key: i16) -> Option<(i16, i16)> {
    let answer = super::api_versions::fallback();
    let row = answer.api_keys.iter().find(|row| row.api_key == key)?;
    Some((row.min_version, row.max_version))
}

/// The table as the page that users read.
fn page() -> String {
    let mut page = String::from(
        "# APIs\n\n\
         What a broker of Apache Kafka 4.3.1 advertises, and what is served here.\n\n\
         This page is made from the tables in the code: `UPDATE_DOCS=1 cargo test -p twinstream-broker gaps`.\n\n\
         | key | API | Kafka 4.3.1 | here | what is not done, or done otherwise |\n|---|---|---|---|---|\n",
    );
    let range = |(min, max): (i16, i16)| if min == max { format!("{min}") } else { format!("{min}-{max}") };
    for Kafka { key, name, min, max, gap } in KAFKA {
        let here = advertised(*key).map_or_else(|| "none".to_owned(), range);
        page += &format!("| {key} | {name} | {} | {here} | {gap} |\n", range((*min, *max)));
    }
    page
}

#[test]
fn rows_stand_in_the_order_of_their_keys() {
    assert!(KAFKA.windows(2).all(|pair| pair[0].key < pair[1].key));
}

#[test]
fn what_kafka_advertises_and_we_do_not_is_named() {
    for row in KAFKA {
        let whole = advertised(row.key) == Some((row.min, row.max));
        assert!(
            whole || !row.gap.is_empty(),
            "{}: {:?} are served, say what is missing",
            row.name,
            advertised(row.key)
        );
        let says_newest = row.gap == NOT_IN_CODEC;
        assert!(!says_newest || !whole, "{} is served whole, its gap is closed", row.name);
        let says_none = row.gap.starts_with("Not served");
        assert_eq!(says_none, advertised(row.key).is_none(), "{}", row.name);
    }
}

#[test]
fn nothing_is_served_that_kafka_does_not_have() {
    for row in SERVED {
        let kafka = KAFKA.iter().find(|kafka| kafka.key == row.key);
        let kafka = kafka.unwrap_or_else(|| panic!("{} stands in no row", row.name));
        assert_eq!(kafka.name, row.name);
        assert!(kafka.min <= row.min && row.max <= kafka.max, "{}: Kafka has {}-{}", row.name, kafka.min, kafka.max);
    }
}

#[test]
fn the_page_of_apis_is_the_table() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/apis.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "docs/apis.md is stale; run UPDATE_DOCS=1 cargo test -p twinstream-broker gaps");
}
