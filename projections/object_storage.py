"""Object storage for the Parquet files of a lake: S3, and what speaks like it; its keys stand in a file of their own."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Annotated, Literal

import duckdb
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.settings import UsageError
from projections import sql
from projections.server import load_extensions

SCHEME = "s3://"
_TRUE_NAMES = re.compile(r":(\w+)")
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s]*)?")


class Storage(BaseModel):
    """The keys, and where the storage is when it is not Amazon's."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    key_id: Annotated[str, Field(min_length=1)]
    secret: Annotated[str, Field(min_length=1, repr=False)]
    session_token: Annotated[str, Field(repr=False)] = ""
    region: str = "us-east-1"
    endpoint: Annotated[str, Field(pattern=r"^[\w.-]+(:\d+)?$")] = "s3.amazonaws.com"
    url_style: Literal["vhost", "path"] = "vhost"
    use_ssl: bool = True


def read_storage(path: Path) -> Storage:
    """The storage that a file describes. Errors: UsageError; nothing of what the file holds stands in it."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o007:
            raise UsageError(
                f"--lake-s3 {path} holds keys, and everybody on this machine may read it: chmod 600 {path}."
            )
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Storage.model_validate(said)
    except OSError as error:
        raise UsageError(f"--lake-s3 {path}: {error.strerror or error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UsageError(f"--lake-s3 {path} is no YAML: write key_id: and secret:, one a line.") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        known = ", ".join(Storage.model_fields)
        raise UsageError(f"--lake-s3 {path}: {place}: {first['msg'].lower()}; it holds {known}.") from None


def checked_data(data: str, storage: Storage | None) -> str:
    """Where the Parquet goes: a folder, as an absolute path, or s3://BUCKET/FOLDER. Errors: UsageError."""
    if data.startswith(SCHEME):
        if not _BUCKET.fullmatch(data):
            raise UsageError(f"--lake-data {data}: write s3://BUCKET/FOLDER.")
        if storage is None:
            raise UsageError(f"--lake-data {data} needs --lake-s3 FILE: its keys, as docs/lake.md says.")
        return data.rstrip("/")
    if "://" in data:
        raise UsageError(
            f"--lake-data {data}: write a folder, or s3://BUCKET/FOLDER; other storage is used as a mounted folder."
        )
    if storage is not None:
        raise UsageError(f"--lake-s3 is for --lake-data s3://BUCKET/FOLDER, and {data} is a folder.")
    return str(Path(data).absolute())


def unlock(connection: duckdb.DuckDBPyConnection, storage: Storage) -> None:
    """Give a connection the keys; it keeps them in memory alone. Errors: No where the extension is missing."""
    load_extensions(connection, ("httpfs",))
    values = storage.model_dump() | {"use_ssl": "true" if storage.use_ssl else "false"}
    statement = sql.statements("staging/lake")["storage"]
    connection.execute(_TRUE_NAMES.sub(lambda name: str(values[name[1]]).replace("'", "''"), statement))
