"""Lots, plainly: dates of points, debts, spending and what time takes, from all moves of a member so far.

Nothing is kept: what is left of a lot, whether it can be spent and what is owed is added up from the moves each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from schemas.ids import hash_id
from tests.properties.naive_earning import share
from tests.properties.plans import DAY, Plan, add_months, midnight

TIMER = "urn:stammgast:timer"
LASTING = {"earn", "adjust"}
OWN_ACTS = ("purchase", "visit", "review", "activity", "joined", "referral", "redemption")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def text_of(moment: datetime) -> str:
    """Write a time of the log."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def time_of(move: Any) -> datetime:
    """Return when a move happened."""
    return datetime.fromisoformat(move.fact["time"])


def earned_at(lot: Any) -> datetime:
    """Return when a lot was earned: by another member, where it came from one."""
    return lot.earned or time_of(lot)


def timed(due: datetime, fact_id: str) -> dict[str, Any]:
    """Stand in for a fact where time is the cause."""
    return {"source": TIMER, "id": fact_id, "time": text_of(due)}


@dataclass
class Asked:
    """A redemption that was granted, and what became of it."""

    name: str
    move: Any
    state: str = "granted"
    until: datetime | None = None
    order: str | None = None


@dataclass
class Missed:
    """Points of a lot that goods could not take back while they were spent, and the redemptions that had them."""

    lot: Any
    points: int
    had: list[Asked]


@dataclass
class Purse:
    """Everything about a member's points: the moves, what he asked for, and when idle points go."""

    key: str
    moves: list[Any] = field(default_factory=list)
    asked: dict[str, Asked] = field(default_factory=dict)
    missed: list[Missed] = field(default_factory=list)
    arrived: dict[tuple[str, str], datetime] = field(default_factory=dict)
    slides: datetime | None = None
    fired: list[datetime] = field(default_factory=list)

    def lots(self) -> list[Any]:
        """Return every credit that is a lot."""
        return [move for move in self.moves if move.points > 0 and move.kind != "restore"]

    def left(self, lot: Any) -> int:
        """Return what is left of a lot."""
        return int(lot.points - sum(points for move in self.moves for burnt, points in move.burns if burnt is lot))

    def gone(self, lot: Any) -> int:
        """Return what time took from a lot and nobody gave back."""
        total = 0
        for move in self.moves:
            for burnt, points in move.burns:
                if burnt is lot and move.kind in ("expire", "cancel"):
                    total += points
                elif burnt is lot and move is not lot and move.kind == "reinstate":
                    total = 0
        return total

    def unreturned(self, asked: Asked) -> list[tuple[Any, int]]:
        """Return what a redemption took and nobody gave back, by lot: what was taken first came back first."""
        back = sum(move.points for move in self.moves if move.kind == "restore" and move.cause is asked.move)
        left = []
        for lot, points in asked.move.burns:
            part = min(points, back)
            back -= part
            if points > part:
                left.append((lot, points - part))
        return left

    def release(self, lot: Any) -> Any:
        """Return the move that made a waiting lot spendable."""
        return next((move for move in self.moves if move.kind == "release" and move.cause is lot), None)

    def active(self, lot: Any) -> datetime | None:
        """Return from when a lot can be spent, None if nobody knows."""
        if lot.waits is None:
            return lot.active or time_of(lot)
        release = self.release(lot)
        return None if release is None else time_of(release)

    def ends(self, lot: Any) -> datetime | None:
        """Return until when a lot can be spent."""
        release = self.release(lot) if lot.waits is not None else None
        ends: datetime | None = lot.ends if release is None else release.ends
        taken = [move for move in self.moves if move.kind == "expire" for burnt, _ in move.burns if burnt is lot]
        return time_of(taken[0]) if ends is None and taken else ends

    def can_spend(self, lot: Any, now: datetime) -> bool:
        """Tell whether a lot's points can be spent."""
        active = self.active(lot)
        return active is not None and active <= now

    def open(self) -> list[Any]:
        """Return the lots with something left: soonest end, then oldest, never-ending last."""
        lots = [lot for lot in self.lots() if self.left(lot)]
        never = datetime.max.replace(tzinfo=UTC)
        return sorted(lots, key=lambda lot: (self.ends(lot) or never, earned_at(lot), lot.name))

    def debt(self) -> int:
        """Return what is owed: lots hold more than the moves sum to."""
        return int(sum(self.left(lot) for lot in self.lots()) - sum(move.points for move in self.moves))

    def available(self, now: datetime) -> int:
        """Return what can be spent."""
        return sum(self.left(lot) for lot in self.open() if self.can_spend(lot, now))

    def burn(self, lots: Iterable[Any], points: int, taken: dict[int, int] | None = None) -> list[tuple[Any, int]]:
        """Take points from lots in their order; ``taken`` says what other moves of the decision take already."""
        burns = []
        taken = {} if taken is None else taken
        for lot in lots:
            part = min(points, self.left(lot) - taken.get(id(lot), 0))
            if part > 0:
                burns.append((lot, part))
                taken[id(lot)] = taken.get(id(lot), 0) + part
                points -= part
        return burns


