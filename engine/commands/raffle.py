"""`stammgast raffle`: a secret and its promise, the tickets, the draw, and whether a draw was right."""

from __future__ import annotations

import json
import os
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click

from engine.settings import No, UsageError, option

_FILE = click.Path(dir_okay=False, path_type=Path)
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
STATEMENTS = "serving/raffle"


@click.group()
def raffle() -> None:
    """Draw a raffle so that anybody can check it: promise a secret first, reveal it at the draw.

    Exit codes: 0 done, 1 the draw is not right or cannot be made yet, 2 wrong usage.
    """


@raffle.command("secret")
@click.option("--out", type=_FILE, required=True, help="Where to keep it, readable by you alone; never overwritten.")
@click.option("--json", "as_json", is_flag=True, help="Print the commitment as JSON.")
def secret_(out: Path, as_json: bool) -> None:
    """Make a secret, keep it in a file, and print the commitment for the programme file.

    Publish the version with the commitment before the first ticket is given, and show the file to nobody before the draw:
    who has it knows who would win.
    """
    from engine.raffle.drawing import commitment_of

    made = secrets.token_hex(32)
    try:
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(f"{out} is there already: a secret is never overwritten; name another file") from None
    except OSError as error:
        raise UsageError(f"{out}: {error.strerror}") from error
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f"{made}\n")
    said = commitment_of(made)
    click.echo(json.dumps({"commitment": said}) if as_json else f"commitment: {said}")


def _moment(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        read = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value} is no time: write it like 2026-07-01T12:00:00+02:00") from None
    if read.tzinfo is None:
        raise click.BadParameter(f"{value} has no offset: write it like 2026-07-01T12:00:00+02:00")
    return read.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


_AT = click.option(
    "--at", required=True, callback=_moment, metavar="TIME",
    help="Tickets as the log knew them then: those recorded, but for those void by what was recorded. After the sale's end.",
)  # fmt: skip
_SETTLED = click.option(
    "--settled", is_flag=True,
    help="Take it that nothing recorded until --at is still on its way, where partitions have no newer record to show it.",
)  # fmt: skip


def _ask(db: Path, statement: str, **values: str) -> list[dict[str, Any]]:
    from projections.reading import ask_named

    return list(ask_named(db, STATEMENTS, statement, **values))


def _known(db: Path, name: str) -> dict[str, Any]:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name} is no id of a raffle: lower case letters, digits and hyphens")
    found = _ask(db, "raffle", raffle=name)
    if not found:
        raise No(f"no version that these tables know has a raffle {name}")
    return found[0]


def _tickets(db: Path, name: str, at: str, settled: bool) -> list[tuple[str, str]]:
    """Return (ticket, member) pairs; refuse a moment before the sale's end, or one that the tables may not know whole."""
    ends = _known(db, name)["ends_at"]
    if datetime.fromisoformat(at) < ends:
        raise No(
            f"tickets are given for facts until {ends.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}: draw as of a moment after it"
        )
    behind = [] if settled else _ask(db, "behind", at=at)
    if behind:
        first = behind[0]
        until = f"{first['known_until'].astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        raise No(
            f"{len(behind)} partition{'s have' if len(behind) > 1 else ' has'} no record from {at} or later (partition "
            f"{first['partition']} ends at {until}): wait for the projector and the next tick, or say --settled"
        )
    return [(row["ticket_id"], row["member_id"]) for row in _ask(db, "tickets", raffle=name, at=at)]


@raffle.command("tickets")
@click.argument("name")
@option("db", required=True)
@_AT
@_SETTLED
@click.option("--out", type=_FILE, help="Write the list there. Default: print it.")
@click.option("--json", "as_json", is_flag=True, help="Print how many tickets and holders there are, and the digest.")
def tickets_(*, name: str, db: Path, at: str, settled: bool, out: Path | None, as_json: bool) -> None:
    """Write the list of tickets to publish: their names, and a number for each holder that says nothing of who it is."""
    import hashlib

    from engine.raffle.drawing import listed, numbered

    found = numbered(_tickets(db, name, at, settled))
    text = listed(found)
    if out is not None:
        _write(out, text)
    elif not as_json:
        click.echo(text, nl=False)
    if as_json:
        holders = len({ticket.holder for ticket in found})
        digest = hashlib.sha256(text.encode()).hexdigest()
        click.echo(json.dumps({"raffle": name, "at": at, "tickets": len(found), "holders": holders, "digest": digest}))


