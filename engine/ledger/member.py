"""A member's state: nothing but the fold of his (fact, decision) pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, Self

import orjson

from engine.ledger.history import ANY_BODY, Bought, Fresh, History
from engine.ledger.orders import Order, Returned, day_number, keep_order, of_referral, read_order
from schemas import facts
from schemas.decisions import Decision, Entry, StateChange, TierChange
from schemas.envelope import ORDER_KEY, STOCK_KEY, TIMER_SOURCE, Fact
from schemas.ids import Ids, hash_id
from schemas.times import DAY_US, to_us

DEDUPE_HORIZON_US = 400 * DAY_US
# Tiers begin and end at few moments, and many facts fall on one day: their texts are remembered.
_to_us = lru_cache(maxsize=1 << 14)(to_us)


class Standing(NamedTuple):
    """A tier, since when, until when it holds if nothing more happens (None: for good), and which one comes then."""

    tier: str
    since_us: int
    until_us: int | None
    projected: str | None = None

    def same(self, other: Standing) -> bool:
        """Tell whether both say the same, but for since when."""
        return self.tier == other.tier and self.until_us == other.until_us and self.projected == other.projected


#: Rules of these names are the welcomes of levels.
WELCOME = "welcome:"


class Welcomed(NamedTuple):
    """With which entry a level was welcomed last, under which version, and with how many points."""

    entry_id: str
    version: int
    points: int


class Override(NamedTuple):
    """At least this tier, until the end of a local day (days since 1970-01-01)."""

    tier: str
    until_day: int


@dataclass(slots=True)
class Referral:
    """Who brought this member, and whether the award for it is still to come."""

    referrer: str
    at_us: int
    open: bool


class Waiting(NamedTuple):
    """A refund, named by its source and id, that waits for its purchase."""

    id: str
    order: str
    at_us: int
    until_us: int
    data: facts.RefundForm


class Bonus(NamedTuple):
    """What a referral gave for one moment, so that it can be given back.

    Attributes:
        entry_id: None where this side got nothing.
        counted: the cap key that counted it, None without a cap.
        award_id: of the referrer's derived fact.
        programme: hash of the version that awarded it.
    """

    entry_id: str | None
    rule_version: int
    points: int
    counted: str | None
    award_id: str
    programme: str | None


class Lot(NamedTuple):
    """Points that came together, and what is left of them.

    Attributes:
        id: of the entry that made it.
        left: points not yet taken.
        earned_us: when they were earned.
        active_us: from when on they can be spent, None: from the beginning, `NOT_YET` while it ``waits_for`` a fact.
        expires_us: from when on they are gone, None: never.
        waits_for: name of the fact that makes them spendable, None: no fact.
        cancel_us: when they are taken if that fact has not come, None: never.
        gone: points that time took from it.
        order: name of the order that earned them, where the caller asked for it; never kept.
    """

    id: str
    left: int
    earned_us: int
    active_us: int | None = None
    expires_us: int | None = None
    waits_for: str | None = None
    cancel_us: int | None = None
    gone: int = 0
    order: str | None = None

    def active(self, now_us: int) -> bool:
        """Tell whether its points can be spent."""
        return self.active_us is None or self.active_us <= now_us


class Spent(NamedTuple):
    """A redemption: its entry, what it took from which lots while that can be given back, and its state.

    ``until_us`` is when it lapses if nobody collects it, ``store`` where its piece of a stock is, empty for any store,
    ``order`` the name of the order that it paid a part of, ``back`` the points that came back so far. The key of a stock holds
    its pieces in the same form: ``rule_id`` is then the window that they count in. ``moved`` are the lots among its own that an
    alias had emptied before it became one (id, when earned, when gone): no entry of this member made them.
    """

    state: str
    entry_id: str
    rule_id: str
    rule_version: int
    burns: tuple[tuple[str, int], ...] = ()
    until_us: int | None = None
    store: str | None = None
    order: str | None = None
    back: int = 0
    moved: tuple[tuple[str, int, int | None], ...] = ()

    @staticmethod
    def of(fields: Sequence[Any]) -> Spent:
        """Return one from its fields as JSON holds them."""
        state, entry_id, rule_id, version, burns, until_us, store, order, back, moved = fields
        took = tuple([(lot_id, points) for lot_id, points in burns])
        emptied = tuple([(lot_id, earned, ends) for lot_id, earned, ends in moved])
        return Spent(state, entry_id, rule_id, version, took, until_us, store, order, back, emptied)


#: Name of the states by which time takes progress towards tiers back: the id is the local day, the state the amount.
PROGRESS = "progress"
#: Names of the states of a redemption: what it came to, until when it can be collected, where its piece of a stock is; of the
#: pieces of a stock; and which order it paid a part of.
REDEMPTION, REDEMPTION_UNTIL, REDEMPTION_STORE, STOCK = "redemption", "redemption_until", "redemption_store", "stock"
REDEMPTION_ORDER = "redemption_order"
GRANTED, RESERVED, HELD = "granted", "reserved", "held"
#: Name of the states of a transfer, and the rule that its entries carry.
TRANSFER = "transfer"
#: Name of the state that says when lots without a date go, and its word for never.
SLIDING, NEVER = "expiry", "none"
#: Name of the state of a refund that came before its purchase: until when it waits, or one of two words.
REFUND_WAITS, FOUND, LAPSED = "refund", "found", "lapsed"
#: When a lot becomes active of which nobody knows when: behind every moment a log can hold.
NOT_YET = 1 << 62


@dataclass(slots=True)
class Member:
    """State of one key: a member, or the order of an anonymous sale.

    ``history`` holds his orders and which facts were seen, ``lots_apart`` the lots that are not an order's grants, are no
    longer whole, or have a date (all others follow from the orders), ``debt`` what he owes: points that were taken back and
    were in no lot; ``expiry_us`` and ``cancel_us`` when a lot next expires and is next cancelled, ``slides_us`` when lots
    without a date go if he does nothing; ``spent`` his redemptions by name, ``lapse_us`` when one next lapses;
    ``returned`` what came back, by number of the order; ``days`` and ``years`` progress towards tiers by local day (days
    since 1970-01-01) and by year, ``caps`` [points, times] used by cap key, ``counters``
    [number, moments] of counters, ``visits`` the newest visit by store, ``welcomed`` levels that were welcomed, ``bonuses`` what
    referrals gave him, by the order that they were given for (the new member) or by the fact that gave them (the referrer),
    ``next_due_us`` when time next does something to him (the partition works it out after every change), ``offset`` the place
    in the log of the newest fact or tick that changed him. It satisfies ``rules.book.MemberView``.
    """

    key: str
    offset: int = -1
    joined_us: int | None = None
    joined_said: bool = False
    left_us: int | None = None
    newest_us: int | None = None
    balance: int = 0
    standing: Standing | None = None
    settled_us: int | None = None
    orders_counted: int = 0
    last_purchase_us: int | None = None
    referral: Referral | None = None
    history: History = field(default_factory=History)
    lots_apart: dict[str, Lot] = field(default_factory=dict)
    debt: int = 0
    expiry_us: int | None = None
    cancel_us: int | None = None
    slides_us: int | None = None
    lapse_us: int | None = None
    spent: dict[str, Spent] = field(default_factory=dict)
    returned: dict[int, Returned] = field(default_factory=dict)
    days: dict[int, int] = field(default_factory=dict)
    years: dict[int, int] = field(default_factory=dict)
    caps: dict[str, tuple[int, int]] = field(default_factory=dict)
    counters: dict[str, tuple[int, int]] = field(default_factory=dict)
    visits: dict[str, int] = field(default_factory=dict)
    brought: set[str] = field(default_factory=set)
    bonuses: dict[str, Bonus] = field(default_factory=dict)
    alias_of: str | None = None
    aliases: set[str] = field(default_factory=set)
    waiting: tuple[Waiting, ...] = ()
    kept: list[tuple[str, str, str, str, Any]] = field(default_factory=list)
    segments: dict[str, tuple[int, bool]] = field(default_factory=dict)
    override: Override | None = None
    welcomed: dict[str, Welcomed] = field(default_factory=dict)
    next_due_us: int | None = None

    def fork(self) -> Self:
        """Return a copy that time may change (`take_in`) while this one stays; what only facts change is shared."""
        other = copy(self)
        other.lots_apart = dict(self.lots_apart)
        other.days, other.years = dict(self.days), dict(self.years)
        other.welcomed = dict(self.welcomed)
        other.spent = dict(self.spent)
        return other

    def now_us(self, time_us: int) -> int:
        """Return where the member's timeline stands at a fact of ``time_us``: never behind his newest fact or fired timer."""
        return max(time_us, self.newest_us or time_us, self.settled_us or time_us)

    @property
    def anonymous(self) -> bool:
        """Tell whether this is the key of an order without a member, or of a reward's stock."""
        return self.key.startswith((ORDER_KEY, STOCK_KEY))

    @property
    def tier(self) -> str | None:
        """Id of the tier the member holds; None before the first review."""
        return self.standing.tier if self.standing else None

    def has_order(self, ref: str) -> bool:
        """Tell whether an order counted, by its name."""
        return self.history.has_order(*_named(ref))

    def order(self, ref: str) -> Order | None:
        """Return an order by its name; what came back of it is the member's own."""
        bought = self.history.order(*_named(ref))
        return None if bought is None else self.unpacked(bought)

    def orders_since(self, since_us: int) -> Iterator[Order]:
        """Yield the orders counted at or after ``since_us``."""
        return map(self.unpacked, self.history.orders_since(since_us))

    def unpacked(self, bought: Bought) -> Order:
        """Return a kept order."""
        order = read_order(
            bought.packed, bought.at_us, self.history.texts.words, self.entry_ids(bought.source, bought.fact_id)
        )
        order.returned = self.returned.get(bought.number)
        return order

    def entry_ids(self, source: str, fact_id: str) -> Ids:
        """Return what names the earn entries of one of his facts: (source, id, member, "earn", rule, version)."""
        return Ids(source, fact_id, self.key, "earn")

    def bought_since(self, sku: str, since_us: int) -> bool:
        """Tell whether an order counted at or after ``since_us`` has a line of ``sku``."""
        return any(line[0] == sku for order in self.orders_since(since_us) for line in order.lines)

    def spent_since(self, since_us: int) -> int:
        """Return the totals of the orders counted at or after ``since_us``, minor units, refunds not taken off."""
        return sum(order.total_minor for order in self.orders_since(since_us))

    def order_lots(self, *, named: bool = False) -> Iterator[Lot]:
        """Yield the lots that follow from his orders, in the order in which they counted; those in ``lots_apart`` too, as they
        were in the beginning. ``named``: with the names of their orders."""
        for bought in self.history.orders_since(None):
            order = self.unpacked(bought)
            for entry_id, _, _, shares in order.grants:
                ref = f"{bought.order_source}|{bought.order_id}" if named else None
                yield Lot(entry_id, sum([points for _, points in shares]), order.at_us, order=ref)

    def in_segment(self, segment: str) -> bool:
        """Tell whether the newest fact about a segment says that he entered it."""
        return self.segments.get(segment, (0, False))[1]

    def counted(self, key: str) -> tuple[int, int]:
        """Return how far a counter is, and for how many awards it was the moment."""
        return self.counters.get(key, (0, 0))

    @property
    def lots(self) -> dict[str, int]:
        """The points left in every lot: those of his orders in the order in which they counted, then the others. It is made
        anew each time."""
        left = {lot.id: lot.left for lot in self.order_lots()}
        return left | {lot_id: lot.left for lot_id, lot in self.lots_apart.items()}

    def set_apart(self, lot_ids: Iterable[str], order: str | None) -> None:
        """See to it that lots stand in ``lots_apart``; ``order`` names the order whose grants they probably are.

        Raises:
            KeyError: he has no such lot.
        """
        missing = {lot_id for lot_id in lot_ids if lot_id not in self.lots_apart}
        if not missing:
            return
        found = None if order is None else self.order(order)
        if found is not None:
            for entry_id, _, _, shares in found.grants:
                if entry_id in missing:
                    missing.discard(entry_id)
                    self.lots_apart[entry_id] = Lot(entry_id, sum([points for _, points in shares]), found.at_us)
        for lot in self.order_lots() if missing else ():
            if lot.id in missing:
                missing.discard(lot.id)
                self.lots_apart[lot.id] = lot
        if missing:
            raise KeyError(min(missing))

    def find_dues(self) -> None:
        """Work out anew when time next takes something out of a lot."""
        lots = [lot for lot in self.lots_apart.values() if lot.left]
        self.expiry_us = min([lot.expires_us for lot in lots if lot.expires_us is not None], default=None)
        self.cancel_us = min([lot.cancel_us for lot in lots if lot.cancel_us is not None], default=None)

    def find_lapse(self) -> None:
        """Work out anew when a granted reward next lapses."""
        self.lapse_us = min(
            [spent.until_us for spent in self.spent.values() if spent.until_us is not None], default=None
        )


