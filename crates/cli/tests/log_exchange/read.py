"""Prints every record of a topic as lines of JSON, by partition and offset: `read.py BOOTSTRAP TOPIC ISOLATION`."""

import json
import sys

from confluent_kafka import Consumer, KafkaError, OFFSET_BEGINNING, TopicPartition

bootstrap, topic, isolation = sys.argv[1:]
consumer = Consumer({
    "bootstrap.servers": bootstrap,
    "group.id": "reader",
    "enable.partition.eof": True,
    "enable.auto.commit": False,
    "isolation.level": isolation,
    "check.crcs": True,
})


def text(data):
    return None if data is None else data.hex()


partitions = consumer.list_topics(topic, 30).topics[topic].partitions
consumer.assign([TopicPartition(topic, index, OFFSET_BEGINNING) for index in partitions])
open_partitions, rows = set(partitions), []
while open_partitions:
    message = consumer.poll(60)
    if message is None:
        raise SystemExit(f"nothing came for a minute; the ends of {sorted(open_partitions)} are missing")
    if message.error() and message.error().code() == KafkaError._PARTITION_EOF:
        open_partitions.discard(message.partition())
    elif message.error():
        raise SystemExit(str(message.error()))
    else:
        headers = [[name, text(value)] for name, value in message.headers() or []]
        kind, timestamp = message.timestamp()
        rows.append([message.partition(), message.offset(), kind, timestamp, text(message.key()),
                     text(message.value()), headers])
for row in sorted(rows, key=lambda row: row[:2]):
    print(json.dumps(row))
