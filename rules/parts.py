"""What rules are written with: conditions, awards, caps, dates; `rules.language` puts a programme together out of them."""

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

from rules.values import (
    CalendarText,
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
    Word,
    mistake,
    parse_money,
    parse_word,
    refuse_reversed,
    shown,
)
from schemas.rounding import Rounding

FactName = Literal["purchase", "visit", "review", "activity", "joined", "referral"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Every = Literal["day", "week", "month", "quarter", "year", "ever"]
Channel = Literal["pos", "web", "app"]


def as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def schema_of_list(items: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [items, {"type": "array", "items": items, "minItems": 1}]})


MANY = Field(min_length=1)
Words = Annotated[tuple[Word, ...], BeforeValidator(as_list), MANY, schema_of_list({"type": ["string", "number"]})]
Slugs = Annotated[tuple[Slug, ...], BeforeValidator(as_list), MANY, schema_of_list({"type": ["string", "integer"]})]
HoldOut = Annotated[
    ShareText | None,
    Field(
        description="So many members, chosen by chance and for good, get nothing from this rule, and decisions say so: what "
        "the rule changes can be measured against them. Default: nobody."
    ),
]
Weekdays = Annotated[
    tuple[Weekday, ...],
    BeforeValidator(as_list),
    MANY,
    schema_of_list({"enum": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}),
]
Channels = Annotated[
    tuple[Channel, ...], BeforeValidator(as_list), MANY, schema_of_list({"enum": ["pos", "web", "app"]})
]
#: One owner keeps them all: more would make his state too large for a record.
MOST_CODES = 2_000
Points = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)]
Count = Annotated[int, Field(strict=True, ge=0, le=1_000_000)]


def shape(value: Any) -> str:
    return "<mapping>" if isinstance(value, dict | BaseModel) else "<word>"


# A word or a mapping: the tags keep one from being blamed for not being the other; `rules.checks` takes them off again.
WORD, MAPPING, BY_SHAPE = Tag("<word>"), Tag("<mapping>"), Discriminator(shape)


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
    wanted = tuple(_parse_attribute(item) for item in as_list(value))
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
    schema_of_list(_ATTRIBUTE_SCHEMA),
]
Attribute = Annotated[Annotated[AttributeValues, WORD] | Annotated[NumberRange, MAPPING], BY_SHAPE]


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
        BeforeValidator(as_list),
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
        Annotated[tuple[MonthDayText, ...], BeforeValidator(as_list), MANY, schema_of_list({"type": "string"})] | None
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


NONE = Annotated[Literal["none"], WORD]
Expire = Annotated[NONE | Annotated[Expires, MAPPING], BY_SHAPE]
ExpireOrSlide = Annotated[NONE | Annotated[ExpiresOrSlides, MAPPING], BY_SHAPE]


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


Pending = Annotated[NONE | Annotated[WaitingTime, MAPPING], BY_SHAPE]


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


class Notice(Part):
    """What is to be said, and how: an event on the topic `incentives`."""

    template: Slug = Field(description="Name of the text that your sender knows.")
    channels: Words | None = Field(
        None,
        description="Only by one of these, the first that the member consents to; his preferred one comes first. "
        "Default: any that he consents to.",
    )
    at: HourText | None = Field(None, description="Not before this local hour. Default: at once.")
    expires: FixedText | None = Field(None, description="Not later than so long after the moment. Default: whenever.")
