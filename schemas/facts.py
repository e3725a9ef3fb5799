"""One model per fact type as upstream sends it, and the normalised form that the ``facts`` log holds.

The models refuse what they do not know. The normalised forms carry money as integer minor units and quantities as shortest
decimal text, so that one event has one form however its numbers were written.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, NotRequired, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    WithJsonSchema,
    model_validator,
)
from typing_extensions import TypedDict  # pydantic reads this one on Python 3.11

from schemas.cloudevent import RFC3339

PURCHASE = "stammgast.purchase.v1"
REFUND = "stammgast.refund.v1"
VISIT = "stammgast.visit.v2"
# Told by older publishers: what such a fact says in the form of the newest version, schemas.upcasting knows.
VISIT_V1 = "stammgast.visit.v1"
REVIEW = "stammgast.review.v1"
REFERRAL = "stammgast.referral.v1"
ACTIVITY = "stammgast.activity.v1"
JOINED = "stammgast.joined.v1"
LEFT = "stammgast.left.v1"
TRANSFER = "stammgast.transfer.v1"
CLAIM = "stammgast.claim.v1"
SEGMENT = "stammgast.segment.v1"
LINK = "stammgast.link.v1"
MERGE = "stammgast.merge.v1"
REDEMPTION = "stammgast.redemption.v1"
REDEMPTION_CANCELLED = "stammgast.redemption_cancelled.v1"
REDEMPTION_FULFILLED = "stammgast.redemption_fulfilled.v1"
# What became of a notice: told by whoever sends them, so that the tables can say what moments bring.
NOTICE_OUTCOME = "stammgast.notice_outcome.v1"
# What the programme cost: the house's own, of no member.
COST = "stammgast.cost.v1"
# Who the member is: sealed before it reaches any log, and carried by a topic of its own.
PROFILE = "stammgast.profile.v1"
# Written by the engine alone, refused from outside.
TICK = "stammgast.tick.v1"
PROGRAMME = "stammgast.programme.v1"
REFERRAL_AWARD = "stammgast.referral_award.v1"
REFERRAL_REVERSAL = "stammgast.referral_reversal.v1"
TAKEOVER = "stammgast.takeover.v1"
WAITED_REFUND = "stammgast.waited_refund.v1"
TRANSFER_OFFER = "stammgast.transfer_offer.v1"
TRANSFER_ANSWER = "stammgast.transfer_answer.v1"
CLAIM_ASKED = "stammgast.claim_asked.v1"
CLAIM_ANSWERED = "stammgast.claim_answered.v1"
STOCK_ASKED = "stammgast.stock_asked.v1"
STOCK_ANSWERED = "stammgast.stock_answered.v1"
STOCK_RETURNED = "stammgast.stock_returned.v1"
FORGET = "stammgast.forget.v1"
ALIAS_FORGET = "stammgast.alias_forget.v1"
ORDER_OWNED = "stammgast.order_owned.v1"

# Only staff may send these, with operator and reason (see StaffData): they come by staff-events alone.
TIER_OVERRIDE = "stammgast.tier_override.v1"
ADJUSTMENT = "stammgast.adjustment.v1"
_STAFF_TYPES: tuple[str, ...] = (
    TIER_OVERRIDE, LINK, MERGE, ADJUSTMENT)  # fmt: skip
STAFF_TYPES = frozenset(_STAFF_TYPES)
#: What the house tells of itself, without a member: by staff-events, too.
HOUSE_TYPES = frozenset({COST})
#: What names or describes a person.
PERSONAL_TYPES = frozenset({PROFILE})
INBOUND_TYPES: tuple[str, ...] = (
    PURCHASE,
    REFUND,
    VISIT,
    VISIT_V1,
    REVIEW,
    REFERRAL,
    ACTIVITY,
    JOINED,
    LEFT,
    SEGMENT,
    REDEMPTION,
    REDEMPTION_CANCELLED,
    REDEMPTION_FULFILLED,
    CLAIM,
    TRANSFER,
    NOTICE_OUTCOME,
    COST,
    PROFILE,
    *_STAFF_TYPES,
)
ENGINE_TYPES: tuple[str, ...] = (
    TICK,
    PROGRAMME,
    REFERRAL_AWARD,
    REFERRAL_REVERSAL,
    TAKEOVER,
    WAITED_REFUND,
    CLAIM_ASKED,
    CLAIM_ANSWERED,
    STOCK_ASKED,
    STOCK_ANSWERED,
    STOCK_RETURNED,
    TRANSFER_OFFER,
    TRANSFER_ANSWER,
    FORGET,
    ALIAS_FORGET,
    ORDER_OWNED,
)
# They end what is known of a person: they have no time of their own, so they settle nobody and are never late.
FORGETTING = frozenset({FORGET, ALIAS_FORGET})
#: They tell what others did about a member, or what the house spent, not what he did: nobody's time goes on by them, no account
#: begins, and they are never late. What is told twice still counts once.
TOLD_OF = frozenset({NOTICE_OUTCOME, COST})
# By these a key becomes an alias of a member.
ALIASING = frozenset({LINK, MERGE})
# The second half of something that was decided already: it is taken however late it comes.
NEVER_LATE = frozenset(
    {
        TAKEOVER, REFERRAL_REVERSAL, WAITED_REFUND, CLAIM_ASKED, CLAIM_ANSWERED, STOCK_ASKED, STOCK_ANSWERED, STOCK_RETURNED,
        TRANSFER_OFFER, TRANSFER_ANSWER, FORGET, ALIAS_FORGET, NOTICE_OUTCOME, COST, ORDER_OWNED
    }
)  # fmt: skip
# A sale or a return without a member is keyed by its order; everything else needs a subject.
ANONYMOUS_TYPES = frozenset({PURCHASE, REFUND})
# What concerns nobody stands under the key of its day.
DAY_KEYED = HOUSE_TYPES
# Without a subject these stand under their order's key.
ORDER_KEYED = ANONYMOUS_TYPES | {CLAIM_ASKED, WAITED_REFUND, ORDER_OWNED}
# These stand under the key of a reward's stock.
STOCK_KEYED = frozenset({STOCK_ASKED, STOCK_RETURNED})

Token = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f|]+$")]
# Why staff did something: a word of the shop's own list, so that no free text gets into the logs.
ReasonCode = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
PersonalText = Annotated[str, Field(max_length=1_000)]
Money = Annotated[Decimal, Field(ge=0, lt=10**15)]
DAY_SCHEMA = {"type": "string", "format": "date", "pattern": r"^\d{4}-\d\d-\d\d$"}
# Bounds what one decision can hold: lines x rules must fit into one record.
MAX_LINES = 2_000
#: A whole number that every reader of the logs can hold; a larger one is exact as a decimal number.
Whole = Annotated[StrictInt, Field(ge=-(2**63), le=2**63 - 1)]
QUANTITY_DECIMALS = 3
UNIT_PRICE_DECIMALS = 6
Quantity = Annotated[Decimal, Field(gt=0, lt=10**9, decimal_places=QUANTITY_DECIMALS)]
UnitPrice = Annotated[Decimal, Field(ge=0, lt=10**9, decimal_places=UNIT_PRICE_DECIMALS)]


class FactData(BaseModel):
    """What all fact payloads share: unknown keys are refused, values are not changed after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class StaffData(FactData):
    """What every action of staff says beside what it does: who did it, and why."""

    operator: Token = Field(description="opaque key of who did it, never a name or an e-mail address")
    reason: ReasonCode = Field(description="a word of your own list, such as lost_card: lower case, no free text")


