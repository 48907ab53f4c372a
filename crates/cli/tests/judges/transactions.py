"""Transactions by librdkafka, and what readers of committed records see of them.

usage: transactions.py write BOOTSTRAP TOPIC TRANSACTIONAL_ID SECONDS
       transactions.py abandon BOOTSTRAP TOPIC TRANSACTIONAL_ID
       transactions.py read BOOTSTRAP TOPIC

`write` runs one transaction after the other until the time is over, every fifth of which it aborts. For each it prints
`committed KEY COUNT`, `aborted KEY COUNT` or, when it was not told the end, `unknown KEY COUNT`. All records of a
transaction have its key; their values count from 0. `abandon` leaves a transaction with one record in each partition
behind, as a producer that is killed. `read` prints `PARTITION OFFSET KEY VALUE` for every record up to the
ends that the partitions have at its start.
"""
import os
import sys
import time

import confluent_kafka as ck

RECORDS = 10
PARTITIONS = 3
ABORTS_EVERY = 5
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


def open_producer(bootstrap, transactional_id, timeout_ms=20000):
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


def transact(producer, topic, key, aborts):
    """The outcome, and whether the producer is of any use afterwards."""
    try:
        producer.begin_transaction()
        for value in range(RECORDS):
            producer.produce(topic, key=key, value=str(value), partition=value % PARTITIONS)
            producer.poll(0)
        if aborts:
            retried(lambda: producer.abort_transaction(20))
            return "aborted", True
        retried(lambda: producer.commit_transaction(20))
        return "committed", True
    except ck.KafkaException as error:
        print(f"# {key}: {error}", file=sys.stderr, flush=True)
        if error.args[0].txn_requires_abort():
            try:
                retried(lambda: producer.abort_transaction(20))
                return "aborted", True
            except ck.KafkaException as failed:
                print(f"# {key}: abort: {failed}", file=sys.stderr, flush=True)
        return "unknown", False


def write(bootstrap, topic, transactional_id, seconds):
    end = time.monotonic() + float(seconds)
    producer, count = open_producer(bootstrap, transactional_id), 0
    while time.monotonic() < end:
        count += 1
        key = f"{transactional_id}:{count}"
        outcome, goes_on = transact(producer, topic, key, count % ABORTS_EVERY == 0)
        print(outcome, key, RECORDS, flush=True)
        if not goes_on:
            producer = open_producer(bootstrap, transactional_id)
    # Whatever the last producer left open is ended by its successor.
    open_producer(bootstrap, transactional_id)


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
    {"write": write, "abandon": abandon, "read": read}[sys.argv[1]](*sys.argv[2:])
