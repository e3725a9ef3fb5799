"""From a checked programme file to compiled rules, its canonical JSON and its hash."""

from __future__ import annotations

import copyreg
import json
from collections.abc import Callable
from hashlib import blake2b
from math import lcm
from typing import Any
from zoneinfo import ZoneInfo

from rules import language, parts
from rules.checks import CONDITIONS_ON, GIVEN, validate
from rules.compiling_play import badge_plan, begun_by, by_type, challenge_plan, raffle_plan, tickets_plan
from rules.conditions import compile_lines
from rules.counting import counters_on, nth_counter
from rules.draft import read_json
from rules.errors import Problem, ProgrammeErrors
from rules.moment_compiling import MEMBER_NUMBERS, asks_profile, compile_moments, moments_said
from rules.plan import (
    REFUND_WAITS_US,
    Award,
    Bracket,
    Brackets,
    Cap,
    Expiry,
    Level,
    LotPlan,
    Multiply,
    Programme,
    ReferAward,
    ReferPlan,
    RewardPlan,
    Rule,
    Terms,
    TierPlan,
    TransferPlan,
    VoucherPlan,
    Wait,
)
from rules.values import Money, Stock, share_text
from schemas.money import minor_digits

_HASH_BYTES = 16


def compile_programme(document: language.ProgrammeFile) -> Programme:
    """Compile a checked file. Pure: the same document gives the same rules and the same hash."""
    zone = ZoneInfo(document.time_zone)
    until = document.valid.until
    rules = [_rule(rule, zone) for rule in document.earn]
    challenges = [challenge_plan(challenge, zone) for challenge in document.challenges or ()]
    canonical = canonical_json(document)
    caps = {rule.id: _cap(rule.cap) for rule in document.moments or () if rule.cap is not None}
    moments = compile_moments(document, caps, zone)
    return Programme(
        hash=blake2b(canonical, digest_size=_HASH_BYTES).hexdigest(),
        name=document.programme,
        version=document.version,
        valid_from_us=document.valid.from_.begins_us(zone),
        valid_until_us=None if until is None else until.ends_us(zone),
        time_zone=zone,
        currency=document.currency,
        minor_digits=minor_digits(document.currency),
        points_name=document.points.name,
        visit_gap_us=document.visit_gap.length_us,
        late_limit_us=None if document.accept_late is None else document.accept_late.length_us,
        refund_waits_us=REFUND_WAITS_US if document.refund_waits is None else document.refund_waits.length_us,
        rules_on=_rules_on(document.earn, rules),
        tiers=None if document.tiers is None else _tiers(document.tiers),
        refer=None if document.refer is None else _refer(document.refer),
        transfer=None
        if document.transfer is None
        else TransferPlan(document.transfer.at_least, document.transfer.at_most),
        claim_us=None if document.claim is None else document.claim.within.length_us,
        refund_by_receipt=bool(document.refund_by_receipt),
        join_explicit=document.join == "explicit",
        counters=counters_on([*document.earn, *moments_said(document)]),
        lots=_lots(document),
        negative_balance=document.points.negative_balance,
        rewards={reward.id: _reward(reward, zone) for reward in document.rewards or ()},
        gives=any(rule.gives for rule in rules),
        challenges=by_type(challenges, lambda plan: (plan.on,)),
        plays=bool(challenges),
        begun_by=by_type(challenges, begun_by),
        badges={badge.id: badge_plan(badge) for badge in document.badges or ()},
        raffles={raffle.id: raffle_plan(raffle, zone) for raffle in document.raffles or ()},
        paid_earns=document.points.part_payment == "earns",
        pays_back=document.points.pay_back == "pro_rata",
        asks_profile=any(asks_profile(one) for one in _conditions(document))
        or (moments is not None and moments.asks_profile)
        or any(plan.notice is not None for plan in challenges),
        moments=moments,
        document=document,
        canonical=canonical,
    )


def _conditions(document: language.ProgrammeFile) -> list[parts.Condition | None]:
    challenges = document.challenges or ()
    of_rules = [one for rule in document.earn for one in (rule.when, rule.unless)]
    return of_rules + [one for challenge in challenges for one in (challenge.when, challenge.unless)]


def canonical_json(document: language.ProgrammeFile) -> bytes:
    """Return what is hashed and published: every value said or defaulted, as text with its unit, keys sorted.

    A key that says nothing is left out, so a later release that adds an optional key leaves old hashes as they are.
    """
    content = document.model_dump(mode="json", by_alias=True, exclude_none=True)
    content["language"] = language.LANGUAGE
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def from_canonical(text: bytes, source: str = "the programmes topic") -> Programme:
    """Compile canonical JSON.

    Raises:
        ProgrammeErrors: it is not the canonical JSON of a programme this engine understands.
    """
    draft = read_json(text, source)
    if draft.problems:
        raise ProgrammeErrors(draft.problems)
    if isinstance(draft.tree, dict):
        spoken = draft.tree.pop("language", None)
        if spoken != language.LANGUAGE:
            known = f"this engine speaks language {language.LANGUAGE}"
            raise ProgrammeErrors([Problem(source, 0, "language", f"language {spoken} is unknown", known)])
    document = validate(draft)
    if document is None:
        raise ProgrammeErrors(draft.problems or [Problem(source, 0, "", "there is no programme")])
    return compile_programme(document)


