"""The programme language: the models of one programme file, which is one version of a programme.

A shop owner can read a file aloud: units stand with their numbers, every rule has an id that entries carry, and what is
not said has the one default that the field's description names. The models are strict; what a single field cannot know
(an id defined elsewhere in the file, a condition that does not fit the fact) is in `rules.checks`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from rules.codes import plain_code
from rules.values import (
    CalendarText,
    CodePatternText,
    Duration,
    FactorText,
    FixedText,
    HourText,
    MomentText,
    Money,
    MoneyText,
    MonthDayText,
    NumberText,
    ShareText,
    Slug,
    SpanText,
    StockText,
    Word,
    mistake,
    parse_currency,
    parse_money,
    parse_word,
    parse_zone,
    refuse_reversed,
    shown,
)
from schemas.rounding import Rounding

LANGUAGE = 1  # in canonical JSON; raised when a value that is not said comes to mean something else

FactName = Literal["purchase", "visit", "review", "activity", "joined", "referral"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Every = Literal["day", "week", "month", "quarter", "year", "ever"]
Channel = Literal["pos", "web", "app"]


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _schema_of_list(items: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [items, {"type": "array", "items": items, "minItems": 1}]})


_MANY = Field(min_length=1)
Words = Annotated[tuple[Word, ...], BeforeValidator(_as_list), _MANY, _schema_of_list({"type": ["string", "number"]})]
Slugs = Annotated[tuple[Slug, ...], BeforeValidator(_as_list), _MANY, _schema_of_list({"type": ["string", "integer"]})]
Weekdays = Annotated[
    tuple[Weekday, ...],
    BeforeValidator(_as_list),
    _MANY,
    _schema_of_list({"enum": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}),
]
Channels = Annotated[
    tuple[Channel, ...], BeforeValidator(_as_list), _MANY, _schema_of_list({"enum": ["pos", "web", "app"]})
]
#: One owner keeps them all: more would make his state too large for a record.
MOST_CODES = 2_000
Points = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)]
Count = Annotated[int, Field(strict=True, ge=0, le=1_000_000)]


def _shape(value: Any) -> str:
    return "<mapping>" if isinstance(value, dict | BaseModel) else "<word>"


# A word or a mapping: the tags keep one from being blamed for not being the other; `rules.checks` takes them off again.
_WORD, _MAPPING, _BY_SHAPE = Tag("<word>"), Tag("<mapping>"), Discriminator(_shape)


class Part(BaseModel):
    """What all models share: unknown keys are mistakes, nothing is converted behind the writer's back."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Range(Part):
    """From and to; both may be said, one must be."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        at_least, below = getattr(self, "at_least"), getattr(self, "below")  # noqa: B009 - the subclasses have them
        if at_least is None and below is None:
            raise mistake("an empty range", "say at_least, below, or both")
        if at_least is not None and below is not None and at_least >= below:
            raise mistake("no value is at least the one and below the other", "at_least must be less than below")
        return self


class MoneyRange(Range):
    """An amount of money, from and to; both may be said."""

    at_least: MoneyText | None = Field(None, description="This amount or more. Default: no lower bound.")
    below: MoneyText | None = Field(None, description="Less than this amount. Default: no upper bound.")


class NumberRange(Range):
    """A number, from and to; both may be said."""

    at_least: NumberText | None = Field(None, description="This number or more. Default: no lower bound.")
    below: NumberText | None = Field(None, description="Less than this number. Default: no upper bound.")


class CountRange(Range):
    """A whole number, from and to; both may be said."""

    at_least: Count | None = Field(None, description="This number or more. Default: no lower bound.")
    below: Count | None = Field(None, description="Less than this number. Default: no upper bound.")


class BoughtSku(Part):
    """The reviewed product was bought by this member before."""

    within: FixedText = Field(description="Counted back from the review, for example 90 days.")


class Spent(Part):
    """What the member spent before this fact."""

    at_least: MoneyText = Field(description="Total of counted purchases, this one not included.")
    within: FixedText = Field(description="Counted back from the fact, for example 30 days.")


class EveryNth(Part):
    """Every tenth order, or every tenth with such a line."""

    n: Annotated[int, Field(strict=True, ge=2, le=1_000)] = Field(description="2 is every second.")
    category: Words | None = Field(None, description="Only orders with a line of it count. One or a list.")
    sku: Words | None = Field(None, description="Only orders with a line of it count. One or a list.")

    @model_validator(mode="after")
    def _counts_one_thing(self) -> Self:
        if self.category is not None and self.sku is not None:
            raise mistake("every_nth counts by category or by sku, not by both", "take one of them out")
        return self


class Streak(Part):
    """Something in each of so many days, weeks or months in a row, this one included."""

    n: Annotated[int, Field(strict=True, ge=2, le=366)] = Field(description="How many in a row.")
    every: Literal["day", "week", "month"] = Field(
        "day", description="day, week (ISO) or month of the programme's time zone. Default: day."
    )
    name: Words | None = Field(None, description="activity: only those of this name count. One or a list.")


def _parse_attribute_values(value: Any) -> tuple[str | int | bool, ...]:
    wanted = tuple(_parse_attribute(item) for item in _as_list(value))
    if not wanted:
        raise mistake("an empty list never holds", "write at least one value")
    return wanted


def _parse_attribute(value: Any) -> str | int | bool:
    if isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return parse_word(value)
    if isinstance(value, Decimal):
        raise mistake(f"{value} cannot be compared for equality", f"write a range: {{at_least: {value}}}")
    raise mistake(f"{shown(value)} is no attribute", "write a word, a whole number, true or false")


_ATTRIBUTE_SCHEMA = {"type": ["string", "integer", "boolean"]}
AttributeValues = Annotated[
    tuple[str | int | bool, ...],
    PlainValidator(_parse_attribute_values),
    PlainSerializer(list, return_type=list[Any]),
    _schema_of_list(_ATTRIBUTE_SCHEMA),
]
Attribute = Annotated[Annotated[AttributeValues, _WORD] | Annotated[NumberRange, _MAPPING], _BY_SHAPE]


class Condition(Part):
    """When a rule applies: everything that is said here must hold. For a purchase, line by line."""

    amount: MoneyRange | None = Field(None, description="purchase: total of the order, as charged.")
    quantity: NumberRange | None = Field(None, description="purchase: quantity of the line.")
    sku: Words | None = Field(None, description="purchase: SKU of the line; review: the product. One or a list.")
    category: Words | None = Field(None, description="purchase: category of the line. One or a list.")
    channel: Channels | None = Field(None, description="purchase: pos, web or app. One or a list.")
    store: Words | None = Field(None, description="purchase, visit: the store. One or a list.")
    place: Words | None = Field(None, description="review: the place that was rated. One or a list.")
    weekday: Weekdays | None = Field(None, description="Day of the week in the programme's time zone. One or a list.")
    between: tuple[HourText, HourText] | None = Field(
        None,
        description='Local time of day, the first included, the second not: ["14:00", "17:00"]. May cross midnight.',
    )
    from_: MomentText | None = Field(None, alias="from", description="Facts from this day, or moment, on.")
    until: MomentText | None = Field(None, description="Facts until the end of this day, or before this moment.")
    first_purchase: Annotated[bool, Field(strict=True)] | None = Field(
        None, description="purchase: true: no order of this member was counted before; false: one was."
    )
    every_nth: EveryNth | None = Field(
        None, description="purchase: it is the nth order that counts, or the 2nth, the 3nth ... of this member."
    )
    streak: Streak | None = Field(
        None,
        description="purchase, visit, activity: the first that makes n days, weeks or months in a row; then they count anew.",
    )
    bought_sku: BoughtSku | None = Field(None, description="review: the product was bought within this time before.")
    spent: Spent | None = Field(None, description="Money spent before this fact.")
    profile: Annotated[dict[str, Attribute], Field(min_length=1)] | None = Field(
        None,
        description="What the newest profile says: language, region, preferred_channel or an attribute, by name: a value, a "
        "list of values, or {at_least, below}. Never holds without a profile.",
    )
    consent: Words | None = Field(None, description="The newest profile consents to this channel, or to one of a list.")
    segment: Words | None = Field(None, description="The member is in this segment, or in one of a list.")
    tier: Slugs | None = Field(None, description="Tier before this fact. One or a list of level ids.")
    days_since_joined: CountRange | None = Field(
        None, description="Calendar days since the account began; 0 on its first day."
    )
    days_since_last_purchase: CountRange | None = Field(
        None, description="Calendar days since the newest counted purchase; never holds before the first."
    )
    rating: CountRange | None = Field(None, description="review: the rating.")
    verified: Annotated[bool, Field(strict=True)] | None = Field(
        None, description="review: whether it is marked as verified; a review that does not say is not."
    )
    name: Words | None = Field(None, description="activity: its name. One or a list.")
    attributes: Annotated[dict[str, Attribute], Field(min_length=1)] | None = Field(
        None, description="activity: attribute by name: a value, a list of values, or {at_least, below}."
    )
    via: Words | None = Field(None, description="joined: the recruiting channel. One or a list.")
    all: Annotated[tuple[Condition, ...], Field(min_length=1)] | None = Field(
        None, description="All of these conditions hold."
    )
    any: Annotated[tuple[Condition, ...], Field(min_length=1)] | None = Field(
        None, description="At least one of these conditions holds."
    )
    not_: Condition | None = Field(None, alias="not", description="This condition does not hold.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise mistake("an empty condition", "say what must hold, or take the key out")
        if self.between is not None and self.between[0] == self.between[1]:
            raise mistake(f"between {self.between[0]} and {self.between[1]} is no time at all", "take between out")
        if self.from_ is not None and self.until is not None:
            refuse_reversed(self.from_, self.until)
        if self.profile is not None and "consents" in self.profile:
            raise mistake("consents are asked by channel", "write consent: and the channel beside profile:")
        if self.profile is not None and "birthday" in self.profile:
            raise mistake("no rule asks for a date of birth", "take birthday out: rules know people by other things")
        return self


class Bracket(Part):
    """What a part of the money spent earns: the part from where the bracket before it ends."""

    to: MoneyText | None = Field(None, description="It ends at this amount. Default: it does not; only the last may.")
    points: Points = Field(description="Points for each amount in `per`.")
    per: MoneyText = Field(description="So much money earns the points, in proportion.")


class Award(Part):
    """Points for a fact: fixed, by money, or by money in brackets."""

    points: Points | None = Field(
        None, description="Points granted, or points for each amount in `per`. Needed where there are no brackets."
    )
    brackets: Annotated[tuple[Bracket, ...], Field(min_length=1)] | None = Field(
        None,
        description="purchase: every part of what the member spends under this rule earns at its own rate: "
        "[{to: 5000.00 EUR, points: 1, per: 1.00 EUR}, {points: 12, per: 10.00 EUR}]. Default: one rate for all.",
    )
    over: Literal["calendar_year", "quarter", "month", "lifetime"] | None = Field(
        None, description="With brackets: how long spending counts together. Default: calendar_year."
    )
    per: MoneyText | None = Field(
        None, description="purchase: the points are for each so much money, in proportion. Default: a fixed award."
    )
    of: Literal["net_after_discounts", "gross_before_discounts"] = Field(
        "net_after_discounts", description="purchase: which amount of the lines counts. Default: net_after_discounts."
    )
    each: Literal["order", "line"] = Field(
        "order", description="purchase: one award for all eligible lines, or one for each. Default: order."
    )
    round: Rounding = Field(Rounding.FLOOR, description="How a fraction of a point is rounded. Default: floor.")
    rounding: Literal["after_multipliers", "before_multipliers"] = Field(
        "after_multipliers", description="Round once after multipliers, or the award first. Default: after_multipliers."
    )


class Multiply(Part):
    """A factor on what base rules award."""

    by: FactorText = Field(description="The factor, at least 1: 2, 1.25 or 125 %.")
    only: Slugs | None = Field(None, description="Ids of the rules it multiplies. Default: all base rules.")


class Cap(Part):
    """At most so much in each calendar window; exactly one of points and times is said."""

    points: Points | None = Field(None, description="At most so many points; an award is clipped to what is left.")
    times: Points | None = Field(None, description="At most so many awards.")
    per: Annotated[
        tuple[Literal["member", "place"], ...],
        BeforeValidator(_as_list),
        WithJsonSchema(
            {"anyOf": [{"const": "member"}, {"type": "array", "items": {"enum": ["member", "place"]}, "minItems": 1}]}
        ),
    ] = Field(
        ("member",),
        description="Counted per member, or per [member, place]: place is the store, or what a review is about. "
        "Default: member.",
    )
    every: Every = Field(
        "ever", description="Window of the programme's time zone: day, week (ISO), month, quarter, year. Default: ever."
    )

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.points is None) == (self.times is None):
            raise mistake("a cap says either points or times, exactly one", "for two caps write two rules")
        if sorted(self.per) not in (["member"], ["member", "place"]):
            raise mistake(f"per {', '.join(self.per)} is not counted", "write per: member or per: [member, place]")
        return self


class Limit(Cap):
    """At most so many points from several rules together."""

    only: Slugs | None = Field(None, description="Ids of the rules it clips. Default: every rule for this fact.")


class Expires(Part):
    """Until when points can be spent, from the day on which they could first be spent."""

    after: SpanText | None = Field(None, description="So long, for example 12 months, or 30 days.")
    at: Literal["end_of_month", "end_of_quarter", "end_of_year"] | None = Field(
        None, description="Then on to the end of that month, quarter or year. Default: to the end of the day."
    )
    on: (
        Annotated[tuple[MonthDayText, ...], BeforeValidator(_as_list), _MANY, _schema_of_list({"type": "string"})]
        | None
    ) = Field(None, description='To the end of the next of these days of the year: "31 Dec". One or a list.')

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        inactivity = getattr(self, "inactivity", None)
        if [self.after, self.on, inactivity].count(None) != 2:
            raise mistake("points expire in one way, of after, on and inactivity", "for two ways write two rules")
        if self.at is not None and self.after is None:
            raise mistake(f"at {self.at} of what?", "write {after: 12 months, at: end_of_month}")
        return self


class ExpiresOrSlides(Expires):
    """Until when points can be spent."""

    inactivity: CalendarText | None = Field(
        None, description="All points without a date of their own go when the member did nothing for so long."
    )


_NONE = Annotated[Literal["none"], _WORD]
Expire = Annotated[_NONE | Annotated[Expires, _MAPPING], _BY_SHAPE]
ExpireOrSlide = Annotated[_NONE | Annotated[ExpiresOrSlides, _MAPPING], _BY_SHAPE]


class WaitingTime(Part):
    """When points that were earned can be spent: after some time, or when a fact comes."""

    for_: FixedText | None = Field(None, alias="for", description="So long after the fact, for example 14 days.")
    until: Word | None = Field(
        None, description="purchase: when an activity of this name comes with the order_id: delivered."
    )
    cancel_after: FixedText | None = Field(
        None, description="With until: when that activity did not come for so long, the points are taken."
    )
    channels: Channels | None = Field(None, description="Only for purchases by these channels. Default: every fact.")

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.for_ is None) == (self.until is None):
            raise mistake("points wait for a time or for a fact", "write {for: 14 days}, or {until: delivered, ...}")
        if (self.until is None) != (self.cancel_after is None):
            raise mistake("until and cancel_after belong together", "write {until: delivered, cancel_after: 60 days}")
        return self


Pending = Annotated[_NONE | Annotated[WaitingTime, _MAPPING], _BY_SHAPE]


class EarnRule(Part):
    """One rule: what it is about, when it applies, and either an award, a multiplier, a limit or a reward."""

    id: Slug = Field(description="Name of the rule; entries carry it, so it stays the same from version to version.")
    on: FactName = Field(description="The fact it answers.")
    when: Condition | None = Field(None, description="Applies only where this holds. Default: always.")
    unless: Condition | None = Field(None, description="Does not apply where this holds. Default: no exception.")
    award: Award | None = Field(None, description="Points for the fact.")
    bonus: Annotated[bool, Field(strict=True)] = Field(
        False, description="A bonus comes after base awards and is not multiplied unless named. Default: false."
    )
    multiply: Multiply | None = Field(None, description="A factor on base awards.")
    limit: Limit | None = Field(None, description="A limit over several rules.")
    reward: Slug | None = Field(None, description="Id of a reward of the catalogue that is given, free of cost.")
    cap: Cap | None = Field(None, description="A cap on this rule alone. Default: none.")
    priority: Annotated[int, Field(strict=True, ge=-1000, le=1000)] = Field(
        0, description="Higher comes first within base, bonus, multiply or limit. Default: 0."
    )
    exclusive: Slug | None = Field(
        None, description="Of the rules of one exclusive group only the best applies. Default: no group."
    )
    hold_out: ShareText | None = Field(
        None,
        description="So many members, chosen by chance and for good, get nothing from this rule, and decisions say so: what "
        "the rule changes can be measured against them. Default: nobody.",
    )
    stop: Annotated[bool, Field(strict=True)] = Field(
        False, description="Where it applies, no later rule does; limits still clip. Default: false."
    )
    expire: Expire | None = Field(
        None, description="When its points expire. Default: as the tier or the programme says."
    )
    pending: Pending | None = Field(
        None, description="When its points can be spent. Default: as the tier or the programme says."
    )
    from_: MomentText | None = Field(None, alias="from", description="Facts from then on. Default: as the version.")
    until: MomentText | None = Field(None, description="Facts until the end of that day. Default: as the version.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.from_ is not None and self.until is not None:
            refuse_reversed(self.from_, self.until)
        return self


class FirstPurchase(Part):
    """The referral is rewarded at the new member's first counted purchase."""

    first: Literal["purchase"] = Field(description="purchase")
    at_least: MoneyText | None = Field(None, description="Its total must reach this amount. Default: any amount.")
    within: FixedText | None = Field(None, description="Counted from the referral. Default: no deadline.")


