//! The one table of Kafka error codes: number, variant, Kafka's name, whether a client may retry, text.
//!
//! Nothing else in the workspace invents a code that travels on the wire. The texts are ours, the
//! numbers, names and the retriable flag are Kafka's and never change. Invariants (tested): codes are
//! dense from -1 to 136, names are unique, and the variant is the name in camel case.

use std::fmt;

macro_rules! error_codes {
    ($($variant:ident = $code:literal, $name:literal, $retriable:literal, $text:literal;)*) => {
        /// An error of Kafka's protocol; `None` (0) means success.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(#[doc = $text] $variant = $code,)*
        }

        impl ErrorCode {
            /// Every code in ascending order.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The error of a number from the wire, `None` for a number that this table does not know.
            pub const fn from_code(code: i16) -> Option<ErrorCode> {
                match code {
                    $($code => Some(ErrorCode::$variant),)*
                    _ => None,
                }
            }

            /// Kafka's name, such as `UNKNOWN_TOPIC_OR_PARTITION`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $name,)*
                }
            }

            /// Whether Kafka's clients repeat a request that failed like this.
            pub const fn is_retriable(self) -> bool {
                match self {
                    $(ErrorCode::$variant => $retriable,)*
                }
            }

            /// What went wrong, as a lowercase fragment.
            pub const fn text(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $text,)*
                }
            }
        }
    };
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Whether this is `None`, the absence of an error.
    pub const fn is_none(self) -> bool {
        matches!(self, ErrorCode::None)
    }

    /// Whether this is a failure.
    pub const fn is_error(self) -> bool {
        !self.is_none()
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for ErrorCode {}

impl From<ErrorCode> for i16 {
    fn from(error: ErrorCode) -> i16 {
        error.code()
    }
}

#[rustfmt::skip] // one row per code, so that the table stays a table
error_codes! {
    UnknownServerError = -1, "UNKNOWN_SERVER_ERROR", false, "the server failed in a way it did not expect";
    None = 0, "NONE", false, "no error";
    OffsetOutOfRange = 1, "OFFSET_OUT_OF_RANGE", false, "the offset lies outside the range that the log holds";
    CorruptMessage = 2, "CORRUPT_MESSAGE", true, "the records failed their checksum, their size or their format check";
    UnknownTopicOrPartition = 3, "UNKNOWN_TOPIC_OR_PARTITION", true, "this server does not host the topic or partition";
    InvalidFetchSize = 4, "INVALID_FETCH_SIZE", false, "the fetch size is not valid";
    LeaderNotAvailable = 5, "LEADER_NOT_AVAILABLE", true, "the partition has no leader at the moment";
    NotLeaderOrFollower = 6, "NOT_LEADER_OR_FOLLOWER", true, "this server is not the leader or not a replica of the partition";
    RequestTimedOut = 7, "REQUEST_TIMED_OUT", true, "the request ran into its time limit";
    BrokerNotAvailable = 8, "BROKER_NOT_AVAILABLE", false, "the broker is not available";
    ReplicaNotAvailable = 9, "REPLICA_NOT_AVAILABLE", true, "the replica is not available for the partition";
    MessageTooLarge = 10, "MESSAGE_TOO_LARGE", false, "the record batch is larger than the server accepts";
    StaleControllerEpoch = 11, "STALE_CONTROLLER_EPOCH", false, "the controller has moved to another node";
    OffsetMetadataTooLarge = 12, "OFFSET_METADATA_TOO_LARGE", false, "the metadata string of the offset is too long";
    NetworkException = 13, "NETWORK_EXCEPTION", true, "the connection closed before an answer came";
    CoordinatorLoadInProgress = 14, "COORDINATOR_LOAD_IN_PROGRESS", true, "the coordinator is still loading its state";
    CoordinatorNotAvailable = 15, "COORDINATOR_NOT_AVAILABLE", true, "the coordinator is not available";
    NotCoordinator = 16, "NOT_COORDINATOR", true, "this server is not the coordinator";
    InvalidTopicException = 17, "INVALID_TOPIC_EXCEPTION", false, "the topic name or the operation on this topic is not allowed";
    RecordListTooLarge = 18, "RECORD_LIST_TOO_LARGE", false, "the batch is larger than the segment size of the topic";
    NotEnoughReplicas = 19, "NOT_ENOUGH_REPLICAS", true, "fewer replicas are in sync than min.insync.replicas asks for";
    NotEnoughReplicasAfterAppend = 20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", true, "the records were written, but to fewer in-sync replicas than required";
    InvalidRequiredAcks = 21, "INVALID_REQUIRED_ACKS", false, "acks must be -1, 0 or 1";
    IllegalGeneration = 22, "ILLEGAL_GENERATION", false, "the generation id is not the current one of the group";
    InconsistentGroupProtocol = 23, "INCONSISTENT_GROUP_PROTOCOL", false, "the member's protocols do not fit those of the group";
    InvalidGroupId = 24, "INVALID_GROUP_ID", false, "the group id is not valid";
    UnknownMemberId = 25, "UNKNOWN_MEMBER_ID", false, "the coordinator does not know this member";
    InvalidSessionTimeout = 26, "INVALID_SESSION_TIMEOUT", false, "the session timeout is outside the range that the broker allows";
    RebalanceInProgress = 27, "REBALANCE_IN_PROGRESS", false, "the group is rebalancing, the member must rejoin";
    InvalidCommitOffsetSize = 28, "INVALID_COMMIT_OFFSET_SIZE", false, "the offset commit is too large to be stored";
    TopicAuthorizationFailed = 29, "TOPIC_AUTHORIZATION_FAILED", false, "not authorized for the topic";
    GroupAuthorizationFailed = 30, "GROUP_AUTHORIZATION_FAILED", false, "not authorized for the group";
    ClusterAuthorizationFailed = 31, "CLUSTER_AUTHORIZATION_FAILED", false, "not authorized for the cluster";
    InvalidTimestamp = 32, "INVALID_TIMESTAMP", false, "the timestamp of a record is outside the range that the topic accepts";
    UnsupportedSaslMechanism = 33, "UNSUPPORTED_SASL_MECHANISM", false, "the server does not offer this sasl mechanism";
    IllegalSaslState = 34, "ILLEGAL_SASL_STATE", false, "the request does not fit the present state of the sasl exchange";
    UnsupportedVersion = 35, "UNSUPPORTED_VERSION", false, "the server does not serve this version of the api";
    TopicAlreadyExists = 36, "TOPIC_ALREADY_EXISTS", false, "a topic of this name exists already";
    InvalidPartitions = 37, "INVALID_PARTITIONS", false, "the number of partitions is not valid";
    InvalidReplicationFactor = 38, "INVALID_REPLICATION_FACTOR", false, "the replication factor is not valid";
    InvalidReplicaAssignment = 39, "INVALID_REPLICA_ASSIGNMENT", false, "the replica assignment is not valid";
    InvalidConfig = 40, "INVALID_CONFIG", false, "the configuration is not valid";
    NotController = 41, "NOT_CONTROLLER", true, "this node is not the active controller";
    InvalidRequest = 42, "INVALID_REQUEST", false, "the request is malformed or its fields contradict each other";
    UnsupportedForMessageFormat = 43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", false, "the message format on the broker does not support the request";
    PolicyViolation = 44, "POLICY_VIOLATION", false, "the request violates a policy of the server";
    OutOfOrderSequenceNumber = 45, "OUT_OF_ORDER_SEQUENCE_NUMBER", false, "the sequence number does not follow the last one of this producer";
    DuplicateSequenceNumber = 46, "DUPLICATE_SEQUENCE_NUMBER", false, "the sequence number was seen before";
    InvalidProducerEpoch = 47, "INVALID_PRODUCER_EPOCH", false, "the producer epoch is older than the current one";
    InvalidTxnState = 48, "INVALID_TXN_STATE", false, "the transaction is not in a state that allows this operation";
    InvalidProducerIdMapping = 49, "INVALID_PRODUCER_ID_MAPPING", false, "the producer id does not belong to this transactional id";
    InvalidTransactionTimeout = 50, "INVALID_TRANSACTION_TIMEOUT", false, "the transaction timeout is larger than the broker allows";
    ConcurrentTransactions = 51, "CONCURRENT_TRANSACTIONS", true, "another operation on the same transaction is still running";
    TransactionCoordinatorFenced = 52, "TRANSACTION_COORDINATOR_FENCED", false, "the transaction coordinator that sent this has been replaced";
    TransactionalIdAuthorizationFailed = 53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", false, "not authorized for the transactional id";
    SecurityDisabled = 54, "SECURITY_DISABLED", false, "security features are switched off";
    OperationNotAttempted = 55, "OPERATION_NOT_ATTEMPTED", false, "the operation was not attempted, because an earlier one in the batch failed";
    KafkaStorageError = 56, "KAFKA_STORAGE_ERROR", true, "the disk failed while the log was used";
    LogDirNotFound = 57, "LOG_DIR_NOT_FOUND", false, "the log directory is not known or is offline";
    SaslAuthenticationFailed = 58, "SASL_AUTHENTICATION_FAILED", false, "sasl authentication failed";
    UnknownProducerId = 59, "UNKNOWN_PRODUCER_ID", false, "the broker has no state for this producer id any more";
    ReassignmentInProgress = 60, "REASSIGNMENT_IN_PROGRESS", false, "the partition is being reassigned";
    DelegationTokenAuthDisabled = 61, "DELEGATION_TOKEN_AUTH_DISABLED", false, "delegation tokens are not enabled";
    DelegationTokenNotFound = 62, "DELEGATION_TOKEN_NOT_FOUND", false, "the delegation token is not known";
    DelegationTokenOwnerMismatch = 63, "DELEGATION_TOKEN_OWNER_MISMATCH", false, "the delegation token belongs to someone else";
    DelegationTokenRequestNotAllowed = 64, "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", false, "delegation token requests are not allowed on this connection";
    DelegationTokenAuthorizationFailed = 65, "DELEGATION_TOKEN_AUTHORIZATION_FAILED", false, "not authorized for the delegation token";
    DelegationTokenExpired = 66, "DELEGATION_TOKEN_EXPIRED", false, "the delegation token has expired";
    InvalidPrincipalType = 67, "INVALID_PRINCIPAL_TYPE", false, "the principal type is not supported";
    NonEmptyGroup = 68, "NON_EMPTY_GROUP", false, "the group is not empty";
    GroupIdNotFound = 69, "GROUP_ID_NOT_FOUND", false, "the group does not exist";
    FetchSessionIdNotFound = 70, "FETCH_SESSION_ID_NOT_FOUND", true, "the fetch session is not known";
    InvalidFetchSessionEpoch = 71, "INVALID_FETCH_SESSION_EPOCH", true, "the fetch session epoch is not the expected one";
    ListenerNotFound = 72, "LISTENER_NOT_FOUND", true, "the leader has no listener of the name on which the metadata was asked";
    TopicDeletionDisabled = 73, "TOPIC_DELETION_DISABLED", false, "deleting topics is switched off";
    FencedLeaderEpoch = 74, "FENCED_LEADER_EPOCH", true, "the leader epoch of the request is older than the current one";
    UnknownLeaderEpoch = 75, "UNKNOWN_LEADER_EPOCH", true, "the leader epoch of the request is newer than this server knows";
    UnsupportedCompressionType = 76, "UNSUPPORTED_COMPRESSION_TYPE", false, "the client cannot read the compression type of the records";
    StaleBrokerEpoch = 77, "STALE_BROKER_EPOCH", false, "the broker epoch has changed";
    OffsetNotAvailable = 78, "OFFSET_NOT_AVAILABLE", true, "the high watermark has not caught up since the election, ask again";
    MemberIdRequired = 79, "MEMBER_ID_REQUIRED", false, "the member must repeat the request with the member id it was given";
    PreferredLeaderNotAvailable = 80, "PREFERRED_LEADER_NOT_AVAILABLE", true, "the preferred leader is not available";
    GroupMaxSizeReached = 81, "GROUP_MAX_SIZE_REACHED", false, "the group has reached its largest size";
    FencedInstanceId = 82, "FENCED_INSTANCE_ID", false, "another member has taken over this group instance id";
    EligibleLeadersNotAvailable = 83, "ELIGIBLE_LEADERS_NOT_AVAILABLE", true, "no eligible leader is available";
    ElectionNotNeeded = 84, "ELECTION_NOT_NEEDED", true, "an election is not needed";
    NoReassignmentInProgress = 85, "NO_REASSIGNMENT_IN_PROGRESS", false, "no reassignment of the partition is in progress";
    GroupSubscribedToTopic = 86, "GROUP_SUBSCRIBED_TO_TOPIC", false, "the group is subscribed to the topic";
    InvalidRecord = 87, "INVALID_RECORD", false, "a record of the batch is not valid";
    UnstableOffsetCommit = 88, "UNSTABLE_OFFSET_COMMIT", true, "some offsets wait for a transaction to end";
    ThrottlingQuotaExceeded = 89, "THROTTLING_QUOTA_EXCEEDED", true, "the quota is exceeded, try later";
    ProducerFenced = 90, "PRODUCER_FENCED", false, "a newer producer uses the same transactional id";
    ResourceNotFound = 91, "RESOURCE_NOT_FOUND", false, "the resource does not exist";
    DuplicateResource = 92, "DUPLICATE_RESOURCE", false, "the request names the same resource twice";
    UnacceptableCredential = 93, "UNACCEPTABLE_CREDENTIAL", false, "the credential does not meet the server's rules";
    InconsistentVoterSet = 94, "INCONSISTENT_VOTER_SET", false, "the voters of sender and receiver differ";
    InvalidUpdateVersion = 95, "INVALID_UPDATE_VERSION", false, "the version of the update is not valid";
    FeatureUpdateFailed = 96, "FEATURE_UPDATE_FAILED", false, "the feature update failed";
    PrincipalDeserializationFailure = 97, "PRINCIPAL_DESERIALIZATION_FAILURE", false, "the forwarded principal could not be decoded";
    SnapshotNotFound = 98, "SNAPSHOT_NOT_FOUND", false, "the snapshot does not exist";
    PositionOutOfRange = 99, "POSITION_OUT_OF_RANGE", false, "the position lies outside the snapshot";
    UnknownTopicId = 100, "UNKNOWN_TOPIC_ID", true, "this server does not know the topic id";
    DuplicateBrokerRegistration = 101, "DUPLICATE_BROKER_REGISTRATION", false, "another broker is registered with this id";
    BrokerIdNotRegistered = 102, "BROKER_ID_NOT_REGISTERED", false, "no broker is registered with this id";
    InconsistentTopicId = 103, "INCONSISTENT_TOPIC_ID", true, "the topic id of the log differs from that of the request";
    InconsistentClusterId = 104, "INCONSISTENT_CLUSTER_ID", false, "the request is meant for another cluster";
    TransactionalIdNotFound = 105, "TRANSACTIONAL_ID_NOT_FOUND", false, "the transactional id is not known";
    FetchSessionTopicIdError = 106, "FETCH_SESSION_TOPIC_ID_ERROR", true, "the topic ids of the fetch session contradict those of the server";
    IneligibleReplica = 107, "INELIGIBLE_REPLICA", false, "a replica of the proposed in-sync set may not join it";
    NewLeaderElected = 108, "NEW_LEADER_ELECTED", false, "the partition has got a new leader";
    OffsetMovedToTieredStorage = 109, "OFFSET_MOVED_TO_TIERED_STORAGE", false, "the offset has moved to tiered storage";
    FencedMemberEpoch = 110, "FENCED_MEMBER_EPOCH", false, "the member epoch is fenced, rejoin with epoch 0";
    UnreleasedInstanceId = 111, "UNRELEASED_INSTANCE_ID", false, "another member still uses the group instance id";
    UnsupportedAssignor = 112, "UNSUPPORTED_ASSIGNOR", false, "the server does not offer the assignor or its version";
    StaleMemberEpoch = 113, "STALE_MEMBER_EPOCH", false, "the member epoch is behind, retry after the next heartbeat";
    MismatchedEndpointType = 114, "MISMATCHED_ENDPOINT_TYPE", false, "the endpoint is of another type than the request asks for";
    UnsupportedEndpointType = 115, "UNSUPPORTED_ENDPOINT_TYPE", false, "the endpoint type is not supported";
    UnknownControllerId = 116, "UNKNOWN_CONTROLLER_ID", false, "no controller has this id";
    UnknownSubscriptionId = 117, "UNKNOWN_SUBSCRIPTION_ID", false, "the telemetry subscription has changed, ask for it again";
    TelemetryTooLarge = 118, "TELEMETRY_TOO_LARGE", false, "the telemetry payload is larger than the broker accepts";
    InvalidRegistration = 119, "INVALID_REGISTRATION", false, "the controller refuses this registration";
    TransactionAbortable = 120, "TRANSACTION_ABORTABLE", false, "the transaction must be aborted";
    InvalidRecordState = 121, "INVALID_RECORD_STATE", false, "the record is not in a state that allows this acknowledgement";
    ShareSessionNotFound = 122, "SHARE_SESSION_NOT_FOUND", true, "the share session is not known";
    InvalidShareSessionEpoch = 123, "INVALID_SHARE_SESSION_EPOCH", true, "the share session epoch is not the expected one";
    FencedStateEpoch = 124, "FENCED_STATE_EPOCH", false, "the share state was written by a newer epoch";
    InvalidVoterKey = 125, "INVALID_VOTER_KEY", false, "the voter key does not fit its node id";
    DuplicateVoter = 126, "DUPLICATE_VOTER", false, "the voter is a member already";
    VoterNotFound = 127, "VOTER_NOT_FOUND", false, "the voter is not a member";
    InvalidRegularExpression = 128, "INVALID_REGULAR_EXPRESSION", false, "the regular expression is not valid";
    RebootstrapRequired = 129, "REBOOTSTRAP_REQUIRED", false, "the client's metadata is out of date, start again from the bootstrap servers";
    StreamsInvalidTopology = 130, "STREAMS_INVALID_TOPOLOGY", false, "the streams topology is not valid";
    StreamsInvalidTopologyEpoch = 131, "STREAMS_INVALID_TOPOLOGY_EPOCH", false, "the streams topology epoch is not valid";
    StreamsTopologyFenced = 132, "STREAMS_TOPOLOGY_FENCED", false, "the streams topology epoch is behind";
    ShareSessionLimitReached = 133, "SHARE_SESSION_LIMIT_REACHED", true, "the server holds as many share sessions as it may";
    GroupDeletionFailed = 134, "GROUP_DELETION_FAILED", false, "the group could not be deleted";
    StreamsTopologyDescriptionUpdateFailed = 135, "STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED", false, "the description of the streams topology could not be updated";
    ControllerIdNotRegistered = 136, "CONTROLLER_ID_NOT_REGISTERED", false, "no controller is registered with this id";
}
