"""What users of confluent-kafka rely on, as tests of ours: Confluent's own are in no package that pip could fetch.

They run against any broker: TWINSTREAM_BOOTSTRAP names it, TEST_CONSUMER_GROUP_PROTOCOL says how members of groups talk
to their coordinator (classic or consumer).
"""

import os
import time
import uuid

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

BOOTSTRAP = os.environ["TWINSTREAM_BOOTSTRAP"]
PROTOCOL = os.environ["TEST_CONSUMER_GROUP_PROTOCOL"]
WAIT_MAX = 60


def connection(**settings):
    return {"bootstrap.servers": BOOTSTRAP, "broker.address.family": "v4"} | settings


def unique(word):
    return f"{word}-{uuid.uuid4().hex[:12]}"


def wait_until(what, condition):
    """Polls until the condition holds, and returns what it returned."""
    until = time.monotonic() + WAIT_MAX
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    pytest.fail(f"{what}: not within {WAIT_MAX} s")


def comes_to(wanted, read):
    """Polls until what is read is what is wanted: Kafka's brokers hear of changes after whoever asked for them."""
    wait_until(f"{wanted!r}", lambda: read() == wanted)


def error_name(future):
    """The name of the error that an admin request ends with."""
    with pytest.raises(Exception) as raised:
        future.result(WAIT_MAX)
    return raised.value.args[0].name()


@pytest.fixture(scope="session")
def admin():
    return AdminClient(connection())


@pytest.fixture
def topic(admin):
    """Makes topics."""

    def make(partitions=1, **config):
        name = unique("topic")
        config = {key.replace("_", "."): value for key, value in config.items()}
        new = NewTopic(name, num_partitions=partitions, replication_factor=1, config=config)
        admin.create_topics([new])[name].result(WAIT_MAX)
        # A leader is told of before it leads, and who writes without acknowledgements would never hear that.
        ends = {TopicPartition(name, number): OffsetSpec.latest() for number in range(partitions)}
        asked = lambda: admin.list_offsets(ends, request_timeout=5).values()
        leads = lambda: all(not end.exception(WAIT_MAX) for end in asked())
        wait_until(f"{name} has leaders", leads)
        return name

    return make


@pytest.fixture
def producer():
    """Makes producers."""

    def make(**settings):
        return Producer(connection(**{key.replace("_", "."): value for key, value in settings.items()}))

    return make


@pytest.fixture
def consumer():
    """Makes members of groups; they leave at the end."""
    made = []

    def make(group=None, **settings):
        settings = {key.replace("_", "."): value for key, value in settings.items()}
        protocol = settings.setdefault("group.protocol", PROTOCOL)
        if protocol == "classic":
            settings.setdefault("session.timeout.ms", 6000)
            settings.setdefault("heartbeat.interval.ms", 300)
        settings.setdefault("auto.offset.reset", "earliest")
        settings.setdefault("enable.auto.commit", False)
        made.append(Consumer(connection(**{"group.id": group or unique("group")} | settings)))
        return made[-1]

    yield make
    for client in made:
        client.close()


def produce(producer, topic, values, partition=0, **more):
    """Writes values and waits for their acknowledgements; the offsets."""
    offsets = []

    def delivered(error, message):
        assert error is None, error
        offsets.append(message.offset())

    for value in values:
        producer.produce(topic, value, partition=partition, on_delivery=delivered, **more)
    assert producer.flush(WAIT_MAX) == 0
    return offsets


def read(consumer, count):
    """So many messages without an error."""
    messages = []
    until = time.monotonic() + WAIT_MAX
    while len(messages) < count and time.monotonic() < until:
        message = consumer.poll(0.2)
        if message is not None:
            assert message.error() is None, message.error()
            messages.append(message)
    assert len(messages) == count, f"{len(messages)} messages of {count}"
    return messages


def read_until_quiet(consumer, end):
    """All messages up to this offset of partition 0, and none more; the position passes what is invisible."""
    messages = []

    def is_at_end():
        message = consumer.poll(0.1)
        if message is not None:
            assert message.error() is None, message.error()
            messages.append(message)
        return consumer.position(consumer.assignment())[0].offset >= end

    wait_until(f"a reader at {end}", is_at_end)
    return messages