@raffle.command("draw")
@click.argument("name")
@option("db", required=True)
@_AT
@_SETTLED
@click.option("--secret-file", type=_FILE, required=True, help="As `raffle secret` wrote it.")
@click.option("--public", default="", help="The public number that the programme names.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True,
    help="Folder for NAME.draw.json and NAME.tickets.csv, to be published.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the draw as JSON, with whose the winning tickets are.")
def draw_(
    *, name: str, db: Path, at: str, settled: bool, secret_file: Path, public: str, out: Path, as_json: bool
) -> None:
    """Draw, and write the two files by which anybody can draw again. Who won is printed, and stands in neither file.

    The same tickets, secret and public number give the same winners, however often and wherever it is drawn.
    """
    from engine.raffle.drawing import WrongDraw, check_secret, draw, listed, numbered

    known, secret = _known(db, name), _read(secret_file).strip()
    try:
        check_secret(secret, known["commitment"])
    except WrongDraw as error:
        raise No(str(error)) from error
    _refuse_late_promise(db, name, known)
    if bool(known["drawn_with"]) != bool(public):
        wanted = known["drawn_with"]
        raise UsageError(
            f"this raffle is drawn with {wanted}: say --public" if wanted else "this raffle has no public number"
        )
    owners = dict(_tickets(db, name, at, settled))
    tickets = numbered(owners.items())
    if not tickets:
        raise No(f"nobody has a valid ticket of {name}")
    drawn = draw(name, secret, public, at, tickets, (known["winners"], known["wins_per_member"]))
    out.mkdir(parents=True, exist_ok=True)
    _write(out / f"{name}.tickets.csv", listed(tickets))
    _write(out / f"{name}.draw.json", json.dumps(drawn.as_data(), indent=2) + "\n")
    won = [
        {"place": place, "ticket": ticket, "member": owners[ticket]} for place, ticket in enumerate(drawn.winning, 1)
    ]
    if as_json:
        click.echo(json.dumps(drawn.as_data() | {"won": won}))
        return
    click.echo(f"{name}: {len(tickets)} tickets, digest {drawn.digest}")
    for one in won:
        click.echo(f"{one['place']}. {one['ticket']}, member {one['member']}")


def _refuse_late_promise(db: Path, name: str, known: dict[str, Any]) -> None:
    first = _ask(db, "first_ticket", raffle=name)[0]["first_at"]
    if first is not None and known["committed_at"] > first:
        raise No(
            f"this commitment came at {known['committed_at'].astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}, after the first ticket "
            f"({first.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}): the secret could have been chosen for a winner"
        )


@raffle.command("verify")
@click.argument("draw_file", metavar="DRAW.json", type=_FILE)
@click.argument("list_file", metavar="TICKETS.csv", type=_FILE)
@option("db")
@_SETTLED
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def verify_(*, draw_file: Path, list_file: Path, db: Path | None, settled: bool, as_json: bool) -> None:
    """Draw again from the two published files, and with --db hold the list against the tables.

    A few lines of plain Python do the same without us: docs/examples/verify_raffle.py.
    """
    from engine.raffle.drawing import WrongDraw, again, read_list

    try:
        listed = read_list(_read(list_file))
        found, wrong = again(json.loads(_read(draw_file)), listed)
    except WrongDraw as error:
        raise No(f"the draw is not right: {error}") from error
    except ValueError as error:
        raise UsageError(f"{draw_file} is no JSON: {error}") from error
    if db is not None:
        promised = _known(db, found.raffle)["commitment"]
        if promised != found.commitment:
            wrong.append(f"commitment: the draw says {found.commitment}, the programme published {promised}")
        there = {ticket for ticket, _ in _tickets(db, found.raffle, found.at, settled)}
        names = {ticket.id for ticket in listed}
        wrong += [f"{ticket} is in the list and not in the tables" for ticket in sorted(names - there)]
        wrong += [f"{ticket} is in the tables and not in the list" for ticket in sorted(there - names)]
    _tell(found.as_data(), wrong, as_json)


def _tell(found: dict[str, Any], wrong: list[str], as_json: bool) -> None:
    if as_json:
        click.echo(
            json.dumps({"right": not wrong, "wrong": wrong, "winning": found["winning"], "tickets": found["tickets"]})
        )
    elif not wrong:
        click.echo(f"right: {found['tickets']} tickets, {', '.join(found['winning'])}")
    if wrong:
        _refuse(wrong)


def _refuse(wrong: list[str]) -> NoReturn:
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    raise No(f"the draw is not right: {wrong[0]}{more}")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text: {error.reason}") from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
