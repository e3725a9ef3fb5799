"""`POST /events`: checked as intake checks, then given to the brokers; every event gets an answer of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from engine.gateway.keys import ApiKey
from engine.gateway.problems import Problem, of_rejected
from engine.gateway.sending import Parcel, Sender
from engine.stream.clients import RECORD_BYTES
from engine.stream.topics import Inbound, Layout
from schemas.envelope import Fact, encode_fact
from schemas.normalise import MAX_CLOCK_SKEW_US, MAX_EVENT_BYTES, Policy, normalise
from schemas.rejects import Rejected
from schemas.times import MILLISECOND_US, to_text

ACCEPTED, REFUSED, FAILED = "accepted", "refused", "failed"


@dataclass(slots=True)
class Answer:
    """What became of one event: its fact where it is one, the problem where there is one."""

    fact: Fact | None = None
    problem: Problem | None = None

    @property
    def word(self) -> str:
        """accepted, refused or failed."""
        if self.problem is None:
            return ACCEPTED
        return FAILED if self.problem.status >= 500 else REFUSED

    def told(self, index: int) -> dict[str, Any]:
        """For the answer to a batch."""
        said: dict[str, Any] = {"index": index, "status": self.word}
        if self.fact is not None:
            said |= {"source": self.fact.source, "id": self.fact.id}
        if self.problem is not None:
            said["problem"] = self.problem.document()
        return said


class Publisher:
    """Checks events and sends them to the inbound topic of the key."""

    def __init__(
        self,
        sender: Sender,
        layout: Layout,
        inbound: Mapping[str, Inbound],
        max_clock_skew_us: int = MAX_CLOCK_SKEW_US,
        max_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        self._sender, self._layout, self._inbound = sender, layout, inbound
        self._skew_us, self._max_bytes = max_clock_skew_us, max_bytes

    def check(self, raw: bytes, key: ApiKey, now_us: int) -> Fact:
        """The fact that intake will make of an event. Errors: Problem, with intake's reason or not_this_key."""
        inbound = self._inbound.get(key.topic)
        if inbound is None:
            raise Problem("not_this_key", f"key {key.id} publishes to {key.topic}, which is no inbound topic here")
        now_us -= now_us % MILLISECOND_US
        try:
            policy: Policy = inbound.policy(self._skew_us, self._max_bytes)
            fact = normalise(raw, to_text(now_us), now_us, policy)
            if not inbound.admits(fact.source):
                raise Rejected("not_allowed", f"{key.topic} does not take events of this source", "source")
            size = len(encode_fact(fact)) + len((fact.key or "").encode())
            if size > RECORD_BYTES:
                raise Rejected("too_large", f"{size:,} bytes in normal form: send a smaller event")
        except Rejected as rejected:
            raise of_rejected(rejected) from rejected
        key.require_source(fact.source)
        if fact.type not in key.types:
            raise Problem("not_this_key", f"key {key.id} may not send {fact.type}", "type")
        return fact

    async def publish(self, events: Sequence[bytes], key: ApiKey, now_us: int) -> list[Answer]:
        """Check and send events, in their order; per event what became of it."""
        answers, parcels, sent = [], [], []
        for raw in events:
            answer = Answer()
            answers.append(answer)
            try:
                answer.fact = self.check(raw, key, now_us)
            except Problem as problem:
                answer.problem = problem
                continue
            parcels.append(self.parcel(raw, answer.fact, key))
            sent.append(answer)
        for answer, trouble in zip(sent, await self._sender.send(parcels) if parcels else (), strict=True):
            answer.problem = trouble
        return answers

    def parcel(self, raw: bytes, fact: Fact, key: ApiKey) -> Parcel:
        """An event on its way."""
        return Parcel(self._layout.name(key.topic), (fact.key or "").encode(), raw)


def answer_of(answers: Sequence[Answer], batch: bool) -> tuple[int, dict[str, Any], int | None]:
    """(status, body, Retry-After) of the answer to a request.

    202 when all are accepted; of a batch 503 when some were not acknowledged, 207 when some were refused, 422 when all were.

    Errors: Problem of a single event.
    """
    if not batch:
        (only,) = answers
        if only.problem is not None:
            raise only.problem
        return 202, only.told(0) | {"accepted": 1}, None
    words = [answer.word for answer in answers]
    body: dict[str, Any] = {word: words.count(word) for word in (ACCEPTED, REFUSED, FAILED)}
    body["events"] = [answer.told(index) for index, answer in enumerate(answers)]
    if FAILED in words:
        after = next(one.problem.retry_after for one in answers if one.problem is not None and one.word == FAILED)
        return 503, body, after
    if REFUSED not in words:
        return 202, body, None
    return (207 if ACCEPTED in words else 422), body, None


def encoded(body: dict[str, Any]) -> bytes:
    """An answer's body."""
    return orjson.dumps(body)
