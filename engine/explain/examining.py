"""Each rule that could have answered a fact: whether it applies, and each of its conditions with the value it saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.explain.saw import local_text, saw
from engine.ledger.member import GIVEN, Member
from engine.ledger.played import BADGE_BY, CHALLENGE_SPAN, TICKETS_BY
from rules.book import Programme, Rule
from rules.conditions import OfLine, check_of
from rules.language import EarnRule
from rules.parts import Condition
from rules.words import condition_words, effect_words, part_words
from schemas import facts
from schemas.decisions import Decision
from schemas.envelope import Fact

# What a condition says by other conditions, not by a value.
_JOINED = ("all", "any", "not_")


@dataclass(slots=True)
class Part:
    """One condition of a rule.

    Attributes:
        says: in words.
        holds: for the fact, or for one of its lines at least.
        saw: the value it looked at; empty where that is told by ``parts``.
        lines: numbers of the lines (from 1) for which it holds; None where it is about the whole fact.
    """

    says: str
    holds: bool
    saw: str = ""
    lines: list[int] | None = None
    parts: list[Part] = field(default_factory=list)


@dataclass(slots=True)
class RuleAsked:
    """One rule that was asked.

    Attributes:
        applies: all its conditions hold (for a line at least); another rule may still have kept it from giving points.
        points: what it gave in the end.
        why: why it gave nothing, or less than it would have; empty where there is nothing to say.
    """

    rule: str
    phase: str
    gives: str
    when: str
    applies: bool
    lines: list[int]
    points: int
    why: str
    conditions: list[Part]


def rules_asked(member: Member, fact: Fact, programme: Programme, decision: Decision) -> list[RuleAsked]:
    """Return every rule on this kind of fact, in the order in which they are asked.

    Args:
        member: settled to the fact's time, before the fact.
        decision: on it; says what the rules gave.
    """
    if decision.outcome != "decided" or decision.reason is not None:
        return []
    said = {rule.id: rule for rule in programme.document.earn}
    rules = programme.rules_on.get(facts.SHORT_NAMES.get(fact.type, ""), ())
    found = [_asked(rule, said[rule.id], member, fact, programme, decision) for rule in rules]
    for rule, asked in zip(rules, found, strict=True):
        if asked.applies and not asked.why:
            asked.why = _why_less(rule, asked, [*zip(rules, found, strict=True)], decision)
    return found


def _asked(
    rule: Rule, said: EarnRule, member: Member, fact: Fact, programme: Programme, decision: Decision
) -> RuleAsked:
    lines = rule.lines(member, fact, programme)
    conditions = list(_conditions(said, member, fact, programme))
    mine = [entry for entry in decision.entries if entry.rule_id == rule.id and entry.fact_id == fact.id]
    failed = [part for part in conditions if not part.holds]
    why = (
        ""
        if lines
        else f"{failed[0].says}: it saw {failed[0].saw or 'otherwise'}"
        if failed
        else "no line meets them all"
    )
    numbers = [line + 1 for line in lines] if "lines" in fact.data else []
    points = sum(entry.points for entry in mine)
    return RuleAsked(
        rule.id, rule.phase, effect_words(said), condition_words(said), bool(lines), numbers, points, why, conditions
    )


def _why_less(rule: Rule, asked: RuleAsked, others: Sequence[tuple[Rule, RuleAsked]], decision: Decision) -> str:
    """Say what kept an applicable rule from giving all it would have given; the last reason first."""
    for note in decision.notes:
        if note.rule_id == rule.id:
            return f"{note.code}: {note.text}"
    if asked.points or rule.limit is not None or _given(rule, decision):
        return ""
    for other, its in others:
        if other is rule:
            break
        if other.stop and its.applies and its.points:
            return f"rule {other.id} came before it and says stop"
    for other, its in others:
        if other is not rule and rule.exclusive is not None and other.exclusive == rule.exclusive and its.points:
            return f"of group {rule.exclusive} only the best applies, and {other.id} gave more"
    clipped = [note for note in decision.notes if note.code == "capped"]
    if clipped:
        return f"clipped by {clipped[-1].rule_id}: {clipped[-1].text}"
    if rule.gives:
        return "the member has it already, or it is under way"
    return "it comes to less than one point" if rule.award is not None else "there was nothing to multiply"


def _given(rule: Rule, decision: Decision) -> bool:
    by = (BADGE_BY, TICKETS_BY)
    return any(
        (change.what == GIVEN and change.state.split("|")[1] == rule.id)
        or (change.what in by and change.state.split(" ")[0] == rule.id)
        or (change.what == CHALLENGE_SPAN and rule.offers == change.id.partition("|")[0])
        for change in decision.states
    )


def _conditions(said: EarnRule, member: Member, fact: Fact, programme: Programme) -> Iterator[Part]:
    if said.from_ is not None or said.until is not None:
        dates = Condition.model_construct(_fields_set=None, **_nothing() | {"from_": said.from_, "until": said.until})
        yield _part(dates, said.on, member, fact, programme, local_text(fact.time_us, programme))
    if said.when is not None:
        yield from _parts(said.when, said.on, member, fact, programme)
    if said.unless is not None:
        inside = list(_parts(said.unless, said.on, member, fact, programme))
        whole = _part(said.unless, said.on, member, fact, programme, "")
        count = len(fact.data["lines"]) if whole.lines is not None else 0
        free = [line for line in range(1, count + 1) if line not in (whole.lines or [])]
        holds = bool(free) if whole.lines is not None else not whole.holds
        seen = inside[0].saw if len(inside) == 1 else ""
        yield Part(
            f"unless {whole.says}", holds, seen, None if whole.lines is None else free, inside if not seen else []
        )


def _nothing() -> dict[str, Any]:
    return dict.fromkeys(Condition.model_fields)


def _parts(condition: Condition, on: str, member: Member, fact: Fact, programme: Programme) -> Iterator[Part]:
    """Yield one part for each thing a condition says."""
    for name in Condition.model_fields:
        value = getattr(condition, name)
        if value is None:
            continue
        alone = Condition.model_construct(_fields_set=None, **_nothing() | {name: value})
        seen = "" if name in _JOINED else saw(name, value, member, fact, programme)
        part = _part(alone, on, member, fact, programme, seen)
        if name in _JOINED:
            inside = [value] if isinstance(value, Condition) else value
            part.parts = [_joined(item, on, member, fact, programme) for item in inside]
        yield part


def _joined(condition: Condition, on: str, member: Member, fact: Fact, programme: Programme) -> Part:
    inside = list(_parts(condition, on, member, fact, programme))
    if len(inside) == 1:
        return inside[0]
    whole = _part(condition, on, member, fact, programme, "")
    whole.parts = inside
    return whole


def _part(condition: Condition, on: str, member: Member, fact: Fact, programme: Programme, seen: str) -> Part:
    check = check_of(condition, on, programme.time_zone)
    says = part_words(condition)
    if isinstance(check, OfLine):
        lines = [n for n, line in enumerate(fact.data["lines"], 1) if check.holds(member, fact, line)]
        return Part(says, bool(lines), seen, lines)
    return Part(says, check.holds(member, fact), seen)