class EveryPurchase(Part):
    """The referral is rewarded at each of the new member's counted purchases, for some time."""

    every: Literal["purchase"] = Field(description="purchase")
    for_: FixedText = Field(alias="for", description="For so long, counted from the referral: 90 days.")
    at_least: MoneyText | None = Field(
        None, description="The total of each must reach this amount. Default: any amount."
    )


def _moment_shape(value: Any) -> str:
    every = "every" in value if isinstance(value, dict) else isinstance(value, EveryPurchase)
    return "<every>" if every else _shape(value)


Moment = Annotated[
    Annotated[Literal["referral", "joined"], _WORD]
    | Annotated[FirstPurchase, _MAPPING]
    | Annotated[EveryPurchase, Tag("<every>")],
    Discriminator(_moment_shape),
]


class ReferSide(Part):
    """What one side of a referral gets."""

    points: Points = Field(description="Points for one referral.")
    cap: Cap | None = Field(None, description="A cap on these awards, per member. Default: none.")


class Refer(Part):
    """Members bring members."""

    moment: Moment = Field(
        "referral",
        description="referral, joined, {first: purchase, at_least, within} or {every: purchase, for, at_least}. "
        "Default: referral.",
    )
    referrer: ReferSide | None = Field(None, description="For the member who brought the other. Default: nothing.")
    referred: ReferSide | None = Field(None, description="For the new member. Default: nothing.")


