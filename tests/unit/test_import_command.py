"""`stammgast import`: files, exit codes and what it prints."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.commands.import_ import import_
from engine.imports.account import Account, Tally
from tests.unit.test_import_online_retail import till

LINES = ["1,A,6,2010-12-01 08:26,2.55,7.0", "C2,A,-1,2010-12-02 08:26,2.55,7.0", "3,A,-1,2010-12-02 08:30,0,"]


def run(*arguments: object) -> Result:
    """The command with these arguments."""
    return CliRunner().invoke(import_, [str(argument) for argument in arguments])


def test_events_and_account_are_written(tmp_path: Path) -> None:
    """One CloudEvent per line, and an account to the penny; exit code 0."""
    out = tmp_path / "events.jsonl"
    result = run(till(tmp_path, LINES), "--preset", "online-retail", "--out", out)

    assert result.exit_code == 0, result.output
    assert [json.loads(line)["id"] for line in out.read_text(encoding="utf-8").splitlines()] == ["1", "C2:1"]
    assert "the account balances" in result.output
    assert "12.75" in result.output


def test_the_account_is_also_json(tmp_path: Path) -> None:
    """With --json a script reads the account; money in pennies."""
    result = run(till(tmp_path, LINES), "--preset", "online-retail", "--out", tmp_path / "e.jsonl", "--json")

    account = json.loads(result.stdout)
    assert account["read"] == {"lines": 3, "money_minor": 1275}
    assert account["left_out"] == {"negative quantity without a cancellation": {"lines": 1, "money_minor": 0}}
    assert account["balances"] is True


def test_gzip_is_read_and_written_the_same_every_time(tmp_path: Path) -> None:
    """A .gz in and out: the same bytes on every run, without a time stamp."""
    packed = tmp_path / "till.csv.gz"
    packed.write_bytes(gzip.compress(till(tmp_path, LINES).read_bytes()))
    first, second = tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl.gz"
    for out in (first, second):
        assert run(packed, "--preset", "online-retail", "--out", out).exit_code == 0

    assert first.read_bytes() == second.read_bytes()
    assert len(gzip.decompress(first.read_bytes()).splitlines()) == 2


def test_which_till_must_be_said(tmp_path: Path) -> None:
    """No preset and no mapping: exit code 2, and both are named."""
    result = run(till(tmp_path, LINES), "--out", tmp_path / "e.jsonl")

    assert (result.exit_code, "--preset online-retail, cdnow or costs" in result.output) == (2, True)


def test_a_missing_file_is_wrong_usage(tmp_path: Path) -> None:
    """The path is named; exit code 2."""
    result = run(tmp_path / "nowhere.csv", "--preset", "online-retail", "--out", tmp_path / "e.jsonl")

    assert result.exit_code == 2
    assert "nowhere.csv: there is no such file" in result.output


def test_an_output_that_cannot_be_written_is_wrong_usage(tmp_path: Path) -> None:
    """The output's path is named; exit code 2."""
    result = run(till(tmp_path, LINES), "--preset", "online-retail", "--out", tmp_path / "no" / "e.jsonl")

    assert result.exit_code == 2
    assert "e.jsonl: cannot be written" in result.output


def test_a_bad_line_leaves_nothing_behind(tmp_path: Path) -> None:
    """Exit code 1, the place of the line, and neither a new file nor a changed old one."""
    out = tmp_path / "e.jsonl"
    out.write_text("before", encoding="utf-8")
    result = run(till(tmp_path, [*LINES, "4,A,x,2010-12-01 08:26,1,"]), "--preset", "online-retail", "--out", out)

    assert result.exit_code == 1
    assert "till.csv:5: 'x' is not a number" in result.output
    assert out.read_text(encoding="utf-8") == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.jsonl", "till.csv"]


def test_an_uneven_account_is_a_no(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the account does not balance nothing is written and the exit code is 1."""
    monkeypatch.setattr(Account, "accounted", property(lambda _account: Tally(0, 0)))
    out = tmp_path / "e.jsonl"
    result = run(till(tmp_path, LINES), "--preset", "online-retail", "--out", out)

    assert result.exit_code == 1
    assert "DOES NOT BALANCE" in result.output
    assert not out.exists()
