"""Writes topics with everything that a log may hold, through librdkafka: `write.py BOOTSTRAP [small]`.

plain          five codecs; keys, values and headers that are there, empty and null; several segments
stamped        the broker's timestamps
transactional  committed and aborted transactions of two producers, interleaved with plain records
compacted      many versions of few keys, tombstones, aborted transactions; several segments

`small` makes the same with few and short records, for files that are kept.
"""

import random
import sys
import time

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

BOOTSTRAP = sys.argv[1]
SMALL = sys.argv[2:] == ["small"]
START = 1_700_000_000_000
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
FOR_EVER = {"retention.ms": "-1", "index.interval.bytes": "512"}
SMALL_SEGMENTS = {**FOR_EVER, "segment.bytes": "1048576"}
COMPACTED = {**FOR_EVER, "cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"}
PLAIN, VALUE_BYTES = (24, 10) if SMALL else (240, 3_500)
dice = random.Random(7)
admin = AdminClient({"bootstrap.servers": BOOTSTRAP})


def create(name, partitions, config):
    admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result(30)


def producer(**settings):
    return Producer({"bootstrap.servers": BOOTSTRAP, "linger.ms": 50, **settings})


def fail(error, _message):
    if error is not None:
        raise SystemExit(f"not delivered: {error}")


def write(to, topic, count, size, tag, partitions=1, keys=None):
    for index in range(count):
        key = f"{tag}-{index % keys if keys else index}".encode()
        value = f"{tag} {index} ".encode() + dice.randbytes(size)
        headers = [("tag", tag.encode()), ("empty", b""), ("null", None)] if index % 3 == 0 else None
        if not keys:
            key = None if index % 7 == 0 else b"" if index % 7 == 1 else key
            value = None if index % 11 == 0 else b"" if index % 11 == 1 else value
        to.produce(topic, value, key, partition=index % partitions, timestamp=START + index, headers=headers,
                   on_delivery=fail)
        to.poll(0)


create("plain", 3, SMALL_SEGMENTS)
for codec in CODECS:
    plain = producer(**{"compression.type": codec, "enable.idempotence": codec != "gzip"})
    write(plain, "plain", PLAIN, VALUE_BYTES, codec, partitions=3)
    plain.flush()

create("stamped", 1, {**SMALL_SEGMENTS, "message.timestamp.type": "LogAppendTime"})
stamped = producer(**{"compression.type": "lz4"})
write(stamped, "stamped", 20 if SMALL else 100, 10, "stamped")
stamped.flush()

create("transactional", 1, SMALL_SEGMENTS)
one, other = producer(**{"transactional.id": "one"}), producer(**{"transactional.id": "other", "compression.type": "lz4"})
beside = producer()
for transactional in (one, other):
    transactional.init_transactions()
for turn in range(6):
    one.begin_transaction()
    other.begin_transaction()
    write(one, "transactional", 4 if SMALL else 20, VALUE_BYTES, f"one-{turn}")
    one.flush()
    write(beside, "transactional", 2 if SMALL else 10, VALUE_BYTES, f"beside-{turn}")
    beside.flush()
    write(other, "transactional", 4 if SMALL else 20, VALUE_BYTES, f"other-{turn}")
    other.flush()
    (one.abort_transaction if turn % 2 else one.commit_transaction)()
    (other.commit_transaction if turn % 3 else other.abort_transaction)()

create("compacted", 1, COMPACTED)
keyed, tx = producer(**{"compression.type": "zstd"}), producer(**{"transactional.id": "compacting"})
tx.init_transactions()
for turn in range(6):
    write(keyed, "compacted", 60, 100, "version", keys=12)
    keyed.flush()
    tx.begin_transaction()
    write(tx, "compacted", 20, 100, "transaction", keys=5)
    tx.flush()
    (tx.abort_transaction if turn % 2 else tx.commit_transaction)()
    for index in range(4):
        keyed.produce("compacted", None, f"version-{index + turn}".encode(), timestamp=START + 1_000 + turn,
                      on_delivery=fail)
    keyed.flush()
    time.sleep(0.15)  # older than segment.ms: the next turn begins a segment
# What stays in the active segment is not compacted.
write(keyed, "compacted", 5, 10, "last", keys=5)
keyed.flush()
