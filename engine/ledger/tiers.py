"""Tiers: the level a member's progress reaches, until when it holds if nothing more happens, and which one then.

The level is a function of the progress by day, the moment and the programme version in force at that moment (see
`engine.ledger.levels`); nothing else is remembered. So a level follows late facts and refunds by itself, and a new version's
thresholds count from the member's next fact or review on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from zoneinfo import ZoneInfo

from engine.ledger.fold import override_of
from engine.ledger.levels import Window, held_on, overridden, windows_of_days, windows_of_years, years_of_days
from engine.ledger.member import PROGRESS, Lot, Member, Override, Standing
from engine.ledger.moved import Moved
from engine.ledger.orders import Order, day_number, day_text
from engine.ledger.played import ENDED, TIER_GIVEN
from rules.book import Book, Programme, TierPlan
from rules.local_time import local_day
from rules.local_time import midnight_us as _midnight
from schemas import facts
from schemas.decisions import Decision, Entry, StateChange, TierChange
from schemas.envelope import TIMER_SOURCE, Fact
from schemas.ids import hash_id
from schemas.times import to_text

Progress = Sequence[tuple[str, int]]


def review_after(
    member: Member, fact: Fact, programme: Programme, now_us: int, decision: Decision
) -> TierChange | None:
    """Return the change of tier that a fact brings, if any.

    Args:
        member: as he stood before the fact; not changed.
        fact: the one that is being decided.
        programme: the version in force at ``now_us``.
        now_us: where the member's timeline stands.
        decision: on the fact, but for its tier.
    """
    joined_us, override = joined_after(member, fact), _override_after(member, fact, decision)
    return _review(member, programme, now_us, decision.progress, joined_us, override, fact.source, fact.id)


def _review(
    member: Member,
    programme: Programme,
    now_us: int,
    progress: Progress,
    joined_us: int | None,
    override: Override | None,
    source: str,
    fact_id: str,
) -> TierChange | None:
    plan = programme.tiers
    before = member.standing
    if plan is None:
        if before is None or before.until_us is None:
            return None
        now = Standing(before.tier, now_us, None, None)
    else:
        now = standing_at(plan, member, progress, joined_us, override, now_us, programme.time_zone)
        if before is not None and before.same(now):
            return None
    return _change(member, now, source, fact_id)


def review_given(
    member: Member, book: Book, due: int, states: Sequence[StateChange], fact_id: str
) -> TierChange | None:
    """Return the change of tier that one brings which a timer gave by ``states``, if any; ``member`` is as before them."""
    programme = book.at(due)
    if programme is None:
        return None
    override = _given(states, member.override)
    return _review(member, programme, due, (), member.joined_us, override, TIMER_SOURCE, fact_id)


def due_us(member: Member) -> int | None:
    """Return when time next changes the member's tier, None for never."""
    return member.standing.until_us if member.standing is not None else None


def review_when_due(member: Member, book: Book, due: int) -> Moved:
    """Review the tier at the moment until which it held."""
    fact_id = hash_id("tier_review", member.key, to_text(due))
    programme = book.at(due)
    change = None
    if programme is not None:
        change = _review(member, programme, due, (), member.joined_us, member.override, TIMER_SOURCE, fact_id)
    if change is None:
        # No version in force, or none that would move it: the tier stays, and this timer must not fire again.
        standing = member.standing
        assert standing is not None
        since = to_text(standing.since_us)
        change = TierChange(member.key, standing.tier, standing.tier, since, None, TIMER_SOURCE, fact_id, to_text(due))
    return Moved(tiers=[change])


def cancelled_points(order: Order, lots: Mapping[str, Lot], book: Book) -> int:
    """Return how much progress the cancelled lots of an order gave back: all they held, where earned points count.

    A lot that still waits and that time took something from was cancelled: it can expire only once it does not wait.
    """
    if order.progress is None or not order.grants:
        return 0
    programme = book.of_number(order.grants[0][2])
    if programme is None or programme.tiers is None or programme.tiers.by != "points":
        return 0
    found = [lots[grant[0]] for grant in order.grants if grant[0] in lots]
    return sum([lot.gone for lot in found if lot.waits_for is not None])


def progress_cancelled(member: Member, book: Book, entries: Sequence[Entry], due: int) -> Moved:
    """Return what cancelled points do to a tier: earned points that never came are no progress towards it.

    Args:
        member: as he stood before ``entries``; not changed.
        book: the versions.
        entries: of kind ``cancel``, all of one timer.
        due: when it fires.
    """
    taken = {entry.caused_by: -entry.points for entry in entries}
    since_us = min([member.lots_apart[lot_id].earned_us for lot_id in taken if lot_id is not None], default=due)
    progress: dict[str, int] = {}
    for order in member.orders_since(since_us):
        points = sum([taken.get(grant[0], 0) for grant in order.grants])
        programme = book.of_number(order.grants[0][2]) if points else None
        if order.progress is None or programme is None or programme.tiers is None or programme.tiers.by != "points":
            continue
        progress[order.progress[0]] = progress.get(order.progress[0], 0) - points
    if not progress:
        return Moved()
    fact_id, at = entries[0].fact_id, entries[0].occurred_at
    moved = Moved(states=[
        StateChange(member.key, PROGRESS, day, str(amount), TIMER_SOURCE, fact_id, at) for day, amount in progress.items()
    ])  # fmt: skip
    # A late purchase can wait for what should have come long ago: the tier is looked at where the member stands.
    now_us = member.now_us(due)
    programme = book.at(now_us)
    if programme is not None:
        pairs = list(progress.items())
        change = _review(member, programme, now_us, pairs, member.joined_us, member.override, TIMER_SOURCE, fact_id)
        if change is not None:
            moved.tiers = [change]
    return moved