class PurchaseLine(FactData):
    """One line of a receipt; its amount is half_up(quantity x unit_price - discount) in minor units."""

    sku: Token
    category: Token | None = None
    quantity: Quantity = Field(description="positive, at most 3 decimals")
    unit_price: UnitPrice = Field(description="not negative, at most 6 decimals")
    discount: Money | None = Field(None, description="for the whole line, in the currency's digits")


class Payment(FactData):
    """The part of an order that was not paid with money."""

    points: Money | None = Field(None, description="worth of the points that paid a part")
    voucher: Money | None = Field(None, description="worth of the vouchers that paid a part")
    vouchers: Annotated[list[Token], Field(min_length=1, max_length=20)] | None = Field(
        None, description="their codes; each is used up by this order"
    )


class Purchase(FactData):
    """An order was paid. Without a subject it is an anonymous sale."""

    order_id: Token
    order_source: Token | None = Field(None, description="who numbered the order; default: the event's source")
    lines: Annotated[list[PurchaseLine], Field(min_length=1, max_length=MAX_LINES)]
    total: Money = Field(description="what was charged; may differ from the lines by tax and delivery")
    currency: str = Field(description="ISO 4217 code")
    channel: Literal["pos", "web", "app"]
    store: Token | None = None
    payment: Payment | None = None


