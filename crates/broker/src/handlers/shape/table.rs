//! The shapes of the requests that we serve, by API; see the module above. A field's comment is its name in Kafka's
//! message files. `since` and `until` are versions; NEVER means that no version is flexible.

use kafka_protocol::messages::ApiKey;

use super::{NEVER, Shape, array, blob, fixed, items, option, text, texts};

#[rustfmt::skip]
pub(super) const SHAPES: &[Shape] = &[
    Shape::new(ApiKey::ApiVersions, 0, 4, 3, &[
        text().since(3), // client_software_name
        text().since(3), // client_software_version
    ]),
    Shape::new(ApiKey::Metadata, 0, 13, 9, &[
        array(&[
            fixed(16).since(10), // topic_id
            text(), // name
        ]),
        fixed(1).since(4), // allow_auto_topic_creation
        fixed(1).since(8).until(10), // include_cluster_authorized_operations
        fixed(1).since(8), // include_topic_authorized_operations
    ]),
    Shape::new(ApiKey::Produce, 3, 13, 9, &[
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
    ]),
    Shape::new(ApiKey::Fetch, 4, 18, 12, &[
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
            ]),
        ]),
        array(&[
            text().since(7).until(12), // topic
            fixed(16).since(13), // topic_id
            items(4).since(7), // partitions
        ]).since(7),
        text().since(11), // rack_id
    ]),
    Shape::new(ApiKey::ListOffsets, 1, 10, 6, &[
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
    ]),
    Shape::new(ApiKey::CreateTopics, 2, 7, 5, &[
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
    ]),
    Shape::new(ApiKey::DeleteTopics, 1, 6, 4, &[
        array(&[
            text().since(6), // name
            fixed(16).since(6), // topic_id
        ]).since(6),
        texts().until(5), // topic_names
        fixed(4), // timeout_ms
    ]),
    Shape::new(ApiKey::CreatePartitions, 0, 3, 2, &[
        array(&[
            text(), // name
            fixed(4), // count
            array(&[
                items(4), // broker_ids
            ]),
        ]),
        fixed(4), // timeout_ms
        fixed(1), // validate_only
    ]),
    Shape::new(ApiKey::DescribeConfigs, 1, 4, 4, &[
        array(&[
            fixed(1), // resource_type
            text(), // resource_name
            texts(), // configuration_keys
        ]),
        fixed(1), // include_synonyms
        fixed(1).since(3), // include_documentation
    ]),
    Shape::new(ApiKey::IncrementalAlterConfigs, 0, 1, 1, &[
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
    ]),
    Shape::new(ApiKey::AlterConfigs, 0, 2, 2, &[
        array(&[
            fixed(1), // resource_type
            text(), // resource_name
            array(&[
                text(), // name
                text(), // value
            ]),
        ]),
        fixed(1), // validate_only
    ]),
    Shape::new(ApiKey::FindCoordinator, 0, 6, 3, &[
        text().until(3), // key
        fixed(1).since(1), // key_type
        texts().since(4), // coordinator_keys
    ]),
    Shape::new(ApiKey::JoinGroup, 0, 9, 6, &[
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
    ]),
    Shape::new(ApiKey::SyncGroup, 0, 5, 4, &[
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
    ]),
    Shape::new(ApiKey::Heartbeat, 0, 4, 4, &[
        text(), // group_id
        fixed(4), // generation_id
        text(), // member_id
        text().since(3), // group_instance_id
    ]),
    Shape::new(ApiKey::LeaveGroup, 0, 5, 4, &[
        text(), // group_id
        text().until(2), // member_id
        array(&[
            text().since(3), // member_id
            text().since(3), // group_instance_id
            text().since(5), // reason
        ]).since(3),
    ]),
    Shape::new(ApiKey::OffsetCommit, 2, 9, 8, &[
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
    ]),
    Shape::new(ApiKey::OffsetFetch, 1, 9, 6, &[
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
    ]),
    Shape::new(ApiKey::OffsetDelete, 0, 0, NEVER, &[
        text(), // group_id
        array(&[
            text(), // name
            array(&[
                fixed(4), // partition_index
            ]),
        ]),
    ]),
    Shape::new(ApiKey::DescribeGroups, 0, 6, 5, &[
        texts(), // groups
        fixed(1).since(3), // include_authorized_operations
    ]),
    Shape::new(ApiKey::ListGroups, 0, 5, 3, &[
        texts().since(4), // states_filter
        texts().since(5), // types_filter
    ]),
    Shape::new(ApiKey::DeleteGroups, 0, 2, 2, &[
        texts(), // groups_names
    ]),
    Shape::new(ApiKey::InitProducerId, 0, 5, 2, &[
        text(), // transactional_id
        fixed(4), // transaction_timeout_ms
        fixed(8).since(3), // producer_id
        fixed(2).since(3), // producer_epoch
    ]),
    Shape::new(ApiKey::OffsetForLeaderEpoch, 2, 4, 4, &[
        fixed(4).since(3), // replica_id
        array(&[
            text(), // topic
            array(&[
                fixed(4), // partition
                fixed(4), // current_leader_epoch
                fixed(4), // leader_epoch
            ]),
        ]),
    ]),
    Shape::new(ApiKey::DescribeCluster, 0, 2, 0, &[
        fixed(1), // include_cluster_authorized_operations
        fixed(1).since(1), // endpoint_type
        fixed(1).since(2), // include_fenced_brokers
    ]),
    Shape::new(ApiKey::DescribeTopicPartitions, 0, 0, 0, &[
        array(&[
            text(), // name
        ]),
        fixed(4), // response_partition_limit
        option(&[
            text(), // topic_name
            fixed(4), // partition_index
        ]),
    ]),
    Shape::new(ApiKey::DescribeLogDirs, 1, 4, 2, &[
        array(&[
            text(), // topic
            items(4), // partitions
        ]),
    ]),
    Shape::new(ApiKey::DeleteRecords, 0, 2, 2, &[
        array(&[
            text(), // name
            array(&[
                fixed(4), // partition_index
                fixed(8), // offset
            ]),
        ]),
        fixed(4), // timeout_ms
    ]),
    Shape::new(ApiKey::ElectLeaders, 0, 2, 2, &[
        fixed(1).since(1), // election_type
        array(&[
            text(), // topic
            items(4), // partitions
        ]),
        fixed(4), // timeout_ms
    ]),
    Shape::new(ApiKey::AlterPartitionReassignments, 0, 1, 0, &[
        fixed(4), // timeout_ms
        fixed(1).since(1), // allow_replication_factor_change
        array(&[
            text(), // name
            array(&[
                fixed(4), // partition_index
                items(4), // replicas
            ]),
        ]),
    ]),
    Shape::new(ApiKey::ListPartitionReassignments, 0, 0, 0, &[
        fixed(4), // timeout_ms
        array(&[
            text(), // name
            items(4), // partition_indexes
        ]),
    ]),
    Shape::new(ApiKey::DescribeQuorum, 0, 2, 0, &[
        array(&[
            text(), // topic_name
            array(&[
                fixed(4), // partition_index
            ]),
        ]),
    ]),
    Shape::new(ApiKey::UnregisterBroker, 0, 0, 0, &[
        fixed(4), // broker_id
    ]),
    Shape::new(ApiKey::AddRaftVoter, 0, 0, 0, &[
        text(), // cluster_id
        fixed(4), // timeout_ms
        fixed(4), // voter_id
        fixed(16), // voter_directory_id
        array(&[
            text(), // name
            text(), // host
            fixed(2), // port
        ]),
    ]),
    Shape::new(ApiKey::RemoveRaftVoter, 0, 0, 0, &[
        text(), // cluster_id
        fixed(4), // voter_id
        fixed(16), // voter_directory_id
    ]),
];
