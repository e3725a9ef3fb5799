"""Where members are written to: an address book that the shop keeps. What it says is used for one mail and kept nowhere."""

from __future__ import annotations

import asyncio
import csv
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Annotated, Protocol, Self
from urllib.parse import quote

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine.deliver.files import Watched, first_line
from engine.deliver.network import NO_ANSWER, Caller, why_not
from engine.deliver.sending import ConfigBroken

_QUERY = (Path(__file__).parent / "address.sql").read_text(encoding="utf-8")


class BookAway(Exception):
    """The address book did not answer; `reason` is a word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BookSettings(BaseModel):
    """One of `csv`, `sqlite` and `http`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    csv: Path | None = Field(None, description="a file with the columns member and address; read again when it changes")
    sqlite: Path | None = Field(None, description="a database file, opened for reading only")
    query: str | None = Field(None, description="of sqlite: a question with one parameter, the member's key")
    http: Annotated[str, Field(pattern=r"\{member\}")] | None = Field(
        None, description='a URL with {member} in it; answers {"address": ...} or 404'
    )
    token_file: Path | None = Field(None, description="of http: sent as Authorization: Bearer")
    ca_file: Path | None = None
    allow_private: bool = False
    allow_http: bool = False

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if [self.csv, self.sqlite, self.http].count(None) != 2:
            raise ValueError("an address book is one of `csv`, `sqlite` and `http`")
        return self


class AddressBook(Protocol):
    """Tells a member's address, None where it has none. Errors: BookAway."""

    async def address(self, member: str) -> str | None:
        """Look one member up."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...


def book_of(settings: BookSettings, folder: Path, connections: int, timeout_seconds: float) -> AddressBook:
    """The address book that settings name; paths count from `folder`. Errors: ConfigBroken."""
    if settings.csv is not None:
        return _CsvBook(folder / settings.csv)
    if settings.sqlite is not None:
        return _SqliteBook(folder / settings.sqlite, settings.query or _QUERY)
    return _HttpBook(settings.http or "", settings, folder, connections, timeout_seconds)


class _CsvBook:
    def __init__(self, path: Path) -> None:
        self._book = Watched(path, _read_csv)

    async def address(self, member: str) -> str | None:
        return self._book.get().get(member)

    async def close(self) -> None:
        return


def _read_csv(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not {"member", "address"} <= set(rows.fieldnames or ()):
                raise ConfigBroken(f"{path}: its first line must name the columns member and address")
            return {row["member"]: row["address"].strip() for row in rows if row["address"]}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigBroken(f"{path}: {getattr(error, 'strerror', None) or 'it is no CSV in UTF-8'}") from error


class _SqliteBook:
    def __init__(self, path: Path, query: str) -> None:
        self._uri, self._query = f"{path.resolve().as_uri()}?mode=ro", query
        try:
            self._ask("")
        except sqlite3.Error as error:
            raise ConfigBroken(f"address book {path}: {error}") from error

    def _ask(self, member: str) -> str | None:
        with closing(sqlite3.connect(self._uri, uri=True, timeout=5.0)) as connection:
            row = connection.execute(self._query, (member,)).fetchone()
        return None if row is None or row[0] is None else str(row[0]).strip()

    async def address(self, member: str) -> str | None:
        try:
            return await asyncio.to_thread(self._ask, member)
        except sqlite3.Error as error:
            raise BookAway("book_failed") from error

    async def close(self) -> None:
        return


class _HttpBook:
    def __init__(
        self, url: str, settings: BookSettings, folder: Path, connections: int, timeout_seconds: float
    ) -> None:
        self._url, self._timeout_s = url, timeout_seconds
        self._caller = Caller(
            self._url.replace("{member}", "x"),
            allow_private=settings.allow_private,
            allow_http=settings.allow_http,
            ca_file=None if settings.ca_file is None else folder / settings.ca_file,
            connections=connections,
        )
        token = settings.token_file
        self._token = None if token is None else Watched(folder / token, first_line)

    async def address(self, member: str) -> str | None:
        headers = [("accept", "application/json"), ("user-agent", "stammgast-deliver")]
        if self._token is not None:
            headers.append(("authorization", f"Bearer {self._token.get()}"))
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await self._caller.call("GET", self._url.replace("{member}", quote(member, safe="")), headers)
        except NO_ANSWER as error:
            raise BookAway(f"book_{why_not(error).reason}") from error
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise BookAway(f"book_status_{reply.status}")
        try:
            said = orjson.loads(reply.body)["address"]
        except (ValueError, KeyError, TypeError) as error:
            raise BookAway("book_not_understood") from error
        return None if said is None else str(said).strip()

    async def close(self) -> None:
        await self._caller.close()
