"""Reads until COUNT different orders were there, each as it was written: BOOTSTRAP REGISTRY TOPIC COUNT SECONDS."""
import sys
import time

from confluent_kafka import Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

bootstrap, registry, topic, count, seconds = sys.argv[1:]
deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry}))
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "auto.offset.reset": "earliest",
                     "topic.metadata.refresh.interval.ms": 1000})
consumer.subscribe([topic])
found, deadline = set(), time.monotonic() + int(seconds)
while len(found) < int(count) and time.monotonic() < deadline:
    message = consumer.poll(0.2)
    if message is None or message.error():
        continue
    order = deserialize(message.value(), SerializationContext(topic, MessageField.VALUE))
    number = int(message.key())
    if order != {"id": number, "item": f"item {number}", "price": number / 4}:
        sys.exit(f"{message.key()} holds {order}")
    found.add(number)
consumer.close()
sys.exit(0 if len(found) == int(count) else f"{len(found)} of {count} were read")