class RefundLine(FactData):
    """A part of one order line that came back, named by its line number or its SKU."""

    line: Annotated[StrictInt, Field(ge=1, le=MAX_LINES)] | None = Field(
        None, description="number of the order's line, from 1"
    )
    sku: Token | None = None
    quantity: Quantity | None = None
    amount: Money | None = Field(None, description="money paid back for this line")

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if self.line is None and self.sku is None:
            raise ValueError("a refund line names its order line by `line` or by `sku`")
        if self.quantity is None and self.amount is None:
            raise ValueError("a refund line says how much came back: `quantity`, `amount` or both")
        return self


class Refund(FactData):
    """Goods came back; several refunds may follow one order."""

    order_id: Token
    order_source: Token | None = None
    lines: Annotated[list[RefundLine], Field(min_length=1, max_length=MAX_LINES)] | None = None
    amount: Money | None = Field(None, description="money back for the order as a whole, spread over its lines")
    total: Money | None = Field(None, description="money paid back; default: what lines or amount say")
    currency: str
    channel: Literal["pos", "web", "app"] | None = None
    store: Token | None = None

    @model_validator(mode="after")
    def _one_of_lines_and_amount(self) -> Self:
        if (self.lines is None) == (self.amount is None):
            raise ValueError("a refund has either `lines` or `amount`")
        return self


class VisitV1(FactData):
    """A check-in, a beacon seen, a card shown, as version 1 told it."""

    store: Token | None = None
    dwell_seconds: Annotated[StrictInt, Field(ge=0, le=10**9)] | None = None


class Visit(FactData):
    """A member was in a store: a check-in, a beacon seen, a card shown. It begins at the event's time."""

    store: Token
    left: Annotated[str, Field(pattern=RFC3339)] | None = Field(
        None, description="when it was over, RFC 3339 with an offset; not before the event's time"
    )
    seen_by: Literal["check_in", "beacon", "card"] | None = Field(None, description="how it was noticed")


class Review(FactData):
    """A rating of a product or a place."""

    sku: Token | None = None
    place: Token | None = None
    rating: Annotated[StrictInt, Field(ge=0, le=10)]
    verified: StrictBool | None = None
    link: Token | None = None

    @model_validator(mode="after")
    def _rates_something(self) -> Self:
        if self.sku is None and self.place is None:
            raise ValueError("a review rates a `sku` or a `place`")
        return self


class Referral(FactData):
    """The subject, a new member, was brought by ``referrer``, a member (codes are resolved upstream)."""

    referrer: Token


class Activity(FactData):
    """Anything else worth a rule: a name and flat attributes."""

    name: Token
    attributes: dict[Token, StrictBool | Whole | Decimal | Token] = Field(default_factory=dict, max_length=64)


class Joined(FactData):
    """The account begins."""

    via: Token | None = Field(None, description="recruiting channel")


class Left(FactData):
    """The account ends."""