def _rules_on(rules: tuple[language.EarnRule, ...], compiled: list[Rule]) -> dict[str, tuple[Rule, ...]]:
    found: dict[str, tuple[Rule, ...]] = {}
    for name in CONDITIONS_ON:
        mine = [rule for said, rule in zip(rules, compiled, strict=True) if said.on == name]
        if mine:
            found[name] = tuple(sorted(mine, key=lambda rule: rule.order))
    return found


def _rule(rule: language.EarnRule, zone: ZoneInfo) -> Rule:
    bonus = rule.bonus or any(getattr(rule, effect) is not None for effect in GIVEN)
    phase = "limit" if rule.limit else "multiply" if rule.multiply else "bonus" if bonus else "base"
    nth = None if rule.when is None or rule.reward is None else rule.when.every_nth
    return Rule(
        id=rule.id,
        phase=phase,
        priority=rule.priority,
        exclusive=rule.exclusive,
        stop=rule.stop,
        lines=compile_lines(rule, zone),
        award=None if rule.award is None else _award(rule.award, rule.id),
        multiply=None if rule.multiply is None else _multiply(rule.multiply),
        limit=None if rule.limit is None else _cap(rule.limit, rule.limit.only),
        cap=None if rule.cap is None else _cap(rule.cap),
        hold_out=None if rule.hold_out is None else int(rule.hold_out * MEMBER_NUMBERS),
        hold_out_text="" if rule.hold_out is None else share_text(rule.hold_out),
        reward=rule.reward,
        badge=rule.badge,
        tickets=tickets_plan(rule.raffle),
        offers=rule.challenge,
        nth=None if nth is None else nth_counter(nth),
    )


def _award(award: parts.Award, rule_id: str) -> Award:
    return Award(
        points=award.points or 0,
        brackets=None if award.brackets is None else _brackets(award.brackets, award.over, rule_id),
        per_minor=None if award.per is None else award.per.minor,
        gross=award.of == "gross_before_discounts",
        rounding=award.round,
        each_line=award.each == "line",
        round_before=award.rounding == "before_multipliers",
    )


_WINDOWS = {None: "year", "calendar_year": "year", "quarter": "quarter", "month": "month", "lifetime": "ever"}


