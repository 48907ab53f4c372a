//! The shapes of the requests that brokers of ours serve, by API; see the module above. A field's comment is its name in
//! Kafka's message files. `since` and `until` are versions; NEVER means that no version is flexible.

use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AddRaftVoterRequest, AlterClientQuotasRequest,
    AlterConfigsRequest, AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest,
    AlterUserScramCredentialsRequest, ApiKey, ApiVersionsRequest, ConsumerGroupDescribeRequest,
    ConsumerGroupHeartbeatRequest, CreateAclsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteAclsRequest,
    DeleteGroupsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeAclsRequest, DescribeClientQuotasRequest,
    DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest, DescribeLogDirsRequest,
    DescribeProducersRequest, DescribeQuorumRequest, DescribeTopicPartitionsRequest, DescribeTransactionsRequest,
    DescribeUserScramCredentialsRequest, ElectLeadersRequest, EndTxnRequest, FetchRequest, FindCoordinatorRequest,
    HeartbeatRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest,
    ListConfigResourcesRequest, ListGroupsRequest, ListOffsetsRequest, ListPartitionReassignmentsRequest,
    ListTransactionsRequest, MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
    OffsetForLeaderEpochRequest, ProduceRequest, RemoveRaftVoterRequest, SaslAuthenticateRequest, SaslHandshakeRequest,
    SyncGroupRequest, TxnOffsetCommitRequest, UnregisterBrokerRequest, UpdateFeaturesRequest, WriteTxnMarkersRequest,
};

use super::{NEVER, Shape, Shaped, array, blob, fixed, items, option, shapes, structure, text, texts};

/// Elements of all arrays of one request together. A request about every partition of a large cluster has some
/// hundred thousand.
const ELEMENTS_MAX: usize = 1_000_000;

