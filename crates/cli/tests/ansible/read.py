"""Prints the values of a topic, from its begin to its end; waits for COUNT different ones: BOOTSTRAP TOPIC COUNT SECONDS."""
import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

bootstrap, topic, count, seconds = sys.argv[1:]
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.partition.eof": True,
                     "enable.auto.commit": False})
partitions = consumer.list_topics(topic, 30).topics[topic].partitions
consumer.assign([TopicPartition(topic, index, OFFSET_BEGINNING) for index in partitions])
found, ended, deadline = set(), set(), time.monotonic() + int(seconds)
gives_up = time.monotonic() + int(seconds) + 120
while len(ended) < len(partitions) or (len(found) < int(count) and time.monotonic() < deadline):
    if time.monotonic() > gives_up:
        sys.exit(f"{len(ended)} of {len(partitions)} partitions were read to their end")
    message = consumer.poll(0.2)
    if message is None:
        continue
    if message.error():
        if message.error().code() == KafkaError._PARTITION_EOF:
            ended.add(message.partition())
        continue
    found.add(message.value().decode())
print("\n".join(sorted(found)))
