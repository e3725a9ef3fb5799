"""Time as the logs write it: UTC text of fixed width, which sorts as text, and microseconds since the epoch inside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
MILLISECOND_US = 1_000


def from_datetime(moment: datetime) -> int:
    """Return microseconds since the epoch of an aware ``moment``."""
    return (moment - EPOCH) // MICROSECOND


def to_datetime(time_us: int) -> datetime:
    """Return the aware UTC datetime of ``time_us``."""
    return EPOCH + timedelta(microseconds=time_us)


def to_us(text: str) -> int:
    """Return microseconds since the epoch of a canonical or any RFC 3339 ``text`` with an offset.

    Raises:
        ValueError: the text is no time, or has no offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset: write it like 2026-03-01T10:00:00+01:00")
    return (moment - EPOCH) // MICROSECOND


def to_text(time_us: int) -> str:
    """Return the canonical text of ``time_us``: ``2026-03-01T09:00:00.000000Z``, always 27 characters."""
    return _text(EPOCH + timedelta(microseconds=time_us))


def canonical(text: str) -> tuple[str, int]:
    """Return the canonical text of an RFC 3339 ``text`` with an offset, and its microseconds since the epoch.

    Raises:
        ValueError: the text is no time, or has no offset.
        OverflowError: in UTC it lies before year 1 or after year 9999.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset: write it like 2026-03-01T10:00:00+01:00")
    moment = moment.astimezone(UTC)
    return _text(moment), (moment - EPOCH) // MICROSECOND


def _text(moment: datetime) -> str:
    # Without `timespec`, which costs three times as much; then whole seconds come without a fraction.
    text = moment.isoformat()
    return f"{text[:26]}Z" if len(text) > 25 else f"{text[:19]}.000000Z"