class Rolling(Part):
    """The months behind the moment."""

    rolling: CalendarText = Field(description="How far back progress counts, for example 12 months.")


Over = Annotated[
    Annotated[Literal["calendar_year", "membership_year", "lifetime"], _WORD] | Annotated[Rolling, _MAPPING], _BY_SHAPE
]


class Qualify(Part):
    """How members qualify for tiers."""

    by: Literal["spend", "points", "visits", "orders"] = Field(
        "spend", description="What counts: money spent, points earned, visits or orders. Default: spend."
    )
    over: Over = Field(
        "calendar_year",
        description="calendar_year, membership_year (from the day the account began), lifetime, or {rolling: 12 months}. "
        "Default: calendar_year.",
    )


class Lowered(Part):
    """When a period ends, the member goes down: to the level that was earned, or one level at a time."""

    to: Literal["earned_level", "one_level"] = Field(
        description="earned_level, or one_level: one down for each period that earned less."
    )
    after: Literal["period_end"] = Field("period_end", description="Default: period_end.")
    grace: CalendarText | None = Field(
        None, description="How long after the end of the period the level still holds. Default: not at all."
    )


Downgrade = Annotated[Annotated[Literal["none"], _WORD] | Annotated[Lowered, _MAPPING], _BY_SHAPE]


