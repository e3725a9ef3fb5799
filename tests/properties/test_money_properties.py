"""Money: parts sum to the whole, every rounding keeps its word, amounts are exact."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

from hypothesis import given
from hypothesis import strategies as st

from schemas.money import allot, half_up, minor_digits, round_ratio, to_minor
from schemas.rounding import Rounding
from tests.properties.naive_earning import rounded, share
from tests.properties.profiles import examples

numerators = st.integers(-(10**12), 10**12)
denominators = st.integers(1, 10**6)
weights = st.lists(st.one_of(st.just(0), st.integers(0, 10**6)), min_size=1, max_size=12)


@examples(5)
@given(st.integers(0, 10**9), weights)
def test_parts_sum_to_the_whole(total: int, parts: list[int]) -> None:
    """An allotment sums exactly, and no part is a whole unit away from its exact share."""
    found = allot(total, parts)
    assert sum(found) == total
    exact = parts if sum(parts) else [1] * len(parts)
    for part, weight in zip(found, exact, strict=True):
        assert abs(part - Fraction(total * weight, sum(exact))) < 1


@examples(5)
@given(st.integers(0, 3000), st.lists(st.integers(0, 9), min_size=1, max_size=9))
def test_largest_remainders_first(total: int, parts: list[int]) -> None:
    """What the floors leave goes to the largest remainders, the earlier first."""
    assert allot(total, parts) == share(total, parts)


@examples(2)
@given(st.integers(0, 10**9), weights)
def test_allotment_mirrors(total: int, parts: list[int]) -> None:
    """A debit is allotted like the credit of the same size."""
    assert allot(-total, parts) == [-part for part in allot(total, parts)]


@examples(5)
@given(numerators, denominators, st.sampled_from(Rounding))
def test_rounding_mirrors(numerator: int, denominator: int, mode: Rounding) -> None:
    """Negatives mirror positives in every mode."""
    assert round_ratio(-numerator, denominator, mode) == -round_ratio(numerator, denominator, mode)


@examples(5)
@given(st.integers(0, 10**12), denominators, st.sampled_from(Rounding))
def test_rounding_is_exact(numerator: int, denominator: int, mode: Rounding) -> None:
    """Each mode gives what fractions give."""
    exact = Fraction(numerator, denominator)
    found = round_ratio(numerator, denominator, mode)
    assert found == rounded(exact, mode.value)
    assert floor(exact) <= found <= ceil(exact)
    assert half_up(numerator, denominator) == rounded(exact, "half_up")


@examples(2)
@given(st.integers(0, 200), st.sampled_from(Rounding))
def test_halves(numerator: int, mode: Rounding) -> None:
    """Halves go where the mode says."""
    assert (
        round_ratio(2 * numerator + 1, 2, mode)
        == {
            Rounding.FLOOR: numerator,
            Rounding.CEIL: numerator + 1,
            Rounding.HALF_UP: numerator + 1,
            Rounding.HALF_EVEN: numerator + numerator % 2,
        }[mode]
    )


@examples(2)
@given(st.integers(0, 10**15), st.sampled_from(("JPY", "EUR", "KWD")))
def test_amounts_are_exact(minor: int, currency: str) -> None:
    """Minor units written as money read back as the same minor units."""
    digits = minor_digits(currency)
    assert to_minor(Decimal(minor).scaleb(-digits), digits) == minor
