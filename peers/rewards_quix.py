"""Peer: the same core and codec in Quix Streams, with its exactly-once or its at-least-once guarantee.

Fair, because it is what its documentation shows (an `apply` on a dataframe, `to_topic`), with its own defaults: librdkafka
underneath, a commit every five seconds, so a fiftieth of the transactions that our worker makes, and readers of committed
decisions wait that much longer. In its favour: the ledger lives in memory, and what it held is gone when the process ends.

`state kept` is the same with what Quix has for that: every decision writes its member's packed state to Quix's own store, RocksDB
and a changelog topic in the transaction, as our worker has its points-log and snapshots for that. Reading stays in memory.
"""

from __future__ import annotations

import tempfile
from typing import Any

from quixstreams import Application, State, message_context
from work import Work, main

from schemas.envelope import parse_fact


def run(work: Work) -> None:
    """Decide everything; from the first fact to the end of the last checkpoint's commit."""
    guarantee, _, state = work.job["task"].removeprefix("quix ").partition(", ")
    with tempfile.TemporaryDirectory(prefix="stammgast-bench-") as folder:
        app = Application(
            broker_address=work.bootstrap,
            consumer_group=work.job["output"],
            auto_offset_reset="earliest",
            processing_guarantee=guarantee,
            state_dir=folder,
            auto_create_topics=bool(state),  # the changelog's
            loglevel="WARNING",
        )
        raw: dict[str, Any] = {"key_serializer": "bytes", "value_serializer": "bytes"}
        source = app.topic(work.facts, key_deserializer="bytes", value_deserializer="bytes")
        facts = app.dataframe(source)
        rewards = _kept(work) if state else _in_memory(work)
        decided = facts.apply(rewards, stateful=bool(state), expand=True)
        decided.to_topic(app.topic(work.job["output"], **raw))
        _stop_with_the_last_commit(app, work)
        app.run(count=work.job["expected"], collect=False)


def _in_memory(work: Work) -> Any:
    def rewards(value: bytes) -> list[bytes]:
        place = message_context()
        return work.answer(place.partition, place.offset, value)

    return rewards


def _kept(work: Work) -> Any:
    def rewards(value: bytes, state: State) -> list[bytes]:
        place = message_context()
        fact = parse_fact(value)
        values = work.decide(place.partition, place.offset, fact)
        if fact.key is not None:
            state.set_bytes("member", work.ledgers[place.partition].snapshot(fact.key)[1])
        return values

    return rewards


def _stop_with_the_last_commit(app: Application, work: Work) -> None:
    """The last commit is the one it is forced to when its count is reached; leaving the group is not measured."""
    context = app._processing_context
    commit = context.commit_checkpoint

    def timed(force: bool = False, revoking: bool = False) -> None:
        commit(force=force, revoking=revoking)
        if force and work.done:
            work.watch.stop()

    context.commit_checkpoint = timed  # type: ignore[method-assign]


if __name__ == "__main__":
    main(run)