shapes! {
    REQUESTS, ELEMENTS_MAX;
    ApiVersionsRequest: ApiVersions, 0, 4, 3, &[
        text().since(3), // client_software_name
        text().since(3), // client_software_version
    ];
    MetadataRequest: Metadata, 0, 13, 9, &[
        array(&[
            fixed(16).since(10), // topic_id
            text(), // name
        ]),
        fixed(1).since(4), // allow_auto_topic_creation
        fixed(1).since(8).until(10), // include_cluster_authorized_operations
        fixed(1).since(8), // include_topic_authorized_operations
    ];
    ProduceRequest: Produce, 3, 13, 9, &[
        text(), // transactional_id
        fixed(2), // acks
        fixed(4), // timeout_ms
        array(&[
            text().until(12), // name
            fixed(16).since(13), // topic_id
            array(&[
                fixed(4), // index
                blob(), // records
            ]),
        ]),
    ];
    FetchRequest: Fetch, 4, 18, 12, &[
        fixed(4).until(14), // replica_id
        fixed(4), // max_wait_ms
        fixed(4), // min_bytes
        fixed(4), // max_bytes
        fixed(1), // isolation_level
        fixed(4).since(7), // session_id
        fixed(4).since(7), // session_epoch
        array(&[
            text().until(12), // topic
            fixed(16).since(13), // topic_id
            array(&[
                fixed(4), // partition
                fixed(4).since(9), // current_leader_epoch
                fixed(8), // fetch_offset
                fixed(4).since(12), // last_fetched_epoch
                fixed(8).since(5), // log_start_offset
                fixed(4), // partition_max_bytes
                fixed(16).since(17).tagged(0), // replica_directory_id
                fixed(8).since(18).tagged(1), // high_watermark
            ]),
        ]),
        array(&[
            text().since(7).until(12), // topic
            fixed(16).since(13), // topic_id
            items(4).since(7), // partitions
        ]).since(7),
        text().since(11), // rack_id
        text().tagged(0), // cluster_id
        structure(&[ // replica_state
            fixed(4), // replica_id
            fixed(8), // replica_epoch
        ]).since(15).tagged(1),
    ];
    ListOffsetsRequest: ListOffsets, 1, 10, 6, &[
        fixed(4), // replica_id
        fixed(1).since(2), // isolation_level
        array(&[
            text(), // name
            array(&[
                fixed(4), // partition_index
                fixed(4).since(4), // current_leader_epoch
                fixed(8), // timestamp
            ]),
        ]),
        fixed(4).since(10), // timeout_ms
    ];
    CreateTopicsRequest: CreateTopics, 2, 7, 5, &[
        array(&[
            text(), // name
            fixed(4), // num_partitions
            fixed(2), // replication_factor
            array(&[
                fixed(4), // partition_index
                items(4), // broker_ids
            ]),
            array(&[
                text(), // name
                text(), // value
            ]),
        ]),
        fixed(4), // timeout_ms
        fixed(1), // validate_only
    ];
    DeleteTopicsRequest: DeleteTopics, 1, 6, 4, &[
        array(&[
            text().since(6), // name
            fixed(16).since(6), // topic_id
        ]).since(6),
        texts().until(5), // topic_names
        fixed(4), // timeout_ms
    ];
    CreatePartitionsRequest: CreatePartitions, 0, 3, 2, &[
        array(&[
            text(), // name
            fixed(4), // count
            array(&[
                items(4), // broker_ids
            ]),
        ]),
        fixed(4), // timeout_ms
        fixed(1), // validate_only
    ];
    DescribeConfigsRequest: DescribeConfigs, 1, 4, 4, &[
        array(&[
            fixed(1), // resource_type
            text(), // resource_name
            texts(), // configuration_keys
        ]),
        fixed(1), // include_synonyms
        fixed(1).since(3), // include_documentation
    ];
    IncrementalAlterConfigsRequest: IncrementalAlterConfigs, 0, 1, 1, &[
        array(&[
            fixed(1), // resource_type
            text(), // resource_name
            array(&[
                text(), // name
                fixed(1), // config_operation
                text(), // value
            ]),
        ]),
        fixed(1), // validate_only
    ];
    AlterConfigsRequest: AlterConfigs, 0, 2, 2, &[
        array(&[
            fixed(1), // resource_type
            text(), // resource_name
            array(&[
                text(), // name
                text(), // value
            ]),
        ]),
        fixed(1), // validate_only
    ];
    FindCoordinatorRequest: FindCoordinator, 0, 6, 3, &[
        text().until(3), // key
        fixed(1).since(1), // key_type
        texts().since(4), // coordinator_keys
    ];
    JoinGroupRequest: JoinGroup, 0, 9, 6, &[
        text(), // group_id
        fixed(4), // session_timeout_ms
        fixed(4).since(1), // rebalance_timeout_ms
        text(), // member_id
        text().since(5), // group_instance_id
        text(), // protocol_type
        array(&[
            text(), // name
            blob(), // metadata
        ]),
        text().since(8), // reason
    ];
    SyncGroupRequest: SyncGroup, 0, 5, 4, &[
        text(), // group_id
        fixed(4), // generation_id
        text(), // member_id
        text().since(3), // group_instance_id
        text().since(5), // protocol_type
        text().since(5), // protocol_name
        array(&[
            text(), // member_id
            blob(), // assignment
        ]),
    ];
    HeartbeatRequest: Heartbeat, 0, 4, 4, &[
        text(), // group_id
        fixed(4), // generation_id
        text(), // member_id
        text().since(3), // group_instance_id
    ];
    LeaveGroupRequest: LeaveGroup, 0, 5, 4, &[
        text(), // group_id
        text().until(2), // member_id
        array(&[
            text().since(3), // member_id
            text().since(3), // group_instance_id
            text().since(5), // reason
        ]).since(3),
    ];
    OffsetCommitRequest: OffsetCommit, 2, 9, 8, &[
        text(), // group_id
        fixed(4), // generation_id_or_member_epoch
        text(), // member_id
        text().since(7), // group_instance_id
        fixed(8).until(4), // retention_time_ms
        array(&[
            text(), // name
            array(&[
                fixed(4), // partition_index
                fixed(8), // committed_offset
                fixed(4).since(6), // committed_leader_epoch
                text(), // committed_metadata
            ]),
        ]),
    ];
    OffsetFetchRequest: OffsetFetch, 1, 9, 6, &[
        text().until(7), // group_id
        array(&[
            text().until(7), // name
            items(4).until(7), // partition_indexes
        ]).until(7),
        array(&[
            text().since(8), // group_id
            text().since(9), // member_id
            fixed(4).since(9), // member_epoch
            array(&[
                text().since(8), // name
                items(4).since(8), // partition_indexes
            ]).since(8),
        ]).since(8),
        fixed(1).since(7), // require_stable
    ];
    OffsetDeleteRequest: OffsetDelete, 0, 0, NEVER, &[
        text(), // group_id
        array(&[
            text(), // name
            array(&[
                fixed(4), // partition_index
            ]),
        ]),
    ];
    DescribeGroupsRequest: DescribeGroups, 0, 6, 5, &[
        texts(), // groups
        fixed(1).since(3), // include_authorized_operations
    ];
    ConsumerGroupHeartbeatRequest: ConsumerGroupHeartbeat, 0, 1, 0, &[
        text(), // group_id
        text(), // member_id
        fixed(4), // member_epoch
        text(), // instance_id
        text(), // rack_id
        fixed(4), // rebalance_timeout_ms
        texts(), // subscribed_topic_names
        text().since(1), // subscribed_topic_regex
        text(), // server_assignor
        array(&[ // topic_partitions
            fixed(16), // topic_id
            items(4), // partitions
        ]),
    ];
    ConsumerGroupDescribeRequest: ConsumerGroupDescribe, 0, 1, 0, &[
        texts(), // group_ids
        fixed(1), // include_authorized_operations
    ];
    ListGroupsRequest: ListGroups, 0, 5, 3, &[
        texts().since(4), // states_filter
        texts().since(5), // types_filter
    ];
    DeleteGroupsRequest: DeleteGroups, 0, 2, 2, &[
        texts(), // groups_names
    ];
    InitProducerIdRequest: InitProducerId, 0, 5, 2, &[
        text(), // transactional_id
        fixed(4), // transaction_timeout_ms
        fixed(8).since(3), // producer_id
        fixed(2).since(3), // producer_epoch
    ];
    OffsetForLeaderEpochRequest: OffsetForLeaderEpoch, 2, 4, 4, &[
        fixed(4).since(3), // replica_id
        array(&[
            text(), // topic
            array(&[
                fixed(4), // partition
                fixed(4), // current_leader_epoch
                fixed(4), // leader_epoch
            ]),
        ]),
    ];
    DescribeClusterRequest: DescribeCluster, 0, 2, 0, &[
        fixed(1), // include_cluster_authorized_operations
        fixed(1).since(1), // endpoint_type
        fixed(1).since(2), // include_fenced_brokers
    ];
    DescribeTopicPartitionsRequest: DescribeTopicPartitions, 0, 0, 0, &[
        array(&[
            text(), // name
        ]),
        fixed(4), // response_partition_limit
        option(&[
            text(), // topic_name
            fixed(4), // partition_index
        ]),
    ];
    AlterReplicaLogDirsRequest: AlterReplicaLogDirs, 1, 2, 2, &[
        array(&[
            text(), // path
            array(&[
                text(), // name
                items(4), // partitions
            ]),
        ]),
    ];
    DescribeLogDirsRequest: DescribeLogDirs, 1, 4, 2, &[
        array(&[
            text(), // topic
            items(4), // partitions
        ]),
    ];
    DeleteRecordsRequest: DeleteRecords, 0, 2, 2, &[
        array(&[
            text(), // name
            array(&[
                fixed(4), // partition_index
                fixed(8), // offset
            ]),
        ]),
        fixed(4), // timeout_ms
    ];
    ElectLeadersRequest: ElectLeaders, 0, 2, 2, &[
        fixed(1).since(1), // election_type
        array(&[
            text(), // topic
            items(4), // partitions
        ]),
        fixed(4), // timeout_ms
    ];
    AlterPartitionReassignmentsRequest: AlterPartitionReassignments, 0, 1, 0, &[
        fixed(4), // timeout_ms
        fixed(1).since(1), // allow_replication_factor_change
        array(&[
            text(), // name
            array(&[
                fixed(4), // partition_index
                items(4), // replicas
            ]),
        ]),
    ];
    ListPartitionReassignmentsRequest: ListPartitionReassignments, 0, 0, 0, &[
        fixed(4), // timeout_ms
        array(&[
            text(), // name
            items(4), // partition_indexes
        ]),
    ];
    DescribeQuorumRequest: DescribeQuorum, 0, 2, 0, &[
        array(&[
            text(), // topic_name
            array(&[
                fixed(4), // partition_index
            ]),
        ]),
    ];
    UnregisterBrokerRequest: UnregisterBroker, 0, 0, 0, &[
        fixed(4), // broker_id
    ];
    SaslHandshakeRequest: SaslHandshake, 0, 1, NEVER, &[
        text(), // mechanism
    ];
    SaslAuthenticateRequest: SaslAuthenticate, 0, 2, 2, &[
        blob(), // auth_bytes
    ];
    DescribeAclsRequest: DescribeAcls, 1, 3, 2, &[
        fixed(1), // resource_type_filter
        text(), // resource_name_filter
        fixed(1), // pattern_type_filter
        text(), // principal_filter
        text(), // host_filter
        fixed(1), // operation
        fixed(1), // permission_type
    ];
    CreateAclsRequest: CreateAcls, 1, 3, 2, &[
        array(&[
            fixed(1), // resource_type
            text(), // resource_name
            fixed(1), // resource_pattern_type
            text(), // principal
            text(), // host
            fixed(1), // operation
            fixed(1), // permission_type
        ]),
    ];
    DeleteAclsRequest: DeleteAcls, 1, 3, 2, &[
        array(&[
            fixed(1), // resource_type_filter
            text(), // resource_name_filter
            fixed(1), // pattern_type_filter
            text(), // principal_filter
            text(), // host_filter
            fixed(1), // operation
            fixed(1), // permission_type
        ]),
    ];
    DescribeClientQuotasRequest: DescribeClientQuotas, 0, 1, 1, &[
        array(&[
            text(), // entity_type
            fixed(1), // match_type
            text(), // match
        ]),
        fixed(1), // strict
    ];
    AlterClientQuotasRequest: AlterClientQuotas, 0, 1, 1, &[
        array(&[
            array(&[
                text(), // entity_type
                text(), // entity_name
            ]),
            array(&[
                text(), // key
                fixed(8), // value
                fixed(1), // remove
            ]),
        ]),
        fixed(1), // validate_only
    ];
    DescribeUserScramCredentialsRequest: DescribeUserScramCredentials, 0, 0, 0, &[
        array(&[
            text(), // name
        ]),
    ];
    AlterUserScramCredentialsRequest: AlterUserScramCredentials, 0, 0, 0, &[
        array(&[
            text(), // name
            fixed(1), // mechanism
        ]),
        array(&[
            text(), // name
            fixed(1), // mechanism
            fixed(4), // iterations
            blob(), // salt
            blob(), // salted_password
        ]),
    ];
    UpdateFeaturesRequest: UpdateFeatures, 0, 2, 0, &[
        fixed(4), // timeout_ms
        array(&[
            text(), // feature
            fixed(2), // max_version_level
            fixed(1).until(0), // allow_downgrade
            fixed(1).since(1), // upgrade_type
        ]),
        fixed(1).since(1), // validate_only
    ];
    ListConfigResourcesRequest: ListConfigResources, 0, 1, 0, &[
        items(1).since(1), // resource_types
    ];
    AddRaftVoterRequest: AddRaftVoter, 0, 0, 0, &[
        text(), // cluster_id
        fixed(4), // timeout_ms
        fixed(4), // voter_id
        fixed(16), // voter_directory_id
        array(&[
            text(), // name
            text(), // host
            fixed(2), // port
        ]),
    ];
    AddPartitionsToTxnRequest: AddPartitionsToTxn, 0, 5, 3, &[
        array(&[ // transactions
            text(), // transactional_id
            fixed(8), // producer_id
            fixed(2), // producer_epoch
            fixed(1), // verify_only
            array(&[
                text(), // name
                items(4), // partitions
            ]),
        ])
        .since(4),
        text().until(3), // v3_and_below_transactional_id
        fixed(8).until(3), // v3_and_below_producer_id
        fixed(2).until(3), // v3_and_below_producer_epoch
        array(&[ // v3_and_below_topics
            text(), // name
            items(4), // partitions
        ])
        .until(3),
    ];
    AddOffsetsToTxnRequest: AddOffsetsToTxn, 0, 4, 3, &[
        text(), // transactional_id
        fixed(8), // producer_id
        fixed(2), // producer_epoch
        text(), // group_id
    ];
    EndTxnRequest: EndTxn, 0, 5, 3, &[
        text(), // transactional_id
        fixed(8), // producer_id
        fixed(2), // producer_epoch
        fixed(1), // committed
    ];
    DescribeTransactionsRequest: DescribeTransactions, 0, 0, 0, &[
        texts(), // transactional_ids
    ];
    ListTransactionsRequest: ListTransactions, 0, 2, 0, &[
        texts(), // state_filters
        items(8), // producer_id_filters
        fixed(8).since(1), // duration_filter
        text().since(2), // transactional_id_pattern
    ];
    WriteTxnMarkersRequest: WriteTxnMarkers, 1, 1, 1, &[
        array(&[
            fixed(8), // producer_id
            fixed(2), // producer_epoch
            fixed(1), // transaction_result
            array(&[
                text(), // name
                items(4), // partition_indexes
            ]),
            fixed(4), // coordinator_epoch
        ]),
    ];
    TxnOffsetCommitRequest: TxnOffsetCommit, 0, 5, 3, &[
        text(), // transactional_id
        text(), // group_id
        fixed(8), // producer_id
        fixed(2), // producer_epoch
        fixed(4).since(3), // generation_id
        text().since(3), // member_id
        text().since(3), // group_instance_id
        array(&[
            text(), // name
            array(&[
                fixed(4), // partition_index
                fixed(8), // committed_offset
                fixed(4).since(2), // committed_leader_epoch
                text(), // committed_metadata
            ]),
        ]),
    ];
    DescribeProducersRequest: DescribeProducers, 0, 0, 0, &[
        array(&[
            text(), // name
            items(4), // partition_indexes
        ]),
    ];
    RemoveRaftVoterRequest: RemoveRaftVoter, 0, 0, 0, &[
        text(), // cluster_id
        fixed(4), // voter_id
        fixed(16), // voter_directory_id
    ];
}
