"""A story file, read strictly: what is not understood is a mistake with its line and the nearest known word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rules.book import Programme, from_json
from rules.checks import validate
from rules.compiling import compile_programme
from rules.draft import Draft, read_yaml
from rules.draft import Path as Place
from rules.errors import Problem, did_you_mean
from tests.stories.telling import Event, EventError, read_event
from tests.stories.wishes import WISHES, Wish, WishError, read_wish

FOLDER = Path(__file__).parent
SHARED = FOLDER / "programmes"
HEADER: dict[str, Any] = {
    "programme": "story",
    "valid": {"from": "2026-01-01"},
    "time_zone": "Europe/Berlin",
    "currency": "EUR",
}
TOP = ("story", "holds", "given", "steps")


class StoryError(ValueError):
    """A story that cannot be read; its text names every mistake with file and line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in sorted(set(problems))))


@dataclass(slots=True)
class Step:
    """One fact, and what is expected of it; ``line`` is where it stands in the file."""

    line: int
    event: Event
    wishes: list[Wish] = field(default_factory=list)


@dataclass(slots=True)
class Story:
    """A story: its sentence, which lines of docs/semantics.md it holds, the versions, and what happens."""

    name: str
    sentence: str
    holds: list[str]
    programmes: list[Programme]
    steps: list[Step]


def read_story(path: Path) -> Story:
    """Read a story file.

    Raises:
        StoryError: with every mistake.
    """
    return parse_story(path.read_text(encoding="utf-8"), str(path.relative_to(FOLDER.parents[1])))


def parse_story(text: str, name: str) -> Story:
    """Read the text of a story; see `read_story`."""
    draft = read_yaml(text, name)
    story = _Reader(draft).story() if not draft.problems else None
    if draft.problems or story is None:
        raise StoryError(draft.problems)
    return story


class _Reader:
    def __init__(self, draft: Draft) -> None:
        self.draft = draft

    def story(self) -> Story | None:
        tree = self.mapping((), TOP, needed=("story", "given", "steps"))
        if tree is None:
            return None
        sentence = tree.get("story")
        if not isinstance(sentence, str) or len(sentence.split()) < 3:
            self.draft.report(("story",), "a story begins with a sentence that says what holds")
        given = self.mapping(("given",), ("programme", "facts"), needed=("programme",)) or {}
        programmes = self.programmes(given.get("programme"))
        zone = programmes[0].time_zone if programmes else None
        if zone is None:
            return None
        steps = []
        for index, fact in enumerate(self.listed(("given", "facts")) if "facts" in given else []):
            if (event := self.event(("given", "facts", index), fact)) is not None:
                steps.append(Step(self.draft.line(("given", "facts", index)), event, []))
        for index, _ in enumerate(self.listed(("steps",))):
            place: Place = ("steps", index)
            step = self.mapping(place, ("when", "then"), needed=("when", "then"))
            event = None if step is None else self.event((*place, "when"), step.get("when"))
            wishes = self.wishes((*place, "then"))
            if event is not None:
                steps.append(Step(self.draft.line(place), event, wishes))
        holds = tree.get("holds", [])
        return Story(
            self.draft.file, str(sentence), [holds] if isinstance(holds, str) else list(holds), programmes, steps
        )

    def mapping(self, place: Place, known: Sequence[str], needed: Sequence[str] = ()) -> dict[str, Any] | None:
        found = self.draft.at(*place) if place else self.draft.tree
        if not isinstance(found, dict):
            self.draft.report(place, f"here stand {', '.join(known)}")
            return None
        for key in found:
            if key not in known:
                self.draft.report((*place, key), f"unknown key {key}", did_you_mean(key, known))
        for key in needed:
            if key not in found:
                self.draft.report(place, f"{key} is missing")
        return found

    def listed(self, place: Place) -> list[Any]:
        found = self.draft.at(*place)
        if not isinstance(found, list) or not found:
            self.draft.report(place, "here stands a list")
            return []
        return found

    def event(self, place: Place, said: Any) -> Event | None:
        try:
            return read_event(said)
        except EventError as error:
            self.draft.report((*place, error.key) if error.key else place, str(error), error.proposal)
            return None

    def wishes(self, place: Place) -> list[Wish]:
        found = self.mapping(place, tuple(WISHES))
        wishes = []
        for key, value in (found or {}).items():
            if key in WISHES:
                try:
                    wishes.append(read_wish(key, value))
                except WishError as error:
                    self.draft.report((*place, key), str(error))
        return wishes

    def programmes(self, said: Any) -> list[Programme]:
        if not isinstance(said, list):
            version = self.version(said, ("given", "programme"), 1)
            return [] if version is None else [version]
        found = [self.version(one, ("given", "programme", index), index + 1) for index, one in enumerate(said)]
        return [version for version in found if version is not None]

    def version(self, said: Any, place: Place, number: int) -> Programme | None:
        """Compile a version, through the canonical JSON that the log would hold."""
        body = self.body(said, place)
        if body is None:
            return None
        draft = Draft(self.draft.file, HEADER | {"version": number} | body)
        draft.lines = {
            path[len(place) :]: line for path, line in self.draft.lines.items() if path[: len(place)] == place
        }
        document = validate(draft)
        self.draft.problems += draft.problems
        return None if document is None else from_json(compile_programme(document).canonical_json())

    def body(self, said: Any, place: Place) -> dict[str, Any] | None:
        if isinstance(said, str):
            said = {"use": said}
        if not isinstance(said, dict):
            self.draft.report(place, "a programme is the name of a shared one, or its keys")
            return None
        body: dict[str, Any] = {}
        used = said.get("use", [])
        for name in [used] if isinstance(used, str) else used:
            file = SHARED / f"{name}.yaml"
            if not file.is_file():
                known = sorted(path.stem for path in SHARED.glob("*.yaml"))
                self.draft.report(place, f"there is no shared programme {name}", did_you_mean(str(name), known))
                return None
            body = _joined(body, read_yaml(file.read_text(encoding="utf-8"), str(file)).tree)
        return _joined(body, {key: value for key, value in said.items() if key != "use"})


def _joined(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Rules are added to rules; any other key takes the place of the same key below."""
    joined = below | above
    if "earn" in below and "earn" in above:
        joined["earn"] = [*below["earn"], *above["earn"]]
    return joined
