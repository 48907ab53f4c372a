"""Judges a schema registry with Confluent's Python client. Prints one line per claim; ends with 1 at the first that fails."""
import json
import sys

from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

client = SchemaRegistryClient({"url": sys.argv[1]})


def claim(holds, text):
    print("ok " + text if holds else "FAILED " + text, flush=True)
    if not holds:
        sys.exit(1)


def refused(call):
    try:
        call()
    except SchemaRegistryError as error:
        return error.http_status_code, error.error_code
    return None


def record(name, *fields):
    return json.dumps({"type": "record", "name": name, "namespace": "judge", "fields": list(fields)})


id_field = {"name": "id", "type": "string"}
price = {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}}
note = {"name": "note", "type": ["null", "string"], "default": None}
v1, v2 = record("Item", id_field), record("Item", id_field, note)

context = SerializationContext("items", MessageField.VALUE)
framed = AvroSerializer(client, v1)({"id": "a"}, context)
claim(framed[0] == 0 and AvroDeserializer(client)(framed, context) == {"id": "a"}, "serializer registers, deserializer reads")
first = int.from_bytes(framed[1:5], "big")
claim(client.register_schema("items-value", Schema(v1, "AVRO"), normalize_schemas=False) == first, "registered once")
claim(client.register_schema("items-value", Schema(v2, "AVRO")) != first, "a second version has another id")
claim(client.get_versions("items-value") == [1, 2], "versions are listed")
claim(json.loads(client.get_schema(first).schema_str) == json.loads(v1), "schema by id")
latest = client.get_latest_version("items-value")
claim((latest.version, json.loads(latest.schema.schema_str)) == (2, json.loads(v2)), "latest version")
claim(client.lookup_schema("items-value", Schema(v1, "AVRO")).version == 1, "look-up by schema")
claim(client.test_compatibility("items-value", Schema(record("Item", id_field, note, price), "AVRO")) is False, "incompatible is seen")
claim(refused(lambda: client.register_schema("items-value", Schema(record("Item", price), "AVRO"))) == (409, 409), "incompatible is 409")
claim(refused(lambda: client.register_schema("items-value", Schema('{"type":"recordz"}', "AVRO"))) == (422, 42201), "malformed is 42201")
claim(refused(lambda: client.get_schema(4711)) == (404, 40403), "unknown id is 40403")
client.set_compatibility("items-value", "NONE")
claim((client.get_compatibility("items-value"), client.get_compatibility()) == ("NONE", "BACKWARD"), "levels of subject and registry")
basket = record("Basket", {"name": "items", "type": {"type": "array", "items": "judge.Item"}})
references = [SchemaReference("judge.Item", "items-value", 1)]
client.register_schema("baskets-value", Schema(basket, "AVRO", references))
claim(refused(lambda: client.delete_version("items-value", 1)) == (422, 42206), "a referenced version stays")
client.delete_subject("baskets-value")
claim(refused(lambda: client.delete_subject("items-value", permanent=True)) == (404, 40405), "for good only after softly")
client.delete_subject("items-value")
claim(client.delete_subject("items-value", permanent=True) == [1, 2], "deleted softly and for good")
claim("items-value" not in client.get_subjects(), "gone from the list")
client.set_compatibility("modes-value", "NONE")
client.update_mode("modes-value", "READONLY")
claim(refused(lambda: client.register_schema("modes-value", Schema(v1, "AVRO"))) == (422, 42205), "read-only is 42205")
claim((client.get_mode("modes-value"), client.get_global_mode()) == ("READONLY", "READWRITE"), "modes of subject and registry")
client.delete_mode("modes-value")
claim(client.register_schema("modes-value", Schema(v1, "AVRO")) >= 1, "writable without the mode")
claim(refused(lambda: client.update_mode("modes-value", "IMPORT")) == (422, 42205), "import needs room")
claim(client.update_mode("modes-value", "IMPORT", force=True) == "IMPORT", "or force")
