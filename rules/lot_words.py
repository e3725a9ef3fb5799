"""What a programme says about the time of points, in plain words."""

from __future__ import annotations

from rules.errors import either
from rules.language import PointsAre, ProgrammeFile, Reward, Voucher
from rules.parts import Expires, ExpiresOrSlides, WaitingTime
from rules.values import share_text


def point_words(points: PointsAre) -> list[str]:
    """Return what happens to points by time, and when goods come back; empty where nothing is said."""
    said = lot_words(points.expire, points.pending)
    said += [_OWED[points.negative_balance]] if points.negative_balance != "within_balance" else []
    said += ["what points paid of an order earns like money"] if points.part_payment is not None else []
    return said + (["points that paid for goods that come back come back too"] if points.pay_back else [])


_OWED = {
    "allow": "goods that come back can leave a member in debt, which new points pay first",
    "only_pending": "goods that come back take only points that could not be spent yet",
}


def lot_words(expire: str | Expires | None, pending: str | WaitingTime | None) -> list[str]:
    """Return what is said about the dates of points, empty where nothing is."""
    expiry = [] if expire is None else [_expire_words(expire)]
    return expiry + ([] if pending is None else [_pending_words(pending)])


def _expire_words(expire: str | Expires) -> str:
    if isinstance(expire, str):
        return "never expire"
    if isinstance(expire, ExpiresOrSlides) and expire.inactivity is not None:
        return f"expire after {expire.inactivity} without activity"
    if expire.on is not None:
        return f"expire at the end of {either([str(day) for day in expire.on])}"
    rounded = "" if expire.at is None else f", at the {expire.at.replace('_', ' ')}"
    return f"expire after {expire.after}{rounded}"


def _pending_words(pending: str | WaitingTime) -> str:
    if isinstance(pending, str):
        return "can be spent at once"
    by = f" (bought by {either(pending.channels)})" if pending.channels else ""
    if pending.until is None:
        return f"can be spent after {pending.for_}{by}"
    return f"can be spent once {pending.until}, taken if not within {pending.cancel_after}{by}"


def reward_words(document: ProgrammeFile) -> list[str]:
    """Return one line for everything that points can be spent on."""
    return [_reward_words(reward, document.points.name) for reward in document.rewards or ()]


def _reward_words(reward: Reward, points: str) -> str:
    label = f" ({reward.label})" if reward.label and reward.label != reward.id else ""
    parts = [f"{reward.id}{label}: {reward.cost} {points}"]
    parts += [_voucher_words(reward.voucher)] if reward.voucher is not None else []
    parts += [f"only for {either(reward.tiers)}"] if reward.tiers else []
    parts += [f"{reward.stock} in stock"] if reward.stock is not None else []
    parts += [f"from {reward.from_}"] if reward.from_ is not None else []
    parts += [f"until {reward.until}"] if reward.until is not None else []
    how = "collected" if reward.voucher is None else "used"
    parts += [f"to be {how} within {reward.valid_for}"] if reward.valid_for is not None else []
    return ", ".join(parts)


def _voucher_words(voucher: Voucher) -> str:
    off = share_text(voucher.percent) if voucher.percent is not None else str(voucher.value)
    order = f" an order of {voucher.at_least} or more" if voucher.at_least is not None else ""
    codes = f", one of {len(voucher.codes)} codes" if voucher.codes is not None else ""
    code = f", code {voucher.code}" if voucher.code is not None else ""
    return f"a voucher, {off} off{order}{codes}{code}"
