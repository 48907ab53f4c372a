//! The shapes of the answers to those requests, in every version that the codec knows; see the module above. A field's
//! comment is its name in Kafka's message files.

use kafka_protocol::messages::{
    AddOffsetsToTxnResponse, AddPartitionsToTxnResponse, AddRaftVoterResponse, AlterClientQuotasResponse,
    AlterConfigsResponse, AlterPartitionReassignmentsResponse, AlterReplicaLogDirsResponse,
    AlterUserScramCredentialsResponse, ApiKey, ApiVersionsResponse, ConsumerGroupDescribeResponse,
    ConsumerGroupHeartbeatResponse, CreateAclsResponse, CreatePartitionsResponse, CreateTopicsResponse,
    DeleteAclsResponse, DeleteGroupsResponse, DeleteRecordsResponse, DeleteTopicsResponse, DescribeAclsResponse,
    DescribeClientQuotasResponse, DescribeClusterResponse, DescribeConfigsResponse, DescribeGroupsResponse,
    DescribeLogDirsResponse, DescribeProducersResponse, DescribeQuorumResponse, DescribeTopicPartitionsResponse,
    DescribeTransactionsResponse, DescribeUserScramCredentialsResponse, ElectLeadersResponse, EndTxnResponse,
    FetchResponse, FindCoordinatorResponse, HeartbeatResponse, IncrementalAlterConfigsResponse, InitProducerIdResponse,
    JoinGroupResponse, LeaveGroupResponse, ListConfigResourcesResponse, ListGroupsResponse, ListOffsetsResponse,
    ListPartitionReassignmentsResponse, ListTransactionsResponse, MetadataResponse, OffsetCommitResponse,
    OffsetDeleteResponse, OffsetFetchResponse, OffsetForLeaderEpochResponse, ProduceResponse, RemoveRaftVoterResponse,
    SaslAuthenticateResponse, SaslHandshakeResponse, SyncGroupResponse, TxnOffsetCommitResponse,
    UnregisterBrokerResponse, UpdateFeaturesResponse, WriteTxnMarkersResponse,
};

use super::{NEVER, Shape, Shaped, array, blob, fixed, items, option, shapes, structure, text, texts};

/// Elements of all arrays of one answer together: metadata of 200,000 partitions with five replicas each has 2.3
/// million.
const ELEMENTS_MAX: usize = 4_000_000;

