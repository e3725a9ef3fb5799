"""Challenges, badges and raffles in plain words."""

from __future__ import annotations

from rules.language import ProgrammeFile
from rules.play import Challenge, Raffle, Window
from rules.words import part_words, ticket_words

_BEGINS = {
    None: "from the first that counts",
    "first_match": "from the first that counts",
    "accepted": "from when the member accepts it",
    "offered": "from when a rule offers it",
}


def play_words(document: ProgrammeFile) -> list[str]:
    """Return one line for each challenge, badge and raffle."""
    said = [f"Challenge {challenge_words(challenge)}" for challenge in document.challenges or ()]
    for badge in document.badges or ():
        kept = ", kept when goods come back" if badge.when_returned == "keep" else ""
        said.append(f"Badge {_named(badge.id, badge.label)}{kept}")
    return said + [f"Raffle {raffle_words(raffle)}" for raffle in document.raffles or ()]


def _named(name: str, label: str | None) -> str:
    return f"{name} ({label})" if label and label != name else name


def challenge_words(challenge: Challenge) -> str:
    """Return a challenge: ``five (Five coffees): 5 x purchase, category coffee, within a week: 20 points``."""
    need = (
        f"{challenge.need} x {challenge.on}"
        if isinstance(challenge.need, int)
        else f"{challenge.on} of {challenge.need}"
    )
    said = [need]
    said += [part_words(challenge.when)] if challenge.when is not None else []
    said += [f"unless {part_words(challenge.unless)}"] if challenge.unless is not None else []
    said.append(_window_words(challenge.window))
    said += ["for members who accepted it"] if challenge.opt_in else []
    said += [f"at most {challenge.times} time{'' if challenge.times == 1 else 's'}"] if challenge.times else []
    said += ["kept when goods come back"] if challenge.when_returned == "keep" else []
    return f"{_named(challenge.id, challenge.label)}: {', '.join(said)}: {_then_words(challenge)}"


def _window_words(window: Window) -> str:
    if window.every is not None:
        return f"in each {window.every}"
    if window.within is None:
        return f"from {window.from_} until {window.until}"
    begins = f"from entering segment {window.segment}" if window.begins == "segment" else _BEGINS[window.begins]
    return f"within {window.within} {begins}"


def _then_words(challenge: Challenge) -> str:
    then = challenge.then
    said = [f"{then.points} point{'' if then.points == 1 else 's'}"] if then.points else []
    said += [f"{then.reward}, free of cost"] if then.reward else []
    said += [f"badge {then.badge}"] if then.badge else []
    said += [f"tier {then.tier.level} for {then.tier.for_}"] if then.tier else []
    said += [ticket_words(then.raffle)] if then.raffle else []
    said += [f"notice {then.notice.template}"] if then.notice else []
    return ", ".join(said)


def raffle_words(raffle: Raffle) -> str:
    """Return a raffle: its time, how many win, and its commitment."""
    said = [f"tickets from {raffle.from_} until {raffle.until}", f"{raffle.winners} win"]
    said += [f"at most {raffle.wins_per_member} of one member"] if raffle.wins_per_member != 1 else []
    said += [f"drawn with {raffle.public}"] if raffle.public else []
    said.append(f"commitment {raffle.commitment}" if raffle.commitment else "without a commitment")
    return f"{_named(raffle.id, raffle.label)}: {', '.join(said)}"
