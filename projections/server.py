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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import duckdb

from engine.settings import No
from projections import sql

HOST = "127.0.0.1"
# Another process can take a free port between our asking for one and quack's listening on it.
PORT_ATTEMPTS = 5
STATEMENTS = "serving/authoriser"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What stands in ``FILE.endpoint``: where the server of a file listens and who it is. The token is in a file of its own."""

    host: str
    port: int
    token_file: str
    pid: int

    @property
    def uri(self) -> str:
        """The address as quack spells it."""
        return f"quack:{self.host}:{self.port}"


def endpoint_path(db: str | Path) -> Path:
    """Return where the endpoint of a DuckDB file is written down."""
    return Path(f"{db}.endpoint")


def read_endpoint(db: str | Path) -> Endpoint | None:
    """Return the endpoint of a DuckDB file, None where nobody says to serve it or what stands there cannot be read."""
    try:
        return Endpoint(**json.loads(endpoint_path(db).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def load_extensions(connection: duckdb.DuckDBPyConnection) -> None:
    """Load the remote protocol from its wheels; nothing is installed and nothing downloaded.

    httpfs comes first: without it a locked server answers HTTP 500.
    """
    for name in ("httpfs", "quack"):
        folder = Path(next(iter(importlib.import_module(f"duckdb_extension_{name}").__path__)))
        path = folder / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
        if not path.exists():
            raise No(
                f"the package duckdb-extension-{name} does not fit DuckDB {duckdb.__version__}: install them in the same version."
            )
        connection.load_extension(str(path))


class Server:
    """A DuckDB connection that answers readers until it is closed. The endpoint and token files live as long."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, endpoint: Endpoint, db: Path) -> None:
        self.endpoint = endpoint
        self._connection = connection
        self._db = db

    @classmethod
    def start(cls, connection: duckdb.DuckDBPyConnection, db: str | Path, *, port: int = 0) -> Self:
        """Lock the database of this connection down and serve it.

        Afterwards no connection of this database can reach files, change settings or load extensions.

        Args:
            connection: the one that writes the file; nobody may use it during this call.
            port: 0 takes a free one.

        Raises:
            No: no port can be had, or the extensions do not fit.
        """
        path, own = Path(db).absolute(), connection.cursor()
        load_extensions(own)
        connection.begin()
        for name in ("forget_functions", "functions", "forget_tables", "tables"):
            connection.execute(sql.statements(STATEMENTS)[name])
        connection.commit()
        for name in ("authoriser", "no_python_objects", "no_external_access", "lock"):
            own.execute(sql.statements(STATEMENTS)[name])
        token = secrets.token_urlsafe(32)
        token_file = Path(f"{path}.token")
        _write_private(token_file, token)
        endpoint = _listen(own, token, token_file, port)
        server = cls(own, endpoint, path)
        _replace(endpoint_path(path), json.dumps(asdict(endpoint)))
        return server

    def close(self) -> None:
        """Stop answering and take the endpoint and token files away."""
        with contextlib.suppress(duckdb.Error):
            self._connection.execute(sql.statements(STATEMENTS)["stop"], {"uri": self.endpoint.uri})
        if read_endpoint(self._db) == self.endpoint:
            for path in (endpoint_path(self._db), Path(self.endpoint.token_file)):
                path.unlink(missing_ok=True)
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _listen(connection: duckdb.DuckDBPyConnection, token: str, token_file: Path, port: int) -> Endpoint:
    for attempt in range(1, PORT_ATTEMPTS + 1):
        endpoint = Endpoint(HOST, port or _free_port(), str(token_file), os.getpid())
        try:
            connection.execute(sql.statements(STATEMENTS)["serve"], {"uri": endpoint.uri, "token": token})
        except duckdb.Error as error:
            if port or attempt == PORT_ATTEMPTS:
                raise No(f"readers cannot be served on {HOST}:{endpoint.port}: {str(error).splitlines()[0]}") from error
        else:
            return endpoint
    raise AssertionError("unreachable: the last attempt returns or raises")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _write_private(path: Path, text: str) -> None:
    """Write a file that nobody but its owner ever could read, not even for a moment."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _replace(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new text, never a part."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
