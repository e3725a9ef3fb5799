"""Every story to the letter: its logs, the states of its members, what `explain` says of all its facts and what the language
says of its programme are, byte for byte, what was written down: as digests, in letters.txt.

A story says of a step what its reader cares for. This holds the rest: every id, text and time of every fact that followed, of
every decision, of every condition that was looked at. What was decided once must be decided the same for ever.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from hashlib import blake2b
from itertools import pairwise
from random import Random
from unittest.mock import patch

from engine.explain.telling import tell
from engine.explain.words import fact_words, life_words
from engine.ledger.packing import pack, unpack
from rules.book import Programme
from rules.contradictions import contradictions
from rules.differing import differences
from rules.money_words import money_words
from schemas.envelope import parse_fact
from tests.stories.fair import FairThrower, fair_programme
from tests.stories.playing import Play
from tests.stories.reading import FOLDER, parse_story, read_story
from tests.stories.semantics import story_files
from tests.stories.telling import Event
from tests.stories.test_thrown import END, Thrower, thrown_programme
from tests.unit.test_rules_wordings import told

WRITTEN = FOLDER / "letters.txt"
#: Stories that are thrown with dice are told to the letter as well, by these seeds.
THROWN = {"thrown": 20, "fair": 20}
_OTHER = """
story: Another programme, for saying what is different
given: {programme: everything}
steps: [{when: {at: 2026-01-01 10:00, visit: s1}, then: {outcome: decided}}]
"""


def names() -> list[str]:
    """Every story that is held to the letter: those of this folder, and some that are thrown."""
    stories = [f"{path.parent.name}/{path.stem}" for path in story_files()]
    return stories + [f"{kind}/{seed}" for kind, most in THROWN.items() for seed in range(1, most + 1)]


def parts(name: str) -> dict[str, list[str]]:
    """Play a story and return all that can be told of it, as lines by part: `step 0` (its versions), `step 1`, ... and the rest.

    Errors: KeyError, OSError or StoryError where there is no such story.
    """
    subject, _, title = name.partition("/")
    if subject in THROWN:
        dice = Random(int(title))
        programmes = [thrown_programme(dice) if subject == "thrown" else fair_programme(dice)]
        events = [*(Thrower if subject == "thrown" else FairThrower)(dice).events(), END]
    else:
        story = read_story(FOLDER / f"{name}.yaml")
        programmes, events = story.programmes, [step.event for step in story.steps]
    with patch.object(os, "urandom", bytes):  # what is sealed is sealed to the same bytes each time
        stage, ends = _played(programmes, events)
    found = {f"step {number}": _records(stage, begin, end) for number, (begin, end) in enumerate(pairwise([0, *ends]))}
    return found | {
        "states": list(_states(stage)),
        "explained": list(_explained(stage)),
        "words": list(_words(programmes)),
    }


def _played(programmes: Sequence[Programme], events: Iterable[Event]) -> tuple[Play, list[int]]:
    """The stage, and how long its log was before the first event and after each."""
    stage = Play(programmes)
    ends = [len(stage.log)]
    for event in events:
        stage.happen(event)
        ends.append(len(stage.log))
    return stage, ends


def _records(stage: Play, begin: int, end: int) -> list[str]:
    return [text.decode() for _, fact, decisions in stage.log[begin:end] for text in (fact, *decisions)]


def _states(stage: Play) -> Iterator[str]:
    """Every member's packed state, which is the same once it was unpacked."""
    (partition,) = stage.partitions
    for key in sorted(partition.members):
        packed = partition.members.packed(key)
        assert pack(unpack(key, packed)) == packed, f"the state of {key} is another one once it was unpacked"
        yield f"{key} {packed.hex()}"


def _explained(stage: Play) -> Iterator[str]:
    """What is said of every member and each of his facts."""
    opens = stage.vault.opens(gone=None)
    records = [((0, offset, parse_fact(value)), None) for offset, (_, value, _) in enumerate(stage.log)]
    for key in sorted(stage.partitions[0].members):
        mine = [record for record in records if record[0][2].key in (None, key)]
        yield from life_words(tell(key, mine, stage.versions, None, opens), len(mine), None)
        for (_, offset, fact), _ in mine:
            if fact.key is not None:
                life = tell(key, mine, stage.versions, (0, offset), opens)
                yield from (line for one in life.told if one.offset == offset for line in fact_words(life, one))


def _words(programmes: Sequence[Programme]) -> Iterator[str]:
    """What the language says of the versions: in words, what it doubts, what changed between them and from another one."""
    for before, version in pairwise([_other(), *programmes, _other()]):
        yield from told(version.document)
        yield from money_words(version.document)
        yield from map(str, contradictions(version.document))
        yield from map(str, differences(before, version))


@cache
def _other() -> Programme:
    return parse_story(_OTHER, "another.yaml").programmes[0]


def digest(lines: Iterable[str]) -> str:
    """Name some lines."""
    return blake2b("\n".join(lines).encode(), digest_size=5).hexdigest()


def digests(found: dict[str, list[str]]) -> dict[str, str]:
    """Name each part of a story."""
    return {part: digest(lines) for part, lines in found.items()}


def written() -> dict[str, dict[str, str]]:
    """What was written down, by story and part."""
    found = {}
    for line in WRITTEN.read_text(encoding="ascii").splitlines():
        name, _, said = line.partition(": ")
        *steps, states, explained, words = said.split(" ")
        found[name] = {f"step {number}": step for number, step in enumerate(steps)}
        found[name] |= {"states": states, "explained": explained, "words": words}
    return found


def write(known: dict[str, dict[str, str]]) -> None:
    """Write it down."""
    lines = [f"{name}: {' '.join(said.values())}\n" for name, said in sorted(known.items())]
    WRITTEN.write_text("".join(lines), encoding="ascii")


def refresh(anew: Sequence[str]) -> list[str]:
    """Write down the stories of which nothing is written yet, and those that are named; forget what is gone.

    Returns:
        The names of those that are other than they were written and not named.
    """
    known, everything = written() if WRITTEN.exists() else {}, names()
    now = {name: digests(parts(name)) for name in everything}
    write({name: said if name in anew else known.get(name, said) for name, said in now.items()})
    return [name for name, said in now.items() if name not in anew and known.get(name, said) != said]
