"""Every key of a programme that says nearly everything, taken out or written otherwise, one after the other: what the language
answers then is what was written down, by its digest in wordings/miswritten.txt; and it always answers.

Where the programme is another one then, and no mistake, what is doubted and what `rules diff` says are held as well.
`python -m tests.unit.test_rules_miswritten` writes the digests anew; given a place of the list it prints what they are of.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from copy import deepcopy
from hashlib import blake2b
from typing import Any

import pytest

from rules.book import Programme
from rules.checks import validate
from rules.compiling import compile_programme
from rules.contradictions import contradictions
from rules.differing import differences
from rules.draft import Draft
from rules.draft import Path as Place
from rules.files import read_file
from tests.unit.held_words import WORDINGS
from tests.unit.test_rules_mistakes import said

WRITTEN = WORDINGS / "miswritten.txt"
PROGRAMMES = ("everything-else", "moments-and-play")
#: What is written in the place of a value; GONE takes the key out, LIKE_ANOTHER is what stands behind the same key elsewhere.
GONE, LIKE_ANOTHER = object(), object()
INSTEAD: tuple[Any, ...] = (GONE, LIKE_ANOTHER, None, 0, -1, True, "x", "2 days", "5.00 EUR", [], {}, ["member"])


def places(tree: Any, path: Place = ()) -> Iterator[Place]:
    """Yield every key and every item, the outer before the inner."""
    if path:
        yield path
    for key in tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield from places(tree[key], (*path, key))


def miswritten(draft: Draft, path: Place, value: Any) -> Draft | None:
    """Return the file with another value in one place; None where no other place has the same key."""
    tree, owner = draft.tree, deepcopy(draft.tree)
    other = Draft(draft.file, owner, dict(draft.lines))
    for part in path[:-1]:
        owner = owner[part]
    if value is GONE:
        del owner[path[-1]]
    elif value is LIKE_ANOTHER:
        standing = draft.at(*path)
        alike = [draft.at(*one) for one in places(tree) if one[-1] == path[-1] and draft.at(*one) != standing]
        if not alike:
            return None
        owner[path[-1]] = deepcopy(alike[len(alike) // 2])
    else:
        owner[path[-1]] = deepcopy(value)
    return other


def answers(draft: Draft, correct: Programme, path: Place) -> Iterator[str]:
    """Yield what is said of one place, written in every other way."""
    for value in INSTEAD:
        other = miswritten(draft, path, value)
        if other is None:
            continue
        yield f"-- {'gone' if value is GONE else 'like another' if value is LIKE_ANOTHER else repr(value)}"
        document = validate(other)
        yield from map(said, sorted(set(other.problems)))
        if document is not None:
            yield from map(str, contradictions(document))
            yield from map(str, differences(correct, compile_programme(document)))


def all_answers(name: str) -> Iterator[tuple[str, list[str]]]:
    """Yield every place of a programme, and what is said of it."""
    draft = read_file(WORDINGS / f"{name}.yaml")
    draft.file = draft.file.rpartition("/")[2]
    document = validate(draft)
    assert document is not None
    correct = compile_programme(document)
    for path in places(draft.tree):
        yield f"{name} {'.'.join(map(str, path))}", list(answers(draft, correct, path))


def digest(lines: list[str]) -> str:
    """Name some lines."""
    return blake2b("\n".join(lines).encode(), digest_size=5).hexdigest()


@pytest.mark.parametrize("name", PROGRAMMES)
def test_whatever_is_written_is_answered_as_before(name: str) -> None:
    """A mistake with line, field, sentence and proposal; or another programme, and what changed."""
    lines = WRITTEN.read_text(encoding="ascii").splitlines()
    known = {
        place: digest for place, _, digest in (line.rpartition(": ") for line in lines) if place.split()[0] == name
    }
    found = {place: digest(said) for place, said in all_answers(name)}
    changed = [place for place in {**known, **found} if known.get(place) != found.get(place)]

    assert not changed, (
        f"answered otherwise: {', '.join(changed[:9])}; python -m tests.unit.test_rules_miswritten '{changed[0]}' prints it, and "
        "without a place writes all of them anew, where that is meant"
    )


def test_an_id_that_is_no_word_is_a_mistake_and_no_crash() -> None:
    """Of a challenge too, whose id is looked for where rules offer it."""
    draft = read_file(WORDINGS / "moments-and-play.yaml")
    other = miswritten(draft, ("challenges", 0, "id"), ["five"])

    assert other is not None
    assert validate(other) is None
    assert [said(one) for one in other.problems] == [
        "38 | challenges[1].id | a list is no single word | write one word, without brackets"
    ]


def main(place: str | None) -> None:
    """Print the answers of one place, or write all digests."""
    everything = [one for name in PROGRAMMES for one in all_answers(name)]
    if place is None:
        WRITTEN.write_text("".join(f"{one}: {digest(lines)}\n" for one, lines in everything), encoding="ascii")
    for one, lines in everything:
        if one == place:
            print(*lines, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
