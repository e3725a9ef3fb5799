"""A slow and plain model of the whole engine: it keeps every fact and computes everything from them each time.

Written from the specification alone, independently of `engine.ledger`, with fractions and aware datetimes. Where this
model and the engine differ, one of them is wrong.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from schemas.ids import hash_id
from tests.properties.naive_conditions import Before
from tests.properties.naive_counters import Moved
from tests.properties.naive_earn import awarded, caps_given_back, counters_given_back, is_lost
from tests.properties.naive_earning import Earning, share
from tests.properties.naive_lots import Purse, claims_of, finish, fire, next_due, slide, take
from tests.properties.naive_refunds import Returned
from tests.properties.naive_spending import adjust, arrives, end, miss, paid_back, released, retaken, spend
from tests.properties.naive_tiers import Climber
from tests.properties.naive_transfers import accounts, receive, send, settle_transfer
from tests.properties.naive_who import gone, left_at, outside, why_outside
from tests.properties.plans import DAY, Bring, Limit, Plan, in_force, midnight, window

HORIZON = timedelta(days=400)
TIMER = "urn:stammgast:timer"
FactDict = dict[str, Any]


def moment_of(text: str) -> datetime:
    """Read a time of the log."""
    return datetime.fromisoformat(text)


def text_of(moment: datetime) -> str:
    """Write a time of the log."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def kind_of(fact: FactDict) -> str:
    """Return purchase, refund, visit and so on."""
    return str(fact["type"]).split(".")[1]


@dataclass(eq=False)
class Move:
    """One movement of points."""

    member: str
    points: int
    rule: str
    version: int
    fact: FactDict
    order: str | None = None
    lines: dict[int, int] = field(default_factory=dict)
    cause: Move | None = None
    caused_by: str | None = None
    kind: str = ""
    burns: list[tuple[Move, int]] = field(default_factory=list)
    active: datetime | None = None
    ends: datetime | None = None
    waits: str | None = None
    cancel: datetime | None = None
    earned: datetime | None = None  # where another member had earned it before
    called: str | None = None  # its name, where it is not made as those of others

    def __post_init__(self) -> None:
        """A credit earns and a debit takes back what its cause gave, if nothing else is said."""
        self.kind = self.kind or ("earn" if self.points > 0 else "clawback")
        if self.kind == "clawback" and self.cause is not None and not self.burns:
            self.burns = [(self.cause, -self.points)]

    @property
    def name(self) -> str:
        """Return the id of the entry."""
        if self.called is not None:
            return self.called
        parts = (self.fact["source"], self.fact["id"], self.member, self.kind)
        return hash_id(*parts, self.rule, str(self.version)) if self.kind == "earn" else hash_id(*parts)


@dataclass
class Turn:
    """A member's tier is now this, until then."""

    member: str
    tier: str
    previous: str | None
    since: datetime
    until: datetime | None
    source: str
    fact_id: str
    time: datetime
    projected: str | None = None


@dataclass
class Verdict:
    """The answer to one fact."""

    outcome: str = "decided"
    reason: str | None = None
    member: str | None = None
    version: int | None = None
    moves: list[Move] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    progress: list[tuple[date, int]] = field(default_factory=list)
    counts: list[tuple[str, int, int]] = field(default_factory=list)
    counters: list[Moved] = field(default_factory=list)
    notes: set[tuple[str, str | None]] = field(default_factory=set)
    derived: list[tuple[str | None, FactDict, Move | None]] = field(default_factory=list)
    override: FactDict | None = None
    before: list[Move] = field(default_factory=list)
    after: list[Move] = field(default_factory=list)
    states: list[tuple[str, str, str]] = field(default_factory=list)


