"""What people and accidents do to a deployment beside the processes: offsets, snapshots, holes, outages."""

from __future__ import annotations

from typing import Any

from tests.simulation import stories


class Meddler:
    """Plans at the start when it strikes."""

    def __init__(self, history: Any) -> None:
        self._history = history
        self._options = history.options
        self._rng = history.rng

    def plan(self) -> None:
        """Set a timer for each."""
        options, rng, net = self._options, self._rng, self._history.net
        for what in options.meddling:
            net.later(rng.random() * options.seconds, self._strike, what)
        for _ in range(options.outages):
            start = rng.random() * options.seconds
            who = rng.choice((None, *(f"worker-{number}" for number in range(options.workers))))
            net.outages.append((start, start + rng.choice((1.0, 12.0, 35.0)), who))
            net.faults["outage"] += 1

    def _strike(self, what: str) -> None:
        history = self._history
        if history.net.calm:
            return
        history.net.faults[what.replace("_", " ")] += 1
        getattr(self, f"_{what}")(history)

    def _offsets_deleted(self, history: Any) -> None:
        history.group.offsets.clear()

    def _offsets_ahead(self, history: Any) -> None:
        for place in history.places:
            if place[0] == "facts":
                history.group.offsets[place] = history.broker.logs[place].end + self._rng.randrange(3)

    def _snapshots(self, history: Any) -> Any:
        return (log for (topic, _), log in history.broker.logs.items() if topic == "member-snapshots")

    def _snapshots_deleted(self, history: Any) -> None:
        """From the beginning up to somewhere, as a broker deletes."""
        share = self._rng.choice((0.3, 0.7, 1.0))
        for log in self._snapshots(history):
            log.cut(int(log.stable * share))

    def _snapshots_foreign(self, history: Any) -> None:
        """Snapshots of another format: headers and checkpoints say so."""
        for log in self._snapshots(history):
            for record in log.committed():
                record.headers = tuple(
                    (name, b"999" if name == "stammgast-state" else text) for name, text in record.headers
                )
                if record.value is not None and (record.key or b"").startswith(b"checkpoint:"):
                    record.value = record.value.replace(b'"state_format":1', b'"state_format":999')

    def _compaction(self, history: Any) -> None:
        for log in self._snapshots(history):
            log.compact()

    def _holes(self, history: Any) -> None:
        """Somebody else's transaction that was aborted, in `facts`, at the end of it."""
        for partition in range(self._options.partitions):
            log = history.broker.logs["facts", partition]
            number = self._rng.randrange(3)
            log.append([(None, b"aborted", stories.RECORDED_MS, ())] * number, "aborted")
            log.resolve("nobody", "aborted")

    def _rebalance(self, history: Any) -> None:
        history.group.rebalance()
