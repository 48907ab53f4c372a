"""Judges a Kafka cluster with the two Python clients: confluent-kafka (librdkafka) and kafka-python (its own protocol stack).

usage: clients.py BOOTSTRAP

For each client, each codec: produce records that cover headers, null keys, null values, empty and large values into a
topic of three partitions, read them back in a group, commit, join again and find nothing left. Then each client
reads what the other wrote. Prints one line for each claim; exits 1 at the first that does not hold.
"""
import sys
import time
import uuid

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, NewTopic
import kafka as kp
from kafka.admin import KafkaAdminClient, NewTopic as KpNewTopic

BOOTSTRAP = sys.argv[1]
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
PARTITIONS = 3
DEADLINE_S = 60
RUN = uuid.uuid4().hex[:8]


def records(writer):
    """kafka-python refuses to send a null header value, or neither key nor value: only the other client writes those."""
    rows = [
        (b"key", b"value", [("a", b"1"), ("a", b"2"), ("empty", b"")]),
        (None, b"no key", []),
        (b"tombstone", None, []),
        (b"", b"", []),
        (b"large", b"x" * 200_000, []),
    ]
    if writer == "confluent-kafka":
        rows += [(None, None, [("h", b"1")]), (b"null header", b"value", [("null-header", None)])]
    rows += [(b"k%d" % i, b"v%d" % i, [("i", b"%d" % i)]) for i in range(200)]
    return rows


def claim(ok, text):
    print(("ok   " if ok else "FAIL ") + text, flush=True)
    if not ok:
        sys.exit(1)


def wait_until(condition):
    """Metadata reaches the brokers of a cluster one after the other; an answer may be late, not wrong."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def by_content(rows):
    return sorted((repr(k), repr(v), repr([tuple(h) for h in (hs or [])])) for k, v, hs in rows)


def ck_produce(topic, codec):
    failures = []
    producer = ck.Producer({"bootstrap.servers": BOOTSTRAP, "compression.type": codec, "acks": "all",
                            "enable.idempotence": True, "linger.ms": 5})
    for i, (k, v, h) in enumerate(records("confluent-kafka")):
        producer.produce(topic, key=k, value=v, headers=h, partition=i % PARTITIONS,
                         on_delivery=lambda err, _: failures.append(err) if err else None)
    left = producer.flush(DEADLINE_S)
    claim(left == 0 and not failures, f"confluent-kafka produces {codec} to {topic}: {failures[:1]}")


def ck_consume(topic, group, expected):
    consumer = ck.Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": group, "auto.offset.reset": "earliest",
                            "enable.auto.commit": False, "check.crcs": True})
    consumer.subscribe([topic])
    rows, deadline = [], time.monotonic() + DEADLINE_S
    while len(rows) < expected and time.monotonic() < deadline:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error():
            claim(False, f"confluent-kafka consumes {topic}: {message.error()}")
        rows.append((message.key(), message.value(), message.headers()))
    if rows:
        consumer.commit(asynchronous=False)
    committed = consumer.committed([ck.TopicPartition(topic, p) for p in range(PARTITIONS)], timeout=DEADLINE_S)
    consumer.close()
    return rows, sum(max(c.offset, 0) for c in committed)


def kp_produce(topic, codec):
    producer = kp.KafkaProducer(bootstrap_servers=BOOTSTRAP, compression_type=None if codec == "none" else codec,
                                acks="all", linger_ms=5)
    futures = [producer.send(topic, key=k, value=v, headers=[(n, x) for n, x in h], partition=i % PARTITIONS)
               for i, (k, v, h) in enumerate(records("kafka-python"))]
    for future in futures:
        future.get(timeout=DEADLINE_S)
    producer.close()
    claim(True, f"kafka-python produces {codec} to {topic}")


def kp_consume(topic, group, expected):
    consumer = kp.KafkaConsumer(topic, bootstrap_servers=BOOTSTRAP, group_id=group, auto_offset_reset="earliest",
                                enable_auto_commit=False)
    rows, deadline = [], time.monotonic() + DEADLINE_S
    while len(rows) < expected and time.monotonic() < deadline:
        for batch in consumer.poll(timeout_ms=1000).values():
            rows += [(m.key, m.value, m.headers) for m in batch]
    if rows:
        consumer.commit()
    committed = sum(consumer.committed(kp.TopicPartition(topic, p)) or 0 for p in range(PARTITIONS))
    consumer.close()
    return rows, committed


CLIENTS = {"confluent-kafka": (ck_produce, ck_consume), "kafka-python": (kp_produce, kp_consume)}


def main():
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    topics = {(name, codec): f"judge-{RUN}-{name}-{codec}" for name in CLIENTS for codec in CODECS}
    mine = [NewTopic(t, num_partitions=PARTITIONS, replication_factor=1)
            for (name, _), t in topics.items() if name == "confluent-kafka"]
    for future in admin.create_topics(mine).values():
        future.result(DEADLINE_S)
    claim(True, "confluent-kafka creates topics")
    other = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    other.create_topics([KpNewTopic(t, PARTITIONS, 1) for (name, _), t in topics.items() if name == "kafka-python"])
    listed = wait_until(lambda: set(topics.values()) <= set(other.list_topics()))
    claim(listed, "kafka-python creates and lists topics")

    for (name, codec), topic in topics.items():
        wanted = by_content(records(name))
        CLIENTS[name][0](topic, codec)
        for reader, (_, consume) in CLIENTS.items():
            group = f"{topic}-{reader}"
            rows, committed = consume(topic, group, len(wanted))
            claim(by_content(rows) == wanted, f"{reader} reads what {name} wrote with {codec} ({len(rows)} records)")
            claim(committed == len(wanted), f"{reader} committed {committed} of {len(wanted)} offsets of {group}")

    groups = {g.group_id for g in admin.list_consumer_groups().result(DEADLINE_S).valid}
    claim(all(f"{t}-{r}" in groups for t in topics.values() for r in CLIENTS), "confluent-kafka lists every group")
    described = admin.describe_consumer_groups([f"{topics['kafka-python', 'none']}-kafka-python"])
    claim(all(f.result(DEADLINE_S).state.name == "EMPTY" for f in described.values()), "a left group is EMPTY")
    for future in admin.delete_topics(list(topics.values())).values():
        future.result(DEADLINE_S)
    claim(True, "confluent-kafka deletes topics")


main()
