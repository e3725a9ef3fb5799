"""A member's state; `engine.ledger.fold` makes it out of his (fact, decision) pairs, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from engine.ledger.history import Bought, History
from engine.ledger.orders import Order, Returned, read_order
from engine.ledger.played import Played
from rules.book import Profile
from schemas import facts
from schemas.envelope import COST_KEY, ORDER_KEY, STOCK_KEY
from schemas.ids import Ids
from schemas.times import DAY_US

DEDUPE_HORIZON_US = 400 * DAY_US


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


class Sealed(NamedTuple):
    """The newest profile, as the log holds it: when it was said, of whom, by which event, and what it was sealed to.

    ``subject`` is the key it was sealed under: an alias, where the profile came over from one.
    """

    at_us: int
    subject: str
    source: str
    fact_id: str
    key: str
    text: str


class ProfileUnavailable(Exception):
    """A profile cannot be opened here and now; nothing is wrong with the fact that needs it."""


class ProfileClosed(ProfileUnavailable):
    """A profile is asked for that cannot be opened here: its key is not at hand."""

    def __init__(self, member: str, key: str) -> None:
        super().__init__(f"the profile of member {member} is sealed with key {key}, which is not at hand")
        self.member, self.key = member, key


#: Stands for a profile that nobody here can open: whoever asks it gets `ProfileClosed`.
CLOSED = Profile()


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


class Missed(NamedTuple):
    """Points that a refund could not take because they were spent (`engine.ledger.missed`).

    Attributes:
        name: of this claim.
        points: still to be taken.
        entry_id: of the award that gave them, under ``version`` of rule ``rule_id``.
        order: name of the order, empty for an award that is no order's.
        names: of the redemptions and transfers that were open then; only what they bring back is taken.
    """

    name: str
    points: int
    version: int
    entry_id: str
    rule_id: str
    order: str
    names: tuple[str, ...]


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


class Gift(NamedTuple):
    """Why a member has a reward that he did not pay for.

    Attributes:
        rule: that gave it.
        order: name of the order that it came with, None for another fact.
        lines: of the order, from 1, that brought it; none: all.
        counted: the cap key that counted it, None without a cap.
    """

    rule: str
    order: str | None
    lines: tuple[int, ...]
    counted: str | None


class Spent(NamedTuple):
    """A redemption: its entry, what it took from which lots while that can be given back, and its state.

    ``until_us`` is when it lapses if nobody collects it, ``store`` where its piece of a stock is, empty for any store,
    ``order`` the name of the order that it paid a part of, ``back`` the points that came back so far. The key of a stock holds
    its pieces in the same form: ``rule_id`` is then the window that they count in. ``moved`` are the lots among its own that an
    alias had emptied before it became one (id, when earned, when gone): no entry of this member made them. ``given`` says in
    texts where a reward came from that a rule gave (see `gift`): no points were spent on it, and it has no entry. ``code`` is
    that of a voucher.
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
    given: tuple[str, ...] = ()
    code: str | None = None

    @property
    def gift(self) -> Gift | None:
        """Where it came from, None for one that points were spent on."""
        if not self.given:
            return None
        rule, order, lines, counted = self.given
        numbers = tuple([int(number) for number in lines.split(",") if number])
        return Gift(rule, order or None, numbers, counted or None)

    @staticmethod
    def of(fields: Sequence[Any]) -> Spent:
        """Return one from its fields as JSON holds them."""
        state, entry_id, rule_id, version, burns, until_us, store, order, back, moved, given, code = fields
        took = tuple([(lot_id, points) for lot_id, points in burns])
        emptied = tuple([(lot_id, earned, ends) for lot_id, earned, ends in moved])
        return Spent(state, entry_id, rule_id, version, took, until_us, store, order, back, emptied, tuple(given), code)


