"""A transaction by librdkafka that is left behind, and what readers of committed records see of it.

usage: transactions.py abandon BOOTSTRAP TOPIC TRANSACTIONAL_ID
       transactions.py read BOOTSTRAP TOPIC

`abandon` leaves a transaction with one record in each partition
behind, as a producer that is killed. `read` prints `PARTITION OFFSET KEY VALUE` for every record up to the
ends that the partitions have at its start.
"""
import os
import sys
import time

import confluent_kafka as ck

PARTITIONS = 3
PATIENCE_S = 60


class Stuck(Exception):
    pass


def retried(operation):
    """Calls that say that they may be repeated are."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return operation()
        except ck.KafkaException as error:
            if not error.args[0].retriable() or time.monotonic() > deadline:
                raise


def open_producer(bootstrap, transactional_id, timeout_ms):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        producer = ck.Producer(
            {
                "bootstrap.servers": bootstrap,
                "transactional.id": transactional_id,
                "transaction.timeout.ms": timeout_ms,
                "retry.backoff.ms": 20,
                "reconnect.backoff.ms": 20,
                "linger.ms": 1,
            }
        )
        try:
            retried(lambda: producer.init_transactions(10))
            return producer
        except ck.KafkaException as error:
            print(f"# init: {error}", file=sys.stderr, flush=True)
            if time.monotonic() > deadline:
                raise Stuck("no producer could be initialized") from error


def abandon(bootstrap, topic, transactional_id):
    producer = open_producer(bootstrap, transactional_id, timeout_ms=600000)
    producer.begin_transaction()
    for partition in range(PARTITIONS):
        producer.produce(topic, key="abandoned", value="0", partition=partition)
    if producer.flush(PATIENCE_S) > 0:
        raise Stuck("the records of the transaction were not written")
    os._exit(0)


def read(bootstrap, topic):
    consumer = ck.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "transactions-judge",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
        }
    )
    partitions = [ck.TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)]
    ends = {p.partition: consumer.get_watermark_offsets(p, timeout=30)[1] for p in partitions}
    consumer.assign(partitions)
    at = dict.fromkeys(ends, 0)
    deadline = time.monotonic() + PATIENCE_S
    while any(at[partition] < end for partition, end in ends.items()):
        if time.monotonic() > deadline:
            raise Stuck(f"readers of committed records get to {at}, the partitions end at {ends}")
        message = consumer.poll(0.2)
        for position in consumer.position(partitions):
            at[position.partition] = max(at[position.partition], position.offset)
        if message is None:
            continue
        if message.error():
            raise ck.KafkaException(message.error())
        if message.offset() < ends[message.partition()]:
            print(message.partition(), message.offset(), message.key().decode(), message.value().decode())
    consumer.close()


if __name__ == "__main__":
    {"abandon": abandon, "read": read}[sys.argv[1]](*sys.argv[2:])