def _calendar_day(text: str) -> str:
    if date.fromisoformat(text).isoformat() != text:
        raise ValueError("a day is written like 2026-06-30")
    return text


def _day_or_none(text: str | None) -> str | None:
    return None if text is None else _calendar_day(text)


class Segment(FactData):
    """The member entered or left a segment, as a CRM or an analysis says."""

    segment: Token
    entered: StrictBool = Field(description="true: entered; false: left")
    as_of: Annotated[
        str | None, Field(min_length=10, max_length=10), AfterValidator(_day_or_none), WithJsonSchema(DAY_SCHEMA)
    ] = Field(None, description="the day whose data it was worked out from")


class TierOverride(StaffData):
    """Staff gives the member at least this tier, until the end of a day in the programme's time zone."""

    tier: Token = Field(description="id of a level; the base level ends the override before")
    until: Annotated[
        str, Field(min_length=10, max_length=10), AfterValidator(_calendar_day), WithJsonSchema(DAY_SCHEMA)
    ] = Field(description="the last day on which it holds, such as 2026-06-30")


class Claim(FactData):
    """A receipt or its code was scanned later: the subject claims an anonymous sale."""

    order_id: Token
    order_source: Token | None = Field(None, description="who numbered the order; default: the event's source")


class Transfer(FactData):
    """A member, the subject, gives points to another."""

    to: Token = Field(description="key of the member who gets them")
    points: Annotated[StrictInt, Field(ge=1, le=10**12)]


class Link(StaffData):
    """The subject, a card or another key, belongs to a member from now on: whatever comes for it is his."""

    member: Token = Field(description="key of the member whose it is")


class Merge(StaffData):
    """The subject, a member, becomes one with another: what he has moves over, whatever comes for him is the other's."""

    into: Token = Field(description="key of the member who stays")


class Adjustment(StaffData):
    """Staff gives points, takes points, or gives back what had expired."""

    points: Annotated[StrictInt, Field(ge=-(10**9), le=10**9)] | None = Field(
        None, description="given, or taken where negative"
    )
    reinstate: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = Field(
        None, description="entry_id of the expiry whose points come back, without a date of their own"
    )

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.points is None) == (self.reinstate is None):
            raise ValueError("an adjustment has either `points` or `reinstate`")
        if self.points == 0:
            raise ValueError("an adjustment of 0 points says nothing")
        return self


class Redemption(FactData):
    """The member wants to spend points: on a reward of the catalogue, or a number of them."""

    reward: Token | None = Field(None, description="id of a reward of the programme")
    points: Annotated[StrictInt, Field(ge=1, le=10**9)] | None = None
    store: Token | None = None
    order_id: Token | None = Field(None, description="the order that the points pay a part of")
    order_source: Token | None = None

    @model_validator(mode="after")
    def _one_of_reward_and_points(self) -> Self:
        if (self.reward is None) == (self.points is None):
            raise ValueError("a redemption has either `reward` or `points`")
        return self


#: Names that a profile has itself: no attribute has one of them.
PROFILE_NAMES = ("birthday", "language", "region", "consents", "preferred_channel")


def _birthday(text: str | None) -> str | None:
    """Refuse what is no day. The text stays out of the message, because it is personal."""
    if text is not None:
        try:
            right = date.fromisoformat(text).isoformat() == text
        except ValueError:
            right = False
        if not right:
            raise ValueError("a birthday is written like 1990-06-30")
    return text


class Profile(FactData):
    """Who the member is. Each one says all there is to say: the newest by its time counts alone.

    It is the only event with personal data. Intake seals it before it is written to any log.
    """

    birthday: Annotated[
        str | None, Field(min_length=10, max_length=10), AfterValidator(_birthday), WithJsonSchema(DAY_SCHEMA)
    ] = None
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] | None = Field(
        None, description="BCP 47 tag, such as de or de-AT"
    )
    region: Token | None = None
    preferred_channel: Token | None = None
    consents: dict[Token, StrictBool] = Field(
        default_factory=dict, max_length=64, description="per channel: may the member be written to there?"
    )
    attributes: dict[Token, StrictBool | Whole | Decimal | PersonalText] = Field(
        default_factory=dict, max_length=64, description="anything else, free text too"
    )

    @model_validator(mode="after")
    def _names_its_own(self) -> Self:
        for name in PROFILE_NAMES:
            if name in self.attributes:
                raise ValueError(f"`{name}` stands beside `attributes`, not in it")
        return self


