"""Notices and moments in words: what was said to whom, or why nothing was."""

from __future__ import annotations

from engine.ledger.member import AWAITED, COUNTED, FOLLOWED, MOMENT
from engine.ledger.moment_timers import BARRED, NOT_IN_FORCE
from engine.ledger.moments import CAME, CAPPED, HELD_OUT, NOT_MET
from schemas.decisions import StateChange
from schemas.notices import EffectForm, Notice

SUPPRESSED = {
    "no_consent": "the member consents to none of its channels, or said nothing of himself",
    "quiet": "the member has had as many as the programme allows",
    "held_out": "the member is one of those whom the rule leaves out",
    "expired": "it was known too late to be said",
    "capped": "the cap of the rule is used up",
}
_ENDED = {
    CAME: "came",
    NOT_MET: "came, and its conditions did not hold",
    HELD_OUT: "came, and the member is held out",
    CAPPED: "came, and its cap is used up",
    BARRED: "came to a member who has left, or has not joined",
    NOT_IN_FORCE: "is over: its rule is not in force any more",
    FOLLOWED: "is over: what was waited for came",
}


def notice_words(notice: Notice) -> str:
    """Return one notice in a line."""
    why = "" if notice.because is None else f", because: {notice.because['text']}"
    if notice.state == "suppressed":
        return f"no notice {notice.template} by {notice.rule_id}: {SUPPRESSED.get(notice.reason or '', notice.reason)}{why}"
    language = f" in {notice.language}" if notice.language else ""
    until = f", until {notice.expires_at}" if notice.expires_at else ""
    came = "".join(f", with {_effect(effect)}" for effect in notice.effects)
    said = f"notice {notice.template} by {notice.rule_id} through {notice.channel}{language}"
    return f"{said}, from {notice.not_before}{until}{came}{why}; id {notice.id}"


def _effect(effect: EffectForm) -> str:
    if effect["kind"] == "points":
        return f"{effect['points']} points"
    if effect["kind"] == "reward":
        return f"reward {effect['reward']}"
    return f"tier {effect['tier']} until {effect['until']}"


def moment_words(change: StateChange) -> str | None:
    """Return what a state of a moment says, None for any other state."""
    if change.what == MOMENT:
        return f"moment {change.id} of {change.occurred_at} {_ENDED.get(change.state, change.state)}"
    if change.what == AWAITED:
        rule, _, about = change.id.partition("|")
        name = f"wait of {rule}{f' for {about}' if about else ''}"
        return f"{name} {_ENDED.get(change.state, f'ends at {change.state}, if nothing follows')}"
    if change.what == COUNTED:
        return f"cap {change.id} counts {change.state.replace('|', ' points and ')} times"
    return None