def _named(ref: str) -> tuple[str, str]:
    """Source and id of an order's name."""
    source, _, order_id = ref.partition("|")
    return source, order_id


def order_ref(data: facts.PurchaseForm | facts.RefundForm) -> str:
    """Return the name of an order, stable for ever. Ids of orders hold no ``|``, so it cannot be read in two ways."""
    return f"{data['order_source']}|{data['order_id']}"


def quantity_milli(text: str) -> int:
    """Return a quantity in thousandths: 1500 of ``1.5``."""
    if "." not in text:
        return int(text) * 1000
    whole, _, fraction = text.partition(".")
    return int(whole) * 1000 + int(fraction.ljust(3, "0"))


def evolve(member: Member, fact: Fact, decision: Decision, *, own: bool = False) -> None:
    """Change ``member`` by what ``decision`` says about ``fact``.

    The caller owns ``member`` and folds it in the log's order; decide never changes one. ``own`` says that the decision was
    just made here, so that its entries have the names this engine gives; those of a log are compared.
    """
    if decision.outcome != "decided":
        return
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
    for day, amount in decision.progress:
        _add_progress(member, day, amount)
    for key, points, times in decision.counts:
        _move(member.caps, key, points, times)
    for key, number, moments, _ in decision.counters:
        _move(member.counters, key, number, moments)
    if not bought and fact.type in facts.ALIASING and decision.reason is None:
        _become_alias(member, fact.data["member" if fact.type == facts.LINK else "into"])


