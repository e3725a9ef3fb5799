"""Peer: the same core and codec in Bytewax.

Fair, because it is the shape that costs Bytewax least: its own Kafka source and sink, whole batches through `flat_map_batch`, one
worker. In its favour: no recovery store, so neither positions nor ledger outlive the process; a plain producer, no transaction,
no idempotence (it has none); no exchange by key, because the log is partitioned by member already.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main
from work import Work, main

#: Messages that the source hands over at once; each batch ends with a flush of the sink.
BATCH = 5_000


class TimedSink(KafkaSink):
    """Bytewax's own sink; the clock stops when the last decision's flush is over."""

    def __init__(self, work: Work) -> None:
        super().__init__([work.bootstrap], work.job["output"])
        self._work = work

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Any:
        """Its partition, which tells of its writes."""
        partition = super().build(step_id, worker_index, worker_count)
        write, work = partition.write_batch, self._work
        written = 0

        def write_batch(items: Any) -> None:
            nonlocal written
            write(items)
            written += len(items)
            if written >= work.job["expected"]:
                work.watch.stop()

        partition.write_batch = write_batch
        return partition


def run(work: Work) -> None:
    """Decide everything; from the first fact to the last flush."""

    def rewards(messages: list[Any]) -> Iterator[KafkaSinkMessage]:
        for message in messages:
            for value in work.answer(message.partition, message.offset, message.value):
                yield KafkaSinkMessage(message.key, value)

    flow = Dataflow("rewards")
    facts = op.input("facts", flow, KafkaSource([work.bootstrap], [work.facts], tail=False, batch_size=BATCH))
    decided = op.flat_map_batch("decide", facts, rewards)
    op.output("points-log", decided, TimedSink(work))
    run_main(flow)


if __name__ == "__main__":
    main(run)
