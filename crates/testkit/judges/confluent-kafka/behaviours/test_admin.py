"""Topics, partitions, offsets, records, the cluster, and what it answers to mistakes."""

from conftest import WAIT_MAX, error_name, produce, unique, wait_until
from confluent_kafka import ConsumerGroupTopicPartitions, ElectionType, IsolationLevel, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)


def test_a_topic_that_is_only_validated_is_not_made(admin):
    name = unique("validated")
    admin.create_topics([NewTopic(name, 2, 1)], validate_only=True)[name].result(WAIT_MAX)
    assert name not in admin.list_topics().topics


def test_a_topic_twice_is_an_error_of_that_topic_only(admin, topic):
    there, new = topic(), unique("new")
    made = admin.create_topics([NewTopic(there, 1, 1), NewTopic(new, 1, 1)])
    assert error_name(made[there]) == "TOPIC_ALREADY_EXISTS"
    made[new].result(WAIT_MAX)


def test_impossible_topics_are_refused_by_their_errors(admin):
    wrong = [
        (NewTopic("not/a/name", 1, 1), "TOPIC_EXCEPTION"),
        (NewTopic(unique("many"), 1, 40), "INVALID_REPLICATION_FACTOR"),
        (NewTopic(unique("none"), 0, 1), "INVALID_PARTITIONS"),
        (NewTopic(unique("config"), 1, 1, config={"retention.ms": "soon"}), "INVALID_CONFIG"),
    ]
    made = admin.create_topics([new for new, _ in wrong])
    assert {new.topic: error_name(made[new.topic]) for new, _ in wrong} == {new.topic: name for new, name in wrong}


def test_a_topic_without_counts_has_those_of_the_broker(admin):
    name = unique("defaults")
    admin.create_topics([NewTopic(name, -1, -1)])[name].result(WAIT_MAX)
    described = admin.describe_topics(TopicCollection([name]))[name].result(WAIT_MAX)
    assert [len(partition.replicas) for partition in described.partitions] == [1, 1, 1, 1]


def test_partitions_are_added_and_never_taken_away(admin, topic):
    name = topic(partitions=2)
    assert error_name(admin.create_partitions([NewPartitions(name, 1)])[name]) == "INVALID_PARTITIONS"
    admin.create_partitions([NewPartitions(name, 5)])[name].result(WAIT_MAX)
    wait_until("five partitions", lambda: len(admin.list_topics(name).topics[name].partitions) == 5)


def test_a_deleted_topic_is_unknown(admin, topic):
    name = topic()
    admin.delete_topics([name])[name].result(WAIT_MAX)
    wait_until("the topic is gone", lambda: name not in admin.list_topics().topics)
    assert error_name(admin.delete_topics([name])[name]) == "UNKNOWN_TOPIC_OR_PART"
    assert error_name(admin.describe_topics(TopicCollection([name]))[name]) == "UNKNOWN_TOPIC_OR_PART"


def test_the_cluster_is_described_with_its_node_and_controller(admin):
    described = admin.describe_cluster().result(WAIT_MAX)
    assert [node.id for node in described.nodes] == [0]
    assert described.controller.id == 0
    assert described.cluster_id == admin.list_topics().cluster_id


def test_a_described_topic_has_an_id_and_all_replicas_in_sync(admin, topic):
    name = topic(partitions=3)
    described = admin.describe_topics(TopicCollection([name]))[name].result(WAIT_MAX)
    assert not described.is_internal and str(described.topic_id) != "AAAAAAAAAAAAAAAAAAAAAA"
    partitions = [(one.id, one.leader.id, [node.id for node in one.isr]) for one in described.partitions]
    assert partitions == [(index, 0, [0]) for index in range(3)]


def test_offsets_are_found_by_place_and_by_time(admin, topic, producer):
    name = topic()
    for time in (1000, 2000, 3000):
        produce(producer(), name, ["x"], timestamp=time)

    def offset(spec, **options):
        asked = admin.list_offsets({TopicPartition(name, 0): spec}, **options)
        return asked[TopicPartition(name, 0)].result(WAIT_MAX).offset

    assert offset(OffsetSpec.earliest()) == 0
    assert offset(OffsetSpec.latest()) == 3
    assert offset(OffsetSpec.latest(), isolation_level=IsolationLevel.READ_COMMITTED) == 3
    assert offset(OffsetSpec.max_timestamp()) == 2
    assert offset(OffsetSpec.for_timestamp(2000)) == 1
    assert offset(OffsetSpec.for_timestamp(2001)) == 2
    assert offset(OffsetSpec.for_timestamp(9000)) == -1


def test_deleted_records_move_the_start_of_a_partition(admin, topic, producer):
    name = topic(partitions=2)
    produce(producer(), name, ["x"] * 10)
    produce(producer(), name, ["x"] * 10, partition=1)
    asked = [TopicPartition(name, 0, 4), TopicPartition(name, 1, -1)]
    deleted = admin.delete_records(asked)
    assert [deleted[one].result(WAIT_MAX).low_watermark for one in asked] == [4, 10]
    earliest = admin.list_offsets({TopicPartition(name, 0): OffsetSpec.earliest()})
    assert [one.result(WAIT_MAX).offset for one in earliest.values()] == [4]
    beyond = TopicPartition(name, 0, 99)
    assert error_name(admin.delete_records([beyond])[beyond]) == "OFFSET_OUT_OF_RANGE"


def test_the_preferred_leader_leads_already(admin, topic):
    one = TopicPartition(topic(), 0)
    elected = admin.elect_leaders(ElectionType.PREFERRED, [one]).result(WAIT_MAX)
    assert elected[one].name() == "ELECTION_NOT_NEEDED"


def test_scram_credentials_are_kept_without_their_passwords(admin):
    user = unique("user")
    new = UserScramCredentialUpsertion(user, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 8192), b"password", b"salt")
    admin.alter_user_scram_credentials([new])[user].result(WAIT_MAX)
    described = admin.describe_user_scram_credentials([user])[user].result(WAIT_MAX)
    infos = [(info.mechanism, info.iterations) for info in described.scram_credential_infos]
    assert infos == [(ScramMechanism.SCRAM_SHA_256, 8192)]
    gone = UserScramCredentialDeletion(user, ScramMechanism.SCRAM_SHA_256)
    admin.alter_user_scram_credentials([gone])[user].result(WAIT_MAX)
    assert error_name(admin.describe_user_scram_credentials([user])[user]) == "RESOURCE_NOT_FOUND"


def test_offsets_of_an_empty_group_are_altered_from_outside(admin, topic):
    group, one = unique("group"), TopicPartition(topic(), 0, 7)
    asked = [ConsumerGroupTopicPartitions(group, [one])]
    admin.alter_consumer_group_offsets(asked)[group].result(WAIT_MAX)
    listed = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(WAIT_MAX)
    assert [(found.topic, found.partition, found.offset) for found in listed.topic_partitions] == [(one.topic, 0, 7)]