class RedemptionEnd(FactData):
    """What a redemption came to."""

    redemption: Token | None = Field(None, description="id of the redemption's event")
    redemption_source: Token | None = Field(None, description="its source; default: the event's own source")
    code: Token | None = Field(None, description="instead of both: the code of a voucher")

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.redemption is None) == (self.code is None):
            raise ValueError("the end of a redemption names it by either `redemption` or `code`")
        if self.code is not None and self.redemption_source is not None:
            raise ValueError("a code needs no `redemption_source`")
        return self


class NoticeOutcome(FactData):
    """What became of a notice of the topic `incentives`; the subject is the member it was for."""

    notice: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] = Field(description="id of the notice")
    outcome: Literal["sent", "bounced", "opened", "clicked", "failed", "expired"]
    channel: Token
    reason: ReasonCode | None = Field(None, description="of bounced, failed and expired: a word, never an address")


class Cost(FactData):
    """The programme cost something; no subject. A correction is another one, with a negative amount."""

    day: Annotated[
        str, Field(min_length=10, max_length=10), AfterValidator(_calendar_day), WithJsonSchema(DAY_SCHEMA)
    ] = Field(description="the day it counts for, in the programme's time zone")
    kind: ReasonCode = Field(description="a word of your own list, such as printing: lower case, no free text")
    foreseen: StrictBool = Field(description="true: it was planned; false: it was not")
    amount: Annotated[Decimal, Field(gt=-(10**15), lt=10**15)] = Field(
        description="in the currency's digits; negative takes back what was told before"
    )
    currency: str = Field(description="ISO 4217 code; what is not in the programme's currency counts as nothing")
    rule: Token | None = Field(None, description="id of the rule that the money was spent on")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.amount == 0:
            raise ValueError("a cost of nought says nothing")
        return self


DATA_MODELS: dict[str, type[FactData]] = {
    PURCHASE: Purchase,
    REFUND: Refund,
    VISIT: Visit,
    VISIT_V1: VisitV1,
    REVIEW: Review,
    REFERRAL: Referral,
    ACTIVITY: Activity,
    JOINED: Joined,
    LEFT: Left,
    CLAIM: Claim,
    SEGMENT: Segment,
    TRANSFER: Transfer,
    NOTICE_OUTCOME: NoticeOutcome,
    COST: Cost,
    PROFILE: Profile,
    LINK: Link,
    MERGE: Merge,
    TIER_OVERRIDE: TierOverride,
    ADJUSTMENT: Adjustment,
    REDEMPTION: Redemption,
    REDEMPTION_CANCELLED: RedemptionEnd,
    REDEMPTION_FULFILLED: RedemptionEnd,
}


class LineForm(TypedDict):
    """A purchase line as the facts log holds it; its number is its position, from 1."""

    sku: str
    category: str | None
    quantity: str
    unit_price: str
    discount_minor: int
    amount_minor: int


class PurchaseForm(TypedDict):
    """A purchase as the facts log holds it."""

    order_source: str
    order_id: str
    lines: list[LineForm]
    total_minor: int
    currency: str
    channel: str
    store: str | None
    paid_with_points_minor: int
    paid_with_voucher_minor: int
    vouchers: NotRequired[list[str]]


class RefundLineForm(TypedDict):
    """A refund line as the facts log holds it."""

    line: int | None
    sku: str | None
    quantity: str | None
    amount_minor: int | None