#: Name of the states by which time takes progress towards tiers back: the id is the local day, the state the amount.
PROGRESS = "progress"
#: Names of the states of a redemption: what it came to, until when it can be collected, where its piece of a stock is; of the
#: pieces of a stock; and which order it paid a part of.
REDEMPTION, REDEMPTION_UNTIL, REDEMPTION_STORE, STOCK = "redemption", "redemption_until", "redemption_store", "stock"
REDEMPTION_ORDER = "redemption_order"
#: Names of the states of a voucher: its code, what it is worth, for which orders; of a piece of a stock that is a code.
CODE, WORTH, AT_LEAST, STOCK_CODE = "redemption_code", "redemption_worth", "redemption_at_least", "stock_code"
#: Names of the first states of a reward that a rule gave: reward, rule and version; the order that it came with, and its lines;
#: the cap that counted it.
GIVEN, GIVEN_FROM, GIVEN_COUNTED = "redemption_given", "redemption_from", "redemption_counted"
GRANTED, RESERVED, HELD = "granted", "reserved", "held"
#: State of an answer that came before the business it answers (`engine.ledger.early`); ``rule_id`` says why it refuses.
EARLY = "early"
#: Name of the states of what a refund could not take: points, version, entry, rule, order.
MISSED = "missed"
#: Name of the states of a fact that points will wait for, told before their order: name and order, and when it happened.
ARRIVED = "arrived"
#: Name of the states of a transfer, and the rule that its entries carry.
TRANSFER = "transfer"
#: Name of the state that says when lots without a date go, and its word for never.
SLIDING, NEVER = "expiry", "none"
#: Name of the state of a refund that came before its purchase: until when it waits, or one of two words.
REFUND_WAITS, FOUND, LAPSED = "refund", "found", "lapsed"
#: Name of the state by which a moment that time brought is marked as come: the id is the rule.
MOMENT = "moment"
#: Name of the states of what should be followed by something: rule and what it is about, until when; then how it ended.
AWAITED, FOLLOWED = "awaited", "followed"
#: Name of the state of a cap that a timer used up.
COUNTED = "counted"
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
    ``first_purchase_us`` and ``last_purchase_us`` the oldest and the newest purchase by their own time, ``came`` when a moment of
    a rule came last, ``awaited`` what should be followed by something, by rule and what it is about: since when and until
    when, ``told`` channel and moment of notices, ``dates_us`` and ``waits_us`` when such a moment comes next, and ``born`` the
    birthday of a profile: these three are worked out and never packed,
    ``sealed`` his newest profile, ``opened`` the same while a fact of his is decided, ``next_due_us`` when time next does
    something to him (the partition works it out after every change), ``offset`` the place in the log of the newest fact or
    tick that changed him. It satisfies ``rules.book.MemberView``.
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
    missed: tuple[Missed, ...] = ()
    arrived: dict[str, int] = field(default_factory=dict)
    kept: list[tuple[str, str, str, str, Any]] = field(default_factory=list)
    segments: dict[str, tuple[int, bool]] = field(default_factory=dict)
    override: Override | None = None
    welcomed: dict[str, Welcomed] = field(default_factory=dict)
    first_purchase_us: int | None = None
    came: dict[str, int] = field(default_factory=dict)
    awaited: dict[str, tuple[int, int]] = field(default_factory=dict)
    told: list[tuple[str, int]] = field(default_factory=list)
    dates_us: int | None = field(default=None, compare=False, repr=False)
    waits_us: int | None = field(default=None, compare=False, repr=False)
    born: tuple[Sealed, tuple[int, int] | None] | None = field(default=None, compare=False, repr=False)
    sealed: Sealed | None = None
    played: dict[str, Played] = field(default_factory=dict)
    opened: Profile | None = field(default=None, compare=False, repr=False)
    next_due_us: int | None = None

    def fork(self) -> Self:
        """Return a copy that time may change (`take_in`) while this one stays; what only facts change is shared."""
        other = copy(self)
        other.lots_apart = dict(self.lots_apart)
        other.days, other.years = dict(self.days), dict(self.years)
        other.welcomed = dict(self.welcomed)
        other.spent = dict(self.spent)
        other.played = dict(self.played)
        other.came, other.awaited, other.told = dict(self.came), dict(self.awaited), list(self.told)
        other.caps = dict(self.caps)
        return other

    def now_us(self, time_us: int) -> int:
        """Return where the member's timeline stands at a fact of ``time_us``: never behind his newest fact or fired timer."""
        return max(time_us, self.newest_us or time_us, self.settled_us or time_us)

    @property
    def anonymous(self) -> bool:
        """Tell whether this is the key of an order without a member, of a reward's stock, or of a day's costs."""
        return self.key.startswith((ORDER_KEY, STOCK_KEY, COST_KEY))

    @property
    def profile(self) -> Profile | None:
        """What his newest profile says, None without one. Raises ProfileClosed where it cannot be opened."""
        if self.opened is CLOSED and self.sealed is not None:
            raise ProfileClosed(self.key, self.sealed.key)
        return self.opened

    @property
    def tier(self) -> str | None:
        """Id of the tier the member holds; None before the first review."""
        return self.standing.tier if self.standing else None

    def has_order(self, ref: str) -> bool:
        """Tell whether an order counted, by its name."""
        return self.history.has_order(*order_name(ref))

    def order(self, ref: str) -> Order | None:
        """Return an order by its name; what came back of it is the member's own."""
        bought = self.history.order(*order_name(ref))
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
        return self.history.spending(since_us).since(since_us)

    def spent_between(self, since_us: int, until_us: int, currency: str) -> int:
        """Return the totals of the orders in a currency from ``since_us`` until ``until_us``, both included, as `spent_since`."""
        return self.history.spending(since_us).between(since_us, until_us, currency)

    def order_lots(self, *, named: bool = False) -> Iterator[Lot]:
        """Yield the lots that follow from his orders, in the order in which they counted; those in ``lots_apart`` too, as they
        were in the beginning. ``named``: with the names of their orders."""
        for bought in self.history.orders_since(None):
            order = self.unpacked(bought)
            for entry_id, _, _, shares in order.grants:
                ref = f"{bought.order_source}|{bought.order_id}" if named else None
                yield Lot(entry_id, sum([points for _, points in shares]), order.at_us, order=ref)

    def take_segment(self, segment: str, at_us: int, entered: bool) -> None:
        """Take in what is said of a segment: the newest counts, of two at one moment the later told."""
        if at_us >= self.segments.get(segment, (at_us, False))[0]:
            self.segments[segment] = (at_us, entered)

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


def order_name(ref: str) -> tuple[str, str]:
    """Return source and id of an order's name."""
    source, _, order_id = ref.partition("|")
    return source, order_id


def order_ref(data: facts.PurchaseForm | facts.RefundForm) -> str:
    """Return the name of an order, stable for ever. Ids of orders hold no ``|``, so it cannot be read in two ways."""
    return f"{data['order_source']}|{data['order_id']}"


def transfer_name(source: str, fact_id: str) -> str:
    """Return the name of a transfer among what its sender spent; that of a redemption has one ``|``."""
    return f"{source}|{fact_id}|transfer"


def quantity_milli(text: str) -> int:
    """Return a quantity in thousandths: 1500 of ``1.5``."""
    if "." not in text:
        return int(text) * 1000
    whole, _, fraction = text.partition(".")
    return int(whole) * 1000 + int(fraction.ljust(3, "0"))