# Many members' tiers begin and end at the same few moments.
_text = lru_cache(maxsize=1 << 14)(to_text)


def _change(member: Member, now: Standing, source: str, fact_id: str) -> TierChange:
    before = member.standing
    since_us = before.since_us if before is not None and before.tier == now.tier else now.since_us
    return TierChange(
        member_id=member.key,
        tier=now.tier,
        previous=before.tier if before is not None else None,
        since=_text(since_us),
        until=None if now.until_us is None else _text(now.until_us),
        source=source,
        fact_id=fact_id,
        occurred_at=_text(now.since_us),
        projected=now.projected,
    )


def count_progress(fact: Fact, programme: Programme, amount: int, decision: Decision) -> None:
    """Put ``amount`` towards tiers on the fact's local day into a decision that has none yet; nothing for 0."""
    if amount:
        decision.progress = [(day_text(local_day(fact.time_us, programme.time_zone)), amount)]


def standing_at(
    plan: TierPlan,
    member: Member,
    progress: Progress,
    joined_us: int | None,
    override: Override | None,
    now_us: int,
    zone: ZoneInfo,
) -> Standing:
    """Return what the member holds at ``now_us``, as if it were held since then.

    Args:
        plan: of the version in force.
        member: as he stood before; not changed.
        progress: [local day, amount] pairs of the decision being made.
        joined_us, override: when his account began and what staff gave, as far as is known with that decision.
        now_us: the moment.
        zone: of the programme.
    """
    today = local_day(now_us, zone)
    windows, first_day = windows_at(plan, member, progress, now_us if joined_us is None else joined_us, zone)
    held = held_on(plan, windows, first_day, today)
    if override is not None:
        held = overridden(plan, windows, first_day, today, held, override)
    tier = plan.levels[held.height].id
    if held.until_day is None or held.then is None:
        return Standing(tier, now_us, None, None)
    return Standing(tier, now_us, _midnight(held.until_day, zone), plan.levels[held.then].id)


def windows_at(
    plan: TierPlan, member: Member, progress: Progress, joined_us: int, zone: ZoneInfo
) -> tuple[list[Window], int]:
    """Return what every window came to, newest first, and the day from which years count; see `standing_at`."""
    if plan.over == "calendar_year":
        return windows_of_years(_years(member, progress)), 0
    if plan.over == "rolling":
        return windows_of_days(_days(member, progress), plan.months), 0
    if plan.over == "membership_year":
        first_day = local_day(joined_us, zone)
        return windows_of_years(years_of_days(_days(member, progress), first_day)), first_day
    return [(0, sum(_years(member, progress).values()))], 0


def joined_after(member: Member, fact: Fact) -> int:
    """Return when the member's account began, as far as is known with ``fact``."""
    if fact.type == facts.TAKEOVER:
        joined_us, known_us = fact.data.get("joined_us"), member.joined_us or fact.time_us
        older = (fact.data.get("joined_said", False), -(joined_us or 0)) > (member.joined_said, -known_us)
        return joined_us if joined_us is not None and older else known_us
    if member.joined_us is None or (fact.type == facts.JOINED and not member.joined_said):
        return fact.time_us
    return member.joined_us


def _override_after(member: Member, fact: Fact, decision: Decision) -> Override | None:
    """Return what staff gave, as far as is known with ``fact``: what an alias brings counts where there is nothing yet."""
    if fact.type == facts.TIER_OVERRIDE and decision.reason is None:
        return override_of(fact)
    if any(change.what == TIER_GIVEN for change in decision.states):
        return _given(decision.states, member.override)
    if fact.type == facts.TAKEOVER and member.override is None and fact.data.get("override") is not None:
        return Override(*fact.data["override"])
    return member.override


def _given(states: Sequence[StateChange], held: Override | None) -> Override | None:
    """Return what holds once rules gave tiers by these states: the last one that was given."""
    for change in reversed(states):
        if change.what == TIER_GIVEN:
            return None if change.state == ENDED else Override(change.id, day_number(change.state))
    return held


def _years(member: Member, progress: Progress) -> dict[int, int]:
    years = dict(member.years)
    for day, amount in progress:
        year = int(day[:4])
        years[year] = years.get(year, 0) + amount
    return years


def _days(member: Member, progress: Progress) -> dict[int, int]:
    days = dict(member.days)
    for day, amount in progress:
        number = day_number(day)
        days[number] = days.get(number, 0) + amount
    return days