def _parse_threshold(value: Any, info: ValidationInfo) -> int | Money:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10**12:
        return value
    if isinstance(value, str):
        return parse_money(value, info)
    raise mistake(f"{shown(value)} is no threshold", "write an amount like 300.00 EUR, or a whole number")


def _threshold_json(value: int | Money) -> int | str:
    return str(value) if isinstance(value, Money) else value


Threshold = Annotated[
    int | Money,
    PlainValidator(_parse_threshold),
    PlainSerializer(_threshold_json),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^\d{1,12}(\.\d{1,4})? [A-Z]{3}$", "examples": ["300.00 EUR"]},
            ]
        }
    ),
]


class Welcome(Part):
    """Points for reaching a level."""

    points: Points = Field(description="Points for reaching the level.")
    again: Annotated[bool, Field(strict=True)] = Field(
        False, description="Each time it is reached, not only the first. Default: false."
    )


class Level(Part):
    """One tier."""

    id: Slug = Field(description="Name of the tier in tables and conditions.")
    label: Word | None = Field(None, description="What guests see. Default: the id.")
    from_: Threshold = Field(
        0,
        alias="from",
        description="Reached at this amount of money (by spend) or this number (by points, visits, orders). "
        "The first level is the base and has none. Default: 0.",
    )
    multiply: FactorText | None = Field(None, description="Factor on base awards of its members. Default: 1.")
    keep: Literal["for_ever"] | None = Field(
        None,
        description="for_ever: time never takes this level from whom reached it; a refund may. Default: as the others.",
    )
    expire: Expire | None = Field(
        None, description="When points of its members expire. Default: as the programme says."
    )
    pending: Pending | None = Field(
        None, description="When points of its members can be spent. Default: as the programme says."
    )

    welcome: Annotated[Annotated[Points, _WORD] | Annotated[Welcome, _MAPPING], _BY_SHAPE] | None = Field(
        None, description="Points for reaching it, once per member, or {points: 50, again: true}. Default: none."
    )
    benefits: Slugs | None = Field(None, description="Names of what its members have beside points. Default: none.")


