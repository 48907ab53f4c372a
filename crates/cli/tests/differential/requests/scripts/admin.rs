//! What operators change besides topics and settings.

use twinstream_client::raw::kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use twinstream_client::raw::kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use twinstream_client::raw::kafka_protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
};
use twinstream_client::raw::kafka_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use twinstream_client::raw::kafka_protocol::messages::create_acls_request::AclCreation;
use twinstream_client::raw::kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use twinstream_client::raw::kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use twinstream_client::raw::kafka_protocol::messages::describe_user_scram_credentials_request::UserName;
use twinstream_client::raw::kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use twinstream_client::raw::kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use twinstream_client::raw::kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use twinstream_client::raw::kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest,
    AlterUserScramCredentialsRequest, BrokerId, CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest,
    DescribeClientQuotasRequest, DescribeUserScramCredentialsRequest, ElectLeadersRequest,
    ListPartitionReassignmentsRequest, UnregisterBrokerRequest, UpdateFeaturesRequest,
};

use super::{NOWHERE, TOPIC, s, topic};
use crate::requests::side::Side;

const WITHIN_MS: i32 = 30_000;
const SHA_256: i8 = 1;
const SHA_512: i8 = 2;

pub(super) fn run(side: &mut Side) {
    elections(side);
    reassignments(side);
    log_dirs(side);
    features(side);
    side.ask("an unknown broker", &UnregisterBrokerRequest::default().with_broker_id(BrokerId(99)));
    side.ask("a negative broker", &UnregisterBrokerRequest::default().with_broker_id(BrokerId(-1)));
    quotas(side);
    scram(side);
    acls(side);
}

fn elections(side: &mut Side) {
    let of = |name: &str, partitions| {
        Some(vec![TopicPartitions::default().with_topic(topic(name)).with_partitions(partitions)])
    };
    for kind in [0, 1, 7] {
        for (label, topics) in [
            ("no topics", Some(vec![])),
            ("a partition", of(TOPIC, vec![0])),
            ("an unknown topic", of(NOWHERE, vec![0])),
            ("an unknown partition", of(TOPIC, vec![9])),
            ("a topic without partitions", of(TOPIC, vec![])),
        ] {
            let request = ElectLeadersRequest::default().with_election_type(kind).with_topic_partitions(topics);
            side.ask(&format!("{label}, kind {kind}"), &request.with_timeout_ms(WITHIN_MS));
        }
    }
}

fn reassignments(side: &mut Side) {
    let to = |name: &str, partition, replicas: Option<&[i32]>| {
        let replicas = replicas.map(|ids| ids.iter().map(|id| BrokerId(*id)).collect());
        let partition = ReassignablePartition::default().with_partition_index(partition).with_replicas(replicas);
        ReassignableTopic::default().with_name(topic(name)).with_partitions(vec![partition])
    };
    for (label, topics) in [
        ("no topics", vec![]),
        ("an unknown topic", vec![to(NOWHERE, 0, Some(&[1]))]),
        ("an unknown partition", vec![to(TOPIC, 9, Some(&[1]))]),
        ("no replicas", vec![to(TOPIC, 0, Some(&[]))]),
        ("an unknown broker", vec![to(TOPIC, 0, Some(&[7]))]),
        ("a negative broker", vec![to(TOPIC, 0, Some(&[-1]))]),
        ("one broker twice", vec![to(TOPIC, 0, Some(&[1, 1]))]),
        ("nothing to cancel", vec![to(TOPIC, 0, None)]),
        ("the replicas that it has", vec![to(TOPIC, 0, Some(&[1]))]),
        ("an unknown topic, cancelled", vec![to(NOWHERE, 0, None)]),
    ] {
        let request = AlterPartitionReassignmentsRequest::default().with_topics(topics).with_timeout_ms(WITHIN_MS);
        side.ask(label, &request.clone().with_allow_replication_factor_change(false));
        side.ask(&format!("{label}, any factor"), &request);
    }
    let of = |name: &str, partitions| {
        ListPartitionReassignmentsTopics::default().with_name(topic(name)).with_partition_indexes(partitions)
    };
    for (label, topics) in [
        ("all", None),
        ("no topics", Some(vec![])),
        ("a partition", Some(vec![of(TOPIC, vec![0])])),
        ("an unknown partition", Some(vec![of(TOPIC, vec![9])])),
        ("an unknown topic", Some(vec![of(NOWHERE, vec![0])])),
    ] {
        side.ask(label, &ListPartitionReassignmentsRequest::default().with_topics(topics).with_timeout_ms(WITHIN_MS));
    }
}

fn log_dirs(side: &mut Side) {
    let of = |path: &str, name: &str, partition| {
        let topic = AlterReplicaLogDirTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
        AlterReplicaLogDir::default().with_path(s(path)).with_topics(vec![topic])
    };
    for (label, dirs) in [
        ("no directories", vec![]),
        ("an unknown directory", vec![of("/no/such/folder", TOPIC, 0)]),
        ("a relative directory", vec![of("folder", TOPIC, 0)]),
        ("an unknown topic", vec![of("/no/such/folder", NOWHERE, 0)]),
    ] {
        side.ask(label, &AlterReplicaLogDirsRequest::default().with_dirs(dirs));
    }
}

