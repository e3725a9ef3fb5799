"""What time alone does to a member: every timer due before a fact fires before it, in due order.

Due moments depend on the member's own timeline, so it does not matter when a process woke up. What is due at one moment
fires in the order of `TIMERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from engine.ledger import expiry, moment_timers, pending, redemptions, tiers, waiting
from engine.ledger.crediting import finish
from engine.ledger.fold import take_in
from engine.ledger.member import Member
from engine.ledger.moment_dues import look_ahead
from engine.ledger.moved import Moved
from rules.book import Book


class Timer(NamedTuple):
    """One thing that time does to members.

    Attributes:
        due_us: when it is next due for a member, None for never. It is asked for every fact, so it only looks.
        fire: what it does at the moment at which it is due. It must leave the member due later or never.
    """

    due_us: Callable[[Member], int | None]
    fire: Callable[[Member, Book, int], Moved]


#: In the order in which they fire at one moment.
TIMERS: tuple[Timer, ...] = (
    Timer(pending.activation_due_us, pending.pay_when_active),
    Timer(pending.cancel_due_us, pending.cancel_when_due),
    Timer(tiers.due_us, tiers.review_when_due),
    Timer(expiry.due_us, expiry.expire_when_due),
    Timer(moment_timers.dates_due_us, moment_timers.fire_date),
    Timer(redemptions.lapse_due_us, redemptions.lapse_when_due),
    Timer(waiting.due_us, waiting.lapse),
    Timer(moment_timers.waits_due_us, moment_timers.fire_wait),
)


def due_us(member: Member) -> int | None:
    """Return when the member's next timer is due, None without one."""
    first: int | None = None
    for timer in TIMERS:
        due = timer.due_us(member)
        if due is not None and (first is None or due < first):
            first = due
    return first


def settle(member: Member, book: Book, time_us: int) -> tuple[Member, Moved | None]:
    """Fire every timer of ``member`` that is due at or before ``time_us``.

    Returns:
        The member as he stands then (a fork where a timer fired; the given one is not changed), and what was moved, None
        if nothing was.
    """
    due = member.next_due_us
    if due is None or due > time_us:
        return member, None
    settled, moved = member.fork(), Moved()
    if book.spans:
        look_ahead(settled, book)
    while due is not None and due <= time_us:
        timer = next(timer for timer in TIMERS if timer.due_us(settled) == due)
        step = timer.fire(settled, book, due)
        if step.tiers:
            moment_timers.after_step(settled, book, step, due)
        if step.entries:
            step.entries += finish(settled, step.entries, book.at(due), None, due)
        take_in(settled, step)
        moved.add(step)
        if book.spans:
            look_ahead(settled, book)
        due = due_us(settled)
    return settled, moved
