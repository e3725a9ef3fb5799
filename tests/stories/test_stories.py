"""Every story of this folder is played, and then looked at from five more sides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from schemas.times import to_text, to_us
from tests.stories.playing import Play, play
from tests.stories.reading import FOLDER, SHARED, Step, Story, read_story
from tests.stories.telling import TICK, Event

FILES = sorted(path for path in FOLDER.glob("*/*.yaml") if path.parent != SHARED)


def name_of(path: Path) -> str:
    """The subject and the name."""
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_story(path: Path) -> None:
    """What the story expects happens; its logs fold to the same state; placement and memory change nothing."""
    story = read_story(path)
    stage = Play(story.programmes)
    for step in story.steps:
        check(stage, step, story)
    check_books(stage)
    check_placements(stage, story)


def check(stage: Play, step: Step, story: Story) -> None:
    """Play one step and hold what happened against every wish; what nobody speaks of is decided without a reason."""
    happened = stage.happen(step.event)
    said = {wish.key for wish in step.wishes}
    unmet = [(wish.key, text) for wish in step.wishes if (text := wish.unmet(happened))]
    if "rejected" not in said and happened.reject is not None:
        unmet.append(("rejected", f"expected nothing of the kind, found {happened.reject}"))
    elif happened.decision is not None and happened.reject is None:
        if "outcome" not in said and happened.decision.outcome != "decided":
            unmet.append(("outcome", f"expected decided, found {happened.decision.outcome}"))
        if "reason" not in said and happened.decision.reason is not None:
            unmet.append(("reason", f"expected none, found {happened.decision.reason}"))
    told = "\n".join(f"  {key}: {text}" for key, text in unmet)
    assert not unmet, f"{story.name}:{step.line}: {story.sentence}\n{told}"


def check_books(stage: Play) -> None:
    """The state says what the entries add up to, and so does a state that was folded from the logs."""
    for partition in stage.partitions:
        for key in partition.members:
            member = partition.members[key]
            lots = {name: lot.left for name, lot in stage.books.lots.get(key, {}).items()}
            assert member.balance == stage.books.balances.get(key, 0), key
            assert {name: left for name, left in member.lots.items() if left} == {
                n: left for n, left in lots.items() if left
            }
            if member.alias_of is None:  # an alias holds no tier: its member does
                assert member.tier == (stage.books.tiers[key].tier if key in stage.books.tiers else None), key
    assert stage.folded().states() == stage.states()


def check_placements(stage: Play, story: Story) -> None:
    """Several partitions, members that are packed after each fact, and ticks in between give the same entries and tiers."""
    events = [step.event for step in story.steps]
    for partitions, live_members in ((3, 5_000), (1, 2)):
        assert play(story.programmes, events, partitions, live_members).moved() == stage.moved()
    ticked = list(with_ticks(events, stage.zone))
    assert play(story.programmes, ticked, 1, 5_000).moved() == stage.moved(), "with ticks in between"


def with_ticks(events: list[Event], zone: ZoneInfo) -> Iterator[Event]:
    """Put ticks wherever time goes on: halfway to, and right at, the earliest fact that is still to come."""
    last = None
    for number, event in enumerate(events):
        coming = [moment for later in events[number:] if (moment := _us(later, zone)) is not None]
        first = min(coming, default=None)
        if first is not None and (last is None or first > last):
            for moment in (first,) if last is None else ((last + first) // 2, first):
                yield Event(TICK, to_text(moment), None, None, "", {})
            last = first
        yield event


def _us(event: Event, zone: ZoneInfo) -> int | None:
    """The moment of a fact, None for what is refused at the door."""
    try:
        return to_us(event.moment(zone))
    except ValueError:
        return None
