"""Invented programmes and histories, with a taste for edges: odd amounts, summer time, leap days, year ends, repeats."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from math import floor
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from engine.ledger.engine_facts import programme_fact as real_programme_fact
from schemas import facts
from schemas.envelope import CLOCK_SOURCE, PROGRAMME_SOURCE, Fact, make_fact
from schemas.times import from_datetime, to_text
from tests.properties.plans import DAY, Bracket, Bring, Earn, Ladder, Limit, Plan, Points, Said, Step
from tests.properties.writing import compiled, text

Draw = st.DrawFn
SKUS = {"espresso": "coffee", "cake": "food", "card": "gift_card", "odd": None}
STORES = (None, "north", "south")
CHANNELS = ("pos", "web", "app")
ACTIVITIES = ("survey", "sport")
SEGMENTS = ("champions", "asleep")
ZONES = ("Europe/Berlin", "Europe/London", "America/Sao_Paulo", "Asia/Kathmandu", "UTC")
RECORDED_AT = "2030-01-01T00:00:00.123000Z"
SHOP = "urn:shop"
# Moments around which histories happen: ordinary, summer time begins and ends (also at midnight, in São Paulo), leap day,
# end of a short month, end of a year and of an ISO year.
EDGES = tuple(
    datetime.fromisoformat(text).replace(tzinfo=UTC)
    for text in (
        "2018-02-17T23:30:00", "2018-02-18T01:30:00", "2018-11-04T02:59:59.999999", "2018-11-04T03:00:00",
        "2018-12-30T22:59:59", "2018-12-31T23:00:00", "2019-01-01T00:00:00", "2019-01-31T12:00:00", "2019-02-28T22:30:00",
        "2019-03-31T00:59:59", "2019-03-31T01:00:00", "2019-10-27T00:30:00", "2019-10-27T01:30:00", "2019-12-31T23:59:59",
        "2020-01-01T02:59:59", "2020-02-29T10:00:00", "2020-02-29T23:30:00", "2020-12-31T18:14:59", "2020-12-31T18:15:00",
    )
)  # fmt: skip
STEPS = (
    timedelta(0), timedelta(microseconds=1), timedelta(minutes=10), timedelta(minutes=30), timedelta(hours=5), DAY,
    timedelta(days=9), timedelta(days=33), timedelta(days=180), timedelta(days=370),
)  # fmt: skip


def rarely(strategy: st.SearchStrategy[Any], otherwise: Any = None) -> st.SearchStrategy[Any]:
    """Mostly ``otherwise``."""
    return st.one_of(st.just(otherwise), st.just(otherwise), strategy)


windows = st.sampled_from(("day", "week", "month", "quarter", "year", "ever"))


@st.composite
def limits(draw: Draw, places: bool, times_too: bool = True) -> Limit:
    """Caps so small that they bite."""
    some = ((3, None), (20, None), (150, None), (None, 1), (None, 2))
    points, times = draw(st.sampled_from(some if times_too else some[:3]))
    return Limit(points, times, places and draw(st.booleans()), draw(windows))


@st.composite
def bracketed(draw: Draw) -> Points:
    """Two or three rates, for so little money that a few orders cross them."""
    ends = draw(st.sampled_from(((1000, None), (500, 2500, None), (999, 3000))))
    rates = draw(st.permutations(((1, 100), (12, 1000), (3, 7))))
    return Points(
        0,
        gross=draw(st.booleans()),
        rounding=draw(st.sampled_from(("floor", "half_up", "half_even", "ceil"))),
        round_before=draw(st.booleans()),
        brackets=tuple(Bracket(end, *rate) for end, rate in zip(ends, rates, strict=False)),
        over=draw(st.sampled_from(("calendar_year", "quarter", "month", "lifetime"))),
    )


@st.composite
def awards(draw: Draw, purchase: bool) -> Points:
    """Awards by money for purchases, fixed ones for everything."""
    points = draw(st.sampled_from((1, 2, 3, 7, 50)))
    if purchase and draw(st.integers(0, 5)) == 0:
        return draw(bracketed())
    if not purchase:
        return Points(points, rounding=draw(st.sampled_from(("floor", "half_up", "half_even", "ceil"))))
    per = draw(st.sampled_from((None, 100, 100, 30, 7, 250)))
    return Points(
        points,
        per,
        per is not None and draw(st.booleans()),
        draw(st.sampled_from(("floor", "half_up", "half_even", "ceil"))),
        draw(st.booleans()),
        draw(st.booleans()),
    )


def ranges(numbers: tuple[Any, ...]) -> st.SearchStrategy[Said]:
    """At least, below, or both."""
    number = st.sampled_from(numbers)
    return st.one_of(
        st.fixed_dictionaries({"at_least": number}),
        st.fixed_dictionaries({"below": number}),
        st.just({"at_least": numbers[0], "below": numbers[-1]}),
    )


def words(choices: tuple[str, ...]) -> st.SearchStrategy[Any]:
    """One word or a list of them."""
    some = st.lists(st.sampled_from(choices), min_size=1, max_size=2, unique=True)
    return st.one_of(st.sampled_from(choices), some)


HOURS = ("00:00", "02:30", "09:00", "18:00", "23:59")
ANY_FACT: dict[str, st.SearchStrategy[Any]] = {
    "weekday": words(("mon", "wed", "fri", "sat", "sun")),
    "between": st.permutations(HOURS).map(lambda hours: list(hours[:2])),
    "from": st.sampled_from(("2018-02-18 01:30", "2018-11-04", "2018-12-31")),
    "until": st.sampled_from(("2019-10-27 02:30", "2019-12-31", "2020-02-29")),
    "spent": st.fixed_dictionaries(
        {"at_least": st.sampled_from(("0.01 EUR", "25.00 EUR")), "within": st.sampled_from(("1 day", "30 days"))}
    ),
    "tier": words(("guest", "regular", "family")),
    "segment": words(SEGMENTS),
    "days_since_joined": ranges((0, 1, 30)),
    "days_since_last_purchase": ranges((0, 1, 10)),
}
STREAKS = ({"n": 2}, {"n": 3, "every": "day"}, {"n": 2, "every": "week"}, {"n": 2, "every": "month"})
BY_FACT: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "purchase": {
        "amount": ranges(("1.00 EUR", "9.99 EUR", "30.00 EUR")),
        "quantity": ranges(("0.5", 1, 2)),
        "sku": words(("espresso", "cake", "card")),
        "category": words(("coffee", "food", "gift_card")),
        "channel": words(CHANNELS),
        "store": words(("north", "south")),
        "first_purchase": st.booleans(),
        "every_nth": st.sampled_from(({"n": 2}, {"n": 3}, {"n": 2, "category": "coffee"}, {"n": 2, "sku": ["cake", "odd"]})),
        "streak": st.sampled_from(STREAKS),
    },
    "visit": {"store": words(("north", "south")), "streak": st.sampled_from(STREAKS)},
    "review": {
        "sku": words(("espresso", "cake")),
        "place": words(("north", "south")),
        "rating": ranges((1, 3, 5)),
        "verified": st.booleans(),
        "bought_sku": st.sampled_from(({"within": "30 days"}, {"within": "1 hour"})),
    },
    "activity": {
        "name": words(ACTIVITIES),
        "attributes": st.sampled_from(
            ({"kind": "run"}, {"kind": ["run", "nps"]}, {"score": {"at_least": 3}}, {"score": {"below": "2.5"}},
             {"done": True}, {"score": 1})
        ),
        "streak": st.sampled_from(({"n": 2, "name": "sport"}, {"n": 2, "every": "week"})),
    },
    "joined": {"via": words(("web", "friend"))},
    "referral": {},
}  # fmt: skip


@st.composite
def conditions(draw: Draw, kind: str, tiers: bool, depth: int = 1) -> Said:
    """One or two parts, sometimes nested."""
    parts = {**ANY_FACT, **BY_FACT[kind]}
    if not tiers:
        del parts["tier"]
    names = draw(st.lists(st.sampled_from(sorted(parts)), min_size=1, max_size=2, unique=True))
    said = {name: draw(parts[name]) for name in names}
    if depth and draw(st.integers(0, 5)) == 0:
        nested = conditions(kind, tiers, depth - 1)
        word = draw(st.sampled_from(("all", "any", "not")))
        said[word] = draw(nested) if word == "not" else draw(st.lists(nested, min_size=1, max_size=2))
    return said


def about_lines(condition: object) -> bool:
    """Does a condition ask about single lines?"""
    if isinstance(condition, dict):
        return bool({"sku", "category", "quantity"} & set(condition)) or any(map(about_lines, condition.values()))
    return isinstance(condition, list | tuple) and any(map(about_lines, condition))


RULE_IDS = ("a-spend", "b-extra", "c-group", "d-double", "e-half", "f-more", "g-lid")
KINDS = ("purchase", "purchase", "purchase", "visit", "review", "activity", "joined", "referral")


@st.composite
def rules(draw: Draw, index: int, kinds: tuple[str, ...], tiers: bool) -> Earn:
    """One rule of any phase."""
    kind = draw(st.sampled_from(kinds))
    phase = draw(st.sampled_from(("base", "base", "base", "bonus", "multiply", "multiply", "limit")))
    places = kind in ("purchase", "visit", "review")
    rule = Earn(
        RULE_IDS[index],
        kind,
        priority=draw(rarely(st.sampled_from((-1, 5)), 0)),
        when=draw(rarely(conditions(kind, tiers))),
        unless=draw(rarely(rarely(conditions(kind, tiers)))),
        starts=draw(rarely(rarely(st.just("2019-02-01")))),
        until=draw(rarely(rarely(st.just("2020-02-28")))),
    )
    only = draw(rarely(st.sampled_from((RULE_IDS[:1], RULE_IDS[:2])), ()))
    if phase in ("multiply", "limit") and kind == "purchase" and (about_lines(rule.when) or about_lines(rule.unless)):
        rule = replace(rule, when=None, unless=None)  # the language refuses them: such a rule is about the whole order
    if phase == "limit":
        return replace(rule, limit=draw(limits(places, times_too=False)), only=only)
    rule = replace(
        rule,
        exclusive=draw(rarely(st.just("group"))),
        stop=draw(rarely(rarely(st.just(True), False), False)),
        cap=draw(rarely(limits(places))),
        held_out=draw(rarely(rarely(st.sampled_from(("50 %", "12.5 %"))))),
    )
    if phase == "multiply":
        return replace(rule, by=draw(st.sampled_from((Fraction(2), Fraction(3, 2), Fraction(5, 4)))), only=only)
    return replace(rule, award=draw(awards(kind == "purchase")), bonus=phase == "bonus")


@st.composite
def rule_sets(draw: Draw, kinds: tuple[str, ...], tiers: bool) -> tuple[Earn, ...]:
    """Up to six rules; what they name is there, is about the same fact and can be multiplied or clipped."""
    found = [draw(rules(index, kinds, tiers)) for index in range(draw(st.integers(1, 6)))]
    with_base = {rule.on for rule in found if rule.phase == "base"}
    kept = [r for r in found if r.by is None or named(r, found) or r.on in with_base]
    return tuple(replace(rule, only=named(rule, kept)) for rule in kept)


def named(rule: Earn, others: list[Earn]) -> tuple[str, ...]:
    """Return those of ``only`` that the language allows for this rule."""
    phases = ("base", "bonus") if rule.by is not None else ("base", "bonus", "multiply")
    return tuple(x.id for x in others if x.id in rule.only and x.on == rule.on and x.phase in phases and x is not rule)


@st.composite
def ladders(draw: Draw) -> Ladder:
    """Tiers low enough to be climbed, and lost, within a short history."""
    by = draw(st.sampled_from(("spend", "spend", "spend", "points", "visits", "orders")))
    starts = {"spend": (2000, 5000), "points": (30, 80), "visits": (1, 3), "orders": (2, 3)}[by]
    factors = draw(st.sampled_from(((Fraction(1), Fraction(5, 4), Fraction(3, 2)), (Fraction(1),) * 3)))
    raised = draw(rarely(st.sampled_from((2, 3)), 1))
    spans: tuple[str | int, ...] = ("calendar_year", "calendar_year", "membership_year", "lifetime", 1, 3, 12)
    over = draw(st.sampled_from(spans))
    falls = (
        "none" if over == "lifetime" else draw(st.sampled_from(("none", "earned_level", "earned_level", "one_level")))
    )
    grace = 0 if falls == "none" else draw(rarely(st.sampled_from((1, 3)), 0))
    kept = "" if falls == "none" else draw(rarely(st.sampled_from(("regular", "family")), ""))
    some = rarely(st.sampled_from(((20, False), (20, True))), (0, False))
    welcomes = {"guest": (0, False), "regular": draw(some), "family": draw(some)}
    steps = tuple(
        Step(step_id, start * raised, by_, step_id == kept, *welcomes[step_id])
        for step_id, start, by_ in zip(("guest", "regular", "family"), (0, *starts), factors, strict=True)
    )
    return Ladder(by, over, falls, steps, grace)


@st.composite
def brings(draw: Draw) -> Bring:
    """Referral awards for one side or both."""
    side = st.tuples(st.sampled_from((10, 100)), rarely(limits(places=False)))
    referrer, referred = draw(st.tuples(rarely(side, (100, None)), rarely(side)).filter(any))
    moment = draw(st.sampled_from(("referral", "joined", "first_purchase", "first_purchase", "every_purchase")))
    if moment in ("referral", "joined"):
        return Bring(moment, 0, None, referrer, referred)
    at_least, within = draw(st.sampled_from((0, 1000))), draw(st.sampled_from((None, 1, 90)))
    if moment == "every_purchase" and within is None:
        within = 30
    return Bring(moment, at_least, within, referrer, referred)


@st.composite
def programmes(draw: Draw, kinds: tuple[str, ...] = KINDS, most: int = 3, laddered: bool | None = None) -> list[Plan]:
    """Versions of one programme in the order in which they begin."""
    zone = ZoneInfo(draw(st.sampled_from(ZONES)))
    starts = [date(2015, 1, 1), date(2019, 3, 31), date(2020, 1, 1)]
    with_ladder = draw(st.booleans()) if laddered is None else laddered
    ladder = draw(ladders()) if with_ladder else None
    plans = []
    for index in range(draw(st.integers(1, most))):
        plan = Plan(
            index + 1,
            starts[index],
            zone,
            accept_late_days=draw(rarely(rarely(st.sampled_from((3, 60))))),
            refund_waits_days=draw(rarely(st.sampled_from((1, 400)))),
            visit_gap_minutes=draw(rarely(st.sampled_from((10, 300)))),
            join_explicit=draw(rarely(rarely(st.just(True), False), False)),
            rules=draw(rule_sets(kinds, ladder is not None)),
            ladder=ladder,
            bring=draw(rarely(brings())),
        )
        plans.append(plan)
        if ladder is not None and draw(st.booleans()):
            ladder = replace(draw(ladders()), by=ladder.by)
    return plans


# Facts.


def minor(quantity: str, price: str, discount: int) -> int:
    """What a line of two-digit money comes to, half up."""
    return floor(Fraction(quantity) * Fraction(price) * 100 - discount + Fraction(1, 2))


@st.composite
def order_lines(draw: Draw) -> list[dict[str, Any]]:
    """One to four lines with odd quantities, zero prices and discounts up to the whole."""
    lines = []
    for _ in range(draw(st.integers(1, 4))):
        sku = draw(st.sampled_from(sorted(SKUS)))
        quantity = draw(st.sampled_from(("1", "2", "3", "7", "0.5", "1.333")))
        price = draw(st.sampled_from(("0", "0.01", "2.55", "9.99", "10", "33.333333", "0.005")))
        whole = minor(quantity, price, 0)
        discount = draw(rarely(st.integers(0, whole), 0))
        lines.append({
            "sku": sku, "category": SKUS[sku], "quantity": quantity, "unit_price": price,
            "discount_minor": discount, "amount_minor": max(0, minor(quantity, price, discount)),
        })  # fmt: skip
    return lines


@st.composite
def purchases(draw: Draw, order: str) -> dict[str, Any]:
    """One order."""
    lines = draw(order_lines())
    total = sum(line["amount_minor"] for line in lines)
    return {
        "order_source": SHOP,
        "order_id": order,
        "lines": lines,
        "total_minor": total + draw(rarely(st.sampled_from((0, 490)), 0)),
        "currency": draw(rarely(rarely(rarely(st.just("CHF"), "EUR"), "EUR"), "EUR")),
        "channel": draw(st.sampled_from(CHANNELS)),
        "store": draw(st.sampled_from(STORES)),
        "paid_with_points_minor": draw(rarely(rarely(st.sampled_from((1, 300, 9000)), 0), 0)),
        "paid_with_voucher_minor": 0,
    }


@st.composite
def refund_lines(draw: Draw, bought: dict[str, Any]) -> dict[str, Any]:
    """A return by line number or SKU; by quantity, by amount, or both; sometimes too much."""
    number = draw(st.integers(1, len(bought["lines"])))
    line = bought["lines"][number - 1]
    quantity = draw(st.sampled_from((line["quantity"], "1", "0.5", "2")))
    amount = draw(st.sampled_from((line["amount_minor"], line["amount_minor"] // 2, 1, 100000)))
    how = draw(st.sampled_from(("quantity", "quantity", "amount", "both")))
    by_sku = draw(st.booleans())
    return {
        "line": None if by_sku else number,
        "sku": line["sku"] if by_sku else None,
        "quantity": None if how == "amount" else quantity,
        "amount_minor": None if how == "quantity" else amount,
    }


@st.composite
def refunds(draw: Draw, bought: dict[str, Any]) -> dict[str, Any]:
    """A return of an order, by lines or by an amount."""
    whole = sum(line["amount_minor"] for line in bought["lines"])
    by_lines = draw(st.integers(0, 3)) > 0
    lines = draw(st.lists(refund_lines(bought), min_size=1, max_size=3)) if by_lines else None
    return {
        "order_source": SHOP,
        "order_id": bought["order_id"],
        "lines": lines,
        "amount_minor": None if by_lines else draw(st.sampled_from((whole, whole // 2, whole // 3, 1, whole + 100))),
        "total_minor": None,
        "currency": bought["currency"] if draw(st.integers(0, 20)) else "USD",
        "channel": None,
        "store": None,
    }


@st.composite
def simple(draw: Draw, kind: str, members: tuple[str, ...]) -> dict[str, Any]:
    """Data of a fact that stands alone."""
    if kind == "visit":
        return {"store": draw(st.sampled_from(STORES)), "dwell_seconds": None}
    if kind == "review":
        sku, place = draw(st.sampled_from((("espresso", None), ("cake", "north"), (None, "south"))))
        verified = draw(st.sampled_from((True, False, None)))
        return {"sku": sku, "place": place, "rating": draw(st.integers(0, 5)), "verified": verified, "link": None}
    if kind == "activity":
        some = {"kind": ("run", "nps"), "score": (1, 3, "2.5", True), "done": (True, False)}
        chosen = draw(st.lists(st.sampled_from(sorted(some)), unique=True))
        attributes = {name: draw(st.sampled_from(some[name])) for name in sorted(chosen)}
        return {"name": draw(st.sampled_from(ACTIVITIES)), "attributes": attributes}
    if kind == "segment":
        return {"segment": draw(st.sampled_from(SEGMENTS)), "entered": draw(st.booleans()), "as_of": None}
    if kind == "joined":
        return {"via": draw(st.sampled_from((None, "web", "friend")))}
    if kind == "left":
        return {}
    return {"referrer": draw(st.sampled_from(members))}


@st.composite
def overrides(draw: Draw, now: datetime) -> dict[str, Any]:
    """A tier that staff gives, for a day or for years; sometimes it is over, or there is no such tier."""
    days = draw(st.sampled_from((0, 1, 30, 400, 900, -1)))
    tier = draw(st.sampled_from(("guest", "regular", "regular", "family", "family", "nobody")))
    return {"operator": "op-1", "reason": "complaint", "tier": tier, "until": f"{now + days * DAY:%Y-%m-%d}"}


TYPES = {
    "tier_override": facts.TIER_OVERRIDE,
    "purchase": facts.PURCHASE,
    "refund": facts.REFUND,
    "visit": facts.VISIT,
    "review": facts.REVIEW,
    "activity": facts.ACTIVITY,
    "joined": facts.JOINED,
    "segment": facts.SEGMENT,
    "left": facts.LEFT,
    "referral": facts.REFERRAL,
    "adjustment": facts.ADJUSTMENT,
    "transfer": facts.TRANSFER,
    "redemption": facts.REDEMPTION,
    "redemption_cancelled": facts.REDEMPTION_CANCELLED,
    "redemption_fulfilled": facts.REDEMPTION_FULFILLED,
}
SIMPLE = ("visit", "review", "activity", "joined", "left", "segment", "referral")


def shop_fact(fact_id: str, kind: str, subject: str | None, at: datetime, data: Any) -> Fact:
    """Return a fact as intake would write it."""
    return make_fact(
        id=fact_id,
        source=SHOP,
        type=TYPES[kind],
        subject=subject,
        time_us=from_datetime(at),
        recorded_at=RECORDED_AT,
        data=data,
    )


def programme_fact(plan: Plan) -> Fact:
    """Return the fact by which a version becomes known."""
    made = compiled(plan)
    data = {
        "hash": made.hash,
        "programme": made.name,
        "version": made.version,
        "valid_from": to_text(made.valid_from_us),
        "time_zone": str(plan.zone),
        "currency": plan.currency,
        "base_tier": made.base_tier,
    }
    real = real_programme_fact(made, RECORDED_AT).data
    data |= {key: real[key] for key in ("tiers", "challenges", "badges", "raffles") if key in real}
    return make_fact(
        id=made.hash, source=PROGRAMME_SOURCE, type=facts.PROGRAMME, subject=None, time_us=made.valid_from_us,
        recorded_at=RECORDED_AT, data=data,
    )  # fmt: skip


def tick(at: datetime) -> Fact:
    """Return a tick."""
    text = to_text(from_datetime(at))
    return make_fact(
        id=f"0:{text}", source=CLOCK_SOURCE, type=facts.TICK, subject=None, time_us=from_datetime(at),
        recorded_at=RECORDED_AT, data={},
    )  # fmt: skip


@dataclass
class Story:
    """A programme and what happened, in the order of the log."""

    plans: list[Plan]
    facts: list[Fact]

    def __repr__(self) -> str:
        told = "\n".join(f"{f.type} {f.id} {f.subject} {f.time} {f.data}" for f in self.facts)
        return "\n".join(["Story", *(text(plan) for plan in self.plans), told])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # how Hypothesis prints a failing example
        printer.text(repr(self))


class Teller:
    """Invents one history, step by step."""

    def __init__(self, draw: Draw, members: tuple[str, ...], kinds: tuple[str, ...]) -> None:
        """Begin at one of the edges."""
        self.draw, self.members, self.kinds = draw, members, kinds
        self.now = draw(st.sampled_from(EDGES))
        self.facts: list[Fact] = []
        self.orders: list[tuple[str | None, dict[str, Any]]] = []
        self.untold: list[tuple[str | None, dict[str, Any]]] = []  # a refund came first

    def moment(self) -> datetime:
        """Go on a little or a lot, or to an edge ahead; sometimes tell of something that lies behind."""
        how = self.draw(st.integers(0, 9))
        if how == 0:
            return self.now - self.draw(st.sampled_from((*STEPS, timedelta(days=402))))
        if how == 1:
            self.now = max(self.now, self.draw(st.sampled_from(EDGES)))
        else:
            self.now += self.draw(st.sampled_from(STEPS))
        return self.now

    def tell(self) -> Fact:
        """Invent the next fact."""
        kind = self.draw(st.sampled_from(self.kinds))
        fact_id = f"f{len(self.facts)}"
        if kind == "again" and self.facts:
            return self.again(self.draw(st.sampled_from(self.facts)))
        if kind == "refund" and self.orders:
            subject, bought = self.draw(st.sampled_from(self.orders))
            return shop_fact(fact_id, kind, subject, self.moment(), self.draw(refunds(bought)))
        if kind == "tier_override":
            subject = self.draw(st.sampled_from(self.members))
            at = self.moment()
            return shop_fact(fact_id, kind, subject, at, self.draw(overrides(at)))
        if kind in SIMPLE:
            subject = self.draw(st.sampled_from(self.members))
            return shop_fact(fact_id, kind, subject, self.moment(), self.draw(simple(kind, self.members)))
        return self.buy(fact_id)

    def buy(self, fact_id: str) -> Fact:
        """Invent a purchase, sometimes of an order that was told already or of nobody; rarely the refund comes first."""
        now: bool = bool(self.untold) and self.draw(st.booleans())
        if now:
            subject, data = self.untold.pop()
            return shop_fact(fact_id, "purchase", subject, self.moment(), data)
        subject = self.draw(rarely(rarely(st.none(), "+"), "+")) and self.draw(st.sampled_from(self.members))
        order = self.draw(rarely(rarely(st.just("o0")))) or f"o{len(self.facts)}"
        data = self.draw(purchases(order))
        self.orders.append((subject, data))
        if self.draw(st.integers(0, 11)) == 0:
            self.untold.append((subject, data))
            return shop_fact(fact_id, "refund", subject, self.moment(), self.draw(refunds(data)))
        return shop_fact(fact_id, "purchase", subject, self.moment(), data)

    def again(self, fact: Fact) -> Fact:
        """Deliver a fact again: the same, with another body, or the same order under another id."""
        if fact.type in facts.ENGINE_TYPES:
            return fact
        how = self.draw(st.integers(0, 3))
        if how == 0:
            return shop_fact(fact.id, fact.type.split(".")[1], fact.subject, self.moment(), fact.data)
        if how == 1:
            return shop_fact(f"f{len(self.facts)}", fact.type.split(".")[1], fact.subject, self.moment(), fact.data)
        return fact


STORY_KINDS = ("purchase", "purchase", "purchase", "refund", "refund", *SIMPLE, "tier_override", "again")


@st.composite
def stories(
    draw: Draw,
    plans: st.SearchStrategy[list[Plan]] | None = None,
    kinds: tuple[str, ...] = STORY_KINDS,
    members: tuple[str, ...] = ("ann", "bob", "cem"),
    most: int = 14,
    ticks: bool = True,
    known_first: bool = False,
) -> Story:
    """A whole history: versions become known on the way, ticks come anywhere."""
    versions = draw(plans if plans is not None else programmes())
    teller = Teller(draw, members, kinds)
    untold = [programme_fact(plan) for plan in versions]
    if known_first or draw(st.integers(0, 9)):
        teller.facts += untold if known_first else [untold.pop(0)]
        untold = [] if known_first else untold
    for _ in range(draw(st.integers(1, most))):
        what = draw(st.integers(0, 7))
        if what == 0 and untold:
            teller.facts.append(untold.pop(0))
        elif what == 1 and ticks:
            teller.facts.append(tick(teller.now + draw(st.sampled_from(STEPS))))
        else:
            teller.facts.append(teller.tell())
    return Story(versions, teller.facts)