# The dates that a programme gives.


def length(said: str, begin: date) -> date:
    """Return the day so long after another: ``12 months``, ``30 days``."""
    number, unit = said.split()
    if unit.startswith("month"):
        return add_months(begin, int(number))
    return begin + int(number) * DAY


def end_of(day: date, at: str) -> date:
    """Return the last day of the month, quarter or year."""
    last = {"end_of_month": day.month, "end_of_quarter": (day.month + 2) // 3 * 3, "end_of_year": 12}[at]
    return date(day.year + last // 12, last % 12 + 1, 1) - DAY


def ends_at(said: Any, begin: datetime, plan: Plan) -> datetime | None:
    """Return the midnight that ends the last day of points that can be spent from ``begin`` on."""
    if said in (None, "none") or "inactivity" in said:
        return None
    day = plan.local(begin).date()
    if "on" in said:
        number, month = said["on"].split()
        first = date(1, MONTHS.index(month) + 1, 1)
        days = [
            min(add_months(date(year, first.month, 1), 1) - DAY, date(year, first.month, 1) + (int(number) - 1) * DAY)
            for year in (day.year, day.year + 1)
        ]
        last = min(found for found in days if found >= day)
    else:
        last = length(said["after"], day)
        last = end_of(last, said["at"]) if "at" in said else last
    return midnight(last + DAY, plan.zone)


def said_about(plan: Plan, rule: str, tier: str | None, what: str) -> Any:
    """Return what the rule says, else the tier, else the programme; None if nobody says anything."""
    places: list[Any] = [each for each in plan.rules if each.id == rule]
    places += [step for step in (plan.ladder.steps if plan.ladder else ()) if step.id == tier]
    places.append(plan.lots)
    return next((said for place in places if (said := getattr(place, what)) is not None), None)


def fixed(said: str) -> timedelta:
    """Read ``14 days``."""
    number, unit = said.split()
    return timedelta(**{unit.rstrip("s") + "s": int(number)})


def must_wait(said: Any, fact: dict[str, Any], kind: str) -> bool:
    """Tell whether what a fact gives has to wait."""
    if said in (None, "none"):
        return False
    if kind != "purchase":
        return "channels" not in said and "for" in said
    return "channels" not in said or fact["data"]["channel"] in said["channels"]


def finish(
    purse: Purse, moves: Sequence[Any], plan: Plan | None, tier: str | None, fact: dict[str, Any], now: datetime
) -> list[Any]:
    """Date the credits of a decision, let them pay what is owed; return what expires at once. ``purse`` lacks ``moves``."""
    kind = fact["type"].split(".")[1]
    moment = datetime.fromisoformat(fact["time"])
    debt = purse.debt() - sum(points for move in moves if move.kind == "release" for _, points in move.burns)
    over = []
    for move in moves:
        if move.points <= 0 or move.kind == "restore":
            continue
        begin, wait = moment, None
        if plan is not None and move.kind in LASTING:
            wait = said_about(plan, move.rule, tier, "pending") if move.kind == "earn" else None
            wait = wait if must_wait(wait, fact, kind) else None
            # No fact about an order ever speaks of a welcome or a referral's award: they do not wait for one.
            wait = None if wait is not None and "until" in wait and move.order is None else wait
            came = purse.arrived.get((wait["until"], move.order)) if wait is not None and "until" in wait else None
            if wait is not None and came is not None and came < moment + fixed(wait["cancel_after"]):
                begin, wait = max(moment, came), None
            elif wait is not None and "until" in wait:
                move.waits, move.cancel = wait["until"], moment + fixed(wait["cancel_after"])
                continue
            begin = moment + fixed(wait["for"]) if wait is not None else begin
            move.active = begin
            move.ends = ends_at(said_about(plan, move.rule, tier, "expire"), begin, plan)
        if move.ends is not None and move.ends <= now:
            at = max(move.ends, moment)
            over.append(expiry(purse.key, [(move, move.points)], plan, at, (move.name,)))
        elif debt and begin <= now:
            paid = min(debt, move.points)
            move.burns = [*move.burns, (move, paid)]
            debt -= paid
    return over


def expiry(key: str, burns: list[tuple[Any, int]], plan: Plan | None, at: datetime, named: tuple[str, ...] = ()) -> Any:
    """Return the move that takes lots whose time is over; it is named after its moment, or after ``named``."""
    from tests.properties.naive import Move

    points = -sum(part for _, part in burns)
    fact = timed(at, hash_id("expiry", key, *(named or (text_of(at),))))
    return Move(key, points, "expiry", plan.version if plan else 0, fact, kind="expire", burns=burns)


def claims_of(purse: Purse, lot: Any, old: dict[int, int], new: dict[int, int]) -> dict[int, int]:
    """Return by line what is claimed of a lot whose taken parts go from ``old`` to ``new``: no more than time left of it."""
    by_line = {number: new[number] - old[number] for number in new if new[number] != old[number]}
    gone = purse.gone(lot)
    most = max(0, lot.points - gone - sum(old.values()))
    if gone and most < sum(by_line.values()):
        parts = share(most, list(by_line.values())) if most else [0] * len(by_line)
        by_line = {number: part for number, part in zip(by_line, parts, strict=True) if part}
    return by_line


def take(
    purse: Purse, claims: list[tuple[Any, int]], own: Sequence[Any], policy: str, now: datetime
) -> list[tuple[list[tuple[Any, int]], int]]:
    """Return for each claim what is burnt for it and what is owed then; pending lots of the order come first."""
    waiting = [lot for lot in own if not purse.can_spend(lot, now)]
    mine = [lot for lot in own if purse.can_spend(lot, now)] if policy != "only_pending" else []
    others = [lot for lot in purse.open() if purse.can_spend(lot, now) and lot not in own]
    taken: dict[int, int] = {}
    found: list[list[tuple[Any, int]]] = [[] for _ in claims]
    missing = [points for _, points in claims]

    def look(index: int, lots: Sequence[Any]) -> None:
        burns = purse.burn(lots, missing[index], taken)
        missing[index] -= sum(points for _, points in burns)
        for lot, points in burns:
            same = [place for place, (burnt, _) in enumerate(found[index]) if burnt is lot]
            if same:
                found[index][same[0]] = (lot, found[index][same[0]][1] + points)
            else:
                found[index].append((lot, points))

    for group in (waiting, mine):
        for index, (lot, _) in enumerate(claims):
            look(index, [lot] if lot in group else [])
        for index in range(len(claims)):
            look(index, group)
    if policy != "only_pending":
        for index in range(len(claims)):
            look(index, others)
    return [(burns, rest if policy == "allow" else 0) for burns, rest in zip(found, missing, strict=True)]


# What time does.


def next_due(purse: Purse) -> list[tuple[datetime, int, str]]:
    """Return what is next due of each kind: when, its place at one moment, and its name."""
    dues: list[tuple[datetime, int, str]] = []
    lots = [lot for lot in purse.lots() if purse.left(lot)]
    if purse.debt():
        later = [
            lot.active for lot in lots if lot.waits is None and lot.active is not None and lot.active != time_of(lot)
        ]
        dues += [(moment, 0, "activation") for moment in later]
    dues += [(lot.cancel, 1, "cancel") for lot in lots if lot.waits is not None and purse.release(lot) is None]
    dues += [(ends, 3, "expiry") for lot in lots if (ends := purse.ends(lot)) is not None]
    if purse.slides is not None:
        dues.append((purse.slides, 3, "expiry"))
    dues += [(asked.until, 4, "lapse") for asked in purse.asked.values() if asked.state == "granted" and asked.until]
    return dues


def fire(purse: Purse, what: str, due: datetime, plan: Plan | None) -> tuple[list[Any], list[tuple[str, str, str]]]:
    """Let what is due happen: moves, and states of things; the purse is changed."""
    from tests.properties.naive import Move

    purse.fired.append(due)
    version = plan.version if plan else 0
    moves: list[Any] = []
    states: list[tuple[str, str, str]] = []
    lots = [lot for lot in purse.lots() if purse.left(lot)]
    if what == "activation":
        fact = timed(due, hash_id("activation", purse.key, text_of(due)))
        debt = purse.debt()
        for lot in lots:
            if debt and lot.waits is None and lot.active is not None and time_of(lot) != lot.active <= due:
                paid = min(debt, purse.left(lot))
                debt -= paid
                moves.append(
                    Move(purse.key, 0, "pending", version, fact, cause=lot, kind="release", burns=[(lot, paid)])
                )
                moves[-1].active, moves[-1].ends = lot.active, lot.ends
    elif what == "cancel":
        fact = timed(due, hash_id("pending", purse.key, text_of(due)))
        for lot in lots:
            if lot.waits is not None and purse.release(lot) is None and lot.cancel <= due:
                points = purse.left(lot)
                burns = [(lot, points)]
                moves.append(Move(purse.key, -points, "pending", version, fact, cause=lot, kind="cancel", burns=burns))
    elif what == "expiry":
        idle = purse.slides is not None and purse.slides <= due
        ended = [lot for lot in purse.open() if (ends := purse.ends(lot)) is not None and ends <= due]
        if idle:
            ended += [lot for lot in purse.open() if purse.ends(lot) is None and purse.can_spend(lot, due)]
            purse.slides = None
            states.append(("expiry", "expiry", "none"))
        if ended:
            moves.append(expiry(purse.key, [(lot, purse.left(lot)) for lot in ended], plan, due))
    else:
        for asked in purse.asked.values():
            if asked.state == "granted" and asked.until is not None and asked.until <= due:
                asked.state = "lapsed"
                states.append(("redemption", asked.name, "lapsed"))
    purse.moves += moves
    return moves, states


def slide(purse: Purse, plan: Plan | None, fact: dict[str, Any], now: datetime) -> list[tuple[str, str, str]]:
    """Put off the day on which idle points go, where the programme has one."""
    said = plan.lots.expire if plan is not None else None
    months = said.get("inactivity") if isinstance(said, dict) else None
    if plan is None or fact["type"].split(".")[1] not in OWN_ACTS or (months is None and purse.slides is None):
        return []
    if months is None:
        purse.slides = None
        return [("expiry", "expiry", "none")]
    day = plan.local(datetime.fromisoformat(fact["time"])).date()
    until = midnight(length(months, day) + DAY, plan.zone)
    if (purse.slides is not None and until <= purse.slides) or until <= now:
        return []
    purse.slides = until
    return [("expiry", "expiry", text_of(until))]
