"""Publish events straight to Kafka with aiokafka: EVENTS.jsonl, one CloudEvent a line, acknowledged by all copies.

    BOOTSTRAP=localhost:9092 python publish_aiokafka.py EVENTS.jsonl

The key of the record is the event's subject, so that the events of one member keep their order. An id that is sent twice counts
once, so whatever was not acknowledged is simply sent again.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from aiokafka import AIOKafkaProducer

TOPIC = os.environ.get("TOPIC", "shop-events")


async def publish(lines: list[str]) -> int:
    """Send one event a line; returns how many all copies have."""
    producer = AIOKafkaProducer(
        bootstrap_servers=os.environ.get("BOOTSTRAP", "localhost:9092"),
        acks="all",  # the broker answers when every copy in sync has it
        enable_idempotence=os.environ.get("IDEMPOTENT", "1") == "1",  # no doubles when a request is sent again
    )
    await producer.start()
    try:
        acknowledged = []
        for line in lines:
            event = json.loads(line)
            key = event.get("subject") or event["data"]["order_id"]
            acknowledged.append(await producer.send(TOPIC, line.encode(), key=key.encode()))
        await asyncio.gather(*acknowledged)  # an error here means: send the file again
        return len(acknowledged)
    finally:
        await producer.stop()


if __name__ == "__main__":
    sent = asyncio.run(publish(Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()))
    print(f"{sent} events are in {TOPIC}.")