def _add_progress(member: Member, day: str, amount: int) -> None:
    number, year = day_number(day), int(day[:4])
    member.days[number] = member.days.get(number, 0) + amount
    member.years[year] = member.years.get(year, 0) + amount


def _move(counted: dict[str, tuple[int, int]], key: str, first: int, second: int) -> None:
    """Move a pair of numbers; one that is back at the beginning is not kept."""
    old = counted.get(key, (0, 0))
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
        member.newest_us = time_us
    order_name = None if order is None else (fact.data["order_source"], fact.data["order_id"])
    fresh = Fresh(fact.body_hash, time_us, order, order_name)
    member.history.remember(fact.source, fact.id, fresh, member.newest_us - DEDUPE_HORIZON_US)
    if order is not None:
        member.orders_counted += 1
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
            _take_over(member, fact)
        case facts.CLAIM_ASKED if decision.reason is None:
            member.alias_of, member.kept = fact.data["member"], []


def _keep_told(member: Member, fact: Fact, decision: Decision) -> None:
    """An anonymous sale that may be claimed is kept as it was told, with what came back of it: its member will decide it."""
    if fact.type in facts.ANONYMOUS_TYPES and (member.kept or any(note.code == "claimable" for note in decision.notes)):
        member.kept = [*member.kept, (fact.type, fact.source, fact.id, fact.time, fact.data)]