class Tiers(Part):
    """Levels of membership."""

    qualify: Qualify = Field(Qualify(), description="Default: {by: spend, over: calendar_year}.")
    downgrade: Downgrade = Field(
        "none",
        description="What the passing of time does: none, or {to: earned_level, after: period_end, grace: 3 months}, "
        "or the same with one_level. Default: none.",
    )
    levels: Annotated[tuple[Level, ...], Field(min_length=1)] = Field(
        description="From the base upwards, thresholds ascending."
    )


class PointsAre(Part):
    """What points are."""

    name: Word = Field("points", description="What guests call them. Default: points.")
    expire: ExpireOrSlide | None = Field(
        None, description="When points expire: none, {after, at}, {on} or {inactivity}. Default: none."
    )
    pending: Pending | None = Field(
        None, description="When points can be spent: none (at once), {for} or {until, cancel_after}. Default: none."
    )
    negative_balance: Literal["within_balance", "allow", "only_pending"] = Field(
        "within_balance",
        description="When goods come back and their points are gone: take what is there (within_balance), let the member owe "
        "the rest (allow), or take only points that could not be spent yet (only_pending). Default: within_balance.",
    )
    pay_back: Literal["pro_rata"] | None = Field(
        None,
        description="pro_rata: when goods come back, points that paid a part of their order (a redemption with its order_id) "
        "come back in the same part. Default: they stay spent.",
    )
    part_payment: Literal["earns"] | None = Field(
        None, description="earns: what points paid of an order earns like money. Default: it earns nothing."
    )
    worth: MoneyText | None = Field(
        None, description="Value of one point, for people to read; nothing is computed from it yet. Default: not said."
    )


