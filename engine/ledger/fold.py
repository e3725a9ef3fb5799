"""What a decision changes in a member's state: the state is nothing but the fold of his (fact, decision) pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol

from engine.ledger.early import keep_early
from engine.ledger.history import Fresh
from engine.ledger.member import (
    ARRIVED,
    AT_LEAST,
    AWAITED,
    CODE,
    COUNTED,
    DEDUPE_HORIZON_US,
    FOUND,
    GIVEN,
    GIVEN_COUNTED,
    GIVEN_FROM,
    GRANTED,
    HELD,
    LAPSED,
    MISSED,
    MOMENT,
    NEVER,
    NOT_YET,
    PROGRESS,
    REDEMPTION,
    REDEMPTION_ORDER,
    REDEMPTION_STORE,
    REDEMPTION_UNTIL,
    REFUND_WAITS,
    SLIDING,
    STOCK,
    STOCK_CODE,
    TRANSFER,
    WELCOME,
    WORTH,
    Bonus,
    Lot,
    Member,
    Missed,
    Override,
    Referral,
    Sealed,
    Spent,
    Standing,
    Waiting,
    Welcomed,
    order_name,
    order_ref,
)
from engine.ledger.notices import told_of
from engine.ledger.orders import Returned, day_number, keep_order, of_referral
from engine.ledger.played import ENDED, KINDS, TIER_GIVEN, take_played
from engine.ledger.pruning import drop_over, drop_windows, year_of
from engine.ledger.takeover import become_alias, take_over
from schemas import facts
from schemas.decisions import Decision, Entry, StateChange, TierChange
from schemas.envelope import TIMER_SOURCE, Fact
from schemas.notices import Notice
from schemas.times import DAY_US, to_us
from schemas.upcasting import current

_OF_MOMENTS = frozenset({MOMENT, AWAITED, COUNTED, TIER_GIVEN})
#: As long as a limit may look back: the newest notice counts from itself.
TOLD_US = 366 * DAY_US

# Tiers begin and end at few moments, and many facts fall on one day: their texts are remembered.
_to_us = lru_cache(maxsize=1 << 14)(to_us)


def evolve(member: Member, fact: Fact, decision: Decision, *, own: bool = False) -> None:
    """Change ``member`` by what ``decision`` says about ``fact``.

    The caller owns ``member`` and folds it in the log's order; decide never changes one. ``own`` says that the decision was
    just made here, so that its entries have the names this engine gives; those of a log are compared.
    """
    if decision.outcome != "decided":
        return
    fact = current(fact)
    bought = fact.type == facts.PURCHASE
    counts = bought and decision.reason != "order_already_counted"
    order = None
    if counts:
        order = keep_order(fact.data, decision, None if own else member.entry_ids(fact.source, fact.id))
    _remember(member, fact, order)
    if not bought:  # nearly every fact is a purchase, which changes nothing by its type alone
        _evolve_fact(member, fact, decision)
    if member.anonymous:
        _keep_told(member, fact, decision)
    if decision.derived and member.referral is not None:
        _follow_referral(member, member.referral, fact, decision)
    take_in(member, decision, order_ref(fact.data) if counts else "", own)
    if counts and member.arrived:
        ended = f"|{order_ref(fact.data)}"
        member.arrived = {name: at_us for name, at_us in member.arrived.items() if not name.endswith(ended)}
    for day, amount in decision.progress:
        _add_progress(member, day, amount)
    for key, points, times in decision.counts:
        _move(member.caps, key, points, times)
    for key, number, moments, _ in decision.counters:
        _move(member.counters, key, number, moments)
    if not bought and fact.type in facts.ALIASING and decision.reason is None:
        become_alias(member, fact.data["member" if fact.type == facts.LINK else "into"])


def hear(member: Member, fact: Fact) -> None:
    """Change ``member`` by what was told of him: it counts as seen, and that is all."""
    newest_us = fact.time_us if member.newest_us is None else member.newest_us
    if fact.type == facts.COST:
        member.newest_us = (
            newest_us  # the key of a day has no life of its own: its first cost begins what is remembered
        )
    member.history.remember(
        fact.source, fact.id, Fresh(fact.body_hash, fact.time_us, None, None), newest_us - DEDUPE_HORIZON_US
    )


def _add_progress(member: Member, day: str, amount: int) -> None:
    number, year = day_number(day), int(day[:4])
    member.days[number] = member.days.get(number, 0) + amount
    member.years[year] = member.years.get(year, 0) + amount


def _move(counted: dict[str, tuple[int, int]], key: str, first: int, second: int) -> None:
    """Move a pair of numbers; one that is back at the beginning is not kept, and one that was dropped is not given back."""
    old = counted.get(key)
    if old is None:
        if first < 0 or second < 0:
            return
        old = (0, 0)
    new = (old[0] + first, old[1] + second)
    if new == (0, 0):
        counted.pop(key, None)
    else:
        counted[key] = new


def _remember(member: Member, fact: Fact, order: bytes | None) -> None:
    time_us = fact.time_us
    if member.joined_us is None:
        member.joined_us = time_us
    if member.newest_us is None or time_us > member.newest_us:
        before_us, member.newest_us = member.newest_us, time_us
        if (member.caps or member.counters) and before_us is not None and year_of(before_us) != year_of(time_us):
            drop_over(member.caps, year_of(time_us))
            drop_over(member.counters, year_of(time_us))
            drop_windows(member.played, year_of(time_us))
    order_name = None if order is None else (fact.data["order_source"], fact.data["order_id"])
    fresh = Fresh(fact.body_hash, time_us, order, order_name)
    member.history.remember(fact.source, fact.id, fresh, member.newest_us - DEDUPE_HORIZON_US)
    if order is not None:
        member.orders_counted += 1
        if member.first_purchase_us is None or time_us < member.first_purchase_us:
            member.first_purchase_us = time_us
        if member.last_purchase_us is None or time_us > member.last_purchase_us:
            member.last_purchase_us = time_us


def _evolve_fact(member: Member, fact: Fact, decision: Decision) -> None:
    match fact.type:
        case facts.REFUND | facts.WAITED_REFUND:
            _return_lines(member, fact, decision)
            _wait(member, fact, decision)
        case facts.VISIT | facts.SEGMENT:
            _note_newest(member, fact)
        case facts.REFERRAL if decision.reason is None:
            member.referral = Referral(fact.data["referrer"], fact.time_us, open=True)
        case facts.TIER_OVERRIDE if decision.reason is None:
            member.override = override_of(fact)
        case facts.REFERRAL_AWARD | facts.REFERRAL_REVERSAL:
            _take_referrers_side(member, fact, decision)
        case facts.TRANSFER_OFFER if decision.reason == "unknown_member":
            member.joined_us = None  # points that nobody took open no account
        case facts.TRANSFER_ANSWER if decision.reason == "unknown_transfer":
            keep_early(member, fact)
        case facts.STOCK_ANSWERED if decision.reason == "unknown_redemption":
            keep_early(member, fact)
        case _:
            _evolve_membership(member, fact, decision)


def _evolve_membership(member: Member, fact: Fact, decision: Decision) -> None:
    match fact.type:
        case facts.JOINED:
            if not member.joined_said:
                member.joined_us, member.joined_said = fact.time_us, True
            if decision.reason == "joined_again":
                member.left_us = None
        case facts.LEFT if decision.reason is None:
            member.left_us = fact.time_us
        case facts.TAKEOVER:
            take_over(member, fact)
        case facts.PROFILE if decision.reason is None:
            member.sealed = Sealed(
                fact.time_us, fact.data["member"], fact.source, fact.id, fact.data["key"], fact.data["sealed"]
            )
        case facts.CLAIM_ASKED | facts.ORDER_OWNED if decision.reason is None:
            member.alias_of, member.kept = fact.data["member"], []


def _keep_told(member: Member, fact: Fact, decision: Decision) -> None:
    """An anonymous sale that may be claimed is kept as it was told, with what came back of it: its member will decide it."""
    if fact.type == facts.WAITED_REFUND and member.kept:
        data = dict(fact.data)
        told = (facts.REFUND, data.pop("refund_source"), data.pop("refund_id"), fact.time, data)
        member.kept = [*member.kept, told]
    elif fact.type in facts.ANONYMOUS_TYPES and (
        member.kept or any(note.code == "claimable" for note in decision.notes)
    ):
        member.kept = [*member.kept, (fact.type, fact.source, fact.id, fact.time, fact.data)]


def _note_newest(member: Member, fact: Fact) -> None:
    """Of visits at a store, and of what is said of a segment, the newest counts; of two at one moment the later told."""
    if fact.type == facts.VISIT:
        store = fact.data["store"] or ""
        member.visits[store] = max(fact.time_us, member.visits.get(store, fact.time_us))
    else:
        member.take_segment(fact.data["segment"], fact.time_us, fact.data["entered"])


def _take_referrers_side(member: Member, fact: Fact, decision: Decision) -> None:
    if fact.type == facts.REFERRAL_REVERSAL:
        member.bonuses.pop(fact.data["award_id"], None)
        return
    member.brought.add(fact.data["referred"])
    bonus = _bonus(decision, fact.id)
    if bonus.entry_id is not None:
        member.bonuses[fact.id] = bonus


def _follow_referral(member: Member, referral: Referral, fact: Fact, decision: Decision) -> None:
    """An award of the referral closes it, until the order that it was given for comes back."""
    for derived in decision.derived:
        if derived.type == facts.REFERRAL_AWARD:
            referral.open = False
            if fact.type == facts.PURCHASE:
                member.bonuses[order_ref(fact.data)] = _bonus(decision, derived.id)
        elif derived.type == facts.REFERRAL_REVERSAL:
            referral.open = True
            del member.bonuses[order_ref(fact.data)]


def _bonus(decision: Decision, award_id: str) -> Bonus:
    """Return what a referral gave in a decision."""
    entry = next((one for one in decision.entries if of_referral(one.rule_id) and one.points > 0), None)
    counted = next((key for key, points, _ in decision.counts if of_referral(key) and points > 0), None)
    if entry is None:
        return Bonus(None, 0, 0, None, award_id, decision.programme)
    return Bonus(entry.entry_id, entry.rule_version, entry.points, counted, award_id, decision.programme)


def override_of(fact: Fact) -> Override:
    """Return what a `tier_override` gives."""
    return Override(fact.data["tier"], day_number(fact.data["until"]))


def _return_lines(member: Member, fact: Fact, decision: Decision) -> None:
    """Take down what a refund brought back of its order, and what that took."""
    if not decision.returned:
        return
    bought = member.history.order(*order_name(order_ref(fact.data)))
    assert bought is not None
    returned = member.returned.setdefault(bought.number, Returned())
    for number, milli, minor in decision.returned:
        returned.milli[number] = returned.milli.get(number, 0) + milli
        returned.minor[number] = returned.minor.get(number, 0) + minor
    for entry in decision.entries:
        for line, points in entry.lines:
            place = (entry.caused_by or "", line)
            returned.points[place] = returned.points.get(place, 0) - points
    returned.progress -= sum(amount for _, amount in decision.progress)


def _wait(member: Member, fact: Fact, decision: Decision) -> None:
    for change in decision.states:
        if change.what == REFUND_WAITS and change.fact_id == fact.id and change.source == fact.source:
            waiting = Waiting(change.id, order_ref(fact.data), fact.time_us, _to_us(change.state), fact.data)
            member.waiting = (*member.waiting, waiting)


def _on_lines(entry: Entry) -> int:
    return sum(points for _, points in entry.lines)


class Moves(Protocol):
    """What moves points, tiers and states: a decision, or what time did to one member."""

    @property
    def entries(self) -> Sequence[Entry]:
        """In the order in which they happen."""
        ...

    @property
    def tiers(self) -> Sequence[TierChange]:
        """In the order in which they happen."""
        ...

    @property
    def states(self) -> Sequence[StateChange]:
        """In the order in which they happen."""
        ...

    @property
    def notices(self) -> Sequence[Notice]:
        """In the order in which they happen."""
        ...


def take_in(member: Member, moves: Moves, order: str = "", own: bool = False) -> None:
    """Change ``member`` by movements that are all his.

    Args:
        member: changed; of his containers only those that `Member.fork` copies.
        moves: what happened to him.
        order: name of the order that was just kept, if one was; its grants are its lots.
        own: see `evolve`.
    """
    if moves.entries:
        _move_points(member, moves.entries, order, own)
    if moves.tiers:
        newest = moves.tiers[-1]
        until_us = None if newest.until is None else _to_us(newest.until)
        member.standing = Standing(newest.tier, _to_us(newest.since), until_us, newest.projected)
    for change in moves.states:
        _take_state(member, change, moves.entries)
    if moves.notices:
        _remember_told(member, moves.notices)
    for things in (moves.entries, moves.tiers, moves.states):
        # What time did comes before what the fact did, so the first one tells whether there is any.
        if things and things[0].source == TIMER_SOURCE:
            for thing in things:
                if thing.source == TIMER_SOURCE:
                    member.settled_us = max(member.settled_us or 0, _to_us(thing.occurred_at))


def _remember_told(member: Member, notices: Sequence[Notice]) -> None:
    """Take down what was said, as far back as a limit may ask."""
    member.told = sorted([*member.told, *told_of(notices)], key=lambda one: one[1])
    if member.told:
        oldest_us = member.told[-1][1] - TOLD_US
        member.told = [one for one in member.told if one[1] > oldest_us]


def _take_moment(member: Member, change: StateChange) -> None:
    if change.what == MOMENT:
        member.came[change.id] = _to_us(change.occurred_at)
    elif change.what == TIER_GIVEN:
        member.override = None if change.state == ENDED else Override(change.id, day_number(change.state))
    elif change.what == COUNTED:
        points, _, times = change.state.partition("|")
        _move(member.caps, change.id, int(points), int(times))
    elif change.state[:1].isdigit():
        member.awaited[change.id] = (_to_us(change.occurred_at), _to_us(change.state))
    else:
        member.awaited.pop(change.id, None)


def _take_settlement(member: Member, change: StateChange, entries: Sequence[Entry]) -> None:
    """Reserved points are kept until a transfer is answered, missed ones until they come back, a parcel until its receipt."""
    if change.what == MISSED:
        _take_missed(member, change)
    elif change.what == ARRIVED:
        oldest_us = (member.newest_us or 0) - DEDUPE_HORIZON_US
        member.arrived = {name: at_us for name, at_us in member.arrived.items() if at_us >= oldest_us}
        member.arrived[change.id] = _to_us(change.state)
    elif change.state == "reserved":
        out = next(entry for entry in entries if entry.rule_id == TRANSFER and entry.points < 0)
        member.spent[change.id] = Spent(change.state, out.entry_id, TRANSFER, out.rule_version, tuple(out.burns))
    elif change.state != "credited":
        del member.spent[change.id]
        if member.missed:
            _drop_missed(member)


def _take_state(member: Member, change: StateChange, entries: Sequence[Entry]) -> None:
    if change.what == SLIDING:
        member.slides_us = None if change.state == NEVER else _to_us(change.state)
    elif change.what == PROGRESS:
        _add_progress(member, change.id, int(change.state))
    elif change.what == REFUND_WAITS:
        if change.state in (FOUND, LAPSED):
            member.waiting = tuple([waiting for waiting in member.waiting if waiting.id != change.id])
    elif change.what in (TRANSFER, MISSED, ARRIVED):
        _take_settlement(member, change, entries)
    elif change.what == STOCK:
        held = change.state != "returned"
        member.spent[change.id] = Spent(HELD if held else change.state, "", change.state if held else "", 0)
    elif change.what == STOCK_CODE:
        member.spent[change.id] = member.spent[change.id]._replace(code=change.state)
    elif change.what in (WORTH, AT_LEAST):
        pass  # for tills and tables; the member's state knows the code
    elif change.what in KINDS:
        take_played(member.played, change)
    elif change.what.startswith(REDEMPTION):
        _take_redemption(member, change, entries)
    elif change.what in _OF_MOMENTS:
        _take_moment(member, change)


def _take_missed(member: Member, change: StateChange) -> None:
    """A refund fell short while redemptions were open, or what it missed is taken now, all or a part."""
    points, version, entry_id, rule_id, order = change.state.split("|", 4)
    known = next((missed for missed in member.missed if missed.name == change.id), None)
    if known is None:
        names = tuple([name for name, spent in member.spent.items() if spent.burns])
        new = Missed(change.id, int(points), int(version), entry_id, rule_id, order, names)
        member.missed = (*member.missed, new)
        return
    bought = member.history.order(*order_name(order)) if order else None
    if bought is not None and bought.number in member.returned:
        taken = member.returned[bought.number].points
        taken[entry_id, 0] = taken.get((entry_id, 0), 0) + known.points - int(points)
    member.missed = tuple(
        [
            missed._replace(points=int(points)) if missed is known else missed
            for missed in member.missed
            if missed is not known or int(points)
        ]
    )


def _drop_missed(member: Member) -> None:
    """What can come back no more is waited for no more."""
    open_names = {name for name, spent in member.spent.items() if spent.burns}
    member.missed = tuple([missed for missed in member.missed if not open_names.isdisjoint(missed.names)])


def _take_redemption(member: Member, change: StateChange, entries: Sequence[Entry]) -> None:
    before = member.spent.get(change.id)
    if change.what == GIVEN:
        reward, rule, version = change.state.split("|")
        member.spent[change.id] = Spent(GRANTED, "", f"reward:{reward}", int(version), given=(rule, "", "", ""))
    elif before is None:
        redeem = next(entry for entry in entries if entry.kind == "redeem")
        burns = tuple((lot_id, points) for lot_id, points in redeem.burns)
        member.spent[change.id] = Spent(change.state, redeem.entry_id, redeem.rule_id, redeem.rule_version, burns)
    elif change.what == REDEMPTION_UNTIL:
        member.spent[change.id] = before._replace(until_us=_to_us(change.state))
        member.find_lapse()
    elif change.what == REDEMPTION_STORE:
        member.spent[change.id] = before._replace(store=change.state)
    elif change.what == REDEMPTION_ORDER:
        member.spent[change.id] = before._replace(order=change.state)
    elif change.what == CODE:
        member.spent[change.id] = before._replace(code=change.state)
    elif change.what == GIVEN_FROM:
        order, _, lines = change.state.rpartition("|")
        member.spent[change.id] = before._replace(given=(before.given[0], order, lines, before.given[3]))
    elif change.what == GIVEN_COUNTED:
        member.spent[change.id] = before._replace(given=(*before.given[:3], change.state))
    elif change.state == GRANTED or (change.state == "fulfilled" and before.order is not None):
        member.spent[change.id] = before._replace(state=change.state, until_us=None)
        member.find_lapse()
    else:
        member.spent[change.id] = before._replace(state=change.state, burns=(), until_us=None)
        member.find_lapse()
        if member.missed:
            _drop_missed(member)


def _move_points(member: Member, entries: Iterable[Entry], order: str, own: bool) -> None:
    """A credit makes a lot, a debit takes from the lots it names, and what no lot gave is owed.

    A grant of the ``order`` just kept is its lot, unless it has a date, or the log says that other points were given than its
    lines have.
    """
    for entry in entries:
        member.balance += entry.points
        if entry.makes_lot and (
            entry.order != order
            or not entry.lines
            or entry.expires_at is not None
            or entry.active_from != entry.occurred_at
            or entry.waits_for is not None
            or (not own and entry.points != _on_lines(entry))
        ):
            _set_apart(member, _new_lot(entry))
        if entry.kind == "restore" or (entry.kind == "transfer" and entry.rule_id != TRANSFER):
            _given_back(member, entry)
        if entry.burns:
            _burn(member, entry)
        elif entry.points < 0:
            member.debt -= entry.points
        if entry.order is None and entry.rule_id.startswith(WELCOME):
            _welcome(member, entry)


def _welcome(member: Member, entry: Entry) -> None:
    """Take down that a level was welcomed, or that this was taken back."""
    level = entry.rule_id.removeprefix(WELCOME)
    if entry.kind == "earn":
        member.welcomed[level] = Welcomed(entry.entry_id, entry.rule_version, entry.points)
    elif entry.kind == "clawback":
        member.welcomed.pop(level, None)


def _given_back(member: Member, entry: Entry) -> None:
    """Take down that points of a redemption came back: those that were taken first come back first."""
    for name, spent in member.spent.items():
        if spent.entry_id == entry.caused_by:
            left, burns = entry.points, []
            for lot_id, points in spent.burns:
                part = min(points, left)
                left -= part
                if points > part:
                    burns.append((lot_id, points - part))
            member.spent[name] = spent._replace(burns=tuple(burns), back=spent.back + entry.points)


def _new_lot(entry: Entry) -> Lot:
    earned_us = _to_us(entry.occurred_at if entry.earned_at is None else entry.earned_at)
    active_us = None if entry.active_from in (None, entry.occurred_at) else _moment(entry.active_from)
    if entry.waits_for is not None:
        active_us = NOT_YET
    return Lot(
        entry.entry_id,
        entry.points,
        earned_us,
        active_us,
        _moment(entry.expires_at),
        entry.waits_for,
        _moment(entry.cancel_at),
    )


def _moment(text: str | None) -> int | None:
    return None if text is None else _to_us(text)


def _set_apart(member: Member, lot: Lot) -> None:
    member.lots_apart[lot.id] = lot
    if lot.expires_us is not None and (member.expiry_us is None or lot.expires_us < member.expiry_us):
        member.expiry_us = lot.expires_us
    if lot.cancel_us is not None and (member.cancel_us is None or lot.cancel_us < member.cancel_us):
        member.cancel_us = lot.cancel_us


def _burn(member: Member, entry: Entry) -> None:
    """Take from lots, or give back to them; the rest of what the entry moves is debt, made or paid."""
    member.set_apart([lot_id for lot_id, _ in entry.burns], entry.order)
    burnt, dated = 0, False
    for lot_id, points in entry.burns:
        lot = member.lots_apart[lot_id]
        if lot.left < points:
            raise AssertionError(
                f"lot {lot_id} would hold {lot.left - points} points: this decision is not of this log"
            )
        burnt += points
        dated = dated or lot.expires_us is not None or lot.cancel_us is not None
        member.lots_apart[lot_id] = _changed(lot, points, entry)
    member.debt -= burnt if entry.makes_lot else burnt + entry.points
    if dated or entry.kind == "release":
        member.find_dues()


def _changed(lot: Lot, points: int, entry: Entry) -> Lot:
    """Return a lot after an entry took points from it."""
    lot = lot._replace(left=lot.left - points)
    if entry.kind == "release":
        active_us, expires_us = _moment(entry.active_from), _moment(entry.expires_at)
        return lot._replace(active_us=active_us, expires_us=expires_us, waits_for=None, cancel_us=None)
    if entry.kind == "reinstate" and lot.id != entry.entry_id:
        return lot._replace(gone=0)
    if entry.kind in ("expire", "cancel"):
        # A lot that had no date gets the one on which it went: so its points can be found again.
        expires_us = _to_us(entry.occurred_at) if lot.expires_us is None else lot.expires_us
        return lot._replace(gone=lot.gone + points, expires_us=expires_us)
    return lot
