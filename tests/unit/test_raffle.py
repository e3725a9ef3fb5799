"""A raffle's draw: the same for everybody, fair, and checked by plain Python; what was changed is found."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from engine.commands.raffle import raffle
from engine.commands.replay import replay
from engine.ledger.engine_facts import programme_fact
from engine.raffle.drawing import (
    Ticket,
    WrongDraw,
    again,
    check_secret,
    commitment_of,
    draw,
    listed,
    numbered,
    read_list,
)
from rules.book import load_directory
from schemas.envelope import encode_fact
from schemas.normalise import normalise
from schemas.times import to_text, to_us
from tests.stories.telling import read_event
from tests.unit.ledger import HEADER

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "verify_raffle.py"
SECRET = "5eed" * 16
TICKETS = numbered([("c-0001", "ben"), ("a-0001", "anna"), ("b-0001", "anna"), ("d-0001", "cleo")])
AT = "2026-07-02T10:00:00.000000Z"


def test_tickets_stand_by_their_names_and_holders_by_numbers() -> None:
    """Whatever order they were read in; the list says nothing of who somebody is, and reads back as it was."""
    assert [Ticket("a-0001", 1), Ticket("b-0001", 1), Ticket("c-0001", 2), Ticket("d-0001", 3)] == TICKETS
    assert listed(TICKETS).splitlines()[1] == "a-0001,1"
    assert read_list(listed(TICKETS)) == TICKETS


def test_every_ticket_has_the_same_chance() -> None:
    """3,000 raffles of three tickets: each first place within five standard deviations (26) of a third."""
    three = numbered([("a", "anna"), ("b", "ben"), ("c", "cleo")])
    firsts = Counter(draw(f"r{number}", SECRET, "", AT, three, (1, 1)).winning[0] for number in range(3_000))
    assert all(abs(firsts[name] - 1_000) < 5 * 26 for name in "abc"), firsts


def test_a_member_wins_as_often_as_the_programme_says() -> None:
    """Once, or with each of his tickets; places that nobody is left for stay empty."""
    once = draw("summer", SECRET, "", AT, TICKETS, (4, 1))
    assert len(once.winning) == 3
    assert len({ticket.holder for ticket in TICKETS if ticket.id in once.winning}) == 3
    assert sorted(draw("summer", SECRET, "", AT, TICKETS, (4, 2)).winning) == [ticket.id for ticket in TICKETS]


def test_a_draw_that_was_changed_is_found() -> None:
    """Another winner, another list, another secret, another public number."""
    right = draw("summer", SECRET, "4 8 15", AT, TICKETS, (2, 1)).as_data()
    assert again(json.loads(json.dumps(right)), TICKETS)[1] == []
    swapped = again(right | {"winning": right["winning"][::-1]}, TICKETS)[1]
    assert [line.partition(":")[0] for line in swapped] == ["winning"]
    fewer = again(right, TICKETS[:-1])[1]
    assert {line.partition(":")[0] for line in fewer} >= {"tickets", "digest"}
    assert again(right | {"public": "4 8 16"}, TICKETS)[1]
    for change, message in (
        ({"secret": "0" * 64}, "SHA-256 of this secret"),
        ({"draw": "dice"}, "no draw of the kind"),
    ):
        with pytest.raises(WrongDraw, match=message):
            again(right | change, TICKETS)
    with pytest.raises(WrongDraw, match="published no commitment"):
        check_secret(SECRET, None)
    with pytest.raises(WrongDraw, match="32 hex digits"):
        check_secret("abc", commitment_of("abc"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no list of tickets"),
        ("ticket,holder\na\n", "line 2"),
        ("ticket,holder\nb,1\na,1\n", "order"),
        ("ticket,holder\na,1\na,1\n", "each once"),
    ],
)
def test_a_list_that_is_none(text: str, message: str) -> None:
    """Each says what is wrong."""
    with pytest.raises(WrongDraw, match=message):
        read_list(text)


# ---- from events to winners ----

PROGRAMME = """
raffles: [{id: summer, from: 2026-06-01, until: 2026-06-30, winners: 2, commitment: %s}]
earn: [{id: ticket, on: purchase, raffle: {name: summer, tickets: 2}}]
"""
LATE: dict[str, Any] = {"at": "2026-07-03 10:00", "who": "dora", "visit": "s1"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two buyers with two tickets each, a third whose purchase comes back; a secret, its programme, and the tables."""
    folder = tmp_path_factory.mktemp("raffle")
    made = ask("secret", "--out", str(folder / "secret"), "--json")
    assert (folder / "secret").stat().st_mode & 0o777 == 0o600
    tables(folder, json.loads(made.output)["commitment"])
    return folder