shapes! {
    ANSWERS, ELEMENTS_MAX;
    ProduceResponse: Produce, 3, 13, 9, &[
        array(&[ // responses
            text().until(12), // name
            fixed(16).since(13), // topic_id
            array(&[ // partition_responses
                fixed(4), // index
                fixed(2), // error_code
                fixed(8), // base_offset
                fixed(8), // log_append_time_ms
                fixed(8).since(5), // log_start_offset
                array(&[ // record_errors
                    fixed(4), // batch_index
                    text(), // batch_index_error_message
                ]).since(8),
                text().since(8), // error_message
                structure(&[ // current_leader
                    fixed(4), // leader_id
                    fixed(4), // leader_epoch
                ]).since(10).tagged(0),
            ]),
        ]),
        fixed(4), // throttle_time_ms
        array(&[ // node_endpoints
            fixed(4), // node_id
            text(), // host
            fixed(4), // port
            text(), // rack
        ]).since(10).tagged(0),
    ];
    FetchResponse: Fetch, 4, 18, 12, &[
        fixed(4), // throttle_time_ms
        fixed(2).since(7), // error_code
        fixed(4).since(7), // session_id
        array(&[ // responses
            text().until(12), // topic
            fixed(16).since(13), // topic_id
            array(&[ // partitions
                fixed(4), // partition_index
                fixed(2), // error_code
                fixed(8), // high_watermark
                fixed(8), // last_stable_offset
                fixed(8).since(5), // log_start_offset
                array(&[ // aborted_transactions
                    fixed(8), // producer_id
                    fixed(8), // first_offset
                ]),
                fixed(4).since(11), // preferred_read_replica
                blob(), // records
                structure(&[ // diverging_epoch
                    fixed(4), // epoch
                    fixed(8), // end_offset
                ]).tagged(0),
                structure(&[ // current_leader
                    fixed(4), // leader_id
                    fixed(4), // leader_epoch
                ]).tagged(1),
                structure(&[ // snapshot_id
                    fixed(8), // end_offset
                    fixed(4), // epoch
                ]).tagged(2),
            ]),
        ]),
        array(&[ // node_endpoints
            fixed(4), // node_id
            text(), // host
            fixed(4), // port
            text(), // rack
        ]).since(16).tagged(0),
    ];
    ListOffsetsResponse: ListOffsets, 1, 10, 6, &[
        fixed(4).since(2), // throttle_time_ms
        array(&[ // topics
            text(), // name
            array(&[ // partitions
                fixed(4), // partition_index
                fixed(2), // error_code
                fixed(8), // timestamp
                fixed(8), // offset
                fixed(4).since(4), // leader_epoch
            ]),
        ]),
    ];
    MetadataResponse: Metadata, 0, 13, 9, &[
        fixed(4).since(3), // throttle_time_ms
        array(&[ // brokers
            fixed(4), // node_id
            text(), // host
            fixed(4), // port
            text().since(1), // rack
        ]),
        text().since(2), // cluster_id
        fixed(4).since(1), // controller_id
        array(&[ // topics
            fixed(2), // error_code
            text(), // name
            fixed(16).since(10), // topic_id
            fixed(1).since(1), // is_internal
            array(&[ // partitions
                fixed(2), // error_code
                fixed(4), // partition_index
                fixed(4), // leader_id
                fixed(4).since(7), // leader_epoch
                items(4), // replica_nodes
                items(4), // isr_nodes
                items(4).since(5), // offline_replicas
            ]),
            fixed(4).since(8), // topic_authorized_operations
        ]),
        fixed(4).since(8).until(10), // cluster_authorized_operations
        fixed(2).since(13), // error_code
    ];
    OffsetCommitResponse: OffsetCommit, 2, 10, 8, &[
        fixed(4).since(3), // throttle_time_ms
        array(&[ // topics
            text().until(9), // name
            fixed(16).since(10), // topic_id
            array(&[ // partitions
                fixed(4), // partition_index
                fixed(2), // error_code
            ]),
        ]),
    ];
    OffsetFetchResponse: OffsetFetch, 1, 10, 6, &[
        fixed(4).since(3), // throttle_time_ms
        array(&[ // topics
            text(), // name
            array(&[ // partitions
                fixed(4), // partition_index
                fixed(8), // committed_offset
                fixed(4).since(5), // committed_leader_epoch
                text(), // metadata
                fixed(2), // error_code
            ]),
        ]).until(7),
        fixed(2).since(2).until(7), // error_code
        array(&[ // groups
            text(), // group_id
            array(&[ // topics
                text().until(9), // name
                fixed(16).since(10), // topic_id
                array(&[ // partitions
                    fixed(4), // partition_index
                    fixed(8), // committed_offset
                    fixed(4), // committed_leader_epoch
                    text(), // metadata
                    fixed(2), // error_code
                ]),
            ]),
            fixed(2), // error_code
        ]).since(8),
    ];
    FindCoordinatorResponse: FindCoordinator, 0, 6, 3, &[
        fixed(4).since(1), // throttle_time_ms
        fixed(2).until(3), // error_code
        text().since(1).until(3), // error_message
        fixed(4).until(3), // node_id
        text().until(3), // host
        fixed(4).until(3), // port
        array(&[ // coordinators
            text(), // key
            fixed(4), // node_id
            text(), // host
            fixed(4), // port
            fixed(2), // error_code
            text(), // error_message
        ]).since(4),
    ];
    JoinGroupResponse: JoinGroup, 0, 9, 6, &[
        fixed(4).since(2), // throttle_time_ms
        fixed(2), // error_code
        fixed(4), // generation_id
        text().since(7), // protocol_type
        text(), // protocol_name
        text(), // leader
        fixed(1).since(9), // skip_assignment
        text(), // member_id
        array(&[ // members
            text(), // member_id
            text().since(5), // group_instance_id
            blob(), // metadata
        ]),
    ];
    HeartbeatResponse: Heartbeat, 0, 4, 4, &[
        fixed(4).since(1), // throttle_time_ms
        fixed(2), // error_code
    ];
    LeaveGroupResponse: LeaveGroup, 0, 5, 4, &[
        fixed(4).since(1), // throttle_time_ms
        fixed(2), // error_code
        array(&[ // members
            text(), // member_id
            text(), // group_instance_id
            fixed(2), // error_code
        ]).since(3),
    ];
    SyncGroupResponse: SyncGroup, 0, 5, 4, &[
        fixed(4).since(1), // throttle_time_ms
        fixed(2), // error_code
        text().since(5), // protocol_type
        text().since(5), // protocol_name
        blob(), // assignment
    ];
    DescribeGroupsResponse: DescribeGroups, 0, 6, 5, &[
        fixed(4).since(1), // throttle_time_ms
        array(&[ // groups
            fixed(2), // error_code
            text().since(6), // error_message
            text(), // group_id
            text(), // group_state
            text(), // protocol_type
            text(), // protocol_data
            array(&[ // members
                text(), // member_id
                text().since(4), // group_instance_id
                text(), // client_id
                text(), // client_host
                blob(), // member_metadata
                blob(), // member_assignment
            ]),
            fixed(4).since(3), // authorized_operations
        ]),
    ];
    ConsumerGroupHeartbeatResponse: ConsumerGroupHeartbeat, 0, 1, 0, &[
        fixed(4), // throttle_time_ms
        fixed(2), // error_code
        text(), // error_message
        text(), // member_id
        fixed(4), // member_epoch
        fixed(4), // heartbeat_interval_ms
        option(&[ // assignment
            array(&[ // topic_partitions
                fixed(16), // topic_id
                items(4), // partitions
            ]),
        ]),
    ];
    ConsumerGroupDescribeResponse: ConsumerGroupDescribe, 0, 1, 0, &[
        fixed(4), // throttle_time_ms
        array(&[ // groups
            fixed(2), // error_code
            text(), // error_message
            text(), // group_id
            text(), // group_state
            fixed(4), // group_epoch
            fixed(4), // assignment_epoch
            text(), // assignor_name
            array(&[ // members
                text(), // member_id
                text(), // instance_id
                text(), // rack_id
                fixed(4), // member_epoch
                text(), // client_id
                text(), // client_host
                texts(), // subscribed_topic_names
                text(), // subscribed_topic_regex
                structure(&[ // assignment
                    array(&[ // topic_partitions
                        fixed(16), // topic_id
                        text(), // topic_name
                        items(4), // partitions
                    ]),
                ]),
                structure(&[ // target_assignment
                    array(&[ // topic_partitions
                        fixed(16), // topic_id
                        text(), // topic_name
                        items(4), // partitions
                    ]),
                ]),
                fixed(1).since(1), // member_type
            ]),
            fixed(4), // authorized_operations
        ]),
    ];
    ListGroupsResponse: ListGroups, 0, 5, 3, &[
        fixed(4).since(1), // throttle_time_ms
        fixed(2), // error_code
        array(&[ // groups
            text(), // group_id
            text(), // protocol_type
            text().since(4), // group_state
            text().since(5), // group_type
        ]),
    ];
    ApiVersionsResponse: ApiVersions, 0, 4, 3, &[
        fixed(2), // error_code
        array(&[ // api_keys
            fixed(2), // api_key
            fixed(2), // min_version
            fixed(2), // max_version
        ]),
        fixed(4).since(1), // throttle_time_ms
        array(&[ // supported_features
            text().since(3), // name
            fixed(2).since(3), // min_version
            fixed(2).since(3), // max_version
        ]).tagged(0),
        fixed(8).tagged(1), // finalized_features_epoch
        array(&[ // finalized_features
            text().since(3), // name
            fixed(2).since(3), // max_version_level
            fixed(2).since(3), // min_version_level
        ]).tagged(2),
        fixed(1).tagged(3), // zk_migration_ready
    ];
    CreateTopicsResponse: CreateTopics, 2, 7, 5, &[
        fixed(4), // throttle_time_ms
        array(&[ // topics
            text(), // name
            fixed(16).since(7), // topic_id
            fixed(2), // error_code
            text(), // error_message
            fixed(4).since(5), // num_partitions
            fixed(2).since(5), // replication_factor
            array(&[ // configs
                text(), // name
                text(), // value
                fixed(1), // read_only
                fixed(1), // config_source
                fixed(1), // is_sensitive
            ]).since(5),
            fixed(2).tagged(0), // topic_config_error_code
        ]),
    ];
    DeleteTopicsResponse: DeleteTopics, 1, 6, 4, &[
        fixed(4), // throttle_time_ms
        array(&[ // responses
            text(), // name
            fixed(16).since(6), // topic_id
            fixed(2), // error_code
            text().since(5), // error_message
        ]),
    ];
    DeleteRecordsResponse: DeleteRecords, 0, 2, 2, &[
        fixed(4), // throttle_time_ms
        array(&[ // topics
            text(), // name
            array(&[ // partitions
                fixed(4), // partition_index
                fixed(8), // low_watermark
                fixed(2), // error_code
            ]),
        ]),
    ];
    InitProducerIdResponse: InitProducerId, 0, 6, 2, &[
        fixed(4), // throttle_time_ms
        fixed(2), // error_code
        fixed(8), // producer_id
        fixed(2), // producer_epoch
        fixed(8).since(6), // ongoing_txn_producer_id
        fixed(2).since(6), // ongoing_txn_producer_epoch
    ];
    OffsetForLeaderEpochResponse: OffsetForLeaderEpoch, 2, 4, 4, &[
        fixed(4), // throttle_time_ms
        array(&[ // topics
            text(), // topic
            array(&[ // partitions
                fixed(2), // error_code
                fixed(4), // partition
                fixed(4), // leader_epoch
                fixed(8), // end_offset
            ]),
        ]),
    ];
    DescribeConfigsResponse: DescribeConfigs, 1, 4, 4, &[
        fixed(4), // throttle_time_ms
        array(&[ // results
            fixed(2), // error_code
            text(), // error_message
            fixed(1), // resource_type
            text(), // resource_name
            array(&[ // configs
                text(), // name
                text(), // value
                fixed(1), // read_only
                fixed(1), // config_source
                fixed(1), // is_sensitive
                array(&[ // synonyms
                    text(), // name
                    text(), // value
                    fixed(1), // source
                ]),
                fixed(1).since(3), // config_type
                text().since(3), // documentation
            ]),
        ]),
    ];
    AlterConfigsResponse: AlterConfigs, 0, 2, 2, &[
        fixed(4), // throttle_time_ms
        array(&[ // responses
            fixed(2), // error_code
            text(), // error_message
            fixed(1), // resource_type
            text(), // resource_name
        ]),
    ];
    AlterReplicaLogDirsResponse: AlterReplicaLogDirs, 1, 2, 2, &[
        fixed(4), // throttle_time_ms
        array(&[ // results
            text(), // topic_name
            array(&[ // partitions
                fixed(4), // partition_index
                fixed(2), // error_code
            ]),
        ]),
    ];
    DescribeLogDirsResponse: DescribeLogDirs, 1, 4, 2, &[
        fixed(4), // throttle_time_ms
        fixed(2).since(3), // error_code
        array(&[ // results
            fixed(2), // error_code
            text(), // log_dir
            array(&[ // topics
                text(), // name
                array(&[ // partitions
                    fixed(4), // partition_index
                    fixed(8), // partition_size
                    fixed(8), // offset_lag
                    fixed(1), // is_future_key
                ]),
            ]),
            fixed(8).since(4), // total_bytes
            fixed(8).since(4), // usable_bytes
        ]),
    ];
    CreatePartitionsResponse: CreatePartitions, 0, 3, 2, &[
        fixed(4), // throttle_time_ms
        array(&[ // results
            text(), // name
            fixed(2), // error_code
            text(), // error_message
        ]),
    ];
    DeleteGroupsResponse: DeleteGroups, 0, 2, 2, &[
        fixed(4), // throttle_time_ms
        array(&[ // results
            text(), // group_id
            fixed(2), // error_code
        ]),
    ];
    ElectLeadersResponse: ElectLeaders, 0, 2, 2, &[
        fixed(4), // throttle_time_ms
        fixed(2).since(1), // error_code
        array(&[ // replica_election_results
            text(), // topic
            array(&[ // partition_result
                fixed(4), // partition_id
                fixed(2), // error_code
                text(), // error_message
            ]),
        ]),
    ];
    IncrementalAlterConfigsResponse: IncrementalAlterConfigs, 0, 1, 1, &[
        fixed(4), // throttle_time_ms
        array(&[ // responses
            fixed(2), // error_code
            text(), // error_message
            fixed(1), // resource_type
            text(), // resource_name
        ]),
    ];
    AlterPartitionReassignmentsResponse: AlterPartitionReassignments, 0, 1, 0, &[
        fixed(4), // throttle_time_ms
        fixed(1).since(1), // allow_replication_factor_change
        fixed(2), // error_code
        text(), // error_message
        array(&[ // responses
            text(), // name
            array(&[ // partitions
                fixed(4), // partition_index
                fixed(2), // error_code
                text(), // error_message
            ]),
        ]),
    ];
    ListPartitionReassignmentsResponse: ListPartitionReassignments, 0, 0, 0, &[
        fixed(4), // throttle_time_ms
        fixed(2), // error_code
        text(), // error_message
        array(&[ // topics
            text(), // name
            array(&[ // partitions
                fixed(4), // partition_index
                items(4), // replicas
                items(4), // adding_replicas
                items(4), // removing_replicas
            ]),
        ]),
    ];
    OffsetDeleteResponse: OffsetDelete, 0, 0, NEVER, &[
        fixed(2), // error_code
        fixed(4), // throttle_time_ms
        array(&[ // topics
            text(), // name
            array(&[ // partitions
                fixed(4), // partition_index
                fixed(2), // error_code
            ]),
        ]),
    ];
    DescribeQuorumResponse: DescribeQuorum, 0, 2, 0, &[
        fixed(2), // error_code
        text().since(2), // error_message
        array(&[ // topics
            text(), // topic_name
            array(&[ // partitions
                fixed(4), // partition_index
                fixed(2), // error_code
                text().since(2), // error_message
                fixed(4), // leader_id
                fixed(4), // leader_epoch
                fixed(8), // high_watermark
                array(&[ // current_voters
                    fixed(4), // replica_id
                    fixed(16).since(2), // replica_directory_id
                    fixed(8), // log_end_offset
                    fixed(8).since(1), // last_fetch_timestamp
                    fixed(8).since(1), // last_caught_up_timestamp
                ]),
                array(&[ // observers
                    fixed(4), // replica_id
                    fixed(16).since(2), // replica_directory_id
                    fixed(8), // log_end_offset
                    fixed(8).since(1), // last_fetch_timestamp
                    fixed(8).since(1), // last_caught_up_timestamp
                ]),
            ]),
        ]),
        array(&[ // nodes
            fixed(4), // node_id
            array(&[ // listeners
                text(), // name
                text(), // host
                fixed(2), // port
            ]),
        ]).since(2),
    ];
    DescribeClusterResponse: DescribeCluster, 0, 2, 0, &[
        fixed(4), // throttle_time_ms
        fixed(2), // error_code
        text(), // error_message
        fixed(1).since(1), // endpoint_type
        text(), // cluster_id
        fixed(4), // controller_id
        array(&[ // brokers
            fixed(4), // broker_id
            text(), // host
            fixed(4), // port
            text(), // rack
            fixed(1).since(2), // is_fenced
        ]),
        fixed(4), // cluster_authorized_operations
    ];
    UnregisterBrokerResponse: UnregisterBroker, 0, 0, 0, &[
        fixed(4), // throttle_time_ms
        fixed(2), // error_code
        text(), // error_message
    ];
    SaslHandshakeResponse: SaslHandshake, 0, 1, NEVER, &[
        fixed(2), // error_code
        texts(), // mechanisms
    ];
    SaslAuthenticateResponse: SaslAuthenticate, 0, 2, 2, &[
        fixed(2), // error_code
        text(), // error_message
        blob(), // auth_bytes
        fixed(8).since(1), // session_lifetime_ms
    ];
    DescribeAclsResponse: DescribeAcls, 1, 3, 2, &[
        fixed(4), // throttle_time_ms
        fixed(2), // error_code
        text(), // error_message
        array(&[ // resources
            fixed(1), // resource_type
            text(), // resource_name
            fixed(1), // pattern_type
            array(&[ // acls
                text(), // principal
                text(), // host
                fixed(1), // operation
                fixed(1), // permission_type
            ]),
        ]),
    ];
    CreateAclsResponse: CreateAcls, 1, 3, 2, &[
        fixed(4), // throttle_time_ms
        array(&[ // results
            fixed(2), // error_code
            text(), // error_message
        ]),
    ];
    DeleteAclsResponse: DeleteAcls, 1, 3, 2, &[
        fixed(4), // throttle_time_ms
        array(&[ // filter_results
            fixed(2), // error_code
            text(), // error_message
            array(&[ // matching_acls
                fixed(2), // error_code
                text(), // error_message
                fixed(1), // resource_type
                text(), // resource_name
                fixed(1), // pattern_type
                text(), // principal
                text(), // host
                fixed(1), // operation
                fixed(1), // permission_type
            ]),
        ]),
    ];
    DescribeClientQuotasResponse: DescribeClientQuotas, 0, 1, 1, &[
        fixed(4), // throttle_time_ms
        fixed(2), // error_code
        text(), // error_message
        array(&[ // entries
            array(&[ // entity
                text(), // entity_type
                text(), // entity_name
            ]),
            array(&[ // values
                text(), // key
                fixed(8), // value
            ]),
        ]),
    ];
    AlterClientQuotasResponse: AlterClientQuotas, 0, 1, 1, &[
        fixed(4), // throttle_time_ms
        array(&[ // entries
            fixed(2), // error_code
            text(), // error_message
            array(&[ // entity
                text(), // entity_type
                text(), // entity_name
            ]),
        ]),
    ];
    DescribeUserScramCredentialsResponse: DescribeUserScramCredentials, 0, 0, 0, &[
        fixed(4), // throttle_time_ms
        fixed(2), // error_code
        text(), // error_message
        array(&[ // results
            text(), // user
            fixed(2), // error_code
            text(), // error_message
            array(&[ // credential_infos
                fixed(1), // mechanism
                fixed(4), // iterations
            ]),
        ]),
    ];
    AlterUserScramCredentialsResponse: AlterUserScramCredentials, 0, 0, 0, &[
        fixed(4), // throttle_time_ms
        array(&[ // results
            text(), // user
            fixed(2), // error_code
            text(), // error_message
        ]),
    ];
    UpdateFeaturesResponse: UpdateFeatures, 0, 2, 0, &[
        fixed(4), // throttle_time_ms
        fixed(2), // error_code
        text(), // error_message
        array(&[ // results
            text(), // feature
            fixed(2), // error_code
            text(), // error_message
        ]).until(1),
    ];
    ListConfigResourcesResponse: ListConfigResources, 0, 1, 0, &[
        fixed(4), // throttle_time_ms
        fixed(2), // error_code
        array(&[ // config_resources
            text(), // resource_name
            fixed(1).since(1), // resource_type
        ]),
    ];
    DescribeTopicPartitionsResponse: DescribeTopicPartitions, 0, 0, 0, &[
        fixed(4), // throttle_time_ms
        array(&[ // topics
            fixed(2), // error_code
            text(), // name
            fixed(16), // topic_id
            fixed(1), // is_internal
            array(&[ // partitions
                fixed(2), // error_code
                fixed(4), // partition_index
                fixed(4), // leader_id
                fixed(4), // leader_epoch
                items(4), // replica_nodes
                items(4), // isr_nodes
                items(4), // eligible_leader_replicas
                items(4), // last_known_elr
                items(4), // offline_replicas
            ]),
            fixed(4), // topic_authorized_operations
        ]),
        option(&[ // next_cursor
            text(), // topic_name
            fixed(4), // partition_index
        ]),
    ];
    AddRaftVoterResponse: AddRaftVoter, 0, 0, 0, &[
        fixed(4), // throttle_time_ms
        fixed(2), // error_code
        text(), // error_message
    ];
    AddPartitionsToTxnResponse: AddPartitionsToTxn, 0, 5, 3, &[
        fixed(4), // throttle_time_ms
        fixed(2).since(4), // error_code
        array(&[ // results_by_transaction
            text(), // transactional_id
            array(&[ // topic_results
                text(), // name
                array(&[ // results_by_partition
                    fixed(4), // partition_index
                    fixed(2), // partition_error_code
                ]),
            ]),
        ])
        .since(4),
        array(&[ // results_by_topic_v3_and_below
            text(), // name
            array(&[ // results_by_partition
                fixed(4), // partition_index
                fixed(2), // partition_error_code
            ]),
        ])
        .until(3),
    ];
    AddOffsetsToTxnResponse: AddOffsetsToTxn, 0, 4, 3, &[
        fixed(4), // throttle_time_ms
        fixed(2), // error_code
    ];
    EndTxnResponse: EndTxn, 0, 5, 3, &[
        fixed(4), // throttle_time_ms
        fixed(2), // error_code
        fixed(8).since(5), // producer_id
        fixed(2).since(5), // producer_epoch
    ];
    DescribeTransactionsResponse: DescribeTransactions, 0, 0, 0, &[
        fixed(4), // throttle_time_ms
        array(&[ // transaction_states
            fixed(2), // error_code
            text(), // transactional_id
            text(), // transaction_state
            fixed(4), // transaction_timeout_ms
            fixed(8), // transaction_start_time_ms
            fixed(8), // producer_id
            fixed(2), // producer_epoch
            array(&[ // topics
                text(), // topic
                items(4), // partitions
            ]),
        ]),
    ];
    ListTransactionsResponse: ListTransactions, 0, 2, 0, &[
        fixed(4), // throttle_time_ms
        fixed(2), // error_code
        texts(), // unknown_state_filters
        array(&[ // transaction_states
            text(), // transactional_id
            fixed(8), // producer_id
            text(), // transaction_state
        ]),
    ];
    WriteTxnMarkersResponse: WriteTxnMarkers, 1, 1, 1, &[
        array(&[ // markers
            fixed(8), // producer_id
            array(&[ // topics
                text(), // name
                array(&[ // partitions
                    fixed(4), // partition_index
                    fixed(2), // error_code
                ]),
            ]),
        ]),
    ];
    TxnOffsetCommitResponse: TxnOffsetCommit, 0, 5, 3, &[
        fixed(4), // throttle_time_ms
        array(&[ // topics
            text(), // name
            array(&[ // partitions
                fixed(4), // partition_index
                fixed(2), // error_code
            ]),
        ]),
    ];
    DescribeProducersResponse: DescribeProducers, 0, 0, 0, &[
        fixed(4), // throttle_time_ms
        array(&[ // topics
            text(), // name
            array(&[ // partitions
                fixed(4), // partition_index
                fixed(2), // error_code
                text(), // error_message
                array(&[ // active_producers
                    fixed(8), // producer_id
                    fixed(4), // producer_epoch
                    fixed(4), // last_sequence
                    fixed(8), // last_timestamp
                    fixed(4), // coordinator_epoch
                    fixed(8), // current_txn_start_offset
                ]),
            ]),
        ]),
    ];
    RemoveRaftVoterResponse: RemoveRaftVoter, 0, 0, 0, &[
        fixed(4), // throttle_time_ms
        fixed(2), // error_code
        text(), // error_message
    ];
}
