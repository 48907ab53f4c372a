"""Produces numbers until stdin ends, and prints each one that was acknowledged: BOOTSTRAP TOPIC."""
import select
import sys
import time

from confluent_kafka import Producer

bootstrap, topic = sys.argv[1:]
producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 5})


def delivered(error, message):
    # What was not acknowledged may be there or not.
    if error is None:
        print(message.value().decode(), flush=False)


# Numbers of two producers of one topic differ.
number = time.time_ns() // 1000 * 1000
while not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(10):
        producer.produce(topic, key=str(number), value=str(number), on_delivery=delivered)
        number += 1
    producer.poll(0)
    sys.stdout.flush()
    time.sleep(0.02)
left = producer.flush(50)
sys.stdout.flush()
sys.exit(f"{left} were not sent" if left else 0)