@pytest.fixture
def shop(built: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(built, tmp_path / "shop"))


def tables(folder: Path, commitment: str) -> None:
    """Replay the facts under a programme with this commitment."""
    facts: list[dict[str, Any]] = [
        {"at": "2026-06-02 10:00", "who": who, "purchase": f"o-{who}", "lines": ["mug 9.00"]}
        for who in ("anna", "ben", "cleo")
    ]
    facts += [{"at": "2026-06-09 10:00", "who": "cleo", "refund": "o-cleo", "amount": "9.00"}, LATE]
    versions = folder / "programme"
    versions.mkdir(exist_ok=True)
    (versions / "1.yaml").write_text(
        HEADER.format(version=1, start="2026-01-01") + PROGRAMME % commitment, encoding="utf-8"
    )
    zone = load_directory(versions)[0].time_zone
    (folder / "events.jsonl").write_bytes(b"\n".join(read_event(fact).encoded(n, zone) for n, fact in enumerate(facts)))
    options = [str(folder / "events.jsonl"), "--programme", str(versions), "--db", str(folder / "shop.duckdb")]
    done = CliRunner().invoke(replay, options)
    assert done.exit_code == 0, done.output


def ask(*said: str, code: int = 0) -> Result:
    """Run `stammgast raffle`."""
    result = CliRunner().invoke(raffle, said)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def drawn(folder: Path, *more: str, code: int = 0) -> Result:
    """Draw in a folder."""
    options = (
        "--db",
        str(folder / "shop.duckdb"),
        "--secret-file",
        str(folder / "secret"),
        "--out",
        str(folder / "out"),
    )
    return ask("draw", "summer", *options, "--at", "2060-01-01T00:00:00Z", "--settled", *more, code=code)


def test_drawn_verified_and_checked_by_plain_python(shop: Path) -> None:
    """The two published files are all that anybody needs; the tickets of the refunded purchase are not among them."""
    told = json.loads(drawn(shop, "--json").output)
    assert told["tickets"] == 4
    assert {one["member"] for one in told["won"]} == {"anna", "ben"}
    files = [str(shop / "out" / f"summer.{name}") for name in ("draw.json", "tickets.csv")]
    published = "".join(Path(name).read_text(encoding="utf-8") for name in files)
    assert not any(who in published for who in ("anna", "ben", "cleo"))
    assert json.loads(drawn(shop, "--json").output) == told, "a second draw gave something else"
    assert "right: 4 tickets" in ask("verify", *files, "--db", str(shop / "shop.duckdb"), "--settled").output
    plain = [sys.executable, str(EXAMPLE), *files, told["commitment"]]
    said = subprocess.run(plain, capture_output=True, text=True, check=False, timeout=120)
    assert (said.returncode, said.stdout.split()[1:]) == (0, told["winning"]), said.stderr
    Path(files[1]).write_text(Path(files[1]).read_text(encoding="utf-8").replace(",2\n", ",1\n"), encoding="utf-8")
    said = subprocess.run(plain, capture_output=True, text=True, check=False, timeout=120)
    assert said.returncode == 1
    assert "not the list of tickets" in said.stderr
    ask("verify", *files, code=1)