def _note_newest(member: Member, fact: Fact) -> None:
    """Of visits at a store, and of what is said of a segment, the newest counts; of two at one moment the later told."""
    if fact.type == facts.VISIT:
        store = fact.data["store"] or ""
        member.visits[store] = max(fact.time_us, member.visits.get(store, fact.time_us))
    else:
        _take_segment(member, fact.data["segment"], fact.time_us, fact.data["entered"])


def _take_segment(member: Member, segment: str, at_us: int, entered: bool) -> None:
    if at_us >= member.segments.get(segment, (at_us, False))[0]:
        member.segments[segment] = (at_us, entered)


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
    bought = member.history.order(*_named(order_ref(fact.data)))
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


def lot_here(fact: Fact, key: str, lot_id: str) -> str:
    """Return the name that a lot of an alias has with the member who took it over."""
    return hash_id(fact.data["cause_source"], fact.data["cause_id"], key, "transfer", lot_id)


def _take_over(member: Member, fact: Fact) -> None:
    """Take in what is known of a key that became this member's: orders and facts that count as seen, and the rest.

    What the member knows himself stays as he knows it. Points, progress and caps are in the decision.
    """
    data: facts.TakeoverForm = fact.data
    member.alias_of = None
    member.aliases |= {data["alias"], *data["through"], *data.get("aliases", ())} - {member.key}
    for lot_id, earned_us, gone in data["spent"]:
        here = lot_here(fact, member.key, lot_id)
        member.lots_apart[here] = Lot(here, 0, earned_us, gone=gone)
    for order_source, order_id, *order in data["orders"]:
        if not member.history.has_order(order_source, order_id):
            _take_order(member, fact, (order_source, order_id), order)
    horizon_us = (member.newest_us or 0) - DEDUPE_HORIZON_US
    for source, fact_id, at_us in data["seen"]:
        if member.history.seen(source, fact_id) is None:
            member.history.remember(source, fact_id, Fresh(ANY_BODY, at_us, None, None), horizon_us)
    for store, at_us in data.get("visits", {}).items():
        member.visits[store] = max(at_us, member.visits.get(store, at_us))
    member.brought |= set(data.get("brought", ()))
    _take_given(member, fact)
    member.waiting += tuple([Waiting(*waiting) for waiting in data.get("waiting", ())])
    for segment, (at_us, entered) in data.get("segments", {}).items():
        _take_segment(member, segment, at_us, entered)
    _take_standing(member, data)


