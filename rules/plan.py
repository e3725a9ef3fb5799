"""What a programme file compiles to: small frozen objects that the ledger reads for every fact.

Nothing here parses, rounds or decides. Money is integer minor units, time is microseconds since the epoch, factors are
whole fractions. `rules.book` is the door: import these names from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol
from zoneinfo import ZoneInfo

from rules.codes import code_of
from rules.language import ProgrammeFile
from rules.local_time import end_of, local_day, midnight_us, months_later, next_of, window_label
from schemas.envelope import Fact
from schemas.rounding import Rounding
from schemas.times import DAY_US

#: How long a refund waits for its purchase where no programme says so.
REFUND_WAITS_US = 30 * DAY_US

# The total order of rules begins with the phase; "limit" clips what the others gave and comes last.
PHASES = ("base", "bonus", "multiply", "limit")


@dataclass(frozen=True, slots=True)
class Profile:
    """What conditions and notices may know of a person: the year of the birthday is not among it.

    Attributes:
        birthday: month and day.
        consents: channels by which the member may be written to.
    """

    language: str | None = None
    region: str | None = None
    preferred_channel: str | None = None
    birthday: tuple[int, int] | None = None
    consents: frozenset[str] = frozenset()
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def said(self, name: str) -> Any:
        """Return what it says by a name that a condition uses; None where it says nothing."""
        match name:
            case "language":
                return self.language
            case "region":
                return self.region
            case "preferred_channel":
                return self.preferred_channel
            case _:
                return self.attributes.get(name)


class MemberView(Protocol):
    """What conditions may ask about the member, as he stood before the fact that is being decided."""

    @property
    def tier(self) -> str | None:
        """Id of the tier the member holds; None where no tier has been decided yet."""

    @property
    def joined_us(self) -> int | None:
        """When the account began, microseconds; None before the member's first decided fact."""

    @property
    def orders_counted(self) -> int:
        """Orders counted for this member so far."""

    @property
    def last_purchase_us(self) -> int | None:
        """Time of the newest counted purchase; None before the first."""

    def bought_since(self, sku: str, since_us: int) -> bool:
        """Tell whether a counted purchase at or after ``since_us`` has a line with this SKU."""

    def spent_since(self, since_us: int) -> int:
        """Return the minor units of counted purchases at or after ``since_us``."""

    def in_segment(self, segment: str) -> bool:
        """Tell whether the member is in a segment, as far as facts said."""

    @property
    def profile(self) -> Profile | None:
        """The member's newest profile, None without one; an error where there is one that cannot be opened here."""

    def counted(self, key: str) -> tuple[int, int]:
        """Return how far a counter is, and for how many awards it was the moment; (0, 0) for one that nothing moved."""


@dataclass(frozen=True, slots=True)
class Cap:
    """At most so many points, or so many grants, in each calendar window of the programme's time zone."""

    points: int | None = None
    times: int | None = None
    per_place: bool = False
    every: str = "ever"  # day | week (ISO) | month | quarter | year | ever
    text: str = ""  # reads aloud in a note: "at most 200 points per member every month"
    only: frozenset[str] | None = None  # of a limit: the rules whose entries it clips; None means all

    def window(self, time_us: int, zone: ZoneInfo) -> str:
        """Return the label of the window ``time_us`` falls into, such as ``2026-03`` or ``2026-W09``."""
        if self.every == "ever":
            return "ever"
        return window_label(local_day(time_us, zone), self.every)


class Bracket(NamedTuple):
    """Between two amounts of minor units, ``rate`` points over the brackets' common ``den`` for each minor unit."""

    from_minor: int
    to_minor: int | None
    rate: int


