"""Publish events straight to Kafka with confluent-kafka (librdkafka): EVENTS.jsonl, one CloudEvent a line, in binary mode.

    pip install confluent-kafka
    BOOTSTRAP=localhost:9092 python publish_confluent.py EVENTS.jsonl

Binary mode: the event's attributes are headers, the data alone is the value. The record's key is the subject, so that the events
of one member keep their order. Exit code 1: a line was not acknowledged. Send the file again: an id sent twice counts once.
"""

import json
import os
import sys
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer

TOPIC = os.environ.get("TOPIC", "shop-events")


def publish(lines: list[str]) -> tuple[int, list[str]]:
    """Send one event a line; returns how many all copies have, and what went wrong with the others."""
    refused: list[str] = []
    kept = 0

    def told(error: KafkaError | None, message: Message) -> None:
        nonlocal kept
        if error is None:
            kept += 1
        else:
            refused.append(f"{(message.key() or b'').decode()}: {error.str()}")

    producer = Producer(
        {
            "bootstrap.servers": os.environ.get("BOOTSTRAP", "localhost:9092"),
            "enable.idempotence": os.environ.get("IDEMPOTENT", "1")
            == "1",  # with acks=all, and no doubles by its own retries
            "acks": "all",  # the broker answers when every copy in sync has it
            "partitioner": "murmur2_random",  # as the Java client does it: one member, one partition, whoever sends
        }
    )
    for line in lines:
        event = json.loads(line)
        data = event.pop("data")
        headers: list[tuple[str, str | bytes | None]] = [(f"ce_{name}", str(value)) for name, value in event.items()]
        headers.append(("content-type", "application/json"))
        key = event.get("subject") or data["order_id"]
        while True:
            try:
                producer.produce(TOPIC, json.dumps(data).encode(), key=key, headers=headers, on_delivery=told)
                break
            except BufferError:  # its queue is full: let it tell what is done, then go on
                producer.poll(1)
        producer.poll(0)
    producer.flush()
    return kept, refused


if __name__ == "__main__":
    sent, wrong = publish(Path(sys.argv[1]).read_text(encoding="utf-8").splitlines())
    print(f"{sent} events are in {TOPIC}.")
    sys.exit("\n".join(wrong) if wrong else 0)
