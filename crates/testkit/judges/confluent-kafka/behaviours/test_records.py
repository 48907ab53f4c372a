"""Records: what a producer writes and a consumer finds."""

import pytest
from conftest import WAIT_MAX, produce, read, unique, wait_until
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, TopicPartition
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME


@pytest.fixture
def reader(consumer):
    """Reads partition 0 from an offset on, without a group's help."""

    def make(name, offset=OFFSET_BEGINNING, **settings):
        made = consumer(group_protocol="classic", **settings)
        made.assign([TopicPartition(name, 0, offset)])
        return made

    return make


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_everything_of_a_record_comes_back(codec, topic, producer, reader):
    name = topic()
    headers = [("one", b"1"), ("none", None), ("empty", b""), ("one", "zwölf".encode())]
    writer = producer(compression_type=codec, linger_ms=20)
    writer.produce(name, "Jämtland", key="Schlüssel", partition=0, headers=headers, timestamp=1234567890123)
    writer.produce(name, None, key=b"", partition=0)
    writer.produce(name, b"", partition=0)
    assert writer.flush(WAIT_MAX) == 0
    first, second, third = read(reader(name), 3)
    assert (first.value().decode(), first.key().decode(), first.headers()) == ("Jämtland", "Schlüssel", headers)
    assert first.timestamp() == (TIMESTAMP_CREATE_TIME, 1234567890123)
    assert (second.value(), second.key(), third.value(), third.key()) == (None, b"", b"", None)
    assert [first.offset(), second.offset(), third.offset()] == [0, 1, 2]
    assert first.leader_epoch() == 0


def test_the_broker_can_set_the_time(topic, producer, reader):
    name = topic(message_timestamp_type="LogAppendTime")
    produce(producer(), name, ["x"], timestamp=1000)
    (message,) = read(reader(name), 1)
    kind, time = message.timestamp()
    assert kind == TIMESTAMP_LOG_APPEND_TIME and time > 1_600_000_000_000


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_every_kind_of_acknowledgement_works(acks, topic, producer, reader):
    name = topic()
    settings = {"acks": acks} | ({"enable_idempotence": True} if acks == "all" else {})
    produce(producer(**settings), name, [str(number) for number in range(100)])
    assert [message.value() for message in read(reader(name), 100)] == [str(number).encode() for number in range(100)]


def test_a_message_that_is_too_large_is_refused(topic, producer):
    name, errors = topic(max_message_bytes="1000"), []
    writer = producer()
    writer.produce(name, b"x" * 5000, on_delivery=lambda error, _: errors.append(error.code()))
    assert writer.flush(WAIT_MAX) == 0
    assert errors == [KafkaError.MSG_SIZE_TOO_LARGE]


def test_a_record_without_a_key_is_no_record_of_a_compacted_topic(topic, producer):
    name, errors = topic(cleanup_policy="compact"), []
    writer = producer()
    writer.produce(name, b"x", on_delivery=lambda error, _: errors.append(error.code()))
    assert writer.flush(WAIT_MAX) == 0
    assert errors == [KafkaError.INVALID_RECORD]


def test_a_topic_is_made_by_its_first_record(producer, admin):
    name = unique("auto")
    assert produce(producer(), name, ["x"]) == [0]
    assert len(admin.list_topics(name).topics[name].partitions) == 4


def test_a_reader_seeks_and_sees_the_end(topic, producer, reader):
    name = topic()
    produce(producer(), name, [str(number) for number in range(10)])
    one = reader(name, 8, enable_partition_eof=True)
    assert [message.value() for message in read(one, 2)] == [b"8", b"9"]
    end = wait_until("an end", lambda: one.poll(0.2))
    assert end.error().code() == KafkaError._PARTITION_EOF and end.offset() == 10
    one.seek(TopicPartition(name, 0, 3))
    assert read(one, 1)[0].value() == b"3"
    assert one.get_watermark_offsets(TopicPartition(name, 0), WAIT_MAX) == (0, 10)


def test_offsets_are_found_by_time(topic, producer, reader):
    name = topic()
    for time in (1000, 2000, 3000):
        produce(producer(), name, ["x"], timestamp=time)
    asked = [TopicPartition(name, 0, time) for time in (0, 2000, 2500, 9000)]
    found = [reader(name).offsets_for_times([one], WAIT_MAX)[0].offset for one in asked]
    assert found == [0, 1, 2, OFFSET_END]


def test_a_reader_behind_the_end_hears_of_it(topic, producer, reader):
    name = topic()
    produce(producer(), name, ["x"])
    one = reader(name, 100, auto_offset_reset="error")
    message = wait_until("an error", lambda: one.poll(0.2))
    assert message.error().code() == KafkaError._AUTO_OFFSET_RESET


def test_a_reader_of_an_unknown_topic_hears_of_it(consumer):
    # Members of the new protocol wait for the topic.
    one = consumer(group_protocol="classic", allow_auto_create_topics=False)
    one.subscribe([unique("absent")])
    message = wait_until("an error", lambda: one.poll(0.2))
    assert message.error().code() == KafkaError.UNKNOWN_TOPIC_OR_PART
