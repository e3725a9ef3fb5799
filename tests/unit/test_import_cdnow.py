"""CDNOW's files become events: every order, every cent."""

from __future__ import annotations

import csv
import gzip
import json
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.commands.import_ import import_
from engine.imports.account import Account
from engine.imports.cdnow import convert
from engine.imports.errors import BadLineError, WrongFileError
from schemas.normalise import normalise
from schemas.times import to_us

FILE = Path(__file__).parents[1] / "data" / "cdnow.csv.gz"
NOW = "2030-01-01T00:00:00.000000Z"


def run(*arguments: str | Path) -> Result:
    """Run the command."""
    return CliRunner().invoke(import_, [str(argument) for argument in arguments])


def test_all_of_cdnow_in_the_form_of_its_master_file(tmp_path: Path) -> None:
    """69,659 lines, 23,570 customers, every cent; the account balances; events are sorted and every id is one."""
    master, cents = tmp_path / "CDNOW_master.txt", 0
    with gzip.open(FILE, "rt", encoding="utf-8") as file, master.open("w", encoding="utf-8") as out:
        for row in csv.DictReader(file):
            out.write(f" {int(row['customer']):05} {row['day']} {row['cds']:>2} {row['dollars']:>7}\n")
            cents += round(Decimal(row["dollars"]) * 100)
    account = Account("USD")
    events = list(convert(master, account))

    assert (len(events), account.read.lines, account.read.money_minor, account.balances) == (
        69_659,
        69_659,
        cents,
        True,
    )
    assert len({event["subject"] for event in events}) == 23_570
    assert len({event["id"] for event in events}) == 69_659
    assert events == sorted(events, key=lambda event: (event["time"], event["id"]))


def test_both_files_make_the_same_events_and_intake_takes_them(tmp_path: Path) -> None:
    """The sample's second column is left out; two orders of one day are two; the lines' amounts make up the total."""
    master, sample = tmp_path / "m.txt", tmp_path / "s.txt"
    master.write_text(
        " 00004 19970101  2   29.33\n 00004 19970101  7   29.73\n 00021 19970101  1    0.00\n", encoding="utf-8"
    )
    sample.write_text(
        " 00004 0001 19970101  2   29.33\n 00004 0001 19970101  7   29.73\n 00021 0002 19970101  1    0.00\n",
        encoding="utf-8",
    )
    made = [list(convert(path, Account("USD"))) for path in (master, sample)]
    assert made[0] == made[1]
    assert [event["id"] for event in made[0]] == ["00004-19970101-1", "00004-19970101-2", "00021-19970101-1"]
    for event in made[0]:
        fact = normalise(
            json.dumps(event).encode(), NOW, to_us(NOW)
        )  # refuses a total that is not the sum of its lines
        assert fact.subject == event["subject"]


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("InvoiceNo,StockCode\n", WrongFileError, "neither CDNOW_master.txt nor"),
        (" 00004 19970101  2   29.33\n 00004 19970101  x   29.33\n", BadLineError, ":2: "),
        (" 00004 19971301  2   29.33\n", BadLineError, "19971301 is no day"),
        (" 00004 19970101  0   29.33\n", BadLineError, "no CDs"),
    ],
)
def test_lines_that_are_not_cdnows_are_told(tmp_path: Path, text: str, error: type[Exception], says: str) -> None:
    """The wrong file at its first line, a wrong line by its number."""
    path = tmp_path / "x.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(error, match=says):
        list(convert(path, Account("USD")))


def test_the_command_reads_it(tmp_path: Path) -> None:
    """With an account in dollars."""
    path = tmp_path / "CDNOW_master.txt"
    path.write_text(" 00004 19970101  2   29.33\n", encoding="utf-8")
    done = run(path, "--preset", "cdnow", "--out", tmp_path / "e.jsonl", "--json")

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["read"] == {"lines": 1, "money_minor": 2_933}
    assert json.loads((tmp_path / "e.jsonl").read_text())["time"] == "1997-01-01T12:00:00-05:00"