class RefundForm(TypedDict):
    """A refund as the facts log holds it."""

    order_source: str
    order_id: str
    lines: list[RefundLineForm] | None
    amount_minor: int | None
    total_minor: int | None
    currency: str
    channel: str | None
    store: str | None


class VisitV1Form(TypedDict):
    """A visit of version 1 as the facts log holds it."""

    store: str | None
    dwell_seconds: int | None


class VisitForm(TypedDict):
    """A visit as the facts log holds it; only one of version 1 has no store."""

    store: str | None
    dwell_seconds: int | None
    seen_by: str | None


class ReviewForm(TypedDict):
    """A review as the facts log holds it."""

    sku: str | None
    place: str | None
    rating: int
    verified: bool | None
    link: str | None


class ReferralForm(TypedDict):
    """A referral as the facts log holds it."""

    referrer: str


class ActivityForm(TypedDict):
    """An activity as the facts log holds it; decimals are text."""

    name: str
    attributes: dict[str, Any]


class JoinedForm(TypedDict):
    """The beginning of an account as the facts log holds it."""

    via: str | None


class LeftForm(TypedDict):
    """The end of an account as the facts log holds it."""


class SegmentForm(TypedDict):
    """A segment entered or left as the facts log holds it."""

    segment: str
    entered: bool
    as_of: str | None


class StaffForm(TypedDict):
    """What every action of staff says, as the facts log holds it."""

    operator: str
    reason: str


class TierOverrideForm(StaffForm):
    """An override of the tier as the facts log holds it."""

    tier: str
    until: str


class ClaimForm(TypedDict):
    """A claim of an anonymous sale as the facts log holds it."""

    order_source: str
    order_id: str


class TransferForm(TypedDict):
    """A gift of points as the facts log holds it."""

    to: str
    points: int


class LinkForm(StaffForm):
    """That a key belongs to a member, as the facts log holds it."""

    member: str


class MergeForm(StaffForm):
    """That two members are one, as the facts log holds it."""

    into: str


class AdjustmentForm(StaffForm):
    """An adjustment as the facts log holds it."""

    points: int | None
    reinstate: str | None


class NoticeOutcomeForm(TypedDict):
    """What became of a notice, as the facts log holds it."""

    notice: str
    outcome: str
    channel: str
    reason: str | None


class CostForm(TypedDict):
    """A cost as the facts log holds it."""

    day: str
    kind: str
    foreseen: bool
    amount_minor: int
    currency: str
    rule: str | None


class RedemptionForm(TypedDict):
    """A redemption as the facts log holds it."""

    reward: str | None
    points: int | None
    store: str | None
    order_id: str | None
    order_source: str | None


class RedemptionEndForm(TypedDict):
    """The end of a redemption as the facts log holds it."""

    redemption: str
    redemption_source: str
    code: NotRequired[str]  # then the other two are empty


class StockAskedForm(TypedDict):
    """One piece of a reward is wanted, for the partition of its stock, derived from a redemption."""

    reward: str
    store: str
    member: str
    redemption: str


class StockAnsweredForm(TypedDict):
    """What came of it: None, or why there is none."""

    redemption: str
    refused: str | None
    code: NotRequired[str]


class StockReturnedForm(TypedDict):
    """A piece is not wanted any more, derived from what cancelled its redemption."""

    reward: str
    store: str
    redemption: str


class ProfileForm(TypedDict):
    """A profile as the facts log holds it: what `engine.vault.sealing` made of it, with a key of the member.

    ``member`` is whose event it was (an alias may pass it on), ``key`` names his key, ``sealed`` is base64 of nonce,
    ciphertext and tag.
    """

    member: str
    key: str
    sealed: str


class ForgetForm(TypedDict):
    """A person is forgotten: from this place of the log on nothing is known of his profile."""


class AliasForgetForm(TypedDict):
    """The same for a key that is an alias of him, derived from the forget of the member."""

    member: str


class TickForm(TypedDict):
    """A moment to which every member of the partition is settled: the fact's own time."""


