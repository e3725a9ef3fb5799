"""Serve the DuckDB file to readers on this machine while the projector writes it: SELECT only, from what is on a list.

DuckDB's own remote protocol (the extension `quack`) answers over HTTP on the loopback address. What a reader may do is decided by
serving/rules.sql; nothing outside the file can be reached and the configuration is locked.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import secrets
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import duckdb
import structlog

from engine.settings import No
from projections import sql
from projections.files import holds, write_private
from projections.hang_up import hang_up
from projections.trouble import explained

HOST = "127.0.0.1"
# Another process can take a free port between our asking for one and quack's listening on it.
PORT_ATTEMPTS = 5
STATEMENTS = "serving/authoriser"
# A server whose database DuckDB has given up waits so long for the questions under way. Too short: readers are cut off. Too long:
# the tables stand still that much longer.
LAST_ANSWERS_S = 30.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What stands in ``FILE.endpoint``: where the server of a file listens and who it is. The token is in a file of its own.

    `note` says why nobody can be asked at the moment; it is empty while somebody can.
    """

    host: str
    port: int
    token_file: str
    pid: int
    note: str = ""

    @property
    def uri(self) -> str:
        """The address as quack spells it."""
        return f"quack:{self.host}:{self.port}"


def endpoint_path(db: str | Path) -> Path:
    """Return where the endpoint of a DuckDB file is written down."""
    return Path(f"{db}.endpoint")


def token_path(db: str | Path) -> Path:
    """Return where the token of whoever serves a DuckDB file is written down."""
    return Path(f"{db}.token")


