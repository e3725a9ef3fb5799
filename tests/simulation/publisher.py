"""Shops, staff and clocks: what is published when, the strange things included, and whether all of it arrived."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import orjson

from engine.stream.topics import SHOP_EVENTS
from schemas.envelope import Fact, parse_fact, readable
from schemas.personal import without_data
from tests.simulation import stories
from tests.simulation.stories import Event


class Publisher:
    """Plans everything at the start; the brokers take it whatever else is broken."""

    def __init__(self, history: Any) -> None:
        self._history = history
        self._options = history.options
        self._rng = history.rng
        self._published: list[Event] = []
        #: (source, id, key) of every fact that is written, or sent to intake.
        self.told: Counter[tuple[str, str, str]] = Counter()

    def plan(self) -> None:
        """Set a timer for every record."""
        options, rng = self._options, self._rng
        old, new = stories.programmes(options.business)
        self._announce(old)
        story = stories.story(options.seed % stories.STORIES, options.business)
        start = rng.randrange(max(1, len(story) - options.facts))
        events = story[start : start + options.facts]
        span = options.seconds * rng.choice((0.01, 0.5, 1.0))
        burst = rng.choice((1, 1, 5, 50))
        times = sorted(rng.random() * span for _ in range(len(events) // burst + 1))
        for number, event in enumerate(events):
            at = times[number // burst]
            self._later(at, self._publish, event)
            if rng.random() < options.strange:
                self._later(at, self._strange, number, event)
        for number in range(options.deadly):
            self._later(rng.random() * span, self._deadly, number)
        if rng.random() < 0.5:
            self._later(rng.random() * span, self._announce, new)
        for day in (20, 40, 90, 150):
            if rng.random() < 0.4:
                self._later(rng.random() * options.seconds, self._tick, day)

    def _later(self, seconds: float, act: Any, *args: Any) -> None:
        self._history.net.later(seconds, act, *args)

    def _announce(self, version: Any) -> None:
        self._history.shelf[version.hash] = version
        for partition in range(self._options.partitions):
            self._write("facts", partition, stories.announced(version))

    def last_words(self, day: int) -> bool:
        """One more record everywhere."""
        for partition in range(self._options.partitions):
            self._write("facts", partition, stories.tick(partition, day))
        for partition in range(2):
            self._write(SHOP_EVENTS, partition, (None, b"{}", stories.RECORDED_MS, ()))
        return True

    def _tick(self, day: int) -> None:
        for partition, _ in itertools.product(range(self._options.partitions), range(self._rng.choice((1, 1, 2)))):
            self._write("facts", partition, stories.tick(partition, day))

    def _write(self, topic: str, partition: int, content: Any) -> None:
        self._history.broker.write_plainly((topic, partition), [content])

    def _tell(self, fact: Fact) -> None:
        self.told[fact.source, fact.id, fact.key or ""] += 1

    def _publish(self, event: Event) -> None:
        if event.fact is not None:
            self._tell(parse_fact(event.fact))
        if self._options.intake:
            self._published.append(event)
            self._write(SHOP_EVENTS, self._rng.randrange(2), (None, event.raw, stories.RECORDED_MS, ()))
        elif event.fact is not None and event.key is not None:
            place = stories.place_of(event.key, self._options.partitions)
            self._write("facts", place, (event.key, event.fact, stories.RECORDED_MS, ()))

    def _strange(self, number: int, event: Event) -> None:
        rng, partitions = self._rng, self._options.partitions
        match rng.choice(("duplicate", "reused", "unheard", "unreadable", "nothing", "invalid")):
            case "duplicate":
                self._publish(event)
            case "reused":
                self._publish(stories.reused(event))
            case "unheard":
                fact = stories.unheard(rng, number)
                self._tell(fact)
                self._write("facts", stories.place_of((fact.key or "").encode(), partitions), stories.contents(fact))
            case "unreadable":
                self._write("facts", rng.randrange(partitions), (b"m1", b"\xff\x00", stories.RECORDED_MS, ()))
            case "nothing":
                self._write("facts", rng.randrange(partitions), (None, None, stories.RECORDED_MS, ()))
            case _:
                self._publish(Event(b'{"specversion": "1.0"}', None, None))

    def _deadly(self, number: int) -> None:
        fact = stories.deadly(self._rng, number)
        self._tell(fact)
        place = stories.place_of((fact.key or "").encode(), self._options.partitions)
        self._write("facts", place, stories.contents(fact))

    def audit(self) -> None:
        """Every event that was published stands in `facts` or in `rejects`."""
        facts: Counter[tuple[str, str]] = Counter()
        refused: Counter[bytes] = Counter()
        for (topic, _), log in self._history.broker.logs.items():
            for record in log.committed():
                if topic == "facts" and (fact := readable(record.value)) is not None:
                    facts[fact.source, fact.id] += 1
                elif topic == "rejects":
                    refused[record.value or b""] += 1
        for event in self._published:
            body = orjson.loads(event.raw)
            if event.fact is not None:
                taken = (body.get("source"), body.get("id")) in facts
            else:  # what might be a profile is refused without its data
                taken = event.raw in refused or without_data(event.raw) in refused
            if not taken:
                self._history.auditor.report(f"published and lost by intake: {event.raw.decode()}")