class Person:
    """Everything that was decided for one key."""

    def __init__(self, key: str, anonymous: bool) -> None:
        """Begin without a past."""
        self.key, self.anonymous = key, anonymous
        self.past: list[tuple[FactDict, Verdict]] = []
        self.waiting: list[tuple[datetime, FactDict]] = []
        self.lapsed: list[datetime] = []
        self.turns: list[Turn] = []
        self.purse = Purse(key)
        self.never_came: list[tuple[date, int]] = []  # progress of points that were cancelled

    def now(self, moment: datetime) -> datetime:
        """Return where the member's time stands: a timer that fired has happened, nothing turns the clock back."""
        fired = [turn.time for turn in self.turns if turn.source == TIMER] + self.purse.fired
        return max([moment, self.newest() or moment, *fired, *self.lapsed])

    def facts(self, kind: str, *, unusual: bool = False) -> list[tuple[FactDict, Verdict]]:
        """Return the decided facts of a type, without those that changed nothing."""
        return [(f, v) for f, v in self.past if kind_of(f) == kind and (unusual or v.reason is None)]

    def newest(self) -> datetime | None:
        """Return the largest time of a decided fact."""
        return max((moment_of(fact["time"]) for fact, _ in self.past), default=None)

    def orders(self) -> dict[str, tuple[FactDict, Verdict]]:
        """Return the orders that count, by their key."""
        orders: dict[str, tuple[FactDict, Verdict]] = {}
        for fact, verdict in self.facts("purchase", unusual=True):
            orders.setdefault(order_of(fact), (fact, verdict))
        return orders

    def moves(self) -> list[Move]:
        """Return all movements of points."""
        return [move for _, verdict in self.past for move in verdict.moves]

    def balance(self) -> int:
        """Return the points the member has."""
        return sum(move.points for move in self.moves())

    def used(self, key: str) -> tuple[int, int]:
        """Return points and times a cap was used for."""
        counts = [(p, t) for _, verdict in self.past for k, p, t in verdict.counts if k == key]
        return sum(p for p, _ in counts), sum(t for _, t in counts)

    def segments(self) -> frozenset[str]:
        """Return the segments of which the newest fact says that he entered; of two at one moment the later told."""
        said = sorted((f for f, _ in self.facts("segment")), key=lambda fact: moment_of(fact["time"]))
        newest = {fact["data"]["segment"]: fact["data"]["entered"] for fact in said}
        return frozenset(name for name, entered in newest.items() if entered)

    def counted(self, key: str) -> tuple[int, int]:
        """Return how far a counter is and how often it was the moment for an award."""
        moved = [(n, m) for _, verdict in self.past for k, n, m, _ in verdict.counters if k == key]
        return sum(n for n, _ in moved), sum(m for _, m in moved)

    def spent_since(self, moment: datetime) -> int:
        """Return what was charged for counted orders since a moment."""
        orders = self.orders().values()
        return sum(fact["data"]["total_minor"] for fact, _ in orders if moment_of(fact["time"]) >= moment)

    def bought_since(self, sku: str, moment: datetime) -> bool:
        """Tell whether a counted order since a moment has that SKU."""
        orders = [fact for fact, _ in self.orders().values() if moment_of(fact["time"]) >= moment]
        return any(line["sku"] == sku for fact in orders for line in fact["data"]["lines"])

    def joined(self) -> datetime | None:
        """Return when the account began: as the first `joined` fact says, else with the first fact."""
        said = self.facts("joined", unusual=True) or accounts(self.past)
        return moment_of(said[0][0]["time"]) if said else None

    def before(self) -> Before:
        """Return what conditions and caps may ask now."""
        bought = [moment_of(fact["time"]) for fact, _ in self.orders().values()]
        return Before(
            self.key,
            self.tier(),
            self.joined(),
            bought,
            self.spent_since,
            self.bought_since,
            self.used,
            self.counted,
            self.segments(),
        )

    def tier(self) -> str | None:
        """Return the tier held."""
        return self.turns[-1].tier if self.turns else None

    def days(self, also: Verdict) -> dict[date, int]:
        """Return the progress of each local day."""
        days: dict[date, int] = {}
        for verdict in [verdict for _, verdict in self.past] + [also]:
            for day, amount in verdict.progress:
                days[day] = days.get(day, 0) + amount
        for day, amount in self.never_came:
            days[day] = days.get(day, 0) - amount
        return days


def order_of(fact: FactDict) -> str:
    """Return the key of the order a purchase or refund speaks of."""
    return f"{fact['data']['order_source']}|{fact['data']['order_id']}"