def _brackets(brackets: tuple[parts.Bracket, ...], over: str | None, rule_id: str) -> Brackets:
    den = lcm(*(bracket.per.minor for bracket in brackets))
    parts, begin = [], 0
    for bracket in brackets:
        end = None if bracket.to is None else bracket.to.minor
        parts.append(Bracket(begin, end, bracket.points * den // bracket.per.minor))
        begin = end or begin
    return Brackets(tuple(parts), den, f"purchase spent {rule_id}", _WINDOWS[over])


def _multiply(multiply: parts.Multiply) -> Multiply:
    only = None if multiply.only is None else frozenset(multiply.only)
    return Multiply(multiply.by.numerator, multiply.by.denominator, only)


def _cap(cap: parts.Cap, only: tuple[str, ...] | None = None) -> Cap:
    return Cap(
        points=cap.points,
        times=cap.times,
        per_place="place" in cap.per,
        every=cap.every,
        text=cap_text(cap),
        only=None if only is None else frozenset(only),
    )


def cap_text(cap: parts.Cap) -> str:
    """Return a cap as one would say it: ``at most 200 points per member every month``."""
    number, what = (cap.points, "point") if cap.points is not None else (cap.times, "time")
    per = "per member and place" if "place" in cap.per else "per member"
    window = "ever" if cap.every == "ever" else f"every {cap.every}"
    return f"at most {number} {what}{'' if number == 1 else 's'} {per} {window}"


def _tiers(tiers: language.Tiers) -> TierPlan:
    over = tiers.qualify.over
    lowered = tiers.downgrade if isinstance(tiers.downgrade, language.Lowered) else None
    return TierPlan(
        by=tiers.qualify.by,
        over="rolling" if isinstance(over, language.Rolling) else over,
        months=over.rolling.months if isinstance(over, language.Rolling) else 0 if over == "lifetime" else 12,
        downgrade=lowered.to if lowered is not None else "none",
        levels=tuple(_level(level) for level in tiers.levels),
        grace_months=lowered.grace.months if lowered is not None and lowered.grace is not None else 0,
    )


def _level(level: language.Level) -> Level:
    begin = level.from_.minor if isinstance(level.from_, Money) else level.from_
    num, den = (1, 1) if level.multiply is None else level.multiply.as_integer_ratio()
    said = level.welcome
    welcome, again = (said.points, said.again) if isinstance(said, language.Welcome) else (said or 0, False)
    kept, benefits = level.keep is not None, level.benefits or ()
    return Level(level.id, level.label or level.id, begin, num, den, kept, welcome, again, benefits)


_CODE = "####-####-####"


def _voucher(voucher: language.Voucher) -> VoucherPlan:
    worth = share_text(voucher.percent) if voucher.percent is not None else str(voucher.value)
    floor = voucher.at_least
    return VoucherPlan(
        worth=worth,
        at_least=None if floor is None else str(floor),
        at_least_minor=0 if floor is None else floor.minor,
        pattern=voucher.code or _CODE,
        key=voucher.key or "",
        codes=voucher.codes or (),
    )


def _reward(reward: language.Reward, zone: ZoneInfo) -> RewardPlan:
    stock = None if reward.stock is None else _stock(reward.stock)
    voucher = None if reward.voucher is None else _voucher(reward.voucher)
    if voucher is not None and voucher.codes:
        stock = Cap(times=len(voucher.codes), text=f"{len(voucher.codes)} codes")
    return RewardPlan(
        id=reward.id,
        cost=reward.cost,
        valid_us=None if reward.valid_for is None else reward.valid_for.length_us,
        tiers=None if reward.tiers is None else frozenset(reward.tiers),
        from_us=None if reward.from_ is None else reward.from_.begins_us(zone),
        until_us=None if reward.until is None else reward.until.ends_us(zone),
        stock=stock,
        voucher=voucher,
    )


def _stock(stock: Stock) -> Cap:
    return Cap(times=stock.number, per_place=stock.per_store, every=stock.every, text=f"{stock}")


def _lots(document: language.ProgrammeFile) -> LotPlan | None:
    points = document.points
    inactivity = points.expire.inactivity if isinstance(points.expire, parts.ExpiresOrSlides) else None
    rules = {rule.id: _terms(rule.expire, rule.pending) for rule in document.earn}
    levels = () if document.tiers is None else document.tiers.levels
    tiers = {level.id: _terms(level.expire, level.pending) for level in levels}
    nothing = Terms(None, None)
    whole = _terms(points.expire, points.pending)
    waits = [terms.wait for terms in (whole, *rules.values(), *tiers.values()) if terms.wait is not None]
    plan = LotPlan(
        programme=whole,
        by_rule={name: terms for name, terms in rules.items() if terms != nothing},
        by_tier={name: terms for name, terms in tiers.items() if terms != nothing},
        awaited=frozenset([wait.until for wait in waits if wait.until is not None]),
        inactivity_months=None if inactivity is None else inactivity.months,
    )
    said = [plan.programme, *plan.by_rule.values(), *plan.by_tier.values()]
    dated = any(part not in (None, Expiry(), Wait()) for terms in said for part in terms)
    return plan if dated or plan.inactivity_months is not None else None


def _terms(expire: str | parts.Expires | None, pending: str | parts.WaitingTime | None) -> Terms:
    return Terms(
        None if expire is None else Expiry() if isinstance(expire, str) else _expiry(expire),
        None if pending is None else Wait() if isinstance(pending, str) else _wait(pending),
    )


def _expiry(expire: parts.Expires) -> Expiry:
    after = expire.after
    return Expiry(
        days=after.number if after is not None and after.unit == "day" else 0,
        months=after.months if after is not None and after.unit == "month" else 0,
        round_up=None if expire.at is None else expire.at.removeprefix("end_of_"),
        on=tuple((day.month, day.day) for day in expire.on or ()),
    )


def _wait(pending: parts.WaitingTime) -> Wait:
    return Wait(
        for_us=None if pending.for_ is None else pending.for_.length_us,
        until=pending.until,
        cancel_us=0 if pending.cancel_after is None else pending.cancel_after.length_us,
        channels=None if pending.channels is None else frozenset(pending.channels),
    )


def _refer(refer: language.Refer) -> ReferPlan:
    moment = refer.moment
    word, at_least, within = str(moment), None, None
    if isinstance(moment, language.FirstPurchase):
        word, at_least, within = "first_purchase", moment.at_least, moment.within
    elif isinstance(moment, language.EveryPurchase):
        word, at_least, within = "every_purchase", moment.at_least, moment.for_
    return ReferPlan(
        moment=word,
        at_least_minor=0 if at_least is None else at_least.minor,
        within_us=None if within is None else within.length_us,
        referrer=_side(refer.referrer),
        referred=_side(refer.referred),
    )


def _side(side: language.ReferSide | None) -> ReferAward | None:
    return None if side is None else ReferAward(side.points, None if side.cap is None else _cap(side.cap))


def _reduce(programme: Programme) -> tuple[Callable[[bytes], Programme], tuple[Any, ...]]:
    # Closures cannot cross a process border; the canonical JSON can, and compiles to the same programme.
    return from_canonical, (programme.canonical,)


copyreg.pickle(Programme, _reduce)