fn features(side: &mut Side) {
    let to = |name: &str, level, kind| {
        FeatureUpdateKey::default().with_feature(s(name)).with_max_version_level(level).with_upgrade_type(kind)
    };
    for (label, updates) in [
        ("nothing", vec![]),
        ("an unknown feature", vec![to("no.such.feature", 1, 1)]),
        ("a feature without a name", vec![to("", 1, 1)]),
        ("a level that is too high", vec![to("transaction.version", 99, 1)]),
        ("a negative level", vec![to("transaction.version", -1, 1)]),
        ("a fall that is an upgrade", vec![to("transaction.version", 0, 1)]),
        ("an unknown kind of change", vec![to("transaction.version", 2, 9)]),
        ("one feature twice", vec![to("transaction.version", 2, 1), to("transaction.version", 1, 2)]),
    ] {
        let request = UpdateFeaturesRequest::default().with_feature_updates(updates).with_timeout_ms(WITHIN_MS);
        for version in side.versions_of::<UpdateFeaturesRequest>().filter(|version| *version >= 1) {
            side.ask_in(version, &format!("{label}, only validated"), &request.clone().with_validate_only(true));
        }
    }
    let raised = FeatureUpdateKey::default().with_feature(s("no.such.feature")).with_max_version_level(1);
    side.ask_in(0, "an unknown feature", &UpdateFeaturesRequest::default().with_feature_updates(vec![raised]));
}

fn entry(entity: &[(&str, Option<&str>)], operations: &[(&str, f64, bool)]) -> EntryData {
    let entity =
        entity.iter().map(|(kind, name)| EntityData::default().with_entity_type(s(kind)).with_entity_name(name.map(s)));
    let operations = operations
        .iter()
        .map(|(key, value, remove)| OpData::default().with_key(s(key)).with_value(*value).with_remove(*remove));
    EntryData::default().with_entity(entity.collect()).with_ops(operations.collect())
}

fn quotas(side: &mut Side) {
    const RATE: &[(&str, f64, bool)] = &[("consumer_byte_rate", 1_000.0, false)];
    for (label, entries) in [
        ("nothing", vec![]),
        ("no operations", vec![entry(&[("user", Some("u"))], &[])]),
        ("no entity", vec![entry(&[], RATE)]),
        ("an unknown kind of entity", vec![entry(&[("planet", Some("u"))], RATE)]),
        ("an entity without a name", vec![entry(&[("user", Some(""))], RATE)]),
        ("one kind twice", vec![entry(&[("user", Some("u")), ("user", Some("v"))], RATE)]),
        ("an address with a user", vec![entry(&[("ip", Some("1.2.3.4")), ("user", Some("u"))], RATE)]),
        ("a rate of bytes for an address", vec![entry(&[("ip", Some("1.2.3.4"))], RATE)]),
        (
            "an address that is none",
            vec![entry(&[("ip", Some("nowhere!"))], &[("connection_creation_rate", 5.0, false)])],
        ),
        ("an unknown key", vec![entry(&[("user", Some("u"))], &[("no_such_rate", 5.0, false)])]),
        ("no rate at all", vec![entry(&[("user", Some("u"))], &[("consumer_byte_rate", 0.0, false)])]),
        ("a negative rate", vec![entry(&[("user", Some("u"))], &[("consumer_byte_rate", -1.0, false)])]),
        ("half a byte", vec![entry(&[("user", Some("u"))], &[("consumer_byte_rate", 1.5, false)])]),
        ("a rate for a user and a client", vec![entry(&[("user", Some("u")), ("client-id", Some("c"))], RATE)]),
        ("a rate for all clients", vec![entry(&[("client-id", None)], &[("producer_byte_rate", 2_000.0, false)])]),
        ("a rate for an address", vec![entry(&[("ip", Some("1.2.3.4"))], &[("connection_creation_rate", 5.0, false)])]),
        ("a part of time", vec![entry(&[("user", None)], &[("request_percentage", 12.5, false)])]),
        ("what nobody set is removed", vec![entry(&[("user", Some("w"))], &[("request_percentage", 0.0, true)])]),
    ] {
        let request = AlterClientQuotasRequest::default().with_entries(entries);
        side.ask(&format!("{label}, only validated"), &request.clone().with_validate_only(true));
        side.ask(label, &request);
    }
    let part = |kind: &str, how, name: Option<&str>| {
        ComponentData::default().with_entity_type(s(kind)).with_match_type(how)._with_match(name)
    };
    for (label, components) in [
        ("all", vec![]),
        ("a user", vec![part("user", 0, Some("u"))]),
        ("the default user", vec![part("user", 1, None)]),
        ("any client", vec![part("client-id", 2, None)]),
        ("an address", vec![part("ip", 0, Some("1.2.3.4"))]),
        ("an unknown kind", vec![part("planet", 0, Some("u"))]),
        ("a kind without a name", vec![part("", 0, Some("u"))]),
        ("an unknown way to match", vec![part("user", 9, None)]),
        ("a name without a name", vec![part("user", 0, None)]),
        ("one kind twice", vec![part("user", 2, None), part("user", 0, Some("u"))]),
        ("an address and a user", vec![part("ip", 2, None), part("user", 2, None)]),
    ] {
        let request = DescribeClientQuotasRequest::default().with_components(components);
        // What was set above has to come to the broker first.
        if label == "all" {
            side.settle("quotas are known", &request, |answer| {
                let mut values = answer.entries.iter().flatten().flat_map(|entry| &entry.values);
                values.any(|value| value.key.as_str() == "request_percentage")
            });
        }
        side.ask(label, &request);
        side.ask(&format!("{label}, strictly"), &request.with_strict(true));
    }
}