class Model:
    """One partition: facts in, verdicts out."""

    def __init__(self, plans: dict[str, Plan]) -> None:
        """Begin empty; ``plans`` by hash become known by programme facts."""
        self.library = plans
        self.known: list[Plan] = []
        self.people: dict[str, Person] = {}

    def answer(self, fact: FactDict) -> Verdict:
        """Decide one fact."""
        kind = kind_of(fact)
        if kind == "programme":
            return self.learn(fact)
        if kind == "tick":
            verdict = Verdict()
            for key in sorted(self.people):
                self.settle(self.people[key], moment_of(fact["time"]), verdict)
            return verdict
        anonymous = fact["subject"] is None
        key = fact["subject"] or f"order:{fact['data']['order_source']}:{fact['data']['order_id']}"
        person = self.people.setdefault(key, Person(key, anonymous))
        return self.refuse(person, fact) or self.decide(person, fact)

    def learn(self, fact: FactDict) -> Verdict:
        """A version becomes known; engine facts have no key and are not looked up again."""
        plan = self.library[fact["data"]["hash"]]
        if plan not in self.known:
            self.known.append(plan)
        return Verdict(version=plan.version)

    def refuse(self, person: Person, fact: FactDict) -> Verdict | None:
        """Return the verdict on a duplicate or a fact that comes too late."""
        newest, moment = person.newest(), moment_of(fact["time"])
        if newest is None:
            return None
        for old, _ in person.past:
            same = (old["source"], old["id"]) == (fact["source"], fact["id"])
            if same and moment_of(old["time"]) >= newest - HORIZON:
                if old["bodyhash"] == fact["bodyhash"]:
                    return Verdict("duplicate", None, fact["subject"])
                return Verdict("rejected", "id_reused", fact["subject"])
        if moment < newest - HORIZON:
            return Verdict("rejected", "too_late_to_deduplicate", fact["subject"])
        if self.names_twice(person, fact):
            return Verdict("rejected", "id_reused", fact["subject"])
        plan = in_force(self.known, moment)
        if plan is not None and plan.accept_late_days is not None and moment < newest - plan.accept_late_days * DAY:
            return Verdict("rejected", "too_late", fact["subject"])
        return None

    def names_twice(self, person: Person, fact: FactDict) -> bool:
        """Tell whether a fact has the id of one behind the horizon and would name something as that one did."""
        named = (fact["source"], fact["id"])
        old = [(f, v) for f, v in person.past if (f["source"], f["id"]) == named]
        if not old:
            return False
        if kind_of(fact) == "purchase":
            return any((f["source"], f["id"]) == named for f, _ in person.orders().values())
        if kind_of(fact) == "redemption":
            return "|".join(named) in person.purse.asked
        trial = self.decide(deepcopy(person), fact)
        names = {move.name for _, verdict in old for move in verdict.moves if move.points > 0}
        return any(move.points > 0 and move.name in names for move in trial.moves)

    def decide(self, person: Person, fact: FactDict) -> Verdict:
        """Settle, decide, review the tier."""
        moment = moment_of(fact["time"])
        plan = in_force(self.known, moment)
        verdict = Verdict(member=fact["subject"], version=plan.version if plan else None)
        self.settle(person, moment, verdict)
        if person.anonymous:
            if kind_of(fact) != "purchase":
                self.on_refund(person, fact, plan, verdict)
            elif order_of(fact) in person.orders():
                verdict.reason = "order_already_counted"
            else:
                self.act(person, fact, verdict)
            person.past.append((fact, verdict))
            return verdict
        if not outside(person.past, fact, plan, verdict):
            getattr(self, f"on_{kind_of(fact)}")(person, fact, plan, verdict)
        if verdict.reason == "unknown_member":  # points for a key that nobody has open no account
            person.past.append((fact, verdict))
            return verdict
        if plan is not None and verdict.reason is None and kind_of(fact) not in ("refund", "waited_refund"):
            self.progress(fact, plan, verdict)
        at = person.now(moment)
        cause = (fact["source"], fact["id"], at, at)
        joins = kind_of(fact) == "joined" and not person.facts("joined", unusual=True)
        news = moment if joins or not accounts(person.past) else None
        if verdict.progress:
            self.welcome(person, fact, at, verdict, news)
        if person.purse.missed and verdict.moves:
            verdict.moves += retaken(person.purse, verdict)
        tier = person.tier()
        verdict.turns += self.review(person, at, verdict, cause, news)
        verdict.after += finish(person.purse, verdict.moves, plan, tier, fact, at)
        verdict.states += slide(person.purse, plan, fact, at)
        person.purse.moves += [*verdict.moves, *verdict.after]
        person.past.append((fact, verdict))
        return verdict

    def settle(self, person: Person, moment: datetime, verdict: Verdict) -> None:
        """Let every timer fire that is due."""
        over = [until for until, _ in person.waiting if until <= moment]
        person.lapsed += over
        person.waiting = [(until, refund) for until, refund in person.waiting if until not in over]
        while True:
            dues = next_due(person.purse)
            if person.turns and (until := person.turns[-1].until) is not None:
                dues.append((until, 2, "tier"))
            due, _, what = min(dues, default=(moment + DAY, 0, ""))
            if due > moment:
                return
            if what == "tier":
                cause = (TIMER, hash_id("tier_review", person.key, text_of(due)), due, due)
                fired = self.review(person, max(due, person.newest() or due), Verdict(), cause)
                assert fired, "a timer must change something, or it would fire for ever"
                verdict.turns += fired
                continue
            moves, states = fire(person.purse, what, due, in_force(self.known, due))
            verdict.before += moves
            verdict.states += states
            if what == "cancel":
                self.cancelled(person, moves, due, verdict)

    def review(
        self,
        person: Person,
        at: datetime,
        now: Verdict,
        cause: tuple[str, str, datetime, datetime],
        joined: datetime | None = None,
    ) -> list[Turn]:
        """Compare the tier with what was reached; return the change, if any. ``joined`` is news about when he joined."""
        plan = in_force(self.known, at)
        if plan is None or plan.ladder is None:
            return []
        climber = Climber(plan.ladder, person.days(now), plan.local(joined or person.joined() or at).date())
        climber.given = self.given(person, plan, now)
        today = plan.local(at).date()
        step = plan.ladder.steps[climber.held(today)].id
        lowered = climber.lowered(today)
        until = None if lowered is None else midnight(lowered, plan.zone)
        then = None if lowered is None else plan.ladder.steps[climber.held(lowered)].id
        source, fact_id, occurred, since = cause
        last = person.turns[-1] if person.turns else None
        if last is not None and (last.tier, last.until, last.projected) == (step, until, then):
            return []
        if last is not None and last.tier == step:
            since = last.since
        previous = last.tier if last else None
        turn = Turn(person.key, step, previous, since, until, source, fact_id, occurred, then)
        person.turns.append(turn)
        return [turn]

    def welcome(self, person: Person, fact: FactDict, at: datetime, verdict: Verdict, joined: datetime | None) -> None:
        """Welcome a member on every level that this fact made him reach; take back what it undid."""
        plan = in_force(self.known, at)
        if plan is None or plan.ladder is None:
            return
        began, today = plan.local(joined or person.joined() or at).date(), plan.local(at).date()
        before = Climber(plan.ladder, person.days(Verdict()), began)
        after = Climber(plan.ladder, person.days(verdict), began)
        for height, step in enumerate(plan.ladder.steps):
            rule = f"welcome:{step.id}"
            mine = [move for move in person.purse.moves if move.rule == rule]
            standing = mine[-1] if mine and mine[-1].points > 0 else None
            reached = before.earned(today) < height <= after.earned(today)
            if reached and step.welcome and (step.again or standing is None):
                verdict.moves.append(Move(person.key, step.welcome, rule, plan.version, fact))
        moves, short = self.unwelcome(person, plan, (before, after), fact, verdict.moves)
        verdict.moves += moves
        verdict.notes |= {("not_taken", None)} if short else set()

    def unwelcome(
        self, person: Person, plan: Plan, climbers: tuple[Climber, Climber], fact: FactDict, sofar: list[Move]
    ) -> tuple[list[Move], int]:
        """Take back the welcomes of steps that were reached before and now never were; say how much is not taken."""
        before, after = climbers
        claims = []
        for step in before.ladder.steps[after.best() + 1 : before.best() + 1]:
            mine = [move for move in person.purse.moves if move.rule == f"welcome:{step.id}"]
            if mine and mine[-1].points > 0 and mine[-1].points > person.purse.gone(mine[-1]):
                claims.append((mine[-1], mine[-1].points - person.purse.gone(mine[-1])))
        known = list(person.purse.moves)
        person.purse.moves += sofar
        burnt = take(
            person.purse, claims, [m for m, _ in claims], plan.lots.negative, person.now(moment_of(fact["time"]))
        )
        person.purse.moves[:] = known
        moves, short = [], 0
        for (standing, most), (burns, owed) in zip(claims, burnt, strict=True):
            points = owed + sum(part for _, part in burns)
            short += most - points
            if points:
                back = Move(person.key, -points, standing.rule, standing.version, fact, cause=standing)
                back.burns = burns
                moves.append(back)
        return moves, short

    def cancelled(self, person: Person, moves: list[Move], due: datetime, verdict: Verdict) -> None:
        """Points that never came are no progress, where points are what counts; the tier and its welcome follow."""
        before = person.days(Verdict())
        for move in moves:
            lot = move.cause
            past = [v for _, v in person.past if lot is not None and lot.lines and any(lot is m for m in v.moves)]
            earned = past[0] if past else None
            plan = None if earned is None else next(p for p in self.known if p.version == earned.version)
            if earned is not None and plan is not None and plan.ladder is not None and plan.ladder.by == "points":
                person.never_came.append((earned.progress[0][0], -move.points))
        # A late purchase can wait for what should have come long ago: the tier is looked at where the member stands.
        at = person.now(due)
        now, plan = person.days(Verdict()), in_force(self.known, at)
        if now == before or plan is None or plan.ladder is None:
            return
        began = plan.local(person.joined() or at).date()
        climbers = Climber(plan.ladder, before, began), Climber(plan.ladder, now, began)
        fact = moves[0].fact
        back, _ = self.unwelcome(person, plan, climbers, fact, [])
        verdict.before += back
        person.purse.moves += back
        verdict.turns += self.review(person, at, Verdict(), (TIMER, fact["id"], at, at))

    @staticmethod
    def given(person: Person, plan: Plan, now: Verdict) -> tuple[int, date] | None:
        """Return the height that staff gave last, and its last day; a tier that this version does not know is none."""
        said = [fact for fact, _ in person.facts("tier_override")] + ([now.override] if now.override else [])
        ids = [step.id for step in plan.ladder.steps] if plan.ladder else []
        if not said or said[-1]["data"]["tier"] not in ids:
            return None
        return ids.index(said[-1]["data"]["tier"]), date.fromisoformat(said[-1]["data"]["until"])

    # One method for each type of fact.

    def on_purchase(self, person: Person, fact: FactDict, plan: Plan | None, verdict: Verdict) -> None:
        """An order earns once."""
        if order_of(fact) in person.orders():
            verdict.reason = "order_already_counted"
        elif plan is None:
            verdict.reason = "no_programme"
        elif fact["data"]["currency"] != plan.currency:
            verdict.reason = "other_currency"
        else:
            self.earn(person, fact, plan, verdict)
            self.bought_when_brought(person, fact, plan, verdict)
        if verdict.reason != "order_already_counted":
            self.act(person, fact, verdict)

    def on_refund(self, person: Person, fact: FactDict, plan: Plan | None, verdict: Verdict) -> None:
        """What came back takes its points and its progress with it."""
        order = order_of(fact)
        if order not in person.orders():
            verdict.reason = "unknown_order"
            self.wait(person, fact, plan)
            return
        bought, earned = person.orders()[order]
        if bought["data"]["currency"] != fact["data"]["currency"]:
            verdict.reason = "other_currency"
            return
        refunds = [f for f, v in person.past if kind_of(f) in ("refund", "waited_refund") and v.reason is None]
        earlier = [f["data"] for f in refunds if order_of(f) == order]
        before = Returned(bought["data"], earlier)
        after = Returned(bought["data"], [*earlier, fact["data"]])
        verdict.notes |= {("more_than_bought", None)} if after.too_much else set()
        verdict.notes |= {("unknown_line", None)} if after.no_line else set()
        claims = []
        for move in earned.moves:
            old, new = before.points_taken(move.lines), after.points_taken(move.lines)
            by_line = claims_of(person.purse, move, old, new)
            if by_line:
                claims.append((move, by_line))
        own = [move for move in earned.moves if move.lines]
        policy = plan.lots.negative if plan is not None else "within_balance"
        asked = [(move, sum(by_line.values())) for move, by_line in claims]
        burnt = take(person.purse, asked, own, policy, person.now(moment_of(fact["time"])))
        for (move, by_line), (burns, owed) in zip(claims, burnt, strict=True):
            points = owed + sum(part for _, part in burns)
            if points < sum(by_line.values()):
                verdict.notes.add(("not_taken", None))
                if policy == "within_balance":
                    miss(person.purse, move, sum(by_line.values()) - points)
            if points:
                parts = share(points, list(by_line.values()))
                lines = {number: -part for number, part in zip(by_line, parts, strict=True) if part}
                back = Move(person.key, -points, move.rule, move.version, fact, order, lines, move)
                back.burns = burns
                verdict.moves.append(back)
        owed = sum(-move.points - sum(part for _, part in move.burns) for move in verdict.moves)
        now = person.now(moment_of(fact["time"]))
        if before.lines != after.lines:  # else everything was back before: it moves nothing
            verdict.moves += paid_back(person.purse, order, after.part_of(()), owed, fact, plan, now)
        verdict.counts += caps_given_back(self.library.values(), earned, before, after)
        verdict.counters += counters_given_back(earned, before, after)
        self.reverse(person, fact, (bought, earned), after, verdict)
        already = -sum(n for f, v in person.past if f in refunds and order_of(f) == order for _, n in v.progress)
        for day, amount in earned.progress:
            taken = after.progress_taken(amount - self.gone(person, earned)) - already
            if taken > 0:
                verdict.progress.append((day, -taken))

    def gone(self, person: Person, earned: Verdict) -> int:
        """Return how much progress of an order went back when points of it were cancelled."""
        plan = next((plan for plan in self.known if plan.version == earned.version), None)
        if plan is None or plan.ladder is None or plan.ladder.by != "points":
            return 0
        mine = [move for move in earned.moves if move.lines]
        gone = 0
        for move in person.purse.moves:
            if move.kind == "cancel" and any(move.cause is lot for lot in mine):
                gone -= move.points
        return gone

    on_waited_refund = on_refund

    @staticmethod
    def wait(person: Person, fact: FactDict, plan: Plan | None) -> None:
        """A refund without its purchase waits for it, if that is not in vain already."""
        moment = moment_of(fact["time"])
        days = plan.refund_waits_days if plan is not None and plan.refund_waits_days is not None else 30
        if moment + days * DAY > person.now(moment):
            person.waiting.append((moment + days * DAY, fact))

    @staticmethod
    def act(person: Person, fact: FactDict, verdict: Verdict) -> None:
        """What waited for this purchase takes back now what it says."""
        for until, refund in list(person.waiting):
            if order_of(refund) == order_of(fact):
                person.waiting.remove((until, refund))
                data = {**refund["data"], "refund_source": refund["source"], "refund_id": refund["id"]}
                verdict.derived.append((None if person.anonymous else person.key, data, None))

    def reverse(
        self, person: Person, fact: FactDict, order: tuple[FactDict, Verdict], after: Returned, verdict: Verdict
    ) -> None:
        """Both sides of a referral give back what an order brought them, if too little of it is kept."""
        bought, earned = order
        referral = self.brought_by(person)
        plan = next((plan for plan in self.known if plan.version == earned.version), None)
        if referral is None or not awarded([(bought, earned)]) or not is_lost(plan, bought, after):
            return
        if any("award_id" in d and order_of(f) == order_of(fact) for f, v in person.past for _, d, _ in v.derived):
            return
        given = next((move for move in earned.moves if move.rule == "refer:referred"), None)
        back = None
        if given is not None:
            back = Move(person.key, -given.points, given.rule, given.version, fact, cause=given)
            verdict.moves.append(back)
            verdict.counts += [(k, -p, -t) for k, p, t in earned.counts if k.startswith("refer:")]
        data = {
            "referred": person.key,
            "cause_source": fact["source"],
            "cause_id": fact["id"],
            "award_id": hash_id(bought["source"], bought["id"], person.key, "refer:referrer"),
        }
        verdict.derived.append((referral["data"]["referrer"], data, back))

    def on_referral_reversal(self, person: Person, fact: FactDict, plan: Plan | None, verdict: Verdict) -> None:
        """The other side of a purchase that came back."""
        given = next((v for f, v in person.past if f["id"] == fact["data"]["award_id"]), None)
        for move in given.moves if given is not None else []:
            verdict.moves.append(Move(person.key, -move.points, move.rule, move.version, fact, cause=move))
        verdict.counts += [(k, -p, -t) for k, p, t in (given.counts if given is not None else [])]

    def on_segment(self, person: Person, fact: FactDict, plan: Plan | None, verdict: Verdict) -> None:
        """What is known of a later moment stays."""
        same = [f for f, _ in person.facts("segment") if f["data"]["segment"] == fact["data"]["segment"]]
        if any(moment_of(other["time"]) > moment_of(fact["time"]) for other in same):
            verdict.reason = "older_than_known"

    def on_visit(self, person: Person, fact: FactDict, plan: Plan | None, verdict: Verdict) -> None:
        """A check-in is a visit unless there was one at that store just now."""
        at_store = [f for f, _ in person.facts("visit", unusual=True) if f["data"]["store"] == fact["data"]["store"]]
        times = [moment_of(f["time"]) for f in at_store]
        gap = plan.visit_gap if plan else timedelta(minutes=30)
        if times and abs(moment_of(fact["time"]) - max(times)) <= gap:
            verdict.reason = "same_visit"
            return
        self.earn(person, fact, plan, verdict)

    def on_rules_only(self, person: Person, fact: FactDict, plan: Plan | None, verdict: Verdict) -> None:
        """A rating, or anything else that only rules answer."""
        self.earn(person, fact, plan, verdict)

    on_review = on_rules_only

    def on_activity(self, person: Person, fact: FactDict, plan: Plan | None, verdict: Verdict) -> None:
        """Rules answer, and it may be what points of an order waited for."""
        self.earn(person, fact, plan, verdict)
        now = person.now(moment_of(fact["time"]))
        verdict.moves += released(person.purse, fact, plan, person.tier(), now)
        arrives(person.purse, fact, plan, person.orders(), max(person.newest() or now, moment_of(fact["time"])))

    def on_adjustment(self, person: Person, fact: FactDict, plan: Plan | None, verdict: Verdict) -> None:
        """Staff gives or takes."""
        adjust(person.purse, fact, plan, person.now(moment_of(fact["time"])), verdict)

    def on_redemption(self, person: Person, fact: FactDict, plan: Plan | None, verdict: Verdict) -> None:
        """Points are spent, or not."""
        spend(person.purse, fact, plan, (person.tier(), person.now(moment_of(fact["time"]))), verdict)

    def on_redemption_cancelled(self, person: Person, fact: FactDict, plan: Plan | None, verdict: Verdict) -> None:
        """They come back."""
        end(person.purse, fact, plan, person.now(moment_of(fact["time"])), verdict)

    on_redemption_fulfilled = on_redemption_cancelled

    def on_transfer(self, person: Person, fact: FactDict, plan: Plan | None, verdict: Verdict) -> None:
        """Points go to another member."""
        send(person.purse, person.past, fact, plan, person.now(moment_of(fact["time"])), verdict)

    def on_transfer_offer(self, person: Person, fact: FactDict, plan: Plan | None, verdict: Verdict) -> None:
        """They come, or are not taken."""
        receive(person.purse, person.past, fact, plan, verdict)

    def on_transfer_answer(self, person: Person, fact: FactDict, plan: Plan | None, verdict: Verdict) -> None:
        """They are gone, or come back."""
        settle_transfer(person.purse, fact, plan, person.now(moment_of(fact["time"])), verdict)

    def on_joined(self, person: Person, fact: FactDict, plan: Plan | None, verdict: Verdict) -> None:
        """An account begins once."""
        if gone(person.past, fact):
            verdict.reason = "joined_again"
        elif person.facts("joined", unusual=True):
            verdict.reason = "already_joined"
        else:
            self.earn(person, fact, plan, verdict)
            referral = self.brought_by(person)
            waits = plan is not None and plan.bring is not None and plan.bring.moment == "joined"
            if waits and referral is not None and not awarded(person.past):
                assert plan is not None
                assert plan.bring is not None
                self.award_both(person, fact, plan, plan.bring, referral["data"]["referrer"], verdict)

    def on_left(self, person: Person, fact: FactDict, plan: Plan | None, verdict: Verdict) -> None:
        """An account ends once."""
        if left_at(person.past) is not None:
            verdict.reason = "already_left"

    def on_tier_override(self, person: Person, fact: FactDict, plan: Plan | None, verdict: Verdict) -> None:
        """Staff gives a tier until the end of a day."""
        now = person.now(moment_of(fact["time"]))
        if plan is None:
            verdict.reason = "no_programme"
        elif plan.ladder is None:
            verdict.reason = "no_tiers"
        elif fact["data"]["tier"] not in [step.id for step in plan.ladder.steps]:
            verdict.reason = "unknown_tier"
        elif date.fromisoformat(fact["data"]["until"]) < plan.local(now).date():
            verdict.reason = "already_over"
        else:
            verdict.override = fact

    def on_referral(self, person: Person, fact: FactDict, plan: Plan | None, verdict: Verdict) -> None:
        """A new member was brought by another."""
        referrer = fact["data"]["referrer"]
        if referrer == person.key:
            verdict.reason = "self_referral"
        elif self.brought_by(person):
            verdict.reason = "already_referred"
        elif person.orders():
            verdict.reason = "not_a_new_member"
        elif any(f["data"]["referred"] == referrer for f, _ in person.facts("referral_award", unusual=True)):
            verdict.reason = "referral_loop"
        elif (why := why_outside(person.past, fact, plan)) is not None:
            verdict.notes.add((why, None))
        elif plan is not None:
            self.earn(person, fact, plan, verdict)
            at_once = ("referral", "joined") if person.facts("joined", unusual=True) else ("referral",)
            if plan.bring is not None and plan.bring.moment in at_once:
                self.award_both(person, fact, plan, plan.bring, referrer, verdict)

    def on_referral_award(self, person: Person, fact: FactDict, plan: Plan | None, verdict: Verdict) -> None:
        """The other side of a referral."""
        if plan is None:
            verdict.reason = "no_programme"
        elif plan.bring is not None and plan.bring.referrer is not None:
            self.award(person, fact, plan, ("refer:referrer", *plan.bring.referrer), verdict)

    # What they share.

    @staticmethod
    def brought_by(person: Person) -> FactDict | None:
        """Return the referral that counts."""
        counted = [f for f, v in person.facts("referral", unusual=True) if v.reason is None]
        return counted[0] if counted else None

    def bought_when_brought(self, person: Person, fact: FactDict, plan: Plan, verdict: Verdict) -> None:
        """Award a referral at a purchase that is large and early enough: the first, or each."""
        bring, referral = plan.bring, self.brought_by(person)
        if bring is None or referral is None or bring.moment not in ("first_purchase", "every_purchase"):
            return
        begun, moment = moment_of(referral["time"]), moment_of(fact["time"])
        if fact["data"]["total_minor"] < bring.at_least_minor or moment < begun:
            return
        if bring.within_days is not None and moment > begun + bring.within_days * DAY:
            return
        if bring.moment == "every_purchase" or not awarded(person.past):
            self.award_both(person, fact, plan, bring, referral["data"]["referrer"], verdict)

    def award_both(
        self, person: Person, fact: FactDict, plan: Plan, bring: Bring, referrer: str, verdict: Verdict
    ) -> None:
        """Award the referred now and send the referrer's side on."""
        if bring.referred is not None:
            self.award(person, fact, plan, ("refer:referred", *bring.referred), verdict)
        given = [move for move in verdict.moves if move.rule == "refer:referred"]
        data = {"referred": person.key, "cause_source": fact["source"], "cause_id": fact["id"]}
        verdict.derived.append((referrer, data, given[0] if given else None))

    def award(
        self, person: Person, fact: FactDict, plan: Plan, what: tuple[str, int, Limit | None], verdict: Verdict
    ) -> None:
        """Award a fixed number of points, as far as the cap leaves some."""
        rule, points, cap = what
        left = points
        if cap is not None:
            key = f"{rule}||{window(cap, plan.local(moment_of(fact['time'])))}"
            used_points, used_times = person.used(key)
            if cap.points is not None:
                left = min(left, max(0, cap.points - used_points))
            if cap.times is not None and used_times >= cap.times:
                left = 0
            if left:
                verdict.counts.append((key, left, 1))
        if left < points:
            verdict.notes.add(("capped", rule))
        if left:
            caused_by = fact["data"].get("cause_entry")
            verdict.moves.append(Move(person.key, left, rule, plan.version, fact, caused_by=caused_by))

    def earn(self, person: Person, fact: FactDict, plan: Plan | None, verdict: Verdict) -> None:
        """Let the rules of the version in force answer."""
        if plan is None:
            verdict.reason = "no_programme"
            return
        before = person.before()
        steps = plan.ladder.steps if plan.ladder else ()
        step = next((step for step in steps if step.id == before.tier and step.by != 1), None)
        earned = Earning(plan, kind_of(fact), fact["data"], moment_of(fact["time"]), before).earn(step)
        order = order_of(fact) if kind_of(fact) == "purchase" else None
        for grant in earned.grants:
            verdict.moves.append(
                Move(person.key, grant.points, grant.rule, plan.version, fact, order, grant.final_lines())
            )
        verdict.counts += earned.counts
        verdict.counters += earned.moved
        verdict.notes |= {("capped", rule) for rule in earned.capped} | {("hold_out", rule) for rule in earned.held_out}

    @staticmethod
    def progress(fact: FactDict, plan: Plan, verdict: Verdict) -> None:
        """Count the fact towards the tiers."""
        if plan.ladder is None:
            return
        # A bonus for a referral, on either side, is no step towards a tier (docs/points.md).
        earned = [move for move in verdict.moves if move.kind == "earn" and not move.rule.startswith("refer:")]
        amounts = {"points": sum(move.points for move in earned)}
        if kind_of(fact) == "purchase":
            amounts |= {"orders": 1, "spend": fact["data"]["total_minor"]}
        if kind_of(fact) == "visit":
            amounts["visits"] = 1
        amount = amounts.get(plan.ladder.by, 0)
        if amount:
            verdict.progress.append((plan.local(moment_of(fact["time"])).date(), amount))
