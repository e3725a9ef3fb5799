"""Events examined one after the other, as intake and the core will see them: what is refused, what is odd, with examples.

Errors are what would not count, or would count as something else. Warnings count, and somebody should look.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from schemas import facts
from schemas.binary import structured
from schemas.envelope import Fact
from schemas.normalise import OPEN_POLICY, Policy, normalise
from schemas.rejects import INTAKE_REASONS, Rejected
from schemas.times import MILLISECOND_US, SECOND_US, to_text
from schemas.upcasting import UPCASTERS

EXAMPLES = 3
#: Kafka's stamp is that of sending. An event that is sent this much before it happened comes from a clock that is wrong.
SKEW_US = 2 * SECOND_US
#: A till that sends at once is hardly this late; one that was offline is.
LATE_US = 3_600 * SECOND_US
#: Sums of lines that differ from the total by more than this share of it: tax and delivery are less.
TOTAL_SHARE = 0.5

ERRORS: Mapping[str, str] = {reason: f"refused: {reason}" for reason in INTAKE_REASONS} | {
    "not_json": "no JSON: give each event a line of its own, in UTF-8",
    "not_a_cloudevent": "no CloudEvent: specversion 1.0, id, source, type and time are needed",
    "unknown_type": "a type that is not known",
    "not_allowed": "a type or source that the topic does not carry",
    "invalid": "the schema is not kept",
    "personal_subject": "a key that is an e-mail address or a phone number",
    "naive_time": "a time without its offset",
    "future_time": "a time in the future: the clock of the source is wrong",
    "unknown_currency": "a currency that ISO 4217 does not know",
    "too_many_decimals": "more decimals than the currency or the field has",
    "too_large": "an event that is larger than a topic takes",
    "id_reused": "one source and id for two different events: the second is refused",
}
WARNINGS: Mapping[str, str] = {
    "duplicate": "the same event again: it counts once",
    "order_repeated": "an order in two purchases with different ids: it earns once",
    "refund_without_order": "a refund whose order is not here: it waits for it, and moves nothing until then",
    "refund_before_order": "a refund that comes before its order",
    "out_of_order": "an event of a member that happened before one that came earlier",
    "late": "sent more than an hour after it happened",
    "sent_before_it_happened": "sent before it happened: the clock of the source is wrong",
    "key_differs": "the Kafka key is not the subject: events of one member can overtake each other",
    "no_subject": "a sale or return without a member: an anonymous one",
    "total_far_from_lines": "a total that is far from the sum of its lines: points come from the lines",
}


class Example(NamedTuple):
    """Where one was seen, and what was wrong with it."""

    place: str
    id: str
    field: str
    message: str


@dataclass(slots=True)
class Finding:
    """All of one kind."""

    kind: str
    count: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)

    @property
    def is_error(self) -> bool:
        """Does it keep events from counting?"""
        return self.kind in ERRORS

    @property
    def says(self) -> str:
        """In words."""
        return ERRORS.get(self.kind) or WARNINGS[self.kind]


class Examination:
    """Takes events one by one, in their order; `as_json` and the findings say what was found.

    Memory grows by about two hundred bytes per event, for the ids.
    """

    def __init__(self, now_us: int, policy: Policy = OPEN_POLICY) -> None:
        self.events = 0
        self.good = 0
        self.types: Counter[str] = Counter()
        self.findings: dict[str, Finding] = {}
        self._now_us, self._policy = now_us, policy
        self._seen: dict[tuple[str, str], str] = {}
        self._orders: dict[tuple[str, str], str] = {}
        self._newest: dict[str, int] = {}
        self._waits: dict[tuple[str, str], list[Example]] = {}
        self._delays: dict[str, list[int]] = defaultdict(list)
        self._with_member = 0

    def take(
        self,
        raw: bytes,
        place: str,
        key: bytes | None = None,
        stamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Examine one event.

        Args:
            place: where it stands: FILE:LINE or TOPIC/PARTITION@OFFSET.
            key: its Kafka key; None where there is none to look at.
            stamp_ms: when it was sent, where that is known.
            headers: of its record; in binary mode they hold its attributes.
        """
        self.events += 1
        now_us = self._now_us if stamp_ms is None else stamp_ms * MILLISECOND_US
        now_us -= now_us % MILLISECOND_US
        try:
            if headers:
                raw = structured(headers, raw)
            fact = normalise(raw, to_text(now_us), now_us, self._policy)
        except Rejected as rejected:
            source, event_id = _named(raw)
            self._found(rejected.reason, source, Example(place, event_id, rejected.field, rejected.message))
            return
        self.good += 1
        self.types[fact.type] += 1
        if self._is_new(fact, place) and fact.type not in facts.HOUSE_TYPES:
            self._look_at_order(fact, place)
            self._look_at_time(fact, place, stamp_ms)
        if fact.type in facts.HOUSE_TYPES:
            return  # nobody's, and told when the books are done
        if fact.subject is None:
            self._found("no_subject", fact.source, Example(place, fact.id, "subject", ""))
        elif key is not None and key != fact.subject.encode():
            self._found("key_differs", fact.source, Example(place, fact.id, "subject", "key and subject differ"))

    def finish(self) -> None:
        """All events were taken: what still waits for something waits in vain."""
        for (source, order_id), examples in self._waits.items():
            for example in examples:
                message = f"no purchase of order {order_id} of {source} is here"
                self._found("refund_without_order", source, example._replace(message=message))
        self._waits.clear()

    def _found(self, kind: str, source: str, example: Example) -> None:
        finding = self.findings.setdefault(kind, Finding(kind))
        finding.count += 1
        finding.sources[source] += 1
        if len(finding.examples) < EXAMPLES:
            finding.examples.append(example)

    def _is_new(self, fact: Fact, place: str) -> bool:
        name = fact.source, fact.id
        known = self._seen.setdefault(name, fact.body_hash + place)
        if known == fact.body_hash + place:
            return True
        first = known[len(fact.body_hash) :]
        kind = "duplicate" if known.startswith(fact.body_hash) else "id_reused"
        self._found(kind, fact.source, Example(place, fact.id, "id", f"first at {first}"))
        return False

    def _look_at_order(self, fact: Fact, place: str) -> None:
        if fact.type not in (facts.PURCHASE, facts.REFUND):
            return
        order = fact.data["order_source"], fact.data["order_id"]
        example = Example(place, fact.id, "data.order_id", "")
        if fact.type == facts.REFUND:
            if order not in self._orders:
                self._waits.setdefault(order, []).append(example)
            return
        if order in self._orders:
            message = f"order {order[1]} was in {self._orders[order]}"
            self._found("order_repeated", fact.source, example._replace(message=message))
        self._orders.setdefault(order, fact.id)
        for waiting in self._waits.pop(order, ()):
            self._found("refund_before_order", fact.source, waiting._replace(message=f"its order comes at {place}"))
        lines = sum(line["amount_minor"] for line in fact.data["lines"])
        total = fact.data["total_minor"]
        if abs(lines - total) > TOTAL_SHARE * max(lines, total):
            message = f"lines {lines}, total {total}, in minor units of {fact.data['currency']}"
            self._found("total_far_from_lines", fact.source, Example(place, fact.id, "data.total", message))

    def _look_at_time(self, fact: Fact, place: str, stamp_ms: int | None) -> None:
        if fact.subject is not None:
            self._with_member += 1
            newest_us = self._newest.get(fact.subject)
            if newest_us is not None and fact.time_us < newest_us:
                message = f"{(newest_us - fact.time_us) / SECOND_US:,.0f} s before one that came earlier"
                self._found("out_of_order", fact.source, Example(place, fact.id, "time", message))
            self._newest[fact.subject] = max(newest_us or fact.time_us, fact.time_us)
        if stamp_ms is None:
            return
        delay_us = stamp_ms * MILLISECOND_US - fact.time_us
        self._delays[fact.source].append(delay_us)
        if delay_us > LATE_US:
            self._found(
                "late", fact.source, Example(place, fact.id, "time", f"{delay_us / SECOND_US / 3600:,.1f} h later")
            )
        elif delay_us < -SKEW_US:
            message = f"{-delay_us / SECOND_US:,.1f} s before"
            self._found("sent_before_it_happened", fact.source, Example(place, fact.id, "time", message))

    # -------------------------------------------------------------------------------------------------------- telling

    @property
    def errors(self) -> list[Finding]:
        """What would not count, the most frequent first."""
        return sorted((one for one in self.findings.values() if one.is_error), key=lambda one: -one.count)

    @property
    def warnings(self) -> list[Finding]:
        """What counts and is odd, the most frequent first."""
        return sorted((one for one in self.findings.values() if not one.is_error), key=lambda one: -one.count)

    def out_of_order_share(self) -> float:
        """Share of the members' events that happened before one that came earlier."""
        found = self.findings.get("out_of_order")
        return 0.0 if found is None else found.count / self._with_member

    def delays(self) -> dict[str, float]:
        """Median seconds from happening to sending, by source; negative where its clock runs ahead."""
        return {source: statistics.median(all_us) / SECOND_US for source, all_us in sorted(self._delays.items())}

    def as_json(self) -> dict[str, Any]:
        """Everything, for scripts."""
        return {
            "conforms": not self.errors,
            "events": self.events,
            "good": self.good,
            "types": dict(sorted(self.types.items())),
            "out_of_order_share": round(self.out_of_order_share(), 6),
            "median_delay_seconds": {source: round(seconds, 3) for source, seconds in self.delays().items()},
            "errors": [_plain(one) for one in self.errors],
            "warnings": [_plain(one) for one in self.warnings],
        }


