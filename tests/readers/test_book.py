"""The file of readers: tokens that only their owner knows, several at a time, followed while it changes."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from engine.readers import book
from engine.readers.book import Book
from engine.settings import UsageError


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "LOOK_AGAIN_S", 0.0)


def test_a_token_is_known_by_its_hash_alone(tmp_path: Path) -> None:
    """The file is its owner's, and holds no token."""
    path = tmp_path / "readers.yaml"
    anna, ben = book.add(path, "anna"), book.add(path, "ben")
    held = Book(path)

    assert [held.who(anna), held.who(ben), held.who(anna[:-1]), held.who("")] == ["anna", "ben", None, None]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert anna not in path.read_text(encoding="utf-8")
    assert book.TOKEN.fullmatch(anna)


def test_a_token_is_changed_without_a_gap_and_without_a_restart(tmp_path: Path) -> None:
    """The old one holds until its day, the new one at once; a reader who is taken out is nobody."""
    path = tmp_path / "readers.yaml"
    old = book.add(path, "anna")
    held = Book(path)

    new = book.rotate(path, "anna", 1)
    assert [held.who(old), held.who(new)] == ["anna", "anna"]

    newest = book.rotate(path, "anna", 0)
    assert [held.who(old), held.who(new), held.who(newest)] == [None, None, "anna"]

    book.remove(path, "anna")
    assert held.who(newest) is None
    assert held.names() == frozenset()


def test_a_token_ends_on_its_day(tmp_path: Path) -> None:
    """`until` in the past: no token any more, and no name."""
    path = tmp_path / "readers.yaml"
    token = book.add(path, "anna")
    said = yaml.safe_load(path.read_text(encoding="utf-8"))
    said["readers"][0]["tokens"][0]["until"] = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    path.write_text(yaml.safe_dump(said), encoding="utf-8")

    assert Book(path).who(token) is None
    assert Book(path).names() == frozenset()


def test_a_file_that_breaks_changes_nothing(tmp_path: Path) -> None:
    """A slip of the editor locks nobody out."""
    path = tmp_path / "readers.yaml"
    token = book.add(path, "anna")
    held = Book(path)

    path.write_text("readers: [{name: anna, tokn: 1}]", encoding="utf-8")
    assert held.who(token) == "anna"
    path.unlink()
    assert held.who(token) == "anna"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("readers: [{name: Anna, tokens: [{sha256: " + "a" * 64 + "}]}]", "readers.0.name"),
        ("readers: [{name: anna, tokens: []}]", "readers.0.tokens"),
        ("readers: [{name: anna, tokens: [{sha256: abc}]}]", "readers.0.tokens.0.sha256"),
        ("reader: []", "reader"),
        ("[", "while parsing"),
        (
            "readers: [{name: a, tokens: [{sha256: "
            + "a" * 64
            + "}]}, {name: a, tokens: [{sha256: "
            + "b" * 64
            + "}]}]",
            "a stands there twice",
        ),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, text: str, says: str) -> None:
    """A start with a broken file is refused."""
    path = tmp_path / "readers.yaml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(UsageError) as refused:
        book.read(path)
    assert says in refused.value.message


def test_names_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Two of one name, a name with a path in it, a reader who is not there."""
    path = tmp_path / "readers.yaml"
    book.add(path, "anna")
    for wrong in (
        lambda: book.add(path, "anna"),
        lambda: book.add(path, "../x"),
        lambda: book.rotate(path, "ben", 1),
        lambda: book.remove(path, "ben"),
    ):
        with pytest.raises(UsageError):
            wrong()
