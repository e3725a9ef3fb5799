"""What the scored members are worth, from their own histories and the fitted parameters, by other formulas than ours.

The likelihoods are those of the papers, each customer's written out by gamma functions of the standard library; purchases
expected by MBG/NBD are an integral over the chance to leave, where the product sums a hypergeometric series.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from math import exp, lgamma, log
from typing import Any

from scipy.integrate import quad
from scipy.special import hyp2f1

from tests.independent.shop import Rows, Shop, scores

WEEK, MONTH_WEEKS, MONTHLY = 7, 4.345, 1.01
Parameters = dict[str, float]


@dataclass(frozen=True)
class History:
    """A customer: later purchase days, weeks from the first to the last and to the scored day, pennies of a later day."""

    x: int
    last: float
    end: float
    spend: float


def scored_day(shop: Shop, every: int) -> date:
    """The newest day that is over and lies a multiple of so many days after the first day of 1970."""
    days = (shop.last - timedelta(1) - date(1970, 1, 1)).days
    return date(1970, 1, 1) + timedelta(days - days % every)


def histories(shop: Shop, day: date) -> dict[str, History]:
    """Member -> what the models know of him at the end of a day."""
    sums: dict[str, dict[date, int]] = defaultdict(lambda: defaultdict(int))
    for order in shop.until(day):
        if order.member is not None:
            sums[order.member][order.day] += order.net(day)
    found: dict[str, History] = {}
    for member, by_day in sums.items():
        first, last = min(by_day), max(by_day)
        later = [max(pennies, 0) for one, pennies in by_day.items() if one > first]
        spend = sum(later) / len(later) if later else 0.0
        found[member] = History(len(later), (last - first).days / WEEK, (day - first).days / WEEK, spend)
    return found


def log_likelihood(model: str, told: Parameters, people: list[History]) -> float:
    """The chance of all histories under a model, as a logarithm."""
    if model == "gamma_gamma":
        return sum(gamma_gamma(told, one) for one in people if one.x and one.spend > 0)
    each = {"bg_nbd": bg_nbd, "mbg_nbd": mbg_nbd, "pareto_nbd": pareto_nbd}[model]
    return sum(log(each(told, one)) for one in people)


def beta(a: float, b: float) -> float:
    """Euler's beta function."""
    return exp(lgamma(a) + lgamma(b) - lgamma(a + b))


def steady(told: Parameters, one: History, until: float) -> float:
    """Chance of so many purchases at these times by somebody who bought until then, whatever his rate."""
    r, alpha = told["r"], told["alpha"]
    return exp(lgamma(r + one.x) - lgamma(r) + r * log(alpha) - (r + one.x) * log(alpha + until))


def bg_nbd(told: Parameters, one: History) -> float:
    """Fader, Hardie and Lee (2005), equation 6: stayed after every purchase, or left after the last."""
    a, b = told["a"], told["b"]
    stayed = beta(a, b + one.x) / beta(a, b) * steady(told, one, one.end)
    left = beta(a + 1, b + one.x - 1) / beta(a, b) * steady(told, one, one.last) if one.x else 0.0
    return stayed + left


def mbg_nbd(told: Parameters, one: History) -> float:
    """Batislam, Denizel and Filiztekin (2007): the first purchase too can be the last."""
    a, b = told["a"], told["b"]
    stayed = beta(a, b + one.x + 1) / beta(a, b) * steady(told, one, one.end)
    return stayed + beta(a + 1, b + one.x) / beta(a, b) * steady(told, one, one.last)


@cache
def _hypergeometric(a: float, b: float, c: float, z: float) -> float:
    return float(hyp2f1(a, b, c, z))


def pareto_nbd(told: Parameters, one: History) -> float:
    """Fader and Hardie (2005), A note on deriving the Pareto/NBD model, equations 18 and 19."""
    r, alpha, s, beta_ = told["r"], told["alpha"], told["s"], told["beta"]
    n = r + s + one.x
    high, low, second = (alpha, beta_, s + 1) if alpha >= beta_ else (beta_, alpha, r + one.x)
    parts = [
        _hypergeometric(n, second, n + 1, (high - low) / (high + when)) / (high + when) ** n
        for when in (one.last, one.end)
    ]
    ahead = exp(lgamma(r + one.x) - lgamma(r) + r * log(alpha) + s * log(beta_))
    stayed = 1 / ((alpha + one.end) ** (r + one.x) * (beta_ + one.end) ** s)
    return float(ahead * (stayed + s / n * (parts[0] - parts[1])))


def gamma_gamma(told: Parameters, one: History) -> float:
    """Fader and Hardie (2013), equation 1a, as a logarithm."""
    p, q, gamma, z = told["p"], told["q"], told["gamma"], one.spend
    px = p * one.x
    ends = lgamma(px + q) - lgamma(px) - lgamma(q)
    return ends + q * log(gamma) + (px - 1) * log(z) + px * log(one.x) - (px + q) * log(gamma + one.x * z)


def customer_values(people: dict[str, History], day: date, horizon: int, fits: dict[str, Parameters]) -> Rows:
    """(member, day, horizon, alive, no purchase, purchases, spend, value) by MBG/NBD and Gamma-Gamma, value of twelve months."""
    buying, spending = fits["mbg_nbd"], fits["gamma_gamma"]
    told: dict[str, tuple[Any, ...]] = {}
    for member, one in people.items():
        alive = 1 - left_by_now(buying, one)
        shape, alpha, weeks = buying["r"] + one.x, buying["alpha"], horizon / WEEK
        none = 1 - alive * (1 - ((alpha + one.end) / (alpha + one.end + weeks)) ** shape)
        p, q, gamma = spending["p"], spending["q"], spending["gamma"]
        weight = p * one.x / (p * one.x + q - 1)
        spend = (1 - weight) * p * gamma / (q - 1) + weight * one.spend
        value, before = 0.0, 0.0
        for month in range(1, 13):
            until = alive * if_alive(buying, one, month * MONTH_WEEKS)
            value += spend * (until - before) / MONTHLY**month
            before = until
        told[member] = (day, horizon, alive, none, alive * if_alive(buying, one, weeks), spend, value)
    return [(member, *row) for member, row in told.items()]


def left_by_now(told: Parameters, one: History) -> float:
    """Chance that a customer has left, by Bayes: left after his last purchase, of all that can have been."""
    left = beta(told["a"] + 1, told["b"] + one.x) / beta(told["a"], told["b"]) * steady(told, one, one.last)
    return left / mbg_nbd(told, one)


def if_alive(told: Parameters, one: History, weeks: float) -> float:
    """Purchases expected of a customer who is still there: over all rates and chances to leave that his history leaves open.

    With rate l and chance p it is (1 - exp(-l p t)) / p; l is Gamma(r + x, alpha + T), p is Beta(a, b + x + 1).
    """
    return _expected(told["r"] + one.x, told["alpha"] + one.end, told["a"], told["b"] + one.x + 1, weeks)


@cache
def _expected(shape: float, rate: float, a: float, b: float, weeks: float) -> float:
    def inner(p: float) -> float:
        return (1 - (rate / (rate + p * weeks)) ** shape) / p if p > 1e-12 else shape * weeks / rate

    area, _ = quad(inner, 0, 1, weight="alg", wvar=(a - 1, b - 1), epsabs=1e-11, epsrel=1e-9)
    return float(area / beta(a, b))


def bands(values: dict[str, float]) -> dict[str, int]:
    """1 to 5 by the middle of ties, as told to two decimals."""
    return scores({member: round(100 * value) for member, value in values.items()})