# `from` is a word of Python.
LevelForm = TypedDict("LevelForm", {"id": str, "label": str, "from": int, "benefits": list[str]})


class TiersForm(TypedDict):
    """How tiers are reached: amounts are minor units where they go by spend; the first level is the base."""

    by: str
    over: str
    months: int
    levels: list[LevelForm]


class ChallengeForm(TypedDict):
    """A challenge, as tables tell it; ``need`` is minor units where it is about ``money``; a fixed window has both moments."""

    id: str
    label: str
    need: int
    money: bool
    begins_at: NotRequired[str]
    ends_at: NotRequired[str]


class BadgeForm(TypedDict):
    """A badge, as tables tell it."""

    id: str
    label: str


class RaffleForm(TypedDict):
    """A raffle, as tables tell it and as anybody checks its draw; ``ends_at`` is exclusive."""

    id: str
    label: str
    begins_at: str
    ends_at: str
    winners: int
    wins_per_member: int
    commitment: NotRequired[str]
    public: NotRequired[str]


class CategoryMarginForm(TypedDict):
    """What is kept of the sales of a category: a fraction of one, as decimal text."""

    category: str
    share: str


class MarginForm(TypedDict):
    """What is kept of sales: a fraction of one, as decimal text, and of some categories another."""

    share: str
    categories: list[CategoryMarginForm]


class GoalForm(TypedDict):
    """A goal, as tables tell it; values are decimal text: fractions of one, minor units or numbers, as the metric has it."""

    id: str
    metric: str
    baseline: str
    target: str
    by: str
    store: NotRequired[str]
    channel: NotRequired[str]


class ProgrammeForm(TypedDict):
    """From this place of the log on, the version of this hash is known."""

    hash: str
    programme: str
    version: int
    valid_from: str
    time_zone: str
    currency: str
    base_tier: str | None
    tiers: NotRequired[TiersForm]
    challenges: NotRequired[list[ChallengeForm]]
    badges: NotRequired[list[BadgeForm]]
    raffles: NotRequired[list[RaffleForm]]
    point_minor: NotRequired[int]
    margin: NotRequired[MarginForm]
    goals: NotRequired[list[GoalForm]]


class ReferralAwardForm(TypedDict):
    """The referrer's side of a referral, derived from what the referred member did."""

    referred: str
    cause_source: str
    cause_id: str
    cause_entry: str | None


class ReferralReversalForm(TypedDict):
    """The order that a referral was awarded for came back: the referrer's side of that, derived from the refund."""

    referred: str
    cause_source: str
    cause_id: str
    cause_entry: str | None
    award_id: str


class TakeoverForm(TypedDict):
    """What a key had that became an alias, for the member it belongs to; long ones come in parts.

    Attributes:
        through: the keys it went through.
        lots: [id, points, earned, active, expires, waits for, cancelled], with moments in microseconds as everywhere here.
        spent: [id, earned, what time took] of lots with nothing left.
        orders: [order source, order id, source, fact id, moment, order, what came back].
        seen: [source, fact id, moment] of facts that count as seen.
        debt: of all parts in the last one; what may be missing stands in the first.
    """

    alias: str
    action: str
    through: list[str]
    cause_source: str
    cause_id: str
    cause_entry: str | None
    lots: list[list[Any]]
    spent: list[list[Any]]
    orders: list[list[Any]]
    seen: list[list[Any]]
    debt: int
    progress: NotRequired[list[list[Any]]]
    counts: NotRequired[list[list[Any]]]
    counters: NotRequired[list[list[Any]]]
    override: NotRequired[list[Any] | None]
    slides_us: NotRequired[int | None]
    played: NotRequired[list[list[Any]]]
    visits: NotRequired[dict[str, int]]
    brought: NotRequired[list[str]]
    bonuses: NotRequired[list[list[Any]]]
    missed: NotRequired[list[list[Any]]]
    arrived: NotRequired[list[list[Any]]]
    waiting: NotRequired[list[list[Any]]]
    segments: NotRequired[dict[str, list[Any]]]
    told: NotRequired[list[list[Any]]]
    welcomed: NotRequired[list[list[Any]]]
    redemptions: NotRequired[list[list[Any]]]
    aliases: NotRequired[list[str]]
    referral: NotRequired[list[Any] | None]
    joined_us: NotRequired[int | None]
    joined_said: NotRequired[bool]
    profile: NotRequired[list[Any] | None]