def read_endpoint(db: str | Path) -> Endpoint | None:
    """Return the endpoint of a DuckDB file, None where nobody says to serve it or what stands there cannot be read."""
    try:
        return Endpoint(**json.loads(endpoint_path(db).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def load_extensions(connection: duckdb.DuckDBPyConnection, names: Sequence[str] = ("httpfs", "quack")) -> None:
    """Load extensions, by default the remote protocol, from their wheels; nothing is installed and nothing downloaded.

    httpfs comes first: without it a locked server answers HTTP 500.
    """
    for name in names:
        connection.load_extension(str(extension_path(name)))


def extension_path(name: str) -> Path:
    """Where the wheel of an extension keeps it for the DuckDB that runs.

    Raises:
        No: the wheel is missing, or is another version's.
    """
    try:
        folder = Path(next(iter(importlib.import_module(f"duckdb_extension_{name}").__path__)))
    except ModuleNotFoundError as missing:
        package = f"duckdb-extension-{name.replace('_', '-')}"
        raise No(f"the package {package} is not installed: pip install 'stammgast[lake]'.") from missing
    path = folder / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
    if not path.exists():
        raise No(
            f"the package duckdb-extension-{name} does not fit DuckDB {duckdb.__version__}: install them in the same version."
        )
    return path


class Server:
    """A DuckDB connection that answers readers until it is closed. The endpoint and token files live as long, or until
    another server of the file takes them over."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, endpoint: Endpoint, db: Path, token: str) -> None:
        self.endpoint = endpoint
        self.token = token
        self._connection = connection
        self._db = db

    @classmethod
    def start(
        cls, connection: duckdb.DuckDBPyConnection, db: str | Path, *, port: int = 0, token: str | None = None
    ) -> Self:
        """Lock the database of this connection down and serve it.

        Afterwards no connection of this database can reach files, change settings or load extensions.

        Args:
            connection: the one that writes the file; nobody may use it during this call.
            port: 0 takes a free one.
            token: the one that an earlier server of this process gave to readers; None makes one.

        Raises:
            No: no port can be had, the extensions do not fit, or the file cannot be written.
        """
        with explained(db):
            fill_lists(connection)
        return cls._serve(connection.cursor(), db, port, token)

    @classmethod
    def reading(cls, name: Path, db: str | Path, *, token: str | None = None) -> Self:
        """Serve the rows that a file of ours holds, under whatever name, to the readers of `db`; nothing is written.

        Raises:
            No: it cannot be read, or no server ever said in it what readers may ask.
        """
        with explained(db):
            own = duckdb.connect(str(name), read_only=True)
            try:
                own.execute(sql.statements("staging/session")["utc"])
                filled = own.execute(sql.statements(STATEMENTS)["lists_filled"]).fetchone() is not None
            except BaseException:
                own.close()
                raise
            if not filled:
                own.close()
                raise No(f"{db} was never served, so it does not say what readers may ask.")
            return cls._serve(own, db, 0, token)

    @classmethod
    def _serve(cls, own: duckdb.DuckDBPyConnection, db: str | Path, port: int, token: str | None) -> Self:
        """Serve from a connection that is the server's own from here on."""
        path = Path(db).absolute()
        try:
            load_extensions(own)
            for name in ("authoriser", "no_python_objects", "no_external_access", "lock"):
                own.execute(sql.statements(STATEMENTS)[name])
            token, token_file = token or secrets.token_urlsafe(32), token_path(path)
            if not holds(token_file, token):
                write_private(token_file, token)
            endpoint = _listen(own, token, token_file, port)
            _replace(endpoint_path(path), json.dumps(asdict(endpoint)))
        except BaseException:
            own.close()
            raise
        return cls(own, endpoint, path, token)

    def close(self, *, moving: bool = False) -> None:
        """Stop answering and take the endpoint and token files away; `moving`: leave them to the server that follows."""
        try:
            self._connection.execute(sql.statements(STATEMENTS)["stop"], {"uri": self.endpoint.uri})
        except duckdb.Error:
            if not hang_up(self.endpoint.host, self.endpoint.port, LAST_ANSWERS_S):
                log.warning("readers were cut off in the middle of a question", file=str(self._db))
        if not moving and read_endpoint(self._db) == self.endpoint:
            for path in (endpoint_path(self._db), Path(self.endpoint.token_file)):
                path.unlink(missing_ok=True)
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def announce(db: str | Path, note: str) -> None:
    """Tell readers of a file that nobody can be asked for now, and why; the next server takes the note away."""
    path = Path(db).absolute()
    _replace(endpoint_path(path), json.dumps(asdict(Endpoint(HOST, 0, str(token_path(path)), os.getpid(), note))))


def withdraw(db: str | Path) -> None:
    """Take away what this process announced, if nobody serves instead."""
    endpoint = read_endpoint(db)
    if endpoint is not None and endpoint.note and endpoint.pid == os.getpid():
        endpoint_path(db).unlink(missing_ok=True)
        token_path(db).unlink(missing_ok=True)


def fill_lists(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring the lists of what readers may ask up to date with the DuckDB that runs."""
    statements = sql.statements(STATEMENTS)
    for name in ("harmless_functions", "open_tables"):
        connection.execute(statements[name])
    if connection.execute(statements["lists_differ"]).fetchone() is None:
        return
    connection.begin()
    try:
        for name in ("forget_functions", "functions", "forget_tables", "tables"):
            connection.execute(statements[name])
        connection.commit()
    except duckdb.Error:
        with contextlib.suppress(duckdb.Error):
            connection.rollback()
        raise


def _listen(connection: duckdb.DuckDBPyConnection, token: str, token_file: Path, port: int) -> Endpoint:
    for attempt in range(1, PORT_ATTEMPTS + 1):
        endpoint = Endpoint(HOST, port or free_port(), str(token_file), os.getpid())
        try:
            connection.execute(sql.statements(STATEMENTS)["serve"], {"uri": endpoint.uri, "token": token})
        except duckdb.Error as error:
            if port or attempt == PORT_ATTEMPTS:
                raise No(f"readers cannot be served on {HOST}:{endpoint.port}: {str(error).splitlines()[0]}") from error
        else:
            return endpoint
    raise AssertionError("unreachable: the last attempt returns or raises")


def free_port() -> int:
    """A port of this machine that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _replace(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new text, never a part."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
