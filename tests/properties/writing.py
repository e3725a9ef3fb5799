"""Writes a plan as a programme file, and loads it into the engine the way a user's file is loaded."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from rules.book import Programme, load_directory
from tests.properties.plans import DAY, Bring, Earn, Ladder, Limit, Lots, Plan, Points

NAME = "invented"


def money(minor: int, plan: Plan) -> str:
    """Write an amount."""
    return f"{Decimal(minor).scaleb(-plan.digits):.{plan.digits}f} {plan.currency}"


def factor(by: Fraction) -> str:
    """Write a factor whose denominator divides a power of ten."""
    return str(Decimal(by.numerator) / Decimal(by.denominator))


def said(**parts: Any) -> dict[str, Any]:
    """Leave out what is not said; a trailing underscore hides a word of Python."""
    return {key.rstrip("_"): value for key, value in parts.items() if value not in (None, False, (), [])}


def limit(cap: Limit | None) -> dict[str, Any] | None:
    """Write a cap."""
    if cap is None:
        return None
    per = ["member", "place"] if cap.per_place else None
    return said(points=cap.points, times=cap.times, per=per, every=cap.every)


def award(points: Points | None, plan: Plan) -> dict[str, Any] | None:
    """Write an award."""
    if points is None:
        return None
    if points.brackets:
        rates = [
            said(to=b.to and money(b.to, plan), points=b.points, per=money(b.per_minor, plan)) for b in points.brackets
        ]
        return said(
            brackets=rates,
            over=points.over,
            of="gross_before_discounts" if points.gross else None,
            round=points.rounding,
            rounding="before_multipliers" if points.round_before else None,
        )
    return said(
        points=points.points,
        per=None if points.per_minor is None else money(points.per_minor, plan),
        of="gross_before_discounts" if points.gross else None,
        each="line" if points.each_line else None,
        round=points.rounding,
        rounding="before_multipliers" if points.round_before else None,
    )


def rule(earn: Earn, plan: Plan) -> dict[str, Any]:
    """Write a rule."""
    only = list(earn.only)
    return said(
        id=earn.id,
        on=earn.on,
        when=earn.when,
        unless=earn.unless,
        award=award(earn.award, plan),
        bonus=earn.bonus,
        multiply=None if earn.by is None else said(by=factor(earn.by), only=only),
        limit=None if earn.limit is None else said(**(limit(earn.limit) or {}), only=only),
        cap=limit(earn.cap),
        priority=earn.priority or None,
        exclusive=earn.exclusive,
        stop=earn.stop,
        hold_out=earn.held_out,
        expire=earn.expire,
        pending=earn.pending,
        from_=earn.starts,
        until=earn.until,
    )


def refer(bring: Bring | None, plan: Plan) -> dict[str, Any] | None:
    """Write the referral awards."""
    if bring is None:
        return None
    within = None if bring.within_days is None else f"{bring.within_days} days"
    at_least = money(bring.at_least_minor, plan) if bring.at_least_minor else None
    sides = {
        side: said(points=what[0], cap=limit(what[1]))
        for side, what in (("referrer", bring.referrer), ("referred", bring.referred))
        if what is not None
    }
    moments: dict[str, Any] = {
        "first_purchase": said(first="purchase", at_least=at_least, within=within),
        "every_purchase": said(every="purchase", at_least=at_least, for_=within),
    }
    return {"moment": moments.get(bring.moment, bring.moment), **sides}


def tiers(ladder: Ladder | None, plan: Plan) -> dict[str, Any] | None:
    """Write the tiers."""
    if ladder is None:
        return None
    over = ladder.over if isinstance(ladder.over, str) else {"rolling": f"{ladder.over} months"}
    levels = [
        said(
            id=step.id,
            from_=(money(step.start, plan) if ladder.by == "spend" else step.start) if step.start else None,
            multiply=factor(step.by) if step.by != 1 else None,
            keep="for_ever" if step.keep else None,
            expire=step.expire,
            pending=step.pending,
            welcome={"points": step.welcome, "again": True} if step.again else step.welcome or None,
            benefits=["coffee"] if step.keep else None,
        )
        for step in ladder.steps
    ]
    grace = f"{ladder.grace} months" if ladder.grace else None
    downgrade = "none" if ladder.falls == "none" else said(to=ladder.falls, after="period_end", grace=grace)
    return {"qualify": {"by": ladder.by, "over": over}, "downgrade": downgrade, "levels": levels}


def points(lots: Lots) -> dict[str, Any] | None:
    """Write what holds for all points."""
    negative = None if lots.negative == "within_balance" else lots.negative
    return (
        said(
            expire=lots.expire,
            pending=lots.pending,
            negative_balance=negative,
            pay_back="pro_rata" if lots.pays_back else None,
        )
        or None
    )


def document(plan: Plan) -> dict[str, Any]:
    """Write a whole version."""
    until: date | None = None if plan.ends is None else plan.ends - DAY
    return said(
        programme=NAME,
        version=plan.version,
        valid=said(from_=plan.starts.isoformat(), until=until and until.isoformat()),
        time_zone=str(plan.zone),
        currency=plan.currency,
        visit_gap=None if plan.visit_gap_minutes is None else f"{plan.visit_gap_minutes} minutes",
        refund_waits=None if plan.refund_waits_days is None else f"{plan.refund_waits_days} days",
        accept_late=None if plan.accept_late_days is None else f"{plan.accept_late_days} days",
        transfer={"at_least": 1} if plan.gifts else None,
        join="explicit" if plan.join_explicit else None,
        earn=[rule(earn, plan) for earn in plan.rules],
        refer=refer(plan.bring, plan),
        tiers=tiers(plan.ladder, plan),
        points=points(plan.lots),
        rewards=[
            said(
                id=p.id,
                cost=p.cost,
                tiers=list(p.tiers),
                valid_for=p.valid_days and f"{p.valid_days} days",
                stock=p.stock,
            )
            for p in plan.prizes
        ],
    )


def text(plan: Plan) -> str:
    """Return the programme file."""
    return yaml.dump(document(plan), Dumper=_Plain, sort_keys=False)


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Write a value out each time it occurs: the language has no aliases."""
        return True


def _load(text: str) -> Programme:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "version.yaml"
        path.write_text(text, encoding="utf-8")
        (programme,) = load_directory(path)
        return programme


#: Plans hold dictionaries, so they are known by what they say; writing a file and reading it costs some 20 ms.
_MADE: OrderedDict[str, Programme] = OrderedDict()
_MOST_MADE = 200


def compiled(plan: Plan) -> Programme:
    """Return the plan as the engine reads it."""
    says = repr(plan)
    if says not in _MADE:
        _MADE[says] = _load(text(plan))
        if len(_MADE) > _MOST_MADE:
            _MADE.popitem(last=False)
    return _MADE[says]
