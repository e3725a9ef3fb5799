"""Money and rounding: exact decimals at the boundary, integer minor units inside, every division with its rounding named."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal, Inexact

from schemas.rounding import Rounding

# ISO 4217 active currencies whose minor unit is not two digits; all other codes listed below have two.
_OTHER_DIGITS = {
    **dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
    **dict.fromkeys("CLF UYW".split(), 4),
}
_TWO_DIGITS = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP "
    "CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES "
    "KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK "
    "NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB "
    "TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG"
).split()
# The default context would silently round a 40-digit amount to 28 digits; this one refuses.
_EXACT = Context(prec=64, traps=[Inexact])
_MAX_EXPONENT = 15
CURRENCY_DIGITS: dict[str, int] = {**dict.fromkeys(_TWO_DIGITS, 2), **_OTHER_DIGITS}


class TooManyDecimals(ValueError):
    """An amount carries more digits than its currency has."""


def minor_digits(currency: str) -> int:
    """Return the digits of the minor unit of ``currency`` (ISO 4217): 2 for EUR, 0 for JPY, 3 for KWD.

    Raises:
        KeyError: the code is not an active currency of ISO 4217.
    """
    return CURRENCY_DIGITS[currency]


def to_minor(amount: Decimal, digits: int) -> int:
    """Return ``amount`` in minor units, exactly.

    Args:
        amount: a finite decimal.
        digits: digits of the minor unit, see :func:`minor_digits`.

    Raises:
        TooManyDecimals: the amount is no whole number of minor units.
        OverflowError: the amount is 10^16 or more (a million billions), which no till takes.
    """
    text = str(amount)
    whole, _, fraction = text.partition(".")
    if len(fraction) <= digits and len(whole) <= _MAX_EXPONENT and whole.isdigit():
        return int(whole + fraction.ljust(digits, "0"))  # nearly always: plain text, no sign, no exponent
    if amount.adjusted() > _MAX_EXPONENT:
        raise OverflowError(f"an amount of 10^{amount.adjusted()} is too large")
    try:
        scaled = _EXACT.scaleb(amount, digits)
    except Inexact as error:
        raise TooManyDecimals(f"{amount} has more than {digits} decimals") from error
    minor = int(scaled)
    if minor != scaled:
        raise TooManyDecimals(f"{amount} has more than {digits} decimals")
    return minor


def round_ratio(numerator: int, denominator: int, mode: Rounding) -> int:
    """Return ``numerator / denominator`` rounded to an integer by ``mode``; ``denominator`` is positive."""
    if numerator < 0:
        return -round_ratio(-numerator, denominator, mode)
    quotient, rest = divmod(numerator, denominator)
    if mode is Rounding.FLOOR or rest == 0:
        return quotient
    if mode is Rounding.CEIL:
        return quotient + 1
    twice = 2 * rest
    if twice > denominator or (twice == denominator and (mode is Rounding.HALF_UP or quotient % 2 == 1)):
        return quotient + 1
    return quotient


def half_up(numerator: int, denominator: int) -> int:
    """Return ``numerator / denominator`` rounded half away from zero; ``denominator`` is positive."""
    if numerator < 0:
        return -((-2 * numerator + denominator) // (2 * denominator))
    return (2 * numerator + denominator) // (2 * denominator)


def allot(total: int, weights: Sequence[int]) -> list[int]:
    """Split ``total`` over ``weights`` so that the parts sum to it exactly.

    Largest remainder (Hamilton's method): everyone gets the floor of an exact share, what is left goes one by one to the
    largest remainders, ties to the earlier position. Weights are not negative; if all are zero they count as equal.

    Args:
        total: points or minor units; a negative total mirrors a positive one.
        weights: one weight per part, at least one.
    """
    if len(weights) == 1:
        return [total]
    if total < 0:
        return [-part for part in allot(-total, weights)]
    sum_weights = sum(weights)
    if sum_weights == 0:
        weights, sum_weights = [1] * len(weights), len(weights)
    if len(weights) == 2:
        first, remainder = divmod(total * weights[0], sum_weights)
        first += 2 * remainder >= sum_weights and remainder > 0
        return [first, total - first]
    parts = [total * weight // sum_weights for weight in weights]
    left = total - sum(parts)
    if left:
        # -remainder first, then position: sorted() is stable, so equal remainders keep their order.
        order = sorted(range(len(weights)), key=lambda index: -(total * weights[index] % sum_weights))
        for index in order[:left]:
            parts[index] += 1
    return parts
