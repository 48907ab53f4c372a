"""Transactions: all or nothing, with offsets, and one producer of a name at a time."""

import pytest
from conftest import WAIT_MAX, comes_to, produce, read, read_until_quiet, unique
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec


@pytest.fixture
def transactional(producer):
    def make(name=None, **settings):
        made = producer(transactional_id=name or unique("transactional"), **settings)
        made.init_transactions(WAIT_MAX)
        return made

    return make


@pytest.fixture
def committed(consumer):
    """What a reader of committed records finds up to this offset."""

    def values(topic, end, isolation="read_committed"):
        reader = consumer(group_protocol="classic", isolation_level=isolation)
        reader.assign([TopicPartition(topic, 0, 0)])
        return [message.value().decode() for message in read_until_quiet(reader, end)]

    return values


def test_a_committed_transaction_is_read(topic, transactional, committed):
    name, writer = topic(), transactional()
    writer.begin_transaction()
    produce(writer, name, ["one", "two"])
    writer.commit_transaction(WAIT_MAX)
    # The marker has an offset too.
    assert committed(name, 3) == ["one", "two"]


def test_an_aborted_transaction_is_read_by_nobody_who_cares(topic, transactional, committed):
    name, writer = topic(), transactional()
    writer.begin_transaction()
    produce(writer, name, ["lost"])
    writer.abort_transaction(WAIT_MAX)
    writer.begin_transaction()
    produce(writer, name, ["kept"])
    writer.commit_transaction(WAIT_MAX)
    assert committed(name, 4) == ["kept"]
    assert committed(name, 4, "read_uncommitted") == ["lost", "kept"]


def test_an_open_transaction_holds_the_last_stable_offset(topic, transactional, producer, admin):
    name, writer = topic(), transactional()
    produce(producer(), name, ["before"])
    writer.begin_transaction()
    produce(writer, name, ["open"])
    produce(producer(), name, ["behind"])

    def end(isolation):
        asked = {TopicPartition(name, 0): OffsetSpec.latest()}
        (found,) = admin.list_offsets(asked, isolation_level=isolation).values()
        return found.result(WAIT_MAX).offset

    assert end(IsolationLevel.READ_UNCOMMITTED) == 3
    assert end(IsolationLevel.READ_COMMITTED) == 1
    writer.abort_transaction(WAIT_MAX)
    comes_to(4, lambda: end(IsolationLevel.READ_COMMITTED))


def test_offsets_of_a_group_are_committed_with_the_records(topic, transactional, producer, consumer, committed):
    source, target, group = topic(), topic(), unique("group")
    produce(producer(), source, [str(number) for number in range(5)])
    reader = consumer(group)
    reader.subscribe([source])
    writer = transactional()
    for ends_well in (False, True):
        writer.begin_transaction()
        for message in read(reader, 5):
            writer.produce(target, message.value(), partition=0)
        # An abort would drop what was not sent yet.
        assert writer.flush(WAIT_MAX) == 0
        behind = reader.position(reader.assignment())
        writer.send_offsets_to_transaction(behind, reader.consumer_group_metadata(), WAIT_MAX)
        if ends_well:
            writer.commit_transaction(WAIT_MAX)
        else:
            writer.abort_transaction(WAIT_MAX)
            assert reader.committed(behind, WAIT_MAX)[0].offset == -1001
            reader.seek(TopicPartition(source, 0, 0))
    assert reader.committed(behind, WAIT_MAX)[0].offset == 5
    assert committed(target, 12) == [str(number) for number in range(5)]


def test_the_older_of_two_producers_of_a_name_is_fenced(topic, transactional, committed):
    name, both = topic(), unique("transactional")
    older = transactional(both)
    older.begin_transaction()
    produce(older, name, ["of the older"])
    newer = transactional(both)
    newer.begin_transaction()
    produce(newer, name, ["of the newer"])
    newer.commit_transaction(WAIT_MAX)
    with pytest.raises(KafkaException) as raised:
        older.commit_transaction(WAIT_MAX)
    error = raised.value.args[0]
    assert error.code() in (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH) and error.fatal()
    assert committed(name, 4) == ["of the newer"]


def test_a_timeout_beyond_that_of_the_broker_is_refused(producer):
    writer = producer(transactional_id=unique("transactional"), transaction_timeout_ms=2_000_000_000)
    with pytest.raises(KafkaException) as raised:
        writer.init_transactions(WAIT_MAX)
    assert raised.value.args[0].code() == KafkaError.INVALID_TRANSACTION_TIMEOUT


def test_a_transaction_over_time_is_aborted_by_the_coordinator(topic, transactional, committed):
    name = topic()
    writer = transactional(transaction_timeout_ms=1000)
    writer.begin_transaction()
    produce(writer, name, ["late"])
    # Nothing but the coordinator can end it.
    assert committed(name, 2) == []
