"""Programmes whose points wait, end, are owed and are spent, and the facts that do it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from schemas import facts
from schemas.envelope import Fact
from tests.properties.plans import Earn, Ladder, Lots, Plan, Points, Prize, Step
from tests.properties.strategies import SHOP, STEPS, STORES, Draw, Story, Teller, programme_fact, shop_fact, tick

ENDS: tuple[Any, ...] = (
    None,
    "none",
    {"after": "1 month"},
    {"after": "10 days"},
    {"after": "2 months", "at": "end_of_quarter"},
    {"after": "1 month", "at": "end_of_month"},
    {"on": "31 Dec"},
    {"on": "29 Feb"},
)
WAITS: tuple[Any, ...] = (
    None,
    None,
    "none",
    {"for": "14 days"},
    {"for": "3 days", "channels": ["web"]},
    {"until": "delivered", "cancel_after": "20 days"},
    {"until": "delivered", "cancel_after": "2 days", "channels": ["web", "app"]},
)
WISHES = (("coffee", None), ("cake", None), ("tea", None), (None, 4), (None, 3), (None, 1))
KINDS = (
    "purchase", "purchase", "purchase", "refund", "refund", "visit", "delivered", "redemption", "redemption",
    "redemption_cancelled", "redemption_fulfilled", "adjustment", "transfer", "again",
)  # fmt: skip


@st.composite
def plans(draw: Draw) -> list[Plan]:
    """One version, or two that treat points otherwise."""
    zone = ZoneInfo(draw(st.sampled_from(("Europe/Berlin", "America/St_Johns", "Pacific/Auckland"))))
    begins = [date(2015, 1, 1), date(2020, 1, 1)]
    made = [draw(plan(index + 1, begins[index], zone)) for index in range(draw(st.integers(1, 2)))]
    # Levels that come and go with versions are told by the stories of tiers.
    return made if len(made) == 1 else [replace(version, ladder=None) for version in made]


@st.composite
def plan(draw: Draw, version: int, starts: date, zone: ZoneInfo) -> Plan:
    """A version."""
    slides = draw(st.integers(0, 3)) == 0
    ends = ENDS if not slides else tuple(end for end in ENDS if end != "none")
    steps = (
        Step("guest", 0),
        Step("gold", 2000, expire=draw(st.sampled_from(ends)), pending=draw(st.sampled_from(WAITS))),
    )
    # By points earned: what is cancelled is no progress, and may undo a welcome.
    welcome, again = draw(st.sampled_from(((0, False), (7, False), (30, True))))
    earned = (Step("guest", 0), replace(steps[1], start=draw(st.sampled_from((8, 30))), welcome=welcome, again=again))
    ladders = (
        None,
        Ladder("spend", "lifetime", "none", steps),
        Ladder("points", "calendar_year", "earned_level", earned),
        Ladder("points", 1, "one_level", earned),
    )
    whole = {"inactivity": draw(st.sampled_from(("1 month", "6 months")))} if slides else draw(st.sampled_from(ENDS))
    return Plan(
        version,
        starts,
        zone,
        rules=(
            Earn("spend", "purchase", Points(1, 100), pending=draw(st.sampled_from(WAITS))),
            Earn("extra", "purchase", Points(5), bonus=True, expire=draw(st.sampled_from(ends))),
            Earn("visit", "visit", Points(3), expire=draw(st.sampled_from(ends))),
        ),
        ladder=draw(st.sampled_from(ladders)),
        lots=Lots(
            whole,
            draw(st.sampled_from(WAITS)),
            draw(st.sampled_from(("within_balance", "allow", "allow", "only_pending"))),
            draw(st.booleans()),
        ),
        gifts=draw(st.sampled_from((True, True, False))),
        prizes=(Prize("coffee", 6), Prize("cake", 15, valid_days=draw(st.sampled_from((None, 10))))),
    )  # fmt: skip


class Spender(Teller):
    """Invents a history in which points are spent."""

    def moment(self) -> datetime:
        """Mostly go on by days: points that are there want to be spent."""
        if self.draw(st.integers(0, 3)):
            self.now += timedelta(hours=self.draw(st.sampled_from((0, 1, 30, 72, 200))))
            return self.now
        return super().moment()

    def tell(self) -> Fact:
        """Invent the next fact."""
        kind = self.draw(st.sampled_from(self.kinds))
        fact_id = f"f{len(self.facts)}"
        if kind in ("purchase", "refund", "visit", "again"):
            kinds, self.kinds = self.kinds, (kind,)
            fact = super().tell()
            self.kinds = kinds
            return fact
        subject = self.draw(st.sampled_from(self.members))
        at: datetime = self.moment()
        if kind == "delivered":
            named = [bought["order_id"] for who, bought in self.orders if who == subject] or ["o0"]
            data: Any = {"name": "delivered", "attributes": {"order_id": self.draw(st.sampled_from(named))}}
            return shop_fact(fact_id, "activity", subject, at, data)
        if kind == "adjustment":
            points = self.draw(st.sampled_from((4, 30, -3, -50)))
            return shop_fact(
                fact_id, kind, subject, at,
                {"operator": "op-1", "reason": "goodwill", "points": points, "reinstate": None},
            )  # fmt: skip
        if kind == "transfer":
            to = self.draw(st.sampled_from((*self.members, "nobody")))
            return shop_fact(fact_id, kind, subject, at, {"to": to, "points": self.draw(st.sampled_from((1, 4, 9)))})
        if kind == "redemption":
            reward, wanted = self.draw(st.sampled_from(WISHES))
            data = {"reward": reward, "points": wanted, "store": self.draw(st.sampled_from(STORES))}
            mine = [bought["order_id"] for who, bought in self.orders if who == subject]
            order = self.draw(st.sampled_from([None, *mine[-1:] * 3]))
            pays = {"order_id": order, "order_source": None if order is None else SHOP}
            return shop_fact(fact_id, kind, subject, at, data | pays)
        asked = [fact.id for fact in self.facts if fact.type == facts.REDEMPTION and fact.subject == subject] or ["f0"]
        data = {"redemption": self.draw(st.sampled_from(asked)), "redemption_source": SHOP}
        return shop_fact(fact_id, kind, subject, at, data)


@st.composite
def spending_stories(draw: Draw, most: int = 25) -> Story:
    """A whole history, ticks anywhere."""
    versions = draw(plans())
    teller = Spender(draw, ("ann", "bob"), KINDS)
    teller.facts += [programme_fact(plan) for plan in versions]
    for _ in range(draw(st.integers(1, most))):
        if draw(st.integers(0, 7)) == 0:
            teller.facts.append(tick(teller.now + draw(st.sampled_from(STEPS))))
        else:
            teller.facts.append(teller.tell())
    return Story(versions, teller.facts)