def _plain(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "says": finding.says,
        "count": finding.count,
        "sources": dict(finding.sources.most_common()),
        "examples": [example._asdict() for example in finding.examples],
    }


def _named(raw: bytes) -> tuple[str, str]:
    """Source and id of an event that is refused, as far as they can be read."""
    try:
        event = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return "?", "?"
    if not isinstance(event, dict):
        return "?", "?"
    return str(event.get("source", "?"))[:256], str(event.get("id", "?"))[:256]


def _age(kind: str) -> str:
    return f", still told as {kind}: a newer version is there" if kind in UPCASTERS else ""


def words(found: Examination, what: str) -> list[str]:
    """The report as lines of text."""
    lines = [f"{what}: {found.events:,} events, {found.good:,} would be taken."]
    lines += [f"  {count:,} {facts.SHORT_NAMES[kind]}{_age(kind)}" for kind, count in found.types.most_common()]
    for source, seconds in found.delays().items():
        lines.append(f"  {source} sends {seconds:,.1f} s after it happened (median)")
    if found.out_of_order_share():
        lines.append(f"  {found.out_of_order_share():.2%} of the members' events come out of order")
    for title, findings in (("ERROR", found.errors), ("warning", found.warnings)):
        for one in findings:
            lines.append(f"{title} {one.kind}: {one.count:,} times: {one.says}")
            for example in one.examples:
                where = f" {example.field}" if example.field else ""
                message = f": {example.message}" if example.message else ""
                lines.append(f"    {example.place} id {example.id}{where}{message}")
    lines.append(
        "It conforms." if not found.errors else f"It does not conform: {sum(e.count for e in found.errors):,} errors."
    )
    return lines