@dataclass(frozen=True, slots=True)
class Brackets:
    """What each part of the money spent in one window earns."""

    parts: tuple[Bracket, ...]
    den: int
    name: str  # what is counted: its keys begin with it
    every: str  # year, quarter, month or ever

    def key(self, time_us: int, zone: ZoneInfo) -> str:
        """Return the key under which the money spent in the window of ``time_us`` is counted."""
        return f"{self.name}|{'ever' if self.every == 'ever' else window_label(local_day(time_us, zone), self.every)}"

    def points(self, before: int, amount: int) -> int:
        """Return the points, over ``den``, for ``amount`` minor units behind those that were spent before."""
        return self._up_to(before + amount) - self._up_to(before)

    def _up_to(self, spent: int) -> int:
        points = 0
        for begin, end, rate in self.parts:
            if spent > begin:
                points += rate * ((spent if end is None else min(spent, end)) - begin)
        return points


@dataclass(frozen=True, slots=True)
class Counter:
    """What `every_nth` and `streak` count: facts of one type, in one row or by the period in which they happened."""

    name: str  # what is counted: its keys begin with it
    n: int
    every: str | None  # of a streak: day, week or month
    field: str | None = None  # what words are looked for: category or sku of a line, name of an activity
    words: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Award:
    """Points for a fact: a fixed number, or ``points`` per ``per_minor`` minor units of the eligible lines."""

    points: int
    per_minor: int | None = None
    gross: bool = False  # the base is gross_before_discounts instead of net_after_discounts
    rounding: Rounding = Rounding.FLOOR
    each_line: bool = False
    round_before: bool = False  # round the award before multipliers see it
    brackets: Brackets | None = None


@dataclass(frozen=True, slots=True)
class Multiply:
    """A factor ``num/den`` (at least 1, in lowest terms) on base rules, or on the rules named in ``only``."""

    num: int
    den: int
    only: frozenset[str] | None = None


Lines = Callable[[MemberView, Fact, "Programme"], tuple[int, ...]]