def _take_standing(member: Member, data: facts.TakeoverForm) -> None:
    override, referral = data.get("override"), data.get("referral")
    if member.override is None and override is not None:
        member.override = Override(*override)
    if member.referral is None and referral is not None:
        member.referral = Referral(*referral)
    joined_us, said = data.get("joined_us"), data.get("joined_said", False)
    if joined_us is not None and (said, -joined_us) > (member.joined_said, -(member.joined_us or joined_us)):
        member.joined_us, member.joined_said = joined_us, said


def _take_given(member: Member, fact: Fact) -> None:
    """Take in what an alias was given, and what it spent: whatever is given back later finds its lots."""
    data: facts.TakeoverForm = fact.data
    for level, entry_id, *given in data.get("welcomed", ()):
        member.welcomed.setdefault(level, Welcomed(lot_here(fact, member.key, entry_id), *given))
    for key, entry_id, *bonus in data.get("bonuses", ()):
        own = None if entry_id is None else lot_here(fact, member.key, entry_id)
        member.bonuses.setdefault(key, Bonus(own, *bonus))
    for name, *fields in data.get("redemptions", ()):
        spent = Spent.of(fields)
        took = tuple([(lot_here(fact, member.key, lot_id), points) for lot_id, points in spent.burns])
        moved = tuple([(lot_here(fact, member.key, lot_id), earned, ends) for lot_id, earned, ends in spent.moved])
        member.spent.setdefault(name, spent._replace(burns=took, moved=moved))
        member.find_lapse()


