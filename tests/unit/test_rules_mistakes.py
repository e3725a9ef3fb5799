"""Every mistake of a programme file is reported at once, with its line, its field and a proposal."""

from __future__ import annotations

from pathlib import Path

import pytest

from rules.checks import LATER_KEYS, keys_at, validate
from rules.draft import read_yaml
from rules.errors import Problem, ProgrammeErrors, did_you_mean, either, nearest
from rules.files import read_directory, read_file
from tests.unit.rules_help import problems

BROKEN = Path(__file__).parent / "broken_programmes"
FILES = sorted(BROKEN.glob("*.yaml"))
SHIPPED = Path(__file__).parents[2] / "rules" / "programmes"


def said(problem: Problem) -> str:
    """Write a problem like a line of an `.expected` file."""
    return f"{problem.line} | {problem.field} | {problem.message} | {problem.proposal}".rstrip()


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_every_mistake_of_a_file_is_found_at_once(file: Path) -> None:
    """A broken file is answered with exactly the mistakes in the `.expected` file beside it."""
    # given a file with many mistakes
    expected = [text.rstrip() for text in file.with_suffix(".expected").read_text(encoding="utf-8").splitlines()]
    # when it is read and checked
    draft = read_file(file)
    document = validate(draft)
    # then there is no programme, and every mistake is named, no other
    assert document is None
    assert [said(problem) for problem in sorted(set(draft.problems))] == expected
    # and each has a line and a proposal
    assert all(problem.line > 0 and problem.proposal for problem in draft.problems)


@pytest.mark.parametrize("key", sorted(LATER_KEYS))
def test_later_keys_are_refused_by_name(key: str) -> None:
    """A key of a later release is answered `not yet supported: <key>`, wherever it stands."""
    found = [problem.message for problem in problems(**{key: 1})]
    assert found == [f"not yet supported: {key}"]


def test_no_key_is_both_known_and_later() -> None:
    """A key that the language knows is not on the list of later keys."""
    known = {key for path in ((), ("points",), ("earn", 0), ("tiers",), ("refer",)) for key in keys_at(path)}
    assert known.isdisjoint(LATER_KEYS)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 0, "the file is empty"),
        ("# only a comment\n", 0, "the file is empty"),
        ("a: [1, 2\nb: 3\n", 2, "not YAML"),
        ("a: b: c\n", 1, "not YAML"),
        ("a:\n\tb: 1\n", 2, "not YAML"),
        ("a: 1\n---\nb: 2\n", 2, "not YAML"),
        ("a: 'open\n", 2, "not YAML"),
        ("a: 1\nb: \x07\n", 2, "not YAML"),
        ("- one\n- two\n", 1, "a programme is a mapping"),
        ("just text\n", 1, "a programme is a mapping"),
        ("? [a, b]\n: 1\n", 1, "a key must be a single word"),
        ("x: *nowhere\n", 1, "not YAML"),
        ("a: " + "[" * 3000 + "]" * 3000, 1, ""),
        ("a: " + "x" * 1_000_001, 0, "characters"),
    ],
)
def test_what_is_no_yaml_is_reported_with_its_line(text: str, line: int, message: str) -> None:
    """Broken YAML is a problem with a line, never a traceback."""
    draft = read_yaml(text, "broken.yaml")
    validate(draft)
    first = min(draft.problems)
    assert first.line == line
    assert any(message in problem.message for problem in draft.problems)


def test_files_that_cannot_be_read_are_problems(tmp_path: Path) -> None:
    """Bytes that are no UTF-8, a missing path and an empty directory are told, with what to do."""
    (tmp_path / "latin.yaml").write_bytes("programme: caf\xe9\n".encode("latin-1"))
    with pytest.raises(ProgrammeErrors, match="not UTF-8"):
        read_directory(tmp_path)
    with pytest.raises(ProgrammeErrors, match="no such file or directory"):
        read_directory(tmp_path / "nowhere")
    with pytest.raises(ProgrammeErrors, match=r"did you mean .*coffee-bar\?"):
        read_directory(SHIPPED)


def test_all_files_of_a_directory_are_checked_at_once() -> None:
    """A directory of broken files is answered with the mistakes of all of them, and of the directory."""
    with pytest.raises(ProgrammeErrors) as caught:
        read_directory(BROKEN)
    files = {Path(problem.file).name for problem in caught.value.problems}
    assert files == {file.name for file in FILES}
    assert caught.value.problems == sorted(caught.value.problems)


def test_a_problem_reads_like_a_compiler_says_it() -> None:
    """A problem's text is file, line, field, message, proposal."""
    assert str(Problem("a.yaml", 3, "earn[x].on", "wrong", "do this")) == "a.yaml:3: earn[x].on: wrong - do this"
    assert str(Problem("a.yaml", 0, "", "empty")) == "a.yaml: empty"


def test_proposals_name_the_nearest_word() -> None:
    """A near word is proposed; far ones list what is known; nothing known proposes nothing."""
    assert nearest("Weekdya", ["weekday", "store"]) == "weekday"
    assert did_you_mean("weekdays", ["weekday", "store"]) == "did you mean weekday?"
    assert did_you_mean("zzz", ["weekday", "store"]) == "use weekday or store"
    assert did_you_mean("zzz", []) == ""
    assert either(["a", "b", "c"]) == "a, b or c"