def test_a_list_that_leaves_somebody_out_is_found_in_the_tables(shop: Path) -> None:
    """It is right in itself, and not what the log has."""
    drawn(shop)
    listing, record = shop / "out" / "summer.tickets.csv", shop / "out" / "summer.draw.json"
    fewer = read_list(listing.read_text(encoding="utf-8"))[1:]
    secret = (shop / "secret").read_text(encoding="utf-8").strip()
    listing.write_text(listed(fewer), encoding="utf-8")
    at = json.loads(record.read_text(encoding="utf-8"))["at"]
    record.write_text(json.dumps(draw("summer", secret, "", at, fewer, (2, 1)).as_data()), encoding="utf-8")
    assert "right: 3 tickets" in ask("verify", str(record), str(listing)).output
    result = ask("verify", str(record), str(listing), "--db", str(shop / "shop.duckdb"), "--settled", code=1)
    assert "is in the tables and not in the list" in str(result.exception) + result.output


@pytest.mark.parametrize(("promised", "code"), [("2026-06-01T08:00:00Z", 0), ("2026-06-05T08:00:00Z", 1)])
def test_a_promise_behind_the_first_ticket_draws_nothing(built: Path, tmp_path: Path, promised: str, code: int) -> None:
    """A version names the commitment when tickets were given already: the secret could have been chosen for a winner."""
    shutil.copy(built / "secret", tmp_path / "secret")
    commitment = commitment_of((built / "secret").read_text(encoding="utf-8").strip())
    bodies = (PROGRAMME.replace(", commitment: %s", ""), PROGRAMME % commitment)
    (tmp_path / "programme").mkdir()
    for number, body in enumerate(bodies, 1):
        text = HEADER.format(version=number, start=f"2026-0{number}-01") + body
        (tmp_path / "programme" / f"{number}.yaml").write_text(text, encoding="utf-8")
    first, second = load_directory(tmp_path / "programme")
    bought = read_event({"at": "2026-06-02 10:00", "who": "anna", "purchase": "o", "lines": ["mug 9.00"]})
    recorded = "2026-06-02T09:00:00.000000Z"
    told = [
        programme_fact(first, "2026-05-01T08:00:00.000000Z"),
        programme_fact(second, to_text(to_us(promised))),
        normalise(bought.encoded(1, first.time_zone), recorded, to_us(recorded)),
    ]
    lines = []
    for offset, fact in enumerate(sorted(told, key=lambda fact: fact.recorded_at)):
        place = {"partition": 0, "offset": offset, "timestamp_ms": to_us(fact.recorded_at) // 1_000}
        lines.append(json.dumps(place | {"fact": json.loads(encode_fact(fact))}))
    dump = tmp_path / "facts.jsonl"
    dump.write_text("\n".join(lines), encoding="utf-8")
    said = [str(dump), "--facts", "--programme", str(tmp_path / "programme"), "--db", str(tmp_path / "shop.duckdb")]
    done = CliRunner().invoke(replay, said)
    assert done.exit_code == 0, done.output

    result = drawn(tmp_path, code=code)

    answer = str(result.exception) + result.output
    assert (
        "2 tickets" if code == 0 else "this commitment came at 2026-06-05T08:00:00Z, after the first ticket"
    ) in answer


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (("summer", "--at", "2026-06-15T00:00:00Z"), "tickets are given for facts until"),
        (("summer", "--at", "2090-01-01T00:00:00Z"), "no record from"),
        (("winter", "--at", "2026-07-15T00:00:00Z"), "has a raffle winter"),
    ],
)
def test_no_list_before_it_is_known(shop: Path, said: tuple[str, ...], message: str) -> None:
    """Before the sale's end, before the log has come so far, and for nothing."""
    result = ask("tickets", *said, "--db", str(shop / "shop.duckdb"), code=1)
    assert message in str(result.exception) + result.output


def test_another_secret_draws_nothing(shop: Path) -> None:
    """Neither does a public number that nobody announced; a secret is never overwritten."""
    drawn(shop, "--public", "7", code=2)
    ask("secret", "--out", str(shop / "secret"), code=2)
    (shop / "secret").write_text("0" * 64, encoding="utf-8")
    result = drawn(shop, code=1)
    assert "the programme published" in str(result.exception) + result.output