class WaitedRefundForm(RefundForm):
    """A refund that came before its purchase, now that the purchase is known."""

    refund_source: str
    refund_id: str


class OrderOwnedForm(TypedDict):
    """Who bought an order, for the order's own partition, derived from the purchase."""

    order_source: str
    order_id: str
    member: str


class ClaimAskedForm(TypedDict):
    """Whose an anonymous sale shall be, for the order's own partition, derived from a claim."""

    order_source: str
    order_id: str
    member: str
    claim_source: str
    claim_id: str
    within_us: int


class ClaimAnsweredForm(TypedDict):
    """What came of a claim: None, or why it was refused."""

    order_source: str
    order_id: str
    claim_source: str
    claim_id: str
    refused: str | None


class TransferOfferForm(TypedDict):
    """Points that were reserved for another member: [lot, points, earned, expires], moments in microseconds."""

    sender: str
    transfer_source: str
    transfer_id: str
    cause_entry: str
    lots: list[list[Any]]


class TransferAnswerForm(TypedDict):
    """Whether the other side took the points: None, or why not."""

    transfer_source: str
    transfer_id: str
    refused: str | None


FORMS: dict[str, Any] = {
    PURCHASE: PurchaseForm,
    REFUND: RefundForm,
    VISIT: VisitForm,
    VISIT_V1: VisitV1Form,
    REVIEW: ReviewForm,
    REFERRAL: ReferralForm,
    ACTIVITY: ActivityForm,
    JOINED: JoinedForm,
    LEFT: LeftForm,
    CLAIM: ClaimForm,
    SEGMENT: SegmentForm,
    TRANSFER: TransferForm,
    NOTICE_OUTCOME: NoticeOutcomeForm,
    COST: CostForm,
    PROFILE: ProfileForm,
    LINK: LinkForm,
    MERGE: MergeForm,
    TIER_OVERRIDE: TierOverrideForm,
    ADJUSTMENT: AdjustmentForm,
    REDEMPTION: RedemptionForm,
    REDEMPTION_CANCELLED: RedemptionEndForm,
    REDEMPTION_FULFILLED: RedemptionEndForm,
    TICK: TickForm,
    PROGRAMME: ProgrammeForm,
    REFERRAL_AWARD: ReferralAwardForm,
    REFERRAL_REVERSAL: ReferralReversalForm,
    TAKEOVER: TakeoverForm,
    WAITED_REFUND: WaitedRefundForm,
    CLAIM_ASKED: ClaimAskedForm,
    CLAIM_ANSWERED: ClaimAnsweredForm,
    STOCK_ASKED: StockAskedForm,
    STOCK_ANSWERED: StockAnsweredForm,
    STOCK_RETURNED: StockReturnedForm,
    TRANSFER_OFFER: TransferOfferForm,
    TRANSFER_ANSWER: TransferAnswerForm,
    FORGET: ForgetForm,
    ALIAS_FORGET: AliasForgetForm,
    ORDER_OWNED: OrderOwnedForm,
}


def short_name(event_type: str) -> str:
    """Return ``purchase`` of ``stammgast.purchase.v1``: the name that rules use."""
    return event_type.split(".")[1]


def versions_of(name: str) -> frozenset[str]:
    """Return every inbound type that a word means: all versions of ``visit``, or the one that is written out; none if unknown."""
    return frozenset(kind for kind in INBOUND_TYPES if name in (kind, short_name(kind)))


SHORT_NAMES = {event_type: short_name(event_type) for event_type in (*INBOUND_TYPES, *ENGINE_TYPES)}