trait WithMatch {
    fn _with_match(self, name: Option<&str>) -> Self;
}

impl WithMatch for ComponentData {
    fn _with_match(mut self, name: Option<&str>) -> Self {
        self._match = name.map(s);
        self
    }
}

fn scram(side: &mut Side) {
    let delete =
        |name: &str, mechanism| ScramCredentialDeletion::default().with_name(s(name)).with_mechanism(mechanism);
    let put = |name: &str, mechanism, iterations| {
        let put = ScramCredentialUpsertion::default().with_name(s(name)).with_mechanism(mechanism);
        put.with_iterations(iterations).with_salt("salt".into()).with_salted_password("secret".into())
    };
    for (label, deletions, puts) in [
        ("nothing", vec![], vec![]),
        ("a deletion of nobody", vec![delete("nobody", SHA_256)], vec![]),
        ("a deletion without a name", vec![delete("", SHA_256)], vec![]),
        ("a deletion of an unknown mechanism", vec![delete("u", 9)], vec![]),
        ("too few iterations", vec![], vec![put("u", SHA_256, 100)]),
        ("too many iterations", vec![], vec![put("u", SHA_256, 100_000_000)]),
        ("no name", vec![], vec![put("", SHA_256, 4_096)]),
        ("an unknown mechanism", vec![], vec![put("u", 9, 4_096)]),
        ("one credential twice", vec![], vec![put("u", SHA_256, 4_096), put("u", SHA_256, 8_192)]),
        ("put and deleted", vec![delete("u", SHA_256)], vec![put("u", SHA_256, 4_096)]),
        ("a good and a bad one", vec![delete("nobody", SHA_256)], vec![put("v", SHA_256, 4_096)]),
        ("two mechanisms", vec![], vec![put("u", SHA_256, 4_096), put("u", SHA_512, 8_192)]),
        ("one mechanism", vec![], vec![put("u", SHA_256, 4_096)]),
        ("another mechanism", vec![], vec![put("u", SHA_512, 8_192)]),
        ("a deletion", vec![delete("u", SHA_512)], vec![]),
    ] {
        let request = AlterUserScramCredentialsRequest::default().with_deletions(deletions).with_upsertions(puts);
        side.ask(label, &request);
    }
    let of = |names: &[&str]| Some(names.iter().map(|name| UserName::default().with_name(s(name))).collect::<Vec<_>>());
    for (label, users) in [
        ("all", None),
        ("nobody in particular", of(&[])),
        ("a user", of(&["u"])),
        ("an unknown user", of(&["nobody"])),
        ("a user without a name", of(&[""])),
        ("one user twice", of(&["u", "u"])),
    ] {
        let request = DescribeUserScramCredentialsRequest::default().with_users(users);
        if label == "all" {
            side.settle("credentials are known", &request, |answer| {
                answer.results.iter().any(|user| user.user.as_str() == "u" && user.credential_infos.len() == 1)
            });
        }
        side.ask(label, &request);
    }
}

/// No authorizer is there, so each of these has the same answer.
fn acls(side: &mut Side) {
    let any = DescribeAclsRequest::default().with_resource_type_filter(1).with_pattern_type_filter(1);
    side.ask("any", &any.clone().with_operation(1).with_permission_type(1));
    side.ask("an unknown kind", &any.with_resource_type_filter(77).with_operation(1).with_permission_type(1));
    let one = AclCreation::default().with_resource_type(2).with_resource_name(s(TOPIC)).with_resource_pattern_type(3);
    let one = one.with_principal(s("User:u")).with_host(s("*")).with_operation(3).with_permission_type(3);
    side.ask("one", &CreateAclsRequest::default().with_creations(vec![one.clone()]));
    side.ask("one without a principal", &CreateAclsRequest::default().with_creations(vec![one.with_principal(s("u"))]));
    side.ask("none", &CreateAclsRequest::default());
    let filter = DeleteAclsFilter::default().with_resource_type_filter(1).with_pattern_type_filter(1);
    let filter = filter.with_operation(1).with_permission_type(1);
    side.ask("any", &DeleteAclsRequest::default().with_filters(vec![filter.clone(), filter]));
    side.ask("no filters", &DeleteAclsRequest::default());
}
