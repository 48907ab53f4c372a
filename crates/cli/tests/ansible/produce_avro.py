"""Produces COUNT records with Avro values: BOOTSTRAP REGISTRY TOPIC COUNT."""
import json
import sys

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

bootstrap, registry, topic, count = sys.argv[1:]
schema = {"type": "record", "name": "Order", "fields": [
    {"name": "id", "type": "long"}, {"name": "item", "type": "string"}, {"name": "price", "type": "double"}]}
serialize = AvroSerializer(SchemaRegistryClient({"url": registry}), json.dumps(schema))
context = SerializationContext(topic, MessageField.VALUE)
refused = []
producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
for number in range(int(count)):
    order = {"id": number, "item": f"item {number}", "price": number / 4}
    producer.produce(topic, key=str(number), value=serialize(order, context),
                     on_delivery=lambda error, _: error and refused.append(error))
left = producer.flush(60)
sys.exit(f"{left} left, refused: {refused[:3]}" if left or refused else 0)
