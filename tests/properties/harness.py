"""Runs a story through the engine and through the naive model, side by side, and compares every answer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from engine.ledger.partition import Answer, Partition
from schemas.decisions import Decision, encode_decision
from schemas.envelope import Fact, encode_fact
from tests.properties.naive import Model, Move, Verdict, moment_of, text_of
from tests.properties.plans import Plan
from tests.properties.writing import compiled


def partition(plans: Iterable[Plan], live_members: int = 5_000) -> Partition:
    """Return an empty partition that can resolve these versions."""
    return Partition(0, {compiled(plan).hash: compiled(plan) for plan in plans}, live_members)


def flow(engine: Partition, facts: Iterable[Fact]) -> list[tuple[Fact, int, Answer]]:
    """Answer facts in order; a derived fact comes right after its cause, as in a replay."""
    answers: list[tuple[Fact, int, Answer]] = []
    for fact in facts:
        waiting = [fact]
        while waiting:
            answer = engine.answer(waiting[0], engine.next_offset)
            answers.append((waiting[0], answer.decisions[0].offset, answer))
            waiting = waiting[1:] + answer.derived
    return answers


def decisions(answers: Iterable[tuple[Fact, int, Answer]]) -> list[Decision]:
    """Return all decisions."""
    return [decision for _, _, answer in answers for decision in answer.decisions]


def log(answers: Iterable[tuple[Fact, int, Answer]]) -> bytes:
    """Return the points log as bytes."""
    return b"\n".join(encode_decision(decision) for decision in decisions(answers))


#: States that the model tells; it tells others by what follows from them.
STATES = ("expiry", "redemption", "redemption_until", "redemption_order")


class Pair:
    """The engine and the model, fed with the same facts."""

    def __init__(self, plans: list[Plan]) -> None:
        """Begin with empty logs."""
        self.engine = partition(plans)
        self.model = Model({compiled(plan).hash: plan for plan in plans})
        self.hashes = {plan.version: compiled(plan).hash for plan in plans}
        self.entry_ids: dict[int, str] = {}
        self.retaken: list[int] = []

    def feed(self, fact: Fact) -> None:
        """Answer one fact twice and compare; then the facts derived from it."""
        offset = self.engine.next_offset
        answer = self.engine.answer(fact, offset)
        verdict = self.model.answer(json.loads(encode_fact(fact)))
        for decision in answer.decisions:
            if any(note.code == "taken_now" for note in decision.notes):
                self.retaken += [entry.points for entry in decision.entries if entry.kind == "clawback"]
        made = [entry for decision in answer.decisions for entry in decision.entries]
        for move, entry in zip([*verdict.before, *verdict.moves, *verdict.after], made, strict=False):
            self.entry_ids[id(move)] = entry.entry_id
        differences = self.differences(self.engine_view(answer, offset), self.model_view(verdict))
        assert not differences, f"{fact.type} {fact.id} of {fact.subject}: " + "\n".join(differences)
        for derived in answer.derived:
            self.feed(derived)

    @staticmethod
    def differences(engine: dict[str, Any], model: dict[str, Any]) -> list[str]:
        """Return what differs, one line for the engine and one for the model."""
        return [f"{key}\n  engine {engine[key]}\n  model  {model[key]}" for key in model if engine[key] != model[key]]

    def model_view(self, verdict: Verdict) -> dict[str, Any]:
        """Return what the model says, as comparable plain data."""
        return {
            "outcome": verdict.outcome,
            "reason": verdict.reason,
            "member": verdict.member,
            "programme": None if verdict.version is None else self.hashes[verdict.version],
            "entries": [self.move_view(move) for move in [*verdict.before, *verdict.moves, *verdict.after]],
            "states": verdict.states,
            "tiers": [
                (
                    t.member,
                    t.tier,
                    t.previous,
                    text_of(t.since),
                    t.until and text_of(t.until),
                    t.source,
                    t.fact_id,
                    text_of(t.time),
                    t.projected,
                )
                for t in verdict.turns
            ],
            "progress": [(f"{day:%Y-%m-%d}", amount) for day, amount in verdict.progress],
            "counts": sorted(verdict.counts),
            "counters": sorted(verdict.counters),
            "notes": sorted(verdict.notes, key=str),
            "derived": [
                (referrer, sorted(self.named({**data, **self.cause(data, move)}).items()))
                for referrer, data, move in verdict.derived
            ],
        }

    def cause(self, data: dict[str, Any], move: Move | None) -> dict[str, Any]:
        """Return the entry that a derived fact of a referral names."""
        return {"cause_entry": move and self.entry_ids[id(move)]} if "cause_source" in data else {}

    def named(self, said: Any) -> Any:
        """Return what a derived fact says, with the ids of entries in the place of moves."""
        if isinstance(said, Move):
            return self.entry_ids[id(said)]
        if isinstance(said, dict):
            return {key: self.named(value) for key, value in said.items()}
        return [self.named(value) for value in said] if isinstance(said, list) else said

    def move_view(self, move: Move) -> dict[str, Any]:
        """Return one movement as comparable plain data."""
        cause = None if move.cause is None else self.entry_ids[id(move.cause)]
        lasts = move.points > 0 and move.kind != "restore"
        active = moment_of(move.fact["time"]) if lasts and move.waits is None and move.active is None else move.active
        return {
            "member": move.member,
            "kind": move.kind,
            "points": move.points,
            "rule": move.rule,
            "version": move.version,
            "source": move.fact["source"],
            "fact_id": move.fact["id"],
            "at": move.fact["time"],
            "order": move.order,
            "lines": sorted(move.lines.items()),
            "caused_by": cause or move.caused_by,
            "burns": [(self.entry_ids[id(lot)], points) for lot, points in move.burns],
            "active": active and text_of(active),
            "ends": move.ends and text_of(move.ends),
            "waits": (move.waits, move.cancel and text_of(move.cancel)),
        }

    @staticmethod
    def engine_view(answer: Answer, offset: int) -> dict[str, Any]:
        """Return what the engine says, as comparable plain data."""
        parts = answer.decisions
        assert [d.part for d in parts] == list(range(len(parts)))
        assert [d.last for d in parts] == [False] * (len(parts) - 1) + [True]
        assert {d.offset for d in parts} == {offset}
        head = parts[0]
        return {
            "outcome": head.outcome,
            "reason": head.reason,
            "member": head.member_id,
            "programme": head.programme if head.outcome == "decided" else None,
            "entries": [
                {
                    "member": e.member_id, "kind": e.kind, "points": e.points, "rule": e.rule_id, "version": e.rule_version,
                    "source": e.source, "fact_id": e.fact_id, "at": e.occurred_at, "order": e.order,
                    "lines": sorted((n, p) for n, p in e.lines if p), "caused_by": e.caused_by,
                    "burns": [tuple(burn) for burn in e.burns],
                    "active": e.active_from, "ends": e.expires_at, "waits": (e.waits_for, e.cancel_at),
                }
                for d in parts for e in d.entries
            ],
            "tiers": [
                (t.member_id, t.tier, t.previous, t.since, t.until, t.source, t.fact_id, t.occurred_at, t.projected)
                for d in parts for t in d.tiers
            ],
            "states": [(s.what, s.id, s.state) for d in parts for s in d.states if s.what in STATES],
            "progress": [tuple(pair) for d in parts for pair in d.progress],
            "counts": sorted(tuple(count) for d in parts for count in d.counts),
            "counters": sorted((k, n, m, tuple(lines)) for d in parts for k, n, m, lines in d.counters),
            "notes": sorted({(n.code, n.rule_id) for d in parts for n in d.notes if n.code != d.reason}, key=str),
            "derived": [(f.subject, sorted(f.data.items())) for f in answer.derived],
        }  # fmt: skip
