"""Dead letters tried again, each once, when a person asks for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from engine.deliver.config import Config
from engine.deliver.lane import item_of
from engine.deliver.sending import Answer
from engine.deliver.telling import DeadLetter, Writer, dead_headers, outcome_event
from engine.stream.clients import Cluster
from engine.stream.generations import inbound_prefix
from engine.stream.topics import DEAD_NOTICES
from schemas.notices import NoticeEvent, parse_event


@dataclass(frozen=True, slots=True)
class Redelivered:
    """What came of a dead letter: sent, bounced, expired, or failed again."""

    key: str
    outcome: str
    reason: str


async def redeliver(
    cluster: Cluster, config: Config, prefix: str, outcome_topic: str, letters: Sequence[DeadLetter]
) -> list[Redelivered]:
    """Try each once, one after the other. Errors: KafkaTrouble before anything is sent."""
    writer = Writer(cluster)
    try:
        await writer.start()
        outcomes = await inbound_prefix(cluster, prefix) + outcome_topic
        return [await _one(letter, config, writer, prefix, outcomes) for letter in letters]
    finally:
        await writer.stop()
        for sender in config.senders.values():
            await sender.close()


async def _one(letter: DeadLetter, config: Config, writer: Writer, prefix: str, outcomes: str) -> Redelivered:
    try:
        notice = parse_event(letter.value)
    except ValueError:
        return Redelivered(letter.key, "failed", "unreadable")
    channel = notice["data"]["channel"]
    now_s, time_us = time.time(), time.time_ns() // 1_000
    item = item_of(notice, letter.value, ("dead", 0, 0), now_s)
    if now_s >= item.until_s:
        answer, outcome = Answer("never", letter.reason), "expired"
    elif channel not in config.senders:
        answer, outcome = Answer("never", "no_sender"), "failed"
    else:
        answer = await _tried(config, notice, letter)
        outcome = {"sent": "sent", "bounced": "bounced"}.get(answer.kind, "failed")
    item.attempts = letter.attempts + 1
    key, dead = letter.key.encode(), prefix + DEAD_NOTICES
    if outcome == "failed":
        headers = dead_headers(item, answer.reason, time_us) | {"place": letter.place}
        await writer.write(dead, key, letter.value, headers)
    else:
        event = outcome_event(notice["id"], notice["subject"], channel, outcome, answer.reason, time_us)
        await writer.write(outcomes, notice["subject"].encode(), event)
        await writer.write(dead, key, None)
    return Redelivered(letter.key, outcome, answer.reason)


async def _tried(config: Config, notice: NoticeEvent, letter: DeadLetter) -> Answer:
    try:
        return await config.senders[notice["data"]["channel"]].send(notice, letter.value)
    except Exception:  # noqa: BLE001 - a sender may be anybody's, and its text may hold an address
        return Answer("later", "sender_failed")
