"""Groups: members, rebalances, committed offsets, and what the admin client tells of them."""

import pytest
from conftest import PROTOCOL, WAIT_MAX, error_name, produce, read, unique, wait_until
from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions, ConsumerGroupType, TopicPartition

KIND = ConsumerGroupType.CONSUMER if PROTOCOL == "consumer" else ConsumerGroupType.CLASSIC

# The setting, and what to try.
ASSIGNORS = {
    "classic": ("partition_assignment_strategy", ["range", "roundrobin"]),
    "consumer": ("group_remote_assignor", ["range", "uniform"]),
}


def assigned(*members):
    """What members have, once all partitions were polled for."""
    for member in members:
        member.poll(0.05)
    return [sorted(one.partition for one in member.assignment()) for member in members]


def settles(members, partitions):
    """Waits until every partition has exactly one of these members."""

    def is_settled():
        shares = assigned(*members)
        return sorted(sum(shares, [])) == list(range(partitions)) and all(shares) and shares

    return wait_until(f"{partitions} partitions among {len(members)} members", is_settled)


def test_a_group_goes_on_behind_what_it_committed(topic, producer, consumer):
    name, group = topic(), unique("group")
    produce(producer(), name, [str(number) for number in range(10)])
    first = consumer(group)
    first.subscribe([name])
    messages = read(first, 4)
    first.commit(messages[-1], asynchronous=False)
    first.close()
    second = consumer(group)
    second.subscribe([name])
    assert [message.value() for message in read(second, 6)] == [str(number).encode() for number in range(4, 10)]


def test_metadata_of_a_commit_comes_back(topic, consumer):
    one = TopicPartition(topic(), 0, 42, "where it stood")
    member = consumer()
    member.commit(offsets=[one], asynchronous=False)
    (committed,) = member.committed([TopicPartition(one.topic, 0)], WAIT_MAX)
    assert (committed.offset, committed.metadata) == (42, "where it stood")


def test_nothing_committed_is_no_error(topic, consumer):
    (committed,) = consumer().committed([TopicPartition(topic(), 0)], WAIT_MAX)
    assert committed.offset == -1001 and committed.error is None


def test_members_have_names_that_differ(topic, consumer):
    name, group = topic(partitions=2), unique("group")
    members = [consumer(group), consumer(group)]
    for member in members:
        member.subscribe([name])
    settles(members, 2)
    names = {member.memberid() for member in members}
    assert len(names) == 2 and all(names)


@pytest.mark.parametrize("place", [0, 1])
def test_partitions_move_to_who_joins_and_back(place, topic, consumer):
    key, assignors = ASSIGNORS[PROTOCOL]
    name, group = topic(partitions=4), unique("group")
    first, second = (consumer(group, **{key: assignors[place]}) for _ in range(2))
    first.subscribe([name])
    assert settles([first], 4) == [[0, 1, 2, 3]]
    second.subscribe([name])
    assert [len(share) for share in settles([first, second], 4)] == [2, 2]
    second.close()
    assert settles([first], 4) == [[0, 1, 2, 3]]


def test_incremental_rebalances_take_only_what_moves(topic, consumer):
    name, group = topic(partitions=4), unique("group")
    changes = []
    settings = {} if PROTOCOL == "consumer" else {"partition_assignment_strategy": "cooperative-sticky"}
    first, second = consumer(group, **settings), consumer(group, **settings)

    def gets(member, partitions):
        changes.append(("gets", len(partitions)))
        member.incremental_assign(partitions)

    def loses(member, partitions):
        changes.append(("loses", len(partitions)))
        member.incremental_unassign(partitions)

    first.subscribe([name], on_assign=gets, on_revoke=loses)
    settles([first], 4)
    second.subscribe([name])
    settles([first, second], 4)
    assert sum(count for what, count in changes if what == "gets") == 4, changes
    assert sum(count for what, count in changes if what == "loses") == 2, changes


def test_a_static_member_keeps_its_partitions_over_a_restart(topic, consumer):
    name, group = topic(partitions=2), unique("group")
    first, second = consumer(group, group_instance_id="one"), consumer(group, group_instance_id="two")
    for member in (first, second):
        member.subscribe([name])
    before = settles([first, second], 2)
    second.close()
    again = consumer(group, group_instance_id="two")
    again.subscribe([name])
    assert settles([first, again], 2) == before


def test_a_subscription_by_pattern_finds_topics(topic, consumer, producer):
    name = topic()
    produce(producer(), name, ["found"])
    member = consumer()
    member.subscribe([f"^{name[:-2]}.*"])
    (message,) = read(member, 1)
    assert (message.topic(), message.value()) == (name, b"found")


def test_a_group_moves_from_one_protocol_to_the_other(topic, consumer, admin):
    name, group = topic(partitions=4), unique("group")
    other = "consumer" if PROTOCOL == "classic" else "classic"
    first = consumer(group)
    first.subscribe([name])
    settles([first], 4)
    second = consumer(group, group_protocol=other)
    second.subscribe([name])
    assert [len(share) for share in settles([first, second], 4)] == [2, 2]
    first.close()
    settles([second], 4)
    kind = ConsumerGroupType.CONSUMER if other == "consumer" else ConsumerGroupType.CLASSIC
    wait_until("the group has the other protocol", lambda: state_of(admin, group)[1] == kind)


def state_of(admin, group):
    (described,) = admin.describe_consumer_groups([group]).values()
    described = described.result(WAIT_MAX)
    return described.state, described.type, described


def test_the_admin_client_sees_a_group_from_members_to_deletion(topic, producer, consumer, admin):
    name, group = topic(partitions=2), unique("group")
    produce(producer(), name, ["x"] * 3)
    member = consumer(group)
    member.subscribe([name])
    settles([member], 2)
    wait_until("a stable group", lambda: state_of(admin, group)[0] == ConsumerGroupState.STABLE)
    _, kind, described = state_of(admin, group)
    assert kind == KIND and described.coordinator.id == 0
    (seen,) = described.members
    assert seen.member_id == member.memberid()
    assert sorted(one.partition for one in seen.assignment.topic_partitions) == [0, 1]
    listed = admin.list_consumer_groups(types={KIND}, states={ConsumerGroupState.STABLE}).result(WAIT_MAX)
    assert group in [one.group_id for one in listed.valid] and not listed.errors
    assert error_name(admin.delete_consumer_groups([group])[group]) == "NON_EMPTY_GROUP"
    member.commit(offsets=[TopicPartition(name, 0, 3)], asynchronous=False)
    taken = [ConsumerGroupTopicPartitions(group, [TopicPartition(name, 0, 1)])]
    (altered,) = admin.alter_consumer_group_offsets(taken)[group].result(WAIT_MAX).topic_partitions
    assert altered.error.name() == "UNKNOWN_MEMBER_ID"
    member.close()
    wait_until("an empty group", lambda: state_of(admin, group)[0] == ConsumerGroupState.EMPTY)
    admin.alter_consumer_group_offsets(taken)[group].result(WAIT_MAX)
    admin.delete_consumer_groups([group])[group].result(WAIT_MAX)
    assert error_name(admin.delete_consumer_groups([group])[group]) == "GROUP_ID_NOT_FOUND"


def test_a_commit_of_who_is_no_member_is_refused(topic, consumer):
    name, group = topic(), unique("group")
    member, stranger = consumer(group), consumer(group)
    member.subscribe([name])
    settles([member], 1)
    with pytest.raises(Exception) as raised:
        stranger.commit(offsets=[TopicPartition(name, 0, 1)], asynchronous=False)
    assert raised.value.args[0].name() == "UNKNOWN_MEMBER_ID"
