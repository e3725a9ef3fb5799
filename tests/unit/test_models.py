"""The models give the figures that their authors printed, on the data they printed them for."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from types import ModuleType

import numpy as np
import pytest

from projections.models import bg_nbd, gamma_gamma, pareto_nbd, scores, value
from projections.models.bg_nbd import BetaGeometric
from projections.models.fitting import NoFit
from projections.models.gamma_gamma import GammaGamma
from projections.models.history import Floats, History, history
from projections.models.pareto_nbd import ParetoNbd
from tests.projections import cdnow

WEEKS = 39.0
# A likelihood known to sixteen digits tells where its maximum is to half of them, less what its flatness takes; which of the
# last digits are found depends on the processor's own sums.
DETERMINED = 1e-5
# The customer of the papers: two repeat purchases, the last in week 30.43 of 38.86.
PRINTED = History(np.array([2.0]), np.array([30.43]), np.array([38.86]), np.array([0.0]))


@cache
def bg(*, sample: bool = True, modified: bool = False) -> BetaGeometric:
    """BG/NBD or MBG/NBD fitted to 39 weeks of CDNOW, once for all tests."""
    return bg_nbd.fit(cdnow.learnt(sample=sample), modified=modified)


@cache
def pareto() -> ParetoNbd:
    """Pareto/NBD fitted to the sample."""
    return pareto_nbd.fit(cdnow.learnt(sample=True))


@cache
def spending(*, sample: bool = True) -> GammaGamma:
    """Gamma-Gamma fitted to 39 weeks of CDNOW."""
    return gamma_gamma.fit(cdnow.learnt(sample=sample))


def printed(found: object, digits: tuple[int, ...]) -> tuple[float, ...]:
    """The first numbers of a fitted model, rounded as the paper prints them."""
    assert isinstance(found, tuple)
    return tuple(round(float(one), places) for one, places in zip(found, digits, strict=False))


def bought_later(*, sample: bool = True) -> Floats:
    """Purchase days of each customer in the 39 weeks after the cut."""
    people = cdnow.customers(sample=sample).values()
    return np.array([sum(cdnow.CUT < day <= cdnow.END for day in days) for days in people], dtype=np.float64)


def test_bg_nbd_reproduces_fader_hardie_lee() -> None:
    """BG/NBD on the sample: r .243, alpha 4.414, a .793, b 2.426, LL -9582.4; the printed customer 1.226."""
    assert printed(bg(), (3, 3, 3, 3, 1)) == (0.243, 4.414, 0.793, 2.426, -9582.4)
    assert round(float(bg().expected_purchases(PRINTED, WEEKS)[0]), 3) == 1.226
    assert round(float(bg().p_alive(PRINTED)[0]), 3) == 0.727


def test_pareto_nbd_reproduces_the_same_paper() -> None:
    """Pareto/NBD on the sample: r .553, alpha 10.578, s .606, beta 11.669, LL -9595.0."""
    assert printed(pareto(), (3, 3, 3, 3, 1)) == (0.553, 10.578, 0.606, 11.669, -9595.0)


def test_gamma_gamma_reproduces_the_note() -> None:
    """Gamma-Gamma on the 946 who came back: p 6.25, q 3.74, gamma 15.44, mean spend about 35."""
    assert len(cdnow.learnt(sample=True).repeaters().x) == 946
    assert printed(spending(), (2, 2, 2)) == (6.25, 3.74, 15.44)
    assert round(spending().mean_spend(), 2) == 35.17


def test_the_whole_of_cdnow_gives_its_known_fit() -> None:
    """BG/NBD and Gamma-Gamma on all 23,570 customers."""
    assert printed(bg(sample=False), (3, 3, 3, 3, 1)) == (0.252, 4.789, 0.723, 2.161, -95368.4)
    assert printed(spending(sample=False), (3, 3, 3)) == (6.275, 3.624, 14.984)


def test_expectations_meet_the_second_half_as_published() -> None:
    """Correlation of expected and actual purchases: .626 (BG/NBD), .630 (Pareto/NBD)."""
    data, actual = cdnow.learnt(sample=True), bought_later()
    for model, wanted in ((bg(), 0.626), (pareto(), 0.630)):
        assert round(float(np.corrcoef(model.expected_purchases(data, WEEKS), actual)[0, 1]), 3) == wanted
    assert round(float(np.sum(bg().expected_purchases(data, WEEKS)))) == 1653


def test_churn_by_expected_purchases_ranks_as_known() -> None:
    """AUC of buying nothing in 39 weeks: BG/NBD .7725, Pareto/NBD .7787 by expected purchases, MBG/NBD .760 by its chance."""
    data, away = cdnow.learnt(sample=True), bought_later() == 0
    assert round(scores.auc(-bg().expected_purchases(data, WEEKS), away), 4) == 0.7725
    assert round(scores.auc(-pareto().expected_purchases(data, WEEKS), away), 4) == 0.7787
    assert round(scores.auc(bg(modified=True).p_no_purchase(data, WEEKS), away), 3) == 0.760


def test_lifetime_value_of_known_customers() -> None:
    """Twelve months at 1 % a month: the first six customers of the published summary, and the sum of all."""
    data = cdnow.learnt(sample=True)
    six = History(
        np.array([2.0, 1, 0, 0, 0, 7]),
        np.array([30.43, 1.71, 0, 0, 0, 29.43]),
        np.full(6, 38.86),
        np.array([22.35, 11.77, 0, 0, 0, 73.74]),
    )
    assert np.allclose(spending().expected_spend(six), [24.6586, 18.9115, 35.171, 35.171, 35.171, 71.4629], rtol=1e-4)
    known = [36.2785, 4.6375, 8.3441, 8.3441, 8.3441, 283.5236]
    assert np.allclose(worth(six), known, rtol=1e-4)
    assert float(np.sum(worth(data))) == pytest.approx(71_509.90, rel=1e-4)


def worth(data: History) -> Floats:
    """Value over twelve months, as the figures were computed."""
    return value.lifetime_value(bg(), spending(), data, months=12, monthly_discount=0.01)


def test_a_chance_of_silence_falls_with_the_horizon() -> None:
    """Over no time nothing is bought; over for ever only whoever is gone buys nothing; in between it falls."""
    data = cdnow.learnt(sample=True)
    chances = [bg(modified=True).p_no_purchase(data, weeks) for weeks in (0.0, 1.0, 39.0, 1e9)]
    assert np.allclose(chances[0], 1)
    assert all(np.all(late <= early + 1e-12) for early, late in pairwise(chances))
    assert np.all(chances[-1] >= 1 - bg(modified=True).p_alive(data) - 1e-9)


def test_the_fit_does_not_depend_on_the_order_of_customers() -> None:
    """The same customers in another order are the same parameters, to the last bit: a rebuild gives the same rows."""
    data = cdnow.learnt(sample=True)
    turned = History(*(column[::-1] for column in data))
    assert bg_nbd.fit(turned) == bg()


def test_money_can_be_counted_in_cents() -> None:
    """Gamma-Gamma in cents is that in dollars, a hundred times gamma."""
    data = cdnow.learnt(sample=True)
    cents = gamma_gamma.fit(data._replace(spend=data.spend * 100))
    wanted = (*spending()[:2], spending().gamma * 100)
    assert np.allclose((cents.p, cents.q, cents.gamma), wanted, rtol=DETERMINED, atol=0)


@pytest.mark.parametrize("fit", [bg_nbd.fit, pareto_nbd.fit, gamma_gamma.fit])
def test_too_little_is_said(fit: object) -> None:
    """Nobody came back: no parameters, and a reason."""
    assert callable(fit)
    with pytest.raises(NoFit, match="came back"):
        fit(history([0, 0], [0, 0], [10, 20], [0, 0]))


def test_the_plain_formula() -> None:
    """30 a basket, 2 baskets a month, 40 % margin, 5 % leave a month: 480."""
    assert value.plain_value(30.0, 2.0, 0.4, 0.05) == pytest.approx(480.0)
    with pytest.raises(ValueError, match="churn above 0"):
        value.plain_value(30.0, 2.0, 0.4, 0.0)


def test_scores_on_a_handful() -> None:
    """AUC with a tie, Brier, precision and recall, reliability: counted by hand."""
    chance, happened = np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True])
    assert scores.auc(chance, happened) == 0.875
    assert scores.brier(chance, happened) == pytest.approx((0.01 + 0.16 + 0.36 + 0.01) / 4)
    assert scores.precision_recall(chance > 0.3, happened) == (2 / 3, 1.0)
    assert [(one.members, one.happened) for one in scores.reliability(chance, happened)] == [
        (1, 0.0),
        (2, 0.5),
        (1, 1.0),
    ]
    assert np.isnan(scores.auc(chance, happened & False))


@pytest.mark.parametrize("model", [bg_nbd, pareto_nbd])
def test_that_nobody_leaves_is_found_out_soon(model: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steady customers make their histories more likely the rarer leaving is, without end: that takes few looks at the data.

    Pareto/NBD looked 1,100 times before (20 s of a processor for 2,700 customers), while a projector wrote nothing.
    """
    looks, plain = [], model._log_likelihoods

    def looked(*arguments: object) -> Floats:
        looks.append(arguments)
        found: Floats = plain(*arguments)
        return found

    monkeypatch.setattr(model, "_log_likelihoods", looked)
    with pytest.raises(NoFit, match="nobody leaves"):
        model.fit(steady(np.random.default_rng(20261123)))
    assert len(looks) < 500


def steady(dice: np.random.Generator) -> History:
    """Customers of half a year who buy at rates of their own and never leave."""
    rows = []
    for rate in dice.gamma(0.7, 1 / 60, 600):
        days = np.cumsum(dice.exponential(1 / max(rate, 1e-6), 200))
        days = days[days <= 170]
        rows.append((len(days), days[-1] if len(days) else 0, 170, 10))
    return history(*zip(*rows, strict=True))