class Voucher(Part):
    """What a till takes off an order for whoever has the code."""

    value: MoneyText | None = Field(None, description="So much off, for example 5.00 EUR. This or percent.")
    percent: ShareText | None = Field(None, description="Such a part off, for example 10 %. This or value.")
    at_least: MoneyText | None = Field(
        None, description="Only for an order of this amount or more. Default: any order."
    )
    code: CodePatternText | None = Field(
        None,
        description="How its code looks: CAFE-####-####-##, each # a character, the last of them a check. "
        "Default: ####-####-####.",
    )
    key: Word | None = Field(
        None, description="A word that only you know: without it nobody can work codes out. Default: none."
    )
    codes: Annotated[tuple[Word, ...], BeforeValidator(_as_list), Field(min_length=1, max_length=MOST_CODES)] | None = (
        Field(
            None,
            description="Codes that exist already, each given to one member, in this order. Default: made by code.",
        )
    )

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.value is None) == (self.percent is None):
            raise mistake("a voucher says either value or percent, exactly one", "write {value: 5.00 EUR}")
        if self.codes is not None:
            if self.code is not None or self.key is not None:
                raise mistake("codes are given or made, not both", "take code and key out, or codes")
            plain = [plain_code(code) for code in self.codes]
            twice = next((code for code in self.codes if plain.count(plain_code(code)) > 1), None)
            if twice is not None:
                raise mistake(f"the code {twice} stands twice", "a code is one voucher: take one of them out")
        return self