def _take_order(member: Member, fact: Fact, name: tuple[str, str], order: list[Any]) -> None:
    """Keep an order of an alias; its grants are lots of the member's own, which stand apart: what is left came as a transfer."""
    source, fact_id, at_us, kept, returned = order
    *about, grants, used = kept
    here = [(rule, version, shares, lot_here(fact, member.key, entry_id)) for rule, version, shares, entry_id in grants]
    packed = bytes(memoryview(orjson.dumps((*about, here, used))))
    horizon_us = (member.newest_us or 0) - DEDUPE_HORIZON_US
    member.history.remember(source, fact_id, Fresh(ANY_BODY, at_us, packed, name), horizon_us)
    member.orders_counted += 1
    member.last_purchase_us = max(at_us, member.last_purchase_us or at_us)
    if returned is not None:
        bought = member.history.order(*name)
        assert bought is not None
        milli, minor, points, taken = returned
        back = {(lot_here(fact, member.key, entry_id), line): gone for entry_id, line, gone in points}
        member.returned[bought.number] = Returned(dict(milli), dict(minor), back, taken)


def _become_alias(member: Member, to: str) -> None:
    """What a key had is the member's now: here stands only whose it is, and which facts were seen."""
    member.alias_of, member.standing, member.referral, member.left_us = to, None, None, None
    member.days, member.years, member.caps, member.visits = {}, {}, {}, {}
    member.brought, member.returned, member.counters, member.override = set(), {}, {}, None
    member.slides_us, member.bonuses, member.welcomed, member.waiting = None, {}, {}, ()
    member.spent, member.lapse_us = {}, None
    member.segments = {}


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
    for things in (moves.entries, moves.tiers, moves.states):
        # What time did comes before what the fact did, so the first one tells whether there is any.
        if things and things[0].source == TIMER_SOURCE:
            for thing in things:
                if thing.source == TIMER_SOURCE:
                    member.settled_us = max(member.settled_us or 0, _to_us(thing.occurred_at))


def _take_transfer(member: Member, change: StateChange, entries: Sequence[Entry]) -> None:
    """What the sender reserved is kept until the other side has answered."""
    if change.state == "reserved":
        out = next(entry for entry in entries if entry.rule_id == TRANSFER and entry.points < 0)
        member.spent[change.id] = Spent(change.state, out.entry_id, TRANSFER, out.rule_version, tuple(out.burns))
    elif change.state != "credited":
        del member.spent[change.id]


def _take_state(member: Member, change: StateChange, entries: Sequence[Entry]) -> None:
    if change.what == SLIDING:
        member.slides_us = None if change.state == NEVER else _to_us(change.state)
    elif change.what == PROGRESS:
        _add_progress(member, change.id, int(change.state))
    elif change.what == REFUND_WAITS:
        if change.state in (FOUND, LAPSED):
            member.waiting = tuple([waiting for waiting in member.waiting if waiting.id != change.id])
    elif change.what == TRANSFER:
        _take_transfer(member, change, entries)
    elif change.what == STOCK:
        held = change.state != "returned"
        member.spent[change.id] = Spent(HELD if held else change.state, "", change.state if held else "", 0)
    elif change.what.startswith(REDEMPTION):
        _take_redemption(member, change, entries)


def _take_redemption(member: Member, change: StateChange, entries: Sequence[Entry]) -> None:
    before = member.spent.get(change.id)
    if before is None:
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
    elif change.state == GRANTED or (change.state == "fulfilled" and before.order is not None):
        member.spent[change.id] = before._replace(state=change.state, until_us=None)
        member.find_lapse()
    else:
        member.spent[change.id] = before._replace(state=change.state, burns=(), until_us=None)
        member.find_lapse()


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
