"""The programme language: the models of one programme file, which is one version of a programme.

A shop owner can read a file aloud: units stand with their numbers, every rule has an id that entries carry, and what is
not said has the one default that the field's description names. The models are strict; what a single field cannot know
(an id defined elsewhere in the file, a condition that does not fit the fact) is in `rules.checks`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    WithJsonSchema,
    model_validator,
)

from rules.codes import plain_code
from rules.moment_language import MomentRule, Quiet
from rules.money import Goal, MarginSaid
from rules.parts import (
    BY_SHAPE,
    MAPPING,
    MOST_CODES,
    WORD,
    Award,
    Cap,
    Condition,
    Expire,
    ExpireOrSlide,
    FactName,
    HoldOut,
    Limit,
    Multiply,
    Part,
    Pending,
    Points,
    Slugs,
    Threshold,
    as_list,
    shape,
)
from rules.play import Badge, Challenge, Raffle, Tickets
from rules.values import (
    CalendarText,
    CodePatternText,
    Duration,
    FactorText,
    FixedText,
    MomentText,
    MoneyText,
    ShareText,
    Slug,
    StockText,
    Word,
    mistake,
    parse_currency,
    parse_zone,
    refuse_reversed,
)

LANGUAGE = 1  # in canonical JSON; raised when a value that is not said comes to mean something else


class EarnRule(Part):
    """One rule: what it is about, when it applies, and an award, a multiplier, a limit, or something else that is given."""

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
    badge: Slug | None = Field(None, description="Id of a badge that is given; a member has each at most once.")
    raffle: Tickets | None = Field(None, description="Tickets of a raffle that are given.")
    challenge: Slug | None = Field(None, description="Id of a challenge that is offered: its window begins.")
    cap: Cap | None = Field(None, description="A cap on this rule alone. Default: none.")
    priority: Annotated[int, Field(strict=True, ge=-1000, le=1000)] = Field(
        0, description="Higher comes first within base, bonus, multiply or limit. Default: 0."
    )
    exclusive: Slug | None = Field(
        None, description="Of the rules of one exclusive group only the best applies. Default: no group."
    )
    hold_out: HoldOut = None
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
    return "<every>" if every else shape(value)


Moment = Annotated[
    Annotated[Literal["referral", "joined"], WORD]
    | Annotated[FirstPurchase, MAPPING]
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
    Annotated[Literal["calendar_year", "membership_year", "lifetime"], WORD] | Annotated[Rolling, MAPPING], BY_SHAPE
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


Downgrade = Annotated[Annotated[Literal["none"], WORD] | Annotated[Lowered, MAPPING], BY_SHAPE]


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

    welcome: Annotated[Annotated[Points, WORD] | Annotated[Welcome, MAPPING], BY_SHAPE] | None = Field(
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
        None,
        description="Value of one point: costs, liability and return are told with it, also by `stammgast whatif`. "
        "Default: not said.",
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
    codes: Annotated[tuple[Word, ...], BeforeValidator(as_list), Field(min_length=1, max_length=MOST_CODES)] | None = (
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
    refund_by_receipt: Annotated[bool, Field(strict=True)] | None = Field(
        None,
        description="Goods can come back with the receipt alone: a refund without a member takes the points of the buyer. "
        "Costs one more record for every order. Default: false, only claimed sales are found without a member.",
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
    challenges: Annotated[tuple[Challenge, ...], Field(strict=False, min_length=1)] | None = Field(
        None, description="So many facts, or so much money, within a window, then an effect. Default: none."
    )
    badges: Annotated[tuple[Badge, ...], Field(strict=False, min_length=1)] | None = Field(
        None, description="Badges that rules and challenges give. Default: none."
    )
    raffles: Annotated[tuple[Raffle, ...], Field(strict=False, min_length=1)] | None = Field(
        None, description="Raffles whose tickets rules and challenges give. Default: none."
    )
    moments: Annotated[tuple[MomentRule, ...], Field(strict=False, min_length=1)] | None = Field(
        None, description="When members are given or told something beside earning. Default: never."
    )
    quiet: Annotated[tuple[Quiet, ...], Field(strict=False, min_length=1)] | None = Field(
        None, description="How many notices a member gets at most. Default: as many as there are."
    )
    margin: MarginSaid | None = Field(
        None,
        description="Share of sales that is kept after the goods are paid: 60 %, or {share: 60 %, categories: {beans: 35 %}}. "
        "Moves no points; the return is told with it. Default: not said.",
    )
    goals: Annotated[tuple[Goal, ...], Field(strict=False, min_length=1)] | None = Field(
        None, description="What the programme is to reach, and by when. Moves no points. Default: none."
    )