class Reward(Part):
    """Something that points can be spent on."""

    id: Slug = Field(
        description="Name of the reward; redemptions carry it, so it stays the same from version to version."
    )
    label: Word | None = Field(None, description="What guests see. Default: the id.")
    cost: Points = Field(description="Points it costs.")
    valid_for: FixedText | None = Field(
        None, description="How long a granted reward can be collected; then it lapses. Default: without end."
    )
    tiers: Slugs | None = Field(None, description="Only for members of these levels. One or a list. Default: for all.")
    stock: StockText | None = Field(
        None, description="How many there are: 40, 40 per month, 5 per week per store. Default: enough for everybody."
    )
    voucher: Voucher | None = Field(
        None, description="It is a voucher with a code: {value: 5.00 EUR} or {percent: 10 %}. Default: no code."
    )
    from_: MomentText | None = Field(None, alias="from", description="From then on. Default: as the version.")
    until: MomentText | None = Field(None, description="Until the end of that day. Default: as the version.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.from_ is not None and self.until is not None:
            refuse_reversed(self.from_, self.until)
        if self.stock is not None and self.voucher is not None and self.voucher.codes is not None:
            raise mistake("there are as many as there are codes", "take stock out")
        return self


class Valid(Part):
    """When this version is in force, by the time of the fact, in the programme's time zone."""

    from_: MomentText = Field(alias="from", description="From this day (or moment) on.")
    until: MomentText | None = Field(
        None, description="Until the end of this day, or before this moment. Default: until the next version begins."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.until is not None:
            refuse_reversed(self.from_, self.until)
        return self


class Claim(Part):
    """Anonymous sales can be claimed by a member who shows the receipt later."""

    within: FixedText = Field(Duration(30, "day"), description="Counted from the sale. Default: 30 days.")


class Transfer(Part):
    """Members may give points to each other; the points keep their dates."""

    at_least: Points = Field(1, description="Fewest points of one transfer. Default: 1.")
    at_most: Points | None = Field(None, description="Most points of one transfer. Default: whatever the member has.")

    @model_validator(mode="after")
    def _some_fit(self) -> Self:
        if self.at_most is not None and self.at_most < self.at_least:
            raise mistake(
                f"no transfer has at least {self.at_least} and at most {self.at_most} points", "raise at_most"
            )
        return self


class ProgrammeFile(Part):
    """One version of a reward programme."""

    programme: Slug = Field(description="Name of the programme; all its versions share it.")
    version: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = Field(
        description="Number of this version, rising; entries carry it."
    )
    valid: Valid = Field(description="When it is in force.")
    time_zone: Annotated[str, PlainValidator(parse_zone), WithJsonSchema({"type": "string"})] = Field(
        description="IANA name, such as Europe/Berlin: days, weeks and hours of rules are local."
    )
    currency: Annotated[
        str, PlainValidator(parse_currency), WithJsonSchema({"type": "string", "pattern": "^[A-Z]{3}$"})
    ] = Field(description="ISO 4217 code, such as EUR. A purchase in another currency earns nothing.")
    points: PointsAre = Field(PointsAre(), description="What points are called and how they behave.")
    visit_gap: FixedText = Field(
        Duration(30, "minute"), description="Visits at one store this close are one. Default: 30 minutes."
    )
    accept_late: FixedText | None = Field(
        None, description="How far a fact may lie behind the member's newest one. Default: however late."
    )
    refund_waits: FixedText | None = Field(
        None, description="So long a refund waits for a purchase that is not known yet. Default: 30 days."
    )
    transfer: Transfer | None = Field(None, description="Members may give points to each other. Default: they may not.")
    claim: Claim | None = Field(
        None, description="Members may claim anonymous sales; the first one has it. Default: nobody may."
    )
    join: Literal["first_fact", "explicit"] | None = Field(
        None,
        description="An account begins with its first fact, or explicit: nothing is earned before a joined fact. "
        "Default: first_fact.",
    )
    earn: Annotated[tuple[EarnRule, ...], Field(strict=False)] = Field(
        (), description="The rules. Their order in the file does not matter."
    )
    refer: Refer | None = Field(None, description="Awards for members who bring members. Default: none.")
    tiers: Tiers | None = Field(None, description="Levels of membership. Default: none.")
    rewards: Annotated[tuple[Reward, ...], Field(strict=False, min_length=1)] | None = Field(
        None, description="The catalogue: what points can be spent on. Default: nothing but a number of points."
    )