class TicketPlan(NamedTuple):
    """So many tickets of a raffle."""

    raffle: str
    tickets: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One earning rule; exactly one of award, multiply, limit, reward, badge, tickets and offers is set."""

    id: str
    phase: str  # one of PHASES
    priority: int
    exclusive: str | None
    stop: bool
    lines: Lines = field(compare=False)  # indexes (from 0) of eligible lines; (0,) without lines; () does not apply
    award: Award | None = None
    multiply: Multiply | None = None
    limit: Cap | None = None
    cap: Cap | None = None
    hold_out: int | None = None  # members whose number of 32 bits is below it get nothing from the rule
    hold_out_text: str = ""
    reward: str | None = None  # id of a reward that it gives
    badge: str | None = None  # id of a badge that it gives
    tickets: TicketPlan | None = None  # tickets of a raffle that it gives
    offers: str | None = None  # id of a challenge that it begins
    nth: Counter | None = None  # of a rule that gives a reward: what makes an order the nth
    selective: bool = field(init=False)  # it may keep rules from applying
    clips: bool = field(init=False)  # a cap or a limit is to be looked at
    gives: bool = field(init=False)  # something else than points

    def __post_init__(self) -> None:
        """Work out once what the ledger would ask for every fact."""
        object.__setattr__(self, "selective", self.exclusive is not None or self.stop or self.hold_out is not None)
        object.__setattr__(self, "clips", self.cap is not None or self.limit is not None)
        given = (self.reward, self.badge, self.tickets, self.offers)
        object.__setattr__(self, "gives", any(one is not None for one in given))

    @property
    def order(self) -> tuple[int, int, str]:
        """Sort key of the total order: phase, then priority (high first), then id."""
        return (PHASES.index(self.phase), -self.priority, self.id)


@dataclass(frozen=True, slots=True)
class Level:
    """One tier: reached at ``from_amount`` (minor units, points or a count, as the plan says), times ``num/den``.

    ``keep`` says that time never takes it from whom ever reached it, ``welcome`` how many points reaching it is worth (0:
    none), each time if ``welcome_again``, ``benefits`` names what its members have.
    """

    id: str
    label: str
    from_amount: int
    num: int = 1
    den: int = 1
    keep: bool = False
    welcome: int = 0
    welcome_again: bool = False
    benefits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TierPlan:
    """How members qualify for tiers; ``levels`` ascend and the first is the base, from 0."""

    by: str  # spend | points | visits | orders
    over: str  # calendar_year | membership_year | rolling | lifetime
    months: int  # length of a window: 12 for years, 0 for lifetime
    downgrade: str  # none | one_level | earned_level
    levels: tuple[Level, ...]
    grace_months: int = 0  # how much longer than its period a level holds
    welcomes: bool = field(init=False)  # some level is welcomed

    def __post_init__(self) -> None:
        """Work out once what the ledger would ask for every fact."""
        object.__setattr__(self, "welcomes", any(level.welcome for level in self.levels))

    def height_at(self, amount: int) -> int:
        """Return how high the highest level is that ``amount`` reaches; the base is 0."""
        reached = 0
        for height, level in enumerate(self.levels):
            if level.from_amount <= amount:
                reached = height
        return reached

    def height_of(self, level_id: str) -> int | None:
        """Return how high the level of that id is, None for an id that this version does not know."""
        for height, level in enumerate(self.levels):
            if level.id == level_id:
                return height
        return None

    def kept_of(self, height: int) -> int:
        """Return how much of a height that was ever reached time never takes."""
        if self.downgrade == "none":
            return height
        while height and not self.levels[height].keep:
            height -= 1
        return height

    def level(self, level_id: str | None) -> Level:
        """Return the level of that id; the base level for None and for ids this version does not know."""
        for level in self.levels:
            if level.id == level_id:
                return level
        return self.levels[0]


class ReferAward(NamedTuple):
    """Points of one side of a referral, and the cap on them."""

    points: int
    cap: Cap | None


@dataclass(frozen=True, slots=True)
class ReferPlan:
    """What bringing a new member is worth, to whom and when."""

    moment: str  # referral | joined | first_purchase | every_purchase
    at_least_minor: int  # total of a purchase; 0 without a threshold
    within_us: int | None  # from the referral to a purchase; None without a deadline
    referrer: ReferAward | None
    referred: ReferAward | None


@dataclass(frozen=True, slots=True)
class Expiry:
    """Until when points can be spent, counted from the day on which they could first be; never over with nothing said."""

    days: int = 0
    months: int = 0
    round_up: str | None = None  # month | quarter | year: on to its end
    on: tuple[tuple[int, int], ...] = ()  # months and days of the year

    def ends_us(self, begin_us: int, zone: ZoneInfo) -> int | None:
        """Return the moment that ends the last day of points that can be spent from ``begin_us`` on, None for never."""
        day = local_day(begin_us, zone)
        if self.on:
            last = min([next_of(day, month, month_day) for month, month_day in self.on])
        elif self.months or self.days:
            last = months_later(day, self.months) if self.months else day + self.days
            if self.round_up is not None:
                last = end_of(last, self.round_up)
        else:
            return None
        return midnight_us(last + 1, zone)


@dataclass(frozen=True, slots=True)
class Wait:
    """When points can be spent: so long after their fact, or when an activity of a name comes; at once with nothing said."""

    for_us: int | None = None
    until: str | None = None
    cancel_us: int = 0  # with until: after so long they are taken
    channels: frozenset[str] | None = None  # only for purchases by these; None: for every fact


class Terms(NamedTuple):
    """What a rule, a tier or the programme says about lots; None: not said here."""

    expiry: Expiry | None
    wait: Wait | None


@dataclass(frozen=True, slots=True)
class LotPlan:
    """The dates of lots: a rule's word counts before the tier's, the tier's before the programme's."""

    programme: Terms
    by_rule: dict[str, Terms]
    by_tier: dict[str, Terms]
    awaited: frozenset[str]  # names of the facts that points wait for
    inactivity_months: int | None  # points without a date go when the member did nothing for so long

    def terms(self, rule_id: str, tier: str | None) -> Terms:
        """Return what counts for points that a rule gives to a member of a tier."""
        sides = (self.by_rule.get(rule_id), None if tier is None else self.by_tier.get(tier), self.programme)
        said = [side for side in sides if side is not None]
        return Terms(
            next((side.expiry for side in said if side.expiry is not None), None),
            next((side.wait for side in said if side.wait is not None), None),
        )


class VoucherPlan(NamedTuple):
    """A reward that is a code for a till."""

    worth: str  # 5.00 EUR, or 10 %
    at_least: str | None  # 20.00 EUR
    at_least_minor: int
    pattern: str
    key: str
    codes: tuple[str, ...]  # those to be given; none: they are made

    def code(self, name: str) -> str:
        """Return the code that is made for a redemption."""
        return code_of(self.pattern, self.key, name)


class RewardPlan(NamedTuple):
    """What points can be spent on."""

    id: str
    cost: int
    valid_us: int | None  # how long it can be collected; None: without end
    tiers: frozenset[str] | None  # None: for all
    from_us: int | None
    until_us: int | None  # exclusive
    stock: Cap | None  # so many pieces per window; None: enough for everybody
    voucher: VoucherPlan | None


class BadgePlan(NamedTuple):
    """A badge; ``keep``: it stays when what earned it was returned."""

    id: str
    label: str
    keep: bool


class RafflePlan(NamedTuple):
    """A raffle: tickets are given for facts of its time."""

    id: str
    label: str
    from_us: int
    until_us: int  # exclusive
    commitment: str | None
    winners: int
    wins_per_member: int
    public: str | None


class NoticePlan(NamedTuple):
    """What is to be said, and how."""

    template: str
    channels: tuple[str, ...] | None  # None: any that the member consents to
    at_us: int | None  # not before this time of the local day
    expires_us: int | None  # after the moment


class GivenTierPlan(NamedTuple):
    """A level for some days or months."""

    level: str
    days: int
    months: int

    def last_day(self, day: int) -> int:
        """Return the last local day on which it is held, if it begins on ``day``."""
        return months_later(day, self.months) if self.months else day + self.days


@dataclass(frozen=True, slots=True)
class ChallengePlan:
    """So many facts of one type, or so much money (minor units), within a window, and what then comes of it."""

    id: str
    label: str
    on: str
    lines: Lines = field(compare=False)  # see Rule
    need: int
    money: bool
    every: str | None  # day | week (ISO) | month | quarter | year
    from_us: int | None  # with until_us (exclusive): a fixed window
    until_us: int | None
    within_us: int | None
    begins: str  # of a window of its own beginning: first_match | accepted | segment | offered
    segment: str | None
    opt_in: bool
    times: int | None
    keep: bool  # what it gave stays, whatever is returned
    points: int
    reward: str | None
    badge: str | None
    tier: GivenTierPlan | None
    tickets: TicketPlan | None
    notice: NoticePlan | None

    @property
    def rule_id(self) -> str:
        """What entries of its points carry as their rule."""
        return f"challenge:{self.id}"


#: Moments that time brings by the calendar, and those that somebody waits for.
DATES, WAITS = frozenset({"birthday", "anniversary", "points_expiring"}), frozenset({"silence", "not_followed_by"})


class QuietPlan(NamedTuple):
    """At most so many notices in any stretch of time, of these channels together; None: of all."""

    at_most: int
    within_us: int
    channels: frozenset[str] | None


class Wanted(NamedTuple):
    """A kind of fact, by its short name, and which of them."""

    on: str
    lines: Lines


@dataclass(frozen=True, slots=True)
class Moment:
    """One rule of `moments:`.

    Attributes:
        word: the moment's, or the short name of the type of fact that it answers.
        lines: as in `Rule`: what it is about; () where the rule does not apply.
        gift: a rule that gives its reward.
        offers: id of the challenge that it begins.
        days_before: of birthday, anniversary and expiring points.
        times: of silence: times the usual gap, as a whole fraction; None: for everybody the same.
        at_least_us: of silence.
        within_us: of what should have followed, and of money spent.
        at_least: points that expire; minor units spent.
        after, by, same: of what should have followed.
        levels, way: of a tier: None: any.
        segments: of a segment.
    """

    id: str
    word: str
    lines: Lines = field(compare=False)
    points: int = 0
    gift: Rule | None = None
    offers: str | None = None
    tier: GivenTierPlan | None = None
    notice: NoticePlan | None = None
    cap: Cap | None = None
    hold_out: int | None = None
    hold_out_text: str = ""
    days_before: int = 0
    times: tuple[int, int] | None = None
    at_least_us: int = 0
    within_us: int = 0
    at_least: int = 0
    after: Wanted | None = None
    by: Wanted | None = None
    same: str | None = None
    levels: frozenset[str] | None = None
    way: str | None = None
    segments: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MomentPlan:
    """The moments of one version.

    Attributes:
        on: by the short name of a type: what its facts bring at once.
        tier_changed: what another tier brings.
        timed: what time alone brings.
        begins, ends: by the short name of a type: what its facts let begin to wait, and what they are waited for by.
        awaited: what may wait, by id.
        quiet: limits on notices.
        asks_profile, asks_birthday: it cannot be decided without profiles; without birthdays.
    """

    on: dict[str, tuple[Moment, ...]]
    tier_changed: tuple[Moment, ...]
    timed: tuple[Moment, ...]
    begins: dict[str, tuple[Moment, ...]]
    ends: dict[str, tuple[Moment, ...]]
    awaited: dict[str, Moment]
    quiet: tuple[QuietPlan, ...]
    asks_profile: bool
    asks_birthday: bool


class TransferPlan(NamedTuple):
    """How many points one transfer between members may move."""

    at_least: int
    at_most: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Programme:
    """One version of a programme, compiled. Two are equal when their hashes are."""

    hash: str  # 32 lower-case hex digits, BLAKE2b-128 of the canonical JSON
    name: str
    version: int
    valid_from_us: int
    valid_until_us: int | None  # exclusive; None: until the next version begins
    time_zone: ZoneInfo
    currency: str
    minor_digits: int
    points_name: str
    visit_gap_us: int
    late_limit_us: int | None
    refund_waits_us: int
    rules_on: dict[str, tuple[Rule, ...]]  # short type name -> rules in total order; a type without rules is missing
    tiers: TierPlan | None
    refer: ReferPlan | None
    transfer: TransferPlan | None  # None: members cannot give points to each other
    claim_us: int | None  # how long an anonymous sale can be claimed; None: never
    refund_by_receipt: bool  # the key of each order is told who bought it
    join_explicit: bool  # nothing is earned before `joined`
    counters: dict[
        str, tuple[Counter, ...]
    ]  # by short type name: what its facts move; those that move none are missing
    lots: LotPlan | None  # None: every point can be spent at once and for ever
    negative_balance: str  # within_balance | allow | only_pending
    rewards: dict[str, RewardPlan]
    gives: bool  # some rule gives something else than points
    challenges: dict[str, tuple[ChallengePlan, ...]]  # by short type name, as ``rules_on``
    begun_by: dict[str, tuple[ChallengePlan, ...]]  # by short type name: what an acceptance or a segment begins
    plays: bool  # there are challenges
    badges: dict[str, BadgePlan]
    raffles: dict[str, RafflePlan]
    paid_earns: bool  # what points paid of an order earns like money
    pays_back: bool  # points that paid a part of an order come back with its goods
    asks_profile: bool  # some condition, birthday or notice needs the profile
    moments: MomentPlan | None  # None: there are none
    document: ProgrammeFile = field(repr=False)
    canonical: bytes = field(repr=False)

    def canonical_json(self) -> bytes:
        """Return what the `programmes` topic holds: every value said or defaulted, keys sorted, no spaces."""
        return self.canonical

    def rule(self, on: str, rule_id: str) -> Rule | None:
        """Return a rule on a type of fact by its id."""
        return next((rule for rule in self.rules_on.get(on, ()) if rule.id == rule_id), None)

    def challenge(self, challenge_id: str) -> ChallengePlan | None:
        """Return a challenge by its id."""
        return next((plan for some in self.challenges.values() for plan in some if plan.id == challenge_id), None)

    @property
    def base_tier(self) -> str | None:
        """Id of the first level, None without tiers."""
        return self.tiers.levels[0].id if self.tiers else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Programme) and other.hash == self.hash

    def __hash__(self) -> int:
        return hash(self.hash)
